/*
 * One function or box: what is told of it, and what can be done with it. The same in the flame
 * graph, the sandwich, the table and the call tree.
 */

import { SURE } from "./colours.js";
import { el } from "./dom.js";
import { line, menu } from "./float.js";
import { amount, count, digits, percent, points, signed } from "./format.js";
import { onlyWord } from "./state.js";

/** @typedef {import("./tree.js").Tree} Tree */
/** @typedef {import("./app.js").App} App */

/** Letters of a name in a tooltip. */
const LETTERS = 300;

/** A name that fits, its end cut off. @param {string} name @param {number} [most] */
export const short = (name, most = LETTERS) => (name.length > most ? `${name.slice(0, most)}…` : name);

/** The words for a kind. @type {Record<string, string>} */
const KINDS = { user: "user", kernel: "kernel", jit: "JIT", inlined: "inlined", unknown: "no symbol", note: "note by rprof", group: "", other: "too small to draw" };

/** A pattern that matches a name and nothing else. @param {string} name */
export const exactly = (name) => `^${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;

/**
 * What kind of code a box is, and where.
 * @param {Tree} tree
 * @param {number} node
 */
export function origin(tree, node) {
  return [KINDS[tree.kind(node)] ?? tree.kind(node), tree.module(node), tree.line(node)].filter(Boolean).join(" · ");
}

/** How sure a change is, in words. @param {number} z */
export const certainty = (z) => `${Math.abs(z) >= SURE ? "sure" : "within sampling noise"} (z ${digits(z).replace("-", "\u2212")})`;

/**
 * What is compared, as parts of a whole: shares, or amounts of memory as shares of the larger side.
 * @param {{total: number, base_total?: number, in_use?: boolean}} data
 * @param {number} value
 * @param {number} base
 */
export function parts({ total, base_total = 0, in_use }, value, base) {
  const most = Math.max(total, base_total) || 1;
  return in_use ? [value / most, base / most] : [value / (total || 1), base / (base_total || 1)];
}

/**
 * A change in words: of a share, or of an amount of memory.
 * @param {{total: number, base_total?: number, in_use?: boolean, unit: string}} data
 * @param {number} value
 * @param {number} base
 */
export function change(data, value, base) {
  const [now, then] = parts(data, value, base);
  return data.in_use ? signed(value - base, data.unit) : points(now - then);
}

/**
 * The values of a box, as lines.
 * @param {Tree} tree
 * @param {number} node
 * @param {number} zoom
 * @returns {[string, string][]}
 */
export function values(tree, node, zoom) {
  const { unit } = tree.graph;
  const [value, self, total] = [tree.value(node), tree.self(node), tree.total || 1];
  /** @type {[string, string][]} */
  const found = [["total", `${amount(value, unit)}  ${percent(value / total)}`], ["self", `${amount(self, unit)}  ${percent(self / total)}`]];
  const parent = tree.parent[node];
  if (parent > 0 && tree.value(parent)) found.push(["of its caller", percent(value / tree.value(parent))]);
  if (zoom > 0 && zoom !== node && zoom !== parent && tree.value(zoom)) found.push(["of what is zoomed to", percent(value / tree.value(zoom))]);
  if (tree.diff) {
    const base = tree.base(node);
    found.push(["base", `${amount(base, unit)}  ${percent(base / (tree.baseTotal || 1))}`],
      [tree.graph.in_use ? "change" : "change of share", change(tree.graph, value, base)], ["certainty", certainty(tree.z(node))]);
  }
  return found;
}

/**
 * The tooltip of a drawn box.
 * @param {Tree} tree
 * @param {import("./boxes.js").Box} box
 * @param {number} zoom
 */
export function boxTip(tree, box, zoom) {
  const { node, merged } = box;
  if (merged) {
    let [sum, at] = [0, node];
    for (let i = 0; i < merged; i++, at = tree.end[at]) sum += tree.value(at);
    return [el("strong", {}, merged === 1 ? short(tree.name(node)) : `${count(merged)} functions, too narrow to draw`),
      line("total", `${amount(sum, tree.graph.unit)}  ${percent(sum / (tree.total || 1))}`),
      el("div", { class: "soft" }, "click to zoom to their caller")];
  }
  const where = origin(tree, node);
  return [el("strong", {}, short(tree.name(node))), where ? el("div", { class: "soft" }, short(where)) : "",
    ...values(tree, node, zoom).map(([name, value]) => line(name, value))];
}

/**
 * What can be done with a function.
 * @param {App} app
 * @param {{name: string, kind: string, zoom?: () => void}} what
 * @returns {import("./float.js").Item[]}
 */
export function actions(app, { name, kind, zoom }) {
  const { store, state } = app;
  const copy = { text: "Copy name", run: () => void navigator.clipboard?.writeText(name).catch(() => undefined) };
  const search = { text: "Search for it", run: () => store.set({ search: exactly(name) }) };
  const first = zoom ? [{ text: "Zoom to it", key: "Enter", run: zoom }] : [];
  if (kind === "other") return [...first, copy];
  if (kind === "group") {
    const only = onlyWord(state.by, name);
    const group = state.by && state.by !== "none" && name !== "all";
    return [...first, ...(group ? [{ text: `Only this ${state.by}`, run: () => store.set({ only: [...new Set([...state.only, only])], zoom: "" }) }] : []), copy];
  }
  return [
    ...first,
    { text: "Sandwich: its callers and callees", run: () => store.set({ show: "sandwich", function: name }) },
    null,
    { text: "Focus: only stacks with it", run: () => store.set({ focus: exactly(name), zoom: "" }) },
    { text: "Ignore: no stacks with it", run: () => store.set({ ignore: state.ignore ? `${state.ignore}|${exactly(name)}` : exactly(name), zoom: "" }) },
    search,
    null,
    copy,
  ];
}

/**
 * Opens the menu of a function.
 * @param {App} app
 * @param {{name: string, kind: string, zoom?: () => void}} what
 * @param {number} x
 * @param {number} y
 */
export const frameMenu = (app, what, x, y) => menu(short(what.name, 120), actions(app, what), x, y);

/**
 * The row below a picture: the selected box in full, and buttons for what can be done with it.
 * @param {App} app
 * @param {HTMLElement} host
 * @param {Tree | null} tree
 * @param {number} node -1: none is selected
 * @param {number} zoom
 */
export function details(app, host, tree, node, zoom) {
  host.classList.toggle("empty", !tree || node < 0);
  if (!tree || node < 0) {
    host.replaceChildren(el("span", { class: "soft" }, "Click a box to zoom to it and see it here; right-click, or press the menu key, for more."));
    return;
  }
  const name = tree.name(node);
  const buttons = actions(app, { name, kind: tree.kind(node) }).filter((item) => item !== null)
    .map((item) => el("button", { type: "button", click: item.run }, item.text.replace(/:.*/, "")));
  host.replaceChildren(
    el("div", { class: "what" }, el("strong", { title: short(name, 2000) }, short(name, 400)), el("span", { class: "soft" }, short(origin(tree, node), 300))),
    el("div", { class: "figures" }, ...values(tree, node, zoom).map(([name, value]) => el("span", {}, el("i", {}, name), el("b", {}, value)))),
    el("div", { class: "row" }, ...buttons),
  );
}
