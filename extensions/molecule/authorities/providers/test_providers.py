# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each certificate provider on real servers: a client accepts the resulting certificate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.acme_server import AcmeServer, acme_server
from ansible_collections.securetime.nts.tests.lab.hosts import changed, playbook, wait_until
from ansible_collections.securetime.nts.tests.lab.pairs import TRUSTED, leaf, pair, renewed_at


@pytest.fixture(scope="module")
def debian() -> Host:
    return get_host("ansible://nts1")


@pytest.fixture(scope="module")
def el() -> Host:
    return get_host("ansible://nts2")


@pytest.fixture(scope="module")
def client() -> Host:
    return get_host("ansible://client-debian13")


@pytest.fixture(scope="module", autouse=True)
def as_found() -> Iterator[None]:
    """Restore the servers' own certificates and the client's trust anchors after the test."""
    yield
    limit = ("--limit", "nts1,nts2,client-debian13")
    changed(playbook("site", *limit, variables={"chrony_nts_replace_root_ca": True}))


@pytest.fixture(scope="module")
def acme(debian: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeServer]:
    """Run an ACME server on the lab's network; it resolves every name to nts1, and nts1 trusts it."""
    gateway = debian.check_output("ip route show default").split()[2]
    place = "/usr/local/share/ca-certificates/acme.crt"
    with acme_server(tmp_path_factory.mktemp("acme"), gateway, address(debian)) as server:
        debian.check_output("printf %%s %s >%s && update-ca-certificates", server.listener.read_text(), place)
        yield server
        debian.check_output("rm %s && update-ca-certificates", place)


def address(host: Host) -> str:
    return host.check_output("hostname -I").split()[0]


def site(*arguments: str, trusts: Path | None = None, **variables: Any) -> str:
    """Run site.yml; return its output, also when it fails."""
    environment = {"SSL_CERT_FILE": str(trusts)} if trusts else {}
    return playbook("site", *arguments, variables=variables, **environment)


def changes(done: str, host: str) -> int:
    """Return how many tasks changed a host, in a run without failures."""
    return changed(done)[host]


@pytest.fixture(scope="module")
def lab_ca() -> Iterator[Path]:
    """Yield the folder of the lab's CA; afterwards remove what the test added."""
    folder = Path(os.environ["LAB_STATE"]) / "nts-ca"
    before = {path.name for path in folder.iterdir()}
    yield folder
    for path in folder.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def sign(request: Path, root: Path, signed: Path) -> None:
    """Sign a CSR as the operator's company does by hand."""
    command = ["openssl", "x509", "-req", "-in", str(request), "-CA", "pem", "-CAkey", "key", "-days", "300"]
    command += ["-copy_extensions", "copy", "-out", str(signed)]
    subprocess.run(command, check=True, cwd=root, capture_output=True)


def test_a_company_signs_the_requests_by_hand(debian: Host, client: Host, tmp_path: Path) -> None:
    """Sign the server's issuing CA and another certificate by hand, with a root CA of the company."""
    company, folder = tmp_path / "company", tmp_path / "ca"
    root, _key = pair(company, "-addext", "keyUsage=keyCertSign", names="DNS:root")
    folder.mkdir(mode=0o700)
    (folder / "root.pem").write_text(root)
    other = {"id": "other", "names": ["other.example.org"], "provider": "files"}
    wanted = {"chrony_nts_ca_dir": str(folder), "chrony_nts_more_certificates": [other]}
    wanted["chrony_nts_replace_root_ca"] = True
    before = debian.check_output("sha256sum /etc/chrony/nts/server.*")
    for name in ("nts1", "nts1+other"):
        # This root CA has not signed the existing issuing CA, so the role makes a new CSR.
        done = site("--limit", "nts1", **wanted)
        assert f"Have {folder}/requests/{name}.csr signed" in " ".join(done.split()), done[-3000:]
        assert debian.check_output("sha256sum /etc/chrony/nts/server.*") == before
        sign(folder / f"requests/{name}.csr", company, folder / f"signed/{name}.pem")
    assert changes(site("--limit", "nts1", **wanted), "nts1") > 0
    assert leaf(client, "nts1", trusted_certs_content=root)
    assert leaf(client, "nts1", name="other.example.org", trusted_certs_content=root)


