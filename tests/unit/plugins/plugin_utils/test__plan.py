# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of hosts, computed from variables, platforms and facts.

Long: one module, one file of tests.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.filter import _role
from ansible_collections.securetime.nts.plugins.module_utils._pair.manager import Settings
from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _files
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.plugins.plugin_utils._plan import (
    PACKAGES,
    package_names,
    platform,
    prepares,
    proof,
    waits_by_socket,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._variables import MAY_BE_MISSING, PLATFORM
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import (
    AMAZON,
    DEBIAN,
    DEFAULTS,
    LEAP,
    ORACLE,
    PLATFORMS,
    ROCKY,
    ROLE,
    SERVER,
    UBUNTU,
    planned,
)

SECRET = "-----BEGIN PRIVATE KEY----- SECRET"


def test_a_client_with_everything_installed_needs_no_installation() -> None:
    host = planned()
    assert host["problems"] == []
    assert (host["missing_packages"], host["rivals"], host["pairs"], host["turns"]) == ([], [], [], [])
    assert host["options_text"].splitlines()[1] == 'DAEMON_OPTS="-F 1 -r"'
    assert "server ptbtime1.ptb.de iburst nts" in host["sources_text"].splitlines()
    assert "keyfile /etc/chrony/chrony.keys" in host["directive_lines"]
    assert "makestep 1.0 3" in host["directive_lines"]
    # The tasks read these.
    assert (host["installed"], host["python"]) == (True, "/usr/bin/python3")
    assert host["rotation_file"] == "/etc/logrotate.d/chrony"
    assert host["source_dir"] == "/etc/chrony/nts-sources.d"


def test_a_flag_and_a_number_of_another_certificate_may_be_text() -> None:
    more = {"id": "a", "names": ["a.example.org"], "new_key": "no", "lifetime_days": "30", "content": False}
    host = planned({**SERVER, "chrony_nts_more_certificates": [more]})
    assert [(pair["new_key"], pair["lifetime_days"]) for pair in host["pairs"]] == [(False, 90), (False, 30)]


def test_the_limits_of_a_server_follow_its_clients_and_its_directives() -> None:
    given = {**SERVER, "chrony_nts_expected_clients": 50_001}
    more = {**given, "chrony_nts_directives": {"cmdallow": ["192.0.2.0/24"]}}
    assert "ntsprocesses 2" in planned(given)["directive_lines"]
    assert "cmdratelimit interval -4" not in planned(given)["directive_lines"]
    assert "cmdratelimit interval -4" in planned(more)["directive_lines"]


def test_a_server_needs_the_package_for_its_certificates() -> None:
    host = planned(SERVER)
    assert host["missing_packages"] == ["python3-cryptography"]
    assert [turn["id"] for turn in host["turns"]] == ["server"]


def test_selinux_needs_its_tools_only_for_what_the_policy_does_not_know() -> None:
    other_port = {"chrony_nts_sources": [{"address": "nts.example.org", "ntsport": 4461}]}
    assert planned(environment__selinux=True)["ntske_ports"] == []
    assert planned(other_port)["missing_packages"] == []
    host = planned(other_port, environment__selinux=True)
    assert (host["ntske_ports"], host["missing_packages"]) == ([4461], ["policycoreutils-python-utils"])
    outside = {**SERVER, "chrony_nts_certificate_dir": "/srv/nts"}
    assert planned(outside)["certificate_dirs"] == ["/srv/nts"]
    assert planned(SERVER)["certificate_dirs"] == []
    for more in (
        {"chrony_nts_directives": {"port": 10123}},
        {"chrony_nts_directives": {"dumpdir": "/srv/chrony"}},
        {"chrony_nts_raw_lines": ["logdir /srv/log"]},
    ):
        assert planned(more, environment__selinux=True)["missing_packages"] == ["policycoreutils-python-utils"]
    usual = {"chrony_nts_directives": {"port": 123, "cmdport": 0, "dumpdir": "/var/lib/chrony/dump"}}
    assert planned(usual, environment__selinux=True)["missing_packages"] == []


def test_the_unit_lets_chronyd_write_where_it_keeps_something() -> None:
    assert planned()["writable_text"] == ""
    assert planned({"chrony_nts_directives": {"dumpdir": "/var/lib/chrony/dump"}})["writable_text"] == ""
    elsewhere = {
        "chrony_nts_directives": {"driftfile": "/srv/100%/drift", "logdir": "/srv/log", "log": "tracking"},
        "chrony_nts_raw_lines": ["dumpdir /srv/dump", "pidfile /run/chrony/x.pid"],
    }
    assert planned(elsewhere)["writable_text"].splitlines() == [
        _files.MANAGED,
        "",
        "[Service]",
        "ReadWritePaths=-/srv/100%% -/srv/dump -/srv/log",
    ]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "/var/log/chrony"),
        ({"chrony_nts_directives": {"logdir": None}}, ""),
        ({"chrony_nts_directives": {"logdir": "/srv/log"}}, ""),
        # The last line decides.
        (
            {"chrony_nts_directives": {"logdir": "/srv/log"}, "chrony_nts_raw_lines": ["logdir /var/log/chrony"]},
            "/var/log/chrony",
        ),
        ({"chrony_nts_raw_lines": ["logdir /srv/log"]}, ""),
    ],
)
def test_log_dir_is_the_folder_of_the_platform_alone(variables: dict[str, Any], folder: str) -> None:
    assert planned(variables)["log_dir"] == folder


def test_a_chronyd_without_a_version_is_installed_again() -> None:
    host = planned(daemon__version=None)
    assert host["half_installed"]
    assert host["missing_packages"] == ["chrony", "ca-certificates"]
    assert host["problems"] == []
    assert planned({"chrony_nts_skip_unsupported": True}, daemon__version=None)["skip_for"] == ""


def rival(unit: str, load_state: str, active_state: str, unit_file_state: str) -> dict[str, str]:
    return {
        "unit": unit,
        "load_state": load_state,
        "active_state": active_state,
        "unit_file_state": unit_file_state,
    }


def test_the_first_look_at_a_host_is_kept() -> None:
    rivals = [
        rival("systemd-timesyncd.service", "loaded", "active", "enabled"),
        rival("ntpsec.service", "loaded", "inactive", "disabled"),
        rival("openntpd.service", "masked", "inactive", "masked"),
    ]
    before = planned(installed=False, unit=None, environment__rivals=rivals)
    assert before["rivals"] == ["systemd-timesyncd.service", "ntpsec.service"]
    first = {
        "installed": False,
        "active": False,
        "enabled": False,
        "rivals": [
            {"unit": "systemd-timesyncd.service", "active": True, "enabled": True},
            {"unit": "ntpsec.service", "active": False, "enabled": False},
        ],
    }
    assert before["first_seen"] == first
    assert planned(first_seen=first)["first_seen"] == first


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ({"active_state": "active", "unit_file_state": "enabled"}, (True, True)),
        ({"active_state": "active", "unit_file_state": "enabled-runtime"}, (True, True)),
        ({"active_state": "failed", "unit_file_state": "enabled"}, (False, True)),
        ({"active_state": "active", "unit_file_state": "disabled"}, (True, False)),
        ({"active_state": "active", "unit_file_state": None}, (True, False)),
    ],
)
def test_the_first_state_of_chronyd_is_that_of_its_unit(unit: dict[str, Any], expected: tuple[bool, bool]) -> None:
    first = planned(unit={"name": "chrony.service", **unit})["first_seen"]
    assert (first["installed"], first["active"], first["enabled"]) == (True, *expected)


