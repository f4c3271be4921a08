# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The functions of GnuTLS that an NTS client needs, by ctypes.

Every chronyd with NTS depends on this library. So the probe obeys the same trust store and crypto policy. GnuTLS
exports keys of TLS sessions, which Python's ssl cannot, and has the AEAD algorithms. Supported are GnuTLS 3.6.14
(RHEL 8) and newer versions of the 3 series.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._nts.ntp import Aead

LIBRARY = "libgnutls.so.30"

# gnutls/gnutls.h and gnutls/x509.h of the 3 series
CLIENT_NONBLOCKING = 1 << 1 | 1 << 3
SERVER_NAME_DNS = 1
CREDENTIALS_CERTIFICATE = 1
PEM = 1
CLOSE_WRITING = 1
VERIFY_WITHOUT_DATES = 1 << 6 | 1 << 7
AGAIN, INTERRUPTED = -28, -52
FATAL_ALERT, WARNING_ALERT = -12, -16
NOT_AUTHENTIC = -24
# The priorities of chronyd (tls_gnutls.c: create_credentials), on top of the crypto policy of the system.
TLS13_ONLY = b"-VERS-ALL:+VERS-TLS1.3"

AEAD_CIPHERS = {15: b"AES-128-SIV", 30: b"AES-128-SIV-GCM"}
# RFC 8452, section 4. RFC 8915, section 5.6, requires 16 bytes where the algorithm takes any length.
NONCE_LENGTHS = {15: 16, 30: 12}
TAG_LENGTH = 16


class GnutlsError(Exception):
    """A call failed. code is GnuTLS's (gnutls.h: GNUTLS_E_...); alert is the number of the peer's TLS alert."""

    def __init__(self, code: int, text: str, alert: Optional[int] = None) -> None:
        super().__init__(text)
        self.code = code
        self.alert = alert


class Datum(ctypes.Structure):
    """A gnutls_datum_t: bytes with their length."""

    _fields_ = [("data", POINTER(ctypes.c_ubyte)), ("size", c_uint)]


def datum(data: bytes) -> Datum:
    """Return bytes as a gnutls_datum_t."""
    return Datum((ctypes.c_ubyte * len(data)).from_buffer_copy(data), len(data))


