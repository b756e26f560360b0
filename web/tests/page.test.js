/* What index.html promises: every module is fetched at once, and nothing is inline. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const folder = new URL("../static/", import.meta.url);
const page = readFileSync(new URL("index.html", folder), "utf8");
const modules = readdirSync(folder).filter((name) => name.endsWith(".js"));

test("the page names each module, so that none waits for another", () => {
  const named = [...page.matchAll(/<link rel="modulepreload" href="([\w.]+)">/g)].map(([, name]) => name);
  // The entry is a script, types are for the checker alone, the theme is set before all modules.
  const wanted = modules.filter((name) => !["main.js", "types.js", "early.js"].includes(name));
  assert.deepEqual(named, wanted.sort());
});

test("the page has no inline script, style or handler", () => {
  assert.ok(!/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/.test(page));
});

test("no module makes markup of text, or asks elsewhere", () => {
  for (const name of modules) {
    const text = readFileSync(new URL(name, folder), "utf8");
    assert.ok(!/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/.test(text), name);
    assert.ok(!/https?:\/\//.test(text), name);
    assert.match(text, /^\/\*/, `${name} says what it is for`);
  }
});
