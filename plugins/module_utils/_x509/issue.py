# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A new leaf from a server's own issuing CA, by the distribution's cryptography (3.2 on).

The same certificate as the role's tasks make by community.crypto (a test holds the two against each other).
"""

import datetime
from ipaddress import ip_address
from typing import Any, Tuple

try:
    from cryptography import x509
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

# A clock that is a little behind must not refuse what was made now.
BACKDATED = datetime.timedelta(hours=1)


def new_key(key_type: str) -> str:
    """Make a key of a type as nts_probe names it, in PEM."""
    curves = {"ECDSA P-256": ec.SECP256R1, "ECDSA P-384": ec.SECP384R1}
    if key_type in curves:
        key: Any = ec.generate_private_key(curves[key_type](), default_backend())
    elif key_type == "Ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, int(key_type.split()[1]), default_backend())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(key.private_bytes(*form).decode())


def issue(settings: Any) -> Tuple[str, str]:
    """Return a new chain and its key, in PEM."""
    with open(settings.staged_certificate[-1], "rb") as file:
        issuing_pem = file.read()
    issuer = x509.load_pem_x509_certificate(issuing_pem, default_backend())
    with open(settings.issuing_key, "rb") as file:
        issuing_key: Any = serialization.load_pem_private_key(file.read(), None, default_backend())
    with open(settings.key, encoding="ascii") as file:
        private = file.read()
    if settings.new_key:
        private = new_key(settings.key_type)
    key: Any = serialization.load_pem_private_key(private.encode(), None, default_backend())
    now = datetime.datetime.now(datetime.timezone.utc)
    end = min(now + datetime.timedelta(days=settings.lifetime_days), _end_of(issuer))
    if end <= now:
        raise ValueError(f"the issuing CA has ended on {_end_of(issuer)}")
    names = [_general_name(name) for name in settings.names]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, settings.names[0][:64])])
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage.update(key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_subject_key_identifier(key), critical=False)
        .add_extension(_authority_key_identifier(issuer), critical=False)
    )
    algorithm = None if isinstance(issuing_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    leaf = builder.sign(issuing_key, algorithm, default_backend())
    pem = leaf.public_bytes(serialization.Encoding.PEM) + issuing_pem
    return pem.decode(), private


def _end_of(certificate: Any) -> datetime.datetime:
    # cryptography 42 and newer warn of the other name.
    if hasattr(certificate, "not_valid_after_utc"):
        end: datetime.datetime = certificate.not_valid_after_utc
    else:
        end = certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc)
    return end


def _general_name(name: str) -> Any:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject_key_identifier(key: Any) -> Any:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _authority_key_identifier(issuer: Any) -> Any:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        public: Any = issuer.public_key()
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
