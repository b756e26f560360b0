/*
 * How a time line is painted: stacked areas, lanes of other sources, marks, the axis. Pure drawing:
 * what the pointer does is in timeline.js.
 */

import { lines, scale } from "./axis.js";
import { clamp } from "./dom.js";
import { isTime, level, sizeUnit, span } from "./format.js";
import { ticks } from "./time.js";

/** @typedef {import("./types.js").Timeline} Data */
/** @typedef {import("./types.js").Lane} Lane */
/** @typedef {import("./colours.js").Inks} Inks */

export const LEFT = 54;
const TOP = 8;
const AXIS = 18;
export const LANE = 30;

/**
 * @typedef {object} Frame
 * @property {number} width
 * @property {number} height
 * @property {number} from what the width shows, ms
 * @property {number} to
 * @property {boolean} utc
 * @property {Inks} inks
 * @property {string[]} colours of the series
 * @property {string} other colour of the rest
 * @property {string | null} strong series that stands out
 */

/** Where a moment is. @param {Frame} frame @param {number} time */
export const xOf = (frame, time) => LEFT + ((time - frame.from) / (frame.to - frame.from)) * (frame.width - LEFT);

/** The moment at a place. @param {Frame} frame @param {number} x */
export const timeOf = (frame, x) =>
  frame.from + clamp((x - LEFT) / Math.max(1, frame.width - LEFT), 0, 1) * (frame.to - frame.from);

/**
 * The lane at a height, if it is of a source that can be shown.
 * @param {Frame} frame
 * @param {Data} data
 * @param {number} y
 */
export function laneAt(frame, data, y) {
  const lane = data.lanes[Math.floor((y - floorOf(frame, data)) / LANE)];
  return y >= floorOf(frame, data) && lane?.kind === "stacks" ? lane : null;
}

/** The bottom of the stacked areas. @param {Frame} frame @param {Data} data */
const floorOf = (frame, data) => frame.height - AXIS - data.lanes.length * LANE;

/** What a column's value is divided by: by nothing if it is a level, else to be a rate: CPUs for ns, else per second. @param {Data} data */
const perColumn = (data) => (data.in_use ? 1 : isTime(data.unit) ? data.step * 1e6 : data.step / 1e3);

/**
 * Paints it all.
 * @param {CanvasRenderingContext2D} context
 * @param {Frame} frame
 * @param {Data} data
 */
export function plot(context, frame, data) {
  const { inks, width } = frame;
  const floor = floorOf(frame, data);
  const most = peak(data) / perColumn(data);
  const least = isTime(data.unit) ? 0.02 : 0.001;
  // Round numbers of bytes are those of their unit.
  const [word, size] = data.unit === "bytes" ? sizeUnit(most) : ["", 1];
  const axis = scale(Math.max((most * 1.06) / size, least), floor > 90 ? 5 : 2);
  const place = (/** @type {number} */ value) => floor - (value / axis.top) * (floor - TOP);
  const y = (/** @type {number} */ value) => place(value / size);
  context.font = "10.5px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const { value, text } of lines(axis)) {
    context.fillStyle = inks.faint;
    context.fillRect(LEFT, Math.round(place(value)), width - LEFT, 1);
    context.fillStyle = inks.soft;
    context.fillText(word && value ? `${text} ${word}` : text, LEFT - 6, clamp(place(value), 8, floor - 1));
  }
  areas(context, frame, data, y);
  if (isTime(data.unit) && axis.top >= data.cpus) {
    context.strokeStyle = inks.soft;
    context.setLineDash([3, 4]);
    context.strokeRect(LEFT, y(data.cpus), width - LEFT, 0);
    context.setLineDash([]);
  }
  data.lanes.forEach((lane, i) => paintLane(context, frame, data, lane, floor + i * LANE));
  marks(context, frame, data, floor);
  timeAxis(context, frame);
}

/** The highest column. @param {Data} data */
function peak(data) {
  let most = 0;
  for (let i = 0; i < data.other.length; i++) {
    most = Math.max(most, data.series.reduce((sum, series) => sum + (series.values[i] ?? 0), data.other[i]));
  }
  return most;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Frame} frame
 * @param {Data} data
 * @param {(value: number) => number} y
 */
