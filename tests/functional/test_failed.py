# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's error message when its final steps fail after the first failure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

TASKS = Path(__file__).resolve().parents[2] / "roles/chrony_nts/tasks/failed.yml"
CLOSED = {"udp_ports": [123], "tcp_ports": [4460], "addresses": [], "device": "", "nft_include": ""}


def report(tmp_path: Path, closed: dict[str, object]) -> str:
    """Return the role's message about a failure after a change that closed the firewall."""
    variables = {
        "__chrony_nts_plan": {"platform": {}, "first_seen": {"installed": True, "rivals": []}},
        "__chrony_nts_firewall": {"closed": closed},
        "ansible_failed_task": {"name": "Configure | Apply the files"},
        "ansible_python_interpreter": sys.executable,
        "ansible_failed_result": {"msg": "The change was rolled back."},
    }
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [{"include_tasks": str(TASKS)}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "default"},
    )
    assert done.returncode == 2, done.stdout + done.stderr
    failed = re.findall(r"FAILED! => (\{.*\})$", done.stdout, re.MULTILINE)
    return " ".join(str(json.loads(failed[-1])["msg"]).split())


def test_the_error_reports_a_firewall_that_stays_closed(tmp_path: Path) -> None:
    # The module refuses this value before it reads the host.
    message = report(tmp_path, {"allow": ["no network"], **CLOSED})
    assert message.startswith(
        "Configure | Apply the files: The change was rolled back. The firewall stays closed: allow has"
    )


def test_the_error_omits_a_firewall_that_was_not_closed(tmp_path: Path) -> None:
    assert report(tmp_path, {}) == "Configure | Apply the files: The change was rolled back."
