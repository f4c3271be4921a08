# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the effect of an NTS server's limits: honest clients beside a flood, and the memory for many clients.

    make bench-limits [OPTIONS="--suites trixie --seconds 5"]

Each server is a chronyd of a Debian suite on loopback. A flood comes from one address: several processes make key
exchanges without a pause, or one process holds silent connections. chronyd closes these after 2 s, or at once where it
has too many, and the flood opens new ones. Honest clients make one key exchange each, every tenth of a second, from
separate addresses.

- honest: their key exchanges that brought cookies, in percent, and the median of their time in milliseconds.
- flood: its key exchanges per second that brought cookies, or the connections that it holds open.
- server CPU: of all processes of chronyd, in percent of one core.
- dropped: connections that chronyd has closed by ntsratelimit.

Memory is the resident memory of chronyd's main process in MiB after one NTP request from each of many addresses. The
table also has the number of clients that chronyd still knows then.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import re
import selectors
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import NtsError
from ansible_collections.securetime.nts.plugins.module_utils._nts.gnutls import GnutlsError
from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _limits
from ansible_collections.securetime.nts.tests.bench.ke_speed import Client, cpu_seconds, library
from ansible_collections.securetime.nts.tests.functional.nts_servers import (
    ADDRESS,
    NAME,
    Pair,
    Server,
    chronyc,
    chronyd,
)
from ansible_collections.securetime.nts.tests.functional.rooms import of_the_role
from ansible_collections.securetime.nts.tests.functional.unpacked import program

SUITES = ("bookworm", "trixie", "testing")
FLOOD_ADDRESS = "127.0.0.66"
# Enough processes that the attacker does not limit the flood more than chronyd does.
FLOODING_PROCESSES = 2
HONEST_PAUSE_SECONDS = 0.1
FAILURES = (OSError, GnutlsError, NtsError)
NTP_REQUEST = b"\x23" + bytes(39) + b"12345678"
CLIENTS = 1000
LIMITS: dict[str, dict[str, object]] = {
    "chronyd's defaults": {},
    "maxntsconnections 500": {"maxntsconnections": _limits.CONNECTIONS},
    f"for {CLIENTS:,} clients": _limits.recommended(CLIENTS),
}


class Measured(NamedTuple):
    """Service of honest clients beside a flood, and its cost."""

    honest_percent: float
    honest_milliseconds: float
    flood: float
    server_cpu_percent: float
    dropped: int


def pair_of_the_role(folder: Path) -> Pair:
    """Return a pair of the role's kind."""
    return of_the_role(folder, (NAME, ADDRESS), (NAME, ADDRESS)).server


@contextlib.contextmanager
def serving(suite: str, folder: Path, pair: Pair, limits: dict[str, object]) -> Iterator[tuple[Server, int]]:
    """Run chronyd with limits; yield the server and its process id."""
    lines = ("local stratum 5", f"bindcmdaddress {folder}/run/socket", *_chrony_conf.render_directives(limits))
    with chronyd(suite, folder, pair, lines) as server:
        yield server, int((folder / "pid").read_text())


def report(suite: str, folder: Path, *words: str) -> str:
    """Return the output of chronyc."""
    command = chronyc(suite, folder / "run" / "socket", "-n", *words)
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def statistic(suite: str, folder: Path, label: str) -> int:
    """Return one value of chronyc serverstats."""
    found = re.search(rf"^{label} *: (\d+)$", report(suite, folder, "serverstats"), re.MULTILINE)
    return int(found[1]) if found else 0


# --- The flood ---


def exchange_keys(port: int, ended: Event, made: multiprocessing.SimpleQueue[int]) -> None:
    """Make key exchanges without a pause; report how many brought cookies."""
    client, successes = Client(library()), 0
    while not ended.is_set():
        with contextlib.suppress(*FAILURES):
            client.exchange(port, FLOOD_ADDRESS)
            successes += 1
    made.put(successes)


def hold_connections(number: int, port: int, ended: Event, made: multiprocessing.SimpleQueue[int]) -> None:
    """Hold silent connections open; report their average number."""
    selector, counts = selectors.DefaultSelector(), []
    while not ended.is_set():
        for _time in range(min(50, number - len(selector.get_map()))):
            connection = socket.socket()
            connection.bind((FLOOD_ADDRESS, 0))
            connection.setblocking(False)
            connection.connect_ex((ADDRESS, port))
            selector.register(connection, selectors.EVENT_READ)
        # A readable connection is one that chronyd has closed.
        for key, _events in selector.select(0.01):
            assert isinstance(key.fileobj, socket.socket)
            selector.unregister(key.fileobj)
            key.fileobj.close()
        counts.append(len(selector.get_map()))
    made.put(round(statistics.mean(counts)))


FLOODS = {
    "none": (),
    "key exchanges": (exchange_keys,) * FLOODING_PROCESSES,
    "300 silent": (partial(hold_connections, 300),),
    "1,000 silent": (partial(hold_connections, 1000),),
}