@pytest.mark.parametrize(
    ("running", "owner", "expected"),
    [(True, "chrony.service", True), (True, "other.service", False), (False, None, False)],
)
def test_a_chronyd_that_systemd_has_lost_was_active(running: bool, owner: str | None, expected: bool) -> None:
    unit = {"name": "chrony.service", "active_state": "inactive", "unit_file_state": "enabled"}
    assert planned(unit=unit, running=running, daemon__unit=owner)["first_seen"]["active"] is expected


@pytest.mark.parametrize(
    ("state", "found"),
    [("enabled", False), ("disabled", False), ("masked", False), ("masked-runtime", True), (None, False)],
)
def test_a_runtime_mask_of_an_earlier_run_is_to_be_removed(state: str | None, found: bool) -> None:
    assert planned(unit={"name": "chrony.service", "unit_file_state": state})["masked_at_runtime"] is found
    assert planned(unit=None)["masked_at_runtime"] is False


def test_a_masked_unit_is_a_problem_before_the_host_is_touched() -> None:
    (problem,) = planned(unit={"name": "chrony.service", "unit_file_state": "masked"})["problems"]
    assert "is masked on this host" in problem
    assert "`systemctl unmask chrony.service`" in problem
    assert planned(unit={"name": "chrony.service", "unit_file_state": "masked-runtime"})["problems"] == []
    # systemd takes an empty file for a mask, which the role reinstalls with the empty program.
    emptied = planned(unit={"name": "chrony.service", "unit_file_state": "masked"}, daemon__version=None)
    assert (emptied["problems"], emptied["half_installed"]) == ([], True)


def test_a_masked_rival_is_left_alone() -> None:
    masked = rival("systemd-timesyncd.service", "masked", "inactive", "masked")
    assert planned(environment__rivals=[masked])["rivals"] == []


@pytest.mark.parametrize(
    ("wish", "container", "capable", "controls"),
    [
        ("auto", None, True, True),
        ("auto", "podman", True, False),
        ("auto", None, False, False),
        ("always", "podman", False, True),
        ("never", None, True, False),
    ],
)
def test_the_clock_is_controlled_where_that_is_possible(
    wish: str, container: str | None, capable: bool, controls: bool
) -> None:
    host = planned(
        {"chrony_nts_clock_control": wish}, environment__container=container, environment__cap_sys_time=capable
    )
    assert host["clock_control"] is controls
    assert ("-x" in host["options_text"].split('"')[1].split()) is not controls
    assert any("(-x)" in note for note in host["notes"]) is not controls


def options_of(words: list[str], variables: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    """Return the plan of a host whose package file has these options of chronyd."""
    shared = {"files": ["/etc/default/chrony"], "variables": {"DAEMON_OPTS": words}}
    return planned(variables, environment__daemon_options=shared, **facts)


@pytest.mark.parametrize(
    ("others", "own", "expected"),
    [
        (["-F", "1"], [], "-F 1 -r"),
        # The options of CIS benchmarks, as ansible-lockdown and other roles set them.
        (["-F", "1", "-u", "_chrony"], [], "-F 1 -u _chrony -r"),
        (["-u", "_chrony"], [], "-F 1 -u _chrony -r"),
        (["-F", "2", "-4"], ["-F 0", "-6"], "-F 0 -r -6"),
        ([], ["-F", "0", "-u", "root", "-r"], "-F 0 -r -u root"),
        (["-x"], [], "-F 1 -r -x"),
    ],
)
def test_options_of_others_and_of_the_operator_are_kept(others: list[str], own: list[str], expected: str) -> None:
    host = options_of(others, {"chrony_nts_daemon_options": own})
    assert host["problems"] == []
    assert host["options_file"] == "/etc/default/chrony-securetime-nts"
    assert host["options_text"].splitlines()[1:] == [f'DAEMON_OPTS="{expected}"']
    assert host["daemon_options"] == expected.split()
    assert host["user"] == ("root" if "-u root" in expected else "_chrony")


def test_options_that_a_daemon_cannot_have_are_left_out_and_reported() -> None:
    host = options_of(["-q", "-F", "1", "server"], {"chrony_nts_clock_control": "always"})
    assert host["daemon_options"] == ["-F", "1", "-r"]
    assert [note.partition(" is left out")[0] for note in host["notes"]] == [
        "-q in /etc/default/chrony",
        "server in /etc/default/chrony",
    ]
    (note,) = options_of(["-x"], {"chrony_nts_clock_control": "always"})["notes"]
    assert note == "-x in /etc/default/chrony is left out: chrony_nts_clock_control is always."
    (note,) = options_of(["-x"])["notes"]
    assert note.endswith("does not set the clock (-x): others have given it this option.")


def test_a_unit_that_gives_chronyd_no_options_is_refused() -> None:
    shared = {"files": [], "variables": {}}
    (found,) = planned(environment__daemon_options=shared)["problems"]
    assert found.startswith("The unit chrony.service does not give $DAEMON_OPTS to chronyd")


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"chrony_nts_directives": {"mailonchange": "root 0.5"}}, "Set chrony_nts_daemon_options to ['-F', '0']"),
        ({"chrony_nts_raw_lines": ["mailonchange root 0.5"]}, "Set chrony_nts_daemon_options to ['-F', '0']"),
        ({"chrony_nts_directives": {"mailonchange": "root 0.5"}, "chrony_nts_daemon_options": ["-F", "0"]}, None),
        ({"chrony_nts_raw_lines": ["noclientlog", "ratelimit"]}, "noclientlog contradicts"),
        ({"chrony_nts_directives": {"rtcfile": "/var/lib/chrony/rtc"}}, None),
        ({"chrony_nts_raw_lines": ["rtcfile /var/lib/chrony/rtc"]}, None),
        ({"chrony_nts_directives": {"rtcfile": "/var/lib/chrony/rtc", "rtcsync": True}}, "rtcfile contradicts rtcsync"),
        ({"chrony_nts_directives": {"refclock": "PHC /dev/ptp0 tai"}}, None),
        (
            {"chrony_nts_directives": {"refclock": "PHC /dev/ptp0 tai", "leapsectz": None, "leapseclist": None}},
            "needs leapsectz",
        ),
    ],
)
def test_what_would_end_chronyd_at_its_start_is_refused(variables: dict[str, Any], found: str | None) -> None:
    problems = planned(variables)["problems"]
    assert len(problems) == (found is not None)
    assert found is None or found in problems[0]


