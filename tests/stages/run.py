# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the stages of a check in parallel, print their progress, and end with a table.

run.py check | test | test-full [--resume]      the stages of that command
run.py stage NAME [NAME ...]                    these stages and the stages that they need

The output of a stage goes to .build/logs/NAME.log; a failed stage prints the end of it. .build/test-full.json holds the
result of each stage. `test-full --resume` skips the stages that passed on the same tree. A run with a stage of
`test-full` writes the last result of every stage into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".build" / "logs"
STATE = ROOT / ".build" / "test-full.json"
RECORD = ROOT / "docs" / "reliability.md"
MARKS = ("<!-- test-full -->", "<!-- end of test-full -->")
# The stage alerts writes its figures into this page.
FAULTS_PAGE = ROOT / "docs" / "alerts.md"
FAULTS_MARKS = ("<!-- faults -->", "<!-- end of faults -->")
# In the environment of a stage: the tree whose stages.lock the runner holds.
LOCKED = "NTS_STAGES_LOCKED"
# Maximum silence in seconds, and the number of log lines that a failed stage prints.
SILENCE_SECONDS = 15
LAST_LINES = 60
# Number of failed tests that the final report names for each stage.
FAILURES_SHOWN = 5
# Molecule and Ansible wait much of their time, so run four stages more than there are cores. A stage with a niceness
# counts only for others of its kind, so that it keeps no scenario from starting.
AT_ONCE = (os.cpu_count() or 1) + 4
# Added to the niceness of a stage that computes and does not wait. It uses what the hosts of the scenarios leave idle,
# so that the longest scenarios end early.
NICENESS = 10


class Stage(NamedTuple):
    """A shell command, the first suite that runs it, and the stages that must pass before it."""

    command: str
    suite: str
    after: tuple[str, ...] = ("setup",)
    # A stage of a group runs while no stage of another group or without one runs.
    group: str = ""
    # Prefix of the output lines that are progress.
    progress: str = ""
    # Stages that end before this one starts, where they run; whether they pass does not matter.
    behind: tuple[str, ...] = ()
    niceness: int = 0


