// Copyright: (c) 2026, securetime.nts contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// Debian's Chromium, and reports of fleets that tests/unit/plugins/plugin_utils/_report/fleet.py writes.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const FLEET = join(ROOT, "tests/unit/plugins/plugin_utils/_report/fleet.py");
const FOLDER = join(ROOT, ".build/report");
const PROGRAM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);

/** Write the report of a fleet, and return the address of its page. */
export function report(count, kind = "usual") {
  const folder = join(FOLDER, `${kind}-${count}`);
  execFileSync("python", [FLEET, String(count), folder, ...(kind === "usual" ? [] : [kind])], {
    env: { ...process.env, PYTHONPATH: join(ROOT, ".build/collections") },
    stdio: ["ignore", "inherit", "inherit"],
  });
  return pathToFileURL(join(folder, "report.html")).href;
}

/** Start the browser. */
export function launch() {
  if (!PROGRAM) throw new Error("Chromium is missing: apt-get install chromium");
  return chromium.launch({ executablePath: PROGRAM });
}
