# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken of the answer of a host that may be hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

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


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Variables of a host as an action plugin sees them, after facts like these."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {nts1: {my_ntp: ntp.example.org, mine: 1}}}\n")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(tmp_path / "hosts.yml")])
    manager = VariableManager(loader=loader, inventory=inventory)
    get = constants.config.get_config_value

    def seen(facts: dict[str, Any], inject: bool = True) -> Any:
        def value(name: str, *more: Any, **others: Any) -> Any:
            return inject if name == "INJECT_FACTS_AS_VARS" else get(name, *more, **others)

        monkeypatch.setattr(constants.config, "get_config_value", value)
        monkeypatch.setattr(constants, "INJECT_FACTS_AS_VARS", inject)
        monkeypatch.setattr("ansible.vars.manager.C.INJECT_FACTS_AS_VARS", inject)
        manager.set_host_facts("nts1", facts)
        found = dict(manager.get_vars(host=inventory.get_host("nts1"), include_hostvars=False))
        return {**found, "hostvars": HostVars(inventory, manager, loader)}

    return seen


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, []),
        ({"chrony": {}, "ansible_distribution": "Debian", "packages": {}}, []),
        ({"chrony_nts_sources": "evil"}, ["chrony_nts_sources"]),
        ({"__chrony_nts_ca_key": "x"}, ["__chrony_nts_ca_key"]),
        ({"my_ntp": "evil.example"}, ["my_ntp"]),
        # The same value, or a name that the operator does not use, changes nothing.
        ({"mine": 1, "services": {}}, []),
    ],
)
def test_a_fact_by_the_name_of_a_variable_stops_the_role(
    variables: Any, facts: dict[str, Any], expected: list[str]
) -> None:
    assert _answers.shadowed(variables(facts)) == expected


def test_facts_that_are_not_injected_are_harmless(variables: Any) -> None:
    assert _answers.shadowed(variables({"chrony_nts_sources": "evil", "my_ntp": "evil"}, inject=False)) == []


def test_the_message_names_the_variables() -> None:
    said = _answers.shadowed_message("nts1", ["my_ntp\x1b[2J"])
    assert "my_ntp?[2J" in said
    assert "inject_facts_as_vars = false" in said
