# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role reports mistakes in the variables before it connects to the host; valid variables let it continue."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent / "mistakes"
GROUPS = yaml.safe_load((HERE / "hosts.yml").read_text())["all"]["children"]
MISTAKES = GROUPS["mistakes"]["hosts"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the role over every case of each group; return the folder of the messages and Ansible's output."""
    results = tmp_path_factory.mktemp("mistakes")
    playbook = Path(sys.executable).with_name("ansible-playbook")
    output = ""
    for group in GROUPS:
        command = [playbook, "-f", "10", "-i", "hosts.yml", "-l", group, "-e", f"results={results}", "playbook.yml"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=900, check=False)
        output += done.stdout + done.stderr
    return results, output


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_reported_before_any_connection(case: str, run: tuple[Path, str]) -> None:
    results, output = run
    assert (results / f"{case}.json").exists(), output[-3000:]
    failure = json.loads((results / f"{case}.json").read_text())
    assert re.search(MISTAKES[case]["expected"], failure["msg"], re.DOTALL), failure
    assert failure["task"].startswith("Preflight |"), failure
    # Ansible prints the message twice.
    assert len(failure["msg"]) < 1000, failure


@pytest.mark.parametrize("case", GROUPS["correct"]["hosts"])
def test_correct_variables_reach_the_host(case: str, run: tuple[Path, str]) -> None:
    results, output = run
    assert not (results / f"{case}.json").exists(), (results / f"{case}.json").read_text()
    assert re.search(rf"^{case}\s+: ok=\d+\s+changed=0\s+unreachable=1\s+failed=0", output, re.MULTILINE), output[
        -3000:
    ]


def test_servers_with_separate_clocks_give_one_warning(run: tuple[Path, str]) -> None:
    output = " ".join(run[1].split())
    assert output.count("follow no source") == 1
    assert "server-of-its-own-clock, another-server-of-its-own-clock each serve their own clock" in output
