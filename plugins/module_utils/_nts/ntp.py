# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. NTP packets (RFC 5905) and their NTS extension fields (RFC 8915, section 5).

Pure functions from bytes to values and back: this module opens no socket and reads no clock.
"""

import struct
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import NtsError

PORT = 123
VERSION = 4
CLIENT = 3
SERVER = 4
# The leap indicator and the stratum of an unsynchronised server (RFC 5905, figures 9 and 11).
UNSYNCHRONISED = 3
UNSYNCHRONISED_STRATUM = 16

HEADER = struct.Struct(">BBbbII4s8s8s8s8s")  # RFC 5905, figure 8
# The extension fields' types (RFC 8915, section 7.5).
UNIQUE_IDENTIFIER = 0x0104
COOKIE = 0x0204
AUTHENTICATOR = 0x0404
UNIQUE_IDENTIFIER_LENGTH = 32
NAK = "NTSN"

SECONDS_1900_TO_1970 = 2208988800
# RFC 5905, section 6: the timestamp and the short format.
TICKS = 2**32
ERA = 2**64
SHORT = 2**16


class Aead(NamedTuple):
    """An AEAD algorithm with its key. Both functions take nonce, text and associated data."""

    nonce_length: int
    seal: Callable[[bytes, bytes, bytes], bytes]
    # Returns None if the text is not authentic.
    open: Callable[[bytes, bytes, bytes], Optional[bytes]]


class PacketError(NtsError):
    """The packet is not an authentic reply to the request."""


class Request(NamedTuple):
    """A request, with the transmit timestamp and the unique identifier that its reply must repeat."""

    packet: bytes
    transmit: bytes
    unique_identifier: bytes


class Reply(NamedTuple):
    """The content of an authenticated reply. Timestamps are in 2**-32 s since 1900, modulo 2**64."""

    leap: int
    stratum: int
    poll: int
    precision: int
    root_delay_seconds: float
    root_dispersion_seconds: float
    reference_id: str
    received: int
    transmitted: int
    cookies: List[bytes]

    @property
    def is_kiss(self) -> bool:
        """Return whether this is a kiss-o'-death, whose reference ID is the kiss code (RFC 5905, section 7.4)."""
        return self.stratum == 0 and self.reference_id.isalpha()

    @property
    def is_time(self) -> bool:
        """Return whether the server reports a synchronised clock."""
        return 0 < self.stratum < UNSYNCHRONISED_STRATUM and self.leap != UNSYNCHRONISED


class Field(NamedTuple):
    """An extension field: the offset of its first byte, its type and its body (RFC 7822, section 3)."""

    start: int
    type: int
    body: bytes


def padded(body: bytes) -> bytes:
    """Return a body with zeros up to a multiple of four bytes."""
    return body + bytes(-len(body) % 4)


def field(type_: int, body: bytes) -> bytes:
    """Return the bytes of an extension field."""
    body = padded(body)
    return struct.pack(">HH", type_, 4 + len(body)) + body


def request(cookie: bytes, aead: Aead, random: bytes) -> Request:
    """Return an authenticated client packet (RFC 8915, section 5.7).

    random is at least 40 + aead.nonce_length random bytes. The transmit timestamp is random, too, so that the request
    does not reveal this host's clock (RFC 9769, section 3). chronyd does the same.
    """
    unique_identifier, random = random[:UNIQUE_IDENTIFIER_LENGTH], random[UNIQUE_IDENTIFIER_LENGTH:]
    transmit, nonce = random[:8], random[8 : 8 + aead.nonce_length]
    header = HEADER.pack(VERSION << 3 | CLIENT, 0, 0, 32, 0, 0, bytes(4), bytes(8), bytes(8), bytes(8), transmit)
    packet = header + field(UNIQUE_IDENTIFIER, unique_identifier) + field(COOKIE, cookie)
    return Request(packet + authenticator(aead, nonce, b"", packet), transmit, unique_identifier)


