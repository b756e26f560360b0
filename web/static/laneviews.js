/*
 * The kinds of lanes: what each shows, tells of a moment, and does where it is clicked. A stop is
 * what the arrow keys go to: a column, a mark, a run.
 */

import { el } from "./dom.js";
import { line } from "./float.js";
import { count, span } from "./format.js";
import { short } from "./frame.js";
import { brief, columnAt, commandOf, decades, ending, eventWords, failed, laneAmount, laneKey, laneValue, marksIn, pack, rangeOf, RUNS, spike, valueAt } from "./lanes.js";
import * as draw from "./laneplot.js";
import { isShown, openMark, openMarks, openRun, runTip, showRun } from "./markcard.js";
import { LEFT, timeOf, xOf } from "./plot.js";
import { momentWord, showMoment } from "./time.js";

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {import("./types.js").Mark} Mark */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./plot.js").Frame} Frame */
/** @typedef {import("./lanes.js").Columns} Columns */
/** @typedef {import("./lanes.js").Range} Range */
/** @typedef {Range & {text: string}} Stop */

/**
 * What every lane knows.
 * @typedef {object} Ground
 * @property {import("./app.js").App} app
 * @property {Frame} frame
 * @property {Columns} columns
 * @property {Run[]} runs
 * @property {(name: string) => string} colour of a name
 */

/**
 * @typedef {object} LaneView
 * @property {string} key
 * @property {string} title
 * @property {number} height
 * @property {string} help for who cannot see it
 * @property {(context: CanvasRenderingContext2D, height: number, folded: boolean) => void} paint
 * @property {(time: number | null) => string} words
 * @property {(time: number, y: number) => (Node | string)[] | null} tip
 * @property {(time: number, y: number, event: {clientX: number, clientY: number}) => void} click
 * @property {(time: number, y: number, event: {clientX: number, clientY: number}) => void} [menu]
 * @property {Range | null} marked what a click would select
 * @property {() => number} stops
 * @property {(i: number) => Stop} stop
 * @property {(i: number, at: {clientX: number, clientY: number}) => void} enter
 */

/** Pixels beside a mark that are still its own. */
const NEAR = 5;

/** What stands above the lines of a tooltip. @param {Ground} ground @param {number} column */
function heading({ frame, columns }, column) {
  const { from, to } = rangeOf(columns, [column, column]);
  return [el("strong", {}, showMoment(from, { utc: frame.utc, resolution: columns.step })), el("span", { class: "soft" }, ` + ${span((to - from) / 1000)}`)];
}

/** The time that some pixels on either side take. @param {Frame} frame @param {number} time @param {number} pixels @returns {Range} */
function around(frame, time, pixels) {
  const x = xOf(frame, time);
  return { from: timeOf(frame, x - pixels), to: timeOf(frame, x + pixels) };
}

/** Marks in a tooltip. @param {Ground} ground @param {Mark[]} marks */
function markLines({ frame }, marks) {
  return [
    ...marks.slice(0, 6).map((mark) => el("div", { class: "mark" }, `${showMoment(mark.time, { utc: frame.utc, resolution: 1, day: false })}  ${short(mark.text, 200)}${mark.end === undefined ? "" : `, ${span((mark.end - mark.time) / 1000)}`}`)),
    ...(marks.length > 6 ? [el("div", { class: "mark soft" }, `and ${count(marks.length - 6)} more`)] : []),
  ];
}

/** @param {Mark} mark @param {boolean} utc @returns {Stop} */
const markStop = (mark, utc) => ({ from: mark.time, to: mark.end ?? mark.time, text: `${showMoment(mark.time, { utc, resolution: 1, day: false })}, ${short(mark.text, 200)}` });

/** How long something took, as it is spread. @implements {LaneView} */
export class LatencyLane {
  height = 48;
  /** @type {Range | null} */
  marked = null;
  help = "Arrow keys go from column to column, Enter selects the time of the spike.";

  /** @param {Ground} ground @param {Lane} lane */
  constructor(ground, lane) {
    this.ground = ground;
    this.lane = lane;
    this.key = laneKey(lane);
    this.title = lane.source;
    /** @type {number[]} */
    this.known = (lane.p99 ?? []).flatMap((value, i) => (value === null ? [] : [i]));
  }

  /** @type {LaneView["paint"]} */
  paint(context, height, folded) {
    const { frame, columns } = this.ground;
    if (folded) draw.folded(context, frame, this.lane, columns, height);
    else draw.latency(context, frame, this.lane, columns, height);
  }

