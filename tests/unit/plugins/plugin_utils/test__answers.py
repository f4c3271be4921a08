# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sanitised results of hosts that may be hostile."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers


def test_only_documented_facts_are_taken() -> None:
    sent = {
        "changed": False,
        "ansible_facts": {
            "chrony": {"a": 1},
            "chrony_nts_sources": "x",
            "discovered_interpreter_python": "/usr/bin/py",
        },
    }
    assert _answers.cleaned(sent, ("chrony",)) == {
        "changed": False,
        "ansible_facts": {"chrony": {"a": 1}, "discovered_interpreter_python": "/usr/bin/py"},
    }
    assert _answers.cleaned({"ansible_facts": "text"}) == {}


def test_a_failure_brings_no_result() -> None:
    sent = {"plan": {"pairs": []}, "ansible_facts": {}, "msg": "\x1b]0;OWNED\x07no"}
    assert _answers.failure(sent) == {"msg": "?]0;OWNED?no", "failed": True}
    assert _answers.failure({}) == {"msg": "The host sent no result.", "failed": True}


def test_no_text_of_a_host_controls_the_terminal_or_floods_it() -> None:
    sent = {"msg": "x" * 10000, "diff": [{"before": "a\n\tb\x1b[2J", "after": "\u202e"}], "warnings": ["\x9b31m"]}
    found = _answers.cleaned(sent)
    assert len(found["msg"]) < 5000
    assert found["diff"] == [{"before": "a\n\tb?[2J", "after": "?"}]
    assert found["warnings"] == ["?31m"]


def test_the_message_names_the_variables() -> None:
    said = _answers.shadowed_message("nts1", ["my_ntp\x1b[2J"])
    assert "my_ntp?[2J" in said
    assert "inject_facts_as_vars = false" in said


OLD_PYTHON = '  File "<stdin>", line 3\nSyntaxError: future feature annotations is not defined\n'


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        # Python 3.6 with ansible-core 2.17 and 2.21, 3.7 with 2.18, 3.8 with 2.21, and no Python.
        ({"msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": f"Trace\n{OLD_PYTHON}", "rc": 1}, "too old"),
        ({"exception": "Module result", "module_stdout": "", "module_stderr": OLD_PYTHON, "rc": 1}, "too old"),
        ({"msg": "ansible-core requires a minimum of Python version 3.8. Current version: 3.7.16"}, "too old"),
        ({"msg": "Ansible requires Python 3.9 or newer on the target. Current version: 3.8.18"}, "too old"),
        (
            {"msg": "?", "module_stdout": "", "module_stderr": "a\npython3: not found\n", "rc": 127},
            "(python3: not found)",
        ),
        ({"msg": "?", "module_stdout": "", "module_stderr": "", "rc": 127}, "Ansible finds no Python there"),
    ],
)
def test_a_python_that_runs_no_module_is_named_as_the_reason(sent: dict[str, Any], reason: str) -> None:
    found = _answers.explain_python_problem({**sent, "failed": True}, "web1")
    assert set(found) == {"failed", "msg"}
    assert found["msg"].startswith("web1: ")
    assert reason in found["msg"].partition(". ")[0]
    assert "'dnf --assumeyes install python3.12'" in found["msg"]


@pytest.mark.parametrize(
    "sent",
    [
        {"msg": "chronyd does not start", "failed": True},
        {"msg": "no such host", "rc": 127, "failed": True},
        {"changed": False, "module_stderr": OLD_PYTHON},
    ],
)
def test_another_failure_keeps_its_message(sent: dict[str, Any]) -> None:
    assert _answers.explain_python_problem(sent, "web1") == sent


class Manager:
    """Stand-in for Ansible's variable manager, whose copy lacks the loader in ansible-core 2.16 to 2.18."""

    def __init__(self) -> None:
        self._loader: Any = "loader"
        self._fact_cache: dict[str, Any] = {"nts1": {"packages": {}, "port": 1}}

    def __getstate__(self) -> dict[str, Any]:
        return {"_fact_cache": self._fact_cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _loader=None)

    def get_vars(self, **_options: Any) -> dict[str, Any]:
        assert self._loader == "loader"
        return {"port": 123, **self._fact_cache.get("nts1", {})}


class HostVars:
    """Stand-in for the hostvars in task_vars."""

    def __init__(self) -> None:
        self._variable_manager = Manager()
        self._inventory = self

    def get_host(self, name: str) -> str:
        return name


def test_facts_are_compared_with_the_variables_by_every_ansible_core() -> None:
    hostvars = HostVars()
    facts = {"packages": {}, "port": 1}
    variables = {**facts, "ansible_facts": facts, "hostvars": hostvars, "inventory_hostname": "nts1"}
    assert _answers.shadowed(variables, injected=True) == ["port"]
    assert hostvars._variable_manager._fact_cache == {"nts1": facts}
