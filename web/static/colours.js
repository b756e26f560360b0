/*
 * Colours. User code is warm and the kernel is cold, what has no name is grey; the ranges of hue are
 * those of the SVG that the command line writes. Each kind differs in lightness as well as in hue,
 * for eyes that do not tell hues apart. A name has the same colour in every picture.
 */

import { packageOf, shortModule } from "./packages.js";
import { STATES } from "./states.js";
import { hash } from "./tree.js";

/** Hue in degrees, saturation and lightness in per cent: the ends of each range. */
const KINDS = /** @type {Record<string, [number, number, number, number, number, number]>} */ ({
  user: [20, 38, 86, 96, 66, 75],
  inlined: [46, 56, 84, 94, 71, 79],
  jit: [94, 138, 44, 56, 65, 73],
  kernel: [200, 222, 64, 80, 72, 80],
  unknown: [220, 220, 4, 6, 77, 84],
  note: [334, 346, 70, 80, 80, 84],
  group: [256, 272, 34, 44, 83, 87],
  other: [220, 220, 3, 3, 86, 88],
});

/** Memory is green, so that nobody takes it for time. */
const MEMORY = /** @type {typeof KINDS} */ ({
  user: [118, 148, 40, 54, 66, 75],
  inlined: [68, 84, 56, 68, 70, 78],
  jit: [28, 42, 80, 92, 70, 77],
});

/** Stacks that wait are cool, all of them. */
const WAITS = /** @type {typeof KINDS} */ ({
  user: [168, 186, 30, 42, 70, 78],
  inlined: [146, 158, 26, 36, 73, 80],
  jit: [124, 138, 24, 32, 70, 77],
  kernel: [226, 244, 44, 58, 77, 84],
});

let isMemory = false;

/** Says whether pictures are of memory. @param {boolean} memory */
export function usePalette(memory) {
  isMemory = memory;
}

/** @param {string} kind @param {boolean} waits */
const rangeOf = (kind, waits) => (waits && WAITS[kind]) || (isMemory && MEMORY[kind]) || KINDS[kind] || KINDS.unknown;

/** The words of a legend. */
export const LEGEND = [["user", "user"], ["inlined", "inlined"], ["jit", "JIT"], ["kernel", "kernel"],
  ["unknown", "no symbol"], ["note", "note by rprof"]];

/**
 * @param {number} hue
 * @param {number} saturation
 * @param {number} lightness
 * @param {boolean} dark softer and darker, so that a page at night does not glare
 */
function tone(hue, saturation, lightness, dark) {
  const [s, l] = dark ? [saturation * 0.58, lightness - 12] : [saturation, lightness];
  return `hsl(${hue.toFixed(0)} ${s.toFixed(0)}% ${l.toFixed(0)}%)`;
}

/** Eight places in a range are enough to tell neighbours apart. @param {string} name */
function place(name) {
  const value = Math.imul(hash(name), 0x9e3779b1) >>> 0;
  return [(value >>> 29) / 7, ((value >>> 26) & 7) / 7, ((value >>> 23) & 7) / 7];
}

/**
 * The colour of a function by its kind.
 * @param {string} kind
 * @param {string} name
 * @param {boolean} dark
 * @param {boolean} [waits] it is of a stack that waits
 */
export function kindColour(kind, name, dark, waits = false) {
  if (kind === "note" && name in STATES) return stateColour(name, dark);
  const range = rangeOf(kind, waits);
  const [a, b, c] = place(name);
  return tone(range[0] + (range[1] - range[0]) * a, range[2] + (range[3] - range[2]) * b,
    range[4] + (range[5] - range[4]) * c, dark);
}

/** The colour of what a thread waits for. @param {string} state one of STATES @param {boolean} dark */
export function stateColour(state, dark) {
  const [hue, saturation, lightness] = STATES[state];
  return tone(hue, saturation, lightness, dark);
}

