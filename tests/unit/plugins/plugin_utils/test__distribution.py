# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that a host keeps from its distribution: leap seconds, sources, drop-ins, and sources from DHCP."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state.host import DISTRIBUTION_FILES, DROP_INS
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.plugins.plugin_utils._plan import proof
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import (
    AMAZON,
    DEBIAN,
    DEFAULTS,
    LEAP,
    PLATFORMS,
    ROCKY,
    UBUNTU,
    planned,
)

LIST = "/usr/share/zoneinfo/leap-seconds.list"
ZONE = "/usr/share/zoneinfo/right/UTC"
CERTIFICATE = "/etc/chrony/nts-bootstrap-ubuntu.crt"
SMEARED = {"chrony_nts_sources": [{"address": "169.254.169.123", "nts": False}], "chrony_nts_authselectmode": "ignore"}


def on(system: dict[str, Any], version: str | None = "4.8", *files: str, **variables: Any) -> dict[str, Any]:
    """Return the plan of a host, by its distribution, the version of chronyd, its files, and variables."""
    return planned(
        {f"chrony_nts_{name}": value for name, value in variables.items()},
        environment__os=system,
        daemon__version=version,
        environment__distribution_files=list(files),
        environment__daemon_options=None,
    )


# --- the table of leap seconds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "version", "files", "expected"),
    [
        ({**DEBIAN, "version": "11"}, "4.0", (LIST, ZONE), "leapsectz right/UTC"),
        ({**DEBIAN, "version": "12"}, "4.3", (LIST, ZONE), "leapsectz right/UTC"),
        (DEBIAN, "4.6.1", (LIST,), f"leapseclist {LIST}"),
        ({**DEBIAN, "version": "14"}, "4.9", (LIST, ZONE), f"leapseclist {LIST}"),
        # tzdata of Ubuntu 24.04 has no right/UTC, so Ubuntu's own leapsectz has no effect.
        ({**UBUNTU, "version": "24.04"}, "4.5", (LIST,), None),
        (ROCKY, "4.3", (ZONE,), "leapsectz right/UTC"),
        (ROCKY, "4.6.1", (ZONE,), "leapsectz right/UTC"),
        (ROCKY, "4.8", (LIST, ZONE), f"leapseclist {LIST}"),
        (AMAZON, "4.3", (ZONE,), "leapsectz right/UTC"),
        (LEAP, "4.1", (LIST, ZONE), None),
        # chrony is not installed yet.
        (DEBIAN, None, (LIST, ZONE), "leapsectz right/UTC"),
        (DEBIAN, None, (LIST,), f"leapseclist {LIST}"),
        (DEBIAN, "4.9", (), None),
    ],
)
def test_a_host_keeps_the_table_of_leap_seconds_that_it_can_use(
    system: dict[str, Any], version: str | None, files: tuple[str, ...], expected: str | None
) -> None:
    lines = on(system, version, *files)["distribution_lines"]
    assert [line for line in lines if line.startswith("leap")] == ([expected] if expected else [])


def test_only_debian_and_its_derivatives_limit_the_skew() -> None:
    assert "maxupdateskew 100.0" in on(DEBIAN)["distribution_lines"]
    assert "maxupdateskew 100.0" in on(UBUNTU)["distribution_lines"]
    assert on(ROCKY)["distribution_lines"] == []


@pytest.mark.parametrize(
    ("directives", "kept"),
    [
        ({"leapseclist": None}, ["leapsectz right/UTC", "maxupdateskew 100.0"]),
        ({"leapseclist": None, "leapsectz": None, "maxupdateskew": None}, []),
        # chronyd prefers leapseclist, even if leapsectz comes last.
        ({"leapsectz": "right/UTC"}, ["maxupdateskew 100.0"]),
        ({"maxupdateskew": 5}, [f"leapseclist {LIST}"]),
    ],
)
def test_the_operator_replaces_and_removes_what_the_distribution_set(
    directives: dict[str, Any], kept: list[str]
) -> None:
    host = on(DEBIAN, "4.9", LIST, ZONE, directives=directives)
    assert host["distribution_lines"] == kept
    assert [line.split()[0] for line in host["directive_lines"] if line.split()[0] in directives] == [
        name for name, value in directives.items() if value is not None
    ]


def test_a_client_of_a_smearing_server_has_no_table_of_leap_seconds() -> None:
    smeared = {name.removeprefix("chrony_nts_"): value for name, value in SMEARED.items()}
    assert on(DEBIAN, "4.9", LIST, **smeared)["distribution_lines"] == ["maxupdateskew 100.0"]
    kept = on(AMAZON, "4.3", ZONE, sources=[], distribution_sources=True, authselectmode="ignore")
    assert (kept["problems"], kept["distribution_lines"]) == ([], [])


def test_facts_look_for_every_table_that_a_platform_names() -> None:
    rows = [row.get("directives", {}) for row in PLATFORMS.values()]
    named = {row["leapseclist"] for row in rows if "leapseclist" in row}
    named |= {f"/usr/share/zoneinfo/{row['leapsectz']}" for row in rows if "leapsectz" in row}
    named |= {file["path"] for row in PLATFORMS.values() for file in row.get("certificate_sets", [])}
    assert named == set(DISTRIBUTION_FILES)


