# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Make the CSR of an NTS server on the server, and check it on the controller.

Both sides derive the extensions from the same function. So the controller refuses every CSR that differs from the one
that it would have made. Needs cryptography 3.2 or newer, which the distributions package.
"""

import calendar
import datetime
import re
import time
from ipaddress import ip_address, ip_network
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Type

from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import (
    CERTIFICATE,
    is_address,
    parts,
    printable,
)

# The errors that the versions of cryptography raise for hostile PEM and DER.
UNREADABLE: Tuple[Type[Exception], ...] = (ValueError, TypeError)
try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True
    UNREADABLE += (UnsupportedAlgorithm, InvalidSignature)
    UNREADABLE += (x509.DuplicateExtension, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType)
    UNREADABLE += (x509.InvalidVersion,)

# RFC 5280, appendix A.1: ub-common-name.
LONGEST_COMMON_NAME = 64
# In characters. A CSR of an RSA 4096 key with 50 names has less than 6,000.
LONGEST_TEXT = 65536
# The clocks of the controller and of a server may differ by this much.
CLOCKS_DIFFER_BY_SECONDS = 86400.0
# OpenSSL reads all three labels as certificates.
BEGINS = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
# A domain that exists nowhere (RFC 6761, section 6.4). RFC 5280, section 4.2.1.10, does not restrict a kind of name
# without a permitted subtree. An empty excluded e-mail or URI subtree excludes every name for GnuTLS 3.7.9, and none
# for OpenSSL 3.0.
NOWHERE = ".invalid"
CURVES = {"secp256r1": "ECDSA P-256", "secp384r1": "ECDSA P-384", "secp521r1": "ECDSA P-521"}
KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

Extensions = List[Tuple[Any, bool]]


class Request(NamedTuple):
    """The content of a CSR.

    names are host names and addresses; an issuing CA may issue for no others. An empty common_name makes an empty
    subject. key_type is a value of chrony_nts_certificate_key_type.
    """

    names: Sequence[str]
    key_type: str
    is_ca: bool = False
    common_name: str = ""


def leaf_request(names: Sequence[str], key_type: str) -> Request:
    """Return the request for a server certificate.

    The subject is empty where no host name fits into it. Without a DNS name in the certificate, GnuTLS applies the
    constraints on DNS names to the common name, and refuses an address there.
    """
    fitting = [name for name in names if not is_address(name) and len(name) <= LONGEST_COMMON_NAME]
    return Request(names, key_type, False, fitting[0] if fitting else "")


def issuing_request(names: Sequence[str], label: str) -> Request:
    """Return the request for the issuing CA of one server; label is the controller's name of the pair."""
    return Request(names, "ECDSA P-256", True, f"NTS issuing CA of {label}"[:LONGEST_COMMON_NAME])


def general_name(name: str) -> Any:
    """Return a name or an address as a subject alternative name."""
    return x509.IPAddress(ip_address(name)) if is_address(name) else x509.DNSName(name)


def subject(request: Request) -> Any:
    """Return the X.509 subject of a request."""
    named = [x509.NameAttribute(NameOID.COMMON_NAME, request.common_name)] if request.common_name else []
    return x509.Name(named)


