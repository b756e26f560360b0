/*
 * What the viewer costs in a browser: first paint of the page on `rprof web`, drawing, zooming and
 * searching a tree of 500,000 nodes, and lanes with 10,000 marks and as many commands. Tree and marks
 * are made up; the server of them only hands out text.
 *
 *   node bench/viewer.mjs [--rprof BINARY [FILE|STORE]] [--rounds N] [--nodes N] [--json]
 *
 * "draw" is from the last byte of the answer to the second frame after the picture is there, so
 * parsing the answer is in it, and so are two frames of the browser (33 ms). "script" is what the
 * browser counts as script time from the click or key to 600 ms after it.
 */

import { loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { folder, launch, record, web } from "../web/tests/browser.js";
import { serve } from "../web/tests/fake.js";

const { values, positionals } = parseArgs({
  options: { rprof: { type: "string" }, rounds: { type: "string", default: "7" }, nodes: { type: "string", default: "500000" }, json: { type: "boolean", default: false } },
  allowPositionals: true,
});

/** Five seconds of python3, where no recording is named. */
function recorded() {
  const file = join(folder(), "rprof.data");
  record(file, ["python3", "-c", "import json, time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: json.loads(json.dumps(list(range(5000))))"]);
  return file;
}

/** @param {number[]} list */
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/**
 * A page whose first picture is timed.
 * @param {import("../web/tests/browser.js").Browser} browser
 * @param {string} url
 */
async function open(browser, url) {
  const context = await browser.newContext({ viewport: { width: 1600, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    const look = () => {
      if (!document.querySelector(".crumbs button")) return requestAnimationFrame(look);
      return requestAnimationFrame(() => requestAnimationFrame(() => Object.assign(window, { drawnAt: performance.now() })));
    };
    requestAnimationFrame(look);
  });
  await page.goto(url);
  await page.waitForFunction(() => "drawnAt" in window);
  const times = await page.evaluate(() => {
    const drawn = /** @type {{drawnAt: number}} */ (/** @type {unknown} */ (window)).drawnAt;
    const answer = performance.getEntriesByType("resource").find((entry) => entry.name.includes("api/flamegraph"));
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return { paint: paint?.startTime ?? NaN, page: drawn, draw: drawn - (answer instanceof PerformanceResourceTiming ? answer.responseEnd : NaN) };
  });
  return { context, page, times };
}

/**
 * Script time of what `run` starts, ms.
 * @param {import("../web/tests/browser.js").Page} page
 * @param {import("../web/tests/browser.js").Session} session
 * @param {() => Promise<unknown>} run
 */
async function script(page, session, run) {
  const used = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return (metrics.find(({ name }) => name === "ScriptDuration")?.value ?? NaN) * 1000;
  };
  const before = await used();
  await run();
  await page.waitForTimeout(600);
  return (await used()) - before;
}

/** @type {Record<string, number[]>} */
const figures = {};
const note = (/** @type {string} */ name, /** @type {number} */ value) => (figures[name] ??= []).push(value);

const browser = await launch();
const nodes = Number(values.nodes);
const large = await serve({ nodes });
const crowd = await serve({ marks: 10000, runs: 10000 });
if (values.rprof) process.env.RPROF = values.rprof;
const real = values.rprof ? await web(positionals[0] ?? recorded()) : null;
for (let round = 0; round < Number(values.rounds); round++) {
  if (real) {
    const { context, times } = await open(browser, real.url);
    note("recording: first paint", times.paint);
    note("recording: flame graph on the page", times.page);
    await context.close();
  }
  const { context, page, times } = await open(browser, large.url);
  note(`${nodes} nodes: draw`, times.draw);
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable");
  await page.waitForTimeout(800);
  const box = await page.locator(".flame").boundingBox();
  if (!box) throw new Error("there is no flame graph on the page");
  const [x, y] = [box.x + box.width * 0.3, box.y + 45];
  await page.mouse.move(x, y);
  await page.waitForTimeout(300);
  note(`${nodes} nodes: script of a zoom`, await script(page, session, () => page.mouse.click(x, y)));
  note(`${nodes} nodes: script of zooming out`, await script(page, session, () => page.keyboard.press("Home")));
  await page.focus("#search");
  note(`${nodes} nodes: script of a search`, await script(page, session, () => page.keyboard.insertText("hash")));
  await context.close();
}
for (let round = 0; round < Number(values.rounds); round++) {
  const { context, page } = await open(browser, `${crowd.url}?folded=none`);
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable");
  const track = page.locator(".track").last();
  await track.scrollIntoViewIfNeeded();
  await page.waitForTimeout(800);
  const box = await track.boundingBox();
  if (!box) throw new Error("there is no lane on the page");
  note("10,000 marks: script of pointing", await script(page, session, () => page.mouse.move(box.x + box.width * 0.4, box.y + 10)));
  await page.mouse.move(box.x + box.width * 0.4, 150);
  note("10,000 marks: script of the wheel, with two answers", await script(page, session, () => page.mouse.wheel(0, -120)));
  await context.close();
}
await browser.close();
large.close();
crowd.close();
real?.close();

const rows = Object.entries(figures).map(([figure, list]) => ({ figure, ms: Math.round(median(list) * 10) / 10, least: Math.round(Math.min(...list) * 10) / 10, most: Math.round(Math.max(...list) * 10) / 10 }));
if (values.json) console.log(JSON.stringify({ load: loadavg()[0], rounds: Number(values.rounds), rows }));
else {
  console.log(`median of ${values.rounds}, load average ${loadavg()[0].toFixed(1)}`);
  console.table(rows);
}
process.exit(0);
