# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power is cut at a step of a change: after the next boot, chronyd runs with the old files or the new ones, whole."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.molecule.images import machine as power
from ansible_collections.securetime.nts.molecule.images.machine import Machine
from ansible_collections.securetime.nts.molecule.machine.machines import EVERY, both, image_of, known, note

# Steps of each kind of change, as counted by a change that is not cut.
STEPS = {"config": 24, "certificate": 29}
CUTS = [(kind, step) for kind, count in STEPS.items() for step in range(1, count + 1)]
# Two at a time, one on each machine. In `make test`: between the swaps of two files that need each other, where only
# what runs before chronyd at the next boot can help.
ROUNDS = [CUTS[first : first + 2] for first in range(0, len(CUTS), 2)]
if not EVERY:
    ROUNDS = [[("certificate", 14), ("config", 15)]]

pytestmark = pytest.mark.usefixtures("frozen")


PROGRAM = f"cat >/root/cut.py <<'END'\n{Path(__file__).with_name('cut.py').read_text()}\nEND\nsync\n"


def look(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(power.inside(machine, "python3 /root/cut.py look"))
    return found


@pytest.fixture(scope="module", autouse=True)
def old_files() -> None:
    """Both machines, frozen in front of the changes."""

    def prepare(each: Machine) -> None:
        power.thaw(each)
        power.inside(each, f"{PROGRAM}python3 /root/cut.py prepare\n", 200)
        power.freeze(each)

    both(prepare)


def cut_at(machine: Machine, kind: str, step: int) -> bool:
    """Begin a change on a machine and take the power away at a step; say whether there was one."""
    power.thaw(machine)
    power.inside(machine, PROGRAM)
    with power.second_line(machine) as line, power.begun(machine, f"python3 /root/cut.py {kind} {step}") as process:
        line.settimeout(0.5)
        heard = b""
        while b"cut" not in heard and process.poll() is None:
            with contextlib.suppress(TimeoutError):
                heard += line.recv(100)
        power.cut(machine)
    return b"cut" in heard


@pytest.mark.parametrize("cuts", ROUNDS, ids=str)
def test_power_cut_amid_a_change(cuts: list[tuple[str, int]]) -> None:
    of = dict(zip(sorted(known()), cuts, strict=False))

    def one(machine: Machine) -> dict[str, Any]:
        if machine.name not in of:
            return {}
        kind, step = of[machine.name]
        assert cut_at(machine, kind, step), f"{kind} has no step {step}"
        power.boot(machine)
        power.await_boot(machine)
        after_boot = look(machine)
        power.inside(machine, f"python3 /root/cut.py {kind} 0", 200)
        note(f"power {kind} step {step}: {image_of(machine)}: {after_boot['set']}, {after_boot['certificate']}")
        return {"cut": of[machine.name], "boot": after_boot, "again": look(machine)}

    for name, seen in both(one).items():
        if not seen:
            continue
        told = f"{name}: {json.dumps(seen, indent=1)}"
        kind = seen["cut"][0]
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
        for kind in STEPS:
            power.thaw(machine)
            power.inside(machine, PROGRAM)
            found[kind] = int(power.inside(machine, f"python3 /root/cut.py {kind} 0", 200).split()[-1])
        return found

    assert both(steps) == dict.fromkeys(known(), STEPS)
