# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of firewalld's rules. The texts are output of firewalld 2.3.1 and 1.3.3."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._firewall import firewalld
from ansible_collections.securetime.nts.plugins.module_utils._firewall.firewalld import State
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import (
    Desired,
    FirewallError,
    openings,
)

SERVICE_RULE = 'rule priority="4460" family="ipv4" source address="192.0.2.0/24" service name="securetime-nts" accept'
NTP_RULE = 'rule priority="4460" family="ipv4" source address="192.0.2.0/24" port port="123" protocol="udp" accept'
KE_RULE = 'rule priority="4460" family="ipv4" source address="192.0.2.0/24" port port="4460" protocol="tcp" accept'
OWN_RULE = 'rule family="ipv4" source address="9.9.9.9" port port="99" protocol="tcp" accept'
ZONES = f"""internal (active)
  target: default
  icmp-block-inversion: no
  interfaces: eth1
  sources: 10.1.0.0/16
  services: dhcpv6-client ssh
  ports:
  rich rules:

public (default, active)
  target: default
  ingress-priority: 0
  interfaces: eth0 wlan+
  sources:
  services: dhcpv6-client ssh
  ports: 9999/tcp
  rich rules:
\t{OWN_RULE}
\t{NTP_RULE}

sets (active)
  target: DROP
  interfaces:
  sources: ipset:clients
  rich rules:

trusted (active)
  target: ACCEPT
  interfaces: podman0
  sources:
  rich rules:

libvirt (active)
  target: ACCEPT
  interfaces: virbr0
  sources:
  rich rules:
\trule priority="32767" reject

work
  target: default
  interfaces:
  sources:
  rich rules:
""".replace(":\n", ": \n")
ZONE_FILE = """<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  {more}
  <rule family="ipv4" priority="4460">
    <source address="192.0.2.0/24"/>
    <service name="securetime-nts"/>
    <accept/>
  </rule>
  <rule family="ipv4">
    <source address="9.9.9.9"/>
    <port port="99" protocol="tcp"/>
    <accept/>
  </rule>
  <forward/>
</zone>
"""
SERVICE_FILE = """<?xml version="1.0" encoding="utf-8"?>
<service>
  <port port="123" protocol="udp"/>
  <port port="4460" protocol="tcp"/>
</service>
"""
PORTS = frozenset({"123/udp", "4460/tcp"})
NOTHING = State({}, {}, None)


def wanted(interfaces=None, allow=("192.0.2.0/24",)):
    desired = Desired(openings(allow, [123], [4460]), {4: interfaces, 6: interfaces})
    return firewalld.zones_for(firewalld.read_zones(ZONES), "public", desired)


def written(tmp_path, name, content):
    path = tmp_path / "etc/firewalld" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_read_zones_parses_the_listing():
    zones = firewalld.read_zones(ZONES)
    assert list(zones) == ["internal", "public", "sets", "trusted", "libvirt", "work"]
    assert (zones["public"].default, zones["public"].active, zones["work"].active) == (True, True, False)
    assert zones["public"].interfaces == ["eth0", "wlan+"]
    assert zones["public"].rules == [OWN_RULE, NTP_RULE]
    assert firewalld.runtime_rules(zones) == {"public": frozenset({NTP_RULE})}


@pytest.mark.parametrize(
    ("interfaces", "zones"),
    [
        # chronyd listens on all interfaces. An ipset can hold a client. A zone that accepts all packets needs no rule.
        (None, {"internal", "public", "sets", "libvirt"}),
        (["eth1"], {"internal", "sets"}),
        (["wlan7"], {"public", "sets"}),
        # An interface without a zone belongs to the default zone.
        (["eth7"], {"public", "sets"}),
        (["podman0"], {"sets"}),
    ],
)
def test_zones_for_selects_the_zones_of_chronyds_interfaces(interfaces, zones):
    assert set(wanted(interfaces)) == zones


def test_a_zone_with_sources_opens_for_its_own_clients_only():
    found = wanted(["eth0"], allow=["10.1.2.0/24", "192.0.2.0/24"])
    assert {each.network for each in found["internal"]} == {"10.1.2.0/24"}
    assert {each.network for each in found["public"]} == {"10.1.2.0/24", "192.0.2.0/24"}


def test_opening_needs_no_reload_and_closing_removes_the_service():
    public = {"public": openings(["192.0.2.0/24"], [123], [4460])}
    then = firewalld.target(NOTHING, None, public)
    assert then == State({"public": {SERVICE_RULE}}, {"public": {NTP_RULE, KE_RULE}}, PORTS)
    opening = firewalld.commands(NOTHING, then, "/x.xml")
    assert [command[1] for command in opening] == ["--permanent", "--permanent", "--zone=public"]
    closing = firewalld.commands(then, NOTHING, "/x.xml")
    assert closing[-1] == ["firewall-cmd", "--permanent", "--delete-service=securetime-nts"]
    assert not any("reload" in word for command in [*opening, *closing] for word in command)
    assert firewalld.commands(then, then, "/x.xml") == []
    assert firewalld.offline_commands(then, NOTHING) == [
        ["firewall-offline-cmd", "--zone=public", f"--remove-rich-rule={SERVICE_RULE}"]
    ]


