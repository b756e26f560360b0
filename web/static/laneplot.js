/*
 * How lanes are painted. Each is given its height; a folded one is a strip that says where
 * something is, and no more.
 */

import { LEFT, xOf } from "./plot.js";
import { decadeName, decades, density, share } from "./lanes.js";

/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {import("./types.js").Mark} Mark */
/** @typedef {import("./plot.js").Frame} Frame */
/** @typedef {import("./lanes.js").Columns} Columns */
/** @typedef {CanvasRenderingContext2D} Context */

/** Pixels above and below what is in a lane. */
const MARGIN = 4;
const FONT = "10.5px system-ui, sans-serif";

/** Left and right of a column; nothing if it is not seen. @param {Frame} frame @param {Columns} columns @param {number} i @param {number} [wide] columns */
function place(frame, { start, step }, i, wide = 1) {
  const left = Math.max(LEFT, xOf(frame, start + i * step));
  const right = Math.min(frame.width, xOf(frame, start + (i + wide) * step));
  return right > LEFT && left < frame.width && right > left ? { left, width: right - left } : null;
}

/**
 * Calls for each column that has a value.
 * @param {(number | null)[]} values
 * @param {(value: number, column: number) => void} each
 */
const known = (values, each) => values.forEach((value, i) => value !== null && each(value, i));

/** Words in the gutter. @param {Context} context @param {Frame} frame @param {string} text @param {number} y */
function gutter(context, frame, text, y) {
  context.font = FONT;
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillStyle = frame.inks.soft;
  context.fillText(text, LEFT - 6, y, LEFT - 8);
}

/**
 * Quantiles on a logarithmic axis: a band from the median to the 99th percentile, a line for the
 * longest; what is known one by one, such as collections, stands as long as it took.
 * @param {Context} context
 * @param {Frame} frame
 * @param {Lane} lane
 * @param {Columns} columns
 * @param {number} height
 */
export function latency(context, frame, lane, columns, height) {
  const { inks } = frame;
  const axis = decades(lane);
  if (!axis) return;
  const [top, bottom] = [MARGIN + 2, height - MARGIN];
  const y = (/** @type {number} */ value) => bottom - share(axis, value) * (bottom - top);
  for (let value = axis.low; value <= axis.high * 1.01; value *= 10) {
    context.fillStyle = inks.faint;
    context.fillRect(LEFT, Math.round(y(value)), frame.width - LEFT, 1);
  }
  gutter(context, frame, decadeName(axis.high, lane.unit), top + 3);
  gutter(context, frame, decadeName(axis.low, lane.unit), bottom - 4);
  stems(context, frame, lane.marks ?? [], y, bottom);
  const { p50 = [], p99 = [], max = [] } = lane;
  context.fillStyle = inks.accent;
  context.globalAlpha = 0.34;
  known(p99, (value, i) => {
    const at = place(frame, columns, i);
    const foot = y(p50[i] ?? axis.low);
    if (at) context.fillRect(at.left, y(value), at.width, Math.max(1, foot - y(value)));
  });
  context.globalAlpha = 1;
  // The top of the band is what one looks for.
  for (const [values, thick] of /** @type {[(number | null)[], number][]} */ ([[p99, 1.5], [p50, 1]])) {
    known(values, (value, i) => {
      const at = place(frame, columns, i);
      if (at) context.fillRect(at.left, y(value) - thick / 2, at.width, thick);
    });
  }
  context.fillStyle = inks.warn;
  known(max, (value, i) => {
    const at = place(frame, columns, i);
    if (at) context.fillRect(at.left, y(value) - 0.75, at.width, 1.2);
  });
}

/**
 * What lasts, as high as it took on the axis of the lane: of those at one pixel the longest.
 * @param {Context} context
 * @param {Frame} frame
 * @param {Mark[]} marks
 * @param {(value: number) => number} y
 * @param {number} bottom
 */
function stems(context, frame, marks, y, bottom) {
  /** @type {Map<number, {width: number, ms: number}>} */
  const longest = new Map();
  for (const { time, end } of marks) {
    if (end === undefined || end < frame.from || time > frame.to) continue;
    const x = Math.round(xOf(frame, time));
    if (x >= LEFT && !((longest.get(x)?.ms ?? -1) >= end - time)) longest.set(x, { width: xOf(frame, end) - x, ms: end - time });
  }
  context.fillStyle = frame.inks.base;
  for (const [x, { width, ms }] of longest) context.fillRect(x, y(ms * 1e6), Math.max(2, width), bottom - y(ms * 1e6));
}

/** Pixels that a mark of its own has at least; where there are more, they are counted. */
const APART = 3;

/**
 * Events: a tick for each, or how many there are where they are too many to tell apart. What lasts
 * is a bar.
 * @param {Context} context
 * @param {Frame} frame
 * @param {Lane} lane
 * @param {Columns} columns
 * @param {number} height
 */
export function events(context, frame, lane, columns, height) {
  const { inks } = frame;
  const { marks = [], more = 0, count = [] } = lane;
  const [top, bottom] = [MARGIN, height - MARGIN];
  if (more > 0 && count.length) return counts(context, frame, count, columns, height, marks);
  const places = Math.max(1, Math.floor((frame.width - LEFT) / APART));
  const { counts: bins, bad, most } = density(marks, frame, places);
  const width = (frame.width - LEFT) / places;
  if (most <= 2) {
    for (const { time, end, level } of marks) {
      const x = xOf(frame, time);
      const right = end === undefined ? x : xOf(frame, end);
      if (right < LEFT || x > frame.width) continue;
      context.fillStyle = level === "error" ? inks.warn : inks.base;
      const left = Math.max(LEFT, x);
      if (right - left > 2) {
        context.globalAlpha = 0.4;
        context.fillRect(left, top + 3, Math.min(right, frame.width) - left, bottom - top - 6);
        context.globalAlpha = 1;
      }
      if (x >= LEFT) context.fillRect(x - 0.75, top, 1.5, bottom - top);
    }
    return;
  }
  bins.forEach((number, i) => {
    if (number) bar(context, LEFT + i * width, width - 0.5, number / most, bad[i] ? inks.warn : inks.base, top, bottom);
  });
  gutter(context, frame, `${most}`, top + 5);
}

