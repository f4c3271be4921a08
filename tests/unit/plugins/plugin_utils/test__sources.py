# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._sources import complete

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
    assert complete([given]) == [completed]


def test_the_input_is_left_alone() -> None:
    given = {"hostname": "a", "pool": True}
    complete([given])
    assert given == {"hostname": "a", "pool": True}
