# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The certificates and trust anchors of the running chronyd, and a probe of its NTS server.

The collector imports this module only when a check is due, because it loads OpenSSL and GnuTLS.
"""

import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change.serving import read_serving
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import read_options
from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import PROBE_STAGES
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import (
    Server,
    certificate_of,
    is_another,
    own_addresses,
    probe_chronyd,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import SERVERSTATS, ChronycError, parse
from ansible_collections.securetime.nts.plugins.module_utils._state.host import read_file, run_together
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import (
    CERTIFICATE,
    DerError,
    describe,
    pem_to_der,
    seconds_left,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of

Row = Dict[str, Any]

# A larger file is a distribution's bundle, whose package replaces expiring certificates.
MOST_ANCHORS = 20
FINGERPRINT_DIGITS = 16
COMMAND_SECONDS = 5.0


def check(text: str, pid: int, chronyc: str, now: float) -> Row:
    """Return pairs and trust anchors in the directives of a running chronyd.

    connections is the number of the probe's own NTS-KE connections.
    """
    directives = words_of(text)
    made = []  # type: List[Row]
    server = Server(
        read_serving(text),
        own_addresses(),
        read_options(str(pid)),
        lambda: _dropped(chronyc),
        note_probe=made.append,
    )
    paths = [words[0] for words in directives.get("ntsservercert", []) if words]
    pairs = [_pair(path, name, server, now) for path, name in zip(paths, pair_ids(paths))]
    return {
        "pairs": pairs,
        "anchors": list(anchors([words[-1] for words in directives.get("ntstrustedcerts", []) if words])),
        "dump_dir": next((words[0] for words in directives.get("ntsdumpdir", []) if words), None),
        # chronyd counts each accepted connection, also if the key exchange fails.
        "connections": sum(row["stage"] not in ("dns", "tcp") for row in made),
    }


def pair_ids(paths: Sequence[str]) -> List[str]:
    """Return the name of each pair: its file name without the extension, or its path if two names are equal."""
    names = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    return [name if names.count(name) == 1 else path for name, path in zip(names, paths)]


def watched_files(text: str) -> List[str]:
    """Return the paths of the certificates in the directives."""
    directives = words_of(text)
    lines = [*directives.get("ntsservercert", []), *directives.get("ntstrustedcerts", [])]
    return [words[-1] for words in lines if words]


def anchors(paths: Sequence[str]) -> Iterator[Row]:
    """Yield each trust anchor of these files; read each file once."""
    for path in dict.fromkeys(paths):
        found = CERTIFICATE.findall(read_file(path))
        for described in _described(found) if len(found) <= MOST_ANCHORS else ():
            yield {
                "file": path,
                "subject": described["subject"],
                "fingerprint": described["fingerprint_sha256"][:FINGERPRINT_DIGITS],
                "not_before": _begin(described),
                "not_after": seconds_left(described, 0),
            }


def _pair(path: str, name: str, server: Server, now: float) -> Row:
    text = read_file(path)
    chain = list(_described(CERTIFICATE.findall(text)))
    pair = {
        "id": name,
        "path": path,
        "file": _dates(chain[0]) if chain else None,
        "chain_not_after": min((seconds_left(issuer, 0) for issuer in chain[1:]), default=None),
        "served": None,
        "matches": None,
        "stages": {},
        "probed": None,
        "problem": "",
        "notes": [],
    }  # type: Row
    if not chain:
        pair["problem"] = f"{path} holds no certificate that chronyd's user can read: correct the file or its rights"
        return pair
    row = probe_chronyd(server, name_of(chain[0]), text)
    served = certificate_of(row)
    if served:
        pair["served"], pair["matches"] = _dates(served), not is_another(row, chain[0])
    pair.update(probed=now, stages=stages(row, pair["matches"]), notes=row["notes"])
    pair["problem"] = _problem(row, chain[0], pair, now)
    return pair


def _described(certificates: Sequence[str]) -> Iterator[Row]:
    return filter(None, map(_describe, certificates))


def _describe(pem: str) -> Optional[Row]:
    try:
        return describe(pem_to_der(pem))
    except DerError:
        return None


def _dates(description: Row) -> Row:
    return {
        "serial": description["serial"],
        "not_before": _begin(description),
        "not_after": seconds_left(description, 0),
    }


def _begin(description: Row) -> float:
    return seconds_left(dict(description, not_after=description["not_before"]), 0)


def name_of(leaf: Row) -> str:
    """Return a name of a certificate for the probe; for a wildcard, a name that it matches."""
    names = [text.partition(":")[2] for text in leaf["subject_alt_names"]]
    name = (names or [leaf["subject"].rpartition("CN=")[2]])[0]
    return f"probe{name[1:]}" if name.startswith("*.") else name


def stages(row: Row, matches: Optional[bool]) -> Dict[str, Tuple[Optional[bool], Optional[float]]]:
    """Return for each stage whether the probe passed it (None: does not apply), and its duration in seconds."""
    if row.get("stages") is None:
        # The probe sent nothing: the directives allow no client, or not this host.
        return {} if row["ok"] else dict.fromkeys(PROBE_STAGES, (False, None))
    found = {}  # type: Dict[str, Tuple[Optional[bool], Optional[float]]]
    for stage in PROBE_STAGES:
        state, seconds = row["stages"][stage]["state"], row["stages"][stage]["duration_seconds"]
        passed = {"ok": True, "failed": False}.get(state)
        if state == "not_reached" and not row["ok"]:
            passed = False
        if row["ok"] and passed is False:
            # The operator's own rate limit kept chronyd from answering, which is no failure.
            passed = None
        if matches is False and passed is False:
            # chronyd serves another pair than that of the file. certificate_served_matches_file reports it.
            passed = None
        found[stage] = (passed, seconds)
    return found


def _problem(row: Row, leaf: Row, pair: Row, now: float) -> str:
    if pair["matches"] is False:
        return (
            f"chronyd serves another certificate ({pair['served']['serial']}) than {pair['path']} has"
            f" ({leaf['serial']}): restart chronyd"
        )
    if not row["ok"]:
        return f"chronyd serves no NTS: {row['error']['cause']}; {row['error']['remedy']}"
    if pair["file"]["not_after"] <= now:
        return f"the certificate has expired on {leaf['not_after']}: renew it, and restart chronyd"
    if pair["file"]["not_before"] > now:
        return f"the certificate is not valid before {leaf['not_before']}: correct this host's clock or the certificate"
    return ""


def _dropped(chronyc: str) -> Dict[str, int]:
    output = run_together({"serverstats": [chronyc, "-c", "-n", "serverstats"]}, COMMAND_SECONDS)["serverstats"]
    try:
        return dict(parse(SERVERSTATS, output).rows[0])
    except (ChronycError, IndexError):
        return {}
