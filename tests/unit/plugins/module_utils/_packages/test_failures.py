# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests with captured output of the real apt, dnf and zypper (tests/capture_packages.py)."""

import json
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._packages.failures import RULES, explain, sentence

OUTPUTS = Path(__file__).resolve().parents[3] / "package_outputs"
CAPTURES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in sorted(OUTPUTS.glob("*/*.json"))
}


@pytest.mark.parametrize("name", CAPTURES)
def test_explain_finds_the_cause_of_each_captured_failure(name):
    capture = CAPTURES[name]
    failure = explain("\n".join(capture["output"]))
    assert failure.cause == capture["cause"]
    # The failure quotes lines of the program's output.
    assert failure.lines
    assert all(any(line in whole for whole in capture["output"]) for line in failure.lines)


def test_captures_cover_every_manager_and_cause():
    assert {name.partition("/")[0] for name in CAPTURES} == {"apt", "dnf", "zypper"}
    # No test system uses subscriptions, so this cause cannot be captured.
    assert {rule.cause for rule in RULES} - {capture["cause"] for capture in CAPTURES.values()} == {"subscription"}
    for manager in ("apt", "dnf", "zypper"):
        causes = {capture["cause"] for name, capture in CAPTURES.items() if name.startswith(manager)}
        assert {"clock", "lock", "network", "unknown", "held", "space", "signature", "repository"} <= causes


def test_no_capture_is_of_a_successful_run():
    assert [name for name, capture in CAPTURES.items() if capture["status"] == 0] == []


def test_quoted_lines_hide_credentials():
    line = "E: Failed to fetch https://user:sEcret@mirror.example.org/x  Could not resolve 'mirror.example.org'"
    (quoted,) = explain(line).lines
    assert "sEcret" not in quoted
    assert "https://***@mirror.example.org/x" in quoted


def test_an_unknown_failure_quotes_the_last_lines():
    failure = explain("\n".join(f"line {number}" for number in range(20)))
    assert (failure.cause, failure.lines[-1], len(failure.lines)) == ("other", "line 19", 6)


def test_a_message_names_failure_cause_and_output():
    text = sentence("apt-get could not install chrony", explain("E: Unable to locate package chrony"))
    assert text.splitlines()[:2] == [
        "apt-get could not install chrony: no repository of this host has it.",
        "  E: Unable to locate package chrony",
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.cause)
def test_sentences_are_short(rule):
    for text in (rule.meaning, *rule.remedy.split(". ")):
        assert len(text.split()) <= 30