# --- its sources -----------------------------------------------------------------------------------------------------


def test_ubuntu_keeps_its_servers_and_its_bootstrap_server() -> None:
    host = on(UBUNTU, "4.8", CERTIFICATE, distribution_sources=True)
    lines = host["sources_text"].splitlines()
    assert "pool 1.ntp.ubuntu.com iburst maxsources 1 nts prefer" in lines
    assert "pool ntp-bootstrap.ubuntu.com certset 1 iburst maxsources 1 nts" in lines
    assert host["certificate_sets"] == [{"set": 1, "path": CERTIFICATE}]
    assert {server["address"] for server in host["proof"]["servers"]} >= {"1.ntp.ubuntu.com"}
    default = on(UBUNTU, "4.8", CERTIFICATE)
    assert "ubuntu" not in default["sources_text"]
    assert default["certificate_sets"] == []


def test_ubuntu_without_the_certificate_has_other_sources() -> None:
    assert "ubuntu" not in on({**UBUNTU, "version": "24.04"}, "4.5", distribution_sources=True)["sources_text"]


def test_the_bootstrap_server_alone_is_a_source_like_others() -> None:
    bootstrap = [{"address": "ntp-bootstrap.ubuntu.com", "type": "pool", "certset": 1}]
    host = on(UBUNTU, "4.8", CERTIFICATE, sources=bootstrap)
    assert (host["problems"], host["certificate_sets"]) == ([], [{"set": 1, "path": CERTIFICATE}])
    assert "1.ntp.ubuntu.com" not in host["sources_text"]
    (problem,) = on(DEBIAN, "4.8", CERTIFICATE, sources=bootstrap)["problems"]
    assert "has the certset 1, which is the distribution's, and this host has no certificate for it" in problem
    raw = on(DEBIAN, "4.8", sources=bootstrap, raw_lines=["ntstrustedcerts 1 /etc/ssl/a.pem"])
    assert raw["problems"] == []


def test_a_source_is_not_written_beside_the_drop_in_that_has_it() -> None:
    host = planned(
        {"chrony_nts_distribution_sources": True, "chrony_nts_dropins": "include"},
        environment__os=UBUNTU,
        environment__distribution_files=[CERTIFICATE],
        environment__drop_in_sources={"/etc/chrony/sources.d/a.sources": ["1.ntp.ubuntu.com"]},
    )
    assert "1.ntp.ubuntu.com" not in host["sources_text"]
    assert "2.ntp.ubuntu.com" in host["sources_text"]


def test_the_link_local_server_of_amazon_needs_another_mode_and_no_other_source() -> None:
    (never_followed,) = on(AMAZON, "4.3", distribution_sources=True, sources=[])["problems"]
    assert "would never follow 169.254.169.123, which has no NTS" in never_followed
    mixed: dict[str, Any] = {"distribution_sources": True, "authselectmode": "mix"}
    (smear,) = on(AMAZON, "4.3", **mixed)["problems"]
    assert "169.254.169.123 smears leap seconds and time.cloudflare.com" in smear
    allowed = on(AMAZON, "4.3", **mixed, allow_mixed_smear=True)
    assert allowed["problems"] == []
    assert "server 169.254.169.123 iburst maxpoll 4 minpoll 4 prefer" in allowed["sources_text"]
    alone = on(AMAZON, "4.3", **mixed, sources=[])
    assert (alone["problems"], alone["proof"]["goal"]) == ([], "synchronised")


def test_a_distribution_without_sources_of_its_own_is_reported() -> None:
    host = on(DEBIAN, "4.9", distribution_sources=True)
    assert host["problems"] == []
    assert any("a pool without NTS, which chrony_nts_fallback_pool is for" in note for note in host["notes"])
    (problem,) = on(DEBIAN, "4.9", distribution_sources=True, sources=[])["problems"]
    assert "the role knows no source of this distribution" in problem
    assert on(UBUNTU, "4.8", CERTIFICATE, distribution_sources=True)["notes"] == []


def test_sources_of_the_distribution_alone_are_proven_where_there_are_any() -> None:
    own_clock = {
        "sources": [],
        "distribution_sources": True,
        "server_enabled": True,
        "server_allow": ["192.0.2.0/24"],
        "directives": {"local": {"stratum": 10}},
    }
    assert on(DEBIAN, "4.9", **own_clock)["proof"]["goal"] == "none"
    assert on(UBUNTU, "4.8", CERTIFICATE, **own_clock)["proof"]["goal"] == "authenticated"
    # The entry points of the role have no plan.
    variables = {**DEFAULTS, **{f"chrony_nts_{name}": value for name, value in own_clock.items()}}
    assert proof(Inputs(variables))["goal"] == "synchronised"


# --- drop-ins --------------------------------------------------------------------------------------------------------


def test_facts_and_platforms_name_the_same_drop_in_directories() -> None:
    ends = {"confdir": "*.conf", "sourcedir": "*.sources"}
    named = {
        f"{folder.lstrip('/')}/{ends[directive]}"
        for row in PLATFORMS.values()
        for directive, folders in row.get("drop_in_dirs", {}).items()
        for folder in folders
    }
    assert named == set(DROP_INS) - {"run/chrony-dhcp/*.sources"}


