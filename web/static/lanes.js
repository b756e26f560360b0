/*
 * What is in the lanes below the time line, without a pixel of it: which columns belong to a spike,
 * how marks and runs are told in words, which runs find a row.
 */

import { count, digits, isTime, level, span } from "./format.js";

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {import("./types.js").Mark} Mark */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {{start: number, step: number}} Columns */
/** @typedef {{from: number, to: number}} Range */

/** The lane of runs, which no source has for a name. */
export const RUNS = "processes";

/** What tells one lane from another: one source may have two. @param {Lane} lane */
export const laneKey = (lane) => (lane.kind === "latency" ? `${lane.source} latency` : lane.source);

/**
 * The lanes that are folded. While nothing is said, starts and ends of processes are, where they
 * stand as bars in a lane of their own.
 * @param {string} word of the state
 * @param {boolean} runs the lane of runs is there
 * @returns {Set<string>} keys
 */
export function foldedOf(word, runs) {
  if (word === "") return new Set(runs ? ["exec", "exit"] : []);
  return new Set(word.split(",").filter((key) => key && key !== "none"));
}

/** The word of the state for these. @param {Set<string>} folded */
export const foldedWord = (folded) => [...folded].sort().join(",") || "none";

/** The column that a moment is in. @param {Columns} columns @param {number} time */
export const columnAt = ({ start, step }, time) => Math.floor((time - start) / step);

/**
 * The range of columns, ms.
 * @param {Columns} columns
 * @param {[number, number]} ends first and last
 * @returns {Range}
 */
export const rangeOf = ({ start, step }, [first, last]) => ({ from: start + first * step, to: start + (last + 1) * step });

/** Of a spike, what is half as high still belongs to it. */
const HALF = 0.5;
/** How many times the median of its lane a column is at least that stands out. */
const OUT = 1.5;

/**
 * The columns of a spike: the one that is pointed at, and those beside it that are as high as the
 * pointer, or half as high as the column if the pointer is lower, as long as they stand out among
 * all. A column that does not stands for itself, and for those that tell of the same measurement,
 * which may be longer than a column. Columns without a value are passed over as long as another
 * follows that belongs to it.
 * @param {Lane} lane
 * @param {number} column
 * @param {number} [height] of the pointer, in the unit of the lane
 * @returns {[number, number] | null} first and last; null where the column has no value
 */
export function spike({ p50, p99 = [], max }, column, height = 0) {
  const peak = p99[column];
  if (peak === null || peak === undefined) return null;
  const known = p99.filter((value) => value !== null).sort((a, b) => a - b);
  const out = (known[Math.floor((known.length - 1) / 2)] ?? 0) * OUT;
  const same = (/** @type {number} */ at) => p99[at] === peak && p50?.[at] === p50?.[column] && max?.[at] === max?.[column];
  const least = peak < out ? Infinity : Math.min(peak, Math.max(height, peak * HALF, out));
  const reach = (/** @type {1 | -1} */ by) => {
    let last = column;
    for (let at = column + by; at >= 0 && at < p99.length; at += by) {
      const value = p99[at];
      if (value === null || value === undefined) {
        if (Math.abs(at - last) > GAP) break;
        continue;
      }
      if (value < least && !same(at)) break;
      last = at;
    }
    return last;
  };
  return [reach(-1), reach(1)];
}

/** Columns without a value that a spike spans at most: nothing need have been measured in each. */
const GAP = 3;

/** Of the medians, so many are below the axis: a few quiet columns would flatten all others. */
const BELOW = 0.05;

/**
 * The ends of the axis of a latency lane, as powers of ten: from about the least median to the
 * greatest of all.
 * @param {Lane} lane
 * @returns {{low: number, high: number} | null} null if it has no value
 */
export function decades({ p50 = [], p99 = [], max = [], marks = [] }) {
  let [low, high] = [Infinity, 0];
  const take = (/** @type {number | null | undefined} */ value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return;
    low = Math.min(low, Math.max(1, value));
    high = Math.max(high, value);
  };
  const medians = p50.filter((value) => value !== null).sort((a, b) => a - b);
  for (const values of [medians.slice(Math.floor(medians.length * BELOW)), p99, max]) values.forEach(take);
  for (const mark of marks) if (mark.end !== undefined) take((mark.end - mark.time) * 1e6);
  if (!Number.isFinite(low)) return null;
  low = 10 ** Math.floor(Math.log10(low) + 1e-9);
  high = 10 ** Math.ceil(Math.log10(Math.max(high, 1)) - 1e-9);
  return { low, high: Math.max(high, low * 10) };
}

