/*
 * Numbers in words: values in the unit of their source, shares, spans of time, sizes.
 */

import { timeName } from "./states.js";

/** @type {[number, string][]} */
const SECONDS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];

/**
 * Three significant digits, no exponent.
 * @param {number} value
 */
export function digits(value) {
  const size = Math.abs(value);
  if (size === 0 || !Number.isFinite(value)) return String(value || 0);
  if (size >= 100) return value.toFixed(0);
  return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size))));
}

/**
 * A whole number with thin spaces between its thousands.
 * @param {number} value
 */
export const count = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");

/**
 * A span of time, `1.50 s`; over a minute in two units, `1 h 30 min`.
 * @param {number} seconds
 */
export function span(seconds) {
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  // What rounds to a minute is one.
  const unit = SECONDS.findIndex(([length]) => size >= length * 0.9995);
  const [length, name] = SECONDS[unit < 0 ? SECONDS.length - 1 : unit];
  if (length < 60) return `${digits(seconds / length)} ${name}`;
  const [small, word] = SECONDS[unit + 1];
  let whole = Math.floor(size / length + 1e-9);
  let rest = Math.round((size - whole * length) / small);
  if (rest * small >= length) [whole, rest] = [whole + 1, 0];
  return `${seconds < 0 ? "-" : ""}${whole} ${name}${rest ? ` ${rest} ${word}` : ""}`;
}

/**
 * The unit that a size is best told in, and how many bytes it has.
 * @param {number} value
 * @returns {[string, number]}
 */
export function sizeUnit(value) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, Math.abs(value))) / 10)));
  return [["B", "KiB", "MiB", "GiB", "TiB"][power], 1024 ** power];
}

/**
 * A size, `1.50 MiB`.
 * @param {number} value
 */
export function bytes(value) {
  const [unit, size] = sizeUnit(value);
  return `${size > 1 ? digits(value / size) : Math.round(value)} ${unit}`;
}

/** True for a unit of time: of such a source, values by time are CPUs in use. @param {string | undefined} unit */
export const isTime = (unit) => unit === "nanoseconds" || unit === "ns";

/**
 * A value in the unit of its source.
 * @param {number} value
 * @param {string} unit
 */
export function amount(value, unit) {
  if (isTime(unit)) return span(value / 1e9);
  if (unit === "bytes") return bytes(value);
  if (unit === "count") return `${count(value)} samples`;
  return `${count(value)} ${unit}`;
}

/**
 * A difference of values, with its sign.
 * @param {number} value
 * @param {string} unit
 */
export const signed = (value, unit) => `${value < 0 ? "\u2212" : value > 0 ? "+" : ""}${amount(Math.abs(value), unit)}`;

/**
 * What the values of a time line are, a column at a time: CPUs in use of a source of time, what
 * there is of what is in use, a rate of all else.
 * @param {{unit: string, step: number, in_use?: boolean}} data
 * @param {number} value of a column
 */
export function level({ unit, step, in_use }, value) {
  if (in_use) return amount(value, unit);
  if (isTime(unit)) return digits(value / (step * 1e6));
  const rate = value / (step / 1e3);
  return unit === "bytes" ? `${bytes(rate)}/s` : digits(rate);
}

/**
 * The same in words.
 * @param {{unit: string, in_use?: boolean}} data
 * @param {string} source
 */
export function levelName({ unit, in_use }, source) {
  if (isTime(unit)) return timeName(source);
  if (in_use) return unit === "bytes" ? "memory in use" : `${unit} in use`;
  return `${unit === "count" ? "samples" : unit} a second`;
}

/**
 * A share as per cent; small ones keep a digit that is not nought.
 * @param {number} share 0 to 1
 */
export function percent(share) {
  const value = share * 100;
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return "–";
  if (size === 0) return "0%";
  if (size < 0.01) return value < 0 ? ">-0.01%" : "<0.01%";
  // 99.996 is not all of it.
  if (size < 100 && size >= 99.95) return `${(Math.sign(value) * Math.min(99.99, Math.floor(size * 100) / 100)).toFixed(2)}%`;
  return `${value.toFixed(size >= 10 ? 1 : 2)}%`.replace("-", "\u2212");
}

/**
 * A change of share, with its sign: `+1.20 pp`, percentage points.
 * @param {number} change
 */
export function points(change) {
  const value = change * 100;
  const text = Math.abs(value).toFixed(2);
  return text === "0.00" ? "0.00 pp" : `${value < 0 ? "\u2212" : "+"}${text} pp`;
}
