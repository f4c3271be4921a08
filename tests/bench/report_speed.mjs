// Copyright: (c) 2026, securetime.nts contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// Measure the time from the request of a report until Chromium has painted it, and the time of a filter and of a sort.
// Prints the median of 5 runs, each in a separate context. Fails where 1,000 hosts take 2 seconds or more.

import { launch, report } from "../browser/browser.mjs";

const RUNS = 5;
const LIMIT_SECONDS = { 1000: 2 };

/** Return the seconds that a page takes to call a function and to paint. */
function painted(page, act) {
  return page.evaluate(
    ({ code }) =>
      new Promise((done) => {
        const begin = performance.now();
        new Function(code)();
        requestAnimationFrame(() => setTimeout(() => done((performance.now() - begin) / 1000), 0));
      }),
    { code: act },
  );
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const browser = await launch();
let slow = false;
for (const count of [1000, 10000]) {
  const address = report(count);
  const times = [];
  for (let run = 0; run < RUNS; run += 1) {
    const context = await browser.newContext({ bypassCSP: true });
    const page = await context.newPage();
    const begin = performance.now();
    await page.goto(address);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0))));
    const shown = (performance.now() - begin) / 1000;
    const filtered = await painted(
      page,
      "const search = document.getElementById('search'); search.value = 'web'; search.dispatchEvent(new Event('input'));",
    );
    const sorted = await painted(page, "document.querySelector('#hosts-table th:nth-child(5) button').click();");
    times.push([shown, filtered, sorted]);
    await context.close();
  }
  const [shown, filtered, sorted] = [0, 1, 2].map((column) => median(times.map((row) => row[column])));
  console.log(
    `${count} hosts: shown after ${shown.toFixed(2)} s, filtered in ${filtered.toFixed(2)} s, sorted in ${sorted.toFixed(2)} s`,
  );
  slow ||= shown >= (LIMIT_SECONDS[count] ?? Infinity);
}
await browser.close();
if (slow) {
  console.error("1,000 hosts take 2 s or more.");
  process.exit(1);
}
