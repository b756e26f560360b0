/*
 * Takes the pictures for the README, of a recording that scripts/screenshot made.
 *
 *   node web/tests/screenshot.js RECORDING FOLDER
 */

import { join } from "node:path";

import { drawn, launch, web } from "./browser.js";

const [recording, folder] = process.argv.slice(2);
const server = await web(recording);
const browser = await launch();
for (const scheme of /** @type {const} */ (["light", "dark"])) {
  const page = await (await browser.newContext({ viewport: { width: 1400, height: 900 }, colorScheme: scheme, timezoneId: "UTC" })).newPage();
  await page.goto(server.url);
  await drawn(page);
  await page.waitForSelector(".lane");
  await page.waitForSelector(".fact");
  await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
  await page.screenshot({ path: join(folder, scheme === "light" ? "viewer.png" : "viewer-dark.png") });
}
await browser.close();
server.close();
