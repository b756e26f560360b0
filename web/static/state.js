/*
 * What the page shows, kept in its URL, so that a link shows the same and the back button goes back.
 * The words of a view are those of the command line and of the API; the rest is the page's own.
 */

import { parseMoment } from "./time.js";

/**
 * @typedef {object} State
 * @property {string} source
 * @property {string} type of value, one of the source's
 * @property {string} older of memory in use, for how long it has to be so
 * @property {string} from
 * @property {string} to
 * @property {string} pid
 * @property {string} comm
 * @property {string[]} only `LABEL=VALUE`, all of which hold
 * @property {string} focus
 * @property {string} ignore
 * @property {string} by
 * @property {string} idle threads that wait for work: `show` or `hide`; empty: on one frame
 * @property {boolean} inverted
 * @property {string} base another recording to compare with
 * @property {string} base_from
 * @property {string} base_to
 * @property {string} show what is below: flame, sandwich, table or tree
 * @property {string} function that the sandwich is of
 * @property {string} search
 * @property {string} zoom key of the frame that fills the width
 * @property {string} colour kind, module or package
 * @property {string} width of a box in a diff: both, now or base
 * @property {boolean} up flames upwards
 * @property {string} heat `on` or `off`; empty: by the length of the range
 * @property {string} patch_from part of the range that the heat map has selected
 * @property {string} patch_to
 * @property {string} window_from what the time line shows
 * @property {string} window_to
 * @property {string} named what the range was chosen by, such as a process
 * @property {string} lanes `off`: none below the time line
 * @property {string} folded lanes that are, by commas; empty: by what there is
 * @property {boolean} live
 * @property {boolean} utc
 */

/** @type {State} */
const DEFAULTS = {
  source: "", type: "", older: "", from: "", to: "", pid: "", comm: "", only: [], focus: "", ignore: "",
  by: "comm", idle: "", inverted: false, base: "", base_from: "", base_to: "",
  show: "flame", function: "", search: "", zoom: "", colour: "kind", width: "both", up: false,
  heat: "", patch_from: "", patch_to: "", window_from: "", window_to: "", named: "", lanes: "", folded: "", live: false, utc: false,
};

/** The words of a filter, which "clear" takes away. */
export const NO_FILTER = { pid: "", comm: "", only: /** @type {string[]} */ ([]), focus: "", ignore: "", older: "" };

/**
 * The state that a query string says; what it does not know it leaves alone.
 * @param {string} query
 * @returns {State}
 */
export function parse(query) {
  const words = new URLSearchParams(query);
  const state = /** @type {Record<string, any>} */ ({ ...DEFAULTS });
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (Array.isArray(value)) state[name] = words.getAll(name);
    else if (typeof value === "boolean") state[name] = words.has(name) && words.get(name) !== "false";
    else state[name] = words.get(name) ?? value;
  }
  return /** @type {State} */ (state);
}

/**
 * The query string of a state: only what is not the default.
 * @param {State} state
 */
export function query(state) {
  const words = new URLSearchParams();
  const defaults = /** @type {Record<string, unknown>} */ (DEFAULTS);
  for (const [name, value] of Object.entries(state)) {
    if (Array.isArray(value)) value.forEach((one) => words.append(name, one));
    else if (value !== defaults[name]) words.set(name, String(value));
  }
  const text = words.toString();
  return text && `?${text}`;
}

/**
 * The range of the view, ms.
 * @param {State} state
 * @param {import("./time.js").Extent} extent of the recording
 */
export function range(state, extent) {
  const from = parseMoment(state.from, extent) ?? extent.start;
  return { from, to: Math.max(from, parseMoment(state.to, extent) ?? extent.end) };
}

/**
 * The part of the range that flame graph and table show: the patch of the heat map, or all of it.
 * @param {State} state
 * @param {import("./time.js").Extent} extent
 */
export function shown(state, extent) {
  const whole = range(state, extent);
  if (!state.patch_from) return whole;
  const from = parseMoment(state.patch_from, extent) ?? whole.from;
  return { from, to: parseMoment(state.patch_to, extent) ?? whole.to };
}

/**
 * The range to compare with; null where nothing is compared.
 * @param {State} state
 * @param {import("./time.js").Extent} extent
 */
export function baseRange(state, extent) {
  if (!state.base_from && !state.base_to) return null;
  const from = parseMoment(state.base_from, extent) ?? extent.start;
  return { from, to: Math.max(from, parseMoment(state.base_to, extent) ?? extent.end) };
}

/**
 * The filter for a group of a flame graph or time line: what has no value of a label stands in the
 * group `[no LABEL]`.
 * @param {string} label
 * @param {string} group
 */
export const onlyWord = (label, group) => `${label}=${group === `[no ${label}]` ? "" : group}`;

/** True if two views are compared. @param {State} state */
export const compares = (state) => Boolean(state.base || state.base_from || state.base_to);

/**
 * The words of the view for the API, without its times.
 * @param {State} state
 */
export function viewWords(state) {
  const words = new URLSearchParams();
  for (const name of /** @type {const} */ (["source", "type", "older", "pid", "comm", "focus", "ignore", "by", "idle"])) {
    if (state[name]) words.set(name, state[name]);
  }
  state.only.forEach((only) => words.append("only", only));
  if (state.inverted) words.set("inverted", "true");
  return words;
}

/** The state, its URL, and who wants to know of changes. */
export class Store {
  /** @type {State} */
  state = parse(location.search);
  /** @type {((state: State, changed: Set<string>) => void)[]} */
  #listeners = [];

  constructor() {
    addEventListener("popstate", () => this.#change(parse(location.search)));
  }

  /** @param {(state: State, changed: Set<string>) => void} listener */
  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /**
   * Changes the state. What a person does becomes an entry of the history; what follows from it,
   * or comes many times a second, only replaces the URL.
   * @param {Partial<State>} change
   * @param {{replace?: boolean}} [options]
   */
  set(change, { replace = false } = {}) {
    const next = { ...this.state, ...change };
    // A name is that of one range.
    if ((next.from !== this.state.from || next.to !== this.state.to) && change.named === undefined) next.named = "";
    const url = location.pathname + query(next);
    if (query(next) !== query(this.state)) {
      if (replace) history.replaceState(null, "", url);
      else history.pushState(null, "", url);
    }
    this.#change(next);
  }

  /** @param {State} next */
  #change(next) {
    const [before, after] = /** @type {Record<string, unknown>[]} */ (
      /** @type {unknown} */ ([this.state, next])
    );
    const changed = new Set(Object.keys(after).filter((name) => String(before[name]) !== String(after[name])));
    this.state = next;
    if (changed.size) this.#listeners.forEach((listener) => listener(next, changed));
  }
}
