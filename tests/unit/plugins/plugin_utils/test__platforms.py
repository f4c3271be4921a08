# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's names for each os-release match the packages of the release in docs/platforms.yml."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.securetime.nts.plugins.module_utils._state import host
from ansible_collections.securetime.nts.plugins.plugin_utils._plan import platform
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import PLATFORMS, ROLE, planned

ROOT = ROLE.parents[1]
ROWS = {row["name"]: row for row in yaml.safe_load((ROOT / "docs/platforms.yml").read_text())["platforms"]}
IDENTIFIERS = ("NAME", "ID", "ID_LIKE", "VERSION_ID")
SAME = (
    *("config_file", "key_file", "drift_file", "dump_dir", "log_dir", "group", "service"),
    *("options_file", "options_name", "packages", "server_packages", "tool_packages"),
)
WITH_RPM = {"RHEL", "AlmaLinux", "Rocky", "CentOS", "Oracle", "Fedora", "Amazon", "openSUSE", "SLES"}
ISSUE = {
    *("Debian 11", "Debian 12", "Debian 13", "Debian testing", "Ubuntu 22.04", "Ubuntu 24.04", "Ubuntu 26.04"),
    *(f"{name} {release}" for name in ("RHEL", "AlmaLinux", "Rocky Linux", "CentOS Stream") for release in (8, 9, 10)),
    *(f"Oracle Linux {release}" for release in (8, 9, 10)),
    *("Fedora 43 and 44", "Amazon Linux 2023", "openSUSE Leap 15.6", "openSUSE Tumbleweed", "SLES 15"),
}
each_row = pytest.mark.parametrize("name", ROWS)


def system(name: str) -> dict[str, Any]:
    """Return the fact environment.os of a release, parsed from its os-release."""
    given = ROWS[name]["os_release"]
    return host.read_os_release("".join(f'{key}="{given[key]}"\n' for key in IDENTIFIERS if key in given))


@each_row
def test_the_role_finds_the_names_of_each_release(name: str) -> None:
    row = ROWS[name]
    found = platform(PLATFORMS, system(name), {})
    layout = row["layout"]
    assert {key: found[key] for key in SAME} == {key: layout[key] for key in SAME}
    assert " ".join(found["options"]) == layout["options"]
    assert found["drop_in_dirs"] == {"confdir": layout["confdir"], "sourcedir": layout["sourcedir"]}


@each_row
def test_each_release_is_supported_and_has_its_kind_of_packages(name: str) -> None:
    found = system(name)
    assert planned(environment__os=found, environment__daemon_options=None)["problems"] == []
    assert host.uses_rpm({found["id"], *found["like"]}) is (name.split(maxsplit=1)[0] in WITH_RPM)


def test_a_release_without_nts_is_refused() -> None:
    for name, old in (("Debian 11", "10"), ("Ubuntu 22.04", "20.04"), ("RHEL 8", "7.9"), ("Oracle Linux 8", "7.9")):
        (problem,) = planned(environment__os={**system(name), "version": old})["problems"]
        assert "has no chrony with NTS" in problem


def test_the_table_has_every_platform_and_each_says_where_it_comes_from() -> None:
    assert set(ROWS) >= ISSUE
    for name, row in ROWS.items():
        assert row["source"], name
        assert len({"fixture", "package", "quoted", "assumed"} & set(row["os_release"])) == 1, name
        assert all(row[key] for key in ("firewall", "trust_store", "confinement", "chrony")), name


def test_the_table_says_tested_of_what_is_tested() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    images = {row["image"] for row in workflow["jobs"]["molecule"]["strategy"]["matrix"]["include"]}
    # The Debian releases also run as whole hosts, so the table does not mark them as workflow.
    assert {row["image"] for row in ROWS.values() if row["tested"] == "workflow"} == {
        image for image in images if "debian" not in image
    }
    lab = (ROOT / "tests/lab/lab.py").read_text()
    functional = "".join(path.read_text() for path in (ROOT / "tests/functional").glob("*.py"))
    for name, row in ROWS.items():
        if row["tested"] == "here":
            assert f'"{row["suite"]}"' in lab, name
        if row["tested"] == "chronyd":
            assert f'"{row["suite"]}"' in functional, name


def test_a_distribution_that_resembles_a_family_needs_that_word_alone() -> None:
    unknown = {"id": "acme", "like": [], "name": "Acme Linux", "version": "7"}
    (problem,) = planned(environment__os=unknown)["problems"]
    assert "Acme Linux is not supported" in problem
    assert "{like: debian}, {like: fedora} or {like: suse}" in problem
    for family in ("debian", "fedora", "suse"):
        described = {"chrony_nts_platform": {"like": family, "service": "acme.service"}}
        host_plan = planned(described, environment__os=unknown, environment__daemon_options=None)
        assert (host_plan["problems"], host_plan["platform"]["service"]) == ([], "acme.service")
        assert host_plan["platform"]["config_file"] == PLATFORMS[family]["config_file"]


@pytest.mark.parametrize(
    ("families", "programs", "expected"),
    [
        ({"debian"}, ["rpm", "dpkg-query"], False),
        ({"debian"}, ["rpm"], False),
        ({"rocky", "rhel", "fedora"}, ["rpm", "dpkg-query"], True),
        ({"acme"}, ["rpm"], True),
        ({"acme"}, ["rpm", "dpkg-query"], False),
        ({"acme"}, [], False),
    ],
)
def test_packages_of_an_unknown_distribution_are_those_that_it_has(
    monkeypatch: pytest.MonkeyPatch, families: set[str], programs: list[str], expected: bool
) -> None:
    monkeypatch.setattr(host, "find_program", lambda name: name if name in programs else None)
    assert host.uses_rpm(families) is expected