def test_a_chronyd_without_a_filter_cannot_be_given_one() -> None:
    features = {"NTS": True, "SCFILTER": False}
    (found,) = planned(daemon__features=features)["problems"]
    assert "has no system call filter" in found
    # The options of Enterprise Linux 8 have no -F.
    host = planned(environment__os=ORACLE, environment__daemon_options=None, daemon__features=features)
    assert (host["daemon_options"], host["problems"]) == (["-r"], [])


@pytest.mark.parametrize(
    ("state", "directives", "expected"),
    [
        ("enabled", {"cmdport": 0}, True),
        ("enabled", {"cmdport": 11323}, True),
        ("enabled", {"cmdport": 323}, False),
        ("enabled", {"bindcmdaddress": ["192.0.2.1"]}, True),
        ("enabled", {"bindcmdaddress": ["127.0.0.1", "::1", "/run/chrony/chronyd.sock"]}, False),
        ("enabled", {}, False),
        ("disabled", {"cmdport": 0}, False),
        ("masked", {"cmdport": 0}, False),
        (None, {"cmdport": 0}, False),
    ],
)
def test_the_unit_that_waits_for_chronyd_asks_where_chronyd_answers(
    state: str | None, directives: dict[str, Any], expected: bool
) -> None:
    host = planned({"chrony_nts_directives": directives}, environment__chrony_wait=state)
    assert (host["problems"], host["wait_by_socket"]) == ([], expected)
    lines = [f"{name} {directives[name]}" for name in directives if name == "cmdport"]
    if lines:
        raw = planned({"chrony_nts_raw_lines": lines}, environment__chrony_wait=state)
        assert raw["wait_by_socket"] is expected


def test_a_boot_that_would_wait_for_nothing_is_refused() -> None:
    closed = {"chrony_nts_directives": {"cmdport": 0, "bindcmdaddress": ["/"]}}
    (found,) = planned(closed, environment__chrony_wait="enabled")["problems"]
    assert "chrony-wait.service is enabled and could not ask chronyd" in found
    assert planned(closed)["problems"] == []
    other = {"chrony_nts_directives": {"bindcmdaddress": ["/run/chrony/other.sock"]}}
    assert planned(other)["command_socket"] == "/run/chrony/other.sock"
    assert (planned()["command_socket"], planned()["user"]) == ("/run/chrony/chronyd.sock", "_chrony")


def test_a_rival_that_is_no_package_of_its_own_is_not_restored_as_one() -> None:
    found = [rival("timemaster.service", "loaded", "active", "enabled")]
    host = planned(environment__rivals=found)
    assert (host["rivals"], host["first_seen"]["rivals"]) == (["timemaster.service"], [])


def test_drop_ins_are_refused_only_where_there_are_some() -> None:
    assert planned({"chrony_nts_dropins": "refuse"})["problems"] == []
    dhcp = ["/run/chrony-dhcp/eth0.sources"]
    assert planned({"chrony_nts_dropins": "refuse"}, environment__drop_ins=dhcp)["problems"] == []
    assert planned(environment__drop_ins=["/etc/chrony/conf.d/a.conf"])["problems"] == []


def test_certbot_is_installed_where_it_requests_a_certificate() -> None:
    acme = {**SERVER, "chrony_nts_certificate_provider": "acme", "chrony_nts_acme_client": "certbot"}
    assert "certbot" in planned(acme)["packages"]
    assert "certbot" not in planned({**acme, "chrony_nts_acme_client": "controller"})["packages"]
    assert "certbot" not in planned(SERVER)["packages"]


def test_a_platform_may_have_no_tools() -> None:
    described = {name: value for name, value in PLATFORMS["debian"].items() if name != "tool_packages"}
    variables = {"chrony_nts_platform": described, "chrony_nts_package_tools": True}
    void = {"id": "void", "like": [], "name": "Void", "version": None}
    assert planned(variables, environment__os=void)["packages"] == ["chrony", "ca-certificates"]


def test_ignored_drop_ins_are_reported() -> None:
    files = ["/etc/chrony/conf.d/a.conf", "/run/chrony-dhcp/eth0.sources"]
    (note,) = planned(environment__drop_ins=files)["notes"]
    assert "does not read /etc/chrony/conf.d/a.conf." in note
    assert planned({"chrony_nts_dropins": "include"}, environment__drop_ins=files)["notes"] == []


@pytest.mark.parametrize(("state", "effect"), [("failed", "restart"), ("partial", "restart"), ("pending", "nothing")])
def test_trust_restarts_a_chronyd_whose_key_exchanges_failed(state: str, effect: str) -> None:
    assert planned(nts__state=state)["trust_effect"] == effect


@pytest.mark.parametrize(
    ("facts", "variables", "expected"),
    [
        ({"environment__os": {"id": "void", "like": [], "name": "Void", "version": None}}, {}, "Void is not supported"),
        ({"environment__service_manager": None}, {}, "Debian GNU/Linux without systemd is not supported"),
        ({"environment__os": {**DEBIAN, "version": "10"}}, {}, "10 has no chrony with NTS.*since 11"),
        ({"environment__os": {**ROCKY, "version": "7.9"}}, {}, "Rocky Linux 7.9 has no chrony with NTS.*since 8"),
        ({"environment__fips": True}, {}, "in FIPS mode, where NTS cannot run"),
        ({"environment__drop_ins": ["/a"]}, {"chrony_nts_dropins": "refuse"}, "'refuse', and there is /a"),
        ({"daemon": {"version": "3.5", "features": {}}}, {}, "version 3.5 without NTS.*4.0 or newer"),
        (
            {"daemon": {"version": "3.5", "features": {}}},
            {"chrony_nts_skip_unsupported": True},
            "version 3.5 without NTS.*4.0 or newer",
        ),
        ({"daemon__features": {"NTS": False}}, {}, r"version 4.6.1 without NTS.*shows \+NTS"),
        (
            {},
            {"chrony_nts_sources": [{"address": "a", "maxunreach": 10}]},
            (
                r"maxunreach of chrony_nts_sources \(a\) needs chronyd 4.8 or newer, this host has 4.6.1: take it out,"
                " or set chrony_nts_skip_unsupported to true"
            ),
        ),
        (
            {"daemon__version": "4.2"},
            {"chrony_nts_directives": {"log": ["tracking", "selection"], "ptpport": 319}},
            "^selection of chrony_nts_directives.log needs chronyd 4.3 or newer, this host has 4.2",
        ),
        (
            {"daemon__version": "4.0"},
            {"chrony_nts_trust_anchors": [{"content": "-----BEGIN CERTIFICATE-----", "set": 2}]},
            (
                "set of chrony_nts_trust_anchors needs chronyd 4.1 or newer, this host has 4.0: take it out, or set"
                " chrony_nts_skip_unsupported to true"
            ),
        ),
        (
            {"daemon__version": "4.0"},
            {**SERVER, "chrony_nts_more_certificates": [{"id": "a", "names": ["a.example.org"]}]},
            "chrony_nts_more_certificates needs chronyd 4.1 or newer, and this host has 4.0",
        ),
    ],
    ids=[
        "unknown-distribution",
        "without-systemd",
        "old-debian",
        "old-enterprise-linux",
        "in-fips-mode",
        "drop-ins-refused",
        "old-chronyd",
        "old-chronyd-that-skips-options",
        "chronyd-built-without-nts",
        "option-of-a-later-chronyd",
        "choice-of-a-later-chronyd",
        "sets-of-a-later-chronyd",
        "certificates-of-a-later-chronyd",
    ],
)
def test_an_unfit_host_is_refused(facts: dict[str, Any], variables: dict[str, Any], expected: str) -> None:
    problems = planned(variables, **facts)["problems"]
    assert re.search(expected, "\n".join(problems)), problems


