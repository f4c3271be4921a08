# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of nts_pair by another Python than Ansible's."""

import io
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("cryptography")

from ansible_collections.securetime.nts.plugins.module_utils._pair import preparation
from ansible_collections.securetime.nts.plugins.module_utils._pair.staging import StagingError

PAIR = {
    "id": "server",
    "names": ["nts1.example.org"],
    "label": "nts1",
    "key_type": "ECDSA P-256",
    "requests": "issuing",
    "signs_itself": False,
    "new_key": False,
    "lifetime_days": 90.0,
}


def run(argv, text):
    done = subprocess.run(
        argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def params(tmp_path):
    staging = str(tmp_path / "nts" / "staging" / "server" / "ownca")
    pair = dict(PAIR, staging=staging, chain=f"{staging}/issuing.pem")
    return {"pairs": [pair], "root": "", "issuing_ca_lifetime_days": 365.0, "renew_percent": 33.0, "chains": {}}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to root")
def test_another_python_does_the_same(params, tmp_path):
    result = preparation.perform_with(sys.executable, run, str(tmp_path), params, False)
    assert result["changed"]
    (pair,) = result["pairs"]
    assert pair["reasons"] == ["there is no certificate"]
    assert pair["csr"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert preparation.perform(params, False)["pairs"][0]["csr"] == pair["csr"]


def test_another_python_writes_nothing_in_check_mode(params, tmp_path):
    result = preparation.perform_with(sys.executable, run, str(tmp_path), params, True)
    assert (result["changed"], result["pairs"][0]["csr"]) == (True, "")
    assert not (tmp_path / "nts").exists()


def test_the_reason_of_another_python_is_passed_on(params, tmp_path):
    params["chains"] = {"server": "no certificate"}
    with pytest.raises(StagingError, match="signed chain of server is unreadable"):
        preparation.perform_with(sys.executable, run, str(tmp_path), params, False)
    with pytest.raises(StagingError, match="ended with the status 1"):
        preparation.perform_with("/bin/false", run, str(tmp_path), params, False)


@pytest.mark.parametrize(
    ("chains", "staging", "check_mode", "status", "error"),
    [
        ({}, None, True, 0, ""),
        ({"server": "no certificate"}, None, False, 1, "signed chain of server is unreadable"),
        ({}, "/proc/none", False, 1, "/proc/none: No such file or directory.\n"),
    ],
)
def test_the_program_prints_its_result_or_its_error_alone(
    chains, staging, check_mode, status, error, params, monkeypatch, capsys
):
    params["chains"] = chains
    params["pairs"][0]["staging"] = staging or params["pairs"][0]["staging"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"params": params, "check_mode": check_mode})))
    assert preparation.main() == status
    printed = capsys.readouterr()
    assert error in printed.err
    assert (printed.out == "", printed.err == "") == (status == 1, status == 0)
    if not status:
        assert json.loads(printed.out)["pairs"][0]["reasons"] == ["there is no certificate"]
