# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every state of chronyc_facts on real hosts: state and reasons match the cause."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.lab.hosts import LAB, ask, each, run_module

CLIENTS = ("client-debian12", "client-debian13", "client-el")
Facts = dict[str, Any]

FAST = "iburst minpoll 0 maxpoll 0"
# The cookies last for half a minute without an answer.
SLOWLY = "server nts1 nts ntsport 4467 port 11467 minpoll 2 maxpoll 2"
# After the first requests, each further one is made by the test.
RARELY = "server nts1 nts ntsport 4467 port 11467 iburst minpoll 10 maxpoll 10"
# Waits until chronyd has opened that port.
SERVES = "timeout 100 sh -c 'until grep -q :2CCB /proc/net/udp; do sleep 0.1; done'"
# Waits until no source is in a burst, as after its start with iburst. chronyd ignores another burst before.
BURST_ENDS = "timeout 400 sh -c 'until chronyc -c activity | grep -q \"^[0-9]*,[0-9]*,0,0,\"; do sleep 0.2; done'"
# An unused address of the hosts' own network. It never answers, because its packets go to a false MAC address.
ASTRAY = "ip neigh replace 10.89.255.254 lladdr 02:00:00:00:00:01 dev eth0; ip route replace 10.89.255.254 dev eth0"
# The images have no sudo, and the user nobody has no shell.
AS_NOBODY = {
    "ansible_become": "true",
    "ansible_become_user": "nobody",
    "ansible_become_method": "su",
    "ansible_become_flags": "-s /bin/sh",
}
# The directives that each state sets itself.
OWN = r"^(server|pool|peer|sourcedir|authselectmode|nocerttimecheck|cmdport|bindcmdaddress)\b"


@pytest.fixture(scope="module")
def server() -> Iterator[Host]:
    """Yield nts1 with additional servers, each wrong in one way."""
    host = get_host("ansible://nts1")
    hosts.write(host, "sh", (LAB / "wrong_servers.sh").read_text())
    yield host
    host.check_output("systemctl stop 'states@*' states-https; rm -r /run/states")


@pytest.fixture(scope="module")
def clients(server: Host) -> Iterator[Clients]:
    """Yield the clients, which also trust the CA of the wrong servers."""
    clients = Clients(server.check_output("cat /run/states/ca.pem"))
    yield clients
    clients.restore()


class Clients:
    """All clients, in parallel."""

    def __init__(self, certificate: str) -> None:
        self.hosts = [get_host(f"ansible://{name}") for name in CLIENTS]
        self.run(f"{ASTRAY}; echo '{certificate}' >/etc/chrony/nts/states.pem; chmod 644 /etc/chrony/nts/states.pem")
        self.paths = [next(p for p in CONFIG_FILES if host.file(p).exists) for host in self.hosts]
        self.own = [host.file(path).content_string for host, path in zip(self.hosts, self.paths, strict=True)]

    def run(self, command: str) -> None:
        each(lambda host: host.check_output("sh -c %s", command), *self.hosts)

    def configure(self, *lines: str, forget: bool = True) -> None:
        """Restart chronyd with these sources; by default, delete its cookies."""
        self.run(f"systemctl stop chronyd; {'rm -f /var/lib/chrony/*.nts' if forget else 'true'}")
        texts = {}
        for host, path, own in zip(self.hosts, self.paths, self.own, strict=True):
            kept = [line for line in own.splitlines() if not re.match(OWN, line)]
            texts[host] = path, "\n".join([*kept, "ntstrustedcerts /etc/chrony/nts/states.pem", *lines, ""])
        start = "systemctl reset-failed chronyd; systemctl start chronyd"
        each(lambda host: hosts.write(host, f"cat >{texts[host][0]}; {start}", texts[host][1]), *self.hosts)

    def restore(self) -> None:
        for host, path, own in zip(self.hosts, self.paths, self.own, strict=True):
            host.check_output("echo %s | base64 -d >%s", base64.b64encode(own.encode()).decode(), path)
        self.run("systemctl reset-failed chronyd; systemctl restart chronyd")

    def ask(self, arguments: str, **variables: str) -> list[dict[str, Any]]:
        """Return the module's result of each client; variables select Ansible's own become."""
        if variables:
            answers = ask(":".join(CLIENTS), "securetime.nts.chronyc_facts", arguments, **variables)
            return [answers[name] for name in CLIENTS]
        options = dict(word.split("=", 1) for word in arguments.split())
        return each(lambda host: run_module(host, "chronyc_facts", **options), *self.hosts)

    def facts(self, arguments: str = "", **variables: str) -> list[Facts]:
        """Return ansible_facts.chrony of each client."""
        return [answer["ansible_facts"]["chrony"] for answer in self.ask(arguments, **variables)]

    def become(
        self,
        state: str,
        reason: str,
        seconds: float = 400,
        arguments: str = "",
        **variables: str,
    ) -> list[Facts]:
        """Wait until all clients have this state for this reason; return their facts."""
        end = time.monotonic() + seconds
        while True:
            facts = self.facts(arguments, **variables)
            verdicts = [(one["nts"]["state"], " ".join(one["nts"]["reasons"])) for one in facts]
            if all(found == state and re.search(reason, reasons) for found, reasons in verdicts):
                return facts
            assert time.monotonic() < end, "\n".join(map(str, verdicts))
            time.sleep(0.3)