/**
 * Where a value is on such an axis: 0 at its foot, 1 at its top.
 * @param {{low: number, high: number}} axis
 * @param {number} value
 */
export const share = ({ low, high }, value) =>
  Math.max(0, Math.min(1, Math.log(Math.max(value, 1e-9) / low) / Math.log(high / low)));

/** The value at such a place. @param {{low: number, high: number}} axis @param {number} at */
export const valueAt = ({ low, high }, at) => low * (high / low) ** at;

/** A power of ten of a unit: `10 ms`. @param {number} value @param {string} [unit] */
export const decadeName = (value, unit = "ns") => laneAmount(value, unit).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");

/** @param {number} value @param {string} [unit] */
export const laneAmount = (value, unit = "ns") => (isTime(unit) ? span(value / 1e9) : `${digits(value)} ${unit}`);

/** The same in as few letters as say something: `11 ms`. @param {number} value @param {string} [unit] */
export const brief = (value, unit = "ns") => decadeName(Number(value.toPrecision(2)), unit);

/**
 * A value of a lane of stacks in words.
 * @param {Lane} lane
 * @param {number} value
 * @param {number} step of the columns, ms
 */
export function laneValue(lane, value, step) {
  const { unit = "ns", in_use } = lane;
  const text = level({ unit, step, in_use }, value);
  return isTime(unit) ? `${text} ${lane.source === "cpu" ? "CPUs" : "threads"}` : in_use || unit === "bytes" ? text : `${text}/s`;
}

/**
 * How many marks there are at each of so many places of a stretch of time, and whether one of them
 * killed or failed. What lasts counts where it begins.
 * @param {Mark[]} marks
 * @param {Range} range
 * @param {number} places
 */
export function density(marks, { from, to }, places) {
  const counts = new Uint32Array(places);
  const bad = new Uint8Array(places);
  const scale = places / (to - from);
  let most = 0;
  for (const mark of marks) {
    const at = Math.floor((mark.time - from) * scale);
    if (at < 0 || at >= places) continue;
    counts[at] += 1;
    if (counts[at] > most) most = counts[at];
    if (mark.level === "error") bad[at] = 1;
  }
  return { counts, bad, most };
}

/**
 * The marks that are within a stretch of time, or last into it.
 * @param {Mark[]} marks
 * @param {Range} range
 */
export const marksIn = (marks, { from, to }) => marks.filter((mark) => mark.time <= to && (mark.end ?? mark.time) >= from);

/**
 * A row for each run, the longest first, so that those which last stand on top and what they started
 * below. No two of a row share a pixel.
 * @param {Run[]} runs the longest first
 * @param {Range & {now: number}} range what is seen, and when what still runs is drawn to end
 * @param {number} width pixels
 * @param {number} rows at most
 * @returns {{placed: {run: Run, row: number, x: number, width: number}[], rows: number, left: number}} `left` found none
 */
export function pack(runs, { from, to, now }, width, rows) {
  const taken = Array.from({ length: rows }, () => new Uint8Array(Math.max(1, Math.ceil(width) + 1)));
  const placed = [];
  let [used, left] = [0, 0];
  const scale = width / (to - from);
  for (const run of runs) {
    const end = run.end ?? now;
    if (end < from || run.start > to) continue;
    const x = Math.max(0, (run.start - from) * scale);
    const right = Math.min(width, Math.max((end - from) * scale, x + 2));
    const [first, last] = [Math.floor(x), Math.min(Math.ceil(right), Math.ceil(width))];
    const row = taken.findIndex((pixels) => pixels[first] === 0 && pixels[last] === 0 && !pixels.subarray(first, last + 1).includes(1));
    if (row < 0) {
      left += 1;
      continue;
    }
    taken[row].fill(1, first, last + 1);
    used = Math.max(used, row + 1);
    placed.push({ run, row, x, width: right - x });
  }
  return { placed, rows: used, left };
}

