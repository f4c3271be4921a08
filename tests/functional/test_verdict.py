# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict follows the declared sources: real chronyds of four versions, each with its own sources.

The NTS sources have wide intervals (clockprecision on their servers), as servers on a network have. So chronyd soon
prefers the reference clock, or the source without NTS, to the source that it selected first.

Long: one table of configurations and expected verdicts, which is read as a whole.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import read_reports
from ansible_collections.securetime.nts.plugins.module_utils._state.host import directives_of, process_facts
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import declared_sources
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import judge, read_log
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import running, wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import Room
from ansible_collections.securetime.nts.tests.functional.unpacked import program

SUITES = ("bullseye", "bookworm", "trixie", "testing")
ADDRESSES = {
    "nts1.test": "127.0.0.11",
    "nts2.test": "127.0.0.12",
    "plain.test": "127.0.0.13",
    "high.test": "127.0.0.14",
    "over.test": "127.0.0.15",
    "dead.test": "127.0.0.16",
    "loop.test": "127.0.0.17",
    "spare.test": "127.0.0.13",
}
# Address of a client that is also a server.
LOOP = "127.0.0.18"
FAST = "iburst minpoll 0 maxpoll 0"
NTS, NTS2 = f"server nts1.test nts {FAST}", f"server nts2.test nts {FAST}"
DEAD = f"server dead.test nts {FAST}"
PLAIN = f"server plain.test {FAST}"
KEY = f"server plain.test key 7 {FAST}"
GPS = "refclock SOCK {folder}/gps refid GPS poll 0 filter 1"
WRONG = "offset 0.5"
REQUIRE, PREFER, MIX, IGNORE = (f"authselectmode {mode}" for mode in ("require", "prefer", "mix", "ignore"))
AUTHENTICATED, UNAUTHENTICATED = "authenticated", "unauthenticated"

IS_CLOCK = "chronyd may follow GPS, too (a reference clock, which needs no authentication)."
IS_KEYED = "chronyd may follow plain.test, too (authenticated by a symmetric key)."
IS_KEPT = "chronyd may follow plain.test, too (not authenticated: it is believed only within the time"
IS_TRUSTED = "chronyd may follow plain.test, too (not authenticated: the option trust declares it right)."
IS_LAST = "chronyd may follow plain.test, too (not authenticated: other sources are preferred while usable)."
LOOSE = "plain.test is not authenticated: it is configured without the nts option. Nothing keeps it near"
FOLLOWS_CLOCK = "The clock follows a source without NTS: GPS is a reference clock"
UNCONFIRMED = "No source with NTS confirms its time now."

SECONDS = 12.0


class Cell(NamedTuple):
    """A client's configuration, the source that chronyd finally selects, and the expected verdict."""

    lines: tuple[str, ...]
    selected: str
    state: str
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    # Whether chronyd selects another source before it has compared all of them.
    settles: bool = False


