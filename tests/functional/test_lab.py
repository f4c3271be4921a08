# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The labs of the scenarios: containers that were killed together with podman's monitor of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LAB = Path(__file__).resolve().parents[1] / "lab/lab.py"
# More than ten times what a host needs to start.
SECONDS = 600


def lab(command: str, state: Path, *hosts: str) -> str:
    """Run a command of lab.py; return its output."""
    done = subprocess.run(
        [sys.executable, str(LAB), command, "--state", str(state), *hosts],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def kill(container: str) -> None:
    """Kill podman's monitor of a container, and then its processes."""
    inspected = subprocess.run(["podman", "inspect", container], capture_output=True, check=True, timeout=SECONDS)
    state = json.loads(inspected.stdout)[0]["State"]
    for pid in (state["ConmonPid"], state["Pid"]):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while Path(f"/proc/{state['Pid']}/cgroup").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def state_of(state: Path) -> str:
    """Return the state of the only host of a lab, as podman reports it, or an empty string."""
    _header, *rows = lab("status", state).splitlines()
    return rows[0].split()[2] if rows else ""


def test_a_killed_host_loses_its_port_and_starts_again(tmp_path: Path) -> None:
    killed, other = tmp_path / "killed", tmp_path / "other"
    try:
        lab("up", killed, "host=debian13")
        container = lab("status", killed).split()[-1]
        kill(container)
        # Podman does not see that it has ended.
        assert state_of(killed) == "running"
        assert f"remove {container}, which was killed" in lab("up", other, "host=debian13")
        assert state_of(killed) == ""
        assert state_of(other) == "running"
        # A host that runs stays.
        assert "which was killed" not in lab("up", killed, "host=debian13")
        assert state_of(other) == state_of(killed) == "running"
    finally:
        lab("down", killed)
        lab("down", other)
