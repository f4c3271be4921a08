# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of ufw's rules. The texts are from ufw 0.36.2."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._firewall import ufw
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import Opening, openings

RULES = """*filter
### RULES ###

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT

### tuple ### allow udp 123 0.0.0.0/0 any 192.0.2.0/24 in comment=4e5450
-A ufw-user-input -p udp --dport 123 -s 192.0.2.0/24 -j ACCEPT

### tuple ### allow tcp 4460 0.0.0.0/0 any 10.1.2.3 in comment=73656375726574696d652e6e74733a204e54532d4b45
-A ufw-user-input -p tcp --dport 4460 -s 10.1.2.3 -j ACCEPT

### tuple ### allow any 99 0.0.0.0/0 any 0.0.0.0/0 in_eth0
### tuple ### allow tcp any 0.0.0.0/0 22 10.0.0.0/8 - OpenSSH in
### tuple ### deny udp 123 0.0.0.0/0 any 198.51.100.0/24 in
### tuple ### deny any any 0.0.0.0/0 any 203.0.113.0/24 in
### tuple ### reject tcp 4000:5000 0.0.0.0/0 any 203.0.113.0/25 out

### END RULES ###
"""
ALLOW = ["192.0.2.0/24", "10.1.2.3", "198.51.100.0/24"]


def test_only_rules_with_our_comment_are_ours():
    rules = ufw.read_rules(RULES)
    assert list(map(str, ufw.ours(rules))) == ["4460/tcp from 10.1.2.3/32"]
    assert [rule.text for rule in rules][1] == "allow udp 123 0.0.0.0/0 any 192.0.2.0/24 in 'NTP'"


def test_to_add_overwrites_no_rule_of_the_operator():
    rules = ufw.read_rules(RULES)
    added = ufw.to_add(rules, openings(ALLOW, [123], [4460]))
    # To add 123/udp would overwrite a comment (from 192.0.2.0/24) or an action (from 198.51.100.0/24).
    assert list(map(str, added)) == [
        "123/udp from 10.1.2.3/32",
        "4460/tcp from 192.0.2.0/24",
        "4460/tcp from 198.51.100.0/24",
    ]
    assert list(map(str, ufw.to_remove(rules, []))) == ["4460/tcp from 10.1.2.3/32"]
    assert ufw.to_remove(rules, openings(ALLOW, [123], [4460])) == []


@pytest.mark.parametrize(
    ("network", "count"),
    [("198.51.100.0/25", 1), ("203.0.113.0/25", 1), ("192.0.2.0/24", 0), ("198.51.0.0/16", 0)],
)
def test_refusals_names_rules_that_refuse_a_client(network, count):
    assert len(ufw.refusals(RULES, openings([network], [123], [4460]))) == count


def test_each_command_names_one_family():
    four, six = openings(["192.0.2.0/24", "2001:db8::/32"], [], [4460])
    assert ufw.command(four)[1:] == [
        *("allow", "proto", "tcp", "from", "192.0.2.0/24", "to", "0.0.0.0/0", "port", "4460"),
        *("comment", "securetime.nts: NTS-KE"),
    ]
    assert ufw.command(six, delete=True)[1:3] == ["delete", "allow"]
    assert ufw.command(six)[7] == "::/0"


def test_says_yes_parses_the_settings():
    assert ufw.says_yes("# x\nENABLED=yes\n", "ENABLED")
    assert not ufw.says_yes("ENABLED=no\n#ENABLED=yes\n", "ENABLED")


def test_a_diff_shows_our_rules_in_order():
    wanted = [Opening("198.51.100.0/24", "udp", 123), Opening("192.0.2.0/24", "tcp", 4460)]
    lines = ufw.show(wanted).splitlines()
    assert [line.partition(" comment ")[0] for line in lines] == [
        "allow proto tcp from 192.0.2.0/24 to any port 4460",
        "allow proto udp from 198.51.100.0/24 to any port 123",
    ]
    assert [line.rpartition("'")[0].rpartition("'")[2] for line in lines] == [wanted[1].comment, wanted[0].comment]
    assert ufw.show([]) == ""
