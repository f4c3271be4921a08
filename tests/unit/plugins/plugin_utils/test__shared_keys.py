# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of shared keys: the leader, the targets, and their order."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._shared_keys import plan, plan_of

DAY = 86400


def has(generation: int | None, days: float = 1, **other: Any) -> dict[str, Any]:
    """Return the report of a server; generation numbers its oldest key, and days is the age of its current key."""
    tags = [] if generation is None else [f"tag{generation + index}" for index in range(4)]
    age = int(days * DAY)
    report = {"set": "ntp", "name": "ntp" if tags else "", "tags": tags, "age_seconds": age, "problem": "", "aead": 30}
    return {**report, **other}


def decided(*reports: dict[str, Any], rotation: str = "due", days: Any = 7) -> tuple[str, str, list[str], list[str]]:
    """Return the action, the leader, the targets, and the servers that come first."""
    found = plan_of({f"nts{number}": report for number, report in enumerate(reports, 1)}, rotation, days)
    row = found["nts1"]
    assert [problem for each in found.values() for problem in each["problems"]] == []
    return row["action"], row["leader"], row["targets"], [host for host in found if found[host]["first"]]


def problems(*reports: dict[str, Any], **options: Any) -> str:
    found = plan_of({f"nts{number}": report for number, report in enumerate(reports, 1)}, **options)
    return " ".join(found["nts1"]["problems"])


ALL = ["nts1", "nts2", "nts3"]


@pytest.mark.parametrize(
    ("reports", "options", "expected"),
    [
        ([has(0), has(0)], {}, ("share", "nts1", [], [])),
        # No server has shared keys, one server is new, or one has the keys of another set.
        ([has(None), has(None)], {}, ("replace", "nts1", ["nts1", "nts2"], [])),
        ([has(None), has(0)], {}, ("share", "nts2", ["nts1"], [])),
        ([has(0, name="other"), has(8)], {}, ("share", "nts2", ["nts1"], [])),
        # A rotation stopped midway. The order of the servers does not matter.
        ([has(0), has(1), has(1)], {}, ("share", "nts2", ["nts1"], [])),
        ([has(1), has(0), has(0)], {}, ("share", "nts1", ["nts2", "nts3"], [])),
        # Two unrelated generations of keys: the one of the most servers wins.
        ([has(50), has(0), has(0)], {}, ("share", "nts2", ["nts1"], [])),
        # A server was offline, even so long that the others hold none of its keys any more.
        ([has(0), has(3), has(3)], {}, ("share", "nts2", ["nts1"], [])),
        ([has(0), has(4), has(4)], {}, ("share", "nts2", ["nts1"], [])),
        # Keys are due, with an hour of slack. Servers that are behind come first.
        ([has(0, 7), has(0, 7)], {}, ("rotate", "nts1", ["nts1", "nts2"], [])),
        ([has(0, 6.97), has(0, 6.97)], {}, ("rotate", "nts1", ["nts1", "nts2"], [])),
        ([has(0, 6.9), has(0, 6.9)], {}, ("share", "nts1", [], [])),
        ([has(0, 1), has(0, 1)], {"days": "1"}, ("rotate", "nts1", ["nts1", "nts2"], [])),
        ([has(1, 8), has(0, 15), has(None)], {}, ("rotate", "nts1", ALL, ["nts2", "nts3"])),
        ([has(0), has(0)], {"rotation": "now"}, ("rotate", "nts1", ["nts1", "nts2"], [])),
        # A wrong clock has dated keys in the future.
        ([has(0, -0.04), has(0, -0.04)], {}, ("share", "nts1", [], [])),
        ([has(0, -3650), has(0, -3650)], {}, ("rotate", "nts1", ["nts1", "nts2"], [])),
        # A replacement stopped near its end, and one server still has the old keys.
        ([has(50, 0), has(0, 3), has(50, 0)], {}, ("share", "nts1", ["nts2"], [])),
        ([has(50, 0), has(0, 3)], {}, ("share", "nts1", ["nts2"], [])),
        # The last server of a set replaces keys that were stolen from the others.
        ([has(0)], {"rotation": "replace"}, ("replace", "nts1", ["nts1"], [])),
        ([has(50, 0), has(0, 3), has(0, 3)], {"rotation": "replace"}, ("replace", "nts2", ALL, [])),
        # Invalid values, which no module reports.
        ([has(0, age_seconds="old", aead=[30]), has(0, age_seconds=None, aead=[30])], {}, ("share", "nts1", [], [])),
        ([has(0), has(0, tags={"a": 1})], {}, ("share", "nts1", ["nts2"], [])),
        ([has(0), has(0)], {"rotation": "replace"}, ("replace", "nts1", ["nts1", "nts2"], [])),
    ],
)
def test_keys_go_to_the_servers_that_lack_them(
    reports: list[dict[str, Any]], options: dict[str, Any], expected: tuple[str, str, list[str], list[str]]
) -> None:
    assert decided(*reports, **options) == expected


