# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a certificate can come from, on real servers: each provider ends in a server that a client accepts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.acme_server import AcmeServer, acme_server

TRUSTED = "/etc/chrony/nts/trusted.pem"


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
    """Afterwards the servers have again what they had, and the client that asked them trusts whom it did."""
    yield
    done = site("--limit", "nts1,nts2,client-debian13")
    assert all(changes(done, name) >= 0 for name in ("nts1", "nts2", "client-debian13"))


@pytest.fixture(scope="module")
def acme(debian: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeServer]:
    """An ACME server on the lab's network, which finds every name at nts1, and which nts1 trusts."""
    gateway = debian.check_output("ip route show default").split()[2]
    place = "/usr/local/share/ca-certificates/acme.crt"
    with acme_server(tmp_path_factory.mktemp("acme"), gateway, address(debian)) as server:
        debian.check_output("printf %%s %s >%s && update-ca-certificates", server.listener.read_text(), place)
        yield server
        debian.check_output("rm %s && update-ca-certificates", place)


def address(host: Host) -> str:
    return host.check_output("hostname -I").split()[0]


def site(*arguments: str, trusts: Path | None = None, **variables: Any) -> str:
    """What ansible-playbook prints, whether or not it fails."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "securetime.nts.site", *arguments]
    command += ["--extra-vars", json.dumps(variables)] if variables else []
    # Molecule asks Ansible for colours, and for failures on stderr.
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "false", **({"SSL_CERT_FILE": str(trusts)} if trusts else {})}
    done = subprocess.run(command, stdout=PIPE, stderr=STDOUT, text=True, timeout=300, check=False, env=plain)
    return done.stdout


def changes(done: str, host: str) -> int:
    """How many tasks changed a host in a run that failed nowhere."""
    found = re.search(rf"{host} .* changed=(\d+) .* failed=0 ", done)
    assert found, done[-4000:]
    return int(found[1])


def served(client: Host, server: str, **question: Any) -> dict[str, Any]:
    """What a client is served, with packets of authenticated time."""
    asked = json.dumps({"server": server, **question})
    return dict(client.ansible("securetime.nts.nts_probe", asked, check=False))


def leaf(client: Host, server: str, **question: Any) -> dict[str, Any]:
    """The certificate that a client is served, and accepts."""
    probe = served(client, server, **question)
    assert probe["ok"], probe
    assert probe["stages"]["ntp"]["state"] == "ok", probe
    return dict(probe["tls"]["certificates"][0])


@pytest.fixture(scope="module")
def lab_ca() -> Iterator[Path]:
    """The folder of the lab's CA; what the tests add to it is taken away again."""
    folder = Path(os.environ["LAB_STATE"]) / "nts-ca"
    before = {path.name for path in folder.iterdir()}
    yield folder
    for path in folder.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def pair(folder: Path, *options: str, names: str = "DNS:nts1") -> tuple[str, str]:
    """Make a pair that signs itself."""
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-subj", "/CN=own", "-addext", f"subjectAltName={names}", "-keyout", "key", "-out", "pem"]
    subprocess.run([*command, *options], check=True, cwd=folder, capture_output=True)
    return (folder / "pem").read_text(), (folder / "key").read_text()


@contextlib.contextmanager
def renewed_at(host: Host, fraction: float) -> Iterator[None]:
    """Let a certificate be due when this part of its lifetime is left."""
    place = "/etc/chrony/nts/certificate.json"
    text = host.file(place).content_string
    pairs = [{**found, "renew_fraction": fraction} for found in json.loads(text)["pairs"]]
    host.check_output("printf %%s %s >%s", json.dumps({"pairs": pairs}), place)
    try:
        yield
    finally:
        host.check_output("printf %%s %s >%s", text, place)