def authenticator(aead: Aead, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Return the field that authenticates the bytes before it (RFC 8915, section 5.6)."""
    ciphertext = aead.seal(nonce, plaintext, associated)
    body = struct.pack(">HH", len(nonce), len(ciphertext)) + padded(nonce) + padded(ciphertext)
    return field(AUTHENTICATOR, body)


def read_fields(data: bytes, start: int) -> Iterator[Field]:
    """Yield the extension fields, up to the first malformed or truncated one."""
    while start + 4 <= len(data):
        type_, length = struct.unpack_from(">HH", data, start)
        if length < 4 or length % 4 or start + length > len(data):
            return
        yield Field(start, type_, data[start + 4 : start + length])
        start += length


def read_reply(data: bytes, sent_request: Request, aead: Aead) -> Reply:
    """Return the content of a reply; raise PacketError unless it is an authentic one (RFC 8915, section 5.7)."""
    if len(data) < HEADER.size:
        raise PacketError("ntp_not_authentic", f"it has only {len(data)} bytes")
    first, stratum, poll, precision, delay, dispersion, reference, *stamps = HEADER.unpack_from(data)
    origin, received, transmitted = stamps[1:]
    if (first >> 3 & 7, first & 7) != (VERSION, SERVER):
        raise PacketError("ntp_not_authentic", f"its version is {first >> 3 & 7} and its mode {first & 7}")
    if origin != sent_request.transmit:
        raise PacketError("ntp_not_authentic", "it is the answer to another request")
    fields = list(read_fields(data, HEADER.size))
    cookies = _authenticate(data, fields, sent_request, aead)
    if cookies is None:
        if stratum == 0 and reference == NAK.encode() and _identifies(fields, sent_request):
            raise PacketError("ntp_nak", "NTS NAK")
        kiss_detail = f": {reference!r}" if stratum == 0 and any(reference) else ""
        raise PacketError("ntp_not_authentic", f"its authenticator is missing or wrong{kiss_detail}")
    return Reply(
        first >> 6,
        stratum,
        poll,
        precision,
        delay / SHORT,
        dispersion / SHORT,
        reference_id(stratum, reference),
        int.from_bytes(received, "big"),
        int.from_bytes(transmitted, "big"),
        cookies,
    )


def _identifies(fields: List[Field], sent_request: Request) -> bool:
    return [item.body for item in fields if item.type == UNIQUE_IDENTIFIER] == [sent_request.unique_identifier]


def _authenticate(data: bytes, fields: List[Field], sent_request: Request, aead: Aead) -> Optional[List[bytes]]:
    """Return the fresh cookies of an authentic reply, or None if the reply is not authentic."""
    signed = [item for item in fields if item.type == AUTHENTICATOR]
    if len(signed) != 1:
        return None
    before = [item for item in fields if item.start < signed[0].start]
    if not _identifies(before, sent_request):
        return None
    parts = _open(signed[0].body)
    if parts is None:
        return None
    plaintext = aead.open(parts[0], parts[1], data[: signed[0].start])
    if plaintext is None:
        return None
    return [item.body for item in read_fields(plaintext, 0) if item.type == COOKIE]


def _open(body: bytes) -> Optional[Tuple[bytes, bytes]]:
    """Return nonce and ciphertext of an authenticator's body, or None if it is too short for them."""
    if len(body) < 4:
        return None
    nonce_length, length = struct.unpack_from(">HH", body)
    start = 4 + nonce_length + -nonce_length % 4
    if start + length > len(body):
        return None
    return body[4 : 4 + nonce_length], body[start : start + length]


def reference_id(stratum: int, reference: bytes) -> str:
    """Return a reference ID as chronyc shows it: its letters at stratum 0 and 1 (RFC 5905, figure 12), else as hex."""
    text = reference.rstrip(b"\0")
    if stratum <= 1 and text and all(0x20 < letter < 0x7F for letter in text):
        return text.decode("ascii")
    return reference.hex().upper()


def since_1900(unix_seconds: float) -> int:
    """Return a Unix time as an NTP timestamp, in 2**-32 s since 1900, modulo 2**64."""
    return int((unix_seconds + SECONDS_1900_TO_1970) * TICKS) % ERA


def difference_seconds(later: int, earlier: int) -> float:
    """Return the difference of two timestamps, also across the end of an era (RFC 5905, section 6).

    Two timestamps differ by less than half an era (68 years).
    """
    return ((later - earlier + ERA // 2) % ERA - ERA // 2) / TICKS


def offset_and_delay(sent: int, reply: Reply, arrived: int) -> Tuple[float, float]:
    """Return offset (positive: the server's clock is ahead) and delay, in seconds (RFC 5905, section 8)."""
    outbound, inbound = difference_seconds(reply.received, sent), difference_seconds(reply.transmitted, arrived)
    return (outbound + inbound) / 2, outbound - inbound