CONFIG_FILES = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")


@pytest.mark.parametrize(
    ("sources", "state", "reason"),
    [
        pytest.param(["server nts1 nts iburst"], "authenticated", "^$", id="healthy"),
        pytest.param(
            ["server nts1 nts iburst ntsport 4499"], "failed", "refuses connections to TCP port 4499", id="refused"
        ),
        pytest.param(["server 10.89.255.254 nts iburst"], "failed", "not answered within 16 s", id="dropped"),
        pytest.param(
            ["server nts1 nts iburst ntsport 4461"],
            "failed",
            "issuer of the server's certificate is not trusted.*ntstrustedcerts",
            id="unknown CA",
        ),
        pytest.param(["server nts1 nts iburst ntsport 4462"], "failed", "has expired", id="expired"),
        pytest.param(
            ["server nts1 nts iburst ntsport 4463"], "failed", "not yet valid.*nocerttimecheck", id="not yet valid"
        ),
        pytest.param(["server nts1 nts iburst ntsport 4464"], "failed", "not for the name nts1", id="wrong name"),
        pytest.param(
            ["server nts1 nts iburst ntsport 4465"],
            "failed",
            "closed the key exchange at once.*Could not set credentials",
            id="unreadable key",
        ),
        pytest.param(
            ["server nts1 nts iburst ntsport 4468"], "failed", "does not offer key exchanges for NTS", id="HTTPS"
        ),
        pytest.param(["server nts1 nts iburst ntsport 22"], "failed", "does not speak TLS", id="SSH"),
        pytest.param(
            [f"server nts1 nts port 9123 {FAST}"],
            "failed",
            "key exchange succeeded, but none of [4-8] NTP requests to UDP port 9123",
            id="NTP blocked",
        ),
        pytest.param(
            [f"server nts1 nts ntsport 4466 port 11466 {FAST}"],
            "pending",
            "authenticated, but the server says that its own clock is not synchronised",
            id="unsynchronised",
        ),
        pytest.param(["server nts1 iburst"], "unauthenticated", "nts1 is not authenticated", id="without NTS"),
        pytest.param(
            [f"server nts1 nts {FAST}", f"server nts2 {FAST}", "authselectmode mix"],
            "authenticated",
            "^$",
            id="mix",
        ),
        pytest.param(
            [f"server nts1 nts {FAST} noselect", f"server nts2 {FAST}", "authselectmode ignore"],
            "unauthenticated",
            "The clock follows a source without NTS: nts2",
            id="ignore",
        ),
        pytest.param(["server nowhere.invalid nts iburst"], "failed", "it has no address", id="unresolved"),
        pytest.param([f"server nts1 nts noselect {FAST}"], "failed", "configured or made noselect", id="noselect"),
        pytest.param([], "unauthenticated", "No time source is configured", id="no sources"),
    ],
)
def test_state(clients: Clients, sources: list[str], state: str, reason: str) -> None:
    clients.configure(*sources)
    for facts in clients.become(state, reason):
        assert facts["access"] == "socket"
        assert facts["refused"] == {}
        assert facts["environment"]["container"] == "podman"
        assert facts["daemon"]["clock_control"] is False


def test_a_server_that_lost_its_keys_refuses_the_cookies_once(clients: Clients, server: Host) -> None:
    clients.configure(RARELY)
    before = clients.become("authenticated", "^$")
    clients.run(BURST_ENDS)
    server.check_output(f"systemctl restart states@forgetful; {SERVES}")
    clients.run("chronyc burst 1/1")
    clients.become("pending", "refused the cookies .NTS NAK", arguments="")
    # chronyd makes no second key exchange within 16 s of the first one, and the burst ends without a request.
    for _time in range(100):
        clients.run("chronyc burst 1/1; sleep 1")
        if all(facts["nts"]["state"] == "authenticated" for facts in clients.facts()):
            break
    after = clients.become("authenticated", "^$")
    for old, new in zip(before, after, strict=True):
        assert new["sources"][0]["auth"]["key_id"] == old["sources"][0]["auth"]["key_id"] + 1


