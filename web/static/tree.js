/*
 * The layout of a flame graph: from the flat arrays of the server to where each box begins and how
 * wide it is. Typed arrays throughout and no object per node, so that 500,000 nodes are laid out,
 * searched and found again within a frame.
 *
 * Nodes are in depth-first order: the nodes below node i are i + 1 up to end[i].
 */

/** @typedef {import("./types.js").Flamegraph} Flamegraph */

/** What a box's width says where two views are compared. @typedef {"both" | "now" | "base"} Width */

export class Tree {
  /**
   * @param {Flamegraph} graph
   * @param {Width} [width]
   */
  constructor(graph, width = "both") {
    this.graph = graph;
    const { depth, total } = graph.tree;
    // One node of depth 0 is the root; many are put below one.
    const roots = depth.reduce((sum, value) => sum + (value === 0 ? 1 : 0), 0);
    this.added = roots === 1 ? 0 : 1;
    this.size = depth.length + this.added;
    this.diff = graph.tree.base !== undefined;
    /** Depth of each node. */
    this.depth = new Uint16Array(this.size);
    /** Index of each node's function; -1 for an added root. */
    this.function = new Int32Array(this.size).fill(-1);
    this.parent = new Int32Array(this.size).fill(-1);
    /** The first node that is not below this one. */
    this.end = new Int32Array(this.size).fill(this.size);
    /** Where each box begins, from 0 to the root's weight. */
    this.start = new Float64Array(this.size);
    /** How wide it is, in the same measure. */
    this.weight = new Float64Array(this.size);
    this.deepest = 0;
    this.total = graph.total;
    this.baseTotal = graph.base_total ?? 0;
    this.#weigh(total, width);
    this.#place();
  }

  /**
   * @param {number[]} total
   * @param {Width} width
   */
  #weigh(total, width) {
    const { base } = this.graph.tree;
    // Amounts of memory are as wide on either side.
    const most = this.graph.in_use ? Math.max(this.total, this.baseTotal) : 0;
    const now = width === "base" || !this.total ? 0 : 1 / (most || this.total);
    const then = !base || width === "now" || !this.baseTotal ? 0 : 1 / (most || this.baseTotal);
    if (this.added) this.weight[0] = base ? this.total * now + this.baseTotal * then : this.total;
    for (let i = 0; i < total.length; i++) {
      this.weight[i + this.added] = base ? total[i] * now + base[i] * then : total[i];
    }
  }

  #place() {
    const { depth, function: functions } = this.graph.tree;
    const { added } = this;
    // The open node of each depth, and where its next child begins.
    const open = [0];
    const next = [0];
    for (let i = added; i < this.size; i++) {
      const level = depth[i - added] + added;
      if (level > open.length) throw new Error("the server sent a tree with a node that has no parent");
      this.depth[i] = level;
      this.function[i] = functions[i - added];
      this.deepest = Math.max(this.deepest, level);
      for (let above = level; above < open.length && i > 0; above++) this.end[open[above]] = i;
      open.length = level;
      open[level] = i;
      if (level > 0) this.parent[i] = open[level - 1];
      this.start[i] = next[level] ?? 0;
      next[level] = this.start[i] + this.weight[i];
      next[level + 1] = this.start[i];
    }
  }

  /** Total of a node now. @param {number} node */
  value(node) {
    return node < this.added ? this.total : this.graph.tree.total[node - this.added];
  }

  /** Its own part of it. @param {number} node */
  self(node) {
    return node < this.added ? 0 : this.graph.tree.self[node - this.added];
  }

  /** Total of a node in the view that this one is compared with. @param {number} node */
  base(node) {
    return node < this.added ? this.baseTotal : this.graph.tree.base?.[node - this.added] ?? 0;
  }

  /** How surely its share changed: standard errors of the change. @param {number} node */
  z(node) {
    return node < this.added ? 0 : this.graph.tree.z?.[node - this.added] ?? 0;
  }

  /** @param {number} node */
  name(node) {
    const index = this.function[node];
    if (index < 0) return "all";
    const { names, functions } = this.graph;
    return names[functions.name[index]] || (node === 0 ? "all" : "[unnamed]");
  }

  /** @param {number} node */
  kind(node) {
    const index = this.function[node];
    return index < 0 ? "group" : this.graph.kinds[this.graph.functions.kind[index]] ?? "unknown";
  }

  /** @param {number} node */
  module(node) {
    const index = this.function[node];
    return index < 0 ? "" : this.graph.modules[this.graph.functions.module[index]] ?? "";
  }

  /** `file:line` of a node, as far as it is known. @param {number} node */
  line(node) {
    const index = this.function[node];
    if (index < 0) return "";
    const { files, functions } = this.graph;
    const file = files[functions.file[index]] ?? "";
    return file && functions.line[index] ? `${file}:${functions.line[index]}` : file;
  }

  /** The nodes from the root to this one. @param {number} node */
  path(node) {
    const path = [];
    for (let at = node; at >= 0; at = this.parent[at]) path.unshift(at);
    return path;
  }

  /** The nodes right below this one. @param {number} node */
  children(node) {
    const found = [];
    for (let at = node + 1; at < this.end[node]; at = this.end[at]) found.push(at);
    return found;
  }

  /**
   * A short word for a node that names it in every tree that has the same path of names; empty for
   * the root.
   * @param {number} node
   */
  key(node) {
    if (node <= 0) return "";
    let [low, high] = [0, 0];
    for (const at of this.path(node).slice(1)) [low, high] = step(low, high, hash(this.name(at)));
    const key = word(low, high).toString(36);
    this.#keys.set(key, node);
    return key;
  }

  /** Keys that were given out. @type {Map<string, number>} */
  #keys = new Map();

  /** The node that a key names; 0 where there is none. @param {string} key */
  find(key) {
    return this.#keys.get(key) ?? this.findAll([key])[0] ?? 0;
  }

  /**
   * The nodes that keys of this or another tree name, as far as there are such.
   * @param {Iterable<string>} keys
   * @returns {number[]}
   */
  findAll(keys) {
    const wanted = new Set([...keys].map((key) => parseInt(key, 36)).filter((key) => !Number.isNaN(key)));
    /** @type {number[]} */
    const found = [];
    if (!wanted.size) return found;
    const { names, functions } = this.graph;
    const hashes = functions.name.map((name) => hash(names[name] || "[unnamed]"));
    const [low, high] = [new Int32Array(this.size), new Int32Array(this.size)];
    for (let i = 1; i < this.size && wanted.size; i++) {
      const above = this.parent[i];
      [low[i], high[i]] = step(low[above], high[above], hashes[this.function[i]]);
      if (wanted.delete(word(low[i], high[i]))) found.push(i);
    }
    return found;
  }
}

/**
 * The two hashes of a path, one name on.
 * @param {number} low
 * @param {number} high
 * @param {number} name
 * @returns {[number, number]}
 */
const step = (low, high, name) => [mix(low ^ name, 0x9e3779b1), mix(high + name, 0x85ebca6b)];

/** A number of 52 bits of both. @param {number} low @param {number} high */
const word = (low, high) => (low >>> 6) * 2 ** 26 + (high >>> 6);

/** FNV-1a of UTF-16 units, 32 bits. @param {string} text */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/**
 * @param {number} value
 * @param {number} factor odd
 */
function mix(value, factor) {
  const product = Math.imul(value ^ (value >>> 15), factor);
  return product ^ (product >>> 13);
}
