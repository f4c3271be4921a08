# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which actions a change of files needs, the cheapest that applies all of it, and the reasons."""

import os
import shutil
import subprocess

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import decision
from ansible_collections.securetime.nts.plugins.module_utils._change.decision import Decision, decide, decide_to_stop
from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult, FileSpec, System
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import KEYS, NOTHING, RESTART, SOURCES
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import LOST_PID

RUNS = {"ActiveState": "active", "UnitFileState": "enabled", "MainPID": str(os.getpid())}
CONFIG = FileSpec("/etc/chrony/chrony.conf", "x", "root", "root", 0o644, RESTART)
LIST = FileSpec("/etc/chrony/sources.d/nts.sources", "x", "root", "root", 0o644, SOURCES)
KEYFILE = FileSpec("/etc/chrony/chrony.keys", "x", "root", "root", 0o640, KEYS)
NOTE = FileSpec("/etc/motd.d/chrony", "x", "root", "root", 0o644, NOTHING)
DROPIN = FileSpec("/etc/systemd/system/chrony.service.d/nts.conf", "x", "root", "root", 0o644, NOTHING)
NO_PACKAGE = CommandResult(1, "", "no packages found")
ALL = (CONFIG, LIST, KEYFILE, NOTE, DROPIN)


def host(version="4.9", package=NO_PACKAGE):
    """Return a host with this chrony; chronyd -v and dpkg-query are asked as documented."""

    def run(argv):
        if os.path.basename(argv[0]) == "chronyd":
            assert argv[1:] == ["-v"]
            return CommandResult(0, f"chronyd (chrony) version {version} (+NTS)\n" if version else "", "")
        assert argv == ["dpkg-query", "--show", "--showformat=${Version}", "chrony"]
        return package

    return System(run, lambda _file, _path: False)


def decided(*changed, **given):
    """Return the decision after changes of these files, all of which chronyd has loaded as they were."""
    state = dict(RUNS, **given.pop("state", {}))
    loaded = {item.path: "old" for item in ALL}
    record = dict(loaded, **given.pop("record", {}))
    return decide(given.pop("host", host()), ALL, changed, loaded, record, state, **given)


def test_without_a_change_there_is_nothing_to_do():
    assert decided() == Decision([], [])


@pytest.mark.parametrize(
    ("changed", "actions"),
    [
        ([CONFIG], ["restart"]),
        ([LIST], ["reload-sources"]),
        ([KEYFILE], ["rekey"]),
        ([LIST, KEYFILE], ["reload-sources", "rekey"]),
        ([KEYFILE, CONFIG, LIST], ["restart"]),
        ([NOTE], []),
        ([DROPIN], ["daemon-reload"]),
    ],
)
def test_the_cheapest_action_applies_every_change(changed, actions):
    found = decided(*changed)
    assert found.actions == actions
    named = [item for item in changed if item.effect != NOTHING]
    assert found.reasons == [f"{item.path} changed" for item in named]


def test_a_file_without_a_known_effect_needs_a_restart():
    other = FileSpec("/etc/chrony/conf.d/other.conf", None, "root", "root", 0o644, NOTHING)
    assert decide(host(), ALL, [other], {}, {}, RUNS) == Decision(["restart"], [other.path + " changed"])


def test_what_changed_since_the_start_of_chronyd_is_applied_too():
    found = decided(record={LIST.path: "older", NOTE.path: "older"})
    assert found == Decision(["reload-sources"], [LIST.path + " changed since chronyd was started"])
    # The change of this run is the better reason.
    assert decided(LIST, record={LIST.path: "older"}).reasons == [LIST.path + " changed"]


def test_a_chronyd_that_does_not_run_is_started():
    for state in ({"ActiveState": "inactive"}, {"ActiveState": "failed"}):
        assert decided(LIST, state=state) == Decision(["restart"], ["chronyd is not running"])
    assert decide(host(), ALL, [], {}, {}, {"UnitFileState": "enabled"}).actions == ["restart"]
    stopped = {"ActiveState": "inactive", "UnitFileState": "disabled"}
    assert decided(DROPIN, state=stopped).actions == ["daemon-reload", "enable", "restart"]


