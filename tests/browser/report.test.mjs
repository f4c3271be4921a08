// Copyright: (c) 2026, securetime.nts contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The page of securetime.nts.report in Debian's Chromium: accessibility, harmlessness, layout, filter, sort and print.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { launch, report } from "./browser.mjs";

const WIDTHS = [320, 375, 768, 1081, 1280, 1920];
const pages = { usual: report(60), hostile: report(1, "hostile"), one: report(1) };
let browser;

before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Open a page; call a function with the page and its list of logs, errors, dialogs and foreign requests. */
async function on(name, options, look) {
  const { width = 1280, ...more } = options;
  const context = await browser.newContext({ viewport: { width, height: 800 }, ...more });
  const page = await context.newPage();
  const odd = [];
  page.on("console", (message) => odd.push(message.text()));
  page.on("pageerror", (error) => odd.push(String(error)));
  page.on("dialog", (dialog) => odd.push(dialog.message()) && dialog.dismiss());
  page.on("request", (request) => request.url() === pages[name] || odd.push(request.url()));
  try {
    await page.goto(pages[name]);
    await look(page, odd);
  } finally {
    await context.close();
  }
}

for (const name of Object.keys(pages)) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [375, 1280]) {
      test(`axe finds no violation: ${name}, ${colorScheme}, ${width} px`, () =>
        on(name, { colorScheme, width }, async (page) => {
          await page.evaluate(() => document.querySelectorAll("details").forEach((item) => (item.open = true)));
          await page.evaluate(axe.source);
          const found = await page.evaluate(() => globalThis.axe.run());
          assert.ok(found.passes.length > 20);
          assert.deepEqual(
            found.violations.map((rule) => [rule.id, rule.nodes.slice(0, 3).map((node) => node.html)]),
            [],
          );
        }));
    }
  }
  test(`nothing is loaded, logged or run: ${name}`, () =>
    on(name, {}, async (page, odd) => {
      await page.waitForTimeout(200);
      assert.match(await page.title(), /^Time report: \d+ of \d+ hosts? authenticated$/);
      assert.deepEqual(odd, []);
    }));
  for (const width of WIDTHS) {
    test(`the page fits: ${name}, ${width} px`, () =>
      on(name, { width }, async (page) => {
        await page.evaluate(() => document.querySelectorAll("details").forEach((item) => (item.open = true)));
        const beyond = await page.evaluate(() =>
          [...document.querySelectorAll("body *")]
            .filter((item) => !item.closest(".scroll, .unseen, .skip, svg, thead"))
            .filter((item) => item.getBoundingClientRect().right > innerWidth + 1)
            .map((item) => item.outerHTML.slice(0, 80)),
        );
        assert.deepEqual(beyond.slice(0, 3), []);
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
      }));
  }
}

test("the content security policy blocks an injected script, style, image and request", () =>
  on("usual", {}, async (page, odd) => {
    const seen = await page.evaluate(async () => {
      const blocked = [];
      document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
      const add = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
      add("script", { textContent: "document.title = 'run'" });
      add("style", { textContent: "body { display: none }" });
      add("img", { src: "http://192.0.2.1/x.png" });
      add("div", { innerHTML: "<b style='color:red' onclick='1'>x</b>" });
      await fetch("http://192.0.2.1/").catch(() => {});
      await new Promise((done) => setTimeout(done, 200));
      return [...new Set(blocked)].sort();
    });
    assert.deepEqual(seen, ["connect-src", "img-src", "script-src-attr", "script-src-elem", "style-src-attr", "style-src-elem"]);
    assert.notEqual(await page.title(), "run");
    assert.ok(odd.length > 0);
  }));

test("marks that change the direction of text are visible escapes", () =>
  on("hostile", {}, async (page) => {
    assert.ok((await page.getByText("\\u202egpj.exe\\u2066nts1").count()) > 1);
    assert.equal(await page.evaluate(() => /[\u202a-\u202e\u2066-\u2069]/.test(document.documentElement.outerHTML)), false);
  }));

