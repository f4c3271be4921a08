# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM boots with a wrong clock, or its clock jumps while it runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from typing import Any, NamedTuple

import pytest

from ansible_collections.securetime.nts.tests.lab import qemu
from ansible_collections.securetime.nts.tests.lab.qemu import Vm
from ansible_collections.securetime.nts.tests.lab.vms import (
    both,
    facts,
    image_of,
    known,
    note,
    settled,
)

pytestmark = pytest.mark.usefixtures("frozen")

DAY_SECONDS = 86400
YEAR_SECONDS = 365 * DAY_SECONDS
OFFSETS = {"a month": 30, "a year": 365, "ten years": 3652}
# The VM whose clock is fast; the clock of the other one is slow.
CASES = [(by, fast) for by in OFFSETS for fast in ("nts1", "nts2")]
# systemd sets a clock that is before its own release date to that date.
STEPPED = re.compile(r"System clock was stepped by (-?[0-9.]+) seconds")


class Boot(NamedTuple):
    """Result of a boot; times are in seconds."""

    facts: dict[str, Any]
    wrong_by: float
    service_wrong_by: float
    service_after: float
    stepped_by: list[float]


def boot(vm: Vm, offset_seconds: float, timeout_seconds: float = 120) -> Boot:
    """Boot with a clock that is wrong by this offset, wait for authenticated time, and read the clock."""
    qemu.boot(vm, clock_seconds=time.time() + offset_seconds)
    qemu.await_boot(vm)
    found = facts(vm, "authenticated", timeout_seconds)
    output = qemu.inside(
        vm,
        "for i in $(seq 20); do [ -e /run/after-time ] && break; sleep 1; done\n"
        "journalctl -b -o cat SYSLOG_IDENTIFIER=chronyd --no-pager | grep stepped || true\n"
        "cat /run/after-time || printf '0\\n0 0\\n'\ncut -d' ' -f1 /proc/uptime\ndate +%s.%N\n",
    )
    now = time.time()
    service_clock, service_uptime, uptime, clock = (line.split()[0] for line in output.splitlines()[-4:])
    service_at = now - (float(uptime) - float(service_uptime))
    return Boot(
        found,
        float(clock) - now,
        float(service_clock) - service_at,
        float(service_uptime),
        [float(number) for number in STEPPED.findall(output)],
    )


@pytest.mark.parametrize(("by", "fast"), CASES)
def test_the_defaults_correct_a_wrong_clock(by: str, fast: str) -> None:
    def one(vm: Vm) -> Boot:
        qemu.as_frozen(vm)
        return boot(vm, OFFSETS[by] * DAY_SECONDS * (1 if vm.name == fast else -1))

    for name, result in both(one).items():
        image = image_of(known()[name])
        sign = "+" if name == fast else "-"
        note(
            f"clock {sign}{by}: {image}: right {result.service_after:.1f} s after the boot, stepped {result.stepped_by}"
        )
        assert result.facts["reached"], (name, result.facts["nts"])
        assert abs(result.wrong_by) < 2, (name, result)
        assert result.stepped_by, name
        assert (result.stepped_by[0] < 0) == (name == fast), (name, result.stepped_by)
        # chrony-wait delays units that are ordered after time-sync.target.
        assert result.service_after > 0, name
        assert abs(result.service_wrong_by) < 2, (name, result)


def test_a_clock_step_is_reported() -> None:
    def one(vm: Vm) -> list[dict[str, Any]]:
        qemu.thaw(vm)
        samples = [settled(vm)]
        qemu.inside(vm, "date -s '+1 hour'")
        samples.append(facts(vm))
        # The goal does not include the offset.
        samples.append(facts(vm, "synchronised", 120))
        qemu.inside(vm, "chronyc makestep")
        samples.append(facts(vm, "authenticated", 120))
        return samples

    for name, (before, at_once, later, stepped) in both(one).items():
        assert before["reached"], (name, before["nts"])
        assert before["nts"]["reasons"] == [], (name, before["nts"])
        assert at_once["nts"]["state"] == "pending", (name, at_once["nts"])
        assert later["reached"], (name, later["nts"])
        # The default makestep covers the first three updates. Afterwards chronyd only slews and reports the offset.
        assert re.match(r"The clock is 359\d\.\d+ s fast", later["nts"]["reasons"][-1]), (name, later["nts"])
        assert later["tracking"]["offset_seconds"] > 3500, name
        assert stepped["nts"]["reasons"] == [], (name, stepped["nts"])


def test_a_reboot_keeps_keys_cookies_and_measurements() -> None:
    # The first two lines hold the age of the keys.
    kept = "tail -n +3 /var/lib/chrony/ntskeys | sha256sum\n"
    read = "journalctl -b -o cat SYSLOG_IDENTIFIER=chronyd --no-pager | grep -E '^(Frequency|Loaded dump file)'\n"

    def one(vm: Vm) -> list[Any]:
        qemu.thaw(vm)
        before = settled(vm), qemu.inside(vm, kept)
        with qemu.begun(vm, "systemctl reboot") as process:
            process.wait(60)
        qemu.await_end(vm)
        qemu.boot(vm)
        qemu.await_boot(vm)
        after = facts(vm, "authenticated", 90, len(before[0]["sources"]))
        return [*before, after, qemu.inside(vm, kept), qemu.inside(vm, read)]

    def key_ids(found: dict[str, Any]) -> dict[str, int]:
        return {row["name"]: row["auth"]["key_id"] for row in found["sources"]}

    for name, (before, kept_before, after, kept_after, log) in both(one).items():
        assert before["reached"], name
        assert after["reached"], (name, after["nts"])
        assert kept_before == kept_after, f"{name}: the server's keys are others"
        assert re.search(r"^Frequency .* read from /var/lib/chrony/", log, re.MULTILINE), (name, log)
        # chronyd reads saved measurements only of sources with an address. It must resolve nts1 first, so it loads none
        # there.
        assert "Loaded dump file for 10.0.2.2" in log, (name, log)
        # Another key exchange would increase the key ID.
        assert key_ids(before) == key_ids(after), name
        assert all(row["auth"]["cookies"] for row in after["sources"]), name
        note(f"reboot: {image_of(known()[name])}: authenticated {after['waited_seconds']} s after SSH, no key exchange")


def test_strict_settings_do_not_correct_a_wrong_clock() -> None:
    strict = {"chrony_nts_nocerttimecheck": 0, "chrony_nts_directives": {"makestep": {"threshold": 1.0, "limit": 0}}}
    both(qemu.thaw)
    run = [sys.executable, "-m", "ansible", "playbook", "securetime.nts.site", "--extra-vars", json.dumps(strict)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

    def one(vm: Vm) -> Boot:
        # Cookies from before would make a key exchange and its certificate unnecessary.
        stop = "systemctl stop chronyd 2>/dev/null || systemctl stop chrony"
        qemu.inside(vm, f"{stop}\nrm -f /var/lib/chrony/*.nts\nsync\n")
        qemu.cut(vm)
        return boot(vm, YEAR_SECONDS * (1 if vm.name == "nts1" else -1), 40)

    for name, result in both(one).items():
        assert not result.facts["reached"], name
        assert result.facts["nts"]["state"] in ("pending", "failed"), (name, result.facts["nts"])
        assert abs(result.wrong_by) > 30 * DAY_SECONDS, (name, result.wrong_by)
        # chrony-wait still waits.
        assert result.service_after == 0, name
        reasons = " ".join(result.facts["nts"]["reasons"])
        note(f"strict: {image_of(known()[name])}: {reasons}")
        assert "certificate" in reasons, (name, reasons)
