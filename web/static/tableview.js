/*
 * The table of functions: self and total, sorted by any column, filtered by the search. Where two
 * views are compared: what changed most.
 */

import { Loader } from "./api.js";
import { SURE, changeColour, kindSample } from "./colours.js";
import { byId, el } from "./dom.js";
import { amount, count, digits, percent } from "./format.js";
import { certainty, change, frameMenu, parts, short } from "./frame.js";
import { Notice } from "./notice.js";
import { shortModule } from "./packages.js";
import { pattern } from "./search.js";
import { VirtualList } from "./virtual.js";

/** @typedef {import("./types.js").Table} Table */
/** @typedef {import("./types.js").TableRow} Row */

const LIMIT = 5000;
const HEIGHT = 24;

/** @typedef {{key: string, title: string, value: (row: Row) => number | string, cell: (row: Row) => (Node | string)[], number: boolean}} Column */

export class TableView {
  /** @type {Table | null} */
  #table = null;
  /** @type {Row[]} */
  #rows = [];
  #sort = { key: "self", down: true };
  #at = 0;
  #most = 1;
  #head = el("div", { class: "thead", role: "row" });
  #host = el("div", { class: "table", role: "table", "aria-label": "Functions", tabindex: 0, keydown: (event) => this.#key(event) }, el("div", { role: "rowgroup", class: "headgroup" }, this.#head));
  #note = el("div", { class: "details soft" });
  element = el("div", { class: "tablebox" }, this.#host, this.#note);
  #notice = new Notice(this.element);
  #list = new VirtualList(this.#host, HEIGHT, (index) => this.#row(index));

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** @type {Loader<Table>} */
    this.loader = new Loader((busy) => this.#notice.busy(busy), (table) => this.#show(table), (error) => this.#notice.fail(error, () => this.update()));
  }

  update() {
    this.app.load(this.loader, "table", this.app.comparedWords({ limit: LIMIT }));
  }

  /** Follows a change of the page's state. @param {Set<string>} changed */
  changed(changed) {
    this.update();
    if (changed.has("search")) this.#arrange();
  }

  recolour() {
    this.#list.draw();
  }

  /** True if two views are compared. */
  get #diff() {
    return this.#table?.base_total !== undefined;
  }

