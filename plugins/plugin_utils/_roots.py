# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Check whether the controller's root CA can sign, and whether a host needs a lost one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.securetime.nts.plugins.module_utils._x509.request import (
    HAS_CRYPTOGRAPHY,
    UNREADABLE,
    certificates,
    load_key,
    public_bytes,
    validity,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import fingerprint
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs

if HAS_CRYPTOGRAPHY:
    from cryptography import x509

# Path length of a root CA with issuing CAs below it (RFC 5280, 4.2.1.9): the server's leaf does not count.
NEEDED_PATH_LENGTH = 1
PRIVATE_KEY = "PRIVATE KEY-----"
# Files that a rotation of the root CA keeps beside root.pem.
ROTATING = ("next.pem", "previous.pem")


class Root(NamedTuple):
    """The controller's root CA: the file or variable of its certificate (source), and certificate and key in PEM.

    An empty certificate means that there is no root CA. An empty key means that the key is elsewhere.
    """

    source: str
    certificate: str
    key: str


def read_file(path: str) -> str:
    """Return the text of a file on the controller; empty if the file is missing. Raise OSError if it is unreadable."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def root(inputs: Inputs, read: Callable[[str], str] = read_file) -> Root:
    """Return the root CA that signs, from the variables or from chrony_nts_ca_dir. Raise OSError as read does."""
    if inputs["ca_certificate_content"]:
        return Root("chrony_nts_ca_certificate_content", inputs["ca_certificate_content"], inputs["ca_key_content"])
    folder = str(inputs["ca_dir"])
    return Root(f"{folder}/root.pem", read(f"{folder}/root.pem"), read(f"{folder}/root.key"))


def roots(inputs: Inputs, read: Callable[[str], str] = read_file) -> list[str]:
    """Return the CA certificates for clients: the root CA, and during a rotation the next or the previous one.

    Do not read the key: clients need none, and a user who only sets up clients may not have access to it. Raise OSError
    as read does.
    """
    if inputs["ca_certificate_content"]:
        return [inputs["ca_certificate_content"]]
    return [text for text in (read(f"{inputs['ca_dir']}/{name}") for name in ("root.pem", *ROTATING)) if text]


def server_cas(ca_dir: str) -> list[str]:
    """Return the files of the servers' self-signed issuing CAs on the controller, sorted."""
    return sorted(map(str, Path(ca_dir, "servers").glob("*.pem")))


def may_change(inputs: Inputs, known: Sequence[str]) -> bool:
    """Return whether a server of the same play may change what this host trusts, after the preflight of both.

    known is the result of roots(). A server makes a missing root CA, replaces one, or makes a CA of its own.
    """
    return inputs.is_true("trust_own_ca") and (
        not known or inputs.is_true("replace_root_ca") or server_cas(str(inputs["ca_dir"])) != []
    )


def unreadable(inputs: Inputs, read: Callable[[str], str] = read_file) -> Iterator[str]:
    """Yield a sentence for the first file of the root CA that exists and that this user cannot read."""
    signs = any(pair["provider"] == "ownca" for pair in inputs.pairs)
    try:
        roots(inputs, read)
        if inputs.is_true("trust_own_ca"):
            for path in server_cas(str(inputs["ca_dir"])):
                read(path)
        if signs:
            root(inputs, read)
    except OSError as problem:
        yield (
            f"{problem.filename} on the controller cannot be read ({problem.strerror}). Run Ansible as the user who"
            " made chrony_nts_ca_dir, or correct the permissions there."
        )


def problems(inputs: Inputs, found: Root, now: float | None = None) -> Iterator[str]:
    """Yield why the root CA cannot sign the issuing CA of a server.

    Yield nothing without any root CA: the role then makes one. now is in seconds since 1970.
    """
    if not found.certificate and roots(inputs):
        yield (
            f"{found.source} is missing beside next.pem or previous.pem of a rotation. Put it and root.key back from a"
            " backup: a new one would lock the clients out."
        )
    if not found.certificate or not HAS_CRYPTOGRAPHY:
        return
    if PRIVATE_KEY in found.certificate:
        yield f"{found.source} holds a private key. Clients are given this file: leave the certificate alone in it."
        return
    try:
        certificate, *_more = certificates(found.certificate)
        yield from _not_a_root(found.source, certificate, time.time() if now is None else now)
    except UNREADABLE:
        yield f"{found.source} is not a certificate in PEM. Put the certificate of the root CA there."
        return
    if found.key:
        yield from _not_its_key(found, certificate, str(inputs["ca_passphrase"]))


