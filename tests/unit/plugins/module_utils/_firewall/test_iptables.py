# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of iptables' rules. The text is output of iptables 1.8.11."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._firewall import iptables
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import openings

NTP, KE = openings(["192.0.2.0/24"], [123], [4460])
# The default rules of iptables-services on Enterprise Linux.
RULES = """-P INPUT ACCEPT
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
{more}-A INPUT -j REJECT --reject-with icmp-host-prohibited
"""


@pytest.mark.parametrize(
    ("text", "does"),
    [
        (RULES.format(more=""), True),
        ("-P INPUT DROP\n", True),
        ("-P INPUT ACCEPT\n", False),
        ("-P INPUT ACCEPT\n-A INPUT -s 192.0.2.7/32 -j DROP\n", False),
        ("", False),
    ],
)
def test_a_chain_filters_by_its_policy_or_last_rule(text, does):
    assert iptables.filters(text) is does


@pytest.mark.parametrize(
    ("line", "does"),
    [
        ('-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 4460 -m comment --comment "x y" -j ACCEPT', True),
        ("-A INPUT -p tcp -m state --state NEW -m tcp --dport 4000:5000 -j ACCEPT", True),
        ("-A INPUT -s 192.0.0.0/16 -j ACCEPT", True),
        ("-A INPUT -s 192.0.2.0/25 -p tcp -m tcp --dport 4460 -j ACCEPT", False),
        ("-A INPUT -p udp -m udp --dport 4460 -j ACCEPT", False),
        ("-A INPUT -i eth1 -p tcp -m tcp --dport 4460 -j ACCEPT", False),
        ("-A INPUT ! -s 10.0.0.0/8 -p tcp -m tcp --dport 4460 -j ACCEPT", False),
        ("-A INPUT -p tcp -m tcp --dport 4460 -j DROP", False),
        ("", False),
    ],
)
def test_accepts_recognises_the_operators_rules(line, does):
    assert iptables.accepts(RULES.format(more=f"{line}\n" if line else ""), KE) is does


def test_by_hand_quotes_the_commands_for_a_shell():
    assert iptables.by_hand([NTP]) == [
        "iptables -I INPUT -p udp -s 192.0.2.0/24 --dport 123 -m comment --comment 'securetime.nts: NTP' -j ACCEPT"
    ]
    (everyone,) = openings(["::/0"], [], [4460])
    assert iptables.by_hand([everyone])[0].startswith("ip6tables -I INPUT -p tcp --dport 4460 ")
