# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The addresses, ports and clients that the directives of chrony.conf let chronyd serve.

Pure functions of the text that `chronyd -p` prints, which includes every drop-in and raw line in order.
"""

import ipaddress
import re
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

IPV4, IPV6 = 4, 6
FAMILIES = (IPV4, IPV6)
NTP_PORT, NTSKE_PORT = 123, 4460
LOOPBACK = {
    IPV4: ipaddress.ip_network("127.0.0.0/8"),
    IPV6: ipaddress.ip_network("::1/128"),
}  # type: Dict[int, Network]
EVERYTHING = {
    IPV4: ipaddress.ip_network("0.0.0.0/0"),
    IPV6: ipaddress.ip_network("::/0"),
}  # type: Dict[int, Network]
# Short form of an IPv4 network, such as 10 for 10.0.0.0/8 (cmdparse.c: CPS_ParseAllowDeny).
SHORT = re.compile(r"(?P<numbers>[0-9]+(\.[0-9]+){0,2})(/(?P<bits>[0-9]+))?$")
# Bits of an address at each level of chronyd's access table (addrfilt.c: NBITS).
BITS = 4
LONGEST_PREFIX = 128


class AccessRule(NamedTuple):
    """A line of `allow` or `deny`. Without an address it has one network of each family; with a host name, none."""

    line: str
    allow: bool
    # With "all" the rule removes earlier rules for parts of its network.
    replaces: bool
    networks: Sequence[Network]


class Bound(NamedTuple):
    """The address that chronyd listens on (None: every address), and its line of bindaddress."""

    address: Optional[Address] = None
    line: str = ""


class Serving(NamedTuple):
    """The directives of a server. `lines` has the last line of every other directive, by its name."""

    rules: Sequence[AccessRule]
    bound: Dict[int, Bound]
    lines: Dict[str, str]
    port: int = NTP_PORT
    ntsport: int = NTSKE_PORT

    @property
    def device(self) -> str:
        """Return the network interface of binddevice; an empty string without it."""
        return self.lines.get("binddevice", "").partition(" ")[2]


def read_serving(text: str) -> Serving:
    """Parse the directives of a server. The last line of a directive wins (conf.c)."""
    rules = []  # type: List[AccessRule]
    bound = {family: Bound() for family in FAMILIES}
    lines = {}  # type: Dict[str, str]
    for line in text.splitlines():
        words = line.split()
        name = words[0].lower() if words else ""
        if name in ("allow", "deny"):
            rules.append(access_rule(name == "allow", words[1:]))
        elif name == "bindaddress" and len(words) == 2:
            address = _address(words[1])
            if address is not None:
                everywhere = address == EVERYTHING[address.version].network_address
                bound[address.version] = Bound(None if everywhere else address, " ".join(words))
        elif name:
            lines[name] = " ".join(words)
    return Serving(rules, bound, lines, _port(lines.get("port"), NTP_PORT), _port(lines.get("ntsport"), NTSKE_PORT))


def access_rule(allow: bool, words: Sequence[str]) -> AccessRule:
    """Return the rule of `allow` or `deny` with these arguments."""
    replaces = bool(words) and words[0] == "all"
    subnet = words[1:2] if replaces else words[:1]
    networks = networks_of(subnet[0]) if subnet else list(EVERYTHING.values())
    return AccessRule(" ".join(["allow" if allow else "deny", *words]), allow, replaces, networks)


def networks_of(text: str) -> List[Network]:
    """Return the network of a subnet as chronyd parses it; none for a host name, which only chronyd resolves."""
    short = SHORT.match(text)
    if short:
        numbers = short.group("numbers").split(".")
        text = f"{'.'.join([*numbers, '0', '0', '0'][:4])}/{short.group('bits') or 8 * len(numbers)}"
    try:
        return [ipaddress.ip_network(text, strict=False)]
    except ValueError:
        return []


def is_allowed(rules: Sequence[AccessRule], address: Address) -> bool:
    """Return whether chronyd answers a client with this address."""
    found = deciding_rule(rules, address)
    return found is not None and found.allow


def deciding_rule(rules: Sequence[AccessRule], address: Address) -> Optional[AccessRule]:
    """Return the rule that applies to an address, or None (addrfilt.c: set_subnet, check_ip_in_node).

    The deepest network wins. Its depth is the prefix length in units of BITS, rounded up. At the same depth the later
    line wins.
    """
    deciding = {}  # type: Dict[int, AccessRule]
    for rule in rules:
        for network in rule.networks:
            if network.version == address.version and address in network:
                depth = -(-network.prefixlen // BITS)
                if rule.replaces:
                    deciding = {above: kept for above, kept in deciding.items() if above < depth}
                deciding[depth] = rule
    return deciding[max(deciding)] if deciding else None


def served_families(rules: Sequence[AccessRule]) -> List[int]:
    """Return the families with remote clients; if every `allow` names loopback, those with clients on this host."""
    found = [family for family in FAMILIES if _has_client(rules, _sample_addresses(rules, family))]
    if found or not all(_is_loopback(rule) for rule in rules if rule.allow):
        return found
    return [family for family in FAMILIES if _has_client(rules, _boundaries(rules, family))]


def _has_client(rules: Sequence[AccessRule], addresses: Iterable[Address]) -> bool:
    # Only chronyd resolves a host name, so assume a client of each family.
    allows_host_name = any(rule.allow and not rule.networks for rule in rules)
    return allows_host_name or any(is_allowed(rules, address) for address in addresses)


def _is_loopback(rule: AccessRule) -> bool:
    return bool(rule.networks) and all(
        network.network_address in LOOPBACK[network.version] and network.broadcast_address in LOOPBACK[network.version]
        for network in rule.networks
    )


def _sample_addresses(rules: Sequence[AccessRule], family: int) -> Iterator[Address]:
    """Yield one address of each range to which the same rule applies, without loopback."""
    return (address for address in _boundaries(rules, family) if address not in LOOPBACK[family])


def _boundaries(rules: Sequence[AccessRule], family: int) -> Iterator[Address]:
    """Yield the addresses at which another rule can apply: the first of each network, and the first after it."""
    networks = [network for rule in rules for network in rule.networks if network.version == family]
    for network in [LOOPBACK[family], *networks]:
        yield network.network_address
        if network.broadcast_address != EVERYTHING[family].broadcast_address:
            yield network.broadcast_address + 1


class Obstacle(NamedTuple):
    """The cause why a server would serve no client, and the remedy."""

    cause: str
    remedy: str


def obstacle(serving: Serving) -> Optional[Obstacle]:
    """Return why a server with these directives would serve no client; None if it would serve some."""
    if serving.port == 0 and "ntsntpserver" not in serving.lines:
        return Obstacle(
            f"`{serving.lines['port']}` closes the port at which chronyd answers NTP",
            "take the line out, or name the server that answers in ntsntpserver",
        )
    if served_families(serving.rules):
        return None
    denying = [rule.line for rule in serving.rules if not rule.allow]
    if not denying or not any(rule.allow for rule in serving.rules):
        return Obstacle("no `allow` lets a client in", "add one with the subnet of the clients")
    return Obstacle(
        f"`{denying[-1]}` leaves no client that `allow` lets in",
        "take it out, or put it before the lines of `allow`",
    )


def _address(text: str) -> Optional[Address]:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _port(line: Optional[str], default: int) -> int:
    value = (line or "").partition(" ")[2]
    return int(value) if value.isdigit() else default
