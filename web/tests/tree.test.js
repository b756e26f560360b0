/* The layout of a flame graph, what of it is drawn, and what a search finds in it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { boxAt, boxes, deepest } from "../static/boxes.js";
import { matched, matches, pattern } from "../static/search.js";
import { Tree } from "../static/tree.js";
import { flamegraph } from "./fake.js";

/** @typedef {import("../static/types.js").Flamegraph} Flamegraph */

/**
 * A graph from lines such as `0 all 10`: depth, name, total.
 * @param {string[]} rows
 * @param {number[]} [base]
 * @returns {Flamegraph}
 */
function graph(rows, base) {
  const parts = rows.map((row) => row.split(" "));
  const names = [...new Set(parts.map(([, name]) => name))];
  const zero = names.map(() => 0);
  return {
    unit: "ns", total: Number(parts[0]?.[2] ?? 0), names, kinds: ["user"], modules: ["/bin/app"], files: ["src/main.c"],
    functions: { name: names.map((_, i) => i), kind: zero, module: zero, file: zero, line: names.map((_, i) => i) },
    tree: { depth: parts.map(([depth]) => Number(depth)), function: parts.map(([, name]) => names.indexOf(name)), total: parts.map((row) => Number(row[2])), self: parts.map((row) => Number(row[3] ?? 0)), ...(base ? { base, z: base.map(() => 5) } : {}) },
    ...(base ? { base_total: base[0] } : {}),
  };
}

const SMALL = ["0 all 10", "1 a 6", "2 b 4", "3 a 2", "2 c 1", "1 d 4 4"];

test("boxes stand on their callers, side by side", () => {
  const tree = new Tree(graph(SMALL));
  assert.deepEqual([...tree.start], [0, 0, 0, 0, 4, 6]);
  assert.deepEqual([...tree.parent], [-1, 0, 1, 2, 1, 0]);
  assert.deepEqual([...tree.end], [6, 5, 4, 4, 5, 6]);
  assert.deepEqual(tree.children(0), [1, 5]);
  assert.deepEqual(tree.path(3), [0, 1, 2, 3]);
  assert.equal(tree.deepest, 3);
  assert.equal(tree.line(1), "src/main.c:1");
});

test("many roots are put on one", () => {
  const tree = new Tree({ ...graph(["0 a 6", "1 b 2", "0 c 4"]), total: 10 });
  assert.equal(tree.name(0), "all");
  assert.deepEqual(tree.children(0).map((node) => tree.name(node)), ["a", "c"]);
  assert.deepEqual([...tree.start], [0, 0, 0, 6]);
  assert.equal(tree.value(0), 10);
});

test("an empty tree and a torn one do no harm", () => {
  const empty = new Tree({ ...graph([]), total: 0 });
  assert.equal(empty.size, 1);
  assert.equal(boxes(empty, 0, 800, 0, 5)[0].length, 1);
  assert.throws(() => new Tree(graph(["0 all 1", "5 a 1"])), /no parent/);
});

test("a key names the same path in another tree", () => {
  const tree = new Tree(graph(SMALL));
  const other = new Tree(graph(["0 all 30", "1 0 1", "1 a 9", "2 a 1", "2 b 8", "3 a 8"]));
  assert.equal(other.path(other.find(tree.key(3))).map((node) => other.name(node)).join(), "all,a,b,a");
  assert.equal(other.find(tree.key(4)), 0);
  assert.equal(tree.key(0), "");
  for (const key of ["", "?", "zzzzzz"]) assert.equal(tree.find(key), 0);
  assert.deepEqual(other.findAll([tree.key(2), tree.key(3), "?"]).map((node) => other.name(node)), ["b", "a"]);
  const large = new Tree(flamegraph({ nodes: 50000 }));
  const keys = new Set(Array.from({ length: large.size }, (_, node) => large.key(node)));
  // Siblings of one name have one key.
  assert.ok(keys.size > large.size * 0.95, `${keys.size} of ${large.size}`);
});

test("widths of a diff are shares of both, of now, or of the base", () => {
  const rows = ["0 all 10", "1 a 10"];
  assert.deepEqual([...new Tree(graph(rows, [20, 5]), "both").weight], [2, 1.25]);
  assert.deepEqual([...new Tree(graph(rows, [20, 5]), "now").weight], [1, 1]);
  assert.deepEqual([...new Tree(graph(rows, [20, 5]), "base").weight], [1, 0.25]);
});

test("drawn boxes add up: what is narrow is merged, not dropped", () => {
  const rows = ["0 all 100000", ...Array.from({ length: 1000 }, (_, i) => `1 f${i} ${i === 500 ? 50000 : 50}`)];
  const tree = new Tree(graph(rows));
  const [, row] = boxes(tree, 0, 1000, 0, 1);
  assert.equal(row.length, 3);
  assert.deepEqual(row.map(({ merged }) => merged), [500, 0, 499]);
  assert.ok(Math.abs(row.reduce((sum, { width }) => sum + width, 0) - 999.5) < 0.01);
  assert.equal(boxAt(row, 600)?.node, row[1].node);
  assert.equal(boxAt(row, 5000), null);
});

test("a zoomed box has the whole width, and so have its callers", () => {
  const tree = new Tree(graph(SMALL));
  const rows = boxes(tree, 2, 400, 0, 3);
  assert.deepEqual(rows.map((row) => row.map(({ node, x, width }) => [node, x, width])), [[[0, 0, 400]], [[1, 0, 400]], [[2, 0, 400]], [[3, 0, 200]]]);
  assert.equal(deepest(tree, 0, 400), 3);
  assert.equal(deepest(tree, 5, 400), 1);
});

test("only rows that are seen are made", () => {
  const tree = new Tree(flamegraph({ nodes: 20000 }));
  const rows = boxes(tree, 0, 1200, 3, 6);
  assert.equal(rows.length, 4);
  rows.forEach((row, i) => row.forEach(({ depth }) => assert.equal(depth, i + 3)));
});

test("a search counts recursion once", () => {
  const tree = new Tree(graph(SMALL));
  const found = matches(tree, /^a$/);
  assert.deepEqual(matched(tree, found, 0), { value: 6, base: 0, nodes: 1 });
  assert.deepEqual(matched(tree, matches(tree, /^[cd]$/), 0), { value: 5, base: 0, nodes: 2 });
  assert.deepEqual(matched(tree, matches(tree, /none/), 0), { value: 0, base: 0, nodes: 0 });
});

test("a pattern that is none is looked for as text, and capital letters count only if there are any", () => {
  assert.equal(pattern(""), null);
  assert.ok(pattern("vec<")?.test("Vec<T>"));
  assert.ok(!pattern("Vec<")?.test("vec<T>"));
  assert.ok(pattern("operator()(")?.test("x::operator()("));
  assert.ok(pattern("\\Sfoo")?.test("aFOO"));
});
