# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Compute the geometry of the report's drawings in pixels; the template renders it.

The page's security policy forbids style attributes, so the drawings consist of geometry only.

Long: the drawings share their scales and the functions that place labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import Document, FleetCertificate, Host
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import STATES

# A reader compares a few dozen rows; report.json and report.csv hold all of them.
MOST_ROWS = 30
MOST_SIBLINGS = 10
NAMES_SHOWN = 3
NO_FACTS = ("unreachable", "unreadable")
MINUS = "\N{MINUS SIGN}"

# --- text


def duration(seconds: float) -> str:
    """Return a duration with two significant digits, for example 12 µs, 3.4 ms or 1.2 s."""
    size = abs(seconds)
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if size >= factor:
            value = size / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{size / 1e-9:.0f} ns" if size else "0 s"


def signed(seconds: float) -> str:
    """Return an offset as text; plus means ahead."""
    return f"{MINUS if seconds < 0 else '+'}{duration(seconds)}"


def days(value: float) -> str:
    """Return the remaining life of a certificate as text, or the time since its end."""
    size = abs(value)
    if size >= 730:
        said = f"{size / 365.25:.0f} years"
    else:
        said = f"{size:.0f} day{'' if round(size) == 1 else 's'}" if size >= 1 else f"{size * 24:.0f} hours"
    return f"ended {said} ago" if value < 0 else f"{said} left"


def cut(value: str, longest: int) -> str:
    """Cut a text to fit a drawing. The table below the drawing has the whole text."""
    return value if len(value) <= longest else f"{value[: longest - 1]}…"


def listed(names: Sequence[str], most: int = NAMES_SHOWN) -> str:
    """Return the first names, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


# --- the states, one after the other


class Part(NamedTuple):
    """A segment of the bar of states; x is its left edge."""

    state: str
    hosts: int
    x: float
    width: float


BAR_WIDTH = 1000
LEAST_PART = 6


def state_bar(states: Mapping[str, int]) -> list[Part]:
    """Return the segments of the bar, the best state first. Even one host of ten thousand gets a visible segment."""
    present = [(state, states[state]) for state in reversed(STATES) if states.get(state)]
    total = sum(count for _state, count in present)
    widths = [max(LEAST_PART, BAR_WIDTH * count / total) for _state, count in present]
    scale, x = BAR_WIDTH / sum(widths) if widths else 1.0, 0.0
    parts = []
    for (state, count), width in zip(present, widths, strict=True):
        parts.append(Part(state, count, round(x, 1), round(width * scale, 1)))
        x += width * scale
    return parts


# --- who follows whom


class Node(NamedTuple):
    """A box: a source, a host that others follow, or several hosts with the same source."""

    x: float
    y: float
    kind: str
    title: str
    detail: str
    full: str


class Edge(NamedTuple):
    """A line from a source to its followers. kind is nts, plain or refclock."""

    path: str
    kind: str
    width: float


class Tree(NamedTuple):
    """The drawing, and the hosts that it omits because they have no source or no facts."""

    nodes: list[Node]
    edges: list[Edge]
    width: float
    height: float
    without_source: list[str]
    without_facts: list[str]


class _Branch(NamedTuple):
    kind: str
    title: str
    detail: str
    full: str
    edge: str
    hosts: int
    branches: list[_Branch]


BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW = 250, 46, 320, 60
TITLE_LENGTH, DETAIL_LENGTH = 26, 32
# NTP's highest stratum is 16, but hosts can report longer chains.
MOST_LEVELS = 6
KINDS = {"nts": "with NTS", "plain": "without NTS", "refclock": "reference clock"}


def tree(report: Document) -> Tree:
    """Return the tree of sources and followers. Each host appears once, below the source that it has selected."""
    hosts = {host["name"]: host for host in report["hosts"]}
    parents: dict[str, tuple[str, str]] = {}
    for edge in report["follows"]:
        if edge["selected"] and edge["host"] not in parents:
            kind = "refclock" if edge["mode"] == "refclock" else "nts" if edge["authenticated"] else "plain"
            # Each reference clock belongs to its host: two GPS receivers are not one source.
            place = f"host {edge['source_host']}" if edge["source_host"] else f"{edge['mode']} {edge['source']}"
            parents[edge["host"]] = place, kind
    for name in _in_circles(parents):
        del parents[name]
    followers: dict[str, list[str]] = {}
    for name, (place, _kind) in parents.items():
        followers.setdefault(place, []).append(name)
    roots = [
        f"host {name}"
        for name in hosts
        if name not in parents and (f"host {name}" in followers or _is_own(hosts[name]))
    ]
    roots += [place for place in followers if not place.startswith("host ")]
    branches = _merged([_branch(place, "", followers, parents, hosts) for place in roots], "sources")
    nodes: list[Node] = []
    edges: list[Edge] = []
    height = 0.0
    for branch in branches:
        height = _place(branch, 0, height, nodes, edges)[1]
    placed = {name for name in hosts if name in parents or f"host {name}" in roots}
    left = [host for name, host in hosts.items() if name not in placed]
    depth = max((node.x for node in nodes), default=0.0)
    return Tree(
        nodes,
        edges,
        depth + BOX_WIDTH + 2,
        height,
        [host["name"] for host in left if host["state"] not in NO_FACTS],
        [host["name"] for host in left if host["state"] in NO_FACTS],
    )


def _is_own(host: Host) -> bool:
    return host["own_clock"] and host["role"] == "server"


def _in_circles(parents: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return one host of each cycle of hosts that follow each other (peers, orphan mode)."""
    done: set[str] = set()
    found = []
    for start in parents:
        path: set[str] = set()
        name = start
        while name in parents and name not in done:
            if name in path:
                found.append(name)
                break
            path.add(name)
            name = parents[name][0].removeprefix("host ")
        done |= path
    return found