def test_saved_cookies_do_not_authenticate_a_dead_server(clients: Clients, server: Host) -> None:
    clients.configure(SLOWLY)
    clients.become("authenticated", "^$")
    server.check_output("systemctl stop states@forgetful")
    clients.configure(SLOWLY, forget=False)
    for facts in clients.become("failed", "cookies are from before chronyd's start"):
        assert facts["sources"][0]["auth"]["key_length_bits"] > 0


def test_an_ordinary_user_gets_the_names_of_missing_reports(clients: Clients) -> None:
    clients.configure("server nts1 nts iburst")
    clients.become("authenticated", "^$")
    for facts in clients.become("unknown", "authdata.*become root", **AS_NOBODY):
        assert facts["access"] == "udp"
        assert facts["tracking"]["synchronised"]
        assert facts["sources"][0]["name"] == "nts1"
        assert set(facts["refused"]) == {"authdata", "ntpdata", "selectdata", "serverstats"}
        assert facts["daemon"]["replaced"] is None


def test_without_a_port_an_ordinary_user_has_no_access(clients: Clients) -> None:
    clients.configure("server nts1 nts iburst", "cmdport 0")
    for facts in clients.become("unknown", "Cannot talk to daemon.*Become root", **AS_NOBODY):
        assert (facts["access"], facts["running"], facts["tracking"]) == ("closed", True, None)
    assert [facts["access"] for facts in clients.become("authenticated", "^$")] == ["socket"] * 3


def test_without_a_socket_root_has_only_udp_access(clients: Clients) -> None:
    clients.configure("server nts1 nts iburst", "bindcmdaddress /")
    for facts in clients.become("unknown", "serverstats.*501"):
        assert facts["access"] == "udp"


def test_a_stopped_daemon_is_not_running(clients: Clients) -> None:
    clients.run("systemctl stop chronyd")
    for facts in clients.become("not_running", "chronyd is not running: .* is inactive"):
        assert (facts["installed"], facts["running"], facts["access"]) == (True, False, None)


def test_a_hanging_daemon_is_reported_within_the_timeout(clients: Clients) -> None:
    clients.configure("server nts1 nts iburst")
    clients.become("authenticated", "^$")
    clients.run("kill -STOP $(systemctl show --value -p MainPID chronyd)")
    try:
        timeout_seconds = 10
        begin = time.monotonic()
        answers = clients.facts(f"command_timeout={timeout_seconds}")
        # chronyc must not wait as long for each further report as for the first one: there are more than five.
        assert (time.monotonic() - begin) / timeout_seconds < 5
        for facts in answers:
            assert facts["nts"]["state"] == "unknown", facts["nts"]
            assert f"not answered within {timeout_seconds} s. It hangs" in " ".join(facts["nts"]["reasons"])
            assert (facts["access"], facts["running"]) == ("silent", True)
    finally:
        clients.run("kill -CONT $(systemctl show --value -p MainPID chronyd)")


def test_a_missing_chronyc_is_reported(clients: Clients) -> None:
    clients.run("mv /usr/bin/chronyc /usr/bin/chronyc.away")
    try:
        for facts in clients.become("unknown", "chronyc is not installed.*Install", arguments=""):
            assert (facts["access"], facts["client"]["path"]) == ("unusable", None)
    finally:
        clients.run("mv /usr/bin/chronyc.away /usr/bin/chronyc")


def test_the_timeout_error_names_the_state_of_each_source(clients: Clients) -> None:
    clients.configure("server nts1 nts iburst", "server nts2 nts iburst ntsport 4499")
    clients.become("partial", "nts2: .*refuses connections")
    arguments = "wait_for=authenticated min_sources=2 timeout=1 fail_on_timeout=true"
    for result in clients.ask(arguments):
        assert result["reached"] is False, result
        assert re.match(r"Not authenticated after [\d.]+ s ", result["msg"])
        assert result["waited_seconds"] >= 1
        assert "(nts1: authenticated, selected, reach " in result["msg"]
        assert "; nts2: failed, unusable, reach 000). nts2: " in result["msg"]


def test_facts_list_the_clients_of_a_server(server: Host) -> None:
    result = run_module(server, "chronyc_facts", reports=["clients", "smoothing"])
    chrony = result["ansible_facts"]["chrony"]
    assert sum(client["nts_ke_connections"] for client in chrony["clients"]) >= 3
    assert chrony["smoothing"] is None
    assert chrony["refused"] == {"smoothing": "505 Facility not enabled in daemon"}
