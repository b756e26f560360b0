/*
 * Time line and heat map on the page: what they ask for, their legend, and what a selection in them
 * does to the view.
 */

import { Loader } from "./api.js";
import { SeriesColours } from "./colours.js";
import { byId, el, settled } from "./dom.js";
import { line, menu, tooltip } from "./float.js";
import { amount, digits, isTime, level, levelName, percent, span } from "./format.js";
import { HeatMap } from "./heatmap.js";
import { LanePanel } from "./lanepanel.js";
import { Notice } from "./notice.js";
import { xOf } from "./plot.js";
import { NO_FILTER, onlyWord } from "./state.js";
import { TimeLine } from "./timeline.js";
import { momentWord, parseMoment, showMoment, showRange } from "./time.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./types.js").Timeline} Timeline */
/** @typedef {import("./types.js").Heatmap} Heatmap */

/** Series that have a colour of their own. */
const SERIES = 8;
/** Times that each CPU is sampled in a column, at least: fewer, and a busy CPU looks like 0.7 or 1.3. */
const SAMPLES = 8;
/** The longest range whose heat map opens by itself, and the longest that one covers: an hour. */
const HOUR = 3600e3;
/** Height of a window that has room for lanes and heat map. */
const TALL = 1000;
/** Labels whose groups can be chosen as a filter, and the words of the view for it. */
const FILTERS = new Set(["comm", "exe", "cmdline", "uid", "cgroup", "container", "unit", "service", "pod", "namespace", "container_name", "process", "thread"]);

export class TimePanel {
  /** @type {LanePanel} */
  lanes;
  #colours = new SeriesColours();
  #host = byId("timeline", HTMLElement);
  #heatHost = byId("heatmap", HTMLElement);
  #notice = new Notice(this.#host);
  #heatNotice = new Notice(this.#heatHost);

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    const { store } = app;
    this.line = new TimeLine(this.#host, app.inks, {
      onSelect: ({ from, to }) => store.set({ from: momentWord(from), to: momentWord(to), live: false, patch_from: "", patch_to: "" }),
      onBase: ({ from, to }) => store.set({ base_from: momentWord(from), base_to: momentWord(to), base: "" }),
      onWindow: settled(180, () => this.#keepWindow()),
      onPoint: (time, x, y) => this.#point(time, x, y),
      onPaint: () => this.lanes.paint(),
    });
    this.lanes = new LanePanel(app, this.line, this.#colours);
    this.heat = new HeatMap(this.#heatHost, app.inks, {
      onSelect: ({ from, to }) => store.set({ patch_from: momentWord(from), patch_to: momentWord(to), live: false }),
      onPoint: (cell, x, y) => this.#pointHeat(cell, x, y),
    });
    this.#loader = new Loader((busy) => this.#notice.busy(busy), (data) => this.#show(data), (error) => this.#notice.fail(error, () => this.update()));
    this.#heatLoader = new Loader((busy) => this.#heatNotice.busy(busy), (data) => this.#showHeat(data), (error) => this.#heatNotice.fail(error, () => this.update()));
    byId("heat-toggle", HTMLButtonElement).addEventListener("click", () => this.toggleHeat());
    byId("zoom-in", HTMLButtonElement).addEventListener("click", () => this.zoomToSelection());
    byId("zoom-out", HTMLButtonElement).addEventListener("click", () => this.zoomOut());
    new ResizeObserver(settled(200, () => this.update())).observe(this.#host);
  }

  /** @type {Loader<Timeline>} */
  #loader;
  /** @type {Loader<Heatmap>} */
  #heatLoader;

  /** What the time line shows of the recording. */
  get window() {
    const { state, extent } = this.app;
    const from = parseMoment(state.window_from, extent) ?? extent.start;
    return { from, to: Math.max(from + 1, parseMoment(state.window_to, extent) ?? extent.end) };
  }

