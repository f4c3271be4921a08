# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of key exchanges counts as chronyd does, and prints no figures without a valid measurement."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._nts.ke import record
from ansible_collections.securetime.nts.plugins.module_utils._x509 import certificates
from ansible_collections.securetime.nts.tests.bench import ke_speed
from ansible_collections.securetime.nts.tests.bench.ke_speed import BenchError, Clients, Round
from ansible_collections.securetime.nts.tests.functional.nts_servers import (
    Pair,
    chronyc,
    chronyd,
    free_port,
    make_pair,
    misbehaving,
    running,
    wait_for,
)

T = TypeVar("T")
CERTIFICATES = {**ke_speed.CERTIFICATES, **ke_speed.MORE_CERTIFICATES}


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    with Clients(2) as both:
        yield both


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"))


def accepted(socket: Path) -> int:
    """Return how many key exchanges chronyd reports as accepted."""
    done = subprocess.run(chronyc(ke_speed.SUITE, socket, "serverstats"), check=True, stdout=subprocess.PIPE, text=True)
    statistics = {
        label.strip(): value for label, _colon, value in (line.partition(":") for line in done.stdout.splitlines())
    }
    return int(statistics["NTS-KE connections accepted"])


def long_enough(measure: Callable[[float], T], seconds: float = 0.2) -> T:
    """Measure for as long as a controller that runs other tests needs."""
    try:
        return measure(seconds)
    except BenchError:
        if seconds > 30:
            raise
    return long_enough(measure, 15 * seconds)


def test_every_certificate_has_figures(clients: Clients) -> None:
    found = long_enough(partial(ke_speed.compare, CERTIFICATES, clients, 1))
    figures = ("rate", "server_cpu", "client_cpu", "bytes_each", "busy_percent")
    assert list(found) == list(CERTIFICATES)
    assert all(getattr(one, figure) > 0 for (one,) in found.values() for figure in figures), found
    lines = ke_speed.table(found).splitlines()
    assert [line.partition("  ")[0] for line in lines[2:]] == list(CERTIFICATES)
    assert len({len(line) for line in lines}) == 1
    # A modulus of 4096 bits and a signature of that size are longer than a whole chain of P-256 certificates.
    ours, theirs = (found[name][0].bytes_each for name in ke_speed.CERTIFICATES)
    assert theirs > ours + 512


@pytest.mark.parametrize("name", CERTIFICATES)
def test_the_certificate_is_what_its_name_says(name: str, tmp_path: Path) -> None:
    made = CERTIFICATES[name](tmp_path)
    key_type, _comma, origin = name.partition(", ")
    assert certificates.key_type(made.der) == key_type
    chain = [certificates.pem_to_der(pem) for pem in certificates.CERTIFICATE.findall(made.chain.read_text())]
    issued = ["ECDSA P-256"] if origin == "of the role" else []
    assert [certificates.key_type(der) for der in chain] == [key_type, *issued]


def test_the_counts_agree_with_chronyd(clients: Clients, pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "chronyd"
    socket = folder / "run" / "socket"
    with chronyd(ke_speed.SUITE, folder, pair, (*ke_speed.LINES, f"bindcmdaddress {socket}")) as server:
        pid = int((folder / "pid").read_text())

        def measure(seconds: float) -> tuple[int, int]:
            before = accepted(socket)
            found = clients.measure(server.ntsport, pid, seconds)
            return found.exchanges, accepted(socket) - before

        exchanges, counted = long_enough(measure)
        assert exchanges == counted

        def is_by_children() -> bool:
            clients.load(server.ntsport, 0.1)
            main = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[ke_speed.TIMES]
            main_seconds = sum(map(int, main)) / ke_speed.TICKS_PER_SECOND
            return ke_speed.cpu_seconds(pid) > 2 * main_seconds

        # The figure includes chronyd's child processes, because the main process only accepts connections. On a busy
        # machine, it takes longer until their CPU time exceeds that of chronyd's start.
        wait_for(is_by_children, 300, server.log.read_text)
    assert exchanges >= clients.number


def test_a_refusal_is_an_error(clients: Clients, pair: Pair, tmp_path: Path) -> None:
    with (
        chronyd(ke_speed.SUITE, tmp_path, pair, (*ke_speed.LINES, "deny all")) as server,
        pytest.raises(BenchError, match="key exchange 1 of a client failed"),
    ):
        clients.load(server.ntsport, 0.1)


def test_a_missing_server_is_an_error(clients: Clients) -> None:
    with pytest.raises(BenchError, match="refused"):
        clients.load(free_port(), 0.1)


def test_an_answer_without_cookies_is_an_error(clients: Clients, pair: Pair) -> None:
    def behave(session: ssl.SSLSocket) -> None:
        session.recv(4096)
        answer = [record(1, b"\0\0", critical=True), record(4, b"\0\x0f"), record(0, critical=True)]
        session.sendall(b"".join(answer))
        session.unwrap()

    with misbehaving(behave, pair) as port, pytest.raises(BenchError, match="none came"):
        clients.load(port, 0.1)


def test_no_cpu_time_is_an_error(clients: Clients, pair: Pair, tmp_path: Path) -> None:
    """For example, with the id of the wrong process."""
    with (
        running(["sleep", "60"], tmp_path / "log") as idle,
        chronyd(ke_speed.SUITE, tmp_path / "chronyd", pair, ke_speed.LINES) as server,
        pytest.raises(BenchError, match="measure for longer"),
    ):
        clients.measure(server.ntsport, idle.pid, 0.1)


def test_figures_are_of_a_thousand_key_exchanges() -> None:
    measured = Round(
        exchanges=2000,
        seconds=4.0,
        server_cpu_seconds=3.0,
        client_cpu_seconds=5.0,
        other_cpu_seconds=1.0,
        received_bytes=4_000_000,
    )
    assert (measured.rate, measured.server_cpu, measured.client_cpu) == (500, 1.5, 2.5)
    assert (measured.bytes_each, measured.busy_percent, measured.others_percent) == (2000, 75, 25)