/** @param {string} kind @param {boolean} dark @param {boolean} [waits] */
export function kindSample(kind, dark, waits = false) {
  const range = rangeOf(kind, waits);
  return tone((range[0] + range[1]) / 2, (range[2] + range[3]) / 2, (range[4] + range[5]) / 2, dark);
}

/**
 * The colour of a module or package that is not among the largest: pale, so that those stand out.
 * @param {string} name
 * @param {boolean} dark
 */
export function nameColour(name, dark) {
  if (!name || name === "[none]") return kindSample("unknown", dark);
  const value = Math.imul(hash(name), 0x9e3779b1) >>> 0;
  return tone((value >>> 28) * 22.5, 20 + ((value >>> 26) & 3) * 4, 76 + ((value >>> 24) & 3) * 2.5, dark);
}

/**
 * The module or package that gives a function its colour; null where its kind does.
 * @param {import("./types.js").Flamegraph} graph
 * @param {number} index of the function
 * @param {string} by kind, module or package
 */
function wordOf({ functions, names, kinds, modules }, index, by) {
  if (by === "kind" || ["group", "other", "note"].includes(kinds[functions.kind[index]])) return null;
  const module = modules[functions.module[index]] ?? "";
  return by === "module" ? shortModule(module) || "[none]" : packageOf(names[functions.name[index]] ?? "", module);
}

/**
 * The modules or packages in which most ends, the largest first.
 * @param {import("./types.js").Flamegraph} graph
 * @param {string} by module or package
 * @param {number} most of them
 */
export function largestWords(graph, by, most) {
  const own = new Float64Array(graph.functions.name.length);
  graph.tree.function.forEach((index, i) => (own[index] += graph.tree.self[i]));
  /** @type {Map<string, number>} */
  const sums = new Map();
  own.forEach((value, index) => {
    const word = value > 0 ? wordOf(graph, index, by) : null;
    if (word !== null) sums.set(word, (sums.get(word) ?? 0) + value);
  });
  return [...sums].sort((a, b) => b[1] - a[1]).slice(0, most).map(([word]) => word);
}

/** Modules or packages that have a colour of their own. */
const LARGEST = 12;

/**
 * The largest modules or packages, each with its colour.
 * @param {import("./types.js").Flamegraph} graph
 * @param {string} by module or package
 * @param {boolean} dark
 * @returns {[string, string][]}
 */
export function wordColours(graph, by, dark) {
  const words = largestWords(graph, by, LARGEST);
  const colours = WORDS.of(words, dark, 14);
  return words.map((word, i) => [word, colours[i]]);
}

/**
 * The colours of a graph's functions, each made when it is first asked for: of 30,000 functions few
 * are wide enough to be drawn.
 * @param {import("./types.js").Flamegraph} graph
 * @param {string} by kind, module or package
 * @param {boolean} dark
 * @param {boolean} [waits] as they are in stacks that wait
 * @returns {(index: number) => string}
 */
export function functionColours(graph, by, dark, waits = false) {
  const { functions, names, kinds } = graph;
  const largest = new Map(by === "kind" ? [] : wordColours(graph, by, dark));
  /** @type {(string | undefined)[]} */
  const known = new Array(functions.name.length);
  const make = (/** @type {number} */ i) => {
    const word = wordOf(graph, i, by);
    if (word === null) return kindColour(kinds[functions.kind[i]], names[functions.name[i]] ?? "", dark, waits);
    return largest.get(word) ?? nameColour(word, dark);
  };
  return (index) => (known[index] ??= make(index));
}

/** A change this many standard errors wide is no noise, as the server has it: 1 in 1000 by chance. */
export const SURE = 3.29;

/**
 * The colour of a change: red for more, blue for less, grey for what sampling noise explains.
 * @param {number} now share, 0 to 1
 * @param {number} base share
 * @param {number} z standard errors
 * @param {boolean} dark
 */
