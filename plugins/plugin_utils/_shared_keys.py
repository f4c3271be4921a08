# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Plan the distribution of shared cookie keys, by the keys that the servers report.

Each server holds the next key of its set, and two previous ones. So it accepts cookies of a server that is one rotation
ahead, and of one that is up to two behind. A rotation may stop anywhere: the next run continues with the newest keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._answers import quoted

Row = dict[str, Any]

ACTIONS = ("due", "now", "replace")
KEYS = 4
DAY_SECONDS = 86400
# A weekly timer may start a little early, and must still rotate keys that are due after a week.
SLACK_SECONDS = 3600


NO_SET: Row = {"set": "", "problems": [], "action": "", "leader": "", "targets": [], "first": False}


def plan(
    hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], rotation: str = "due", days: Any = 7
) -> dict[str, Row]:
    """Return the plan of each host of a play, by its variables, which include the result of nts_cookie_keys."""
    reports = {}
    for host in hosts:
        name, report = variables[host].get("chrony_nts_shared_keys"), variables[host].get("__ntskeys")
        if name:
            given = report if isinstance(report, Mapping) else {"problem": "has not reported its keys."}
            reports[host] = {**given, "set": str(name)}
    return {**{host: dict(NO_SET) for host in hosts}, **plan_of(reports, rotation, days)}


def plan_of(reports: Mapping[str, Mapping[str, Any]], rotation: str = "due", days: Any = 7) -> dict[str, Row]:
    """Return the plan of each server: its set, problems, action, leader, targets, and whether it comes first.

    reports are the results of nts_cookie_keys of each server, with `set`: the set that its variables name. The leader
    makes the keys, and the targets receive them. Servers that come first have older keys than the others, or none: the
    others already accept the cookies that they issue with the new keys.
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
    # A wrong clock can date keys in the future. Those would never be due.
    if rotation == "now" or not -SLACK_SECONDS <= age < float(days) * DAY_SECONDS - SLACK_SECONDS:
        return {**row, "action": "rotate", "targets": [*members], "first": behind}
    return {**row, "targets": behind}


def _tags(name: str, report: Mapping[str, Any]) -> list[str]:
    """Return the tags of a server's keys; none if the keys belong to another set."""
    tags = report.get("tags")
    return [str(tag) for tag in tags] if report.get("name") == name and isinstance(tags, list) else []


def _age(report: Mapping[str, Any]) -> int:
    """Return the age in seconds of a server's current key; 0 if it reports none."""
    age = report.get("age_seconds")
    return age if isinstance(age, int) else 0


def _other_keys(name: str, newer: Sequence[str], leader: str) -> str:
    """Return why no server gets keys: the most common keys may be those that a replacement revokes."""
    return (
        f"{', '.join(newer)}: other keys of {name} than {leader} and newer ones. A replacement has stopped in the"
        " middle, or a server is from another site. Run the playbook with -e chrony_nts_ntskeys_rotation=replace."
    )


def _newest(tags: Mapping[str, Sequence[str]]) -> str:
    """Return the first server with the newest keys in the line of keys that most servers share.

    A server counts for another one if that one's keys equal its own or succeed them.
    """

    def followed_by(host: str) -> int:
        return sum(_lag(other, tags[host]) is not None for other in tags.values())

    def ahead(host: str) -> int:
        return sum(bool(_lag(other, tags[host])) for other in tags.values())

    return max(tags, key=lambda host: (followed_by(host), ahead(host), bool(tags[host])))


def _lag(older: Sequence[str], newer: Sequence[str]) -> int | None:
    """Return by how many rotations the older keys are behind the newer ones; None if they are unrelated."""
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
    # The last server of a set needs new keys if its keys were stolen from the other servers.
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
