# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor on hosts: its installation, metrics, logs and removal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import facts, journal, run_module

# A server with the layout of Enterprise Linux, and a client with the oldest systemd.
testinfra_hosts = ["ansible://nts2", "ansible://client-debian12"]

FOLDER = "/var/lib/node_exporter"
LOG = "/var/log/chrony/nts-monitor.log"
# Exposure level of systemd-analyze, from 0 (all is closed) to 10.
MOST_EXPOSED = 2.0
STAGES = ("dns", "tcp", "tls", "ke", "ntp")


@pytest.fixture(scope="module", autouse=True)
def monitor(host: Host) -> Iterator[dict[str, Any]]:
    """Install the monitor for the tests of this file; yield the module's result."""
    host.check_output("mkdir -p %s; rm -f %s", FOLDER, LOG)
    predicted = run_module(host, "chrony_monitor", _ansible_check_mode=True)
    assert not host.file("/usr/local/sbin/nts-monitor").exists
    installed = run_module(host, "chrony_monitor")
    assert predicted["changed_files"] == installed["changed_files"], (predicted, installed)
    try:
        yield installed
    finally:
        removed = run_module(host, "chrony_monitor", state="absent")
        again = run_module(host, "chrony_monitor", state="absent")
        left = host.run("ls -d /etc/nts-monitor* /var/lib/nts-monitor* /etc/systemd/system/*nts-monitor*").stdout
        left += host.run("ls -A %s; ls /usr/local/sbin/nts-monitor", FOLDER).stdout
        left += host.run("systemctl list-units --all --no-legend 'nts-monitor*'").stdout
        host.run("rm -rf %s %s", FOLDER, LOG)
    assert (removed["changed"], again["changed"], left) == (True, False, "")


def collect(host: Host) -> dict[str, Any]:
    """Run the unit once; return the status file that it wrote."""
    host.check_output("systemctl start nts-monitor.service")
    status: dict[str, Any] = json.loads(host.check_output("nts-monitor --json"))
    return status


def metrics(host: Host) -> dict[str, float]:
    """Return the metrics that node_exporter reads."""
    text = host.check_output("cat %s/nts-monitor.prom", FOLDER)
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_a_second_run_changes_nothing(host: Host) -> None:
    again = run_module(host, "chrony_monitor")
    assert (again["changed"], again["changed_files"]) == (False, [])
    changed = run_module(host, "chrony_monitor", interval_seconds=900, _ansible_check_mode=True)
    assert changed["changed_files"] == ["/etc/nts-monitor.json", "/etc/systemd/system/nts-monitor.timer"]


def test_the_collector_agrees_with_the_module(host: Host) -> None:
    # The state may change between the two, and a busy chronyd may not answer in time.
    for _time in range(10):
        status, chrony = collect(host), facts(host)
        if status["nts"] == chrony["nts"]:
            break
    assert status["nts"] == chrony["nts"]
    assert [row["nts"] for row in status["sources"]] == [row["nts"] for row in chrony["sources"]]
    found = metrics(host)
    assert found["chrony_nts_authenticated"] == int(chrony["nts"]["authenticated"])
    assert found[f'chrony_nts_state_info{{state="{chrony["nts"]["state"]}"}}'] == 1
    assert found["chrony_collector_success"] == 1
    assert found["chrony_nts_goal_reached"] == 1


def test_the_collector_runs_as_chronyds_user_in_a_sandbox(host: Host, monitor: dict[str, Any]) -> None:
    chrony = facts(host)
    assert monitor["user"] == chrony["daemon"]["user"] != "root"
    exposed = host.check_output("systemd-analyze security --no-pager nts-monitor.service").splitlines()[-1]
    assert float(re.findall(r": ([\d.]+) ", exposed)[0]) <= MOST_EXPOSED, exposed
    assert host.check_output("stat --format %%U %s/nts-monitor/nts-monitor.prom", FOLDER) == monitor["user"]
    assert host.check_output("stat --format %a /var/lib/nts-monitor/memory.json") == "600"
    # The journal holds only the monitor's own messages.
    started = "systemctl start nts-monitor.service; journalctl --quiet --output=cat -u nts-monitor.service --since -5s"
    for line in host.check_output(started).splitlines():
        assert re.match(r"(Starting|Finished) |nts-monitor.service: (Deactivated|Consumed)|host: ", line), line


