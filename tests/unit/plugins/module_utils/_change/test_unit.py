# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import subprocess

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import unit as tested
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import END, LOST_PID, Unit


# A selection by time would miss the lines that chronyd logs after it steps a fast clock back.
@pytest.mark.parametrize(("marked", "expected"), [("-- cursor: s=1;i=2\n", ["--after-cursor=s=1;i=2"]), ("", [])])
def test_the_log_begins_at_the_cursor_of_the_restart(marked, expected):
    calls = []

    def run(argv):
        calls.append(argv)
        return CommandResult(0, marked if "--show-cursor" in argv else "", "")

    unit = Unit(System(run, lambda staged, path: None), "chronyd.service")
    unit.restart()
    assert unit.log() == []
    logs = [argv for argv in calls if "--lines=40" in argv]
    assert [argv[5:-1] for argv in logs] == [expected, expected]


@pytest.fixture
def process(monkeypatch):
    """Start a process that stands for a chronyd in the control group of chrony.service."""
    with subprocess.Popen(["sleep", "600"]) as started:
        monkeypatch.setattr(
            tested, "find_daemon", lambda *_pid, **_all: started.pid if started.poll() is None else None
        )
        monkeypatch.setattr(tested, "unit_of", {started.pid: "chrony.service"}.get)
        yield started
        started.kill()


def unit(calls, process, state):
    """Return a unit in this state. Its commands are added to `calls`, with whether the process runs at that time."""

    def run(argv):
        if argv[:-1] == END:
            process.terminate()
        calls[argv[1]] = process.poll() is None
        return CommandResult(0, state if argv[1] == "show" else "", "")

    return Unit(System(run, lambda staged, path: None), "chronyd")


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_chronyd_that_systemd_has_lost_ends_before_the_next_one_starts(process, state):
    calls = {}
    lost = unit(calls, process, f"Id=chrony.service\nActiveState={state}\n")
    assert lost.show()[LOST_PID] == str(process.pid)
    lost.restart()
    assert calls["restart"] is False
    assert LOST_PID not in lost.show()


def test_a_chronyd_that_systemd_has_lost_ends_when_its_unit_stops(process):
    calls = {}
    unit(calls, process, "Id=chrony.service\nActiveState=inactive\n").stop()
    assert calls["stop"] is True
    assert process.poll() is not None


@pytest.mark.parametrize(
    "state",
    [
        "Id=chrony.service\nActiveState=active\n",
        "Id=chrony.service\nActiveState=deactivating\n",
        # A chronyd of another unit, or one that an administrator has started.
        "Id=chronyd-restricted.service\nActiveState=inactive\n",
        "ActiveState=inactive\n",
    ],
)
def test_no_other_chronyd_is_ended(process, state):
    calls = {}
    other = unit(calls, process, state)
    assert LOST_PID not in other.show()
    other.restart()
    assert calls["restart"] is True


def test_a_lost_chronyd_that_does_not_end_is_reported(process, monkeypatch):
    monkeypatch.setattr(tested, "find_daemon", lambda *_pid, **_all: process.pid)
    monkeypatch.setattr(tested, "END_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(TransactionError, match=f"process {process.pid}.*does not end: it still runs after 0.1 seconds"):
        unit({}, process, "Id=chrony.service\nActiveState=inactive\n").restart()
