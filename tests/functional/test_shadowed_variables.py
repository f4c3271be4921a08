# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts that replace variables, with Ansible's own variable manager.

This is no unit test, because importing that manager changes the warnings of modules in the same process.
"""

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


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives a host's variables as an action plugin reads them, after facts like these."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {nts1: {my_ntp: ntp.example.org, mine: 1}}}\n")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(tmp_path / "hosts.yml")])
    manager = VariableManager(loader=loader, inventory=inventory)

    def read(facts: dict[str, Any], inject: bool = True) -> dict[str, Any]:
        monkeypatch.setattr(constants, "INJECT_FACTS_AS_VARS", inject)
        manager.set_host_facts("nts1", facts)
        found = dict(manager.get_vars(host=inventory.get_host("nts1"), include_hostvars=False))
        return {**found, "hostvars": HostVars(inventory, manager, loader)}

    return read


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
    assert _answers.shadowed(variables(facts), injected=True) == expected


def test_facts_that_are_not_injected_are_harmless(variables: Any) -> None:
    assert (
        _answers.shadowed(variables({"chrony_nts_sources": "evil", "my_ntp": "evil"}, inject=False), injected=False)
        == []
    )
