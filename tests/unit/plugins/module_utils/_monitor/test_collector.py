# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json
import os
import sys

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import collector, server
from ansible_collections.securetime.nts.plugins.module_utils._monitor.changes import Change, Condition
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import Settings, read_settings
from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherResult
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils._monitor import monitored

NOW = 1795420000.0
CHANGED = [Change("host", Condition("authenticated"), Condition("failed", "a: it fails; repair it."))]


@pytest.fixture
def collect(tmp_path, monkeypatch):
    """Return a function that runs the collector on a host in a captured state, and returns its files."""
    settings = Settings(
        state=str(tmp_path / "state"), log=str(tmp_path / "log"), textfile_directory=str(tmp_path / "textfile")
    )
    (tmp_path / "state").mkdir()
    (tmp_path / "textfile" / "nts-monitor").mkdir(parents=True)

    def run(capture, **more):
        def gather(_options, _survey):
            if isinstance(capture, Exception):
                raise capture
            return GatherResult(monitored.facts_of(capture), None, 0.0, more.pop("warnings", []))

        monkeypatch.setattr(collector, "gather", gather)
        monkeypatch.setattr(collector, "directives", lambda _daemon: "")
        code = collector.collect(settings._replace(**more.pop("settings", {})))
        log = tmp_path / "log"
        return {
            "code": code,
            "status": json.loads((tmp_path / "state" / "status.json").read_text()),
            "metrics": (tmp_path / "textfile" / "nts-monitor" / "nts-monitor.prom").read_text(),
            "log": log.read_text().splitlines() if log.exists() else [],
            "folder": tmp_path,
        }

    return run


def test_a_run_writes_the_verdict_of_the_facts(collect, any_capture):
    """The module chronyc_facts returns the same facts: it calls the same functions."""
    facts = monitored.facts_of(any_capture)
    told = collect(any_capture)
    assert told["status"]["nts"] == facts["nts"]
    assert [row["nts"] for row in told["status"]["sources"] or []] == [row["nts"] for row in facts["sources"] or []]
    assert f'chrony_nts_state_info{{state="{facts["nts"]["state"]}"}} 1\n' in told["metrics"]
    assert told["log"][0].split(" ", 2)[2].startswith(f"host: {facts['nts']['state']}")


def test_a_run_writes_everything_at_once(collect, capture):
    told = collect(capture("healthy"))
    assert told["code"] == 0
    assert told["status"]["success"] is True
    assert told["metrics"] == (told["folder"] / "state" / "metrics.prom").read_text()
    assert "chrony_collector_success 1\n" in told["metrics"]
    names = {str(path.relative_to(told["folder"])) for path in told["folder"].rglob("*") if path.is_file()}
    assert names == {
        "log",
        "state/memory.json",
        "state/metrics.prom",
        "state/status.json",
        "textfile/nts-monitor/nts-monitor.prom",
    }
    modes = {path.name: path.stat().st_mode & 0o777 for path in told["folder"].rglob("*.*")}
    assert modes == {"memory.json": 0o600, "metrics.prom": 0o644, "status.json": 0o644, "nts-monitor.prom": 0o644}


def test_reports_that_cannot_be_read_are_a_failure_of_the_collector(collect, capture, capsys):
    collect(capture("healthy"))
    told = collect(chronyc.ChronycError("chronyc sources printed a line that is no report", "boom"))
    assert told["status"]["success"] is False
    assert "chrony_collector_success 0\n" in told["metrics"]
    assert "chrony_up 0\n" in told["metrics"]
    assert "chronyc sources printed a line that is no report: 'boom'" in told["log"][-1]
    assert capsys.readouterr().err.splitlines()[-1].startswith("<4>collector: ok -> failed: chronyc's reports cannot")
    # The failure of the collector does not mean that chronyd is down.
    assert not any("gone" in line for line in told["log"])


def test_a_textfile_folder_that_is_gone_is_a_failure_that_is_logged_once(collect, capture):
    told = collect(capture("healthy"))
    (told["folder"] / "textfile" / "nts-monitor").rename(told["folder"] / "away")
    (told["folder"] / "textfile" / "nts-monitor").write_text("")
    with pytest.raises(NotADirectoryError):
        collect(capture("healthy"))
    with pytest.raises(NotADirectoryError):
        collect(capture("healthy"))
    log = (told["folder"] / "log").read_text().splitlines()
    assert [line for line in log if "cannot be written" in line] == log[1:]
    assert len(log) == 2


