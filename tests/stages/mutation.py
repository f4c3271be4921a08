# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a copy of the tree for mutmut, and check what mutmut found: mutation.py prepare | check FOLDER.

mutmut runs once for each file of FILES, in a folder of its own, with the tests of this file.

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
UNIT = "tests/unit/plugins"
# Of the captures of chronyc, those of the newest version. The parser also needs those of the oldest: only chronyc 4.0
# does not name a source without an address.
NEWEST = "4.9 or not 4."
OLDEST_AND_NEWEST = f"4.0 or {NEWEST}"


class Tests(NamedTuple):
    """The tests of a mutated file, below UNIT, and pytest's expression that selects some of them."""

    files: tuple[str, ...]
    select: str = ""


# The most important first, as the table shows them.
FILES = {
    "plugins/module_utils/_change/decision.py": Tests(("module_utils/_change/test_decision.py",)),
    "plugins/module_utils/_state/verdict.py": Tests(
        ("module_utils/_state/test_verdict.py", "module_utils/_state/test_verdict_limits.py"), NEWEST
    ),
    "plugins/module_utils/_state/chronyc.py": Tests(("module_utils/_state/test_chronyc.py",), OLDEST_AND_NEWEST),
    "plugins/plugin_utils/_rules.py": Tests(("plugin_utils/test__rules.py",)),
    "plugins/plugin_utils/_plan.py": Tests(("plugin_utils/test__plan.py", "plugin_utils/test__distribution.py")),
}
# Lines that hold words of a message alone: tests quote what matters of a message, and no test quotes all of it.
MESSAGE = r'^\s*f?"[^"]* [^"]* [^"]*"[,)]*$'
CONFIGURATION = """
[tool.mutmut]
source_paths = ["{NTS}/plugins"]
only_mutate = ["{NTS}/{file}"]
also_copy = ["ansible_collections"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-c", "pyproject.toml", "-k", "{select}"]
do_not_mutate_patterns = ['{MESSAGE}']
use_git_change_detection = false
# In seconds. The tests of a file take less than three: a mutation counts as noticed where they hang, and not where the
# controller is busy.
timeout_constant = 60
timeout_multiplier = 1

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


def folder(work: Path, file: str) -> Path:
    """Return mutmut's folder for a mutated file."""
    return work / Path(file).stem.strip("_")


def prepare(work: Path) -> None:
    """Make a folder for each mutated file and print it: configure mutmut there, and forget results of another tree."""
    copy = work / NTS
    rules = copy / "plugins/plugin_utils/_rules.py"
    rules.write_text(undecorated(rules.read_text(), "rule"))
    for file, tests in FILES.items():
        own = folder(work, file)
        own.mkdir(exist_ok=True)
        if not (own / "ansible_collections").exists():
            (own / "ansible_collections").symlink_to("../ansible_collections")
        configuration = CONFIGURATION.format(
            NTS=NTS,
            MESSAGE=MESSAGE,
            file=file,
            tests=json.dumps([f"{NTS}/{UNIT}/{test}" for test in tests.files]),
            select=tests.select,
        )
        (own / "pyproject.toml").write_text(configuration)
        digest = hashlib.sha256(configuration.encode())
        for path in inputs(copy, tests):
            digest.update(str(path.relative_to(copy)).encode() + b"\0" + path.read_bytes())
        mark = own / "digest"
        if not mark.exists() or mark.read_text() != digest.hexdigest():
            shutil.rmtree(own / "mutants", ignore_errors=True)
            mark.write_text(digest.hexdigest())
        print(own)


def inputs(copy: Path, tests: Tests) -> list[Path]:
    """Return the files that tests may read, themselves included: all of INPUTS but other tests."""
    own = [copy / UNIT / test for test in tests.files]
    found = [path for given in INPUTS for path in [copy / given, *copy.glob(f"{given}/**/*")] if path.is_file()]
    return sorted(path for path in found if path in own or not path.name.startswith("test_"))


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
    work = work.absolute()
    for file in FILES:
        # mutmut finds its files and its configuration in the working directory.
        os.chdir(folder(work, file))
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
