# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut the power at each step of a change: after the next boot, chronyd runs with the old files or the new ones."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from ansible_collections.securetime.nts.tests.lab import qemu
from ansible_collections.securetime.nts.tests.lab.qemu import Vm
from ansible_collections.securetime.nts.tests.lab.vms import (
    both,
    image_of,
    known,
    note,
)

# Number of steps of each kind of change, from a change without a power cut.
STEPS = {"config": 26, "certificate": 31}
CUTS: list[tuple[str, str]] = [(kind, str(step)) for kind, count in STEPS.items() for step in range(1, count + 1)]
# Two cuts in parallel, one on each VM.
ROUNDS = [CUTS[first : first + 2] for first in range(0, len(CUTS), 2)]
# Task of a first installation, and the seconds from its start to the power cut.
MOMENTS = [
    ("Install the packages", 8),
    ("Install the packages", 16),
    ("Make the keys and the CSRs", 2),
    ("Sign the issuing CA", 2),
    ("Apply the files and the state of chronyd", 4),
    ("Apply the files and the state of chronyd", 7),
    ("Install the program, its settings and its units", 5),
]


def look(vm: Vm) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(qemu.inside(vm, "python3 /root/cut.py look"))
    return found


def cut_at(vm: Vm, kind: str, step: str) -> bool:
    """Begin a change on a VM and cut the power at a step; return whether the change reached the step."""
    qemu.thaw(vm)
    with qemu.second_line(vm) as line, qemu.begun(vm, f"python3 /root/cut.py {kind} '{step}'") as process:
        line.settimeout(0.5)
        received = b""
        while b"cut" not in received and process.poll() is None:
            with contextlib.suppress(TimeoutError):
                received += line.recv(100)
        qemu.cut(vm)
    return b"cut" in received


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("cuts", ROUNDS, ids=str)
def test_a_power_cut_leaves_the_old_or_the_new_files(cuts: list[tuple[str, str]]) -> None:
    of = dict(zip(sorted(known()), cuts, strict=False))

    def one(vm: Vm) -> dict[str, Any]:
        if vm.name not in of:
            return {}
        kind, step = of[vm.name]
        assert cut_at(vm, kind, step), f"{kind} has no step {step}"
        qemu.boot(vm)
        qemu.await_boot(vm)
        after_boot = look(vm)
        qemu.inside(vm, f"python3 /root/cut.py {kind} 0", 200)
        note(f"power {kind} step {step}: {image_of(vm)}: {after_boot['set']}, {after_boot['certificate']}")
        return {"cut": of[vm.name], "boot": after_boot, "again": look(vm)}

    for name, result in both(one).items():
        if not result:
            continue
        details = f"{name}: {json.dumps(result, indent=1)}"
        kind = result["cut"][0]
        assert result["boot"]["set"] in ("old", "new"), details
        assert result["again"]["set"] == ("new" if kind == "config" else "old"), details
        assert result["again"]["left"] == result["again"]["begun"] == [], details
        for when in ("boot", "again"):
            assert result[when]["active"] == "active", details
            assert result[when]["check"] == 0, details
            assert result[when]["lost"] == [], details


@pytest.mark.usefixtures("frozen")
def test_every_step_of_a_change_has_a_power_cut() -> None:
    def steps(vm: Vm) -> dict[str, int]:
        found = {}
        for kind in STEPS:
            qemu.thaw(vm)
            found[kind] = int(qemu.inside(vm, f"python3 /root/cut.py {kind} 0", 200).split()[-1])
        return found

    assert both(steps) == dict.fromkeys(known(), STEPS)


def test_the_first_installation_survives_power_cuts() -> None:
    """A run in check mode changes nothing; each later run continues from the state of the previous power cut."""
    # Long: the nested functions hold the steps of one sequence on both VMs.

    def playbook(vm: Vm, *options: str) -> subprocess.Popen[str]:
        run = [sys.executable, "-m", "ansible", "playbook", "securetime.nts.site", "--limit", vm.name, *options]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "false", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            run, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def one(vm: Vm) -> tuple[list[str], str]:
        qemu.cut(vm)
        qemu.start(vm, list(known().values()))
        with playbook(vm, "--check", "--diff") as run:
            output = run.communicate(timeout=600)[0]
            assert run.returncode == 0, output[-3000:]
        qemu.inside(vm, "! command -v chronyd\n! ls -d /etc/chrony* /var/lib/securetime-nts 2>/dev/null\n")
        cuts = []
        for task, seconds in MOMENTS:
            with playbook(vm) as run:
                assert run.stdout
                printed = []
                for line in run.stdout:
                    printed.append(line)
                    if line.startswith("TASK") and task in line and "(Debian)" not in line:
                        break
                    assert "fatal:" not in line, "".join(printed[-30:])
                time.sleep(seconds)
                qemu.cut(vm)
                run.kill()
            cuts.append(f"{task} + {seconds} s")
            qemu.boot(vm)
            qemu.await_boot(vm)
        with playbook(vm) as run:
            output = run.communicate(timeout=900)[0]
            assert run.returncode == 0, output[-3000:]
        left = "find /etc /var/lib/securetime-nts -name '*securetime-nts-new' -o -name '*securetime-nts-old'"
        return cuts, qemu.inside(
            vm,
            f"{left}\n/usr/local/sbin/nts-certificate check >/root/said || cat /root/said\n"
            "! command -v apt-get >/dev/null || dpkg --audit\nls /usr/sbin/policy-rc.d 2>/dev/null || true\n",
        )

    for name, (cuts, output) in both(one).items():
        note(f"power, first installation: {image_of(known()[name])}: {len(cuts)} cuts: {', '.join(cuts)}")
        assert output == "", (name, output)
