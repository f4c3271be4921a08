# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of the verdict, which no captured state meets exactly, and the words of its reasons."""

import copy

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import verdict
from ansible_collections.securetime.nts.plugins.module_utils._state.ke_log import Failure
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import Log, Verdict

AUTH = {
    "mode": "nts",
    "key_length_bits": 256,
    "ke_attempts": 0,
    "cookies": 8,
    "nak": False,
    "last_ke_seconds": 10,
}
NTP = {
    "remote_port": 123,
    "total_tx": 9,
    "total_valid_rx": 9,
    "tests_5_to_7": "111",
    "tests_a_to_d": "1111",
    "authenticated": True,
    "leap_status": "normal",
    "stratum": 3,
    "reference_id": "0A4D0009",
}
OPTIONS = ("configured_trust", "effective_trust", "effective_prefer", "effective_noselect")
FAILURE = Failure(1.0, "Could not connect", "nts.test", "192.0.2.1", "the server is away", "start it", None)


def source(name="nts.test", state="selected", auth=(), ntp=(), options=(), **given):
    """Return a source with NTS that chronyd selects; auth=None stands for one without NTS."""
    selection = dict(dict.fromkeys(OPTIONS, False), state=state, **dict.fromkeys(options, True))
    return {
        "name": name,
        "address": "192.0.2.1",
        "mode": "server",
        "state": state if state in ("selected", "combined") else "unusable",
        "reach": 255,
        "stratum": 3,
        "last_rx_seconds": 4,
        "auth": {"mode": "none"} if auth is None else dict(AUTH, **dict(auth)),
        "ntpdata": None if ntp is None else dict(NTP, **dict(ntp)),
        "selection": selection,
        **given,
    }


def facts_of(*sources, **tracking):
    """Return the facts of a running host with these sources, whose clock is synchronised."""
    known = {"synchronised": True, "leap_status": "normal", "reference_id": "0A4D0009", "stratum": 4}
    return {
        "running": True,
        "access": "socket",
        "sources": list(sources),
        "tracking": dict(known, offset_seconds=0.0, **tracking),
        "daemon": {"features": {"NTS": True}, "uptime_seconds": 3600.0, "replaced": False},
        "refused": {},
    }


@pytest.mark.parametrize("field", ["reach", *sorted(set(AUTH) - {"mode", "last_ke_seconds"})])
def test_a_source_without_a_column_that_the_verdict_needs_is_unknown(field):
    whole = source()
    assert verdict._is_complete(whole)
    place = whole if field == "reach" else whole["auth"]
    place[field] = None
    assert not verdict._is_complete(whole)


@pytest.mark.parametrize("field", ["remote_port", "total_tx", "total_valid_rx", "tests_5_to_7"])
def test_a_row_of_ntpdata_is_whole_or_missing(field):
    assert not verdict._is_complete(source(ntp={field: None}))
    assert verdict._is_complete(source(ntp=None))


def test_an_incomplete_source_makes_the_host_unknown():
    facts = facts_of(source(auth={"nak": None}))
    found = verdict.judge_source(facts["sources"][0], facts, Log([], True))
    assert found == Verdict("unknown", ["nts.test: chronyc's reports of it lack columns that the verdict needs."])


def test_without_an_offset_no_limit_of_it_is_met():
    facts = {"sources": [{"reachable": True}], "tracking": None, "nts": {"authenticated": False}}
    assert verdict.reached(facts, "reachable", 1)
    assert not verdict.reached(facts, "reachable", 1, 0.5)
    facts["tracking"] = {"offset_seconds": None}
    assert not verdict.reached(facts, "reachable", 1, 0.5)
    facts["tracking"] = {"offset_seconds": -0.5}
    assert verdict.reached(facts, "reachable", 1, 0.5)


def test_the_newest_failure_of_a_source_counts():
    one = source(auth={"last_ke_seconds": None})
    log = [FAILURE._replace(age_seconds=age, text=f"line {age}") for age in (3.0, 1.0, 2.0)]
    assert verdict._failure_of(one, [one], Log(log, True)).text == "line 1.0"


def test_of_failures_of_one_age_the_first_in_the_log_counts():
    """The log lists the newest first."""
    one = source(auth={"last_ke_seconds": None})
    log = [FAILURE._replace(text=text) for text in ("second", "first")]
    assert verdict._failure_of(one, [one], Log(log, True)).text == "second"


@pytest.mark.parametrize(("age", "state"), [(9.9, "pending"), (10.0, "failed")])
def test_a_name_has_ten_seconds_to_resolve(age, state):
    facts = facts_of(source(address=None))
    facts["daemon"]["uptime_seconds"] = age
    assert verdict.judge_source(facts["sources"][0], facts, Log([], True)).state == state


@pytest.mark.parametrize(
    ("attempts", "readable", "age", "state"),
    [(0, False, 99.0, "pending"), (1, False, 19.9, "pending"), (1, False, 20.0, "failed"), (1, True, 20.0, "pending")],
)
def test_the_first_key_exchange_has_twenty_seconds_where_no_log_is_readable(attempts, readable, age, state):
    assert verdict._judge_first_exchange({"ke_attempts": attempts}, None, readable, age)[0] == state


