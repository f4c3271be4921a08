# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken of the answer of a host that may be hostile."""

from __future__ import annotations

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