def test_a_chronyd_that_systemd_has_lost_is_started_again_or_stopped():
    lost = {"ActiveState": "inactive", LOST_PID: "17"}
    assert decided(LIST, state=lost) == Decision(["restart"], ["systemd has lost the running chronyd (process 17)"])
    assert decide_to_stop([], dict(RUNS, **lost)) == Decision(["stop", "disable"], [])


def test_a_replaced_program_needs_a_restart(tmp_path):
    program = tmp_path / "chronyd"
    shutil.copy(shutil.which("sleep"), str(program))
    process = subprocess.Popen([str(program), "60"])
    try:
        state = {"MainPID": str(process.pid)}
        assert decided(state=state) == Decision([], [])
        program.unlink()
        found = decided(LIST, state=state)
    finally:
        process.kill()
        process.wait()
    assert found.actions == ["restart"]
    assert found.reasons == ["chronyd's program was replaced since its start", LIST.path + " changed"]
    assert decided(state={"MainPID": ""}) == Decision([], [])


@pytest.mark.parametrize(("shown", "pid"), [("", 0), ("0", 0), (None, 0), ("4711", 4711)])
def test_the_program_of_the_unit_alone_is_compared(shown, pid, monkeypatch):
    compared = []
    monkeypatch.setattr(decision, "is_replaced", lambda pid: compared.append(pid) or False)
    decided(state={"MainPID": shown})
    assert compared == [pid]


@pytest.mark.parametrize(
    ("found", "enabled", "actions"),
    [
        ("enabled", True, []),
        ("enabled-runtime", True, []),
        ("static", True, []),
        ("alias", True, []),
        ("indirect", True, []),
        ("disabled", True, ["enable"]),
        ("masked", True, ["enable"]),
        (None, True, ["enable"]),
        ("enabled", False, ["disable"]),
        ("enabled-runtime", False, ["disable"]),
        ("disabled", False, []),
        ("static", False, []),
    ],
)
def test_the_unit_is_enabled_or_disabled_where_it_is_not(found, enabled, actions):
    assert decided(state={"UnitFileState": found}, enabled=enabled).actions == actions


def test_a_unit_that_systemd_has_not_read_is_read():
    assert decided(state={"NeedDaemonReload": "yes"}).actions == ["daemon-reload"]
    assert decided(state={"NeedDaemonReload": "no"}).actions == []


def test_a_chronyd_that_is_to_stop_stays_stopped():
    assert decide_to_stop([CONFIG], RUNS) == Decision(["stop", "disable"], [])
    assert decide_to_stop([CONFIG], RUNS, enabled=True) == Decision(["stop"], [])
    inactive = dict(RUNS, ActiveState="inactive")
    assert decide_to_stop([DROPIN], inactive) == Decision(["disable", "daemon-reload"], [])
    assert decide_to_stop([], dict(inactive, UnitFileState="disabled")) == Decision([], [])


@pytest.mark.parametrize(
    ("version", "package", "expected"),
    [
        ("4.4", None, False),
        ("4.5", None, True),
        ("4.5.1", None, True),
        ("4.6", None, False),
        ("4.6.1", None, False),
        ("4.7", None, True),
        ("4.10", None, True),
        ("", None, False),
        ("4.6.1", "4.6.1-2", False),
        ("4.6.1", "4.6.1-3", True),
        ("4.6.1", "4.6.1-3+deb13u1", True),
        ("4.6.1", "4.6.1-10", True),
        ("4.6.1", "4.6-3", False),
        ("", "4.6.1-3", True),
    ],
)
def test_sources_are_reloaded_by_versions_that_do_it_right(version, package, expected):
    answer = CommandResult(1, "", "") if package is None else CommandResult(0, package, "")
    assert decision.reloads_sources(host(version, answer)) is expected
    assert decided(LIST, host=host(version, answer)).actions == (["reload-sources"] if expected else ["restart"])


def test_a_package_that_is_gone_counts_for_nothing():
    assert decision.reloads_sources(host("4.6.1", CommandResult(1, "4.6.1-3", ""))) is False
