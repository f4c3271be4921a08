# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the commands of README.md and docs/quick_start.md on the hosts of the demo, and compare their output."""

from __future__ import annotations

import functools
import json
import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/quick_start.md")}
DEMO = runpy.run_path(str(ROOT / "tests/lab/demo.py"))
ENVIRONMENT = {**os.environ, **DEMO["ENVIRONMENT"]}
CLIENTS = ("client-debian12", "client-debian13", "client-el")
PROGRAMS = ("ansible", "make ", "molecule ", "chronyc ")
# More than ten times the duration of any command on the hosts of the demo.
TIMEOUT_SECONDS = 3600
SITE = "ansible-playbook -i inventory.yml securetime.nts.site"
CHECK = "ansible-playbook -i inventory.yml --check --diff securetime.nts.site"
VERIFY = "ansible-playbook -i inventory.yml securetime.nts.verify"
REPORT = "ansible-playbook securetime.nts.report"
FACTS = "ansible all -b -m securetime.nts.chronyc_facts -a 'wait_for=authenticated timeout=30'"
DOC = "ansible-doc -t role securetime.nts.chrony_nts"
RUN = {"make demo", "make demo-stop", SITE, CHECK, VERIFY, REPORT, FACTS, DOC}
# Commands that the tests do not run on the hosts of the demo, with the reason.
NOT_RUN = {
    "make test": "it is the suite that CI runs; `make test-full`, which has this test, has all of its stages",
    "make docs": "it is the stage docs",
    "make stage NAME=el8": "it is the stage el8",
    "ansible-galaxy collection install securetime.nts": "Galaxy has no release; the stage release installs the tarball",
    "ansible HOST -b -m ansible.builtin.raw -a 'dnf --assumeyes install python3.12'": (
        "el-standin has no AppStream; the stage el8 gives a host this Python by other means"
    ),
}


def commands() -> set[str]:
    """Return the commands of the pages: lines of console blocks, and inline code that begins with a program."""
    found = set()
    for page in PAGES.values():
        blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        found |= {line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")}
        rest = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
        found |= {code for code in re.findall(r"`([^`\n]+)`", rest) if code.startswith(PROGRAMS) and " " in code}
    return {re.split(r"\s+#", command)[0] for command in found}


def blocks(language: str) -> list[str]:
    """Return the code blocks of the pages in a language; the empty name means blocks without one."""
    return [
        block
        for page in PAGES.values()
        for found, block in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        if found == language
    ]


@functools.cache
def output(command: str) -> str:
    """Run a command of the pages on the hosts of the demo; return its output."""
    assert command in RUN
    # The demo sets its inventory in an environment variable.
    words = shlex.split(command.replace("-i inventory.yml ", ""))
    if command == REPORT:
        words += ["-e", f"chrony_nts_report_dir={ROOT / '.build/report/commands'}"]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def shown_row(line: str) -> re.Pattern[str]:
    """Return the pattern of a row of the closing table, which leaves offset, server and cookies open."""
    host, role, state, *rest = line.split()
    source = r"\(its own clock\)" if "(its own clock)" in line else r"nts\d"
    aead, cookies, _offset, _unit, stratum = rest[-5:]
    left = "-" if cookies == "-" else r"\d"
    fields = [re.escape(host), role, state, source, re.escape(aead), left, r"[-+]\d\.\d{9} s", stratum]
    return re.compile(" +".join(fields))


@pytest.fixture(scope="session", autouse=True)
def demo() -> Iterator[None]:
    """Start the demo and remove it at the end, by the commands of the README."""
    output("make demo")
    yield
    output("make demo-stop")
    assert not (ROOT / ".lab/demo").exists()


def test_every_command_is_run_or_has_a_reason() -> None:
    assert commands() == RUN | NOT_RUN.keys()


def test_the_demo_prints_what_the_readme_shows() -> None:
    (shown,) = blocks("")
    printed = output("make demo").splitlines()
    begin = next(number for number, line in enumerate(printed) if line.startswith("host  "))
    lines = shown.splitlines()
    # The last row of a host, and the first line after it.
    table = lines[1 : lines.index("")]
    assert printed[begin] == lines[0]
    for line, found in zip(table, printed[begin + 1 :], strict=False):
        assert shown_row(line).fullmatch(found), (line, found)
    assert printed[begin + 1 + len(table) :][: len(lines) - len(table) - 1] == lines[len(table) + 1 :]
    (report,) = [line.removeprefix("Report: ") for line in printed if line.startswith("Report: ")]
    assert Path(report).is_file()


@pytest.mark.parametrize("command", [CHECK, SITE])
def test_a_second_run_changes_nothing(command: str) -> None:
    recap = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", output(command), re.MULTILINE)
    assert {host: changed for host, changed in recap if host != "localhost"} == dict.fromkeys(
        (*CLIENTS, "nts1", "nts2"), "0"
    )


def test_site_ends_with_the_table_that_the_demo_ends_with() -> None:
    rows = DEMO["table"](output(SITE)).splitlines()
    for line in blocks("")[0].splitlines()[1:6]:
        (found,) = [row for row in rows if row.startswith(line.split()[0] + " ")]
        assert shown_row(line).fullmatch(found), (line, found)


def test_verify_finds_no_fault() -> None:
    assert "No faults." in output(VERIFY)


def test_the_report_counts_the_clocks() -> None:
    found = re.search(r'"msg": "(\d) of 5 clocks follow authenticated time. Report: (.+)"', output(REPORT))
    assert found
    # The first server follows its own clock.
    assert found[1] == "4"
    assert Path(found[2]).is_file()


def test_the_module_alone_gives_the_verdict() -> None:
    answers = dict(re.findall(r"^(\S+) \| SUCCESS => (\{.*?^\})$", output(FACTS), re.MULTILINE | re.DOTALL))
    states = {host: json.loads(text)["ansible_facts"]["chrony"]["nts"] for host, text in answers.items()}
    assert {states[host]["state"] for host in CLIENTS} == {"authenticated"}
    assert {*states["nts1"]} >= {"state", "authenticated", "reasons"}


def test_ansible_doc_lists_every_variable() -> None:
    specs = yaml.safe_load((ROOT / "roles/chrony_nts/meta/argument_specs.yml").read_text())["argument_specs"]
    assert [name for name in specs["main"]["options"] if name not in output(DOC)] == []


def test_inventories_and_playbooks_of_the_pages_are_read_by_ansible(tmp_path: Path) -> None:
    kinds = []
    for number, block in enumerate(blocks("yaml")):
        inventory = block.startswith("# inventory.yml")
        path = tmp_path / f"{number}.yml"
        path.write_text(block)
        command = ["ansible-inventory", "-i", str(path), "--list"]
        if not inventory:
            command = ["ansible-playbook", "-i", "localhost,", "--syntax-check", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        if inventory:
            assert "web1.example.org" in json.loads(done.stdout)["nts_clients"]["hosts"]
        kinds.append(inventory)
    assert (kinds.count(True), kinds.count(False)) == (3, 1)