def test_text_of_the_host_cannot_steer_a_terminal() -> None:
    path = "/etc/chrony/conf.d/a\x1b[2J\n.conf"
    (note,) = planned(environment__drop_ins=[path])["notes"]
    (problem,) = planned({"chrony_nts_dropins": "refuse"}, environment__drop_ins=[path])["problems"]
    unknown = {"id": "void", "like": [], "name": "Void\x1b[2J", "version": None}
    (unsupported,) = planned(environment__os=unknown)["problems"]
    for text in (note, problem, unsupported):
        assert text.isprintable()
        assert "?[2J" in text


def test_every_obstacle_is_named_at_once() -> None:
    refuse = {"chrony_nts_dropins": "refuse"}
    assert len(planned(refuse, environment__fips=True, environment__drop_ins=["/a"])["problems"]) == 2


def test_what_an_old_chronyd_does_not_know_can_be_left_out() -> None:
    variables = {
        "chrony_nts_skip_unsupported": True,
        "chrony_nts_sources": [{"address": "a", "maxunreach": 10}],
        "chrony_nts_directives": {"maxntsconnections": 5, "maxstratum": 3},
    }
    host = planned(variables)
    assert (host["problems"], host["skip_for"]) == ([], "4.6.1")
    assert "maxunreach" not in host["sources_text"]
    assert "maxstratum 3" not in host["directive_lines"]
    assert "maxntsconnections 5" in host["directive_lines"]


def test_a_release_that_has_no_number_is_not_refused() -> None:
    assert planned(environment__os={**DEBIAN, "version": None})["problems"] == []


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (DEBIAN, {"service": "chrony.service", "options": ["-F", "1"]}),
        ({**DEBIAN, "id": "linuxmint", "like": ["ubuntu", "debian"]}, {"service": "chrony.service"}),
        (ROCKY, {"service": "chronyd.service", "options": ["-F", "2"], "config_file": "/etc/chrony.conf"}),
        ({**ROCKY, "version": "8.10"}, {"options": [], "service": "chronyd.service"}),
        (ORACLE, {"options": [], "service": "chronyd.service"}),
        (LEAP, {"packages": ["chrony", "ca-certificates-mozilla"]}),
        (AMAZON, {"service": "chronyd.service", "config_file": "/etc/chrony.conf"}),
        (UBUNTU, {"service": "chrony.service", "group": "_chrony"}),
    ],
)
def test_a_platform_is_its_family_then_itself_then_its_release(
    system: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = platform(PLATFORMS, system, {})
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("version", ["7", "7.1", "7.1.2"])
def test_a_platform_extends_the_one_that_the_operator_names(version: str) -> None:
    names = {"suse": {"group": "chrony"}, "acme": {"service": "acme.service"}, "acme-7": {"options": []}}
    found = platform(names, {"id": "acme", "version": version}, {"like": "suse"})
    assert found == {"group": "chrony", "service": "acme.service", "options": [], "like": "suse"}


def test_a_system_may_have_neither_relatives_nor_a_name() -> None:
    found = platform(PLATFORMS, {"id": "debian", "version": "13"}, {})
    assert found == platform(PLATFORMS, DEBIAN, {})
    (problem,) = planned(environment__os={"id": "void", "like": [], "name": None, "version": None})["problems"]
    assert problem.startswith("void is not supported")


def test_the_operator_has_the_last_word_about_a_platform() -> None:
    assert platform(PLATFORMS, DEBIAN, {"service": "chronyd.service"})["service"] == "chronyd.service"
    unknown = {"id": "void", "like": [], "name": "Void", "version": None}
    described = {**PLATFORMS["debian"], "service": "chronyd.service"}
    host = planned({"chrony_nts_platform": described}, environment__os=unknown)
    assert (host["problems"], host["platform"]["service"]) == ([], "chronyd.service")


def test_the_flag_of_a_platform_may_be_text() -> None:
    assert planned({"chrony_nts_platform": {"one_time_daemon": "no"}})["platform"]["one_time_daemon"] is False
    assert planned()["platform"]["one_time_daemon"] is True


def test_another_family_is_data() -> None:
    host = planned(environment__os=LEAP, environment__package_manager="zypper", environment__daemon_options=None)
    assert host["problems"] == []
    assert host["package_manager"] == "zypper"
    assert host["missing_packages"] == ["ca-certificates-mozilla"]
    assert host["options_text"].splitlines()[1] == 'OPTIONS="-r"'


@pytest.mark.parametrize("name", [name for name, row in PLATFORMS.items() if "packages" in row])
def test_every_family_says_the_same_things(name: str) -> None:
    assert set(PLATFORMS[name]) - {*MAY_BE_MISSING} == {"minimum", *(part.name for part in PLATFORM.parts)} - {
        *MAY_BE_MISSING
    }


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_platform_holds_values_of_the_right_kind(name: str) -> None:
    described = {key: value for key, value in PLATFORMS[name].items() if key != "minimum"}
    assert list(_chrony_conf.wrong(PLATFORM, described)) == []


def test_a_platform_that_is_described_in_part_is_refused() -> None:
    unknown = {"id": "void", "like": [], "name": "Void", "version": None}
    (found,) = planned({"chrony_nts_platform": {"service": "chronyd.service"}}, environment__os=unknown)["problems"]
    assert "Void is not known to the role, and chrony_nts_platform lacks packages, server_packages" in found


def test_a_host_without_a_package_manager_is_refused_where_a_package_is_missing() -> None:
    assert planned(environment__package_manager=None)["problems"] == []
    (found,) = planned(SERVER, environment__package_manager=None)["problems"]
    assert "Install python3-cryptography on it." in found


def test_a_chronyd_that_does_not_run_after_its_installation_is_refused() -> None:
    first = planned(daemon__version=None)
    assert first["problems"] == []
    (found,) = planned(daemon__version=None, first_seen=first["first_seen"])["problems"]
    assert "The chronyd on this host does not run" in found


@pytest.mark.parametrize(
    ("variables", "packages", "installs"),
    [
        ({}, {}, False),
        ({"chrony_nts_package_cache_seconds": 0, "chrony_nts_package_lock_seconds": 5}, {}, False),
        ({"chrony_nts_package_version": "4.6.1-3"}, {}, False),
        ({"chrony_nts_package_version": "4.6*"}, {}, False),
        ({"chrony_nts_package_version": "4.3*"}, {}, True),
        ({"chrony_nts_package_tools": True}, {"gnutls-bin": "3.8", "openssl": "3.5"}, False),
        ({"chrony_nts_package_tools": True}, {}, True),
        ({"chrony_nts_package_state": "latest"}, {}, True),
        ({"chrony_nts_package_upgrade": True}, {}, True),
    ],
)
def test_the_package_manager_runs_only_where_something_can_change(
    variables: dict[str, Any], packages: dict[str, str], installs: bool
) -> None:
    there = {"chrony": "4.6.1-3", "ca-certificates": "20250419", **packages}
    assert planned(variables, environment__packages=there)["installs"] is installs


def test_the_package_manager_gets_what_the_variables_say() -> None:
    given = {
        "chrony_nts_package_version": "4.3-1",
        "chrony_nts_package_state": "latest",
        "chrony_nts_package_upgrade": True,
        "chrony_nts_package_cache_seconds": 600,
        "chrony_nts_package_lock_seconds": 5,
        "chrony_nts_package_tools": True,
    }
    assert planned(given)["installation"] == {
        "manager": "apt",
        "name": ["chrony", "ca-certificates", "gnutls-bin", "openssl"],
        "versions": {"chrony": "4.3-1"},
        "state": "latest",
        "upgrade": True,
        "cache_seconds": 600,
        "lock_seconds": 5,
    }


@pytest.mark.parametrize(
    ("variables", "facts", "age"),
    [
        # apt never refreshes its package lists by itself.
        ({}, {"installed": False}, 0),
        ({}, {}, -1),
        ({"chrony_nts_package_state": "latest"}, {}, 0),
        ({"chrony_nts_package_version": "4.3*"}, {}, 0),
        ({"chrony_nts_package_cache_seconds": 60}, {"installed": False}, 60),
        ({}, {"installed": False, "environment__os": ROCKY, "environment__package_manager": "dnf"}, -1),
    ],
)
def test_lists_of_packages_are_refreshed_where_the_package_manager_does_not(
    variables: dict[str, Any], facts: dict[str, Any], age: int
) -> None:
    assert planned(variables, **facts)["installation"]["cache_seconds"] == age


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"chrony_nts_package_version": "4.1*"}, "zypper takes no pattern"),
        ({"chrony_nts_package_version": "4.1", "chrony_nts_package_upgrade": True}, "zypper cannot leave out chrony"),
    ],
)
def test_what_zypper_cannot_do_is_refused(variables: dict[str, Any], expected: str) -> None:
    suse = {"environment__os": LEAP, "environment__package_manager": "zypper", "environment__daemon_options": None}
    assert planned(variables)["problems"] == []
    assert planned(**suse)["problems"] == []
    (problem,) = planned(variables, **suse)["problems"]
    assert expected in problem