function areas(context, frame, data, y) {
  const unit = perColumn(data);
  const below = new Float64Array(data.other.length);
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, frame.width - LEFT, frame.height);
  context.clip();
  const layers = [...data.series.map((series, i) => ({ name: series.name, values: series.values, colour: frame.colours[i] })),
    { name: "other", values: data.other, colour: frame.other }];
  for (const { name, values, colour } of layers) {
    const before = Float64Array.from(below);
    context.beginPath();
    for (let i = 0; i < values.length; i++) {
      below[i] += values[i];
      const x = xOf(frame, data.start + i * data.step);
      const next = xOf(frame, data.start + (i + 1) * data.step);
      context.lineTo(x, y(below[i] / unit));
      context.lineTo(next, y(below[i] / unit));
    }
    for (let i = values.length - 1; i >= 0; i--) {
      context.lineTo(xOf(frame, data.start + (i + 1) * data.step), y(before[i] / unit));
      context.lineTo(xOf(frame, data.start + i * data.step), y(before[i] / unit));
    }
    context.globalAlpha = frame.strong === null || frame.strong === name ? 1 : 0.25;
    context.fillStyle = colour;
    context.fill();
  }
  context.restore();
}

/**
 * A lane is drawn by the kind of its source: stacks as a filled rate, latency as a band from the
 * median to the 99th percentile, events as marks.
 * @param {CanvasRenderingContext2D} context
 * @param {Frame} frame
 * @param {Data} data
 * @param {Lane} lane
 * @param {number} top
 */
function paintLane(context, frame, data, lane, top) {
  const { inks } = frame;
  context.fillStyle = inks.faint;
  context.fillRect(0, top, frame.width, 1);
  context.fillStyle = inks.soft;
  context.textAlign = "left";
  context.fillText(lane.source, 4, top + 10);
  const low = lane.p50 ?? (lane.values ?? []).map(() => 0);
  const high = lane.p99 ?? lane.values ?? [];
  const most = high.reduce((/** @type {number} */ most, value) => Math.max(most, value ?? 0), 0);
  if (most > 0) {
    context.fillText(laneValue(lane, most, data.step), 4, top + 22, LEFT - 6);
    const y = (/** @type {number} */ value) => top + LANE - 2 - (value / most) * (LANE - 6);
    high.forEach((value, i) => {
      if (value === null) return;
      const x = Math.max(LEFT, xOf(frame, data.start + i * data.step));
      const width = xOf(frame, data.start + (i + 1) * data.step) - x;
      if (width <= 0 || x > frame.width) return;
      const bottom = y(low[i] ?? 0);
      context.globalAlpha = lane.p99 ? 0.45 : 0.8;
      context.fillStyle = inks.accent;
      context.fillRect(x, y(value), width, Math.max(1, bottom - y(value)));
      context.globalAlpha = 1;
      if (lane.p50) context.fillRect(x, bottom - 1, width, 1.5);
    });
  }
  for (const { time } of lane.marks ?? []) {
    const x = xOf(frame, time);
    if (x < LEFT) continue;
    context.fillStyle = inks.accent;
    context.fillRect(x - 0.75, top + 6, 1.5, LANE - 10);
  }
}

/**
 * A value of a lane in words.
 * @param {Lane} lane
 * @param {number} value
 * @param {number} step of the columns, ms
 */
export function laneValue(lane, value, step) {
  const { unit = "ns", in_use } = lane;
  if (lane.kind !== "stacks") return isTime(unit) ? span(value / 1e9) : `${value.toPrecision(3)} ${unit}`;
  const text = level({ unit, step, in_use }, value);
  return isTime(unit) ? `${text} CPU` : in_use || unit === "bytes" ? text : `${text}/s`;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Frame} frame
 * @param {Data} data
 * @param {number} floor
 */
function marks(context, frame, data, floor) {
  for (const mark of data.marks) {
    const x = xOf(frame, mark.time);
    if (x < LEFT || x > frame.width) continue;
    if (mark.end !== undefined) {
      context.fillStyle = frame.inks.faint;
      context.fillRect(x, TOP, Math.max(1, xOf(frame, mark.end) - x), floor - TOP);
    }
    context.strokeStyle = context.fillStyle = frame.inks.base;
    context.setLineDash([2, 3]);
    context.beginPath();
    context.moveTo(x, TOP);
    context.lineTo(x, floor);
    context.stroke();
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(x - 4.5, 0);
    context.lineTo(x + 4.5, 0);
    context.lineTo(x, 7);
    context.fill();
  }
}

/** @param {CanvasRenderingContext2D} context @param {Frame} frame */
export function timeAxis(context, frame) {
  const y = frame.height - AXIS;
  context.fillStyle = frame.inks.line;
  context.fillRect(LEFT, y, frame.width - LEFT, 1);
  context.textAlign = "center";
  for (const { time, text } of ticks(frame.from, frame.to, Math.max(2, (frame.width - LEFT) / 92), frame.utc)) {
    const x = xOf(frame, time);
    context.fillStyle = frame.inks.line;
    context.fillRect(Math.round(x), y, 1, 4);
    context.fillStyle = frame.inks.soft;
    if (x > LEFT + 16 && x < frame.width - 22) context.fillText(text, x, y + 11);
  }
}
