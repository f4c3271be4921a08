# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests with the output of firewall programs. The scenario `firewall` tests real firewalls."""

import functools
import json

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import NOT_RUN, CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._firewall import active, change, firewalld
from ansible_collections.securetime.nts.plugins.module_utils._firewall.change import Request, desired_of, manage
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import FirewallError, Opening, openings

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


# --- plans for firewalld and ufw, which the scenario `firewall` runs ---

HEAD = 'rule priority="4460" family="ipv4" source address="192.0.2.0/24"'
BY_SERVICE = f'{HEAD} service name="securetime-nts" accept'
BY_PORTS = {f'{HEAD} port port="123" protocol="udp" accept', f'{HEAD} port port="4460" protocol="tcp" accept'}
PORTS = frozenset({"123/udp", "4460/tcp"})
SERVICE_FILE = '<service><port port="123" protocol="udp"/><port port="4460" protocol="tcp"/></service>'
ZONE_FILE = """<zone>{more}<rule family="ipv4" priority="4460">
<source address="192.0.2.0/24"/><service name="securetime-nts"/><accept/></rule></zone>
"""
REQUEST = Request(ALLOW, [123], [4460])


@pytest.fixture
def firewalld_files(tmp_path, monkeypatch):
    """Return a function that writes a file of firewalld, which has none at first."""
    monkeypatch.setattr(active, "read_file", lambda _path: "")
    monkeypatch.setattr(change, "firewalls_with_rules", list)
    for name in ("permanent_state", "foreign_users"):
        monkeypatch.setattr(firewalld, name, functools.partial(getattr(firewalld, name), str(tmp_path)))

    def write(name, text):
        path = tmp_path / "etc/firewalld" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def running(tmp_path, zones=ZONES, service=""):
    """Return a host with a running firewalld; any other command than the two that read fails the test."""
    read = {"--list-all-zones": zones, "--info-service=securetime-nts": service}

    def run(argv):
        if argv[0] == "firewall-cmd":
            assert argv[1:] in [[option] for option in read], argv
            return CommandResult(0, read[argv[1]], "")
        return CommandResult(NOT_RUN, "", "not found")

    return System(run, lambda *_paths: None, str(tmp_path / "state"))


def test_a_running_firewalld_gets_ports_now_and_the_service_for_its_next_start(firewalld_files, tmp_path):
    report = manage(running(tmp_path), REQUEST, check=True)
    assert (report.firewall, report.changed, len(report.diffs)) == ("firewalld", True, 1)
    assert report.diffs[0]["before"] == ""
    assert report.diffs[0]["after"].splitlines() == [
        "service securetime-nts: 123/udp 4460/tcp",
        f"permanent, zone public: {BY_SERVICE}",
        *(f"runtime, zone public: {rule}" for rule in sorted(BY_PORTS)),
    ]


@pytest.mark.parametrize(("loaded", "changed"), [("123/udp 4460/tcp", False), ("123/udp 4461/tcp", True)])
def test_a_reloaded_firewalld_counts_by_the_ports_that_it_has_loaded(loaded, changed, firewalld_files, tmp_path):
    firewalld_files("zones/public.xml", ZONE_FILE.format(more=""))
    firewalld_files("services/securetime-nts.xml", SERVICE_FILE)
    zones = ZONES.replace("rich rules: ", f"rich rules: \n\t{BY_SERVICE}")
    report = manage(running(tmp_path, zones, f"securetime-nts\n  ports: {loaded}\n"), REQUEST, check=True)
    assert report.changed is changed


def test_a_service_that_a_rule_of_the_operator_names_stays(firewalld_files, tmp_path, monkeypatch):
    monkeypatch.setattr(change, "firewalls_with_rules", lambda: ["firewalld"])
    path = firewalld_files("zones/public.xml", ZONE_FILE.format(more='<service name="securetime-nts"/>'))
    firewalld_files("services/securetime-nts.xml", SERVICE_FILE)
    report = manage(running(tmp_path), Request(), check=True)
    assert report.diffs[0]["after"] == "service securetime-nts: 123/udp 4460/tcp\n"
    assert report.warnings[0].startswith(f"{path} names the service securetime-nts in a rule that is not of this")
    # Other ports of the collection change the service all the same.
    report = manage(running(tmp_path), Request(ALLOW, [123], [4461]), check=True)
    assert report.diffs[0]["after"].splitlines()[0] == "service securetime-nts: 123/udp 4461/tcp"
    assert report.warnings == []
    firewalld_files("zones/public.xml", ZONE_FILE.format(more=""))
    assert manage(running(tmp_path), Request(), check=True).diffs[0]["after"] == ""


