# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of queries, pauses and reading of the log, with captured reports of real chronyds."""

import os
import time

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import facts, host

LOOK = facts.GatherOptions(
    wait_for=None, min_sources=1, max_offset=None, timeout=10.0, command_timeout=5.0, log_lines=True, reports=()
)


@pytest.fixture
def gather(monkeypatch):
    """Return gather() on a host whose chronyd goes from state to state, and a record of the calls."""
    # Long: it replaces every function that reaches the host by a short fake, all of which share one record.

    def see_states(captures, installed=True, client=True, pid=7, elsewhere=None, **wanted):
        done = {"looks": 0, "log": 0, "slept": []}
        states = iter(captures)

        def survey(_timeout, _packages):
            daemon = {"pid": pid, "uptime_seconds": 5.0, "features": {"NTS": True}}
            daemon.update({"config_file": None, "arguments": None})
            return {
                "installed": installed,
                "client": {"path": "/usr/bin/chronyc" if installed and client else None},
                "daemon": daemon,
                "unit": None,
                "environment": {"cap_sys_time": True, "rivals": []},
            }

        def read_reports(_program, _timeout, _more):
            done["looks"] += 1
            done["capture"] = next(states, None) or done["capture"]
            return done["capture"].take()

        def log_lines(_pid, _uptime, _timeout):
            done["log"] += 1
            return [host.LogLine(*line) for line in done["capture"].log()]

        def sleep(seconds):
            done["slept"].append(seconds)
            done["now"] += seconds

        done["now"] = 1000.0
        monkeypatch.setattr(facts, "survey", survey)
        monkeypatch.setattr(facts, "read_reports", read_reports)
        monkeypatch.setattr(facts, "log_lines", log_lines)
        monkeypatch.setattr(facts, "find_daemon", lambda _pid, everywhere: elsewhere if everywhere else None)
        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(time, "monotonic", lambda: done["now"])
        return facts.gather(LOOK._replace(**wanted)), done

    return see_states


def test_one_query_without_a_condition(gather, capture):
    seen, done = gather([capture("ke_under_way")])
    assert (done["looks"], done["slept"]) == (1, [])
    assert (seen.reached, seen.waited_seconds, seen.warnings) == (None, 0.0, [])


def test_the_healthy_path_does_not_read_the_log(gather, capture):
    seen, done = gather([capture("healthy")], wait_for="authenticated", min_sources=2)
    assert (seen.reached, done["looks"], done["log"]) == (True, 1, 0)


def test_the_log_is_read_once_after_waiting(gather, capture):
    seen, done = gather([capture("ke_refused")], wait_for="authenticated", timeout=3.0)
    assert (seen.reached, done["log"]) == (False, 1)
    assert seen.facts["nts"]["state"] == "failed"
    assert "refuses connections" in seen.facts["nts"]["reasons"][0]


def test_the_log_is_not_read_without_the_option(gather, capture):
    seen, done = gather([capture("ke_refused")], log_lines=False)
    assert (seen.facts["nts"]["state"], done["log"]) == ("pending", 0)


def test_gather_polls_until_the_condition_holds(gather, capture):
    states = [capture(state) for state in ("stopped", "just_started", "first_answers", "healthy", "stopped")]
    seen, done = gather(states, wait_for="authenticated")
    assert (seen.reached, done["looks"]) == (True, 4)
    assert seen.facts["nts"]["state"] == "authenticated"
    assert seen.waited_seconds == pytest.approx(sum(done["slept"]), abs=0.01)


def test_pauses_grow_and_end_with_the_time(gather, capture):
    seen, done = gather([capture("just_started")], wait_for="reachable", timeout=10.0)
    assert done["slept"][:3] == pytest.approx([0.2, 0.3, 0.45])
    assert max(done["slept"]) == 2.0
    assert sum(done["slept"]) == pytest.approx(10.0)
    assert (seen.reached, seen.waited_seconds) == (False, 10.0)


@pytest.mark.parametrize(("timeout", "slept"), [(0.1, [0.1]), (0.6, [0.2, 0.3, 0.1])])
def test_the_last_pause_is_cut_short(gather, capture, timeout, slept):
    assert gather([capture("just_started")], wait_for="reachable", timeout=timeout)[1]["slept"] == pytest.approx(slept)


def test_a_timeout_of_zero_is_one_query(gather, capture):
    seen, done = gather([capture("just_started")], wait_for="reachable", timeout=0.0)
    assert (seen.reached, done["looks"]) == (False, 1)


def test_a_host_without_chrony_is_not_polled(gather):
    seen, done = gather([], installed=False, pid=None, wait_for="reachable")
    assert (seen.reached, done["looks"], done["slept"]) == (False, 0, [])
    assert seen.facts["nts"]["state"] == "not_running"


def test_a_daemon_that_answers_runs_even_if_its_process_is_not_found(gather, capture):
    seen, done = gather([capture("ke_refused")], pid=None)
    assert seen.facts["running"] is True
    assert (seen.facts["daemon"]["pid"], done["log"]) == (None, 0)


def test_the_process_of_a_daemon_that_answers_is_searched(gather, capture):
    assert gather([capture("healthy")], pid=None, elsewhere=os.getpid())[0].facts["daemon"]["pid"] == os.getpid()
    assert gather([capture("healthy")], pid=7, elsewhere=os.getpid())[0].facts["daemon"]["pid"] == 7
    assert gather([capture("stopped")], pid=None, elsewhere=os.getpid())[0].facts["running"] is False


def test_a_daemon_without_its_client_is_unknown(gather):
    seen, _done = gather([], client=False)
    assert seen.facts["nts"]["state"] == "unknown"
    assert "chronyc is not installed" in seen.facts["nts"]["reasons"][0]


def test_warnings_of_the_reports_are_returned(gather, capture):
    healthy = capture("healthy")
    for row, line in enumerate(healthy.content["answers"]["authdata -a"]):
        healthy.content["answers"]["authdata -a"][row] = line.rpartition(",")[0]
    assert "9 columns" in gather([healthy])[0].warnings[0]


def test_a_process_that_does_not_answer_runs(gather, capture):
    seen, _done = gather([capture("stopped")])
    assert seen.facts["running"] is True
    assert seen.facts["nts"]["state"] == "unknown"
