/* The state of the page and its URL. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { baseRange, compares, onlyWord, parse, query, range, shown, viewWords } from "../static/state.js";

const extent = { start: 1e12, end: 1e12 + 3600e3 };

test("a state is its URL, and the other way round", () => {
  assert.equal(query(parse("")), "");
  const text = "?from=-1h&only=unit%3Dnginx.service&only=comm%3Da%26b&by=unit&inverted=true&show=table&search=%5Ea.*%3Cb%3E&live=true";
  assert.deepEqual(parse(query(parse(text))), parse(text));
  assert.deepEqual(parse(text).only, ["unit=nginx.service", "comm=a&b"]);
  assert.equal(parse("?nonsense=1&inverted=false").inverted, false);
});

test("the API gets the words of the view, and none of the page's own", () => {
  const words = viewWords(parse("?comm=nginx&focus=a%7Cb&show=table&search=x&zoom=abc&utc=true&by=none&inverted=true"));
  assert.equal(words.toString(), "comm=nginx&focus=a%7Cb&by=none&inverted=true");
});

test("a range is the recording, its part, or the patch of the heat map", () => {
  assert.deepEqual(range(parse(""), extent), { from: extent.start, to: extent.end });
  assert.deepEqual(range(parse("?from=-10m"), extent), { from: extent.end - 600e3, to: extent.end });
  const patch = parse(`?from=-10m&patch_from=${extent.start + 20}&patch_to=${extent.start + 40}`);
  assert.deepEqual(shown(patch, extent), { from: extent.start + 20, to: extent.start + 40 });
  const turned = range(parse("?from=20m&to=10m"), extent);
  assert.ok(turned.to >= turned.from);
});

test("what is compared with is named or is none", () => {
  assert.equal(baseRange(parse(""), extent), null);
  assert.equal(compares(parse("?base=other")), true);
  assert.deepEqual(baseRange(parse("?base_from=0s&base_to=10m"), extent), { from: extent.start, to: extent.start + 600e3 });
});

test("a group is filtered by its label, and what has none by an empty one", () => {
  assert.equal(onlyWord("unit", "nginx.service"), "unit=nginx.service");
  assert.equal(onlyWord("unit", "[no unit]"), "unit=");
});
