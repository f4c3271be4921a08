# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first run on a VM with a wrong clock reports it, sets it, or lets chronyd set it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.tests.lab import qemu
from ansible_collections.securetime.nts.tests.lab.hosts import changed, recap
from ansible_collections.securetime.nts.tests.lab.qemu import Vm
from ansible_collections.securetime.nts.tests.lab.vms import image_of, install_code, known, note

DAY_SECONDS = 86400
MONTHS = 70 * DAY_SECONDS
YEARS = 4000 * DAY_SECONDS
ROLE = """\
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.import_role: {name: securetime.nts.chrony_nts}
"""
# Prints the state that a run without changes must preserve.
STATE = """\
find /etc /var/lib/dpkg/status /var/lib/securetime-nts -type f 2>/dev/null | sort | xargs -d '\\n' sha256sum
! command -v rpm >/dev/null || rpm -qa | sort
find /etc/systemd /run/systemd/system -type l | sort
systemctl is-active systemd-timesyncd chrony chronyd || true
"""
# Simulates an archive with daily releases. Its folder holds only a list of packages.
RELEASE = """\
cd /repo
{ date --utc --date='%s seconds' '+Date: %%a, %%d %%b %%Y %%H:%%M:%%S UTC'
  date --utc --date='%s seconds' '+Valid-Until: %%a, %%d %%b %%Y %%H:%%M:%%S UTC'
  printf 'SHA256:\\n %%s %%s Packages\\n' "$(sha256sum <Packages | cut -d' ' -f1)" "$(stat -c %%s Packages)"
} >Release
rm -rf /var/lib/apt/lists/*
"""
FLOOR = "find /var/lib/systemd/timesync /var/lib/private/systemd/timesync -newermt '+1 day' 2>/dev/null || true"
# Uses the class Unit itself while the clock jumps back by a year during the unit's start.
LOG_OVER_A_STEP = """\
python3 - <<'END'
import subprocess, sys
sys.path.insert(0, "/root/utils")
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit
from ansible_collections.securetime.nts.plugins.module_utils._pair.manager import this_host
unit = Unit(this_host(), "%s")
unit.restart()
subprocess.check_call(["date", "--set=-365 days"], stdout=subprocess.DEVNULL)
subprocess.check_call(["logger", "--tag", "chronyd", "after the step"])
print(unit.log())
END
"""


