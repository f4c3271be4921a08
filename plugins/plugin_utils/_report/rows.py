# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Select and validate the facts of one host that the report needs.

A managed host can send any facts. This module checks the type, range and length of every value, and replaces characters
that could mislead a reader by visible escapes.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

# States of the verdict, the worst first. Hosts without facts have one of the first two.
STATES = (
    "unreachable",
    "unreadable",
    "not_running",
    "failed",
    "unauthenticated",
    "unknown",
    "pending",
    "partial",
    "authenticated",
)
AUTHENTICATED = ("partial", "authenticated")
SOURCE_STATES = ("authenticated", "pending", "failed", "unauthenticated", "unknown")
FOLLOWED = ("selected", "combined")
LOCAL_REFERENCE_ID = "7F7F0101"
# In characters. A reason can quote a line of chronyd's log.
LONGEST_NAME = 255
LONGEST_TEXT = 1500
# Limits for each host.
MOST_TEXTS = 40
MOST_SOURCES = 64
MOST_CERTIFICATES = 100
MOST_CLIENTS = 500
DATE = "%Y-%m-%dT%H:%M:%SZ"
DATE_LENGTH = len("2026-11-28T17:20:00Z")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Source(TypedDict):
    """A time source of a host. The offset in seconds is positive if the host's clock is ahead of the source."""

    name: str
    address: str | None
    mode: str
    state: str
    nts: str
    aead: int | None
    cookies: int | None
    offset_seconds: float | None


class Certificate(TypedDict):
    """A certificate in a file that chronyd's configuration names. Dates are in UTC, in the format of RFC 3339."""

    use: str
    subject: str
    names: list[str]
    issuer: str
    not_before: str
    not_after: str
    fingerprint_sha256: str


class Client(TypedDict):
    """A client that has sent NTP requests to a server, but has made no key exchange."""

    address: str
    ntp_requests: int
    last_seconds: int | None


class Serving(TypedDict):
    """Counters of an NTP server since the start of its chronyd. clients is None without a list of clients."""

    ntp_received: int
    ntp_authenticated: int | None
    nts_ke_accepted: int | None
    clients: int | None
    clients_without_nts: int | None
    first_without_nts: list[Client]


class Row(TypedDict):
    """The report's values of one host. message is the reason why a host has no facts."""

    state: str
    reasons: list[str]
    notes: list[str]
    message: str
    synchronised: bool | None
    own_clock: bool
    offset_seconds: float | None
    root_distance_seconds: float | None
    error_bound_seconds: float | None
    stratum: int | None
    chrony: str | None
    system: str | None
    addresses: list[str]
    sources: list[Source]
    certificates: list[Certificate] | None
    serving: Serving | None


def row(facts: object) -> Row:
    """Return the report's row from the facts of chronyc_facts; tolerate any invalid value."""
    chrony = _mapping(facts)
    nts, tracking, environment = (_mapping(chrony.get(name)) for name in ("nts", "tracking", "environment"))
    daemon, system = _mapping(chrony.get("daemon")), _mapping(environment.get("os"))
    state = choice(nts.get("state"), STATES[2:])
    synchronised = _flag(tracking.get("synchronised"))
    # A chronyd that follows its own clock has no offset and no error bound.
    offset = number(tracking.get("offset_seconds")) if synchronised else None
    delay, dispersion = (number(tracking.get(f"root_{name}_seconds")) for name in ("delay", "dispersion"))
    distance = None if offset is None or delay is None or dispersion is None else abs(delay) / 2 + abs(dispersion)
    sources = _rows(chrony.get("sources"), MOST_SOURCES)
    addresses = [_mapping(source.get("ntpdata")).get("local_address") for source in sources]
    certificates = chrony.get("certificates")
    return {
        "state": state or "unreadable",
        "reasons": texts(nts.get("reasons")),
        "notes": texts(nts.get("notes")),
        "message": "" if state else "The host returned facts without a verdict.",
        "synchronised": synchronised,
        "own_clock": tracking.get("reference_id") == LOCAL_REFERENCE_ID,
        "offset_seconds": offset,
        "root_distance_seconds": distance,
        "error_bound_seconds": None if offset is None or distance is None else abs(offset) + distance,
        # Stratum 0 means a clock without a source.
        "stratum": whole(tracking.get("stratum"), 255) or None,
        "chrony": text(daemon.get("version"), 40) or None,
        "system": " ".join(filter(None, (text(system.get(name), 80) for name in ("name", "version")))) or None,
        "addresses": sorted({text(address, 60) for address in addresses if is_address(address)}),
        "sources": [_source(source) for source in sources],
        "certificates": None if certificates is None else list(_certificates(certificates)),
        "serving": _serving(chrony),
    }


def without_facts(state: str, message: object) -> Row:
    """Return the row of a host without facts. state is unreachable or unreadable, and message the reason."""
    empty = row({})
    empty.update({"state": state, "message": text(message, LONGEST_TEXT)})
    return empty


