/* Lanes on the page: what a click, a key and a link do, names that are markup, 10,000 marks. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drawn, launch, says, visit, words } from "./browser.js";
import { HOSTILE, serve } from "./fake.js";

/** @typedef {import("playwright-core").Page} Page */

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;
before(async () => {
  browser = await launch();
  server = await serve({});
});
after(async () => {
  await browser?.close();
  server?.close();
});

/** The track of a lane, once it is there. @param {Page} page @param {string} name */
const track = (page, name) => page.locator(`.lane:has(.fold:text-is("${name}")) .track`);

/**
 * A place of a lane in the window.
 * @param {Page} page
 * @param {string} name
 * @param {number} at share of the time
 * @param {number} y pixels from its top
 */
async function place(page, name, at, y) {
  await track(page, name).waitFor();
  await track(page, name).scrollIntoViewIfNeeded();
  const box = await track(page, name).boundingBox();
  assert.ok(box);
  return /** @type {[number, number]} */ ([box.x + 54 + (box.width - 54) * at, box.y + y]);
}

/** Where the last spike of the made up lane is: its fourth column of five. @param {Page} page */
async function spikeAt(page) {
  const columns = Number(new URL(await page.evaluate(() => performance.getEntriesByType("resource").findLast(({ name }) => name.includes("api/timeline"))?.name ?? "")).searchParams.get("columns"));
  const first = Math.floor((columns - 45) / 97) * 97 + 40;
  return { columns, first, at: (first + 3.5) / columns };
}

test("a click on a spike selects its time, and the flame graph is of it", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await track(page, "runqlat").waitFor();
  const { columns, first, at } = await spikeAt(page);
  const asked = page.waitForRequest((request) => request.url().includes("api/flamegraph") && request.url().includes("from="));
  const [x, y] = await place(page, "runqlat", at, 40);
  await page.mouse.move(x, y);
  await page.waitForSelector("#tooltip >> text=/click: select this spike/");
  await page.mouse.click(x, y);
  await says(page, (words) => words.has("from") && words.has("to"));
  await asked;
  const step = 3600e3 / columns;
  const start = Date.UTC(2026, 10, 21, 3);
  const [from, to] = [Date.parse(words(page).get("from") ?? ""), Date.parse(words(page).get("to") ?? "")];
  assert.ok(Math.abs(from - (start + first * step)) < 2 && Math.abs(to - (start + (first + 5) * step)) < 2, `${(from - start) / step} to ${(to - start) / step}, not ${first} to ${first + 5}`);
}));

test("one drags over lanes as over the time line", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  const [x, y] = await place(page, "gc", 0.2, 20);
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + 200, y, { steps: 4 });
  await page.mouse.up();
  await says(page, (words) => words.has("from") && words.has("to"));
  assert.equal(await page.locator(".card:popover-open").count(), 0);
}));

test("a mark opens its record, which shows its time and its process", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  const [x, y] = await place(page, "gc", 0.5 / 30, 30);
  await page.mouse.click(x, y);
  await page.waitForSelector(".card:popover-open >> text=G1 Young Pause");
  const card = await page.textContent(".card") ?? "";
  for (const word of ["java (200)", "took", "cause", "G1 Evacuation Pause", "G1 Eden Space"]) assert.ok(card.includes(word), word);
  await page.click(".card >> text=Only this process");
  await says(page, (words) => words.get("pid") === "200");
  await page.waitForSelector(".lane >> text=of all processes");
  await page.mouse.click(x, y);
  await page.click(".card >> text=Show this time");
  await says(page, (words) => words.has("from") && words.get("named") === "G1 Young Pause");
}));

test("a click on a command selects its time, it and what it started, and the range has its name", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  const [x, y] = await place(page, "processes", 0.5, 4 + 15 + 7);
  await page.mouse.move(x, y);
  await page.waitForSelector("#tooltip >> text=make -j8 all");
  await page.mouse.click(x, y);
  await says(page, (words) => (words.get("named") ?? "").startsWith("make -j8 all (pid 100) and 40 more"));
  const pids = (words(page).get("pid") ?? "").split(",");
  assert.equal(pids[0], "100");
  assert.equal(pids.length, 41, "with those that those have started");
  assert.match(await page.textContent("#range") ?? "", /make -j8 all \(pid 100\).*03:15:00–03:45:00/);
  // A link has the name, another range has none.
  await page.reload();
  await drawn(page);
  assert.match(await page.textContent("#range") ?? "", /make -j8 all/);
  const again = await place(page, "processes", 0.5, 4 + 15 + 7);
  await page.mouse.click(...again);
  await page.waitForSelector('.card:popover-open >> text="/usr/bin/make"');
  assert.match(await page.textContent(".card") ?? "", /exit code 0/);
  await page.click(".card >> text=All processes again");
  await says(page, (words) => !words.has("named") && !words.has("pid"));
}));

test("several marks at one place are a list, and each opens its record", async () => {
  const many = await serve({ marks: 900 });
  try {
    await visit(browser, many.url, async (page) => {
      await drawn(page);
      const [x, y] = await place(page, "signal", 0.5, 13);
      const asked = page.waitForRequest(/api\/marks\?.*name=signal/);
      await page.mouse.click(x, y);
      await asked;
      await page.waitForSelector(".card:popover-open .values button");
      await page.click(".card .values button:first-child");
      await page.waitForSelector(".card:popover-open dl >> text=SIGTERM");
    });
  } finally {
    many.close();
  }
});