HANDLE = c_void_p
_TEXT = [c_char_p, c_size_t]
_CIPHER_ARGUMENTS = [HANDLE, *_TEXT, *_TEXT, c_size_t, *_TEXT, c_char_p, POINTER(c_size_t)]
# The types of the result and of the arguments of each function.
_FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "gnutls_deinit": (None, [HANDLE]),
    "gnutls_transport_set_int2": (None, [HANDLE, c_int, c_int]),
    "gnutls_set_default_priority_append": (c_int, [HANDLE, c_char_p, POINTER(c_char_p), c_uint]),
    "gnutls_server_name_set": (c_int, [HANDLE, c_int, c_char_p, c_size_t]),
    "gnutls_alpn_set_protocols": (c_int, [HANDLE, POINTER(Datum), c_uint, c_uint]),
    "gnutls_credentials_set": (c_int, [HANDLE, c_int, c_void_p]),
    "gnutls_handshake": (c_int, [HANDLE]),
    "gnutls_alert_get": (c_int, [HANDLE]),
    "gnutls_record_get_direction": (c_int, [HANDLE]),
    "gnutls_certificate_verify_peers3": (c_int, [HANDLE, c_char_p, POINTER(c_uint)]),
    "gnutls_certificate_get_peers": (POINTER(Datum), [HANDLE, POINTER(c_uint)]),
    "gnutls_alpn_get_selected_protocol": (c_int, [HANDLE, POINTER(Datum)]),
    "gnutls_protocol_get_version": (c_int, [HANDLE]),
    "gnutls_group_get": (c_int, [HANDLE]),
    "gnutls_prf_rfc5705": (c_int, [HANDLE, c_size_t, c_char_p, c_size_t, c_char_p, c_size_t, c_char_p]),
    "gnutls_record_send": (ctypes.c_ssize_t, [HANDLE, c_char_p, c_size_t]),
    "gnutls_record_recv": (ctypes.c_ssize_t, [HANDLE, c_void_p, c_size_t]),
    "gnutls_bye": (c_int, [HANDLE, c_int]),
    "gnutls_certificate_free_credentials": (None, [HANDLE]),
    "gnutls_certificate_set_x509_system_trust": (c_int, [HANDLE]),
    "gnutls_certificate_set_x509_trust_mem": (c_int, [HANDLE, POINTER(Datum), c_int]),
    "gnutls_certificate_set_verify_flags": (None, [HANDLE, c_uint]),
    "gnutls_aead_cipher_encrypt": (c_int, _CIPHER_ARGUMENTS),
    "gnutls_aead_cipher_decrypt": (c_int, _CIPHER_ARGUMENTS),
    "gnutls_init": (c_int, [POINTER(c_void_p), c_uint]),
    "gnutls_certificate_allocate_credentials": (c_int, [POINTER(c_void_p)]),
    "gnutls_aead_cipher_init": (c_int, [POINTER(c_void_p), c_int, POINTER(Datum)]),
    "gnutls_cipher_get_id": (c_int, [c_char_p]),
    "gnutls_cipher_get_tag_size": (c_uint, [c_int]),
    "gnutls_protocol_get_name": (c_char_p, [c_int]),
    "gnutls_group_get_name": (c_char_p, [c_int]),
    "gnutls_strerror": (c_char_p, [c_int]),
    "gnutls_alert_get_name": (c_char_p, [c_int]),
    "gnutls_certificate_verification_status_print": (c_int, [c_uint, c_int, POINTER(Datum), c_uint]),
    "gnutls_check_version": (c_char_p, [c_char_p]),
}


