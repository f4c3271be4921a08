# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import nagios

NOW = 1795420000.0
WELL = {
    "time": NOW - 30,
    "interval_seconds": 60,
    "success": True,
    "failures": [],
    "goal": "authenticated",
    "goal_reached": True,
    "nts": {"state": "authenticated", "authenticated": True, "reasons": []},
    "tracking": {
        "synchronised": True,
        "stratum": 3,
        "offset_seconds": -0.00012,
        "root_delay_seconds": 0.02,
        "root_dispersion_seconds": 0.001,
    },
    "sources": [{"cookies": 8}, {"cookies": 7}, {"cookies": None}],
    "pairs": [],
}


def pair(days_left, lifetime=90.0, **more):
    """Return a server's pair whose certificate expires in so many days."""
    end = NOW + days_left * 86400
    dates = {"serial": "1", "not_after": end, "not_before": end - lifetime * 86400}
    return dict({"id": "server", "file": dates, "served": dates, "matches": True, "problem": ""}, **more)


def nagios_report(thresholds=None, **more):
    """Return the exit status and the line for a healthy host with these changes."""
    return nagios.report(dict(WELL, **more), nagios.read_thresholds(thresholds or {}), NOW)


def test_a_healthy_host_is_ok():
    data = "stratum=3;6;15 offset=0.00012s;0.05;1 root_distance=0.011s;0.1;1.5 cookies=7;4:;1:"
    assert nagios_report() == (0, f"NTS OK - the clock follows authenticated time | {data}")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("authenticated", 0),
        ("partial", 1),
        ("pending", 1),
        ("failed", 2),
        ("unauthenticated", 2),
        ("not_running", 2),
        ("unknown", 3),
        ("invented", 3),
    ],
)
def test_each_state_has_its_status(state, status):
    code, text = nagios_report(
        nts={"state": state, "reasons": [] if state == "authenticated" else ["Because | of\nthis."]}
    )
    assert code == status
    assert text.startswith(f"NTS {('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[status]} - ")
    assert text.count("|") == 1
    assert "\n" not in text
    assert state == "authenticated" or f"{state}: Because / of this." in text


@pytest.mark.parametrize(
    ("thresholds", "status", "said"),
    [
        ({"stratum": [2, 15]}, 1, "stratum 3 is above 2"),
        ({"stratum": [1, 2]}, 2, "stratum 3 is above 2"),
        ({"stratum": [3, 3]}, 0, ""),
        ({"offset": [0.0001, 1]}, 1, "offset 0.00012 s is above 0.0001 s"),
        ({"root_distance": [0.001, 0.01]}, 2, "root_distance 0.011 s is above 0.01 s"),
        ({"cookies": [8, 1]}, 1, "cookies 7 is below 8"),
        ({"cookies": [8, 8]}, 2, "cookies 7 is below 8"),
        ({"cookies": [7, 1]}, 0, ""),
        ({"cookies": [8, 7]}, 1, "cookies 7 is below 8"),
    ],
)
def test_thresholds(thresholds, status, said):
    code, text = nagios_report(thresholds)
    assert code == status
    assert said in text


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (pair(89), 0),
        (pair(13.9), 1),
        (pair(2.9), 2),
        (pair(-1), 2),
        # For a lifetime of six days, the limits are 1.2 and 0.3 days.
        (pair(2, 6), 0),
        (pair(1.1, 6), 1),
        (pair(0.2, 6), 2),
        # The served certificate counts, not that of the file.
        (pair(89, served=pair(2)["served"]), 2),
        (pair(89, problem="chronyd serves no NTS: x; y"), 2),
        (pair(89, problem="chronyd serves another certificate", matches=False), 1),
    ],
)
def test_certificates(found, status):
    assert nagios_report(pairs=[pair(60), found])[0] == status


def test_the_certificate_that_is_worst_is_shown():
    assert "certificate_days=13;14:;3:" in nagios_report(pairs=[pair(60), pair(13), pair(30)])[1]
    # 20 days left of ten years are OK, 1 day left of six is not.
    assert "certificate_days=1;1.2:;0.3:" in nagios_report(pairs=[pair(0.99999999, 6), pair(20, 3650)])[1]


def test_a_host_with_another_goal():
    nts = {"state": "unauthenticated", "reasons": ["No source is configured with NTS."]}
    assert nagios_report(goal="synchronised", goal_reached=True, nts=nts)[0] == 0
    assert nagios_report(goal="synchronised", goal_reached=False, nts=nts)[0] == 2


@pytest.mark.parametrize(("age", "status"), [(30, 0), (239, 0), (241, 3), (100000, 3)])
def test_an_old_status_is_unknown(age, status):
    code, text = nagios_report(time=NOW - age)
    assert code == status
    assert (f"last ran {age} s ago" in text) is (status == 3)


def test_a_missing_status_is_unknown():
    assert nagios.report(None, nagios.THRESHOLDS, NOW)[0] == 3


def test_a_failed_run_is_unknown_unless_something_is_worse():
    assert nagios_report(success=False, failures=["chronyc sources printed nonsense."], nts=None)[:1] == (3,)
    failed = {"state": "failed", "reasons": []}
    assert nagios_report(success=False, failures=["x."], nts=failed)[0] == 2


def test_an_unsynchronised_clock_has_no_offset():
    tracking = dict(WELL["tracking"], synchronised=False, stratum=0)
    text = nagios_report(tracking=tracking, nts={"state": "pending", "reasons": []})[1]
    assert "offset=" not in text
    assert "stratum=" not in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("strata", [1, 2], "strata is no threshold: use stratum, offset"),
        ("offset", [1], "set it to two numbers"),
        ("offset", "0.1,0.2", "set it to two numbers"),
        ("offset", ["a", 2], "set it to two numbers"),
        ("offset", [-1, 2], "set it to two numbers"),
        ("offset", [float("nan"), 2], "set it to two numbers"),
        ("offset", [2, 1], "Swap the two numbers"),
        ("cookies", [1, 4], "Swap the two numbers"),
    ],
)
def test_a_wrong_threshold_is_explained(name, value, said):
    assert said in nagios.threshold_problem(name, value)
    with pytest.raises(ValueError, match=name):
        nagios.read_thresholds({name: value})


def test_good_thresholds_are_taken():
    assert nagios.read_thresholds({"offset": ["0.1", "2"]})["offset"] == (0.1, 2.0)
    assert nagios.threshold_problem("cookies", [4, 4]) == ""
