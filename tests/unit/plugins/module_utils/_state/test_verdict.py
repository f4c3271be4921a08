# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on captured states of real chronyds, and on changes of them.

Long: one table has the expected verdict of every capture, and the tests below change these captures.
"""

import copy
import re

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import CAUSES
from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc, verdict
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import declared_sources

A, P, F, U, X = "authenticated", "pending", "failed", "unauthenticated", "unknown"

# The expected states of each capture (host, sources, host without a readable log), and texts in its reasons.
STATES = {
    "healthy": (A, [A, A], None, []),
    "healthy_pool": (A, [A, A], None, []),
    "saved_cookies": (A, [A], None, []),
    "every_report": (A, [A], None, []),
    "mixed": (A, [A, U], None, []),
    "mixed_require": (A, [A, U], None, []),
    "ntp_lost_one": (A, [A], None, []),
    "one_of_two_gone": (
        "partial",
        [F, A],
        None,
        ["nts1.test: the key exchange found no server", "Its last authenticated answer came 1"],
    ),
    "address_taken": ("partial", [A, P], None, ["other.test: its address is not known yet."]),
    "just_started": (P, [P, P], None, ["nts1.test: ", "nts2.test: ", "The clock is not synchronised."]),
    "first_answers": (P, [A], None, ["authenticated, but not followed yet: chronyd has too few samples"]),
    "ke_under_way": (P, [P], None, ["its first key exchange is under way"]),
    "ntp_awaited": (P, [P], None, ["the first authenticated answer is awaited"]),
    "server_lost_keys": (P, [P], None, ["NTS NAK", "ntsdumpdir on the server"]),
    "server_unsynchronised": (P, [P], None, ["its own clock is not synchronised"]),
    "ke_refused": (F, [F], (P, [P]), ["10.77.0.1 refuses connections to TCP port 4460", "tries again by itself"]),
    "ke_refused_twice": (F, [F], (F, [F]), ["10.77.0.1 refuses connections to TCP port 4460"]),
    "ke_timeout": (F, [F], (P, [P]), ["not answered within 16 s", "through every firewall"]),
    "ke_unexpected": (
        F,
        [F],
        (P, [P]),
        ["does not speak TLS", "only in about 17 min: after the repair, restart chronyd"],
    ),
    "ke_closed": (F, [F], (P, [P]), ["closed the key exchange at once", "(allow)"]),
    "ke_server_without_key": (F, [F], (P, [P]), ["closed the key exchange at once", "Could not set credentials"]),
    "ke_no_alpn": (F, [F], (P, [P]), ["does not offer key exchanges for NTS"]),
    "ke_unknown_ca": (
        F,
        [F],
        (P, [P]),
        ["issuer of the server's certificate is not trusted", "(ntstrustedcerts)", "17 min"],
    ),
    "ke_expired": (F, [F], (P, [P]), ["has expired", "restart its chronyd"]),
    "ke_not_yet_valid": (F, [F], (P, [P]), ["not yet valid", "nocerttimecheck 1"]),
    "ke_wrong_name": (F, [F], (P, [P]), ["not for the name other.test"]),
    # 4.4 and newer retry after two seconds.
    "ke_no_trust_file": (
        F,
        [F],
        lambda version: (P, [P]) if version in ("4.0", "4.1", "4.2", "4.3") else (F, [F]),
        ["could not load its certificates", "ntstrustedcerts"],
    ),
    "ke_expired_later": (F, [F], (P, [P]), ["has expired", "last authenticated answer came"]),
    "ntp_blocked": (F, [F], None, ["key exchange succeeded, but none of 4 NTP requests to"]),
    "ntp_blocked_long": (
        F,
        [F],
        None,
        ["none of 8 NTP requests", "cookies are used up: after the repair, restart chronyd"],
    ),
    "saved_cookies_server_gone": (F, [F], None, ["cookies are from before chronyd's start", "none of 4 NTP requests"]),
    "other_keys": (F, [F], None, ["10.77.0.2 refuses the cookies that the key exchange gave"]),
    "server_gone": (F, [F], (F, [F]), ["10.77.0.1 refuses connections", "last authenticated answer came"]),
    "noselect": (F, [A], None, ["authenticated, but not followed yet: it is configured or made noselect"]),
    "unresolved": (F, [F], None, ["nowhere.test: it has no address", "DNS"]),
    "mixed_failed": (F, [F, U], (P, [P, U]), ["nts1.test: ", "The clock is not synchronised."]),
    "local_reference": (F, [F], (P, [P]), ["serves its own clock as stratum 10 (directive local)"]),
    "plain": (U, [U], None, ["The clock follows a source without NTS: plain.test is not authenticated"]),
    "plain_and_failed": (U, [F, U], (U, [P, U]), ["plain.test is not authenticated", "nts1.test: "]),
    "mixed_ignore": (U, [A, U], None, ["The clock follows a source without NTS: plain.test"]),
    "symmetric_key": (U, [U], None, ["symmetric key 7, not by NTS"]),
    "reference_clock": (U, [U], None, ["GPS is a reference clock"]),
    "no_sources": (U, [], None, ["No time source is configured.", "The clock is not synchronised."]),
    "ordinary_user": (
        X,
        [X, X],
        None,
        ["Not reported: authdata, ntpdata, selectdata", "(501 Not authorised: become root"],
    ),
    "stopped": ("not_running", [], None, ["chronyd is not running"]),
}

# The row of ntpdata for a source that never answered. Before 4.3 there is none.
SILENT = {"authenticated": False, "remote_port": 123, "tests_5_to_7": "000", "total_valid_rx": 0}


def host(running=True, **daemon):
    return {
        "installed": True,
        "running": running,
        "daemon": dict({"pid": 7, "uptime_seconds": 3600.0, "features": {"NTS": True}, "replaced": False}, **daemon),
        "unit": {"name": "chrony.service", "active_state": "active", "unit_file_state": "enabled", "skipped": False},
        "environment": {"cap_sys_time": True, "rivals": []},
    }


def judge(capture, log=True, change=None, **daemon):
    """Return the verdict on a capture, after a change of chronyd's reports."""
    reports = capture.take()
    daemon.setdefault("uptime_seconds", capture.uptime_seconds)
    if change:
        change(reports)
    lines = log if isinstance(log, list) else list(capture.log()) if log else None
    return verdict.judge(host("refusal" not in reports, **daemon), reports, verdict.read_log(lines))