def test_several_pairs_of_several_providers(debian: Host, client: Host, lab_ca: Path, tmp_path: Path) -> None:
    """The tutorial's certificate (RSA 4096, a year, no root), and one of the operator's own, beside the first."""
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
    done = site("--limit", "nts1", "--diff", **wanted)
    assert changes(done, "nts1") > 0
    assert "PRIVATE KEY" not in done
    assert key.splitlines()[1] not in done
    anchors = {
        "tutorial.example.org": (lab_ca / "servers/nts1-tutorial.pem").read_text(),
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
    # What the role finds is what it wants, also after the server has renewed by itself.
    assert changes(site("--limit", "nts1", **wanted), "nts1") == 0
    # One that would not serve is refused, and what was served is served.
    elsewhere = pair(tmp_path / "elsewhere", names="DNS:elsewhere")
    wrong = {**own, "content": elsewhere[0], "key_content": elsewhere[1]}
    done = site("--limit", "nts1", chrony_nts_more_certificates=[tutorial, wrong])
    assert re.search("nts1 .* failed=1 ", done)
    assert "is not for own.example.org" in " ".join(done.split()), done[-3000:]
    assert elsewhere[1].splitlines()[1] not in done
    assert all_served() == after
    # It cannot be renewed here, and says so in time.
    with renewed_at(debian, 1.0):
        failed = debian.run("nts-certificate renew --pair own")
    assert (failed.rc, "cannot make a new one by itself" in failed.stderr) == (1, True), failed
    site("--limit", "client-debian13")
    assert anchors["tutorial.example.org"].strip() in client.file(TRUSTED).content_string


def sign(request: Path, root: Path, signed: Path) -> None:
    """What the operator's company does by hand."""
    command = ["openssl", "x509", "-req", "-in", str(request), "-CA", "pem", "-CAkey", "key", "-days", "300"]
    command += ["-copy_extensions", "copy", "-out", str(signed)]
    subprocess.run(command, check=True, cwd=root, capture_output=True)


def test_what_a_company_signs_elsewhere(debian: Host, client: Host, tmp_path: Path) -> None:
    """The root is not ours: a server's CA, and another server's certificate, are signed by hand."""
    company, folder = tmp_path / "company", tmp_path / "ca"
    root, _key = pair(company, "-addext", "keyUsage=keyCertSign", names="DNS:root")
    folder.mkdir(mode=0o700)
    (folder / "root.pem").write_text(root)
    other = {"id": "other", "names": ["other.example.org"], "provider": "files"}
    wanted = {"chrony_nts_ca_dir": str(folder), "chrony_nts_more_certificates": [other]}
    before = debian.check_output("sha256sum /etc/chrony/nts/server.*")
    for name in ("nts1", "nts1-other"):
        # A new issuing CA is asked for, because this root has not signed the one that is there.
        done = site("--limit", "nts1", **wanted)
        assert f"Have {folder}/requests/{name}.csr signed" in " ".join(done.split()), done[-3000:]
        assert debian.check_output("sha256sum /etc/chrony/nts/server.*") == before
        sign(folder / f"requests/{name}.csr", company, folder / f"signed/{name}.pem")
    assert changes(site("--limit", "nts1", **wanted), "nts1") > 0
    assert leaf(client, "nts1", trusted_certs_content=root)
    assert leaf(client, "nts1", name="other.example.org", trusted_certs_content=root)


def test_the_root_comes_from_a_vault(client: Host, tmp_path: Path) -> None:
    """Signed for another name by content alone: no folder on the controller."""
    lab = Path(os.environ["LAB_STATE"]) / "nts-ca"
    wanted = {
        "chrony_nts_ca_dir": str(tmp_path / "none"),
        "chrony_nts_ca_certificate_content": (lab / "root.pem").read_text(),
        "chrony_nts_ca_key_content": (lab / "root.key").read_text(),
        "chrony_nts_server_names": ["nts1", "vault.example.org"],
    }
    done = site("--limit", "nts1", "--diff", **wanted)
    assert changes(done, "nts1") > 0
    assert "PRIVATE KEY" not in done
    assert leaf(client, "nts1", name="vault.example.org", trusted_certs=[TRUSTED])
    assert not (tmp_path / "none").exists()


def test_certbot_gets_it_and_its_hook_deploys_it(debian: Host, client: Host, acme: AcmeServer) -> None:
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
    # certbot's own timer would do this.
    debian.check_output("certbot renew --force-renewal --no-random-sleep-on-renew")
    second = leaf(client, "nts1", trusted_certs_content=root)
    assert second["serial"] != first["serial"]
    # And if it does not, ours does, in its unit.
    with renewed_at(debian, 1.0):
        debian.check_output("systemctl start nts-certificate.service")
    third = leaf(client, "nts1", trusted_certs_content=root)
    assert third["serial"] not in (first["serial"], second["serial"])
    assert changes(site("--limit", "nts1", **wanted), "nts1") == 0
    # Other names, or another type of key, are a new certificate.
    wanted |= {
        "chrony_nts_server_names": ["nts1", "nts1.example.org"],
        "chrony_nts_certificate_key_type": "ECDSA P-384",
    }
    assert changes(site("--limit", "nts1", **wanted), "nts1") > 0
    found = leaf(client, "nts1", trusted_certs_content=root)
    assert set(found["subject_alt_names"]) == {"DNS:nts1", "DNS:nts1.example.org"}
    assert found["key_type"] == "ECDSA P-384"
    # The ACME server is down: it is told, and the old pair is served.
    acme.stop()
    failed = debian.run("nts-certificate renew --force")
    acme.start()
    assert failed.rc == 1
    assert "certbot got no new certificate" in failed.stderr, failed
    assert leaf(client, "nts1", trusted_certs_content=root)["serial"] == found["serial"]


@pytest.mark.usefixtures("lab_ca")
def test_the_controller_gets_it(el: Host, client: Host, acme: AcmeServer) -> None:
    """By http-01, for a name and an address, of six days, renewed by its lifetime and by the server's wish."""
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
    # Six days are not renewed because they are few, but when the ACME server wants them to be (RFC 9773).
    acme.want_renewal(el.file("/etc/chrony/nts/server.pem").content_string)
    assert changes(site("--limit", "nts2", trusts=acme.listener, **wanted), "nts2") > 0
    assert leaf(client, "nts2", trusted_certs_content=root)["serial"] != first["serial"]


@pytest.mark.usefixtures("lab_ca")
def test_the_controller_gets_it_by_dns(client: Host, acme: AcmeServer, tmp_path: Path) -> None:
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