def extensions(request: Request) -> Extensions:
    """Return the extensions of a request, each with its criticality (RFC 5280, section 4.2.1)."""
    usages = ("key_cert_sign", "crl_sign") if request.is_ca else ("digital_signature",)
    common = [
        (x509.KeyUsage(**{usage: usage in usages for usage in KEY_USAGES}), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]  # type: Extensions
    if request.is_ca:
        return [(x509.BasicConstraints(ca=True, path_length=0), True), *common, (name_constraints(request.names), True)]
    names = x509.SubjectAlternativeName([general_name(name) for name in request.names])
    # Section 4.2.1.6 requires a critical extension where the subject is empty.
    return [(x509.BasicConstraints(ca=False, path_length=None), True), *common, (names, not request.common_name)]


def name_constraints(names: Sequence[str]) -> Any:
    """Return name constraints that permit these names alone: no name below them, and no other kind of name."""
    dns = [name for name in names if not is_address(name)]
    addresses = [ip_network(name) for name in names if is_address(name)]
    below = [name for name in dns if not any(other.endswith(f".{name}") for other in dns)]
    permitted = [
        *map(x509.DNSName, dns),
        *map(x509.IPAddress, addresses),
        x509.RFC822Name(NOWHERE),
        x509.UniformResourceIdentifier(NOWHERE),
    ]
    no_dns = [x509.DNSName(f".{name}") for name in below] if dns else [x509.DNSName("")]
    no_addresses = [] if addresses else [x509.IPAddress(ip_network(every)) for every in ("0.0.0.0/0", "::/0")]
    # GnuTLS 3.7.9 does not apply permitted subtrees to URIs.
    return x509.NameConstraints(permitted, [*no_dns, *no_addresses, x509.UniformResourceIdentifier("")])


def key_type_of(public_key: Any) -> str:
    """Return the type of a key, in the values of chrony_nts_certificate_key_type."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"RSA {public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return CURVES.get(public_key.curve.name, f"ECDSA {public_key.curve.name}")
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return "Ed448" if isinstance(public_key, ed448.Ed448PublicKey) else type(public_key).__name__.strip("_")


def new_key(key_type: str) -> str:
    """Generate a private key and return it in PEM (PKCS #8); key_type is as in chrony_nts_certificate_key_type."""
    curves = {"ECDSA P-256": ec.SECP256R1, "ECDSA P-384": ec.SECP384R1}
    if key_type in curves:
        key = ec.generate_private_key(curves[key_type](), default_backend())  # type: Any
    elif key_type == "Ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, int(key_type.split()[1]), default_backend())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(key.private_bytes(*form).decode())


def load_key(pem: str, passphrase: Optional[str] = None) -> Any:
    """Return a private key; raise one of UNREADABLE."""
    secret = None if passphrase is None else passphrase.encode()
    return serialization.load_pem_private_key(pem.encode(), secret, default_backend())


def signature_hash(key: Any) -> Any:
    """Return the hash algorithm for signatures of a key; None for Ed25519, which has its own (RFC 8410)."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def public_bytes(public_key: Any) -> bytes:
    """Return a public key as SubjectPublicKeyInfo in DER, in which keys can be compared."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return bytes(public_key.public_bytes(*form))


def make_csr(request: Request, key_pem: str) -> str:
    """Make a CSR, sign it with its key, and return it in PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(request))
    for value, critical in extensions(request):
        builder = builder.add_extension(value, critical=critical)
    key = load_key(key_pem)
    csr = builder.sign(key, signature_hash(key), default_backend())
    return str(csr.public_bytes(serialization.Encoding.PEM).decode())


def load_csr(pem: str) -> Any:
    """Return a CSR; raise one of UNREADABLE."""
    return x509.load_pem_x509_csr(pem.encode(), default_backend())


class Checked(NamedTuple):
    """The result of a check: problems in sentences and, without any, the checked CSR or certificate alone in PEM."""

    problems: List[str]
    pem: str = ""


def check_csr(text: str, request: Request) -> Checked:
    """Compare the CSR of a possibly hostile host with the expected request."""
    if len(text) > LONGEST_TEXT:
        return Checked([f"It is longer than {LONGEST_TEXT} characters."])
    try:
        csr = load_csr(text)
        problems = [] if csr.is_signature_valid else ["It is not signed by the key that it is for."]
        problems += differences(csr, request, [])
        if not problems and not _is_encoded_as_ours(csr, request):
            problems.append(
                "Its encoding is not the one of this collection: other attributes, or other forms of names."
            )
        return Checked(problems, csr.public_bytes(serialization.Encoding.PEM).decode())
    except UNREADABLE as error:
        return Checked([f"It cannot be read as a CSR: {_shown(error)}."])


def check_self_signed(text: str, request: Request, longest_days: float) -> Checked:
    """Compare the certificate of a self-signed issuing CA with the expected request."""
    if len(text) > LONGEST_TEXT:
        return Checked([f"It is longer than {LONGEST_TEXT} characters."])
    if len(BEGINS.findall(text)) != 1:
        return Checked(["It is not exactly one certificate."])
    try:
        certificate = x509.load_pem_x509_certificate(text.encode(), default_backend())
        identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        problems = differences(certificate, request, [(identifier, False)])
        if not _has_signed_itself(certificate):
            problems.append("It has not signed itself.")
        begins, ends = validity(certificate)
        days = (ends - begins) / 86400
        # The server backdates the certificate by a day.
        if days > longest_days + 1.01:
            problems.append(f"It is valid for {days:.0f} days instead of {longest_days:g}.")
        if not begins <= time.time() + CLOCKS_DIFFER_BY_SECONDS or ends <= time.time():
            problems.append("By the controller's clock it is not valid now.")
        if not problems and not _is_certificate_as_ours(certificate, request):
            problems.append("Its encoding is not the one of this collection.")
        return Checked(problems, pem_of(certificate))
    except UNREADABLE as error:
        return Checked([f"It cannot be read as a certificate: {_shown(error)}."])


def _is_encoded_as_ours(csr: Any, request: Request) -> bool:
    """Return whether a CSR has, apart from the key, the bytes of the one that this code makes (RFC 2986, section 4.1).

    A comparison of parsed fields alone would miss content that cryptography ignores and another program reads.
    """
    ours = load_csr(make_csr(request, new_key("ECDSA P-256")))
    version, name, key, *attributes = parts(parts(csr.tbs_certrequest_bytes)[0][1])
    our_version, our_name, _our_key, *our_attributes = parts(parts(ours.tbs_certrequest_bytes)[0][1])
    same = (version, name, attributes) == (our_version, our_name, our_attributes)
    return same and key == parts(public_bytes(csr.public_key()))[0]


def _is_certificate_as_ours(certificate: Any, request: Request) -> bool:
    """Return whether a self-signed certificate has the bytes that this code makes of its key, serial and dates."""
    begins, ends = (datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in validity(certificate))
    builder = certificate_builder(request, certificate.public_key(), subject(request), (begins, ends))
    key = load_key(new_key("ECDSA P-256"))
    ours = builder.serial_number(certificate.serial_number).sign(key, signature_hash(key), default_backend())
    same = ours.tbs_certificate_bytes == certificate.tbs_certificate_bytes
    return bool(same and ours.signature_algorithm_oid == certificate.signature_algorithm_oid)


def certificate_builder(
    request: Request, public_key: Any, issuer: Any, dates: Tuple[datetime.datetime, datetime.datetime]
) -> Any:
    """Return the builder of a certificate, which still lacks the serial number and the issuer's own extensions."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(request))
        .issuer_name(issuer)
        .public_key(public_key)
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for value, critical in extensions(request):
        builder = builder.add_extension(value, critical=critical)
    return builder


def is_issued_by(certificate: Any, issuer: Any) -> bool:
    """Return whether a certificate names this issuer and, where both carry key identifiers, the issuer's key.

    Source: RFC 5280, section 4.2.1.1.
    """
    named = _extension(certificate, x509.AuthorityKeyIdentifier)
    own = _extension(issuer, x509.SubjectKeyIdentifier)
    same_key = named is None or own is None or named.key_identifier in (None, own.digest)
    return bool(certificate.issuer == issuer.subject and same_key)


def _extension(certificate: Any, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _has_signed_itself(certificate: Any) -> bool:
    """Return whether a certificate of an ECDSA key is self-signed."""
    key = certificate.public_key()
    try:
        key.verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(certificate.signature_hash_algorithm)
        )
    except (InvalidSignature, TypeError):
        return False
    return bool(certificate.issuer == certificate.subject)


def validity(certificate: Any) -> Tuple[float, float]:
    """Return the start and the end of a certificate's validity, in seconds of Unix time."""
    if hasattr(certificate, "not_valid_after_utc"):
        # cryptography 42 and newer deprecate the attributes without `_utc`.
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    else:
        begins, ends = certificate.not_valid_before, certificate.not_valid_after
    return calendar.timegm(begins.utctimetuple()), calendar.timegm(ends.utctimetuple())


def pem_of(certificate: Any) -> str:
    """Return a certificate in PEM."""
    return str(certificate.public_bytes(serialization.Encoding.PEM).decode())


def certificates(text: str) -> List[Any]:
    """Return every certificate in a text, in order; raise one of UNREADABLE."""
    return [x509.load_pem_x509_certificate(pem.encode(), default_backend()) for pem in CERTIFICATE.findall(text)]


def differences(found: Any, request: Request, more: Extensions) -> List[str]:
    """Compare subject, key and extensions of a CSR or a certificate with a request; return the differences.

    `more` are the expected extensions in addition to those of the request.
    """
    problems = []
    if found.subject != subject(request):
        wanted = f"CN={request.common_name}" if request.common_name else "empty"
        problems.append(f"Its subject is {_shown(found.subject.rfc4514_string()) or 'empty'} instead of {wanted}.")
    key_type = key_type_of(found.public_key())
    if key_type != request.key_type:
        problems.append(f"Its key is {key_type} instead of {request.key_type}.")
    wanted_by_oid = {value.oid: (value, critical) for value, critical in [*extensions(request), *more]}
    found_by_oid = {item.oid: item for item in found.extensions}
    for oid, item in found_by_oid.items():
        if oid not in wanted_by_oid:
            problems.append(f"It has the unexpected extension {_name_of(oid)}.")
            continue
        value, critical = wanted_by_oid[oid]
        if item.critical != critical:
            problems.append(f"Its extension {_name_of(oid)} is {'' if item.critical else 'not '}critical.")
        if item.value != value:
            problems.append(f"Its extension {_name_of(oid)} is {_shown(item.value)} instead of {_shown(value)}.")
    lacking = [oid for oid in wanted_by_oid if oid not in found_by_oid]
    return problems + [f"It lacks the extension {_name_of(oid)}." for oid in lacking]


def _name_of(oid: Any) -> str:
    name = getattr(oid, "_name", "")
    return name if name and name != "Unknown OID" else str(oid.dotted_string)


def _shown(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= 300 else f"{text[:300]} …"
