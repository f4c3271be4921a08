# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the reference of metrics in docs/monitoring.md from the table of the monitor: make metrics."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import METRICS, Metric

PAGE = Path(__file__).resolve().parent / "monitoring.md"
BEGIN = "<!-- Made from plugins/module_utils/_monitor/metrics.py: make metrics -->\n"
END = "<!-- End of the reference -->\n"
# Headings of the reports, in the order of the metrics table.
HEADINGS = {
    "tracking": "The clock (`chronyc tracking`)",
    "chronyd": "The daemon",
    "sources": "Sources (`chronyc sources`)",
    "ntpdata": "Packets of sources (`chronyc ntpdata`)",
    "sourcestats": "Statistics of sources (`chronyc sourcestats`)",
    "authdata": "Authentication of sources (`chronyc authdata`)",
    "selectdata": "Selection of sources (`chronyc selectdata`)",
    "activity": "Activity of sources (`chronyc activity`)",
    "verdict": "The verdict ([what counts](verdict.md))",
    "trust": "Trust anchors",
    "serverstats": "A server's counters (`chronyc serverstats`)",
    "clients": "A server's clients (`chronyc clients`)",
    "server": "A server's certificates, and its own probe",
    "collector": "The collector",
}
TABLE = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"


def row(metric: Metric) -> str:
    """Return the row of a metric; a star marks a metric that chrony_exporter lacks."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    unit = f" Unit: {metric.unit}." if metric.unit else ""
    star = "" if metric.in_exporter else " \\*"
    note = f" {metric.note}" if metric.note else ""
    return f"| `{metric.name}`{star} | {metric.kind} | {labels} | {metric.help}{unit}{note} |\n"


def reference() -> str:
    """Return the tables of all metrics."""
    parts = []
    for report, heading in HEADINGS.items():
        rows = "".join(row(metric) for metric in METRICS if metric.report == report)
        parts.append(f"### {heading}\n\n{TABLE}{rows}\n")
    return "".join(parts)


def page() -> str:
    """Return the page with a new reference."""
    before, _begin, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{reference()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page())
