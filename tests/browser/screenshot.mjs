// Copyright: (c) 2026, securetime.nts contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// Write docs/report.png, the upper part of a report of 60 hosts: tests/stages/browser.sh screenshot.mjs

import { join } from "node:path";
import { ROOT, launch, report } from "./browser.mjs";

const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1160, height: 1240 }, colorScheme: "light" });
await page.goto(report(60));
// Remove most of the long list of problems, so that the picture shows the drawings.
await page.evaluate(() => {
  for (const group of [...document.querySelectorAll(".group")].slice(1)) group.remove();
  document.querySelector("#changes").parentElement.remove();
});
await page.screenshot({ path: join(ROOT, "docs/report.png") });
await browser.close();
