/* Time on and off the CPU in one picture: which boxes wait, their colours, the source of both. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { kindColour } from "../static/colours.js";
import { STATES, WALL, timeName } from "../static/states.js";
import { Tree } from "../static/tree.js";
import { boxColours, waiting } from "../static/waits.js";
import { drawn, launch, says, visit } from "./browser.js";
import { flamegraph, serve } from "./fake.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/**
 * A flame graph of these boxes.
 * @param {[number, string, number, string?][]} boxes depth, name, total, kind
 * @returns {import("../static/types.js").Flamegraph}
 */
function graph(boxes) {
  const kinds = ["user", "note", "kernel"];
  const zero = boxes.map(() => 0);
  return { unit: "ns", total: boxes[0][2], names: boxes.map(([, name]) => name), kinds, modules: [""], files: [""],
    functions: { name: boxes.map((_, i) => i), kind: boxes.map(([, , , kind = "user"]) => kinds.indexOf(kind)), module: zero, file: zero, line: zero },
    tree: { depth: boxes.map(([depth]) => depth), function: boxes.map((_, i) => i), total: boxes.map(([, , total]) => total), self: zero } };
}

/** Hue of a colour. @param {string} colour */
const hue = (colour) => Number(/hsl\((\d+)/.exec(colour)?.[1]);

test("a box waits as much as the states that its stacks end in", () => {
  const tree = new Tree(graph([[0, "all", 100], [1, "main", 100], [2, "compute", 30], [2, "read", 60], [3, "[sleep]", 40, "note"], [3, "[disk]", 20, "note"], [2, "[sleep]", 10]]));
  assert.deepEqual([...waiting(tree) ?? []], [60, 60, 0, 60, 40, 20, 0], "a function that is named like a state is none");
});

test("inverted, all that stands on a state waits", () => {
  const tree = new Tree(graph([[0, "all", 100], [1, "[lock]", 60, "note"], [2, "futex", 60], [3, "main", 60], [1, "compute", 40], [2, "main", 40]]));
  assert.deepEqual([...waiting(tree) ?? []], [60, 60, 60, 60, 0, 0]);
});

test("where nothing waits no box is told to", () => {
  assert.equal(waiting(new Tree(graph([[0, "all", 10], [1, "main", 10]]))), null);
});

test("what waits is cool and what runs is warm, and no two states look the same", () => {
  const tree = new Tree(graph([[0, "all", 100], [1, "compute", 30], [1, "read", 60], [2, "[sleep]", 60, "note"], [1, "half", 10], [2, "[disk]", 4, "note"]]));
  const colours = boxColours(tree, "kind", false);
  assert.ok(hue(colours(1)) < 60, colours(1));
  assert.ok(hue(colours(2)) > 150, colours(2));
  assert.ok(hue(colours(4)) < 60, "less than half of it waits");
  for (const dark of [true, false]) {
    const states = Object.keys(STATES).map((state) => kindColour("note", state, dark));
    assert.equal(new Set(states).size, states.length);
    for (const colour of states) assert.ok(hue(colour) >= 150 && hue(colour) <= 300, colour);
  }
  assert.notEqual(kindColour("user", "[sleep]", false), kindColour("note", "[sleep]", false));
});

test("500,000 boxes are told apart within a frame", () => {
  const tree = new Tree(flamegraph({ nodes: 500000, waits: true }));
  let least = Infinity;
  for (let i = 0; i < 8; i++) {
    const before = process.cpuUsage();
    waiting(tree);
    least = Math.min(least, process.cpuUsage(before).user / 1000);
  }
  assert.ok(least < 16, `${least} ms`);
});

test("time by column is called what it is", () => {
  assert.deepEqual(["", "cpu", "offcpu", WALL].map(timeName), ["CPUs used", "CPUs used", "waiting", "threads"]);
});

test("time on and off the CPU is one source to choose, where both are there", async () => {
  const server = await serve({ waits: true });
  try {
    await visit(browser, server.url, async (page) => {
      await drawn(page);
      const asked = page.waitForRequest((request) => request.url().includes("api/flamegraph") && new URL(request.url()).searchParams.get("source") === WALL);
      await page.selectOption("#source", WALL);
      await asked;
      await says(page, (words) => words.get("source") === WALL);
      await page.waitForSelector(".sidehead >> text=/^threads$/");
      await page.waitForSelector(".colours >> text=user, waiting");
      for (const state of ["sleep", "disk", "lock", "preempted", "runnable"]) await page.waitForSelector(`.colours >> text="${state}"`);
      const hidden = page.waitForRequest((request) => new URL(request.url()).searchParams.get("idle") === "hide");
      await page.selectOption("#idle", "hide");
      await hidden;
      await says(page, (words) => words.get("idle") === "hide");
      await page.reload();
      await page.waitForFunction((wall) => /** @type {HTMLSelectElement | null} */ (document.querySelector("#source"))?.value === wall, WALL);
    });
  } finally {
    server.close();
  }
  const one = await serve({});
  try {
    await visit(browser, one.url, async (page) => {
      await drawn(page);
      assert.equal(await page.isVisible("#idle"), false, "nothing is idle");
      assert.equal(await page.locator(`#source option[value="${WALL}"]`).count(), 0);
    });
  } finally {
    one.close();
  }
});
