# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Which keys the servers of each set get, by what they report of those that they have.

Each server knows the next key of its set, and two previous ones. So it accepts cookies of a server that is one rotation
ahead, and of one that is up to two behind. A rotation may stop anywhere: the next run goes on with the newest keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._answers import quoted

Row = dict[str, Any]

ACTIONS = ("due", "now", "replace")
KEYS = 4
DAY_SECONDS = 86400
# So that a timer of a week, which starts a little early, rotates keys of a week.
SLACK_SECONDS = 3600


NO_SET: Row = {"set": "", "problems": [], "action": "", "leader": "", "targets": [], "first": False}


def plan(
    hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], rotation: str = "due", days: Any = 7
) -> dict[str, Row]:
    """Return the plan of each host of a play, by its variables, among which is what nts_cookie_keys reports."""
    reports = {}
    for host in hosts:
        name, report = variables[host].get("chrony_nts_shared_keys"), variables[host].get("__ntskeys")
        if name:
            given = report if isinstance(report, Mapping) else {"problem": "has not reported its keys."}
            reports[host] = {**given, "set": str(name)}
    return {**{host: dict(NO_SET) for host in hosts}, **plan_of(reports, rotation, days)}


def plan_of(reports: Mapping[str, Mapping[str, Any]], rotation: str = "due", days: Any = 7) -> dict[str, Row]:
    """Return the plan of each server: its set, problems, action, leader, targets, and whether it comes first.

    reports are what nts_cookie_keys reports of each server, and as `set` the set to which the variables of the host
    assign it. The leader makes the keys. The targets lack them. Those that come first have older keys than the others,
    or none: what they issue with the new ones, the others accept.
    """
    names = list(dict.fromkeys(str(report["set"]) for report in reports.values()))
    found = {}
    for name in names:
        members = {host: report for host, report in reports.items() if str(report["set"]) == name}
        row = _plan_of_set(name, members, rotation, days)
        found.update({host: {**row, "first": host in row["first"]} for host in members})
    return found


def _plan_of_set(name: str, members: Mapping[str, Mapping[str, Any]], rotation: str, days: Any) -> Row:
    tags = {host: _tags(name, report) for host, report in members.items()}
    leader = _newest(tags)
    problems = _problems(name, members, rotation, days)
    row: Row = {"set": name, "problems": problems, "action": "share", "leader": leader, "targets": [], "first": []}
    if problems:
        return row
    if rotation == "replace" or not tags[leader]:
        return {**row, "action": "replace", "targets": [*members]}
    newer = [
        host
        for host in members
        if tags[host] and _lag(tags[host], tags[leader]) is None and _age(members[host]) < _age(members[leader])
    ]
    if newer:
        return {**row, "problems": [_other_keys(name, newer, leader)]}
    behind = [host for host in members if tags[host] != tags[leader]]
    age = _age(members[leader])
    # Keys from the future, by a clock that was wrong, would never be due.
    if rotation == "now" or not -SLACK_SECONDS <= age < float(days) * DAY_SECONDS - SLACK_SECONDS:
        return {**row, "action": "rotate", "targets": [*members], "first": behind}
    return {**row, "targets": behind}


def _tags(name: str, report: Mapping[str, Any]) -> list[str]:
    """Return the tags of keys of this set; none of keys of another one."""
    tags = report.get("tags")
    return [str(tag) for tag in tags] if report.get("name") == name and isinstance(tags, list) else []


def _age(report: Mapping[str, Any]) -> int:
    """Return the age of the current key of a server in seconds; 0 where it reports none."""
    age = report.get("age_seconds")
    return age if isinstance(age, int) else 0


def _other_keys(name: str, newer: Sequence[str], leader: str) -> str:
    """Return why no server gets keys: those of the most servers can be those that a replacement is to end."""
    return (
        f"{', '.join(newer)}: other keys of {name} than {leader} and newer ones. A replacement has stopped in the"
        " middle, or a server is from another site. Run the playbook with -e chrony_nts_ntskeys_rotation=replace."
    )


def _newest(tags: Mapping[str, Sequence[str]]) -> str:
    """Return the server with the newest keys of the most servers, the first of them.

    A server counts for another one where that one's keys are its own, or follow on them.
    """

    def followed_by(host: str) -> int:
        return sum(_lag(other, tags[host]) is not None for other in tags.values())

    def ahead(host: str) -> int:
        return sum(bool(_lag(other, tags[host])) for other in tags.values())

    return max(tags, key=lambda host: (followed_by(host), ahead(host), bool(tags[host])))


def _lag(older: Sequence[str], newer: Sequence[str]) -> int | None:
    """Return by how many rotations one set of keys is behind another one; None where they are not the same keys."""
    if len(older) != KEYS or len(newer) != KEYS:
        return None
    return next((count for count in range(KEYS) if older[count:] == newer[: KEYS - count]), None)


def _problems(name: str, members: Mapping[str, Mapping[str, Any]], rotation: str, days: Any) -> list[str]:
    """Return why the servers of a set cannot share keys."""
    found = []
    if rotation not in ACTIONS:
        found.append(f"chrony_nts_ntskeys_rotation is {rotation!r}: set it to one of {', '.join(ACTIONS)}.")
    try:
        if not 0 < float(days) <= 3650:
            raise ValueError
    except (TypeError, ValueError):
        found.append(f"chrony_nts_ntskeys_days is {days!r}: set it to a number of days above 0 and up to 3650.")
    # The last server of a set needs new keys where the others were stolen.
    if len(members) < 2 and rotation != "replace":
        found.append(
            f"Only {next(iter(members))} has {name} in chrony_nts_shared_keys. Set it on every server that shares the"
            " keys, or take it out: chronyd rotates its own keys by itself."
        )
    found += [f"{host}: {quoted(report['problem'])}" for host, report in members.items() if report.get("problem")]
    aeads = {host: quoted(report.get("aead"), 100) for host, report in members.items() if not report.get("problem")}
    if len(set(aeads.values())) > 1:
        said = ", ".join(f"{host} on {aead}" for host, aead in aeads.items())
        found.append(
            f"The servers of {name} agree on different AEADs with a client ({said}), and those with the one cannot read"
            " cookies for the other. Set ntsaeads in chrony_nts_directives to [15] on those with 30 (chrony 4.6.1), or"
            " bring all to one version of chrony."
        )
    return found