def test_the_number_of_failed_key_exchanges_is_named():
    assert verdict._failed_exchange({"ke_attempts": 1}, None).startswith("1 key exchange was tried and none succeeded")
    assert verdict._failed_exchange({"ke_attempts": 2}, None).startswith("2 key exchanges were tried and none")


@pytest.mark.parametrize(
    ("wait", "ending"),
    [
        (None, "start it"),
        (0.0, "chronyd tries again by itself within a minute, or at its next poll"),
        (59.9, "chronyd tries again by itself within a minute, or at its next poll"),
        (60.0, "chronyd tries again only in about 60 s: after the repair, restart chronyd"),
    ],
)
def test_the_wait_for_the_next_key_exchange_decides_about_a_restart(wait, ending, monkeypatch):
    monkeypatch.setattr(verdict, "seconds_to_next_attempt", lambda _failure, _attempts: wait)
    text = verdict._failed_exchange({"ke_attempts": 1}, FAILURE)
    assert text.startswith('the server is away (chronyd: "Could not connect"); start it')
    assert text.endswith(ending)


@pytest.mark.parametrize(("exchanged", "words"), [(10, "the key exchange succeeded"), (11, "before chronyd's start")])
def test_cookies_are_from_before_the_start_where_they_are_older_than_chronyd(exchanged, words):
    silent = source(auth={"last_ke_seconds": exchanged, "cookies": 4}, ntp={"total_tx": 4, "total_valid_rx": 0})
    state, text = verdict._judge_unreachable(silent, 10)
    assert (state, words in text, "none of 4 NTP requests" in text) == ("failed", True, True)


def test_new_cookies_are_not_said_to_be_refused_before_their_first_request():
    for cookies, refused in ((7, True), (8, False)):
        one = source(auth={"nak": True, "cookies": cookies}, ntp={"total_tx": 1, "total_valid_rx": 0})
        assert ("refuses the cookies" in verdict._judge_unreachable(one, 3600)[1]) is refused


def test_a_last_answer_without_a_time_came_just_now():
    gone = source(auth={"cookies": 0}, last_rx_seconds=None)
    text = verdict._judge_unreachable(gone, 3600)[1]
    assert "the last one came 0 s ago" in text


@pytest.mark.parametrize(("second", "state"), [("failed", "failed"), ("pending", "pending")])
def test_a_host_has_failed_when_all_of_its_sources_have(second, state):
    facts = facts_of(source("a", "unusable"), source("b", "unusable"), synchronised=False)
    verdicts = [Verdict("failed", ["a."]), Verdict(second, ["b."])]
    assert verdict.judge_host(facts, verdicts, {"access": "socket"}) == Verdict(state, ["a.", "b."])


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (0.999, None),
        (
            1.0,
            "The clock is 1.000 s fast, and chronyd only slews it, for 12 s or more: chronyc makestep sets it at once.",
        ),
        (
            -2.5,
            "The clock is 2.500 s slow, and chronyd only slews it, for 30 s or more: chronyc makestep sets it at once.",
        ),
    ],
)
def test_an_offset_from_one_second_on_is_a_reason(offset, text):
    facts = facts_of()
    facts["tracking"]["offset_seconds"] = offset
    assert verdict._large_offset(facts) == ([text] if text else [])
    facts["tracking"]["synchronised"] = False
    assert verdict._large_offset(facts) == []


def test_the_unit_of_a_chronyd_that_does_not_run_is_no_reason():
    facts = dict(facts_of(), unit={"name": "chrony.service", "active_state": "inactive"}, environment={"rivals": []})
    facts["daemon"]["unit"] = "chronyd.service"
    assert len(verdict._other_clock_setters(facts)) == 1
    facts["running"] = False
    assert verdict._other_clock_setters(facts) == []


@pytest.mark.parametrize(("names", "words"), [(["a"], "added it (chronyc"), (["a", "b"], "added them (chronyc")])
def test_one_or_several_undeclared_sources_are_named(names, words):
    facts = facts_of(*(source(name) for name in names))
    found = verdict._undeclared(facts, {"declared": [], "names": names})
    (reason,) = found.reasons
    assert reason.startswith(f"No file that chronyd reads names {', '.join(names)}: something {words}")
    assert reason.endswith(f"A restart of chronyd leaves {words.split()[1]} out.")


def test_without_the_report_of_sources_none_is_called_undeclared():
    facts = dict(facts_of(), sources=None)
    assert verdict._undeclared(facts, {"declared": [], "names": []}) == verdict.Undeclared([], None, [])


def test_each_refusal_has_its_reports_and_its_remedy():
    facts = facts_of()
    facts["daemon"]["replaced"] = True
    assert verdict._refused_reports(facts) == []
    refused = {"ntpdata": "502 Invalid", "authdata": "502 Invalid", "clients": "501 Not authorised", "x": "599 New"}
    facts["refused"] = refused
    assert verdict._refused_reports(facts) == [
        "Not reported: clients (501 Not authorised: become root, for chronyd gives it over its Unix socket only).",
        "Not reported: authdata, ntpdata (502 Invalid: chronyc and the running chronyd are of different versions).",
        "Not reported: x (599 New).",
        "chronyd's program has been replaced since its start: restart chronyd.",
    ]


