# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the cost of a monitor run on a host: processor time with every program that it runs, and memory.

    make demo && make bench

Installs the monitor on each host, runs the collector as its user, and removes the monitor where it was absent. The
first run probes the host's own server and reads certificates; `usual` is the median of the others. Fails when a run
exceeds the given limits.
"""

from __future__ import annotations

import argparse
import json
import statistics

from testinfra import get_host

from ansible_collections.securetime.nts.tests.lab.hosts import run_module, write

# Runs on the host. Prints milliseconds of processor time and the largest resident set in MiB for each run. A Python
# process that does nothing precedes each run of the collector.
MEASURE = """
import json, os, pwd, grp
owner = os.stat("/var/lib/nts-monitor").st_uid
user, rows = pwd.getpwuid(owner), []
os.unlink("/var/lib/nts-monitor/memory.json")
with open("/usr/local/sbin/nts-monitor", "rb") as program:
    start = [*program.readline().decode()[2:].split(), "-c", "pass"]
for number in range(2 * RUNS):
    child = os.fork()
    if not child:
        os.setgroups([grp.getgrnam("systemd-journal").gr_gid])
        os.setgid(user.pw_gid)
        os.setuid(owner)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if number % 2 == 0:
            os.execv(start[0], start)
        os.execv("/usr/local/sbin/nts-monitor", ["nts-monitor", "--collect"])
    _pid, status, used = os.wait4(child, 0)
    rows.append([status, 1000 * (used.ru_utime + used.ru_stime), used.ru_maxrss / 1024])
print(json.dumps(rows))
"""


def measure(name: str, runs: int) -> tuple[list[tuple[float, float]], float]:
    """Return milliseconds and MiB of each run on a host, and the usual milliseconds of a Python start."""
    host = get_host(f"ansible://{name}")
    was_there = host.file("/usr/local/sbin/nts-monitor").exists
    if "failed" in run_module(host, "chrony_monitor"):
        raise SystemExit(f"{name}: the monitor could not be installed")
    write(host, "systemctl stop nts-monitor.timer", "")
    try:
        rows = json.loads(write(host, "python3 -", MEASURE.replace("RUNS", str(runs))))
    finally:
        if was_there:
            write(host, "systemctl start nts-monitor.timer", "")
        else:
            run_module(host, "chrony_monitor", state="absent")
    if any(status for status, _milliseconds, _memory in rows):
        raise SystemExit(f"{name}: a run failed")
    found = [(milliseconds, memory) for _status, milliseconds, memory in rows]
    return found[1::2], statistics.median(milliseconds for milliseconds, _memory in found[::2])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", nargs="+")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--client", type=float, default=120, help="the most milliseconds of a client that pass")
    parser.add_argument("--server", type=float, default=300, help="the same of a server, whose name begins with nts")
    parser.add_argument("--memory", type=float, default=30, help="the most MiB that pass")
    wanted = parser.parse_args()
    over = []
    for name in wanted.host:
        (first, *others), start = measure(name, wanted.runs + 1)
        usual = statistics.median(milliseconds for milliseconds, _memory in others)
        memory = max(memory for _milliseconds, memory in (first, *others))
        figures = f"usual {usual:.0f} ms, {usual / start:.1f} times a start of Python ({start:.0f} ms)"
        print(f"{name}: {figures}, with a check {first[0]:.0f} ms, {memory:.0f} MiB", flush=True)
        limit = wanted.server if name.startswith("nts") else wanted.client
        # A client checks its trust anchors only four times an hour, so the usual run counts.
        worst = first[0] if name.startswith("nts") else usual
        over += [name] if worst > limit or memory > wanted.memory else []
    if over:
        raise SystemExit(f"over the limits: {', '.join(over)}")


if __name__ == "__main__":
    main()
