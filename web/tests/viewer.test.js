/* The page on recordings of this machine, in a browser, as a person uses it. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test as always } from "node:test";

import { drawn, folder, launch, record, says, visit, web, words } from "./browser.js";

/** Two seconds each of two kinds of work, in processes of their own. */
const WORK = `
import ctypes, mmap, os, subprocess, sys, time
def until(seconds, work):
    end = time.monotonic() + seconds
    while time.monotonic() < end: work()
if sys.argv[1:] == ["sum"]: until(2, lambda: sum(i * i for i in range(20000)))
elif sys.argv[1:] == ["sort"]: until(2, lambda: sorted(range(20000), key=lambda i: -i))
elif sys.argv[1:] == ["evil"]:
    # A process and a function of compiled code whose names are markup, the second one 10 kB of it.
    open("/proc/self/comm", "w").write("<img src=x>")
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("b900000040ffc975fcc3"))  # mov ecx, 2^30; dec ecx; jnz -4; ret
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    names = f"/tmp/perf-{os.getpid()}.map"
    open(names, "w").write(f"{start:x} 1000 <script>stolen=1</script>{'x' * 10000}\\n")
    until(1, ctypes.CFUNCTYPE(None)(start))
    os.unlink(names)
else:
    for kind in ["sum", "sort", "evil"]: subprocess.run([sys.executable, __file__, kind])
    subprocess.run(["sh", "-c", "head -c 4000000 /dev/zero | xz -1 | wc -c"])
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
  writeFileSync(join(dir, "work.py"), WORK);
  record(join(dir, "one.data"), ["python3", join(dir, "work.py")]);
  record(join(dir, "two.data"), ["python3", join(dir, "work.py"), "sort"]);
  server = await web(join(dir, "one.data"), "--base", join(dir, "two.data"));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  server?.close();
});

test("the page opens with all of its parts", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  assert.match(await page.title(), /rprof/);
  await page.waitForSelector(".legend li");
  assert.match(await page.textContent(".legend") ?? "", /python3/);
  await page.waitForSelector(".fact");
  const honesty = await page.textContent("#honesty") ?? "";
  for (const word of ["complete stacks", "lost", "truncated", "incomplete", "unnamed", "rprof's own cost"]) assert.ok(honesty.includes(word), word);
  assert.equal(await page.getAttribute("#heat-toggle", "aria-expanded"), "true");
}));

test("a range is dragged on the time line, and the back button takes it back", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await page.waitForSelector(".legend li");
  const whole = await page.textContent(".crumbs .soft");
  const box = await page.locator("#timeline").boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + box.width * 0.2, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60, { steps: 5 });
  await page.mouse.up();
  await says(page, (words) => words.has("from") && words.has("to"));
  await page.waitForFunction((whole) => document.querySelector(".crumbs .soft")?.textContent !== whole, whole);
  await page.goBack();
  await says(page, (words) => !words.has("from"));
  await page.waitForFunction((whole) => document.querySelector(".crumbs .soft")?.textContent === whole, whole);
}));

test("the wheel zooms the time line, and arrow keys move the selection", () => visit(browser, `${server.url}?from=1s&to=2s`, async (page) => {
  await drawn(page);
  await page.waitForSelector(".legend li");
  await page.hover("#timeline");
  await page.mouse.wheel(0, -400);
  await says(page, (words) => words.has("window_from"));
  const before = words(page).get("from");
  await page.focus("#timeline");
  await page.keyboard.press("ArrowRight");
  await says(page, (words) => words.get("from") !== before);
}));

test("a click zooms the flame graph, breadcrumbs and escape zoom out", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  const box = await page.locator(".flame").boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + box.width / 2, box.y + 27);
  await page.waitForSelector("#tooltip:not([hidden])");
  assert.match(await page.textContent("#tooltip") ?? "", /total.*%.*self/);
  await page.mouse.click(box.x + box.width / 2, box.y + 27);
  await says(page, (words) => words.has("zoom"));
  await page.waitForFunction(() => document.querySelectorAll(".crumbs button").length === 2);
  assert.match(await page.textContent(".details") ?? "", /total/);
  // What a link shows is what was seen.
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll(".crumbs button").length === 2);
  await page.click(".crumbs button:first-child");
  await says(page, (words) => !words.has("zoom"));
  await page.goBack();
  await says(page, (words) => words.has("zoom"));
  await page.keyboard.press("Escape");
  await says(page, (words) => !words.has("zoom"));
}));

test("a search tells the share that it matches", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await page.keyboard.press("/");
  await page.keyboard.type("eval|sort");
  await page.waitForFunction(() => /%/.test(document.querySelector("output")?.value ?? ""));
  assert.equal(words(page).get("search"), "eval|sort");
  await page.fill("#search", "nothing is named like this");
  await page.waitForFunction(() => document.querySelector("output")?.value === "no match");
  await page.fill("#search", "");
  await page.waitForFunction(() => document.querySelector("output")?.value === "");
}));

test("a function is found in the table and opened as a sandwich", () => visit(browser, `${server.url}?show=table&comm=python3`, async (page) => {
  await page.waitForSelector(".trow");
  const first = await page.textContent(".trow .name");
  await page.click(".c-total button");
  await page.waitForSelector(".c-total[aria-sort=descending]");
  await page.fill("#search", "zzz-none");
  await page.waitForSelector(".notice:not([hidden]) >> text=No function matches");
  await page.fill("#search", "");
  await page.click(".c-self button");
  await page.locator(".trow", { hasText: first ?? "" }).first().click();
  await says(page, (words) => words.get("show") === "sandwich" && words.get("function") === first);
  await page.waitForFunction((name) => document.querySelector(".middle strong")?.textContent === name, first);
  await page.waitForFunction(() => /self/.test(document.querySelector(".middle span")?.textContent ?? ""));
  await page.waitForFunction(() => [...document.querySelectorAll(".halves canvas:first-child")].every((canvas) => {
    const context = canvas instanceof HTMLCanvasElement ? canvas.getContext("2d") : null;
    return context?.getImageData(0, 0, context.canvas.width, context.canvas.height).data.some((value) => value > 0);
  }));
}));

test("two ranges are compared, and two recordings", () => visit(browser, `${server.url}?from=2s`, async (page) => {
  await drawn(page);
  await page.click("#compare");
  await page.fill(".moments input[name=From]", "0s");
  await page.fill(".moments input[name=To]", "2s");
  await page.click(".moments button");
  await says(page, (words) => words.get("base_from") === "0s" && words.get("base_to") === "2s");
  await page.waitForSelector(".diff .colours >> text=noise");
  assert.match(await page.textContent(".crumbs .soft") ?? "", /now .*, base /);
  await page.click("#tab-table");
  await page.waitForSelector(".table.diff .trow .change");
  // A sum is no sort: something has changed for sure.
  await page.waitForSelector(".trow .c-z >> text=/sure/");
  await page.goto(server.url);
  await drawn(page);
  await page.click("#compare");
  await page.click(".choices >> text=The other recording");
  await says(page, (words) => words.has("base"));
  await page.waitForSelector(".diff .colours >> text=noise");
}));

test("a patch of the heat map has a flame graph of its own", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await page.waitForFunction(() => /20 ms/.test(document.querySelector("#heat-note")?.textContent ?? ""));
  const whole = await page.textContent(".crumbs .soft");
  const box = await page.locator("#heatmap").boundingBox();
  assert.ok(box);
  await page.mouse.click(box.x + 54 + (box.width - 54) * 0.4, box.y + 40);
  await says(page, (words) => words.has("patch_from"));
  const [from, to] = ["patch_from", "patch_to"].map((name) => Date.parse(words(page).get(name) ?? ""));
  assert.equal(to - from, 20);
  await page.waitForFunction((whole) => document.querySelector(".crumbs .soft")?.textContent !== whole, whole);
  await page.click(".patch button");
  await says(page, (words) => !words.has("patch_from"));
}));

test("dark and light: by the system, by a switch, and kept", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  const page_ = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await page_();
  await page.click("#theme");
  assert.notEqual(await page_(), dark);
  const light = await page_();
  await page.reload();
  await drawn(page);
  assert.equal(await page_(), light);
}, { colorScheme: "dark" }));

test("all of it works by keyboard alone", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await page.keyboard.press("?");
  await page.waitForSelector("dialog[open]");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog[open]", { state: "detached" });
  await page.focus(".flame");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(() => /total/.test(document.querySelector("#announce")?.textContent ?? ""));
  await page.keyboard.press("Enter");
  await says(page, (words) => words.has("zoom"));
  await page.keyboard.press("Backspace");
  await says(page, (words) => !words.has("zoom"));
  await page.focus("#heatmap");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Enter");
  await says(page, (words) => words.has("patch_from"));
  await page.keyboard.press("4");
  await page.waitForSelector("[role=treeitem]");
  await page.focus("[role=tree]");
  await page.keyboard.press("*");
  await page.keyboard.press("ArrowDown");
  const active = await page.getAttribute("[role=tree]", "aria-activedescendant");
  assert.equal(await page.getAttribute(`#${active}`, "aria-selected"), "true");
  assert.ok(Number(await page.getAttribute(`#${active}`, "aria-level")) > 1);
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(() => document.querySelectorAll("[role=treeitem]").length === 1);
}));

