# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nts-monitor prints of the files that a run of the collector left."""

import json
import os
import pwd

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import collector
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import Settings
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherResult
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils._monitor import monitored

EXPIRED = {"id": "server", "problem": "Its certificate has expired", "file": None, "served": None}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Return a function that runs the program after a run of the collector, if there was one."""

    def run(*words, capture=None, settings=None):
        monkeypatch.setattr(collector, "gather", lambda *_: GatherResult(monitored.facts_of(capture), None, 0.0, []))
        monkeypatch.setattr(collector, "directives", lambda _daemon: "")
        given = dict({"state": str(tmp_path), "log": "", "clients": True}, **(settings or {}))
        file = tmp_path / "settings.json"
        file.write_text(json.dumps(given))
        if capture is not None:
            assert collector.collect(Settings(**given)) == 0
        capsys.readouterr()
        status = collector.main(["--settings", str(file), *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_people_read_the_state_and_its_reasons(call, capture):
    status, out, _err = call(capture=capture("ke_expired"))
    first, *rest = out.splitlines()
    assert status == 0
    assert first.startswith("failed (2")
    assert any("has expired" in line for line in rest)


def test_people_read_the_problem_of_a_pair(call, capture, tmp_path):
    call(capture=capture("healthy"))
    path = tmp_path / "status.json"
    found = json.loads(path.read_text())
    good = dict(EXPIRED, id="other", problem="")
    path.write_text(json.dumps(dict(found, nts=None, pairs=[EXPIRED, good], failures=["chronyc hangs."])))
    assert call()[1].splitlines()[1:] == ["chronyc hangs.", "server: Its certificate has expired."]
    assert call()[1].startswith("unknown (")


@pytest.mark.parametrize("words", [[], ["--json"], ["--prometheus"], ["--clients"]])
def test_before_the_first_run_the_program_fails(call, words):
    status, out, err = call(*words)
    assert (status, out) == (1, "")
    assert err.startswith("nts-monitor: ")
    assert ("become root" in err) == (words == ["--clients"])


def test_other_monitors_read_the_files(call, capture, tmp_path):
    call(capture=capture("healthy"))
    assert call("--json") == (0, (tmp_path / "status.json").read_text(), "")
    assert call("--prometheus") == (0, (tmp_path / "metrics.prom").read_text(), "")


def test_clients_are_listed_with_the_time_of_their_key_exchange(call, capture, tmp_path):
    call(capture=capture("healthy"))
    path = tmp_path / "memory.json"
    clients = {"192.0.2.1": 1795420000, "192.0.2.2": 1795420060}
    path.write_text(json.dumps(dict(json.loads(path.read_text()), clients=clients, plain_clients=["192.0.2.3"])))
    assert call("--clients")[1].splitlines() == [
        "plain 192.0.2.3",
        "nts 192.0.2.2 2026-11-23T07:47:40Z",
        "nts 192.0.2.1 2026-11-23T07:46:40Z",
    ]
    path.write_text("{}")
    assert call("--clients") == (0, "", "")


def test_nagios_gets_a_line_and_a_status(call, capture):
    status, out, _err = call("--nagios", capture=capture("ke_expired"))
    assert status == 2
    assert out.startswith("NTS CRITICAL")
    assert out.count("\n") == 1


def test_a_threshold_of_the_command_line_replaces_that_of_the_settings(call, capture):
    healthy = capture("healthy")
    strict = {"thresholds": {"stratum": [0, 1]}}
    assert call("--nagios", capture=healthy)[0] == 0
    assert call("--nagios", capture=healthy, settings=strict)[0] == 2
    assert call("--nagios", "--threshold", "stratum=14,15", capture=healthy, settings=strict)[0] == 0


@pytest.mark.parametrize("threshold", ["age=1,2", "stratum=2,1", "stratum"])
def test_nagios_gets_a_wrong_threshold_as_unknown(call, capture, threshold):
    status, out, err = call("--nagios", "--threshold", threshold, capture=capture("healthy"))
    assert (status, err) == (3, "")
    assert out.startswith("NTS UNKNOWN - ")


@pytest.mark.parametrize(("words", "expected"), [([], 2), (["--nagios"], 3)])
def test_settings_that_cannot_be_read_are_a_wrong_call(call, words, expected):
    status, out, err = call(*words, settings={"unknown": 1})
    assert status == expected
    assert "The settings " in out + err


def test_collect_takes_settings_that_it_can_read_alone(tmp_path, capsys):
    assert collector.main(["--collect", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("<3>nts-monitor: The settings ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_collect_runs_as_the_owner_of_its_folder_alone(tmp_path, capsys):
    state = tmp_path / "state"
    state.mkdir()
    os.chown(str(state), pwd.getpwnam("nobody").pw_uid, 0)
    (tmp_path / "settings").write_text(json.dumps({"state": str(state)}))
    assert collector.main(["--collect", str(tmp_path / "settings")]) == 2
    assert "systemctl start nts-monitor.service" in capsys.readouterr().err


def test_directives_are_those_that_the_daemon_reads(tmp_path, monkeypatch):
    def daemon(*arguments, config=None):
        return {"arguments": list(arguments), "config_file": config}

    config = tmp_path / "chrony.conf"
    config.write_text("include more.conf\n")
    monkeypatch.setattr(collector, "find_chronyd", lambda: None)
    assert collector.directives(daemon("chronyd", "server a", "allow", config=str(config))) == "server a\nallow"
    assert collector.directives(daemon("chronyd")) == ""
    assert collector.directives(daemon("chronyd", config=str(config))) == "include more.conf\n"
    program = tmp_path / "chronyd"
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "-p -f {config}" ] && echo allow\n')
    program.chmod(0o755)
    monkeypatch.setattr(collector, "find_chronyd", lambda: str(program))
    assert collector.directives(daemon("chronyd", config=str(config))) == "allow\n"
