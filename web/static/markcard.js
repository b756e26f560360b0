/*
 * What is told of a mark and of a run, and what can be done with them: see their time, their process,
 * both.
 */

import { ask } from "./api.js";
import { openCard } from "./card.js";
import { el } from "./dom.js";
import { line } from "./float.js";
import { span } from "./format.js";
import { short } from "./frame.js";
import { commandOf, ending, family, fieldWords, runAt, runName } from "./lanes.js";
import { momentWord, showMoment, showRange } from "./time.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./types.js").Mark} Mark */
/** @typedef {import("./types.js").Run} Run */

/** What is seen around a moment, ms on either side. */
const AROUND = 1000;
/** Marks of one place that can be chosen from. */
const LIST = 50;

/** @param {App} app @param {number} ms */
const moment = (app, ms) => showMoment(ms, { utc: app.state.utc, resolution: 1 });

/**
 * The range of a view, whole ms that hold it, within the recording.
 * @param {App} app
 * @param {number} from
 * @param {number} to
 */
function rangeWords({ extent }, from, to) {
  const start = Math.max(extent.start, Math.floor(from));
  const end = Math.min(extent.end, Math.max(start + 1, Math.ceil(to)));
  return { from: momentWord(start), to: momentWord(end), live: false, patch_from: "", patch_to: "", zoom: "" };
}

/** Runs of one that are asked for, to know all that it started. */
const RUNS = 5000;

/**
 * The words that ask for the commands of a time: those of the filters that are left, since what ran
 * is what one selects from, too.
 * @param {App} app
 * @param {{from: number, to: number}} range
 * @param {number} limit
 */
export function runWords(app, range, limit) {
  const words = app.words(range, { limit });
  for (const word of ["pid", "source", "type", "older", "focus", "ignore", "by", "idle", "inverted"]) words.delete(word);
  return words;
}

/**
 * Shows a run: its time, its process and what that started, and the range has its name.
 * @param {App} app
 * @param {Run[]} known
 * @param {Run} run
 */
export async function showRun(app, known, run) {
  const range = { from: run.start, to: run.end ?? app.extent.end };
  // Of what it started only the longest may be known.
  const asked = /** @type {import("./types.js").Processes | null} */ (await ask("processes", runWords(app, range, RUNS)).catch(() => null));
  const { pids, more } = family(asked ? [...known, ...asked.processes] : known, run);
  const others = pids.length - 1;
  const name = `${runName(run)}${others ? ` and ${more ? `${others} of ${others + more}` : others} more` : ""}`;
  app.store.set({ ...rangeWords(app, run.start, run.end ?? app.extent.end), pid: pids.join(","), named: name });
}

/** True if the view is that of a run. @param {App} app @param {Run} run */
export const isShown = (app, run) => app.state.named.startsWith(runName(run)) && app.state.pid.split(",")[0] === String(run.pid);

/**
 * The rows of a run's record.
 * @param {App} app
 * @param {Run} run
 * @returns {[string, string][]}
 */
function runRows(app, run) {
  const { start, end, cpu, pid, ppid, uid, file, comm, cmdline, known } = run;
  const rows = [
    ["command", cmdline], ["program", file], ["name", comm], ["pid", String(pid)], ["parent", ppid === null ? "" : String(ppid)],
    ["user", uid === null ? "" : String(uid)], ["started", known ? moment(app, start) : `${moment(app, start)} or before`],
    ["ended", end === null ? "" : moment(app, end)], ["took", end === null ? "" : span((end - start) / 1000)],
    ["end", ending(run)],
    ["CPU time", cpu === null || cpu === undefined ? "" : `${span(cpu / 1e9)}${end !== null && end > start ? ` (${(cpu / 1e6 / (end - start)).toFixed(2)} CPUs)` : ""}`],
  ];
  return /** @type {[string, string][]} */ (rows.filter(([, value]) => value !== ""));
}

/**
 * @param {App} app
 * @param {Run[]} runs
 * @param {Run} run
 * @param {number} x
 * @param {number} y
 */
