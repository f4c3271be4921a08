# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several pairs of certificate and key on one server, each from its own provider."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from testinfra import get_host

from ansible_collections.securetime.nts.tests.lab.hosts import changed, playbook, recap
from ansible_collections.securetime.nts.tests.lab.pairs import TRUSTED, leaf, pair, renewed_at

CA = Path(os.environ["LAB_STATE"]) / "nts-ca"


def test_a_pair_of_another_program_is_served_and_never_replaced(tmp_path: Path) -> None:
    """Another program keeps its pair below /etc; nts-certificate serves that pair and never makes one."""
    # Long: each step starts from the pair that the step before has left.
    server, client = get_host("ansible://nts1"), get_host("ansible://client-debian13")
    wanted = {
        "chrony_nts_certificate_provider": "host_path",
        "chrony_nts_certificate_host_path": "/etc/other/nts.pem",
        "chrony_nts_certificate_key_host_path": "/etc/other/nts.key",
    }

    def site() -> str:
        return playbook("site", "--limit", "nts1", variables=wanted)

    def leave(number: int, names: str = "DNS:nts1") -> str:
        """Write a new pair as the other program would; return its certificate."""
        certificate, key = pair(tmp_path / str(number), names=names)
        server.check_output("mkdir -p /etc/other")
        for path, content in (("nts.pem", certificate), ("nts.key", key)):
            server.check_output(f"cat >/etc/other/{path} <<'E'\n{content}E")
        return certificate

    try:
        assert "/etc/other/nts.pem and /etc/other/nts.key (chrony_nts_certificate_host_path" in " ".join(site().split())
        first = leave(1)
        assert changed(site())["nts1"] > 0
        assert changed(site())["nts1"] == 0
        assert leaf(client, "nts1", trusted_certs_content=first)
        # The other program renews the pair without a notification.
        second = leave(2)
        server.check_output("systemctl start nts-certificate.service")
        assert leaf(client, "nts1", trusted_certs_content=second)
        # nts-certificate does not deploy a pair that chronyd could not serve.
        leave(3, "DNS:elsewhere")
        assert server.run("nts-certificate renew").rc == 1
        assert leaf(client, "nts1", trusted_certs_content=second)
        server.check_output("cat /etc/other/nts.key >>/etc/other/nts.pem")
        assert "holds a private key" in " ".join(site().split())
        leave(4)
        before = server.check_output("sha256sum /etc/other/*")
        with renewed_at(server, 1.0):
            failed = server.run("nts-certificate renew")
        assert failed.rc in (0, 4), failed
        assert server.check_output("sha256sum /etc/other/*") == before
    finally:
        server.check_output("rm -rf /etc/other")
        changed(playbook("site", "--limit", "nts1"))


def test_pairs_of_several_providers_are_served(tmp_path: Path) -> None:
    """Add the tutorial's certificate (RSA 4096, a year, no root) and one of the operator's own to the first pair."""
    # Long: each step starts from the pairs that the step before has left.
    debian, client = get_host("ansible://nts1"), get_host("ansible://client-debian13")
    certificate, key = pair(tmp_path / "own", names="DNS:own.example.org")
    tutorial = {
        "id": "tutorial",
        "names": ["tutorial.example.org"],
        "provider": "selfsigned",
        "key_type": "RSA 4096",
        "lifetime_days": 365,
    }
    own = {"id": "own", "names": ["own.example.org"], "provider": "files", "content": certificate, "key_content": key}
    wanted = {"chrony_nts_more_certificates": [tutorial, own]}
    done = playbook("site", "--limit", "nts1", "--diff", variables=wanted)
    assert changed(done)["nts1"] > 0
    assert "PRIVATE KEY" not in done
    assert key.splitlines()[1] not in done
    anchors = {
        "tutorial.example.org": (CA / "servers/nts1+tutorial.pem").read_text(),
        "own.example.org": certificate,
    }

    def all_served() -> dict[str, dict[str, Any]]:
        others = {name: leaf(client, "nts1", name=name, trusted_certs_content=anchors[name]) for name in anchors}
        return {"nts1": leaf(client, "nts1", trusted_certs=[TRUSTED]), **others}

    before = all_served()
    assert [found["key_type"] for found in before.values()] == ["ECDSA P-256", "RSA 4096", "ECDSA P-256"]
    listed = json.loads(debian.check_output("nts-certificate status --json"))
    assert [(found["id"], found["problems"]) for found in listed] == [("server", []), ("tutorial", []), ("own", [])]
    assert round(listed[1]["lifetime_days"]) == 365
    debian.check_output("nts-certificate renew --force --pair tutorial")
    after = all_served()
    assert [name for name in before if before[name] != after[name]] == ["tutorial.example.org"]
    # The role accepts the pairs also after the server has renewed one by itself.
    assert changed(playbook("site", "--limit", "nts1", variables=wanted))["nts1"] == 0
    # The role refuses a pair that would not serve, and chronyd serves the former one.
    elsewhere = pair(tmp_path / "elsewhere", names="DNS:elsewhere")
    wrong = {**own, "content": elsewhere[0], "key_content": elsewhere[1]}
    done = playbook("site", "--limit", "nts1", variables={"chrony_nts_more_certificates": [tutorial, wrong]})
    assert recap(done)["nts1"]["failed"] == 1
    assert "is not for own.example.org" in " ".join(done.split()), done[-3000:]
    assert elsewhere[1].splitlines()[1] not in done
    assert all_served() == after
    # The server cannot renew the operator's pair, and reports that in time.
    with renewed_at(debian, 1.0):
        failed = debian.run("nts-certificate renew --pair own")
    assert (failed.rc, "cannot make a new one by itself" in failed.stderr) == (4, True), failed
    changed(playbook("site", "--limit", "client-debian13"))
    assert anchors["tutorial.example.org"].strip() in client.file(TRUSTED).content_string
    # Clients still trust a server that no longer signs itself, until the operator ends that trust.
    done = playbook("site", "--limit", "nts1")
    assert "servers/nts1+tutorial.pem is the CA of no server of this inventory" in " ".join(done.split())
    changed(playbook("site", variables={"chrony_nts_site_forget_server_cas": True}))
    assert anchors["tutorial.example.org"].strip() not in client.file(TRUSTED).content_string


def test_a_certificate_for_an_address_alone_is_served() -> None:
    """The subject holds no host name, and the issuing CA permits none."""
    server, client = get_host("ansible://nts1"), get_host("ansible://client-debian12")
    address = server.check_output("hostname -I").split()[0]
    try:
        changed(playbook("site", "--limit", "nts1", variables={"chrony_nts_server_names": [address]}))
        found = leaf(client, address, trusted_certs=[TRUSTED])
        assert (found["subject"], found["subject_alt_names"]) == ("", [f"IP Address:{address}"])
    finally:
        changed(playbook("site", "--limit", "nts1"))
