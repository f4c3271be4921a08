# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The report of a fleet as a document: the content of report.json and of the page."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import (
    AUTHENTICATED,
    DATE,
    FOLLOWED,
    STATES,
    Certificate,
    Client,
    Row,
    Serving,
    is_date,
    moment,
    text,
)

FORMAT = "securetime.nts report"
VERSION = 1
DAY_SECONDS = 86400.0
# Durations and offsets as the verdict formats them; the pattern excludes addresses and ports.
MEASURE = re.compile(r"(?<![\w.:])-?\d+(?:\.\d+)?(?= (?:ns|µs|ms|s|min|h|d)\b)")
# Remedies of states whose reasons name none.
REMEDIES = {
    "unreachable": "Check that Ansible reaches the host: ansible HOST -m ansible.builtin.ping.",
    "unreadable": "Run the playbook with -vvv on this host alone (--limit) to see why its facts cannot be read.",
    "not_running": "Run securetime.nts.site on this host. It installs, configures and starts chronyd.",
    "failed": "Ask its servers from this host: ansible-playbook securetime.nts.verify --limit HOST.",
    "unauthenticated": "Name servers with NTS in chrony_nts_sources, and run securetime.nts.site.",
    "unknown": "Read the facts as root: securetime.nts.chronyc_facts with become.",
    "pending": "Repeat the report in a minute. If it says the same, ask the servers: securetime.nts.verify.",
}
OWN_CLOCK_REMEDY = (
    "A server that serves its own clock follows nothing, on purpose. To make it authenticated, give it a source with"
    " NTS (chrony_nts_sources), or a reference clock that a source with NTS confirms."
)


class Member(NamedTuple):
    """A host of the inventory: its name, whether the play treats it as a server, its other names, and its facts."""

    name: str
    is_server: bool
    names: Sequence[str]
    row: Row


class Host(Row):
    """A host of the report."""

    name: str
    role: str
    authenticated: bool
    remedies: list[str]


class Follow(TypedDict):
    """A source that a host follows. source_host is the name of the source in the fleet; None outside the fleet."""

    host: str
    source: str
    mode: str
    source_host: str | None
    selected: bool
    authenticated: bool


class Group(TypedDict):
    """Hosts with the same state and reasons."""

    state: str
    reasons: list[str]
    remedies: list[str]
    hosts: list[str]


class FleetCertificate(Certificate):
    """A certificate and the hosts whose files hold it."""

    days_left: float
    hosts: list[str]


class PlainClient(Client):
    """A client without a key exchange with a server. host is its name in the fleet; None outside the fleet."""

    server: str
    host: str | None


class Change(TypedDict):
    """A host whose state has changed. was is None for a new host, and now is None for a removed one."""

    host: str
    was: str | None
    now: str | None


class Changes(TypedDict):
    """The differences from an earlier report."""

    since: str
    hosts: list[Change]
    authenticated_was: int
    hosts_was: int
    certificates: list[str]


class Document(TypedDict):
    """The report; docs/report.schema.json describes it."""

    format: str
    version: int
    generated: str
    totals: dict[str, Any]
    groups: list[Group]
    hosts: list[Host]
    follows: list[Follow]
    certificates: list[FleetCertificate]
    clients_without_nts: list[PlainClient]
    changes: Changes | None


class EarlierError(Exception):
    """The earlier report is invalid, so that no comparison is possible."""


def document(fleet: Iterable[Member], now: float, earlier: Mapping[str, Any] | None = None) -> Document:
    """Return the report of a fleet at now (seconds since 1970), with the changes since an earlier report."""
    members = sorted(fleet, key=lambda host: host.name)
    generated = datetime.datetime.fromtimestamp(int(now), datetime.timezone.utc)
    hosts = [_host(member) for member in members]
    known, addresses = _names(members), _addresses(members)
    found: Document = {
        "format": FORMAT,
        "version": VERSION,
        "generated": generated.strftime(DATE),
        "totals": _totals(hosts),
        "groups": _groups(hosts),
        "hosts": hosts,
        "follows": [edge for host in hosts for edge in _follows(host, known, addresses)],
        "certificates": _certificates(hosts, generated),
        "clients_without_nts": _clients_without_nts(hosts, addresses),
        "changes": None,
    }
    if earlier is not None:
        found["changes"] = _changes(found, earlier)
    return found