def test_packages_cannot_be_asked_of_a_host_without_a_package_manager() -> None:
    (problem,) = planned({"chrony_nts_package_state": "latest"}, environment__package_manager=None)["problems"]
    assert "this host has none of apt, dnf and zypper" in problem


def test_every_package_of_a_platform_is_asked_for() -> None:
    names = package_names(PLATFORMS, {"packages": ["chrony-nts"]})
    assert {"chrony", "chrony-nts", "ca-certificates-mozilla", "policycoreutils-python-utils"} <= set(names)
    assert set(PACKAGES) <= set(PLATFORMS["debian"])


@pytest.mark.parametrize(
    ("sources", "verify", "goal"),
    [
        ([{"address": "a"}], "authenticated", "authenticated"),
        ([{"address": "a", "nts": False}], "authenticated", "synchronised"),
        ([], "authenticated", "none"),
        ([{"address": "a", "nts": False}], "none", "none"),
        ([{"address": "a"}], "synchronised", "synchronised"),
    ],
)
def test_the_goal_is_one_that_the_host_can_reach(sources: list[Any], verify: str, goal: str) -> None:
    variables = {**DEFAULTS, "chrony_nts_sources": sources, "chrony_nts_verify": verify}
    assert proof(Inputs(variables))["goal"] == goal


@pytest.mark.parametrize(
    ("clock", "goal"),
    [
        ({}, "synchronised"),
        ({"prefer": True}, "synchronised"),
        ({"noselect": True}, "none"),
        ({"local": "yes"}, "none"),
    ],
)
def test_a_reference_clock_is_to_be_followed(clock: dict[str, Any], goal: str) -> None:
    directives = {"refclock": [{"driver": "SHM", "parameter": "0", **clock}]}
    variables = {**DEFAULTS, "chrony_nts_sources": [], "chrony_nts_directives": directives}
    assert proof(Inputs(variables))["goal"] == goal
    assert proof(Inputs({**variables, "chrony_nts_sources": [{"address": "a"}]}))["goal"] == "authenticated"


def test_a_change_of_trust_restarts_a_client_of_which_some_source_has_failed() -> None:
    """A failed source counts even if the clock follows a reference clock."""
    sources = [{"nts": {"state": "unauthenticated"}}, {"nts": {"state": "failed"}}]
    assert planned(nts__state="unauthenticated", sources=sources)["trust_effect"] == "restart"
    assert planned(nts__state="unauthenticated", sources=sources[:1])["trust_effect"] == "nothing"


def test_servers_of_sets_that_others_fill_are_not_probed() -> None:
    anchors = [{"content": "-----BEGIN CERTIFICATE-----", "set": 2}]
    sources = [{"address": "a"}, {"address": "b", "certset": 2}, {"address": "c", "certset": 3}]
    variables = {**DEFAULTS, "chrony_nts_sources": sources, "chrony_nts_trust_anchors": anchors}
    assert [server["address"] for server in proof(Inputs(variables))["servers"]] == ["a", "b"]


