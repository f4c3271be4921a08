# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Rules of firewalld: a service of our own, and one rich rule for each network.

The permanent configuration names the service. The running firewall loads a new service only by a reload, which would
drop the rules that other programs added at run time. So the running firewall gets the same openings as ports, and the
service by the next reload. The priority marks a rule as ours, and puts it after every rule of the operator.
"""

import fnmatch
import glob
import os
import re
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple
from xml.etree import ElementTree

from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import (
    Desired,
    FirewallError,
    Opening,
    network,
    overlap,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import FIREWALLD, SERVICE_NAME

SERVICE_PATH = f"{FIREWALLD}/services/{SERVICE_NAME}.xml"
# Suffix of firewalld's backup of a file.
FORMER = ".old"
PRIORITY = 4460
# Exit statuses of firewall-cmd (firewall-cmd(1)).
NOT_RUNNING = 252
INVALID_SERVICE = 101
RULE = re.compile(
    rf'rule priority="{PRIORITY}" family="ipv[46]" source address="(?P<network>[^"]+)"'
    rf' (?:port port="(?P<port>\d+)" protocol="(?P<protocol>tcp|udp)"|service name="{SERVICE_NAME}") accept'
)
ZONE = re.compile(r"^(?P<name>\S+)(?: \((?P<flags>[^)]*)\))?$")
SERVICE_FILE = """<?xml version="1.0" encoding="utf-8"?>
<service>
  <short>NTS server</short>
  <description>NTP and NTS-KE of chronyd. Managed by Ansible: collection securetime.nts.</description>
{ports}
</service>
"""

Rules = Dict[str, FrozenSet[str]]


class Zone(NamedTuple):
    """A zone of the running firewall."""

    target: str
    active: bool
    default: bool
    interfaces: Sequence[str]
    sources: Sequence[str]
    rules: Sequence[str]


class State(NamedTuple):
    """Our rich rules in firewalld by zone, and the ports of our service (None: no service)."""

    permanent: Rules
    runtime: Rules
    service: Optional[FrozenSet[str]]


# --- reading ---------------------------------------------------------------------------------------------------------


def read_zones(text: str) -> Dict[str, Zone]:
    """Parse the output of `firewall-cmd --list-all-zones`."""
    zones = {}
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").splitlines()
        head = ZONE.match(lines[0]) if lines else None
        if not head:
            continue
        rules = [line.strip() for line in lines[1:] if line.strip().startswith("rule ")]
        pairs = (line.partition(":") for line in lines[1:] if line.strip() not in rules)
        given = {name.strip(): value.strip() for name, _colon, value in pairs}
        flags = (head.group("flags") or "").split(", ")
        zones[head.group("name")] = Zone(
            given.get("target", "default"),
            "active" in flags,
            "default" in flags,
            given.get("interfaces", "").split(),
            given.get("sources", "").split(),
            rules,
        )
    return zones


def read_service(text: str) -> FrozenSet[str]:
    """Parse the ports in the output of `firewall-cmd --info-service`."""
    match = re.search(r"^\s+ports: (.*)$", text, re.MULTILINE)
    return frozenset(match.group(1).split() if match else ())


def permanent_state(root: str = "") -> Tuple[Rules, Optional[FrozenSet[str]]]:
    """Read our rules and our service from firewalld's files. A zone without a file has none of our rules."""
    rules = {}
    for path in sorted(glob.glob(f"{root}{FIREWALLD}/zones/*.xml")):
        elements = _xml(path).iter("rule")
        found = frozenset(text for text in map(_rule_text, elements) if RULE.fullmatch(text))
        if found:
            rules[os.path.basename(path)[: -len(".xml")]] = found
    path = root + SERVICE_PATH
    if not os.path.exists(path):
        return rules, None
    return rules, frozenset(f"{port.get('port')}/{port.get('protocol')}" for port in _xml(path).iter("port"))


