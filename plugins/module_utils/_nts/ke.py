# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The messages of an NTS key exchange (RFC 8915, section 4).

Pure functions from bytes to values and back: this module opens no connection.
"""

import struct
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import NtsError

PORT = 4460
ALPN = "ntske/1"
EXPORTER_LABEL = "EXPORTER-network-time-security"  # RFC 8915, section 4.3
NTPV4 = 0

CRITICAL = 0x8000
END_OF_MESSAGE = 0
NEXT_PROTOCOL = 1
ERROR = 2
WARNING = 3
AEAD_ALGORITHM = 4
NEW_COOKIE = 5
NTPV4_SERVER = 6
NTPV4_PORT = 7
# chrony 4.6.1 and newer send this record: both sides export the keys of AEAD 30 as RFC 8915 says. chrony 4.4 to 4.6
# exports other keys.
COMPLIANT_128GCM_EXPORT = 1024

AES_SIV_CMAC_256 = 15
AES_128_GCM_SIV = 30
AEAD_NAMES = {AES_SIV_CMAC_256: "AES-SIV-CMAC-256", AES_128_GCM_SIV: "AES-128-GCM-SIV"}
KEY_LENGTHS = {AES_SIV_CMAC_256: 32, AES_128_GCM_SIV: 16}
ERROR_NAMES = {0: "unrecognised critical record", 1: "bad request", 2: "internal server error"}

# chronyd, too, rejects a longer answer (nts_ke.h: NKE_MAX_MESSAGE_LENGTH).
MAX_MESSAGE_LENGTH = 16384
# chronyd ignores longer cookies, and the ninth and later ones (nts_ke.h). It refuses longer critical records
# (NKE_MAX_RECORD_BODY_LENGTH, since 4.1).
MAX_COOKIE_LENGTH = MAX_CRITICAL_LENGTH = 256
MAX_COOKIES = 8
MAX_SERVER_NAME_LENGTH = 255


class ProtocolError(NtsError):
    """The answer violates RFC 8915, or grants no key exchange."""


class Record(NamedTuple):
    """One record of a message (section 4)."""

    critical: bool
    type: int
    body: bytes


class KeResult(NamedTuple):
    """The result of a key exchange: AEAD algorithm, cookies, and the NTP server that the answer names."""

    aead: int
    cookies: List[bytes]
    server: Optional[str]
    port: Optional[int]
    compliant_export: bool
    ignored_records: List[int]


def record(type_: int, body: bytes = b"", critical: bool = False) -> bytes:
    """Return the bytes of a record."""
    return struct.pack(">HH", type_ | (CRITICAL if critical else 0), len(body)) + body


def request(aeads: Sequence[int]) -> bytes:
    """Return the client's message: NTPv4, and the AEAD algorithms in their order of preference (section 4.1)."""
    records = [
        record(NEXT_PROTOCOL, struct.pack(">H", NTPV4), critical=True),
        record(AEAD_ALGORITHM, struct.pack(f">{len(aeads)}H", *aeads), critical=True),
    ]
    if AES_128_GCM_SIV in aeads:
        records.append(record(COMPLIANT_128GCM_EXPORT))
    return b"".join([*records, record(END_OF_MESSAGE, critical=True)])


def message_length(data: bytes) -> Optional[int]:
    """Return the length in bytes of the first message in the data, or None if its end of message is missing."""
    for start, type_, length in _headers(data):
        if type_ & ~CRITICAL == END_OF_MESSAGE and start + 4 + length <= len(data):
            return start + 4 + length
    return None


def _headers(data: bytes) -> Iterator[Tuple[int, int, int]]:
    start = 0
    while start + 4 <= len(data):
        type_, length = struct.unpack_from(">HH", data, start)
        yield start, type_, length
        start += 4 + length


def read_records(data: bytes) -> List[Record]:
    """Return the records before the end of message; raise ProtocolError if the data is not one whole message."""
    length = message_length(data)
    if length is None:
        raise ProtocolError("ke_malformed", f"its {len(data)} bytes have no end of message")
    if length < len(data):
        raise ProtocolError("ke_malformed", f"{len(data) - length} bytes follow the end of message")
    *records, end = [
        Record(bool(type_ & CRITICAL), type_ & ~CRITICAL, data[start + 4 : start + 4 + size])
        for start, type_, size in _headers(data)
    ]
    if not end.critical:
        raise ProtocolError("ke_malformed", "its end of message is not critical")
    if end.body:
        raise ProtocolError("ke_malformed", f"its end of message has {len(end.body)} bytes and not 0")
    return records