CELLS = {
    # --- require
    "require, plain": Cell((REQUIRE, NTS, PLAIN), "nts1", AUTHENTICATED),
    "require, plain trust": Cell((REQUIRE, NTS, f"{PLAIN} trust prefer"), "nts1", AUTHENTICATED),
    "require, refclock": Cell((REQUIRE, NTS, GPS), "GPS", AUTHENTICATED, (IS_CLOCK,)),
    "require, refclock prefer": Cell((REQUIRE, NTS, NTS2, f"{GPS} prefer"), "GPS", AUTHENTICATED, (IS_CLOCK,)),
    "require, refclock trust require": Cell(
        (REQUIRE, NTS, f"{GPS} prefer trust require"), "GPS", AUTHENTICATED, (IS_CLOCK,)
    ),
    "require, refclock alone": Cell((REQUIRE, GPS), "GPS", UNAUTHENTICATED, (), (FOLLOWS_CLOCK,)),
    "require, refclock without an answer by NTS": Cell(
        (REQUIRE, DEAD, GPS), "GPS", UNAUTHENTICATED, (), (FOLLOWS_CLOCK, UNCONFIRMED, "dead.test: ")
    ),
    "require, refclock against NTS": Cell(
        (REQUIRE, f"{NTS} {WRONG}", f"{GPS} trust prefer"),
        "GPS",
        UNAUTHENTICATED,
        (),
        (FOLLOWS_CLOCK, UNCONFIRMED, "nts1.test: authenticated, but not followed yet: its time disagrees"),
        settles=True,
    ),
    "require, key": Cell((REQUIRE, NTS, KEY), "plain", AUTHENTICATED, (IS_KEYED,)),
    "require, key prefer": Cell((REQUIRE, NTS, f"{KEY} prefer"), "plain", AUTHENTICATED, (IS_KEYED,)),
    # --- prefer
    "prefer, plain": Cell((PREFER, NTS, PLAIN), "nts1", AUTHENTICATED),
    "prefer, plain alone": Cell(
        (PREFER, PLAIN), "plain", UNAUTHENTICATED, (), ("The clock follows a source without NTS",)
    ),
    "prefer, refclock": Cell((PREFER, NTS, GPS), "GPS", AUTHENTICATED, (IS_CLOCK,)),
    # --- mix
    "mix, plain": Cell((MIX, NTS, PLAIN), "plain", AUTHENTICATED, (IS_KEPT,)),
    "mix, plain prefer": Cell((MIX, NTS, NTS2, f"{PLAIN} prefer"), "plain", AUTHENTICATED, (IS_KEPT,)),
    "mix, plain that is wrong": Cell((MIX, NTS, f"{PLAIN} prefer {WRONG}"), "nts1", AUTHENTICATED, (IS_KEPT,)),
    "mix, plain trust": Cell((MIX, NTS, f"{PLAIN} trust"), "plain", AUTHENTICATED, (IS_TRUSTED,)),
    "mix, key": Cell((MIX, NTS, KEY), "plain", AUTHENTICATED, (IS_KEYED,)),
    "mix, refclock": Cell((MIX, NTS, GPS), "GPS", AUTHENTICATED, (IS_CLOCK,)),
    "mix, refclock and plain": Cell((MIX, NTS, GPS, PLAIN), "GPS", AUTHENTICATED, (IS_CLOCK, IS_KEPT)),
    "mix, refclock and plain alone": Cell((MIX, GPS, PLAIN), "GPS", UNAUTHENTICATED, (), (FOLLOWS_CLOCK,)),
    # --- ignore
    "ignore, plain": Cell(
        (IGNORE, NTS, PLAIN), "plain", UNAUTHENTICATED, (), (LOOSE, "set authselectmode to mix or require")
    ),
    "ignore, plain that is wrong": Cell(
        (IGNORE, NTS, NTS2, f"{PLAIN} {WRONG}"),
        "nts",
        UNAUTHENTICATED,
        (),
        ("chronyd may at any time follow a source without NTS", LOOSE),
    ),
    "ignore, plain beside NTS trust": Cell((IGNORE, f"{NTS} trust", PLAIN), "plain", AUTHENTICATED, (IS_KEPT,)),
    "ignore, plain beside NTS trust require": Cell(
        (IGNORE, f"{NTS} trust require", PLAIN), "plain", AUTHENTICATED, (IS_KEPT,)
    ),
    "ignore, plain beside NTS require": Cell((IGNORE, f"{NTS} require", PLAIN), "plain", UNAUTHENTICATED, (), (LOOSE,)),
    "ignore, plain beside NTS prefer": Cell(
        (IGNORE, f"{NTS} prefer", PLAIN), "nts1", AUTHENTICATED, (IS_LAST,), settles=True
    ),
    "ignore, plain trust": Cell((IGNORE, NTS, f"{PLAIN} trust"), "plain", AUTHENTICATED, (IS_TRUSTED,)),
    "ignore, plain noselect": Cell((IGNORE, NTS, f"{PLAIN} noselect"), "nts1", AUTHENTICATED),
    "ignore, refclock": Cell((IGNORE, NTS, GPS), "GPS", AUTHENTICATED, (IS_CLOCK,)),
    "ignore, key": Cell((IGNORE, NTS, KEY), "plain", AUTHENTICATED, (IS_KEYED,)),
}