def states_of(facts):
    return facts["nts"]["state"], [source["nts"]["state"] for source in facts["sources"] or []]


def test_every_captured_state_is_in_the_table(any_capture):
    assert any_capture.state in STATES


@pytest.mark.parametrize("state", sorted(STATES))
def test_captured_state(capture, version, state):
    of_host, of_sources, without_log, texts = STATES[state]
    if callable(without_log):
        without_log = without_log(version)
    facts = judge(capture(state))
    assert states_of(facts) == (of_host, of_sources)
    assert states_of(judge(capture(state), log=False)) == (without_log or (of_host, of_sources))
    assert facts["nts"]["authenticated"] == (of_host in (A, "partial"))
    assert facts["nts"]["authenticated_sources"] == of_sources.count(A)
    assert bool(facts["nts"]["reasons"]) == (of_host != A)
    for text in texts:
        assert text in " ".join(facts["nts"]["reasons"])
    for source in facts["sources"] or []:
        assert bool(source["nts"]["reasons"]) == (source["nts"]["state"] not in (A, X))
    for reason in facts["nts"]["reasons"] + [r for source in facts["sources"] or [] for r in source["nts"]["reasons"]]:
        assert re.search(r"[^.]\.$", reason)
        assert not re.search(r"None|[{}]", reason)


def test_the_healthy_path_never_needs_the_log(capture):
    for state in (
        "healthy",
        "healthy_pool",
        "mixed",
        "saved_cookies",
        "plain",
        "no_sources",
        "stopped",
        "ordinary_user",
    ):
        assert not verdict.needs_log(judge(capture(state), log=False))
    for state in ("ke_refused", "one_of_two_gone", "ke_under_way"):
        assert verdict.needs_log(judge(capture(state), log=False))


def test_judging_does_not_change_what_it_judges(capture):
    reports = capture("one_of_two_gone").take()
    before = copy.deepcopy(reports)
    verdict.judge(host(), reports, verdict.read_log(None))
    assert reports == before


@pytest.mark.parametrize(
    ("uptime", "log", "state"),
    [
        (5.0, None, P),
        (19.9, None, P),
        (20.1, None, F),
        (None, None, F),
        (3600.0, [(3599.0, "chronyd version 4.3 starting")], P),
        (3600.0, [(3.0, "Could not connect to 10.77.0.1:4460 (nts1.test) : Connection refused")], F),
        (5.0, [(3.0, "Could not connect to 10.77.0.2:4460 (nts2.test) : Connection refused")], P),
        (5.0, [(3.0, "Could not set credentials : Error while reading file.")], F),
        (5.0, [(3.0, "Received invalid NTS-KE response from nts1.test")], F),
        (5.0, [(3.0, "Received invalid NTS-KE response from nts2.test")], P),
        (5.0, [(3.0, "Could not change 10.77.0.1 to negotiated address 10.77.0.2")], F),
        (5.0, [(3.0, "Could not change 10.77.0.3 to negotiated address 10.77.0.2")], P),
        # The NTS-KE server may have another address than the NTP server.
        (5.0, [(3.0, "Could not connect to 10.99.0.1:4460 (nts1.test) : Connection refused")], F),
    ],
)
def test_one_key_exchange_is_under_way_or_has_failed(capture, uptime, log, state):
    """The log identifies the first key exchange of a source that was added an hour after chronyd's start."""
    assert states_of(judge(capture("ke_under_way"), log=log, uptime_seconds=uptime)) == (state, [state])


@pytest.mark.parametrize(("uptime", "state"), [(0.1, P), (9.9, P), (10.1, F), (None, F)])
def test_a_name_may_take_a_moment_to_resolve(capture, uptime, state):
    assert states_of(judge(capture("unresolved"), uptime_seconds=uptime)) == (state, [state])


def test_a_failure_before_the_last_success_is_history(capture):
    line = "TLS handshake with 10.77.0.1:4460 (nts1.test) failed : An unexpected TLS packet was received."

    def last_success(reports):
        reports["sources"][0]["auth"]["last_ke_seconds"] = 100

    for age, state in ((101.0, P), (100.0, P), (99.0, F)):
        facts = judge(capture("ntp_awaited"), log=[(age, line)], change=last_success, uptime_seconds=500.0)
        assert states_of(facts)[0] == state


def test_a_failure_without_a_name_is_ignored_while_keys_work(capture):
    log = [(0.1, "Could not set credentials : Error while reading file.")]
    assert states_of(judge(capture("saved_cookies"), log=log)) == (A, [A])
    assert states_of(judge(capture("just_started"), log=log)) == (P, [P, P])