  /** @returns {Column[]} */
  get #columns() {
    const { total = 1, base_total: base = 1, unit = "" } = this.#table ?? {};
    const part = (/** @type {number} */ value, /** @type {number} */ of) => value / (of || 1);
    const shared = (/** @type {number} */ value, /** @type {number} */ of) => [el("b", {}, percent(part(value, of))), el("span", { class: "soft" }, amount(value, unit))];
    const data = { total, base_total: base, unit, in_use: this.#table?.in_use };
    const less = (/** @type {number[]} */ [now, then]) => now - then;
    const whole = (/** @type {Row} */ row) => less(parts(data, row.total, row.base_total ?? 0));
    const own = (/** @type {Row} */ row) => less(parts(data, row.self, row.base_self ?? 0));
    /** @type {Column[]} */
    const columns = [
      { key: "self", title: "Self", number: true, value: (row) => row.self, cell: (row) => [this.#bar(part(row.self, this.#most)), ...shared(row.self, total)] },
      { key: "total", title: "Total", number: true, value: (row) => row.total, cell: (row) => shared(row.total, total) },
    ];
    if (this.#diff) {
      columns.push(
        { key: "base", title: "Base total", number: true, value: (row) => row.base_total ?? 0, cell: (row) => shared(row.base_total ?? 0, base) },
        { key: "change", title: "Change, total", number: true, value: whole, cell: (row) => [this.#change(row)] },
        { key: "own", title: "Change, self", number: true, value: own, cell: (row) => [change(data, row.self, row.base_self ?? 0)] },
        { key: "z", title: "Certainty", number: true, value: (row) => Math.abs(row.z ?? 0), cell: (row) => [this.#sure(row) ? `sure (z ${digits(row.z ?? 0).replace("-", "\u2212")})` : "noise"] },
      );
    }
    columns.push(
      { key: "name", title: "Function", number: false, value: (row) => row.name.toLowerCase(), cell: (row) => [this.#swatch(row), el("span", { class: "name", title: short(row.name, 2000) }, short(row.name, 400))] },
      { key: "module", title: "Module", number: false, value: (row) => row.module, cell: (row) => [el("span", { class: "soft name", title: short(row.module, 1000) }, shortModule(row.module))] },
    );
    return columns;
  }

  /** @param {Row} row */
  #sure(row) {
    return row.significant ?? Math.abs(row.z ?? 0) >= SURE;
  }

  /** @param {Row} row */
  #change(row) {
    const data = this.#table ?? { total: 1, unit: "" };
    const base = row.base_total ?? 0;
    const cell = el("span", { class: "change", title: certainty(row.z ?? 0) }, change(data, row.total, base));
    const [now, then] = parts(data, row.total, base);
    cell.style.background = changeColour(now, then, this.#sure(row) ? 9 : 0, this.app.dark);
    return cell;
  }

  /** @param {number} share */
  #bar(share) {
    const bar = el("i", { class: "bar" });
    bar.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
    return bar;
  }

  /** @param {Row} row */
  #swatch(row) {
    const swatch = el("i", { class: "swatch", title: row.kind });
    swatch.style.background = kindSample(row.kind, this.app.dark);
    return swatch;
  }

  /** @param {Table} table */
  #show(table) {
    const before = this.#diff;
    this.#table = table;
    if (this.#diff !== before) this.#sort = { key: !this.#diff ? "self" : table.in_use ? "own" : "change", down: true };
    this.#host.classList.toggle("diff", this.#diff);
    this.#arrange();
  }

  /** Sorts and filters. */
  #arrange() {
    const table = this.#table;
    if (!table) return;
    const found = pattern(this.app.state.search);
    const column = this.#columns.find(({ key }) => key === this.#sort.key) ?? this.#columns[0];
    const rows = table.functions.filter((row) => !found || found.test(row.name.slice(0, 2000)) || found.test(row.module));
    // What changed most is at the top, be it more or less; what is noise is below.
    const size = column.key === "change" || column.key === "own" ? (/** @type {Row} */ row) => (this.#sure(row) ? 10 : 0) + Math.abs(Number(column.value(row))) : column.value;
    const keyed = rows.map((row) => ({ row, value: size(row) }));
    const sign = this.#sort.down ? -1 : 1;
    keyed.sort((a, b) => sign * (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
    const at = this.#rows[this.#at];
    this.#rows = keyed.map(({ row }) => row);
    this.#most = this.#rows.reduce((most, row) => Math.max(most, row.self), 0) || 1;
    this.#at = Math.max(0, this.#rows.findIndex((row) => row.name === at?.name && row.kind === at.kind));
    this.#heads();
    this.#host.setAttribute("aria-rowcount", String(this.#rows.length + 1));
    this.#list.show(this.#rows.length);
    this.#tell(table, rows);
  }

  /** @param {Table} table @param {Row[]} rows */
  #tell(table, rows) {
    const { state } = this.app;
    const self = rows.reduce((sum, row) => sum + row.self, 0);
    if (rows.length) this.#notice.hide();
    else this.#notice.say(state.search ? "No function matches" : "No samples here", state.search ? "The search leaves nothing of this table." : "Nothing was sampled in this range that passes the filters.", state.search ? [{ text: "Clear the search", run: () => this.app.store.set({ search: "" }) }] : []);
    this.#note.textContent = `${count(rows.length)}${rows.length >= LIMIT ? " (the largest)" : ""} functions · self together ${percent(self / (table.total || 1))}${this.#diff ? " · grey: sampling noise explains the change" : ""} · Enter or click: sandwich, right-click: more`;
    if (state.show === "table") byId("matched", HTMLOutputElement).value = state.search ? `${count(rows.length)} functions · self ${percent(self / (table.total || 1))}` : "";
  }

  #heads() {
    this.#head.replaceChildren(...this.#columns.map(({ key, title, number }) => {
      const sorted = this.#sort.key === key;
      return el("div", { role: "columnheader", class: `c-${key}`, "aria-sort": sorted ? (this.#sort.down ? "descending" : "ascending") : "none" },
        el("button", { type: "button", click: () => this.#sortBy(key, number) }, title, sorted ? (this.#sort.down ? " ↓" : " ↑") : ""));
    }));
  }

  /** @param {string} key @param {boolean} number */
  #sortBy(key, number) {
    this.#sort = { key, down: this.#sort.key === key ? !this.#sort.down : number };
    this.#arrange();
    this.#head.querySelector(`.c-${key} button`)?.dispatchEvent(new Event("focus"));
  }

  /** @param {number} index */
  #row(index) {
    const row = this.#rows[index];
    return el("div", {
      role: "row", class: `trow${index === this.#at ? " at" : ""}`, "aria-rowindex": index + 2,
      click: () => this.#open(index),
      contextmenu: (event) => {
        event.preventDefault();
        this.#at = index;
        frameMenu(this.app, row, event.clientX, event.clientY);
      },
    }, ...this.#columns.map(({ key, cell }) => el("div", { role: "cell", class: `c-${key}` }, ...cell(row))));
  }

  /** @param {number} index */
  #open(index) {
    const row = this.#rows[index];
    if (row && row.kind !== "group" && row.kind !== "other") this.app.store.set({ show: "sandwich", function: row.name });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.target !== this.#host) return;
    const page = Math.max(1, Math.floor(this.#host.clientHeight / HEIGHT) - 2);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.#rows.length, End: this.#rows.length }[event.key];
    if (by !== undefined) {
      this.#at = Math.max(0, Math.min(this.#rows.length - 1, this.#at + by));
      this.#list.reveal(this.#at);
      const row = this.#rows[this.#at];
      if (row) byId("announce", HTMLElement).textContent = `${short(row.name)}, self ${percent(row.self / (this.#table?.total || 1))}, total ${percent(row.total / (this.#table?.total || 1))}`;
    } else if (event.key === "Enter") this.#open(this.#at);
    else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
      const { left, top } = this.#host.getBoundingClientRect();
      if (this.#rows[this.#at]) frameMenu(this.app, this.#rows[this.#at], left + 200, top + 60);
    } else return;
    event.preventDefault();
  }
}