# Each has one reason, for which the test waits.
STRATA = {
    "stratum of a server's own clock": Cell(
        (f"server high.test nts {FAST}",),
        "high",
        AUTHENTICATED,
        (),
        (
            (
                "The stratum of this host is 16, with which its own clients take it for unsynchronised: high.test has"
                " stratum 15, and serves its own clock (its directive local has that stratum)."
            ),
        ),
    ),
    "stratum by an option": Cell(
        (f"{NTS} minstratum 15",),
        "nts1",
        AUTHENTICATED,
        (),
        ("nts1.test has stratum 15, by its option minstratum here (the server says 5).",),
    ),
    "stratum 16": Cell(
        (f"server over.test nts {FAST}",),
        "",
        "pending",
        (),
        ("over.test: its answers are authenticated, but its stratum is 16 or more, which NTP takes for not sync",),
    ),
    "stratum of an orphan": Cell(
        (NTS, "local stratum 3 orphan"),
        "",
        "pending",
        (),
        ("its stratum is not less than that of the directive local here (it says stratum 5)",),
    ),
    "loop": Cell(
        (f"server loop.test nts {FAST}", f"bindaddress {LOOP}", f"bindacqaddress {LOOP}", "allow", "local stratum 8"),
        "",
        "pending",
        (),
        ("loop.test: authenticated, but not followed yet: it follows this host itself (a loop)",),
    ),
}
# chrony 4.9 added the directives maxstratum and minstratum.
OUT_OF_RANGE = "stratum out of range"
ALL = {
    **CELLS,
    **STRATA,
    OUT_OF_RANGE: Cell(
        (NTS, "maxstratum 4"),
        "",
        "pending",
        (),
        ("outside of the range that minstratum and maxstratum allow (it says stratum 5)",),
    ),
}


class Client:
    """A chronyd in the network namespace, with the chronyc of its suite."""

    def __init__(self, room: Room, folder: Path, suite: str) -> None:
        self.room, self.folder, self.suite = room, folder, suite
        self.chronyc = folder / "chronyc"

    @property
    def pid(self) -> int:
        """Return the process id; 0 before chronyd is up."""
        file = self.folder / "pid"
        return int(file.read_text().strip() or 0) if file.exists() else 0

    @contextlib.contextmanager
    def run(self, trusted: Path, lines: tuple[str, ...]) -> Iterator[Client]:
        """Run chronyd with these lines."""
        self.folder.mkdir(parents=True)
        with rooms.command_socket() as path:
            # Newer suites drop root's rights to a user that may be missing here.
            user = "" if self.suite in ("bullseye", "bookworm", "trixie") else "-u root "
            command = " ".join(program(self.suite, "usr/bin/chronyc"))
            self.chronyc.write_text(f'#!/bin/sh\nexec {command} {user}-h {path} "$@"\n')
            self.chronyc.chmod(0o755)
            (self.folder / "keys").write_text("7 SHA1 HEX:00112233445566778899AABBCCDDEEFF00112233\n")
            directives = (
                f"bindcmdaddress {path}",
                f"pidfile {self.folder}/pid",
                f"keyfile {self.folder}/keys",
                f"ntstrustedcerts {trusted}",
                "cmdport 0",
                *(line.format(folder=self.folder) for line in lines),
            )
            config = self.folder / "chrony.conf"
            config.write_text("".join(f"{line}\n" for line in directives))
            daemon = [*program(self.suite, "usr/sbin/chronyd"), "-d", "-x", "-u", "root", "-f", str(config)]
            if not any(line.startswith("bindaddress") for line in directives):
                config.write_text(config.read_text() + "port 0\n")
            with running(self.room.command(daemon), self.folder / "log"):
                wait_for(lambda: self.pid != 0, 100, (self.folder / "log").read_text)
                yield self

    def ask(self, *words: str) -> str:
        """Return the output of chronyc in the namespace, where names resolve."""
        command = self.room.command([self.chronyc, *words])
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def facts(self) -> dict[str, Any]:
        """Return the facts that chronyc_facts would return."""
        daemon = process_facts(self.pid, None)
        # A loader starts the unpacked program, and the loader's arguments precede those of chronyd.
        arguments = daemon["arguments"][daemon["arguments"].index("-d") - 1 :]
        daemon.update(features={"NTS": True}, arguments=arguments, config_file=str(self.folder / "chrony.conf"))
        reports = read_reports(str(self.chronyc), 30.0)
        reports["declared"] = declared_sources(daemon["config_file"], directives_of(arguments))
        host = {"installed": True, "running": True, "daemon": daemon, "unit": None, "environment": {}}
        return judge(host, reports, read_log(None))