def test_the_plan_holds_no_secret_and_the_parameters_do() -> None:
    secrets = {
        **SERVER,
        "chrony_nts_certificate_provider": "files",
        "chrony_nts_certificate_content": "-----BEGIN CERTIFICATE-----",
        "chrony_nts_certificate_key_content": SECRET,
        "chrony_nts_more_certificates": [
            {"id": "a", "names": ["a.example.org"], "content": "C", "key_content": SECRET, "provider": "files"}
        ],
        "chrony_nts_symmetric_keys": [{"id": 1, "type": "SHA256", "key": "HEX:5EC2E7SECRET"}],
        "chrony_nts_ca_passphrase": "SECRET SECRET",
        "chrony_nts_ca_key_content": SECRET,
    }
    host = planned(secrets)
    assert "SECRET" not in json.dumps(host)
    anchors = [{"set": 0, "path": "/etc/chrony/nts/trusted.pem", "content": "C"}]
    done = _files.parameters(Inputs({**DEFAULTS, **secrets}), host, anchors)
    keys = "/etc/chrony/chrony.keys"
    assert set(done["secrets"]) == {keys, "/etc/chrony/nts/server.key", "/etc/chrony/nts/a.key"}
    assert done["secrets"][keys] == f"{_files.MANAGED}\n1 SHA256 HEX:5EC2E7SECRET\n"
    assert {row["group"] for row in done["files"] if row["path"] in done["secrets"]} == {"_chrony"}
    assert {"path": "/etc/chrony/nts/trusted.pem", "content": "C", "effect": "nothing"} in done["files"]


def test_files_begin_alike() -> None:
    for path in [*ROLE.glob("templates/*.conf.j2"), *ROLE.glob("templates/nts*")]:
        assert path.read_text().splitlines()[0] == _files.MANAGED, path.name


SERVER_FILES = [
    "/etc/chrony/nts/staging",
    "/var/lib/securetime-nts/public.previous.key",
    "/etc/chrony/nts/public[1].key",
    "/etc/chrony/nts/public.pem",
    "/etc/chrony/nts/server.key",
    "/etc/chrony/nts/server.pem",
    "/etc/chrony/nts/certificate.json",
]


def test_a_server_keeps_the_pairs_that_it_has() -> None:
    host = planned(SERVER, environment__server_files=SERVER_FILES)
    assert host["renewal"] == "present"
    assert host["unused_pair_files"] == ["/etc/chrony/nts/public[[]1].key", "/etc/chrony/nts/public.pem"]


def test_the_program_reads_the_settings_of_each_pair() -> None:
    more = {"id": "public", "names": ["a.example.org"], "provider": "acme", "acme_client": "certbot"}
    variables = {"chrony_nts_more_certificates": [more], "chrony_nts_certificate_renew_percent": "20"}
    host = planned({**SERVER, **variables})
    own, public = (Settings(**pair) for pair in host["renewal_settings"]["pairs"])
    # The module writes its parameters to the journal, so that no key may hold a secret.
    assert {*host["renewal_settings"]["pairs"][0]} == {*Settings._fields}
    assert (own.id, own.provider, own.issuing_key) == (
        "server",
        "ownca",
        "/etc/chrony/nts/staging/server/ownca/issuing.key",
    )
    assert (own.renew_fraction, own.group, own.command) == (0.2, host["platform"]["group"], [])
    assert (public.certificate, public.issuing_key) == ("/etc/chrony/nts/public.pem", "")
    assert public.command[-1] == "securetime-nts-public"
    assert planned()["renewal_settings"] == {"pairs": []}


def test_a_host_that_is_no_server_any_more_keeps_no_pair() -> None:
    host = planned(environment__server_files=SERVER_FILES)
    assert host["renewal"] == "absent"
    assert [path for path in host["unused_pair_files"] if "server" in path] == SERVER_FILES[4:6]
    assert len(host["unused_pair_files"]) == 4


def test_the_firewall_is_opened_on_a_server_and_closed_on_a_host_that_was_one() -> None:
    directives = {"port": 11123, "ntsport": 4461, "ptpport": 319, "bindaddress": "192.0.2.1", "binddevice": "eth0"}
    host = planned({**SERVER, "chrony_nts_directives": directives})
    assert host["firewall"] == {
        "state": "present",
        "allow": SERVER["chrony_nts_server_allow"],
        "udp_ports": [11123, 319],
        "tcp_ports": [4461],
        "addresses": ["192.0.2.1"],
        "device": "eth0",
        "nft_include": "",
    }
    usual = planned(SERVER)["firewall"]
    assert (usual["udp_ports"], usual["addresses"], usual["device"]) == ([123], [], "")
    raw = ["port 11124", "ntsport 4462", "bindaddress ::1", "binddevice eth1"]
    found = planned({**SERVER, "chrony_nts_directives": directives, "chrony_nts_raw_lines": raw})["firewall"]
    assert (found["udp_ports"], found["tcp_ports"]) == ([11124, 319], [4462])
    assert (found["addresses"], found["device"]) == (["192.0.2.1", "::1"], "eth1")
    elsewhere = {"port": 0, "ntsntpserver": "ntp.example.org"}
    assert planned({**SERVER, "chrony_nts_directives": elsewhere})["firewall"]["udp_ports"] == []
    assert planned()["firewall"] == {"state": ""}
    assert planned(environment__firewall_rules=["ufw"])["firewall"] == {"state": "absent"}
    by_hand = {**SERVER, "chrony_nts_firewall": "none"}
    assert planned(by_hand)["firewall"] == {"state": ""}
    assert planned(by_hand, environment__firewall_rules=["ufw"])["firewall"] == {"state": "absent"}


def test_a_client_has_no_renewal_to_remove() -> None:
    assert (planned()["renewal"], planned()["unused_pair_files"]) == ("", [])


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        (["192.0.2.0/24"], None, ["allow 127.0.0.0/8"]),
        (["2001:db8::/32"], None, ["allow ::1"]),
        (["0.0.0.0/0", "::/0"], ["all"], ["allow 127.0.0.0/8", "allow ::1"]),
        (["192.0.2.0/24"], ["127.0.0.0/16"], []),
        (["192.0.2.0/24"], ["0.0.0.0/0"], ["allow 127.0.0.0/8"]),
        (["127.0.0.1"], None, ["allow 127.0.0.0/8"]),
    ],
)
def test_a_server_may_ask_itself_where_it_has_clients(allow: list[str], deny: Any, expected: list[str]) -> None:
    host = planned({**SERVER, "chrony_nts_server_allow": allow, "chrony_nts_directives": {"deny": deny}})
    assert host["own_access_lines"] == expected
    # The deny rules appear once, sorted together with the allow rules.
    assert [line for line in host["directive_lines"] if "deny" in line] == []
    assert len(host["access_lines"]) == len(allow) + len(deny or [])


def test_a_client_denies_by_its_directives_alone() -> None:
    host = planned({"chrony_nts_directives": {"deny": ["192.0.2.0/24"]}})
    assert (host["access_lines"], host["own_access_lines"]) == ([], [])
    assert "deny 192.0.2.0/24" in host["directive_lines"]


LOGS_ON = {"chrony_nts_logs": True}


