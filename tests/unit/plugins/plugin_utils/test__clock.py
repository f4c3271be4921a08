# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's clock compared with the controller's: when the role refuses, sets the clock, or continues."""

from __future__ import annotations

import copy
import re
import subprocess
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils import _clock
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.plugins.plugin_utils._plan import plan
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import (
    DEFAULTS,
    FACTS,
    PLATFORMS,
    SERVER,
)

# 2026-11-23 11:48:29 UTC.
NOW = 1795434509.0
DAY = 86400.0
OFFSETS = [-3652 * DAY, -365 * DAY, -30 * DAY, -7200.0, 7200.0, 30 * DAY, 365 * DAY, 3652 * DAY]
BARE = {"installed": False, "daemon": {"version": None, "features": {}}, "unit": None, "nts": {"state": "stopped"}}
NO_PACKAGES = {"packages": {"chrony": None, "ca-certificates": None}}
FOLLOWS = {"tracking": {"synchronised": True, "offset_seconds": 0.001}}
TIMESYNCD = {"clock": {"time": NOW, "timesyncd_synchronised": True}}
STEP = {"makestep": {"threshold": 1.0, "limit": 3}}


def compared(
    ahead: float,
    variables: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the result of compare() for a Debian 13 host, by default a client with chrony."""
    chrony = {**copy.deepcopy(FACTS), **(facts or {})}
    chrony["environment"]["packages"]["python3-cryptography"] = "43.0.0-3"
    chrony["environment"].update(environment or {})
    inputs = Inputs({**DEFAULTS, **(variables or {})})
    return _clock.compare(inputs, plan(inputs, PLATFORMS, chrony), chrony, ahead, NOW)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(-0.5, -0.5), (0.0, 0.0), (3.0, 0.0), (7.0, 0.0), (7.5, 0.5), (-3600.0, -3600.0), (3607.0, 3600.0)],
)
def test_a_slow_connection_is_no_difference(seen: float, expected: float) -> None:
    assert _clock.ahead_seconds(NOW + seen, NOW, NOW + 7.0) == expected


@pytest.mark.parametrize("ahead", [-30 * DAY, 30 * DAY])
def test_a_wrong_clock_is_compared_with_the_end_of_the_module(ahead: float) -> None:
    # An emulated VM needs 40 s for the module, and reads its clock in the last second.
    assert abs(_clock.ahead_seconds(NOW + 39.0 + ahead, NOW, NOW + 40.0) - ahead) <= 1


@pytest.mark.parametrize("ahead", [-3600.0, -5.0, 0.0, 5.0, 3600.0])
@pytest.mark.parametrize("variables", [{}, SERVER])
def test_a_clock_that_is_roughly_right_is_not_mentioned(ahead: float, variables: dict[str, Any]) -> None:
    clock = compared(ahead, variables, BARE, NO_PACKAGES)
    assert (clock["problem"], clock["note"], clock["step_seconds"]) == ("", "", 0)


@pytest.mark.parametrize("ahead", OFFSETS)
@pytest.mark.parametrize(
    ("variables", "bare", "said"),
    [
        ({}, True, "chrony, ca-certificates cannot be installed"),
        (SERVER, False, "the server's certificates cannot be made"),
        ({**SERVER, "chrony_nts_certificate_provider": "selfsigned"}, False, "certificates cannot be made"),
        ({"chrony_nts_nocerttimecheck": 0}, False, "chrony_nts_nocerttimecheck is 0"),
        ({"chrony_nts_directives": {"makestep": {"threshold": 1.0, "limit": 0}}}, False, "makestep in chrony_nts_di"),
        ({"chrony_nts_directives": {"makestep": False}}, False, "makestep in chrony_nts_directives"),
    ],
)
def test_what_needs_the_time_is_refused_with_the_clock_and_the_command(
    ahead: float, variables: dict[str, Any], bare: bool, said: str
) -> None:
    host = (BARE, NO_PACKAGES) if bare else (None, None)
    clock = compared(ahead, variables, *host)
    problem = clock["problem"]
    assert said in problem
    assert _clock.utc(NOW + ahead) in problem
    assert _clock.utc(NOW) in problem
    assert ("ahead of" if ahead > 0 else "behind") in problem
    assert "Nothing was changed" in problem
    assert f"date --set='{-ahead:+.0f} seconds'" in problem
    assert clock["step_seconds"] == 0
    # A full stop and a blank separate sentences. The longest sentence names two times.
    assert max(len(sentence.split()) for sentence in re.split(r"\. ", problem)) <= 30


@pytest.mark.parametrize("ahead", OFFSETS)
def test_the_command_moves_the_clock_to_the_controllers(ahead: float) -> None:
    given = re.search(r"--set='(.*)'", _clock.command(round(-ahead)))
    assert given is not None
    shown = subprocess.run(
        ["date", "--utc", f"--date={given.group(1)}", "+%s"], capture_output=True, text=True, check=True
    )
    now = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True)
    assert abs(int(shown.stdout) - int(now.stdout) + ahead) <= 1


@pytest.mark.parametrize("ahead", OFFSETS)
def test_a_client_with_chrony_goes_on_because_chronyd_corrects_the_clock(ahead: float) -> None:
    clock = compared(ahead)
    assert (clock["problem"], clock["step_seconds"]) == ("", 0)
    assert "chronyd corrects it" in clock["note"]
    assert compared(ahead, {"chrony_nts_directives": {"makestep": {"threshold": 1.0, "limit": -1}}})["problem"] == ""


@pytest.mark.parametrize("ahead", OFFSETS)
@pytest.mark.parametrize("wish", [True, "yes"])
def test_the_role_sets_the_clock_only_where_something_needs_it(ahead: float, wish: object) -> None:
    wanted = {**SERVER, "chrony_nts_clock_from_controller": wish}
    clock = compared(ahead, wanted, BARE, NO_PACKAGES)
    assert (clock["problem"], clock["step_seconds"]) == ("", -ahead)
    assert "chrony_nts_clock_from_controller" in clock["note"]
    client = compared(ahead, {"chrony_nts_clock_from_controller": wish})
    assert (client["problem"], client["step_seconds"]) == ("", 0)


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"container": "podman"}, "a container (podman), whose clock"), ({"cap_sys_time": False}, "CAP_SYS_TIME is")],
)
@pytest.mark.parametrize("wish", [True, False])
def test_a_clock_that_is_not_the_hosts_own_is_never_set(environment: dict[str, Any], said: str, wish: bool) -> None:
    wanted = {**SERVER, "chrony_nts_clock_from_controller": wish}
    clock = compared(-30 * DAY, wanted, BARE, {**NO_PACKAGES, **environment})
    assert said in clock["problem"]
    assert "correct it there" in clock["problem"]
    assert "or set chrony_nts" not in clock["problem"]
    assert clock["step_seconds"] == 0
    assert "clock is that of the host that runs it" in compared(-30 * DAY, {}, None, environment)["note"]


@pytest.mark.parametrize(
    ("facts", "environment", "who"), [(FOLLOWS, {}, "chronyd"), (BARE, {**NO_PACKAGES, **TIMESYNCD}, "timesyncd")]
)
def test_a_clock_that_a_daemon_has_synchronised_is_not_set_and_points_at_the_controller(
    facts: dict[str, Any], environment: dict[str, Any], who: str
) -> None:
    own = {"own_ca": {"trusted": [], "issues": True}}
    clock = compared(30 * DAY, {**SERVER, "chrony_nts_clock_from_controller": True}, facts, {**environment, **own})
    assert (clock["problem"], clock["step_seconds"]) == ("", 0)
    assert who in clock["note"]
    assert "Check the controller's clock" in clock["note"]
    # The controller would set the dates of these certificates.
    first = compared(30 * DAY, {**SERVER, "chrony_nts_clock_from_controller": True}, facts, environment)
    assert "Check the controller's clock" in first["problem"]
    assert first["step_seconds"] == 0


@pytest.mark.parametrize(
    "facts",
    [
        {"tracking": {"synchronised": True, "offset_seconds": 30 * DAY}},
        {**FOLLOWS, "daemon": {**FACTS["daemon"], "clock_control": False}},
        {"tracking": {"synchronised": False, "offset_seconds": 0.0}},
        {"tracking": None},
    ],
    ids=["knows of the error", "only measures", "serves its own clock", "does not answer"],
)
def test_a_daemon_that_has_not_synchronised_the_clock_is_no_witness(facts: dict[str, Any]) -> None:
    assert "cannot be made" in compared(30 * DAY, SERVER, facts)["problem"]


APT_EARLY = (
    "Failed to update apt cache: E:Release file for http://mirror.test/debian/dists/trixie/InRelease is not valid"
    " yet (invalid for another 29d 23h 1min 2s). Updates for this repository will not be applied."
)
ABOUT_DATES = [
    APT_EARLY,
    "E:Release file for http://x/InRelease is expired (invalid since 29d 2h 1min). Updates will not be applied.",
    "Sub-process /usr/bin/sqv returned an error code (1), error message is: Not live until 2026-11-28T08:02:47Z",
    (
        "Failed to download metadata for repo 'baseos': Cannot prepare internal mirrorlist: Curl error (60): SSL peer"
        " certificate or SSH remote key was not OK for https://m [SSL certificate problem: certificate not yet valid]"
    ),
    "Certificate verification failed: The certificate is NOT trusted. The chain uses expired certificate.",
]


@pytest.mark.parametrize("message", ABOUT_DATES)
def test_a_failed_installation_that_names_a_date_names_the_clock(message: str) -> None:
    text = _clock.explained(message, {"ahead_seconds": -1800.0, "step_seconds": 0}, NOW)
    assert text.startswith(message)
    assert "By the clock of this host it was 2026-11-23 11:18 UTC, 30 minutes behind the controller's" in text
    assert "date --set='+1800 seconds'" in text
    agreed = _clock.explained(message, {"ahead_seconds": 0.0, "step_seconds": 0}, NOW)
    assert "2026-11-23 11:48 UTC, as by the controller's: if both are wrong" in agreed
    # The role has set the clock.
    assert "as by the controller's" in _clock.explained(message, {"ahead_seconds": -90.0, "step_seconds": 90}, NOW)


@pytest.mark.parametrize("message", ["No package matching 'chrony' is available", "Could not resolve mirror.test"])
def test_another_failure_is_left_as_it_is(message: str) -> None:
    assert _clock.explained(message, {"ahead_seconds": -1800.0, "step_seconds": 0}) == message


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (3 * 3600.0, "3 hours ahead of"),
        (-47 * 3600.0, "47 hours behind"),
        (-30 * DAY, "30 days behind"),
        (20.0, "20 seconds ahead of"),
        (0.4, "0 seconds ahead of"),
    ],
)
def test_a_difference_in_words(ahead: float, text: str) -> None:
    assert _clock.length(ahead) == text


def test_a_clock_beyond_all_calendars_has_a_time() -> None:
    assert _clock.utc(1e18) == "1000000000000000000 s after 1970"


def test_a_plan_that_stopped_early_gets_no_clock() -> None:
    planned = {"problems": ["Acme Linux is not supported"]}
    _clock.add(planned, Inputs({}), {}, 0.0, 0.0)
    assert planned == {"problems": ["Acme Linux is not supported"]}


@pytest.mark.parametrize(
    ("directives", "steps"),
    [
        ({}, True),
        ({"makestep": {"threshold": 1.0, "limit": 0}}, False),
        ({"makestep": {"threshold": 5000.0, "limit": 3}}, False),
        ({"makestep": {"threshold": 5000.0, "limit": 3}, "initstepslew": {"threshold": 30}}, True),
    ],
)
def test_chronyd_steps_within_the_limits_of_its_directives(directives: dict[str, Any], steps: bool) -> None:
    assert _clock._may_step(directives, 3600.0) is steps
