# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check docs/tutorial.md's claims about the tutorial's commands on real chronyds of four versions."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _rules
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import chronyc, wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import CHRONY_PORT, NAME, Chrony
from ansible_collections.securetime.nts.tests.functional.unpacked import program
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import DEFAULTS, planned

SUITES = ("bullseye", "bookworm", "trixie", "testing")
ROOT = Path(__file__).resolve().parents[2]
# The tutorial's configuration in the role's variables.
TUTORIAL = (
    *(
        f"server {name} iburst nts"
        for name in ("time.cloudflare.com", "nts.netnod.se", "ptbtime1.ptb.de", "nts.time.nl")
    ),
    "pool 2.pool.ntp.org iburst",
    "log measurements statistics tracking",
    "logdir /var/log/chrony",
    "lock_all",
    "makestep 1.0 3",
    "rtcsync",
    "ntsdumpdir /var/lib/chrony",
)
FOR_SERVERS = {
    *("ntsprocesses 4", "ntsrotate 86400"),
    *(f"allow {subnet}" for subnet in ("192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12")),
}
# A server without NTS, and an address without a server.
NTS_BY_NAME = "nts.example.org"
DEAD, DEAD_ADDRESS = "dead.example.org", "127.0.0.99"


def read_by_chronyd(suite: str, *lines: str) -> tuple[int, str]:
    """Return chronyd's exit status and its output when it reads these lines."""
    command = [*program(suite, "usr/sbin/chronyd"), "-p", *lines]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("suite", SUITES)
def test_the_tutorials_directives_do_what_the_page_says(suite: str) -> None:
    status, output = read_by_chronyd(suite, "ntstimeout 10")
    assert status == 1
    assert "Invalid directive" in output
    assert read_by_chronyd(suite, "ntscachedir /var/lib/chrony")[0] == 0
    for name in ("ntstimeout", "ntscachedir"):
        assert [text for text in _chrony_conf.problems({name: "10"}, []) if name in text]
    well = ("nocerttimecheck 1", "ntsrotate 86400", "ntsprocesses 4", "lock_all", "ntsport 4460", "user chrony")
    assert read_by_chronyd(suite, *well)[0] == 0


@pytest.mark.parametrize("name", ["tutorial", "tutorial_server_mode", "tutorial_hostname"])
def test_the_examples_lead_to_the_tutorials_configuration(name: str) -> None:
    (play,) = yaml.safe_load((ROOT / f"playbooks/examples/{name}.yml").read_text())
    given = play["tasks"][0]["vars"]
    if name == "tutorial_hostname":
        assert given["chrony_nts_server_names"] == ["{{ fqdn }}"]
        given["chrony_nts_server_names"] = ["nts.example.org"]
    assert _rules.mistakes({**DEFAULTS, **given}) == []
    plan = planned(given)
    assert plan["problems"] == []
    lines = [*plan["sources_text"].splitlines(), *plan["directive_lines"], *plan["access_lines"]]
    assert {line for line in TUTORIAL if line not in lines} == set()
    assert ({*lines} >= FOR_SERVERS) is (name != "tutorial")
    for suite in SUITES:
        assert read_by_chronyd(suite, *(line for line in lines if not line.startswith("#")))[0] == 0


class ClientReports:
    """Reports of chronyc on a client."""

    def __init__(self, client: Chrony) -> None:
        self.client = client

    def report(self, *words: str) -> str:
        """Return a report of chronyc with names; empty where chronyc fails."""
        run = self.client.room.command(chronyc(self.client.suite, self.client.command_socket, "-N", *words))
        done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)
        return done.stdout if done.returncode == 0 else ""

    def until(self, *words: str, holds: Callable[[str], bool]) -> str:
        """Return a report once a condition holds for it."""
        reports: list[str] = []

        def is_so() -> bool:
            reports.append(self.report(*words))
            return holds(reports[-1])

        wait_for(is_so, 100, lambda: reports[-1])
        return reports[-1]


def row(report: str, name: str) -> list[str]:
    """Return a source's line of authdata: mode, key ID, type, length, last, attempts, NAKs, cookies (chronyc(1))."""
    lines = [line.split() for line in report.splitlines()]
    return next((words[1:] for words in lines if words and words[0] == name), [])


@pytest.fixture(scope="module", params=SUITES)
def client_reports(request: pytest.FixtureRequest) -> Iterator[ClientReports]:
    """Yield a client with an NTS source, a plain source whose name begins with nts, and a dead source."""
    suite = request.param
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        room = stack.enter_context(rooms.room(folder / "room"))
        with (folder / "room" / "hosts").open("a") as hosts:
            hosts.write(f"127.0.0.1 {NTS_BY_NAME}\n{DEAD_ADDRESS} {DEAD}\n")
        made = rooms.of_the_role(folder / "pki")
        pair = (f"ntsservercert {made.server.chain}", f"ntsserverkey {made.server.key_file}")
        served = (f"port {CHRONY_PORT}", "allow", "local stratum 5", *pair)
        stack.enter_context(rooms.chronyd(room, suite, folder / "server", served))
        lines = (
            "port 0",
            f"ntstrustedcerts {made.trusted}",
            f"server {NAME} nts iburst minpoll 0 maxpoll 0",
            f"server {NTS_BY_NAME} port {CHRONY_PORT} iburst minpoll 0 maxpoll 0",
            f"server {DEAD} nts iburst",
        )
        yield ClientReports(stack.enter_context(rooms.chronyd(room, suite, folder / "client", lines)))


def test_a_name_is_no_proof_of_authentication(client_reports: ClientReports) -> None:
    """`chronyc sources -v | grep -c nts` counts the source without NTS, and not the one with it."""

    def has_both(report: str) -> bool:
        return row(report, NAME)[2:3] in (["15"], ["30"]) and row(report, NTS_BY_NAME) != []

    report = client_reports.until("authdata", holds=has_both)
    assert (row(report, NAME)[0], row(report, NTS_BY_NAME)[0]) == ("NTS", "-")
    sources = client_reports.until(
        "sources", "-v", holds=lambda text: all(name in text for name in (NAME, NTS_BY_NAME))
    )
    assert [line.split()[1] for line in sources.splitlines() if "nts" in line] == [NTS_BY_NAME]


def test_a_failed_key_exchange_does_not_fail_authdata(client_reports: ClientReports) -> None:
    """authdata shows no cookie, and its exit status is 0."""
    report = client_reports.until("authdata", holds=lambda text: row(text, DEAD)[5:6] not in ([], ["0"]))
    assert (row(report, DEAD)[0], row(report, DEAD)[7]) == ("NTS", "0")


@pytest.mark.parametrize("suite", SUITES)
def test_the_stratum_of_a_clock_that_follows_nothing_is_zero(suite: str) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        rooms.room(Path(name) / "room") as room,
        rooms.chronyd(room, suite, Path(name) / "client", [f"server {DEAD_ADDRESS}", "port 0"]) as client,
    ):
        assert client.value("tracking", "Stratum") == "0"
