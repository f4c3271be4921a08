# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.filter.chrony_sources import chrony_sources
from ansible_collections.securetime.nts.plugins.filter.out_of_range import out_of_range

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
    ],
)
def test_sources_are_completed(given: dict[str, Any], completed: dict[str, Any]) -> None:
    assert chrony_sources([given]) == [completed]


def test_the_input_is_left_alone() -> None:
    given = {"hostname": "a", "pool": True}
    chrony_sources([given])
    assert given == {"hostname": "a", "pool": True}


def test_numbers_within_their_ranges_give_no_sentence() -> None:
    assert (
        out_of_range({"port": 1, "filter": "128", "other": 7}, {"port": [1, 2], "filter": [1, 128], "x": [0, 1]}) == []
    )


@pytest.mark.parametrize("value", [0, 65536, "70000", -1])
def test_a_number_outside_its_range_gives_a_sentence(value: Any) -> None:
    assert out_of_range({"port": value}, {"port": [1, 65535]}) == [
        f"port is {value}: set it to a number from 1 to 65535."
    ]