@pytest.mark.parametrize(
    ("variables", "line", "folder"),
    [
        ({}, None, ""),
        (LOGS_ON, "log measurements statistics tracking", "/var/log/chrony"),
        ({**LOGS_ON, "chrony_nts_directives": {"log": ["rtc"]}}, "log rtc", "/var/log/chrony"),
        ({"chrony_nts_directives": {"log": "tracking", "logdir": "/srv/l/"}}, "log tracking", "/srv/l"),
        ({"chrony_nts_raw_lines": ["LOG tracking"]}, None, "/var/log/chrony"),
        ({**LOGS_ON, "chrony_nts_raw_lines": ["logdir /srv/l"]}, "log measurements statistics tracking", "/srv/l"),
    ],
)
def test_the_log_files_that_chronyd_writes_are_rotated(
    variables: dict[str, Any], line: str | None, folder: str
) -> None:
    host = planned(variables)
    assert [text for text in host["directive_lines"] if text.startswith("log ")] == ([line] if line else [])
    assert ("logrotate" in host["packages"]) is bool(folder)
    assert host["rotation_text"].splitlines()[1:2] == ([f'"{folder}/*.log" {{'] if folder else [])
    assert host["log_dir"] == ("" if "/srv/l" in str(variables) else "/var/log/chrony")


def test_the_rotation_is_as_the_operator_and_the_host_have_it() -> None:
    numbers = {"chrony_nts_log_rotations": "7", "chrony_nts_log_max_megabytes": "12"}
    host = planned({**LOGS_ON, **numbers, "chrony_nts_directives": {"bindcmdaddress": ["/run/chrony/other.sock"]}})
    lines = [line.strip() for line in host["rotation_text"].splitlines()]
    assert {"daily", "rotate 7", "maxsize 12M", "compress", "nodateext"} < {*lines}
    assert "/usr/bin/chronyc -h /run/chrony/other.sock cyclelogs >/dev/null ||" in lines
    assert "! systemctl --quiet is-active chrony.service" in lines


def test_log_files_that_nothing_could_rotate_are_refused() -> None:
    closed = {"chrony_nts_directives": {"bindcmdaddress": ["/"]}}
    assert planned(closed)["problems"] == []
    assert "that nothing rotates: bindcmdaddress is '/'" in "".join(planned({**LOGS_ON, **closed})["problems"])


ORPHAN = {"chrony_nts_directives": {"local": {"stratum": 10, "orphan": True}}}
PEER = {"address": "nts2.example.org", "type": "peer", "nts": False, "key": 7}


@pytest.mark.parametrize(
    ("variables", "goal"),
    [
        ({**ORPHAN, "chrony_nts_sources": [PEER]}, "none"),
        ({**ORPHAN, "chrony_nts_sources": [{**PEER, "type": "server"}]}, "none"),
        ({"chrony_nts_raw_lines": ["local stratum 10 Orphan"], "chrony_nts_sources": [PEER]}, "none"),
        ({"chrony_nts_directives": {"local": {"stratum": 10}}, "chrony_nts_sources": [PEER]}, "synchronised"),
        ({"chrony_nts_directives": {"local": None}, "chrony_nts_sources": [PEER]}, "synchronised"),
        ({**ORPHAN, "chrony_nts_sources": [PEER, {"address": "a", "nts": False}]}, "synchronised"),
        ({**ORPHAN, "chrony_nts_sources": [PEER, "nts1.example.org"]}, "authenticated"),
    ],
)
def test_one_of_servers_that_agree_on_a_clock_need_follow_none(variables: dict[str, Any], goal: str) -> None:
    assert planned({**SERVER, **variables})["proof"]["goal"] == goal


def test_the_directives_of_a_client_are_complete() -> None:
    lines = [
        "driftfile /var/lib/chrony/chrony.drift",
        "dumpdir /var/lib/chrony",
        "keyfile /etc/chrony/chrony.keys",
        "logchange 0.5",
        "logdir /var/log/chrony",
        "makestep 1.0 3",
        "ntsdumpdir /var/lib/chrony",
        "rtcsync",
    ]
    assert planned()["directive_lines"] == lines


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"chrony_nts_directives": {"refclock": [{"driver": "PHC", "parameter": "/dev/ptp0"}]}}, True),
        ({"chrony_nts_directives": {"refclock": [{"driver": "RTC", "parameter": "/dev/rtc0"}]}}, False),
        ({"chrony_nts_directives": {"rtcfile": "/var/lib/chrony/rtc"}}, False),
        ({"chrony_nts_raw_lines": ["log tracking", "rtcfile /var/lib/chrony/rtc"]}, False),
        ({"chrony_nts_directives": {"rtcfile": False}}, True),
        ({"chrony_nts_directives": {"rtcfile": None}}, True),
    ],
)
def test_a_clock_of_the_host_is_not_set_where_chronyd_reads_it(variables: dict[str, Any], expected: bool) -> None:
    assert ("rtcsync" in planned(variables)["directive_lines"]) is expected


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"chrony_nts_trust_anchors": None}, "chrony_nts_trust_anchors has no value"),
        ({"chrony_nts_verify_timeout": "soon"}, "chrony_nts_verify_timeout is 'soon': set it to a whole number"),
    ],
)
def test_an_entry_point_without_the_rules_names_a_wrong_variable(variables: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _role.proof({**DEFAULTS, **variables})
    with pytest.raises(ValueError, match="chrony_nts_verify is set to omit"):
        _role.proof({name: value for name, value in DEFAULTS.items() if name != "chrony_nts_verify"})


def test_the_plan_of_a_pair_has_no_secret() -> None:
    given = {
        "chrony_nts_certificate_provider": "files",
        "chrony_nts_certificate_content": "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
        "chrony_nts_certificate_key_content": SECRET,
    }
    (pair,) = planned({**SERVER, **given})["pairs"]
    assert {"content", "key_content"} & set(pair) == set()
    assert SECRET not in json.dumps(pair)


def test_every_missing_package_is_named_without_a_package_manager() -> None:
    packages = {"chrony": None, "ca-certificates": None, "python3-cryptography": None}
    host = planned(SERVER, environment__package_manager=None, environment__packages=packages)
    assert any("Install chrony, " in text and text.endswith(" on it.") for text in host["problems"]), host["problems"]


@pytest.mark.parametrize("age", ["-1", "0", "1", "3600"])
def test_the_lists_of_apt_are_refreshed_where_a_package_is_to_be_the_latest(age: str) -> None:
    given = planned({"chrony_nts_package_state": "latest", "chrony_nts_package_cache_seconds": age})["installation"]
    assert given["cache_seconds"] == max(0, int(age))


def test_an_upgrade_alone_needs_a_package_manager() -> None:
    for variables in ({"chrony_nts_package_upgrade": True}, {"chrony_nts_package_version": "4.6.1-3"}):
        problems = planned(variables, environment__package_manager=None)["problems"]
        assert any("this host has none of apt, dnf and zypper" in text for text in problems), problems


@pytest.mark.parametrize(
    ("daemon", "text"),
    [
        ({"version": "3.5", "features": {"NTS": True}}, "is version 3.5 with NTS."),
        ({"version": "4.6.1", "features": {"NTS": False}}, "is version 4.6.1 without NTS."),
        ({"version": "4.6.1", "features": {}}, "is version 4.6.1 without NTS."),
    ],
)
def test_a_chronyd_that_cannot_do_nts_is_described(daemon: dict[str, Any], text: str) -> None:
    assert text in " ".join(planned(daemon=daemon)["problems"])


def test_apt_takes_a_version_without_its_release_for_another_one() -> None:
    packages = {"chrony": "4.6.1-3", "ca-certificates": "1", "python3-cryptography": None}
    for manager, installs in (("apt", True), ("dnf", False)):
        given = {"environment__package_manager": manager, "environment__packages": packages}
        assert planned({"chrony_nts_package_version": "4.6.1"}, **given)["installs"] is installs


def test_what_an_old_chronyd_lacks_is_a_problem_where_it_is_used() -> None:
    def problems(**variables: Any) -> str:
        return " ".join(planned(variables, daemon__version="4.0")["problems"])

    anchor = {"content": "-----BEGIN CERTIFICATE-----"}
    assert "chrony_nts_more_certificates" not in problems(**SERVER)
    assert "trust_anchors" not in problems(chrony_nts_trust_anchors=[{**anchor, "set": 0}])
    assert "trust_anchors" in problems(chrony_nts_trust_anchors=[{**anchor, "set": 1}])
    skipped = problems(chrony_nts_trust_anchors=[{**anchor, "set": 1}], chrony_nts_skip_unsupported=True)
    assert "trust_anchors" not in skipped


@pytest.mark.parametrize(("options", "expected"), [(["-F", "0"], False), (["-F", "1"], True)])
def test_a_filter_of_system_calls_that_chronyd_lacks_is_a_problem(options: list[str], expected: bool) -> None:
    lacks = {"NTS": True, "SCFILTER": False}
    given = {"files": ["/etc/default/chrony"], "variables": {"DAEMON_OPTS": options}}
    host = planned(environment__daemon_options=given, daemon__features=lacks)
    assert any("has no system call filter" in text for text in host["problems"]) is expected


def test_a_boot_waits_by_udp_on_every_address_of_the_host() -> None:
    addresses = [["127.0.0.1"], ["0.0.0.0"], ["::1"], ["::"]]
    environment = {"chrony_wait": "enabled"}
    assert waits_by_socket(environment, {"bindcmdaddress": addresses}) is False
    assert waits_by_socket(environment, {"bindcmdaddress": [*addresses, ["192.0.2.1"]]}) is True


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({**SERVER, "chrony_nts_shared_keys": "pool"}, True),
        (SERVER, False),
        ({"chrony_nts_shared_keys": "pool"}, False),
    ],
)
def test_a_server_with_shared_keys_makes_none_itself(variables: dict[str, Any], expected: bool) -> None:
    assert ("ntsrotate 0" in planned(variables)["directive_lines"]) is expected


