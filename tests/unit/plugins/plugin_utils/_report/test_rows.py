# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's rows, from facts that a host can forge."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.securetime.nts.plugins.plugin_utils._report import rows
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import STATES, row, visible
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils._report.fleet import (
    CAPTURES,
    captured,
    certificate,
)

CAPTURED = sorted(path for path in CAPTURES.glob("*/*.json") if "-by-" not in path.parent.name)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the facts of a healthy client with one value replaced."""
    facts = copy.deepcopy(captured("healthy"))
    facts.update({"serverstats": {"ntp_received": 1}, "clients": [], "certificates": [certificate("nts1", 9)]})
    *parents, last = path.split(".")
    place: Any = facts
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[int(last) if last.isdigit() else last] = value
    return facts


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_report_says_of_a_captured_state_what_chronyc_facts_says(path: Any) -> None:
    facts = captured(path.stem, path.parent.name)
    kept = row(facts)
    assert kept["state"] == facts["nts"]["state"]
    assert kept["reasons"] == [" ".join(reason.split()) for reason in facts["nts"]["reasons"]]
    assert kept["notes"] == facts["nts"]["notes"]
    assert [source["nts"] for source in kept["sources"]] == [s["nts"]["state"] for s in facts["sources"] or []]
    assert [source["state"] for source in kept["sources"]] == [s["state"] for s in facts["sources"] or []]
    tracking = facts["tracking"]
    if tracking and tracking["synchronised"]:
        assert kept["offset_seconds"] == tracking["offset_seconds"]
        assert kept["error_bound_seconds"] == pytest.approx(tracking["error_bound_seconds"], abs=1e-9)


def test_a_clock_that_follows_itself_has_no_error_bound() -> None:
    facts = captured("local_reference")
    assert facts["tracking"]["offset_seconds"] is not None
    kept = row(facts)
    assert (kept["own_clock"], kept["offset_seconds"], kept["error_bound_seconds"]) == (True, None, None)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_no_facts_end_the_report(value: Any) -> None:
    json.dumps(row(value), allow_nan=False)


PATHS = [
    "nts", "nts.state", "nts.reasons", "nts.notes", "tracking", "tracking.offset_seconds", "tracking.stratum",
    "tracking.root_delay_seconds", "tracking.synchronised", "daemon", "daemon.version", "environment", "environment.os",
    "environment.os.name", "sources", "sources.0", "sources.0.name", "sources.0.nts", "sources.0.auth",
    "sources.0.auth.aead", "sources.0.ntpdata", "sources.0.address", "sources.0.state", "serverstats",
    "serverstats.ntp_received", "clients", "certificates", "certificates.0", "certificates.0.subject",
    "certificates.0.not_after", "certificates.0.subject_alt_names", "certificates.0.use",
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_no_value_of_another_type_ends_the_report(path: str, value: Any) -> None:
    text = json.dumps(row(changed(path, value)), allow_nan=False)
    assert len(text) < 20000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, 10**400, True, "0.1", None, [0.1]])
def test_what_is_no_finite_number_is_no_offset(value: Any) -> None:
    kept = row(changed("tracking.offset_seconds", value))
    assert (kept["offset_seconds"], kept["error_bound_seconds"]) == (None, None)


@pytest.mark.parametrize("state", ["", "fine", "unreachable", "AUTHENTICATED", 1, None, ["authenticated"], {}])
def test_a_verdict_that_there_is_not_is_unreadable(state: Any) -> None:
    kept = row(changed("nts.state", state))
    assert (kept["state"], kept["message"]) == ("unreadable", "The host returned facts without a verdict.")


def test_lists_and_texts_have_an_end() -> None:
    facts = changed("nts.reasons", ["reason" * 9999] * 9999)
    facts["sources"] *= 9999
    facts["certificates"] *= 9999
    facts["clients"] = [{"address": "192.0.2.1", "ntp_requests": 1, "nts_ke_connections": 0}] * 9999
    assert len(json.dumps(row(facts))) < 250000
    assert row(facts)["serving"]["clients_without_nts"] == 9999


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("web1", "web1"),
        ("Zürich", "Zürich"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("\x1b[31m\x00", "\\x1b[31m\\x00"),
        ("e\u0301\u0301", "e\\u0301\\u0301"),
        ("\ufeff\u200b\xad", "\\ufeff\\u200b\\xad"),
        ("\U000e0001", "\\U000e0001"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_misleads_a_reader_is_shown_as_an_escape(given: str, shown: str) -> None:
    assert visible(given) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("not_after", "2027-02-30T00:00:00Z"),
        ("not_after", "2027-02-20"),
        ("not_before", None),
        ("fingerprint_sha256", "<b>"),
        ("use", "other"),
    ],
)
def test_a_certificate_that_is_none_is_left_out(name: str, value: Any) -> None:
    facts = changed(f"certificates.0.{name}", value)
    assert row(facts)["certificates"] == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "host.example", 7, None])
def test_only_remote_addresses_are_clients(address: Any) -> None:
    facts = changed("clients", [{"address": address, "ntp_requests": 5, "nts_ke_connections": 0}])
    assert row(facts)["serving"]["clients"] == 0


def test_a_server_without_a_list_of_clients_says_so() -> None:
    kept = row(changed("clients", None))["serving"]
    assert (kept["clients"], kept["clients_without_nts"], kept["first_without_nts"]) == (None, None, [])


def test_the_states_are_those_of_the_verdict_and_those_without_facts() -> None:
    seen = {captured(path.stem, path.parent.name)["nts"]["state"] for path in CAPTURED}
    assert seen <= set(STATES)
    assert set(STATES[:2]) == {"unreachable", "unreadable"}
    assert rows.AUTHENTICATED == ("partial", "authenticated")
