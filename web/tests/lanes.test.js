/* What is in the lanes: spikes, rows of runs, names, fields. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { commandOf, decades, density, ending, eventWords, family, fieldWords, foldedOf, foldedWord, laneKey, marksIn, pack, rangeOf, runAt, runName, share, spike, valueAt } from "../static/lanes.js";
import { HOSTILE, commands } from "./fake.js";

/** @param {(number | null)[]} p99 @returns {import("../static/types.js").Lane} */
const lane = (p99) => ({ source: "runqlat", kind: "latency", unit: "nanoseconds", p99 });

/** @param {Partial<import("../static/types.js").Run>} run @returns {import("../static/types.js").Run} */
const run = (run) => ({ pid: 1, ppid: 0, process: "sh (1)", comm: "sh", cmdline: "sh", file: "/bin/sh", uid: 0, start: 0, end: 100, known: true, code: 0, signal: null, cpu: 0, ...run });

test("a spike is the column that is pointed at, and its neighbours that are as high", () => {
  const waits = lane([1, 1, 8, 10, 6, 1, null, 1]);
  assert.deepEqual(spike(waits, 3), [2, 4], "half as high still belongs to it");
  assert.deepEqual(spike(waits, 3, 7), [2, 3], "what is lower than the pointer does not");
  assert.deepEqual(spike(waits, 3, 1000), [3, 3], "a pointer above the column means the column");
  assert.deepEqual(spike(waits, 0), [0, 1], "what does not stand out is no spike: it is what was measured");
  assert.deepEqual(spike(lane([2, 2, 2.1, 2]), 2), [2, 2]);
  assert.equal(spike(waits, 6), null, "nothing was measured there");
  assert.equal(spike(waits, 99), null);
  assert.equal(spike({ source: "x", kind: "latency" }, 0), null);
});

test("a spike goes over columns in which nothing was measured, but not over many", () => {
  assert.deepEqual(spike(lane([9, null, null, 9, 1, null, null, null, null, 1, 1, 1]), 0), [0, 3]);
  assert.deepEqual(spike(lane([9, null, null, null, 1, 1]), 0), [0, 0], "it ends with a value");
  assert.deepEqual(rangeOf({ start: 1000, step: 10 }, [2, 4]), { from: 1020, to: 1050 });
});

test("the axis of a latency lane is of whole powers of ten, and finds its way back", () => {
  assert.deepEqual(decades({ source: "gc", kind: "latency", p50: [2e4, null], p99: [4e6, null], max: [1e7, null] }), { low: 1e4, high: 1e7 });
  assert.deepEqual(decades({ source: "gc", kind: "latency", marks: [{ time: 0, end: 20, kind: "gc", text: "" }] }), { low: 1e7, high: 1e8 }, "what is known one by one counts");
  assert.equal(decades(lane([null])), null);
  const axis = /** @type {{low: number, high: number}} */ (decades(lane([0, 5])));
  assert.ok(axis.low > 0 && axis.high > axis.low, "nought has no logarithm");
  for (const value of [1.5e4, 1e5, 9e6]) assert.ok(Math.abs(valueAt({ low: 1e4, high: 1e7 }, share({ low: 1e4, high: 1e7 }, value)) / value - 1) < 1e-9);
  assert.equal(share({ low: 10, high: 100 }, 0), 0);
  assert.equal(share({ low: 10, high: 100 }, 1e9), 1);
});