def read_earlier(content: str) -> dict[str, Any]:
    """Parse an earlier report; raise EarlierError if the text is no valid report."""
    try:
        found = json.loads(content)
    except ValueError:
        raise EarlierError("is not JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("hosts"), list):
        raise EarlierError("is no report of securetime.nts.report")
    if found.get("version") != VERSION:
        raise EarlierError(f"has version {text(str(found.get('version')), 20)} of the format, and not {VERSION}")
    if not is_date(found.get("generated")):
        raise EarlierError("does not say when it was made")
    return found


def severity(state: str) -> int:
    """Return the rank of a state; 0 is the worst."""
    return STATES.index(state)


def _host(member: Member) -> Host:
    row = member.row
    role = "server" if member.is_server else "client"
    return {
        **row,
        "name": text(member.name),
        "role": role,
        "authenticated": row["state"] in AUTHENTICATED,
        "remedies": _remedies(row, member.is_server),
    }


def _remedies(row: Row, is_server: bool) -> list[str]:
    if row["own_clock"] and is_server and row["state"] == "unauthenticated":
        return [OWN_CLOCK_REMEDY]
    remedy = REMEDIES.get(row["state"])
    return [remedy] if remedy else []


def _names(members: Iterable[Member]) -> dict[str, str]:
    """Return hosts by the names and addresses that the operator gives them. Omit a name of several hosts."""
    return _unique((name.lower(), member.name) for member in members for name in {member.name, *member.names})


def _addresses(members: Iterable[Member]) -> dict[str, str]:
    """Return hosts by address: those that a host reports as its own, and those that the operator gives it."""
    return _unique(
        (address.lower(), member.name) for member in members for address in {*member.row["addresses"], *member.names}
    )


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, host in pairs:
        found[name] = host if found.get(name, host) == host else ""
    return {name: text(host) for name, host in found.items() if host}


def _totals(hosts: Sequence[Host]) -> dict[str, Any]:
    states = Counter(host["state"] for host in hosts)
    return {
        "hosts": len(hosts),
        "authenticated": sum(host["authenticated"] for host in hosts),
        "states": {state: states[state] for state in STATES},
    }


def _groups(hosts: Sequence[Host]) -> list[Group]:
    """Group the hosts by state, reasons and remedies, the worst state first.

    Omit authenticated hosts without reasons. Hosts whose reasons differ only in a duration or an offset are one group,
    which shows neither.
    """
    found: dict[tuple[str, ...], Group] = {}
    for host in hosts:
        reasons = [*host["reasons"], *([host["message"]] if host["message"] else [])]
        if host["authenticated"] and not reasons:
            continue
        alike = [MEASURE.sub("…", reason) for reason in reasons]
        key = (host["state"], *alike, "", *host["remedies"])
        group = found.setdefault(
            key, {"state": host["state"], "reasons": reasons, "remedies": host["remedies"], "hosts": []}
        )
        if group["reasons"] != reasons:
            group["reasons"] = alike
        group["hosts"].append(host["name"])
    return sorted(found.values(), key=lambda group: (severity(group["state"]), -len(group["hosts"]), group["reasons"]))


def _follows(host: Host, known: Mapping[str, str], addresses: Mapping[str, str]) -> Iterable[Follow]:
    for source in host["sources"]:
        if source["state"] in FOLLOWED:
            owner = known.get(source["name"].lower()) or addresses.get((source["address"] or "").lower())
            yield {
                "host": host["name"],
                "source": source["name"],
                "mode": source["mode"],
                "source_host": None if owner == host["name"] or source["mode"] == "refclock" else owner,
                "selected": source["state"] == "selected",
                "authenticated": source["nts"] == "authenticated",
            }


def _certificates(hosts: Iterable[Host], now: datetime.datetime) -> list[FleetCertificate]:
    found: dict[str, FleetCertificate] = {}
    for host in hosts:
        for certificate in host["certificates"] or []:
            days = (moment(certificate["not_after"]) - now).total_seconds() / DAY_SECONDS
            row = found.setdefault(
                certificate["fingerprint_sha256"], {**certificate, "days_left": round(days, 2), "hosts": []}
            )
            # One host's trust anchor can be another host's server certificate.
            row["use"] = min(row["use"], certificate["use"], key=("server", "issuer", "trust").index)
            if host["name"] not in row["hosts"]:
                row["hosts"].append(host["name"])
    return sorted(found.values(), key=lambda row: (row["days_left"], row["subject"], row["fingerprint_sha256"]))


def _clients_without_nts(hosts: Iterable[Host], addresses: Mapping[str, str]) -> list[PlainClient]:
    """Return the clients without a key exchange with a server.

    Omit hosts of the fleet that follow authenticated time: a client with cookies from before the server's start needs
    no key exchange.
    """
    members = {host["name"]: host for host in hosts}
    found: list[PlainClient] = []
    for host in members.values():
        serving: Serving | None = host["serving"]
        for client in serving["first_without_nts"] if serving else []:
            name = addresses.get(client["address"].lower())
            if name is None or not members[name]["authenticated"]:
                found.append({"server": host["name"], "host": name, **client})
    return sorted(found, key=lambda client: (client["server"], -client["ntp_requests"], client["address"]))


def _changes(now: Document, earlier: Mapping[str, Any]) -> Changes:
    """Compare with an earlier report. Validate each of its values, because any user may have edited it."""
    before = {
        text(host["name"]): host["state"]
        for host in earlier["hosts"]
        if isinstance(host, dict) and isinstance(host.get("name"), str) and host.get("state") in STATES
    }
    after = {host["name"]: host["state"] for host in now["hosts"]}
    changed = [
        Change(host=name, was=before.get(name), now=after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return {
        "since": str(earlier["generated"]),
        "hosts": sorted(changed, key=lambda change: (severity(change["now"] or "authenticated"), change["host"])),
        "authenticated_was": sum(state in AUTHENTICATED for state in before.values()),
        "hosts_was": len(before),
        "certificates": list(_renewed(now["certificates"], earlier.get("certificates"))),
    }


def _renewed(now: Iterable[FleetCertificate], earlier: object) -> Iterable[str]:
    """Yield a sentence for each new and each removed server certificate."""
    given = earlier if isinstance(earlier, list) else []
    old = {
        str(row["fingerprint_sha256"]): row
        for row in given
        if isinstance(row, dict) and isinstance(row.get("fingerprint_sha256"), str) and row.get("use") == "server"
    }
    new = {row["fingerprint_sha256"]: row for row in now if row["use"] == "server"}
    for fingerprint, row in new.items():
        if fingerprint not in old:
            yield f"{row['subject']} is new on {', '.join(row['hosts'][:3])}, valid until {row['not_after'][:10]}."
    for fingerprint, gone in old.items():
        if fingerprint not in new:
            ends = text(gone.get("not_after"), 20)[:10]
            yield f"{text(gone.get('subject'))}, valid until {ends}, is no longer in a server's files."
