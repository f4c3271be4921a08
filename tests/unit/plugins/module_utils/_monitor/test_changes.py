# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import changes
from ansible_collections.securetime.nts.plugins.module_utils._monitor.changes import Condition
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils._monitor import monitored


def after(capture, *states):
    """Return the log lines of a host that goes through these states."""
    known, lines = {}, []
    for state in states:
        facts = None if state is None else monitored.facts_of(capture(state))
        new = changes.keep(known, changes.conditions(facts, None, [] if facts else ["No reports."]), facts)
        lines.append([str(change) for change in changes.changes(known, new)])
        known = new
    return lines


def test_the_first_run_logs_the_state_of_the_host(capture):
    assert after(capture, "healthy") == [["host: authenticated"]]


def test_a_fault_is_logged_once_with_reason_and_remedy(capture):
    first, second, third = after(capture, "healthy", "one_of_two_gone", "one_of_two_gone")
    assert first == ["host: authenticated"]
    assert [line.partition(": ")[0] for line in second] == ["host", "source nts1.test"]
    assert second[0].startswith("host: authenticated -> partial: nts1.test: the key exchange found no server")
    assert "source nts1.test: authenticated -> failed: " in second[1]
    assert "open the port in its firewall" in second[1]
    assert third == []


def test_a_repair_is_logged(capture):
    *_faults, repaired = after(capture, "healthy", "one_of_two_gone", "healthy")
    assert repaired == ["host: partial -> authenticated", "source nts1.test: failed -> authenticated"]


def test_a_source_that_is_gone_is_logged(capture):
    *_first, gone = after(capture, "healthy", "saved_cookies")
    assert gone == ["source nts2.test: authenticated -> gone"]


def test_a_run_without_reports_keeps_what_was_known(capture):
    _first, without, again = after(capture, "healthy", None, "healthy")
    assert without == ["collector: ok -> failed: No reports."]
    assert again == ["collector: failed -> ok"]


@pytest.mark.parametrize(
    ("old", "new", "logged"),
    [
        ("a fails after 16 s; open it. Its last answer came 5 s ago.", "a fails after 17 s; open it. Now 9 s.", False),
        ("a fails for DNS; repair it.", "a fails for its certificate; renew it.", True),
        ("a fails. chronyd tries again in 30 s.", "a fails. chronyd tries again in about 17 min.", False),
    ],
)
def test_another_cause_is_logged_and_other_numbers_are_not(old, new, logged):
    found = changes.changes({"source a": Condition("failed", old)}, {"source a": Condition("failed", new)})
    assert (found != []) is logged


@pytest.mark.parametrize(
    ("state", "level"),
    [("authenticated", "notice"), ("pending", "info"), ("failed", "warning"), ("unknown", "warning"), (None, "notice")],
)
def test_the_level_follows_from_the_new_state(state, level):
    assert changes.Change("host", None, state and Condition(state)).level == level


def test_a_server_with_its_own_goal_is_well(capture):
    facts = dict(monitored.facts_of(capture("plain")), goal="synchronised", goal_reached=True)
    assert changes.conditions(facts, None, [])["host"] == Condition("synchronised")
    facts["goal_reached"] = False
    assert changes.conditions(facts, None, [])["host"].state == "unauthenticated"


def test_a_certificate_that_is_not_served_is_a_condition():
    pair = {"id": "server", "problem": "chronyd serves no NTS: it refuses; restart it"}
    found = changes.conditions(None, {"pairs": [pair]}, [])
    assert found["certificate server"] == Condition("failed", "chronyd serves no NTS: it refuses; restart it.")
    assert changes.conditions(None, {"pairs": [dict(pair, problem="")]}, [])["certificate server"].state == "ok"


def test_certificates_are_kept_while_chronyd_is_down(capture):
    known = {"certificate server": Condition("ok"), "source a": Condition("failed", "x")}
    down = monitored.facts_of(capture("healthy"), running=False)
    assert "certificate server" in changes.keep(known, {}, down)
    up = monitored.facts_of(capture("healthy"))
    assert changes.keep(known, {}, up) == {}


def test_conditions_survive_their_file():
    known = {"host": Condition("failed", "why")}
    assert changes.from_json(changes.to_json(known)) == known
    assert changes.from_json({"host": ["failed"], "x": 3}) == {}
    assert changes.from_json(None) == {}