export function changeColour(now, base, z, dark) {
  if (Math.abs(z) < SURE || now === base) return dark ? "hsl(220 5% 46%)" : "hsl(220 6% 86%)";
  // -1: gone, 1: new, 1/3: twice as much.
  const change = Math.round(((now - base) / (now + base || 1)) * 8) / 8;
  const strength = Math.min(1, Math.abs(change) + 0.12);
  const hue = change >= 0 ? 8 : 214;
  return dark ? `hsl(${hue} ${25 + 50 * strength}% ${60 - 4 * strength}%)`
    : `hsl(${hue} ${55 + 35 * strength}% ${90 - 28 * strength}%)`;
}

const SERIES = [[212, 62, 54], [28, 84, 57], [150, 42, 45], [340, 58, 60], [266, 45, 62], [46, 84, 52],
  [186, 52, 44], [8, 66, 56], [96, 38, 48], [232, 40, 66], [310, 38, 58], [62, 46, 46]];

/** Colours of the series of a time line: what keeps its name keeps its colour. */
export class SeriesColours {
  /** @type {Map<string, number>} */
  #places = new Map();

  /**
   * @param {string[]} names that are shown together
   * @param {boolean} dark
   * @param {number} [lift] how much lighter on a light page, per cent
   * @returns {string[]}
   */
  of(names, dark, lift = 6) {
    const used = new Set(names.map((name) => this.#places.get(name)));
    for (const name of names) {
      if (this.#places.has(name)) continue;
      const wanted = hash(name) % SERIES.length;
      const free = SERIES.map((_, i) => (wanted + i) % SERIES.length).find((at) => !used.has(at));
      this.#places.set(name, free ?? wanted);
      used.add(free ?? wanted);
    }
    return names.map((name) => {
      const [hue, saturation, lightness] = SERIES[this.#places.get(name) ?? 0];
      return `hsl(${hue} ${dark ? saturation * 0.8 : saturation}% ${dark ? lightness - 4 + lift / 2 : lightness + lift}%)`;
    });
  }
}

/** Modules and packages keep theirs for as long as the page is open. */
const WORDS = new SeriesColours();

/** Steps of the colours of a heat map, least to most. */
export const HEAT = {
  light: [[255, 255, 255], [255, 240, 203], [254, 208, 138], [248, 156, 84], [230, 96, 58], [186, 38, 42]],
  dark: [[24, 27, 33], [47, 40, 56], [92, 46, 62], [136, 54, 52], [176, 76, 46], [212, 112, 52]],
};

/**
 * Red, green and blue at a place of the heat map's scale.
 * @param {number} share 0 to 1
 * @param {boolean} dark
 * @returns {[number, number, number]}
 */
export function heat(share, dark) {
  const steps = dark ? HEAT.dark : HEAT.light;
  const at = Math.max(0, Math.min(1, share)) * (steps.length - 1);
  const low = Math.min(steps.length - 2, Math.floor(at));
  const mixed = (/** @type {number} */ i) => Math.round(steps[low][i] + (steps[low + 1][i] - steps[low][i]) * (at - low));
  return [mixed(0), mixed(1), mixed(2)];
}

/** The colours of lines and letters on a canvas. @param {boolean} dark */
export const inks = (dark) => dark
  ? { page: "#15181d", panel: "#1b1f26", text: "#e6e8ec", soft: "#9aa3b0", faint: "#2c323c", line: "#3a414d",
      label: "#14171c", accent: "#5aa2ff", base: "#e0a33c", warn: "#ff8f57", match: "#e05be8", shade: "rgb(15 17 21 / 62%)" }
  : { page: "#ffffff", panel: "#ffffff", text: "#1c2430", soft: "#5d6877", faint: "#eceef2", line: "#d3d8df",
      label: "#16191e", accent: "#1667d9", base: "#b87408", warn: "#c8410b", match: "#d838e0", shade: "rgb(255 255 255 / 66%)" };

/** @typedef {ReturnType<typeof inks>} Inks */
