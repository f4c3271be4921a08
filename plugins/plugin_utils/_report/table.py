# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Render the report of a fleet as CSV (RFC 4180), one line for each host."""

from __future__ import annotations

import csv
import io

from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import Document, Host

COLUMNS = (
    "host",
    "role",
    "state",
    "authenticated",
    "follows",
    "stratum",
    "offset_seconds",
    "root_distance_seconds",
    "error_bound_seconds",
    "chrony",
    "system",
    "server_certificate_ends",
    "reasons",
    "notes",
    "remedies",
)
# Spreadsheets treat a cell with one of these first characters as a formula, including full-width forms (East Asia).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def table(report: Document) -> str:
    """Return the hosts of a report as CSV. Prefix an apostrophe to a text that a spreadsheet would run as a formula."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    for host in report["hosts"]:
        writer.writerow([_cell(value) for value in _values(host)])
    return lines.getvalue()


def _values(host: Host) -> list[str | int | float | None]:
    selected = [source["name"] for source in host["sources"] if source["state"] == "selected"]
    ends = [row["not_after"] for row in host["certificates"] or [] if row["use"] == "server"]
    reasons = [*host["reasons"], *([host["message"]] if host["message"] else [])]
    return [
        host["name"],
        host["role"],
        host["state"],
        "true" if host["authenticated"] else "false",
        selected[0] if selected else "(own clock)" if host["own_clock"] else "",
        host["stratum"],
        host["offset_seconds"],
        host["root_distance_seconds"],
        host["error_bound_seconds"],
        host["chrony"],
        host["system"],
        min(ends, default=""),
        " ".join(reasons),
        " ".join(host["notes"]),
        " ".join(host["remedies"]),
    ]


def _cell(value: str | int | float | None) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    # Avoid 1e-05, which some locales of spreadsheets read as text.
    return "" if value is None else f"{value:.9f}" if isinstance(value, float) else str(value)