test("the view is downloaded in each format", () => visit(browser, `${server.url}?from=1s&to=2s&comm=python3`, async (page) => {
  await drawn(page);
  for (const format of ["svg", "pprof", "folded", "speedscope", "firefox", "json"]) {
    await page.click("#download");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(`.links a[href*="format=${format}"]`)]);
    const bytes = await readFile(await download.path());
    assert.ok(bytes.length > 100, format);
    if (format === "svg") assert.match(bytes.toString(), /<svg[\s\S]*python3/);
    if (format === "folded") assert.match(bytes.toString(), /^python3;.* \d+$/m);
    if (format === "pprof") assert.equal(bytes.readUInt16BE(0), 0x1f8b);
  }
}));

test("stacks are grouped and filtered by a label", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await page.selectOption("#by", "process");
  await says(page, (words) => words.get("by") === "process");
  await page.click("#add-filter");
  await page.waitForSelector(".values button");
  await page.fill("input[aria-label=Value]", "xz");
  await page.keyboard.press("Enter");
  await says(page, (words) => (words.get("only") ?? "").startsWith("process="));
  await page.waitForSelector(".chip");
  await page.waitForFunction(() => [...document.querySelectorAll(".legend li")].length === 1);
  await page.fill("#focus", "no such function");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".notice:not([hidden]) >> text=No samples here");
  await page.click(".notice >> text=Clear filters");
  await says(page, (words) => !words.has("only") && !words.has("focus"));
  await drawn(page);
}));

