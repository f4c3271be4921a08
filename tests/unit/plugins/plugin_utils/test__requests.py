# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the CSRs and chains that a server sends to the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509 import issue, request
from ansible_collections.securetime.nts.plugins.plugin_utils import _pairs, _requests

GIVEN = {"root": "", "issuing_ca_lifetime_days": 365.0, "renew_percent": 33.0}
MAIN = {
    "names": ["nts1.example.org"],
    "provider": "ownca",
    "acme_client": "controller",
    "acme_directory": "https://acme.example.org/directory",
    "key_type": "ECDSA P-256",
    "lifetime_days": 90,
    "new_key": False,
    "content": "",
    "key_content": "",
    "host_path": "",
    "key_host_path": "",
}


def pairs(*more: dict[str, Any], **main: Any) -> list[dict[str, Any]]:
    return _requests.labelled(_pairs.pairs({**MAIN, **main}, "/etc/chrony/nts", list(more)), "nts1")


def answer(pair_id: str = "server", **values: Any) -> dict[str, Any]:
    return {"id": pair_id, "reasons": ["there is no certificate"], "csr": "", "chain": "", **values}


def made(asked: request.Request) -> str:
    return request.make_csr(asked, request.new_key(asked.key_type))


ISSUING = request.issuing_request(["nts1.example.org"], "nts1")
LEAF = request.leaf_request(["nts1.example.org"], "ECDSA P-256")


@pytest.mark.parametrize(
    ("provider", "content", "asked"),
    [("ownca", "", ISSUING), ("files", "", LEAF), ("acme", "", LEAF)],
)
def test_the_csr_that_a_provider_is_given_is_the_one_of_the_variables(
    provider: str, content: str, asked: request.Request
) -> None:
    wanted = pairs(provider=provider, content=content)
    csr = made(asked)
    rows, problems = _requests.checked(wanted, GIVEN, [answer(csr=csr)])
    assert problems == []
    assert rows == [
        {"id": "server", "label": "nts1", "needed": True, "usable": False, "csr": csr, "chain": ""},
    ]
    # ACME and a company's CA sign the names in the CSR.
    other = made(asked._replace(names=["www.example.org"]))
    rows, problems = _requests.checked(wanted, GIVEN, [answer(csr=other)])
    assert "CSR of the pair 'server': Its extension" in problems[0]


@pytest.mark.parametrize(
    "main", [{"provider": "files", "content": "PEM"}, {"provider": "acme", "acme_client": "certbot"}]
)
def test_a_pair_of_others_is_asked_for_no_csr(main: dict[str, Any]) -> None:
    assert pairs(**main) == []


def test_each_pair_has_a_label_of_its_own() -> None:
    assert [pair["label"] for pair in pairs({"id": "public", "names": ["a.example.org"]})] == ["nts1", "nts1+public"]


@pytest.mark.parametrize("sent", [None, [], {"id": "server"}, [None], [answer("other")], "pairs"])
def test_a_server_that_sends_nothing_of_a_pair_is_refused(sent: Any) -> None:
    assert _requests.checked(pairs(), GIVEN, sent)[1] == ["It sent nothing for the pair 'server'."]


def test_the_ca_of_a_server_that_signs_itself_is_checked_and_is_one() -> None:
    key = request.new_key("ECDSA P-256")
    good = issue.self_sign(ISSUING, key, 365)
    wanted = pairs(provider="selfsigned")
    rows, problems = _requests.checked(wanted, GIVEN, [answer(csr="of no use", chain=f"# text\n{good}")])
    assert (rows[0]["chain"], rows[0]["csr"], problems) == (good, "", [])
    _rows, problems = _requests.checked(wanted, GIVEN, [answer(chain=good + good)])
    assert problems == ["Issuing CA of the pair 'server': It is not exactly one certificate."]


def test_a_chain_is_passed_on_as_certificates_and_nothing_else() -> None:
    good = issue.self_sign(ISSUING, request.new_key("ECDSA P-256"), 365)
    sent = [answer(reasons=[], csr=made(ISSUING), chain=f"{{{{ evil }}}}{good}\n-----BEGIN PRIVATE KEY-----")]
    (row,), _problems = _requests.checked(pairs(), GIVEN, sent)
    assert (row["chain"], row["needed"], row["usable"]) == (good, False, True)
    for broken in ("x" * 70000, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"):
        (row,), problems = _requests.checked(pairs(), GIVEN, [answer(csr=made(ISSUING), chain=broken)])
        assert (row["chain"], problems) == ("", [])


def test_the_message_names_the_host_and_what_to_do() -> None:
    said = _requests.message("nts1", ["It lacks the extension nameConstraints."])
    assert said.startswith("nts1 did not send")
    assert "delete the folder /etc/chrony/nts/staging" in said


def test_the_ca_of_a_server_that_is_gone_is_left_over(tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    assert _requests.left_over(str(tmp_path), {}) == []
    folder.mkdir()
    for name in ("nts1", "nts1+more", "nts2", "nts2+public", "gone", "nts3"):
        (folder / f"{name}.pem").write_text("PEM")
    hosts = {
        "nts1": {"chrony_nts_certificate_provider": "selfsigned", "chrony_nts_more_certificates": [{"id": "more"}]},
        "nts2": {"chrony_nts_more_certificates": [{"id": "public", "provider": "selfsigned"}]},
        "nts3": {"chrony_nts_certificate_provider": "acme"},
    }
    assert _requests.left_over(str(tmp_path), hosts) == [
        str(folder / f"{name}.pem") for name in ("gone", "nts2", "nts3")
    ]


@pytest.mark.parametrize("wrong", [[{"provider": "selfsigned"}], ["more"], 5])
def test_a_mistake_of_another_host_leaves_no_ca_over(tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "gone.pem").write_text("PEM")
    hosts = {"nts1": {"chrony_nts_more_certificates": []}, "nts2": {"chrony_nts_more_certificates": wrong}}
    assert _requests.left_over_if_known(str(tmp_path), hosts, ValueError) == []
    del hosts["nts2"]
    assert _requests.left_over_if_known(str(tmp_path), hosts, ValueError) == [str(tmp_path / "servers" / "gone.pem")]


@pytest.mark.parametrize(
    ("host", "wrong"), [("nts1", False), ("nts1.example.org", False), ("../x", True), ("a/b", True)]
)
def test_a_host_name_that_leads_out_of_the_folder_is_refused(host: str, wrong: bool) -> None:
    assert bool(_requests.label_problems(host)) is wrong