def test_another_user_does_not_collect(collect, capture, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ValueError, match=r"systemctl start nts-monitor\.service"):
        collect(capture("healthy"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"conditions": 3, "programs": [], "server": "x", "clients": 1}'])
def test_a_memory_that_a_power_cut_damaged_is_no_obstacle(collect, capture, content):
    told = collect(capture("healthy"))
    (told["folder"] / "state" / "memory.json").write_text(content)
    assert collect(capture("healthy"), settings={"clients": True})["code"] == 0


def test_a_hook_gets_what_changed(tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/told\n")
    hook.chmod(0o755)
    assert collector.run_hook([str(hook)], CHANGED, {"host": Condition("failed")}) == []
    assert json.loads((tmp_path / "told").read_text()) == {
        "host": "failed",
        "changes": [
            {
                "name": "host",
                "level": "warning",
                "old": "authenticated",
                "new": "failed",
                "reason": "a: it fails; repair it.",
            }
        ],
    }


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (["/nowhere/hook"], "the hook /nowhere/hook failed: "),
        (["/bin/sh", "-c", "exit 3"], "the hook /bin/sh ended with the status 3"),
    ],
)
def test_a_hook_that_fails_is_reported(hook, said):
    assert collector.run_hook(hook, CHANGED, {})[0].startswith(said)


def test_a_hook_runs_only_when_something_changed(collect, capture):
    ran = []
    for _run in range(2):
        told = collect(capture("healthy"), settings={"hook": ["/bin/sh", "-c", "exit 3"]})
        ran.append(json.loads((told["folder"] / "state" / "memory.json").read_text())["output_failure"])
    assert ran == ["the hook /bin/sh ended with the status 3", ""]


def test_the_state_log_is_put_aside_when_it_is_large(tmp_path, monkeypatch):
    path = str(tmp_path / "log")
    monkeypatch.setattr(collector, "LARGEST_LOG", 100)
    for number in range(30):
        assert collector.append(path, f"{number:030}\n") == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["log", "log.old"]
    assert (tmp_path / "log").stat().st_size <= 131
    assert (tmp_path / "log").read_text().endswith(f"{29:030}\n")


def test_a_state_log_that_cannot_be_written_is_reported(tmp_path):
    assert "cannot be written: " in collector.append(str(tmp_path / "no" / "log"), "x\n")[0]
    assert collector.append("", "x\n") == []


def test_a_change_is_one_line_whatever_a_server_says(tmp_path, capsys):
    name = "source a\x1b[2J\nb"
    change = Change(name, None, Condition("failed", "subject CN=\u202ex\ny"))
    assert collector.report(Settings(log=str(tmp_path / "log")), [change], {}, NOW) == []
    line = (tmp_path / "log").read_text()
    assert line == "2026-11-23T07:46:40Z warning source a [2J b: failed: subject CN= x y\n"
    assert capsys.readouterr().err == "<4>source a [2J b: failed: subject CN= x y\n"


def test_an_unchanged_program_runs_once_for_its_version(tmp_path):
    program = tmp_path / "chronyd"
    program.write_text("1")
    commands = {"chronyd": [str(program), "-v"], "systemctl": ["systemctl", "show"]}
    asked = []

    def run(some, _timeout):
        asked.append(sorted(some))
        return {name: f"{name} says" for name in some}

    known = {}
    for content in ("1", "1", "22"):
        program.write_text(content) if program.read_text() != content else None
        fresh = {}
        said = collector.cached_run(known, fresh, run)(commands, 1.0)
        assert said == {"chronyd": "chronyd says", "systemctl": "systemctl says"}
        known = json.loads(json.dumps(fresh))
    assert asked == [["chronyd", "systemctl"], ["systemctl"], ["chronyd", "systemctl"]]


def test_a_program_without_output_runs_again():
    fresh = {}
    run = collector.cached_run({"chronyd": [[], ""]}, fresh, lambda some, _timeout: dict.fromkeys(some, ""))
    assert run({"chronyd": ["/nowhere", "-v"]}, 1.0) == {"chronyd": ""}
    assert fresh == {}


@pytest.mark.parametrize(
    ("age", "problem", "files", "due"),
    [
        (0, "", {"/a": [1]}, False),
        (869, "", {"/a": [1]}, False),
        (870, "", {"/a": [1]}, True),
        (-1, "", {"/a": [1]}, True),
        (0, "chronyd serves no NTS", {"/a": [1]}, True),
        (0, "", {"/a": [2]}, True),
        (None, "", {"/a": [1]}, True),
    ],
)
def test_when_a_check_of_the_server_is_due(age, problem, files, due):
    known = {"checked": None if age is None else NOW - age, "files": {"/a": [1]}, "pairs": [{"problem": problem}]}
    assert collector.is_due(known, files, Settings(), NOW) is due


