# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Find the active firewalls: those that filter incoming packets, not all installed ones."""

import re
from types import MappingProxyType
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change.files import NOT_RUN, CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._firewall import firewalld, iptables, nftables, ufw
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import FirewallError
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import FIREWALLD
from ansible_collections.securetime.nts.plugins.module_utils._state.host import read_file

UFW_SETTINGS = "/etc/ufw/ufw.conf"
UFW_DEFAULTS = "/etc/default/ufw"
FIREWALLD_SETTINGS = f"{FIREWALLD}/firewalld.conf"
# The files that list the tables of the kernel's legacy iptables interface, with the program and the IP family.
LEGACY = (("iptables", 4, "/proc/net/ip_tables_names"), ("ip6tables", 6, "/proc/net/ip6_tables_names"))
# Tables of any family. The second one exists while firewalld starts.
FIREWALLD_TABLES = ("firewalld", "firewalld_policy_drop")


class ActiveFirewalls(NamedTuple):
    """The active firewalls, with the state of each."""

    # The zones of firewalld; None if it does not run.
    zones: Optional[Dict[str, firewalld.Zone]] = None
    default_zone: str = ""
    ufw: bool = False
    # The nftables chains whose policy or last rule drops or rejects, with their rules.
    chains: Sequence[Tuple[nftables.Chain, List[nftables.Row]]] = ()
    # The output of `iptables -S INPUT` by IP family, if the chain refuses packets that no rule accepts.
    iptables: Mapping[int, str] = MappingProxyType({})
    warnings: Sequence[str] = ()

    @property
    def active(self) -> Dict[str, str]:
        """Return the active firewalls by name, each with its description for a message."""
        names = ", ".join(str(chain) for chain, _rules in self.chains)
        found = {
            "firewalld": "firewalld" if self.zones is not None else "",
            "ufw": "ufw" if self.ufw else "",
            "nftables": f"nftables (chain {names})" if self.chains else "",
            "iptables": "iptables (chain INPUT)" if self.iptables else "",
        }
        return {name: text for name, text in found.items() if text}


def find_active(host: System) -> ActiveFirewalls:
    """Return the firewalls that filter incoming packets."""
    zones, default = _firewalld(host)
    with_ufw = ufw.says_yes(read_file(UFW_SETTINGS), "ENABLED") and _ufw_is_active(host)
    # ufw, and firewalld with its iptables backend, keep their rules in the chains of iptables.
    backend = re.search(r"^FirewallBackend=(\w+)", read_file(FIREWALLD_SETTINGS), re.MULTILINE)
    iptables_is_theirs = with_ufw or bool(zones is not None and backend and backend.group(1) == "iptables")
    chains, by_iptables, warnings = _nftables(host)
    found = {} if iptables_is_theirs else _iptables(host, by_iptables)
    return ActiveFirewalls(zones, default, with_ufw, chains, found, warnings)


def _firewalld(host: System) -> Tuple[Optional[Dict[str, firewalld.Zone]], str]:
    """Return the zones of a running firewalld (else None), and the name of the default zone."""
    done = host.run(["firewall-cmd", "--list-all-zones"])
    if done.status in (NOT_RUN, firewalld.NOT_RUNNING):
        return None, ""
    if done.status:
        raise FirewallError(f"firewalld does not list its zones: {words(done)}. Nothing was changed.")
    zones = firewalld.read_zones(done.stdout)
    named = re.search(r"^DefaultZone=(\S+)", read_file(FIREWALLD_SETTINGS), re.MULTILINE)
    marked = [name for name, zone in zones.items() if zone.default]
    return zones, (marked or [named.group(1) if named else "public"])[0]


def _ufw_is_active(host: System) -> bool:
    done = host.run(["ufw", "status"])
    if done.status == NOT_RUN:
        return False
    if done.status:
        raise FirewallError(f"ufw does not report its status: {words(done)}. Nothing was changed.")
    return re.search(r"^Status: active", done.stdout, re.MULTILINE) is not None


def _nftables(host: System) -> Tuple[List[Tuple[nftables.Chain, List[nftables.Row]]], Optional[List[int]], List[str]]:
    """Return nftables' own chains that refuse packets, the IP families of iptables' chains, and warnings.

    The families are None if nft does not list its chains.
    """
    done = host.run(["nft", "--json", "list", "chains"])
    if done.status == NOT_RUN:
        return [], None, []
    if done.status:
        # For example, a container may not list its host's rules.
        return [], None, [f"nft does not list its chains, so nftables may filter here: {words(done)}."]
    chains = [chain for chain in nftables.read_chains(done.stdout) if chain.table not in FIREWALLD_TABLES]
    refusing = []
    for chain in chains:
        if not chain.by_iptables:
            rules = list_rules(host, (chain.family, chain.table, chain.name))
            if chain.policy == "drop" or nftables.refuses_the_rest(rules):
                refusing.append((chain, rules))
    return refusing, [nftables.FAMILIES[chain.family][0] for chain in chains if chain.by_iptables], []


def list_rules(host: System, chain: Tuple[str, str, str]) -> List[nftables.Row]:
    """Return the rules of a chain; raise FirewallError, which may be before, during or after a change."""
    done = host.run(["nft", "--json", "list", "chain", *chain])
    if done.status:
        raise FirewallError(f"nft does not show the chain {' '.join(chain)}: {words(done)}")
    return nftables.read_rules(done.stdout)


def _iptables(host: System, families: Optional[List[int]]) -> Dict[int, str]:
    """Return iptables' chain INPUT by family, if it refuses packets. `families` are those with such a chain in nft."""
    found = {}
    for program, family, path in LEGACY:
        legacy = "filter" in read_file(path).split()
        if families is not None and family not in families and not legacy:
            continue
        done = host.run([f"{program}-legacy", "-S", "INPUT"]) if legacy else CommandResult(NOT_RUN, "", "")
        if done.status == NOT_RUN:
            done = host.run([program, "-S", "INPUT"])
        if done.status == 0 and iptables.filters(done.stdout):
            found[family] = done.stdout
    return found


def words(done: CommandResult) -> str:
    """Return the last three lines of a program's error output as one line, or its exit status without output."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "; ".join(lines[-3:]).rstrip(".") or f"exit status {done.status}"
