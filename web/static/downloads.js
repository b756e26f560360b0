/*
 * Downloads of the same view in the formats of other programs.
 */

import { address } from "./api.js";
import { byId, el } from "./dom.js";
import { opens } from "./float.js";

const FORMATS = [
  ["svg", "SVG", "a flame graph that any browser opens"],
  ["pprof", "pprof", "go tool pprof, Grafana, Parca"],
  ["folded", "folded", "a line a stack: flamegraph.pl, inferno"],
  ["speedscope", "speedscope", "speedscope.app"],
  ["firefox", "Firefox", "profiler.firefox.com"],
  ["json", "JSON", "all that is known of the view"],
];

/** @param {import("./app.js").App} app */
export function downloads(app) {
  const button = byId("download", HTMLButtonElement);
  const box = el("div", { class: "pop" });
  button.after(box);
  opens(button, box, () => {
    const links = FORMATS.map(([format, name, what]) => {
      const words = app.words(app.shown, { format });
      return el("a", { href: address("export", words), download: true, click: () => setTimeout(() => box.hidePopover()) }, el("b", {}, name), el("span", { class: "soft" }, what));
    });
    const link = el("button", { type: "button", click: (event) => copy(event.currentTarget) }, el("b", {}, "Copy link"), el("span", { class: "soft" }, "opens just this view"));
    box.replaceChildren(el("p", { class: "soft" }, "What the flame graph shows: this range, these filters."), el("div", { class: "choices links" }, ...links, link));
  });
}

/** @param {HTMLElement} button */
async function copy(button) {
  const done = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  button.lastElementChild?.replaceChildren(done ? "copied" : "the browser does not allow it: copy the address bar");
}