def test_a_server_passes_its_own_probe_and_does_not_count_it(host: Host) -> None:
    status, found = collect(host), metrics(host)
    assert (status["pairs"] != []) == host.file("/etc/chrony/nts/certificate.json").exists
    if not status["pairs"]:
        return
    (pair,) = status["pairs"]
    assert {stage for stage, (passed, _seconds) in pair["stages"].items() if passed} == set(STAGES)
    ends = [value for name, value in found.items() if name.startswith("chrony_nts_server_certificate_not_after")]
    assert len(ends) == 2
    assert ends[0] == ends[1]
    own = found["chrony_nts_server_probe_connections_total"]
    counted = found["chrony_serverstats_nts_ke_connections_accepted_total"]
    host.check_output("touch /etc/chrony/nts/%s.pem", pair["id"])
    collect(host)
    collect(host)
    found = metrics(host)
    assert found["chrony_nts_server_probe_connections_total"] == own + 1
    assert found["chrony_serverstats_nts_ke_connections_accepted_total"] == counted
    assert facts(host)["serverstats"]["nts_ke_accepted"] == counted + own + 1


def test_a_stop_of_chronyd_is_logged_once_and_its_start_too(host: Host) -> None:
    unit = facts(host)["unit"]["name"]
    collect(host)
    before = host.file(LOG).content_string.splitlines()
    messages = "--output=cat --identifier=nts-monitor --priority=warning"
    warned = journal(host, messages).count("not_running")
    host.check_output("systemctl stop %s", unit)
    try:
        collect(host)
        stopped = collect(host)
        chrony = facts(host)
        answer = host.run("setpriv --reuid=nobody --clear-groups nts-monitor --nagios")
        down = metrics(host)
    finally:
        host.check_output("systemctl start %s", unit)
    assert stopped["nts"] == chrony["nts"]
    assert (down["chrony_up"], answer.rc) == (0, 2)
    assert "CRITICAL - not_running: chronyd is not running: " in answer.stdout
    lines = host.file(LOG).content_string.splitlines()[len(before) :]
    logged = [line for line in lines if " host: " in line]
    assert len(logged) == 1, lines
    assert re.search(r" warning host: \w+ -> not_running: chronyd is not running: ", logged[0])
    assert journal(host, messages).count("not_running") == warned + 1
    collect(host)
    lines = host.file(LOG).content_string.splitlines()[len(before) :]
    assert any("not_running -> " in line for line in lines), lines


def test_a_stopped_timer_and_a_damaged_program_are_repaired(host: Host) -> None:
    host.check_output("systemctl disable --now nts-monitor.timer")
    assert run_module(host, "chrony_monitor", _ansible_check_mode=True)["changed"] is True
    host.check_output("truncate --size=1000 /usr/local/sbin/nts-monitor")
    assert run_module(host, "chrony_monitor")["changed_files"] == ["/usr/local/sbin/nts-monitor"]
    assert host.service("nts-monitor.timer").is_running
    assert host.service("nts-monitor.timer").is_enabled
    assert run_module(host, "chrony_monitor")["changed"] is False


@pytest.mark.parametrize("unit", ["timer", "service"])
def test_units_that_an_interrupted_run_has_written_are_reloaded(host: Host, unit: str) -> None:
    host.check_output("touch /etc/systemd/system/nts-monitor.%s", unit)
    line = {"prepared": "systemd reloads nts-monitor.timer and nts-monitor.service\n"}
    for predict in (True, False):
        again = run_module(host, "chrony_monitor", _ansible_check_mode=predict)
        assert (again["changed"], again["changed_files"], again["diff"]) == (True, [], [line])
    assert run_module(host, "chrony_monitor")["changed"] is False
