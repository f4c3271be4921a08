# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._sources import complete, entries

FILLED = {"address": "a", "type": "server", "iburst": True, "nts": True}


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ({"address": "a"}, FILLED),
        ({"hostname": "a"}, FILLED),
        ({"address": "a", "hostname": "a"}, FILLED),
        ({"address": "a", "hostname": "b"}, {**FILLED, "address": ""}),
        ({"nts": True}, {**FILLED, "address": ""}),
        ({"hostname": "a", "pool": True}, {**FILLED, "type": "pool"}),
        ({"hostname": "a", "pool": "no"}, FILLED),
        ({"address": "a", "nts": "no", "iburst": "false"}, {**FILLED, "nts": False, "iburst": False}),
        ({"address": "a", "port": 1123, "prefer": "yes"}, {**FILLED, "port": 1123, "prefer": True}),
        ({"address": "a", "maxpoll": None}, FILLED),
        # Addresses get the form that chronyc prints, so that spellings do not differ. A name stays as written.
        ({"address": "2001:DB8:0:0::1"}, {**FILLED, "address": "2001:db8::1"}),
        ({"address": "2001:DB8::1", "hostname": "2001:db8:0::1"}, {**FILLED, "address": "2001:db8::1"}),
        ({"address": "NTS1.Example.ORG"}, {**FILLED, "address": "NTS1.Example.ORG"}),
    ],
)
def test_sources_are_completed(given: dict[str, Any], completed: dict[str, Any]) -> None:
    assert complete([given]) == [completed]


def test_the_input_is_left_alone() -> None:
    given = {"hostname": "a", "pool": True}
    complete([given])
    assert given == {"hostname": "a", "pool": True}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nts1.example.org", [{"address": "nts1.example.org"}]),
        (["a", {"hostname": "b", "pool": True}], [{"address": "a"}, {"hostname": "b", "pool": True}]),
        ({"address": "a"}, [{"address": "a"}]),
        (["nts://NTS1.example.org"], [{"address": "NTS1.example.org"}]),
        (["nts://[2001:db8::1]:4461/"], [{"address": "2001:db8::1", "ntsport": 4461}]),
        (
            ["nts://nts1.example.org:4460?iburst=false&certset=2&prefer&extfield=F323&extfield=F324"],
            [
                {
                    "address": "nts1.example.org",
                    "ntsport": 4460,
                    "iburst": "false",
                    "certset": "2",
                    "prefer": True,
                    "extfield": ["F323", "F324"],
                }
            ],
        ),
        ([], []),
    ],
)
def test_a_source_may_be_text(given: Any, expected: list[dict[str, Any]]) -> None:
    assert entries(given) == expected


@pytest.mark.parametrize(
    "text", ["ntp://a", "nts://", "nts://user@a", "nts://a/path", "nts://a:port", "nts://a:99999", "nts://a#x", "a b"]
)
def test_text_of_another_form_becomes_an_address_that_is_none(text: str) -> None:
    assert entries(text) == [{"address": text}]