MOLECULE = ("setup", "images")
# This scenario saves its hosts, and the others start with copies of them.
COPIES = (*MOLECULE, "molecule-default")
# The first scenarios start with the end of this stage, and so before these.
IMAGES = ("images",)
VM = ("setup", "vm-images")
# The runner starts stages in this order, so the longest come first.
STAGES = {
    "packages": Stage("tests/stages/packages.sh", "check", (), progress="setup: "),
    "setup": Stage("tests/stages/setup.sh", "check", ("packages",), progress="setup: "),
    # These two have environments of their own, and use the cores that the downloads of `setup` leave idle.
    "unit-3.6": Stage("tests/stages/unit.sh 3.6", "test", ("packages",), niceness=NICENESS),
    "unit-newest": Stage("tests/stages/unit.sh newest", "test", ("packages",), niceness=NICENESS),
    # All scenarios wait for the images.
    "images": Stage("python tests/lab/lab.py build", "test", progress="lab: "),
    "molecule-default": Stage("tests/stages/molecule.sh default save", "test", MOLECULE),
    # All other scenarios wait for `default`.
    "functional": Stage(
        "pytest -q --numprocesses 3 --dist loadfile tests/functional", "test", behind=IMAGES, niceness=NICENESS // 2
    ),
    "molecule-certificate": Stage("tests/stages/molecule.sh certificate copies", "test", COPIES),
    "molecule-faults": Stage("tests/stages/molecule.sh faults copies", "test", COPIES),
    "molecule-trust": Stage("tests/stages/molecule.sh trust copies", "test", COPIES),
    "molecule-states": Stage("tests/stages/molecule.sh states copies", "test", COPIES),
    # Five labs at once overload two slow cores, and servers then close key exchanges. `states` is the shortest
    # scenario, and `runs` waits least.
    "molecule-runs": Stage("tests/stages/molecule.sh runs copies", "test", COPIES, behind=("molecule-states",)),
    # --- make check
    "unit": Stage("pytest -q", "check", behind=IMAGES, niceness=NICENESS),
    "lint": Stage("tests/stages/lint.sh", "check", behind=IMAGES, niceness=NICENESS),
    "ansible-lint": Stage("ansible-lint --nocolor -f pep8", "check", behind=IMAGES, niceness=NICENESS),
    # --- make test
    "sanity": Stage("tests/stages/sanity.sh controller", "test", behind=IMAGES, niceness=NICENESS),
    "importer": Stage("tests/stages/importer.sh", "test", behind=IMAGES, niceness=NICENESS),
    "docs": Stage("python docs/site/build.py", "test", behind=IMAGES, niceness=NICENESS),
    # --- make test-full
    "vm-images": Stage(
        "python tests/lab/lab.py build vm-debian13 vm-el-standin", "test-full", MOLECULE, progress="lab: "
    ),
    "molecule-killed": Stage("tests/stages/molecule.sh killed copies", "test-full", COPIES),
    "molecule-pairs": Stage("tests/stages/molecule.sh pairs copies", "test-full", COPIES),
    "molecule-authorities": Stage("tests/stages/molecule.sh authorities copies", "test-full", COPIES),
    "el8": Stage("tests/stages/el8.sh", "test-full", MOLECULE),
    "cores": Stage("tests/stages/cores.sh", "test-full", MOLECULE),
    "molecule-packages": Stage("tests/stages/molecule.sh packages", "test-full", MOLECULE),
    "molecule-firewall": Stage("tests/stages/molecule.sh firewall", "test-full", MOLECULE),
    "alerts": Stage("tests/stages/molecule.sh alerts", "test-full", MOLECULE),
    "commands": Stage("pytest -q tests/commands", "test-full", MOLECULE),
    "release": Stage("pytest -q tests/release", "test-full", MOLECULE),
    "dashboards": Stage("tests/stages/dashboards.sh", "test-full"),
    "browser": Stage("tests/stages/browser.sh", "test-full", ("setup", "docs")),
    "pythons": Stage("tests/stages/unit.sh 3.7 3.8 3.9 3.10 3.12 3.13 3.14", "test-full", ("setup", "unit-newest")),
    "sanity-pythons": Stage("tests/stages/sanity.sh", "test-full", ("setup", "sanity")),
    "mutation": Stage("tests/stages/mutation.sh", "test-full", ("setup", "unit")),
    "coverage": Stage("tests/stages/coverage.sh", "test-full", ("setup", "unit", "functional")),
    "vm-confinement": Stage("tests/stages/vm.sh tests", "test-full", VM, "vm"),
    "vm-power": Stage("tests/stages/vm.sh power", "test-full", VM, "vm"),
    "vm-clock": Stage("tests/stages/vm.sh clock", "test-full", VM, "vm"),
    "vm-network": Stage("tests/stages/vm.sh network", "test-full", VM, "vm"),
}
SUITES = ("check", "test", "test-full")


class Result(NamedTuple):
    """Result of a stage."""

    status: str
    seconds: float
    passed: int
    failed: int


def counts(log: str, succeeded: bool) -> tuple[int, int]:
    """Return the sums of passed and failed tests in a log; a stage without tests counts as one test."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    # pytest ends each of its runs with such a line, and so do the scripts of the stages.
    lines = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|error).*)$", plain, re.MULTILINE)
    passed = sum(int(number) for line in lines for number in re.findall(r"(\d+) passed", line))
    failed = sum(int(number) for line in lines for number in re.findall(r"(\d+) (?:failed|error)", line))
    if succeeded:
        return (passed if lines else 1), 0
    return passed, max(failed, 1)


def wanted(suite: str, names: Sequence[str] = ()) -> list[str]:
    """Return the stages of a suite, or the named stages with their dependencies, in the order of STAGES."""
    if suite != "stage":
        upto = SUITES[: SUITES.index(suite) + 1]
        return [name for name, stage in STAGES.items() if stage.suite in upto]
    needed = set(names)
    while more := {before for name in needed for before in STAGES[name].after} - needed:
        needed |= more
    return [name for name in STAGES if name in needed]


def say(text: str) -> None:
    """Print a line of progress with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - START), 60)
    print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)


def end_of(name: str) -> str:
    """Return the last lines of a stage's log."""
    return "\n".join((LOGS / f"{name}.log").read_text(errors="replace").splitlines()[-LAST_LINES:])


def news(name: str, read: dict[str, int]) -> list[str]:
    """Return new lines of progress in a stage's log; `read` counts the bytes that were returned before."""
    if not STAGES[name].progress:
        return []
    content = (LOGS / f"{name}.log").read_bytes()
    new = content[read.get(name, 0) : content.rfind(b"\n") + 1]
    read[name] = read.get(name, 0) + len(new)
    return [line for line in new.decode(errors="replace").splitlines() if line.startswith(STAGES[name].progress)]


