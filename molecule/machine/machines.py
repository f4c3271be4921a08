# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of the lab, and how to do something with both at a time: each is a processor of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.securetime.nts.molecule.images import machine as power
from ansible_collections.securetime.nts.molecule.images.machine import Machine

# A sample of the cases that take long is tried, or every one of them (`make machines`).
EVERY = bool(os.environ.get("NTS_EVERY"))
T = TypeVar("T")
# On a machine, what the role has installed there; its own modules print the same.
FACTS = """
import json, sys
sys.path.insert(0, "/usr/local/sbin/nts-certificate")
from ansible_collections.securetime.nts.plugins.module_utils._facts import Wanted, see
goal, seconds = sys.argv[1], float(sys.argv[2])
look = Wanted(goal if goal != "none" else None, 1, None, seconds, 5.0, log_lines=True, reports=("sourcestats",))
seen = see(look)
print(json.dumps({"reached": seen.reached, "waited_seconds": seen.waited_seconds, **seen.facts}))
"""


def known() -> dict[str, Machine]:
    """Return the machines of the lab by name."""
    return {found.name: found for found in power.known(Path(os.environ["LAB_STATE"]))}


def both(do: Callable[[Machine], T]) -> dict[str, T]:
    """Do something with every machine at the same time."""
    machines = known()
    with ThreadPoolExecutor() as pool:
        return dict(zip(machines, pool.map(do, machines.values()), strict=True))


def facts(machine: Machine, goal: str = "none", timeout_seconds: float = 0) -> dict[str, Any]:
    """Return what chronyc_facts would, after waiting for its goal."""
    script = f"python3 - {goal} {timeout_seconds} <<'END'\n{FACTS}\nEND\n"
    answer: dict[str, Any] = json.loads(power.inside(machine, script, timeout_seconds + 120))
    return answer


# A service that must not start before the clock is right, and notes when it did, by the clock and since the boot.
AFTER_TIME = """\
[Unit]
Wants=time-sync.target
After=time-sync.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'date +%%s.%%N >/run/after-time; cat /proc/uptime >>/run/after-time'
[Install]
WantedBy=multi-user.target
"""


def prepare(machine: Machine) -> None:
    """Put on a machine what the tests need at its next boots."""
    program = (Path(__file__).parent / "power/cut.py").read_text()
    power.inside(
        machine,
        f"cat >/etc/systemd/system/after-time.service <<'END'\n{AFTER_TIME}END\n"
        f"cat >/root/cut.py <<'END'\n{program}\nEND\n"
        "systemctl daemon-reload\nsystemctl enable -q after-time chrony-wait\npython3 /root/cut.py prepare\n",
        300,
    )


def note(text: str) -> None:
    """Keep a figure for docs/reliability.md."""
    with (Path(os.environ["LAB_STATE"]) / "figures.txt").open("a") as file:
        file.write(text + "\n")
