# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Keep the distribution's settings of chrony.conf, and find sources that smear leap seconds.

The functions are pure: they read and write no file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _sources
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.plugins.plugin_utils._names import is_ip_address

Row = dict[str, Any]

# Directives that name a table of leap seconds, in chronyd's order of preference (leapdb.c).
LEAP_TABLES = ("leapseclist", "leapsectz")
TIME_ZONES = "/usr/share/zoneinfo/"
# Services that smear leap seconds, by the form of their smear. Amazon and Google smear linearly from noon to noon, Meta
# for 17 hours from the leap second on.
# https://developers.google.com/time/smear, https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/set-time.html,
# https://engineering.fb.com/2020/03/18/production-engineering/ntp-service/
SMEARS = {
    "noon to noon": (
        *("169.254.169.123", "fd00:ec2::123", "time.aws.com"),
        *("time.google.com", *(f"time{number}.google.com" for number in range(1, 5)), "time.android.com"),
        *("metadata.google.internal", "metadata"),
        *("216.239.35.0", "216.239.35.4", "216.239.35.8", "216.239.35.12"),
        *("2001:4860:4806::", "2001:4860:4806:4::", "2001:4860:4806:8::", "2001:4860:4806:c::"),
    ),
    "17 hours": ("time.facebook.com", *(f"time{number}.facebook.com" for number in range(1, 6))),
}
SMEAR_OF = {address: form for form, addresses in SMEARS.items() for address in addresses}
NO_SMEAR = ""


def smear_of(address: str) -> str:
    """Return how a source smears leap seconds; NO_SMEAR if it is not known to smear."""
    name = str(ip_address(address)) if is_ip_address(address) else address.lower()
    return SMEAR_OF.get(name, NO_SMEAR)


def is_smeared(sources: Collection[Row]) -> bool:
    """Return whether chronyd may follow a source that smears leap seconds."""
    return any(smear_of(str(source["address"])) for source in sources if not source.get("noselect"))


def smear_problems(sources: Collection[Row], directives: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each conflict of leap smears: between sources, reference clocks, and leap-second tables."""
    groups: dict[str, list[str]] = {}
    for source in sources:
        if not source.get("noselect") and source["address"]:
            groups.setdefault(smear_of(str(source["address"])), []).append(str(source["address"]))
    clocks = [row for row in directives.get("refclock") or [] if isinstance(row, Mapping) and not row.get("noselect")]
    if clocks:
        names = [f"refclock {row.get('driver')}" for row in clocks]
        groups.setdefault(NO_SMEAR, []).extend(names)
    plain = groups.pop(NO_SMEAR, [])
    smeared = [address for addresses in groups.values() for address in addresses]
    remedy = "set noselect on the others, or set chrony_nts_allow_mixed_smear to true."
    if smeared and plain:
        yield (
            f"{', '.join(smeared)} smears leap seconds and {', '.join(plain)} does not: around a leap second they"
            f" differ by up to a second. Keep one kind in chrony_nts_sources, {remedy}"
        )
    if len(groups) > 1:
        yield (
            f"{', '.join(smeared)} smear leap seconds in different ways: around a leap second they differ by a part of"
            f" a second. Keep those of one operator in chrony_nts_sources, {remedy}"
        )
    tables = [name for name in LEAP_TABLES if directives.get(name)]
    if smeared and tables:
        yield (
            f"chrony_nts_directives has {' and '.join(tables)}, and {', '.join(smeared)} smears leap seconds: chronyd"
            " would correct the same leap second twice. Take the directive out, or the source."
        )


def defaults(place: Row, operator: Mapping[str, Any], version: str, files: Collection[str], smeared: bool) -> Row:
    """Return the directives of the distribution's chrony.conf that the operator does not set.

    Keep one table of leap seconds: the first that this version of chronyd supports and that the host has (files). Keep
    none beside a source that smears leap seconds, whose clients must not use one (chrony.conf(5), leapsectz).
    """
    given = place.get("directives", {})
    chosen = {name: value for name, value in given.items() if name not in LEAP_TABLES}
    # The version is unknown until chrony is installed. Then prefer leapsectz, which all versions support.
    order = LEAP_TABLES if version else LEAP_TABLES[::-1]
    usable = [
        name
        for name in order
        if given.get(name)
        and f"{TIME_ZONES if name == 'leapsectz' else ''}{given[name]}" in files
        and name not in operator
        and (_chrony_conf.supported({name: given[name]}, version) or {}).get(name)
    ]
    if usable and not smeared and not any(operator.get(name) for name in LEAP_TABLES):
        chosen[usable[0]] = given[usable[0]]
    return {name: value for name, value in chosen.items() if name not in operator}


def own_sources(place: Row, inputs: Inputs, files: Collection[str], read: Collection[str]) -> list[Row]:
    """Return the distribution's own sources if chrony_nts_distribution_sources keeps them.

    Omit sources whose address is in drop-ins (read) or in chrony_nts_sources. Return none if files lacks their
    certificates: then this release of the distribution has other sources.
    """
    if not inputs.is_true("distribution_sources"):
        return []
    if not {row["path"] for row in place.get("certificate_sets", [])} <= set(files):
        return []
    there = {*read, *(str(source["address"]) for source in inputs.sources)}
    return [source for source in _sources.complete(place.get("sources", [])) if source["address"] not in there]


def certificate_sets(place: Row, sources: Collection[Row], files: Collection[str]) -> list[Row]:
    """Return set and path of each certificate file of the distribution that a source needs, sorted by set."""
    used = {int(source.get("certset", 0)) for source in sources if source["nts"]}
    rows = [row for row in place.get("certificate_sets", []) if row["path"] in files]
    return sorted((row for row in rows if int(row["set"]) in used), key=lambda row: int(row["set"]))
