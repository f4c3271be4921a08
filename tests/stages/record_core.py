# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the row of a tested ansible-core into docs/reliability.md: record_core.py CORE PYTHON CRYPTO."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
MARKS = ("<!-- cores -->\n", "<!-- end of cores -->\n")
HEAD = "| ansible-core | community.crypto | Python of the controller | date |\n| --- | --- | --- | --- |\n"


def series(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version, which sort and identify rows."""
    return tuple(int(part) for part in version.split(".")[:2])


def recorded(page: str, core: str, python: str, crypto: str, date: str) -> str:
    """Return the page with the row of a release, which replaces an earlier row of its series."""
    before, _mark, rest = page.partition(MARKS[0])
    table, _mark, after = rest.partition(MARKS[1])
    rows = {series(line.split()[1]): line for line in table.splitlines()[2:]}
    rows[series(core)] = f"| {core} | {crypto} | {python} | {date} |"
    return before + MARKS[0] + HEAD + "".join(f"{rows[key]}\n" for key in sorted(rows)) + MARKS[1] + after


if __name__ == "__main__":
    PAGE.write_text(recorded(PAGE.read_text(), *sys.argv[1:4], datetime.date.today().isoformat()))
