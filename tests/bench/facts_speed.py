# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the cost of chronyc_facts: whole runs of `ansible -m chronyc_facts` against `ansible -m ping` on one host.

    make demo && make bench

Alternates the two. Prints the minimum time of each, which other load on the controller disturbs least, and their ratio.
Fails when the ratio exceeds the given limit.
"""

import argparse
import subprocess
import time


def seconds(host: str, module: str) -> float:
    """Return the wall time of an Ansible process that runs one module, in seconds."""
    begin = time.monotonic()
    subprocess.run(["ansible", host, "--module-name", module], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", nargs="+")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--most", type=float, default=1.25, help="the highest ratio that passes")
    wanted = parser.parse_args()
    modules = ("ansible.builtin.ping", "securetime.nts.chronyc_facts")
    slow = []
    for host in wanted.host:
        for module in modules:
            seconds(host, module)  # Opens the connection that the others share.
        times = [[seconds(host, module) for module in modules] for _run in range(wanted.runs)]
        ping, facts = (min(column) for column in zip(*times, strict=True))
        print(f"{host}: ping {ping:.3f} s, chronyc_facts {facts:.3f} s, ratio {facts / ping:.2f}", flush=True)
        slow += [host] if facts / ping > wanted.most else []
    if slow:
        raise SystemExit(f"over {wanted.most}: {', '.join(slow)}")


if __name__ == "__main__":
    main()
