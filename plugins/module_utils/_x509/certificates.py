# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Read certificates (RFC 5280) with Python's standard library alone."""

import calendar
import contextlib
import importlib
import re
import time
from ipaddress import ip_address
from typing import Any, Dict, Iterable, List, Tuple

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

# RFC 4514, section 3. Other attributes keep OpenSSL's name.
SHORT_NAMES = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
}
SEQUENCE, BIT_STRING, OBJECT_IDENTIFIER, INTEGER, VERSION = 0x30, 0x03, 0x06, 0x02, 0xA0
RSA = "2a864886f70d010101"
# The identifier of the algorithm or, after id-ecPublicKey, of the curve (RFC 3279, RFC 5480, RFC 8410).
KEY_TYPES = {
    "2a8648ce3d030107": "ECDSA P-256",
    "2b81040022": "ECDSA P-384",
    "2b81040023": "ECDSA P-521",
    "2b6570": "Ed25519",
    "2b6571": "Ed448",
}


def _ssl() -> Any:
    """Return the module ssl, imported late: it and hashlib load OpenSSL (15 ms), which most callers do not need."""
    return importlib.import_module("ssl")


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return str(importlib.import_module("hashlib").sha256(data).hexdigest())


class DerError(ValueError):
    """The bytes are not a certificate in DER."""


def decode(pem: str) -> Dict[str, Any]:
    """Return the fields of a certificate in the form of SSLSocket.getpeercert; raise ssl.SSLError."""
    with importlib.import_module("tempfile").NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem + "\n")
        file.flush()
        # Python has no public certificate reader. This private one, which Python's own tests use, exists from 3.6 to
        # 3.14. typeshed does not list it, so mypy does not know it.
        return dict(_ssl()._ssl._test_decode_cert(file.name))


def pem_to_der(pem: str) -> bytes:
    """Return the DER bytes of a certificate in PEM; raise DerError."""
    try:
        return bytes(_ssl().PEM_cert_to_DER_cert(pem.strip()))
    except ValueError as error:
        raise DerError(str(error)) from None


def describe(der: bytes) -> Dict[str, Any]:
    """Describe a certificate: names, dates (UTC), serial number and fingerprint in hexadecimal, key type.

    Raise DerError for an unreadable certificate.
    """
    try:
        fields = decode(_ssl().DER_cert_to_PEM_cert(der))
    except _ssl().SSLError as error:
        raise DerError(str(error)) from None
    return {
        "subject": _name(fields.get("subject", ())),
        "subject_alt_names": [printable(f"{kind}:{value}") for kind, value in fields.get("subjectAltName", ())],
        "issuer": _name(fields.get("issuer", ())),
        "serial": fields["serialNumber"].lstrip("0") or "0",
        "not_before": _date(fields["notBefore"]),
        "not_after": _date(fields["notAfter"]),
        "fingerprint_sha256": sha256(der),
        "key_type": key_type(der),
    }


def _name(sequence: Any) -> str:
    return printable(", ".join(f"{SHORT_NAMES.get(kind, kind)}={value}" for part in sequence for kind, value in part))


def printable(text: str) -> str:
    """Replace unprintable characters, because the names in a foreign certificate may not control a terminal or log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _date(text: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_ssl().cert_time_to_seconds(text)))


def seconds_left(description: Dict[str, Any], now: float) -> float:
    """Return the seconds until a described certificate expires; now is Unix time."""
    return calendar.timegm(time.strptime(description["not_after"], "%Y-%m-%dT%H:%M:%SZ")) - now


def carries(alt_names: Iterable[str], name: str) -> bool:
    """Return whether the names of a certificate match a host name or an address.

    A wildcard stands for the whole first label of a host name, and for one label only (RFC 6125, section 6.4.3).
    """
    wanted = plain_name(name)
    wildcard = "*." + wanted.partition(".")[2]
    # Clients refuse a wildcard below a top-level domain, as `*.org`.
    accepted = {wanted, wildcard} if wildcard.count(".") > 1 and not is_address(wanted) else {wanted}
    return not accepted.isdisjoint(map(plain_name, alt_names))


def is_address(name: str) -> bool:
    """Return whether a name is an IPv4 or IPv6 address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def plain_name(name: str) -> str:
    """Normalise a name or an address for comparison.

    DNS names ignore case, and IPv6 addresses have several spellings.
    """
    with contextlib.suppress(ValueError):
        return str(ip_address(name.strip()))
    return name.lower()


def key_type(der: bytes) -> str:
    """Return the type of a certificate's key, for example ECDSA P-256 or RSA 2048; raise DerError."""
    try:
        return _key_type(der)
    except LookupError:
        raise DerError("a value is missing") from None


def _key_type(der: bytes) -> str:
    """Parse a certificate up to its key (RFC 5280, section 4.1); raise LookupError or DerError."""
    fields = parts(parts(parts(der)[0][1])[0][1])
    # The version is optional. The key follows serial, signature, issuer, validity and subject.
    key = parts(fields[6 if fields[0][0] == VERSION else 5][1])
    identifiers = [body.hex() for tag, body in parts(key[0][1]) if tag == OBJECT_IDENTIFIER]
    if identifiers[0] == RSA:
        modulus = parts(parts(key[1][1][1:])[0][1])[0][1]
        return f"RSA {int.from_bytes(modulus, 'big').bit_length()}"
    return KEY_TYPES.get(identifiers[-1], f"OID {identifiers[-1]}")


def parts(der: bytes) -> List[Tuple[int, bytes]]:
    """Split DER bytes into their consecutive values, each with its tag (X.690, section 8.1); raise DerError."""
    parts = []
    while der:
        if len(der) < 2:
            raise DerError("a value ends in its header")
        length, start = der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start], "big")
        if len(der) < start + length:
            raise DerError("a value is longer than what holds it")
        parts.append((der[0], der[start : start + length]))
        der = der[start + length :]
    return parts
