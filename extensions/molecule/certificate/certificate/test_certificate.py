# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program nts-certificate on real servers; their real clients keep authenticated time."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import (
    changed,
    facts,
    full_disk,
    lock_held,
    opened,
    playbook,
    probe,
    recap,
    wait_until,
)

PAIR = ("/etc/chrony/nts/server.pem", "/etc/chrony/nts/server.key")
KEPT = "/var/lib/securetime-nts/server.previous.pem"
SETTINGS = "/etc/chrony/nts/certificate.json"
# Makes a new pair for the fault of a test with the server's own issuing CA, in the current folder.
MAKE = """
cp /etc/chrony/nts/staging/server/ownca/issuing.* .
openssl ecparam -name prime256v1 -genkey -noout -out key
openssl req -new -key key -subj /CN=test -out csr
printf 'subjectAltName={names}\\nbasicConstraints=critical,CA:FALSE\\n' >ext
openssl x509 -req -in csr -CA issuing.pem -CAkey issuing.key \\
  -CAcreateserial -CAserial serial -extfile ext {dates} -out leaf 2>/dev/null
cat leaf issuing.pem >chain
"""
# The script of each faulty pair and the refusal: before any change, or after the restart with a rollback.
FAULTS = {
    "key of another": (MAKE + "openssl ecparam -name prime256v1 -genkey -noout -out key", "do not belong together"),
    "no certificate": ("echo none >chain; echo none >key", "holds no certificate in PEM"),
    "expired": (MAKE, "expired"),
    "not yet valid": (MAKE, "not valid before"),
    "for another name": (MAKE, "is not for nts1"),
    "chain in the wrong order": (MAKE + "cat issuing.pem leaf >chain", "do not belong"),
    "leaf of another chain": (MAKE + "cat leaf leaf >chain", "not a chain"),
    "name outside the constraint": (MAKE, "rolled back.*certificate check"),
}


@pytest.fixture(scope="module")
def server() -> Host:
    return get_host("ansible://nts1")


@contextlib.contextmanager
def settings(host: Host, **changes: Any) -> Iterator[None]:
    """Change settings of the program's only pair inside the context."""
    text = host.file(SETTINGS).content_string
    (pair,) = json.loads(text)["pairs"]
    host.check_output("printf %%s %s >%s", json.dumps({"pairs": [{**pair, **changes}]}), SETTINGS)
    try:
        yield
    finally:
        host.check_output("printf %%s %s >%s", text, SETTINGS)


def status(host: Host) -> dict[str, Any]:
    (pair,) = json.loads(host.check_output("nts-certificate status --json"))
    return dict(pair)


def started(host: Host) -> str:
    """Return the start time of the running chronyd."""
    return host.check_output("systemctl show --value --property ExecMainStartTimestampMonotonic chronyd")


@pytest.mark.parametrize("name", ["nts1", "nts2"])
def test_the_timer_runs_and_the_pair_is_healthy(name: str) -> None:
    host = get_host(f"ansible://{name}")
    assert host.service("nts-certificate.timer").is_enabled
    assert host.service("nts-certificate.timer").is_running
    found = status(host)
    assert (found["problems"], found["warnings"], found["due"], found["serves_nts"]) == ([], [], False, True)
    assert found["served"] == found["file"]
    assert 89 < found["remaining_days"] <= 90
    assert "chronyd serves it." in host.check_output("nts-certificate check")


@pytest.mark.parametrize("name", ["nts1", "nts2"])
def test_the_service_renews_and_clients_stay_authenticated(name: str) -> None:
    host = get_host(f"ansible://{name}")
    client = get_host("ansible://client-debian12")
    before, source = status(host), authenticated(client, name)
    with settings(host, renew_fraction=1.0):
        host.check_output("systemctl start nts-certificate.service")
    after = status(host)
    assert after["served"]["serial"] != before["served"]["serial"]
    assert (after["problems"], after["served"]) == ([], after["file"])
    assert after["file"]["subject_alt_names"] == before["file"]["subject_alt_names"]
    assert after["file"]["key_type"] == "ECDSA P-256"
    now = authenticated(client, name)
    assert now["auth"]["key_id"] == source["auth"]["key_id"]
    assert (now["auth"]["nak"], now["auth"]["ke_attempts"], now["nts"]["state"]) == (False, 0, "authenticated")
    # A client without cookies receives the new certificate.
    trusted = {"trusted_certs": "/etc/chrony/nts/trusted.pem", "expected_serial": after["file"]["serial"]}
    found = probe(client, name, **trusted)
    assert found["ok"], found
    assert "serves, as before" in host.check_output("nts-certificate renew")


