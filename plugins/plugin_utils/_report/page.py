# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Render the report of a fleet as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.securetime.nts.plugins.plugin_utils._report import drawing
from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import Document, Follow, severity

TEMPLATE, STYLE, SCRIPT = "page.html.j2", "page.css", "page.js"
# Limits that keep the page fast in a browser and readable.
MOST_HOSTS = 1000
MOST_GROUPS = 40
MOST_LINES = 100
NAMES_OF_GROUP = 12
TITLES = {
    "authenticated": ("Authenticated", "follows authenticated time"),
    "partial": ("Partial", "follows authenticated time; one of its NTS sources is not authenticated now"),
    "pending": ("Pending", "does not follow its NTS sources yet"),
    "unknown": ("Unknown", "chronyd runs, but does not say enough for a verdict"),
    "unauthenticated": ("Unauthenticated", "follows, or may follow, time that nothing authenticates"),
    "failed": ("Failed", "all of its NTS sources have failed"),
    "not_running": ("Not running", "chronyd is not installed or does not run"),
    "unreadable": ("Unreadable", "was reached, but its facts could not be read"),
    "unreachable": ("Unreachable", "Ansible could not reach it"),
}
# Each state also has a shape, so that colour is never the only sign.
ICONS = {
    "authenticated": "good",
    "partial": "half",
    "pending": "wait",
    "unknown": "wait",
    "unauthenticated": "warn",
    "failed": "bad",
    "not_running": "bad",
    "unreadable": "gone",
    "unreachable": "gone",
}


class FollowedSource(NamedTuple):
    """A source, whether it is authenticated, and the hosts that select it or combine it with the selected one."""

    source: str
    kind: str
    selected: list[str]
    combined: list[str]


def page(report: Document, folder: str) -> str:
    """Render the page with the template, the style and the script of a folder."""
    # Long: one line for each value that the template reads.
    style, script = (Path(folder, name).read_text(encoding="utf-8") for name in (STYLE, SCRIPT))
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "cut": drawing.cut,
            "days": drawing.days,
            "duration": drawing.duration,
            "listed": drawing.listed,
            "signed": drawing.signed,
            "urgency": drawing.urgency,
        }
    )
    hosts = report["hosts"]
    values: dict[str, Any] = {
        "report": report,
        "titles": TITLES,
        "icons": ICONS,
        "kinds": drawing.KINDS,
        "bar": drawing.state_bar(report["totals"]["states"]),
        "bar_width": drawing.BAR_WIDTH,
        "chart": drawing,
        "tree": drawing.tree(report),
        "offsets": drawing.offsets(hosts),
        "buckets": drawing.buckets(hosts),
        "lives": drawing.lives(report["certificates"]),
        "followed": followed(report["follows"]),
        "plain_clients": plain_clients(report),
        "severity": severity,
        "rows": sorted(hosts, key=lambda host: (severity(host["state"]), host["name"]))[:MOST_HOSTS],
        "most_groups": MOST_GROUPS,
        "most_lines": MOST_LINES,
        "names_of_group": NAMES_OF_GROUP,
        # Style and script are files of this collection. The template escapes every other value.
        "style": Markup(style),
        "script": Markup(script),
        "policy": policy(style, script),
    }
    return environment.get_template(TEMPLATE).render(values)


def plain_clients(report: Document) -> str:
    """Return the number of clients that do not use NTS yet. A client of several servers counts once."""
    known = len({client["address"] for client in report["clients_without_nts"]})
    more = any(
        (host["serving"]["clients_without_nts"] or 0) > len(host["serving"]["first_without_nts"])
        for host in report["hosts"]
        if host["serving"]
    )
    return f"{known:,} or more" if more else f"{known:,}"


def policy(style: str, script: str) -> str:
    """Return the content security policy, which permits only this style and this script, and no request."""
    sources = " ".join(f"{name}-src '{_digest(text)}';" for name, text in (("style", style), ("script", script)))
    return f"default-src 'none'; {sources} base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def followed(follows: Sequence[Follow]) -> list[FollowedSource]:
    """Return the sources that hosts follow, in descending order of their hosts."""
    found: dict[tuple[str, str], FollowedSource] = {}
    for edge in follows:
        kind = "refclock" if edge["mode"] == "refclock" else "nts" if edge["authenticated"] else "plain"
        name = edge["source_host"] or edge["source"]
        row = found.setdefault((name, kind), FollowedSource(name, kind, [], []))
        (row.selected if edge["selected"] else row.combined).append(edge["host"])
    return sorted(found.values(), key=lambda row: (-len(row.selected), -len(row.combined), row.source, row.kind))
