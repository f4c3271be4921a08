# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The openings of an NTS server: a client network and a port each."""

import ipaddress
from types import MappingProxyType
from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import MARK

FAMILIES = (4, 6)


class Opening(NamedTuple):
    """One network and one port. The network has a prefix length even if it is a single address."""

    network: str
    protocol: str
    port: int

    @property
    def family(self) -> int:
        """Return 4 or 6."""
        return 6 if ":" in self.network else 4

    @property
    def service(self) -> str:
        """Return the application protocol: NTS-KE for TCP, NTP for UDP."""
        return "NTS-KE" if self.protocol == "tcp" else "NTP"

    @property
    def comment(self) -> str:
        """Return the comment that marks a rule as one of this collection."""
        return f"{MARK}: {self.service}"

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol} from {self.network}"


class FirewallError(Exception):
    """The change of the rules was refused or rolled back; the text gives the reason."""


class Desired(NamedTuple):
    """The openings of a server, and the interfaces that chronyd listens on, by family (None: all interfaces)."""

    openings: Sequence[Opening] = ()
    interfaces: Mapping[int, Optional[Sequence[str]]] = MappingProxyType({})

    def of(self, families: Iterable[int] = FAMILIES) -> List[Opening]:
        """Return the openings of these families."""
        return [opening for opening in self.openings if opening.family in families]


def network(text: str) -> str:
    """Return an address or a network with a prefix length."""
    return str(ipaddress.ip_network(text, strict=False))


def openings(
    allow: Sequence[str], udp_ports: Sequence[int], tcp_ports: Sequence[int], families: Iterable[int] = FAMILIES
) -> List[Opening]:
    """Return the openings for these networks and ports, sorted and without duplicates."""
    ports = [("udp", port) for port in udp_ports] + [("tcp", port) for port in tcp_ports]
    found = [Opening(network(each), protocol, port) for each in allow for protocol, port in ports]
    return sorted({each for each in found if each.family in set(families)}, key=_order)


def _order(opening: Opening) -> Tuple[Any, ...]:
    return opening.family, ipaddress.ip_network(opening.network), opening.protocol != "udp", opening.port


def is_everything(text: str) -> bool:
    """Return whether a network holds every address of its family."""
    return ipaddress.ip_network(text).prefixlen == 0


def covers(wider: str, narrower: str) -> bool:
    """Return whether a network holds another one; False if `wider` is neither a network nor an address."""
    try:
        outer, inner = ipaddress.ip_network(wider, strict=False), ipaddress.ip_network(narrower)
    except ValueError:
        return False
    if outer.version != inner.version or outer.prefixlen > inner.prefixlen:
        return False
    return inner.supernet(new_prefix=outer.prefixlen) == outer


def overlap(one: str, other: str) -> bool:
    """Return whether two networks have an address in common."""
    return covers(one, other) or covers(other, one)