def visible(value: str) -> str:
    """Return a text with control characters, bidirectional marks and stacked accents as visible escapes."""
    if value.isascii() and value.isprintable():
        return value
    return "".join(
        letter if letter.isprintable() and unicodedata.category(letter)[0] != "M" else _escape(letter)
        for letter in value
    )


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def text(value: object, longest: int = LONGEST_NAME) -> str:
    """Return a value as one line of bounded length; empty if the value is no text."""
    if not isinstance(value, str):
        return ""
    shown = visible(" ".join(value[: longest * 2].split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 2]} …"


def texts(value: object) -> list[str]:
    """Return the texts of a list, up to the report's limit for a host."""
    given = value if isinstance(value, (list, tuple)) else []
    return [shown for shown in (text(item, LONGEST_TEXT) for item in given[:MOST_TEXTS]) if shown]


def number(value: object) -> float | None:
    """Return a finite number; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and abs(found) < 1e12 else None


def whole(value: object, most: int = 2**53) -> int | None:
    """Return a whole number from 0 to most; None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def choice(value: object, among: tuple[str, ...]) -> str:
    """Return a value if it is one of these words; empty otherwise."""
    return value if isinstance(value, str) and value in among else ""


def is_address(value: object) -> bool:
    """Return whether a value is an IP address from which another host can send packets."""
    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return address is not None and not address.is_loopback and not address.is_unspecified


def is_date(value: object) -> bool:
    """Return whether a value is a time in UTC in the format of RFC 3339."""
    if not isinstance(value, str) or len(value) != DATE_LENGTH or not value.isascii():
        return False
    try:
        moment(value)
    except ValueError:
        return False
    return True


def moment(value: str) -> datetime.datetime:
    """Parse a date of the report; raise ValueError if it is invalid."""
    return datetime.datetime.strptime(value, DATE).replace(tzinfo=datetime.timezone.utc)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: object, most: int) -> list[Mapping[str, Any]]:
    given = value if isinstance(value, (list, tuple)) else []
    return [item for item in given[:most] if isinstance(item, Mapping)]


def _source(given: Mapping[str, Any]) -> Source:
    auth = _mapping(given.get("auth"))
    states = (*FOLLOWED, "not_combined", "falseticker", "variable", "unusable")
    return {
        "name": text(given.get("name")) or "(without a name)",
        "address": text(given.get("address"), 60) or None,
        "mode": choice(given.get("mode"), ("server", "peer", "refclock")) or "server",
        "state": choice(given.get("state"), states) or "unusable",
        "nts": choice(_mapping(given.get("nts")).get("state"), SOURCE_STATES) or "unknown",
        "aead": whole(auth.get("aead"), 65535),
        "cookies": whole(auth.get("cookies"), 1000),
        "offset_seconds": number(given.get("offset_seconds")),
    }


def _certificates(given: object) -> Iterator[Certificate]:
    for item in _rows(given, MOST_CERTIFICATES):
        use = choice(item.get("use"), ("server", "issuer", "trust"))
        dates = [item.get(name) for name in ("not_before", "not_after")]
        fingerprint = item.get("fingerprint_sha256")
        if not use or not isinstance(fingerprint, str) or not FINGERPRINT.fullmatch(fingerprint):
            continue
        if not all(map(is_date, dates)):
            continue
        yield {
            "use": use,
            "subject": text(item.get("subject")),
            "names": texts(item.get("subject_alt_names")),
            "issuer": text(item.get("issuer")),
            "not_before": str(dates[0]),
            "not_after": str(dates[1]),
            "fingerprint_sha256": fingerprint,
        }


def _serving(chrony: Mapping[str, Any]) -> Serving | None:
    """Return the counters of a server; None if it has served no client."""
    stats = _mapping(chrony.get("serverstats"))
    received = whole(stats.get("ntp_received"))
    if not received:
        return None
    listed = chrony.get("clients")
    remote = [item for item in listed if _is_remote(item)] if isinstance(listed, (list, tuple)) else []
    found = [
        client
        for client in remote
        if whole(client.get("ntp_requests")) and whole(client.get("nts_ke_connections")) == 0
    ]
    found.sort(key=lambda client: -int(client["ntp_requests"]))
    return {
        "ntp_received": received,
        "ntp_authenticated": whole(stats.get("ntp_authenticated")),
        "nts_ke_accepted": whole(stats.get("nts_ke_accepted")),
        "clients": None if listed is None else len(remote),
        "clients_without_nts": None if listed is None else len(found),
        "first_without_nts": [
            {
                "address": text(client["address"], 60),
                "ntp_requests": int(client["ntp_requests"]),
                "last_seconds": whole(client.get("ntp_last_seconds")),
            }
            for client in found[:MOST_CLIENTS]
        ],
    }


def _is_remote(client: object) -> bool:
    # Names instead of addresses mean that another option of chronyc was in use.
    return isinstance(client, Mapping) and is_address(client.get("address"))
