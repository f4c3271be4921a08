# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.modules import chrony_monitor

GOOD = {
    "interval_seconds": 60,
    "probe_interval_minutes": 15,
    "textfile_directory": "auto",
    "log": "/var/log/chrony/nts-monitor.log",
    "hook": [],
    "thresholds": {},
}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"interval_seconds": 10},
        {"interval_seconds": 86400, "probe_interval_minutes": 1440},
        {"textfile_directory": "", "log": ""},
        {"hook": ["/usr/local/bin/notify", "x y"]},
        {"thresholds": {"offset": [0.1, 1], "cookies": [8, 4]}},
    ],
)
def test_valid_values_are_accepted(given):
    assert chrony_monitor.problems(dict(GOOD, **given)) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"interval_seconds": 9}, "interval_seconds is 9: set it to 10 to 86400"),
        ({"interval_seconds": 86401}, "interval_seconds is 86401: set it to 10 to 86400"),
        ({"probe_interval_minutes": 0}, "probe_interval_minutes is 0: set it to 1 to 1440"),
        ({"thresholds": {"offset": [2, 1]}}, "Swap the two numbers"),
        ({"thresholds": {"age": [1, 2]}}, "age is no threshold: use stratum, offset, root_distance"),
        ({"textfile_directory": "x"}, "textfile_directory is 'x': set it to an absolute path"),
        ({"log": "/var/log/a b.log"}, "log is '/var/log/a b.log': set it to an absolute path"),
        ({"hook": ["notify"]}, "hook is 'notify': begin it with the absolute path of a program"),
    ],
)
def test_an_invalid_value_is_reported_with_its_remedy(given, problem):
    assert problem in ". ".join(chrony_monitor.problems(dict(GOOD, **given)))


def test_all_problems_are_reported_at_once():
    assert len(chrony_monitor.problems(dict(GOOD, interval_seconds=1, log="x", hook=["y"]))) == 3
