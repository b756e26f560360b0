/*
 * Filters and grouping: which processes, which stacks, and what becomes the root of each stack.
 */

import { Loader } from "./api.js";
import { byId, el } from "./dom.js";
import { opens } from "./float.js";
import { percent } from "./format.js";
import { short } from "./frame.js";
import { isPattern } from "./search.js";
import { NO_FILTER } from "./state.js";
import { parseLength } from "./time.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{values: {value: string, total: number}[]}} Labels */

export class Filters {
  #by = byId("by", HTMLSelectElement);
  #chips = byId("chips", HTMLElement);
  #clear = byId("clear", HTMLButtonElement);
  #inputs = [byId("focus", HTMLInputElement), byId("ignore", HTMLInputElement), byId("older", HTMLInputElement)];

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    const { store, recording } = app;
    this.#by.append(...[...new Set([...recording.labels, "none"])].map((label) => el("option", { value: label }, label === "none" ? "nothing" : label)));
    this.#by.addEventListener("change", () => store.set({ by: this.#by.value, zoom: "" }));
    byId("filters", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
    this.#clear.addEventListener("click", () => store.set({ ...NO_FILTER, zoom: "" }));
    for (const input of this.#inputs) {
      const take = () => {
        if (isGood(input)) store.set({ [input.id]: input.value.trim(), zoom: "" });
      };
      input.addEventListener("input", () => input.classList.toggle("bad", !isGood(input)));
      input.addEventListener("change", take);
      input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        take();
      });
    }
    const idle = byId("idle", HTMLSelectElement);
    idle.addEventListener("change", () => store.set({ idle: idle.value, zoom: "" }));
    this.#adder();
  }

  /** Shows what is filtered. */
  show() {
    const { state, store } = this.app;
    if (state.by && ![...this.#by.options].some((option) => option.value === state.by)) this.#by.append(el("option", { value: state.by }, state.by));
    this.#by.value = state.by;
    byId("idle", HTMLSelectElement).value = state.idle;
    for (const input of this.#inputs) {
      if (document.activeElement !== input) input.value = /** @type {Record<string, any>} */ (state)[input.id];
      input.classList.toggle("bad", !isGood(input));
      input.classList.toggle("set", input.value !== "");
    }
    const chip = (/** @type {string} */ text, /** @type {() => void} */ remove) =>
      el("span", { class: "chip", title: short(text, 2000) }, el("span", {}, short(text, 80)), el("button", { type: "button", "aria-label": `Remove ${short(text, 80)}`, click: remove }, "×"));
    this.#chips.replaceChildren(
      ...(state.pid ? [chip(pidWords(state.pid), () => store.set({ pid: "" }))] : []),
      ...(state.comm ? [chip(`comm=${state.comm}`, () => store.set({ comm: "" }))] : []),
      ...state.only.map((only) => chip(only.endsWith("=") ? `${only}(none)` : only, () => store.set({ only: state.only.filter((other) => other !== only) }))),
    );
    this.#clear.hidden = !(state.pid || state.comm || state.only.length || state.focus || state.ignore || state.older);
  }

  /** The box in which a label and one of its values are chosen. */
  #adder() {
    const { app } = this;
    const button = byId("add-filter", HTMLButtonElement);
    const label = el("select", { "aria-label": "Label", change: () => load() }, ...app.recording.labels.map((label) => el("option", { value: label }, label)));
    const wanted = el("input", { type: "search", placeholder: "type to narrow down", "aria-label": "Value", input: () => list(), keydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      values.querySelector("button")?.click();
    } });
    const values = el("div", { class: "choices values" });
    const box = el("div", { class: "pop" }, el("div", { class: "row" }, label, wanted), values);
    button.after(box);
    /** @type {Labels["values"]} */
    let known = [];
    const take = (/** @type {string} */ value) => {
      box.hidePopover();
      app.store.set({ only: [...new Set([...app.state.only, `${label.value}=${value}`])], zoom: "" });
    };
    const list = () => {
      const total = known.reduce((sum, { total }) => sum + total, 0) || 1;
      const typed = wanted.value.toLowerCase();
      const found = known.filter(({ value }) => value.toLowerCase().includes(typed));
      const rows = found.slice(0, 200).map(({ value, total: own }) => el("button", { type: "button", title: short(value, 2000), click: () => take(value) },
        el("span", {}, short(value, 120) || "(none)"), el("b", {}, percent(own / total))));
      values.replaceChildren(...rows, ...(found.length > 200 ? [el("p", { class: "soft" }, `and ${found.length - 200} more: type to narrow down`)] : []),
        ...(found.length ? [] : [el("p", { class: "soft" }, known.length ? `No ${label.value} has “${short(wanted.value, 40)}” in it.` : `No ${label.value} is known in this range.`)]));
    };
    /** @type {Loader<Labels>} */
    const loader = new Loader((busy) => box.setAttribute("aria-busy", String(busy)), (labels) => {
      known = labels.values;
      list();
    }, (error) => values.replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message)));
    const load = () => {
      known = [];
      loader.forget();
      app.load(loader, "labels", app.words(app.range, { label: label.value }));
    };
    opens(button, box, () => {
      wanted.value = "";
      if (app.recording.labels.includes(app.state.by)) label.value = app.state.by;
      values.replaceChildren(el("p", { class: "soft" }, "Asking…"));
      load();
    });
  }
}

/** Which processes, and how many where they are too many to name. @param {string} pids */
function pidWords(pids) {
  const [first, ...more] = pids.split(",");
  return more.length > 4 ? `pid=${first} and ${more.length} more` : `pid=${pids}`;
}

/** True if what was typed can be asked for: a pattern, or a length of time. @param {HTMLInputElement} input */
const isGood = (input) => (input.id === "older" ? input.value.trim() === "" || parseLength(input.value.trim()) !== null : isPattern(input.value));
