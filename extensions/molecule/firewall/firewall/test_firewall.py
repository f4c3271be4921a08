# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An NTS server behind each firewall serves its clients alone, and the operator's rules stay."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.lab.hosts import (
    changed,
    facts,
    playbook,
    recap,
    run_module,
    wait_until,
)

SERVERS = {"ufw": 1, "firewalld": 2, "nftables": 3}
ALLOW = ["198.19.77.128/26", "fd00:6e74:73::8000/113"]
INCLUDE = "/etc/nftables.d/nts.nft"
each_server = pytest.mark.parametrize("name", SERVERS)
# Commands that print the rules.
RULES = {
    "ufw": "ufw show added",
    "firewalld": (
        "for zone in $(firewall-cmd --get-zones); do firewall-cmd --zone=$zone --list-all;"
        " firewall-cmd --permanent --zone=$zone --list-all; done"
    ),
    "nftables": "nft --stateless list ruleset",
}
OURS = re.compile(r"securetime\.nts|securetime-nts|priority=\"4460\"")


def server(name: str) -> Host:
    return get_host(f"ansible://{name}")


def firewall(name: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Return the result of the module on a server, by default with the options that the role gives."""
    given = {"allow": ALLOW, "nft_include": INCLUDE if name == "nftables" else "", **arguments}
    return run_module(server(name), "nts_firewall", _ansible_check_mode=check, _ansible_diff=True, **given)


def of_others(name: str) -> list[str]:
    """Return the rules of a server's firewall without the role's, sorted, because zones keep no order."""
    return sorted(line for line in server(name).check_output(RULES[name]).splitlines() if not OURS.search(line))


def probe(client: str, address: str, ntsport: int = 4460) -> dict[str, Any]:
    """Probe a server from a client, with the lab's root CA."""
    host = get_host(f"ansible://{client}")
    root = (Path(hosts.os.environ["LAB_STATE"]) / "nts-ca" / "root.pem").read_text()
    # The probe waits this long where a firewall drops packets.
    timeout = 20 if client == "inside" else 3
    given = {"trusted_certs_content": root, "check_dates": False, "timeout": timeout, "fail_on_error": False}
    return run_module(host, "nts_probe", server=address, ntsport=ntsport, **given)


def is_served(client: str, name: str) -> dict[str, bool]:
    """Return by address whether a client gets authenticated time from a server."""
    number = SERVERS[name]
    return {address: probe(client, address)["ok"] for address in (f"198.19.77.{number}", f"fd00:6e74:73::{number}")}


def site(*arguments: str, **variables: Any) -> str:
    return playbook("site", *arguments, variables=variables)


@pytest.fixture
def servers_again() -> Iterator[None]:
    """Restore the servers after a test."""
    yield
    changed(site())


@each_server
def test_a_client_inside_is_served_and_one_outside_is_not(name: str) -> None:
    number = SERVERS[name]
    assert set(is_served("inside", name).values()) == {True}
    # chronyd itself would serve the client outside.
    server(name).check_output("chronyc allow 198.19.77.10 && chronyc allow fd00:6e74:73::10")
    try:
        for address in (f"198.19.77.{number}", f"fd00:6e74:73::{number}"):
            found = probe("outside", address)
            assert (found["ok"], found["error"]["stage"]) == (False, "tcp"), found
        assert firewall(name, allow=[*ALLOW, "198.19.77.10", "fd00:6e74:73::10"])["changed"]
        assert set(is_served("outside", name).values()) == {True}
    finally:
        assert firewall(name)["changed"]
    assert set(is_served("outside", name).values()) == {False}
    assert get_host("ansible://inside").socket("tcp://0.0.0.0:22").is_listening
    assert get_host("ansible://outside").addr(f"198.19.77.{number}").port(22).is_reachable


@each_server
def test_check_mode_predicts_the_changes_of_a_run(name: str) -> None:
    others = of_others(name)
    there = firewall(name, check=True)
    assert (there["changed"], there["diff"], there["firewall"]) == (False, [], name)
    other = {"allow": ["198.19.77.128/25", "fd00:6e74:73::8001"], "tcp_ports": [4461], "udp_ports": [123, 319]}
    predicted = firewall(name, check=True, **other)
    assert firewall(name)["changed"] is False
    done = firewall(name, **other)
    assert (predicted["changed"], predicted["diff"]) == (True, done["diff"])
    again = firewall(name, **other)
    assert (again["changed"], again["diff"]) == (False, [])
    back = firewall(name, check=True)
    assert (back["diff"][0]["before"], back["diff"][0]["after"]) == (
        done["diff"][0]["after"],
        done["diff"][0]["before"],
    )
    assert of_others(name) == others
    assert firewall(name)["diff"] == back["diff"]
    assert set(is_served("inside", name).values()) == {True}


@each_server
def test_refused_rules_change_nothing(name: str) -> None:
    rules = server(name).check_output(RULES[name])
    files = server(name).check_output("cat /etc/nftables.d/* /etc/ufw/user* /etc/firewalld/zones/*.xml 2>&1 || true")
    failed = firewall(name, udp_ports=[123, 99999], tcp_ports=[4460, 4470])
    assert failed["failed"], failed
    assert "The rules are what they were before." in failed["msg"]
    assert {"ufw": "Bad port", "firewalld": "INVALID_PORT: 99999", "nftables": "out of range"}[name] in failed["msg"]
    assert sorted(server(name).check_output(RULES[name]).splitlines()) == sorted(rules.splitlines())
    assert (
        server(name).check_output("cat /etc/nftables.d/* /etc/ufw/user* /etc/firewalld/zones/*.xml 2>&1 || true")
        == files
    )
    assert firewall(name)["changed"] is False


@each_server
def test_the_rules_survive_a_reload(name: str) -> None:
    reload = {"ufw": "ufw reload", "firewalld": "firewall-cmd --reload", "nftables": "systemctl reload nftables"}
    ours = sorted(line for line in server(name).check_output(RULES[name]).splitlines() if OURS.search(line))
    assert ours
    # fail2ban adds such a rule, which a reload of firewalld by the role would drop.
    if name == "firewalld":
        assert "9999/tcp" in server(name).check_output("firewall-cmd --list-ports")
    server(name).check_output(reload[name])
    if name != "firewalld":
        assert sorted(line for line in server(name).check_output(RULES[name]).splitlines() if OURS.search(line)) == ours
    assert set(is_served("inside", name).values()) == {True}
    assert set(is_served("outside", name).values()) == {False}
    assert firewall(name)["changed"] is False


def test_the_zone_of_a_source_is_opened_too() -> None:
    host = server("firewalld")
    zone = "--zone=internal --add-source=198.19.77.128/26"
    host.check_output(f"firewall-cmd {zone} && firewall-cmd --permanent {zone}")
    try:
        assert is_served("inside", "firewalld") == {"198.19.77.2": False, "fd00:6e74:73::2": True}
        changed(site("--limit", "firewalld", "--tags", "firewall"))
        assert set(is_served("inside", "firewalld").values()) == {True}
    finally:
        zone = zone.replace("--add", "--remove")
        host.check_output(f"firewall-cmd {zone} && firewall-cmd --permanent {zone}")
    assert "internal" in firewall("firewalld")["diff"][0]["before"]
    assert "securetime-nts" not in host.check_output("firewall-cmd --permanent --zone=internal --list-all")


def test_an_unchanged_server_runs_one_task_and_a_client_none() -> None:
    output = site("--limit", "nftables,inside", "--diff")
    assert set(changed(output).values()) == {0}
    tasks = re.findall(r"^TASK \[(.*?)\] .*\n((?:.+\n)*)", output, re.MULTILINE)
    assert [hosts for task, hosts in tasks if "Firewall |" in task] == ["ok: [nftables]\n"], tasks


def test_two_firewalls_are_an_error() -> None:
    host = server("ufw")
    host.check_output(
        "nft 'table inet mine { chain in { type filter hook input priority 10; policy accept;"
        " ct state established accept; tcp dport 22 accept; drop; }; }'"
    )
    try:
        output = site("--limit", "ufw", "--tags", "firewall")
        assert recap(output)["ufw"]["failed"] == 1
        assert "ufw and nftables (chain inet mine in)" in " ".join(output.split())
    finally:
        host.check_output("nft delete table inet mine")


def test_the_role_does_not_take_over_a_rule_of_the_operator() -> None:
    added = server("ufw").check_output("ufw show added").splitlines()
    assert "ufw allow from 198.19.77.128/26 to any port 123 proto udp comment 'NTP'" in added
    assert "ufw allow from 198.19.77.128/26 to any port 4460 proto tcp comment 'securetime.nts: NTS-KE'" in added


def test_nftables_works_with_an_outer_include_and_without_one() -> None:
    host = server("nftables")
    host.check_output("cp /etc/nftables.conf /root/kept.conf")
    try:
        host.check_output(
            f"sed -i '/include/d' /etc/nftables.conf; echo 'include \"/etc/nftables.d/*.nft\"' >>/etc/nftables.conf;"
            f" : >{INCLUDE}; nft -f /etc/nftables.conf"
        )
        assert firewall("nftables")["changed"]
        assert "table inet filter" in host.file(INCLUDE).content_string
        host.check_output("nft -f /etc/nftables.conf")
        assert firewall("nftables")["changed"] is False
        assert set(is_served("inside", "nftables").values()) == {True}
        # Packets would never reach an include behind a rule that drops everything.
        host.check_output("nft add rule inet filter input counter drop")
        assert "The last rule of the chain inet filter input refuses" in firewall("nftables")["msg"]
        host.check_output(f": >{INCLUDE}; nft -f /etc/nftables.conf")
        by_hand = firewall("nftables", nft_include="")["by_hand"]
        assert len(by_hand) == 4
        assert set(is_served("inside", "nftables").values()) == {False}
        host.check_output("; ".join(by_hand))
        assert firewall("nftables", nft_include="")["by_hand"] == []
        assert set(is_served("inside", "nftables").values()) == {True}
        missing = firewall("nftables", nft_include="/etc/other.nft")
        assert "/etc/other.nft (chrony_nts_firewall_nft_include) is not included" in missing["msg"]
    finally:
        host.check_output(
            f"cp /root/kept.conf /etc/nftables.conf; : >{INCLUDE}; nft -f /etc/nftables.conf;"
            " nft add table inet fail2ban"
        )
        firewall("nftables")
    assert set(is_served("inside", "nftables").values()) == {True}


def test_iptables_rules_are_left_to_the_operator() -> None:
    host = server("nftables")
    host.check_output(
        "nft flush ruleset; for each in iptables ip6tables; do $each -A INPUT -p tcp --dport 22 -j ACCEPT;"
        " $each -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; $each -A INPUT -p ipv6-icmp -j ACCEPT;"
        " $each -A INPUT -j REJECT; done"
    )
    try:
        found = firewall("nftables")
        assert (found["firewall"], len(found["by_hand"])) == ("iptables", 4)
        assert any("service iptables save" in str(warning) for warning in found["warnings"])
        host.check_output("; ".join(found["by_hand"]))
        assert firewall("nftables")["by_hand"] == []
        assert set(is_served("inside", "nftables").values()) == {True}
    finally:
        host.check_output(f"nft flush ruleset; : >{INCLUDE}; nft -f /etc/nftables.conf; nft add table inet fail2ban")
        firewall("nftables")
    assert set(is_served("inside", "nftables").values()) == {True}


def is_up(name: str) -> bool:
    """Return whether a host has finished its boot."""
    # testinfra raises this until sshd listens.
    with contextlib.suppress(RuntimeError):
        return server(name).run("systemctl is-system-running").stdout.strip() in ("running", "degraded")
    return False


def test_the_rules_survive_a_reboot() -> None:
    variables = {name: server(name).backend.get_variables() for name in SERVERS}

    def reboot(name: str) -> None:
        subprocess.run(
            ["podman", "restart", "--time", "20", variables[name]["lab_container"]], check=True, capture_output=True
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(reboot, SERVERS))
    hosts._put.cache_clear()
    for name in SERVERS:
        wait_until(lambda name=name: is_up(name), f"{name} is not up", pause_seconds=1)
        # chronyd needs a moment until it serves its own clock.
        wait_until(lambda name=name: all(is_served("inside", name).values()), f"{name} serves no client inside")
        assert set(is_served("outside", name).values()) == {False}
        assert firewall(name)["changed"] is False


@pytest.mark.usefixtures("servers_again")
def test_the_ports_of_a_host_that_stops_being_a_server_close() -> None:
    become_clients = {
        "chrony_nts_site_servers": "none",
        "chrony_nts_site_clients": ",".join(SERVERS),
        "chrony_nts_sources": ["198.19.77.99"],
        "chrony_nts_server_allow": [],
        "chrony_nts_directives": {},
        "chrony_nts_verify": "none",
    }
    others = {name: of_others(name) for name in SERVERS}
    # The role rolls back a client configuration without an answering source: the server serves on, and its ports are
    # open again. In batches, the role itself waits for the goal.
    proven = {"chrony_nts_verify": "authenticated", "chrony_nts_verify_timeout": 5}
    proven |= {"chrony_nts_rollback_on_failed_verify": True, "chrony_nts_site_serial": 1}
    failed = site("--limit", "ufw", **{**become_clients, **proven})
    assert recap(failed)["ufw"]["failed"] == 1, failed[-4000:]
    assert "Firewall | Reopen" in failed
    assert set(is_served("inside", "ufw").values()) == {True}
    assert set(changed(site(**become_clients))) == set(SERVERS)
    for name in SERVERS:
        assert not OURS.search(server(name).check_output(RULES[name])), name
        assert of_others(name) == others[name]
        assert facts(server(name))["environment"]["firewall_rules"] == []
        assert not server(name).socket("tcp://0.0.0.0:4460").is_listening
    output = site(**become_clients)
    assert set(changed(output).values()) == {0}
    assert "Firewall |" not in output


def test_restore_removes_the_rules() -> None:
    others = {name: of_others(name) for name in SERVERS}
    changed(playbook("restore", "--limit", ",".join(SERVERS)))
    for name in SERVERS:
        assert not OURS.search(server(name).check_output(RULES[name])), name
        assert of_others(name) == others[name]
        assert server(name).run("ls -d /var/lib/securetime-nts").rc != 0
        running = {"ufw": "ufw status | grep 'Status: active'", "firewalld": "firewall-cmd --state"}
        assert server(name).run(running.get(name, "nft list chain inet filter input")).rc == 0
