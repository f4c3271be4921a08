# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule by a case of tests/functional/mistakes, which also go through the role."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils import _rules
from ansible_collections.securetime.nts.plugins.plugin_utils._rules import RANGES, RULES, Inputs, mistakes

ROOT = Path(__file__).resolve().parents[4]
GROUPS = yaml.safe_load((ROOT / "tests/functional/mistakes/hosts.yml").read_text())["all"]["children"]
# What argument_specs finds before the rules do, in the words of Ansible.
BY_TYPE = re.compile(r"Supported parameters include|must be one (or more )?of: |missing required arguments")
CASES = {
    name: case
    for name, case in GROUPS["mistakes"]["hosts"].items()
    if not BY_TYPE.search(case["expected"]) and case["expected"] != "chrony_nts_dropins"
}


def variables(case: dict[str, Any], host: str = "host.example.org") -> dict[str, Any]:
    """Return the role's defaults with the variables of a case."""
    defaults = yaml.safe_load((ROOT / "roles/chrony_nts/defaults/main.yml").read_text())
    templated = {"chrony_nts_server_names": [host], "chrony_nts_ca_dir": "/srv/nts-ca"}
    return {**defaults, **templated, **{name: case[name] for name in case if name.startswith("chrony_nts_")}}


@pytest.mark.parametrize("name", CASES)
def test_mistake_has_its_sentence(name: str) -> None:
    found = "\n".join(mistakes(variables(CASES[name], name)))
    assert re.search(CASES[name]["expected"], found, re.DOTALL), found


@pytest.mark.parametrize("name", GROUPS["correct"]["hosts"])
def test_correct_variables_have_no_sentence(name: str) -> None:
    assert mistakes(variables(GROUPS["correct"]["hosts"][name], name)) == []


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.__name__)
def test_every_rule_has_a_case(each: _rules.Rule) -> None:
    inputs = [
        Inputs({**variables(case, name), "chrony_nts_acme_dns_tasks_exist": False}) for name, case in CASES.items()
    ]
    assert any(list(each(one)) for one in inputs)


def test_every_mistake_is_named_at_once() -> None:
    wrong = {"chrony_nts_sources": [], "chrony_nts_verify_timeout": 0, "chrony_nts_ca_passphrase": "abc"}
    assert [sentence.split()[0] for sentence in mistakes(variables(wrong))] == [
        "chrony_nts_sources",
        "chrony_nts_verify_timeout",
        "chrony_nts_ca_common_name",
    ]


@pytest.mark.parametrize("name", RANGES)
def test_a_number_is_in_its_range(name: str) -> None:
    low, high = RANGES[name]
    ordered = {"chrony_nts_certificate_lifetime_days": 1, "chrony_nts_ca_lifetime_days": 10950}
    ordered["chrony_nts_issuing_ca_lifetime_days"] = low if name == "certificate_lifetime_days" else 7300
    for value in (low, high, str(low)):
        numbers = {**ordered, f"chrony_nts_{name}": value}
        assert not [
            sentence for sentence in mistakes(variables(numbers)) if sentence.startswith(f"chrony_nts_{name} is")
        ]
    for value in (low - 1, high + 1, str(high + 1)):
        found = mistakes(variables({f"chrony_nts_{name}": value}))
        assert f"chrony_nts_{name} is {value}: set it to a number from {low} to {high}." in found


def test_words_of_the_command_line_count_as_booleans() -> None:
    assert mistakes(variables({"chrony_nts_server_enabled": "no"})) == []
    assert "chrony_nts_server_allow is empty" in mistakes(variables({"chrony_nts_server_enabled": "yes"}))[0]


def test_a_file_of_tasks_must_exist() -> None:
    acme = {
        "chrony_nts_server_enabled": True,
        "chrony_nts_server_allow": ["192.0.2.0/24"],
        "chrony_nts_certificate_provider": "acme",
        "chrony_nts_acme_client": "controller",
        "chrony_nts_acme_terms_agreed": True,
        "chrony_nts_acme_challenge": "dns-01",
        "chrony_nts_acme_dns_tasks": "/srv/dns.yml",
    }
    assert mistakes(variables(acme), is_file=lambda path: path == "/srv/dns.yml") == []
    assert "to a file of tasks" in mistakes(variables(acme), is_file=lambda path: False)[0]


def test_no_sentence_holds_a_key_or_a_passphrase() -> None:
    secrets = {
        "chrony_nts_symmetric_keys": [{"id": 1, "key": "SECRET"}, {"id": 1, "key": "SECRET"}],
        "chrony_nts_ca_passphrase": "SECRET",
        "chrony_nts_ca_key_content": "SECRET PRIVATE KEY",
        "chrony_nts_trust_anchors": [{"content": "SECRET PRIVATE KEY"}],
    }
    found = mistakes(variables(secrets))
    assert len(found) >= 5
    assert "SECRET" not in "".join(found)
