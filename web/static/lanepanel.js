/*
 * The lanes on the page: a row for each, with its name, what it tells, and a button that folds it;
 * which are shown is kept in the URL.
 */

import { Loader } from "./api.js";
import { SeriesColours, nameColour } from "./colours.js";
import { byId, el, sized } from "./dom.js";
import { tooltip } from "./float.js";
import { foldedOf, foldedWord } from "./lanes.js";
import { EventLane, LatencyLane, RunLane, StackLane } from "./laneviews.js";
import { runWords } from "./markcard.js";
import { xOf } from "./plot.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./types.js").Timeline} Timeline */
/** @typedef {import("./types.js").Processes} Processes */
/** @typedef {import("./laneviews.js").LaneView} LaneView */

/** Height of a lane that is folded. */
const FOLDED = 20;
/** Runs that are asked for. */
const LIMIT = 1000;

/** The order of kinds: which commands ran, how long they waited, what happened, what else was sampled. @type {Record<string, number>} */
const ORDER = { stacks: 2, latency: 0, events: 1 };

/** One lane on the page. */
class Row {
  /** What the arrow keys are at; -1 for nothing. */
  at = -1;
  #canvas = el("canvas");
  #words = el("span", { class: "told" });
  #fold = el("button", { type: "button", class: "fold" });
  #track = el("div", { class: "track", tabindex: 0, role: "application", "aria-roledescription": "lane" });
  element = el("div", { class: "lane" }, this.#track, el("div", { class: "lanehead" }, this.#fold, this.#words));

  /**
   * @param {LanePanel} panel
   * @param {LaneView} view
   */
  constructor(panel, view) {
    this.panel = panel;
    this.view = view;
    this.#track.append(this.#canvas);
    this.#fold.addEventListener("click", () => panel.fold(this.view.key));
    this.#track.addEventListener("keydown", (event) => this.#key(event));
    this.#track.addEventListener("contextmenu", (event) => {
      if (!this.view.menu || this.folded) return;
      event.preventDefault();
      this.view.menu(panel.line.time(event), this.#y(event), event);
    });
    this.#track.addEventListener("blur", () => this.#stop(-1));
    panel.line.attach({
      host: this.#track,
      onPoint: (time, event) => this.#point(time, event),
      onClick: (time, event) => (this.folded ? panel.fold(this.view.key) : this.view.click(time, this.#y(event), event)),
      marked: () => (this.folded ? null : this.view.marked),
    });
  }

  get folded() {
    return this.panel.folded.has(this.view.key);
  }

  /** Takes it off the page. */
  remove() {
    this.panel.line.detach(this.#track);
    this.element.remove();
  }

  /** @param {LaneView} view of the same lane, with other data */
  renew(view) {
    this.view = view;
    this.at = -1;
  }

  paint() {
    const { view, folded } = this;
    const { frame } = this.panel.line;
    const height = folded ? FOLDED : view.height;
    this.#track.style.height = `${height}px`;
    this.element.classList.toggle("low", height < 40);
    this.#fold.setAttribute("aria-expanded", String(!folded));
    this.#fold.textContent = view.title;
    this.#fold.title = folded ? `Unfold ${view.title}` : `Fold ${view.title}`;
    this.#track.setAttribute("aria-label", `${view.title}: ${view.words(null)}. ${view.help}`);
    const context = sized(this.#canvas, frame.width, height);
    context.clearRect(0, 0, frame.width, height);
    view.paint(context, height, folded);
    this.tell(null);
  }

  /** What the lane is at a moment, or in all. @param {number | null} time */
  tell(time) {
    const text = this.view.words(time);
    if (this.#words.textContent !== text) this.#words.textContent = text;
    this.#words.title = text;
  }

  /** @param {MouseEvent} event */
  #y(event) {
    return event.clientY - this.#track.getBoundingClientRect().top;
  }

  /** @param {number | null} time @param {PointerEvent} event */
  #point(time, event) {
    this.panel.tell(time);
    if (time === null) this.view.marked = null;
    const tip = time === null || this.folded ? null : this.view.tip(time, this.#y(event));
    this.#track.classList.toggle("hit", tip !== null);
    tooltip(tip, event.clientX, event.clientY);
  }

  /** Goes to what the arrow keys are at. @param {number} at */
  #stop(at) {
    const { view, panel } = this;
    const { frame } = panel.line;
    this.at = at;
    view.marked = null;
    tooltip(null);
    if (at >= 0) {
      const { from, to, text } = view.stop(at);
      view.marked = { from, to };
      byId("announce", HTMLElement).textContent = text;
      const box = this.#track.getBoundingClientRect();
      tooltip([text], box.left + Math.min(Math.max(xOf(frame, from), 0), box.width), box.bottom - 8);
    }
    this.paint();
    panel.line.drawAbove();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { view } = this;
    const last = view.stops() - 1;
    const box = this.#track.getBoundingClientRect();
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => this.#stop(Math.max(0, this.at - 1)),
      ArrowRight: () => this.#stop(Math.min(last, this.at + 1)),
      Home: () => this.#stop(0),
      End: () => this.#stop(last),
      Enter: () => {
        if (this.at < 0) return;
        const { from, to } = view.stop(this.at);
        tooltip(null);
        view.enter(this.at, { clientX: box.left + Math.max(0, Math.min(box.width, xOf(this.panel.line.frame, (from + to) / 2))), clientY: box.bottom });
      },
      Escape: () => this.#stop(-1),
    };
    const run = keys[event.key];
    if (!run || this.folded || (event.key === "Escape" && this.at < 0)) {
      if ("+-=".includes(event.key)) this.panel.line.key(event);
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    if (last >= 0) run();
  }
}

export class LanePanel {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #host = byId("lanes", HTMLElement);
  #toggle = byId("lanes-toggle", HTMLButtonElement);
  /** @type {Timeline | null} */
  #data = null;
  /** @type {Processes & {error?: string}} */
  #runs = { processes: [], count: 0, more: 0 };
  /** @type {Loader<Processes>} */
  #loader = new Loader(() => {}, (runs) => this.#took(runs), ({ message }) => this.#took({ processes: [], count: 0, more: 0, error: message }));
  /** @type {Set<string>} keys */
  folded = new Set();

  /**
   * @param {App} app
   * @param {import("./timeline.js").TimeLine} line
   * @param {SeriesColours} colours of the time line
   */
  constructor(app, line, colours) {
    this.app = app;
    this.line = line;
    this.colours = colours;
    this.#toggle.addEventListener("click", () => this.toggle());
  }

  get open() {
    return this.app.state.lanes !== "off";
  }

  /** Shows all lanes, or none. */
  toggle() {
    this.app.store.set({ lanes: this.open ? "off" : "" });
  }

  /** Folds a lane, or unfolds it. @param {string} key */
  fold(key) {
    const folded = new Set(this.folded);
    if (!folded.delete(key)) folded.add(key);
    this.app.store.set({ folded: foldedWord(folded) }, { replace: true });
  }

  /** Asks for the commands that ran in what the time line shows. @param {import("./lanes.js").Range} window */
  update(window) {
    const { app } = this;
    const known = new Set((app.recording.lanes ?? []).map(({ name }) => name));
    if (this.open && (known.has("exec") || known.has("exit"))) {
      app.load(this.#loader, "processes", runWords(app, window, LIMIT));
    }
    this.#fill();
  }

  /** @param {Processes & {error?: string}} runs */
  #took(runs) {
    this.#runs = runs;
    this.#fill();
  }

  /** @param {Timeline} data */
  show(data) {
    this.#data = data;
    this.#fill();
  }

  /** Makes a row for each lane, and keeps those that are there. */
  #fill() {
    const { app, line } = this;
    const data = this.#data;
    const ran = this.#runs.processes.length > 0 || this.#runs.error !== undefined;
    const lanes = data?.lanes ?? [];
    this.#toggle.hidden = !lanes.length && !ran;
    this.#toggle.setAttribute("aria-pressed", String(this.open));
    this.folded = foldedOf(app.state.folded, ran);
    /** @type {import("./laneviews.js").Ground} */
    const ground = { app, frame: line.frame, columns: data ?? { start: 0, step: 1 }, runs: this.#runs.processes, colour: (name) => this.#colour(name) };
    const sorted = [...lanes].sort((a, b) => (ORDER[a.kind] ?? 3) - (ORDER[b.kind] ?? 3));
    /** @type {LaneView[]} */
    const views = this.open ? [...(ran ? [new RunLane(ground, this.#runs)] : []),
      ...sorted.map((lane) => lane.kind === "latency" ? new LatencyLane(ground, lane) : lane.kind === "events" ? new EventLane(ground, lane) : new StackLane(ground, lane, lanes.some((other) => other !== lane && other.source === lane.source)))] : [];
    const keys = new Set(views.map(({ key }) => key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    views.forEach((view, i) => {
      let row = this.#rows.get(view.key);
      if (row) row.renew(view);
      else this.#rows.set(view.key, (row = new Row(this, view)));
      // What stands where it should is not moved: it would lose the focus.
      if (this.#host.children[i] !== row.element) this.#host.insertBefore(row.element, this.#host.children[i] ?? null);
    });
    this.#host.hidden = views.length === 0;
    this.paint();
    line.drawAbove();
  }

  /** A command has the colour that its series has. @param {string} name */
  #colour(name) {
    const at = this.#data?.series.findIndex((series) => series.name === name) ?? -1;
    return at >= 0 ? this.line.frame.colours[at] : nameColour(name, this.app.dark);
  }

  paint() {
    const { frame } = this.line;
    if (!frame.width || this.#host.hidden) return;
    this.#host.style.setProperty("--track", `${frame.width}px`);
    for (const row of this.#rows.values()) row.paint();
  }

  /** What each lane is at a moment. @param {number | null} time */
  tell(time) {
    for (const row of this.#rows.values()) row.tell(time);
  }
}
