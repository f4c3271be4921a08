# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe on real servers and on servers with every fault that it distinguishes; all on loopback.

Long: one table of faults and one set of misbehaving servers, which the tests share.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV, AESSIV

from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls, ntp, probe
from ansible_collections.securetime.nts.plugins.module_utils._nts.ke import record
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import KINDS, Probe, ProbeOptions
from ansible_collections.securetime.nts.tests.functional.nts_servers import (
    ADDRESS,
    CLOSED,
    DAY,
    NAME,
    Pair,
    Server,
    chronyd,
    free_port,
    listens,
    make_pair,
    misbehaving,
    probed,
    raw,
    running,
    wait_for,
)
from ansible_collections.securetime.nts.tests.functional.unpacked import program, system

COLLECTION = "ansible_collections.securetime.nts"
ROOT = Path(__file__).resolve().parents[2]
# Suites, and the cookie length of their chronyd: since 4.4 it encrypts cookies with AES-GCM-SIV where available.
SUITES = {"bullseye": 100, "bookworm": 100, "trixie": 96, "testing": 96}
# Address of an NTP server that differs from that of the key exchange.
ELSEWHERE = "127.0.0.3"
GNUTLS = gnutls.load()
LIBRARIES = ["gnutls", "ssl"]
# Timeout of a stage that is expected to succeed, and the kinds of faults that too short a timeout causes.
PATIENCE_SECONDS = 60.0
SILENCE = {"timed_out", "tls_timed_out", "ke_timed_out", "ntp_unanswered"}
# Records of a successful key exchange.
GOOD = [record(1, b"\0\0", critical=True), record(4, b"\0\x0f"), *[record(5, bytes(100))] * 8]
END = record(0, critical=True)
# Records of a key exchange that chronyd refuses, by the fault.
MALFORMED = {
    "end not critical": [*GOOD, record(0)],
    "end with a body": [*GOOD, record(0, b"ab", critical=True)],
    "second end": [*GOOD, END, END],
    "data behind the end": [*GOOD, END, b"x"],
    "next protocol not critical": [record(1, b"\0\0"), *GOOD[1:], END],
    "record 1024 with a body": [*GOOD, record(1024, b"ab"), END],
    "long critical cookie": [*GOOD, record(5, bytes(260), critical=True), END],
}


@dataclass
class Certificates:
    """A CA and the certificates that it signed."""

    folder: Path
    ca: Pair
    leaf: Pair

    def other(self, name: str, **options: Any) -> Pair:
        """Make another pair."""
        options.setdefault("issuer", self.ca)
        return make_pair(self.folder / name, name=name, **options)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ca = make_pair(folder / "ca", name="ca", authority=True)
    return Certificates(folder, ca, make_pair(folder / "leaf", ca, name="leaf"))


