# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of the lab, and how to do something with both at a time: each is a processor of its own."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ansible_collections.securetime.nts.molecule.images import machine as power
from ansible_collections.securetime.nts.molecule.images.machine import Machine
from ansible_collections.securetime.nts.tests.lab_hosts import ask

EVERY = bool(os.environ.get("NTS_EVERY"))
# All cases take nearly two hours: `make machines` tries them all, and `make test`, which has minutes, a sample.
in_make_machines = pytest.mark.skipif(not EVERY, reason="takes minutes: make machines")
T = TypeVar("T")
FIGURES = Path(__file__).resolve().parents[2] / ".build" / "machine-figures.txt"
UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
# Runs on the machine, and takes its power away amid what it does.
CUT = Path(__file__).with_name("power") / "cut.py"
PACKAGE = "ansible_collections/securetime/nts/plugins/module_utils"
# What chronyc_facts prints, without the time that Ansible takes.
FACTS = """
import json, sys
sys.path.insert(0, "/root/utils")
from ansible_collections.securetime.nts.plugins.module_utils._facts import Wanted, see
goal, seconds, sources = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
offset = 0.5 if goal == "authenticated" else None
seen = see(Wanted(goal if goal != "none" else None, sources, offset, seconds, 5.0, log_lines=True, reports=()))
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


def facts(machine: Machine, goal: str = "none", timeout_seconds: float = 0, sources: int = 1) -> dict[str, Any]:
    """Return what chronyc_facts would, after waiting for its goal, with the clock less than 0.5 s off."""
    script = f"python3 - {goal} {timeout_seconds} {sources} <<'END'\n{FACTS}\nEND\n"
    answer: dict[str, Any] = json.loads(power.inside(machine, script, timeout_seconds + 120))
    return answer


def ansible(host: str, module: str, **options: Any) -> dict[str, Any]:
    """Return what a module says on a host, also one that fails."""
    return ask(host, module, json.dumps(options))[host]


def ask_server(host: str, server: str, **options: Any) -> dict[str, Any]:
    """Return what nts_probe says of a server, with time for emulated ones to answer."""
    trusted = ["/etc/chrony/nts/trusted.pem"]
    return ansible(host, "securetime.nts.nts_probe", server=server, trusted_certs=trusted, timeout=20, **options)


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
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in UTILS.glob("*.py"):
            tar.add(path, f"{PACKAGE}/{path.name}")
    archive = base64.b64encode(packed.getvalue()).decode()
    power.inside(
        machine,
        f"mkdir -p /root/utils\nbase64 -d <<'END' | tar -xz -C /root/utils\n{archive}\nEND\n"
        f"cat >/etc/systemd/system/after-time.service <<'END'\n{AFTER_TIME}END\n"
        # With it, systemd would keep the clock from being before the last run of systemd-timesyncd.
        "rm -rf /var/lib/systemd/timesync\n"
        "systemctl daemon-reload\nsystemctl enable -q after-time chrony-wait\n"
        f"cat >/root/cut.py <<'END'\n{CUT.read_text()}\nEND\npython3 /root/cut.py prepare\n",
    )


def image_of(machine: Machine) -> str:
    """Return the name of the image that a machine is made of."""
    return machine.image.name.rpartition("-")[0]


def settled(machine: Machine) -> dict[str, Any]:
    """Let a machine that has been thawed be as it was when it was frozen; return its facts."""
    power.inside(machine, "chronyc -a burst 4/4\nchronyc waitsync 10 0 0 1\nchronyc makestep\n", check=False)
    return facts(machine, "authenticated", 120, {"nts1": 1, "nts2": 2}[machine.name])


def note(text: str) -> None:
    """Keep a figure for docs/reliability.md."""
    with FIGURES.open("a") as file:
        file.write(text + "\n")
