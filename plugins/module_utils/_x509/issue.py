# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Make the certificates that a server signs by itself.

The first certificate and every renewal share this code. It needs the distribution's cryptography, 3.2 or newer.
"""

import datetime
from typing import Any

from ansible_collections.securetime.nts.plugins.module_utils._x509.request import (
    Request,
    certificate_builder,
    certificates,
    load_key,
    pem_of,
    signature_hash,
    subject,
    validity,
)

try:
    from cryptography import x509
    from cryptography.hazmat.backends import default_backend
except ImportError:
    pass

# Clients whose clocks are slightly behind must accept a new certificate at once.
LEAF_BACKDATED = datetime.timedelta(hours=1)
ISSUING_CA_BACKDATED = datetime.timedelta(days=1)


def issue_leaf(request: Request, key_pem: str, issuing_chain: str, issuing_key_pem: str, lifetime_days: float) -> str:
    """Issue a server certificate and return it in PEM, without the chain above it.

    It expires no later than its issuer. Raise one of UNREADABLE where the issuer has expired or a key is unreadable.
    """
    issuer = certificates(issuing_chain)[0]
    now = datetime.datetime.now(datetime.timezone.utc)
    issuer_ends = datetime.datetime.fromtimestamp(validity(issuer)[1], datetime.timezone.utc)
    if issuer_ends <= now:
        raise ValueError(f"the issuing CA has ended on {issuer_ends:%Y-%m-%d %H:%M} UTC")
    dates = (now - LEAF_BACKDATED, min(now + datetime.timedelta(days=lifetime_days), issuer_ends))
    builder = certificate_builder(request, load_key(key_pem).public_key(), issuer.subject, dates)
    builder = builder.add_extension(_authority_key_identifier(issuer), critical=False)
    return _signed(builder, load_key(issuing_key_pem))


def self_sign(request: Request, key_pem: str, lifetime_days: float) -> str:
    """Return the self-signed certificate of a CA, in PEM."""
    key = load_key(key_pem)
    now = datetime.datetime.now(datetime.timezone.utc)
    dates = (now - ISSUING_CA_BACKDATED, now + datetime.timedelta(days=lifetime_days))
    return _signed(certificate_builder(request, key.public_key(), subject(request), dates), key)


def _signed(builder: Any, key: Any) -> str:
    numbered = builder.serial_number(x509.random_serial_number())
    return pem_of(numbered.sign(key, signature_hash(key), default_backend()))


def _authority_key_identifier(issuer: Any) -> Any:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
