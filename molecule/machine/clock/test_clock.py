# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine whose own clock is wrong at its boot, or is made wrong: what becomes of it."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple

import pytest

from ansible_collections.securetime.nts.molecule.images import machine as power
from ansible_collections.securetime.nts.molecule.images.machine import Machine
from ansible_collections.securetime.nts.molecule.machine.machines import EVERY, both, facts, known, note

pytestmark = pytest.mark.usefixtures("frozen")

DAY_SECONDS = 86400
OFFSETS = {"a month": 30, "a year": 365, "ten years": 3652}
# On which machine it is fast; on the other it is slow.
CASES = [(by, fast) for by in OFFSETS for fast in ("nts1", "nts2")] if EVERY else [("ten years", "nts1")]
# systemd does not start with a clock that is before its own release, and puts it there.
STEPPED = re.compile(r"System clock was stepped by (-?[0-9.]+) seconds")


class Boot(NamedTuple):
    """What a boot was like; times are in seconds."""

    facts: dict[str, Any]
    wrong_by: float
    service_wrong_by: float
    service_after: float
    stepped_by: list[float]


def boot(machine: Machine, offset_seconds: float, timeout_seconds: float = 120) -> Boot:
    """Boot with the clock wrong by so much, wait for authenticated time, look at the clock."""
    power.boot(machine, clock_seconds=time.time() + offset_seconds)
    power.await_boot(machine)
    seen = facts(machine, "authenticated", timeout_seconds)
    told = power.inside(
        machine,
        "for i in $(seq 60); do [ -e /run/after-time ] && break; sleep 1; done\n"
        "journalctl -b -o cat SYSLOG_IDENTIFIER=chronyd --no-pager | grep stepped || true\n"
        "cat /run/after-time || printf '0\\n0 0\\n'\ncut -d' ' -f1 /proc/uptime\ndate +%s.%N\n",
    )
    now = time.time()
    service_clock, service_uptime, uptime, clock = (line.split()[0] for line in told.splitlines()[-4:])
    service_at = now - (float(uptime) - float(service_uptime))
    return Boot(
        seen,
        float(clock) - now,
        float(service_clock) - service_at,
        float(service_uptime),
        [float(number) for number in STEPPED.findall(told)],
    )


@pytest.mark.parametrize(("by", "fast"), CASES)
def test_wrong_clock_becomes_right_by_the_defaults(by: str, fast: str) -> None:
    def one(machine: Machine) -> Boot:
        power.as_frozen(machine)
        return boot(machine, OFFSETS[by] * DAY_SECONDS * (1 if machine.name == fast else -1))

    for name, seen in both(one).items():
        image = known()[name].image.name.rpartition("-")[0]
        sign = "+" if name == fast else "-"
        note(f"clock {sign}{by}: {image}: right {seen.service_after:.1f} s after the boot, stepped {seen.stepped_by}")
        assert seen.facts["reached"], (name, seen.facts["nts"])
        assert abs(seen.wrong_by) < 2, (name, seen)
        assert seen.stepped_by, name
        assert (seen.stepped_by[0] < 0) == (name == fast), (name, seen.stepped_by)
        # chrony-wait holds back what is ordered after time-sync.target.
        assert seen.service_after > 0, name
        assert abs(seen.service_wrong_by) < 2, (name, seen)
