/* Numbers in words. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { lines, scale } from "../static/axis.js";
import { amount, bytes, count, digits, percent, points, span } from "../static/format.js";

test("a span of time has the unit that suits it", () => {
  const spans = { "0 s": 0, "1.50 s": 1.5, "20.0 ms": 0.02, "1.00 µs": 1e-6, "52.6 ns": 52.6e-9, "1 min": 60, "1 h 30 min": 5400, "2 d 1 h": 176400, "-1 min 5 s": -65 };
  for (const [text, seconds] of Object.entries(spans)) assert.equal(span(seconds), text);
  assert.equal(span(59.99), "1 min");
  assert.equal(span(3599.9), "1 h");
});

test("a share never says none or all of what is not", () => {
  assert.equal(percent(0), "0%");
  assert.equal(percent(0.00001), "<0.01%");
  assert.equal(percent(0.99999), "99.99%");
  assert.equal(percent(1), "100.0%");
  assert.equal(percent(0.1234), "12.3%");
  assert.equal(percent(NaN), "–");
  assert.equal(points(-0.0123), "−1.23 pp");
  assert.equal(points(0.00001), "0.00 pp");
});

test("amounts are in the unit of their source", () => {
  assert.equal(amount(1.5e9, "ns"), "1.50 s");
  assert.equal(amount(61e6, "bytes"), "58.2 MiB");
  assert.equal(amount(1234567, "count"), "1\u202f234\u202f567 samples");
  assert.equal(bytes(512), "512 B");
  assert.equal(count(999), "999");
  assert.equal(digits(0.00123), "0.00123");
});

test("an axis of values begins at nought and ends at a round number", () => {
  for (const most of [0.02, 0.7, 1, 3.3, 8, 64, 12345]) {
    const { top, step } = scale(most, 4);
    assert.ok(top >= most && top / step <= 4.001, `${most}: ${top} by ${step}`);
  }
  assert.deepEqual(lines({ top: 10, step: 2.5 }).map(({ text }) => text), ["0", "2.5", "5", "7.5", "10"]);
  assert.deepEqual(scale(0, 4), { top: 1, step: 1 });
});