test("marks are counted by place, and those that last belong to all their time", () => {
  const marks = [{ time: 0, kind: "a", text: "" }, { time: 1, kind: "a", text: "", level: "error" }, { time: 95, end: 300, kind: "a", text: "" }, { time: 200, kind: "a", text: "" }, { time: -1, kind: "a", text: "" }];
  const { counts, bad, most } = density(marks, { from: 0, to: 100 }, 10);
  assert.deepEqual([...counts], [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  assert.equal(bad[0], 1);
  assert.equal(most, 2);
  assert.equal(marksIn(marks, { from: 250, to: 260 }).length, 1);
  assert.equal(eventWords({ source: "exec", kind: "events", count: [3, 4], marks: marks.slice(0, 2), more: 5 }), "7 · 1 failed · 2 listed");
});

test("runs find rows: the longest on top, none over another, and those without a row are counted", () => {
  const runs = [run({ pid: 1, start: 0, end: 100 }), run({ pid: 2, start: 0, end: 50 }), run({ pid: 3, start: 60, end: 90 }), run({ pid: 4, start: 20, end: 30 }), run({ pid: 5, start: 500, end: 600 })];
  const { placed, rows, left } = pack(runs, { from: 0, to: 100, now: 100 }, 1000, 2);
  assert.deepEqual(placed.map(({ run, row }) => [run.pid, row]), [[1, 0], [2, 1], [3, 1]]);
  assert.equal(rows, 2);
  assert.equal(left, 1, "what is out of sight is not left out");
  const running = pack([run({ start: 50, end: null })], { from: 0, to: 200, now: 100 }, 200, 1).placed[0];
  assert.deepEqual([running.x, running.width], [50, 50], "what still runs ends at the end of what is known");
});

test("10,000 runs are packed without one over another", () => {
  const runs = commands({ start: 0, end: 3600e3, runs: 10000 }).sort((a, b) => (b.end ?? 3600e3) - b.start - (a.end ?? 3600e3) + a.start);
  const { placed, left } = pack(runs, { from: 0, to: 3600e3, now: 3600e3 }, 1100, 7);
  assert.equal(placed.length + left, runs.length);
  for (const one of placed) {
    const others = placed.filter((other) => other !== one && other.row === one.row && other.x < one.x + one.width && other.x + other.width > one.x);
    assert.deepEqual(others, []);
  }
});

test("a command is told by its program and arguments, however long or odd", () => {
  assert.equal(commandOf(run({ cmdline: "/usr/bin/cargo  build --release" })), "cargo build --release");
  assert.equal(commandOf(run({ cmdline: "", file: "/sbin/init" })), "init");
  assert.equal(commandOf(run({ cmdline: "", file: "", comm: "kworker/0:1" })), "kworker/0:1", "a name is no path");
  assert.equal(runName(run({ cmdline: "make", pid: 7 })), "make (pid 7)");
  for (const name of HOSTILE) assert.ok(commandOf(run({ cmdline: name })).length <= 80);
  assert.equal(ending(run({ signal: "SIGSEGV", code: null })), "killed by SIGSEGV");
  assert.equal(ending(run({ end: null, code: null })), "still runs");
  assert.equal(ending(run({ code: 2 })), "exit code 2");
});

test("what a process started is found through all generations, and no other", () => {
  const runs = [run({ pid: 10 }), run({ pid: 11, ppid: 10, start: 1 }), run({ pid: 12, ppid: 11, start: 2 }), run({ pid: 13, ppid: 99, start: 3 }), run({ pid: 14, ppid: 10, start: 200, end: 300 })];
  assert.deepEqual(family(runs, runs[0]), { pids: [10, 11, 12], more: 0 }, "a process of the same id that came later started 14");
  const many = [run({ pid: 1 }), ...Array.from({ length: 1000 }, (_, i) => run({ pid: 2 + i, ppid: 1 }))];
  const { pids, more } = family(many, many[0]);
  assert.equal(pids.length + more, 1001);
  assert.ok(pids.join(",").length < 4000, "it fits into an address");
  assert.equal(family([run({ pid: 5, ppid: 5 })], run({ pid: 5, ppid: 5 })).pids.length, 1, "a process that is its own parent ends");
});

test("a mark finds the run that it is of", () => {
  const runs = [run({ pid: 5, start: 0, end: 10, cmdline: "sh" }), run({ pid: 5, start: 10, end: 90, cmdline: "cc" }), run({ pid: 6 })];
  assert.equal(runAt(runs, 5, 50)?.cmdline, "cc");
  assert.equal(runAt(runs, 5, 2)?.cmdline, "sh");
  assert.equal(runAt(runs, 7, 2), null);
  assert.equal(runAt(runs, undefined, 2), null);
});

test("fields of a mark are told in words, whatever they are", () => {
  assert.deepEqual(fieldWords({ pid: 1, ppid: 70, args: ["cc", "-c", "a b"], cpu_ns: 2.1e8, core_dumped: false, path_hex: "00", mode: null, nested: { a: [1] }, result: -2 }),
    [["ppid", "70"], ["args", "cc -c a b"], ["cpu", "210 ms"], ["core dumped", "no"], ["nested", "{\"a\":[1]}"], ["result", "-2"]]);
  assert.deepEqual(fieldWords(undefined), []);
});

test("lanes are folded as the URL says, and starts and ends where commands stand as bars", () => {
  assert.deepEqual([...foldedOf("", true)], ["exec", "exit"]);
  assert.deepEqual([...foldedOf("", false)], []);
  assert.deepEqual([...foldedOf("none", true)], []);
  const folded = new Set(["runqlat latency", "gc"]);
  assert.deepEqual(foldedOf(foldedWord(folded), true), folded);
  assert.equal(foldedWord(new Set()), "none");
  assert.notEqual(laneKey(lane([])), laneKey({ source: "runqlat", kind: "stacks" }), "two lanes of one source are two");
});