class World:
    """A network namespace with servers of a suite, and clients."""

    def __init__(self, room: Room, suite: str, folder: Path, trusted: Path) -> None:
        self.room, self.suite, self.folder, self.trusted = room, suite, folder, trusted

    def client(self, name: str, *lines: str) -> contextlib.AbstractContextManager[Client]:
        """Run a client of this suite."""
        return Client(self.room, self.folder / name, self.suite).run(self.trusted, lines)


@contextlib.contextmanager
def world(suite: str, folder: Path) -> Iterator[World]:
    """Run the servers of a suite in a network namespace."""
    certificates = rooms.of_the_role(folder / "pki", list(ADDRESSES), list(ADDRESSES))
    with contextlib.ExitStack() as stack:
        room = stack.enter_context(rooms.room(folder / "room"))
        with (folder / "room" / "hosts").open("a") as hosts:
            hosts.writelines(f"{address} {name}\n" for name, address in ADDRESSES.items())
        nts = (f"ntsservercert {certificates.server.chain}", f"ntsserverkey {certificates.server.key_file}")
        for name, lines in {
            # The intervals of these are wide.
            "nts1.test": (*nts, "local stratum 5", "clockprecision 0.001"),
            "nts2.test": (*nts, "local stratum 5", "clockprecision 0.001"),
            "plain.test": (f"keyfile {folder}/plain.test/keys", "local stratum 5"),
            "high.test": (*nts, "local stratum 15"),
            "over.test": (*nts, f"server high.test {FAST}"),
            "loop.test": (*nts, f"server {LOOP} {FAST}"),
        }.items():
            server = folder / name
            server.mkdir()
            (server / "keys").write_text("7 SHA1 HEX:00112233445566778899AABBCCDDEEFF00112233\n")
            more = (f"bindaddress {ADDRESSES[name]}", f"bindacqaddress {ADDRESSES[name]}", "allow")
            stack.enter_context(rooms.chronyd(room, suite, server / "chronyd", [*more, *lines]))
        yield World(room, suite, folder, certificates.trusted)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """Yield the servers of every suite."""
    with contextlib.ExitStack() as stack:
        yield {suite: stack.enter_context(world(suite, tmp_path_factory.mktemp(suite))) for suite in SUITES}


