/*
 * What of a tree is drawn at a given zoom and width: boxes by row, siblings that are too narrow to
 * see merged into one. The work is bounded by what is visible, not by what there is.
 */

/** @typedef {import("./tree.js").Tree} Tree */

/** CSS pixels under which a box is merged with its narrow neighbours. */
const NARROW = 0.8;
/** Pixels under which what was merged is not drawn either. */
const NOTHING = 0.08;

/**
 * One drawn box. `merged` is how many nodes it stands for; 0 for a node of its own.
 * @typedef {{x: number, width: number, node: number, depth: number, merged: number}} Box
 */

/**
 * The boxes of the rows from `first` to `last`, each row from left to right. Ancestors of the
 * zoomed node fill the width.
 * @param {Tree} tree
 * @param {number} zoom node that fills the width
 * @param {number} width pixels
 * @param {number} first depth
 * @param {number} last depth
 * @returns {Box[][]} by depth - first
 */
export function boxes(tree, zoom, width, first, last) {
  /** @type {Box[][]} */
  const rows = Array.from({ length: Math.max(0, last - first + 1) }, () => []);
  const { depth, end, weight, start } = tree;
  for (let at = tree.parent[zoom]; at >= 0; at = tree.parent[at]) {
    rows[depth[at] - first]?.push({ x: 0, width, node: at, depth: depth[at], merged: 0 });
  }
  const scale = weight[zoom] > 0 ? width / weight[zoom] : 0;
  const left = start[zoom];
  for (let i = zoom; i < end[zoom]; ) {
    const level = depth[i];
    let wide = weight[i] * scale;
    if (level > last) {
      i = end[i];
      continue;
    }
    if (wide >= NARROW || i === zoom) {
      if (level >= first) rows[level - first].push({ x: (start[i] - left) * scale, width: wide, node: i, depth: level, merged: 0 });
      i = level === last ? end[i] : i + 1;
      continue;
    }
    const begin = i;
    let merged = 0;
    for (wide = 0; i < end[zoom] && depth[i] === level && weight[i] * scale < NARROW; i = end[i]) {
      wide += weight[i] * scale;
      merged += 1;
    }
    if (level >= first && wide >= NOTHING) {
      rows[level - first].push({ x: (start[begin] - left) * scale, width: wide, node: begin, depth: level, merged });
    }
  }
  return rows;
}

/**
 * The depth of the deepest box that is wide enough to be seen.
 * @param {Tree} tree
 * @param {number} zoom
 * @param {number} width pixels
 */
export function deepest(tree, zoom, width) {
  const { depth, end, weight } = tree;
  const least = weight[zoom] > 0 ? (weight[zoom] * NARROW) / Math.max(1, width) : Infinity;
  let found = depth[zoom];
  for (let i = zoom; i < end[zoom]; ) {
    if (weight[i] < least) {
      i = end[i];
      continue;
    }
    if (depth[i] > found) found = depth[i];
    i += 1;
  }
  return found;
}

/**
 * The box at a place of a row.
 * @param {Box[] | undefined} row
 * @param {number} x
 */
export const boxAt = (row, x) => row?.find((box) => x >= box.x && x < box.x + Math.max(1, box.width)) ?? null;