@pytest.mark.parametrize(
    ("reports", "options", "sentence"),
    [
        ([has(0)], {}, "Only nts1 has ntp in chrony_nts_shared_keys"),
        ([has(0), has(0, problem="chronyd does not run.")], {}, "nts2: chronyd does not run."),
        ([has(0), has(0, aead=15)], {}, "nts1 on 30, nts2 on 15.*Set ntsaeads"),
        ([has(0), has(0)], {"rotation": "soon"}, "chrony_nts_ntskeys_rotation is 'soon'"),
        ([has(0), has(0)], {"days": "soon"}, "chrony_nts_ntskeys_days is 'soon'"),
        ([has(0), has(0)], {"days": 0}, "chrony_nts_ntskeys_days is 0"),
        # The next run must not bring back the keys that a replacement revokes.
        ([has(50, 0), has(0, 3), has(0, 3)], {}, "nts1: other keys of ntp than nts2 and newer ones.*=replace"),
        ([has(50, 0), has(0, 3), has(0, 3)], {"rotation": "now"}, "A replacement has stopped in the middle"),
    ],
)
def test_servers_that_cannot_share_are_named(
    reports: list[dict[str, Any]], options: dict[str, Any], sentence: str
) -> None:
    found = problems(*reports, **options)
    assert re.search(sentence, found), found


def test_sets_and_hosts_without_one_do_not_meet() -> None:
    variables = {
        "nts1": {"chrony_nts_shared_keys": "ntp", "__ntskeys": has(0)},
        "nts2": {"chrony_nts_shared_keys": "ntp", "__ntskeys": has(0)},
        "nts3": {"chrony_nts_shared_keys": "other", "__ntskeys": has(4, name="other")},
        "nts4": {"chrony_nts_shared_keys": "other", "__ntskeys": has(None)},
        "nts5": {"__ntskeys": {"skipped": True}},
        "nts6": {"chrony_nts_shared_keys": "third", "__ntskeys": "text"},
    }
    found = plan([*variables], variables)
    assert [found[host]["targets"] for host in variables] == [[], [], ["nts4"], ["nts4"], [], []]
    assert found["nts5"]["set"] == ""
    assert "has not reported its keys" in " ".join(found["nts6"]["problems"])


TEMPLATE = "{{ lookup('pipe', 'id') }}{%- set x = 1 %}{{{# comment"


@pytest.mark.parametrize("lie", [{"problem": TEMPLATE}, {"problem": [TEMPLATE]}, {"aead": TEMPLATE}])
def test_no_text_of_a_server_is_a_template(lie: dict[str, Any]) -> None:
    """Before 2.19, ansible-core would run templates in these sentences on the controller (set_fact)."""
    found = problems(has(0), has(0, **lie))
    assert "lookup" in found
    assert not re.search(r"\{[{%#]", found)
    assert len(problems(has(0), has(0, problem="x" * 400000))) < 10000