  /** @param {number} column */
  #quantiles(column) {
    const { lane } = this;
    return /** @type {[string, number | null | undefined][]} */ ([["p50", lane.p50?.[column]], ["p90", lane.p90?.[column]], ["p99", lane.p99?.[column]], ["max", lane.max?.[column]]])
      .filter(([, value]) => value !== null && value !== undefined);
  }

  /** @type {LaneView["words"]} */
  words(time) {
    const { lane, ground } = this;
    const all = time === null ? lane.all : null;
    const found = time === null ? [] : this.#quantiles(columnAt(ground.columns, time));
    const shown = all ? /** @type {[string, number][]} */ ([["p50", all.p50], ["p99", all.p99], ["max", all.max]]) : found.filter(([name]) => name !== "p90");
    const note = lane.filtered === false ? " · of all processes" : "";
    if (!shown.length) return time === null ? `nothing measured${note}` : "–";
    return shown.map(([name, value]) => `${name} ${brief(Number(value), lane.unit)}`).join(" · ") + (time === null ? note : "");
  }

  /** @param {number} y @returns {number} what stands at that height */
  #value(y) {
    const axis = decades(this.lane);
    return axis ? valueAt(axis, (this.height - 4 - y) / (this.height - 10)) : 0;
  }

  /** @param {number} time */
  #near(time) {
    return marksIn(this.lane.marks ?? [], around(this.ground.frame, time, NEAR)).filter(({ end }) => end !== undefined);
  }

  /** @param {number} column @param {number} y @returns {Range | null} */
  #spike(column, y) {
    const ends = spike(this.lane, column, this.#value(y));
    return ends && rangeOf(this.ground.columns, ends);
  }

  /** @type {LaneView["tip"]} */
  tip(time, y) {
    const { lane, ground } = this;
    const column = columnAt(ground.columns, time);
    const found = this.#quantiles(column);
    const near = this.#near(time);
    this.marked = near.length ? null : this.#spike(column, y);
    const number = lane.count?.[column];
    return [
      ...heading(ground, column),
      el("div", { class: "soft" }, lane.source + (lane.filtered === false ? ", of all processes" : "")),
      ...(!number ? [] : [line("how often", `${count(number)}, ${count(number / (ground.columns.step / 1000))}/s`)]),
      ...(found.length ? found.map(([name, value]) => line(name, laneAmount(Number(value), lane.unit))) : [el("div", { class: "soft" }, "nothing measured here")]),
      ...markLines(ground, near),
      ...(near.length ? [el("div", { class: "mark soft" }, "click: its record")]
        : this.marked ? [el("div", { class: "mark soft" }, `click: select this spike, ${span((this.marked.to - this.marked.from) / 1000)}`)] : []),
    ];
  }

  /** @type {LaneView["click"]} */
  click(time, y, event) {
    const near = this.#near(time);
    if (near.length) return this.#open(near, event);
    this.#select(this.#spike(columnAt(this.ground.columns, time), y));
  }

  /** @param {Mark[]} marks @param {{clientX: number, clientY: number}} at */
  #open(marks, { clientX, clientY }) {
    const { app, runs } = this.ground;
    void openMarks(app, runs, { marks, source: this.lane.source, from: marks[0].time, to: marks[marks.length - 1].time, all: !this.lane.more }, clientX, clientY);
  }

  /** @param {Range | null} range */
  #select(range) {
    const { app } = this.ground;
    if (!range) return;
    const { start, end } = app.extent;
    app.store.set({ from: momentWord(Math.max(start, range.from)), to: momentWord(Math.min(end, range.to)), live: false, patch_from: "", patch_to: "" });
  }

  stops() {
    return this.known.length;
  }

  /** @param {number} i */
  stop(i) {
    const { ground, lane } = this;
    const column = this.known[i];
    const range = rangeOf(ground.columns, [column, column]);
    const values = this.#quantiles(column).map(([name, value]) => `${name} ${laneAmount(Number(value), lane.unit)}`);
    return { ...range, text: `${showMoment(range.from, { utc: ground.frame.utc, resolution: ground.columns.step })}, ${values.join(", ")}` };
  }

  /** @param {number} i */
  enter(i) {
    this.#select(this.#spike(this.known[i], this.height));
  }
}

/** What happened. @implements {LaneView} */
export class EventLane {
  height = 26;
  marked = null;
  help = "Arrow keys go from mark to mark, Enter opens its record.";

