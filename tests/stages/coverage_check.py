# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the coverage of plugins/ with its lower limit: coverage_check.py COVERAGE.json.

tests/stages/coverage.yml lists the functions that run on managed hosts alone, each group with its reason and with the
stage that tests it there. The limit holds for all other code; the table gives the figures of all code as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

LIST = Path(__file__).with_name("coverage.yml")
# Percent, of lines and of branches.
LIMIT = 95
# Files with gaps that the table shows.
ROWS = 25


class Counts(NamedTuple):
    """Covered and existing lines and branches."""

    lines: int = 0
    all_lines: int = 0
    branches: int = 0
    all_branches: int = 0

    @classmethod
    def of(cls, region: Mapping[str, Any]) -> Counts:
        """Return the counts of a function or file of coverage's JSON."""
        lines, branches = len(region["executed_lines"]), len(region["executed_branches"])
        return cls(lines, lines + len(region["missing_lines"]), branches, branches + len(region["missing_branches"]))

    def __add__(self, other: object) -> Counts:
        """Return the sums."""
        assert isinstance(other, Counts)
        return Counts(*(mine + its for mine, its in zip(self, other, strict=True)))

    @property
    def missing(self) -> int:
        """The lines and branches that no test runs."""
        return self.all_lines - self.lines + self.all_branches - self.branches

    def percent(self) -> tuple[float, float]:
        """Return the percentages of lines and of branches; what has none is covered."""
        return 100 * self.lines / (self.all_lines or 1) if self.all_lines else 100.0, (
            100 * self.branches / self.all_branches if self.all_branches else 100.0
        )


def functions(report: Mapping[str, Any]) -> Iterator[tuple[str, str, Counts]]:
    """Yield file, function and counts; code outside of functions has the name ''."""
    for file, content in sorted(report["files"].items()):
        for name, region in content["functions"].items():
            yield file, name, Counts.of(region)


def listed(groups: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the reason of each listed file and function."""
    return {
        (file, name): group["reason"]
        for group in groups
        for file, names in group["functions"].items()
        for name in names
    }


def check(report: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the lines of the table, and the problems."""
    left_out = listed(groups)
    everything = kept = Counts()
    gaps: dict[str, Counts] = {}
    problems = []
    found = set()
    for file, name, counts in functions(report):
        everything += counts
        if (file, name) in left_out:
            found.add((file, name))
            if min(counts.percent()) >= LIMIT:
                problems.append(f"coverage.yml lists {name} of {file}, which tests cover: remove the entry.")
            continue
        kept += counts
        if counts.missing:
            gaps[file] = gaps.get(file, Counts()) + counts
    problems += [
        f"coverage.yml lists {name} of {file}, which does not exist: remove the entry."
        for file, name in sorted(set(left_out) - found)
    ]
    lines, branches = kept.percent()
    if min(lines, branches) < LIMIT:
        problems.append(
            f"Tests cover {lines:.1f} % of lines and {branches:.1f} % of branches: add tests up to {LIMIT} %."
        )
    table = [f"{'lines':>13} {'branches':>13}", row(everything, "all of plugins/"), row(kept, "less coverage.yml")]
    table.append(f"The largest gaps, in functions that coverage.yml does not list (of {len(gaps)} files):")
    largest = sorted(gaps, key=lambda file: (-gaps[file].missing, file))[:ROWS]
    table += [row(gaps[file], file) for file in largest]
    return table, problems


def row(counts: Counts, name: str) -> str:
    """Return a line of the table: covered of existing lines and branches, with percentages for sums."""
    lines, branches = counts.percent()
    return (
        f"{counts.lines:5}/{counts.all_lines:5} {lines:5.1f} %"
        f" {counts.branches:5}/{counts.all_branches:5} {branches:5.1f} %  {name}"
    )


def main(path: str) -> int:
    """Print the table and the problems."""
    table, problems = check(json.loads(Path(path).read_text()), yaml.safe_load(LIST.read_text()))
    print("\n".join([*table, *problems]))
    print(f"{1 if not problems else 0} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