def test_the_stratum_of_an_unsynchronised_clock_is_no_reason():
    facts = facts_of(source(stratum=16), stratum=16)
    assert len(verdict._high_stratum(facts)) == 1
    facts["tracking"]["synchronised"] = False
    assert verdict._high_stratum(facts) == []


def test_a_server_that_names_no_stratum_is_judged_by_its_reference():
    assert "end of a chain" in verdict._stratum_cause(source(ntp={"stratum": None}))
    assert "serves its own clock" in verdict._stratum_cause(source(ntp={"stratum": None, "reference_id": "7F7F0101"}))


def test_a_host_without_a_running_chronyd_has_no_access_to_it():
    host = {
        "installed": False,
        "running": False,
        "daemon": {"features": {}, "replaced": False},
        "unit": None,
        "environment": {"rivals": []},
    }
    reports = {"access": "unusable", "refusal": "chronyc is not installed"}
    facts = verdict.judge(copy.deepcopy(host), reports, Log([], False))
    assert (facts["access"], facts["nts"]["state"]) == (None, "not_running")
    assert facts["nts"]["reasons"] == ["chrony is not installed: the host has no chronyd."]


PREFERRED = ("effective_prefer",)


@pytest.mark.parametrize(
    ("options", "other", "expected"),
    [
        ((), source("b"), True),
        ((), source("b", options=PREFERRED), False),
        # What chronyd does not accept takes no precedence.
        ((), source("b", "falseticker", options=PREFERRED), True),
        (PREFERRED, source("b", options=PREFERRED), True),
        (("effective_noselect", *PREFERRED), source("b"), False),
        (None, source("b"), False),
    ],
)
def test_chronyd_follows_preferred_sources_while_they_are_usable(options, other, expected):
    one = source("a", options=options or ())
    if options is None:
        one["selection"] = None
    assert verdict._may_be_followed(one, [one, other]) is expected


def loose(*sources):
    """Return the names of the sources that chronyd may follow away from the authenticated time."""
    pairs = [(each, Verdict("unauthenticated", [f"{each['name']}."])) for each in sources]
    found = verdict._loose(pairs, [each for each in sources if verdict.kind_of(each) == "nts"])
    return [sentence.partition("without NTS: ")[2].partition(".")[0] for sentence in found]


TRUSTED = ("effective_trust",)


def test_a_source_is_kept_by_usable_trusted_sources_alone():
    plain = source("plain", auth=None)
    assert loose(source("nts", options=TRUSTED), plain) == []
    # A trusted source that chronyd rejects keeps no other.
    assert loose(source("nts", "falseticker", options=TRUSTED), plain) == ["plain"]
    # What the operator has not declared right vouches for nothing, itself included.
    own = source("plain", auth=None, options=TRUSTED)
    assert loose(source("nts", "falseticker", options=TRUSTED), own) == ["plain"]
    assert loose(source("nts"), own) == ["plain"]
    assert verdict._is_constrained([own]) is False
    # The operator has declared this one right.
    declared = source("right", auth=None, options=("configured_trust", *TRUSTED))
    assert loose(source("nts", "falseticker", options=TRUSTED), declared, plain) == []


def test_a_source_counts_that_chronyd_may_follow_at_any_time():
    """Without the option trust at any source, a plain source needs no more than an invitation."""
    nts, plain = source("nts"), source("plain", "not_preferred", auth=None)
    pairs = [(nts, Verdict("authenticated", [])), (plain, Verdict("unauthenticated", ["plain is not authenticated."]))]
    (found,) = verdict._loose(pairs, [nts])
    assert found.startswith("chronyd may at any time follow a source without NTS: plain is not authenticated. Nothing")
    nts["selection"]["effective_prefer"] = True
    assert verdict._loose(pairs, [nts]) == []
    nts["selection"].update(effective_prefer=False, effective_trust=True)
    assert verdict._loose(pairs, [nts]) == []


def test_notes_list_their_sources_in_order():
    clocks = [source(name, mode="refclock") for name in ("PPS", "GPS")]
    assert verdict._notes_on_other_sources([source(), *clocks])[0].startswith("chronyd may follow GPS, PPS, too (")


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("stratum_out_of_range", "maxstratum allow (it says stratum 3)"),
        ("orphan", "of the directive local here (it says stratum 3)"),
        ("jittery", "its time varies too much"),
        ("unknown", "chronyc shows it as unusable"),
    ],
)
def test_the_reason_of_a_source_that_is_not_followed(state, text):
    assert verdict._selection_reason(source(state=state)).endswith(text)


def test_a_source_without_ntpdata_is_no_loop():
    assert verdict._selection_reason(source(state="missing_samples", ntp=None)).startswith("chronyd has too few")