/**
 * How many there were in each column, and on top of it those that failed and are listed.
 * @param {Context} context
 * @param {Frame} frame
 * @param {number[]} count
 * @param {Columns} columns
 * @param {number} height
 * @param {Mark[]} marks
 */
function counts(context, frame, count, columns, height, marks) {
  const most = count.reduce((most, value) => Math.max(most, value), 0);
  const [top, bottom] = [MARGIN, height - MARGIN];
  count.forEach((number, i) => {
    const at = number ? place(frame, columns, i) : null;
    if (at) bar(context, at.left, at.width, number / most, frame.inks.base, top, bottom);
  });
  context.fillStyle = frame.inks.warn;
  for (const { time, level } of marks) {
    const x = xOf(frame, time);
    if (level === "error" && x >= LEFT && x <= frame.width) context.fillRect(x - 0.75, top, 1.5, bottom - top);
  }
  gutter(context, frame, `${most}`, top + 5);
}

/** A bar that is seen however short. @param {Context} context @param {number} x @param {number} width @param {number} part @param {string} colour @param {number} top @param {number} bottom */
function bar(context, x, width, part, colour, top, bottom) {
  const height = Math.max(3, Math.sqrt(part) * (bottom - top));
  context.fillStyle = colour;
  context.fillRect(x, bottom - height, Math.max(1, width), height);
}

/**
 * Another source of stacks: a filled rate.
 * @param {Context} context
 * @param {Frame} frame
 * @param {Lane} lane
 * @param {Columns} columns
 * @param {number} height
 * @param {(value: number) => string} words
 */
export function stacks(context, frame, { values = [] }, columns, height, words) {
  const most = values.reduce((most, value) => Math.max(most, value), 0);
  if (most <= 0) return;
  const [top, bottom] = [MARGIN, height - 2];
  gutter(context, frame, words(most), top + 5);
  context.fillStyle = frame.inks.accent;
  context.globalAlpha = 0.75;
  values.forEach((value, i) => {
    const at = value > 0 ? place(frame, columns, i) : null;
    if (at) context.fillRect(at.left, bottom - (value / most) * (bottom - top), at.width, Math.max(1, (value / most) * (bottom - top)));
  });
  context.globalAlpha = 1;
}

/** Height of a row of runs. */
export const RUN = 15;

/**
 * Runs as bars, each with its command where that fits.
 * @param {Context} context
 * @param {Frame} frame
 * @param {{run: import("./types.js").Run, row: number, x: number, width: number}[]} placed
 * @param {{colour: (run: import("./types.js").Run) => string, strong: (run: import("./types.js").Run) => boolean, name: (run: import("./types.js").Run) => string, failed: (run: import("./types.js").Run) => boolean, at: import("./types.js").Run | null}} look
 */
export function runs(context, frame, placed, look) {
  context.font = FONT;
  context.textBaseline = "middle";
  context.textAlign = "left";
  const letter = context.measureText("nnnnnnnnnn").width / 10;
  for (const { run, row, x, width } of placed) {
    const [left, top] = [LEFT + x, MARGIN + row * RUN];
    const strong = look.strong(run);
    context.globalAlpha = strong ? 1 : 0.3;
    context.fillStyle = look.colour(run);
    context.fillRect(left, top, Math.max(1.5, width > 3 ? width - 0.7 : width), RUN - 1.5);
    if (look.failed(run)) {
      context.fillStyle = frame.inks.warn;
      context.fillRect(left, top + RUN - 3.5, Math.max(1.5, width - 0.7), 2);
    }
    if (run === look.at) {
      context.strokeStyle = frame.inks.text;
      context.strokeRect(left + 0.5, top + 0.5, Math.max(2, width - 1.5), RUN - 2.5);
    }
    const letters = Math.floor((width - 6) / letter);
    if (letters < 3) continue;
    const name = look.name(run);
    context.globalAlpha = 1;
    context.fillStyle = strong ? frame.inks.label : frame.inks.soft;
    context.fillText(name.length > letters ? `${name.slice(0, letters - 1)}…` : name, left + 3, top + RUN / 2 - 0.5, width - 4);
  }
  context.globalAlpha = 1;
}

/**
 * A folded lane: the darker, the more there is.
 * @param {Context} context
 * @param {Frame} frame
 * @param {Lane} lane
 * @param {Columns} columns
 * @param {number} height
 */
export function folded(context, frame, lane, columns, height) {
  const axis = decades(lane);
  const values = lane.kind === "latency" ? (lane.p99 ?? []).map((value) => (value === null || !axis ? 0 : share(axis, value)))
    : lane.kind === "stacks" ? lane.values ?? [] : lane.count ?? [];
  const most = values.reduce((most, value) => Math.max(most, value), 0);
  context.fillStyle = lane.kind === "events" ? frame.inks.base : frame.inks.accent;
  values.forEach((value, i) => {
    const at = value > 0 ? place(frame, columns, i) : null;
    if (!at) return;
    context.globalAlpha = 0.15 + 0.7 * (value / most);
    context.fillRect(at.left, 4, at.width, height - 8);
  });
  context.globalAlpha = 1;
}