def foreign_users(root: str = "") -> List[str]:
    """Return the files of zones and policies that name our service outside our own rules."""
    found = []
    for path in sorted(glob.glob(f"{root}{FIREWALLD}/zones/*.xml") + glob.glob(f"{root}{FIREWALLD}/policies/*.xml")):
        root_element = _xml(path)
        ours = [rule for rule in root_element.iter("rule") if RULE.fullmatch(_rule_text(rule))]
        named = [each for each in root_element.iter("service") if each.get("name") == SERVICE_NAME]
        if len(named) > sum(rule.find("service") is not None for rule in ours):
            found.append(path)
    return found


def _xml(path: str) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as problem:
        raise FirewallError(f"firewalld's file {path} cannot be read: {problem}. Correct it.") from None


def _rule_text(rule: ElementTree.Element) -> str:
    """Return the rich rule of an XML element as firewalld prints it, for the parts that our rules have."""
    parts = [f'rule priority="{rule.get("priority", "0")}" family="{rule.get("family", "")}"']
    for child in sorted(rule, key=lambda each: {"source": 0, "accept": 2}.get(each.tag, 1)):
        names = {"source": ["address"], "port": ["port", "protocol"], "service": ["name"]}.get(child.tag, [])
        extra = sorted(set(child.keys()) - set(names))
        parts.append(" ".join([child.tag, *(f'{name}="{child.get(name, "")}"' for name in [*names, *extra])]))
        parts.extend(each.tag for each in child)
    return " ".join(parts)


def runtime_rules(zones: Dict[str, Zone]) -> Rules:
    """Return our rules in the running firewall."""
    found = {name: frozenset(rule for rule in zone.rules if RULE.fullmatch(rule)) for name, zone in zones.items()}
    return {name: rules for name, rules in found.items() if rules}


# --- deciding --------------------------------------------------------------------------------------------------------


def zones_for(zones: Dict[str, Zone], default: str, desired: Desired) -> Dict[str, List[Opening]]:
    """Return the openings of each zone: the zones of chronyd's interfaces, and of sources that hold its clients.

    A zone with sources takes precedence over the zone of the interface. A zone that accepts every packet needs no rule.
    """
    assigned = {interface for zone in zones.values() for interface in zone.interfaces}
    wanted = {}  # type: Dict[str, List[Opening]]
    for opening in desired.openings:
        interfaces = desired.interfaces.get(opening.family)
        for name, zone in zones.items():
            matched = zone.active and _listens(interfaces, zone.interfaces)
            if name == default:
                matched = matched or interfaces is None or not all(_is_in(each, assigned) for each in interfaces)
            # An ipset or a MAC address can match any client.
            matched = matched or any(
                overlap(source, opening.network) or not _is_network(source) for source in zone.sources
            )
            if matched and not (zone.target == "ACCEPT" and not any(_refuses(rule) for rule in zone.rules)):
                wanted.setdefault(name, []).append(opening)
    return wanted


def _listens(interfaces: Optional[Sequence[str]], of_zone: Sequence[str]) -> bool:
    return bool(of_zone) and (interfaces is None or any(_is_in(each, of_zone) for each in interfaces))


def _is_in(interface: str, names: Iterable[str]) -> bool:
    # In firewalld a name that ends with + is a prefix.
    return any(fnmatch.fnmatchcase(interface, name.replace("+", "*")) for name in names)


def _is_network(source: str) -> bool:
    return overlap(source, "0.0.0.0/0") or overlap(source, "::/0")


def _refuses(rule: str) -> bool:
    return re.search(r" (?:reject|drop)\b", rule) is not None


def by_port(opening: Opening) -> str:
    """Return the rich rule that opens one port."""
    return f'{_head(opening)} port port="{opening.port}" protocol="{opening.protocol}" accept'


def by_service(opening: Opening) -> str:
    """Return the rich rule that opens all ports of our service."""
    return f'{_head(opening)} service name="{SERVICE_NAME}" accept'


def _head(opening: Opening) -> str:
    return f'rule priority="{PRIORITY}" family="ipv{opening.family}" source address="{opening.network}"'


