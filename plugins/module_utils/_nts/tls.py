# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A TLS 1.3 session with an NTS-KE server (RFC 8915, section 3), by GnuTLS or Python's ssl.

Both libraries report the same error kind for the same fault. No call waits beyond its deadline, which is a time of
time.monotonic().
"""

import abc
import contextlib
import ctypes
import os
import select
import socket
import ssl
import time
from typing import Callable, List, NamedTuple, Optional, TypeVar

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import NtsError
from ansible_collections.securetime.nts.plugins.module_utils._nts.gnutls import CLOSE_WRITING, Gnutls, GnutlsError
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import CERTIFICATE

T = TypeVar("T")

# Kinds of certificate errors, in the order in which the first match is reported (gnutls_certificate_status_t).
STATUS_KINDS = (
    (1 << 6 | 1 << 7, "certificate_issuer"),
    (1 << 14, "certificate_name"),
    (1 << 9, "certificate_not_yet_valid"),
    (1 << 10, "certificate_expired"),
)
# X509_V_ERR_... of openssl/x509_vfy.h. 24 (before OpenSSL 3.0) and 79 (since 3.0): the issuer is no CA.
VERIFY_CODE_KINDS = {
    **dict.fromkeys((2, 18, 19, 20, 21, 24, 79), "certificate_issuer"),
    **dict.fromkeys((62, 64), "certificate_name"),
    9: "certificate_not_yet_valid",
    10: "certificate_expired",
}
NO_DATES = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: Python has no name for it.
PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: any trusted certificate ends a chain, as in GnuTLS.
# RFC 8446, section 6
ALERT_PROTOCOL_VERSION = 70
ALERT_NO_APPLICATION_PROTOCOL = 120
# GNUTLS_E_UNSUPPORTED_VERSION_PACKET, ..._UNEXPECTED_PACKET_LENGTH, ..._UNEXPECTED_PACKET, ..._RECORD_OVERFLOW
NOT_TLS_CODES = (-8, -9, -15, -417)
# GNUTLS_E_PREMATURE_TERMINATION, ..._PULL_ERROR, ..._PUSH_ERROR
CLOSED_CODES = (-110, -54, -53)


class TlsError(NtsError):
    """The TLS session failed."""


class ClosedError(Exception):
    """The peer closed the session, or the connection broke."""


class DeadlineError(Exception):
    """The deadline passed."""


class Trust(NamedTuple):
    """Trust settings: trust anchors in PEM, whether to use the system's store, and whether to check dates."""

    anchors: str = ""
    system: bool = True
    dates: bool = True


class Session(abc.ABC):
    """A session after its handshake."""

    tls_library = ""
    version: Optional[str] = None
    group: Optional[str] = None
    protocol: Optional[str] = None

    def __init__(self) -> None:
        # The server's chain in DER, its own certificate first.
        self.certificates: List[bytes] = []
        # Why the chain is not trusted; None if it is.
        self.distrust: Optional[TlsError] = None

    @abc.abstractmethod
    def send(self, data: bytes, deadline: float) -> None:
        """Send all of the data."""

    @abc.abstractmethod
    def receive(self, deadline: float) -> bytes:
        """Return the next bytes."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the session."""


def read_anchors(paths: List[str], content: str) -> str:
    """Return the certificates of files, folders and a text in PEM; raise TlsError for an unusable file or text.

    Skip unusable files in a folder, as chronyd does.
    """
    found = CERTIFICATE.findall(content)
    if content and not found:
        raise TlsError("trust", "the text given holds no certificate")
    for path in paths:
        folder = os.path.isdir(path)
        for name in sorted(os.listdir(path)) if folder else [""]:
            file = os.path.join(path, name) if folder else path
            try:
                with open(file, encoding="utf-8", errors="replace") as opened:
                    certificates = CERTIFICATE.findall(opened.read())
            except OSError as error:
                if folder:
                    continue
                raise TlsError("trust", f"{file}: {os.strerror(error.errno or 0)}") from None
            if not certificates and not folder:
                raise TlsError("trust", f"{file} holds no certificate")
            found += certificates
    return "".join(f"{certificate}\n" for certificate in found)


