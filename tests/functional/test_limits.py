# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recommended limits of a server stop a flood and serve all honest clients: real chronyds of four versions."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import socket
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils import _limits
from ansible_collections.securetime.nts.tests.bench.ke_speed import Client, library
from ansible_collections.securetime.nts.tests.bench.server_limits import (
    FAILURES,
    NTP_REQUEST,
    hold_connections,
    memory,
    pair_of_the_role,
    serving,
    statistic,
)
from ansible_collections.securetime.nts.tests.functional.nts_servers import ADDRESS, Pair, wait_for

SUITES = ("bullseye", "bookworm", "trixie", "testing")
LIMITS = _limits.recommended(1000, ["cmdallow"])
# chronyd with iburst sends four packets, or eight while it gets no answer.
IBURST = 8
# Most of chronyd's default of 100 connections.
MOST_OF_DEFAULT = 80
MAJORITY = 10


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair_of_the_role(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short path, because chronyc adds a socket with a limited length beside chronyd's."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def ask(port: int, source: str, times: int) -> None:
    """Send several NTP requests at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        for _time in range(times):
            client.sendto(NTP_REQUEST, (ADDRESS, port))
        client.settimeout(60)
        client.recv(512)


def exchanged(port: int, source: str, times: int) -> int:
    """Return how many key exchanges of a client brought cookies."""
    client, successes = Client(library()), 0
    for _time in range(times):
        with contextlib.suppress(*FAILURES):
            client.exchange(port, source)
            successes += 1
    return successes


def connections(port: int) -> list[str]:
    """Return the established connections of a server's port (proc(5), /proc/net/tcp)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [words[2] for words in lines if words[1].endswith(f":{port:04X}") and words[3] == "01"]


def wait_for_run(pid: int) -> None:
    """Wait until a process has run and paused since the call: a busy machine may have stopped it."""

    def switches() -> list[str]:
        return re.findall(r"ctxt_switches:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())

    before = switches()
    wait_for(lambda: switches() != before, 100, lambda: f"process {pid} does not run", 0.005)


@pytest.mark.parametrize("suite", SUITES)
def test_limits_apply_to_each_address(suite: str, pair: Pair, folder: Path) -> None:
    """chronyd serves all honest clients: their burst at a start, a second one, and 16 clients behind one address."""
    with serving(suite, folder, pair, LIMITS) as (server, _pid):
        for number in range(4):
            ask(server.port, f"127.1.0.{number + 1}", IBURST)
        assert exchanged(server.ntsport, "127.1.0.1", _limits.NTSKE_RATE["burst"]) == _limits.NTSKE_RATE["burst"]
        assert statistic(suite, folder, "NTP packets dropped") == 0
        assert statistic(suite, folder, "NTS-KE connections dropped") == 0
        ask(server.port, "127.2.0.1", 200)
        assert exchanged(server.ntsport, "127.2.0.1", 100) < 50
        assert statistic(suite, folder, "NTP packets dropped") > 100
        assert statistic(suite, folder, "NTS-KE connections dropped") > 50
        ask(server.port, "127.1.0.9", IBURST)
        assert exchanged(server.ntsport, "127.1.0.9", 1) == 1


@pytest.mark.parametrize("suite", SUITES)
def test_silent_connections_do_not_keep_clients_out(suite: str, pair: Pair, folder: Path) -> None:
    """A single host can hold all 100 connections of chronyd's default."""
    context = multiprocessing.get_context("spawn")
    for name, limits, served in (("default", {}, False), ("limited", LIMITS, True)):
        ended, made = context.Event(), context.SimpleQueue()
        with serving(suite, folder / name, pair, limits) as (server, _pid):
            flood = context.Process(target=partial(hold_connections, 300), args=(server.ntsport, ended, made))
            flood.start()
            try:
                wait_for(lambda: len(connections(server.ntsport)) > MOST_OF_DEFAULT, 100, server.log.read_text)
                outcomes = [0, 0]
                # Load on the controller slows both the flood and the honest clients.
                while max(outcomes) < MAJORITY:
                    success = exchanged(server.ntsport, f"127.1.0.{sum(outcomes) + 1}", 1)
                    outcomes[success] += 1
                    if success:
                        assert flood.pid is not None
                        wait_for_run(flood.pid)
            finally:
                ended.set()
                flood.join(20)
        assert (outcomes[1] == MAJORITY) is served, (name, outcomes)


@pytest.mark.parametrize("suite", SUITES[:1] + SUITES[-1:])
def test_the_memory_is_enough_for_the_clients(suite: str, pair: Pair, folder: Path) -> None:
    clients = 5000
    default, known = memory(suite, folder / "default", pair, {}, clients)
    assert known < clients
    larger, known = memory(suite, folder / "larger", pair, _limits.recommended(clients), clients)
    assert known >= clients
    assert larger - default < 4
