# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Manage the staging folder of a pair: keys, CSRs and signed certificates.

The host requests one certificate of a pair from a CA: that of its issuing CA, or that of the server itself. A new CSR
waits as next.csr beside next.key until the signed chain arrives. Until then the server keeps the old files.
"""

import contextlib
import os
import time
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.files import NEW, remove, sync, write
from ansible_collections.securetime.nts.plugins.module_utils._x509.issue import issue_leaf, self_sign
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import (
    HAS_CRYPTOGRAPHY,
    UNREADABLE,
    Request,
    certificates,
    check_csr,
    differences,
    is_issued_by,
    issuing_request,
    key_type_of,
    leaf_request,
    load_csr,
    load_key,
    make_csr,
    new_key,
    public_bytes,
    validity,
)

with contextlib.suppress(ImportError):
    from cryptography import x509


DUE = "the certificate is due"
# Issuers backdate both certificates, so a clock was ahead when an early one was made.
EARLY = "is not valid yet"


class StagingError(Exception):
    """An operation on a staged pair failed. The files that chronyd uses have not changed."""


class StagedPair(NamedTuple):
    """The settings of a pair that its staging folder depends on; lifetimes are in days.

    requests is 'issuing' or 'leaf', the kind of the CSR; it is empty where another program makes the pair. chain is the
    file of the requested certificate and of those between it and the root. root is the certificate of the CA that signs
    it, in PEM; empty where it is unknown. label is the controller's name of the pair.
    """

    id: str
    names: Sequence[str]
    label: str
    key_type: str
    staging: str
    requests: str
    chain: str
    signs_itself: bool = False
    new_key: bool = False
    lifetime_days: float = 90.0
    issuing_ca_lifetime_days: float = 1825.0
    # A certificate is due when this fraction of its lifetime is left.
    renew_fraction: float = 1 / 3
    root: str = ""

    @property
    def request(self) -> Request:
        """Return the content of the CSR, with which the controller compares the one that it receives."""
        if self.requests == "issuing":
            return issuing_request(self.names, self.label)
        return leaf_request(self.names, self.key_type)

    def path(self, name: str) -> str:
        """Return the path of a file in the staging folder."""
        return os.path.join(self.staging, name)


def staged_pair(planned: Mapping[str, Any], given: Mapping[str, Any]) -> StagedPair:
    """Return a pair of the plan, with the parameters that all pairs of a server share."""
    return StagedPair(
        id=planned["id"],
        names=planned["names"],
        label=planned["label"],
        key_type=planned["key_type"],
        staging=planned["staging"],
        requests=planned["requests"],
        chain=planned["chain"],
        signs_itself=planned["signs_itself"],
        new_key=planned["new_key"],
        lifetime_days=planned["lifetime_days"],
        issuing_ca_lifetime_days=given["issuing_ca_lifetime_days"],
        renew_fraction=given["renew_percent"] / 100,
        root=given["root"] if planned["requests"] == "issuing" and not planned["signs_itself"] else "",
    )


class Prepared(NamedTuple):
    """The result of prepare(): the reasons for a new certificate, the CSR, the current chain, and the changes."""

    reasons: List[str]
    csr: str
    chain: str
    changes: List[str]


def prepare(pair: StagedPair, check_mode: bool = False) -> Prepared:
    """Make the CSR of a pair, and a new certificate where the server signs itself; raise StagingError.

    Check mode writes nothing: the result lacks the files that a run would make and those that it would replace.
    """
    if not HAS_CRYPTOGRAPHY:
        if check_mode:
            return Prepared(["no key or CSR exists yet"], "", "", [f"{pair.staging} would be filled"])
        raise StagingError(
            f"Python's cryptography must be installed on this host: it makes the key and the CSR of {pair.id}."
        )
    reasons = why_new(pair)
    changes = [f"{pair.staging}: {reason}" for reason in reasons] + _leaf_changes(pair, reasons)
    if check_mode:
        csr = "" if reasons else _text(pair.path(f"{pair.requests}.csr"))
        return Prepared(reasons, csr, "" if reasons and pair.signs_itself else _text(pair.chain), changes)
    make_folders(pair)
    if reasons or (pair.new_key and pair.requests == "leaf"):
        _make_next(pair)
    if reasons and pair.signs_itself:
        deliver(pair, self_sign(pair.request, _text(pair.path("next.key")), pair.issuing_ca_lifetime_days))
        reasons = []
    if not reasons:
        _make_leaf(pair)
    csr = _text(pair.path("next.csr")) or _text(pair.path(f"{pair.requests}.csr"))
    return Prepared(reasons, csr, _text(pair.chain), changes)


def deliver(pair: StagedPair, chain: str, check_mode: bool = False) -> List[str]:
    """Store a signed chain together with its key; return the changes.

    Raise StagingError where the chain is unreadable or this host does not have its key.
    """
    chain = chain.rstrip("\n") + "\n"
    if _text(pair.chain) == chain:
        return []
    changes = [f"{pair.chain}: a new certificate was signed"]
    if check_mode:
        return changes
    try:
        first, *_above_it = certificates(chain)
        signed = public_bytes(first.public_key())
    except UNREADABLE as error:
        raise StagingError(f"The signed chain of {pair.id} is unreadable: {error}.") from None
    if signed == _public(pair.path("next.key")):
        for end in (".key", ".csr"):
            os.replace(pair.path(f"next{end}"), pair.path(f"{pair.requests}{end}"))
    elif signed != _public(pair.path(f"{pair.requests}.key")):
        raise StagingError(f"The signed chain of {pair.id} is for another key than those of this host.")
    _put(pair.chain, chain, 0o644)
    for name in ("next.key", "next.csr"):
        remove(pair.path(name))
    if pair.new_key and pair.requests == "leaf":
        _make_next(pair)
    _make_leaf(pair)
    return changes


def why_new(pair: StagedPair) -> List[str]:
    """Return why the pair needs a new certificate from its CA; empty where it needs none."""
    chain = _certificates(pair.chain)
    if not chain:
        return ["there is no certificate"]
    csr = _text(pair.path(f"{pair.requests}.csr"))
    own = public_bytes(chain[0].public_key())
    if own != _public(pair.path(f"{pair.requests}.key")):
        return ["the certificate is for another key"]
    if check_csr(csr, pair.request).problems or public_bytes(load_csr(csr).public_key()) != own:
        return ["the certificate was signed for another request"]
    if pair.root and not is_issued_by(chain[-1], certificates(pair.root)[0]):
        return ["another root CA has signed the certificate"]
    if pair.requests == "issuing" and _is_early(chain[0]):
        return [f"the certificate {EARLY}"]
    return [DUE] if _is_due(chain[0], pair.renew_fraction) else []


def why_new_leaf(pair: StagedPair) -> List[str]:
    """Return why the issuing CA of a pair must sign a new server certificate; empty where it need not."""
    found = _certificates(pair.path("leaf.pem"))
    issuing = _certificates(pair.chain)
    if not found or not issuing:
        return ["there is no certificate of the server"]
    leaf = found[0]
    if public_bytes(leaf.public_key()) != _public(pair.path("leaf.key")):
        return ["the server's certificate is for another key"]
    identifiers = [
        (leaf.extensions.get_extension_for_class(kind).value, False)
        for kind in (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
    ]
    if differences(leaf, leaf_request(pair.names, pair.key_type), identifiers):
        return ["the server's certificate is for other names, or of another type of key"]
    if not is_issued_by(leaf, issuing[0]):
        return ["another CA has issued the server's certificate"]
    if _is_early(leaf):
        return [f"the server's certificate {EARLY}"]
    return ["the server's certificate is due"] if _is_due(leaf, pair.renew_fraction) else []


def make_folders(pair: StagedPair) -> None:
    """Make the staging folder, which root alone can read, and its parents, independent of the umask."""
    private = os.path.dirname(os.path.dirname(pair.staging))
    for path in reversed([pair.staging, *_above(pair.staging)]):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700 if path.startswith(private) else 0o755)


def _above(path: str) -> List[str]:
    parent = os.path.dirname(path)
    return [] if parent in (path, "") else [parent, *_above(parent)]


def _leaf_changes(pair: StagedPair, reasons: List[str]) -> List[str]:
    if pair.requests != "issuing":
        return []
    return [f"{pair.staging}: {reason}" for reason in (reasons or _leaf_reasons(pair))]


def _leaf_reasons(pair: StagedPair) -> List[str]:
    """Return why_new_leaf(), also for an unreadable certificate."""
    try:
        return why_new_leaf(pair)
    except UNREADABLE:
        return ["the server's certificate cannot be read"]


def _make_next(pair: StagedPair) -> None:
    """Make next.key and next.csr, unless valid ones exist."""
    request = pair.request
    key, csr = _text(pair.path("next.key")), _text(pair.path("next.csr"))
    if not check_csr(csr, request).problems and public_bytes(load_csr(csr).public_key()) == _public(
        pair.path("next.key")
    ):
        return
    current = _text(pair.path(f"{pair.requests}.key"))
    reuses_key = pair.requests == "leaf" and not pair.new_key and _type_of(current) == request.key_type
    key = current if reuses_key else new_key(request.key_type)
    _put(pair.path("next.key"), key, 0o600)
    _put(pair.path("next.csr"), make_csr(request, key), 0o600)


def _make_leaf(pair: StagedPair) -> None:
    """Issue a new server certificate from the issuing CA, where why_new_leaf() has a reason."""
    reasons = _leaf_reasons(pair) if pair.requests == "issuing" else []
    if not reasons:
        return
    key = _text(pair.path("leaf.key"))
    if pair.new_key or _type_of(key) != pair.key_type:
        key = new_key(pair.key_type)
    request = leaf_request(pair.names, pair.key_type)
    try:
        leaf = issue_leaf(request, key, _text(pair.chain), _text(pair.path("issuing.key")), pair.lifetime_days)
    except UNREADABLE as error:
        raise StagingError(f"The issuing CA of {pair.id} cannot sign: {error}.") from None
    _put(pair.path("leaf.key"), key, 0o600)
    _put(pair.path("leaf.pem"), leaf, 0o644)


def _is_early(certificate: Any) -> bool:
    return bool(validity(certificate)[0] > time.time())


def _is_due(certificate: Any, fraction: float) -> bool:
    begins, ends = validity(certificate)
    return ends - time.time() <= (ends - begins) * fraction


def _type_of(key_pem: str) -> str:
    try:
        return key_type_of(load_key(key_pem).public_key())
    except UNREADABLE:
        return ""


def _public(path: str) -> Optional[bytes]:
    """Return the public key of the private key in a file; None where it holds no readable key."""
    try:
        return public_bytes(load_key(_text(path)).public_key())
    except UNREADABLE:
        return None


def _certificates(path: str) -> List[Any]:
    """Return the certificates in a file; empty for an unreadable file, such as one that a power cut emptied."""
    try:
        return certificates(_text(path))
    except UNREADABLE:
        return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _put(path: str, content: str, mode: int) -> None:
    write(path + NEW, content.encode(), mode, 0, 0)
    os.replace(path + NEW, path)
    sync(path)
