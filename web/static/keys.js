/*
 * Keys that work everywhere on the page; help.js lists them.
 */

import { byId } from "./dom.js";

/**
 * @typedef {object} Commands
 * @property {(show: string) => void} show
 * @property {() => void} escape
 * @property {(by: number) => void} shift
 * @property {() => void} zoomToSelection
 * @property {() => void} zoomOut
 * @property {() => void} heat
 * @property {() => void} lanes
 * @property {() => void} live
 * @property {() => void} inverted
 * @property {() => void} up
 * @property {() => void} theme
 * @property {() => void} help
 */

/** True where letters are typed. @param {EventTarget | null} target */
const typing = (target) => target instanceof HTMLElement && target.matches("input:not([type=checkbox]), select, textarea");

/** @param {Commands} commands */
export function keys(commands) {
  /** @type {Record<string, () => void>} */
  const table = {
    "/": () => byId("search", HTMLInputElement).select(),
    1: () => commands.show("flame"),
    2: () => commands.show("sandwich"),
    3: () => commands.show("table"),
    4: () => commands.show("tree"),
    "[": () => commands.shift(-1),
    "]": () => commands.shift(1),
    z: commands.zoomToSelection,
    Z: commands.zoomOut,
    h: commands.heat,
    t: commands.lanes,
    l: commands.live,
    d: () => byId("compare", HTMLButtonElement).click(),
    i: commands.inverted,
    u: commands.up,
    D: commands.theme,
    "?": commands.help,
    Escape: commands.escape,
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    // What is open closes by itself.
    if (document.querySelector("dialog[open], :popover-open")) return;
    if (typing(event.target)) {
      if (event.key === "Escape" && event.target instanceof HTMLElement) event.target.blur();
      return;
    }
    const run = table[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  });
}
