# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read certificates, on every Python. tests/functional/test_probe.py reads more types of keys."""

import ssl

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509 import certificates
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.pem_input import PEM

DER = ssl.PEM_cert_to_DER_cert(PEM.strip())


def test_describe_returns_names_dates_serial_and_key_type():
    assert certificates.describe(DER) == {
        "subject": "C=DE, O=Example, CN=nts1.example.org",
        "subject_alt_names": ["DNS:nts1.example.org", "IP Address:192.0.2.1", "IP Address:2001:DB8:0:0:0:0:0:1"],
        "issuer": "C=DE, O=Example, CN=nts1.example.org",
        "serial": "123456789ABCDEF",
        "not_before": "2026-11-23T15:35:25Z",
        "not_after": "2036-11-20T15:35:25Z",
        "fingerprint_sha256": "5cd995efeded2bc3fb835a7e9275f94cce8ca48352f5c003b33227cf660eebce",
        "key_type": "ECDSA P-384",
    }


def test_seconds_left_counts_until_the_expiry():
    found = {"not_after": "2026-11-23T00:00:10Z"}
    assert certificates.seconds_left(found, 1795392000.0) == 10
    assert certificates.seconds_left(found, 1795392020.0) == -10


@pytest.mark.parametrize(
    ("der", "message"),
    [
        (b"", "missing"),
        (b"\x30", "in its header"),
        (DER[:-1], "longer"),
        (b"\x30\x84\xff\xff\xff\xff", "longer"),
        (b"\x30\x02\x30\x00", "missing"),
    ],
)
def test_key_type_refuses_invalid_der(der, message):
    with pytest.raises(certificates.DerError, match=message):
        certificates.key_type(der)


def test_describe_refuses_a_truncated_certificate():
    with pytest.raises(certificates.DerError):
        certificates.describe(DER[:-1])


def test_names_and_addresses_are_found_in_any_form():
    # The spelling of OpenSSL.
    carried = ["NTS1.example.org", "2001:DB8:0:0:0:0:0:1\n"]
    assert certificates.carries(carried, "nts1.EXAMPLE.org")
    assert certificates.carries(carried, "2001:db8::1")
    assert not certificates.carries(carried, "example.org")
    assert not certificates.carries(carried, "2001:db8::2")


@pytest.mark.parametrize(
    ("alt_name", "name", "accepted"),
    [
        ("*.example.org", "nts1.example.org", True),
        ("*.EXAMPLE.org", "NTS1.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.nts1.example.org", False),
        ("n*.example.org", "nts1.example.org", False),
        ("*.org", "example.org", False),
        ("*", "nts1", False),
        ("*.0.2.1", "192.0.2.1", False),
    ],
)
def test_a_wildcard_stands_for_one_label(alt_name, name, accepted):
    assert certificates.carries([alt_name], name) is accepted
