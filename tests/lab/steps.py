# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill the transaction at its steps, on two hosts in parallel."""

from __future__ import annotations

import json
from typing import Any

from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts

CONFIG, UNIT = "/etc/chrony/chrony.conf", "chrony.service"
# Debian's, because their paths are equal.
NAMES = ("client-debian12", "client-debian13")


def assert_recovery(every: int) -> None:
    """Assert that the next run recovers a transaction that was killed at step 1, 1 + every, and so on."""
    clients = [get_host(f"ansible://{name}") for name in NAMES]
    before = [_config(host) for host in clients]

    def kill(host: Host) -> dict[str, Any]:
        first, stride = 1 + every * clients.index(host), every * len(clients)
        command = f"PYTHONPATH={hosts.code(host)} python3 - {CONFIG} {UNIT} {first} {stride}"
        output = hosts.write(host, command, (hosts.LAB / "killed.py").read_text())
        return dict(json.loads(output.splitlines()[-1]))

    results = hosts.each(kill, *clients)
    assert [result["wrong"] for result in results] == [[], []]
    steps = sorted(step for result in results for step in result["steps"])
    assert steps == [*range(1, steps[-1] + 1, every)]
    assert steps[-1] >= 20
    assert [_config(host) for host in clients] == before


def _config(host: Host) -> str:
    return str(host.file(CONFIG).content_string)
