// Copyright: (c) 2026, securetime.nts contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The documentation site in Debian's Chromium: width on telephones, contrast in light and dark, no foreign requests.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import { ROOT, launch } from "./browser.mjs";

const SITE = join(ROOT, ".build/docs/html");
const PAGES = readdirSync(SITE, { recursive: true }).filter((name) => name.endsWith(".html"));
const LOOKED_AT = ["index", "docs/clients", "docs/architecture", "reference/index", "reference/nts_probe_module"];
let browser;

before(async () => {
  browser = await launch();
});
after(() => browser.close());

const address = (name) => pathToFileURL(join(SITE, name)).href;

test("no page is wider than a telephone or sends a foreign request", async () => {
  assert.ok(PAGES.length > 40);
  const page = await browser.newPage({ viewport: { width: 375, height: 800 } });
  const elsewhere = [];
  page.on("request", (request) => request.url().startsWith("file:") || elsewhere.push(request.url()));
  for (const name of PAGES) {
    await page.goto(address(name));
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 375, `${name} is ${width} px wide`);
  }
  assert.deepEqual(elsewhere, []);
  await page.close();
});

for (const colorScheme of ["light", "dark"]) {
  for (const name of LOOKED_AT) {
    test(`the text has contrast: ${name}, ${colorScheme}`, async () => {
      const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme });
      await page.goto(address(`${name}.html`));
      await page.evaluate(axe.source);
      // Exclude highlighted code, which has the colours of Pygments.
      const found = await page.evaluate(() =>
        globalThis.axe.run({ exclude: [".highlight"] }, { runOnly: ["color-contrast", "image-alt", "link-name"] }),
      );
      assert.ok(found.passes.length > 0);
      assert.deepEqual(
        found.violations.map((rule) => [rule.id, rule.nodes.slice(0, 3).map((node) => node.html)]),
        [],
      );
      await page.close();
    });
  }
}
