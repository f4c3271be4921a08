# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider of certificates that runs certbot, by Ansible on this host, with a stand-in for certbot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path(__file__).resolve().parents[3] / "roles/chrony_nts/tasks/certificate/acme_certbot.yml"


@pytest.mark.parametrize(
    ("configuration", "starts_certbot"), [(None, False), ("", False), ("server = https://acme.example.org\n", True)]
)
def test_certbot_is_not_run_for_a_certificate_that_it_cannot_store(
    configuration: str | None, starts_certbot: bool, tmp_path: Path
) -> None:
    lineage, renewal = tmp_path / "live/securetime-nts-server", tmp_path / "renewal.conf"
    lineage.mkdir(parents=True)
    (lineage / "fullchain.pem").write_text("a certificate of another key type")
    if configuration is not None:
        renewal.write_text(configuration)
    (tmp_path / "certbot").write_text('#!/bin/sh\ntouch "$CALLED"\nexit 1\n')
    (tmp_path / "certbot").chmod(0o755)
    variables = {
        "ansible_python_interpreter": sys.executable,
        "chrony_nts_acme_directory": "https://acme.example.org",
        "chrony_nts_acme_email": "",
        "chrony_nts_acme_profile": "",
        "chrony_nts_acme_certbot_options": [],
        "chrony_nts_acme_webroot": "",
        "__chrony_nts_leaf_as_wanted": False,
        "__chrony_nts_key_type": {"certbot": []},
        "__chrony_nts_lineage_file": str(renewal),
        "__chrony_nts_pair": {
            "lineage": str(lineage),
            "names": ["nts1.example.org"],
            "staged_certificate": [f"{lineage}/fullchain.pem"],
        },
    }
    tasks = [{"ansible.builtin.include_tasks": str(TASKS)}]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLED": str(tmp_path / "called")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "called").exists() == starts_certbot, done.stdout + done.stderr
    refused = f"certbot has no renewal configuration {renewal} for the certificate in {lineage}, or an empty one"
    assert (done.returncode, refused in done.stdout) == (2, not starts_certbot)