  /** @param {Ground} ground @param {Lane} lane */
  constructor(ground, lane) {
    this.ground = ground;
    this.lane = lane;
    this.key = laneKey(lane);
    this.title = lane.source;
    this.marks = [...(lane.marks ?? [])].sort((a, b) => a.time - b.time);
    this.told = eventWords(lane);
  }

  /** @type {LaneView["paint"]} */
  paint(context, height, folded) {
    const { frame, columns } = this.ground;
    if (folded) draw.folded(context, frame, this.lane, columns, height);
    else draw.events(context, frame, this.lane, columns, height);
  }

  /** @type {LaneView["words"]} */
  words(time) {
    if (time === null) return this.told;
    const number = this.lane.count?.[columnAt(this.ground.columns, time)] ?? marksIn(this.marks, around(this.ground.frame, time, NEAR)).length;
    return number ? count(number) : "–";
  }

  /** @param {number} time */
  #near(time) {
    return marksIn(this.marks, around(this.ground.frame, time, NEAR));
  }

  /** @type {LaneView["tip"]} */
  tip(time) {
    const { ground, lane } = this;
    const near = this.#near(time);
    const column = columnAt(ground.columns, time);
    const number = lane.count?.[column] ?? near.length;
    if (!near.length && !number) return null;
    return [...heading(ground, column), el("div", { class: "soft" }, lane.source), line("how often", count(number)), ...markLines(ground, near),
      el("div", { class: "mark soft" }, near.length === 1 && !lane.more ? "click: its record" : "click: a list of them")];
  }

  /** @type {LaneView["click"]} */
  click(time, _, { clientX, clientY }) {
    const { app, frame, runs } = this.ground;
    const { source, more = 0 } = this.lane;
    void openMarks(app, runs, { marks: this.#near(time), source, ...around(frame, time, NEAR), all: more === 0 }, clientX, clientY);
  }

  stops() {
    return this.marks.length;
  }

  /** @param {number} i */
  stop(i) {
    return markStop(this.marks[i], this.ground.frame.utc);
  }

  /** @type {LaneView["enter"]} */
  enter(i, { clientX, clientY }) {
    openMark(this.ground.app, this.ground.runs, this.marks[i], clientX, clientY);
  }
}

/** Another source of stacks, which a click makes the one that is shown. @implements {LaneView} */
export class StackLane {
  height = 34;
  marked = null;
  help = "Enter shows this source.";

  /** @param {Ground} ground @param {Lane} lane @param {boolean} twice its source has another lane, too */
  constructor(ground, lane, twice) {
    this.ground = ground;
    this.lane = lane;
    this.key = laneKey(lane);
    this.title = twice ? `${lane.source} stacks` : lane.source;
  }

  /** @param {number} value */
  #told(value) {
    return laneValue(this.lane, value, this.ground.columns.step);
  }

  /** @type {LaneView["paint"]} */
  paint(context, height, folded) {
    const { frame, columns } = this.ground;
    if (folded) draw.folded(context, frame, this.lane, columns, height);
    else draw.stacks(context, frame, this.lane, columns, height, (value) => this.#told(value).replace(/ (CPUs|threads)$/, ""));
  }

  /** @type {LaneView["words"]} */
  words(time) {
    const { values = [] } = this.lane;
    if (!values.length) return "not known of this view";
    if (time === null) return `up to ${this.#told(values.reduce((most, value) => Math.max(most, value), 0))}`;
    const value = values[columnAt(this.ground.columns, time)];
    return value === undefined ? "–" : this.#told(value);
  }

  /** @type {LaneView["tip"]} */
  tip(time) {
    const column = columnAt(this.ground.columns, time);
    const value = this.lane.values?.[column];
    return [...heading(this.ground, column), line(this.lane.source, value === undefined ? "–" : this.#told(value)), el("div", { class: "mark soft" }, "click: show this source")];
  }

  click() {
    this.ground.app.store.set({ source: this.lane.source, type: "", older: "", zoom: "" });
  }

  stops() {
    return 1;
  }

  stop() {
    const { frame } = this.ground;
    return { from: frame.from, to: frame.to, text: `${this.title}, ${this.words(null)}` };
  }

  enter() {
    this.click();
  }
}

/** Rows of runs at most. */
const ROWS = 7;

/** Which commands ran when. @implements {LaneView} */
export class RunLane {
  key = RUNS;
  title = RUNS;
  marked = null;
  help = "Arrow keys go from command to command, Enter shows its time and what it started.";
  /** @type {ReturnType<typeof pack>} */
  #packed = { placed: [], rows: 1, left: 0 };
  #for = "";
  /** @type {Run | null} */
  #at = null;

  /** @param {Ground} ground @param {{processes: Run[], more: number, error?: string}} data */
  constructor(ground, data) {
    this.ground = ground;
    this.data = data;
  }

  get height() {
    this.#pack();
    return Math.max(1, this.#packed.rows) * draw.RUN + 8;
  }

  /** Finds each a row, once for each part of time and width. */
  #pack() {
    const { frame, app } = this.ground;
    const key = `${frame.from} ${frame.to} ${frame.width}`;
    if (key === this.#for || !frame.width) return;
    this.#for = key;
    this.#packed = pack(this.data.processes, { from: frame.from, to: frame.to, now: app.extent.end }, frame.width - LEFT, ROWS);
  }

  /** @type {LaneView["paint"]} */
  paint(context, height, folded) {
    const { frame, app, colour } = this.ground;
    this.#pack();
    const pids = new Set(app.state.pid.split(",").filter(Boolean));
    const { placed } = this.#packed;
    if (folded) {
      context.fillStyle = frame.inks.accent;
      context.globalAlpha = 0.35;
      for (const { x, width } of placed) context.fillRect(LEFT + x, 4, Math.max(1, width), height - 8);
      context.globalAlpha = 1;
      return;
    }
    draw.runs(context, frame, placed, {
      colour: ({ comm }) => colour(comm), name: commandOf, failed, at: this.#at,
      strong: ({ pid }) => pids.size === 0 || pids.has(String(pid)),
    });
  }

  /** @type {LaneView["words"]} */
  words(time) {
    const { placed, left } = this.#packed;
    if (this.data.error !== undefined) return short(this.data.error);
    if (time !== null) {
      const now = placed.filter(({ run }) => run.start <= time && (run.end ?? Infinity) >= time).length;
      return now ? `${count(now)} run` : "–";
    }
    const hidden = left + this.data.more;
    return hidden ? `${count(placed.length)} of ${count(placed.length + hidden)}, the longest` : count(placed.length);
  }

  /** @param {number} time @param {number} y */
  #find(time, y) {
    const x = xOf(this.ground.frame, time) - LEFT;
    const row = Math.floor((y - 4) / draw.RUN);
    const found = this.#packed.placed.filter((bar) => bar.row === row && x >= bar.x - 2 && x <= bar.x + Math.max(bar.width, 2) + 2);
    // The one whose middle is nearest: thin bars stand close together.
    return found.sort((a, b) => Math.abs(a.x + a.width / 2 - x) - Math.abs(b.x + b.width / 2 - x))[0]?.run ?? null;
  }

  /** @type {LaneView["tip"]} */
  tip(time, y) {
    const run = this.#find(time, y);
    return run && runTip(this.ground.app, run);
  }

  /** @type {LaneView["click"]} */
  click(time, y, event) {
    const run = this.#find(time, y);
    if (run) this.#show(run, event);
  }

  /** @param {number} time @param {number} y @param {{clientX: number, clientY: number}} event */
  menu(time, y, { clientX, clientY }) {
    const run = this.#find(time, y);
    if (run) openRun(this.ground.app, this.ground.runs, run, clientX, clientY);
  }

  /** Selects a run, and opens the record of one that is selected. @param {Run} run @param {{clientX: number, clientY: number}} at */
  #show(run, { clientX, clientY }) {
    const { app, runs } = this.ground;
    if (isShown(app, run)) openRun(app, runs, run, clientX, clientY);
    else void showRun(app, runs, run);
  }

  stops() {
    return this.#packed.placed.length;
  }

  /** By start, as the arrow keys go. */
  get #order() {
    return [...this.#packed.placed].sort((a, b) => a.run.start - b.run.start);
  }

  /** @param {number} i */
  stop(i) {
    const { run } = this.#order[i];
    this.#at = run;
    const end = run.end ?? this.ground.app.extent.end;
    return { from: run.start, to: end, text: `${commandOf(run)}, pid ${run.pid}, ${span((end - run.start) / 1000)}, ${ending(run)}` };
  }

  /** @type {LaneView["enter"]} */
  enter(i, at) {
    this.#show(this.#order[i].run, at);
  }
}