def test_the_role_leaves_the_new_pair_alone(server: Host) -> None:
    server.check_output("nts-certificate renew --force")
    serial = status(server)["served"]["serial"]
    assert changed(playbook("site", "--limit", "nts1"))["nts1"] == 0
    assert status(server)["served"]["serial"] == serial


def test_servers_are_renewed_one_after_the_other_until_one_fails(server: Host) -> None:
    other = get_host("ansible://nts2")
    serials = [status(host)["served"]["serial"] for host in (server, other)]
    done = playbook("renew", "--extra-vars", "chrony_nts_renew_force=true")
    assert changed(done) == {"nts1": 1, "nts2": 1}
    now = [status(host)["served"]["serial"] for host in (server, other)]
    assert not set(now) & set(serials)
    assert changed(playbook("renew")) == {"nts1": 0, "nts2": 0}
    # The server answers no client any more, so the playbook must not renew the next server.
    conf = "/etc/chrony/chrony.conf"
    server.check_output(f"cp -p {conf} /root/conf; sed -i 's/^allow 0.0.0.0.*/deny all/; /^allow ::/d' {conf}")
    try:
        done = playbook("renew", "--extra-vars", "chrony_nts_renew_force=true")
    finally:
        server.check_output(f"mv /root/conf {conf}; systemctl restart chronyd")
    assert recap(done)["nts1"]["failed"] == 1, done[-3000:]
    assert "closed the key exchange at once" in done, done[-3000:]
    assert status(other)["served"]["serial"] == now[1]
    assert status(server)["problems"] == []


def test_servers_without_clients_are_renewed(server: Host) -> None:
    other = get_host("ansible://nts2")
    serials = [status(host)["served"]["serial"] for host in (server, other)]
    done = playbook("renew", variables={"chrony_nts_renew_force": True, "chrony_nts_site_clients": "no_such_group"})
    assert changed(done) == {"nts1": 1, "nts2": 1}
    assert not {status(host)["served"]["serial"] for host in (server, other)} & set(serials)


@pytest.mark.parametrize("key_type", ["ECDSA P-384", "Ed25519", "RSA 3072"])
def test_another_type_of_key_is_a_reason_to_renew(server: Host, key_type: str) -> None:
    with settings(server, key_type=key_type, new_key=True):
        server.check_output("nts-certificate renew")
        assert status(server)["served"]["key_type"] == key_type
    with settings(server, new_key=True):
        server.check_output("nts-certificate renew")
    assert status(server)["served"]["key_type"] == "ECDSA P-256"


def authenticated(client: Host, name: str) -> dict[str, Any]:
    """Return a client's facts about a server."""
    return next(source for source in facts(client)["sources"] if source["name"] == name)


def test_rollback_restores_the_previous_pair(server: Host) -> None:
    before = status(server)["served"]["serial"]
    server.check_output("nts-certificate renew --force")
    assert status(server)["served"]["serial"] != before
    assert before in server.check_output("nts-certificate rollback")
    assert status(server)["served"]["serial"] == before


@pytest.mark.parametrize("fault", FAULTS)
def test_a_pair_that_would_not_serve_is_not_deployed(server: Host, fault: str) -> None:
    script, message = FAULTS[fault]
    names = "DNS:elsewhere" if fault == "for another name" else "DNS:nts1"
    names += ",DNS:other.example" if fault == "name outside the constraint" else ""
    dates = {"expired": "2020", "not yet valid": "2099"}.get(fault)
    dates = f"-not_before {dates}0101000000Z -not_after {dates}0201000000Z" if dates else "-days 30"
    before, since = status(server), started(server)
    pair = [server.file(path).content_string for path in (*PAIR, KEPT)]
    script = script.format(names=names, dates=dates) if "{names}" in script else script
    made = f"rm -rf /root/pair; mkdir -m 700 /root/pair; cd /root/pair; {script}"
    server.check_output("sh -ec %s", made)
    done = server.run("nts-certificate deploy --certificate /root/pair/chain --key /root/pair/key")
    assert (done.rc, done.stdout) == (1, "")
    assert re.search(message, done.stderr), done.stderr
    assert [server.file(path).content_string for path in (*PAIR, KEPT)] == pair
    after = status(server)
    assert (after["problems"], after["served"]) == ([], before["served"])
    assert (started(server) == since) == ("rolled back" not in message)


