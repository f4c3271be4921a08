# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site without the internet: two servers agree on one clock, and its clients stay authenticated when one dies.

Real chronyds of four versions, with the lines that the role writes from the variables of docs/servers.md.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import Chrony, Room
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import SERVER, planned

SUITES = ("bullseye", "bookworm", "trixie", "testing")
SERVERS = {"nts1.test": "127.0.0.11", "nts2.test": "127.0.0.12"}
CLIENT = "127.0.0.13"
KEY, OTHER_KEY = "00112233445566778899AABBCCDDEEFF00112233", "FF112233445566778899AABBCCDDEEFF00112233"
# chronyd selects a server that died until its last sample is older than all samples of another one: 64 by default.
FAST = {"minpoll": 0, "maxpoll": 0, "maxsamples": 8}
SECONDS = 300
ITS_OWN = "7F7F0101"


def lines_of(name: str, suite: str) -> list[str]:
    """Return the role's lines of a server, or of a client."""
    newest = suite == "testing"
    # From 4.7 on, chronyd waits in orphan mode: 300 seconds by default.
    local = {"stratum": 10, "orphan": True, **({"waitunsynced": 1} if newest else {})}
    peers = [{"address": other, "type": "peer", "nts": False, "key": 7, **FAST} for other in SERVERS if other != name]
    variables = {
        **SERVER,
        "chrony_nts_sources": peers,
        "chrony_nts_directives": {"local": local},
        "chrony_nts_symmetric_keys": [{"id": 7, "key": f"HEX:{KEY}"}],
    }
    if name not in SERVERS:
        variables = {"chrony_nts_sources": [{"address": server, **FAST} for server in SERVERS]}
    plan = planned(variables, daemon__version="4.9" if newest else "4.0")
    assert plan["problems"] == []
    assert plan["proof"]["goal"] == ("none" if name in SERVERS else "authenticated")
    own_clock = [line for line in plan["directive_lines"] if line.startswith("local ")]
    return ["authselectmode require", *plan["sources_text"].splitlines()[1:], *own_clock]


class Site:
    """The servers and clients of a suite, in one room."""

    def __init__(self, suite: str, folder: Path, place: Room) -> None:
        self.suite, self.folder, self.place = suite, folder, place
        self.certificates = rooms.of_the_role(folder / "pki", list(SERVERS), list(SERVERS))
        with (folder / "room" / "hosts").open("a") as hosts:
            hosts.writelines(f"{address} {name}\n" for name, address in SERVERS.items())

    def run(self, name: str, address: str, key: str = KEY, times: int = 1) -> contextlib.AbstractContextManager[Chrony]:
        """Run a server, or a client, for the first time or another one."""
        folder = self.folder / f"{name}-{times}"
        folder.mkdir()
        (folder / "keys").write_text(f"7 SHA256 HEX:{key}\n")
        pair = self.certificates.server
        served = [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", "allow"] if name in SERVERS else []
        lines = [
            *(f"bindaddress {address}", f"bindacqaddress {address}", f"keyfile {folder}/keys"),
            *(f"ntstrustedcerts {self.certificates.trusted}", *served, *lines_of(name, self.suite)),
        ]
        return rooms.chronyd(self.place, self.suite, folder / "d", lines)


@contextlib.contextmanager
def site(suite: str, folder: Path) -> Iterator[Site]:
    with rooms.room(folder / "room") as place:
        yield Site(suite, folder, place)


def followed(daemon: Chrony) -> str:
    """Return the address that a daemon follows, ITS_OWN for its own clock, and nothing where it follows none."""
    words = daemon.value("tracking", "Reference ID").replace("(", "").replace(")", "").split()
    return next((word for word in reversed(words) if word == ITS_OWN or word in SERVERS.values()), "")


def follows_any(daemon: Chrony) -> bool:
    """Say whether a daemon follows a server or its own clock."""
    return followed(daemon) != ""


def until(daemon: Chrony, *expected: str) -> str:
    """Wait until a daemon follows one of these; return it."""
    wait_for(lambda: followed(daemon) in expected, SECONDS, lambda: daemon.ask("sources") + daemon.ask("tracking"))
    return followed(daemon)


def hears(daemon: Chrony) -> bool:
    """Say whether packets of the peer arrive."""
    return int(daemon.value("ntpdata", "Total RX") or 0) > 5


class History(NamedTuple):
    """What a client followed at first, after the death of that server, and when it was back, and by which means."""

    first: str
    after_the_death: str
    back: str
    modes: list[str]


def one_leads(daemons: Sequence[Chrony]) -> bool:
    """Say whether one of two servers serves its own clock, and the other follows it."""
    return sorted(followed(daemon) == ITS_OWN for daemon in daemons) == [False, True]


def live(suite: str, folder: Path) -> History:
    """Let the server die that a client follows, and come back."""
    with site(suite, folder) as here, contextlib.ExitStack() as stack:
        ends = {name: contextlib.ExitStack() for name in SERVERS}
        for end in ends.values():
            stack.callback(end.close)
        daemons = {address: ends[name].enter_context(here.run(name, address)) for name, address in SERVERS.items()}
        client = stack.enter_context(here.run("client.test", CLIENT))

        def settle() -> None:
            wait_for(lambda: one_leads([*daemons.values()]), SECONDS, lambda: str([*map(followed, daemons.values())]))

        settle()
        first = until(client, *SERVERS.values())
        dead = next(name for name, address in SERVERS.items() if address == first)
        ends[dead].close()
        after = until(client, next(address for address in SERVERS.values() if address != first))
        daemons[first] = stack.enter_context(here.run(dead, first, times=2))
        settle()
        back = until(client, *SERVERS.values())
        modes = [line.split()[1] for line in client.ask("authdata").splitlines() if line.startswith("127.")]
        return History(first, after, back, modes)


def disagree(suite: str, folder: Path) -> tuple[str, str]:
    """Let servers have different keys; return what they follow."""
    with site(suite, folder) as here, contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(here.run(name, address, key))
            for (name, address), key in zip(SERVERS.items(), (KEY, OTHER_KEY), strict=True)
        )
        for daemon in (one, two):
            wait_for(partial(hears, daemon), SECONDS, partial(daemon.ask, "ntpdata"))
        for daemon in (one, two):
            # On a busy machine, the packets of several seconds may arrive before chronyd serves its own clock.
            wait_for(partial(follows_any, daemon), SECONDS, partial(daemon.ask, "tracking"))
        return followed(one), followed(two)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket, of which chronyc makes one beside chronyd's."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Seen(NamedTuple):
    """What is seen of a suite, which runs beside the others."""

    history: Future[History]
    with_other_keys: Future[tuple[str, str]]


@pytest.fixture(scope="module")
def seen(folder: Path) -> Iterator[dict[str, Seen]]:
    """What is seen of all suites."""
    with ThreadPoolExecutor(2 * len(SUITES)) as pool:
        yield {
            suite: Seen(
                pool.submit(live, suite, folder / suite), pool.submit(disagree, suite, folder / f"keys-{suite}")
            )
            for suite in SUITES
        }


@pytest.mark.parametrize("suite", SUITES)
def test_clients_stay_authenticated_when_a_server_dies(suite: str, seen: dict[str, Seen]) -> None:
    history = seen[suite].history.result()
    assert {history.first, history.after_the_death} == set(SERVERS.values())
    assert history.modes == ["NTS", "NTS"]


@pytest.mark.parametrize("suite", SUITES)
def test_a_peer_with_another_key_is_not_followed(suite: str, seen: dict[str, Seen]) -> None:
    assert seen[suite].with_other_keys.result() == (ITS_OWN, ITS_OWN)
