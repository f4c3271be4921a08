# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real apt, dnf and zypper: versions, holds, locks, failures, and distributions that the role does not know."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests import capture_packages
from ansible_collections.securetime.nts.tests.lab.hosts import (
    as_controller_root,
    changed,
    facts,
    playbook,
    recap,
    run_module,
    wait_until,
    write,
)

MANAGERS = {"debian": "apt", "el": "dnf", "suse": "zypper"}
CLIENTS = "nts_clients"
each_client = pytest.mark.parametrize("name", MANAGERS)
# A package with two versions in the company's own repository, for each manager.
PACKAGES = {"apt": "nts-case", "dnf": "gnutls", "zypper": "gnutls"}
VERSIONS = {"apt": ("1.0", "2.0"), "dnf": ("3.8.3-1.standin", "3.8.3-2.standin")}
VERSIONS["zypper"] = VERSIONS["dnf"]
HOLDS = {
    "apt": ("apt-mark hold nts-case", "apt-mark unhold nts-case"),
    "dnf": (
        "cp /etc/dnf/dnf.conf /run/dnf.conf; echo excludepkgs=gnutls >>/etc/dnf/dnf.conf",
        "mv /run/dnf.conf /etc/dnf/dnf.conf",
    ),
    "zypper": ("zypper addlock gnutls", "zypper removelock gnutls"),
}
APT_REPOSITORY = r"""set -e
mkdir -p /srv/case; cd /srv/case; : >Packages
for version in 1.0 2.0; do
  mkdir -p build/DEBIAN
  printf 'Package: nts-case\nVersion: %s\nArchitecture: all\nMaintainer: case <case@example.org>\nDescription: case\n' \
    $version >build/DEBIAN/control
  dpkg-deb --build build nts-case_$version.deb >/dev/null
  { cat build/DEBIAN/control; printf 'Filename: ./nts-case_%s.deb\nSize: %s\nSHA256: %s\n\n' $version \
    $(stat -c %s nts-case_$version.deb) $(sha256sum nts-case_$version.deb | cut -d' ' -f1); } >>Packages
done
echo 'deb [trusted=yes] file:/srv/case ./' >/etc/apt/sources.list.d/case.list
"""
NO_SOURCES = {
    "apt": ("mv /etc/apt/sources.list /run/case.list", "mv /run/case.list /etc/apt/sources.list"),
    "dnf": ("mv /etc/yum.repos.d /run/case.d", "mv /run/case.d /etc/yum.repos.d"),
    "zypper": ("mv /etc/zypp/repos.d /run/case.d", "mv /run/case.d /etc/zypp/repos.d"),
}


def client(name: str) -> Host:
    return get_host(f"ansible://{name}")


def packages(on: str, **arguments: Any) -> dict[str, Any]:
    """Return the result of the module on a client."""
    return run_module(client(on), "nts_packages", manager=MANAGERS[on], **arguments)


@contextlib.contextmanager
def state(name: str, before: str, after: str) -> Iterator[None]:
    """Bring a client into a state inside the context."""
    as_controller_root(client(name), f"export LC_ALL=C; {before}")
    try:
        yield
    finally:
        as_controller_root(client(name), f"export LC_ALL=C; {after}")


@pytest.fixture(scope="module", autouse=True)
def _repositories() -> None:
    """Give each client a repository of its company."""
    write(client("debian"), "sh -s", APT_REPOSITORY)
    files = client("suse").check_output("tar -C /srv/rpm -c noarch repodata | base64 -w0")
    write(client("el"), "mkdir -p /srv/case; base64 -d | tar -x -C /srv/case", files)
    write(
        client("el"),
        "cat >/etc/yum.repos.d/case.repo",
        "[case]\nname=case\nbaseurl=file:///srv/case\ngpgcheck=0\nincludepkgs=gnutls\n",
    )


def test_every_client_is_authenticated() -> None:
    found = {name: facts(client(name))["nts"]["state"] for name in MANAGERS}
    assert set(found.values()) == {"authenticated"}, found


def test_package_variables_cost_an_unchanged_host_no_task() -> None:
    plain = recap(playbook("site", "--limit", CLIENTS))
    version = {"chrony_nts_package_version": "{{ {'debian': '4.3*', 'el': '4.6.1'}.get(inventory_hostname, '') }}"}
    wanted = {**version, "chrony_nts_package_cache_seconds": 0, "chrony_nts_package_lock_seconds": 5}
    assert recap(playbook("site", "--limit", CLIENTS, variables=wanted)) == plain
    assert {counts["changed"] for counts in plain.values()} == {0}


def test_an_installed_host_needs_no_repository() -> None:
    with contextlib.ExitStack() as stack:
        for name, manager in MANAGERS.items():
            stack.enter_context(state(name, *NO_SOURCES[manager]))
        assert set(changed(playbook("site", "--limit", CLIENTS)).values()) == {0}


