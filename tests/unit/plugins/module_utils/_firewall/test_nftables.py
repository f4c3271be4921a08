# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of nftables' rules. The JSON is output of nft 1.1.3."""

import json

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._firewall import nftables
from ansible_collections.securetime.nts.plugins.module_utils._firewall.nftables import Chain, Include
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import FirewallError, openings

PATH = "/etc/nftables.d/nts.nft"
MAIN = "/etc/nftables.conf"
INPUT = ("inet", "filter", "input")
NTP, KE = openings(["192.0.2.0/24"], [123], [4460])


def match(left, right, operator="=="):
    return {"match": {"op": operator, "left": left, "right": right}}


def payload(protocol, field):
    return {"payload": {"protocol": protocol, "field": field}}


def rule(*expressions, handle=1, **more):
    return {"family": "inet", "table": "filter", "chain": "input", "handle": handle, "expr": list(expressions), **more}


ACCEPT, DROP = {"accept": None}, {"drop": None}
ESTABLISHED = rule(match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT, handle=2)
SSH = rule(match(payload("tcp", "dport"), 22), ACCEPT, handle=4)
REFUSE = rule({"counter": {"packets": 0, "bytes": 0}}, {"reject": {"type": "icmpx"}}, handle=9)


def ours(opening, handle):
    return rule(ACCEPT, handle=handle, comment=nftables.comment(opening))


def test_read_chains_keeps_input_chains_of_ip_families():
    base = {"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop"}
    rows = [
        {"metainfo": {}},
        *({"chain": {**base, **more}} for more in ({}, {"hook": "forward"}, {"family": "bridge"})),
        {"chain": {"family": "ip", "table": "filter", "name": "services"}},
        {"chain": {**base, "family": "ip", "name": "INPUT"}},
    ]
    chains = nftables.read_chains(json.dumps({"nftables": rows}))
    assert chains == [Chain("inet", "filter", "input", "drop"), Chain("ip", "filter", "INPUT", "drop")]
    assert [chain.by_iptables for chain in chains] == [False, True]
    with pytest.raises(FirewallError, match="printed no JSON"):
        nftables.read_chains("")


def test_the_last_rule_determines_refuses_the_rest():
    assert nftables.refuses_the_rest([SSH, REFUSE])
    assert not nftables.refuses_the_rest([REFUSE, SSH])
    assert not nftables.refuses_the_rest([rule(match(payload("ip", "saddr"), "@bad"), DROP)])
    assert not nftables.refuses_the_rest([])


PREFIX = {"prefix": {"addr": "192.0.0.0", "len": 16}}


@pytest.mark.parametrize(
    ("expressions", "does"),
    [
        ([match(payload("tcp", "dport"), 4460), ACCEPT], True),
        ([match(payload("udp", "dport"), 4460), ACCEPT], False),
        ([match(payload("tcp", "dport"), {"set": [22, {"range": [4000, 5000]}]}), ACCEPT], True),
        ([match(payload("tcp", "dport"), 4460), DROP], False),
        ([match(payload("tcp", "dport"), 4460, "!="), ACCEPT], False),
        ([match(payload("ip", "saddr"), {"prefix": {"addr": "192.0.0.0", "len": 16}}), ACCEPT], True),
        ([match(payload("ip", "saddr"), {"set": [PREFIX]}), match(payload("th", "dport"), 4460), ACCEPT], True),
        ([match(payload("ip", "saddr"), {"range": ["192.0.2.0", "192.0.2.255"]}), ACCEPT], True),
        ([match(payload("ip", "saddr"), {"range": ["192.0.2.1", "192.0.2.255"]}), ACCEPT], False),
        ([match(payload("ip", "saddr"), "192.0.2.7"), ACCEPT], False),
        ([match(payload("ip", "saddr"), "@clients"), ACCEPT], False),
        ([match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}), ACCEPT], True),
        ([match({"meta": {"key": "iifname"}}, "eth0"), match(payload("tcp", "dport"), 4460), ACCEPT], False),
        ([match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT], False),
        ([match(payload("tcp", "dport"), 4460), {"limit": {}}, ACCEPT], False),
        # A rule without a match does not state which packets it accepts.
        ([ACCEPT], False),
    ],
)
def test_accepts_recognises_the_operators_rules(expressions, does):
    assert nftables.accepts(rule(*expressions), KE) is does


