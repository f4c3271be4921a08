# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reading of command lines, and the search for processes, with processes of this controller."""

import shutil
import subprocess
import time

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import clock_setters, host


def sets(process, arguments, config=""):
    found = clock_setters.PROCESSES[process](arguments, 60.0)
    return found and found.sets_clock


@pytest.mark.parametrize(
    ("process", "arguments", "expected"),
    [
        ("chronyd", ["-n", "-f", "/run/timemaster/chrony.conf"], True),
        ("chronyd", ["-n", "-x"], None),
        ("chronyd", ["-Q", "server 192.0.2.1"], None),
        ("ntpd", ["-g", "-u", "ntp:ntp"], True),
        ("phc2sys", ["-s", "eth0", "-w"], True),
        ("phc2sys", ["-a", "-r"], True),
        ("phc2sys", ["-a", "-rr", "-S", "0.1"], True),
        ("phc2sys", ["-a"], None),
        ("phc2sys", ["-s", "CLOCK_REALTIME", "-c", "eth0", "-w"], None),
        ("phc2sys", ["-s", "eth0", "-c", "CLOCK_REALTIME"], True),
        ("phc2sys", ["-a", "-r", "-E", "ntpshm", "-M", "0"], None),
        ("phc2sys", ["-a", "-r", "-f", "CONFIG"], None),
        ("ptp4l", ["-i", "eth0"], None),
        ("ptp4l", ["-i", "eth0", "-S"], True),
        ("ptp4l", ["-f", "CONFIG", "-i", "eth0", "-S"], None),
        ("VBoxService", ["--foreground"], True),
        ("VBoxService", ["--disable-timesync"], None),
        ("qemu-ga", [], False),
        # Without VMware's program, nothing reports whether its time synchronisation is on.
        ("vmtoolsd", [], False),
    ],
)
def test_a_program_sets_the_clock_where_its_options_say_so(process, arguments, expected, tmp_path):
    config = tmp_path / "ptp4l.conf"
    config.write_text("[global]\nclock_servo ntpshm\n")
    assert sets(process, [word.replace("CONFIG", str(config)) for word in arguments]) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("time_stamping software", True),
        ("time_stamping hardware", None),
        ("time_stamping software\nfree_running 1", None),
        ("time_stamping software\nserverOnly 1", None),
    ],
)
def test_ptp4l_sets_the_clock_with_software_timestamps(lines, expected, tmp_path):
    (tmp_path / "ptp4l.conf").write_text(f"[global]\n{lines}\n")
    assert sets("ptp4l", ["-f", str(tmp_path / "ptp4l.conf")]) is expected


@pytest.mark.parametrize(("answer", "expected"), [("Enabled\n", True), ("Disabled\n", False), ("", False)])
def test_vmware_s_tools_are_asked(monkeypatch, tmp_path, answer, expected):
    program = tmp_path / "vmware-toolbox-cmd"
    program.write_text(f'#!/bin/sh\n[ "$*" = "timesync status" ] && printf %s "{answer}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert sets("vmtoolsd", []) is expected


@pytest.fixture
def phc2sys(tmp_path):
    """Run a process of this name."""
    shutil.copy("/bin/sleep", str(tmp_path / "phc2sys"))
    with subprocess.Popen([str(tmp_path / "phc2sys"), "600"]) as process:
        time.sleep(0.1)
        yield process.pid
        process.kill()


def found():
    return [(row["process"], row["pid"]) for row in clock_setters.clock_setters(None, 5.0)]


@pytest.mark.skipif(
    not int(host.status_of("self")["CapEff"], 16) >> host.CAP_SYS_TIME & 1,
    reason="only a process with CAP_SYS_TIME can start one that has it",
)
def test_a_process_with_the_right_is_found(phc2sys):
    assert ("phc2sys", phc2sys) in found()
    row = next(row for row in clock_setters.clock_setters(None, 5.0) if row["pid"] == phc2sys)
    assert row["sets_clock"] is True
    assert row["unit"] == host.unit_of(phc2sys)
    assert ("phc2sys", phc2sys) not in [
        (row["process"], row["pid"]) for row in clock_setters.clock_setters(phc2sys, 5.0)
    ]


def test_a_process_without_the_right_is_not_found(phc2sys, monkeypatch):
    without = dict(host.status_of(str(phc2sys)), CapEff=f"{~(1 << host.CAP_SYS_TIME) & 0x1FFFFFFFFFF:x}")
    monkeypatch.setattr(clock_setters, "has_cap_sys_time", lambda: True)
    read = clock_setters.status_of
    monkeypatch.setattr(clock_setters, "status_of", lambda pid: without if pid == str(phc2sys) else read(pid))
    assert ("phc2sys", phc2sys) not in found()


def test_a_host_that_may_not_set_its_clock_is_not_searched(monkeypatch):
    monkeypatch.setattr(clock_setters, "has_cap_sys_time", lambda: False)
    monkeypatch.setattr(clock_setters.os, "listdir", pytest.fail)
    assert clock_setters.clock_setters(None, 5.0) == []
