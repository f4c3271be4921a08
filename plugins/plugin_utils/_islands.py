# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Find servers that each serve their own clock.

Such servers drift apart, and clients reject them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _sources
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import PREFIX, Inputs

# Variables that decide whether a host serves its own clock, with their defaults (sources have none here).
EMPTY: dict[str, Any] = {
    "directives": {},
    "raw_lines": [],
    "fallback_pool": "",
    "dhcp_sources": False,
    "dropins": "ignore",
}
NAMES = ("sources", *EMPTY)
FOLLOWED = ("server", "pool", "peer", "refclock", "include", "confdir", "sourcedir")
# A warning names at most this many hosts.
MOST_NAMED = 5


def warning(
    own: str,
    inputs: Inputs,
    hosts: Iterable[str],
    variables: Mapping[str, Mapping[str, Any]],
    failure: type[Exception],
) -> str:
    """Return a warning about the servers of a play that each serve their own clock; empty for all but the first server.

    hosts are the hosts of the play, and variables the variables of each. Skip a host whose variables raise failure
    (a template error) or have a wrong type: that host's own tasks report it. Inputs of this host (own) that are not
    among its variables come from the play, so they hold for all hosts. Return early on a host that follows a source.
    """
    own_row = {**{name: inputs[name] for name in NAMES}, "directives": inputs.directives}
    if not inputs.is_true("server_enabled") or not serves_own_clock(own_row):
        return ""
    known = variables.get(own, {})
    shared = {name: inputs[name] for name in NAMES if f"{PREFIX}{name}" not in known}
    found = list(islice(_islands(hosts, variables, shared, failure), MOST_NAMED + 1))
    if len(found) < 2 or found[0] != own:
        return ""
    more = " and more" if found[MOST_NAMED:] else ""
    return (
        f"{', '.join(found[:MOST_NAMED])}{more} each serve their own clock and follow no source. They will drift apart,"
        " and clients refuse servers that disagree. Let all but one follow that one (chrony_nts_sources), or give all a"
        " common source. Or make them one clock: name the others in chrony_nts_sources, as peers with a symmetric key,"
        " and set chrony_nts_directives to {local: {stratum: 10, orphan: true}} (docs/servers.md)."
    )


def serves_own_clock(given: Mapping[str, Any]) -> bool:
    """Return whether a host with these variables (without chrony_nts_) serves its own clock and follows no source."""
    lines = [str(line).lower().split() for line in given["raw_lines"]]
    words = {line[0] for line in lines if line}
    directives = given["directives"]
    serves = directives.get("local") not in (None, False) or "local" in words
    follows = (
        any(_may_be_followed(source) for source in _sources.entries(given["sources"]))
        or given["fallback_pool"]
        or boolean(given["dhcp_sources"], strict=False)
        or given["dropins"] == "include"
        or any(directives.get(name) for name in FOLLOWED)
        or not words.isdisjoint(FOLLOWED)
    )
    return serves and not follows


def _may_be_followed(source: Mapping[str, Any]) -> bool:
    """Return whether chronyd may follow a source. The rules report a noselect that is no boolean on that host."""
    return not boolean(source.get("noselect") or False, strict=False)


def _islands(
    hosts: Iterable[str],
    variables: Mapping[str, Mapping[str, Any]],
    shared: Mapping[str, Any],
    failure: type[Exception],
) -> Iterator[str]:
    for host in hosts:
        # The tasks of that host report its mistake: a template error, or a value of a wrong type.
        with contextlib.suppress(failure, AttributeError, TypeError):
            if _is_island(variables.get(host, {}), shared):
                yield host


def _is_island(given: Mapping[str, Any], shared: Mapping[str, Any]) -> bool:
    row = {name: given.get(f"{PREFIX}{name}", shared.get(name, EMPTY.get(name))) for name in NAMES}
    # A host without chrony_nts_sources has the role's default sources.
    if row["sources"] is None or not isinstance(row["directives"], Mapping):
        return False
    row["directives"] = _chrony_conf.normal(_chrony_conf.DIRECTIVES, row["directives"])
    return serves_own_clock(row)
