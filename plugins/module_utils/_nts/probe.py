# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Probe an NTS server as a client would: DNS, TCP, TLS, key exchange, authenticated NTP.

Each stage has its own timeout. The probe ends at the first stage that fails.

Long: the five stages share one result and one error format, so a reader follows a probe in one file.
"""

import contextlib
import errno
import os
import re
import socket
import subprocess
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from ansible_collections.securetime.nts.plugins.module_utils._nts import ke, ntp
from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import CAUSES, NtsError
from ansible_collections.securetime.nts.plugins.module_utils._nts.gnutls import Gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.tls import (
    ClosedError,
    DeadlineError,
    GnutlsSession,
    Session,
    SslSession,
    TlsError,
    Trust,
    read_anchors,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import DerError, describe, seconds_left

T = TypeVar("T")
Row = Dict[str, Any]
# An address family, and the address to which a socket of that family connects.
Address = Tuple[int, Any]

# Kinds of errors, by the stage that reports them: a closed list, which the documentation of nts_probe has, too.
KINDS = {
    "dns": ("unresolved", "resolver_failed"),
    "tcp": ("refused", "timed_out", "unreachable", "denied", "not_connected"),
    "tls": (
        "tls_closed",
        "tls_timed_out",
        "not_tls",
        "tls_version",
        "tls_alert",
        "tls_failed",
        "tls_policy",
        "alpn",
        "trust",
        "certificate_issuer",
        "certificate_name",
        "certificate_expired",
        "certificate_not_yet_valid",
        "certificate_refused",
        "certificate_unexpected",
        "certificate_expires_soon",
    ),
    "ke": (
        "ke_closed",
        "ke_timed_out",
        "ke_too_long",
        "ke_malformed",
        "ke_critical_record",
        "ke_error",
        "ke_no_protocol",
        "ke_no_aead",
        "ke_no_cookies",
        "no_aead",
    ),
    "ntp": (
        "ntp_unresolved",
        "ntp_unanswered",
        "ntp_refused",
        "ntp_nak",
        "ntp_kiss",
        "ntp_not_authentic",
        "ntp_unsynchronised",
        "ntp_stratum",
        "chronyd_failed",
    ),
}
STAGES = tuple(KINDS)
FAMILIES = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
# Pause between two requests, so that a server's rate limit does not drop the second one.
PAUSE_SECONDS = 0.2
NO_LIBRARY = (
    "libgnutls.so.30 is not on this host, and Python cannot export the keys of a TLS session, so no NTP request was"
    " sent; install it (it comes with every chronyd with NTS), or choose the method chronyd"
)
OFFSET = re.compile(r"System clock wrong by (?P<offset>[-+.\d]+) seconds")


class ProbeOptions(NamedTuple):
    """The parameters of a probe and the checks of its result. Times are in seconds; timeout applies to each stage."""

    server: str
    name: Optional[str] = None
    ntsport: int = ke.PORT
    port: int = ntp.PORT
    family: str = "any"
    trusted_certs: Sequence[str] = ()
    trusted_certs_content: str = ""
    system_certs: bool = True
    check_dates: bool = True
    aeads: Sequence[int] = (ke.AES_128_GCM_SIV, ke.AES_SIV_CMAC_256)
    expected_serial: Optional[str] = None
    expected_fingerprint: Optional[str] = None
    min_remaining_days: Optional[float] = None
    packets: int = 3
    timeout: float = 5.0
    last_stage: str = "ntp"
    # Local address to which the probe binds its sockets; by default the kernel chooses.
    source: str = ""
    # Whether the NTP requests go to the address of the key exchange, whatever NTP server the key exchange names.
    ntp_here: bool = False
    # Timeout of one NTP request in seconds; by default half of timeout.
    reply_timeout: Optional[float] = None


class ProbeError(NtsError):
    """A stage failed. `values` fill the format strings of its cause and remedy."""

    def __init__(self, kind: str, detail: str = "", **values: Any) -> None:
        super().__init__(kind, detail)
        self.values = values


class Keys(NamedTuple):
    """The AEAD keys of one session: from client to server, and from server to client."""

    to_server: ntp.Aead
    to_client: ntp.Aead


class Probe:
    """One probe of one server. result holds the measurements of all stages that ran, also after a failure."""

    def __init__(self, options: ProbeOptions, gnutls: Optional[Gnutls], chronyd: Optional[str] = None) -> None:
        self.options = options
        self.gnutls = gnutls
        # Path of the chronyd that runs the last stage; None: this program runs it.
        self.chronyd = chronyd
        self.result = {
            "ok": False,
            "stage": None,
            "error": None,
            "stages": {stage: {"state": "not_reached", "duration_seconds": None} for stage in STAGES},
            "addresses": [],
            "address": None,
            "tls": None,
            "ke": None,
            "ntp": None,
            "warnings": [],
        }  # type: Row

    def run(self) -> Row:
        """Run the stages up to last_stage, and return the result."""
        try:
            with contextlib.ExitStack() as stack:
                for _product in self._run_stages(stack):
                    if self.result["stage"] == self.options.last_stage:
                        break
            self.result["ok"] = True
        except ProbeError as error:
            self._fail(error)
        return self.result

    def _run_stages(self, stack: contextlib.ExitStack) -> Iterator[None]:
        """Run one stage after the other, and pass the product of each to the next one."""
        found = self._run_stage("dns", self._resolve)
        yield
        connection = self._run_stage("tcp", lambda deadline: self._connect(found, deadline))
        stack.callback(connection.close)
        yield
        session = self._run_stage("tls", lambda deadline: self._handshake(connection, deadline))
        stack.callback(session.close)
        yield
        ke_result = self._run_stage("ke", lambda deadline: self._exchange_keys(session, deadline))
        yield
        self._run_stage("ntp", lambda _deadline: self._query_ntp(session, ke_result, connection.family))
        yield

    def _run_stage(self, stage: str, function: Callable[[float], T]) -> T:
        report = self.result["stages"][stage]
        self.result["stage"] = stage
        report["state"] = "failed"
        began = time.monotonic()
        try:
            product = function(began + self.options.timeout)
        finally:
            report["duration_seconds"] = round(time.monotonic() - began, 6)
        report["state"] = "ok" if stage != "ntp" or self.result["ntp"] else "skipped"
        return product

    def _fail(self, error: ProbeError) -> None:
        options = self.options
        values = {
            "name": options.name or options.server,
            "address": self.result["address"] or options.server,
            "port": options.ntsport,
            "seconds": f"{options.timeout:g}",
            "detail": error.detail,
            **error.values,
        }
        cause, remedy = (sentence.format(**values) for sentence in CAUSES[error.kind])
        self.result["error"] = {
            "stage": self.result["stage"],
            "kind": error.kind,
            "cause": cause,
            "remedy": remedy,
            "detail": error.detail,
        }

    def _resolve(self, deadline: float) -> List[Address]:
        options = self.options
        found = resolve(options.server, options.ntsport, options.family, deadline)
        self.result["addresses"] = [{"address": address[0], "error": None} for _family, address in found]
        return found

    def _connect(self, found: List[Address], deadline: float) -> socket.socket:
        first = ProbeError("unresolved")
        for number, pair in enumerate(found):
            left = max(0.0, deadline - time.monotonic()) / (len(found) - number)
            try:
                connection = connect(pair, left, self.options.source)
            except ProbeError as error:
                self.result["addresses"][number]["error"] = error.kind
                first = first if number else error
                continue
            self.result["address"] = pair[1][0]
            return connection
        raise first

    def _handshake(self, connection: socket.socket, deadline: float) -> Session:
        options = self.options
        name = options.name or options.server
        peer = (connection.family, connection.getpeername())
        try:
            anchors = read_anchors(list(options.trusted_certs), options.trusted_certs_content)
            trust = Trust(anchors, options.system_certs, options.check_dates)
            session: Session
            if self.gnutls is not None:
                session = GnutlsSession(self.gnutls, connection, name, ke.ALPN, trust, deadline)
            else:
                session = SslSession(
                    lambda: connect(peer, options.timeout, options.source),
                    connection,
                    name,
                    ke.ALPN,
                    trust,
                    deadline,
                )
        except TlsError as error:
            raise ProbeError(error.kind, error.detail) from None
        except DeadlineError:
            raise ProbeError("tls_timed_out") from None
        self.result["tls"] = {
            "library": session.tls_library,
            "version": session.version,
            "group": session.group,
            "alpn": session.protocol,
            "certificates": self._describe(session.certificates),
        }
        self._check_certificate(session, name)
        return session

    @staticmethod
    def _describe(certificates: List[bytes]) -> List[Row]:
        try:
            return [describe(der) for der in certificates]
        except DerError as error:
            raise ProbeError("certificate_refused", str(error)) from None

    def _check_certificate(self, session: Session, name: str) -> None:
        if session.protocol != ke.ALPN:
            raise ProbeError("alpn")
        if session.distrust is not None:
            raise ProbeError(session.distrust.kind, self._distrust_detail(session.distrust))
        options = self.options
        leaf = self.result["tls"]["certificates"][0]
        for expected, key in (
            (options.expected_serial, "serial"),
            (options.expected_fingerprint, "fingerprint_sha256"),
        ):
            if expected is not None and plain_hex(expected) != plain_hex(leaf[key]):
                raise ProbeError("certificate_unexpected", f"its {key} is {leaf[key]}, and not {expected}")
        days = seconds_left(leaf, time.time()) / 86400
        if options.min_remaining_days is not None and days < options.min_remaining_days:
            raise ProbeError(
                "certificate_expires_soon",
                f"on {leaf['not_after']}, in {days:.1f} days, and {options.min_remaining_days:g} are required",
            )
        if days < 0:
            self._warn(f"The server's certificate expired on {leaf['not_after']}; this probe ignores its dates.")
        if not leaf["subject_alt_names"]:
            self._warn(
                f"The server's certificate has no subjectAltName. {name} is in its subject, which other clients ignore."
            )

    def _distrust_detail(self, distrust: TlsError) -> str:
        """Return the detail of an untrusted certificate, with the length and the last issuer of the server's chain."""
        chain = self.result["tls"]["certificates"]
        last = chain[-1]
        if distrust.kind != "certificate_issuer" or last["issuer"] == last["subject"]:
            return distrust.detail
        number = f"{len(chain)} certificate{'s' if len(chain) > 1 else ''}"
        return (
            f"{distrust.detail} The server sent {number}, the last of which {last['issuer'] or 'an unknown CA'} issued."
            " If that is an intermediate CA, the server must send its certificate, too."
        )

    def _warn(self, text: str) -> None:
        self.result["warnings"].append(text)

    def _exchange_keys(self, session: Session, deadline: float) -> ke.KeResult:
        offered = [number for number in self.options.aeads if self._is_available(number)]
        if not offered:
            raise ProbeError("no_aead", f"{session.tls_library} has none of {list(self.options.aeads)}")
        try:
            session.send(ke.request(offered), deadline)
            ke_result = ke.read_response(self._read_response(session, deadline), offered)
        except ke.ProtocolError as error:
            raise ProbeError(error.kind, error.detail) from None
        except ClosedError as error:
            raise ProbeError("ke_closed", str(error)) from None
        except DeadlineError:
            raise ProbeError("ke_timed_out") from None
        self.result["ke"] = {
            "aead": ke_result.aead,
            "aead_name": ke.AEAD_NAMES[ke_result.aead],
            "cookies": len(ke_result.cookies),
            "cookie_length_bytes": len(ke_result.cookies[0]),
            # A cookie of chronyd begins with the ID of its encryption key (nts_ke_server.c: ServerCookieHeader).
            "cookie_key": ke_result.cookies[0][:4].hex(),
            "server": ke_result.server,
            "port": ke_result.port,
            "compliant_export": ke_result.compliant_export,
            "ignored_records": ke_result.ignored_records,
        }
        return ke_result

    def _is_available(self, aead: int) -> bool:
        """Return whether the TLS library has an AEAD algorithm; chronyd, too, offers only those of its library."""
        return self.gnutls is None or aead in self.gnutls.aeads()

    def _read_response(self, session: Session, deadline: float) -> bytes:
        """Return the server's bytes up to a whole message. chronyd refuses bytes that follow in the same record."""
        data = b""
        while True:
            length = ke.message_length(data)
            if length is not None and length <= ke.MAX_MESSAGE_LENGTH:
                return data
            if len(data) > ke.MAX_MESSAGE_LENGTH:
                raise ProbeError("ke_too_long", f"more than {ke.MAX_MESSAGE_LENGTH} bytes")
            try:
                data += session.receive(deadline)
            except ClosedError as error:
                raise ClosedError(
                    f"after {len(data)} bytes of the answer{f': {error}' if str(error) else ''}"
                ) from None

    def _query_ntp(self, session: Session, ke_result: ke.KeResult, family: int) -> None:
        if self.chronyd is not None:
            self.result["ntp"] = self._query_chronyd(self.chronyd)
            return
        if not isinstance(session, GnutlsSession):
            self._warn(NO_LIBRARY + ".")
            return
        address = self._ntp_address(ke_result, family)
        target = f"UDP port {address[1][1]} of {address[1][0]}"
        options = self.options
        exchange = Exchange(address, options.reply_timeout or options.timeout / 2, options.source)
        old_keys = False
        with exchange:
            for keys in self._keys(session, ke_result):
                number = min(self.options.packets, len(ke_result.cookies))
                exchange.query([ke_result.cookies.pop() for _cookie in range(number)], keys)
                if exchange.replies or exchange.refusal_kind() != "ntp_nak":
                    break
                old_keys = True
        self.result["ntp"] = exchange.report()
        if not exchange.replies:
            raise ProbeError(
                exchange.refusal_kind(),
                exchange.detail(),
                number=exchange.sent,
                ntp_server=target,
                address=address[1][0],
                port=address[1][1],
            )
        self._judge_time(exchange.best().reply)
        if old_keys:
            self._warn(
                "The server derives the keys of AEAD 30 as chrony 4.4 to 4.6 does, and not as RFC 8915 says: clients of"
                " other make get NTS NAKs. Update it."
            )

    def _ntp_address(self, ke_result: ke.KeResult, family: int) -> Address:
        # With ntp_here use the server as given: the address of the connection has no IPv6 zone.
        server = self.options.server if self.options.ntp_here else ke_result.server or self.result["address"]
        port = ke_result.port or self.options.port
        try:
            found = resolve(server, port, "any", time.monotonic() + self.options.timeout)
        except ProbeError as error:
            raise ProbeError("ntp_unresolved", error.detail, ntp_server=server) from None
        # Prefer the address family of the key exchange, as chronyd does.
        return next((pair for pair in found if pair[0] == family), found[0])

    @staticmethod
    def _keys(session: GnutlsSession, ke_result: ke.KeResult) -> Iterator[Keys]:
        """Yield the keys, first those of RFC 8915, then those of chrony 4.4 to 4.6 for AEAD 30."""
        aead = ke_result.aead
        contexts = [aead]
        if aead == ke.AES_128_GCM_SIV and not ke_result.compliant_export:
            contexts.append(ke.AES_SIV_CMAC_256)
        for context in contexts:
            pair = []
            for to_server in (True, False):
                key = session.export(ke.EXPORTER_LABEL, ke.exporter_context(context, to_server), ke.KEY_LENGTHS[aead])
                pair.append(session.gnutls.aead(aead, key))
            yield Keys(*pair)

    def _judge_time(self, reply: ntp.Reply) -> None:
        if reply.is_kiss:
            raise ProbeError("ntp_kiss", reply.reference_id)
        if not reply.is_time:
            raise ProbeError("ntp_unsynchronised" if reply.leap == ntp.UNSYNCHRONISED else "ntp_stratum")
        if not reply.cookies:
            self._warn("The server's answers have no fresh cookies: clients must soon repeat the key exchange.")

    def _query_chronyd(self, chronyd: str) -> Row:
        """Query the server by a chronyd that does not set the clock (chronyd -Q), and return the offset."""
        options = self.options
        seconds = max(2, round(options.timeout * 2))
        source_options = f"nts iburst maxsamples 1 ntsport {options.ntsport} port {options.port}"
        directives = [f"server {options.name or options.server} {source_options}"]
        directives += [f"ntstrustedcerts {path}" for path in options.trusted_certs]
        directives += [] if options.system_certs else ["nosystemcert"]
        directives += [] if options.check_dates else ["nocerttimecheck 1"]
        command = [chronyd, "-Q", "-t", str(seconds), "-u", "root", *directives]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                universal_newlines=True,
                check=False,
                timeout=seconds + 5,
                env=dict(os.environ, LC_ALL="C"),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProbeError("chronyd_failed", str(error)) from None
        found = OFFSET.search(done.stdout)
        if done.returncode or found is None:
            raise ProbeError("chronyd_failed", " / ".join(done.stdout.strip().splitlines()[-3:]))
        # chronyd prints the correction of the clock, which has the opposite sign of the offset.
        return {"method": "chronyd", "offset_seconds": -float(found.group("offset"))}