def test_a_root_ca_from_variables_signs(client: Host, tmp_path: Path) -> None:
    """Take the root CA from variables alone, without a folder on the controller, and sign for one more name."""
    lab = Path(os.environ["LAB_STATE"]) / "nts-ca"
    wanted = {
        "chrony_nts_ca_dir": str(tmp_path / "none"),
        "chrony_nts_ca_certificate_content": (lab / "root.pem").read_text(),
        "chrony_nts_ca_key_content": (lab / "root.key").read_text(),
        "chrony_nts_server_names": ["nts1", "vault.example.org"],
        # The server still trusts the company's root CA.
        "chrony_nts_replace_root_ca": True,
    }
    done = site("--limit", "nts1", "--diff", **wanted)
    assert changes(done, "nts1") > 0
    assert "PRIVATE KEY" not in done
    assert leaf(client, "nts1", name="vault.example.org", trusted_certs=[TRUSTED])
    assert not (tmp_path / "none").exists()


def test_certbot_renews_and_its_hook_deploys(debian: Host, client: Host, acme: AcmeServer) -> None:
    wanted = {
        "chrony_nts_certificate_provider": "acme",
        "chrony_nts_acme_directory": acme.directory,
        "chrony_nts_acme_terms_agreed": True,
    }
    root = acme.root()
    done = site("--limit", "nts1", **wanted)
    assert changes(done, "nts1") > 0
    first = leaf(client, "nts1", trusted_certs_content=root)
    assert "Pebble" in first["issuer"]
    # On an operator's host, certbot's own timer does this.
    debian.check_output("certbot renew --force-renewal --no-random-sleep-on-renew")
    second = leaf(client, "nts1", trusted_certs_content=root)
    assert second["serial"] != first["serial"]
    # If certbot does not renew, nts-certificate does, in its unit.
    with renewed_at(debian, 1.0):
        debian.check_output("systemctl start nts-certificate.service")
    third = leaf(client, "nts1", trusted_certs_content=root)
    assert third["serial"] not in (first["serial"], second["serial"])
    assert changes(site("--limit", "nts1", **wanted), "nts1") == 0
    # Changed names or a changed key type require a new certificate.
    wanted |= {
        "chrony_nts_server_names": ["nts1", "nts1.example.org"],
        "chrony_nts_certificate_key_type": "ECDSA P-384",
    }
    assert changes(site("--limit", "nts1", **wanted), "nts1") > 0
    found = leaf(client, "nts1", trusted_certs_content=root)
    assert set(found["subject_alt_names"]) == {"DNS:nts1", "DNS:nts1.example.org"}
    assert found["key_type"] == "ECDSA P-384"
    # While the ACME server is down, the program reports it and chronyd serves the old pair.
    acme.stop()
    failed = debian.run("nts-certificate renew --force")
    acme.start()
    assert failed.rc == 1
    assert "certbot got no new certificate" in failed.stderr, failed
    assert leaf(client, "nts1", trusted_certs_content=root)["serial"] == found["serial"]


# The command that docs/certificates.md tells other programs to run after a renewal.
HOOK = "/usr/local/sbin/nts-certificate renew"


def assert_renewals_are_served(debian: Host, client: Host, paths: tuple[str, str], root: str, renew: str) -> None:
    """Deploy the chain and the key at these paths, let the other program renew them, and see the new one served."""
    chain, key = paths
    wanted = {
        "chrony_nts_certificate_provider": "host_path",
        "chrony_nts_certificate_host_path": chain,
        "chrony_nts_certificate_key_host_path": key,
    }
    assert changes(site("--limit", "nts1", **wanted), "nts1") > 0
    first = leaf(client, "nts1", trusted_certs_content=root)
    debian.check_output(renew)

    def served_anew() -> bool:
        return bool(leaf(client, "nts1", trusted_certs_content=root)["serial"] != first["serial"])

    wait_until(served_anew, f"nts1 does not serve what `{renew}` made")
    assert changes(site("--limit", "nts1", **wanted), "nts1") == 0


def test_the_hook_of_the_operators_certbot_deploys_each_renewal(debian: Host, client: Host, acme: AcmeServer) -> None:
    live = "/etc/letsencrypt/live/operator"
    order = (
        "certbot certonly --standalone --non-interactive --agree-tos --register-unsafely-without-email"
        f" --server {acme.directory} --cert-name operator --domain nts1 --deploy-hook '{HOOK}'"
    )
    renew = "certbot renew --cert-name operator --force-renewal --no-random-sleep-on-renew"
    paths = f"{live}/fullchain.pem", f"{live}/privkey.pem"
    # Another test has restarted the ACME server, which then knows none of certbot's accounts.
    debian.check_output("rm -rf /etc/letsencrypt/accounts")
    debian.check_output(order)
    assert_renewals_are_served(debian, client, paths, acme.root(), renew)


