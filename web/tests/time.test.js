/* Moments, spans and ticks. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { lengthWord, momentWord, parseLength, parseMoment, showMoment, showRange, ticks } from "../static/time.js";

const start = Date.UTC(2026, 10, 21, 3, 0, 0);
const extent = { start, end: start + 3600e3 };

test("a moment is said in the words of the command line", () => {
  assert.equal(parseMoment("10s", extent), start + 10e3);
  assert.equal(parseMoment("0s", extent), start);
  assert.equal(parseMoment("-1m30s", extent), extent.end - 90e3);
  assert.equal(parseMoment("2026-11-21T03:12:00.020Z", extent), start + 720020);
  assert.equal(parseMoment("2026-11-21T04:12:00+01:00", extent), start + 720e3);
  assert.equal(parseMoment(String(start), extent), start);
  for (const word of ["", "soon", "12:61", "-", "10", "1x", "2026-13-45T00:00:00Z"]) assert.equal(parseMoment(word, extent), null, word);
});

test("a time of day is the last one that was", () => {
  const noon = new Date(2026, 10, 21, 12, 0, 0).getTime();
  const day = { start: noon - 86400e3, end: noon };
  assert.equal(parseMoment("11:30", day), noon - 1800e3);
  assert.equal(parseMoment("12:30", day), noon + 1800e3 - 86400e3);
});

test("a moment and its word are one", () => {
  assert.equal(parseMoment(momentWord(start + 1234), extent), start + 1234);
  for (const ms of [20, 1500, 60e3, 5400e3, 86400e3, 7 * 86400e3]) assert.equal(parseLength(lengthWord(ms)), ms);
  assert.equal(lengthWord(3600e3), "1h");
});

test("a moment is shown as exactly as it has to be", () => {
  assert.equal(showMoment(start + 20, { utc: true, resolution: 1 }), "2026-11-21 03:00:00.020");
  assert.equal(showMoment(start, { utc: true, resolution: 60e3, day: false }), "03:00");
  assert.equal(showRange(start, start + 3600e3, true), "2026-11-21 03:00:00 – 04:00:00");
  assert.equal(showRange(start, start + 86400e3, true), "2026-11-21 03:00:00 – 2026-11-22 03:00:00");
});

test("an axis has round ticks, and no more than fit", () => {
  assert.deepEqual(ticks(start, extent.end, 7, true).map(({ text }) => text), ["03:00", "03:10", "03:20", "03:30", "03:40", "03:50", "04:00"]);
  assert.ok(ticks(start, start + 7 * 86400e3, 9, true).length <= 9);
  assert.deepEqual(ticks(start, start + 2, 3, true).map(({ text }) => text), ["00.000", "00.001", "00.002"]);
  for (const [from, to] of [[start, start], [start, NaN], [start, start - 1]]) assert.deepEqual(ticks(from, to, 5, true), []);
  const days = ticks(Date.UTC(2026, 10, 20, 20), Date.UTC(2026, 10, 21, 4), 8, true).map(({ text }) => text);
  assert.ok(days.includes("11-21"), days.join());
});
