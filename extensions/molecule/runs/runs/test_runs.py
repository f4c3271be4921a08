# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of a playbook run, and what its output and the hosts' journals disclose."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.lab.hosts import changed
from ansible_collections.securetime.nts.tests.lab.pairs import pair

CLIENTS = ("client-debian12", "client-debian13", "client-el")
PASSPHRASE = "horse-battery-staple"


def site(*arguments: str) -> str:
    """Run site.yml without failures; return its output."""
    output = hosts.playbook("site", *arguments)
    changed(output)
    return output


def modules_run_on(host: Host, since: str) -> list[str]:
    """Return the modules that Ansible ran on the host since a time, from the host's journal."""
    journal = hosts.journal(host, f"--since=@{since}")
    return re.findall(r" ansible-(\S+)\[\d+\]: Invoked with", journal)


@pytest.fixture
def role(tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """Return a function that runs the role on hosts and returns every task that Ansible schedules for each host."""

    def run(*names: str, variables: dict[str, Any] | None = None) -> dict[str, list[str]]:
        playbook, record = tmp_path / "role.yml", tmp_path / "record.json"
        task = "ansible.builtin.import_role: {name: securetime.nts.chrony_nts}"
        playbook.write_text(f"- hosts: all\n  gather_facts: false\n  become: true\n  tasks:\n    - {task}\n")
        output = hosts.playbook(
            str(playbook),
            "--limit",
            ",".join(names),
            variables=variables,
            ANSIBLE_CALLBACK_PLUGINS=str(hosts.ROOT / "tests/bench/callback"),
            ANSIBLE_CALLBACKS_ENABLED="record",
            RECORD=str(record),
        )
        changed(output)
        tasks: dict[str, list[str]] = json.loads(record.read_text())["tasks"]
        return tasks

    return run


def received_bytes(host: Host) -> int:
    """Return the bytes that the host has received over the network since its start."""
    # check_output would send another module.
    return sum(map(int, hosts.write(host, "cat /sys/class/net/e*/statistics/rx_bytes", "").split()))


def test_an_unchanged_client_costs_little(role: Callable[..., dict[str, list[str]]]) -> None:
    clients = [get_host(f"ansible://{name}") for name in CLIENTS]
    # The hosts know the parameters of their last run, and site.yml verifies in another way.
    role(*CLIENTS)
    first = [received_bytes(host) for host in clients]
    hosts.ask("nts_clients", "ansible.builtin.ping")
    pinged = [received_bytes(host) - before for host, before in zip(clients, first, strict=True)]
    since = [host.check_output("sleep 1; date +%s") for host in clients]
    first = [received_bytes(host) for host in clients]
    tasks = role(*CLIENTS)
    for name, host, begin, before, ping in zip(CLIENTS, clients, since, first, pinged, strict=True):
        # A ping is roughly what Ansible sends along with the module.
        assert received_bytes(host) - before < 2.5 * ping
        assert len(tasks[name]) <= 3, tasks[name]
        assert modules_run_on(host, begin) == ["securetime.nts.chrony_config"]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_modules_of_an_unchanged_run_start_few_processes(name: str) -> None:
    host = get_host(f"ansible://{name}")
    unit = "chronyd" if name == "client-el" else "chrony"
    config = hosts.facts(host)["daemon"]["config_file"]
    pid = "sh -c 'echo $$'"
    for module, arguments in (
        ("chrony_config", {"config_file": "", "service": "", "survey": {"packages": ["chrony"]}}),
        ("chrony_config", {"config_file": config, "service": f"{unit}.service", "verify": "authenticated"}),
    ):
        command = f"{pid}; python3 {hosts.code(host)}/run.py {module} >/run/result; {pid}; cat /run/result"
        counts = []
        # Other programs of the host, such as those of systemd's timers, may start meanwhile.
        while len(counts) < 5 and (not counts or min(counts) > 14):
            output = hosts.write(host, command, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
            first, last, *result = output.split(None, 2)
            assert '"failed": true' not in result[0], result
            counts.append(int(last) - int(first))
        # The count includes threads and the second shell.
        assert min(counts) <= 14, (module, counts)


def test_every_phase_can_be_run_alone() -> None:
    for tag in ("preflight", "install", "certificate", "configure", "firewall", "verify"):
        assert set(changed(site("--limit", "nts1,client-debian13", "--tags", tag)).values()) == {0}, tag


def test_a_skipped_phase_skips_no_other() -> None:
    host = get_host("ansible://nts1")
    since = host.check_output("sleep 1; date +%s")
    site("--limit", "nts1", "--skip-tags", "firewall,verify")
    phases = {"nts_pair", "chrony_config", "nts_certificate"}
    assert {f"securetime.nts.{name}" for name in phases} <= set(modules_run_on(host, since))
    assert "securetime.nts.nts_firewall" not in modules_run_on(host, since)


def test_a_new_source_reaches_the_client_by_at_most_six_tasks() -> None:
    clients = [get_host(f"ansible://{name}") for name in CLIENTS]
    since = [host.check_output("sleep 1; date +%s") for host in clients]
    before = [host.check_output("cat /run/chrony/chronyd.pid") for host in clients]
    more = {"chrony_nts_sources": [{"address": address} for address in ("nts1", "nts2", "nts2.example.org")]}
    site("--limit", ",".join(CLIENTS), "--extra-vars", json.dumps(more))
    for host, begin, pid in zip(clients, since, before, strict=True):
        modules = modules_run_on(host, begin)
        assert len(modules) <= 6, modules
        assert "nts2.example.org" in host.check_output("chronyc -N sources -a")
        # Debian 13 has a correct `reload sources`, so chronyd keeps running. The role restarts the others with -r.
        reloads = "chrony 4.6.1-3" in host.check_output("dpkg-query -W -f '${Package} ${Version}' chrony || true")
        assert (host.check_output("cat /run/chrony/chronyd.pid") == pid) == reloads
    site("--limit", ",".join(CLIENTS))
    for host in clients:
        assert "nts2.example.org" not in host.check_output("chronyc -N sources -a")


def test_a_symmetric_key_is_used_and_never_shown() -> None:
    host = get_host("ansible://client-debian13")
    since = host.check_output("sleep 1; date +%s")
    secret = "HEX:" + "5EC2E7" * 10
    variables = {"chrony_nts_symmetric_keys": [{"id": 7, "type": "SHA256", "key": secret}]}
    output = site("-vvv", "--diff", "--limit", "client-debian13", "--extra-vars", json.dumps(variables))
    # The command line already discloses its own variables to the operator.
    shown = [line for line in output.splitlines() if secret in line and "--extra-vars" not in line]
    assert shown == []
    assert secret not in hosts.journal(host, f"--since=@{since}")
    keys = host.file("/etc/chrony/chrony.keys")
    assert (keys.user, keys.group, keys.mode) == ("root", "_chrony", 0o640)
    assert f"7 SHA256 {secret}" in keys.content_string
    output = site("--diff", "--limit", "client-debian13")
    assert secret not in output
    assert secret not in host.file("/etc/chrony/chrony.keys").content_string


def test_chronyd_restricted_is_masked() -> None:
    host = get_host("ansible://client-debian13")
    host.check_output("systemctl unmask chronyd-restricted; systemctl enable chronyd-restricted")
    assert changed(site("--limit", "client-debian13"))["client-debian13"] == 1
    assert host.check_output("systemctl is-enabled chronyd-restricted || true") == "masked"
    assert host.check_output("systemctl is-active chrony") == "active"
    assert changed(site("--limit", "client-debian13"))["client-debian13"] == 0


def test_a_client_that_trusted_the_wrong_ca_recovers_at_once(tmp_path: Path) -> None:
    """chronyd would retry only after 17 minutes, and a trust anchor alone is no reason for a restart."""
    host = get_host("ansible://client-debian12")
    root, _key = pair(tmp_path / "other", "-addext", "keyUsage=keyCertSign", names="DNS:other")
    (tmp_path / "root.pem").write_text(root)
    replace = "chrony_nts_replace_root_ca=true"
    wrong = ["chrony_nts_verify=none", replace, f"chrony_nts_ca_dir={tmp_path}"]
    site("--limit", "client-debian12", *(word for setting in wrong for word in ("--extra-vars", setting)))
    host.check_output("systemctl stop chrony; rm -f /var/lib/chrony/*.nts; systemctl start chrony")
    refusal = "journalctl -u chrony -n 20"
    hosts.wait_until(lambda: "issuer is unknown" in host.check_output(refusal), "chronyd logs no refused certificate")
    output = hosts.playbook("site", "--limit", "client-debian12")
    assert "This host trusts another root CA of this collection" in output
    site("--limit", "client-debian12", "--extra-vars", replace)
    assert ",NTS,1," in host.check_output("chronyc -c authdata")


def test_a_controller_without_the_root_ca_removes_no_trust(tmp_path: Path) -> None:
    """The controller may be a second operator's, a CI job, or an execution environment without the old folder."""
    hashes = "sha256sum /etc/chrony/nts/*.pem /etc/chrony/chrony.conf"
    before = {name: get_host(f"ansible://{name}").check_output(hashes) for name in ("nts1", "client-debian13")}
    output = hosts.playbook("site", variables={"chrony_nts_ca_dir": str(tmp_path)})
    assert "Copy that folder from the controller that made it" in " ".join(output.split())
    assert "has signed the issuing CA of this server" in output
    output = hosts.playbook("site", "--limit", "nts_clients", variables={"chrony_nts_ca_dir": str(tmp_path)})
    assert {name: counts["failed"] for name, counts in hosts.recap(output).items()} == dict.fromkeys(CLIENTS, 1)
    assert "This host trusts a root CA of this collection" in output
    assert {name: get_host(f"ansible://{name}").check_output(hashes) for name in before} == before
    assert list(tmp_path.iterdir()) == []
    # Clients need only the certificate.
    root = (Path(os.environ["LAB_STATE"]) / "nts-ca" / "root.pem").read_text()
    public = {"chrony_nts_ca_dir": str(tmp_path), "chrony_nts_ca_certificate_content": root}
    assert changed(hosts.playbook("site", "--limit", "client-debian13", variables=public))["client-debian13"] == 0


def finds_no_fault() -> None:
    """Assert that verify.yml finds no fault, and fails on no host."""
    output = hosts.playbook("verify")
    changed(output)
    assert "No faults." in output


@pytest.mark.parametrize("strategy", ["linear", "free", "host_pinned"])
def test_every_strategy_prints_the_table_once(strategy: str) -> None:
    batches = {"chrony_nts_site_serial": 1, "chrony_nts_site_max_fail_percentage": 0}
    output = hosts.playbook(
        "site",
        "--limit",
        "client-debian12,client-debian13",
        variables=batches if strategy == "linear" else None,
        ANSIBLE_STRATEGY=strategy,
    )
    assert set(changed(output).values()) == {0}
    assert output.count("selected source") == 1
    assert output.count("PLAY [Set up the NTS clients in batches]") == (2 if strategy == "linear" else 1)
    assert "Next: ansible-playbook securetime.nts.verify" in output


def test_an_undeclared_source_is_noted_below_the_table() -> None:
    clients = [get_host(f"ansible://{name}") for name in CLIENTS]
    for host in clients:
        host.check_output("chronyc add server 192.0.2.99")
    try:
        output = hosts.playbook("verify")
    finally:
        for host in clients:
            host.check_output("chronyc delete 192.0.2.99")
    changed(output)
    assert "No faults." in output
    # The sentence appears once, for all of its hosts.
    sentence = f"{', '.join(sorted(CLIENTS))}: No file that chronyd reads names 192.0.2.99: something added it"
    assert output.count(sentence) == 1, output[-3000:]


def test_a_server_that_fails_stops_the_run_before_the_next_one() -> None:
    output = hosts.playbook("site", variables={"chrony_nts_raw_lines": ["nonsense"]})
    assert hosts.recap(output).keys() == {"nts1"}, output[-3000:]
    assert hosts.recap(output)["nts1"]["failed"] == 1
    assert "nonsense" in output


def test_verify_names_the_server_that_serves_no_nts(tmp_path: Path) -> None:
    """Every port is open, every unit runs and every client has cookies: only a probe shows the fault."""
    host = get_host("ansible://nts2")
    finds_no_fault()
    repair = "chmod 0640 /etc/chrony/nts/server.key; systemctl restart chronyd"
    host.check_output("chmod 0600 /etc/chrony/nts/server.key; systemctl restart chronyd")
    logged = "journalctl --quiet --unit chronyd --lines 20"
    hosts.wait_until(lambda: "Could not set credentials" in host.check_output(logged), "chronyd reads its key")
    try:
        junit = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit", "JUNIT_OUTPUT_DIR": str(tmp_path)}
        output = hosts.playbook("verify", **junit)
    finally:
        host.check_output(repair)
    for name in CLIENTS:
        assert hosts.recap(output)[name]["failed"] == 1, output[-4000:]
        assert f"{name} -> nts2: tls, tls_closed: the server closed the key exchange at once" in output
        assert f"{name}: It cannot use nts2: the server closed the key exchange at once" in output
    assert "3 faults." in output
    assert "Could not set credentials" in output
    (report,) = tmp_path.glob("*.xml")
    found = ElementTree.parse(report)
    # From ansible-core 2.19 on, the callback counts a failed assertion among the errors.
    assert len(found.findall(".//failure") + found.findall(".//error")) == 3
    finds_no_fault()


def test_drop_ins_are_reported_included_or_refused() -> None:
    host = get_host("ansible://client-debian12")
    path = "/etc/chrony/conf.d/other.conf"
    host.check_output(f"echo maxupdateskew 50 >{path}")
    output = site("--limit", "client-debian12")
    assert re.search(rf"chronyd does not read\s+{path}", output)
    site("--limit", "client-debian12", "--extra-vars", "chrony_nts_dropins=include")
    assert "maxupdateskew 50" in host.check_output("chronyd -p")
    output = hosts.playbook("site", "--limit", "client-debian12", "--extra-vars", "chrony_nts_dropins=refuse")
    assert hosts.recap(output)["client-debian12"]["failed"] == 1
    assert f"chrony_nts_dropins is 'refuse', and there is {path}" in " ".join(output.split())
    host.check_output(f"rm {path}")
    site("--limit", "client-debian12")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, set[str], str]]:
    """Make every key again; return the output of -vvv --diff, the lines of the keys, and the journal of the host."""
    folder = tmp_path_factory.mktemp("ca")
    host = get_host("ansible://nts1")
    host.check_output("rm -r /etc/chrony/nts")
    since = host.check_output("date +%s")
    output = site("-vvv", "--diff", "--limit", "nts1", "--extra-vars", f"chrony_nts_ca_dir={folder}/made-by-test")
    secret = (folder / "made-by-test" / "root.key").read_text()
    public = ""
    for key in ("/etc/chrony/nts/server.key", "/etc/chrony/nts/staging/server/ownca/issuing.key"):
        secret += host.check_output(f"cat {key}")
        # A private key in PEM contains the public key, which Ansible may show.
        public += host.check_output(f"openssl pkey -pubout -in {key}")
    journal = hosts.journal(host, f"--since=@{since}")
    public = "".join(public.split())
    yield output, {line for line in secret.split() if len(line) > 20 and line not in public}, journal
    site("--limit", "nts1", "--extra-vars", "chrony_nts_replace_root_ca=true")


def test_the_first_run_makes_new_keys(first_run: tuple[str, set[str], str]) -> None:
    output, lines, journal = first_run
    assert len(lines) >= 7
    assert "Make the root CA's key" in output
    assert re.search(r"nts_pair\[\d+\]: Invoked with", journal)


def test_the_journal_of_the_module_holds_no_certificate(first_run: tuple[str, set[str], str]) -> None:
    journal = first_run[2]
    lines = [line for line in journal.splitlines() if "chrony_config" in line and "Invoked with" in line]
    assert lines
    assert [line for line in lines if "BEGIN CERTIFICATE" in line] == []


def test_no_secret_is_in_the_output_or_in_the_journal(first_run: tuple[str, set[str], str]) -> None:
    output, lines, journal = first_run
    for text in (output, journal):
        assert PASSPHRASE not in text
        assert "PRIVATE KEY-----" not in text
        assert [line for line in lines if line in text] == []
