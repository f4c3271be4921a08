# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pairs of a server, from the operator's variables to the files of the transaction."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils import _pairs

MAIN = {
    "names": ["nts.example.org", "192.0.2.1", "2001:DB8::1"],
    "provider": "ownca",
    "acme_client": "certbot",
    "acme_directory": "https://acme.example.org/directory",
    "key_type": "ECDSA P-256",
    "lifetime_days": 90,
    "new_key": False,
    "content": "",
    "key_content": "",
    "host_path": "",
    "key_host_path": "",
}


# Named after the digest of the ACME directory.
CHAIN = "chain-36ddbdbd.pem"


def pairs(*more, **main):
    return _pairs.pairs({**MAIN, **main}, "/etc/chrony/nts", list(more))


@pytest.mark.parametrize(
    ("main", "requests", "chain"),
    [
        ({}, "issuing", "issuing.pem"),
        ({"provider": "selfsigned"}, "issuing", "issuing.pem"),
        ({"provider": "files"}, "leaf", CHAIN),
        ({"provider": "acme", "acme_client": "controller"}, "leaf", CHAIN),
        ({"provider": "acme"}, "", CHAIN),
        ({"provider": "files", "content": "C"}, "", CHAIN),
    ],
)
def test_what_somebody_else_signs_follows_from_the_provider(main, requests, chain):
    (pair,) = pairs(**main)
    assert (pair["requests"], PurePath(pair["chain"]).name) == (requests, chain)


def test_a_pair_that_another_program_keeps_is_taken_from_its_place():
    given = {"provider": "host_path", "host_path": "/etc/pki/nts.pem", "key_host_path": "/etc/pki/nts.key"}
    pair, other = pairs({"id": "a", "names": ["a"], "provider": "ownca"}, **given)
    assert (pair["requests"], pair["staged_certificate"], pair["staged_key"]) == (
        "",
        ["/etc/pki/nts.pem"],
        "/etc/pki/nts.key",
    )
    assert pair["certificate"] == "/etc/chrony/nts/server.pem"
    assert not other["kept_by_others"]


def test_names_and_addresses_become_alternative_names():
    assert pairs()[0]["alt_names"] == ["DNS:nts.example.org", "IP:192.0.2.1", "IP:2001:db8::1"]


def test_names_have_one_spelling_everywhere():
    (pair,) = pairs(names=["NTS1.Example.ORG", "2001:DB8:0:0::1", "192.0.2.1"])
    assert pair["names"] == ["nts1.example.org", "2001:db8::1", "192.0.2.1"]
    assert pair["alt_names"] == ["DNS:nts1.example.org", "IP:2001:db8::1", "IP:192.0.2.1"]


def test_what_a_further_pair_does_not_say_is_as_for_the_first():
    _first, second = pairs({"id": "public", "names": ["time.example.org"], "provider": "acme"}, key_type="RSA 2048")
    assert (second["provider"], second["key_type"]) == ("acme", "RSA 2048")
    assert second["certificate"] == "/etc/chrony/nts/public.pem"
    assert second["staged_key"] == "/etc/letsencrypt/live/securetime-nts-public/privkey.pem"
    assert second["command"][-1] == "securetime-nts-public"


def test_the_content_of_a_pair_is_its_own():
    _first, second = pairs({"id": "a", "names": ["a"]}, provider="files", content="C", key_content="K")
    assert (second["requests"], second["content"], second["key_content"]) == ("leaf", "", "")


def test_a_key_of_the_operator_is_a_secret_and_one_of_the_server_never_leaves_it():
    found = pairs({"id": "own", "names": ["own.example.org"], "provider": "files", "content": "C", "key_content": "K"})
    done = _pairs.files(found, "_chrony")
    assert done["secrets"] == {"/etc/chrony/nts/own.key": "K\n"}
    assert [file.get("from") for file in done["files"]] == [
        ["/etc/chrony/nts/staging/server/ownca/leaf.key"],
        ["/etc/chrony/nts/staging/server/ownca/leaf.pem", "/etc/chrony/nts/staging/server/ownca/issuing.pem"],
        [],
        None,
    ]
    assert {file["mode"] for file in done["files"] if file["path"].endswith(".key")} == {"0640"}
    assert done["serves"][1] == {"certificate": "/etc/chrony/nts/own.pem", "names": ["own.example.org"]}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([{"id": "server", "names": ["a"]}], "same id"),
        ([{"id": "a", "names": ["a"]}, {"id": "a", "names": ["b"]}], "same id"),
        ([{"id": "a", "names": ["NTS.example.org"]}], "for the same name"),
        ([{"id": "a", "names": ["a", "2001:db8:0:0::1"]}], "for the same name"),
        ([{"id": "A b", "names": ["a"]}], "lower case"),
        ([{"id": "trusted-2", "names": ["a"]}], "none of certificate, staging, trusted"),
        ([{"id": "a", "names": ["192.0.2.2", "a"]}], "must be a host name"),
        ([{"id": "a", "names": []}], "must be a host name"),
    ],
)
def test_what_keeps_pairs_from_being_told_apart_is_said(more, told):
    (problem,) = _pairs.problems(pairs(*more))
    assert told in problem


def test_pairs_that_can_be_told_apart_have_no_problems():
    assert _pairs.problems(pairs({"id": "a", "names": ["a", "192.0.2.2"]})) == []


@pytest.mark.parametrize(
    ("pair", "half", "requests"),
    [
        ({"content": "C", "key_content": "K"}, False, ""),
        ({"content": "C"}, True, ""),
        ({"key_content": "K"}, True, "leaf"),
        ({}, False, "leaf"),
    ],
)
def test_half_a_pair_is_none(pair, half, requests):
    found = pairs(provider="files", **pair)[0]
    assert (found["half"], found["requests"]) == (half, requests)


@pytest.mark.parametrize(
    ("pair", "refused"),
    [
        ({"names": ["nts"]}, False),
        ({"names": ["192.0.2.1"]}, True),
        ({"names": ["nts"], "key_type": "Ed25519"}, True),
        ({"names": ["192.0.2.1"], "acme_client": "controller"}, False),
        ({"names": ["192.0.2.1"], "provider": "ownca"}, False),
    ],
)
def test_what_certbot_cannot_ask_for_is_known(pair, refused):
    assert pairs(**{"provider": "acme", **pair})[0]["not_for_certbot"] is refused