def test_a_failure_of_one_member_of_a_pool_is_not_that_of_another(capture):
    def forget(reports):
        for source in reports["sources"]:
            source["reach"] = 0
            source["auth"].update(ke_attempts=1, key_length_bits=0, cookies=0, last_ke_seconds=None)

    log = [(1.0, "Could not connect to 10.77.0.2:4460 (pool.test) : Connection refused")]
    facts = judge(capture("healthy_pool"), log=log, change=forget)
    assert {source["address"]: source["nts"]["state"] for source in facts["sources"]} == {
        "10.77.0.1": P,
        "10.77.0.2": F,
    }
    assert "pool.test (10.77.0.2): the key exchange found no server" in " ".join(facts["nts"]["reasons"])


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"cookies": 7}, A),
        ({"cookies": 1}, A),
        ({"cookies": 0}, P),
        ({"nak": True}, P),
        ({"ke_attempts": 1}, P),
        ({"ke_attempts": 1, "cookies": 0}, P),
        ({"ke_attempts": 2, "cookies": 0}, F),
        ({"ke_attempts": 2}, P),
    ],
)
def test_a_source_that_answered_lately(capture, change, state):
    """chronyd follows both sources, so the other one keeps the host's clock on authenticated time."""
    facts = judge(capture("healthy"), log=False, change=lambda reports: reports["sources"][0]["auth"].update(change))
    assert states_of(facts) == (A if state == A else "partial", [state, A])


@pytest.mark.parametrize(
    ("ntpdata", "state"),
    [
        ({"authenticated": False}, P),
        # With -r, chronyd restores the reach of its previous run.
        ({"total_valid_rx": 0, "total_tx": 1}, P),
        ({"total_valid_rx": 0, "total_tx": 8}, F),
        (None, A),
        ({"total_rx": 99}, A),
    ],
)
def test_the_last_valid_packet_must_have_been_authenticated(capture, ntpdata, state):
    def change(reports):
        if ntpdata is None:
            reports["sources"][0]["ntpdata"] = None
        else:
            reports["sources"][0]["ntpdata"].update(ntpdata)

    assert states_of(judge(capture("healthy"), change=change))[1] == [state, A]


@pytest.mark.parametrize(
    ("cookies", "state"),
    [(8, P), (6, P), (5, F), (0, F)],
)
def test_an_unreachable_source_that_answered_before_has_failed_after_three_lost_requests(capture, cookies, state):
    """chronyd resets the reach of a source on request, or when the clock jumps, so a reach of 0 proves nothing."""

    def change(reports):
        reports["sources"][0].update(reach=0)
        reports["sources"][0]["auth"].update(cookies=cookies)

    facts = judge(capture("healthy"), change=change)
    assert states_of(facts) == ("partial", [state, A])


@pytest.mark.parametrize(("requests", "state"), [(0, P), (2, P), (3, F), (9, F)])
def test_requests_that_were_never_answered_prove_something_from_the_third(capture, requests, state):
    def change(reports):
        reports["sources"][0]["ntpdata"] = {**SILENT, "remote_port": 9123, "total_tx": requests}

    facts = judge(capture("ntp_blocked"), change=change)
    assert states_of(facts) == (state, [state])
    assert state == P or "requests to UDP port 9123 of 10.77.0.1 was answered" in facts["nts"]["reasons"][0]


@pytest.mark.parametrize("state", ["other_keys", "ntp_blocked_long"])
def test_key_exchanges_that_succeed_are_not_said_to_fail(capture, state):
    """chronyd counts attempts until it gets an authenticated answer."""
    facts = judge(capture(state), log=False, change=lambda reports: reports["sources"][0]["auth"].update(ke_attempts=2))
    assert facts["nts"]["state"] in (F, P)
    assert "none succeeded" not in facts["nts"]["reasons"][0]


def test_cookies_of_an_earlier_run_may_be_refused_once(capture):
    """A server without its old keys answers the first request with a NAK, and a key exchange follows."""

    def change(reports):
        reports["sources"][0]["ntpdata"] = {**SILENT, "total_tx": 1}
        reports["sources"][0]["auth"].update(nak=True, last_ke_seconds=99999)

    assert states_of(judge(capture("saved_cookies_server_gone"), change=change)) == (P, [P])


def test_a_host_without_a_followed_source_is_not_authenticated(capture):
    def change(reports):
        for source in reports["sources"]:
            source["state"] = "unusable"
            source["selection"]["state"] = "falseticker"

    facts = judge(capture("healthy"), change=change)
    assert states_of(facts) == (P, [A, A])
    assert "disagrees with the majority" in facts["nts"]["reasons"][0]


def test_there_is_a_sentence_for_every_state_of_the_selection():
    followed = {"selected", "combined"}
    assert set(verdict.NOT_SELECTED) == set(chronyc.SELECTION_STATES.values()) - followed


def test_a_clock_that_is_not_synchronised_follows_nothing(capture):
    facts = judge(capture("healthy"), change=lambda reports: reports["tracking"].update(synchronised=False))
    assert facts["nts"]["state"] == P
    assert not verdict.reached(facts, "synchronised", 1)


@pytest.mark.parametrize(
    ("offset", "told"),
    [
        (0.9, []),
        (-0.9, []),
        (3598.8, ["The clock is 3598.800 s fast, and chronyd only slews it, for 43186 s or more: "]),
        (-1.5, ["The clock is 1.500 s slow, and chronyd only slews it, for 18 s or more: "]),
    ],
)
def test_a_clock_that_is_known_to_be_wrong_is_told(capture, offset, told):
    facts = judge(capture("healthy"), change=lambda reports: reports["tracking"].update(offset_seconds=offset))
    assert facts["nts"]["state"] == "authenticated"
    assert facts["nts"]["reasons"] == [text + "chronyc makestep sets it at once." for text in told]


