# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Check CSRs and chains from a server: the controller decides what it signs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.securetime.nts.plugins.module_utils._pair.staging import DUE, StagedPair, staged_pair
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import (
    HAS_CRYPTOGRAPHY,
    UNREADABLE,
    certificates,
    check_csr,
    check_self_signed,
    pem_of,
)
from ansible_collections.securetime.nts.plugins.plugin_utils import _roots

__all__ = [
    "HAS_CRYPTOGRAPHY",
    "checked",
    "label",
    "label_problems",
    "labelled",
    "left_over",
    "left_over_if_known",
    "message",
]

Row = dict[str, Any]

MAIN = "server"
# A chain of four certificates with RSA 4096 keys has about 10,000 characters.
LONGEST_CHAIN = 65536


def label(host: str, pair_id: str) -> str:
    """Return the controller's name of a pair, for its files and for the subject of an issuing CA.

    No host name has a plus sign, so the label is unique in an inventory.
    """
    return host if pair_id == MAIN else f"{host}+{pair_id}"


def label_problems(host: str) -> list[str]:
    """Return why the inventory's name of a host cannot be part of a file name."""
    if "/" in host or host.startswith("."):
        return [f"The inventory name '{host}' cannot be part of a file name in chrony_nts_ca_dir: rename the host."]
    return []


def left_over(ca_dir: str, hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the files of issuing CAs that clients trust, but that no self-signing host of the inventory uses.

    hosts are the variables of each host of the inventory, without the defaults of the role.
    """
    paths = _roots.server_cas(ca_dir)
    known = {name for host, variables in hosts.items() for name in _own_labels(host, variables)} if paths else set()
    return [path for path in paths if Path(path).stem not in known]


def left_over_if_known(ca_dir: str, hosts: Mapping[str, Mapping[str, Any]], failure: type[Exception]) -> list[str]:
    """Return left_over(), or nothing where the variables of a host raise failure or have a wrong type.

    That host's own tasks report its mistake.
    """
    try:
        return left_over(ca_dir, hosts)
    except (failure, AttributeError, KeyError, TypeError):
        return []


def _own_labels(host: str, variables: Mapping[str, Any]) -> Iterator[str]:
    provider = variables.get("chrony_nts_certificate_provider")
    pairs = [{"id": MAIN}, *(variables.get("chrony_nts_more_certificates") or [])]
    yield from (label(host, pair["id"]) for pair in pairs if pair.get("provider", provider) == "selfsigned")


def labelled(pairs: Sequence[Mapping[str, Any]], host: str) -> list[Row]:
    """Return the pairs of a host that need a signature, with their labels."""
    return [{**pair, "label": label(host, pair["id"])} for pair in pairs if pair["requests"]]


def checked(
    pairs: Sequence[Mapping[str, Any]], given: Mapping[str, Any], answers: object
) -> tuple[list[Row], list[str]]:
    """Compare the answers of a host with its pairs; return the accepted rows, and a sentence for each mistake.

    A row has only values that this function has parsed and encoded again.
    """
    by_id = {row.get("id"): row for row in answers if isinstance(row, Mapping)} if isinstance(answers, list) else {}
    rows, problems = [], []
    for planned in pairs:
        pair = staged_pair(planned, given)
        answer = by_id.get(pair.id)
        if answer is None:
            problems.append(f"It sent nothing for the pair '{pair.id}'.")
            continue
        row, found = _checked(pair, answer)
        rows.append(row)
        problems += found
    return rows, problems


def _checked(pair: StagedPair, answer: Mapping[str, Any]) -> tuple[Row, list[str]]:
    csr, chain = str(answer.get("csr") or ""), str(answer.get("chain") or "")
    reasons = answer.get("reasons")
    row: Row = {
        "id": pair.id,
        "label": pair.label,
        "needed": bool(reasons),
        # chronyd serves this certificate until a new one is signed.
        "usable": reasons in ([], [DUE]),
        "csr": "",
        "chain": "",
    }
    problems = []
    if csr and not pair.signs_itself:
        found = check_csr(csr, pair.request)
        row["csr"] = found.pem
        problems += [f"CSR of the pair '{pair.id}': {problem}" for problem in found.problems]
    if chain and pair.signs_itself:
        found = check_self_signed(chain, pair.request, pair.issuing_ca_lifetime_days)
        row["chain"] = found.pem
        problems += [f"Issuing CA of the pair '{pair.id}': {problem}" for problem in found.problems]
    elif len(chain) <= LONGEST_CHAIN:
        # The controller compares and prints this chain, but never trusts it. An unreadable chain counts as none.
        row["chain"] = _rewritten(chain)
    return row, problems


def _rewritten(chain: str) -> str:
    try:
        return "".join(map(pem_of, certificates(chain)))
    except UNREADABLE:
        return ""


def message(host: str, problems: Sequence[str]) -> str:
    """Return the error message for a host for which the controller signs nothing."""
    return (
        f"{host} did not send what this controller would have asked for. Nothing was signed, stored or sent."
        f" {' '.join(problems)} The collection makes no such request, so find out who changed {host}. If it was you,"
        " delete the folder /etc/chrony/nts/staging on it and run this again."
    )