def _branch(
    place: str,
    edge: str,
    followers: Mapping[str, list[str]],
    parents: Mapping[str, tuple[str, str]],
    hosts: Mapping[str, Host],
    level: int = 0,
) -> _Branch:
    mode, _space, name = place.partition(" ")
    own = sorted(followers.get(place, ()))
    inner = [
        child
        for child in own
        if level < MOST_LEVELS and (f"host {child}" in followers or hosts[child]["role"] == "server")
    ]
    branches = _merged(
        [_branch(f"host {child}", parents[child][1], followers, parents, hosts, level + 1) for child in inner],
        "servers",
    )
    for kind, label in KINDS.items():
        leaves = [child for child in own if child not in inner and parents[child][1] == kind]
        if leaves:
            title = leaves[0] if len(leaves) == 1 else f"{len(leaves):,} hosts"
            detail = label if len(leaves) == 1 else f"{label}: {listed(leaves, 2)}"
            branches.append(_Branch("leaf", title, detail, listed(leaves, 20), kind, len(leaves), []))
    count = sum(branch.hosts for branch in branches) + (mode == "host")
    if mode == "host":
        host = hosts[name]
        source = KINDS.get(edge) or ("serves its own clock" if host["own_clock"] else "in a circle")
        detail = f"{source}, stratum {host['stratum']}" if host["stratum"] is not None else source
    else:
        detail = "reference clock" if mode == "refclock" else "outside of this report"
    return _Branch("host" if mode == "host" else "source", name, detail, name, edge, count, branches)


def _merged(branches: list[_Branch], what: str) -> list[_Branch]:
    """Return the branches with the most hosts, and one branch for all others."""
    branches.sort(key=lambda branch: (-branch.hosts, branch.title))
    rest = branches[MOST_SIBLINGS:]
    if not rest:
        return branches
    hosts = sum(branch.hosts for branch in rest)
    worst = "plain" if any(branch.edge == "plain" for branch in rest) else rest[0].edge
    title, names = f"{len(rest):,} more {what}", listed([branch.title for branch in rest], 20)
    return [*branches[:MOST_SIBLINGS], _Branch("source", title, f"{hosts:,} hosts below", names, worst, hosts, [])]


def _place(branch: _Branch, depth: int, top: float, nodes: list[Node], edges: list[Edge]) -> tuple[float, float]:
    """Place a branch below y=top. Return the y of the middle of its box, and the top of the next branch."""
    middles, bottom = [], top
    x = depth * COLUMN + 1
    for child in branch.branches:
        middle, bottom = _place(child, depth + 1, bottom, nodes, edges)
        middles.append(middle)
    if not middles:
        bottom = top + ROW
    middle = (middles[0] + middles[-1]) / 2 if middles else top + ROW / 2
    nodes.append(
        Node(
            x,
            middle - BOX_HEIGHT / 2,
            branch.kind,
            cut(branch.title, TITLE_LENGTH),
            cut(branch.detail, DETAIL_LENGTH),
            branch.full,
        )
    )
    start, end = x + BOX_WIDTH, x + COLUMN
    bend = (start + end) / 2
    for child, child_middle in zip(branch.branches, middles, strict=True):
        ends = f"{bend:.1f} {middle:.1f} {bend:.1f} {child_middle:.1f} {end:.1f} {child_middle:.1f}"
        path = f"M{start:.1f} {middle:.1f}C{ends}"
        edges.append(Edge(path, child.edge, round(1.5 + 1.5 * math.log10(max(child.hosts, 1)), 1)))
    return middle, bottom


# --- offsets


class Offset(NamedTuple):
    """A host's offset, and the interval in which the true time lies."""

    name: str
    y: float
    x: float
    low: float
    high: float
    said: str
    authenticated: bool


class Tick(NamedTuple):
    """A labelled line of a scale."""

    x: float
    label: str


