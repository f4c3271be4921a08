# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NTS servers for tests on loopback: real ones of several makes and versions, and servers that misbehave on purpose."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import secrets
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from ansible_collections.securetime.nts.plugins.module_utils._nts.gnutls import Gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import Probe, ProbeOptions
from ansible_collections.securetime.nts.tests.functional.unpacked import program

ADDRESS = "127.0.0.1"
NAME = "localhost"
DAY = datetime.timedelta(days=1)
# Each poll of most conditions starts a program.
POLL_SECONDS = 0.2
CLOSED = {"tls_closed", "ke_closed"}
# By default, the kernel chooses the ports of connections from a higher range (ip(7), ip_local_port_range).
PORTS = range(10000, 30000)
Row = dict[str, Any]
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that no program uses now, outside of the range from which the kernel chooses ports."""
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as taken:
            taken.bind((ADDRESS, port))
            return port


class Pair:
    """A certificate and its key, in files."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: PrivateKey, issuers: Sequence[Pair]) -> None:
        self.certificate, self.key = certificate, key
        self.chain = folder / "chain.pem"
        self.key_file = folder / "key.pem"
        certificates = [certificate, *(issuer.certificate for issuer in issuers)]
        folder.mkdir(parents=True, exist_ok=True)
        self.chain.write_bytes(b"".join(item.public_bytes(serialization.Encoding.PEM) for item in certificates))
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def der(self) -> bytes:
        """Return the certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def make_pair(
    folder: Path,
    issuer: Pair | None = None,
    *,
    name: str = "test",
    names: Sequence[str] = (NAME, ADDRESS),
    authority: bool = False,
    not_before: datetime.timedelta = -DAY,
    not_after: datetime.timedelta = 30 * DAY,
    key: PrivateKey | None = None,
    chain: Sequence[Pair] = (),
    permitted: str | None = None,
) -> Pair:
    """Make a certificate, signed by an issuer or self-signed; its dates are relative to now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + not_before)
        .not_valid_after(now + not_after)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names and not authority:
        alternative_names = x509.SubjectAlternativeName([_general_name(item) for item in names])
        builder = builder.add_extension(alternative_names, critical=False)
    if permitted:
        constraints = x509.NameConstraints([x509.DNSName(permitted)], None)
        builder = builder.add_extension(constraints, critical=True)
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Pair(folder, builder.sign(signer, algorithm), key, chain)


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon in the foreground inside the context."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(
    condition: Callable[[], bool], seconds: float, what: Callable[[], str], pause_seconds: float = POLL_SECONDS
) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(pause_seconds)


def chronyc(suite: str, command_socket: Path, *words: str) -> list[str]:
    """Return the command of a chronyc that waits 63 s for a busy chronyd, not 7 s; words may begin with options."""
    options = list(takewhile(lambda word: word.startswith("-"), words))
    # A newer chronyc gives up root's rights to a user that need not exist here.
    user = [] if suite in ("bullseye", "bookworm", "trixie") else ["-u", "root"]
    command = [*program(suite, "usr/bin/chronyc"), *user, "-h", str(command_socket), *options]
    request = " ".join(words[len(options) :])
    return [*command, "-m", "retries 5", request] if request else command


def probed(options: ProbeOptions, library: Gnutls | None, chronyd_path: str | None = None, kind: str = "") -> Row:
    """Return the result of a probe; kind is that of the expected error.

    Repeat a probe whose session the server has closed: chronyd does so after 2 s, and a busy machine may stop the probe
    for so long.
    """
    for _time in range(20):
        found = Probe(options, library, chronyd_path).run()
        if found["error"] is None or found["error"]["kind"] not in CLOSED - {kind}:
            break
    return found


def listens(port: int, address: str = ADDRESS) -> bool:
    """Return whether a program accepts connections on a port."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=10):
        return True
    return False


class Server:
    """Ports and log of a server."""

    def __init__(self, ntsport: int, port: int, log: Path) -> None:
        self.ntsport, self.port, self.log = ntsport, port, log


@contextlib.contextmanager
def chronyd(
    suite: str,
    folder: Path,
    pair: Pair,
    lines: Sequence[str] = ("local stratum 5",),
    *,
    ntsport: int | None = None,
    port: int | None = None,
    address: str = ADDRESS,
) -> Iterator[Server]:
    """Run chronyd of a Debian suite as an NTS server without control of the clock."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(ntsport or free_port(), port or free_port(socket.SOCK_DGRAM), folder / "log")
    config = folder / "chrony.conf"
    directives = (
        f"ntsservercert {pair.chain}",
        f"ntsserverkey {pair.key_file}",
        f"ntsport {server.ntsport}",
        f"port {server.port}",
        f"ntsdumpdir {folder}",
        f"bindaddress {address}",
        f"pidfile {folder}/pid",
        "bindcmdaddress /",
        "cmdport 0",
        "allow",
        *lines,
    )
    config.write_text("".join(f"{line}\n" for line in directives))
    command = [*program(suite, "usr/sbin/chronyd"), "-d", "-x", "-u", "root", "-f", config]
    with running(command, server.log) as process:
        wait_for(lambda: listens(server.ntsport, address) or process.poll() is not None, 100, server.log.read_text)
        assert process.poll() is None, server.log.read_text()
        yield server


Behaviour = Callable[[socket.socket], None]


def misbehaving(
    behave: Callable[[ssl.SSLSocket], None],
    pair: Pair,
    alpn: Sequence[str] = ("ntske/1",),
    change: Callable[[ssl.SSLContext], None] | None = None,
) -> AbstractContextManager[int]:
    """Serve TLS on a port and call `behave` with each session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key_file)
    context.set_alpn_protocols(list(alpn))
    if change is not None:
        change(context)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as session:
            behave(session)

    return raw(serve)


@contextlib.contextmanager
def raw(behave: Behaviour) -> Iterator[int]:
    """Accept connections on a port and call `behave` with each connection."""
    with socket.create_server((ADDRESS, 0)) as listener:
        listener.settimeout(0.1)
        stop = threading.Event()

        def one(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.settimeout(100)
                behave(connection)

        def accept() -> None:
            while not stop.is_set():
                with contextlib.suppress(socket.timeout):
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
        thread.join()
