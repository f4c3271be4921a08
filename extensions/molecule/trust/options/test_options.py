# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Administrators, hardening roles and the distribution share chronyd's options, units and logs with the role."""

from __future__ import annotations

import re
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.plugins.module_utils._state.options import read_environment_file
from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.environment_file import TEXT, VALUES

# The file of options, its variable, and the user that a hardening role sets in it.
SHARED = {
    "client-debian12": ("/etc/default/chrony", "DAEMON_OPTS", "_chrony"),
    "client-debian13": ("/etc/default/chrony", "DAEMON_OPTS", "_chrony"),
    "client-el": ("/etc/sysconfig/chronyd", "OPTIONS", "chrony"),
}


def harden(text: str, variable: str, user: str) -> str:
    """Edit a file as RHEL8-CIS and RHEL9-CIS of ansible-lockdown do (lineinfile with backrefs)."""
    pattern = rf'^{variable}="(?!.* -u {user}.*)(.*)"'
    return re.sub(pattern, rf'{variable}="\1 -u {user}"', text, flags=re.MULTILINE)


def run(variables: dict[str, Any] | None = None) -> set[int]:
    """Run the role on all clients; return the distinct numbers of changed tasks."""
    return set(hosts.changed(hosts.playbook("site", "--limit", "nts_clients", variables=variables)).values())


# One run covers both cmdport 0 and the log files, because each run takes half a minute.
VARIABLES = {"chrony_nts_directives": {"cmdport": 0}, "chrony_nts_logs": True, "chrony_nts_log_rotations": 2}
ROTATION = "/etc/logrotate.d/chrony"
LOGS = "/var/log/chrony"
# chronyd creates the file, also after a rotation, with its next line.
MEASURE = f"for _ in $(seq 60); do [ -s {LOGS}/measurements.log ] && break; chronyc burst 1/1 >/dev/null; sleep 1; done"
SUFFIXES = ("", ".1", ".2.gz")
FORCED = "logrotate --force /etc/logrotate.conf"


@pytest.fixture(scope="module")
def clients() -> dict[str, Host]:
    return {name: get_host(f"ansible://{name}") for name in SHARED}


@pytest.fixture(scope="module")
def originals(clients: dict[str, Host]) -> dict[str, str]:
    """Return the distribution's rotation file of each client; give the log folder to root."""
    found = {name: host.file(ROTATION).content_string for name, host in clients.items()}
    assert all("cyclelogs" in text for text in found.values())
    # systemd gives Debian's log folder back to its user; on el-standin the role finds root's folder.
    hosts.each(
        lambda host: host.check_output(f"rm -f {LOGS}/*; chown root:root {LOGS}; chmod 0700 {LOGS}"), *clients.values()
    )
    return found


@pytest.fixture(scope="module")
def hardened(clients: dict[str, Host], originals: dict[str, str]) -> dict[str, str]:
    """Return each client's file of options as a hardening role leaves it, after a run with VARIABLES."""
    assert not any("securetime" in text for text in originals.values())
    found = {}
    for name, host in clients.items():
        path, variable, user = SHARED[name]
        before = host.file(path).content_string
        found[name] = harden(before, variable, user)
        assert found[name] != before
        hosts.write(host, f"cat >{path}; systemctl enable chrony-wait", found[name])
    # The role changes one task, or two where it installs logrotate.
    assert run(VARIABLES) <= {1, 2}
    return found


def test_a_hardened_file_of_options_is_kept_and_takes_effect(
    clients: dict[str, Host], hardened: dict[str, str]
) -> None:
    """chrony-wait.service uses UDP by default, and must also reach a chronyd that answers only on its Unix socket."""
    for name, host in clients.items():
        path, variable, user = SHARED[name]
        arguments = hosts.facts(host)["daemon"]["arguments"]
        assert " ".join(arguments).endswith(f" -u {user} -r -x"), arguments
        assert arguments[arguments.index("-F") + 1] in ("1", "2")
        assert host.file(path).content_string == hardened[name] == harden(hardened[name], variable, user)
        assert host.run("timeout 600 systemctl restart chrony-wait").rc == 0, host.run("systemctl status chrony-wait")
    assert run(VARIABLES) == {0}
    for name, host in clients.items():
        assert host.file(SHARED[name][0]).content_string == hardened[name]


@pytest.mark.usefixtures("hardened")
def test_chronyd_owns_the_log_folder(clients: dict[str, Host]) -> None:
    for name, host in clients.items():
        user = SHARED[name][2]
        assert host.check_output(f"stat -c %U:%G:%a {LOGS}") == f"{user}:{user}:750"


def received(host: Host) -> int:
    """Return how many packets of its sources chronyd has received; each is a line of measurements.log."""
    return sum(
        int(line.split(":")[1]) for line in re.findall(r"Total valid RX *: *\d+", host.check_output("chronyc ntpdata"))
    )


