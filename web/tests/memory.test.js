/* Memory on the page: a program that leaks, recorded on this machine beside its CPU time. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test as always } from "node:test";

import { drawn, folder, launch, program, says, visit, web, words } from "./browser.js";

/** Keeps 1 MiB each 50 ms, and a hundred times as much, one after the other. */
const WORK = `
import time
kept = []
def leak(): kept.append(bytearray(1 << 20))
def churn():
    for _ in range(100): bytearray(1 << 20)
while True: leak(); churn(); time.sleep(0.05)
`;

// Recording needs root. Under CI nothing is left out.
const skip = process.getuid?.() !== 0 && !process.env.CI && "root, to record";
const test = (/** @type {string} */ name, /** @type {() => Promise<void>} */ run) => always(name, { skip }, run);

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {{url: string, close: () => void}} */
let server;

before(async () => {
  if (skip) return;
  const dir = folder();
  writeFileSync(join(dir, "leak.py"), WORK);
  const file = join(dir, "leak.data");
  const work = spawn("python3", [join(dir, "leak.py")]);
  const { status, stderr } = spawnSync(program(), ["record", "-s", "heap,cpu", "-d", "8s", "-o", file, "-p", String(work.pid)], { encoding: "utf8" });
  work.kill();
  assert.equal(status, 0, stderr);
  server = await web(file);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** MiB that the first breadcrumb tells of. @param {import("playwright-core").Page} page */
async function told(page) {
  await page.waitForSelector(".crumbs .soft >> text=/iB/");
  const text = await page.textContent(".crumbs .soft") ?? "";
  const [, number, unit] = /([\d.]+) ([KMG])iB/.exec(text) ?? [];
  return Number(number) * { K: 1 / 1024, M: 1, G: 1024 }[/** @type {"K" | "M" | "G"} */ (unit)];
}

test("CPU time comes first, and a click on the lane of memory shows what is in use", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  assert.equal(await page.inputValue("#source"), "cpu");
  await page.waitForSelector(".legend li");
  await page.locator(".lane:has(.fold:text-is('heap')) .track").click();
  await says(page, (words) => words.get("source") === "heap");
  await page.waitForSelector(".sidehead >> text=memory in use");
  assert.deepEqual(await page.locator("#type option").evaluateAll((options) => options.map((option) => option.getAttribute("value"))), ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
  assert.equal(await page.inputValue("#type"), "inuse_space");
  const inUse = await told(page);
  assert.ok(inUse > 3, String(inUse));
  await page.selectOption("#type", "alloc_space");
  await says(page, (words) => words.get("type") === "alloc_space");
  await page.waitForSelector(".sidehead >> text=bytes a second");
  await page.waitForFunction((before) => document.querySelector(".crumbs .soft")?.textContent !== before, await page.textContent(".crumbs .soft")).catch(() => undefined);
  const taken = await told(page);
  assert.ok(taken > 10 * inUse, `${taken} ${inUse}`);
  assert.equal(await page.isVisible("#older"), false);
}));

test("what is in use for long is less, and a word that is no time is not asked for", () => visit(browser, `${server.url}?source=heap`, async (page) => {
  await drawn(page);
  const all = await told(page);
  const before = await page.textContent(".crumbs .soft");
  await page.fill("#older", "long");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#older.bad");
  assert.equal(words(page).get("older"), null);
  await page.fill("#older", "2s");
  await page.keyboard.press("Enter");
  await says(page, (words) => words.get("older") === "2s");
  await page.waitForFunction((before) => document.querySelector(".crumbs .soft")?.textContent !== before, before);
  const old = await told(page);
  assert.ok(old > 0 && old < 0.8 * all, `${old} of ${all}`);
  await page.click("#clear");
  await says(page, (words) => !words.has("older"));
}));

test("growth between two moments is an amount, and its function comes first", () => visit(browser, `${server.url}?source=heap&from=1s&show=table`, async (page) => {
  await page.waitForSelector(".trow");
  assert.match(await page.textContent(".trow .name") ?? "", /ByteArray|bytearray/i);
  await page.click("#compare");
  await page.click(".choices >> text=Growth over this range");
  await says(page, (words) => words.has("base_to"));
  await page.waitForSelector(".table.diff .trow .change >> text=/^\\+[\\d.]+ MiB$/");
  await page.waitForSelector(".trow .c-z >> text=/sure/");
  assert.match(await page.textContent(".trow .name") ?? "", /ByteArray|bytearray/i);
  await page.click("#tab-flame");
  await page.waitForSelector(".diff .colours >> text=noise");
}));