test("lanes fold and go away, and a link keeps it", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await track(page, "runqlat").waitFor();
  assert.equal(await page.getAttribute(".fold:text-is('exec')", "aria-expanded"), "false", "commands stand as bars");
  assert.equal(await page.getAttribute(".fold:text-is('runqlat')", "aria-expanded"), "true");
  await page.click(".fold:text-is('runqlat')");
  await says(page, (words) => (words.get("folded") ?? "").includes("runqlat"));
  await page.reload();
  await track(page, "runqlat").waitFor();
  await page.waitForSelector(".fold:text-is('runqlat')[aria-expanded=false]");
  await page.click(".fold:text-is('exec')");
  await page.waitForSelector(".fold:text-is('exec')[aria-expanded=true]");
  await page.waitForSelector(".fold:text-is('runqlat')[aria-expanded=false]");
  await page.click("#lanes-toggle");
  await says(page, (words) => words.get("lanes") === "off");
  assert.equal(await page.locator(".lane").count(), 0);
  await page.keyboard.press("t");
  await track(page, "runqlat").waitFor();
}));

test("lanes work by keyboard alone", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await track(page, "runqlat").waitFor();
  await track(page, "runqlat").focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => /p99/.test(document.querySelector("#announce")?.textContent ?? ""));
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await says(page, (words) => words.has("from"));
  await track(page, "processes").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => /make -j8 all, pid 100/.test(document.querySelector("#announce")?.textContent ?? ""));
  await page.keyboard.press("Enter");
  await says(page, (words) => (words.get("named") ?? "").startsWith("make"));
  await track(page, "signal").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".card:popover-open");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.activeElement?.classList.contains("track"));
}));

test("another source is shown by a click on its lane", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await page.mouse.click(...await place(page, "kmem", 0.5, 20));
  await says(page, (words) => words.get("source") === "kmem");
}));

test("no name of a process or a mark is taken for markup", async () => {
  const hostile = await serve({ names: HOSTILE, nodes: 1000 });
  try {
    await visit(browser, `${hostile.url}?folded=none&named=${encodeURIComponent(HOSTILE[0].repeat(40))}&from=2026-11-21T03:00:00Z`, async (page) => {
      await drawn(page);
      for (const [name, at, y] of /** @type {[string, number, number][]} */ ([["processes", 0.5, 26], ["signal", 0.5, 13], ["exec", 0.4, 13], ["exit", 0.5, 13]])) {
        const [x, top] = await place(page, name, at, y);
        // Not each pixel has a mark.
        for (let by = 0; by < 60 && !await page.locator("#tooltip:not([hidden])").count(); by += 3) await page.mouse.move(x + by, top);
        await page.waitForSelector("#tooltip:not([hidden])");
        await track(page, name).focus();
        await page.keyboard.press("ArrowRight");
        await page.keyboard.press("ArrowRight");
      }
      await page.keyboard.press("Enter");
      await page.waitForSelector(".card:popover-open dl");
      await page.keyboard.press("Escape");
      await track(page, "processes").focus();
      for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowRight");
      await page.keyboard.press("Enter");
      await says(page, (words) => words.has("pid"));
      assert.equal(await page.evaluate(() => "stolen" in window), false);
      assert.equal(await page.locator("img:not(.brand img), svg, script:not([src])").count(), 0);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a long name pushes nothing out of the page");
    });
  } finally {
    hostile.close();
  }
});

test("10,000 marks and 10,000 commands leave time in a frame", async () => {
  const crowd = await serve({ marks: 10000, runs: 10000 });
  try {
    await visit(browser, `${crowd.url}?folded=none`, async (page) => {
      await drawn(page);
      const [x, y] = await place(page, "signal", 0.3, 13);
      const session = await page.context().newCDPSession(page);
      await session.send("Performance.enable");
      const used = async () => {
        const { metrics } = await session.send("Performance.getMetrics");
        return (metrics.find(({ name }) => name === "ScriptDuration")?.value ?? NaN) * 1000;
      };
      /** The least of a few: another program may have the CPU meanwhile. @param {(i: number) => Promise<unknown>} run */
      const least = async (run) => {
        let least = Infinity;
        for (let i = 0; i < 12; i++) {
          const before = await used();
          await run(i);
          await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
          least = Math.min(least, await used() - before);
        }
        return least;
      };
      const pointed = await least((i) => page.mouse.move(x + i * 7, y));
      assert.ok(pointed < 16, `a pointer that moves takes ${pointed} ms of script`);
      await page.hover("#timeline");
      const zoomed = await least((i) => page.mouse.wheel(0, i % 2 ? 120 : -120));
      assert.ok(zoomed < 16, `the wheel takes ${zoomed} ms of script`);
    });
  } finally {
    crowd.close();
  }
});

test("that commands cannot be asked for is told in their lane", () => visit(browser, "about:blank", async (page) => {
  await page.route(/api\/processes/, (route) => route.fulfill({ status: 503, json: { error: "too much at once: <b>try again</b>" } }));
  await page.goto(server.url);
  await drawn(page);
  await page.waitForSelector(".lane .told >> text=Too much at once: <b>try again</b>");
  await track(page, "runqlat").waitFor();
}, { allow: /status of 503/ }));

test("lanes fit a phone", () => visit(browser, server.url, async (page) => {
  await drawn(page);
  await track(page, "runqlat").waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
  for (const name of ["#timeline", ".track"]) {
    const box = await page.locator(name).first().boundingBox();
    assert.ok(box && box.width > 300, `${name} has the whole width`);
  }
}, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }));
