# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server and its client on hosts with only IPv4 or only IPv6, where loopback has no other family either."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.serving import read_serving
from ansible_collections.securetime.nts.plugins.module_utils._change.watch import fatal_line
from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import Server, assert_served, own_addresses
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import probed
from ansible_collections.securetime.nts.tests.functional.test_verdict import Client

SUITES = ("bullseye", "bookworm", "trixie", "testing")
SECONDS = 300
# The role writes rules of both families on every host.
ALLOW = ("allow 192.0.2.0/24", "allow 2001:db8::/32", "allow 127.0.0.0/8", "allow ::1")


class Family(NamedTuple):
    """A name with one address, and the command that removes the other family from a network namespace."""

    name: str
    address: str
    script: str


FAMILIES = {
    "ipv4": Family(rooms.NAME, rooms.IPV4, "sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=1"),
    "ipv6": Family(rooms.NAME_OF_IPV6, rooms.IPV6, "ip -4 address flush dev lo"),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def room(family: str, tmp_path: Path) -> Iterator[rooms.Room]:
    with rooms.room(tmp_path / "room") as made:
        subprocess.run(made.command(["sh", "-ec", FAMILIES[family].script]), check=True)
        yield made


@pytest.mark.parametrize("suite", SUITES)
def test_a_server_and_a_client_need_no_other_family(suite: str, family: str, room: rooms.Room, tmp_path: Path) -> None:
    name, address, _script = FAMILIES[family]
    made = rooms.of_the_role(tmp_path / "pki")
    pair = (f"ntsservercert {made.server.chain}", f"ntsserverkey {made.server.key_file}")
    lines = [*pair, *ALLOW, f"ntsdumpdir {tmp_path}", "local stratum 5"]
    with rooms.chronyd(room, suite, tmp_path / "server", lines) as server:
        assert fatal_line(server.told().splitlines()) == ""
        with room.inside():
            text = (tmp_path / "server" / "chrony.conf").read_text()
            proven = Server(read_serving(text), own_addresses(), (), dict)
            assert assert_served(proven, [name], made.server.chain.read_text()) == []
            question = ProbeOptions(server=address, trusted_certs=[str(made.trusted)], system_certs=False, timeout=60.0)
            found = probed(question, gnutls.load())
            assert found["ok"], found
        client = Client(room, tmp_path / "client", suite)
        with client.run(made.trusted, ("authselectmode require", f"server {name} nts iburst minpoll 0 maxpoll 0")):
            end = time.monotonic() + SECONDS
            while (facts := client.facts())["nts"]["state"] != "authenticated" and time.monotonic() < end:
                time.sleep(0.5)
    assert (facts["nts"]["state"], facts["nts"]["reasons"]) == ("authenticated", [])
