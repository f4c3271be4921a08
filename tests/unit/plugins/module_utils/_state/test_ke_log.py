# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import re

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import ke_log

TLS = "TLS handshake with 192.0.2.1:4460 (a.test) failed : "
CERTIFICATE = TLS + "Error in the certificate verification. The certificate is NOT trusted. "

# A line for each entry of the table, in its order: texts from the sources of chronyd and GnuTLS.
LINES = [
    ("Could not connect to 192.0.2.1:4460 (a.test) : Connection refused", "refuses connections to TCP port 4460"),
    ("Could not connect to 192.0.2.1:4461 (a.test) : Permission denied", "security policy"),
    ("Could not connect to 192.0.2.1:4460 (a.test) : No route to host", "no way to 192.0.2.1"),
    ("Could not connect to 192.0.2.1:4460 (a.test) : Connection reset by peer", "could not connect to TCP port 4460"),
    ("Could not connect to 192.0.2.1:4460 (a.test)", "could not even be started"),
    ("NTS-KE session with 192.0.2.1:4460 (a.test) timed out", "not answered within 16 s"),
    (CERTIFICATE + "The certificate chain uses not yet valid certificate. ", "not yet valid"),
    (CERTIFICATE + "The certificate chain uses expired certificate. ", "has expired"),
    (CERTIFICATE + "The name in the certificate does not match the expected. ", "not for the name a.test"),
    (CERTIFICATE + "The certificate issuer is unknown. ", "issuer of the server's certificate is not trusted"),
    (CERTIFICATE + "The certificate chain is revoked. ", "server's certificate is not trusted"),
    (TLS + "The TLS connection was non-properly terminated.", "closed the key exchange at once"),
    (TLS + "A TLS fatal alert has been received.", "TLS alert"),
    (TLS + "An unexpected TLS packet was received.", "does not speak TLS"),
    (TLS + "Decryption has failed.", "TLS handshake of the key exchange failed"),
    ("NTS-KE not supported by 192.0.2.1:443 (a.test)", "does not offer key exchanges"),
    ("Could not receive NTS-KE message from 192.0.2.1:4460 (a.test) : Error in the pull function.", "connection broke"),
    ("Received invalid NTS-KE message from 192.0.2.1:4460 (a.test)", "malformed"),
    ("Received invalid NTS-KE response from a.test", "no algorithm that both have"),
    ("Could not resolve NTP server ntp.test. from a.test", "ntp.test., has no address"),
    ("Could not change 192.0.2.1 to negotiated address 192.0.2.2", "192.0.2.2, is already another source"),
    ("Could not set credentials : Error while reading file.", "could not load its certificates"),
    ("Could not create TLS session : Insufficient credentials for that request.", "GnuTLS refused"),
    ("Could not initialise priority cache for TLS : No or insufficient priorities were set.", "forbids TLS 1.3"),
    ("Missing AES-SIV-CMAC-256", "no AES-SIV-CMAC-256"),
    ("Missing name of 192.0.2.1 for NTS-KE", "chrony 4.0"),
    ("Missing NTS support", "built without NTS"),
]


def test_there_is_a_line_for_each_meaning():
    assert len(LINES) == len(ke_log.MEANINGS)


@pytest.mark.parametrize(("index", "line"), list(enumerate(LINES)), ids=[cause for _text, cause in LINES])
def test_each_line_has_its_own_meaning(index, line):
    text, cause = line
    assert next(i for i, meaning in enumerate(ke_log.MEANINGS) if re.match(meaning.pattern, text)) == index
    failure = ke_log.read_failures([(5.0, text)])[0]
    assert cause in failure.cause
    assert "{" not in failure.cause + failure.remedy
    assert failure.text == text.strip()
    assert failure.name == ("a.test" if "a.test" in text else None)


def test_an_ipv6_address_loses_its_brackets():
    failure = ke_log.read_failures([(1.0, "NTS-KE session with [2001:db8::1]:4460 (a.test) timed out")])[0]
    assert (failure.address, failure.name) == ("2001:db8::1", "a.test")


def test_failures_come_newest_first_and_other_lines_do_not_count():
    lines = [(9.0, LINES[0][0]), (8.0, "Selected source 192.0.2.1 (a.test)"), (2.0, LINES[5][0]), (4.0, LINES[-1][0])]
    assert [failure.age_seconds for failure in ke_log.read_failures(lines)] == [2.0, 4.0, 9.0]


def test_every_failed_exchange_that_was_captured_is_understood(any_capture):
    failures = ke_log.read_failures(any_capture.log())
    expected = any_capture.state.startswith("ke_") and any_capture.state != "ke_under_way"
    assert bool(failures) or not expected


@pytest.mark.parametrize(
    ("text", "age", "attempts", "seconds"),
    [
        (LINES[0][0], 0.0, 1, 16),
        (LINES[0][0], 0.0, 3, 64),
        (LINES[0][0], 10.0, 1, 6),
        (LINES[0][0], 100.0, 1, 0),
        (LINES[9][0], 0.0, 1, 1024),
        (LINES[9][0], 24.0, 2, 2024),
        (LINES[9][0], 0.0, 30, 524288),
        (LINES[11][0], 0.0, 1, 16),
        (LINES[0][0], 0.0, 0, 16),
        (LINES[21][0], 0.0, 1, None),
    ],
)
def test_the_wait_doubles_from_what_the_kind_of_failure_begins_with(text, age, attempts, seconds):
    assert ke_log.seconds_to_next_attempt(ke_log.read_failures([(age, text)])[0], attempts) == seconds