def run(names: Sequence[str], done: dict[str, Result]) -> dict[str, Result]:
    """Run stages in parallel, up to AT_ONCE, each after its dependencies have passed."""
    # Long: one loop starts stages, watches them and collects their results, and all three share its state.
    LOGS.mkdir(parents=True, exist_ok=True)
    # Otherwise pyenv's shim puts its own programs first when it starts this program.
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", LOCKED: str(ROOT)}
    waiting = [name for name in names if name not in done]
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    results = dict(done)
    read: dict[str, int] = {}
    spoken = time.monotonic()
    while waiting or running:
        for name in list(waiting):
            stage = STAGES[name]
            before = [results.get(other) for other in stage.after if other in names]
            if any(result and result.status != "passed" for result in before):
                results[name] = Result("skipped", 0, 0, 1)
                waiting.remove(name)
                say(f"{name}: skipped, as {' or '.join(stage.after)} failed")
                continue
            # A stage of a group runs alone: its hosts are VMs, which use every core where they are emulated.
            busy = bool(running) if stage.group else any(STAGES[other].group for other in running)
            behind = any(other in names and other not in results for other in stage.behind)
            rivals = [other for other in running if stage.niceness or not STAGES[other].niceness]
            if None in before or behind or busy or len(rivals) >= AT_ONCE:
                continue
            with (LOGS / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    ["nice", f"--adjustment={stage.niceness}", "sh", "-c", stage.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=environment,
                )
            running[name] = process, time.monotonic()
            waiting.remove(name)
            say(f"{name}: {stage.command}")
            spoken = time.monotonic()
        time.sleep(0.2)
        for name, (process, start) in list(running.items()):
            for line in news(name, read):
                say(line)
                spoken = time.monotonic()
            if (status := process.poll()) is None:
                continue
            del running[name]
            seconds = time.monotonic() - start
            passed, failed = counts((LOGS / f"{name}.log").read_text(errors="replace"), status == 0)
            results[name] = Result("failed" if status else "passed", seconds, passed, failed)
            if status:
                print(end_of(name), flush=True)
            say(f"{name}: {results[name].status} after {seconds:.0f} s")
            spoken = time.monotonic()
            keep(results)
        if time.monotonic() - spoken > SILENCE_SECONDS and running:
            say(
                "running: "
                + ", ".join(f"{name} {time.monotonic() - start:.0f} s" for name, (_p, start) in running.items())
            )
            spoken = time.monotonic()
    return results


def table(names: Sequence[str], results: dict[str, Result]) -> str:
    """Return the closing table."""
    rows = [f"{'stage':22} {'seconds':>7} {'passed':>7} {'failed':>6}  log"]
    rows += [
        f"{name:22} {result.seconds:7.0f} {result.passed:7} {result.failed:6}  .build/logs/{name}.log"
        for name, result in ((name, results[name]) for name in names)
    ]
    return "\n".join(rows)


def failures(log: str) -> str:
    """Return the first failed tests of a log with the end of pytest's reports, and the last failure of Ansible."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    names = re.findall(r"^(?:FAILED|ERROR) (.+)$", plain, re.MULTILINE)
    causes = re.findall(r"^E  +(.+)$", plain, re.MULTILINE)
    shown = [f"  {name[:200]}" for name in names[:FAILURES_SHOWN]]
    if len(names) > FAILURES_SHOWN:
        shown.append(f"  and {len(names) - FAILURES_SHOWN} more")
    shown += [f"    {cause[:200]}" for cause in dict.fromkeys(causes[:FAILURES_SHOWN])]
    # A playbook rescues some of its failures, so only the last one has ended it.
    for host, result in re.findall(r"^fatal: \[([^]\n]+)\]: \S+ => (\{.*\})$", plain, re.MULTILINE)[-1:]:
        try:
            fields = json.loads(result)
            text = " ".join(str(fields[key])[-300:] for key in ("msg", "stderr") if key in fields)
        except ValueError:
            # Another process wrote between.
            text = result[:300]
        shown.append(f"    {host}: {text}")
    return "\n".join(shown)


def git(*arguments: str) -> str:
    """Return the output of git."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def tree() -> str:
    """Return a digest of the tracked and changed files, without what the stages record."""
    digest = hashlib.sha256()
    for name in sorted(git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()):
        path = ROOT / name
        if path.is_file() and path != RECORD:
            content = path.read_bytes()
            if path == FAULTS_PAGE:
                before, _mark, rest = content.partition(FAULTS_MARKS[0].encode())
                content = before + rest.partition(FAULTS_MARKS[1].encode())[2]
            digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def commit_of_tree() -> str:
    """Return the commit, with a + where files differ from it, except those that stages write."""
    recorded = [f":!{path.relative_to(ROOT)}" for path in (RECORD, FAULTS_PAGE) if path.is_relative_to(ROOT)]
    changes = git("status", "--porcelain", "--", ".", *recorded)
    return git("rev-parse", "--short=9", "HEAD").strip() + ("+" if changes.strip() else "")


def write_between(page: Path, marks: tuple[str, str], lines: Sequence[str]) -> None:
    """Replace the text of a page between two marks."""
    start, _mark, rest = page.read_text().partition(marks[0])
    end = rest.partition(marks[1])[2]
    page.write_text(f"{start}{marks[0]}\n" + "\n".join(lines) + f"\n{marks[1]}{end}")


def keep(results: dict[str, Result]) -> None:
    """Save each result with the tree that it belongs to, for --resume and for the record."""
    found = json.loads(STATE.read_text()) if STATE.exists() else {}
    commit = commit_of_tree()
    # --resume must not use results of a tree that changed during the run.
    now = {"tree": TREE if tree() == TREE else "", "commit": commit, "date": datetime.date.today().isoformat()}
    for name, result in results.items():
        if result.status != "skipped" and found.get(name, {}).get("result") != list(result):
            found[name] = {**now, "result": list(result)}
    STATE.write_text(json.dumps(found, indent=1))


def record(names: Sequence[str]) -> None:
    """Write the last result of every stage into docs/reliability.md, with its date and commit."""
    found = json.loads(STATE.read_text())
    old = RECORD.read_text().partition(MARKS[0])[2].partition(MARKS[1])[0]
    # Another clone may have written the row of a stage that did not run here.
    written = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines() if line.startswith("| ")}
    rows = ["| stage | date | commit | seconds | passed | failed |", "| --- | --- | --- | --- | --- | --- |"]
    for name in names:
        if name in found:
            _status, seconds, passed, failed = found[name]["result"]
            rows.append(
                f"| {name} | {found[name]['date']} | {found[name]['commit']} | {seconds:.0f} | {passed} | {failed} |"
            )
        elif name in written:
            rows.append(written[name])
    write_between(RECORD, MARKS, rows)


