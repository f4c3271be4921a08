# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The variables of one host, and values derived from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _pairs, _sources

PREFIX = "chrony_nts_"
# The role makes pairs below this folder, and copies them to the one from which chronyd reads.
MADE_IN = "/etc/chrony/nts"
# The set of trust anchors that Ubuntu fills from 25.10 on.
DISTRIBUTION_SET = 1
RAW_SET = re.compile(r"\s*ntstrustedcerts\s+([0-9]+)\s+\S", re.IGNORECASE)
# IANA's TCP port of the NTS key exchange (RFC 8915, section 7.6).
NTSKE_PORT = 4460
NTP_PORT = 123
# Variables besides the role's inputs, which playbooks and the operator's task files set or read.
OTHER_NAMES = (
    "acme_dns_records",
    "acme_dns_state",
    "applied",
    "ca_rotation",
    "ntskeys_days",
    "ntskeys_rotation",
    "observed",
    "probed",
    "renew_force",
    "report_dir",
    "report_earlier",
    "report_written",
    "reported",
    "restored",
    "rotation_witness",
    "site_clients",
    "site_forget_server_cas",
    "site_hosts",
    "site_max_fail_percentage",
    "site_monitor",
    "site_probing_clients",
    "site_serial",
    "site_servers",
)


class Inputs:
    """The variables of one host, by their names without chrony_nts_, and values derived from them."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        return self._variables[PREFIX + name]

    def is_true(self, name: str) -> bool:
        """Return a variable as a boolean; the command line passes it as text."""
        return bool(boolean(self[name]))

    @cached_property
    def sources(self) -> list[dict[str, Any]]:
        """Every source in its complete form, including the fallback pool."""
        pool = self["fallback_pool"]
        fallback = [{"address": pool, "type": "pool", "nts": False}] if pool else []
        return _sources.complete([*self.source_entries, *fallback])

    @cached_property
    def source_entries(self) -> list[dict[str, Any]]:
        """Each entry of chrony_nts_sources as a dictionary, without defaults."""
        return _sources.entries(self["sources"])

    @cached_property
    def directives(self) -> dict[str, Any]:
        """chrony_nts_directives in the structure of _chrony_conf.DIRECTIVES."""
        known: dict[str, Any] = _chrony_conf.normal(_chrony_conf.DIRECTIVES, self["directives"])
        return known

    @property
    def option_words(self) -> list[str]:
        """chrony_nts_daemon_options as words of a command line: an entry can hold an option with its argument."""
        return [word for entry in self["daemon_options"] for word in str(entry).split()]

    @property
    def unauthenticated(self) -> list[str]:
        """The addresses of sources with neither NTS nor a symmetric key."""
        return [source["address"] for source in self.sources if not source["nts"] and "key" not in source]

    @property
    def follows_itself(self) -> bool:
        """Whether the host needs no source: it has a reference clock, or is a server with the directive local."""
        own_clock = self.is_true("server_enabled") and self.directives.get("local") not in (None, False)
        return bool(self.directives.get("refclock")) or own_clock

    @property
    def reads_other_files(self) -> bool:
        """Return whether chronyd reads drop-ins or included files, which may fill any set of trust anchors."""
        return self["dropins"] == "include" or any(map(self.has_line, ("include", "confdir")))

    @property
    def distribution_sets(self) -> set[int]:
        """The sets of trust anchors that the operator's sources use and that only the distribution can fill."""
        if self.reads_other_files:
            return set()
        used = {int(source.get("certset", 0)) for source in self.sources if source["nts"]}
        return used & {DISTRIBUTION_SET} - self.raw_sets

    @property
    def raw_sets(self) -> set[int]:
        """The sets of trust anchors that chrony_nts_raw_lines fills."""
        return {int(found[1]) for found in map(RAW_SET.match, map(str, self["raw_lines"])) if found}

    @property
    def anchor_sets(self) -> list[int]:
        """The set of each entry of chrony_nts_trust_anchors; 0 is the default set."""
        return [int(anchor.get("set") or 0) for anchor in self["trust_anchors"]]

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """The pairs of certificate and key of a server; none for a client."""
        if not self.is_true("server_enabled"):
            return []
        main = {
            "names": self["server_names"],
            "provider": self["certificate_provider"],
            "acme_client": self["acme_client"],
            "acme_directory": self["acme_directory"],
            "lifetime_days": int(self["certificate_lifetime_days"]),
            "key_type": self["certificate_key_type"],
            "new_key": self.is_true("certificate_new_key"),
            "content": self["certificate_content"],
            "key_content": self["certificate_key_content"],
            "host_path": self["certificate_host_path"],
            "key_host_path": self["certificate_key_host_path"],
        }
        return _pairs.pairs(main, self["certificate_dir"], list(map(_more, self["more_certificates"])), MADE_IN)

    def raw_values(self, name: str) -> list[str]:
        """Return the arguments of each line of a directive in chrony_nts_raw_lines, in order."""
        lines = [str(line).split() for line in self["raw_lines"]]
        return [" ".join(words[1:]) for words in lines if words and words[0].lower() == name]

    def has_line(self, name: str) -> bool:
        """Return whether the operator sets a directive, in chrony_nts_directives or in chrony_nts_raw_lines."""
        return self.directives.get(name) not in (None, False) or self.raw_values(name) != []

    @property
    def leads_without_sources(self) -> bool:
        """Whether the host shares a clock with its peers only (orphan mode), in which one host follows no other."""
        given = self.directives.get("local")
        orphan = isinstance(given, Mapping) and boolean(given.get("orphan") or False)
        orphan = orphan or any("orphan" in words.lower().split() for words in self.raw_values("local"))
        return orphan and all(source["type"] == "peer" or "key" in source for source in self.sources)

    @property
    def expected_clients(self) -> int:
        """The number of clients that a server's limits are sized for; 0 keeps chronyd's own limits."""
        return int(self["expected_clients"]) if self.is_true("server_enabled") else 0

    @property
    def ntp_ports(self) -> list[int]:
        """The UDP ports at which the server answers NTP, alone (port) and within PTP messages (ptpport)."""
        return [port for port in (self._port("port", NTP_PORT), self._port("ptpport", 0)) if port]

    @property
    def ntske_listens(self) -> int:
        """The TCP port at which chronyd listens for key exchanges; raw lines override chrony_nts_directives."""
        return self._port("ntsport", NTSKE_PORT)

    def _port(self, name: str, default: int) -> int:
        """Return the port of a directive. The last line overrides the others, and raw lines come last."""
        given = [str(value) for value in (self.directives.get(name), *self.raw_values(name)) if value is not None]
        return int(given[-1]) if given and given[-1].isdigit() else default

    @property
    def ntsport(self) -> int:
        """The TCP port of the server's key exchange in chrony_nts_directives, without raw lines."""
        return int(self.directives.get("ntsport") or NTSKE_PORT)


def _more(pair: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of chrony_nts_more_certificates without unset values, with its flag and its number as such."""
    unset = {name for name, value in pair.items() if value is None or (value is False and name != "new_key")}
    given = {name: value for name, value in pair.items() if name not in unset}
    if "new_key" in given:
        given["new_key"] = bool(boolean(given["new_key"]))
    if "lifetime_days" in given:
        given["lifetime_days"] = int(given["lifetime_days"])
    return given
