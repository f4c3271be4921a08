# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""report.yml on hosts: the report agrees with chronyc_facts and includes hosts that Ansible cannot read."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts

CLIENTS = ("client-debian12", "client-debian13", "client-el")
SERVERS = ("nts1", "nts2")
NAMES = (*CLIENTS, *SERVERS)
# A dynamic inventory may take such a name from a cloud, where users choose names.
GONE = "gone<script>document.title='run'</script>"
UNREAD = {
    GONE: {"ansible_host": "127.0.0.1", "ansible_port": 1},
    "bare": {"ansible_connection": "local", "ansible_python_interpreter": "/nonexistent"},
}


def write(folder: Path, *arguments: str, inventory: Path | None = None, **variables: str) -> str:
    """Run report.yml; return its output."""
    more = {"ANSIBLE_INVENTORY": f"{os.environ['ANSIBLE_INVENTORY']},{inventory}"} if inventory else {}
    return hosts.playbook("report", *arguments, variables={"chrony_nts_report_dir": str(folder), **variables}, **more)


def read(folder: Path) -> dict[str, Any]:
    """Return the report's JSON document."""
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def await_clients(server: Host) -> None:
    """Return once a server has answered every client: it forgets them when it restarts."""

    def knows_all() -> bool:
        rows = hosts.facts(server, reports=["clients"])["clients"]
        return sum(not ipaddress.ip_address(row["address"]).is_loopback for row in rows) >= len(CLIENTS)

    hosts.wait_until(knows_all, "a server without clients", 640, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report on all hosts and on two that Ansible cannot read."""
    clients, servers = ([get_host(f"ansible://{name}") for name in names] for names in (CLIENTS, SERVERS))
    hosts.each(lambda host: host.check_output("chronyc burst 1/1"), *clients)
    hosts.each(await_clients, *servers)
    folder = tmp_path_factory.mktemp("report")
    inventory = folder / "more.yml"
    inventory.write_text(json.dumps({"nts_clients": {"hosts": UNREAD}}))
    output = write(folder, inventory=inventory)
    assert f"Report: {folder}/report.html" in output, output[-3000:]
    return folder


def test_the_report_agrees_with_the_facts_and_lists_unreadable_hosts(folder: Path) -> None:
    report = read(folder)
    found = {host["name"]: host for host in report["hosts"]}
    assert set(found) == {*NAMES, *UNREAD}
    assert (found[GONE]["state"], found["bare"]["state"]) == ("unreachable", "unreadable")
    assert "Connection refused" in found[GONE]["message"]
    assert "Ansible finds no Python there" in found["bare"]["message"]
    for name in NAMES:
        facts = hosts.facts(get_host(f"ansible://{name}"))
        assert found[name]["state"] == facts["nts"]["state"]
        assert found[name]["reasons"] == facts["nts"]["reasons"]
        assert found[name]["chrony"] == facts["daemon"]["version"]
    page = (folder / "report.html").read_text()
    assert "<script>document.title" not in page
    assert all(name in page for name in NAMES)
    assert len((folder / "report.csv").read_text().splitlines()) == 1 + len(found)


def test_the_report_has_edges_certificates_and_clients(folder: Path) -> None:
    report = read(folder)
    edges = [edge for edge in report["follows"] if edge["host"] == "client-debian13" and edge["selected"]]
    assert [(edge["source_host"], edge["authenticated"]) for edge in edges] in ([("nts1", True)], [("nts2", True)])
    served = {row["subject"]: row for row in report["certificates"] if row["use"] == "server"}
    assert {"CN=nts1", "CN=nts2"} <= set(served)
    for name in ("nts1", "nts2"):
        pem = get_host(f"ansible://{name}").check_output(
            "openssl x509 -in /etc/chrony/nts/server.pem -noout -fingerprint -sha256 | tr -d :"
        )
        assert served[f"CN={name}"]["fingerprint_sha256"] == pem.rpartition("=")[2].lower()
    (root,) = [row for row in report["certificates"] if row["use"] == "trust"]
    assert set(root["hosts"]) == set(NAMES)
    serving = {host["name"]: host["serving"] for host in report["hosts"] if host["role"] == "server"}
    for counted in serving.values():
        assert counted["ntp_authenticated"] > 0
        assert counted["clients"] >= len(CLIENTS)
    # Every client has cookies or has made a key exchange.
    assert report["clients_without_nts"] == []


def test_an_earlier_report_shows_what_has_changed(folder: Path, tmp_path: Path) -> None:
    client = get_host("ansible://client-el")
    client.check_output("systemctl stop chronyd")
    try:
        write(tmp_path, "--limit", "client-el,nts1", chrony_nts_report_earlier=str(folder / "report.json"))
    finally:
        client.check_output("systemctl start chronyd")
    changes = read(tmp_path)["changes"]
    assert changes["hosts_was"] == len(NAMES) + len(UNREAD)
    assert [change["now"] for change in changes["hosts"] if change["host"] == "client-el"] == ["not_running"]
    assert {change["host"] for change in changes["hosts"] if change["now"] is None} == {
        *UNREAD, "client-debian12", "client-debian13", "nts2",
    }  # fmt: skip


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    output = write(tmp_path / "new", "--check", "--limit", "nts1")
    assert f"Report: {tmp_path}/new/report.html" in output
    assert not (tmp_path / "new").exists()
