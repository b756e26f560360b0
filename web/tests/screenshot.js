/*
 * Takes the picture for the README, of a recording that scripts/screenshot made: all of it on the time
 * line, and below the time of the command that took longest to compile.
 *
 *   node web/tests/screenshot.js RECORDING FOLDER
 */

import assert from "node:assert/strict";
import { join } from "node:path";

import { runName } from "../static/lanes.js";
import { drawn, launch, web } from "./browser.js";

const [recording, folder] = process.argv.slice(2);
const server = await web(recording);
/** @type {{processes: import("../static/lanes.js").Run[]}} */
const { processes } = await (await fetch(`${server.url}api/processes`)).json();
const command = processes.find(({ comm, end }) => comm === "cc" && end !== null);
assert.ok(command?.end, "no compiler ran in this recording");
const words = new URLSearchParams({ from: String(Math.floor(command.start)), to: String(Math.ceil(command.end)), named: runName(command) });
const browser = await launch();
const page = await (await browser.newContext({ viewport: { width: 1400, height: 900 }, timezoneId: "UTC" })).newPage();
await page.goto(`${server.url}?${words}`);
await drawn(page);
await page.waitForSelector(".lane");
await page.waitForSelector(".fact");
await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
await page.screenshot({ path: join(folder, "viewer.png") });
await browser.close();
server.close();