def test_after_a_reload_the_loaded_service_counts_as_open_ports():
    public = {"public": openings(["192.0.2.0/24"], [123], [4460])}
    reloaded = State({"public": frozenset({SERVICE_RULE})}, {"public": frozenset({SERVICE_RULE})}, PORTS)
    assert firewalld.target(reloaded, PORTS, public) == reloaded
    # The running firewall has loaded the service with another port, which it keeps until the next reload.
    other = firewalld.target(reloaded, frozenset({"123/udp", "4461/tcp"}), public)
    assert other.runtime == {"public": {NTP_RULE, KE_RULE}}
    commands = firewalld.commands(reloaded, other, "/x.xml")
    assert [command[2][:6] for command in commands] == ["--add-", "--remo"]


def test_changed_ports_change_the_service():
    now = State({}, {}, PORTS)
    then = State({}, {}, frozenset({"123/udp", "4461/tcp"}))
    assert firewalld.commands(now, then, "/x.xml") == [
        ["firewall-cmd", "--permanent", "--service=securetime-nts", "--add-port=4461/tcp"],
        ["firewall-cmd", "--permanent", "--service=securetime-nts", "--remove-port=4460/tcp"],
    ]


def test_permanent_state_reads_firewallds_files(tmp_path):
    assert firewalld.permanent_state(str(tmp_path)) == ({}, None)
    written(tmp_path, "zones/public.xml", ZONE_FILE.format(more=""))
    written(tmp_path, "services/securetime-nts.xml", SERVICE_FILE)
    assert firewalld.permanent_state(str(tmp_path)) == ({"public": {SERVICE_RULE}}, PORTS)
    assert firewalld.foreign_users(str(tmp_path)) == []
    written(tmp_path, "zones/public.xml", ZONE_FILE.format(more='<service name="securetime-nts"/>'))
    assert firewalld.foreign_users(str(tmp_path)) == [str(tmp_path / "etc/firewalld/zones/public.xml")]
    written(tmp_path, "zones/public.xml", "<zone>")
    with pytest.raises(FirewallError, match=r"public\.xml cannot be read"):
        firewalld.permanent_state(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<accept/>", "<drop/>"),
        ("<accept/>", '<log prefix="x"/><accept/>'),
        ("<accept/>", '<accept><limit value="1/m"/></accept>'),
        ('priority="4460"', 'priority="7"'),
        ('address="192.0.2.0/24"', 'address="192.0.2.0/24" invert="True"'),
    ],
)
def test_a_rule_that_the_operator_changed_is_not_ours(tmp_path, old, new):
    written(tmp_path, "zones/public.xml", ZONE_FILE.format(more="").replace(old, new))
    assert firewalld.permanent_state(str(tmp_path))[0] == {}


def test_service_xml_lists_the_ports():
    text = firewalld.service_xml(PORTS)
    assert '<port port="123" protocol="udp"/>\n  <port port="4460" protocol="tcp"/>\n</service>\n' in text
    assert firewalld.read_service("securetime-nts\n  ports: 123/udp 4460/tcp\n  protocols: \n") == PORTS


def test_a_rule_opens_its_port_or_the_ports_of_the_service():
    (ntp,), (ke,) = firewalld.opened(NTP_RULE, None), firewalld.opened(KE_RULE, ["1/udp"])
    assert [(str(each.network), each.protocol, each.port) for each in (ntp, ke)] == [
        ("192.0.2.0/24", "udp", 123),
        ("192.0.2.0/24", "tcp", 4460),
    ]
    assert firewalld.opened(SERVICE_RULE, ["123/udp", "4460/tcp"]) == {ntp, ke}
    assert firewalld.opened(SERVICE_RULE, None) == firewalld.opened(OWN_RULE, ["123/udp"]) == set()


def test_a_diff_shows_the_rules_by_zone():
    state = State({"work": frozenset({SERVICE_RULE})}, {"b": frozenset({NTP_RULE, KE_RULE}), "a": frozenset()}, None)
    runtime = f"runtime, zone b: {NTP_RULE}\nruntime, zone b: {KE_RULE}\n"
    assert firewalld.show(state) == f"permanent, zone work: {SERVICE_RULE}\n{runtime}"
    ports = state._replace(permanent={}, runtime={}, service=frozenset({"4460/tcp", "123/udp"}))
    assert firewalld.show(ports) == "service securetime-nts: 123/udp 4460/tcp\n"
    assert firewalld.show(ports._replace(service=frozenset())) == "service securetime-nts: \n"