def test_a_stopped_firewalld_is_read_from_its_files(firewalld_files, tmp_path, monkeypatch):
    monkeypatch.setattr(change, "firewalls_with_rules", lambda: ["firewalld"])
    firewalld_files("zones/public.xml", ZONE_FILE.format(more=""))
    firewalld_files("services/securetime-nts.xml", SERVICE_FILE)
    report = manage(host(tmp_path), Request(), check=True)
    assert (report.firewall, report.changed) == ("none", True)
    assert f"permanent, zone public: {BY_SERVICE}\n" in report.diffs[0]["before"]
    assert "runtime" not in report.diffs[0]["before"]
    monkeypatch.setattr(change, "find_program", lambda _name: None)
    with pytest.raises(FirewallError, match="firewalld is no longer installed, but its files in /etc/firewalld hold"):
        manage(host(tmp_path), Request())


def test_after_a_change_the_zones_of_firewalld_are_read_again(firewalld_files, tmp_path):
    reading = change.Firewalld(running(tmp_path), active.ActiveFirewalls(firewalld.read_zones(""), "public"))
    assert reading.read_state().runtime == {}
    reading.host = running(tmp_path, ZONES.replace("rich rules: ", f"rich rules: \n\t{min(BY_PORTS)}"))
    assert reading.read_state().runtime == {}
    reading.is_fresh = False
    assert reading.read_state().runtime == {"public": {min(BY_PORTS)}}
    stopped = change.Firewalld(System(lambda argv: pytest.fail(str(argv)), None), active.ActiveFirewalls())
    stopped.is_fresh = False
    assert stopped.read_state() == firewalld.State({}, {}, None)


OURS = "### tuple ### allow {} {} 0.0.0.0/0 any 192.0.2.0/24 in comment=73656375726574696d652e6e74733a204e5453\n"


@pytest.fixture
def ufw(tmp_path, monkeypatch):
    """Return a function that plans a request with these files of an active ufw."""
    paths = [str(tmp_path / name) for name in ("user.rules", "user6.rules")]
    monkeypatch.setattr(change, "UFW_RULES", paths)
    monkeypatch.setattr(change, "firewalls_with_rules", list)

    def plan(request, rules="", rules6="", ipv6="yes", check=True):
        files = {paths[0]: rules, paths[1]: rules6, active.UFW_SETTINGS: "ENABLED=yes\n"}
        files[active.UFW_DEFAULTS] = f"IPV6={ipv6}\n"
        for module in (active, change):
            monkeypatch.setattr(module, "read_file", lambda path: files.get(path, ""))
        return manage(host(tmp_path, ufw="Status: active\n"), request, check)

    return plan


def shown(*wanted):
    """Return the lines of a diff for these openings."""
    return change.ufw.show(wanted).splitlines()


def test_ufw_gets_the_openings_that_no_rule_has_and_loses_those_of_before(ufw):
    operators = "### tuple ### allow udp 123 0.0.0.0/0 any 192.0.2.0/24 in\n"
    former = OURS.format("tcp", 4461)
    report = ufw(REQUEST, operators + former)
    assert (report.firewall, report.changed, report.warnings) == ("ufw", True, [])
    assert report.diffs[0]["before"].splitlines() == shown(Opening("192.0.2.0/24", "tcp", 4461))
    assert report.diffs[0]["after"].splitlines() == shown(Opening("192.0.2.0/24", "tcp", 4460))
    assert ufw(REQUEST, OURS.format("udp", 123) + OURS.format("tcp", 4460)).changed is False


@pytest.mark.parametrize(("ipv6", "families"), [("yes", [4, 6]), ("no", [4])])
def test_ufw_without_ipv6_opens_ports_for_ipv4_alone(ipv6, families, ufw):
    allow = [*ALLOW, "2001:db8::/32"]
    report = ufw(Request(allow, [123], [4460]), ipv6=ipv6)
    assert report.diffs[0]["after"].splitlines() == shown(*openings(allow, [123], [4460], families))
    assert [text.partition(" in ")[0] for text in report.warnings] == ["IPV6 is not yes"] * (2 - len(families))
    # IPv4 clients do not miss it.
    assert ufw(REQUEST, ipv6=ipv6).warnings == []


def test_a_rule_of_ufw_that_refuses_clients_is_named(ufw):
    report = ufw(REQUEST, "### tuple ### deny udp 123 0.0.0.0/0 any 192.0.2.0/24 in\n")
    (warning,) = report.warnings
    assert warning == (
        "ufw has rules that refuse clients in chrony_nts_server_allow: deny udp 123 0.0.0.0/0 any 192.0.2.0/24 in. They"
        " are not of this collection, and stay. Remove them, or the subnets."
    )
    report = ufw(Request(["2001:db8::/32"], [123], []), "", "### tuple ### deny any any ::/0 any 2001:db8::/16 in\n")
    assert "deny any any ::/0" in report.warnings[0]


def test_rules_of_a_ufw_that_is_gone_are_named(ufw, monkeypatch):
    monkeypatch.setattr(change, "find_program", lambda _name: None)
    with pytest.raises(FirewallError, match=r"ufw is no longer installed.*The rules are what they were before\.$"):
        ufw(REQUEST, check=False)
