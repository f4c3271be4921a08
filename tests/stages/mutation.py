# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a copy of the tree for mutmut, and check what mutmut found: mutation.py prepare | check FOLDER.

tests/stages/mutation.yml explains mutations that no test notices: groups of them, each with its reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mutmut.mutation.diff_apply import get_diff_for_mutant

LIST = Path(__file__).with_name("mutation.yml")
NTS = "ansible_collections/securetime/nts"
# The most important first, as the table shows them.
FILES = (
    "plugins/module_utils/_change/decision.py",
    "plugins/module_utils/_state/verdict.py",
    "plugins/module_utils/_state/chronyc.py",
    "plugins/plugin_utils/_rules.py",
    "plugins/plugin_utils/_plan.py",
)
UNIT = f"{NTS}/tests/unit/plugins"
# Not those that run the code in another process, which does not have mutmut.
TESTS = (
    f"{UNIT}/plugin_utils",
    f"{UNIT}/modules",
    f"{UNIT}/module_utils/_state",
    f"{UNIT}/module_utils/_change",
    f"{UNIT}/module_utils/_monitor",
    f"{UNIT}/module_utils/test_properties.py",
)
# Lines that hold words of a message alone: tests quote what matters of a message, and no test quotes all of it.
MESSAGE = r'^\s*f?"[^"]* [^"]* [^"]*"[,)]*$'
CONFIGURATION = f"""
[tool.mutmut]
source_paths = ["{NTS}/plugins"]
only_mutate = {json.dumps([f"{NTS}/{file}" for file in FILES])}
also_copy = ["ansible_collections"]
pytest_add_cli_args_test_selection = {json.dumps(TESTS)}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-c", "pyproject.toml"]
do_not_mutate_patterns = ['{MESSAGE}']
use_git_change_detection = false

[tool.pytest.ini_options]
addopts = "--import-mode=importlib --strict-markers"
pythonpath = ["."]
"""
# What the tests read. The results of another state of these files are of no use.
INPUTS = ("plugins", "roles", "tests/unit", "tests/functional/mistakes", "requirements-dev.txt")
# mutmut's exit codes of a mutant (mutmut.stats.status_by_exit_code): a test failed, or took too long.
KILLED = (1, 3)
TIMEOUTS = (36, 24, -24, 152, 255)
# All tests passed, or none reaches the place.
SURVIVED = (0, 5, 33)


class Mutant(NamedTuple):
    """A mutation: file, function, changed lines of a diff, and mutmut's name of it."""

    file: str
    function: str
    diff: str
    name: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Return what identifies a mutation in mutation.yml."""
        return self[:3]


def prepare(work: Path) -> None:
    """Configure mutmut, forget results of another tree, and change what mutmut cannot mutate."""
    copy = work / NTS
    digest = hashlib.sha256(CONFIGURATION.encode())
    for file in sorted(path for given in INPUTS for path in [copy / given, *copy.glob(f"{given}/**/*")]):
        if file.is_file():
            digest.update(str(file.relative_to(copy)).encode() + b"\0" + file.read_bytes())
    mark = work / "digest"
    if not mark.exists() or mark.read_text() != digest.hexdigest():
        shutil.rmtree(work / "mutants", ignore_errors=True)
        mark.write_text(digest.hexdigest())
    (work / "pyproject.toml").write_text(CONFIGURATION)
    rules = copy / "plugins/plugin_utils/_rules.py"
    rules.write_text(undecorated(rules.read_text(), "rule"))


def undecorated(text: str, decorator: str) -> str:
    """Return a module that calls a decorator behind each function: mutmut leaves out decorated functions."""
    function = re.compile(rf"^@{decorator}\n(def (\w+)\(.*\n(?:(?:[ )].*)?\n)*?)(?=^[^\s)]|\Z)", re.MULTILINE)
    return function.sub(lambda found: f"{found[1].rstrip()}\n\n\n{decorator}({found[2]})\n\n\n", text)


def results(work: Path, file: str) -> dict[str, int | None]:
    """Return mutmut's exit code of each mutant of a file; None for those that have not run."""
    meta = work / "mutants" / f"{NTS}/{file}.meta"
    if not meta.exists():
        return {}
    return dict(json.loads(meta.read_text())["exit_code_by_key"])