export function openRun(app, runs, run, x, y) {
  const { store } = app;
  const only = rangeWords(app, run.start, run.end ?? app.extent.end);
  const others = family(runs, run).pids.length - 1;
  openCard({
    title: commandOf(run), about: run.process, rows: runRows(app, run),
    actions: [
      { text: others ? "Only this and what it started" : "Only this process, its time", run: () => showRun(app, runs, run) },
      ...(others ? [{ text: "Only this process, its time", run: () => store.set({ ...only, pid: String(run.pid), named: runName(run) }) }] : []),
      { text: "Its time, all processes", run: () => store.set({ ...only, pid: "", named: runName(run) }) },
      ...(app.state.pid ? [{ text: "All processes again", run: () => store.set({ pid: "", from: "", to: "", named: "" }) }] : []),
    ],
  }, x, y);
}

/** The tooltip of a run. @param {App} app @param {Run} run */
export function runTip(app, run) {
  return [
    el("strong", {}, short(commandOf(run))),
    el("div", { class: "soft" }, `pid ${run.pid}, ${showRange(run.start, run.end ?? app.extent.end, app.state.utc)}`),
    ...runRows(app, run).filter(([name]) => ["took", "end", "CPU time"].includes(name)).map(([name, value]) => line(name, value)),
    el("div", { class: "mark soft" }, isShown(app, run) ? "click: its record" : "click: only this and what it started · right click: its record"),
  ];
}

/**
 * The record of a mark.
 * @param {App} app
 * @param {Run[]} runs
 * @param {Mark} mark
 * @param {number} x
 * @param {number} y
 */
export function openMark(app, runs, mark, x, y) {
  const { store } = app;
  const { time, end, pid, process, tid, source, kind, fields } = mark;
  const run = runAt(runs, pid, time);
  /** @type {[string, string][]} */
  const rows = [["when", moment(app, time)]];
  if (end !== undefined) rows.push(["until", moment(app, end)], ["took", span((end - time) / 1000)]);
  if (process) rows.push(["process", process]);
  if (tid && tid !== pid) rows.push(["thread", String(tid)]);
  rows.push(...fieldWords(fields));
  if (run && kind !== "exec") rows.push(["command", run.cmdline]);
  const around = end === undefined || end - time < 1 ? rangeWords(app, time - AROUND, (end ?? time) + AROUND) : rangeWords(app, time, end);
  openCard({
    title: mark.text, about: [kind, source !== kind ? source : ""].filter(Boolean).join(" · "), rows,
    actions: [
      { text: end === undefined || end - time < 1 ? "Show a second before and after" : "Show this time", run: () => store.set({ ...around, named: end === undefined ? "" : run && kind === "exec" ? runName(run) : short(mark.text, 80) }) },
      ...(pid ? [{ text: "Only this process", run: () => store.set({ pid: String(pid), zoom: "" }) }] : []),
      ...(run ? [{ text: "This process, from start to end", title: runName(run), run: () => showRun(app, runs, run) }] : []),
    ],
  }, x, y);
}

/**
 * Where several marks are at one place: a list of them, each of which opens its record. Those that
 * the time line did not list are asked for.
 * @param {App} app
 * @param {Run[]} runs
 * @param {{marks: Mark[], source: string, from: number, to: number, all: boolean}} what `all`: no others are there
 * @param {number} x
 * @param {number} y
 */
export async function openMarks(app, runs, { marks, source, from, to, all }, x, y) {
  let [found, more] = [marks, 0];
  if (!all) {
    const words = app.words({ from: Math.floor(from), to: Math.ceil(to) + 1 }, { name: source, limit: LIST });
    const answer = /** @type {import("./types.js").Marks | null} */ (await ask("marks", words).catch(() => null));
    if (answer) [found, more] = [answer.marks, answer.more];
  }
  if (found.length === 0) return;
  if (found.length === 1 && !more) return openMark(app, runs, found[0], x, y);
  const rest = more + Math.max(0, found.length - LIST);
  openCard({
    title: `${found.length + more} of ${source}`, about: showRange(found[0].time, found[found.length - 1].time + 1, app.state.utc),
    list: found.slice(0, LIST).map((mark) => ({
      text: `${showMoment(mark.time, { utc: app.state.utc, resolution: 1, day: false })}  ${short(mark.text, 160)}`,
      run: () => openMark(app, runs, mark, x, y),
    })),
    rows: rest ? [["not listed", `${rest}: zoom in to see them apart`]] : [],
  }, x, y);
}
