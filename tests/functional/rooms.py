# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rooms in which chronyd and ntpd meet: network namespaces with addresses and names of their own. Needs root.

No daemon in a room can touch the clock of the controller, and none outlives its room by long, even if the tests are
killed.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import datetime
import errno
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.securetime.nts.plugins.module_utils._x509 import request
from ansible_collections.securetime.nts.tests.functional.nts_servers import (
    DAY,
    Pair,
    PrivateKey,
    chronyc,
    running,
    wait_for,
)
from ansible_collections.securetime.nts.tests.functional.unpacked import NTPSEC_PACKAGES, program

NAME = "time.example.org"
IPV4 = "192.0.2.1"
IPV6 = "2001:db8::1"
# A name that has the second address only.
NAME_OF_IPV6 = "time6.example.org"
NAMES = (NAME, NAME_OF_IPV6, IPV4, IPV6)
KE_PORT = 4460
NTP_PORT = 123
# ntpd has port 123 of all addresses of its room; chronyd tells its clients this one in the key exchange.
CHRONY_PORT = 12123
# After this a daemon ends by itself.
SECONDS = 1800

CAP_SYS_TIME = 25
CLONE_NEWNET = 0x40000000
MODE_6 = 0x16
READ_STATUS = 1
READ_VARIABLES = 2
CONTROL_HEADER = struct.Struct("!BBHHHHH")


class Room:
    """A network namespace, kept by a process that sleeps in it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def command(self, command: Sequence[str | Path]) -> list[str | Path]:
        """Return what runs a command in the room, for a limited time and without the right to set a clock."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount"]
        harmless = ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time"]
        return [*enter, *harmless, "timeout", "--signal=KILL", str(SECONDS), *command]

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread, and those that it starts, open their sockets in the room."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/proc/{self.pid}/ns/net", "rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def listens(self, port: int) -> bool:
        """Say whether somebody accepts connections at the address of the room."""
        with self.inside(), contextlib.suppress(OSError), socket.create_connection((IPV4, port), timeout=10):
            return True
        return False


@contextlib.contextmanager
def command_socket() -> Iterator[Path]:
    """Yield a path for a command socket of chronyd's.

    It is short, whatever the folder of the tests is called: the path of a socket has at most 107 bytes (unix(7)), and
    chronyc 4.9 makes a longer one beside it.
    """
    with tempfile.TemporaryDirectory(prefix="nts-", dir="/run") as folder:
        yield Path(folder) / "run" / "sock"


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def room(folder: Path) -> Iterator[Room]:
    """Make a room. It is gone when its last process is."""
    folder.mkdir(parents=True)
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{IPV4} {NAME}\n{IPV6} {NAME_OF_IPV6}\n")
    script = f"""
        mount --bind {hosts} /etc/hosts
        ip link set lo up
        ip address add {IPV4}/32 dev lo
        ip address add {IPV6}/128 dev lo
        echo ready
        exec sleep {SECONDS}
    """
    command = ["unshare", "--net", "--mount", "sh", "-ec", script]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == "ready\n"
            yield Room(keeper.pid)
        finally:
            keeper.kill()


def _harmless(pid: int) -> bool:
    """Say whether a process cannot set the clock, whatever it does."""
    status = Path(f"/proc/{pid}/status").read_text()
    sets = [line.split()[1] for line in status.splitlines() if line.startswith("Cap")]
    return all(int(rights, 16) >> CAP_SYS_TIME & 1 == 0 for rights in sets)