/** The longest that a command is told with. */
const COMMAND = 80;

/** A run in a few words: its program without the folder, and its arguments. @param {Run} run */
export function commandOf({ cmdline, comm, file }) {
  const [program = "", ...args] = (cmdline || file).slice(0, 1000).trim().split(/\s+/);
  const text = program ? [program.slice(program.lastIndexOf("/") + 1) || program, ...args].join(" ") : comm;
  return text.length > COMMAND ? `${text.slice(0, COMMAND - 1)}…` : text;
}

/** What a range is called that was chosen by a run. @param {Run} run */
export const runName = (run) => `${commandOf(run)} (pid ${run.pid})`;

/** How a run ended. @param {Run} run */
export function ending({ end, code, signal }) {
  if (end === null) return "still runs";
  if (signal) return `killed by ${signal}`;
  if (code === null || code === undefined) return "not known";
  return `exit code ${code}`;
}

/** True if a run was killed or failed. @param {Run} run */
export const failed = ({ code, signal }) => Boolean(signal) || Boolean(code);

/** The most processes that a view is filtered by. */
export const PIDS = 400;

/**
 * The process of a run, and those that it and they started while it ran, the longest first.
 * @param {Run[]} runs
 * @param {Run} run
 * @returns {{pids: number[], more: number}} `more`: beyond what a view can say
 */
export function family(runs, run) {
  const end = run.end ?? Infinity;
  const within = runs.filter((other) => other.start >= run.start && other.start <= end);
  const known = new Set([run.pid]);
  for (let before = 0; before < known.size; ) {
    before = known.size;
    for (const { pid, ppid } of within) if (ppid !== null && known.has(ppid)) known.add(pid);
  }
  const pids = [...new Set([run.pid, ...within.filter(({ pid }) => known.has(pid)).map(({ pid }) => pid)])];
  return { pids: pids.slice(0, PIDS), more: Math.max(0, pids.length - PIDS) };
}

/**
 * The run that a process was in at a moment: the one that a mark is of.
 * @param {Run[]} runs
 * @param {number | undefined} pid
 * @param {number} time
 */
export function runAt(runs, pid, time) {
  // An exit is told just after the end, an exec just before the start.
  const found = runs.filter((run) => run.pid === pid && run.start <= time + 5 && (run.end ?? Infinity) >= time - 5);
  return found.sort((a, b) => b.start - a.start)[0] ?? null;
}

/** Fields that say no more than the mark itself. */
const KNOWN = new Set(["event", "time", "pid", "tid", "comm"]);

/**
 * The fields of a mark as pairs of words. They may be anything.
 * @param {Record<string, unknown>} [fields]
 * @returns {[string, string][]}
 */
export function fieldWords(fields = {}) {
  /** @type {[string, string][]} */
  const words = [];
  for (const [name, value] of Object.entries(fields)) {
    if (KNOWN.has(name) || name.endsWith("_hex") || value === null || value === undefined || value === "") continue;
    const plain = name.replace(/_ns$/, "").replaceAll("_", " ");
    if (typeof value === "number") words.push([plain, name.endsWith("_ns") ? span(value / 1e9) : count0(value)]);
    else if (Array.isArray(value)) words.push([plain, value.map(plainly).join(" ")]);
    else words.push([plain, plainly(value)]);
  }
  return words;
}

/** A number as it is: ids have no thin spaces. @param {number} value */
const count0 = (value) => (Number.isInteger(value) ? String(value) : digits(value));

/** @param {unknown} value */
const plainly = (value) => (typeof value === "string" ? value : typeof value === "boolean" ? (value ? "yes" : "no") : JSON.stringify(value));

/**
 * How much there is in a lane of events.
 * @param {Lane} lane
 */
export function eventWords({ count: counts, marks = [], more = 0 }) {
  const all = counts ? counts.reduce((sum, value) => sum + value, 0) : marks.length + more;
  const bad = marks.filter(({ level }) => level === "error").length;
  return [all === 0 ? "none" : count(all), bad ? `${count(bad)} failed` : "", more > 0 ? `${count(marks.length)} listed` : ""].filter(Boolean).join(" · ");
}
