# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of the playbook verify, by Ansible on this host, about facts of a host without sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
OWN = ("Show the faults", "Check the servers of this host, and that its chronyd runs")
NO_PROBES = {"chrony_nts_probed": {"results": []}}


def report(tmp_path: Path, state: str) -> tuple[int, str]:
    """Run the tasks of the playbook that need no other host; return the exit status and the output."""
    (tmp_path / "templates").symlink_to(PLAYBOOKS / "templates")
    tasks = yaml.safe_load((PLAYBOOKS / "verify.yml").read_text())[1]["tasks"]
    facts = {"chrony": {"nts": {"state": state, "reasons": ["chronyd is not running."]}}, "cacheable": True}
    given = [
        {"ansible.builtin.set_fact": facts},
        {"ansible.builtin.set_fact": {"chrony_nts_observed": {"reached": None}, **NO_PROBES}},
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": [*given, *(each for each in tasks if each["name"] in OWN)]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", "nts1,", "-c", "local", "play.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("state", "status", "faults"), [("not_running", 2, "1 fault."), ("unauthenticated", 0, "No faults.")]
)
def test_a_stopped_chronyd_is_a_fault_of_a_host_without_a_goal(
    state: str, status: int, faults: str, tmp_path: Path
) -> None:
    code, output = report(tmp_path, state)
    assert (code, faults in output) == (status, True), output
    assert ("nts1: chronyd is not running. " in output) == bool(status)