def test_sources_of_one_name_are_told_apart_by_their_addresses(capture):
    def forget(reports):
        reports["sources"][0]["address"] = None

    sources = judge(capture("healthy_pool"))["sources"]
    assert [verdict.label_of(s, sources) for s in sources] == [f"pool.test ({s['address']})" for s in sources]
    sources = judge(capture("healthy_pool"), change=forget)["sources"]
    assert verdict.label_of(sources[0], sources) == "pool.test"
    sources = judge(capture("healthy"))["sources"]
    assert [verdict.label_of(source, sources) for source in sources] == ["nts1.test", "nts2.test"]


def test_a_failed_source_that_is_still_followed_does_not_count(capture):
    """chronyd follows the source for hours after its last answer, although nothing proves the time any more."""

    def change(reports):
        reports["sources"][0].update(reach=0)
        reports["sources"][0]["auth"].update(cookies=0)
        reports["sources"][1].update(reach=0)
        reports["sources"][1]["auth"].update(cookies=0)

    assert states_of(judge(capture("healthy"), change=change)) == (F, [F, F])


def test_a_daemon_without_nts_has_failed(capture):
    facts = judge(capture("just_started"), features={"NTS": False})
    assert states_of(facts) == (F, [F, F])
    assert "built without NTS" in facts["nts"]["reasons"][0]


def test_an_unknown_kind_of_authentication_is_unknown(capture):
    facts = judge(capture("healthy"), change=lambda reports: reports["sources"][0]["auth"].update(mode="unknown"))
    assert states_of(facts) == (X, [X, A])


@pytest.mark.parametrize(
    ("access", "refusal", "advice"),
    [
        ("silent", "chronyc was not answered within 5 s", "It hangs"),
        ("closed", "506 Cannot talk to daemon", "Become root"),
        ("unusable", "chronyc is not installed", "Install or repair the program chronyc"),
    ],
)
def test_a_daemon_that_gives_no_report_is_unknown(access, refusal, advice):
    facts = verdict.judge(host(), {"access": access, "refusal": refusal}, verdict.read_log(None))
    assert states_of(facts) == (X, [])
    (reason,) = facts["nts"]["reasons"]
    assert reason.startswith(f"chronyd runs, but chronyc gets no report from it: {refusal}. {advice}")
    assert facts["access"] == access
    assert [facts[name] for name in ("tracking", "sources", "activity", "serverstats")] == [None] * 4


def test_every_way_of_no_access_has_its_advice():
    assert set(verdict.NO_ACCESS) == {"silent", "closed", "unusable"}


@pytest.mark.parametrize("replaced", [None, False, True])
def test_reports_of_another_version_are_named(mismatch, replaced):
    facts = judge(mismatch, replaced=replaced)
    assert states_of(facts) == (A, [A, A])
    assert "chronyc and the running chronyd are of different versions" in facts["nts"]["reasons"][0]
    assert "serverstats" in facts["nts"]["reasons"][0]
    assert ("replaced since its start: restart chronyd" in facts["nts"]["reasons"][-1]) == bool(replaced)


@pytest.mark.parametrize(
    ("offset", "most", "expected"),
    [(0.002, 0.001, False), (-0.002, 0.001, False), (0.001, 0.001, True), (-0.0001, 0.001, True), (9.0, None, True)],
)
def test_the_condition_on_the_offset(capture, offset, most, expected):
    facts = judge(capture("healthy"), change=lambda reports: reports["tracking"].update(offset_seconds=offset))
    assert verdict.reached(facts, "synchronised", 1, most) is expected
    assert verdict.reached(facts, "authenticated", 1, most) is expected


def test_progress_has_the_state_of_each_source(capture):
    gone, healthy = verdict.progress(judge(capture("one_of_two_gone")))
    # chronyd continues to follow the old samples of a source that stopped answering.
    assert re.match("nts1.test: failed, (selected|combined), reach 000$", gone)
    assert re.match("nts2.test: authenticated, (selected|combined), reach 377$", healthy)
    assert verdict.progress(judge(capture("stopped"))) == []


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({"installed": False}, ["chrony is not installed: the host has no chronyd."]),
        ({"unit": None}, ["chronyd is not running, and no unit of it is known to systemd."]),
        ({"active_state": "inactive"}, ["chronyd is not running: chrony.service is inactive (enabled)."]),
        (
            {"active_state": "failed"},
            ["chronyd is not running: chrony.service is failed", "journalctl -u chrony.service"],
        ),
        ({"active_state": "inactive", "unit_file_state": "masked"}, ["chrony.service is inactive (masked)."]),
        ({"active_state": "inactive", "cap_sys_time": False}, ["inactive"]),
        ({"active_state": "inactive", "skipped": True}, ["inactive", "condition that is not met"]),
        (
            {"active_state": "inactive", "skipped": True, "cap_sys_time": False},
            ["inactive", "condition that is not met", "clear the unit's ConditionCapability"],
        ),
        (
            {"active_state": "inactive", "rivals": [{"unit": "ntpsec.service", "active_state": "active"}]},
            ["inactive", "ntpsec.service is active and keeps the clock itself."],
        ),
        ({"active_state": "inactive", "rivals": [{"unit": "ntp.service", "active_state": "inactive"}]}, ["inactive"]),
    ],
)
def test_reasons_of_a_stopped_chronyd(change, texts):
    stopped = host(running=False)
    for place in (stopped, stopped["environment"], stopped["unit"]):
        place.update({name: value for name, value in change.items() if name in place})
    facts = verdict.judge(stopped, {"access": "closed", "refusal": "506 Cannot talk to daemon"}, verdict.read_log(None))
    assert states_of(facts) == ("not_running", [])
    assert len(facts["nts"]["reasons"]) == len(texts)
    for reason, text in zip(facts["nts"]["reasons"], texts):
        assert text in reason