class Daemon(abc.ABC):
    """A daemon in a room."""

    def __init__(self, place: Room, folder: Path, suite: str, log: Path) -> None:
        self.room, self.folder, self.suite, self.log = place, folder, suite, log

    @abc.abstractmethod
    def authentic(self) -> int:
        """Return how many requests of clients were authenticated."""

    def told(self) -> str:
        """Return what the daemon has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Chrony(Daemon):
    """chronyd, which is asked by the chronyc of its own suite."""

    def __init__(self, place: Room, folder: Path, suite: str, command_socket: Path) -> None:
        super().__init__(place, folder, suite, folder / "log")
        self.command_socket = command_socket

    def ask(self, *words: str) -> str:
        """Return what chronyc says, or nothing if chronyd is not there yet."""
        done = self._run(words, None)
        return done.stdout if done.returncode == 0 else ""

    def ask_all(self, commands: Sequence[str]) -> list[str]:
        """Return the line that chronyc says to each command."""
        return self._run((), "".join(f"{command}\n" for command in commands)).stdout.splitlines()

    def _run(self, words: Sequence[str], text: str | None) -> subprocess.CompletedProcess[str]:
        command = chronyc(self.suite, self.command_socket, "-n", *words)
        given = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        run = partial(subprocess.run, command, **given, capture_output=True, text=True, timeout=300, check=False)
        try:
            return run()
        except OSError as error:
            # The kernel of a CI host refused one of some 100,000 starts with EFAULT, and accepted the next ones.
            if error.errno != errno.EFAULT:
                raise
            return run()

    def authentic(self) -> int:
        """Return how many requests of clients were authenticated."""
        return int(self.value("serverstats", "Authenticated NTP packets") or 0)

    def value(self, report: str, label: str) -> str:
        """Return one value of a report of chronyc."""
        lines = (line.partition(":") for line in self.ask(report).splitlines())
        return next((value.strip() for name, _colon, value in lines if name.strip() == label), "")


@contextlib.contextmanager
def chronyd(
    place: Room,
    suite: str,
    folder: Path,
    lines: Sequence[str],
    options: Sequence[str] = (),
    wrapper: Sequence[str] = (),
) -> Iterator[Chrony]:
    """Run chronyd in a room, by the words of a wrapper where there are some."""
    folder.mkdir(parents=True)
    config = folder / "chrony.conf"
    command = [*wrapper, *program(suite, "usr/sbin/chronyd"), "-d", "-x", "-u", "root", "-f", str(config), *options]
    with command_socket() as path:
        daemon = Chrony(place, folder, suite, path)
        directives = (f"bindcmdaddress {path}", "cmdport 0", f"pidfile {folder}/pid", *lines)
        config.write_text("".join(f"{line}\n" for line in directives))
        with running(place.command(command), daemon.log) as process:
            wait_for(lambda: daemon.ask("tracking") != "" or process.poll() is not None, 100, daemon.told)
            assert process.poll() is None, daemon.told()
            assert _harmless(process.pid)
            yield daemon


class Ntpd(Daemon):
    """ntpd of ntpsec, which is asked with the control messages of ntpq (RFC 9327)."""

    def variables(self, *names: str, association: int = 0) -> dict[str, str]:
        """Return variables of ntpd, or of one of its associations."""
        text = self._control(READ_VARIABLES, association, ",".join(names).encode()).decode()
        pairs = (item.partition("=") for item in text.split(","))
        return {name.strip(): value.strip() for name, _equals, value in pairs}

    def authentic(self) -> int:
        """Return how many requests of clients were authenticated."""
        return int(self.variables("nts_server_recv_good")["nts_server_recv_good"])

    def associations(self) -> list[int]:
        """Return the numbers of the associations."""
        return [number for number, _status in struct.iter_unpack("!HH", self._control(READ_STATUS, 0, b""))]

    def _control(self, code: int, association: int, data: bytes) -> bytes:
        request = CONTROL_HEADER.pack(MODE_6, code, 1, 0, association, 0, len(data)) + data + b"\0" * (-len(data) % 4)
        with self.room.inside():
            connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with connection:
            connection.settimeout(60)
            connection.connect(("127.0.0.1", NTP_PORT))
            connection.send(request)
            answer = connection.recv(2048)
        length = CONTROL_HEADER.unpack(answer[: CONTROL_HEADER.size])[-1]
        return answer[CONTROL_HEADER.size :][:length]


@contextlib.contextmanager
def ntpd(place: Room, suite: str, folder: Path, lines: Sequence[str]) -> Iterator[Ntpd]:
    """Run ntpd of ntpsec in a room."""
    folder.mkdir(parents=True)
    daemon = Ntpd(place, folder, suite, folder / "log")
    config = folder / "ntp.conf"
    # Nothing is to become of what it measures. It answers queries only where a line allows them.
    config.write_text("".join(f"{line}\n" for line in ("disable ntp", "restrict 127.0.0.1", *lines)))
    command = [*program(suite, "usr/sbin/ntpd", NTPSEC_PACKAGES), "-n", "-c", str(config), "-l", str(daemon.log)]
    with running(place.command(command), folder / "output") as process:

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return bool(daemon.variables("version"))
            return False

        wait_for(lambda: answers() or process.poll() is not None, 100, daemon.told)
        assert process.poll() is None, (folder / "output").read_text() + daemon.told()
        assert _harmless(process.pid)
        yield daemon


def _sign(
    folder: Path,
    name: str,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    issuer: Pair | None = None,
    not_before: datetime.timedelta = -DAY,
    not_after: datetime.timedelta = 3650 * DAY,
    key: PrivateKey | None = None,
) -> Pair:
    """Make a certificate as community.crypto does: with identifiers of the keys, signed by the issuer or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + not_before)
        .not_valid_after(now + not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if issuer:
        its = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(its), critical=False
        )
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Pair(folder, certificate, key, () if issuer is None else (issuer,))


