# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the cost of a key exchange for an NTS server, by its certificate: CPU time, key exchanges per second, bytes.

    make bench-ke [OPTIONS=--all]

Each certificate has its own chronyd (Debian 13, unpacked) with the same program and configuration, so that its CPU time
is separate. All servers run at once. The clients load one after the other, round by round and every other round in
reverse order, so that other load on the controller affects all alike. The figures are the medians of the rounds.

- server CPU: user and system time of chronyd and of its processes for key exchanges, in seconds (proc_pid_stat(5)).
  This is the figure to trust.
- KE/s: only key exchanges that brought a cookie; one that fails ends the run. Clients and server share the controller.
  A server that is busy for much less than 100 % (of one core) waited for the clients, or for other load on the
  controller, and could do more.
- bytes: what the server sends of TCP's payload, from ServerHello to the end of TLS.

chronyd has its default key exchange processes and connections (ntsprocesses 1, maxntsconnections 100), and no
ntsratelimit. A client is a process with chronyd's own TLS library and priorities. It makes full handshakes of TLS 1.3
one after the other and never resumes a session. It verifies the server's signature, but not its chain. Its request is
that of chronyd of Debian 13.

Long: certificates, clients, measurement and table form one program.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import multiprocessing
import os
import re
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls, ke
from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import NtsError
from ansible_collections.securetime.nts.plugins.module_utils._nts.gnutls import Gnutls, GnutlsError
from ansible_collections.securetime.nts.tests.functional.nts_servers import (
    ADDRESS,
    DAY,
    NAME,
    Pair,
    PrivateKey,
    chronyd,
)
from ansible_collections.securetime.nts.tests.functional.rooms import of_the_role
from ansible_collections.securetime.nts.tests.functional.unpacked import program, system

SUITE = "trixie"
LINES = ("local stratum 5", "ntsprocesses 1", "maxntsconnections 100")
AEADS = (ke.AES_128_GCM_SIV, ke.AES_SIV_CMAC_256)
PATIENCE_SECONDS = 60
# linux/tcp.h: struct tcp_info.tcpi_bytes_received, since Linux 4.1
BYTES_RECEIVED = struct.Struct("128x Q")
# Fields after the name in parentheses (proc_pid_stat(5)): ppid, and utime, stime, cutime, cstime in clock ticks.
PARENT, TIMES = 1, slice(11, 15)
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
GNUTLS_VERSION = """
import ctypes
library = ctypes.CDLL("libgnutls.so.30")
library.gnutls_check_version.restype = ctypes.c_char_p
print(library.gnutls_check_version(None).decode())
"""


class BenchError(Exception):
    """The benchmark has no valid figure."""


def library() -> Gnutls:
    """Return the GnuTLS library of the clients."""
    loaded = gnutls.load()
    if loaded is None:
        raise BenchError(f"{gnutls.LIBRARY} is missing or too old")
    return loaded


# --- The certificates ---


def from_the_role(key: Callable[[], PrivateKey]) -> Callable[[Path], Pair]:
    """Return a function that makes a leaf with this key and its ECDSA P-256 issuing CA, as the role does."""
    return lambda folder: of_the_role(folder, (NAME, ADDRESS), (NAME, ADDRESS), key()).server


def self_signed(folder: Path) -> Pair:
    """Do as `openssl req -x509 -newkey rsa:4096 -days 365 -nodes -subj /C=US/ST=State/L=City/O=Organization/CN=…`."""
    key = rsa.generate_private_key(65537, 4096)
    names = {
        NameOID.COUNTRY_NAME: "US",
        NameOID.STATE_OR_PROVINCE_NAME: "State",
        NameOID.LOCALITY_NAME: "City",
        NameOID.ORGANIZATION_NAME: "Organization",
        NameOID.COMMON_NAME: NAME,
    }
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in names.items()])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + 365 * DAY)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(folder, certificate, key, ())


# The table compares the others with the first certificate.
CERTIFICATES = {
    "ECDSA P-256, of the role": from_the_role(lambda: ec.generate_private_key(ec.SECP256R1())),
    "RSA 4096, self-signed": self_signed,
}
MORE_CERTIFICATES = {
    "ECDSA P-384, of the role": from_the_role(lambda: ec.generate_private_key(ec.SECP384R1())),
    "Ed25519, of the role": from_the_role(ed25519.Ed25519PrivateKey.generate),
    "RSA 2048, of the role": from_the_role(lambda: rsa.generate_private_key(65537, 2048)),
    "RSA 3072, of the role": from_the_role(lambda: rsa.generate_private_key(65537, 3072)),
}


# --- A client, in a separate process ---


class Load(NamedTuple):
    """One client's key exchanges, received bytes and CPU time, and its start and end (monotonic seconds)."""

    exchanges: int
    received_bytes: int
    cpu_seconds: float
    began: float
    ended: float