SETTER = {"process": "phc2sys", "pid": 8, "unit": "phc2sys@eth0.service", "sets_clock": True, "why": "it follows"}


@pytest.mark.parametrize(
    ("daemon", "setter", "text"),
    [
        ({}, SETTER, "phc2sys (phc2sys@eth0.service, process 8) may set the clock, too: it follows."),
        ({}, dict(SETTER, unit=None), "phc2sys (process 8) may set the clock, too: it follows."),
        ({"clock_control": False}, SETTER, None),
        ({}, dict(SETTER, sets_clock=False), None),
        ({"unit": "chrony.service"}, None, None),
        (
            {"unit": "chronyd-restricted.service"},
            None,
            (
                "chronyd is run by chronyd-restricted.service, and not by chrony.service, which is active: stop"
                " chronyd-restricted.service, and start chrony.service."
            ),
        ),
    ],
)
def test_who_else_runs_or_sets_the_clock_is_a_reason_and_no_other_state(capture, daemon, setter, text):
    facts = host(**daemon)
    facts["environment"]["clock_setters"] = [setter] if setter else []
    found = verdict.judge(facts, capture("healthy").take(), verdict.read_log(None))
    assert (found["nts"]["state"], found["nts"]["reasons"]) == (A, [text] if text else [])


def test_a_chronyd_that_systemd_has_lost_is_a_reason_and_no_other_state(capture):
    for state in ("inactive", "failed"):
        facts = host(unit="chrony.service")
        facts["unit"]["active_state"] = state
        facts["environment"]["clock_setters"] = []
        found = verdict.judge(facts, capture("healthy").take(), verdict.read_log(None))["nts"]
        assert found["state"] == A
        assert found["reasons"] == [
            (
                f"systemd has lost the running chronyd (process 7): chrony.service is {state}. Do not start it, which"
                " would end both: run the playbook securetime.nts.site."
            )
        ]


def test_a_rival_is_named_once():
    facts = host(running=False)
    rival = {"unit": "ntpsec.service", "active_state": "active"}
    facts["environment"].update(rivals=[rival], clock_setters=[dict(SETTER, process="ntpd", unit="ntpsec.service")])
    reports = {"access": "closed", "refusal": "506 Cannot talk to daemon"}
    reasons = verdict.judge(facts, reports, verdict.read_log(None))["nts"]["reasons"]
    assert sum("ntpsec.service" in reason for reason in reasons) == 1


@pytest.mark.parametrize(
    ("state", "condition", "sources", "expected"),
    [
        ("healthy", "authenticated", 2, True),
        ("healthy", "authenticated", 3, False),
        ("one_of_two_gone", "authenticated", 1, True),
        ("one_of_two_gone", "authenticated", 2, False),
        ("first_answers", "authenticated", 1, False),
        ("mixed_ignore", "authenticated", 1, False),
        ("plain", "authenticated", 1, False),
        ("plain", "synchronised", 1, True),
        ("plain", "synchronised", 2, False),
        ("healthy", "synchronised", 2, True),
        ("first_answers", "synchronised", 1, False),
        ("local_reference", "synchronised", 1, False),
        ("first_answers", "reachable", 1, True),
        ("mixed_failed", "reachable", 1, True),
        ("mixed_failed", "reachable", 2, False),
        ("stopped", "authenticated", 1, False),
        ("stopped", "synchronised", 1, False),
        ("stopped", "reachable", 1, False),
    ],
)
def test_the_condition_of_wait_for(capture, state, condition, sources, expected):
    assert verdict.reached(judge(capture(state)), condition, sources) is expected


def declare(*lines):
    return lambda reports: reports.update(declared=declared_sources(None, lines))


@pytest.mark.parametrize(
    ("lines", "undeclared", "files"),
    [
        ([], ["nts1.test", "nts2.test"], [None, None]),
        (["server nts1.test nts"], ["nts2.test"], ["command line", None]),
        (["server NTS1.test nts", "pool nts2.test nts"], [], ["command line"] * 2),
    ],
)
def test_sources_are_compared_with_the_files(capture, lines, undeclared, files):
    # Without lines, chronyd has no directives on its command line, and its file declares no source.
    change = declare(*lines) if lines else lambda reports: reports.update(declared=[])
    facts = judge(capture("healthy"), change=change)
    assert facts["nts"]["undeclared_sources"] == undeclared
    assert [source["declared_in"] for source in facts["sources"]] == files
    assert states_of(facts) == (A, [A, A])
    assert len(facts["nts"]["reasons"]) == bool(undeclared)
    for name in undeclared:
        assert name in facts["nts"]["reasons"][0]


def test_without_the_files_no_source_is_called_undeclared(capture):
    facts = judge(capture("healthy"))
    assert facts["nts"]["undeclared_sources"] is None
    assert [source["declared_in"] for source in facts["sources"]] == [None, None]
    assert facts["nts"]["reasons"] == []


def test_without_all_names_no_source_is_called_undeclared(capture):
    def change(reports):
        reports.update(declared=[], names=None)

    assert judge(capture("healthy"), change=change)["nts"]["undeclared_sources"] is None