test("a process and a function that are named like markup are text", () => visit(browser, `${server.url}?only=comm%3D%3Cimg+src%3Dx%3E`, async (page) => {
  await drawn(page);
  await page.waitForFunction(() => document.querySelector(".legend")?.textContent?.includes("<img src=x>"));
  await page.click("#tab-table");
  await page.waitForSelector(".trow >> text=<script>stolen=1</script>xxx");
  await page.click("#tab-tree");
  await page.focus("[role=tree]");
  await page.keyboard.press("*");
  await page.waitForSelector(".node >> text=<script>stolen=1</script>xxx");
  await page.locator(".node", { hasText: "stolen" }).first().click({ button: "right" });
  await page.click(".menu >> text=Sandwich");
  await page.waitForFunction(() => /self/.test(document.querySelector(".middle span")?.textContent ?? ""));
  assert.equal(await page.evaluate(() => "stolen" in window), false);
  assert.equal(await page.locator("img:not(.brand img), script:not([src])").count(), 0);
}));

test("an error is told in the words of the server, with a way out", () => visit(browser, `${server.url}?only=nonsense=1`, async (page) => {
  await page.waitForSelector(".notice[role=alert] >> text=/nonsense/");
  await page.click("#clear");
  await drawn(page);
}, { allow: /status of 400/ }));

test("a phone shows the same", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
  await page.click("#tab-table");
  await page.waitForSelector(".trow");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
}, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }));
