# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as a document: its schema, totals, groups, edges, certificates, clients and changes."""

from __future__ import annotations

import copy
import csv
import io
import json
from typing import Any

import jsonschema
import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import (
    EarlierError,
    Member,
    document,
    read_earlier,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import STATES, row, without_facts
from ansible_collections.securetime.nts.plugins.plugin_utils._report.table import COLUMNS, table
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils._report.fleet import (
    HOSTILE,
    NOW,
    ROOT,
    captured,
    certificate,
    earlier,
    fleet,
    hostile,
)

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


def member(name: str, state: str = "healthy", is_server: bool = False, **facts: Any) -> Member:
    """Return a host in a captured state, with some of its facts replaced."""
    return Member(name, is_server, [name], row({**copy.deepcopy(captured(state)), **facts}))


def lines(report: Any) -> list[dict[str, str]]:
    """Return the rows of the CSV table as dictionaries by column."""
    return list(csv.DictReader(io.StringIO(table(report))))


@pytest.mark.parametrize("members", [[], list(fleet(60)), list(hostile())], ids=["no host", "every trouble", "hostile"])
def test_a_report_is_as_its_schema_says(members: list[Member]) -> None:
    report = document(members, NOW, earlier(document(list(fleet(9)), NOW)))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(report, allow_nan=False)), SCHEMA)


def test_the_schema_names_every_state_and_forbids_what_it_does_not_name() -> None:
    assert SCHEMA["$defs"]["state"]["enum"] == list(STATES)
    for place in (["hosts", 0], ["certificates", 0], ["follows", 0], ["hosts", 0, "sources", 0], ["totals"], []):
        report = json.loads(json.dumps(document(list(fleet(3)), NOW)))
        inner: Any = report
        for name in place:
            inner = inner[name]
        inner["more"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(report, SCHEMA)


def test_totals_count_every_host_once() -> None:
    members = [member("a"), member("b", "mixed_failed"), member("c", "stopped")]
    members += [Member("d", False, [], without_facts("unreachable", "No route to host"))]
    totals = document(members, NOW)["totals"]
    assert totals["hosts"] == sum(totals["states"].values()) == 4
    assert totals["states"]["unreachable"] == totals["states"]["not_running"] == 1
    assert totals["authenticated"] == totals["states"]["authenticated"] + totals["states"]["partial"]


def test_hosts_with_the_same_trouble_are_one_group_and_the_worst_is_first() -> None:
    members = [member(name, "ke_expired") for name in "abc"] + [member("d"), member("e", "stopped")]
    groups = document(members, NOW)["groups"]
    assert [(group["state"], group["hosts"]) for group in groups] == [
        ("not_running", ["e"]),
        ("failed", ["a", "b", "c"]),
    ]
    assert all(group["reasons"] and group["remedies"] for group in groups)


def test_hosts_whose_reasons_differ_in_a_measure_alone_are_one_group() -> None:
    first = "nts1: 192.0.2.1 came 12 s ago, port 4460."
    others = ["nts1: 192.0.2.2 came 12 s ago, port 4460.", "nts1: 192.0.2.1 came 12 s ago, port 4461."]
    members = [
        member(str(number), nts={"state": "failed", "reasons": [reason]})
        for number, reason in enumerate([first, first.replace("12", "7.5"), *others])
    ]
    groups = {tuple(group["hosts"]): group["reasons"] for group in document(members, NOW)["groups"]}
    assert groups == {
        ("0", "1"): ["nts1: 192.0.2.1 came … s ago, port 4460."],
        ("2",): [others[0]],
        ("3",): [others[1]],
    }


def test_an_authenticated_host_with_a_reason_is_in_a_group() -> None:
    verdict = {"state": "authenticated", "reasons": ["The clock is 3 s ahead."], "notes": []}
    (group,) = document([member("a", nts=verdict), member("b")], NOW)["groups"]
    assert (group["state"], group["reasons"], group["hosts"]) == ("authenticated", verdict["reasons"], ["a"])


@pytest.mark.parametrize("state", STATES[:-2])
def test_every_state_that_is_not_authenticated_has_a_remedy(state: str) -> None:
    report = document([Member("a", False, [], without_facts(state, "why"))], NOW)
    assert report["hosts"][0]["remedies"] != []


def test_an_unreachable_host_says_why() -> None:
    (host,) = document([Member("a", False, [], without_facts("unreachable", "No route to host"))], NOW)["hosts"]
    assert (host["state"], host["message"], host["certificates"]) == ("unreachable", "No route to host", None)


def test_an_edge_leads_to_the_host_that_the_operator_names_so() -> None:
    members = [member("client"), Member("server", True, ["NTS2.test"], without_facts("unreachable", ""))]
    edges = {edge["source"]: edge for edge in document(members, NOW)["follows"]}
    assert edges["nts2.test"] == {
        "host": "client",
        "source": "nts2.test",
        "mode": "server",
        "source_host": "server",
        "selected": True,
        "authenticated": True,
    }
    assert (edges["nts1.test"]["source_host"], edges["nts1.test"]["selected"]) == (None, False)


def test_an_edge_without_nts_is_not_authenticated() -> None:
    assert [edge["authenticated"] for edge in document([member("a", "plain")], NOW)["follows"]] == [False]


def test_a_name_of_two_hosts_is_the_name_of_none() -> None:
    both = [Member(name, True, ["nts2.test"], without_facts("unreachable", "")) for name in "ab"]
    assert {edge["source_host"] for edge in document([member("client"), *both], NOW)["follows"]} == {None}


def test_a_host_cannot_take_the_name_of_another_server() -> None:
    """Names come only from the operator, because a host can send a certificate for any name."""
    liar = member("liar", certificates=[certificate("nts2.test", 90)], is_server=True)
    assert {edge["source_host"] for edge in document([member("client"), liar], NOW)["follows"]} == {None}


def test_a_certificate_of_several_hosts_is_one_row_with_its_most_important_use() -> None:
    root, leaf = certificate("root", 3000, "trust"), certificate("nts1", 20)
    members = [
        member("a", certificates=[root]),
        member("b", certificates=[leaf, dict(root, use="issuer")]),
        member("c", certificates=[certificate("old", -3)]),
    ]
    found = document(members, NOW)["certificates"]
    assert [(row["subject"], row["use"], row["hosts"]) for row in found] == [
        ("CN=old", "server", ["c"]),
        ("CN=nts1", "server", ["b"]),
        ("CN=root", "issuer", ["a", "b"]),
    ]
    assert found[0]["days_left"] < 0 < found[1]["days_left"]


def served(*addresses: str) -> Member:
    """Return a server with clients without a key exchange."""
    clients = [{"address": address, "ntp_requests": 9, "nts_ke_connections": 0} for address in addresses]
    return member("nts1", is_server=True, serverstats={"ntp_received": 99}, clients=clients, sources=[])


def test_clients_without_a_key_exchange_are_named() -> None:
    found = document([served("192.0.2.7")], NOW)["clients_without_nts"]
    assert [(client["server"], client["address"], client["host"]) for client in found] == [("nts1", "192.0.2.7", None)]


def test_a_host_that_follows_authenticated_time_is_no_client_without_nts() -> None:
    """The host's cookies can be older than the server's counters."""
    address = captured("healthy")["sources"][0]["ntpdata"]["local_address"]
    assert document([served(address), member("web1")], NOW)["clients_without_nts"] == []
    (client,) = document([served(address), member("web1", nts={"state": "failed"})], NOW)["clients_without_nts"]
    assert client["host"] == "web1"


def test_changes_name_hosts_that_changed_came_or_went() -> None:
    before = document([member("a"), member("b"), member("gone")], NOW - 3600)
    after = document([member("a", "stopped"), member("b"), member("new")], NOW, json.loads(json.dumps(before)))
    changes = after["changes"]
    assert changes
    assert changes["since"] == before["generated"]
    assert (changes["authenticated_was"], changes["hosts_was"]) == (3, 3)
    assert changes["hosts"] == [
        {"host": "a", "was": "authenticated", "now": "not_running"},
        {"host": "gone", "was": "authenticated", "now": None},
        {"host": "new", "was": None, "now": "authenticated"},
    ]


def test_changes_name_renewed_certificates() -> None:
    old, new = certificate("nts1", 20), dict(certificate("nts1", 90), fingerprint_sha256="1" * 64)
    before = json.loads(json.dumps(document([member("nts1", certificates=[old])], NOW)))
    changes = document([member("nts1", certificates=[new])], NOW, before)["changes"]
    assert changes
    assert [text.split(",")[0] for text in changes["certificates"]] == ["CN=nts1 is new on nts1", "CN=nts1"]
    same = document([member("nts1", certificates=[old])], NOW, before)["changes"]
    assert same == {
        "since": before["generated"],
        "hosts": [],
        "authenticated_was": 1,
        "hosts_was": 1,
        "certificates": [],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[]", "is no report"),
        ('{"format": "securetime.nts report"}', "is no report"),
        ('{"format": "securetime.nts report", "hosts": [], "version": 2}', "has version 2 of the format, and not 1"),
        ('{"format": "securetime.nts report", "hosts": [], "version": 1, "generated": "<b>"}', "does not say when"),
    ],
)
def test_what_is_no_earlier_report_is_refused(content: str, message: str) -> None:
    with pytest.raises(EarlierError, match=message):
        read_earlier(content)


