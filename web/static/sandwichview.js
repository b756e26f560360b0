/*
 * The sandwich: a function, all that calls it above, all that it calls below.
 */

import { Loader } from "./api.js";
import { el } from "./dom.js";
import { FlameGraph } from "./flame.js";
import { tooltip } from "./float.js";
import { amount, percent } from "./format.js";
import { boxTip, frameMenu, short } from "./frame.js";
import { Notice } from "./notice.js";
import { Tree } from "./tree.js";
import { boxColours } from "./waits.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./types.js").Flamegraph} Flamegraph */
/** @typedef {{callers: Flamegraph, callees: Flamegraph}} Answer */

/** One half: a flame graph that zooms by itself. */
class Half {
  /** @type {Tree | null} */
  tree = null;
  /** @type {(node: number) => string} */
  #colours = () => "";

  /**
   * @param {App} app
   * @param {boolean} up
   * @param {string} label
   */
  constructor(app, up, label) {
    this.app = app;
    this.up = up;
    this.host = el("div", { class: "flame", tabindex: 0, role: "application", "aria-roledescription": "flame graph", "aria-label": label });
    this.flame = new FlameGraph(this.host, this.#look(), {
      onZoom: (node) => this.flame.zoomTo(node),
      onPoint: (box, x, y) => tooltip(box && this.tree ? boxTip(this.tree, box, this.flame.zoom) : null, x, y),
      onSelect: () => undefined,
      onMenu: (node, x, y) => {
        if (this.tree) frameMenu(app, { name: this.tree.name(node), kind: this.tree.kind(node), zoom: () => this.flame.zoomTo(node) }, x, y);
      },
    });
  }

  /** @returns {import("./flame.js").Look} */
  #look() {
    const { app } = this;
    const root = app.dark ? "#4a515e" : "#e2e4e8";
    return {
      colour: (node) => (this.tree && this.tree.function[node] >= 0 ? this.#colours(node) : root),
      merged: app.dark ? "#3a404b" : "#dfe2e7", inks: app.inks, up: this.up,
    };
  }

  recolour() {
    if (this.tree) this.#colours = boxColours(this.tree, this.app.state.colour, this.app.dark);
    this.flame.look = this.#look();
    this.flame.draw();
  }

  /** @param {Flamegraph} graph */
  show(graph) {
    const zoom = this.tree?.key(this.flame.zoom) ?? "";
    const same = this.tree?.name(0) === graph.names[graph.functions.name[graph.tree.function[0] ?? 0]];
    this.tree = new Tree(graph);
    this.recolour();
    this.flame.show(this.tree, same && zoom ? this.tree.find(zoom) : 0);
  }
}

export class SandwichView {
  #name = el("strong", {});
  #value = el("span", { class: "soft" });
  #input = el("input", { type: "search", placeholder: "name of a function", "aria-label": "Function", list: "functions", spellcheck: "false", autocomplete: "off", change: () => this.#choose() });
  #names = el("datalist", { id: "functions" });
  #halves = el("div", { class: "halves" });
  element = el("div", { class: "sandwich" }, this.#halves, this.#names);
  #notice = new Notice(this.element);

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.callers = new Half(app, true, "Callers of the function");
    this.callees = new Half(app, false, "Callees of the function");
    this.#halves.append(
      el("h2", {}, "Callers"), this.callers.host,
      el("div", { class: "middle" }, this.#name, this.#value, this.#input),
      this.callees.host, el("h2", {}, "Callees"),
    );
    /** @type {Loader<Answer>} */
    this.loader = new Loader((busy) => this.#notice.busy(busy), (answer) => this.#show(answer), (error) => this.#notice.fail(error, () => this.update()));
    /** @type {Loader<import("./types.js").Table>} */
    this.names = new Loader(() => undefined, (table) => this.#suggest(table), () => undefined);
  }

  update() {
    const { app } = this;
    const name = app.state.function;
    app.load(this.names, "table", app.words(app.shown, { limit: 200 }));
    this.#halves.hidden = false;
    this.#name.textContent = short(name, 300);
    this.#name.title = short(name, 2000);
    if (!name) {
      this.#value.textContent = "";
      this.#halves.hidden = true;
      return;
    }
    this.#notice.hide();
    const words = app.words(app.shown, { function: name });
    words.delete("inverted");
    app.load(this.loader, "sandwich", words);
  }

  /** Follows a change of the page's state. @param {Set<string>} changed */
  changed(changed) {
    this.update();
    if (changed.has("colour")) this.recolour();
  }

  recolour() {
    this.callers.recolour();
    this.callees.recolour();
  }

  #choose() {
    const name = this.#input.value;
    if (name) this.app.store.set({ function: name });
    this.#input.value = "";
  }

  /** @param {import("./types.js").Table} table */
  #suggest(table) {
    const functions = table.functions.filter(({ kind }) => kind !== "group" && kind !== "other");
    this.#names.replaceChildren(...functions.map(({ name }) => el("option", { value: name.slice(0, 300) })));
    if (this.app.state.function) return;
    this.#notice.say("Which function?", "Choose one here, or in a menu of the flame graph, the functions or the call tree: a right click.",
      functions.slice(0, 8).map(({ name }) => ({ text: short(name, 60), run: () => this.app.store.set({ function: name }) })));
  }

  /** @param {Answer} answer */
  #show({ callers, callees }) {
    this.callers.show(callers);
    this.callees.show(callees);
    const { total, unit } = callees;
    if (total > 0 || callers.total > 0) this.#notice.hide();
    else this.#notice.say("No stack with this function", "No sample of this range that passes the filters has it.", [{ text: "Another function", run: () => this.app.store.set({ function: "" }) }]);
    const all = this.app.state.function ? this.#share(callees) : null;
    this.#value.textContent = `${amount(total, unit)}${all === null ? "" : ` · self ${percent(all)} of it`}`;
  }

  /** Share of the function that is its own. @param {Flamegraph} graph */
  #share({ tree, total }) {
    if (!total || !tree.self.length) return null;
    const at = tree.total.length > 1 && tree.self[0] === 0 && tree.total[1] === tree.total[0] ? 1 : 0;
    return tree.self[at] / total;
  }
}