def read_response(data: bytes, offered: Iterable[int]) -> KeResult:
    """Return the result that a server's message grants; raise ProtocolError where chronyd 4.1 to 4.9 refuses it."""
    offered = list(offered)
    found: Dict[int, Record] = {}
    cookies: List[bytes] = []
    ignored = []
    for item in read_records(data):
        _check_record(item)
        if item.type == NEW_COOKIE:
            cookies.append(item.body)
        elif item.type in (NEXT_PROTOCOL, AEAD_ALGORITHM, NTPV4_SERVER, NTPV4_PORT, COMPLIANT_128GCM_EXPORT):
            if item.type in found:
                raise ProtocolError("ke_malformed", f"there are two records of type {item.type}")
            found[item.type] = item
        elif item.critical:
            raise ProtocolError("ke_critical_record", f"type {item.type}")
        else:
            ignored.append(item.type)
    _assert_ntpv4(found.get(NEXT_PROTOCOL))
    aead = _agreed_aead(found.get(AEAD_ALGORITHM), offered)
    usable = [cookie for cookie in cookies if 0 < len(cookie) <= MAX_COOKIE_LENGTH and len(cookie) % 4 == 0]
    if not usable:
        raise ProtocolError("ke_no_cookies", f"of {len(cookies)} cookies none can be used" if cookies else "none came")
    return KeResult(
        aead,
        usable[:MAX_COOKIES],
        _server(found[NTPV4_SERVER]) if NTPV4_SERVER in found else None,
        _number(found[NTPV4_PORT], "port") if NTPV4_PORT in found else None,
        COMPLIANT_128GCM_EXPORT in found,
        ignored,
    )


def _check_record(item: Record) -> None:
    """Raise ProtocolError for a record that alone makes chronyd end the key exchange (nts_ke_client.c)."""
    if item.type == ERROR:
        code = _number(item, "error")
        raise ProtocolError("ke_error", f"error {code} ({ERROR_NAMES.get(code, 'not in RFC 8915')})")
    if item.type == WARNING:
        raise ProtocolError("ke_error", f"warning {_number(item, 'warning')} (RFC 8915 has none)")
    if item.critical and len(item.body) > MAX_CRITICAL_LENGTH:
        raise ProtocolError(
            "ke_malformed",
            f"its critical record of type {item.type} has {len(item.body)} bytes, of which chronyd takes"
            f" {MAX_CRITICAL_LENGTH}",
        )
    if item.type == NEXT_PROTOCOL and not item.critical:
        raise ProtocolError("ke_malformed", "its next protocol is not critical")
    if item.type == COMPLIANT_128GCM_EXPORT and item.body:
        raise ProtocolError("ke_malformed", f"its record of type {item.type} has {len(item.body)} bytes and not 0")


def _number(item: Record, what: str) -> int:
    if len(item.body) != 2:
        raise ProtocolError("ke_malformed", f"its {what} record has {len(item.body)} bytes and not 2")
    return int(struct.unpack(">H", item.body)[0])


def _assert_ntpv4(item: Optional[Record]) -> None:
    """Raise ProtocolError unless the server chose NTPv4. It names one requested protocol, or none (section 4.1.2)."""
    if item is None:
        raise ProtocolError("ke_no_protocol", "it names no protocol")
    if not item.body:
        raise ProtocolError("ke_no_protocol", "it supports none of the requested protocols")
    if _number(item, "protocol") != NTPV4:
        raise ProtocolError("ke_no_protocol", f"it chose the protocol {_number(item, 'protocol')}")


def _agreed_aead(item: Optional[Record], offered: List[int]) -> int:
    """Return the AEAD algorithm of the server's choice, or raise ProtocolError.

    The server names one of the offered algorithms, or none (section 4.1.5).
    """
    offered_numbers = ", ".join(map(str, offered))
    if item is None or not item.body:
        raise ProtocolError("ke_no_aead", f"it accepts none of {offered_numbers}")
    aead = _number(item, "AEAD")
    if aead not in offered:
        raise ProtocolError("ke_no_aead", f"it chose {aead}, which was not offered ({offered_numbers})")
    return aead


def _server(item: Record) -> str:
    """Return the NTP server of a record: a fully qualified domain name or an address (section 4.1.7)."""
    name = item.body.decode("ascii", errors="replace")
    if not name or len(name) > MAX_SERVER_NAME_LENGTH or not all(" " < letter < "\x7f" for letter in name):
        raise ProtocolError("ke_malformed", f"the NTP server that it names is no name: {name[:80]!r}")
    return name


def exporter_context(aead: int, to_server: bool) -> bytes:
    """Return the exporter context of one key of the TLS session (section 5.1)."""
    return struct.pack(">HHB", NTPV4, aead, 0 if to_server else 1)
