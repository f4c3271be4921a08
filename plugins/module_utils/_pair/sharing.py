# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Report and replace the shared cookie keys of an NTS server.

The replacement is a transaction: `chronyc rekey` makes chronyd read the file, without a restart. Then the host requests
a cookie, which begins with the ID of the key that encrypted it. If that is not the new key, the old file is restored.
"""

import os
import stat
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import effective_directives
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    FileSpec,
    System,
    TransactionError,
    group_name,
    read,
    user_name,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import KEYS, Options
from ansible_collections.securetime.nts.plugins.module_utils._change.transaction import apply
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import (
    FILE,
    CookieKeys,
    CookieKeysError,
    read_keys,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import Server, probe_chronyd, server_of
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import CERTIFICATE, describe, pem_to_der

Row = Dict[str, Any]

# Four keys take less than 400 bytes in each of chrony's formats.
LONGEST_FILE_BYTES = 4096
MODE = 0o600
SITE = "Run the playbook securetime.nts.site for this host."


class KeyLocation(NamedTuple):
    """The path of chronyd's key file and of the certificate for probes; problem says why chronyd reads no keys."""

    path: str = ""
    certificate: str = ""
    problem: str = ""


def find_key_location(host: System, config_file: str, service: str) -> KeyLocation:
    """Return the path from which chronyd on this host reads keys that it does not manage itself."""
    return key_location(
        effective_directives(host, config_file), Unit(host, service).show().get("ActiveState") == "active"
    )


def key_location(directives: Mapping[str, List[List[str]]], is_active: bool) -> KeyLocation:
    """Return the same path, from the directives of a configuration; is_active says whether chronyd runs."""
    folders = directives.get("ntsdumpdir", []) + directives.get("ntscachedir", [])
    rotations, certificates = directives.get("ntsrotate", []), directives.get("ntsservercert", [])
    if not certificates or not certificates[0]:
        return KeyLocation(problem=f"chronyd serves no NTS: chrony.conf has no ntsservercert. {SITE}")
    if not folders or not folders[-1]:
        return KeyLocation(problem=f"chrony.conf has no ntsdumpdir, so chronyd reads no keys. {SITE}")
    if not rotations or rotations[-1] != ["0"]:
        return KeyLocation(problem=f"chrony.conf has no `ntsrotate 0`, so chronyd makes its own keys. {SITE}")
    if not is_active:
        return KeyLocation(problem=f"chronyd does not run. {SITE}")
    return KeyLocation(os.path.join(folders[-1][0], FILE), certificates[0][0])


def keys_in(path: str) -> Optional[CookieKeys]:
    """Return the shared keys in a file; None where it has none.

    chronyd's user owns the folder and could replace the file, so do not follow a link and do not wait for a FIFO.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        content = os.read(handle, LONGEST_FILE_BYTES)
    finally:
        os.close(handle)
    try:
        return read_keys(content.decode("ascii", "replace"))
    except CookieKeysError:
        return None


def report(location: KeyLocation, server: Optional[Server], salt: str, now: float) -> Row:
    """Return the name, the age and the tags of the keys for the controller's decision, but no key.

    A server agrees on the AEAD that the client prefers among its own. A key exchange shows which one that is.
    """
    found = keys_in(location.path) if location.path else None
    problem, aead = location.problem, None
    if server is not None and not problem:
        certificates = certificate_text(location.certificate)
        row = _probe(server._replace(last_stage="ke"), certificates)
        if not row["ok"]:
            # Python's TLS library can refuse what chronyd's accepts, so repeat the probe with GnuTLS.
            row = _probe(server, certificates)
        problem = "" if row["ok"] else _format_probe_error("chronyd serves no NTS", row)
        aead = row["ke"]["aead"] if row["ke"] else None
    return {
        "problem": problem,
        "aead": aead,
        "name": found.name if found else "",
        "age_seconds": int(now) - found.since if found else 0,
        "tags": found.tags(salt) if found else [],
    }


def replace_keys(host: System, location: KeyLocation, keys: CookieKeys, options: Options) -> Row:
    """Replace chronyd's keys and return the result of the transaction, or roll back and raise TransactionError."""
    _assert_replaceable(location.path)
    # Give the file to the folder's owner: once the host leaves the set, chronyd must be able to write it.
    folder = os.stat(os.path.dirname(location.path))
    owner, group = user_name(folder.st_uid), group_name(folder.st_gid)
    wanted = FileSpec(location.path, keys.text(), owner, group, MODE, KEYS)

    def verify() -> List[str]:
        server = server_of(host, options.config_file, options.service)
        return assert_used(server, certificate_text(location.certificate), keys)

    # Store no original: stored keys could be stolen.
    return apply(host, [wanted], options._replace(originals=False, verify=verify))


def _assert_replaceable(path: str) -> None:
    """Raise TransactionError where chronyd's user has replaced the file by something else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise TransactionError(f"{path} is no regular file, so nothing was changed. Remove it.")
    if status.st_size > LONGEST_FILE_BYTES:
        raise TransactionError(
            f"{path} has {status.st_size} bytes, which are no keys of chronyd, so nothing was changed. Remove it."
        )


def certificate_text(path: str) -> str:
    """Return the content of a certificate file; raise TransactionError where it holds no certificate."""
    found = read(path)
    if found is None or not CERTIFICATE.findall(found.content.decode("utf-8", "replace")):
        raise TransactionError(f"{path}, which chrony.conf names, has no certificate")
    return found.content.decode("utf-8", "replace")


def assert_used(server: Server, certificates: str, keys: CookieKeys) -> List[str]:
    """Raise TransactionError unless chronyd issues cookies of the current key and accepts them.

    Return notes, in sentences, about what the operator's own directives kept from a proof.
    """
    row = _probe(server, certificates)
    if not row["ok"]:
        raise TransactionError(_format_probe_error("chronyd serves no NTS with the new keys", row))
    if row["ke"] and row["ke"]["cookie_key"] != keys.current_id:
        raise TransactionError(
            "chronyd did not take the new keys: its cookies are of another one. See whether its user can read ntskeys"
            " in ntsdumpdir, and that a drop-in of chrony.conf does not name another ntsdumpdir"
        )
    return list(row["notes"])


def _probe(server: Server, certificates: str) -> Row:
    leaf = describe(pem_to_der(CERTIFICATE.findall(certificates)[0]))
    names = [name.partition(":")[2] for name in leaf["subject_alt_names"]]
    return probe_chronyd(server, names[0] if names else "localhost", certificates)


def _format_probe_error(what: str, row: Row) -> str:
    return f"{what} ({row['error']['cause']}; {row['error']['remedy']})"
