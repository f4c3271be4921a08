# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NTS packets, and packets that are no reply. The AEAD algorithm here is a toy with the interface of the real ones."""

import struct

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._nts import ntp
from ansible_collections.securetime.nts.plugins.module_utils._nts.ntp import PacketError
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.nts_input import TO_CLIENT, TO_SERVER

RANDOM = bytes(range(64))
COOKIE = bytes(100)


@pytest.fixture
def sent_request():
    return ntp.request(COOKIE, TO_SERVER, RANDOM)


def header(sent_request, first=4 << 3 | 4, stratum=2, reference=b"\xc0\0\2\1", received=100 << 32, sent=101 << 32):
    stamps = (bytes(8), sent_request.transmit, struct.pack(">Q", received), struct.pack(">Q", sent))
    return ntp.HEADER.pack(first, stratum, 6, -20, 0x8000, 0x4000, reference, *stamps)


def answer(sent_request, fields=None, plaintext=None, aead=TO_CLIENT, **of_header):
    before = header(sent_request, **of_header)
    before += ntp.field(ntp.UNIQUE_IDENTIFIER, sent_request.unique_identifier) if fields is None else fields
    fresh = ntp.field(ntp.COOKIE, b"fresh" * 20) if plaintext is None else plaintext
    return before + ntp.authenticator(aead, bytes(16), fresh, before)


def refused(data, sent_request):
    with pytest.raises(PacketError) as caught:
        ntp.read_reply(data, sent_request, TO_CLIENT)
    return caught.value.kind, caught.value.detail


def test_request_reveals_only_its_cookie(sent_request):
    assert sent_request.packet[:40] == bytes.fromhex("23000020") + bytes(36)
    assert sent_request.packet[40:48] == sent_request.transmit
    fields = list(ntp.read_fields(sent_request.packet, 48))
    assert [item.type for item in fields] == [0x0104, 0x0204, 0x0404]
    assert fields[0].body == sent_request.unique_identifier == RANDOM[:32]
    assert fields[1].body == COOKIE
    assert fields[2].body[:4] == bytes.fromhex("00100010")


def test_reply(sent_request):
    reply = ntp.read_reply(answer(sent_request), sent_request, TO_CLIENT)
    assert (reply.leap, reply.stratum, reply.poll, reply.precision) == (0, 2, 6, -20)
    assert (reply.root_delay_seconds, reply.root_dispersion_seconds) == (0.5, 0.25)
    assert reply.reference_id == "C0000201"
    assert reply.cookies == [b"fresh" * 20]


def test_a_reply_need_not_bring_cookies(sent_request):
    assert ntp.read_reply(answer(sent_request, plaintext=b""), sent_request, TO_CLIENT).cookies == []


def test_a_nak_is_one_with_our_identifier_only(sent_request):
    nak = header(sent_request, stratum=0, reference=b"NTSN")
    own = ntp.field(ntp.UNIQUE_IDENTIFIER, sent_request.unique_identifier)
    assert refused(nak + own, sent_request)[0] == "ntp_nak"
    assert refused(nak + ntp.field(ntp.UNIQUE_IDENTIFIER, bytes(32)), sent_request)[0] == "ntp_not_authentic"
    assert refused(nak, sent_request)[0] == "ntp_not_authentic"


def test_packets_that_are_no_reply_are_refused(sent_request):
    other = ntp.request(COOKIE, TO_SERVER, RANDOM[::-1])
    wrong_identifier = ntp.field(ntp.UNIQUE_IDENTIFIER, other.unique_identifier)
    for data, detail in (
        (answer(sent_request)[:47], "only 47 bytes"),
        (answer(sent_request, first=3 << 3 | 4), "version is 3"),
        (answer(sent_request, first=4 << 3 | 3), "mode 3"),
        (answer(other), "another request"),
        (answer(sent_request, fields=wrong_identifier), "missing or wrong"),
        (answer(sent_request, fields=b""), "missing or wrong"),
        (answer(sent_request, aead=TO_SERVER), "missing or wrong"),
        (header(sent_request), "missing or wrong"),
        (header(sent_request, stratum=0, reference=b"DENY"), "DENY"),
        (answer(sent_request) + answer(sent_request)[48:], "missing or wrong"),
    ):
        assert refused(data, sent_request)[0] == "ntp_not_authentic"
        assert detail in refused(data, sent_request)[1]


def test_no_bit_of_a_reply_can_be_changed(sent_request):
    data = answer(sent_request)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(changed), sent_request)[0] == "ntp_not_authentic", bit


def test_no_byte_of_a_reply_can_be_missing(sent_request):
    data = answer(sent_request)
    for length in range(len(data)):
        assert refused(data[:length], sent_request)[0] == "ntp_not_authentic"


def test_a_truncated_field_ends_the_reading():
    assert list(ntp.read_fields(bytes.fromhex("01040003"), 0)) == []
    assert list(ntp.read_fields(bytes.fromhex("0104000500000000"), 0)) == []
    assert list(ntp.read_fields(bytes.fromhex("010400080000"), 0)) == []


@pytest.mark.parametrize(
    ("stratum", "reference", "expected"),
    [
        (1, b"GPS\0", "GPS"),
        (0, b"RATE", "RATE"),
        (1, b"\0\0\0\0", "00000000"),
        (1, b"\x7f\x7f\1\0", "7F7F0100"),
        (2, b"GPS\0", "47505300"),
    ],
)
def test_reference_id_has_the_form_of_chronyc(stratum, reference, expected):
    assert ntp.reference_id(stratum, reference) == expected


def test_offset_and_delay_of_rfc_5905(sent_request):
    reply = ntp.read_reply(answer(sent_request, received=1010 << 31, sent=1011 << 31), sent_request, TO_CLIENT)
    assert ntp.offset_and_delay(1000 << 31, reply, 1005 << 31) == (4.0, 2.0)


def test_times_are_compared_over_the_end_of_an_era():
    before, after = ntp.since_1900(2085978495.5), ntp.since_1900(2085978496.5)
    assert after < before
    assert ntp.difference_seconds(after, before) == 1.0
    assert ntp.difference_seconds(before, after) == -1.0


@pytest.mark.parametrize(
    ("stratum", "reference", "leap", "expected"),
    [
        (2, b"\xc0\0\2\1", 0, (False, True)),
        (15, b"\xc0\0\2\1", 2, (False, True)),
        (2, b"\xc0\0\2\1", 3, (False, False)),
        (16, bytes(4), 0, (False, False)),
        (0, bytes(4), 3, (False, False)),
        (0, b"RATE", 3, (True, False)),
    ],
)
def test_only_a_synchronised_server_has_a_time(sent_request, stratum, reference, leap, expected):
    data = answer(sent_request, first=leap << 6 | 4 << 3 | 4, stratum=stratum, reference=reference)
    reply = ntp.read_reply(data, sent_request, TO_CLIENT)
    assert (reply.is_kiss, reply.is_time) == expected
