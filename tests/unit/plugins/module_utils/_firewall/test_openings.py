# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of the openings: client networks and ports."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import (
    Opening,
    covers,
    network,
    openings,
    overlap,
)


def test_each_network_gets_each_port_once_and_in_order():
    found = openings(["2001:db8::/32", "192.0.2.7", "192.0.2.7/32", "10.0.0.0/8"], [123], [4460])
    assert list(map(str, found)) == [
        "123/udp from 10.0.0.0/8",
        "4460/tcp from 10.0.0.0/8",
        "123/udp from 192.0.2.7/32",
        "4460/tcp from 192.0.2.7/32",
        "123/udp from 2001:db8::/32",
        "4460/tcp from 2001:db8::/32",
    ]
    assert {each.family for each in openings(["::/0", "0.0.0.0/0"], [123], [], families=[6])} == {6}


def test_a_comment_has_the_mark_and_the_service():
    assert Opening("192.0.2.0/24", "udp", 123).comment == "securetime.nts: NTP"
    assert Opening("192.0.2.0/24", "tcp", 4460).comment == "securetime.nts: NTS-KE"


@pytest.mark.parametrize(
    ("wider", "narrower", "does"),
    [
        ("0.0.0.0/0", "192.0.2.0/24", True),
        ("192.0.2.0/24", "192.0.2.0/24", True),
        ("192.0.2.0/25", "192.0.2.0/24", False),
        ("192.0.3.0/24", "192.0.2.0/24", False),
        ("::/0", "192.0.2.0/24", False),
        ("2001:db8::/32", "2001:db8:1::/48", True),
        ("ipset:clients", "192.0.2.0/24", False),
    ],
)
def test_covers(wider, narrower, does):
    assert covers(wider, narrower) is does


def test_overlap_and_network_normalisation():
    assert overlap("192.0.2.128/25", "192.0.2.0/24")
    assert not overlap("192.0.2.128/25", "192.0.2.0/25")
    assert (network("192.0.2.7"), network("2001:DB8:0::/32")) == ("192.0.2.7/32", "2001:db8::/32")
