# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power is cut at a step of a change: after the next boot, chronyd runs with the old files or the new ones, whole."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from ansible_collections.securetime.nts.molecule.images import machine as power
from ansible_collections.securetime.nts.molecule.images.machine import Machine
from ansible_collections.securetime.nts.molecule.machine.machines import EVERY, both, known

# Steps of each kind of change, as counted by a change that is not cut.
STEPS = {"config": 50, "certificate": 50}
# In `make test`: between the swaps of two files, where only what runs before chronyd can help.
SAMPLE = {"config": 25, "certificate": 25}
KINDS = ["config", "certificate"]
# A step on one machine, and the next one on the other at the same time.
ROUNDS = [(kind, step) for kind in KINDS for step in (range(1, STEPS[kind] + 1, 2) if EVERY else [SAMPLE[kind]])]


pytestmark = pytest.mark.usefixtures("frozen")


def look(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(power.inside(machine, "python3 /root/cut.py look"))
    return found


def cut_at(machine: Machine, kind: str, step: int) -> bool:
    """Begin a change on a machine and take the power away at a step; say whether there was one."""
    power.thaw(machine)
    with power.second_line(machine) as line, power.begun(machine, f"python3 /root/cut.py {kind} {step}") as process:
        line.settimeout(0.5)
        heard = b""
        while b"cut" not in heard and process.poll() is None:
            try:
                heard += line.recv(100)
            except socket.timeout:
                continue
        power.cut(machine)
    return b"cut" in heard


@pytest.mark.parametrize(("kind", "first"), ROUNDS, ids=lambda value: str(value))
def test_power_cut_amid_a_change(kind: str, first: int) -> None:
    names = sorted(known())

    def one(machine: Machine) -> dict[str, Any]:
        step = first + names.index(machine.name)
        if not cut_at(machine, kind, step):
            return {}
        power.boot(machine)
        power.await_boot(machine)
        after_boot = look(machine)
        again = power.inside(machine, f"python3 /root/cut.py {kind} 0", 200)
        return {"step": step, "boot": after_boot, "again": look(machine), "steps": int(again.split()[-1])}

    for name, seen in both(one).items():
        if not seen:
            # One machine may have a step less than the other.
            assert first + names.index(name) > STEPS[kind] - 4, name
            continue
        told = f"{name}: {json.dumps(seen, indent=1)}"
        assert seen["boot"]["set"] in ("old", "new"), told
        assert seen["again"]["set"] == ("new" if kind == "config" else "old"), told
        assert seen["again"]["left"] == seen["again"]["begun"] == [], told
        for when in ("boot", "again"):
            assert seen[when]["active"] == "active", told
            assert seen[when]["check"] == 0, told
            assert seen[when]["lost"] == [], told


def test_steps_are_all_tried() -> None:
    def steps(machine: Machine) -> dict[str, int]:
        found = {}
        for kind in KINDS:
            power.thaw(machine)
            found[kind] = int(power.inside(machine, f"python3 /root/cut.py {kind} 0", 200).split()[-1])
        return found

    for name, found in both(steps).items():
        assert all(STEPS[kind] - 4 <= found[kind] <= STEPS[kind] for kind in KINDS), (name, found)
