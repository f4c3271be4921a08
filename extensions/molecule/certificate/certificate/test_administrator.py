# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nts-certificate leaves a stopped or disabled service alone, and rolls back when it is stopped itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import held_start, journal, wait_until, write
from ansible_collections.securetime.nts.tests.lab.pairs import renewed_at

CONFIG = "/etc/chrony/chrony.conf"
STATE = "/var/lib/securetime-nts"
SUMS = "sha256sum /etc/chrony/nts/server.pem /etc/chrony/nts/server.key"
# The administrator's action, and the report of nts-certificate.
OUT_OF_SERVICE = {
    "stopped": ("systemctl stop chrony", "chrony.service is inactive"),
    "disabled": ("systemctl disable chrony", "chrony.service is disabled"),
    "stopped and disabled": ("systemctl disable --now chrony", "chrony.service is inactive"),
    "not configured": (
        f"sed -i 's/^ntsserver/# ntsserver/' {CONFIG}; systemctl restart chrony",
        f"{CONFIG} has no line `ntsservercert /etc/chrony/nts/server.pem`",
    ),
}
BACK_IN_SERVICE = f"sed -i 's/^# ntsserver/ntsserver/' {CONFIG}; systemctl enable chrony; systemctl restart chrony"
# Sends a signal (9: SIGKILL) to the program after the swap of the first of the two files.
ENDED = """
import os, sys
sys.path.insert(0, "/usr/local/sbin/nts-certificate")
from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager
swap = files.swap
def swap_and_end(wanted):
    swap(wanted)
    os.kill(os.getpid(), int(sys.argv[1]))
files.swap = swap_and_end
sys.exit(manager.main(["renew", "--force"]))
"""


@pytest.fixture(scope="module")
def server() -> Host:
    return get_host("ansible://nts1")


@pytest.fixture
def back_in_service(server: Host) -> Iterator[None]:
    yield
    server.check_output(BACK_IN_SERVICE)


def status(host: Host) -> dict[str, Any]:
    (pair,) = json.loads(host.check_output("nts-certificate status --json"))
    return dict(pair)


def unit(host: Host) -> str:
    """Return the state of chronyd's unit with the start time of its process."""
    wanted = "ActiveState,UnitFileState,ExecMainStartTimestampMonotonic"
    return host.check_output(f"systemctl show --property {wanted} chrony.service")


def last_exit(host: Host) -> str:
    """Return the exit status of the last run of nts-certificate.service."""
    return host.check_output("systemctl show --value --property ExecMainStatus nts-certificate.service")


@pytest.mark.usefixtures("back_in_service")
@pytest.mark.parametrize("what", OUT_OF_SERVICE)
def test_a_server_out_of_service_is_not_changed(server: Host, what: str) -> None:
    action, report = OUT_OF_SERVICE[what]
    server.check_output(action)
    before = unit(server), server.check_output(SUMS)
    with renewed_at(server, 1.0):
        for command in ("renew", "renew --force", "rollback"):
            done = server.run(f"nts-certificate {command}")
            assert (unit(server), server.check_output(SUMS)) == before, command
            assert (done.rc, report in done.stderr) == (4, True), done


@pytest.mark.usefixtures("back_in_service")
def test_the_service_reports_a_stopped_chronyd_in_the_journal(server: Host) -> None:
    since = server.check_output("sleep 1; date +%s")
    server.check_output("systemctl disable --now chrony")
    assert server.run("systemctl start nts-certificate.service").rc != 0
    assert last_exit(server) == "4"
    assert "chrony.service is inactive" in journal(server, f"--unit nts-certificate --since=@{since}")
    done = server.run("nts-certificate check")
    assert (done.rc, "chrony.service is inactive" in done.stdout) == (3, True), done


@pytest.mark.usefixtures("back_in_service")
def test_an_interrupted_change_is_undone_and_a_stopped_chronyd_stays_stopped(server: Host) -> None:
    before = server.check_output(SUMS)
    assert "137" in server.check_output("python3 -c %s 9; echo $?", ENDED)
    assert server.file(f"{STATE}/plan.json").exists
    server.check_output(f"rm {STATE}/undo.sh; systemctl disable --now chrony")
    stopped = unit(server)
    assert server.run("nts-certificate renew").rc == 4
    assert (unit(server), server.check_output(SUMS)) == (stopped, before)
    assert not server.file(f"{STATE}/plan.json").exists


@pytest.mark.parametrize("signal", ["15", "2", "1"])
def test_a_signal_rolls_back(server: Host, signal: str) -> None:
    before = status(server)["served"], server.check_output(SUMS)
    done = server.run("python3 -c %s %s", ENDED, signal)
    assert (done.rc, "rolled back: SIG" in done.stderr) == (5, True), done
    assert (status(server)["served"], server.check_output(SUMS)) == before
    assert status(server)["problems"] == []
    assert server.run(f"ls /etc/chrony/nts/*securetime-nts-* {STATE}/plan.json {STATE}/undo.sh").stdout == ""


def test_a_stop_of_the_service_rolls_back(server: Host) -> None:
    before = status(server)["served"], server.check_output(SUMS)
    write(server, "cat >/root/sums", before[1] + "\n")
    try:
        with renewed_at(server, 1.0), held_start(server, "chrony.service") as go_on:
            server.check_output("systemctl start --no-block nts-certificate.service")
            same = "sha256sum --check --status /root/sums"
            wait_until(lambda: server.run(same).rc != 0, "the service changes no pair", pause_seconds=0.05)
            # systemd stops the service before it goes on with the start of chronyd.
            server.check_output("systemctl stop --no-block nts-certificate.service")
            go_on()
            server.check_output("systemctl stop nts-certificate.service")
    finally:
        server.check_output("rm /root/sums")
    assert last_exit(server) == "5"
    assert (status(server)["served"], server.check_output(SUMS)) == before
    assert not server.file(f"{STATE}/plan.json").exists
    assert server.run("systemctl start nts-certificate.service").rc == 0


def test_the_service_has_no_limit_that_cuts_a_change(server: Host) -> None:
    limit = "systemctl show --value --property TimeoutStartUSec nts-certificate.service"
    assert server.check_output(limit) == "infinity"
