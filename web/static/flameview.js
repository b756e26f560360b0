/*
 * The flame graph on the page: what it asks for, breadcrumbs, search, legend, and the row that tells
 * of the selected box.
 */

import { Loader } from "./api.js";
import { LEGEND, changeColour, kindSample, stateColour, wordColours } from "./colours.js";
import { byId, el } from "./dom.js";
import { FlameGraph } from "./flame.js";
import { tooltip } from "./float.js";
import { amount, count, percent } from "./format.js";
import { boxTip, details, frameMenu, parts, short, values } from "./frame.js";
import { Notice } from "./notice.js";
import { matched, matches, pattern } from "./search.js";
import { NO_FILTER } from "./state.js";
import { STATES } from "./states.js";
import { Tree } from "./tree.js";
import { boxColours } from "./waits.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./types.js").Flamegraph} Flamegraph */

/** Nodes that are asked for at first, and at most when one zooms to what was too small. */
const NODES = 16384;
const MOST = 1048576;

export class FlameView {
  /** @type {Tree | null} */
  tree = null;
  #nodes = NODES;
  /** @type {Flamegraph | null} */
  #graph = null;
  /** @type {(node: number) => string} */
  #colours = () => "";
  #crumbs = el("nav", { class: "crumbs", "aria-label": "Zoomed to" });
  #scroll = el("div", {
    class: "flame", tabindex: 0, role: "application", "aria-roledescription": "flame graph",
    "aria-label": "Flame graph. Arrow keys go from box to box, Enter zooms, Backspace zooms out, Home shows all. The call tree has the same as text.",
  });
  #details = el("div", { class: "details" });
  #legend = el("div", { class: "colours" });
  element = el("div", { class: "flamebox" }, el("div", { class: "crumbrow" }, this.#crumbs, this.#legend), this.#scroll, this.#details);
  #notice = new Notice(this.element);

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.flame = new FlameGraph(this.#scroll, this.#look(), {
      onZoom: (node) => this.zoomTo(node),
      onPoint: (box, x, y) => tooltip(box && this.tree ? boxTip(this.tree, box, this.flame.zoom) : null, x, y),
      onSelect: (node) => this.#selected(node),
      onMenu: (node, x, y) => this.#menu(node, x, y),
    });
    /** @type {Loader<Flamegraph>} */
    this.loader = new Loader((busy) => this.#notice.busy(busy), (graph) => this.show(graph), (error) => this.#notice.fail(error, () => this.update()));
    details(app, this.#details, null, -1, 0);
  }

  /** @returns {import("./flame.js").Look} */
  #look() {
    const { app } = this;
    return {
      colour: (node) => this.#colour(node),
      merged: app.dark ? "#3a404b" : "#dfe2e7",
      inks: app.inks,
      up: app.state.up,
    };
  }

  /** @param {number} node */
  #colour(node) {
    const { tree, app } = this;
    if (!tree || tree.function[node] < 0) return app.dark ? "#4a515e" : "#e2e4e8";
    if (!tree.diff) return this.#colours(node);
    const [now, base] = parts(tree.graph, tree.value(node), tree.base(node));
    return changeColour(now, base, tree.z(node), app.dark);
  }

  /** Asks for what is to be seen now. */
  update() {
    this.app.load(this.loader, "flamegraph", this.app.comparedWords({ nodes: this.#nodes }));
  }

  /** Follows a change of the page's state. @param {Set<string>} changed */
  changed(changed) {
    if (changed.has("zoom") || !changed.size) this.#needMore();
    this.update();
    if (!this.tree) return;
    if (changed.has("width") && this.#graph?.tree.base) return this.show(this.#graph);
    if (changed.has("colour")) this.recolour();
    if (changed.has("up")) {
      this.flame.look = this.#look();
      this.flame.show(this.tree, this.flame.zoom);
    }
    if (changed.has("zoom")) this.#zoomed(this.tree.find(this.app.state.zoom));
    if (changed.has("search")) this.search();
  }

  /** Colours have changed: other words for them, or another theme. */
  recolour() {
    const { tree, app } = this;
    this.flame.look = this.#look();
    if (tree && !tree.diff) this.#colours = boxColours(tree, app.state.colour, app.dark);
    this.#showLegend();
    this.flame.draw();
  }

  /** @param {Flamegraph} graph */
  show(graph) {
    const { app } = this;
    // In live mode the same view comes again and again: what is selected stays so.
    const selected = this.tree && this.flame.selected > 0 ? this.tree.key(this.flame.selected) : "";
    this.#graph = graph;
    byId("idling", HTMLElement).hidden = !app.state.idle && !graph.names.includes("[idle]");
    const tree = new Tree(graph, /** @type {import("./tree.js").Width} */ (app.state.width));
    this.tree = tree;
    this.element.classList.toggle("diff", tree.diff);
    if (!tree.diff) this.#colours = boxColours(tree, app.state.colour, app.dark);
    this.flame.look = this.#look();
    this.flame.found = this.#find();
    this.flame.show(tree, tree.find(app.state.zoom));
    if (tree.weight[0] > 0) this.#notice.hide();
    else this.#nothing();
    this.#showCrumbs();
    this.#showLegend();
    this.#showMatched();
    const again = selected ? tree.find(selected) : 0;
    this.flame.selected = again || -1;
    if (again) this.flame.draw();
    details(app, this.#details, tree, this.flame.selected, this.flame.zoom);
  }

  /** What to do where there are no samples. */
  #nothing() {
    const { app } = this;
    const { state, store } = app;
    const filtered = state.pid || state.comm || state.only.length || state.focus || state.ignore || state.older;
    this.#notice.say(
      "No samples here",
      filtered ? "No stack of this range passes the filters." : app.inUse ? "Nothing that was allocated in this recording was in use at the end of this range." : state.patch_from ? "Nothing ran, or nothing was sampled, in these milliseconds." : "Nothing was sampled in this range.",
      [
        ...(filtered ? [{ text: "Clear filters", run: () => store.set(NO_FILTER) }] : []),
        ...(state.patch_from ? [{ text: "Show the whole range", run: () => store.set({ patch_from: "", patch_to: "" }) }] : []),
        ...(state.from || state.to ? [{ text: "Show the whole recording", run: () => store.set({ from: "0s", to: "", patch_from: "", patch_to: "" }) }] : []),
      ],
    );
  }

  /** @param {number} node */
  zoomTo(node) {
    if (!this.tree) return;
    this.app.store.set({ zoom: this.tree.key(node) });
  }

  /** @param {number} node */
  #zoomed(node) {
    this.flame.zoomTo(node);
    this.#showCrumbs();
    this.#showMatched();
    if (this.flame.selected >= 0) details(this.app, this.#details, this.tree, this.flame.selected, node);
  }

  /** Where what was too small for the whole is now wide enough, asks for more of it. */
  #needMore() {
    const { tree } = this;
    if (!tree?.graph.pruned) return;
    const node = tree.find(this.app.state.zoom);
    const share = tree.weight[node] / (tree.weight[0] || 1);
    let wanted = NODES;
    while (wanted < MOST && wanted * share < NODES / 4) wanted *= 4;
    this.#nodes = Math.max(this.#nodes, wanted);
  }

  #find() {
    const found = pattern(this.app.state.search);
    return found && this.tree ? matches(this.tree, found) : null;
  }

  /** Marks what the search finds. */
  search() {
    this.flame.found = this.#find();
    this.flame.draw();
    this.#showMatched();
  }

  #showMatched() {
    const { tree, flame } = this;
    const output = byId("matched", HTMLOutputElement);
    if (!tree || !flame.found) {
      output.value = "";
      return;
    }
    const { value, base, nodes } = matched(tree, flame.found, flame.zoom);
    const of = flame.zoom > 0 ? " of what is zoomed to" : "";
    const share = percent(value / (tree.value(flame.zoom) || 1));
    output.value = !nodes ? "no match" : tree.diff
      ? `${share} now, ${percent(base / (tree.base(flame.zoom) || 1))} base${of}`
      : `${share}${of} · ${amount(value, tree.graph.unit)}`;
    output.title = `${count(nodes)} places in the tree`;
  }

  #showCrumbs() {
    const { tree, flame } = this;
    if (!tree) return;
    const path = tree.path(flame.zoom);
    const shown = path.length > 7 ? [path[0], -1, ...path.slice(-5)] : path;
    this.#crumbs.replaceChildren(...shown.map((node) => node < 0 ? el("span", {}, "…")
      : el("button", { type: "button", title: short(tree.name(node)), "aria-current": node === flame.zoom ? "location" : undefined, click: () => this.zoomTo(node) }, short(tree.name(node), 60))));
    const total = el("span", { class: "soft" }, tree.diff
      ? `now ${amount(tree.value(flame.zoom), tree.graph.unit)}, base ${amount(tree.base(flame.zoom), tree.graph.unit)}`
      : `${amount(tree.value(flame.zoom), tree.graph.unit)}${flame.zoom === 0 && tree.graph.samples !== undefined ? ` · ${count(tree.graph.samples)} ${this.app.noun}` : ` · ${percent(tree.value(flame.zoom) / (tree.total || 1))}`}`);
    this.#crumbs.append(total);
  }

  #showLegend() {
    const { tree, app } = this;
    const sample = (/** @type {string} */ colour, /** @type {string} */ text) => {
      const swatch = el("i", { class: "swatch" });
      swatch.style.background = colour;
      return el("span", {}, swatch, text);
    };
    if (tree?.diff) {
      const change = (/** @type {number} */ now, /** @type {number} */ base) => changeColour(now, base, 9, app.dark);
      this.#legend.replaceChildren(sample(change(0, 1), "less"), sample(change(1, 1.6), ""), sample(changeColour(1, 1, 0, app.dark), "noise"), sample(change(1.6, 1), ""), sample(change(1, 0), "more"));
      return;
    }
    if (tree && app.state.colour !== "kind") {
      const words = wordColours(tree.graph, app.state.colour, app.dark).slice(0, innerWidth > 1180 ? 7 : 4);
      return this.#legend.replaceChildren(...words.map(([word, colour]) => sample(colour, short(word, 24))));
    }
    const kinds = new Set(tree?.graph.kinds ?? []);
    const states = tree ? Object.keys(STATES).filter((state) => tree.graph.names.includes(state)) : [];
    this.#legend.replaceChildren(
      ...LEGEND.filter(([kind]) => kinds.has(kind) && !(states.length && kind === "note")).map(([kind, text]) => sample(kindSample(kind, app.dark), text)),
      ...(states.length ? [sample(kindSample("user", app.dark, true), "user, waiting")] : []),
      ...states.map((state) => sample(stateColour(state, app.dark), state.slice(1, -1))),
    );
  }

  /** @param {number} node */
  #selected(node) {
    const { tree, flame, app } = this;
    if (!tree) return;
    details(app, this.#details, tree, node, flame.zoom);
    byId("announce", HTMLElement).textContent = `${short(tree.name(node))}, ${values(tree, node, flame.zoom).map((pair) => pair.join(" ")).join(", ")}`;
  }

  /** @param {number} node @param {number} x @param {number} y */
  #menu(node, x, y) {
    const { tree, app } = this;
    if (tree) frameMenu(app, { name: tree.name(node), kind: tree.kind(node), zoom: () => this.zoomTo(node) }, x, y);
  }
}