def test_a_reference_clock_is_no_source_of_the_network(capture):
    facts = judge(capture("reference_clock"), change=declare("log tracking"))
    assert facts["nts"]["undeclared_sources"] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pool pool.test maxsources 4", []),
        # The pool has two sources with an answer, and six places.
        ("pool pool.test maxsources 2", ["pool.test"]),
        ("pool pool.test maxsources 1", ["pool.test"]),
        ("server pool.test", ["pool.test"]),
    ],
)
def test_a_pool_is_multiplied_only_if_it_is_larger_than_it_is_to_be(capture, line, found):
    facts = judge(capture("healthy_pool"), change=declare(line))
    assert facts["nts"]["undeclared_sources"] == found
    assert len(facts["nts"]["reasons"]) == len(found)


@pytest.mark.parametrize(("answers", "found"), [(1, ["pool.test"]), (0, [])])
def test_more_sources_of_a_pool_than_are_to_answer(capture, answers, found):
    """With -r, a source has the reach of chronyd's previous run, and may not have answered yet."""

    def change(reports):
        declare("pool pool.test maxsources 1")(reports)
        del reports["names"][2:]
        reports["sources"][0]["ntpdata"]["total_valid_rx"] = answers

    assert judge(capture("healthy_pool"), change=change)["nts"]["undeclared_sources"] == found


def test_two_names_of_one_server_are_two_sources(capture):
    facts = judge(capture("address_taken"), change=declare("server nts1.test", "server other.test"))
    assert facts["nts"]["undeclared_sources"] == []


def test_the_options_of_a_followed_source_must_be_known(capture):
    """A chronyc of another version than chronyd gets no report selectdata."""

    def change(reports):
        for source in reports["sources"]:
            source["selection"] = None
        reports["refused"]["selectdata"] = "502 Invalid command"

    assert states_of(judge(capture("mixed_ignore"), change=change)) == (X, [A, U])
    assert states_of(judge(capture("mixed_require"), change=change)) == (A, [A, U])
    assert states_of(judge(capture("healthy"), change=change)) == (A, [A, A])


@pytest.mark.parametrize(
    ("selection", "state"),
    [
        *((name, A) for name in ("selected", "combined", "distant", "not_preferred", "not_trusted", "large_interval")),
        *((name, U) for name in ("falseticker", "missing_samples", "jittery", "large_distance", "noselect", "stale")),
    ],
)
def test_a_source_with_nts_confirms_a_reference_clock_that_is_followed(capture, selection, state):
    def change(reports):
        nts, clock = reports["sources"]
        nts["selection"]["state"] = selection
        clock.update(mode="refclock", auth=None, state="selected")

    facts = judge(capture("mixed_ignore"), change=change)
    assert states_of(facts) == (state, [A, U])
    assert ("No source with NTS confirms its time now." in facts["nts"]["reasons"]) == (state == U)


def test_what_chronyd_may_follow_besides_is_noted(capture):
    assert judge(capture("healthy"))["nts"]["notes"] == []
    assert judge(capture("mixed_require"))["nts"]["notes"] == []
    (note,) = judge(capture("mixed"))["nts"]["notes"]
    assert note.startswith("chronyd may follow plain.test, too (not authenticated: it is believed only within")
    assert judge(capture("mixed_ignore"))["nts"]["notes"] == []


def test_a_plain_source_is_loose_without_usable_trusted_sources(capture):
    """With authselectmode mix, too, chronyd follows the source without NTS for a while."""

    def change(reports):
        nts, plain = reports["sources"]
        plain["state"], plain["selection"]["state"] = "selected", "selected"
        nts["state"], nts["reach"] = "unusable", 0
        nts["auth"]["cookies"] = 0

    facts = judge(capture("mixed"), change=change)
    assert states_of(facts) == (U, [F, U])
    assert (
        "No source that is to keep it near the authenticated time (option trust) is usable now."
        in (facts["nts"]["reasons"][0])
    )


@pytest.mark.parametrize(
    ("leap", "stratum", "text"),
    [
        ("normal", 0, "its stratum is 16 or more"),
        ("normal", 16, "its stratum is 16 or more"),
        ("normal", 4, "the server says that its own clock is not synchronised"),
        ("not_synchronised", 0, "the server says that its own clock is not synchronised"),
        ("not_synchronised", 16, "the server says that its own clock is not synchronised"),
    ],
)
def test_too_high_a_stratum_differs_from_an_unsynchronised_server(capture, leap, stratum, text):
    def change(reports):
        reports["sources"][0]["ntpdata"].update(leap_status=leap, stratum=stratum)

    facts = judge(capture("server_unsynchronised"), change=change)
    assert states_of(facts) == (P, [P])
    assert text in facts["nts"]["reasons"][0]


@pytest.mark.parametrize(
    ("source", "ntpdata", "text"),
    [
        ({"stratum": 15}, {"stratum": 15}, ": nts1.test has stratum 15, at the end of a chain of servers"),
        ({"stratum": 15}, {"stratum": 15, "reference_id": "7F7F0101"}, "and serves its own clock (its directive local"),
        ({"stratum": 15}, {"stratum": 3}, "by its option minstratum here (the server says 3)."),
        ({"stratum": 15}, None, "by its own sources or its configuration here."),
        ({"state": "combined"}, None, "take it for unsynchronised."),
    ],
)
def test_a_stratum_that_clients_do_not_accept_is_reported(capture, source, ntpdata, text):
    def change(reports):
        reports["tracking"]["stratum"] = 16
        row = reports["sources"][0]
        row.update({"state": "selected", **source})
        if ntpdata is None:
            row["ntpdata"] = None
        else:
            row["ntpdata"].update({"reference_id": "0A4D0009", **ntpdata})

    facts = judge(capture("saved_cookies"), change=change)
    assert states_of(facts) == (A, [A])
    (reason,) = facts["nts"]["reasons"]
    assert reason.startswith("The stratum of this host is 16, with which its own clients")
    assert text in reason
    assert judge(capture("saved_cookies"))["nts"]["reasons"] == []