def main() -> int:
    """Run a suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES, "stage"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {' '.join(STAGES)}")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    unknown = set(given.names) - set(STAGES)
    if unknown or (given.suite == "stage") != bool(given.names):
        parser.error(f"stage takes names, of: {' '.join(STAGES)}")
    names = wanted(given.suite, given.names)
    done = {}
    if given.resume and STATE.exists():
        kept = {name: item for name, item in json.loads(STATE.read_text()).items() if item["tree"] == TREE}
        done = {name: Result(*item["result"]) for name, item in kept.items() if item["result"][0] == "passed"}
        done = {name: result for name, result in done.items() if name in names}
        say(f"these stages passed before: {' '.join(done) or 'none'}")
    LOGS.mkdir(parents=True, exist_ok=True)
    with (ROOT / ".build" / "stages.lock").open("w") as lock:
        try:
            # The stage `commands` runs `make demo`, which runs a stage.
            if os.environ.get(LOCKED) != str(ROOT):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("Another run of the stages uses .build: wait for its end, or use another clone.")
        results = run(names, done)
    print("\n" + table(names, results))
    if any(STAGES[name].suite == "test-full" for name in names):
        record(list(STAGES))
    for name in [name for name in names if results[name].status == "failed"]:
        print(f"\n{name}:\n{failures((LOGS / f'{name}.log').read_text(errors='replace'))}")
    seconds = time.monotonic() - START
    passed, failed = sum(result.passed for result in results.values()), sum(r.failed for r in results.values())
    print(f"{'total':22} {seconds:7.0f}\n\n{passed} passed, {failed} failed")
    return 1 if failed else 0


START = time.monotonic()
TREE = tree()

if __name__ == "__main__":
    sys.exit(main())