def test_a_restart_of_chronyd_brings_a_check_and_a_new_count(capture, monkeypatch):
    checked = []
    monkeypatch.setattr(collector, "directives", lambda _daemon: f"text {len(checked)}")

    def check(text, pid, _chronyc, now):
        checked.append((text, pid, now))
        return {"pairs": [{"problem": ""}], "anchors": [], "dump_dir": None, "connections": 1}

    monkeypatch.setattr(server, "check", check)
    memory, facts = {}, monitored.facts_of(capture("healthy"))
    counts = []
    for now, pid in ((NOW, 7), (NOW + 60, 7), (NOW + 900, 7), (NOW + 960, 7), (NOW + 1020, 8), (NOW + 1080, 8)):
        facts["daemon"]["pid"] = pid
        counts.append(collector.check_server(Settings(), facts, memory, now)["connections"])
        memory = json.loads(json.dumps(memory))
    assert [(pid, now - NOW) for _text, pid, now in checked] == [(7, 0), (7, 900), (8, 1020)]
    # A run reads chronyd's counters before its own probe.
    assert counts == [0, 1, 1, 2, 0, 1]


def test_nothing_is_checked_while_chronyd_is_down(capture):
    down = monitored.facts_of(capture("healthy"), running=False)
    assert collector.check_server(Settings(), down, {}, NOW) == {}


@pytest.mark.parametrize(
    ("wanted", "state", "pairs", "expected"),
    [
        ("auto", "healthy", [], ("authenticated", True)),
        ("auto", "healthy", [1], ("authenticated", True)),
        ("auto", "plain", [], ("authenticated", False)),
        ("auto", "plain", [1], ("synchronised", True)),
        ("auto", "reference_clock", [1], ("synchronised", True)),
        ("auto", "local_reference", [1], ("authenticated", False)),
        ("synchronised", "local_reference", [], ("synchronised", True)),
        ("synchronised", "just_started", [], ("synchronised", False)),
        ("authenticated", "plain", [1], ("authenticated", False)),
    ],
)
def test_the_goal_of_a_host(capture, wanted, state, pairs, expected):
    assert collector.goal(wanted, monitored.facts_of(capture(state)), {"pairs": pairs}) == expected


def client(address, requests=1, exchanges=0, age=0):
    """Return a row of the reports clients and clients -k."""
    return {
        "address": address,
        "ntp_requests": requests,
        "nts_ke_connections": exchanges,
        "nts_ke_last_seconds": age if exchanges else None,
    }


def test_clients_that_have_made_a_key_exchange_stay_nts_over_a_restart():
    rows = [client("192.0.2.1", exchanges=1, age=10), client("192.0.2.2"), client("127.0.0.1", exchanges=5)]
    plain, known = collector.count_clients(rows, None, NOW)
    assert (plain, known) == (["192.0.2.2"], {"192.0.2.1": NOW - 10})
    # After a restart of chronyd, the client uses its old cookies.
    rows = [client("192.0.2.1"), client("192.0.2.2"), client("192.0.2.3", requests=0)]
    assert collector.count_clients(rows, known, NOW + 86400) == (["192.0.2.2"], known)
    # After 35 days without a key exchange, the monitor no longer counts it as an NTS client.
    assert collector.count_clients(rows, known, NOW + 36 * 86400) == (["192.0.2.1", "192.0.2.2"], {})


@pytest.mark.parametrize("known", [None, 3, {"192.0.2.1": "x"}])
def test_clients_that_were_not_known(known):
    assert collector.count_clients([client("192.0.2.9")], known, NOW) == (["192.0.2.9"], {})


def test_settings_that_cannot_be_read_name_their_file(tmp_path):
    path = tmp_path / "settings"
    for content in (None, "{", '{"unknown": 1}'):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ValueError, match=f"The settings {path} cannot be read"):
            read_settings(str(path))
    path.write_text('{"interval_seconds": 900}')
    assert read_settings(str(path)).interval_seconds == 900


def test_a_wrong_call_of_the_collector(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nts-monitor", "--collect", "/none"])
    assert collector.main() == 2
    assert capsys.readouterr().err.startswith("<3>nts-monitor: The settings /none cannot be read")