  /** Asks for what is to be seen now, and shows what is known. */
  update() {
    const { app, line, heat } = this;
    const { state, range, extent } = app;
    Object.assign(line.frame, this.window, { utc: state.utc, inks: app.inks, cpus: (app.source?.name ?? "cpu") === "cpu" });
    line.limits = { from: extent.start, to: extent.end };
    line.selection = range;
    line.base = app.base;
    line.patch = heat.patch = state.patch_from ? app.shown : null;
    this.#recolour();
    line.draw();
    app.load(this.#loader, "timeline", app.words(this.window, { columns: this.#columns, top: SERIES }));
    this.lanes.update(this.window);
    this.#updateHeat();
    byId("zoom-in", HTMLButtonElement).disabled = this.window.from === range.from && this.window.to === range.to;
    byId("zoom-out", HTMLButtonElement).disabled = !state.window_from && !state.window_to;
  }

  /** As many columns as can be told apart, each with enough samples to say something. */
  get #columns() {
    const { from, to } = this.window;
    const samples = ((to - from) / 1000) * (this.app.lowestRate({ from, to }) || Infinity);
    return Math.round(Math.max(20, Math.min(1000, this.#host.clientWidth / 2, samples / SAMPLES)));
  }

  /** True if the heat map is open. */
  get heatOpen() {
    const { state, range, recording } = this.app;
    if (state.heat) return state.heat === "on";
    // More lanes than that of commands leave little for what is below, a heat map even less.
    const lanes = this.lanes.open && (recording.lanes ?? []).some(({ name }) => name !== "exec" && name !== "exit");
    return range.to - range.from <= HOUR && innerWidth >= 700 && (!lanes || innerHeight >= TALL);
  }

  toggleHeat() {
    const open = this.heatOpen;
    this.app.store.set({ heat: open ? "off" : "on", ...(open ? { patch_from: "", patch_to: "" } : {}) });
  }

  #updateHeat() {
    const { app, heat, heatOpen } = this;
    const { state } = app;
    const toggle = byId("heat-toggle", HTMLButtonElement);
    toggle.setAttribute("aria-expanded", String(heatOpen));
    this.#heatHost.hidden = !heatOpen;
    heat.utc = state.utc;
    heat.inks = app.inks;
    if (heat.dark !== app.dark) {
      heat.dark = app.dark;
      heat.recolour();
    }
    heat.draw();
    this.#showPatch();
    this.#showNote();
    if (heatOpen) app.load(this.#heatLoader, "heatmap", app.words(app.range));
  }

  /** What the heat map is of, in words. */
  #showNote() {
    const { data } = this.heat;
    const { range, state } = this.app;
    const cut = data && range.to - range.from > HOUR + 1000;
    const hour = cut ? `the last hour of the range, ${showRange(data.start, data.start + data.seconds * 1000, state.utc)} · ` : "";
    const rows = data?.rows ?? 50;
    const hz = this.app.lowestRate(range);
    // Seldom sampled, a cell may be empty because nobody looked.
    const seldom = hz > 0 && hz < rows ? `at ${hz} Hz each CPU is seen in ${Math.round((hz / rows) * 100)}% of the cells, so an empty one need not be idle · ` : "";
    const what = this.app.inUse ? "when that was allocated which is in use at the end of the range · " : "";
    byId("heat-note", HTMLElement).textContent = !this.heatOpen ? (what ? "when memory in use was allocated" : "which 20 ms were busy")
      : what + `a column is 1 s, a row ${1000 / rows} ms of it · ${hour}${seldom}${this.app.inUse ? "click a cell: what was in use at its end" : "click a cell or drag over some: their flame graph"}`;
  }

  #showPatch() {
    const { state, shown, store } = this.app;
    const box = byId("patch", HTMLElement);
    box.hidden = !state.patch_from;
    if (!state.patch_from) return;
    box.replaceChildren(
      el("span", {}, `below: ${showMoment(shown.from, { utc: state.utc, resolution: 1, day: false })} + ${span((shown.to - shown.from) / 1000)}`),
      el("button", { type: "button", click: () => store.set({ patch_from: "", patch_to: "" }) }, "Show the whole range"),
    );
  }

  /** @param {Timeline} data */
  #show(data) {
    this.line.data = data;
    this.#recolour();
    const any = data.series.some((series) => series.total > 0) || data.other.some((value) => value > 0);
    if (any || data.lanes.length) this.#notice.hide();
    else this.#notice.say("Nothing here", this.app.recording.live ? "No sample yet: they appear within 10 s of being taken." : "This recording has no samples that match.");
    this.#legend(data);
    this.lanes.show(data);
    this.line.paint();
  }