class Lab:
    """Two VMs without a previous run, one of each image, and the role on both in parallel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        state = Path(os.environ["LAB_STATE"])
        # Use names that no other VM of the lab has, below a folder that known() does not search.
        self.vms = [
            Vm(state / "first-run" / f"first{number}", vm.image, qemu.free_port(), number + 10)
            for number, vm in enumerate(known().values())
        ]
        right_time = state / "right-time"
        ports = {name: int((right_time / name).read_text()) for name in ("port", "ntsport")}
        hosts = {
            vm.name: {
                "ansible_host": "127.0.0.1",
                "ansible_port": vm.port,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(vm.image / "id_ed25519"),
                "ansible_ssh_common_args": shlex.join(qemu.ssh_options(vm)),
            }
            for vm in self.vms
        }
        variables = {
            "chrony_nts_server_allow": ["192.0.2.0/24"],
            "chrony_nts_ca_dir": str(folder / "nts-ca"),
            "chrony_nts_sources": [{"address": qemu.CONTROLLER, "minpoll": 4, "maxpoll": 6, **ports}],
            "chrony_nts_trust_anchors": [{"content": (right_time / "ca/chain.pem").read_text()}],
        }
        (folder / "hosts.yml").write_text(json.dumps({"all": {"vars": variables, "hosts": hosts}}))
        (folder / "role.yml").write_text(ROLE)

    def each(self, script: str) -> list[str]:
        """Run a shell script on both; return what it printed."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda vm: qemu.inside(vm, script, 600), self.vms))

    def start(self) -> None:
        """Start both in their state before the first run, without a root CA on the controller."""
        shutil.rmtree(self.folder / "nts-ca", ignore_errors=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(qemu.cut, self.vms))
            list(pool.map(lambda vm: qemu.start(vm, []), self.vms))

    def shift(self, seconds: float, ahead: int) -> list[int]:
        """Set the clock of one VM ahead and of the other back; return the offsets in seconds."""
        offsets = [round(seconds if number == ahead else -seconds) for number in range(len(self.vms))]
        for vm, offset in zip(self.vms, offsets, strict=True):
            qemu.inside(vm, f"date --set=@{time.time() + offset:.0f} >/dev/null")
        return offsets

    def role(self, *arguments: str, **variables: Any) -> str:
        """Run the role on both; return its output, also when it fails."""
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(self.folder / "role.yml"), *arguments]
        environment = {
            **os.environ,
            "ANSIBLE_INVENTORY": str(self.folder / "hosts.yml"),
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_DISPLAY_FAILED_STDERR": "false",
        }
        done = subprocess.run(
            [*command, "--extra-vars", json.dumps(variables)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Emulated VMs are slow, more so on a busy controller.
            timeout=3600,
            check=False,
            env=environment,
        )
        return done.stdout

    def wrong_by(self) -> list[float]:
        """Return how far each clock is ahead of the controller's, in seconds, without the time of SSH."""
        found = []
        for vm in self.vms:
            before = time.time()
            clock = float(qemu.inside(vm, "date +%s.%N"))
            found.append(min(0.0, clock - before) + max(0.0, clock - time.time()))
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    for vm in known().values():
        # A VM that other tests thaw later would take a processor and memory.
        if qemu.is_frozen(vm):
            qemu.cut(vm)
    made = Lab(tmp_path_factory.mktemp("first") / "lab")
    yield made
    for vm in made.vms:
        qemu.cut(vm)


def assert_refused(output: str, vm: Vm, expected: str, offset: int) -> str:
    """Assert that the role refuses a host and changes nothing; return the command that the message names."""
    assert recap(output)[vm.name]["failed"] == 1, output[-4000:]
    assert recap(output)[vm.name]["changed"] == 0, output[-4000:]
    messages = re.findall(rf"^(?:fatal: )?\[{vm.name}\]: FAILED! => (.*(?:\n .*|\n\}})*)", output, re.MULTILINE)
    (message,) = [" ".join(found.split()) for found in messages]
    assert re.search(rf"The clock of this host \(.*\) is \d+ days {'ahead of' if offset > 0 else 'behind'}", message)
    assert expected in message, message
    assert "Nothing was changed" in message, message
    found = re.search(r"`(date --set='[-+]\d+ seconds')`", message)
    assert found is not None, message
    return found.group(1)


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_first_run_refuses_or_sets_a_wrong_clock(lab: Lab, ahead: int) -> None:
    lab.start()
    offsets = lab.shift(MONTHS, ahead)
    before = lab.each(STATE)
    output = lab.role()
    commands = [
        assert_refused(output, vm, "With it, chrony", offset) for vm, offset in zip(lab.vms, offsets, strict=True)
    ]
    assert lab.each(STATE) == before
    # The command is right at any later time.
    for vm, command in zip(lab.vms, commands, strict=True):
        qemu.inside(vm, f"{command} >/dev/null")
    assert all(abs(wrong) < 60 for wrong in lab.wrong_by()), lab.wrong_by()
    # Now as a server; the archive has today's date.
    offsets = lab.shift(YEARS, ahead)
    qemu.inside(lab.vms[0], RELEASE % (-offsets[0] - 1200, -offsets[0] + 7 * DAY_SECONDS))
    before = lab.each(STATE)
    output = lab.role(chrony_nts_server_enabled=True)
    for vm, offset in zip(lab.vms, offsets, strict=True):
        assert_refused(output, vm, "the server's certificates cannot be made", offset)
    assert lab.each(STATE) == before
    assert not (lab.folder / "nts-ca").exists()
    begun = time.monotonic()
    output = lab.role(chrony_nts_server_enabled=True, chrony_nts_clock_from_controller=True)
    for vm in lab.vms:
        assert recap(output)[vm.name]["failed"] == 0, output[-4000:]
        note(f"first run, clock of years: {image_of(vm)}: a server after {time.monotonic() - begun:.0f} s")
    assert all(abs(wrong) < 2 for wrong in lab.wrong_by()), lab.wrong_by()
    for report in lab.each(
        "/usr/local/sbin/nts-certificate check\n/usr/local/sbin/nts-certificate status --json\nchronyc -c -N authdata\n"
    ):
        assert "chronyd serves it." in report, report
        assert re.search(",NTS,[1-9]", report), report
        remaining = re.search(r'"remaining_days": ([0-9.]+)', report)
        assert remaining, report
        assert 89 < float(remaining.group(1)) <= 90, report


@pytest.mark.parametrize("ahead", [0, 1])
def test_chronyd_corrects_the_clock_in_the_first_run(lab: Lab, ahead: int) -> None:
    lab.start()
    lab.each(
        "export DEBIAN_FRONTEND=noninteractive\n"
        "if command -v dnf; then dnf install -qy chrony; systemctl start chronyd\n"
        "else apt-get update -q; apt-get install -qy chrony ca-certificates; fi\n"
    )
    lab.shift(YEARS, ahead)
    output = lab.role()
    for vm in lab.vms:
        assert recap(output)[vm.name]["failed"] == 0, output[-4000:]
    assert output.count("chronyd corrects it") == len(lab.vms), output[-4000:]
    assert all(abs(wrong) < 2 for wrong in lab.wrong_by()), lab.wrong_by()
    for report in lab.each("chronyc -c -N authdata\n"):
        assert re.search(",NTS,[1-9]", report), report
    # The second run has no changes left.
    assert set(changed(lab.role()).values()) == {0}

    # A stamp of systemd-timesyncd in the future would move the clock forward at every boot.
    assert [report for report in lab.each(FLOOR) if report] == []
    for vm in lab.vms:
        install_code(vm)
        unit = "chrony" if image_of(vm) == "vm-debian13" else "chronyd"
        report = qemu.inside(vm, LOG_OVER_A_STEP % unit)
        assert "after the step" in report, report


def test_a_slow_clock_is_named_where_the_archive_is_newer(lab: Lab) -> None:
    lab.start()
    debian = lab.vms[0]
    qemu.inside(debian, RELEASE % (-600, 7 * DAY_SECONDS) + "date --set='-3000 seconds'")
    before = qemu.inside(debian, STATE)
    output = lab.role("--limit", debian.name)
    words = " ".join(output.split())
    assert recap(output)[debian.name]["failed"] == 1, output[-4000:]
    assert re.search(
        r"not valid yet.*By the clock of this host it was .*, (49|50) minutes behind the controller's", words
    )
    assert re.search(r"date --set='\+(29[789]\d|300\d) seconds'", words), words
    assert qemu.inside(debian, STATE) == before