def survivor(file: str, name: str) -> Mutant:
    """Return a mutant with its diff, in mutmut's folder."""
    lines = str(get_diff_for_mutant(name, path=f"{NTS}/{file}")).splitlines()
    # Without the header of the diff, and without indentation, which a change around the line changes.
    changed = [f"{line[0]} {line[1:].strip()}" for line in lines[2:] if line[:1] in ("-", "+")]
    function = name.rpartition(".")[2].rpartition("__mutmut_")[0]
    function = function.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return Mutant(file, function, "\n".join(changed), name)


def is_wording(diff: str) -> bool:
    """Say whether a mutation changes the words of a sentence alone: tests quote what matters of it, and not all."""
    old, _newline, new = diff.partition("\n")
    for text in re.findall(r'"([^"]*)"', old):
        words = [f"XX{text}XX", text.lower(), text.upper()]
        # mutmut keeps the case of escape sequences.
        words += [other.replace("\\N", "\\n").replace("\\T", "\\t") for other in words]
        if text.count(" ") > 1 and new[2:] in [old[2:].replace(f'"{text}"', f'"{other}"') for other in words]:
            return True
    return False


def explained(groups: Iterable[Mapping[str, Any]]) -> list[Mutant]:
    """Return the mutations that the list explains."""
    return [
        Mutant(file, function, diff)
        for group in groups
        for file, functions in group["mutations"].items()
        for function, diffs in functions.items()
        for diff in diffs
    ]


def judge(survivors: Iterable[Mutant], listed: Iterable[Mutant], complete: bool) -> list[str]:
    """Return a problem for each survivor without an explanation, and for each explanation without a survivor."""
    known = {each.place for each in listed}
    found = {each.place: each for each in survivors if not is_wording(each.diff)}
    problems = [
        f"{each.file}: {each.function}: no test fails ({each.name}):\n{each.diff}"
        for place, each in found.items()
        if place not in known
    ]
    if complete:
        problems += [
            f"mutation.yml explains a mutation that is gone or that a test notices: {file}: {function}:\n{diff}"
            for file, function, diff in sorted(known - set(found))
        ]
    return problems


def check(work: Path) -> int:
    """Print the table and the problems."""
    listed = explained(yaml.safe_load(LIST.read_text()) or [])
    survivors: list[Mutant] = []
    counts: dict[str, Counter[str]] = {}
    # mutmut finds its files and its configuration in the working directory.
    os.chdir(work)
    for file in FILES:
        counts[file] = Counter()
        for name, code in results(Path(), file).items():
            kind = "killed" if code in KILLED else "timeout" if code in TIMEOUTS else "other"
            if code is None:
                kind = "not run"
            elif code in SURVIVED:
                mutant = survivor(file, name)
                survivors.append(mutant)
                kind = "explained" if mutant.place in {each.place for each in listed} else "survived"
                kind = "wording" if is_wording(mutant.diff) else kind
            counts[file][kind] += 1
    kinds = ("killed", "timeout", "wording", "explained", "survived", "other", "not run")
    print(f"{'file':45}" + "".join(f"{kind:>10}" for kind in ("made", *kinds)))
    total = sum(counts.values(), Counter[str]())
    for file, row in [*counts.items(), ("all", total)]:
        print(f"{file:45}" + "".join(f"{number:10}" for number in (row.total(), *(row[kind] for kind in kinds))))
    unfinished = total["not run"] + sum(not row for row in counts.values())
    problems = judge(survivors, listed, complete=not unfinished)
    if unfinished:
        problems.append("Not every mutation has run: run the stage again, which continues.")
    if total["other"]:
        problems.append(f"{total['other']} mutants ended in another way: see mutmut.log.")
    print("\n".join(problems))
    passed = sum(total[kind] for kind in ("killed", "timeout", "wording", "explained"))
    print(f"{passed} passed, {len(problems)} failed")
    return 1 if problems else 0


def main(what: str, folder: str) -> int:
    """Run a command."""
    if what == "check":
        return check(Path(folder))
    prepare(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
