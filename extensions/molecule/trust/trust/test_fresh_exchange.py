# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A green run proves that a new client is served: cookies from before prove nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra import get_host

from ansible_collections.securetime.nts.plugins.module_utils._x509 import issue, request
from ansible_collections.securetime.nts.tests.lab.hosts import changed, playbook, recap
from ansible_collections.securetime.nts.tests.lab.pairs import pair

CLIENTS = ("client-debian12", "client-debian13", "client-el")


@pytest.fixture(autouse=True, scope="module")
def as_found() -> Iterator[None]:
    yield
    changed(playbook("site", variables={"chrony_nts_replace_root_ca": True}))


def sign(request_options: list[str], issuer: Path, extensions: str, folder: Path) -> str:
    """Make a key and a certificate of this issuer with these extensions in a folder; return the certificate."""
    folder.mkdir()
    (folder / "extensions").write_text(extensions)
    new = ["openssl", "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "key"]
    subprocess.run([*new, "-out", "csr", *request_options], check=True, cwd=folder, capture_output=True)
    signing = ["openssl", "x509", "-req", "-in", "csr", "-CA", issuer / "pem", "-CAkey", issuer / "key", "-days", "30"]
    signing += ["-extfile", "extensions", "-out", "pem"]
    subprocess.run(signing, check=True, cwd=folder, capture_output=True)
    return (folder / "pem").read_text()


def test_a_chain_without_its_intermediate_fails_on_the_clients(tmp_path: Path) -> None:
    root, _key = pair(tmp_path / "root", "-addext", "keyUsage=keyCertSign", names="DNS:root")
    middle = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n"
    intermediate = sign(["-subj", "/CN=intermediate"], tmp_path / "root", middle, tmp_path / "middle")
    names = "subjectAltName=DNS:nts1\nextendedKeyUsage=serverAuth\n"
    leaf = sign(["-subj", "/CN=nts1"], tmp_path / "middle", names, tmp_path / "leaf")
    variables = {
        "chrony_nts_certificate_provider": "files",
        "chrony_nts_certificate_content": leaf,
        "chrony_nts_certificate_key_content": (tmp_path / "leaf" / "key").read_text(),
        "chrony_nts_trust_anchors": [{"content": root}],
        "chrony_nts_site_servers": "nts1",
        "chrony_nts_verify_timeout": 10,
    }
    output = playbook("site", variables=variables)
    counts = recap(output)
    assert [name for name in CLIENTS if counts[name]["failed"] != 1] == [], output[-4000:]
    assert counts["nts1"]["failed"] == 0
    words = " ".join(output.split())
    assert "would accept no new key exchange from nts1" in words
    assert "the last of which CN=intermediate issued. If that is an intermediate CA, the server must send" in words
    # Repeat with the whole chain. The run ends as soon as the clients are authenticated.
    del variables["chrony_nts_verify_timeout"]
    variables["chrony_nts_certificate_content"] = leaf + intermediate
    changed(playbook("site", variables=variables))


def test_a_wrong_ca_stops_after_the_first_batch() -> None:
    other = issue.self_sign(request.Request([], "ECDSA P-256", True, "other"), request.new_key("ECDSA P-256"), 30)
    trusted = "sha256sum /etc/chrony/nts/trusted.pem"
    before = {name: get_host(f"ansible://{name}").check_output(trusted) for name in CLIENTS}
    variables = {
        "chrony_nts_ca_certificate_content": other,
        "chrony_nts_replace_root_ca": True,
        "chrony_nts_verify_timeout": 10,
        "chrony_nts_site_serial": 1,
        "chrony_nts_site_clients": "nts_clients",
    }
    output = playbook("site", "--limit", "nts_clients", variables=variables)
    counts = recap(output)
    assert [name for name in counts if counts[name]["failed"]] == [CLIENTS[0]], output[-4000:]
    after = {name: get_host(f"ansible://{name}").check_output(trusted) for name in CLIENTS}
    assert [name for name in CLIENTS if after[name] != before[name]] == [CLIENTS[0]]