def _usage(*, authority: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(names, False),
    )


class Certificates:
    """The certificates of one server, and the file that its clients trust."""

    def __init__(self, server: Pair, trusted: Path) -> None:
        self.server, self.trusted = server, trusted


def of_the_role(
    folder: Path,
    names: Sequence[str] = NAMES,
    permitted: Sequence[str] | None = NAMES,
    key: PrivateKey | None = None,
    *,
    rooted: bool = True,
    more_names: Sequence[x509.GeneralName] = (),
) -> Certificates:
    """Make what the role makes: a root, an issuing CA for the server's names only, and the server's certificate.

    Without constraints it is what an ACME server issues; the provider selfsigned has no root, and is trusted as it is.
    more_names stand in the server's certificate besides its names.
    """
    # Long: the three certificates of one chain, one after the other.
    root = None
    if rooted:
        root = _sign(
            folder / "root",
            "NTS root CA",
            [(x509.BasicConstraints(ca=True, path_length=1), True), (_usage(authority=True), True)],
        )
    asked = request.extensions(request.issuing_request(permitted or names, "server"))
    issuing = _sign(
        folder / "issuing",
        f"NTS issuing CA of {names[0]}",
        [item for item in asked if permitted or not isinstance(item[0], x509.NameConstraints)],
        root,
        not_after=1095 * DAY,
    )
    wanted = request.leaf_request(names, "ECDSA P-256")
    leaf = _sign(
        folder / "server",
        wanted.common_name,
        [
            (x509.SubjectAlternativeName([*value, *more_names]), critical)
            if isinstance(value, x509.SubjectAlternativeName)
            else (value, critical)
            for value, critical in request.extensions(wanted)
        ],
        issuing,
        not_before=-DAY / 24,
        not_after=90 * DAY,
        key=key,
    )
    return Certificates(leaf, (root or issuing).chain)


def self_signed(folder: Path) -> Certificates:
    """Make a certificate that its clients trust itself."""
    leaf = _sign(
        folder / "server",
        NAME,
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(authority=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.SubjectAlternativeName([request.general_name(name) for name in NAMES]), False),
        ],
        not_after=90 * DAY,
    )
    return Certificates(leaf, leaf.chain)
