/*
 * How a time line is painted: stacked areas, marks of the recording, the axis. Pure drawing: what
 * the pointer does is in timeline.js, what stands in the lanes below in laneplot.js.
 */

import { lines, scale } from "./axis.js";
import { clamp } from "./dom.js";
import { isTime, sizeUnit } from "./format.js";
import { ticks } from "./time.js";

/** @typedef {import("./types.js").Timeline} Data */
/** @typedef {import("./colours.js").Inks} Inks */

export const LEFT = 54;
const TOP = 8;
export const AXIS = 18;

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
 * @property {boolean} cpus what all CPUs can do is a limit
 * @property {string | null} strong series that stands out
 */

/** Where a moment is. @param {Frame} frame @param {number} time */
export const xOf = (frame, time) => LEFT + ((time - frame.from) / (frame.to - frame.from)) * (frame.width - LEFT);

/** The moment at a place. @param {Frame} frame @param {number} x */
export const timeOf = (frame, x) =>
  frame.from + clamp((x - LEFT) / Math.max(1, frame.width - LEFT), 0, 1) * (frame.to - frame.from);

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
  const floor = frame.height - AXIS;
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
  if (frame.cpus && isTime(data.unit) && axis.top >= data.cpus) {
    context.strokeStyle = inks.soft;
    context.setLineDash([3, 4]);
    context.strokeRect(LEFT, y(data.cpus), width - LEFT, 0);
    context.setLineDash([]);
  }
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
