# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server could send, put to the code that reads it: it is read, or refused by the one documented error."""

import contextlib
import hashlib
import hmac
import os

from ansible_collections.securetime.nts.plugins.module_utils._nts import ke, ntp
from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import CAUSES
from ansible_collections.securetime.nts.plugins.module_utils._x509 import certificates


def toy(key):
    """Return an algorithm with the shape of the real ones."""

    def tag(nonce, text, associated):
        return hmac.new(key, repr((nonce, text, associated)).encode(), hashlib.sha256).digest()[:16]

    def unseal(nonce, text, associated):
        return text[16:] if hmac.compare_digest(text[:16], tag(nonce, text[16:], associated)) else None

    return ntp.Aead(16, lambda nonce, text, associated: tag(nonce, text, associated) + text, unseal)


TO_SERVER, TO_CLIENT = toy(b"there"), toy(b"back")
ASKED = ntp.request(bytes(100), TO_SERVER, bytes(range(64)))


def refusal(function, *arguments):
    """Return the kind of the documented error, or nothing."""
    try:
        function(*arguments)
    except (ke.ProtocolError, ntp.PacketError) as error:
        return error.kind
    return None


def exchange(data):
    """Read a key exchange."""
    kind = refusal(ke.read_response, data, [30, 15])
    assert kind is None or kind in CAUSES
    if kind is None:
        found = ke.read_response(data, [30, 15])
        assert found.aead in (15, 30)
        assert 1 <= len(found.cookies) <= 8
        assert all(0 < len(cookie) <= 256 for cookie in found.cookies)
    length = ke.message_length(data)
    assert length is None or 4 <= length <= len(data)


def packet(data):
    """Read an NTP packet that nobody has sealed."""
    assert refusal(ntp.read_reply, data, ASKED, TO_CLIENT) in CAUSES
    assert refusal(ntp.read_reply, data[:24] + ASKED.transmit + data[32:], ASKED, TO_CLIENT) in CAUSES


def sealed(data):
    """Read an authentic packet with anything in it."""
    header = bytearray(data[:48].ljust(48, b"\0"))
    header[0] = header[0] & 0xC0 | 0x24
    header[24:32] = ASKED.transmit
    before = bytes(header) + ntp.field(ntp.UNIQUE_IDENTIFIER, ASKED.unique_identifier)
    reply = ntp.read_reply(before + ntp.authenticator(TO_CLIENT, bytes(16), data[48:], before), ASKED, TO_CLIENT)
    assert 0 <= reply.leap <= 3
    assert reply.reference_id
    assert sum(map(len, reply.cookies)) <= len(data)
    _offset, delay = ntp.offset_and_delay(0, reply, 0)
    assert -(2**33) < delay < 2**33


def certificate(data):
    """Read the key of a certificate."""
    with contextlib.suppress(certificates.DerError):
        assert certificates.key_type(data)


READERS = (exchange, packet, sealed, certificate)


def read(data):
    """Put bytes to one of the readers, which the first of them chooses."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


def seeds():
    """Return inputs that are right, to begin with."""
    cookies = [ke.record(ke.NEW_COOKIE, os.urandom(100))] * 8
    good = [ke.record(1, b"\0\0", critical=True), ke.record(4, b"\0\x0f"), *cookies]
    more = [ke.record(6, b"ntp.example.com"), ke.record(7, b"\x10\x01"), ke.record(1024)]
    end = ke.record(0, critical=True)
    header = bytes([0x24, 2]) + bytes(22) + ASKED.transmit + bytes(16)
    before = header + ntp.field(ntp.UNIQUE_IDENTIFIER, ASKED.unique_identifier)
    return [
        b"\0" + b"".join([*good, end]),
        b"\0" + b"".join([*good, *more, end]),
        b"\0" + b"".join([ke.record(2, b"\0\1", critical=True), end]),
        b"\1" + before + ntp.authenticator(TO_SERVER, bytes(16), b"", before),
        b"\2" + header + ntp.field(ntp.COOKIE, bytes(100)) * 2,
        b"\3" + bytes.fromhex("3010300e02010130003000300030003000300030"),
    ]