def test_the_port_of_the_server_is_labelled_on_servers_alone() -> None:
    port = {"chrony_nts_directives": {"ntsport": 4461}}
    assert planned({**SERVER, **port}, environment__selinux=True)["ntske_ports"] == [4461]
    assert planned(port, environment__selinux=True)["ntske_ports"] == []


@pytest.mark.parametrize(
    ("variables", "environment", "text"),
    [
        ({"chrony_nts_clock_control": "never"}, {}, "chrony_nts_clock_control is never"),
        ({}, {"environment__cap_sys_time": False}, "the capability CAP_SYS_TIME is missing"),
        ({}, {"environment__cap_sys_time": False, "environment__container": "lxc"}, "this is a container"),
    ],
)
def test_why_chronyd_does_not_set_the_clock_is_a_note(
    variables: dict[str, Any], environment: dict[str, Any], text: str
) -> None:
    assert text in " ".join(planned(variables, **environment)["notes"])


def test_a_proof_asks_for_every_property_of_the_sources() -> None:
    sources = [
        {"address": "a", "nts": True, "ntsport": 4461, "port": 1123, "certset": 2},
        {"address": "b", "nts": True},
        {"address": "c", "nts": False},
    ]
    variables = {
        **DEFAULTS,
        "chrony_nts_sources": sources,
        "chrony_nts_trust_anchors": [{"content": "-----BEGIN CERTIFICATE-----", "set": 2}],
        "chrony_nts_directives": {"ntsaeads": [30, 15]},
        "chrony_nts_verify_min_sources": 2,
        "chrony_nts_verify_timeout": 90,
    }
    found = proof(Inputs(variables))
    asked = [{name: row[name] for name in ("address", "ntsport", "port", "certset")} for row in found["servers"]]
    assert asked == [
        {"address": "a", "ntsport": 4461, "port": 1123, "certset": 2},
        {"address": "b", "ntsport": None, "port": None, "certset": 0},
    ]
    assert (found["min_sources"], found["timeout_seconds"], found["aeads"]) == (2, 90, [30, 15])
    assert proof(Inputs({**variables, "chrony_nts_directives": {}}))["aeads"] == []


def test_a_plan_proves_no_source_whose_anchors_chronyd_cannot_have() -> None:
    variables = {
        "chrony_nts_skip_unsupported": True,
        "chrony_nts_sources": [{"address": "a", "certset": 2}, {"address": "b"}],
        "chrony_nts_trust_anchors": [{"content": "-----BEGIN CERTIFICATE-----", "set": 2}],
    }
    asked = {version: planned(variables, daemon__version=version)["proof"]["servers"] for version in ("4.0", "4.1")}
    assert {version: len(servers) for version, servers in asked.items()} == {"4.0": 1, "4.1": 2}


def test_a_client_in_order_needs_no_preparation() -> None:
    plan = {**planned(), "clock": {"step_seconds": 0}}
    assert prepares(plan) is False
    for more in (
        {"installs": True},
        {"masked_at_runtime": True},
        {"pairs": [{"id": "server"}]},
        {"clock": {"step_seconds": -7200}},
        {"firewall": {"state": "absent"}},
    ):
        assert prepares({**plan, **more}) is True, more


def test_the_private_filters_of_the_role_take_variables() -> None:
    assert _role.proof(DEFAULTS) == proof(Inputs(DEFAULTS))
    # Sets of trust anchors need chrony 4.1.
    two = {**DEFAULTS, "chrony_nts_sources": [{"address": "a", "certset": 2}, {"address": "b"}]}
    two["chrony_nts_trust_anchors"] = [{"content": "-----BEGIN CERTIFICATE-----", "set": 2}]
    asked = {version: _role.proof(two, version)["servers"] for version in ("4.0", "4.1")}
    assert {version: len(servers) for version, servers in asked.items()} == {"4.0": 1, "4.1": 2}
    assert {"_proof", "_platform"} <= set(_role.FilterModule().filters())