@pytest.mark.parametrize(
    ("tests", "loop"), [("1110", True), ("1111", False), ("0110", False), ("0000", False), (None, False)]
)
def test_a_loop_differs_from_other_failed_tests(capture, tests, loop):
    def change(reports):
        row = reports["sources"][0]
        row["state"], row["selection"]["state"] = "unusable", "missing_samples"
        row["ntpdata"]["tests_a_to_d"] = tests

    (reason,) = judge(capture("saved_cookies"), change=change)["nts"]["reasons"]
    assert ("it follows this host itself (a loop)" in reason) == loop
    assert ("too few samples" in reason) != loop


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (1024, "17 min"),
        (7200, "2 h"),
        (172799, "48 h"),
        (172800, "2 d"),
        (524288, "6 d"),
    ],
)
def test_duration(seconds, text):
    assert verdict.duration(seconds) == text


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        ({"nak": True}, "NTS NAK"),
        ({"ke_attempts": 1}, "a new key exchange is under way"),
        ({"cookies": 0}, "all cookies are used up"),
    ],
)
def test_a_source_that_answered_lately_says_what_it_waits_for(capture, auth, text):
    facts = judge(capture("healthy"), log=False, change=lambda reports: reports["sources"][0]["auth"].update(auth))
    assert text in " ".join(facts["nts"]["reasons"])


def test_an_answer_without_authentication_is_named(capture):
    def change(reports):
        reports["sources"][0]["ntpdata"].update(authenticated=False)

    reasons = judge(capture("healthy"), change=change)["nts"]["reasons"]
    assert "its last valid answer was not authenticated" in " ".join(reasons)


def test_fips_mode_is_a_reason_where_nothing_runs():
    for fips in (True, False):
        stopped = host(running=False)
        stopped["unit"]["active_state"] = "failed"
        stopped["environment"]["fips"] = fips
        facts = verdict.judge(stopped, {"access": "closed", "refusal": "506"}, verdict.read_log(None))
        assert ("FIPS mode" in " ".join(facts["nts"]["reasons"])) is fips


@pytest.mark.parametrize(
    ("exchanged", "answered", "expected"),
    [
        (5, None, True),
        (9, None, True),
        (10, None, True),
        (11, None, False),
        (5, 6, True),
        (5, 5, False),
        (None, 6, False),
    ],
)
def test_a_key_exchange_counts_when_it_is_newer_than_the_last_answer(exchanged, answered, expected):
    source = {"auth": {"last_ke_seconds": exchanged}, "last_rx_seconds": answered}
    assert verdict._exchanged_since_answer(source, 10) is expected


@pytest.mark.parametrize(
    ("tests", "expected"),
    [("1111", True), ("1110", True), ("1101", False), ("0111", False), ("", True), (None, True)],
)
def test_the_last_test_of_an_answer_finds_loops_and_is_no_fault(tests, expected):
    assert verdict._passes_other_tests({"tests_a_to_d": tests}) is expected


@pytest.mark.parametrize(
    ("leap_status", "stratum", "expected"),
    [
        ("normal", 0, "ntp_stratum"),
        ("insert_second", 16, "ntp_stratum"),
        ("normal", 15, "ntp_unsynchronised"),
        ("normal", None, "ntp_unsynchronised"),
        ("not_synchronised", 0, "ntp_unsynchronised"),
        ("unknown", 16, "ntp_unsynchronised"),
        (None, 0, "ntp_unsynchronised"),
    ],
)
def test_a_stratum_that_is_too_high_is_told_from_an_unsynchronised_clock(leap_status, stratum, expected):
    assert verdict._why_unsynchronised({"leap_status": leap_status, "stratum": stratum}) == expected


def test_a_source_agrees_in_the_states_that_passed_the_comparison():
    for state in ("selected", "combined", "distant", "large_interval", "not_preferred", "waits_for_update"):
        assert verdict._agrees({"selection": {"state": state}}) is True
    assert verdict._agrees({"selection": {"state": "falseticker"}}) is False
    assert verdict._agrees({"selection": None}) is False


@pytest.mark.parametrize(
    ("valid", "cookies", "tests", "text"),
    [
        (5, 6, "101", "; ".join(CAUSES["ntp_unsynchronised"])),
        (5, 5, "101", "it answers no longer"),
        (5, 6, "110", "the first authenticated answer is awaited"),
        (0, 6, "101", "the first authenticated answer is awaited"),
    ],
)
def test_an_unsynchronised_server_is_known_by_its_answers(capture, valid, cookies, tests, text):
    """Test 6 of chronyd's tests 5 to 7 fails, and the server has answered lately."""

    def change(reports):
        source = reports["sources"][0]
        source["reach"] = 0
        source["ntpdata"].update(total_valid_rx=valid, total_tx=2, tests_5_to_7=tests, stratum=4)
        source["ntpdata"]["leap_status"] = "not_synchronised"
        source["auth"].update(cookies=cookies, nak=False, ke_attempts=0)

    facts = judge(capture("saved_cookies"), change=change)
    assert states_of(facts) == ((P, [P]) if cookies == 6 else (F, [F]))
    assert text in facts["nts"]["reasons"][0]