def _not_a_root(source: str, certificate: Any, now: float) -> Iterator[str]:
    constraints = _extension(certificate, "BasicConstraints")
    usage = _extension(certificate, "KeyUsage")
    instead = (
        "Use a CA that may sign CAs, or have the certificates of the servers signed by this one"
        " (chrony_nts_certificate_provider: files)."
    )
    if constraints is None or not constraints.ca:
        yield f"{source} is the certificate of no CA. {instead}"
    elif constraints.path_length is not None and constraints.path_length < NEEDED_PATH_LENGTH:
        yield (
            f"{source} may not sign the issuing CA of a server: its path length is {constraints.path_length}, and"
            f" clients would refuse every certificate below it. {instead}"
        )
    if usage is not None and not usage.key_cert_sign:
        yield f"{source} may not sign certificates: its key usage lacks keyCertSign. {instead}"
    _begins, ends = validity(certificate)
    if ends <= now:
        yield (
            f"{source} ended on {time.strftime('%Y-%m-%d', time.gmtime(ends))}. Put a valid root CA there: name it in"
            " chrony_nts_trust_anchors of every client before."
        )


def _extension(certificate: Any, name: str) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(getattr(x509, name)).value
    except x509.ExtensionNotFound:
        return None


def _not_its_key(found: Root, certificate: Any, passphrase: str) -> Iterator[str]:
    try:
        key = load_key(found.key, passphrase or None)
    except UNREADABLE:
        yield (
            "The key of the root CA cannot be read: chrony_nts_ca_passphrase is not the one that encrypts it, or is set"
            " for a key that is not encrypted. Nothing was changed, and the key stays as it is."
        )
        return
    if public_bytes(key.public_key()) != public_bytes(certificate.public_key()):
        yield (
            f"The key of the root CA is not that of {found.source}. Put both back from a backup of the controller that"
            " made them."
        )


def lost(inputs: Inputs, known: Collection[str], own_ca: dict[str, Any]) -> Iterator[str]:
    """Yield why a host needs a root CA that this controller lacks.

    known are the root CAs of this controller in PEM. own_ca is environment.own_ca of the facts.
    """
    ours = {fingerprint(text.strip()) for text in known}
    trusted = set(own_ca["trusted"])
    if known:
        if inputs.is_true("trust_own_ca") and trusted and not trusted & ours and not inputs.is_true("replace_root_ca"):
            yield (
                f"This host trusts another root CA of this collection (SHA-256 {', '.join(sorted(trusted))}) than this"
                " controller has. Bring chrony_nts_ca_dir from the controller that made it. To change the root CA, use"
                " the playbook securetime.nts.rotate_ca, or set chrony_nts_replace_root_ca to true for one run."
            )
        return
    back = (
        f"{inputs['ca_dir']} (chrony_nts_ca_dir) holds none. Copy that folder from the controller that made it, or set"
        " chrony_nts_ca_certificate_content to its root.pem."
    )
    if own_ca["issues"] and any(pair["provider"] == "ownca" for pair in inputs.pairs):
        yield (
            "A root CA has signed the issuing CA of this server, and clients trust it. A new one would lock them out,"
            f" and {back} To begin anew, delete /etc/chrony/nts/staging and /etc/chrony/nts/trusted.pem on every host."
        )
    elif trusted and inputs.is_true("trust_own_ca"):
        yield (
            f"This host trusts a root CA of this collection, by which it knows its servers, and {back} To take the"
            " trust away on purpose, set chrony_nts_trust_own_ca to false."
        )