@pytest.fixture(scope="session")
def server(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a working server."""
    with chronyd("trixie", tmp_path_factory.mktemp("good"), certificates.leaf) as good:
        yield good


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(certificates: Certificates) -> Ask:
    """Return a function that probes a server as a client that trusts this CA alone."""

    def ask(
        ntsport: int, library: str = "gnutls", *, chronyd_path: str | None = None, kind: str = "", **options: Any
    ) -> dict[str, Any]:
        question = ProbeOptions(
            **{
                "server": NAME,
                "family": "ipv4",
                "ntsport": ntsport,
                "trusted_certs": [str(certificates.ca.chain)],
                "system_certs": False,
                "timeout": PATIENCE_SECONDS,
                **options,
            }
        )
        assert GNUTLS is not None
        return probed(question, GNUTLS if library == "gnutls" else None, chronyd_path, kind)

    return ask


def ask_briefly(ask: Ask, kind: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Probe with a short timeout, because the fault is silence; with a longer one if a busy machine missed it."""
    for timeout_seconds in (2.0, 10.0, PATIENCE_SECONDS):
        found = ask(*arguments, timeout=timeout_seconds, kind=kind, **options)
        if found["error"] is None or found["error"]["kind"] not in SILENCE - {kind}:
            break
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_the_probe_accepts_a_good_server(suite: str, certificates: Certificates, ask: Ask, tmp_path: Path) -> None:
    with chronyd(suite, tmp_path, certificates.leaf) as good:
        began = time.monotonic()
        found = ask(good.ntsport)
        duration_seconds = time.monotonic() - began
        plain = ask(good.ntsport, "ssl")
    assert (found["ok"], found["stage"], found["error"], found["warnings"]) == (True, "ntp", None, [])
    assert [found["stages"][stage]["state"] for stage in probe.STAGES] == ["ok"] * 5
    assert all(0 < found["stages"][stage]["duration_seconds"] < duration_seconds for stage in probe.STAGES)
    assert (found["address"], found["addresses"]) == (ADDRESS, [{"address": ADDRESS, "error": None}])
    assert (found["tls"]["version"], found["tls"]["alpn"]) == ("TLS1.3", "ntske/1")
    assert found["tls"]["group"]
    assert (found["ke"]["aead"], found["ke"]["cookies"], found["ke"]["cookie_length_bytes"]) == (15, 8, SUITES[suite])
    assert (found["ke"]["server"], found["ke"]["port"]) == (None, good.port)
    ntp = found["ntp"]
    assert (ntp["address"], ntp["port"], ntp["sent"], ntp["received"]) == (ADDRESS, good.port, 3, 3)
    assert (ntp["nak"], ntp["discarded"], ntp["fresh_cookies"]) == (False, 0, 3)
    assert (ntp["stratum"], ntp["leap"], ntp["reference_id"]) == (5, 0, "7F7F0101")
    assert ntp["delay_seconds"] > 0
    assert abs(ntp["offset_seconds"]) < ntp["delay_seconds"]
    assert (plain["ok"], plain["stages"]["ntp"]["state"]) == (True, "skipped")
    assert "libgnutls" in plain["warnings"][0]
    assert plain["tls"]["certificates"] == found["tls"]["certificates"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "ECDSA P-256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "ECDSA P-384"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "RSA 2048"),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
def test_the_probe_describes_the_certificate(
    kind: Callable[[], Any], told: str, certificates: Certificates, ask: Ask, tmp_path: Path
) -> None:
    issuing = certificates.other("issuing", authority=True)
    leaf = certificates.other("told", issuer=issuing, key=kind(), chain=[issuing])
    with chronyd("trixie", tmp_path, leaf) as good:
        first, second = ask(good.ntsport)["tls"]["certificates"]
    assert first["key_type"] == told
    assert (first["subject"], first["issuer"], second["subject"]) == ("CN=told", "CN=issuing", "CN=issuing")
    assert first["subject_alt_names"] == [f"DNS:{NAME}", f"IP Address:{ADDRESS}"]
    assert int(first["serial"], 16) == leaf.certificate.serial_number
    for name in ("not_before", "not_after"):
        date = datetime.datetime.strptime(first[name], "%Y-%m-%dT%H:%M:%S%z")
        assert date == getattr(leaf.certificate, f"not_valid_{name[4:]}_utc")


def test_names_and_expectations_are_checked(server: Server, certificates: Certificates, ask: Ask) -> None:
    serial = f"{certificates.leaf.certificate.serial_number:X}"
    fingerprint = ask(server.ntsport)["tls"]["certificates"][0]["fingerprint_sha256"]
    colons = ":".join(re.findall("..", fingerprint.upper()))
    expected = {"expected_serial": serial.lower(), "expected_fingerprint": colons, "min_remaining_days": 29}
    assert ask(server.ntsport, **expected)["ok"]
    assert ask(server.ntsport, server=ADDRESS)["ok"]
    assert ask(server.ntsport, server=ADDRESS, name=NAME)["ok"]


def test_folders_and_texts_of_anchors(server: Server, certificates: Certificates, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("rubbish")
    (tmp_path / "b.pem").write_bytes(certificates.ca.chain.read_bytes())
    (tmp_path / "c.pem").symlink_to("nowhere")
    text = certificates.ca.chain.read_text()
    for library in LIBRARIES:
        assert ask(server.ntsport, library, trusted_certs=[str(tmp_path)])["ok"]
        assert ask(server.ntsport, library, trusted_certs=[], trusted_certs_content=text)["ok"]
        # Any trusted certificate ends a chain.
        assert ask(server.ntsport, library, trusted_certs=[str(certificates.leaf.chain)])["ok"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dates", [(-2 * DAY, -DAY), (DAY, 2 * DAY)], ids=["expired", "not yet valid"])
def test_the_probe_can_ignore_dates(
    dates: tuple[datetime.timedelta, ...], library: str, certificates: Certificates, ask: Ask, tmp_path: Path
) -> None:
    leaf = certificates.other("dates", not_before=dates[0], not_after=dates[1])
    with chronyd("trixie", tmp_path, leaf) as good:
        assert ask(good.ntsport, library, check_dates=False)["ok"]


def test_a_name_in_the_subject_alone_gives_a_warning(certificates: Certificates, ask: Ask, tmp_path: Path) -> None:
    leaf = make_pair(certificates.folder / "subject", certificates.ca, name=NAME, names=())
    with chronyd("trixie", tmp_path, leaf) as good:
        for library in LIBRARIES:
            found = ask(good.ntsport, library)
            assert found["ok"]
            assert "no subjectAltName" in found["warnings"][0]


def test_a_renewed_certificate_needs_a_restart(certificates: Certificates, ask: Ask, tmp_path: Path) -> None:
    old = certificates.other("renewed")
    with chronyd("trixie", tmp_path, old) as server:
        # chronyd listens before its helper process has read the pair.
        assert ask(server.ntsport)["ok"]
        new = certificates.other("renewed")  # in the same files
        serial = f"{new.certificate.serial_number:X}"
        error = ask(server.ntsport, expected_serial=serial)["error"]
        assert error["kind"] == "certificate_unexpected"
        assert "restart" in error["remedy"]
    with chronyd("trixie", tmp_path, new) as server:
        assert ask(server.ntsport, expected_serial=serial)["ok"]


def test_sighup_is_no_reload(certificates: Certificates, ask: Ask, tmp_path: Path) -> None:
    with chronyd("trixie", tmp_path, certificates.leaf) as server:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGHUP)
        wait_for(lambda: not listens(server.ntsport), 60, server.log.read_text)
        assert "chronyd exiting" in server.log.read_text()
        assert ask(server.ntsport)["error"]["kind"] == "refused"


def test_chronyd_agrees_with_the_probe(server: Server, ask: Ask, tmp_path: Path) -> None:
    # Both read the same clock. On a busy machine, a response time that is unknown for chronyd's sample separates them.
    for _time in range(10):
        ours = ask(server.ntsport)
        theirs = ask(server.ntsport, chronyd_path=chronyd_program(tmp_path))
        assert theirs["ok"], theirs["error"]
        assert theirs["ntp"]["method"] == "chronyd"
        difference = abs(theirs["ntp"]["offset_seconds"] - ours["ntp"]["offset_seconds"])
        if difference < max(ours["ntp"]["delay_seconds"], 1e-2):
            break
    assert difference < max(ours["ntp"]["delay_seconds"], 1e-2)


@pytest.mark.parametrize("name", [None, *MALFORMED])
def test_chronyd_refuses_the_answers_that_the_probe_refuses(name: str | None, world: World) -> None:
    """If chronyd accepts the server's answer, it sends an NTP packet to the port that the server names."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ntp:
        ntp.bind((ADDRESS, 0))
        port = record(7, struct.pack(">H", ntp.getsockname()[1]))
        answer = [*GOOD, END] if name is None else MALFORMED[name]
        with answering(*answer[:2], port, *answer[2:])(world) as ntsport:
            command = [chronyd_program(world.folder), "-Q", "-u", "root", "-t"]
            command.append(f"{PATIENCE_SECONDS:g}" if name is None else "3")
            command += [f"server {NAME} nts iburst maxsamples 1 ntsport {ntsport}", "nosystemcert"]
            command += [f"ntstrustedcerts {world.certificates.ca.chain}"]
            with running(command, world.folder / "log") as process:
                if name is None:
                    ntp.settimeout(PATIENCE_SECONDS)
                    assert ntp.recv(4096)
                else:
                    process.wait(PATIENCE_SECONDS)
        if name is not None:
            ntp.setblocking(False)
            with pytest.raises(BlockingIOError):
                ntp.recv(4096)


def chronyd_program(folder: Path) -> str:
    """Write a script that runs chronyd; return its path."""
    path = folder / "chronyd.sh"
    words = " ".join(program("trixie", "usr/sbin/chronyd"))
    path.write_text(f'#!/bin/sh\nexec {words} "$@" "pidfile {folder}/pid" "bindcmdaddress /" "cmdport 0"\n')
    path.chmod(0o755)
    return str(path)


# --- What goes wrong ---


@dataclass
class World:
    """The fixtures that faults use."""

    certificates: Certificates
    server: Server
    folder: Path


@pytest.fixture
def world(certificates: Certificates, server: Server, tmp_path: Path) -> World:
    return World(certificates, server, tmp_path)


@dataclass
class Fault:
    """A faulty server, the expected kind and detail of the error, and the libraries that show it."""

    kind: str
    setup: Callable[[World], AbstractContextManager[int]]
    detail: str = ""
    libraries: tuple[str, ...] = ("gnutls", "ssl")
    options: dict[str, Any] | None = None
    name: str = ""


@contextlib.contextmanager
def good(world: World) -> Iterator[int]:
    yield world.server.ntsport


@contextlib.contextmanager
def nobody(_world: World) -> Iterator[int]:
    yield free_port()


@contextlib.contextmanager
def deaf(_world: World) -> Iterator[int]:
    """Listen with a full queue, so that the kernel drops further connections."""
    with socket.create_server((ADDRESS, 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]
        for _number in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((ADDRESS, port))
        time.sleep(0.1)
        yield port


def by_chronyd(*lines: str, pair: Callable[[Certificates], Pair] | None = None, suite: str = "trixie") -> Any:
    """Return a setup of a real server with a wrong configuration."""

    @contextlib.contextmanager
    def setup(world: World) -> Iterator[int]:
        own = pair(world.certificates) if pair else world.certificates.leaf
        with chronyd(suite, world.folder / "chronyd", own, lines or ("local stratum 5",)) as wrong:
            yield wrong.ntsport

    return setup


def unreadable(certificates: Certificates) -> Pair:
    pair = certificates.other("unreadable")
    pair.key_file.write_text("no key\n")
    return pair


def by_raw(behave: Callable[[socket.socket], None]) -> Any:
    """Return a setup of a server that does not speak valid TLS."""
    return lambda _world: raw(behave)


def by_tls(behave: Callable[[ssl.SSLSocket], None], alpn: tuple[str, ...] = ("ntske/1",), **options: Any) -> Any:
    """Return a setup of a server that speaks TLS and then misbehaves."""
    return lambda world: misbehaving(behave, world.certificates.leaf, alpn, **options)


def answering(*parts: bytes) -> Any:
    """Return a setup of a server that sends these bytes in the key exchange."""

    def behave(session: ssl.SSLSocket) -> None:
        session.recv(4096)
        session.sendall(b"".join(parts))
        session.unwrap()

    return by_tls(behave)


def silent(connection: socket.socket) -> None:
    """Send nothing until the client ends the connection. A probe that ignores its timeout never ends it."""
    while connection.recv(4096):
        pass


def dripping(session: ssl.SSLSocket) -> None:
    for _tick in range(400):
        session.sendall(b"\x40")
        time.sleep(0.1)


def refuse_name(context: ssl.SSLContext) -> None:
    context.sni_callback = lambda *_unused: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


def old_tls(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def server_hello_of_nowhere(connection: socket.socket) -> None:
    """Choose a cipher suite that does not exist."""
    connection.recv(4096)
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\x13\x77" + b"\0" + struct.pack(">H", 6) + bytes.fromhex("002b00020304")
    message = b"\x02" + struct.pack(">I", len(hello))[1:] + hello
    connection.sendall(b"\x16\x03\x03" + struct.pack(">H", len(message)) + message)
    silent(connection)


Change = Callable[[bytes, list[bytes]], "bytes | None"]


@contextlib.contextmanager
def relayed(world: World, request: Change, reply: Change) -> Iterator[int]:
    """Relay the NTP packets of a real server through functions that change them; None drops a packet."""
    port = free_port(socket.SOCK_DGRAM)
    lines = ("local stratum 5", f"ntsntpserver {ELSEWHERE}")
    with (
        chronyd("trixie", world.folder / "chronyd", world.certificates.leaf, lines, port=port) as real,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as front,
    ):
        front.bind((ELSEWHERE, port))
        front.settimeout(0.1)
        stop = threading.Event()
        earlier: tuple[list[bytes], list[bytes]] = ([], [])

        def relay() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    data, client = front.recvfrom(2048)
                    changed = request(data, earlier[0])
                    earlier[0].append(data)
                    if changed is None:
                        continue
                    # A late reply to an earlier request has no socket.
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
                        back.settimeout(10)
                        back.connect((ADDRESS, port))
                        back.send(changed)
                        data = back.recv(2048)
                    changed = reply(data, earlier[1])
                    earlier[1].append(data)
                    if changed is not None:
                        front.sendto(changed, client)

        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        yield real.ntsport
        stop.set()
        thread.join()


def as_it_is(data: bytes, _earlier: list[bytes]) -> bytes:
    return data


def dropped(_data: bytes, _earlier: list[bytes]) -> None:
    return None


def flipped(position: int) -> Change:
    """Return a change that flips one bit of the byte at a position."""

    def change(data: bytes, _earlier: list[bytes]) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 1
        return bytes(changed)

    return change


def replayed(_data: bytes, earlier: list[bytes]) -> bytes | None:
    """Send the first answer, which the client has never received, again and again."""
    return earlier[0] if earlier else None


def of_header_of_now(data: bytes, earlier: list[bytes]) -> bytes:
    """Append the authenticated part of an old answer to the header of the new one."""
    return data[:48] + earlier[0][48:] if earlier else data[:20]


@contextlib.contextmanager
def with_other_keys(world: World) -> Iterator[int]:
    """Run an NTP server without the keys of the server for key exchanges."""
    port = free_port(socket.SOCK_DGRAM)
    one = chronyd("trixie", world.folder / "one", world.certificates.leaf, (f"ntsntpserver {ELSEWHERE}",), port=port)
    lines = ("local stratum 5", f"bindaddress {ELSEWHERE}")
    two = chronyd("trixie", world.folder / "two", world.certificates.leaf, lines, port=port, address=ELSEWHERE)
    with two, one as real:
        yield real.ntsport


def signed(name: str, **options: Any) -> Callable[[Certificates], Pair]:
    return lambda certificates: certificates.other(name, **options)


def constrained(certificates: Certificates) -> Pair:
    issuing = certificates.other("constrained", authority=True, permitted="example.com")
    return certificates.other("violating", issuer=issuing, chain=[issuing])


def signed_by_none(certificates: Certificates) -> Pair:
    issuing = certificates.other("no-ca")
    return certificates.other("by-no-ca", issuer=issuing, chain=[issuing])


FAULTS = [
    Fault("unresolved", nobody, options={"server": ADDRESS, "family": "ipv6"}),
    Fault("unresolved", nobody, options={"server": "a..b"}, name="no name"),
    Fault("refused", nobody),
    Fault("timed_out", deaf),
    Fault("tls_closed", by_chronyd(pair=unreadable), name="key unreadable"),
    Fault("tls_closed", by_chronyd("local", "deny"), name="not allowed"),
    Fault("tls_timed_out", by_raw(silent)),
    Fault("not_tls", by_raw(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")), name="SSH"),
    Fault("not_tls", by_raw(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")), name="HTTP"),
    Fault("tls_version", by_tls(silent, change=old_tls)),
    Fault("tls_alert", by_tls(silent, change=refuse_name)),
    Fault("tls_failed", by_raw(server_hello_of_nowhere)),
    Fault("alpn", by_tls(silent, ("http/1.1",)), name="refused"),
    Fault("alpn", by_tls(silent, ()), name="none"),
    Fault("trust", good, "nowhere.pem: No such file", options={"trusted_certs": ["/nowhere.pem"]}, name="missing"),
    Fault("trust", good, "holds no certificate", options={"trusted_certs": ["/etc/passwd"]}, name="no certificate"),
    Fault("trust", good, "holds no certificate", options={"trusted_certs_content": "none"}, name="no text"),
    Fault("certificate_issuer", by_chronyd(pair=signed("own", issuer=None)), name="self-signed"),
    Fault("certificate_issuer", good, options={"trusted_certs": []}, name="no anchor"),
    Fault("certificate_issuer", by_chronyd(pair=signed_by_none), name="issuer is no CA"),
    Fault("certificate_name", by_chronyd(pair=signed("name", names=["nts.example.com"]))),
    Fault("certificate_name", by_chronyd(pair=signed("address", names=[NAME])), options={"server": ADDRESS}, name="IP"),
    Fault("certificate_expired", by_chronyd(pair=signed("expired", not_before=-2 * DAY, not_after=-DAY))),
    Fault("certificate_not_yet_valid", by_chronyd(pair=signed("early", not_before=DAY))),
    Fault("certificate_refused", by_chronyd(pair=constrained)),
    Fault("certificate_unexpected", good, "serial", options={"expected_serial": "AB:CD"}, name="serial"),
    Fault("certificate_unexpected", good, "fingerprint", options={"expected_fingerprint": "AB:CD"}, name="fingerprint"),
    Fault("certificate_expires_soon", good, "30 are required", options={"min_remaining_days": 30}),
    Fault("ke_closed", answering(), "after 0 bytes", name="at once"),
    Fault("ke_closed", answering(*GOOD), "after 844 bytes", name="before the end"),
    Fault("ke_timed_out", by_tls(silent), name="silent"),
    Fault("ke_timed_out", by_tls(dripping), name="dripping"),
    Fault("ke_too_long", answering(*[record(0x4000, bytes(4096))] * 5, END)),
    Fault("ke_malformed", answering(*GOOD, record(7, b"1"), END), "port record", name="port record"),
    *[Fault("ke_malformed", answering(*answer), name=name) for name, answer in MALFORMED.items()],
    Fault("ke_critical_record", answering(*GOOD, record(99, critical=True), END), "type 99"),
    Fault("ke_error", answering(record(2, b"\0\2", critical=True), END), "internal server error"),
    Fault("ke_no_protocol", answering(record(1, critical=True), END)),
    Fault("ke_no_aead", answering(GOOD[0], record(4, b"\0\x10"), *GOOD[2:], END), "chose 16", name="another"),
    Fault("ke_no_aead", answering(GOOD[0], END), "accepts none", name="none"),
    Fault("ke_no_cookies", answering(*GOOD[:2], END)),
]
FAULTS += [
    Fault(kind, setup, detail, ("gnutls",), options, name)
    for kind, setup, detail, options, name in (
        ("ntp_unresolved", by_chronyd("local", "ntsntpserver nowhere.invalid"), "", None, ""),
        ("ntp_refused", by_chronyd("local", f"ntsntpserver {ELSEWHERE}"), "", None, ""),
        ("ntp_unanswered", lambda world: relayed(world, dropped, as_it_is), "", None, "dropped on the way there"),
        ("ntp_unanswered", lambda world: relayed(world, as_it_is, dropped), "", None, "dropped on the way back"),
        ("ntp_nak", with_other_keys, "", None, "other keys"),
        ("ntp_nak", lambda world: relayed(world, flipped(100), as_it_is), "", None, "cookie changed"),
        ("ntp_not_authentic", lambda world: relayed(world, as_it_is, flipped(1)), "wrong", None, "stratum changed"),
        ("ntp_not_authentic", lambda world: relayed(world, as_it_is, flipped(60)), "wrong", None, "identifier changed"),
        ("ntp_not_authentic", lambda world: relayed(world, as_it_is, flipped(-1)), "wrong", None, "cookie changed"),
        ("ntp_not_authentic", lambda world: relayed(world, as_it_is, replayed), "another", None, "replayed"),
        ("ntp_not_authentic", lambda world: relayed(world, as_it_is, of_header_of_now), "", None, "spliced"),
        ("ntp_unsynchronised", by_chronyd("log tracking"), "", None, ""),
    )
]
# These run in a network namespace that holds only what the commands make.
ALONE = [
    ("resolver_failed", "", {"server": "nts.example.com"}),
    ("unreachable", "", {"server": "192.0.2.1"}),
    ("denied", "ip route add prohibit 192.0.2.1", {"server": "192.0.2.1"}),
    ("not_connected", "ip route add blackhole 192.0.2.1", {"server": "192.0.2.1"}),
]


@pytest.mark.parametrize(
    ("fault", "library"), [pytest.param(f, n, id=f"{f.kind}-{f.name}-{n}") for f in FAULTS for n in f.libraries]
)
def test_the_probe_names_each_fault(
    fault: Fault, library: str, certificates: Certificates, server: Server, ask: Ask, tmp_path: Path
) -> None:
    world = World(certificates, server, tmp_path)
    with fault.setup(world) as port:
        found = ask_briefly(ask, fault.kind, port, library, **fault.options or {})
    error = found["error"]
    assert error["kind"] == fault.kind, error
    assert fault.detail in error["detail"]
    assert (found["ok"], found["stage"], error["stage"]) == (False, stage_of(fault.kind), stage_of(fault.kind))
    assert found["stages"][found["stage"]]["state"] == "failed"
    assert "{" not in error["cause"] + error["remedy"]


def stage_of(kind: str) -> str:
    return next(stage for stage, kinds in KINDS.items() if kind in kinds)


# Runs the probe in a separate process, with options as JSON in and the result as JSON out.
ALONE_CODE = f"""
import json, sys
from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls, probe
options = probe.ProbeOptions(**{{"timeout": {PATIENCE_SECONDS}, **json.load(sys.stdin)}})
for _time in range(20):
    found = probe.Probe(options, gnutls.load()).run()
    if found["error"] is None or found["error"]["kind"] not in {CLOSED}:
        break
print(json.dumps(found))
"""


def in_own_network(commands: str, question: dict[str, Any], folder: Path) -> Any:
    """Probe in a network namespace whose name server does not answer."""
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    script = f'mount --bind {resolver} /etc/resolv.conf; ip link set lo up; {commands}; exec "$@"'
    alone = ["unshare", "--net", "--mount", "sh", "-ec", script, "sh", sys.executable]
    return by_itself(alone, question)


@pytest.mark.parametrize(("kind", "commands", "question"), ALONE, ids=[row[0] for row in ALONE])
def test_the_probe_names_each_fault_of_the_network(
    kind: str, commands: str, question: dict[str, Any], tmp_path: Path
) -> None:
    found = in_own_network(commands or "true", question, tmp_path)
    assert (found["stage"], found["error"]["kind"]) == (stage_of(kind), kind), found["error"]


def test_a_crypto_policy_without_tls_1_3_is_named(tmp_path: Path, certificates: Certificates, server: Server) -> None:
    policy = tmp_path / "policy"
    policy.write_text("[overrides]\ndisabled-version = tls1.3\n")
    question = {"server": ADDRESS, "ntsport": server.ntsport, "trusted_certs": [str(certificates.ca.chain)]}
    found = by_itself([sys.executable], question, GNUTLS_SYSTEM_PRIORITY_FILE=str(policy))
    assert found["error"]["kind"] == "tls_policy", found["error"]


def test_a_kiss_code_is_reported(ask: Ask, world: World) -> None:
    """It answers some requests at random, with a kiss code or with its time (kod: chrony 4.6 and newer)."""
    with by_chronyd("local stratum 5", "ratelimit interval 12 burst 1 leak 4 kod 1", suite="testing")(world) as port:
        # A busy machine takes longer for a key exchange.
        results = (ask(port, packets=8, timeout=0.2 * 2 ** (number // 15)) for number in range(120))
        kiss = next((one for one in results if one["error"] and one["error"]["kind"] == "ntp_kiss"), None)
    assert kiss is not None
    assert (kiss["error"]["detail"], kiss["ntp"]["reference_id"], kiss["ntp"]["offset_seconds"]) == (
        "RATE",
        "RATE",
        None,
    )


def test_a_failure_of_chronyd_is_reported(ask: Ask, world: World) -> None:
    with by_chronyd("local", f"ntsntpserver {ELSEWHERE}")(world) as port:
        found = ask_briefly(ask, "chronyd_failed", port, "ssl", chronyd_path=chronyd_program(world.folder))
    assert (found["stage"], found["error"]["kind"]) == ("ntp", "chronyd_failed")
    assert "Timeout reached" in found["error"]["detail"]


# --- Other libraries: those of other Debian suites, whose Python runs in a folder of its own ---


@pytest.fixture(scope="session", params=["bullseye", "trixie", "testing"])
def other(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    yield from python_of(request.param)


@pytest.fixture(scope="session")
def trixie() -> Iterator[list[str]]:
    yield from python_of("trixie")


def python_of(suite: str) -> Iterator[list[str]]:
    """Yield the command that runs the Python of a suite with the suite's GnuTLS."""
    root = system(suite)
    collections = Path(tempfile.mkdtemp(dir=root, prefix="collections."))
    copy = collections / "ansible_collections/securetime/nts/plugins/module_utils"
    shutil.copytree(ROOT / "plugins" / "module_utils", copy, ignore=shutil.ignore_patterns("__pycache__"))
    yield ["chroot", str(root), "env", f"PYTHONPATH=/{collections.name}", "python3"]
    shutil.rmtree(collections)


def by_itself(python: list[str], question: Any, code: str = ALONE_CODE, **environment: str) -> Any:
    """Run code, by default a probe, in a separate process with JSON as its input; return its output, also JSON."""
    done = subprocess.run(
        [*python, "-c", code],
        input=json.dumps(question),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build" / "collections"), **environment},
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("suite", SUITES)
def test_the_probe_works_with_other_libraries(
    suite: str, other: list[str], certificates: Certificates, tmp_path: Path
) -> None:
    question = {"server": ADDRESS, "trusted_certs_content": certificates.ca.chain.read_text(), "system_certs": False}
    with chronyd(suite, tmp_path, certificates.leaf) as server:
        found = by_itself(other, {**question, "ntsport": server.ntsport})
    assert found["ok"], found["error"]
    new = "bullseye" not in other[1] and suite in ("trixie", "testing")
    assert found["ke"]["aead"] == (30 if new else 15)
    assert found["ke"]["compliant_export"] is new
    assert found["ntp"]["received"] == 3
    assert found["warnings"] == []


def test_the_keys_of_chrony_4_4_give_a_warning(certificates: Certificates, server: Server, trixie: list[str]) -> None:
    """Without a request for compliant keys, chronyd 4.6.1 behaves as 4.4."""
    question = {
        "server": ADDRESS,
        "trusted_certs_content": certificates.ca.chain.read_text(),
        "ntsport": server.ntsport,
    }
    old_client = """
from ansible_collections.securetime.nts.plugins.module_utils._nts import ke
ask = ke.request
ke.request = lambda aeads: ask(aeads).replace(ke.record(ke.COMPLIANT_128GCM_EXPORT), b"")
"""
    # The probe waits behind the NAK, so a short time for a reply is enough. A busy machine gets a longer one.
    for reply_seconds in (2.5, PATIENCE_SECONDS):
        found = by_itself(trixie, {**question, "reply_timeout": reply_seconds}, old_client + ALONE_CODE)
        if found["ok"] and found["ntp"]["sent"] == 4:
            break
    assert found["ok"], found["error"]
    assert (found["ke"]["aead"], found["ke"]["compliant_export"]) == (30, False)
    assert found["ntp"]["sent"] == 4  # one for the NAK
    assert "as chrony 4.4 to 4.6 does" in found["warnings"][0]


def test_a_library_without_the_algorithm_is_named(other: list[str], server: Server, certificates: Certificates) -> None:
    question = {"server": ADDRESS, "ntsport": server.ntsport, "aeads": [30]}
    question["trusted_certs_content"] = certificates.ca.chain.read_text()
    error = by_itself(other, question)["error"]
    assert (error and error["kind"]) == ("no_aead" if "bullseye" in other[1] else None)


SEAL_CODE = """
import json, sys
from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
library = gnutls.load()
done = []
for number, *texts in json.load(sys.stdin):
    if number in library.aeads():
        key, nonce, text, associated = map(bytes.fromhex, texts)
        aead = library.aead(number, key)
        sealed = aead.seal(nonce, text, associated)
        wrong = bytes([sealed[0] ^ 1]) + sealed[1:]
        tampered = [
            aead.open(nonce, wrong, associated),
            aead.open(nonce, sealed, associated + b"x"),
            aead.open(nonce[::-1], sealed, associated),
            aead.open(nonce, sealed[:15], associated),
        ]
        done.append([number, *texts, sealed.hex(), aead.open(nonce, sealed, associated).hex(), tampered])
print(json.dumps(done))
"""
# RFC 5297, appendix A.1: key, associated text, plaintext, ciphertext.
RFC_5297 = (
    "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    "101112131415161718191a1b1c1d1e1f2021222324252627",
    "112233445566778899aabbccddee",
    "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
)
# RFC 8452, appendix C.1: key, nonce, associated text, plaintext, ciphertext.
RFC_8452 = (
    ("01" + "00" * 15, "03" + "00" * 11, "", "", "dc20e2d83f25705bb49e439eca56de25"),
    ("01" + "00" * 15, "03" + "00" * 11, "", "01" + "00" * 7, "b5d839330ac7b786578782fff6013b815b287c22493a364c"),
    ("01" + "00" * 15, "03" + "00" * 11, "01", "02" + "00" * 7, "1e6daba35669f4273b0a1a2560969cdf790d99759abd1508"),
)


def test_encryption_matches_the_rfcs(other: list[str]) -> None:
    """Compare GnuTLS with another library and with the test vectors of RFC 5297 and RFC 8452.

    GnuTLS takes one associated text and a nonce, so it cannot run RFC 5297's own examples.
    """
    key, plain = bytes.fromhex(RFC_5297[0]), bytes.fromhex(RFC_5297[2])
    assert AESSIV(key).encrypt(plain, [bytes.fromhex(RFC_5297[1])]).hex() == RFC_5297[3]
    for key_8452, nonce, associated, text, sealed in RFC_8452:
        cipher = AESGCMSIV(bytes.fromhex(key_8452))
        assert cipher.encrypt(*map(bytes.fromhex, (nonce, text, associated))).hex() == sealed
    cases = []
    for length in (0, 1, 15, 16, 17, 100, 400):
        for number, size, nonce_length in ((15, 32, 16), (30, 16, 12)):
            parts = [os.urandom(size), os.urandom(nonce_length), os.urandom(length), os.urandom(length * 3 % 257)]
            cases.append((number, *(part.hex() for part in parts)))
    done = by_itself(other, cases, SEAL_CODE)
    assert {number for number, *_rest in done} == ({15} if "bullseye" in other[1] else {15, 30})
    for number, *texts, sealed, opened, tampered in done:
        key, nonce, text, associated = map(bytes.fromhex, texts)
        if number == 15:
            expected = AESSIV(key).encrypt(text, [associated, nonce])
        else:
            expected = AESGCMSIV(key).encrypt(nonce, text, associated)
        assert (sealed, opened, tampered) == (expected.hex(), text.hex(), [None] * 4)


@pytest.mark.parametrize(
    ("leap", "stratum", "kind"),
    [(0, 16, "ntp_stratum"), (3, 16, "ntp_unsynchronised"), (3, 2, "ntp_unsynchronised"), (0, 15, "")],
)
def test_a_high_stratum_has_its_own_kind(leap: int, stratum: int, kind: str) -> None:
    reply = ntp.Reply(leap, stratum, 6, -20, 0.0, 0.0, "7F7F0101", 0, 0, [b"cookie"])
    prober = Probe(ProbeOptions("192.0.2.1"), None)
    with pytest.raises(probe.ProbeError) if kind else contextlib.nullcontext() as raised:
        prober._judge_time(reply)
    assert not kind or raised.value.kind == kind


def test_every_kind_has_a_case_and_documentation() -> None:
    made = (
        {fault.kind for fault in FAULTS}
        | {row[0] for row in ALONE}
        | {"tls_policy", "no_aead", "ntp_kiss", "ntp_stratum", "chronyd_failed"}
    )
    documentation = yaml.safe_load((ROOT / "plugins/modules/nts_probe.yml").read_text(encoding="utf-8"))["RETURN"]
    lines = documentation["error"]["contains"]["kind"]["description"]
    named = {stage: tuple(re.findall(r"V\((\w+)\)", line)) for line in lines for stage in [line.partition(":")[0]]}
    assert {stage: kinds for stage, kinds in named.items() if kinds} == KINDS
    assert made == {kind for kinds in KINDS.values() for kind in kinds}