class Sample(NamedTuple):
    """A reply with its measurement in seconds: the offset (positive: this host's clock is ahead), and the delay."""

    offset_seconds: float
    delay_seconds: float
    reply: ntp.Reply


class Exchange:
    """NTP requests to one server, sent one after the other, with the replies and the refusals."""

    def __init__(self, address: Address, timeout: float, source: str = "") -> None:
        self.family, self.address = address
        self.timeout = timeout
        self.source = source
        self.sent = 0
        self.replies = []  # type: List[Sample]
        self.refusals = []  # type: List[Tuple[str, str]]

    def __enter__(self) -> "Exchange":
        self.socket = socket.socket(self.family, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            if self.source:
                self.socket.bind((self.source, 0))
            # On a connected socket, the kernel reports a closed port, and drops packets from other addresses.
            self.socket.connect(self.address)
        return self

    def __exit__(self, *_unused: object) -> None:
        self.socket.close()

    def query(self, cookies: Sequence[bytes], keys: Keys) -> None:
        """Send a request with each cookie and wait for its reply. Stop at a NAK that comes before any valid reply."""
        self.refusals = []
        for cookie in cookies:
            if self.replies:
                time.sleep(PAUSE_SECONDS)
            self._query_once(ntp.request(cookie, keys.to_server, os.urandom(64)), keys.to_client)
            if self.refusal_kind() == "ntp_nak" and not self.replies:
                return

    def _query_once(self, sent_request: ntp.Request, aead: ntp.Aead) -> None:
        deadline = time.monotonic() + self.timeout
        self.sent += 1
        try:
            sent, began = ntp.since_1900(time.time()), time.monotonic()
            self.socket.send(sent_request.packet)
            while True:
                self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                data = self.socket.recv(2048)
                # A step of the clock must not change the delay, so the monotonic clock gives the time of arrival.
                arrived = sent + int((time.monotonic() - began) * ntp.TICKS)
                with self._record_refusal():
                    reply = ntp.read_reply(data, sent_request, aead)
                    behind, delay = ntp.offset_and_delay(sent, reply, arrived)
                    self.replies.append(Sample(-behind, delay, reply))
                    return
                if time.monotonic() >= deadline:
                    return
        except socket.timeout:
            return
        except OSError as error:
            self.refusals.append(("ntp_refused", str(error)))

    @contextlib.contextmanager
    def _record_refusal(self) -> Iterator[None]:
        try:
            yield
        except ntp.PacketError as error:
            self.refusals.append((error.kind, error.detail))

    def refusal_kind(self) -> str:
        """Return the kind of the most specific refusal, or "ntp_unanswered" without one.

        A NAK is not authenticated, so callers act on it only while they have no authenticated reply.
        """
        kinds = [kind for kind, _detail in self.refusals]
        return next(
            (kind for kind in ("ntp_nak", "ntp_not_authentic", "ntp_refused") if kind in kinds), "ntp_unanswered"
        )

    def detail(self) -> str:
        """Return the detail of the first error of the kind that refusal_kind() returns."""
        return next((detail for kind, detail in self.refusals if kind == self.refusal_kind()), "")

    def best(self) -> Sample:
        """Return the sample with the shortest delay, whose offset is the most exact. Prefer a synchronised server's."""
        return min(self.replies, key=lambda sample: (not sample.reply.is_time, sample.delay_seconds))

    def report(self) -> Row:
        """Return the counts of the exchange, and the measurement of its best sample."""
        row = {
            "method": "gnutls",
            "address": self.address[0],
            "port": self.address[1],
            "sent": self.sent,
            "received": len(self.replies),
            "nak": any(kind == "ntp_nak" for kind, _detail in self.refusals),
            "discarded": len(self.refusals),
        }  # type: Row
        if self.replies:
            best = self.best()
            row["offset_seconds"] = round(best.offset_seconds, 9) if best.reply.is_time else None
            row["delay_seconds"] = round(best.delay_seconds, 9)
            for name in ("leap", "stratum", "reference_id", "root_delay_seconds", "root_dispersion_seconds"):
                row[name] = getattr(best.reply, name)
            row["fresh_cookies"] = sum(len(sample.reply.cookies) for sample in self.replies)
        return row


def resolve(name: str, port: int, family: str, deadline: float) -> List[Address]:
    """Return the addresses of a name with their families, in the resolver's order; raise ProbeError at the deadline.

    getaddrinfo() takes no timeout, so it runs in a thread.
    """
    answer = []  # type: List[Any]

    def query() -> None:
        try:
            answer.append(socket.getaddrinfo(name, port, FAMILIES[family], socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=query, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not answer:
        raise ProbeError("resolver_failed", "it took too long", name=name)
    found = answer[0]
    if isinstance(found, Exception):
        failed = getattr(found, "errno", None) in (socket.EAI_AGAIN, socket.EAI_FAIL)
        raise ProbeError("resolver_failed" if failed else "unresolved", str(found), name=name)
    return [(row[0], row[4]) for row in found]


def connect(address: Address, timeout: float, source: str = "") -> socket.socket:
    """Return a TCP connection, bound to the local address source if it is not empty; raise ProbeError."""
    try:
        connection = socket.socket(address[0], socket.SOCK_STREAM)
    except OSError as error:
        # The kernel, or the sandbox of a unit, forbids this address family.
        raise ProbeError("not_connected", str(error), address=address[1][0]) from None
    try:
        if source:
            connection.bind((source, 0))
        connection.settimeout(max(timeout, 0.001))
        connection.connect(address[1])
        # Each message is short and the probe waits for its answer, so Nagle's algorithm would only delay it.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        connection.close()
        raise ProbeError(_connect_kind(error), str(error), address=address[1][0]) from None
    return connection


def _connect_kind(error: OSError) -> str:
    if isinstance(error, socket.timeout):
        return "timed_out"
    return {
        errno.ECONNREFUSED: "refused",
        errno.ETIMEDOUT: "timed_out",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable",
        errno.EACCES: "denied",
        errno.EPERM: "denied",
    }.get(error.errno or 0, "not_connected")


def plain_hex(text: str) -> str:
    """Return hexadecimal digits in the form for comparison: lower case, without colons and leading zeros."""
    return text.replace(":", "").lower().lstrip("0")