test("the filter shows the matching hosts and their number", () =>
  on("usual", {}, async (page) => {
    const shown = page.locator("#hosts-table tbody tr:not([hidden])");
    const all = await shown.count();
    assert.equal(all, 60);
    await page.getByRole("searchbox", { name: "Search" }).fill("plain.test unauthenticated");
    const some = await shown.count();
    assert.ok(some > 0 && some < all);
    assert.equal(await page.locator("#count").textContent(), `${some} of 60 hosts shown`);
    assert.equal(await page.locator("#count").getAttribute("aria-live"), "polite");
    await page.getByRole("searchbox", { name: "Search" }).fill("no such host");
    assert.equal(await page.locator("#count").textContent(), "0 of 60 hosts shown");
    await page.getByRole("searchbox", { name: "Search" }).fill("");
    await page.getByRole("combobox", { name: "Verdict" }).selectOption({ label: "Not running" });
    assert.deepEqual([...new Set(await shown.locator(".state").allTextContents())], ["Not running"]);
  }));

test("the table is sorted by the keyboard, up and down, hosts without a value last", () =>
  on("usual", {}, async (page) => {
    const column = (number) =>
      page.$$eval(`#hosts-table tbody tr > *:nth-child(${number})`, (cells) => cells.map((cell) => cell.dataset.sort));
    await page.getByRole("button", { name: "Error bound" }).focus();
    await page.keyboard.press("Enter");
    const known = (values) => values.filter((value) => value !== "").map(Number);
    const up = await column(5);
    assert.deepEqual(known(up), known(up).toSorted?.((a, b) => a - b) ?? [...known(up)].sort((a, b) => a - b));
    assert.ok(known(up).length > 20 && up.includes(""));
    assert.ok(up.slice(known(up).length).every((value) => value === ""));
    const heading = page.locator("#hosts-table th[aria-sort]");
    assert.equal(await heading.getAttribute("aria-sort"), "ascending");
    await page.keyboard.press("Enter");
    const down = await column(5);
    assert.deepEqual(known(down), known(up).reverse());
    assert.ok(down.slice(known(down).length).every((value) => value === ""));
    assert.equal(await heading.count(), 1);
    assert.equal(await heading.getAttribute("aria-sort"), "descending");
  }));

test("the first Tab stop is a link to the table, and Tab reaches every control", () =>
  on("usual", {}, async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the table of hosts");
    assert.ok((await page.evaluate(() => document.activeElement.getBoundingClientRect().left)) >= 0);
    const wanted = await page.locator("summary, button, input, select, .scroll").count();
    const reached = new Set();
    for (let step = 0; step < wanted + 5; step += 1) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => [...document.querySelectorAll("summary, button, input, select, .scroll")].indexOf(document.activeElement)));
    }
    reached.delete(-1);
    assert.equal(reached.size, wanted);
  }));

test("tables keep their roles for screen readers on a telephone", () =>
  on("usual", { width: 375 }, async (page) => {
    const table = page.getByRole("table", { name: "Hosts, those that need attention first" });
    assert.equal(await table.getByRole("row").count(), 61);
    assert.equal(await table.getByRole("rowheader").count(), 60);
    assert.equal(await table.getByRole("cell").count(), 60 * 6);
    assert.ok((await page.getByRole("img", { name: /Sources on the left/ }).count()) === 1);
  }));

test("every verdict has a shape and a word beside its colour", () =>
  on("usual", {}, async (page) => {
    const bare = await page.$$eval(".state", (badges) =>
      badges.filter((badge) => !badge.querySelector("svg use") || !badge.textContent.trim()).length,
    );
    assert.equal(bare, 0);
  }));

test("the printed page is complete, on white, without controls", () =>
  on("usual", { colorScheme: "dark" }, async (page) => {
    await page.emulateMedia({ media: "print" });
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    assert.equal(await page.locator("details:not([open])").count(), 0);
    assert.equal(await page.locator("#controls").isVisible(), false);
    assert.equal(await page.getByRole("button").count(), 0);
    const style = await page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body);
      return [backgroundColor, color];
    });
    assert.deepEqual(style, ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]);
    await page.evaluate(() => dispatchEvent(new Event("afterprint")));
    assert.ok((await page.locator("details:not([open])").count()) > 0);
    assert.equal(await page.locator("th button").count(), 6);
  }));

test("without scripts the page shows every host and no controls", () =>
  on("usual", { javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator("#hosts-table tbody tr").count(), 60);
    assert.equal(await page.locator("#controls").isVisible(), false);
    assert.equal(await page.locator("#hosts-table button").count(), 0);
  }));
