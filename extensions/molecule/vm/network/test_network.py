# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that loses, delays, reorders, cuts or blocks packets between a client and its only server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.securetime.nts.tests.lab import qemu
from ansible_collections.securetime.nts.tests.lab.vms import (
    ask_server,
    both,
    facts,
    known,
    note,
    settled,
)

pytestmark = pytest.mark.usefixtures("frozen")

SOURCES = "/etc/chrony/nts-sources.d/securetime-nts.sources"
CHAIN = "nft add table inet bad; nft add chain inet bad in '{ type filter hook input priority -200; }'"
RULE = f"{CHAIN}; nft add rule inet bad in"
# Commands on the server and on the client. netem on both sides drops and delays outgoing packets.
BAD = {
    "loss 10 %": ("tc qdisc add dev eth1 root netem loss 10%", "tc qdisc add dev eth1 root netem loss 10%"),
    # At 30 % loss most key exchanges with an emulated server take more than chronyd's 2 s, and its retry intervals grow
    # to minutes.
    "loss 20 %": ("tc qdisc add dev eth1 root netem loss 20%", "tc qdisc add dev eth1 root netem loss 20%"),
    "delay 300 ms": ("tc qdisc add dev eth1 root netem delay 300ms", ""),
    "reordering": (
        "tc qdisc add dev eth1 root netem delay 100ms reorder 50% 50%",
        "tc qdisc add dev eth1 root netem delay 100ms reorder 50% 50%",
    ),
    # IPv6 needs an MTU of 1280 and is gone then. A name with an unusable IPv6 address is another fault.
    "MTU 576": ("ip link set eth1 mtu 576", "ip link set eth1 mtu 576; sed -i '/^2001.*nts1/d' /etc/hosts"),
    "IPv6 only": ("ip -4 address flush dev eth1", "ip -4 address flush dev eth1; sed -i '/^192.*nts1/d' /etc/hosts"),
}
# The same commands, the expected text of the facts, and the kind of the probe's error.
WORSE = {
    "UDP 123 blocked": (
        f"{RULE} udp dport 123 drop",
        "",
        r"nts1: the key exchange succeeded, but none of [4-8] NTP requests to UDP port 123 of .* was answered",
        "ntp_unanswered",
    ),
    "TCP 4460 blocked": (
        f"{RULE} tcp dport 4460 drop",
        "",
        r"nts1: .*not answered within 16 s on TCP port 4460",
        "timed_out",
    ),
    "TCP 4460 rejected": (
        f"{RULE} tcp dport 4460 reject with tcp reset",
        "",
        r"nts1: .*refuses connections to TCP port 4460",
        "refused",
    ),
    "DNS dead": (
        "",
        "sed -i '/nts1/d' /etc/hosts; echo nameserver 192.0.2.99 >/etc/resolv.conf",
        r"nts1: it has no address: .*look at the name and at the DNS",
        "resolver_failed",
    ),
}
# chronyd's maxslewrate is 83333.333 ppm by default.
MAX_SLEW = 0.0834
UNDO = (
    "tc qdisc del dev eth1 root 2>/dev/null || true\nnft delete table inet bad 2>/dev/null || true\n"
    "ip link set eth1 mtu 1500\nsystemctl restart systemd-networkd\n"
    "cp /root/hosts /etc/hosts\necho nameserver 10.0.2.3 >/etc/resolv.conf\n"
)


@pytest.fixture(scope="module", autouse=True)
def one_source() -> None:
    """Let nts2 have nts1 for its only source, with a short polling interval."""
    both(qemu.thaw)
    # The VMs do not go on at the same instant, and the offset would stay for as long as chronyd slews it.
    settled(known()["nts2"])
    qemu.inside(known()["nts2"], f"echo 'server nts1 iburst nts minpoll 2 maxpoll 2' >{SOURCES}\n")
    both(lambda each: qemu.inside(each, "cp /etc/hosts /root/hosts\nmodprobe sch_netem\n"))


@pytest.fixture(autouse=True)
def good_again() -> Iterator[None]:
    yield
    both(lambda each: qemu.inside(each, UNDO))


def spoil(server: str, client: str) -> None:
    """Degrade the network, and start chronyd without its saved state."""
    qemu.inside(known()["nts1"], server)
    forget = "rm -f /var/lib/chrony/*.nts /var/lib/chrony/*.dat"
    qemu.inside(known()["nts2"], f"systemctl stop chronyd\n{forget}\n{client}\nsystemctl start chronyd\n")


def probe() -> dict[str, Any]:
    """Probe the server from the client's VM."""
    return ask_server("nts2", "nts1")


@pytest.mark.parametrize("case", BAD)
def test_a_bad_network_only_delays_authentication(case: str) -> None:
    spoil(*BAD[case])
    found = facts(known()["nts2"], "authenticated", 600)
    source = found["sources"][0]
    offset = found["tracking"]["offset_seconds"]
    note(f"network {case}: authenticated after {found['waited_seconds']} s, offset {offset} s")
    assert found["reached"], found["nts"]
    assert found["nts"]["state"] == "authenticated"
    assert abs(offset) < 0.5
    if case == "delay 300 ms":
        # No client can measure half of a one-way delay. A clock that chronyd slews measures the whole with an error.
        assert found["tracking"]["root_delay_seconds"] > 0.3 * (1 - MAX_SLEW), found["tracking"]
    if case == "IPv6 only":
        assert source["address"].startswith("2001:db8:"), source
    # chronyd closes a key exchange after 2 seconds, which the delay and an emulated processor can use up.
    for _attempt in range(10):
        probed = probe()
        note(f"network {case}: probe ok {probed['ok']}, {probed.get('error')}")
        if probed["ok"]:
            break
    # TCP may give up first.
    assert probed["ok"] or "loss" in case, probed


@pytest.mark.parametrize("case", WORSE)
def test_a_blocked_network_is_reported(case: str) -> None:
    server, client, reason, kind = WORSE[case]
    spoil(server, client)
    # An emulated server may be too slow for the first key exchange, which gives another reason for a while.
    deadline = time.monotonic() + 120
    found = facts(known()["nts2"])
    while not re.search(reason, " ".join(found["nts"]["reasons"])):
        assert time.monotonic() < deadline, found["nts"]
        time.sleep(2)
        found = facts(known()["nts2"])
    assert found["nts"]["state"] == "failed", found["nts"]
    probed = probe()
    assert not probed["ok"], probed
    assert probed["error"]["kind"] == kind, probed["error"]
    note(f"network {case}: {found['nts']['reasons'][0]} Probe: {probed['error']['stage']}, {kind}")


def test_a_client_follows_a_server_to_its_new_address() -> None:
    spoil("true", "true")
    assert facts(known()["nts2"], "authenticated", 120)["reached"]
    qemu.inside(
        known()["nts1"],
        "ip address add 192.0.2.77/24 dev eth1\nip -6 address flush dev eth1\nip address del 192.0.2.10/24 dev eth1\n",
    )
    qemu.inside(known()["nts2"], "sed -i -e '/nts1/d' -e '$a 192.0.2.77 nts1' /etc/hosts\n")
    begin = time.monotonic()
    while time.monotonic() < begin + 400:
        found = facts(known()["nts2"])
        source = found["sources"][0]
        if source["address"] == "192.0.2.77" and source["nts"]["state"] == "authenticated":
            break
        time.sleep(5)
    note(f"network: a server that moved is followed at its new address after {time.monotonic() - begin:.0f} s")
    assert source["address"] == "192.0.2.77", source
    assert source["nts"]["state"] == "authenticated", source
