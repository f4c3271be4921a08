# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that share their keys: a rotation on one server after the other costs no client a cookie.

Real chronyds of four versions. Each makes key exchanges and names the other as the NTP server, so every NTP answer
proves that one server decrypted a cookie of the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.serving import read_serving
from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._pair import served
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import CookieKeys, new_keys
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import Server, own_addresses
from ansible_collections.securetime.nts.plugins.module_utils._pair.sharing import assert_used, key_location, report
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import probed, wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import Chrony, Room

# chrony 4.0, 4.3, 4.6.1 and the newest: the server of the key exchange, and the NTP server.
SUITES = ("bullseye", "bookworm", "trixie", "testing")
PAIRS = [("bullseye", "testing"), ("bookworm", "trixie"), ("testing", "bullseye"), ("trixie", "testing")]
# A newer server must not agree on an AEAD that an older server of the set cannot decrypt. 4.6.1 added this directive.
HAS_AEADS = ("trixie", "testing")
AEADS = "ntsaeads 15"
KE, NTP, CLIENT = "127.0.0.11", "127.0.0.12", "127.0.0.13"
NAME = "nts.test"
SECONDS = 100
# A client has eight cookies, so after nine answers all of them are new.
ALL_COOKIES = 9


class Counted(NamedTuple):
    """A client's key exchanges, all requests that a server could not authenticate, and the client's NTS NAKs.

    `refused` has the errors of other clients' probes.
    """

    exchanges: int
    unauthenticated: int
    naks: int
    refused: list[str]


class Site:
    """Two servers, their client, and the keys."""

    def __init__(self, room: Room, trusted: Path, ke: Chrony, ntp: Chrony, client: Chrony) -> None:
        self.room, self.trusted, self.servers, self.client = room, trusted, (ke, ntp), client
        self.probes = 0

    def use(self, server: Chrony, keys: CookieKeys) -> None:
        """Give a server other keys, as the module does."""
        (server.folder / "ntskeys").write_text(keys.text())
        assert server.ask("rekey")

    def poll(self) -> None:
        """Wait until the client has got one answer more than it has cookies."""
        before = self.servers[1].authentic()
        wait_for(
            lambda: self.servers[1].authentic() >= before + ALL_COOKIES,
            SECONDS,
            lambda: self.client.ask("authdata") + self.client.ask("ntpdata") + self.client.told(),
        )

    def refused(self) -> list[str]:
        """Return the kind of each error with cookies of either server; empty where both servers accept them."""
        found = []
        self.probes += 1
        with self.room.inside():
            for address in (KE, NTP):
                options = ProbeOptions(address, name=NAME, trusted_certs=[str(self.trusted)], system_certs=False)
                row = probed(options._replace(packets=1, timeout=SECONDS), gnutls.load())
                found += [] if row["ok"] else [row["error"]["kind"]]
        return found

    def counted(self) -> Counted:
        """Count again after the client has used all of its cookies."""
        self.poll()
        refused = self.refused()
        accepted = int(self.servers[0].value("serverstats", "NTS-KE connections accepted"))
        unauthenticated = sum(map(unauthenticated_requests, self.servers))
        naks = int(self.client.ask("-c", "authdata").strip().split(",")[7])
        return Counted(accepted - self.probes, unauthenticated, naks, refused)


def unauthenticated_requests(server: Chrony) -> int:
    """Return how many NTP requests a server received without a cookie that it could decrypt."""
    lines = (line.partition(":") for line in server.ask("serverstats").splitlines())
    found = {name.strip(): int(value) for name, _colon, value in lines}
    return found["NTP packets received"] - found["Authenticated NTP packets"]


@contextlib.contextmanager
def site(folder: Path, ke: str, ntp: str, keys: CookieKeys, aeads: str = AEADS) -> Iterator[Site]:
    certificates = rooms.of_the_role(folder / "pki", [NAME], [NAME])
    with rooms.room(folder / "room") as room, contextlib.ExitStack() as stack:
        with (folder / "room" / "hosts").open("a") as hosts:
            hosts.write(f"{KE} {NAME}\n")

        def serve(suite: str, address: str, *lines: str) -> Chrony:
            dump = folder / address / "d"
            given = [f"ntsservercert {certificates.server.chain}", f"ntsserverkey {certificates.server.key_file}"]
            given += [aeads] if suite in HAS_AEADS and not {ke, ntp} <= {*HAS_AEADS} else []
            given += [f"bindaddress {address}", f"ntsdumpdir {dump}", "ntsrotate 0", "allow", "local stratum 5", *lines]
            daemon = stack.enter_context(rooms.chronyd(room, suite, dump, given))
            (dump / "ntskeys").write_text(keys.text())
            assert daemon.ask("rekey")
            return daemon

        servers = (serve(ke, KE, f"ntsntpserver {NTP}"), serve(ntp, NTP, f"ntsntpserver {KE}"))
        lines = [f"bindacqaddress {CLIENT}", f"ntstrustedcerts {certificates.trusted}", "nosystemcert"]
        lines += [f"server {NAME} nts iburst minpoll -5 maxpoll -5", f"ntsdumpdir {folder}/client"]
        client = stack.enter_context(rooms.chronyd(room, "trixie", folder / "client", lines))
        yield Site(room, certificates.trusted, *servers, client)


