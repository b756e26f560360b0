/* Names that are markup or 10 kB long, a store with nothing in it, a server that is gone. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drawn, folder, launch, visit, web } from "./browser.js";
import { HOSTILE, serve } from "./fake.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

test("no name is taken for markup, in any view", async () => {
  const server = await serve({ names: HOSTILE, nodes: 3000, error: HOSTILE[0] });
  try {
    for (const show of ["flame", "table", "tree", "sandwich"]) {
      await visit(browser, `${server.url}?show=${show}&function=${encodeURIComponent(HOSTILE[0])}&only=comm%3D${encodeURIComponent(HOSTILE[1])}&search=onerror`, async (page) => {
        await page.waitForSelector(".legend li");
        await page.waitForSelector(show === "table" ? ".trow" : show === "tree" ? ".node" : show === "sandwich" ? ".middle strong:not(:empty)" : ".crumbs button");
        await page.hover("#timeline");
        await page.waitForSelector("#tooltip:not([hidden])");
        await page.hover(".legend li button");
        await page.click("#add-filter");
        await page.waitForSelector(".values button");
        await page.keyboard.press("Escape");
        await page.click(".legend li button");
        await page.waitForSelector(".menu:popover-open");
        await page.keyboard.press("Escape");
        assert.equal(await page.evaluate(() => "stolen" in window), false);
        assert.equal(await page.locator("img:not(.brand img), svg, script:not([src])").count(), 0);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a long name pushes nothing out of the page");
      });
    }
  } finally {
    server.close();
  }
});

test("500,000 nodes are drawn, searched and zoomed", async () => {
  const server = await serve({ nodes: 500000 });
  try {
    await visit(browser, server.url, async (page) => {
      await drawn(page);
      await page.fill("#search", "hash");
      await page.waitForFunction(() => /%/.test(document.querySelector("output")?.value ?? ""));
      await page.focus(".flame");
      for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "Enter"]) await page.keyboard.press(key);
      await page.waitForFunction(() => document.querySelectorAll(".crumbs button").length === 3);
    });
  } finally {
    server.close();
  }
});

test("lanes and marks of other sources have a tooltip", async () => {
  const server = await serve({});
  try {
    await visit(browser, server.url, async (page) => {
      await drawn(page);
      await page.waitForSelector(".legend li");
      const box = await page.locator("#timeline").boundingBox();
      assert.ok(box);
      // A change of the rate is a quarter into it.
      await page.mouse.move(box.x + 54 + (box.width - 54) * 0.25, box.y + 20);
      await page.waitForSelector("#tooltip >> text=/over its budget/");
      const told = await page.textContent(".lane:has(.fold:text-is('runqlat')) .told") ?? "";
      assert.match(told, /p50 .* p99 .* max/, "the lanes tell of the moment that is pointed at");
    });
  } finally {
    server.close();
  }
});

test("live mode follows, and stops", async () => {
  const server = await serve({});
  try {
    await visit(browser, server.url, async (page) => {
      await drawn(page);
      const asked = page.waitForRequest(/api\/live/);
      const again = page.waitForRequest(/api\/recording/);
      await page.click("#live");
      await asked;
      await again;
      assert.equal(await page.getAttribute("#live", "aria-pressed"), "true");
      await page.keyboard.press("l");
      await page.waitForSelector("#live[aria-pressed=false]");
    });
  } finally {
    server.close();
  }
});

test("a recording without samples says so", async () => {
  const server = await serve({ empty: true });
  try {
    await visit(browser, server.url, async (page) => {
      await page.waitForSelector(".flamebox .notice:not([hidden]) >> text=No samples here");
      await page.waitForSelector(".timeline .notice:not([hidden])");
      for (const tab of ["table", "tree", "sandwich"]) {
        await page.click(`#tab-${tab}`);
        await page.waitForSelector("#view .notice:not([hidden])");
      }
    });
  } finally {
    server.close();
  }
});

test("a store with nothing in it says what to do", async () => {
  const server = await web(folder());
  try {
    await visit(browser, server.url, async (page) => {
      await page.waitForSelector(".notice >> text=Try again");
      assert.match(await page.textContent(".notice p") ?? "", /rprof agent/);
    });
  } finally {
    server.close();
  }
});

test("a server that is gone is told, and asked again", async () => {
  const server = await serve({});
  await visit(browser, server.url, async (page) => {
    await drawn(page);
    server.close();
    await page.fill("#focus", "main");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".notice[role=alert] >> text=/does not answer/");
    await page.waitForSelector(".notice >> text=Try again");
  }, { allow: /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/ });
});
