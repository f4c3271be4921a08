# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests with the output of firewall programs. The scenario `firewall` tests real firewalls."""

import json

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import NOT_RUN, CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._firewall import active, change
from ansible_collections.securetime.nts.plugins.module_utils._firewall.change import Request, desired_of, manage
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import FirewallError

ADDRESSES = """1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 192.0.2.1/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever
2: eth0    inet6 2001:db8::1/64 scope global \\       valid_lft forever preferred_lft forever
3: eth1    inet 198.51.100.1/24 scope global eth1\\       valid_lft forever preferred_lft forever
"""
ZONES = "public (default, active)\n  target: default\n  interfaces: eth0\n  sources: \n  rich rules: \n"
ALLOW = ["192.0.2.0/24"]


def chains(*rows):
    base = {"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "accept"}
    return json.dumps({"nftables": [{"chain": {**base, **row}} for row in rows]})


def host(tmp_path, **outputs):
    """Return a host with these programs and their output; all others are missing."""

    def run(argv):
        output = outputs.get(argv[0].replace("-", "_"))
        if output is None:
            return CommandResult(NOT_RUN, "", "not found")
        return output if isinstance(output, CommandResult) else CommandResult(0, output, "")

    return System(run, lambda *_paths: None, str(tmp_path))


def bound(tmp_path, *addresses, allow=("192.0.2.0/24", "2001:db8::/32"), device=""):
    request = Request(allow, [123], [], addresses, device)
    desired = desired_of(host(tmp_path, ip=ADDRESSES), request)
    return {opening.family: desired.interfaces[opening.family] for opening in desired.openings}


def test_desired_interfaces_follow_bindaddress_and_binddevice(tmp_path):
    assert bound(tmp_path) == {4: None, 6: None}
    assert bound(tmp_path, "0.0.0.0", "::") == {4: None, 6: None}
    # Without an address a family is unbound. Of several addresses the last one wins.
    assert bound(tmp_path, "192.0.2.1", "198.51.100.1") == {4: ["eth1"], 6: None}
    assert bound(tmp_path, "2001:DB8:0::1") == {4: None, 6: ["eth0"]}
    # This host gets the address only by a failover.
    assert bound(tmp_path, "192.0.2.99") == {4: None, 6: None}
    assert bound(tmp_path, device="eth1") == {4: ["eth1"], 6: ["eth1"]}


def test_loopback_needs_no_opening(tmp_path):
    assert bound(tmp_path, "127.0.0.1") == {6: None}
    assert bound(tmp_path, allow=["127.0.0.0/8", "::1"]) == {}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({}, []),
        ({"firewall_cmd": CommandResult(252, "", "FirewallD is not running")}, []),
        ({"firewall_cmd": ZONES}, ["firewalld"]),
        ({"nft": chains({})}, []),
        ({"nft": chains({"policy": "drop"})}, ["nftables"]),
        # For example, a container may not list the rules.
        ({"nft": CommandResult(1, "", "Operation not permitted (you must be root)")}, []),
        ({"nft": chains({"table": "firewalld", "policy": "drop"}), "firewall_cmd": ZONES}, ["firewalld"]),
        ({"nft": chains({"policy": "drop"}), "firewall_cmd": ZONES}, ["firewalld", "nftables"]),
        ({"nft": chains({"family": "ip", "name": "INPUT"}), "iptables": "-P INPUT DROP\n"}, ["iptables"]),
        ({"nft": chains({"family": "ip", "name": "INPUT"}), "iptables": "-P INPUT ACCEPT\n"}, []),
        ({"iptables": "-P INPUT DROP\n"}, ["iptables"]),
        # nft lists no chain of iptables.
        ({"nft": chains(), "iptables": "-P INPUT DROP\n"}, []),
    ],
)
def test_only_filtering_firewalls_are_active(tmp_path, monkeypatch, outputs, expected):
    monkeypatch.setattr(active, "read_file", lambda _path: "")
    if isinstance(outputs.get("nft"), str) and '"filter"' in outputs["nft"]:
        monkeypatch.setattr(active, "list_rules", lambda *_arguments: [])
    assert list(active.find_active(host(tmp_path, **outputs)).active) == expected


