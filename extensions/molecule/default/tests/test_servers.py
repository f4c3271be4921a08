# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of a server after the run."""

from __future__ import annotations

from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import facts, wait_until

testinfra_hosts = ["ansible://nts_servers"]

GROUP = {"debian": "_chrony", "ubuntu": "_chrony", "almalinux": "chrony", "rocky": "chrony"}


def test_only_root_and_chronyd_read_private_keys(host: Host) -> None:
    key = host.file("/etc/chrony/nts/server.key")
    assert (key.user, key.group, key.mode) == ("root", GROUP[host.system_info.distribution], 0o640)
    issuing = host.file("/etc/chrony/nts/staging/server/ownca/issuing.key")
    assert (issuing.user, issuing.group, issuing.mode) == ("root", "root", 0o600)
    assert host.file("/etc/chrony/nts/staging").mode == 0o700


def test_certificate_carries_the_names_and_its_ca_is_constrained(host: Host) -> None:
    variables = host.ansible.get_variables()
    names = variables.get("chrony_nts_server_names", [variables["inventory_hostname"]])
    leaf = host.ansible(
        "community.crypto.x509_certificate_info", "path=/etc/chrony/nts/staging/server/ownca/leaf.pem", check=False
    )
    issuing = host.ansible(
        "community.crypto.x509_certificate_info", "path=/etc/chrony/nts/staging/server/ownca/issuing.pem", check=False
    )
    assert {name.split(":", 1)[1] for name in leaf["subject_alt_name"]} == set(names)
    assert (leaf["public_key_type"], leaf["public_key_data"]["curve"]) == ("ECC", "secp256r1")
    assert issuing["basic_constraints"] == ["CA:TRUE", "pathlen:0"]
    assert "2.5.29.30" in issuing["extensions_by_oid"]
    assert issuing["extensions_by_oid"]["2.5.29.30"]["critical"]


def test_chain_holds_the_leaf_and_then_its_ca(host: Host) -> None:
    chain, leaf, issuing = (
        host.file(f"/etc/chrony/nts/{name}").content_string
        for name in ("server.pem", "staging/server/ownca/leaf.pem", "staging/server/ownca/issuing.pem")
    )
    assert chain.split() == (leaf + issuing).split()


def test_server_listens_for_ntp_and_key_exchanges(host: Host) -> None:
    assert host.socket("tcp://0.0.0.0:4460").is_listening
    assert host.socket("udp://0.0.0.0:123").is_listening


def answers_a_client(host: Host) -> bool:
    """Return whether the server has answered more authenticated requests than its own probe sends it."""
    found = facts(host, reports=["clients"])
    own = [row["ntp_requests"] for row in found["clients"] if row["address"] in ("127.0.0.1", "::1")]
    return bool(found["serverstats"]["ntp_authenticated"] > sum(own))


def test_server_has_answered_with_authentication(host: Host) -> None:
    # Verification ends with the client's first authenticated server, and the client may not have polled this one yet.
    get_host("ansible://client-debian13").check_output("chronyc burst 1/1")
    wait_until(lambda: answers_a_client(host), "no authenticated request", 640, 1)