class Life(NamedTuple):
    """Counts after each step of three rotations, after new keys, and after an absence of three rotations."""

    rotations: list[Counted]
    replaced: Counted
    away: Counted


def live(folder: Path, ke: str, ntp: str) -> Life:
    """Rotate three times in alternating order of the servers, then count the cost of other changes of keys."""
    keys = new_keys("pool", 0)
    rotations = []
    with site(folder, ke, ntp, keys) as servers_and_client:
        rotations.append(servers_and_client.counted())
        for number in range(3):
            keys = keys.rotated(0)
            for server in servers_and_client.servers if number % 2 else reversed(servers_and_client.servers):
                servers_and_client.use(server, keys)
                rotations.append(servers_and_client.counted())
        keys = new_keys("pool", 0)
        for server in servers_and_client.servers:
            servers_and_client.use(server, keys)
        replaced = servers_and_client.counted()
        servers_and_client.client.ask("offline")
        keys = keys.rotated(0).rotated(0).rotated(0)
        for server in servers_and_client.servers:
            servers_and_client.use(server, keys)
        servers_and_client.client.ask("online")
        return Life(rotations, replaced, servers_and_client.counted())


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Future[Life]]]:
    with ThreadPoolExecutor(len(PAIRS)) as pool:
        yield {pair: pool.submit(live, tmp_path_factory.mktemp("site"), *pair) for pair in PAIRS}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_rotation_costs_no_client_a_cookie(pair: tuple[str, str], lives: dict[tuple[str, str], Future[Life]]) -> None:
    # The number of key exchanges is no proof: a client also makes one where a busy machine stops a server for so long
    # that the client's requests use up its cookies.
    rotations = lives[pair].result().rotations
    assert [(row.unauthenticated, row.naks, row.refused) for row in rotations] == [(0, 0, [])] * 7


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_other_keys_and_missed_rotations_cost_a_key_exchange(
    pair: tuple[str, str], lives: dict[tuple[str, str], Future[Life]]
) -> None:
    life = lives[pair].result()
    assert 0 < life.replaced.unauthenticated < life.away.unauthenticated
    assert 1 < life.replaced.exchanges < life.away.exchanges
    assert life.replaced.refused == life.away.refused == []


def test_an_older_server_cannot_decrypt_cookies_of_another_aead(tmp_path: Path) -> None:
    with site(tmp_path, "trixie", "bookworm", new_keys("pool", 0), aeads="") as servers_and_client:
        older = servers_and_client.servers[1]
        wait_for(lambda: int(older.value("serverstats", "NTP packets received")) > 3, SECONDS, older.told)
        assert servers_and_client.client.ask("-c", "authdata").split(",")[3] == "30"
        assert older.authentic() == 0


@pytest.mark.parametrize("suite", SUITES)
def test_a_server_reports_its_keys_and_the_aead_of_its_clients(suite: str, tmp_path: Path) -> None:
    keys, folder = new_keys("pool", 1000), tmp_path / "chronyd"
    pair = rooms.of_the_role(tmp_path / "pki", [NAME], [NAME]).server
    lines = [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", f"ntsdumpdir {folder}", "ntsrotate 0"]
    with rooms.room(tmp_path / "room") as room, rooms.chronyd(room, suite, folder, [*lines, "allow"]) as daemon:
        assert daemon.ask("tracking")
        text = (folder / "chrony.conf").read_text()
        found = key_location(words_of(text), is_active=True)
        with room.inside():
            before = report(found, Server(read_serving(text), own_addresses()), "salt", 5000)
            (folder / "ntskeys").write_text(keys.text())
            after = report(found, Server(read_serving(text), own_addresses()), "salt", 5000)
    aead = 30 if suite in HAS_AEADS else 15
    assert before == {"problem": "", "aead": aead, "name": "", "age_seconds": 0, "tags": []}
    assert after == {"problem": "", "aead": aead, "name": "pool", "age_seconds": 4000, "tags": keys.tags("salt")}


@pytest.mark.parametrize("suite", SUITES)
def test_a_server_proves_that_it_uses_the_keys(suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PAUSES_SECONDS", (0.1,))
    keys, folder = new_keys("pool", 0), tmp_path / "chronyd"
    pair = rooms.of_the_role(tmp_path / "pki", [NAME], [NAME]).server
    lines = [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", f"ntsdumpdir {folder}", "ntsrotate 0"]
    with rooms.room(tmp_path / "room") as room, contextlib.ExitStack() as stack:
        daemon = stack.enter_context(rooms.chronyd(room, suite, folder, [*lines, "allow", "local stratum 5"]))
        stack.enter_context(room.inside())
        server = Server(read_serving((folder / "chrony.conf").read_text()), own_addresses())
        certificates = pair.chain.read_text()
        # The server has no file of keys, an incomplete one, an unreadable one, one with an unknown AEAD, and the right
        # one.
        for text in (None, keys.text()[:60], "NKS2\n", keys.text().replace("\n15 ", "\n99 ")):
            if text is not None:
                (folder / "ntskeys").write_text(text)
                assert daemon.ask("rekey")
            with pytest.raises(TransactionError, match="did not take the new keys"):
                assert_used(server, certificates, keys)
        (folder / "ntskeys").write_text(keys.text())
        assert daemon.ask("rekey")
        assert assert_used(server, certificates, keys) == []
        with pytest.raises(TransactionError, match="did not take the new keys"):
            assert_used(server, certificates, keys.rotated(0))