class Gnutls:
    """The library. Its functions are attributes, without their prefix."""

    def __init__(self, library: Any) -> None:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name.replace("gnutls_", "", 1), function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def check(self, code: int) -> int:
        """Raise GnutlsError for a negative code."""
        if code < 0:
            raise GnutlsError(code, self.strerror(code).decode())
        return code

    def version(self) -> str:
        """Return the version of the library."""
        return str(self.check_version(None).decode())

    def aeads(self) -> List[int]:
        """Return the numbers of the AEAD algorithms that this GnuTLS has, in chronyd's order of preference."""
        return [number for number in (30, 15) if self.cipher_get_tag_size(self.cipher_get_id(AEAD_CIPHERS[number]))]

    def aead(self, number: int, key: bytes) -> Aead:
        """Return an AEAD algorithm with its key."""
        handle = c_void_p()
        cipher = self.cipher_get_id(AEAD_CIPHERS[number])
        self.check(self.aead_cipher_init(byref(handle), cipher, byref(datum(key))))

        def call(function: Any, nonce: bytes, text: bytes, associated: bytes, length: int) -> bytes:
            result, size = ctypes.create_string_buffer(max(length, 1)), c_size_t(length)
            ends = (text, len(text), result, byref(size))
            self.check(function(handle, nonce, len(nonce), associated, len(associated), TAG_LENGTH, *ends))
            return result.raw[: size.value]

        def seal(nonce: bytes, text: bytes, associated: bytes) -> bytes:
            return call(self.aead_cipher_encrypt, nonce, text, associated, len(text) + TAG_LENGTH)

        def unseal(nonce: bytes, text: bytes, associated: bytes) -> Optional[bytes]:
            # GnuTLS treats these lengths as a caller bug; Nettle aborts the process.
            if len(text) < TAG_LENGTH or not nonce or (number == 30 and len(nonce) != NONCE_LENGTHS[30]):
                return None
            try:
                return call(self.aead_cipher_decrypt, nonce, text, associated, len(text) - TAG_LENGTH)
            except GnutlsError as error:
                if error.code == NOT_AUTHENTIC:
                    return None
                raise

        return Aead(NONCE_LENGTHS[number], seal, unseal)

    def credentials(self, anchors: str, system: bool, dates: bool) -> c_void_p:
        """Return the credentials of a session.

        anchors is PEM; system adds the system's trust store; without dates, GnuTLS ignores the dates of certificates.
        """
        handle = c_void_p()
        self.check(self.certificate_allocate_credentials(byref(handle)))
        if system:
            self.check(self.certificate_set_x509_system_trust(handle))
        if anchors:
            self.check(self.certificate_set_x509_trust_mem(handle, byref(datum(anchors.encode())), PEM))
        if not dates:
            self.certificate_set_verify_flags(handle, VERIFY_WITHOUT_DATES)
        return handle

    def session(self, descriptor: int, name: Optional[str], protocol: str, credentials: c_void_p) -> c_void_p:
        """Return a client session over a connected non-blocking socket. Without a name, send no server name (SNI)."""
        handle = c_void_p()
        self.check(self.init(byref(handle), CLIENT_NONBLOCKING))
        self.transport_set_int2(handle, descriptor, descriptor)
        self.check(self.set_default_priority_append(handle, TLS13_ONLY, None, 0))
        if name is not None:
            self.check(self.server_name_set(handle, SERVER_NAME_DNS, name.encode(), len(name.encode())))
        self.check(self.alpn_set_protocols(handle, byref(datum(protocol.encode())), 1, 0))
        self.check(self.credentials_set(handle, CREDENTIALS_CERTIFICATE, credentials))
        return handle

    def attempt(self, handle: c_void_p, code: int) -> Optional[int]:
        """Return the result of a call on a session, or None if the call must be repeated; raise GnutlsError."""
        if code in (AGAIN, INTERRUPTED, WARNING_ALERT):
            return None
        if code == FATAL_ALERT:
            alert = self.alert_get(handle)
            raise GnutlsError(code, f"TLS alert {alert}: {self.alert_get_name(alert).decode()}", alert)
        return self.check(code)

    def verify(self, handle: c_void_p, name: str) -> int:
        """Verify the peer's certificates; return the error bits (gnutls_certificate_status_t), 0 if they are valid."""
        status = c_uint()
        self.check(self.certificate_verify_peers3(handle, name.encode(), byref(status)))
        return status.value

    def format_status(self, status: int) -> str:
        """Return GnuTLS's text for the bits of verify(), which chronyd logs, too."""
        text = Datum()
        self.check(self.certificate_verification_status_print(status, 1, byref(text), 0))
        return bytes(text.data[: text.size]).rstrip(b"\0").decode(errors="replace").strip()

    def peers(self, handle: c_void_p) -> List[bytes]:
        """Return the certificates that the peer sent, in DER."""
        number = c_uint()
        found = self.certificate_get_peers(handle, byref(number))
        return [bytes(found[index].data[: found[index].size]) for index in range(number.value)]

    def protocol(self, handle: c_void_p) -> Optional[str]:
        """Return the negotiated application protocol (ALPN), or None without one."""
        selected = Datum()
        if self.alpn_get_selected_protocol(handle, byref(selected)) < 0:
            return None
        return bytes(selected.data[: selected.size]).decode(errors="replace")

    def export(self, handle: c_void_p, label: str, context: bytes, length: int) -> bytes:
        """Return a key exported from the session (RFC 8446, section 7.5)."""
        key = ctypes.create_string_buffer(length)
        self.check(self.prf_rfc5705(handle, len(label), label.encode(), len(context), context, length, key))
        return key.raw


def load() -> Optional[Gnutls]:
    """Return the library, or None if it is missing or too old."""
    try:
        return Gnutls(ctypes.CDLL(LIBRARY))
    except (OSError, AttributeError):
        return None