  #recolour() {
    const { data, frame } = this.line;
    frame.colours = this.#colours.of((data?.series ?? []).map((series) => series.name), this.app.dark);
    frame.other = this.app.dark ? "#555d6a" : "#c3c9d1";
  }

  /** @param {Timeline} data */
  #legend(data) {
    byId("unit", HTMLElement).textContent = levelName(data, this.app.source?.name ?? "");
    // As if it were one column; of what is in use, as it is in the last one.
    const whole = { ...data, step: data.other.length * data.step };
    const rest = data.in_use ? data.other[data.other.length - 1] ?? 0 : data.other.reduce((sum, value) => sum + value, 0);
    const total = data.series.reduce((sum, series) => sum + series.total, rest);
    const item = (/** @type {string} */ name, /** @type {number} */ value, /** @type {string} */ colour, /** @type {boolean} */ own) => {
      const swatch = el("i", { class: "swatch" });
      swatch.style.background = colour;
      const average = level(whole, value);
      const strong = (/** @type {string | null} */ name) => () => {
        this.line.frame.strong = name;
        this.line.draw();
      };
      return el("li", {}, el("button", {
        type: "button", disabled: !own, title: `${name}: ${amount(value, data.unit)}, ${percent(value / (total || 1))}`,
        mouseenter: strong(name), mouseleave: strong(null), focus: strong(name), blur: strong(null),
        click: (event) => this.#pick(name, event),
      }, swatch, el("span", {}, name || "(none)"), el("b", {}, average)));
    };
    byId("legend", HTMLElement).replaceChildren(
      ...data.series.map((series, i) => item(series.name, series.total, this.line.frame.colours[i], true)),
      ...(rest > 0 ? [item("other", rest, this.line.frame.other, false)] : []),
    );
  }

  /**
   * What can be done with a series.
   * @param {string} name
   * @param {MouseEvent} event
   */
  #pick(name, event) {
    const { store, state } = this.app;
    const { by } = state;
    const button = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    if (!FILTERS.has(by)) return;
    const only = onlyWord(by, name);
    menu(name || "(none)", [
      { text: `Only this ${by}`, run: () => store.set({ only: [...new Set([...state.only, only])] }) },
      { text: `Only this ${by}, without other filters`, run: () => store.set({ ...NO_FILTER, only: [only] }) },
      null,
      { text: "Group by process", run: () => store.set({ only: [...new Set([...state.only, only])], by: "process" }) },
      { text: "Group by thread", run: () => store.set({ only: [...new Set([...state.only, only])], by: "thread" }) },
    ], button.left, button.bottom);
  }

  /** @param {Heatmap} data */
  #showHeat(data) {
    this.heat.show(data);
    const any = data.values.some((value) => value > 0);
    if (any) this.#heatNotice.hide();
    else this.#heatNotice.say("No samples in this range", "A range in which something ran has a heat map.");
    this.#showNote();
  }

  #keepWindow() {
    const { from, to } = this.line.frame;
    const { extent, store } = this.app;
    const whole = from <= extent.start && to >= extent.end;
    store.set({ window_from: whole ? "" : momentWord(from), window_to: whole ? "" : momentWord(to) }, { replace: true });
  }

  zoomToSelection() {
    const { from, to } = this.app.range;
    this.app.store.set({ window_from: momentWord(from), window_to: momentWord(to) });
  }

  zoomOut() {
    this.app.store.set({ window_from: "", window_to: "" });
  }

  /** @param {number | null} time @param {number} x @param {number} y */
  #point(time, x, y) {
    const { data, frame } = this.line;
    this.lanes.tell(time);
    if (time === null || !data) return tooltip(null);
    const column = Math.floor((time - data.start) / data.step);
    if (column < 0 || column >= data.other.length) return tooltip(null);
    const rows = data.series.map((series, i) => ({ name: series.name, value: series.values[column] ?? 0, colour: frame.colours[i] }))
      .concat({ name: "other", value: data.other[column], colour: frame.other })
      .filter(({ value }) => value > 0).sort((a, b) => b.value - a.value);
    const sum = rows.reduce((sum, { value }) => sum + value, 0);
    const near = data.marks.filter((mark) => Math.abs(xOf(frame, mark.time) - xOf(frame, time)) < 5);
    tooltip([
      el("strong", {}, showMoment(data.start + column * data.step, { utc: frame.utc, resolution: data.step })),
      el("span", { class: "soft" }, ` + ${span(data.step / 1000)}`),
      line(levelName(data, this.app.source?.name ?? ""), level(data, sum)),
      ...rows.slice(0, 8).map(({ name, value, colour }) => line(name, level(data, value), colour)),
      ...near.slice(0, 6).map((mark) => el("div", { class: "mark" }, `${showMoment(mark.time, { utc: frame.utc, resolution: 1, day: false })}  ${mark.text}`)),
      ...(near.length > 6 ? [el("div", { class: "mark" }, `and ${near.length - 6} more`)] : []),
    ], x, y);
  }

  /** @param {{from: number, to: number, value: number} | null} cell @param {number} x @param {number} y */
  #pointHeat(cell, x, y) {
    const { data } = this.heat;
    if (!cell || !data) return tooltip(null);
    const shown = (/** @type {number} */ value) => isTime(data.unit) ? digits(value / (1e9 / data.rows)) : amount(value, data.unit);
    tooltip([
      el("strong", {}, showMoment(cell.from, { utc: this.app.state.utc, resolution: 1 })),
      el("span", { class: "soft" }, ` + ${span((cell.to - cell.from) / 1000)}`),
      line(isTime(data.unit) ? levelName(data, this.app.source?.name ?? "") : "here", shown(cell.value)),
      line("at most, in a cell", shown(this.heat.most)),
    ], x, y);
  }
}
