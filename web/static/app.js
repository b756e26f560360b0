/*
 * What every part of the page knows: the state, the recording, and how to ask for a view of it.
 */

import { address, ask } from "./api.js";
import { inks } from "./colours.js";
import { isTime } from "./format.js";
import { baseRange, compares, range, shown, viewWords } from "./state.js";
import { WALL } from "./states.js";
import { isDark } from "./theme.js";
import { momentWord } from "./time.js";

/** @typedef {import("./types.js").Recording} Recording */

export class App {
  /** Grows with the recording while it is followed, so that answers are asked for again. */
  generation = 0;
  /** Changes of the sampling rate, as far as they are known. @type {{from: number, hz: number}[]} */
  rates = [];

  /**
   * @param {import("./state.js").Store} store
   * @param {Recording} recording
   */
  constructor(store, recording) {
    this.store = store;
    this.recording = recording;
  }

  get state() {
    return this.store.state;
  }

  get extent() {
    return { start: this.recording.start, end: Math.max(this.recording.end, this.recording.start + 1) };
  }

  /** The range of the time line's selection. */
  get range() {
    return range(this.state, this.extent);
  }

  /** The range that the views below show. */
  get shown() {
    return shown(this.state, this.extent);
  }

  /** The range to compare with, if it is of this recording. */
  get base() {
    return this.state.base ? null : baseRange(this.state, this.extent);
  }

  /** Asks how far a recording that grows has come, so that "the last hour" is that. */
  async renew() {
    if (!this.recording.live) return;
    const recording = await ask("recording").catch(() => null);
    if (!recording) return;
    this.recording = /** @type {Recording} */ (recording);
    this.generation += 1;
  }

  get dark() {
    return isDark();
  }

  get inks() {
    return inks(this.dark);
  }

  /** True if time on and off the CPU are both there, and can be shown as one. */
  get hasWall() {
    const names = new Set(this.recording.sources.map(({ name }) => name));
    return WALL.split(",").every((name) => names.has(name));
  }

  /** The source that is shown. */
  get source() {
    const { sources } = this.recording;
    const cpu = sources.find(({ name }) => name === "cpu");
    // Of two sources there is no value but time.
    if (cpu && this.hasWall && this.state.source === WALL) return { ...cpu, name: WALL, value: { name: "wall", unit: cpu.value.unit }, types: [] };
    return sources.find((source) => source.name === (this.state.source || "cpu")) ?? sources[0];
  }

  /** The type of value that is shown: the one that is chosen, or the source's last. */
  get type() {
    const { source, state } = this;
    const types = source?.types ?? [source?.value];
    return types.find((type) => type?.name === state.type) ?? types[types.length - 1];
  }

  /** True if what is in use is shown, at the end of the range, and not what was measured within it. */
  get inUse() {
    return Boolean(this.source?.held && this.type?.name.startsWith("inuse_"));
  }

  /** What the source counts: samples, objects. */
  get noun() {
    const name = this.source?.count?.name ?? "samples";
    return name.endsWith("_objects") ? "objects" : name;
  }

  /**
   * The lowest sampling rate within a range, samples a second and CPU, or thread that waits; 0 where
   * it is not known.
   * @param {{from: number, to: number}} range
   */
  lowestRate({ from, to }) {
    const within = this.rates.filter((rate, i) => rate.from < to && (this.rates[i + 1]?.from ?? Infinity) > from && rate.hz > 0);
    if (within.length) return Math.min(...within.map(({ hz }) => hz));
    const { frequency = 0, period = 0, value } = this.source ?? {};
    return frequency || (period > 0 && isTime(value?.unit) ? 1e9 / period : 0);
  }

  /**
   * The words of a view, with its times.
   * @param {{from: number, to: number}} range
   * @param {Record<string, string | number>} [more]
   */
  words(range, more = {}) {
    const words = viewWords(this.state);
    const whole = range.from <= this.extent.start && range.to >= this.extent.end;
    if (!whole) {
      words.set("from", momentWord(range.from));
      words.set("to", momentWord(range.to));
    }
    for (const [name, value] of Object.entries(more)) words.set(name, String(value));
    return words;
  }

  /**
   * The words of what is shown below, with what it is compared with.
   * @param {Record<string, string | number>} [more]
   */
  comparedWords(more = {}) {
    const words = this.words(this.shown, more);
    if (!compares(this.state)) return words;
    const { base: other, base_from, base_to } = this.state;
    if (other) {
      // The times of another recording are its own.
      words.set("base", other);
      if (base_from) words.set("base_from", base_from);
      if (base_to) words.set("base_to", base_to);
    }
    const base = this.base;
    if (base) {
      words.set("base_from", momentWord(base.from));
      words.set("base_to", momentWord(base.to));
    }
    return words;
  }

  /**
   * @template T
   * @param {import("./api.js").Loader<T>} loader
   * @param {string} name
   * @param {URLSearchParams} words
   */
  load(loader, name, words) {
    return loader.load(`${address(name, words)} ${this.generation}`, (signal) => ask(name, words, signal));
  }
}
