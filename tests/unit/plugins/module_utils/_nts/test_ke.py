# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of a key exchange, as RFC 8915 writes them."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._nts import ke
from ansible_collections.securetime.nts.plugins.module_utils._nts.ke import ProtocolError, read_response, record

# Answers of chronyd 4.6.1 and ntpsec 1.2.2, with shortened cookies.
COOKIES = [bytes([number]) * 100 for number in range(8)]
PROTOCOL = bytes.fromhex("800100020000")
AEAD_15 = bytes.fromhex("80040002000f")
AEAD_30 = bytes.fromhex("80040002001e")
END = bytes.fromhex("80000000")


def cookies(*bodies):
    return b"".join(record(ke.NEW_COOKIE, body) for body in bodies)


def kind_of(*parts):
    with pytest.raises(ProtocolError) as caught:
        read_response(b"".join(parts), [30, 15])
    return caught.value.kind, caught.value.detail


def test_request_is_that_of_section_4():
    assert ke.request([15]).hex() == "800100020000" + "80040002000f" + "80000000"


def test_request_for_aead_30_asks_for_the_compliant_keys():
    assert ke.request([30, 15]).hex() == "800100020000" + "80040004001e000f" + "04000000" + "80000000"


def test_minimal_key_exchange():
    agreed = read_response(PROTOCOL + AEAD_15 + cookies(*COOKIES) + END, [30, 15])
    assert (agreed.aead, agreed.cookies, agreed.server, agreed.port) == (15, COOKIES, None, None)
    assert not agreed.compliant_export


def test_key_exchange_with_every_negotiable_record():
    agreed = read_response(
        PROTOCOL
        + AEAD_30
        + record(ke.NTPV4_SERVER, b"ntp.example.com", critical=True)
        + record(ke.NTPV4_PORT, b"\x2f\x5b", critical=True)
        + record(ke.COMPLIANT_128GCM_EXPORT)
        + record(0x4001, b"for somebody else")
        + cookies(*COOKIES)
        + END,
        [30, 15],
    )
    assert (agreed.aead, agreed.server, agreed.port) == (30, "ntp.example.com", 12123)
    assert agreed.compliant_export
    assert agreed.ignored_records == [0x4001]


def test_cookies_that_chronyd_ignores_are_ignored():
    agreed = read_response(
        PROTOCOL + AEAD_15 + cookies(b"", bytes(3), bytes(260), *COOKIES, bytes(64), bytes(64)) + END, [15]
    )
    assert agreed.cookies == COOKIES


def test_message_length_ends_with_the_end_of_message():
    message = PROTOCOL + AEAD_15 + cookies(*COOKIES) + END
    assert ke.message_length(message + b"more") == len(message)


def test_message_length_waits_for_the_body_of_an_end_of_message():
    assert ke.message_length(bytes.fromhex("80000002")) is None
    assert ke.message_length(bytes.fromhex("800000020000")) == 6


def test_long_records_that_are_not_critical_are_ignored():
    agreed = read_response(PROTOCOL + AEAD_15 + record(0x4001, bytes(300)) + cookies(*COOKIES) + END, [15])
    assert agreed.ignored_records == [0x4001]


@pytest.mark.parametrize("cut", range(1, 11))
def test_a_message_without_its_end_has_no_length(cut):
    message = AEAD_15 + END
    assert ke.message_length(message[:-cut]) is None


@pytest.mark.parametrize(
    ("kind", "detail", "parts"),
    [
        ("ke_malformed", "no end of message", [PROTOCOL, AEAD_15]),
        ("ke_malformed", "end of message is not critical", [PROTOCOL, AEAD_15, cookies(*COOKIES), record(0)]),
        ("ke_malformed", "has 2 bytes", [PROTOCOL, AEAD_15, cookies(*COOKIES), record(0, b"ab", critical=True)]),
        ("ke_malformed", "4 bytes follow the end", [PROTOCOL, AEAD_15, cookies(*COOKIES), END, END]),
        ("ke_malformed", "1 bytes follow the end", [PROTOCOL, AEAD_15, cookies(*COOKIES), END, b"x"]),
        ("ke_malformed", "protocol is not critical", [record(1, b"\0\0"), AEAD_15, cookies(*COOKIES), END]),
        ("ke_malformed", "1024 has 2 bytes", [PROTOCOL, AEAD_30, record(1024, b"ab"), cookies(*COOKIES), END]),
        (
            "ke_malformed",
            "type 5 has 260 bytes",
            [PROTOCOL, AEAD_15, cookies(*COOKIES), record(5, bytes(260), critical=True), END],
        ),
        ("ke_malformed", "two records of type 4", [PROTOCOL, AEAD_15, AEAD_15, cookies(*COOKIES), END]),
        ("ke_malformed", "AEAD record has 4 bytes", [PROTOCOL, bytes.fromhex("80040004000f001e"), END]),
        ("ke_malformed", "is no name", [PROTOCOL, AEAD_15, record(6, b"two names"), cookies(*COOKIES), END]),
        ("ke_malformed", "port record has 1 bytes", [PROTOCOL, AEAD_15, record(7, b"\1"), cookies(*COOKIES), END]),
        ("ke_error", "error 1 (bad request)", [record(2, b"\0\1", critical=True), END]),
        ("ke_error", "error 9 (not in RFC 8915)", [record(2, b"\0\x09", critical=True), END]),
        ("ke_error", "warning 5", [PROTOCOL, AEAD_15, record(3, b"\0\5", critical=True), cookies(*COOKIES), END]),
        ("ke_critical_record", "type 99", [PROTOCOL, AEAD_15, record(99, critical=True), cookies(*COOKIES), END]),
        ("ke_no_protocol", "names no protocol", [AEAD_15, cookies(*COOKIES), END]),
        ("ke_no_protocol", "none of the requested protocols", [record(1, critical=True), AEAD_15, END]),
        ("ke_no_protocol", "protocol 1", [bytes.fromhex("800100020001"), AEAD_15, END]),
        ("ke_no_aead", "accepts none of 30, 15", [PROTOCOL, END]),
        ("ke_no_aead", "accepts none of 30, 15", [PROTOCOL, record(4), END]),
        ("ke_no_aead", "chose 16, which was not offered", [PROTOCOL, bytes.fromhex("800400020010"), END]),
        ("ke_no_cookies", "none came", [PROTOCOL, AEAD_15, END]),
        ("ke_no_cookies", "of 1 cookies none can be used", [PROTOCOL, AEAD_15, cookies(bytes(300)), END]),
    ],
)
def test_answers_that_chronyd_refuses_have_a_kind(kind, detail, parts):
    found = kind_of(*parts)
    assert found[0] == kind
    assert detail in found[1]


def test_exporter_contexts_of_section_5_1():
    assert ke.exporter_context(15, True).hex() == "0000000f00"
    assert ke.exporter_context(30, False).hex() == "0000001e01"