@each_client
def test_the_requested_version_of_a_package_is_installed(name: str) -> None:
    manager = MANAGERS[name]
    package, (old, new) = PACKAGES[manager], VERSIONS[manager]
    packages(name, name=[package], versions={package: old}, cache_seconds=0)
    first = packages(name, name=[package])
    assert (first["changed"], first["commands"], first["versions"]) == (False, [], {package: old})
    predicted = packages(name, name=[package], state="latest", _ansible_check_mode=True)
    assert (predicted["changed"], predicted["versions"]) == (True, {package: old})
    latest = packages(name, name=[package], state="latest")
    assert (latest["changed"], latest["versions"]) == (True, {package: new})
    assert packages(name, name=[package], state="latest")["changed"] is False
    back = packages(name, name=[package], versions={package: old})
    assert (back["changed"], back["versions"]) == (True, {package: old})


@each_client
def test_a_held_package_is_not_changed(name: str) -> None:
    manager = MANAGERS[name]
    package, (old, new) = PACKAGES[manager], VERSIONS[manager]
    packages(name, name=[package], versions={package: old}, cache_seconds=0)
    with state(name, *HOLDS[manager]):
        latest = packages(name, name=[package], state="latest")
        assert (latest["changed"], latest["versions"], latest["held"]) == (False, {package: old}, [package])
        assert f"{package} is held at {old}, and stays" in str(latest["warnings"])
        upgraded = packages(name, name=[package], state="present", upgrade=True, cache_seconds=0)
        assert upgraded["versions"] == {package: old}
        refused = packages(name, name=[package], versions={package: new})
        assert (refused["failed"], refused["cause"]) == (True, "held")
        assert f"{package} is held at {old}, and {package} {new} is wanted" in refused["msg"]
    upgraded = packages(name, name=[package], upgrade=True)
    assert (upgraded["changed"], upgraded["versions"]) == (True, {package: new})


@pytest.mark.parametrize(
    ("name", "case"),
    [
        (name, case)
        for name, manager in MANAGERS.items()
        for case in ("refused", "not_found", "not_yet_valid", "tls_expired", "tls_unknown", "unknown_package")
        if case in capture_packages.CASES[manager]
    ],
)
def test_a_failure_names_its_cause(name: str, case: str) -> None:
    given = capture_packages.CASES[MANAGERS[name]][case]
    with state(name, given.before, given.after):
        result = packages(name, name=["no-such-package"], cache_seconds=0)
    assert (result["failed"], result["cause"]) == (True, given.cause), result["msg"]
    program = {"apt": "apt-get"}.get(MANAGERS[name], MANAGERS[name])
    assert result["msg"].startswith(f"{program} could not ")


def test_the_role_reports_the_cause_and_leaves_chronyd_alone() -> None:
    given = {name: capture_packages.CASES[manager]["refused"] for name, manager in MANAGERS.items()}
    with contextlib.ExitStack() as stack:
        for name, case in given.items():
            stack.enter_context(state(name, case.before, case.after))
        wanted = {"chrony_nts_platform": {"tool_packages": ["no-such-package"]}, "chrony_nts_package_tools": True}
        output = playbook("site", "--limit", CLIENTS, variables=wanted)
    assert [counts["failed"] for counts in recap(output).values()] == [1, 1, 1]
    for program in ("apt-get", "dnf", "zypper"):
        assert f"{program} could not install no-such-package: a repository cannot be reached." in output
    assert {facts(client(name))["nts"]["state"] for name in MANAGERS} == {"authenticated"}


def test_a_bare_host_without_a_mirror_is_left_as_it_was_and_installed_later() -> None:
    client("debian").check_output("DEBIAN_FRONTEND=noninteractive apt-get purge --yes chrony")
    case = capture_packages.CASES["apt"]["refused"]
    with state("debian", case.before, case.after):
        output = playbook("site", "--limit", "debian")
    assert recap(output)["debian"]["failed"] == 1, output[-4000:]
    assert "apt-get could not install chrony: a repository cannot be reached." in output
    assert not client("debian").file("/run/systemd/system/chrony.service").exists
    assert changed(playbook("site", "--limit", "debian"))["debian"] >= 1
    assert facts(client("debian"))["nts"]["state"] == "authenticated"


