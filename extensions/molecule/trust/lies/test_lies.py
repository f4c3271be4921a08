# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An attacker controls a server's Python and its answers, and the controller signs nothing for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.plugins.module_utils._x509 import issue, request
from ansible_collections.securetime.nts.tests.lab.hosts import playbook, recap

# Answers for one module and runs the real Python for all others. Ansible sends a module to its standard input.
LIAR = """\
#!/usr/bin/python3
import subprocess, sys
sent = sys.stdin.buffer.read()
if b"plugins.modules.nts_pair" in sent or b"plugins/modules/nts_pair" in sent:
    sys.stdout.write(open("/root/lie.json").read())
else:
    sys.exit(subprocess.run(["/usr/bin/python3", *sys.argv[1:]], input=sent).returncode)
"""
INTERPRETER = "/usr/local/bin/liar"
HOST = "nts1"
STOLEN = ["time.cloudflare.com"]
EVIL = request.new_key("ECDSA P-256")


def wanted(names: list[str], is_ca: bool) -> request.Request:
    return request.issuing_request(names, HOST) if is_ca else request.leaf_request(names, "ECDSA P-256")


def unconstrained() -> str:
    """Return the CSR of a CA that may sign for every name."""
    template = wanted([HOST], True)
    builder = request.x509.CertificateSigningRequestBuilder().subject_name(request.subject(template))
    for value, critical in request.extensions(template):
        if not isinstance(value, request.x509.NameConstraints):
            builder = builder.add_extension(value, critical=critical)
    csr = builder.sign(request.load_key(EVIL), request.hashes.SHA256())
    return str(csr.public_bytes(request.serialization.Encoding.PEM).decode())


FOREIGN = request.make_csr(wanted(STOLEN, False), EVIL)
ANY_CA = issue.self_sign(wanted(STOLEN, True), EVIL, 365)
ACME = {
    "chrony_nts_certificate_provider": "acme",
    "chrony_nts_acme_client": "controller",
    # No program listens there, and the controller sends no request.
    "chrony_nts_acme_directory": "https://127.0.0.1:9/directory",
    "chrony_nts_acme_terms_agreed": True,
}
LIES = {
    "a CA for every name": ({}, {"csr": unconstrained()}, "lacks the extension nameConstraints"),
    "a CA for another name": ({}, {"csr": request.make_csr(wanted(STOLEN, True), EVIL)}, "nameConstraints is"),
    "a self-signed CA for another name": (
        {"chrony_nts_certificate_provider": "selfsigned"},
        {"chain": ANY_CA},
        "nameConstraints is",
    ),
    "another name for the company": ({"chrony_nts_certificate_provider": "files"}, {"csr": FOREIGN}, "subject is"),
    "another name for ACME": (ACME, {"csr": FOREIGN}, "subject is"),
    "nothing": ({}, None, "sent nothing for the pair"),
}


# Runs every module, and adds values to its result.
INJECTOR = """\
#!/usr/bin/python3
import json, subprocess, sys
sent = sys.stdin.buffer.read()
done = subprocess.run(["/usr/bin/python3", *sys.argv[1:]], input=sent, stdout=subprocess.PIPE)
try:
    answer = json.loads(done.stdout)
except ValueError:
    sys.stdout.buffer.write(done.stdout)
    sys.exit(done.returncode)
lie = json.load(open("/root/lie.json"))
if b"plugins.modules.chrony_config" in sent and "replace" in lie:
    answer = lie["replace"]
answer.setdefault("ansible_facts", {}).update(lie.get("facts", {}))
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    server = get_host(f"ansible://{HOST}")
    server.check_output("printf %%s %s >%s && chmod 755 %s", LIAR, INTERPRETER, INTERPRETER)
    yield server
    server.check_output("rm -f %s /root/lie.json", INTERPRETER)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_gets_nothing_signed(host: Host, tmp_path: Path, lie: str) -> None:
    variables, sent, message = LIES[lie]
    answer: list[dict[str, Any]] = [{"id": "server", "reasons": ["x"], "csr": "", "chain": "", **sent}] if sent else []
    host.check_output("printf %%s %s >/root/lie.json", json.dumps({"changed": True, "pairs": answer}))
    inventory = tmp_path / "liar.yml"
    inventory.write_text(f"all: {{hosts: {{{HOST}: {{ansible_python_interpreter: {INTERPRETER}}}}}}}\n")
    folder = Path(os.environ["LAB_STATE"]) / "nts-ca"
    before = files(folder)
    served = host.check_output("sha256sum /etc/chrony/nts/server.pem")
    output = playbook(
        "site",
        "--limit",
        HOST,
        variables=variables,
        ANSIBLE_INVENTORY=f"{os.environ['ANSIBLE_INVENTORY']},{inventory}",
    )
    words = " ".join(output.split())
    assert recap(output)[HOST]["failed"] == 1, output[-3000:]
    assert f"{HOST} did not send what this controller would have asked for. Nothing was signed" in words
    assert message in words
    assert files(folder) == before
    assert host.check_output("sha256sum /etc/chrony/nts/server.pem") == served


@pytest.mark.parametrize("inject", ["true", "false"])
@pytest.mark.parametrize("lie", ["a plan", "facts"])
def test_a_client_that_lies_gets_no_other_plan_and_no_file_of_the_controller(
    tmp_path: Path, lie: str, inject: str
) -> None:
    """Facts could replace variables: to become a server for other names, or to receive any file as its chrony.conf."""
    name = "client-debian13"
    client = get_host(f"ansible://{name}")
    folder = Path(os.environ["LAB_STATE"]) / "nts-ca"
    server = {"chrony_nts_server_enabled": True, "chrony_nts_server_names": STOLEN}
    sent = {"facts": {**server, "chrony_nts_config_template": str(folder / "root.key")}}
    if lie == "a plan":
        pair = {"id": "server", "provider": "../rotate_prepare", "names": STOLEN}
        sent = {"replace": {"changed": False, "ansible_facts": {}, "plan": {"pairs": [pair], "turns": [pair]}}}
    client.check_output("printf %%s %s >%s && chmod 755 %s", INJECTOR, INTERPRETER, INTERPRETER)
    client.check_output("printf %%s %s >/root/lie.json", json.dumps(sent))
    inventory = tmp_path / "liar.yml"
    inventory.write_text(f"all: {{hosts: {{{name}: {{ansible_python_interpreter: {INTERPRETER}}}}}}}\n")
    before = files(folder), client.check_output("sha256sum /etc/chrony/chrony.conf")
    try:
        output = playbook(
            "site",
            "--limit",
            name,
            ANSIBLE_INVENTORY=f"{os.environ['ANSIBLE_INVENTORY']},{inventory}",
            ANSIBLE_INJECT_FACT_VARS=inject,
        )
    finally:
        client.check_output("rm -f %s /root/lie.json", INTERPRETER)
    # The role ignores the other facts, so the run continues as without them.
    counts = recap(output)[name]
    assert (counts["failed"], counts["changed"]) == ((1, 0) if lie == "a plan" else (0, 0)), output[-3000:]
    assert (files(folder), client.check_output("sha256sum /etc/chrony/chrony.conf")) == before
