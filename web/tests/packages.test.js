/* Packages by the names of functions, and colours. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { changeColour, functionColours, heat, largestWords, SeriesColours } from "../static/colours.js";
import { packageOf } from "../static/packages.js";
import { HOSTILE, flamegraph } from "./fake.js";

test("a function has the package that its name says", () => {
  const names = {
    "tokio::runtime::task::raw::poll": "tokio", "<tokio::net::TcpStream as core::fmt::Debug>::fmt": "tokio", "std::vector<int>::push_back(int)": "std",
    "net/http.(*conn).serve": "net/http", "github.com/prometheus/common/expfmt.(*TextParser).Parse": "github.com/prometheus/common/expfmt", "runtime.mallocgc": "runtime", "main.main.func1": "main",
    "java.util.HashMap.get": "java.util", "Ljava/util/concurrent/Foo;::run": "java.util.concurrent",
    "JS:~handle file:///srv/node_modules/express/lib/router.js:12": "express", "_PyEval_EvalFrameDefault": "libpython3.so", "memcpy": "libpython3.so",
  };
  for (const [name, wanted] of Object.entries(names)) assert.equal(packageOf(name, "/usr/lib/libpython3.so"), wanted, name);
  assert.equal(packageOf("x", ""), "[none]");
  for (const name of HOSTILE) assert.equal(typeof packageOf(name, ""), "string");
});

test("a name has the same colour in every picture", () => {
  const [one, two] = [flamegraph({ nodes: 300, seed: 1 }), flamegraph({ nodes: 300, seed: 2 })];
  const all = (/** @type {typeof one} */ graph, /** @type {string} */ by, dark = false) => graph.functions.name.map((_, i) => functionColours(graph, by, dark)(i));
  for (const by of ["kind", "module", "package"]) assert.deepEqual(all(one, by), all(two, by));
  assert.notDeepEqual(all(one, "kind"), all(one, "kind", true));
});

test("a legend has the modules in which most ends", () => {
  const graph = flamegraph({ nodes: 300 });
  const words = largestWords(graph, "module", 3);
  assert.equal(words.length, 3);
  const own = (/** @type {string} */ word) => graph.tree.function.reduce((sum, index, i) => sum + (graph.modules[graph.functions.module[index]].endsWith(word) ? graph.tree.self[i] : 0), 0);
  assert.ok(own(words[0]) >= own(words[1]) && own(words[1]) >= own(words[2]));
});

test("a change is red or blue if it is sure, and grey if it is not", () => {
  assert.match(changeColour(0.2, 0.1, 9, false), /^hsl\(8 /);
  assert.match(changeColour(0.1, 0.2, -9, false), /^hsl\(214 /);
  assert.equal(changeColour(0.2, 0.1, 3.2, false), changeColour(0.5, 0.5, 0, false));
});

test("a series keeps its colour, and no two have the same while there are enough", () => {
  const colours = new SeriesColours();
  const names = Array.from({ length: 9 }, (_, i) => `process ${i}`);
  const first = colours.of(names, false);
  assert.equal(new Set(first).size, 9);
  assert.deepEqual(colours.of([...names].reverse(), false).reverse(), first);
});

test("heat goes from the least to the most", () => {
  assert.deepEqual(heat(0, false), [255, 255, 255]);
  assert.deepEqual(heat(1, false), heat(7, false));
  assert.notDeepEqual(heat(0.5, false), heat(0.5, true));
});