# chronyd keeps only the primary group of its user.
NOT_READABLE = {
    "mode": "chmod 0600 {key}",
    "supplementary group": "groupadd -f nts-keys; usermod -aG nts-keys _chrony; chgrp nts-keys {key}",
}


@pytest.mark.parametrize("fault", NOT_READABLE)
def test_an_unreadable_key_is_repaired(server: Host, fault: str) -> None:
    server.check_output(NOT_READABLE[fault].format(key=PAIR[1]) + "; systemctl restart chronyd")
    done = server.run("nts-certificate check")
    assert done.rc == 3
    assert "chronyd serves no NTS" in done.stdout
    assert server.run("systemctl start nts-certificate.service").rc == 0
    assert status(server)["problems"] == []
    key = server.file(PAIR[1])
    assert (key.group, key.mode) == ("_chrony", 0o640)


def test_a_chronyd_that_does_not_serve_a_good_pair_is_restarted(server: Host) -> None:
    before = status(server)["file"]
    # Take the port of both families, because chronyd serves while one family is left.
    listen = (
        "import socket, time;"
        " taken = socket.create_server(('::', 4460), family=socket.AF_INET6, dualstack_ipv6=True); time.sleep(3600)"
    )
    server.check_output("systemctl stop chronyd; systemd-run --quiet --collect --unit=taken python3 -c %s", listen)
    wait_until(lambda: ":116C " in server.check_output("cat /proc/net/tcp6"), "no program listens on TCP port 4460")
    server.check_output("systemctl start chronyd; systemctl stop taken")
    assert server.run("nts-certificate check").rc == 3
    since = started(server)
    assert server.run("systemctl start nts-certificate.service").rc == 0
    after = status(server)
    assert (after["problems"], after["served"], after["file"]) == ([], before, before)
    assert started(server) != since


def test_a_missing_issuing_key_is_reported_and_chronyd_serves(server: Host) -> None:
    server.check_output("mv /etc/chrony/nts/staging/server/ownca/issuing.key /root/")
    try:
        done = server.run("nts-certificate renew --force")
    finally:
        server.check_output("mv /root/issuing.key /etc/chrony/nts/staging/server/ownca/")
    assert done.rc == 1
    assert "issuing.key" in done.stderr
    assert status(server)["problems"] == []


# Kills the program after the swap of the first of the two files.
KILLED = """
import os, sys
sys.path.insert(0, "/usr/local/sbin/nts-certificate")
from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager
swap = files.swap
def swap_and_die(wanted):
    swap(wanted)
    os.kill(os.getpid(), 9)
files.swap = swap_and_die
manager.main(["renew", "--force"])
"""


def test_a_power_cut_between_the_two_files_is_repaired(server: Host) -> None:
    before = status(server)["served"]
    with settings(server, new_key=True):
        assert "137" in server.check_output("python3 -c %s; echo $?", KILLED)
        # The host boots after the power cut, and the drop-in of chronyd's unit undoes the change.
        server.check_output("systemctl restart chronyd")
        assert server.run("nts-certificate check").rc == 0
        server.check_output("nts-certificate renew")
        before = status(server)["served"]
        # Without the undo script, the key does not match the certificate.
        assert "137" in server.check_output("python3 -c %s; echo $?", KILLED)
        server.check_output("rm /var/lib/securetime-nts/undo.sh; systemctl restart chronyd")
        assert server.run("nts-certificate check").rc == 3
        assert server.run("systemctl start nts-certificate.service").rc == 0
    after = status(server)
    assert (after["problems"], after["served"]) == ([], before)
    assert server.run("ls /etc/chrony/nts/*securetime-nts-*").rc != 0


# rpm and Ansible do not wait until their files are on the disk, so a power cut leaves empty files. The script replaces
# each file, because nothing can truncate a running program.
EMPTY = """
rpm --query --list chrony | grep -v ^/var/ >/root/files
find /etc/chrony/nts /etc/systemd/system/nts-certificate.* -type f >>/root/files
echo /usr/local/sbin/nts-certificate >>/root/files
while read -r file; do
  [ -f "$file" ] && cp -p "$file" "$file.empty" && : >"$file.empty" && mv -f "$file.empty" "$file"
done </root/files
rm /root/files
systemctl daemon-reload
"""