@pytest.mark.parametrize("pattern", DROP_INS)
def test_dhcp_s_files_are_no_drop_ins_for_the_variable(pattern: str) -> None:
    path = f"/{pattern.replace('*', 'a')}"
    assert fnmatch(path, f"/{pattern}")
    is_dhcp = "chrony-dhcp" in pattern
    notes = planned(environment__drop_ins=[path])["notes"]
    problems = planned({"chrony_nts_dropins": "refuse"}, environment__drop_ins=[path])["problems"]
    assert (notes == [], problems == []) == (is_dhcp, is_dhcp)


@pytest.mark.parametrize(
    ("path", "variables", "refused"),
    [
        ("/etc/chrony/sources.d/a.sources", {"dropins": "include", "authselectmode": "mix"}, True),
        ("/etc/chrony/conf.d/a.conf", {"dropins": "include", "authselectmode": "mix"}, True),
        (
            "/etc/chrony/conf.d/a.conf",
            {"dropins": "include", "authselectmode": "mix", "allow_mixed_smear": True},
            False,
        ),
        ("/etc/chrony/conf.d/a.conf", {"dropins": "ignore", "authselectmode": "mix"}, False),
        # With the default authselectmode, chronyd never follows it.
        ("/etc/chrony/conf.d/a.conf", {"dropins": "include"}, False),
        # Debian's chronyd does not read this folder.
        ("/run/chrony.d/a.sources", {"dropins": "include", "authselectmode": "mix"}, False),
        ("/run/chrony-dhcp/a.sources", {"dropins": "include", "authselectmode": "mix"}, False),
        ("/run/chrony-dhcp/a.sources", {"dhcp_sources": True, "authselectmode": "ignore"}, True),
        ("/etc/chrony/conf.d/a.conf", {"dhcp_sources": True, "authselectmode": "ignore"}, False),
    ],
)
def test_a_smeared_source_in_a_drop_in_counts_where_chronyd_may_follow_it(
    path: str, variables: dict[str, Any], refused: bool
) -> None:
    host = planned(
        {f"chrony_nts_{name}": value for name, value in variables.items()},
        environment__drop_in_sources={path: ["169.254.169.123"]},
    )
    assert any("169.254.169.123 smears leap seconds" in text for text in host["problems"]) is refused


@pytest.mark.parametrize(
    ("system", "path"),
    [
        (ROCKY, "/etc/chrony/conf.d/a.conf"),
        (DEBIAN, "/etc/chrony.d/a.conf"),
        (LEAP, "/etc/chrony.d/a.sources"),
        (AMAZON, "/usr/etc/chrony.d/a.conf"),
    ],
)
def test_a_drop_in_that_this_platform_does_not_include_is_reported(system: dict[str, Any], path: str) -> None:
    read = {"Rocky Linux": "/etc/chrony.d/b.conf", "Amazon Linux": "/run/chrony.d/b.sources"}
    files = [path, *([read[system["name"]]] if system["name"] in read else [])]
    (note,) = planned({"chrony_nts_dropins": "include"}, environment__os=system, environment__drop_ins=files)["notes"]
    assert f"chronyd does not read {path}: drop_in_dirs of chrony_nts_platform" in note


# --- DHCP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "dhcp_sources", "peerntp", "problem", "note"),
    [
        ("require", False, True, False, False),
        ("mix", False, True, True, False),
        ("mix", True, True, False, False),
        ("mix", False, False, False, False),
        ("mix", True, False, False, True),
    ],
)
def test_dhcp_s_servers_reach_chronyd_where_the_variable_says_so(
    mode: str, dhcp_sources: bool, peerntp: bool, problem: bool, note: bool
) -> None:
    host = planned(
        {"chrony_nts_authselectmode": mode, "chrony_nts_dhcp_sources": dhcp_sources},
        environment__os={**ROCKY, "version": "8.10"},
        environment__dhcp={"helper": True, "peerntp": peerntp},
    )
    assert any("chrony-helper" in text and "PEERNTP=no" in text for text in host["problems"]) is problem
    assert any("PEERNTP=no" in text for text in host["notes"]) is note


def test_without_the_helper_the_configuration_decides() -> None:
    host = planned(
        {"chrony_nts_authselectmode": "mix"},
        environment__os=ROCKY,
        environment__daemon_options=None,
        environment__dhcp={"helper": False, "peerntp": True},
    )
    assert host["problems"] == []


# --- the layout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("system", "user"), [(DEBIAN, "_chrony"), (ROCKY, "chrony"), (LEAP, "chrony")])
def test_a_single_file_holds_sources_and_user(system: dict[str, Any], user: str) -> None:
    host = on(system, "4.8", layout="single", sources=[{"address": "nts1.example.org", "maxpoll": 10}])
    assert host["main_file_lines"] == ["server nts1.example.org iburst maxpoll 10 nts", f"user {user}"]
    assert on(system, "4.8")["main_file_lines"] == []