def test_an_earlier_report_that_was_edited_does_not_end_the_run() -> None:
    before = {
        "generated": "2026-11-27T08:00:00Z",
        "hosts": [
            7,
            {},
            {"name": 1, "state": []},
            {"name": "a", "state": "<b>"},
            {"name": "\u202ea", "state": "failed"},
        ],
        "certificates": [None, {"fingerprint_sha256": []}, {"fingerprint_sha256": "x", "use": "server", "subject": 7}],
    }
    changes = document([member("b")], NOW, before)["changes"]
    assert changes
    assert [change["host"] for change in changes["hosts"]] == ["\\u202ea", "b"]
    assert read_earlier(json.dumps(earlier(document([member("b")], NOW))))["version"] == 1


def test_the_table_has_a_line_for_each_host() -> None:
    report = document([member("a"), served(), Member("c", False, [], without_facts("unreachable", "gone"))], NOW)
    found = lines(report)
    assert [tuple(line) for line in found] == [COLUMNS] * 3
    assert (found[0]["host"], found[0]["state"], found[0]["follows"]) == ("a", "authenticated", "nts2.test")
    assert float(found[0]["error_bound_seconds"]) > 0
    assert found[1]["reasons"] == "gone"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", "\t=1", " =1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text: str) -> None:
    facts = copy.deepcopy(captured("mixed_failed"))
    facts["nts"]["reasons"] = [text]
    facts["daemon"]["version"] = text
    for line in lines(document([Member(text, False, [], row(facts))], NOW)):
        for name in ("host", "chrony", "reasons"):
            assert line[name].startswith("'"), (name, line[name])


def test_hostile_texts_stay_in_their_cell() -> None:
    found = lines(document(list(hostile()), NOW))
    assert len(found) == 2 * len(HOSTILE)
    assert {line["state"] for line in found} == {"failed", "unreachable"}
