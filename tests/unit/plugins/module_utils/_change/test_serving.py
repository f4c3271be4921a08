# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of the served addresses and clients. tests/functional/test_served.py compares them with chronyd."""

import ipaddress

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.serving import (
    deciding_rule,
    is_allowed,
    obstacle,
    read_serving,
    served_families,
)


def rules_of(*lines):
    return read_serving("\n".join(lines)).rules


def test_the_last_line_of_a_directive_wins():
    serving = read_serving(
        "port 11123\nPort 123\n\nntsport  14460\nbindaddress 192.0.2.1\nbindaddress 192.0.2.2\n"
        "bindaddress 2001:db8::1\nbindaddress ::\nbinddevice eth0\n"
    )
    assert (serving.port, serving.ntsport, serving.device) == (123, 14460, "eth0")
    assert (str(serving.bound[4].address), serving.bound[4].line) == ("192.0.2.2", "bindaddress 192.0.2.2")
    assert serving.bound[6].address is None


def test_without_directives_chronyd_listens_but_has_no_clients():
    serving = read_serving("")
    assert (serving.port, serving.ntsport, serving.device) == (123, 4460, "")
    assert [serving.bound[family].address for family in (4, 6)] == [None, None]
    assert served_families(serving.rules) == []


@pytest.mark.parametrize(
    ("lines", "address", "expected"),
    [
        (["allow"], "192.0.2.1", True),
        (["allow"], "2001:db8::1", True),
        (["allow 192.0.2"], "192.0.2.1", True),
        (["allow 10"], "10.1.1.1", True),
        (["allow 10/16"], "10.1.1.1", False),
        (["allow 192.0.2.9/24"], "192.0.2.1", True),
        (["allow 0.0.0.0/0", "deny 192.0.2.0/25"], "192.0.2.1", False),
        (["deny 192.0.2.0/25", "allow 0.0.0.0/0"], "192.0.2.1", False),
        (["deny 192.0.2.0/25", "allow all 0.0.0.0/0"], "192.0.2.1", True),
        # Prefixes that end within the same four bits have the same depth, where the later line wins.
        (["deny 192.0.2.0/26", "allow 192.0.2.0/25"], "192.0.2.1", True),
        (["allow 192.0.2.0/25", "deny 192.0.2.0/26"], "192.0.2.1", False),
        (["allow 192.0.2.0/24", "deny all"], "192.0.2.1", False),
        (["deny all", "allow 192.0.2.0/24"], "192.0.2.1", True),
        (["allow host.example.org"], "192.0.2.1", False),
    ],
)
def test_is_allowed_follows_allow_and_deny(lines, address, expected):
    assert is_allowed(rules_of(*lines), ipaddress.ip_address(address)) is expected


def test_deciding_rule_returns_the_winning_line():
    rules = rules_of("allow 0.0.0.0/0", "deny all 192.0.2.0/24")
    assert deciding_rule(rules, ipaddress.ip_address("192.0.2.1")).line == "deny all 192.0.2.0/24"
    assert deciding_rule(rules, ipaddress.ip_address("2001:db8::1")) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["allow 192.0.2.0/24"], [4]),
        (["allow 2001:db8::/32", "allow 127.0.0.0/8"], [6]),
        (["allow"], [4, 6]),
        (["allow 0.0.0.0/0", "deny 0.0.0.0/1", "deny 128.0.0.0/1", "allow 127.0.0.0/8"], []),
        (["allow 0.0.0.0/0", "deny 0.0.0.0/1"], [4]),
        (["allow 192.0.2.0/24", "deny 192.0.2.0/25"], [4]),
        (["allow 192.0.2.0/24", "deny 192.0.2.128/25"], [4]),
        (["allow 127.0.0.1"], [4]),
        (["allow ::1", "allow 127.0.0.0/8"], [4, 6]),
        (["allow client.example.org"], [4, 6]),
        (["deny all"], []),
    ],
)
def test_served_families_follow_the_rules(lines, expected):
    assert served_families(rules_of(*lines)) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["allow 192.0.2.0/24"], ""),
        (["allow 127.0.0.0/8"], ""),
        (["allow", "port 0", "ntsntpserver ntp.example.org"], ""),
        (["allow", "port 0"], "`port 0` closes the port"),
        ([], "no `allow` lets a client in"),
        (["deny 192.0.2.0/24"], "no `allow` lets a client in"),
        (["allow 192.0.2.0/24", "allow 127.0.0.0/8", "deny 192.0.0.0/16"], ""),
        (["allow 192.0.2.0/24", "allow 127.0.0.0/8", "deny all 192.0.0.0/16"], "`deny all 192.0.0.0/16` leaves no"),
        (["allow 192.0.2.0/24", "deny all"], "`deny all` leaves no client"),
    ],
)
def test_obstacle_names_the_directive_that_excludes_all_clients(lines, expected):
    found = obstacle(read_serving("\n".join(lines)))
    assert (found.cause.startswith(expected) and found.remedy) if expected else found is None