def test_the_command_of_certmonger_deploys_each_renewal(debian: Host, client: Host) -> None:
    """Its own local CA signs: FreeIPA's is another CA of the same daemon."""
    folder = "/etc/pki/nts"
    paths = f"{folder}/nts.pem", f"{folder}/nts.key"
    install = (
        "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends certmonger"
    )
    debian.check_output(f"{install} && systemctl start dbus certmonger && mkdir -p {folder}")
    order = f"getcert request -w -c local -f {paths[0]} -k {paths[1]} -F {folder}/ca.pem -N CN=nts1 -D nts1 -C '{HOOK}'"
    debian.check_output(order)
    root = debian.file(f"{folder}/ca.pem").content_string
    try:
        assert_renewals_are_served(debian, client, paths, root, f"getcert resubmit -w -f {paths[0]}")
    finally:
        debian.check_output(f"getcert stop-tracking -f {paths[0]}; rm -r {folder}")


@pytest.mark.usefixtures("lab_ca")
def test_the_controller_gets_a_certificate_by_http_01(el: Host, client: Host, acme: AcmeServer) -> None:
    """Use http-01 for a name and an address; renew the six-day certificate when the ACME server suggests it."""
    acme.manage_dns("nts2", address(el))
    wanted = {
        "chrony_nts_certificate_provider": "acme",
        "chrony_nts_acme_client": "controller",
        "chrony_nts_acme_directory": acme.directory,
        "chrony_nts_acme_terms_agreed": True,
        "chrony_nts_acme_email": "time@example.org",
        "chrony_nts_acme_profile": "shortlived",
        "chrony_nts_server_names": ["nts2", address(el)],
    }
    root = acme.root()
    done = site("--limit", "nts2", trusts=acme.listener, **wanted)
    assert changes(done, "nts2") > 0
    first = leaf(client, "nts2", trusted_certs_content=root)
    assert set(first["subject_alt_names"]) == {"DNS:nts2", f"IP Address:{address(el)}"}
    assert leaf(client, address(el), trusted_certs_content=root)["serial"] == first["serial"]
    assert changes(site("--limit", "nts2", trusts=acme.listener, **wanted), "nts2") == 0
    # A lifetime of six days alone is no reason to renew; the ACME server's renewal window is (RFC 9773).
    acme.want_renewal(el.file("/etc/chrony/nts/server.pem").content_string)
    assert changes(site("--limit", "nts2", trusts=acme.listener, **wanted), "nts2") > 0
    assert leaf(client, "nts2", trusted_certs_content=root)["serial"] != first["serial"]


@pytest.mark.usefixtures("lab_ca")
def test_the_controller_gets_a_certificate_by_dns_01(client: Host, acme: AcmeServer, tmp_path: Path) -> None:
    tasks = tmp_path / "dns.yml"
    verb = "{{ 'set' if chrony_nts_acme_dns_state == 'present' else 'clear' }}"
    change = {
        "ansible.builtin.uri": {
            "url": f"http://{acme.address}:{acme.dns_management}/{verb}-txt",
            "method": "POST",
            "body_format": "json",
            "body": {"host": "{{ item.key }}.", "value": "{{ item.value[0] }}"},
        },
        "loop": "{{ chrony_nts_acme_dns_records | dict2items }}",
        "delegate_to": "localhost",
        "become": False,
    }
    tasks.write_text(json.dumps([change]))
    wanted = {
        "chrony_nts_certificate_provider": "acme",
        "chrony_nts_acme_client": "controller",
        "chrony_nts_acme_directory": acme.directory,
        "chrony_nts_acme_terms_agreed": True,
        "chrony_nts_acme_challenge": "dns-01",
        "chrony_nts_acme_dns_tasks": str(tasks),
        "chrony_nts_server_names": ["nts2"],
    }
    done = site("--limit", "nts2", trusts=acme.listener, **wanted)
    assert changes(done, "nts2") > 0
    assert leaf(client, "nts2", trusted_certs_content=acme.root())["subject_alt_names"] == ["DNS:nts2"]