@pytest.mark.parametrize(("cookies", "state"), [(6, P), (5, F), (0, F)])
def test_without_ntpdata_the_used_cookies_count_the_lost_requests(capture, cookies, state):
    def change(reports):
        source = reports["sources"][0]
        source.update(reach=0, ntpdata=None)
        source["auth"].update(cookies=cookies)

    facts = judge(capture("saved_cookies"), change=change)
    assert states_of(facts) == (state, [state])
    reason = facts["nts"]["reasons"][0]
    assert (f"none of {8 - cookies} NTP requests to 10.77.0.1 was answered" in reason) == (state == F)
    if state == F:
        used_up = ". Its cookies are used up: after the repair, restart chronyd"
        assert reason.endswith(f"networks drop them){'' if cookies else used_up}.")


def test_a_source_that_authdata_does_not_list_is_unknown(capture):
    def change(reports):
        reports["sources"][0]["auth"] = None

    facts = judge(capture("healthy"), change=change)
    assert states_of(facts) == (X, [X, A])
    assert facts["nts"]["reasons"] == ["nts1.test: chronyc authdata did not list it."]


def test_progress_of_a_source_without_the_column_reach(capture):
    def change(reports):
        reports["sources"][0]["reach"] = None

    assert verdict.progress(judge(capture("saved_cookies"), change=change))[0].endswith(", reach unknown")


def option(state="selected", **given):
    """Return the selection of a source: its state and its options."""
    return {
        "state": state,
        **dict.fromkeys(("configured_trust", "effective_trust", "effective_prefer"), False),
        **given,
    }


def plain(selection, state="unusable"):
    return {"mode": "server", "state": state, "auth": {"mode": "none"}, "selection": selection, "name": "p"}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"mode": "refclock", "auth": None}, "refclock"),
        ({"auth": {"mode": "nts"}}, "nts"),
        ({"auth": {"mode": "symmetric_key"}}, "symmetric_key"),
        ({"auth": None}, "plain"),
        ({"selection": None}, "plain"),
        ({"selection": option(configured_trust=True)}, "trust"),
        ({"auth": {"mode": "nts"}, "selection": option(configured_trust=True)}, "nts"),
    ],
)
def test_the_reason_to_trust_a_source(source, kind):
    assert verdict.kind_of({**plain(option()), **source}) == kind


def test_each_kind_of_other_source_has_its_note():
    def row(name, **more):
        return {**plain(option(effective_noselect=False)), "name": name, "address": None, **more}

    sources = [
        row("b"),
        row("a"),
        row("GPS", mode="refclock", auth=None),
        row("k", auth={"mode": "symmetric_key"}),
        row("t", selection=option(configured_trust=True, effective_noselect=False)),
        row("n", selection=option(effective_noselect=True)),
        row("x", auth={"mode": "nts"}),
    ]
    assert verdict._notes_on_other_sources(sources) == [
        "chronyd may follow GPS, too (a reference clock, which needs no authentication).",
        "chronyd may follow k, too (authenticated by a symmetric key).",
        "chronyd may follow t, too (not authenticated: the option trust declares it right).",
        "chronyd may follow a, b, too (not authenticated: other sources are preferred while usable).",
    ]


@pytest.mark.parametrize(("stratum", "synchronised", "reported"), [(15, True, 0), (16, True, 1), (16, False, 0)])
def test_a_stratum_is_too_high_from_16_on(capture, stratum, synchronised, reported):
    facts = judge(capture("healthy"))
    facts["tracking"].update(stratum=stratum, synchronised=synchronised)
    assert len(verdict._high_stratum(facts)) == reported
    assert verdict._high_stratum(dict(facts, tracking=None)) == []


@pytest.mark.parametrize(
    ("running", "unit", "owner", "reported"),
    [
        (True, "chrony.service", "other.service", 1),
        (False, "chrony.service", "other.service", 0),
        (True, None, "other.service", 0),
        (True, "chrony.service", None, 0),
    ],
)
def test_another_unit_that_runs_chronyd_is_a_reason(running, unit, owner, reported):
    facts = host(running=running, unit=owner)
    facts["unit"] = unit and {"name": unit, "active_state": "inactive"}
    assert len(verdict._other_clock_setters(facts)) == reported


def unsynchronised(reports):
    """Make the clock of the reports follow nothing."""
    reports["tracking"].update(synchronised=False, leap_status="not_synchronised")


def test_an_unsynchronised_host_follows_no_source_without_nts(capture):
    assert states_of(judge(capture("mixed_ignore"), change=unsynchronised)) == (P, [A, U])
    assert judge(capture("plain"), change=unsynchronised)["nts"]["reasons"] == [
        "No source is configured with NTS.",
        "plain.test is not authenticated: it is configured without the nts option.",
        "The clock is not synchronised.",
    ]


@pytest.mark.parametrize(
    ("running", "rival", "reported"),
    [(True, "active", True), (True, "inactive", True), (False, "active", False), (False, "inactive", True)],
)
def test_an_active_rival_of_a_stopped_chronyd_is_no_clock_setter(running, rival, reported):
    facts = host(running=running)
    facts["environment"].update(
        rivals=[{"unit": SETTER["unit"], "active_state": rival}], clock_setters=[SETTER, dict(SETTER, sets_clock=False)]
    )
    assert len(verdict._other_clock_setters(facts)) == reported