@pytest.mark.parametrize(
    ("before", "rules", "expected"),
    [
        (1, [ESTABLISHED, SSH], "insert rule inet filter input handle 4 "),
        (2, [ESTABLISHED, SSH], "add rule inet filter input "),
        # The running chain differs from that of the file: insert after all other rules but a last refusal.
        (1, [ESTABLISHED, SSH, SSH], "add rule inet filter input "),
        (1, [ESTABLISHED, SSH, SSH, REFUSE], "insert rule inet filter input handle 9 "),
    ],
)
def test_our_rules_go_to_the_position_of_the_include(before, rules, expected):
    include = Include(MAIN, False, INPUT, before, 2)
    found = nftables.script(INPUT, rules, [KE], include)
    assert found == [expected + nftables.statement(KE)]


def test_script_adds_missing_rules_and_deletes_unwanted_ones():
    include = Include(MAIN, True)
    rules = [SSH, ours(NTP, 11), ours(KE, 12), ours(KE, 13)]
    assert nftables.script(INPUT, rules, [KE], include) == [
        "delete rule inet filter input handle 11",
        "delete rule inet filter input handle 13",
    ]
    assert nftables.script(INPUT, [SSH, ours(KE, 12)], [KE], include) == []


def test_include_text_has_rules_or_chains():
    assert nftables.include_text([(INPUT, [KE])], within_chain=True) == (
        nftables.HEADER + 'ip saddr 192.0.2.0/24 tcp dport 4460 accept comment "securetime.nts: NTS-KE 4460/tcp from'
        ' 192.0.2.0/24"\n'
    )
    text = nftables.include_text([(INPUT, [KE])], within_chain=False)
    assert "table inet filter {\n\tchain input {\n\t\tip saddr" in text
    assert nftables.include_text([(INPUT, [])], within_chain=False) == nftables.HEADER


IN_CHAIN = """#!/usr/sbin/nft -f
flush ruleset
define ports = { 22, 80 }
table inet filter {
  set bad { type ipv4_addr; elements = { 192.0.2.66,
                                         192.0.2.67 }
  }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state { established, related } accept # include "/etc/nftables.d/nts.nft"
    tcp dport vmap { 22 : accept,
                     80 : drop }
    # a comment of its own { line
    ip saddr @bad \\
       drop
    meta l4proto icmp accept comment "a { b ; c"; iif lo accept
    include "/etc/nftables.d/nts.nft"
    counter drop
  }
  chain output { type filter hook output priority 0; accept; }
}
add rule inet filter input drop
"""


def test_find_include_counts_the_rules_before_the_include():
    found = nftables.find_include(PATH, [MAIN], {MAIN: IN_CHAIN}.get)
    assert found == Include(MAIN, False, INPUT, before=5, rules=7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('table inet filter { chain input { drop; }; }\ninclude "nftables.d/nts.nft"\n', Include(MAIN, False)),
        ('include "/etc/nftables.d/*.nft"', Include(MAIN, True)),
        ('include "/etc/nftables.d/a*.nft"', None),
        ('# include "/etc/nftables.d/nts.nft"', None),
        ("table filter {\nchain input {\ninclude '/etc/x'\n}\n}", None),
        (
            'table filter {\nchain input {\ninclude "/etc/nftables.d/nts.nft"\n}\n}',
            Include(MAIN, False, ("ip", "filter", "input")),
        ),
        # A set can hold neither rules nor chains.
        ('table filter {\nset x {\ninclude "/etc/nftables.d/nts.nft"\n}\n}', None),
        ('include "/etc/own.nft"', Include(MAIN, False, INPUT, 1, 1)),
        ('include "/etc/missing.nft"', None),
        ("", None),
    ],
)
def test_find_include_returns_the_position(text, expected):
    own = 'table inet filter {\n chain input {\n  tcp dport 22 accept\n  include "/etc/nftables.d/nts.nft"\n }\n}'
    found = nftables.find_include(PATH, [MAIN], {MAIN: text, "/etc/own.nft": own}.get)
    assert found == expected


def test_a_file_that_includes_itself_does_not_loop():
    assert nftables.find_include(PATH, [MAIN], {MAIN: f'include "{MAIN}"'}.get) is None