def opened(rule: str, service: Optional[Iterable[str]]) -> Set[Opening]:
    """Return the openings of one of our rules. `service` are the ports of our service."""
    match = RULE.fullmatch(rule)
    if not match:
        return set()
    source = network(match.group("network"))
    if match.group("port"):
        return {Opening(source, match.group("protocol"), int(match.group("port")))}
    ports = (each.partition("/") for each in service or ())
    return {Opening(source, protocol, int(port)) for port, _slash, protocol in ports}


def target(now: State, loaded: Optional[Iterable[str]], wanted: Dict[str, List[Opening]]) -> State:
    """Return the desired state. `loaded` are the ports of our service in the running firewall."""
    permanent = {zone: frozenset(map(by_service, openings)) for zone, openings in wanted.items()}
    runtime = {}
    for zone, openings in wanted.items():
        kept = {rule for rule in now.runtime.get(zone, ()) if opened(rule, loaded) <= set(openings)}
        already_open = {opening for rule in kept for opening in opened(rule, loaded)}
        runtime[zone] = frozenset(kept | {by_port(each) for each in openings if each not in already_open})
    ports = frozenset(f"{each.port}/{each.protocol}" for openings in wanted.values() for each in openings)
    return State(permanent, runtime, ports or None)


# --- changing --------------------------------------------------------------------------------------------------------


def offline_commands(now: State, then: State) -> List[List[str]]:
    """Return the commands that change our permanent rules while firewalld does not run, without the service file."""
    program = ["firewall-offline-cmd"]
    added = _rule_commands(program, "add", now.permanent, then.permanent)
    return added + _rule_commands(program, "remove", then.permanent, now.permanent)


def commands(now: State, then: State, service_file: str) -> List[List[str]]:
    """Return the commands that change one state into another: first those that open, then those that close.

    `service_file` is the path of a file with the service of the state `then`.
    """
    permanent = ["firewall-cmd", "--permanent"]
    found = []
    if now.service is None and then.service is not None:
        found.append([*permanent, f"--new-service-from-file={service_file}", f"--name={SERVICE_NAME}"])
    elif now.service is not None and then.service is not None and now.service != then.service:
        added = [f"--add-port={port}" for port in sorted(then.service - now.service)]
        removed = [f"--remove-port={port}" for port in sorted(now.service - then.service)]
        found += [[*permanent, f"--service={SERVICE_NAME}", *each] for each in (added, removed) if each]
    found += _rule_commands(permanent, "add", now.permanent, then.permanent)
    found += _rule_commands(["firewall-cmd"], "add", now.runtime, then.runtime)
    found += _rule_commands(["firewall-cmd"], "remove", then.runtime, now.runtime)
    found += _rule_commands(permanent, "remove", then.permanent, now.permanent)
    if now.service is not None and then.service is None:
        found.append([*permanent, f"--delete-service={SERVICE_NAME}"])
    return found


def _rule_commands(program: List[str], verb: str, less: Rules, more: Rules) -> List[List[str]]:
    """Return a command for each zone, with the rules that `more` has and `less` lacks."""
    found = []
    for zone in sorted(more):
        rules = sorted(more[zone] - less.get(zone, frozenset()))
        if rules:
            found.append([*program, f"--zone={zone}", *(f"--{verb}-rich-rule={rule}" for rule in rules)])
    return found


def service_xml(ports: Iterable[str]) -> str:
    """Return the content of the file of our service."""
    pairs = (port.partition("/") for port in sorted(ports))
    lines = [f'  <port port="{number}" protocol="{protocol}"/>' for number, _slash, protocol in pairs]
    return SERVICE_FILE.format(ports="\n".join(lines))


def show(state: State) -> str:
    """Return the state as text, for a diff."""
    lines = [f"service {SERVICE_NAME}: {' '.join(sorted(state.service))}"] if state.service is not None else []
    for name, rules in (("permanent", state.permanent), ("runtime", state.runtime)):
        lines += [f"{name}, zone {zone}: {rule}" for zone in sorted(rules) for rule in sorted(rules[zone])]
    return "".join(f"{line}\n" for line in lines)
