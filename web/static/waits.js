/*
 * Stacks that wait: which boxes of a flame graph they are, and their colours, so that time on and off
 * the CPU are told apart in one picture. What a thread waits for is the leaf of its stack.
 */

import { functionColours } from "./colours.js";
import { STATES } from "./states.js";

/** @typedef {import("./tree.js").Tree} Tree */

/**
 * How much of each box is waiting, in its own measure; null where nothing waits.
 * @param {Tree} tree
 */
export function waiting(tree) {
  const { names, kinds, functions } = tree.graph;
  const states = functions.name.map((name, i) => kinds[functions.kind[i]] === "note" && names[name] in STATES);
  if (!states.includes(true)) return null;
  const waits = new Float64Array(tree.size);
  // Inverted, the state is at the root, and all that stands on it waits.
  const inside = new Uint8Array(tree.size);
  for (let i = 0; i < tree.size; i++) {
    const parent = tree.parent[i];
    if ((parent >= 0 && inside[parent]) || (tree.function[i] >= 0 && states[tree.function[i]])) inside[i] = 1;
    if (inside[i]) waits[i] = tree.weight[i];
  }
  for (let i = tree.size - 1; i > 0; i--) {
    const parent = tree.parent[i];
    if (parent >= 0 && !inside[parent]) waits[parent] += waits[i];
  }
  return waits;
}

/**
 * The colour of each box: that of its function, cool where it waits for the most part.
 * @param {Tree} tree
 * @param {string} by kind, module or package
 * @param {boolean} dark
 * @returns {(node: number) => string}
 */
export function boxColours(tree, by, dark) {
  const runs = functionColours(tree.graph, by, dark);
  const waits = by === "kind" ? waiting(tree) : null;
  if (!waits) return (node) => runs(tree.function[node]);
  const cool = functionColours(tree.graph, by, dark, true);
  return (node) => (waits[node] > tree.weight[node] / 2 ? cool : runs)(tree.function[node]);
}
