# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Define and check the pairs of certificate and key of one NTS server."""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import PurePath
from typing import Any

from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import plain_name

Pair = dict[str, Any]

MAIN = "server"
# Prefixes of other files in the same folder, which the id of a pair must not have.
TAKEN = ("certificate", "staging", "trusted")
RENEW = ["certbot", "renew", "--non-interactive", "--force-renewal", "--no-random-sleep-on-renew", "--cert-name"]
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def pairs(main: Pair, folder: str, more: list[Pair], made_in: str = "") -> list[Pair]:
    """Return every pair with the values that follow from its provider and its names.

    Pairs in more inherit missing values from main, but not its content, keys and paths: each pair is unique. chronyd
    reads the pairs from folder. Their staging folders are below made_in.
    """
    common = {**main, "content": "", "key_content": "", "host_path": "", "key_host_path": ""}
    every = [{**main, "id": MAIN}, *({**common, **pair} for pair in more)]
    return [_complete_pair(pair, folder, made_in or folder) for pair in every]


def _complete_pair(pair: Pair, folder: str, made_in: str) -> Pair:
    """Return a pair of the variables with the keys that the role derives: paths, names, and who makes it."""
    # Long: one line for each key of a pair, in its only definition.
    # Provider and ACME directory are in the paths, so that one CA's certificate never counts as another's.
    staging = f"{made_in}/staging/{pair['id']}/{pair['provider']}"
    directory = hashlib.sha256(pair["acme_directory"].encode()).hexdigest()[:8]
    alone = f"{folder}/{pair['id']}"
    lineage = f"/etc/letsencrypt/live/securetime-nts-{pair['id']}"
    by_certbot = pair["provider"] == "acme" and pair["acme_client"] == "certbot"
    issues = pair["provider"] in ("ownca", "selfsigned")
    kept_by_others = pair["provider"] == "host_path"
    signed_elsewhere = pair["provider"] == "files" and not pair["content"]
    signed = f"{staging}/issuing.pem" if issues else f"{staging}/chain-{directory}.pem"
    every = [plain_name(str(name)) for name in pair["names"]]
    addresses = [address for address in map(_address, every) if address]
    names = [name for name in every if not _address(name)]
    return {
        **pair,
        "names": every,
        "certificate": f"{alone}.pem",
        "key": f"{alone}.key",
        "staging": staging,
        "lineage": lineage,
        "issues": issues,
        "by_certbot": by_certbot,
        "not_for_certbot": by_certbot and (addresses != [] or pair["key_type"] == "Ed25519"),
        # nts-certificate runs this command only if certbot's own timer has not renewed the certificate.
        "command": [*RENEW, PurePath(lineage).name] if by_certbot else [],
        # The CSR that another CA signs: that of the issuing CA, or that of the server's leaf.
        "requests": "issuing"
        if issues
        else "leaf"
        if signed_elsewhere or (pair["provider"] == "acme" and not by_certbot)
        else "",
        "chain": signed,
        "signs_itself": pair["provider"] == "selfsigned",
        "half": pair["provider"] == "files" and bool(pair["content"]) != bool(pair["key_content"]),
        # Another program on the host makes and keeps the pair.
        "kept_by_others": kept_by_others,
        "staged_certificate": [f"{lineage}/fullchain.pem"]
        if by_certbot
        else [pair["host_path"]]
        if kept_by_others
        else [*([f"{staging}/leaf.pem"] if issues else []), signed],
        "staged_key": f"{lineage}/privkey.pem"
        if by_certbot
        else pair["key_host_path"]
        if kept_by_others
        else f"{staging}/leaf.key",
        "alt_names": [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses],
    }


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def files(found: list[Pair], group: str) -> dict[str, Any]:
    """Return the parameters of chrony_config for these pairs: files, secrets and serves."""
    named = [pair for pair in found if pair["provider"] == "files" and pair["content"]]
    entries: list[Pair] = []
    for pair in found:
        given = pair in named
        entries += [
            {"path": pair["key"], "group": group, "mode": "0640", "from": [] if given else [pair["staged_key"]]},
            {"path": pair["certificate"], "content": pair["content"]}
            if given
            else {"path": pair["certificate"], "from": pair["staged_certificate"]},
        ]
    return {
        "files": entries,
        "secrets": {pair["key"]: pair["key_content"].rstrip() + "\n" for pair in named},
        "serves": [{"certificate": pair["certificate"], "names": pair["names"]} for pair in found],
    }


def problems(found: list[Pair]) -> list[str]:
    """Return a sentence for each mistake in the result of pairs()."""
    ids = [pair["id"] for pair in found]
    names = [name for pair in found for name in pair["names"]]
    told = []
    for pair in found[1:]:
        told += _own_problems(pair)
    if len(set(ids)) < len(ids):
        told.append(
            "Two entries of chrony_nts_more_certificates have the same id, or one is called 'server', as the first pair"
            " is. Give each an id of its own."
        )
    if len(set(names)) < len(names):
        told.append(
            "Two certificates of this server are for the same name, and a client that asks for it could be sent either."
            " Name each once in chrony_nts_server_names and in the names of chrony_nts_more_certificates."
        )
    return told


def _own_problems(pair: Pair) -> list[str]:
    told = []
    if not ID.fullmatch(pair["id"]) or pair["id"].startswith(TAKEN):
        told.append(
            f"The id '{pair['id']}' in chrony_nts_more_certificates must be of lower case letters, digits and hyphens,"
            f" and begin with none of {', '.join(TAKEN)}."
        )
    if not pair["names"] or _address(pair["names"][0]):
        told.append(
            f"The first of the names of '{pair['id']}' in chrony_nts_more_certificates must be a host name: a client"
            " that asks for an address does not say which (RFC 6066, section 3), and is sent the first pair."
        )
    return told