def _feed(socket_path: Path, stopped: threading.Event) -> None:
    """Send this host's time to a reference clock five times a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        while not stopped.wait(0.2):
            seconds, nanoseconds = divmod(time.time_ns(), 10**9)
            sample = struct.pack("=qqdiiii", seconds, nanoseconds // 1000, 0.0, 0, 0, 0, 0x534F434B)
            with contextlib.suppress(OSError):
                sender.sendto(sample, str(socket_path))


def _watch(its: World, number: int, cell: Cell) -> list[dict[str, Any]]:
    """Return the facts of a client, sampled from its start until chronyd has compared all sources."""
    stopped = threading.Event()
    with its.client(f"cell{number}", *cell.lines) as client, contextlib.ExitStack() as stack:
        stack.callback(stopped.set)
        threading.Thread(target=_feed, args=(client.folder / "gps", stopped), daemon=True).start()
        end = time.monotonic() + SECONDS
        samples = []
        while time.monotonic() < end:
            samples.append(client.facts())
            time.sleep(1.5)
        # Under load, the expected selection and verdict may take longer.
        while not _is_final(samples[-1], cell) and time.monotonic() < end + 200:
            time.sleep(1)
            samples.append(client.facts())
        return samples


def _is_final(facts: dict[str, Any], cell: Cell) -> bool:
    verdict = facts["nts"]
    return (
        verdict["state"] == cell.state
        and _selected(facts).startswith(cell.selected)
        and len(verdict["notes"]) == len(cell.notes)
        and all(reason in " ".join(verdict["reasons"]) for reason in cell.reasons)
        and bool(verdict["reasons"]) == bool(cell.reasons)
    )


def _selected(facts: dict[str, Any]) -> str:
    """Return the name of the source that chronyd follows."""
    return next((row["name"] for row in facts["sources"] if row["state"] == "selected"), "")


def _until(client: Client, text: str) -> dict[str, Any]:
    """Return the facts once the reasons contain a text."""
    facts: list[dict[str, Any]] = []

    def has_reason() -> bool:
        facts.append(client.facts())
        return text in " ".join(facts[-1]["nts"]["reasons"])

    wait_for(has_reason, 200, lambda: str(facts[-1]["nts"]))
    return facts[-1]


def _wait(its: World, number: int, cell: Cell) -> list[dict[str, Any]]:
    """Return the facts of a client once they contain the expected reason."""
    with its.client(f"cell{number}", *cell.lines) as client:
        return [_until(client, cell.reasons[0])]


Watched = dict[tuple[str, str], Future[list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def watched(worlds: dict[str, World], request: pytest.FixtureRequest) -> Iterator[Watched]:
    """Run the clients of all selected tests in parallel; yield a future of each client's facts."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    wanted = [item.callspec.params for item in items if "watched" in item.fixturenames]
    with ThreadPoolExecutor(len(wanted)) as pool:
        yield {
            (row["suite"], row["name"]): pool.submit(
                _watch if row["name"] in CELLS else _wait, worlds[row["suite"]], number, ALL[row["name"]]
            )
            for number, row in enumerate(wanted)
        }


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("name", CELLS)
def test_the_verdict_follows_the_declared_sources(suite: str, name: str, watched: Watched) -> None:
    cell, samples = CELLS[name], watched[suite, name].result()
    verdict = samples[-1]["nts"]
    assert verdict["state"] == cell.state, verdict
    assert verdict["authenticated"] == (cell.state == AUTHENTICATED)
    assert _selected(samples[-1]).startswith(cell.selected)
    assert len(verdict["notes"]) == len(cell.notes), verdict
    for note, expected in zip(verdict["notes"], cell.notes, strict=True):
        assert note.startswith(expected)
    for expected in cell.reasons:
        assert expected in " ".join(verdict["reasons"])
    assert bool(verdict["reasons"]) == bool(cell.reasons), verdict
    # The verdict does not change after the clock is first authenticated, so a run may stop there.
    early = [facts["nts"] for facts in samples if facts["nts"]["authenticated"]]
    if not cell.settles:
        assert [(one["authenticated"], one["notes"]) for one in early] == [
            (verdict["authenticated"], verdict["notes"]) for _one in early
        ]


@pytest.mark.parametrize(
    ("suite", "name"), [*((suite, name) for name in STRATA for suite in SUITES), (SUITES[-1], OUT_OF_RANGE)]
)
def test_a_high_stratum_is_a_reason_with_its_cause(suite: str, name: str, watched: Watched) -> None:
    cell, samples = ALL[name], watched[suite, name].result()
    assert samples[-1]["nts"]["state"] == cell.state
    assert len(samples[-1]["nts"]["reasons"]) <= 2


@pytest.mark.parametrize("suite", SUITES)
def test_undeclared_sources_are_reported(suite: str, worlds: dict[str, World]) -> None:
    its = worlds[suite]
    folder, sources = its.folder / "undeclared", its.folder / "sources"
    sources.mkdir()
    dhcp = sources / "dhcp.sources"
    dhcp.write_text(f"pool plain.test {FAST} maxsources 2\n")
    with its.client("undeclared", NTS, f"sourcedir {sources}", REQUIRE) as client:
        wait_for(lambda: "plain.test" in client.ask("-N", "sources"), 200, lambda: client.ask("-N", "sources"))
        facts = client.facts()
        assert facts["nts"]["undeclared_sources"] == []
        files = {row["name"]: row["declared_in"] for row in facts["sources"]}
        assert files == {"nts1.test": str(folder / "chrony.conf"), "plain.test": str(dhcp)}
        # For an address that another source has, chronyd only adds an unresolved source.
        for name in ("nts2.test", "nts1.test"):
            assert "200 OK" in client.ask("add", "server", name, "nts", "minpoll", "0")
        facts = _until(client, "No file that chronyd reads names nts2.test")
        assert facts["nts"]["undeclared_sources"] == ["nts2.test", "nts1.test"]
        assert "chronyd has the source nts1.test more often than its files name it" in facts["nts"]["reasons"][-1]
        assert {row["name"]: row["declared_in"] for row in facts["sources"]} == {**files, "nts2.test": None}
        # The files have changed since, and chronyd has not reloaded them.
        dhcp.unlink()
        facts = client.facts()
        assert set(facts["nts"]["undeclared_sources"]) == {"plain.test", "nts2.test", "nts1.test"}