@pytest.mark.parametrize(
    ("enabled", "status", "expected"), [("yes", "active", ["ufw"]), ("yes", "inactive", []), ("no", "", [])]
)
def test_ufw_is_active_if_its_status_says_so(tmp_path, monkeypatch, enabled, status, expected):
    monkeypatch.setattr(active, "read_file", lambda path: f"ENABLED={enabled}\n" if path == active.UFW_SETTINGS else "")
    # ufw keeps its rules in the chains of iptables.
    found = active.find_active(host(tmp_path, ufw=f"Status: {status}\n", iptables="-P INPUT DROP\n"))
    assert list(found.active) == (expected or ["iptables"])


def test_a_firewall_that_does_not_answer_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(active, "read_file", lambda _path: "")
    for output in (CommandResult(253, "", "Authorization failed.\n"), CommandResult(251, "", "RUNNING_BUT_FAILED")):
        with pytest.raises(FirewallError, match=r"(Authorization failed|RUNNING_BUT_FAILED)\. Nothing was changed"):
            active.find_active(host(tmp_path, firewall_cmd=output))


def test_two_firewalls_are_an_error_except_for_a_removal(tmp_path, monkeypatch):
    monkeypatch.setattr(active, "list_rules", lambda *_arguments: [])
    monkeypatch.setattr(change, "firewalls_with_rules", list)
    both = host(tmp_path, firewall_cmd=ZONES, nft=chains({"policy": "drop"}))
    with pytest.raises(FirewallError, match=r"firewalld and nftables \(chain inet filter input\)\. Each would"):
        manage(both, Request(ALLOW, [123], [4460]), check=True)
    assert manage(host(tmp_path), Request()).changed is False


def test_without_an_active_firewall_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(active, "read_file", lambda _path: "")
    # A temporarily stopped firewall keeps our rules.
    monkeypatch.setattr(change, "firewalls_with_rules", lambda: ["firewalld", "ufw"])
    report = manage(host(tmp_path), Request(ALLOW, [123], [4460]))
    assert (report.firewall, report.changed, report.opened, report.diffs) == ("none", False, [], [])
    assert list(tmp_path.iterdir()) == []


class Unreadable(change.Firewall):
    """nftables, whose rules nft can neither change nor list."""

    name = "nftables"
    target, show = None, None

    def read_state(self):
        return active.list_rules(self.host, ("inet", "filter", "input"))

    def change(self, now, then):
        self.run(["nft", "--file", "rules"])


def test_a_failed_rollback_does_not_say_that_nothing_was_changed(tmp_path):
    refusing = host(tmp_path, nft=CommandResult(1, "", "Operation not permitted\n"))
    with pytest.raises(FirewallError) as refused:
        change._commit(refusing, [(Unreadable(refusing), [], [{}])], {})
    assert str(refused.value) == (
        "`nft --file rules` failed: Operation not permitted. The rules of nftables could not be put back: nft does not"
        " show the chain inet filter input: Operation not permitted."
    )


def test_iptables_reports_commands_for_the_operator(tmp_path, monkeypatch):
    monkeypatch.setattr(active, "read_file", lambda _path: "")
    monkeypatch.setattr(change, "firewalls_with_rules", list)
    filtered = host(tmp_path, iptables="-P INPUT DROP\n-A INPUT -p udp -m udp --dport 123 -j ACCEPT\n")
    report = manage(filtered, Request([*ALLOW, "2001:db8::/32"], [123], [4460]))
    assert (report.firewall, report.changed) == ("iptables", False)
    assert len(report.by_hand) == 1
    assert "--dport 4460" in report.by_hand[0]
    assert "netfilter-persistent save" in report.warnings[0]
    assert report.by_hand[0] in report.warnings[0]
