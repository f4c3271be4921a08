# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Seal texts from one host to another, so that the controller carries ciphertext alone.

Each recipient makes a key pair for one run. The sender agrees on a key with it (ECDH on P-256, HKDF with SHA-256) and
encrypts the text (AES-256-GCM). FIPS 140 approves all three. The purpose is authenticated data: a text that is sealed
for one set of keys does not open for another.

Another Python can run this module as a program, because Ansible's interpreter can lack cryptography.
"""

import base64
import binascii
import contextlib
import json
import os
import sys
from typing import Any, Callable, Dict, List, Mapping, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._pair import archive
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import HAS_CRYPTOGRAPHY

with contextlib.suppress(ImportError):
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Row = Dict[str, Any]

# An uncompressed point of P-256 (SEC 1), and the nonce of AES-GCM.
POINT_BYTES = 65
NONCE_BYTES = 12
CANNOT_OPEN = (
    "The keys sealed for this host cannot be opened: they are damaged, or from another run. Run the playbook again."
)


class SealingError(Exception):
    """A text cannot be sealed or opened."""


def make() -> Row:
    """Return a key pair for one run: private in PEM, public in base64."""
    key = ec.generate_private_key(ec.SECP256R1(), default_backend())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"private": private.decode(), "public": _encode(_point(key))}


def seal(text: str, recipients: Mapping[str, str], purpose: str) -> Row:
    """Return a text sealed for each recipient, by name; recipients maps each name to a public key."""
    return {"sealed": {name: _seal(text, name, public, purpose) for name, public in recipients.items()}}


def _seal(text: str, name: str, public: str, purpose: str) -> str:
    try:
        point = base64.b64decode(public, validate=True)
        recipient = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (TypeError, ValueError, binascii.Error):
        raise SealingError(f"{name} has sent no public key.") from None
    own = ec.generate_private_key(ec.SECP256R1(), default_backend())
    key = _derived(own.exchange(ec.ECDH(), recipient), _point(own) + point)
    nonce = os.urandom(NONCE_BYTES)
    return _encode(_point(own) + nonce + AESGCM(key).encrypt(nonce, text.encode(), purpose.encode()))


def open_sealed(private: str, sealed: str, purpose: str) -> Row:
    """Return the text that a sender sealed for this private key; raise SealingError."""
    try:
        data = base64.b64decode(sealed, validate=True)
        # mypy would infer a union of every type of key.
        key: Any = serialization.load_pem_private_key(private.encode(), None, default_backend())
        sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data[:POINT_BYTES])
        shared = _derived(key.exchange(ec.ECDH(), sender), data[:POINT_BYTES] + _point(key))
        nonce, ciphertext = data[POINT_BYTES:][:NONCE_BYTES], data[POINT_BYTES + NONCE_BYTES :]
        return {"text": AESGCM(shared).decrypt(nonce, ciphertext, purpose.encode()).decode()}
    except (ValueError, binascii.Error, InvalidTag):
        raise SealingError(CANNOT_OPEN) from None


def _point(key: Any) -> bytes:
    """Return the public key of a private key, as an uncompressed point."""
    form = serialization.PublicFormat.UncompressedPoint
    return bytes(key.public_key().public_bytes(serialization.Encoding.X962, form))


def _derived(shared: bytes, public: bytes) -> bytes:
    derivation = HKDF(hashes.SHA256(), 32, None, b"securetime.nts ntskeys" + public, default_backend())
    return bytes(derivation.derive(shared))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


OPERATIONS = {"make": make, "seal": seal, "open": open_sealed}  # type: Dict[str, Callable[..., Row]]


def perform(kind: str, given: Mapping[str, Any]) -> Row:
    """Run one operation of OPERATIONS; raise SealingError."""
    if not HAS_CRYPTOGRAPHY:
        raise SealingError("Python's cryptography must be installed on this host: it encrypts the keys on their way.")
    return OPERATIONS[kind](**given)


def perform_with(
    python: str, run: Callable[[List[str], str], Tuple[int, str, str]], folder: str, kind: str, given: Mapping[str, Any]
) -> Row:
    """Run the same operation by another Python, over its standard input and output; raise SealingError.

    run(argv, input) executes a program. folder is private to this run, which removes it.
    """
    path = os.path.join(folder, "sealing.zip")
    with open(path, "wb") as file:
        file.write(archive.program(python, __name__))
    status, out, error = run([python, "-I", path], json.dumps({"kind": kind, "given": dict(given)}))
    if status:
        raise SealingError((error.strip().splitlines() or [f"{python} ended with the status {status}."])[-1])
    return dict(json.loads(out))


def main() -> int:
    """Read the operation from the standard input, and print the result."""
    request = json.load(sys.stdin)
    try:
        sys.stdout.write(json.dumps(perform(request["kind"], request["given"])) + "\n")
    except SealingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