def test_files_that_a_power_cut_emptied_are_restored() -> None:
    server = get_host("ansible://nts2")
    # The state after the boot.
    server.check_output(f"systemctl stop chronyd\n{EMPTY}")
    assert server.check_output("chronyd -v") == ""
    changed(playbook("site", "--limit", "nts2"))
    assert server.check_output("find $(rpm -ql chrony | grep -v ^/var/) /etc/chrony -type f -empty") == ""
    assert server.run("rpm --verify --nomtime --nocaps chrony | grep -v ' c /etc/'").stdout == ""
    assert status(server)["problems"] == []


def test_an_unsynchronised_clock_makes_no_certificate(server: Host) -> None:
    """The dates of a certificate could be years away, and a server with such a clock would lock out its clients."""
    before = status(server)["served"]
    server.check_output("sed -i 's/^local /# local /' /etc/chrony/chrony.conf; systemctl restart chronyd")
    try:
        with settings(server, renew_fraction=1.0):
            done = server.run("nts-certificate renew")
            assert (done.rc, "has not synchronised" in done.stderr) == (1, True), done
            assert status(server)["served"] == before
    finally:
        server.check_output("sed -i 's/^# local /local /' /etc/chrony/chrony.conf; systemctl restart chronyd")
    with settings(server, renew_fraction=1.0):
        server.check_output("nts-certificate renew")
    assert status(server)["served"] != before


def test_the_keys_of_one_server_cannot_impersonate_another(server: Host) -> None:
    """A thief with the keys of nts2 can impersonate nts2, and no other server that the clients know."""
    stolen = get_host("ansible://nts2")
    client = get_host("ansible://client-debian13")
    name = ",".join(f"DNS:{name}" for name in ("nts1",))
    server.check_output("rm -rf /root/pair /root/kept; mkdir -m 700 /root/pair; cp -a /etc/chrony/nts /root/kept")
    for file in ("issuing.pem", "issuing.key"):
        text = stolen.file(f"/etc/chrony/nts/staging/server/ownca/{file}").content_string
        server.check_output("printf %%s %s >/root/pair/%s", text, file)
    script = MAKE.format(names=name, dates="-days 30").replace("cp ", ": ")
    server.check_output("sh -ec %s", f"cd /root/pair; {script}")
    server.check_output("cat /root/pair/chain >%s; cat /root/pair/key >%s; systemctl restart chronyd", *PAIR)
    anchors = "/etc/chrony/nts/trusted.pem"
    try:
        found = probe(client, "nts1", trusted_certs=[anchors])
        # It retries until the timeout. On a busy machine, its first key exchange may take longer than that.
        for seconds in (8, 100):
            query = f"chronyd -Q -t {seconds} 'server nts1 iburst nts maxsamples 1' 'ntstrustedcerts {anchors}'"
            own = client.run(query)
            if "TLS handshake" in own.stdout + own.stderr:
                break
    finally:
        server.check_output("cp -a /root/kept/. /etc/chrony/nts; rm -r /root/kept; systemctl restart chronyd")
    assert (found["ok"], found["error"]["kind"]) == (False, "certificate_refused"), found
    assert found["tls"]["certificates"][0]["subject_alt_names"] == ["DNS:nts1"]
    assert own.rc != 0, own
    assert "violates the signer's constraints" in own.stdout + own.stderr, own
    assert status(server)["problems"] == []


def test_a_full_disk_changes_nothing(server: Host) -> None:
    before = status(server)["served"]
    with full_disk(server, "/etc/chrony", "size=256k"):
        done = server.run("nts-certificate renew --force")
        assert (done.rc, "No space left" in done.stderr) == (1, True), done.stderr
    assert status(server)["served"] == before


def test_a_renewal_waits_for_a_run_of_ansible(server: Host) -> None:
    before = status(server)["served"]["serial"]
    lock = "/var/lib/securetime-nts/lock"
    with lock_held(server, lock) as release, ThreadPoolExecutor() as pool:
        renewal = pool.submit(server.check_output, "nts-certificate renew --force")
        wait_until(lambda: len(opened(server, lock)) > 1, "no renewal waits for the lock")
        assert not renewal.done()
        assert status(server)["served"]["serial"] == before
        release()
        renewal.result()
    found = status(server)
    assert (found["problems"], found["served"]["serial"] == before) == ([], False)


def test_wrong_settings_are_reported(server: Host) -> None:
    for text, message in (("{", "cannot be read"), ('{"pairs": [{}]}', "missing"), (None, "No such file")):
        server.check_output("rm -f /root/settings.json")
        if text is not None:
            server.check_output("printf %%s %s >/root/settings.json", text)
        done = server.run("nts-certificate --settings /root/settings.json check")
        assert (done.rc, message in done.stderr) == (2, True), done.stderr