@contextlib.contextmanager
def flooding(port: int, kind: str) -> Iterator[list[int]]:
    """Flood a server; fill the yielded list at the end."""
    context = multiprocessing.get_context("spawn")
    ended, made, found = context.Event(), context.SimpleQueue(), []
    processes = [context.Process(target=each, args=(port, ended, made)) for each in FLOODS[kind]]
    for process in processes:
        process.start()
    try:
        if processes:
            time.sleep(2)  # They start, and use up the burst.
        yield found
    finally:
        ended.set()
        found += [made.get() for _process in processes]
        for process in processes:
            process.join(10)


# --- The measurements ---


def measure(suite: str, folder: Path, pair: Pair, limits: dict[str, object], flood: str, seconds: float) -> Measured:
    """Return the service of honest clients by a server with limits beside a flood."""
    client, times, failed = Client(library()), [], 0
    with contextlib.ExitStack() as stack:
        server, pid = stack.enter_context(serving(suite, folder, pair, limits))
        found = stack.enter_context(flooding(server.ntsport, flood))
        began, cpu = time.monotonic(), cpu_seconds(pid)
        for number in range(int(seconds / HONEST_PAUSE_SECONDS)):
            started = time.monotonic()
            try:
                client.exchange(server.ntsport, f"127.1.{number // 250}.{number % 250 + 1}")
                times.append(time.monotonic() - started)
            except FAILURES:
                failed += 1
            time.sleep(HONEST_PAUSE_SECONDS)
        passed, used = time.monotonic() - began, cpu_seconds(pid) - cpu
        dropped = statistic(suite, folder, "NTS-KE connections dropped")
    per_second = flood == "key exchanges"
    return Measured(
        honest_percent=100 * len(times) / (len(times) + failed),
        honest_milliseconds=1000 * statistics.median(times) if times else float("nan"),
        flood=sum(found) / (passed + 2 if per_second else 1),
        server_cpu_percent=100 * used / passed,
        dropped=dropped,
    )


def memory(suite: str, folder: Path, pair: Pair, limits: dict[str, object], clients: int) -> tuple[float, int]:
    """Return chronyd's resident memory in MiB after a request of each client, and how many clients it still knows."""
    with serving(suite, folder, pair, limits) as (server, pid):
        for number in range(clients):
            address = f"127.{2 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.bind((address, 0))
                asking.settimeout(2)
                asking.sendto(NTP_REQUEST, (ADDRESS, server.port))
                with contextlib.suppress(TimeoutError):
                    asking.recv(512)
        known = len(re.findall(r"^127\.", report(suite, folder, "clients"), re.MULTILINE))
        resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(resident[1]) / 1024 if resident else float("nan"), known


def version(suite: str) -> str:
    """Return the version of a suite's chronyd."""
    told = subprocess.run([*program(suite, "usr/sbin/chronyd"), "-v"], check=True, capture_output=True, text=True)
    return told.stdout.split("version ")[1].split()[0]


def rows(suites: Sequence[str], seconds: float, clients: int) -> Iterator[str]:
    """Yield the tables in Markdown, line by line."""
    with tempfile.TemporaryDirectory() as name:
        pair = pair_of_the_role(Path(name) / "certificates")
        yield "| chronyd | limits | flood | honest | median ms | flood gets | server CPU | dropped |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
        for suite in suites:
            for number, (title, limits) in enumerate(LIMITS.items()):
                for flood in FLOODS:
                    # chronyc treats a comma as the end of a path.
                    folder = Path(name) / f"{suite}-{number}-{list(FLOODS).index(flood)}"
                    found = measure(suite, folder, pair, limits, flood, seconds)
                    unit = {"none": "", "key exchanges": " KE/s"}.get(flood, " open")
                    yield (
                        f"| {version(suite)} | {title} | {flood} | {found.honest_percent:.0f} % |"
                        f" {found.honest_milliseconds:.1f} | {found.flood:.0f}{unit} |"
                        f" {found.server_cpu_percent:.0f} % | {found.dropped} |"
                    )
        yield ""
        yield "| chronyd | clientloglimit | clients | memory | clients known |"
        yield "| --- | --- | --- | --- | --- |"
        for suite in suites:
            for limit in (_limits.DEFAULT_LOG_BYTES, _limits.recommended(clients)["clientloglimit"]):
                for asking in (1, clients):
                    folder = Path(name) / f"{suite}-memory-{limit}-{asking}"
                    mebibytes, known = memory(suite, folder, pair, {"clientloglimit": limit}, asking)
                    yield f"| {version(suite)} | {limit} | {asking} | {mebibytes:.1f} MiB | {known} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", nargs="+", default=SUITES, choices=SUITES)
    parser.add_argument("--seconds", type=float, default=5, help="for each server and flood")
    parser.add_argument("--clients", type=int, default=20000, help="for the memory")
    wanted = parser.parse_args()
    for row in rows(wanted.suites, wanted.seconds, wanted.clients):
        print(row, flush=True)


if __name__ == "__main__":
    main()