class Client:
    """Make key exchanges in one process."""

    def __init__(self, loaded: Gnutls, together: Barrier | None = None) -> None:
        self.gnutls, self.together = loaded, together
        self.credentials = loaded.credentials("", system=False, dates=True)
        self.request = ke.request(AEADS)

    def run(self, port: int, seconds: float) -> Load:
        """Wait for all other clients, then make key exchanges one after the other for some seconds."""
        if self.together:
            self.together.wait(PATIENCE_SECONDS)
        exchanges = received = 0
        began, cpu = time.monotonic(), time.process_time()
        while not exchanges or time.monotonic() < began + seconds:
            try:
                received += self.exchange(port)
            except (OSError, GnutlsError, NtsError) as error:
                raise BenchError(f"key exchange {exchanges + 1} of a client failed: {error}") from None
            exchanges += 1
        return Load(exchanges, received, time.process_time() - cpu, began, time.monotonic())

    def exchange(self, port: int, source: str = "") -> int:
        """Make one key exchange, from a loopback address if given; return how many bytes the server sent."""
        with socket.create_connection((ADDRESS, port), PATIENCE_SECONDS, (source, 0) if source else None) as connection:
            prompt(connection)
            handle = self.gnutls.session(connection.fileno(), NAME, ke.ALPN, self.credentials)
            try:
                self._repeat(handle, lambda: self.gnutls.handshake(handle))
                self._repeat(handle, lambda: self.gnutls.record_send(handle, self.request, len(self.request)))
                acknowledge_at_once(connection)
                ke.read_response(self._answer(handle), AEADS)
                self.gnutls.bye(handle, gnutls.CLOSE_WRITING)
            finally:
                self.gnutls.deinit(handle)
            information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED.size)
            return int(BYTES_RECEIVED.unpack(information)[0])

    def _answer(self, handle: ctypes.c_void_p) -> bytes:
        """Return all data until the server ends the session."""
        answer, buffer = b"", ctypes.create_string_buffer(4096)
        while size := self._repeat(handle, lambda: self.gnutls.record_recv(handle, buffer, len(buffer))):
            answer += buffer.raw[:size]
        return answer

    def _repeat(self, handle: ctypes.c_void_p, call: Callable[[], int]) -> int:
        """Call until there is a result: TLS messages such as a session ticket interrupt a read without data."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (result := self.gnutls.attempt(handle, call())) is None:
            if time.monotonic() >= end:
                raise TimeoutError(f"no answer for {PATIENCE_SECONDS} s")
        return result


def prompt(connection: socket.socket) -> None:
    """Make a connection block with a timeout, without delays by Nagle's algorithm or by delayed acknowledgements."""
    connection.setblocking(True)
    limit = struct.pack("@ll", PATIENCE_SECONDS, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    acknowledge_at_once(connection)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Send the next acknowledgements at once: the server's Nagle algorithm waits for them, up to 40 ms each."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


# Holds the one client of this process.
_client: list[Client] = []


def _become_client(together: Barrier) -> None:
    _client.append(Client(library(), together))


def _run_client(port: int, seconds: float) -> Load:
    return _client[0].run(port, seconds)


# --- The measurement ---


class Round(NamedTuple):
    """All clients' load on a server in one round, and its cost."""

    exchanges: int
    seconds: float
    server_cpu_seconds: float
    client_cpu_seconds: float
    # CPU time of everything else on the controller, kernel included.
    other_cpu_seconds: float
    received_bytes: int

    @property
    def rate(self) -> float:
        """Return the key exchanges per second."""
        return self.exchanges / self.seconds

    @property
    def server_cpu(self) -> float:
        """Return the server's CPU seconds per 1,000 key exchanges."""
        return 1000 * self.server_cpu_seconds / self.exchanges

    @property
    def client_cpu(self) -> float:
        """Return the clients' CPU seconds per 1,000 key exchanges."""
        return 1000 * self.client_cpu_seconds / self.exchanges

    @property
    def bytes_each(self) -> float:
        """Return the bytes that the server sends per key exchange."""
        return self.received_bytes / self.exchanges

    @property
    def busy_percent(self) -> float:
        """Return the server's CPU time in percent of the round; 100 is one core."""
        return 100 * self.server_cpu_seconds / self.seconds

    @property
    def others_percent(self) -> float:
        """Return the CPU time of everything else in percent of the round."""
        return 100 * self.other_cpu_seconds / self.seconds


class Clients:
    """Clients that make key exchanges in parallel, each in a separate process."""

    def __init__(self, number: int) -> None:
        self.number, self.version = number, library().version()
        processes = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(number, processes, _become_client, (processes.Barrier(number),))

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def load(self, port: int, seconds: float) -> list[Load]:
        """Let every client make key exchanges with the server at a port; raise BenchError if one fails."""
        # The barrier keeps one process from running two clients.
        running = [self._pool.submit(_run_client, port, seconds) for _number in range(self.number)]
        return [client.result() for client in running]

    def measure(self, port: int, pid: int, seconds: float) -> Round:
        """Return the cost of a round for the server with this main process."""
        all_before, before = all_cpu_seconds(), cpu_seconds(pid)
        loads = self.load(port, seconds)
        used, all_used = cpu_seconds(pid) - before, all_cpu_seconds() - all_before
        if used <= 0:
            raise BenchError(f"the server used less CPU time than {1 / TICKS_PER_SECOND} s: measure for longer")
        by_clients = sum(load.cpu_seconds for load in loads)
        return Round(
            exchanges=sum(load.exchanges for load in loads),
            seconds=max(load.ended for load in loads) - min(load.began for load in loads),
            server_cpu_seconds=used,
            client_cpu_seconds=by_clients,
            other_cpu_seconds=max(0.0, all_used - used - by_clients),
            received_bytes=sum(load.received_bytes for load in loads),
        )


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds (user and system) of a process and its descendants, including those that have ended."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It has ended.
            found[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    family = [pid]
    for member in family:
        family += [child for child, fields in found.items() if int(fields[PARENT]) == member]
    return sum(int(ticks) for member in family for ticks in found[member][TIMES]) / TICKS_PER_SECOND


def all_cpu_seconds() -> float:
    """Return the CPU time except idle and iowait (proc_stat(5)), in seconds."""
    user, nice, system_, _idle, _iowait, *rest = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(map(int, (user, nice, system_, *rest))) / TICKS_PER_SECOND


@contextlib.contextmanager
def served(folder: Path, certificates: Mapping[str, Callable[[Path], Pair]]) -> Iterator[dict[str, tuple[int, int]]]:
    """Run a server for each certificate; yield the port and the main process id of each."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for number, (name, make) in enumerate(certificates.items()):
            own = folder / str(number)
            server = stack.enter_context(chronyd(SUITE, own, make(own / "certificates"), LINES))
            servers[name] = (server.ntsport, int((own / "pid").read_text()))
        yield servers


def compare(
    certificates: Mapping[str, Callable[[Path], Pair]], clients: Clients, rounds: int, seconds: float
) -> dict[str, list[Round]]:
    """Measure every certificate in each round."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), certificates) as servers:
        for port, _pid in servers.values():
            clients.load(port, min(seconds, 0.2))  # What is done only once is not measured.
        found: dict[str, list[Round]] = {name: [] for name in servers}
        for number in range(rounds):
            for name in list(servers)[:: -1 if number % 2 else 1]:
                found[name].append(clients.measure(*servers[name], seconds))
    return found


# --- The table ---


def versions() -> tuple[str, str]:
    """Return the versions of the servers' chronyd and GnuTLS."""
    told = subprocess.run([*program(SUITE, "usr/sbin/chronyd"), "-v"], check=True, capture_output=True, text=True)
    number = re.search(r"version (\S+)", told.stdout)
    command = ["chroot", str(system(SUITE)), "python3", "-c", GNUTLS_VERSION]
    of_gnutls = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return number[1] if number else "?", of_gnutls


HEADER = (
    ("certificate", ""),
    ("server CPU s", "per 1,000 KE"),
    ("lowest to", "highest"),
    ("times", ""),
    ("KE/s", ""),
    ("times", ""),
    ("bytes", "per KE"),
    ("clients' CPU s", "per 1,000 KE"),
    ("server", "busy"),
    ("others", "busy"),
)


def table(found: Mapping[str, Sequence[Round]]) -> str:
    """Return the medians as text; "times" compares with the first certificate."""

    def median(name: str, value: Callable[[Round], float]) -> float:
        return statistics.median(value(item) for item in found[name])

    first = next(iter(found))
    rows = list(zip(*HEADER, strict=True))
    for name, measured in found.items():
        cpu, rate = median(name, lambda item: item.server_cpu), median(name, lambda item: item.rate)
        costs = [item.server_cpu for item in measured]
        rows.append(
            (
                name,
                f"{cpu:.2f}",
                f"{min(costs):.2f} to {max(costs):.2f}",
                f"{cpu / median(first, lambda item: item.server_cpu):.2f}",
                f"{rate:.0f}",
                f"{rate / median(first, lambda item: item.rate):.2f}",
                f"{median(name, lambda item: item.bytes_each):.0f}",
                f"{median(name, lambda item: item.client_cpu):.2f}",
                f"{median(name, lambda item: item.busy_percent):.0f} %",
                f"{median(name, lambda item: item.others_percent):.0f} %",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="other types of keys, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each certificate in each round")
    parser.add_argument("--clients", type=int, default=8)
    wanted = parser.parse_args()
    certificates = {**CERTIFICATES, **(MORE_CERTIFICATES if wanted.all else {})}
    of_chrony, of_gnutls = versions()
    try:
        with Clients(wanted.clients) as clients:
            found = compare(certificates, clients, wanted.rounds, wanted.seconds)
    except BenchError as error:
        raise SystemExit(str(error)) from None
    print(f"chronyd {of_chrony} with GnuTLS {of_gnutls} (Debian {SUITE}): {', '.join(LINES[1:])}, no ntsratelimit.")
    print(
        f"{clients.number} clients with GnuTLS {clients.version}, on the same {os.cpu_count()} CPUs."
        f" Medians of {wanted.rounds} rounds of {wanted.seconds:g} s.\n"
    )
    print(table(found))


if __name__ == "__main__":
    main()
