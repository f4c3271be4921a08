# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a server by the number of its clients."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._limits import recommended
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import SERVER, planned

LIMITS = ("clientloglimit", "cmdratelimit", "maxntsconnections", "ntsprocesses", "ntsratelimit", "ratelimit")


def limits_of(variables: dict[str, Any]) -> list[str]:
    """Return the lines of chrony.conf that limit clients."""
    return [line for line in planned(variables)["directive_lines"] if line.split()[0] in LIMITS]


@pytest.mark.parametrize(
    ("clients", "log_bytes", "processes"),
    [
        (1, 2**19, 1),
        (2048, 2**19, 1),
        (2049, 2**20, 1),
        (50_000, 2**24, 1),
        (50_001, 2**24, 2),
        (8_000_000, 2**31, 8),
    ],
)
def test_memory_and_processes_grow_with_the_clients(clients: int, log_bytes: int, processes: int) -> None:
    found = recommended(clients)
    assert (found["clientloglimit"], found["ntsprocesses"]) == (log_bytes, processes)


def test_a_server_has_limits_where_its_clients_are_counted() -> None:
    assert limits_of(SERVER) == limits_of({"chrony_nts_expected_clients": 1000}) == []
    assert limits_of({**SERVER, "chrony_nts_expected_clients": "1000"}) == [
        "clientloglimit 524288",
        "maxntsconnections 500",
        "ntsprocesses 1",
        "ntsratelimit interval 3 burst 16 leak 4",
        "ratelimit interval 1 burst 16",
    ]


def test_the_operator_has_the_last_word_about_each_limit() -> None:
    own = {"ratelimit": False, "ntsratelimit": {"burst": 4}, "ntsprocesses": 3, "cmdallow": ["192.0.2.0/24"]}
    found = limits_of({**SERVER, "chrony_nts_expected_clients": 1000, "chrony_nts_directives": own})
    assert found == [
        "clientloglimit 524288",
        "cmdratelimit interval -4",
        "maxntsconnections 500",
        "ntsprocesses 3",
        "ntsratelimit burst 4",
    ]
