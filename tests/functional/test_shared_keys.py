# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that share their keys: a rotation, one server after the other, costs no client a cookie.

Real chronyds of four versions. The one makes the key exchange and names the other as the NTP server, so that each
answer is to a cookie of the first that the second can decrypt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.serving import read_serving
from ansible_collections.securetime.nts.plugins.module_utils._pair import served
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import CookieKeys, new_keys
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import Server, own_addresses
from ansible_collections.securetime.nts.plugins.module_utils._pair.sharing import assert_used
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import Chrony

# chrony 4.0, 4.3, 4.6.1 and the newest: the server of the key exchange, and that of NTP.
SUITES = ("bullseye", "bookworm", "trixie", "testing")
PAIRS = [("bullseye", "testing"), ("bookworm", "trixie"), ("testing", "bullseye"), ("trixie", "testing")]
# What an older server of the set cannot decrypt, a newer one must not agree on. This directive is of 4.6.1.
HAS_AEADS = ("trixie", "testing")
AEADS = "ntsaeads 15"
KE, NTP, CLIENT = "127.0.0.11", "127.0.0.12", "127.0.0.13"
NAME = "nts.test"
SECONDS = 100
# A client has eight cookies: after as many answers all of them are new.
ALL_COOKIES = 9


class Site:
    """Two servers, their client, and the keys."""

    def __init__(self, ke: Chrony, ntp: Chrony, client: Chrony, keys: CookieKeys) -> None:
        self.servers, self.client, self.keys = (ke, ntp), client, keys

    def use(self, server: Chrony, keys: CookieKeys) -> None:
        """Let a server have other keys, as the module does."""
        (server.folder / "ntskeys").write_text(keys.text())
        assert server.ask("rekey")

    def poll(self) -> None:
        """Wait until the client has got as many answers as it has cookies."""
        before = self.servers[1].authentic()
        wait_for(
            lambda: self.servers[1].authentic() >= before + ALL_COOKIES,
            SECONDS,
            lambda: self.client.ask("authdata") + self.client.ask("ntpdata") + self.client.told(),
        )

    @property
    def exchanges(self) -> tuple[int, int]:
        """How many key exchanges the client has made, and how many of its cookies were refused."""
        words = self.client.ask("-c", "authdata").strip().split(",")
        return int(self.servers[0].value("serverstats", "NTS-KE connections accepted")), int(words[7])


@contextlib.contextmanager
def site(folder: Path, ke: str, ntp: str, keys: tuple[CookieKeys, CookieKeys]) -> Iterator[Site]:
    certificates = rooms.of_the_role(folder / "pki", [NAME], [NAME])
    with rooms.room(folder / "room") as place, contextlib.ExitStack() as stack:
        with (folder / "room" / "hosts").open("a") as hosts:
            hosts.write(f"{KE} {NAME}\n")

        def serve(suite: str, address: str, own: CookieKeys, *lines: str) -> Chrony:
            dump = folder / address / "d"
            given = [f"ntsservercert {certificates.server.chain}", f"ntsserverkey {certificates.server.key_file}"]
            given += [AEADS] if suite in HAS_AEADS and not {ke, ntp} <= {*HAS_AEADS} else []
            given += [f"bindaddress {address}", f"ntsdumpdir {dump}", "ntsrotate 0", "allow", "local stratum 5", *lines]
            daemon = stack.enter_context(rooms.chronyd(place, suite, dump, given))
            (dump / "ntskeys").write_text(own.text())
            assert daemon.ask("rekey")
            return daemon

        servers = (serve(ke, KE, keys[0], f"ntsntpserver {NTP}"), serve(ntp, NTP, keys[1]))
        lines = [f"bindacqaddress {CLIENT}", f"ntstrustedcerts {certificates.trusted}", "nosystemcert"]
        lines += [f"server {NAME} nts iburst minpoll -5 maxpoll -5", f"ntsdumpdir {folder}/client"]
        client = stack.enter_context(rooms.chronyd(place, "trixie", folder / "client", lines))
        yield Site(*servers, client, keys[0])


def live(folder: Path, ke: str, ntp: str) -> list[tuple[str, tuple[int, int]]]:
    """Rotate three times, in either order of the servers; return what the client has counted after each step."""
    keys = new_keys("pool", 0)
    counted = []
    with site(folder, ke, ntp, (keys, keys)) as here:
        here.poll()
        for number in range(3):
            keys = keys.rotated(0)
            for server in here.servers if number % 2 else reversed(here.servers):
                here.use(server, keys)
                here.poll()
                counted.append((f"rotation {number}", here.exchanges))
        # What a client loses by new keys, and by a rotation that one server has missed: another key exchange each.
        fresh = new_keys("pool", 0)
        for server in here.servers:
            here.use(server, fresh)
        here.poll()
        counted.append(("replaced", here.exchanges))
        here.client.ask("offline")
        for _time in range(3):
            fresh = fresh.rotated(0)
        for server in here.servers:
            here.use(server, fresh)
        here.client.ask("online")
        here.poll()
        counted.append(("away for three rotations", here.exchanges))
    return counted


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Future[list]]]:
    with ThreadPoolExecutor(len(PAIRS)) as pool:
        yield {pair: pool.submit(live, tmp_path_factory.mktemp("site"), *pair) for pair in PAIRS}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_rotation_costs_no_client_a_cookie(pair: tuple[str, str], lives: dict) -> None:
    counted = lives[pair].result()
    assert {found for what, found in counted if what.startswith("rotation")} == {(1, 0)}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_other_keys_and_a_missed_rotation_cost_a_key_exchange(pair: tuple[str, str], lives: dict) -> None:
    counted = dict(lives[pair].result())
    first, second = (counted[what][0] for what in ("replaced", "away for three rotations"))
    assert 1 < first < second


@pytest.mark.parametrize("suite", SUITES)
def test_a_server_proves_that_it_uses_the_keys(suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PAUSES_SECONDS", (0.1,))
    keys, folder = new_keys("pool", 0), tmp_path / "chronyd"
    pair = rooms.of_the_role(tmp_path / "pki", [NAME], [NAME]).server
    lines = [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", f"ntsdumpdir {folder}", "ntsrotate 0"]
    with rooms.room(tmp_path / "room") as place, contextlib.ExitStack() as stack:
        daemon = stack.enter_context(rooms.chronyd(place, suite, folder, [*lines, "allow", "local stratum 5"]))
        stack.enter_context(place.inside())
        server = Server(read_serving((folder / "chrony.conf").read_text()), own_addresses())
        certificates = pair.chain.read_text()
        # Not told of them, told of a file that is cut or that it cannot read, and told of them.
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