# Another run of the manager that waits for a server without an answer. For apt, an administrator's run holds the lock.
BUSY = {
    "apt": (capture_packages.HOLD_APT.format("/var/lib/dpkg/lock-frontend", 600), "true"),
    "dnf": (
        capture_packages.SERVERS
        + "printf '[busy]\\nname=busy\\nbaseurl=http://127.0.0.1:8081/\\nenabled=0\\ntimeout=600\\n'"
        " >/etc/yum.repos.d/busy.repo; timeout 600 dnf --enablerepo=busy makecache &",
        "rm /etc/yum.repos.d/busy.repo; " + capture_packages.END_SERVERS,
    ),
    "zypper": (
        capture_packages.SERVERS
        + "timeout 600 zypper --non-interactive --plus-repo http://127.0.0.1:8081/ search chrony &",
        capture_packages.END_SERVERS,
    ),
}
ASKS_THE_SERVER = "ss -Htn dst 127.0.0.1:8081 | grep -q ."
HOLDS_THE_LOCK = {
    "apt": 'grep -q ":$(stat --format %i /var/lib/dpkg/lock-frontend) " /proc/locks',
    "dnf": ASKS_THE_SERVER,
    "zypper": ASKS_THE_SERVER,
}


@each_client
def test_the_manager_waits_for_the_lock_up_to_the_timeout(name: str) -> None:
    manager = MANAGERS[name]
    package, (old, _new) = PACKAGES[manager], VERSIONS[manager]
    wanted = {"name": [package], "versions": {package: old}}
    packages(name, name=[package], state="latest", cache_seconds=0)
    before, after = BUSY[manager]
    client(name).check_output("systemd-run --quiet --collect --unit=busy bash -c %s", f"{{ {before}\n}} 2>&1; wait")
    try:
        wait_until(lambda: client(name).run(HOLDS_THE_LOCK[manager]).rc == 0, f"{manager} does not hold its lock")
        start = time.monotonic()
        refused = packages(name, lock_seconds=1, **wanted)
        waited = time.monotonic() - start
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(packages, name, lock_seconds=120, **wanted)
            time.sleep(3)
            assert not waiting.done(), waiting.result()
            client(name).check_output("systemctl stop busy")
            awaited = waiting.result()
    finally:
        client(name).run("systemctl stop busy")
        as_controller_root(client(name), after)
    assert (refused["failed"], refused["cause"]) == (True, "lock"), refused
    assert "within 1 seconds: another program uses the package database" in refused["msg"]
    assert waited >= 1
    assert awaited["versions"] == {package: old}, awaited


def test_lists_are_refreshed_by_their_age() -> None:
    packages("debian", name=["nts-case"], state="latest", cache_seconds=0)
    for age, expected in ((86400, False), (0, True)):
        commands = packages("debian", name=["nts-case"], state="latest", cache_seconds=age)["commands"]
        assert any(command.endswith(" update") for command in commands) is expected


def test_the_role_pins_updates_and_keeps_authenticated_time() -> None:
    pinned = {"chrony_nts_package_version": "4.6.1-1.standin"}
    assert changed(playbook("site", "--limit", "suse", variables=pinned))["suse"] >= 1
    assert client("suse").package("chrony").release == "1.standin"
    assert changed(playbook("site", "--limit", "suse", variables=pinned)) == {"suse": 0}
    latest = {"chrony_nts_package_state": "latest", "chrony_nts_package_tools": True}
    assert changed(playbook("site", "--limit", "suse", variables=latest))["suse"] >= 1
    assert client("suse").package("chrony").release == "2.standin"
    assert client("suse").package("gnutls").is_installed
    assert changed(playbook("site", "--limit", "suse", variables=latest)) == {"suse": 0}
    assert facts(client("suse"))["nts"]["state"] == "authenticated"


OS_RELEASE = "cp --remove-destination $(readlink -f /etc/os-release) /run/case-release"
RENAME = (
    f"{OS_RELEASE}; rm /etc/os-release; printf 'NAME=\"Acme Linux\"\\nID=acme\\nVERSION_ID=7\\n' >/etc/os-release",
    "rm /etc/os-release; cp /run/case-release /etc/os-release",
)
# Hosts of the rpm family have no dpkg; the stand-ins have both.
HIDE = ("mv /usr/bin/dpkg-query /usr/bin/apt-get /run", "mv /run/dpkg-query /run/apt-get /usr/bin")
LIKE = {"debian": "debian", "el": "fedora", "suse": "suse"}


def test_an_unknown_distribution_uses_the_layout_of_its_family() -> None:
    with contextlib.ExitStack() as stack:
        for name in MANAGERS:
            stack.enter_context(state(name, *RENAME))
            if name != "debian":
                stack.enter_context(state(name, *HIDE))
        refused = playbook("site", "--limit", CLIENTS)
        assert [counts["failed"] for counts in recap(refused).values()] == [1, 1, 1]
        words = " ".join(refused.split())
        assert "Acme Linux is not supported: the role knows neither it nor a distribution" in words
        assert "Set chrony_nts_platform to {like: debian}, {like: fedora} or {like: suse}" in words
        like = {"chrony_nts_platform": {"like": f"{{{{ {LIKE}[inventory_hostname] }}}}"}}
        assert changed(playbook("site", "--limit", CLIENTS, variables=like)) == dict.fromkeys(MANAGERS, 0)
