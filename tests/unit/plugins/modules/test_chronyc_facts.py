# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import json
import os
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc, host, verdict
from ansible_collections.securetime.nts.plugins.module_utils._state.certificate_files import certificates_of
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import ChronycError
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, GatherResult
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.pem_input import PEM

# The oldest Pythons of managed hosts are tested without Ansible.
testing = pytest.importorskip("ansible.module_utils.testing")
yaml = pytest.importorskip("yaml")
chronyc_facts = pytest.importorskip("ansible_collections.securetime.nts.plugins.modules.chronyc_facts")

ROOT = Path(__file__).resolve().parents[4]
CAPTURE = ROOT / "tests/unit/captures/4.6.1/every_report.json"
SOURCES = [
    {"name": "a", "address": "192.0.2.1", "state": "unusable", "reach": 0, "nts": {"state": "failed"}},
    {"name": "b", "address": "192.0.2.2", "state": "selected", "reach": 255, "nts": {"state": "pending"}},
]
FACTS = {"nts": {"state": "failed", "reasons": ["a: one.", "b: two."]}, "sources": SOURCES}
PROGRESS = ["a: failed, unusable, reach 000", "b: pending, selected, reach 377"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the module and returns its exit status, its result and the options of gather()."""

    def run_module(gathered, **parameters):
        options = []

        def gather(wanted):
            options.append(wanted)
            if isinstance(gathered, Exception):
                raise gathered
            return gathered

        monkeypatch.setattr(chronyc_facts, "gather", gather)
        with testing.patch_module_args(parameters), pytest.raises(SystemExit) as ended:
            chronyc_facts.main()
        return ended.value.code, json.loads(capsys.readouterr().out), options

    return run_module


def test_facts_are_returned_and_nothing_is_changed(run):
    code, result, options = run(GatherResult(FACTS, None, 0.01, []))
    assert code == 0
    assert result["changed"] is False
    assert result["ansible_facts"] == {"chrony": FACTS}
    assert (result["reached"], result["waited_seconds"]) == (None, 0.01)
    assert options == [GatherOptions(None, 1, None, 10.0, 5.0, True, [], [])]


def test_parameters_become_the_options_of_gather(run):
    parameters = {
        "wait_for": "synchronised",
        "min_sources": 3,
        "max_offset": 0.01,
        "timeout": 2.5,
        "command_timeout": 1.5,
        "log_lines": False,
        "reports": ["clients"],
        "packages": ["chrony"],
        "certificates": True,
    }
    assert run(GatherResult(FACTS, True, 0.0, []), **parameters)[2] == [GatherOptions(**parameters)]


def test_check_mode_returns_the_facts(run):
    assert run(GatherResult(FACTS, None, 0.0, []), _ansible_check_mode=True)[1]["ansible_facts"] == {"chrony": FACTS}


def test_warnings_are_shown(run):
    assert "something odd" in str(run(GatherResult(FACTS, None, 0.0, ["something odd"]))[1]["warnings"])


@pytest.mark.parametrize(("fail", "code"), [(True, 1), (False, 0)])
def test_an_unreached_condition_fails_only_with_fail_on_timeout(run, fail, code):
    ended, result, _options = run(GatherResult(FACTS, False, 10.02, []), wait_for="authenticated", fail_on_timeout=fail)
    assert ended == code
    assert result["ansible_facts"] == {"chrony": FACTS}
    assert result["reached"] is False
    assert result["progress"] == PROGRESS
    if fail:
        assert result["msg"] == f"Not authenticated after 10.02 s ({'; '.join(PROGRESS)}). a: one. b: two."


def test_a_reached_condition_does_not_fail(run):
    assert run(GatherResult(FACTS, True, 1.0, []), wait_for="authenticated", fail_on_timeout=True)[0] == 0


def test_an_unreadable_report_fails_with_its_line(run):
    code, result, _options = run(ChronycError("chronyc sources printed a line that is no report", "boom"))
    assert code == 1
    assert result["msg"] == "chronyc sources printed a line that is no report: 'boom'"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"min_sources": 0}, "min_sources must be 1 or more."),
        ({"max_offset": 0, "wait_for": "synchronised"}, "max_offset must be more than 0 seconds."),
        ({"max_offset": 1, "wait_for": "reachable"}, "max_offset needs wait_for: authenticated or synchronised."),
        ({"max_offset": 1}, "max_offset needs wait_for: authenticated or synchronised."),
        ({"timeout": -1}, "timeout must not be negative."),
        ({"command_timeout": 0}, "command_timeout must be more than 0 seconds."),
    ],
)
def test_numbers_out_of_range_are_refused(run, parameters, message):
    code, result, options = run(GatherResult(FACTS, None, 0.0, []), **parameters)
    assert (code, result["msg"], options) == (1, message, [])


def differences(path, documented, value):
    """Yield the differences between a value and its documentation, recursively."""
    value = value[0] if isinstance(value, list) and "contains" in documented else value
    kinds = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
    if value is not None and not isinstance(value, dict) and value.__class__ is not kinds[documented["type"]]:
        yield f"{path} is {value!r}, and documented as {documented['type']}"
    inner = documented.get("contains", {})
    if inner and isinstance(value, dict):
        for name in set(inner) ^ set(value):
            yield f"{path}.{name} is only {'documented' if name in inner else 'there'}"
        for name in set(inner) & set(value):
            yield from differences(f"{path}.{name}", inner[name], value[name])


def test_the_documentation_lists_exactly_the_returned_facts(monkeypatch, tmp_path):
    shown = (
        f"Id={name}.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled"
        for name in ("chrony", "ntpsec")
    )
    outputs = {"systemctl": "\n\n".join(shown), "chronyd": "chronyd (chrony) version 4.6.1 (+NTS)"}
    monkeypatch.setattr(host, "run_together", lambda _commands, _timeout: outputs)
    monkeypatch.setattr(host, "find_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(host, "find_daemon", lambda _pid: os.getpid())
    answers = json.loads(CAPTURE.read_text(encoding="utf-8"))["answers"]
    # On no controller of the tests may chronyd read a real-time clock.
    answers["rtcdata"] = ["1795420100.000000000,15,8,560,0.310000,-1.200"]
    reports = chronyc.take(
        lambda commands: ["\n".join(answers[command]) for command in commands], pytest.fail, list(chronyc.OPTIONAL)
    )
    facts = verdict.judge(dict(host.survey(5.0), running=True), reports, verdict.read_log(None))
    (tmp_path / "ca.pem").write_text(PEM)
    facts["certificates"] = certificates_of(None, [f"ntstrustedcerts {tmp_path}/ca.pem"])
    documented = yaml.safe_load((ROOT / "plugins/modules/chronyc_facts.yml").read_text(encoding="utf-8"))
    documented = documented["RETURN"]["ansible_facts"]["contains"]["chrony"]
    assert list(differences("chrony", documented, facts)) == []