class Offsets(NamedTuple):
    """The hosts with the largest error bounds, on a scale that is logarithmic on both sides of 0."""

    rows: list[Offset]
    ticks: list[Tick]
    height: float
    hosts: int
    widest: str


class Bucket(NamedTuple):
    """The number of hosts in one range of error bounds."""

    label: str
    hosts: int
    width: float


CHART_LEFT, CHART_RIGHT, CHART_WIDTH, LINE = 210, 760, 940, 24
LABEL_WIDTH = 45
SCALE_FROM_SECONDS = 1e-6
BOUNDS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, math.inf)


def _log(seconds: float) -> float:
    return math.copysign(math.log10(1 + abs(seconds) / SCALE_FROM_SECONDS), seconds)


def offsets(hosts: Iterable[Host]) -> Offsets:
    """Return the offsets of the synchronised clocks."""
    measured = [
        (host["name"], host["offset_seconds"], host["root_distance_seconds"], host["authenticated"])
        for host in hosts
        if host["synchronised"]
    ]
    known = [
        (name, offset, distance, authenticated)
        for name, offset, distance, authenticated in measured
        if offset is not None and distance is not None
    ]
    known.sort(key=lambda row: (-abs(row[1]) - row[2], row[0]))
    shown = known[:MOST_ROWS]
    end = max(1.0, _log(max((abs(offset) + distance for _name, offset, distance, _auth in shown), default=0.0)))
    middle, half = (CHART_LEFT + CHART_RIGHT) / 2, (CHART_RIGHT - CHART_LEFT) / 2

    def x(seconds: float) -> float:
        return round(middle + half * _log(seconds) / end, 1)

    rows = [
        Offset(
            cut(name, 28),
            36.0 + LINE * index,
            x(offset),
            x(offset - distance),
            x(offset + distance),
            f"{signed(offset)} ± {duration(distance)}",
            authenticated,
        )
        for index, (name, offset, distance, authenticated) in enumerate(shown)
    ]
    widest = duration(abs(known[0][1]) + known[0][2]) if known else ""
    decades = [10.0**power for power in range(-6, 12) if _log(10.0**power) <= end]
    marks = [mark for mark in decades[:: max(1, math.ceil(len(decades) / 3))] if x(mark) - middle > LABEL_WIDTH]
    ticks = [Tick(x(0.0), "0")]
    ticks += [Tick(x(sign * mark), signed(sign * mark).replace(".0", "")) for mark in marks for sign in (-1, 1)]
    return Offsets(rows, sorted(ticks), 36.0 + LINE * len(rows), len(known), widest)


def buckets(hosts: Iterable[Host]) -> list[Bucket]:
    """Return the number of hosts in each range of error bounds."""
    bounds = [host["error_bound_seconds"] for host in hosts if host["synchronised"]]
    counts = []
    low = 0.0
    for high in BOUNDS:
        label = f"{duration(low)} or more" if math.isinf(high) else f"under {duration(high)}".replace(".0", "")
        counts.append((label.replace(".0", ""), sum(bound is not None and low <= bound < high for bound in bounds)))
        low = high
    most = max((count for _label, count in counts), default=0)
    return [Bucket(label, count, round(600 * count / most, 1) if most else 0.0) for label, count in counts]


# --- certificates


class Life(NamedTuple):
    """A certificate's remaining life."""

    subject: str
    y: float
    width: float
    said: str
    urgency: str


class Lives(NamedTuple):
    """The certificates that end first, on a logarithmic scale."""

    rows: list[Life]
    ticks: list[Tick]
    height: float


DAY_MARKS = ((1, "1 day"), (7, "1 week"), (30, "1 month"), (90, "3 months"), (365, "1 year"), (1826, "5 years"))
LONGEST_DAYS = 3653.0
ENDS_SOON_DAYS = 14.0


def urgency(days_left: float) -> str:
    """Return ended, soon or good. A server renews its certificate when a third of its 90 days is left."""
    return "ended" if days_left <= 0 else "soon" if days_left < ENDS_SOON_DAYS else "good"


def lives(certificates: Sequence[FleetCertificate]) -> Lives:
    """Return the remaining lives of the certificates that end first."""
    top = math.log10(1 + LONGEST_DAYS)

    def length(left: float) -> float:
        return round((CHART_RIGHT - CHART_LEFT - 60) * math.log10(1 + min(max(left, 0.0), LONGEST_DAYS)) / top, 1)

    rows = [
        Life(
            cut(certificate["subject"], 30),
            36.0 + LINE * index,
            max(length(certificate["days_left"]), 2.0),
            f"{days(certificate['days_left'])} ({certificate['not_after'][:10]})",
            urgency(certificate["days_left"]),
        )
        for index, certificate in enumerate(certificates[:MOST_ROWS])
    ]
    ticks = [Tick(CHART_LEFT + 20 + length(mark), label) for mark, label in DAY_MARKS]
    return Lives(rows, ticks, 36.0 + LINE * len(rows))
