/*
 * What browser tests share: the machine's chromium, a page that fails a test for whatever the
 * browser complains of, and `rprof web` on recordings that are made here.
 */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").Browser} Browser */
/** @typedef {import("playwright-core").CDPSession} Session */

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The program under test. */
export const program = () => resolve(ROOT, process.env.RPROF ?? join(process.env.CARGO_TARGET_DIR ?? "target", "debug", "rprof"));

const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts the browser. */
export function launch() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  assert.ok(executablePath, "there is no chromium here; scripts/setup test installs it");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
}

/**
 * Opens a page of its own session, runs a test on it, and fails if the browser reported an error or
 * a violation of the content security policy meanwhile.
 * @param {Browser} browser
 * @param {string} url
 * @param {(page: Page) => Promise<unknown>} run
 * @param {import("playwright-core").BrowserContextOptions & {allow?: RegExp}} [options] `allow`: complaints that are expected
 */
export async function visit(browser, url, run, { allow, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, timezoneId: "UTC", ...options });
  const page = await context.newPage();
  // Busy machines are slow, and not what is tested.
  page.setDefaultTimeout(120_000);
  /** @type {string[]} */
  const complaints = [];
  page.on("console", (message) => {
    // What `drawn` below does is the test's own doing.
    if (["error", "warning"].includes(message.type()) && !message.text().includes("willReadFrequently")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  try {
    await page.goto(url);
    await run(page);
    assert.deepEqual(complaints.filter((text) => !allow?.test(text)), []);
  } finally {
    await context.close();
  }
}

/** Waits until the flame graph is there: its first breadcrumb. @param {Page} page */
export async function drawn(page) {
  await page.waitForSelector(".crumbs button");
  await page.waitForFunction(() => {
    const canvas = document.querySelector(".flame canvas");
    const context = canvas instanceof HTMLCanvasElement ? canvas.getContext("2d") : null;
    return context !== null && context.getImageData(4, 4, 1, 1).data[3] === 255;
  });
}

/** The words of the page's URL. @param {Page} page */
export const words = (page) => new URL(page.url()).searchParams;

/**
 * Waits until the URL says something.
 * @param {Page} page
 * @param {(words: URLSearchParams) => boolean} wanted
 */
export const says = (page, wanted) => page.waitForURL((url) => wanted(url.searchParams));

/** A folder that is gone after the tests. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), "rprof-viewer-"));
  process.on("exit", () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/**
 * Records a command.
 * @param {string} file
 * @param {string[]} command
 */
export function record(file, command) {
  const { status, stderr } = spawnSync(program(), ["record", "-F", "499", "-o", file, "--", ...command], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

/**
 * Serves a recording or a store.
 * @param {string[]} args
 * @returns {Promise<{url: string, close: () => void}>}
 */
export async function web(...args) {
  const server = spawn(program(), ["web", "--listen", "127.0.0.1:0", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  process.on("exit", () => server.kill());
  /** @type {string[]} */
  const said = [];
  /** @type {string} */
  const url = await new Promise((done, failed) => {
    for (const input of [server.stdout, server.stderr]) {
      createInterface({ input }).on("line", (line) => {
        said.push(line);
        const [found] = /http:\/\/[\w.:[\]]+/.exec(line) ?? [];
        if (found) done(`${found}/`);
      });
    }
    server.on("error", failed);
    server.on("exit", (status) => failed(new Error(`rprof web ended with ${status}: ${said.join("\n")}`)));
  });
  return { url, close: () => server.kill() };
}
