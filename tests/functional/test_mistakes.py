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
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, str]], str]:
    """Run the role over every case of each group; return task and message of each failed host, and the output."""
    folder = tmp_path_factory.mktemp("mistakes")
    playbook = Path(sys.executable).with_name("ansible-playbook")
    output, failures = "", {}
    for group in GROUPS:
        hosts, results = f"{group},localhost", folder / f"{group}.json"
        command = [playbook, "-f", "10", "-i", "hosts.yml", "-l", hosts, "-e", f"results={results}", "playbook.yml"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=900, check=False)
        output += done.stdout + done.stderr
        failures |= json.loads(results.read_text()) if results.exists() else {}
    return failures, output


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_reported_before_any_connection(case: str, run: tuple[dict[str, dict[str, str]], str]) -> None:
    failures, output = run
    assert case in failures, output[-3000:]
    assert re.search(MISTAKES[case]["expected"], failures[case]["msg"], re.DOTALL), failures[case]
    assert failures[case]["task"].startswith("Preflight |"), failures[case]
    # Ansible prints the message twice.
    assert len(failures[case]["msg"]) < 1000, failures[case]


@pytest.mark.parametrize("case", GROUPS["correct"]["hosts"])
def test_correct_variables_reach_the_host(case: str, run: tuple[dict[str, dict[str, str]], str]) -> None:
    failures, output = run
    assert case not in failures, failures[case]
    assert re.search(rf"^{case}\s+: ok=\d+\s+changed=0\s+unreachable=1\s+failed=0", output, re.MULTILINE), output[
        -3000:
    ]


def test_servers_with_separate_clocks_give_one_warning(run: tuple[dict[str, dict[str, str]], str]) -> None:
    output = " ".join(run[1].split())
    assert output.count("follow no source") == 1
    assert "server-of-its-own-clock, another-server-of-its-own-clock each serve their own clock" in output
