# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the demo's hosts and run site.yml, with the monitor, and report.yml on them: a line for each play, the closing
table, a report.

demo.py [--verbose]     with --verbose: all that Ansible prints
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / ".lab" / "demo"
REPORT = ROOT / ".build" / "report" / "demo"
LOG = ROOT / ".build" / "logs" / "demo.log"
INVENTORY = ROOT / "extensions" / "molecule" / "inventory"
SILENCE_SECONDS = 15
START = time.monotonic()
ENVIRONMENT = {
    "LAB_STATE": str(LAB),
    "ANSIBLE_INVENTORY": f"{INVENTORY},{LAB / 'inventory.yml'},{ROOT / 'tests/lab/demo.yml'}",
    "ANSIBLE_PIPELINING": "true",
    "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
    "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
    # The filter expects plain lines.
    "ANSIBLE_FORCE_COLOR": "false",
    "PYTHONUNBUFFERED": "1",
}


class Progress:
    """Print the current action at least every SILENCE_SECONDS."""

    def __init__(self) -> None:
        self.what, self.spoken = "Start the hosts", time.monotonic()
        threading.Thread(target=self._repeat, daemon=True).start()

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - START), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)
        self.spoken = time.monotonic()

    def _repeat(self) -> None:
        while True:
            time.sleep(1)
            if time.monotonic() - self.spoken > SILENCE_SECONDS:
                self.say(self.what)


def table(output: str) -> str:
    """Return the closing table of site.yml: the strings of debug's message."""
    lines = re.search(r"^TASK \[Show the result\].*?\"msg\": \[\n(.*?)\n +\]", output, re.MULTILINE | re.DOTALL)
    return "\n".join(re.findall(r'^ +"(.*)",?$', lines[1], re.MULTILINE)) if lines else ""


def run(progress: Progress, *command: str, verbose: bool) -> str:
    """Run a program and report each play; return its output, or exit with that output on failure."""
    output = []
    with (
        LOG.open("a") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **ENVIRONMENT}
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            output.append(line)
            log.write(line)
            log.flush()
            play = re.match(r"PLAY \[(.+?)\]", line)
            task = re.match(r"TASK \[(?:.* : )?(.+?)\]", line)
            if verbose:
                print(line, end="", flush=True)
                progress.spoken = time.monotonic()
            elif play:
                progress.what = play[1]
                progress.say(progress.what)
            elif task:
                progress.what = f"  {task[1]}"
    if process.returncode:
        sys.exit(f"{''.join(output[-60:])}\nThis failed: {' '.join(command)}\nAll output: {LOG}")
    return "".join(output)


def main() -> None:
    """Run the demo."""
    verbose = "--verbose" in sys.argv[1:]
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    progress = Progress()
    create = str(ROOT / "extensions/molecule/default/create.yml")
    run(progress, "ansible-playbook", "--inventory", str(INVENTORY), create, verbose=verbose)
    site = ("securetime.nts.site", "--extra-vars", "chrony_nts_site_monitor=true")
    output = run(progress, "ansible-playbook", *site, verbose=verbose)
    closing = table(output)
    if not closing:
        sys.exit(f"site.yml printed no closing table. All output: {LOG}")
    run(progress, "ansible-playbook", "securetime.nts.report", "-e", f"chrony_nts_report_dir={REPORT}", verbose=verbose)
    progress.say("done\n")
    print(closing, end="\n\n", flush=True)
    subprocess.run([sys.executable, str(ROOT / "tests/lab/lab.py"), "status", "--state", str(LAB)], check=True)
    print(f"\nReport: {REPORT / 'report.html'}")
    print("Metrics on every host: /var/lib/nts-monitor/metrics.prom. State: podman exec CONTAINER nts-monitor --nagios")
    print(f"Log in: podman exec -it CONTAINER bash. All output: {LOG}. Remove the hosts: make demo-stop")


if __name__ == "__main__":
    main()
