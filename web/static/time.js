/*
 * Moments and spans of time in the words of a view, and on the axis of a picture. The same words
 * as the command line takes: `10s` after the start, `-1h` before the end, RFC 3339, `03:12`,
 * whole milliseconds since the Unix epoch.
 */

/** @typedef {{start: number, end: number}} Extent ms since the Unix epoch */

/** @type {Record<string, number>} */
const UNITS = { ms: 1, s: 1e3, m: 60e3, min: 60e3, h: 3600e3, d: 86400e3 };

/**
 * A length of time such as `1h30m` in ms; null if it is none.
 * @param {string} text
 */
export function parseLength(text) {
  if (!/^(\d+(\.\d+)?(ms|s|min|m|h|d))+$/.test(text)) return null;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|min|m|h|d)/g)) {
    sum += Number(number) * UNITS[unit];
  }
  return sum;
}

/**
 * A length of time as a word of the view, in the largest unit that loses nothing.
 * @param {number} ms
 */
export function lengthWord(ms) {
  for (const unit of ["d", "h", "m", "s"]) {
    if (ms >= UNITS[unit] && ms % UNITS[unit] === 0) return `${ms / UNITS[unit]}${unit}`;
  }
  return `${Math.round(ms)}ms`;
}

/**
 * The moment that a word means, in ms since the Unix epoch; null if it means none.
 * @param {string} word
 * @param {Extent} extent of the recording
 */
export function parseMoment(word, { start, end }) {
  const text = word.trim();
  if (/^\d{12,}(\.\d+)?$/.test(text)) return Number(text);
  const before = text.startsWith("-");
  const length = parseLength(before ? text.slice(1) : text.replace(/^\+/, ""));
  if (length !== null) return before ? end - length : start + length;
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?$/.exec(text);
  if (clock) {
    const [hour, minute, second] = [Number(clock[1]), Number(clock[2]), Number(clock[3] ?? 0)];
    if (hour > 23 || minute > 59 || second >= 60) return null;
    const day = new Date(end);
    day.setHours(hour, minute, Math.floor(second), Math.round((second % 1) * 1000));
    // A time of day that is to come was yesterday's.
    if (day.getTime() > end) day.setDate(day.getDate() - 1);
    return day.getTime();
  }
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return null;
  const moment = Date.parse(/[T ]/.test(text) ? text.replace(" ", "T") : `${text}T00:00:00`);
  return Number.isNaN(moment) ? null : moment;
}

/**
 * A moment as a word of the view.
 * @param {number} ms
 */
export const momentWord = (ms) => new Date(Math.round(ms)).toISOString();

const two = (/** @type {number} */ value) => String(value).padStart(2, "0");

/**
 * The parts of a moment on the wall clock of here or of UTC.
 * @param {number} ms
 * @param {boolean} utc
 */
function parts(ms, utc) {
  const date = new Date(ms);
  const shifted = utc ? date : new Date(ms - date.getTimezoneOffset() * 60e3);
  return {
    day: shifted.toISOString().slice(0, 10),
    clock: `${two(shifted.getUTCHours())}:${two(shifted.getUTCMinutes())}`,
    second: two(shifted.getUTCSeconds()),
    ms: String(shifted.getUTCMilliseconds()).padStart(3, "0"),
  };
}

/**
 * A moment, as exact as `resolution` (ms) asks for.
 * @param {number} ms
 * @param {{utc: boolean, resolution?: number, day?: boolean}} options `day`: with the date
 */
export function showMoment(ms, { utc, resolution = 1000, day = true }) {
  const { day: date, clock, second, ms: fraction } = parts(ms, utc);
  const exact = resolution >= 60e3 ? "" : resolution >= 1000 ? `:${second}` : `:${second}.${fraction}`;
  return `${day ? `${date} ` : ""}${clock}${exact}`;
}

/**
 * A range: the date once where both ends have the same.
 * @param {number} from
 * @param {number} to
 * @param {boolean} utc
 */
export function showRange(from, to, utc) {
  const resolution = to - from < 10e3 ? 1 : 1000;
  const day = parts(from, utc).day !== parts(to, utc).day;
  return `${showMoment(from, { utc, resolution })} – ${showMoment(to, { utc, resolution, day })}`;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3,
  300e3, 600e3, 900e3, 1200e3, 1800e3, 3600e3, 7200e3, 10800e3, 21600e3, 43200e3, 86400e3, 172800e3, 604800e3];

/**
 * Where an axis of time has its ticks, and what each says; the first of a day says the day.
 * @param {number} from
 * @param {number} to
 * @param {number} most ticks
 * @param {boolean} utc
 * @returns {{time: number, text: string}[]}
 */
export function ticks(from, to, most, utc) {
  const width = to - from;
  if (!(width > 0) || !Number.isFinite(width)) return [];
  const step = STEPS.find((step) => width / step <= most) ?? 604800e3 * Math.ceil(width / 604800e3 / most);
  const zone = utc ? 0 : new Date(from).getTimezoneOffset() * 60e3;
  const found = [];
  let last = "";
  for (let time = Math.ceil((from - zone) / step) * step + zone; time <= to; time += step) {
    const { day, clock, second, ms } = parts(time, utc);
    const exact = step >= 60e3 ? clock : step >= 1000 ? `${clock}:${second}` : `${second}.${ms}`;
    const text = step >= 86400e3 || (day !== last && last !== "") ? day.slice(5) : exact;
    found.push({ time, text });
    last = day;
  }
  return found;
}
