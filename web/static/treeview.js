/*
 * The call tree: the flame graph as text, an ARIA tree for keyboard and screen reader. The most
 * costly callee comes first, and the tree opens along the most costly path.
 */

import { Loader } from "./api.js";
import { kindSample } from "./colours.js";
import { el } from "./dom.js";
import { amount, count, percent } from "./format.js";
import { change, frameMenu, origin, short } from "./frame.js";
import { Notice } from "./notice.js";
import { shortModule } from "./packages.js";
import { matches, pattern } from "./search.js";
import { Tree } from "./tree.js";
import { VirtualList } from "./virtual.js";

/** @typedef {import("./types.js").Flamegraph} Flamegraph */

const HEIGHT = 22;
/** Callees that are listed of one function. */
const CHILDREN = 500;

export class TreeView {
  /** @type {Tree | null} */
  #tree = null;
  /** @type {Set<number>} */
  #open = new Set();
  /** Nodes that are listed, from the top down. @type {number[]} */
  #rows = [];
  #at = 0;
  /** @type {Uint8Array | null} */
  #found = null;
  #host = el("div", { class: "calltree", role: "tree", "aria-label": "Call tree: total, self, function", tabindex: 0, keydown: (event) => this.#key(event) });
  #note = el("div", { class: "details soft" }, "→ opens, ← closes, * opens the most costly path, Enter: sandwich, right-click or menu key: more");
  element = el("div", { class: "treebox" }, el("div", { class: "treehead", "aria-hidden": "true" }, el("span", {}, "Total"), el("span", {}, "Self"), el("span", {}, "Function")), this.#host, this.#note);
  #notice = new Notice(this.element);
  #list = new VirtualList(this.#host, HEIGHT, (index) => this.#row(index));

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** @type {Loader<Flamegraph>} */
    this.loader = new Loader((busy) => this.#notice.busy(busy), (graph) => this.#show(graph), (error) => this.#notice.fail(error, () => this.update()));
    this.#host.firstElementChild?.setAttribute("role", "presentation");
  }

  update() {
    this.app.load(this.loader, "flamegraph", this.app.comparedWords({ nodes: 16384 }));
  }

  /** Follows a change of the page's state. @param {Set<string>} changed */
  changed(changed) {
    this.update();
    if (changed.has("search") && this.#tree) this.#search();
  }

  recolour() {
    this.#list.draw();
  }

  /** @param {Flamegraph} graph */
  #show(graph) {
    const before = this.#tree;
    // What was open stays open where it is there again, as in live mode.
    const open = before ? [...this.#open].map((node) => before.key(node)) : [];
    const at = before?.key(this.#rows[this.#at] ?? 0) ?? "";
    const tree = (this.#tree = new Tree(graph, "now"));
    this.#open = new Set([0, ...tree.findAll(open)]);
    this.#at = 0;
    if (graph.total > 0) this.#notice.hide();
    else this.#notice.say("No samples here", "Nothing was sampled in this range that passes the filters.");
    if (!before) this.#openPath(0, 0.4);
    this.#found = null;
    if (this.app.state.search) this.#search();
    else this.#arrange();
    if (at) this.#at = Math.max(0, this.#rows.indexOf(tree.find(at)));
    this.#list.draw();
    this.#mark();
    this.#host.setAttribute("aria-label", `Call tree of ${amount(tree.total, graph.unit)}: total, self, function`);
  }

  /**
   * Opens the most costly path down from a node, as long as it has a good part of it.
   * @param {number} from
   * @param {number} least share of the caller
   */
  #openPath(from, least) {
    const tree = this.#tree;
    if (!tree) return;
    for (let node = from; ; ) {
      const [most] = this.#children(node);
      if (most === undefined || tree.value(most) < tree.value(node) * least) return;
      this.#open.add(node);
      node = most;
    }
  }

  /** Callees, the most costly first. @param {number} node */
  #children(node) {
    const tree = this.#tree;
    if (!tree) return [];
    return tree.children(node).sort((a, b) => tree.value(b) - tree.value(a)).slice(0, CHILDREN);
  }

  /** Opens every path that leads to a match. */
  #search() {
    const tree = this.#tree;
    const wanted = pattern(this.app.state.search);
    this.#found = tree && wanted ? matches(tree, wanted) : null;
    if (tree && this.#found) {
      let opened = 0;
      for (let i = 0; i < tree.size && opened < 2000; i++) {
        if (tree.function[i] < 0 || !this.#found[tree.function[i]]) continue;
        for (let at = tree.parent[i]; at >= 0 && !this.#open.has(at); at = tree.parent[at]) this.#open.add(at);
        opened += 1;
      }
    }
    this.#arrange();
  }

  /** Lists what is open. */
  #arrange() {
    const tree = this.#tree;
    if (!tree) return;
    /** @type {number[]} */
    const rows = [];
    const waiting = [0];
    while (waiting.length) {
      const node = /** @type {number} */ (waiting.pop());
      rows.push(node);
      if (this.#open.has(node)) waiting.push(...this.#children(node).reverse());
    }
    this.#rows = rows;
    this.#list.show(rows.length);
    this.#mark();
  }

  #mark() {
    const node = this.#rows[this.#at];
    if (node !== undefined) this.#host.setAttribute("aria-activedescendant", `node-${node}`);
  }

  /** @param {number} index */
  #row(index) {
    const tree = /** @type {Tree} */ (this.#tree);
    const node = this.#rows[index];
    const parent = tree.parent[node];
    const [siblings, below] = [parent < 0 ? [node] : this.#children(parent), tree.end[node] > node + 1];
    const swatch = el("i", { class: "swatch" });
    swatch.style.background = kindSample(tree.kind(node), this.app.dark);
    const open = this.#open.has(node);
    const total = tree.total || 1;
    const name = el("span", { class: "name" }, el("span", { class: "twist", "aria-hidden": "true" }, below ? (open ? "▾" : "▸") : ""), swatch, short(tree.name(node), 300),
      el("small", { class: "soft" }, tree.diff ? change(tree.graph, tree.value(node), tree.base(node)) : shortModule(tree.module(node))));
    name.style.paddingLeft = `${Math.min(tree.depth[node], 60) * 12}px`;
    const found = this.#found && tree.function[node] >= 0 && this.#found[tree.function[node]];
    return el("div", {
      id: `node-${node}`, role: "treeitem", class: `node${index === this.#at ? " at" : ""}${found ? " found" : ""}`,
      "aria-level": tree.depth[node] + 1, "aria-setsize": siblings.length, "aria-posinset": siblings.indexOf(node) + 1,
      "aria-expanded": below ? String(open) : undefined, "aria-selected": String(index === this.#at), title: short(origin(tree, node)),
      "aria-label": `${short(tree.name(node), 200)}, total ${percent(tree.value(node) / total)}, self ${percent(tree.self(node) / total)}`,
      click: () => this.#click(index),
      contextmenu: (event) => {
        event.preventDefault();
        this.#go(index);
        this.#menu(event.clientX, event.clientY);
      },
    }, el("span", { class: "n", title: amount(tree.value(node), tree.graph.unit) }, percent(tree.value(node) / total)), el("span", { class: "n soft", title: amount(tree.self(node), tree.graph.unit) }, tree.self(node) ? percent(tree.self(node) / total) : ""), name);
  }

  /** @param {number} index */
  #click(index) {
    this.#go(index);
    this.#toggle(this.#rows[index]);
  }

  /** @param {number} node */
  #toggle(node) {
    if (!this.#open.delete(node)) this.#open.add(node);
    this.#arrange();
  }

  /** @param {number} index */
  #go(index) {
    this.#at = Math.max(0, Math.min(this.#rows.length - 1, index));
    this.#list.reveal(this.#at);
    this.#mark();
  }

  /** @param {number} x @param {number} y */
  #menu(x, y) {
    const tree = this.#tree;
    const node = this.#rows[this.#at];
    if (tree && node !== undefined) frameMenu(this.app, { name: tree.name(node), kind: tree.kind(node) }, x, y);
  }

  /** Keys of a tree, as WAI-ARIA's authoring practices have them. @param {KeyboardEvent} event */
  #key(event) {
    const tree = this.#tree;
    const node = this.#rows[this.#at];
    if (!tree || node === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#host.clientHeight / HEIGHT) - 1);
    const below = tree.end[node] > node + 1;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#go(this.#at + 1),
      ArrowUp: () => this.#go(this.#at - 1),
      PageDown: () => this.#go(this.#at + page),
      PageUp: () => this.#go(this.#at - page),
      Home: () => this.#go(0),
      End: () => this.#go(this.#rows.length - 1),
      ArrowRight: () => (!below ? undefined : this.#open.has(node) ? this.#go(this.#at + 1) : this.#toggle(node)),
      ArrowLeft: () => (below && this.#open.has(node) ? this.#toggle(node) : this.#go(this.#rows.indexOf(tree.parent[node]))),
      " ": () => (below ? this.#toggle(node) : undefined),
      "*": () => {
        this.#openPath(node, 0);
        this.#arrange();
      },
      Enter: () => (["group", "other"].includes(tree.kind(node)) ? undefined : this.app.store.set({ show: "sandwich", function: tree.name(node) })),
      ContextMenu: () => this.#menu(this.#host.getBoundingClientRect().left + 200, this.#host.getBoundingClientRect().top + 60),
    };
    const run = keys[event.key];
    if (!run) return;
    event.preventDefault();
    event.stopPropagation();
    run();
    if (event.key !== "ContextMenu") this.#note.textContent = `${count(this.#rows.length)} rows open · ${origin(tree, this.#rows[this.#at] ?? 0)}`;
  }
}