@pytest.mark.usefixtures("hardened")
def test_a_rotation_loses_nothing(clients: dict[str, Host]) -> None:
    """Rotate while chronyd measures: each packet is in one of the files, and the newest are in the new file."""

    def rotate(host: Host) -> None:
        size = f"stat -c %s {LOGS}/measurements.log.1"
        for _time in range(2):
            rotated, later = host.check_output(
                f"chronyc burst 4/4 >/dev/null; sleep 2; {MEASURE}; {FORCED}; {size}; sleep 4; {size}"
            ).split()
            assert rotated == later
        # The other logs get lines only while the clock follows the new measurements.
        host.check_output(MEASURE)
        assert {f"measurements.log{suffix}" for suffix in SUFFIXES} < {*host.check_output(f"ls {LOGS}").split()}
        before = received(host)
        lines = int(host.check_output(f"zcat -f {LOGS}/measurements.log* | grep -c ^20"))
        assert 0 < before <= lines <= received(host)

    hosts.each(rotate, *clients.values())


@pytest.mark.usefixtures("hardened")
def test_a_rotation_keeps_the_configured_number_of_files(clients: dict[str, Host]) -> None:
    """A second rotation on the same day also works with `dateext`, which Enterprise Linux turns on."""

    def rotate(host: Host) -> None:
        hosts.write(host, "cat >/run/dated.conf", f"dateext\ninclude {ROTATION}\n")
        host.check_output(f"for _ in 1 2; do {MEASURE}; logrotate --force /run/dated.conf; done; rm /run/dated.conf")
        names = host.check_output(f"ls {LOGS}").split()
        assert {name.partition(".log")[2] for name in names} - {""} == set(SUFFIXES[1:])

    hosts.each(rotate, *clients.values())


@pytest.mark.usefixtures("hardened")
def test_a_log_that_grows_too_large_is_rotated_on_the_same_day(clients: dict[str, Host]) -> None:
    def rotate(host: Host) -> None:
        host.check_output(f"{MEASURE}; logrotate /etc/logrotate.conf")
        before = host.check_output(f"stat -c %i {LOGS}/measurements.log")
        host.check_output(f"truncate -s 101M {LOGS}/measurements.log; logrotate /etc/logrotate.conf")
        # chronyd can add a line between the two commands.
        inode, size = host.check_output(f"stat -c '%i %s' {LOGS}/measurements.log.1").split()
        assert inode == before
        assert int(size) >= 101 << 20
        host.check_output(f"{MEASURE}; test -s {LOGS}/measurements.log")

    hosts.each(rotate, *clients.values())


@pytest.mark.usefixtures("hardened")
def test_logrotate_fails_where_chronyd_keeps_the_old_file(clients: dict[str, Host]) -> None:
    """It succeeds while chronyd is stopped, and no log has two rotation files."""

    def rotate(host: Host) -> None:
        assert "duplicate" not in host.run("logrotate --debug /etc/logrotate.conf").stderr
        socket = "/run/chrony/chronyd.sock"
        closed = host.run(f"mv {socket} {socket}.away; {FORCED}; echo $?; mv {socket}.away {socket}")
        assert closed.stdout.split()[-1] == "1"
        assert "postrotate" in closed.stderr
        host.check_output(f"{MEASURE}; systemctl stop chronyd; {FORCED}; systemctl start chronyd")

    hosts.each(rotate, *clients.values())


def test_shared_files_are_restored(
    clients: dict[str, Host], hardened: dict[str, str], originals: dict[str, str]
) -> None:
    for name, host in clients.items():
        path, _variable, user = SHARED[name]
        hosts.write(
            host, f"cat >{path}; systemctl disable --now chrony-wait", hardened[name].replace(f" -u {user}", "")
        )
    assert run() == {1}
    for name, host in clients.items():
        assert "-u" not in hosts.facts(host)["daemon"]["arguments"]
        assert not host.file("/etc/systemd/system/chrony-wait.service.d/securetime-nts.conf").exists
        assert host.file(ROTATION).content_string == originals[name]
        host.check_output(f"rm {LOGS}/*; chronyc burst 4/4; sleep 4; ! ls {LOGS}/*")


@pytest.mark.parametrize("name", ["client-debian12", "client-debian13"])
def test_a_file_of_options_is_read_as_by_systemd(name: str) -> None:
    host = get_host(f"ansible://{name}")
    unit = (
        "[Service]\nType=oneshot\nEnvironmentFile=/run/read-options\nStandardOutput=truncate:/run/read-by-systemd\n"
        "ExecStart=/usr/bin/env -0\n"
    )
    hosts.write(host, "cat >/run/systemd/system/read-options.service", unit)
    hosts.write(host, "cat >/run/read-options; systemctl daemon-reload; systemctl start read-options", TEXT)
    printed = host.check_output("tr '\\0' '\\1' </run/read-by-systemd")
    host.check_output("rm /run/systemd/system/read-options.service /run/read-*; systemctl daemon-reload")
    read = dict(pair.split("=", 1) for pair in printed.split("\1") if "=" in pair)
    assert {key: read.get(key) for key in VALUES} == VALUES
    assert read_environment_file(TEXT) == VALUES