def is_address(name: str) -> bool:
    """Return whether a name is an IP address. A client sends no server name for one (RFC 6066, section 3)."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, name)
            return True
    return False


class GnutlsSession(Session):
    """A session by GnuTLS."""

    def __init__(
        self, gnutls: Gnutls, connection: socket.socket, name: str, protocol: str, trust: Trust, deadline: float
    ) -> None:
        super().__init__()
        self.tls_library = f"GnuTLS {gnutls.version()}"
        self.gnutls = gnutls
        self._connection = connection
        connection.setblocking(False)
        try:
            self._credentials = gnutls.credentials(trust.anchors, trust.system, trust.dates)
            self._session = gnutls.session(
                connection.fileno(), None if is_address(name) else name, protocol, self._credentials
            )
        except GnutlsError as error:
            raise TlsError("tls_policy", str(error)) from None
        try:
            self._repeat(lambda: gnutls.handshake(self._session), deadline)
            status = gnutls.verify(self._session, name)
        except GnutlsError as error:
            raise TlsError(_gnutls_kind(error), str(error)) from None
        self.certificates = gnutls.peers(self._session)
        self.version = gnutls.protocol_get_name(gnutls.protocol_get_version(self._session)).decode()
        group = gnutls.group_get_name(gnutls.group_get(self._session))
        self.group = group.decode() if group else None
        self.protocol = gnutls.protocol(self._session)
        if status:
            kind = next((kind for bits, kind in STATUS_KINDS if status & bits), "certificate_refused")
            self.distrust = TlsError(kind, gnutls.format_status(status))

    def _repeat(self, call: Callable[[], int], deadline: float) -> int:
        while True:
            result = self.gnutls.attempt(self._session, call())
            if result is not None:
                return result
            writing = self.gnutls.record_get_direction(self._session) == 1
            ends = [self._connection]
            left = deadline - time.monotonic()
            if left <= 0 or not any(select.select([] if writing else ends, ends if writing else [], [], left)):
                raise DeadlineError

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of the data."""
        sent = 0
        while sent < len(data):
            sent += self._send_some(data[sent:], deadline)

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes."""
        buffer = ctypes.create_string_buffer(4096)
        size = self._transfer(lambda: self.gnutls.record_recv(self._session, buffer, len(buffer)), deadline)
        if size == 0:
            raise ClosedError
        return buffer.raw[:size]

    def _send_some(self, data: bytes, deadline: float) -> int:
        return self._transfer(lambda: self.gnutls.record_send(self._session, data, len(data)), deadline)

    def _transfer(self, call: Callable[[], int], deadline: float) -> int:
        try:
            return self._repeat(call, deadline)
        except GnutlsError as error:
            raise ClosedError(str(error)) from None

    def close(self) -> None:
        """End the session."""
        self.gnutls.bye(self._session, CLOSE_WRITING)
        self.gnutls.deinit(self._session)
        self.gnutls.certificate_free_credentials(self._credentials)

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """Return a key of this session (RFC 8446, section 7.5)."""
        return self.gnutls.export(self._session, label, context, length)


def _gnutls_kind(error: GnutlsError) -> str:
    if error.alert == ALERT_PROTOCOL_VERSION:
        return "tls_version"
    if error.alert == ALERT_NO_APPLICATION_PROTOCOL:
        return "alpn"
    if error.alert is not None:
        return "tls_alert"
    return "not_tls" if error.code in NOT_TLS_CODES else "tls_closed" if error.code in CLOSED_CODES else "tls_failed"


class SslSession(Session):
    """A session by Python's ssl, which reports no group, no chain before Python 3.13, and cannot export keys."""

    tls_library = ssl.OPENSSL_VERSION

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        connection: socket.socket,
        name: str,
        protocol: str,
        trust: Trust,
        deadline: float,
    ) -> None:
        super().__init__()
        try:
            self._connection = _wrap(connection, _context(protocol, trust), name, deadline)
        except TlsError as error:
            if not error.kind.startswith("certificate"):
                raise
            self.distrust = error
            # ssl does not return a certificate that it refuses. Connect again without verification to report it.
            try:
                self._connection = _wrap(connect(), _context(protocol, None), name, deadline)
            except (OSError, TlsError, DeadlineError):
                raise error from None
        self.version = self._connection.version()
        self.version = self.version.replace("TLSv", "TLS") if self.version else None
        self.protocol = self._connection.selected_alpn_protocol()
        chain = getattr(self._connection, "get_unverified_chain", None)
        leaf = self._connection.getpeercert(binary_form=True)
        self.certificates = list(chain()) if chain else [leaf] if leaf else []

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of the data."""
        self._transfer(lambda: self._connection.sendall(data), deadline)

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes."""
        data = self._transfer(lambda: self._connection.recv(4096), deadline)
        if not data:
            raise ClosedError
        return data

    def _transfer(self, call: Callable[[], T], deadline: float) -> T:
        try:
            self._connection.settimeout(_left(deadline))
            return call()
        except socket.timeout:
            raise DeadlineError from None
        except OSError as error:
            raise ClosedError(str(error)) from None

    def close(self) -> None:
        """End the session."""
        self._connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineError
    return left


def _context(protocol: str, trust: Optional[Trust]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if hasattr(context, "minimum_version"):
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # novm: Python 3.6 has the options below
    else:
        context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1 | ssl.OP_NO_TLSv1_2
    context.set_alpn_protocols([protocol])
    if trust is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if trust.system:
        context.set_default_verify_paths()
    if trust.anchors:
        context.load_verify_locations(cadata=trust.anchors)
    context.verify_flags |= PARTIAL_CHAIN | (0 if trust.dates else NO_DATES)
    return context


def _wrap(connection: socket.socket, context: ssl.SSLContext, name: str, deadline: float) -> ssl.SSLSocket:
    try:
        connection.settimeout(_left(deadline))
        return context.wrap_socket(connection, server_hostname=name)
    except socket.timeout:
        raise DeadlineError from None
    except (ssl.SSLError, ssl.CertificateError, OSError) as error:
        raise TlsError(_ssl_kind(error), str(error)) from None


def _ssl_kind(error: Exception) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason == "CERTIFICATE_VERIFY_FAILED":
        return VERIFY_CODE_KINDS.get(getattr(error, "verify_code", 0), "certificate_refused")
    if isinstance(error, ssl.CertificateError):
        return "certificate_name"
    if reason in ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"):
        return "tls_version"
    if reason == "TLSV1_ALERT_NO_APPLICATION_PROTOCOL":
        return "alpn"
    if reason.startswith(("TLSV1_", "TLSV13_", "SSLV3_ALERT_")):
        return "tls_alert"
    if reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"):
        return "not_tls"
    # Python 3.11.2 reports a closed connection as an orderly end (SSLZeroReturnError).
    closed = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)
    if isinstance(error, closed) or reason == "UNEXPECTED_EOF_WHILE_READING":
        return "tls_closed"
    return "tls_failed"
