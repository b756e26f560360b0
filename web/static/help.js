/*
 * The page's help: what the pictures are, and the keys.
 */

import { el } from "./dom.js";

/** @type {[string, [string, string][]][]} */
const KEYS = [
  ["Everywhere", [["/", "search functions"], ["1 2 3 4", "flame graph, sandwich, functions, call tree"], ["Esc", "zoom out, then clear the search"],
    ["[ ]", "earlier, later"], ["z  Z", "time line: zoom to the selection, show all"], ["h", "heat map"], ["t", "lanes"], ["l", "live"], ["d", "compare"], ["i", "inverted"],
    ["u", "flames upwards"], ["D", "dark or light"], ["?", "this help"]]],
  ["Time line", [["drag", "select"], ["Shift drag", "select what to compare with"], ["wheel", "zoom; with Shift or sideways: move"], ["← →", "move the selection"], ["↑ ↓", "shorter, longer"], ["+ −", "zoom"], ["double click", "select all that is seen"]]],
  ["Lanes", [["click", "a spike: select its time; a mark: its record; a command: its time and process"], ["right click", "a command: its record"], ["← →", "go from one to the next"], ["Enter", "the same as a click"]]],
  ["Heat map", [["click, drag", "flame graph of these milliseconds"], ["arrow keys", "go from cell to cell, with Shift: select"], ["Enter", "show the selection"]]],
  ["Flame graph", [["click", "zoom"], ["right click, menu key", "sandwich, focus, ignore, copy"], ["arrow keys", "go from box to box"], ["Enter", "zoom to the box"], ["Backspace", "zoom out by one"], ["Home", "show all"]]],
  ["Call tree", [["→ ←", "open, close"], ["*", "open the most costly path"], ["Enter", "sandwich"]]],
];

const WORDS = [
  ["Flame graph", "Each box is a function, as wide as its share of the samples; below it is what it calls. Its order from left to right is by name, not by time. Boxes too narrow to draw are merged into a grey one."],
  ["Self, total", "Self is what the function itself used, total is that and what the functions that it called did."],
  ["Memory in use", "What was allocated since the recording began and not freed by the end of the range. The time line shows how it came to that; to see what grew, compare two moments. “In use for” leaves only what is held for longer: what may be a leak."],
  ["Lanes", "Below the time line stand the recording's other sources. Of latency, the band goes from the median to the 99th percentile and the red line is the longest, on a logarithmic axis. Of events, each is a mark, red where something failed or was killed. Commands are bars from start to end, the longest on top. The arrow beside a name folds its lane."],
  ["Heat map", "Each column is a second and each row 20 ms of it, from the bottom up. A hot cell is 20 ms in which much ran: select it to see what."],
  ["Compare", "Red boxes have a greater share than in the base, blue ones a smaller; of memory in use, red ones have grown. A change that sampling noise explains (chance alone makes one as great more often than once in a thousand times) is grey."],
  ["The strip at the bottom", "What was lost, cut short or not named, and what rprof itself costs. Point at a number for what it means."],
];

const dialog = el("dialog", { class: "help", "aria-label": "Help" });

/** Opens the help, or closes it. */
export function toggleHelp() {
  if (dialog.open) return dialog.close();
  if (!dialog.isConnected) {
    dialog.append(
      el("form", { method: "dialog", class: "row" }, el("h2", {}, "rprof"), el("span", { class: "spacerx" }), el("button", { type: "submit" }, "Close")),
      el("dl", { class: "words" }, ...WORDS.flatMap(([word, text]) => [el("dt", {}, word), el("dd", {}, text)])),
      el("div", { class: "keys" }, ...KEYS.map(([title, keys]) => el("section", {}, el("h3", {}, title),
        el("dl", {}, ...keys.flatMap(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)]))))),
    );
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    document.body.append(dialog);
  }
  dialog.showModal();
}
