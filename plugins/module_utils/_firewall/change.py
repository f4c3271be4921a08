# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Open the ports of an NTS server in the active firewall, and close them again.

Long: one class for each firewall, with the same five methods, which are read side by side.
"""

import abc
import contextlib
import ipaddress
import os
import re
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import FileSpec, System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._firewall import active, firewalld, iptables, nftables, ufw
from ansible_collections.securetime.nts.plugins.module_utils._firewall.active import ActiveFirewalls, words
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import (
    FAMILIES,
    Desired,
    FirewallError,
    Opening,
    openings,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import (
    RECORD,
    SERVICE_NAME,
    UFW_RULES,
    firewalls_with_rules,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_program, read_file

# Temporary file in the state folder. firewalld requires the suffix .xml.
SCRATCH = "firewall-scratch.xml"


class Request(NamedTuple):
    """The parameters of the module (see its documentation). Without `allow`, remove all our rules."""

    allow: Sequence[str] = ()
    udp_ports: Sequence[int] = ()
    tcp_ports: Sequence[int] = ()
    addresses: Sequence[str] = ()
    device: str = ""
    nft_include: str = ""


class Report(NamedTuple):
    """The result. `by_hand` are commands for the operator, and `diffs` are pairs of before and after."""

    changed: bool
    firewall: str
    opened: Sequence[str]
    by_hand: Sequence[str]
    warnings: Sequence[str]
    diffs: Sequence[Dict[str, str]]
    closed: Dict[str, Any]


class Firewall(abc.ABC):
    """A firewall that can hold our rules. A state is the return value of read_state(); states compare by `==`."""

    name = ""

    def __init__(self, host: System) -> None:
        self.host = host
        self.warnings = []  # type: List[str]
        self.by_hand = []  # type: List[str]

    @abc.abstractmethod
    def read_state(self) -> Any:
        """Return the present state of our rules."""

    @abc.abstractmethod
    def target(self, now: Any, desired: Desired) -> Any:
        """Return the desired state of our rules."""

    @abc.abstractmethod
    def show(self, state: Any) -> str:
        """Return a state as text for a diff."""

    @abc.abstractmethod
    def change(self, now: Any, then: Any) -> None:
        """Change one state into another; raise FirewallError with the message of the program if that fails."""

    def run(self, argv: List[str]) -> str:
        """Run a program and return its output; raise FirewallError if it fails."""
        done = self.host.run(argv)
        if done.status:
            raise FirewallError(f"`{' '.join(argv)}` failed: {words(done)}")
        return done.stdout + done.stderr


class Firewalld(Firewall):
    """firewalld, through firewall-cmd; while it does not run, its files, through firewall-offline-cmd."""

    name = "firewalld"

    def __init__(self, host: System, firewalls: ActiveFirewalls) -> None:
        super().__init__(host)
        self.zones, self.default = firewalls.zones, firewalls.default_zone
        self.running = firewalls.zones is not None
        # The zones from active.find_active() are valid until the first change.
        self.is_fresh = True
        # Ports of our service in the running firewall; read_state() reads them if a rule names the service.
        self.loaded: FrozenSet[str] = frozenset()

    def read_state(self) -> firewalld.State:
        permanent, service = firewalld.permanent_state()
        if not self.running:
            return firewalld.State(permanent, {}, service)
        if not self.is_fresh:
            self.zones = firewalld.read_zones(self.run(["firewall-cmd", "--list-all-zones"]))
        runtime = firewalld.runtime_rules(self.zones or {})
        if any("service name" in rule for rules in runtime.values() for rule in rules):
            self.loaded = firewalld.read_service(self.run(["firewall-cmd", f"--info-service={SERVICE_NAME}"]))
        return firewalld.State(permanent, runtime, service)

    def target(self, now: firewalld.State, desired: Desired) -> firewalld.State:
        wanted = firewalld.zones_for(self.zones or {}, self.default, desired)
        then = firewalld.target(now, self.loaded, wanted)
        users = firewalld.foreign_users() if now.service is not None and then.service is None else []
        if users:
            # firewalld refuses a zone that names a missing service.
            self.warnings.append(
                f"{', '.join(users)} names the service {SERVICE_NAME} in a rule that is not of this collection. The"
                " service stays, and so does what that rule opens."
            )
            return then._replace(service=now.service)
        return then

    def show(self, state: firewalld.State) -> str:
        return firewalld.show(state)

    def change(self, now: firewalld.State, then: firewalld.State) -> None:
        if not self.running and not find_program("firewall-offline-cmd"):
            raise FirewallError(
                "firewalld is no longer installed, but its files in /etc/firewalld hold rules of this collection:"
                " install it again, or remove these files"
            )
        self.is_fresh = False
        output = ""
        if self.running:
            with _temporary_file(self.host, firewalld.service_xml(then.service or ())) as path:
                for command in firewalld.commands(now, then, path):
                    output += self.run(command)
        else:
            for command in firewalld.offline_commands(now, then):
                output += self.run(command)
            # Write the file directly: firewall-offline-cmd --delete-service also writes a file for the zone `work`.
            _write(self.host, firewalld.SERVICE_PATH, firewalld.service_xml(then.service) if then.service else None)
        if then.service is None:
            files.remove(firewalld.SERVICE_PATH + firewalld.FORMER)
        if self.read_state() != then:
            # firewall-cmd exits with status 0 even if it refuses one of several rules.
            refused = "; ".join(line for line in output.splitlines() if line not in ("success", ""))
            raise FirewallError(f"firewalld did not apply the rules: {refused or 'it gave no reason'}")


class Ufw(Firewall):
    """ufw. Its files hold the rules whether it is enabled or not."""

    name = "ufw"

    def _rules(self) -> List[ufw.Rule]:
        return [rule for path in UFW_RULES for rule in ufw.read_rules(read_file(path))]

    def read_state(self) -> Tuple[Opening, ...]:
        return tuple(sorted(ufw.ours(self._rules())))

    def target(self, now: Tuple[Opening, ...], desired: Desired) -> Tuple[Opening, ...]:
        wanted = desired.openings
        if not ufw.says_yes(read_file(active.UFW_DEFAULTS), "IPV6") and desired.of([6]):
            wanted = desired.of([4])
            self.warnings.append(
                f"IPV6 is not yes in {active.UFW_DEFAULTS}, so that ufw drops every IPv6 packet: the ports are open for"
                " IPv4 alone. Set it to yes and run `ufw reload`, or take the IPv6 subnets out of"
                " chrony_nts_server_allow."
            )
        refused = [text for path in UFW_RULES for text in ufw.refusals(read_file(path), wanted)]
        if refused:
            self.warnings.append(
                f"ufw has rules that refuse clients in chrony_nts_server_allow: {'; '.join(refused)}. They are not of"
                " this collection, and stay. Remove them, or the subnets."
            )
        rules = self._rules()
        return tuple(sorted((set(now) | set(ufw.to_add(rules, wanted))) - set(ufw.to_remove(rules, wanted))))

    def show(self, state: Tuple[Opening, ...]) -> str:
        return ufw.show(state)

    def change(self, now: Tuple[Opening, ...], then: Tuple[Opening, ...]) -> None:
        if not find_program("ufw"):
            raise FirewallError(
                "ufw is no longer installed, but its files in /etc/ufw hold rules of this collection: install it again,"
                " or remove these files"
            )
        for opening in sorted(set(then) - set(now)):
            self.run(ufw.command(opening))
        for opening in sorted(set(now) - set(then)):
            self.run(ufw.command(opening, delete=True))
        if self.read_state() != then:
            raise FirewallError("ufw did not apply the rules and gave no reason")


class NftState(NamedTuple):
    """The content of the include file (None: no file), and the comments of our rules in each chain."""

    content: Optional[str]
    rules: Dict[Tuple[str, str, str], Tuple[str, ...]]


class Nftables(Firewall):
    """nftables, through a file that the operator's ruleset includes."""

    name = "nftables"

    def __init__(self, host: System, firewalls: ActiveFirewalls, path: str, before: Optional[str]) -> None:
        super().__init__(host)
        self.path = path
        self.before = before
        self.include = nftables.find_include(path, nftables.MAIN_FILES, _text)
        self.firewalls = firewalls
        self.chains = [(chain.family, chain.table, chain.name) for chain, _rules in firewalls.chains]
        if self.include and self.include.chain and self.include.chain not in self.chains:
            self.chains.append(self.include.chain)
        # The desired openings of each chain, from target().
        self.wanted = {}  # type: Dict[Tuple[str, str, str], List[Opening]]

    def read_state(self) -> NftState:
        rules = {}
        for chain in self.chains:
            ours = tuple(str(rule["comment"]) for rule in self._rules(chain) if nftables.is_ours(rule))
            if ours:
                rules[chain] = tuple(sorted(ours))
        return NftState(_text(self.path), rules)

    def _rules(self, chain: Tuple[str, str, str]) -> List[nftables.Row]:
        """Return the rules of a chain; an empty list if the kernel has no such chain."""
        is_listed = chain in [(each.family, each.table, each.name) for each, _rules in self.firewalls.chains]
        if not is_listed and self.host.run(["nft", "list", "chain", *chain]).status:
            return []
        return active.list_rules(self.host, chain)

    def target(self, now: NftState, desired: Desired) -> NftState:
        del now
        if not desired.openings:
            self.wanted = {chain: [] for chain in self.chains}
            return NftState(self._content_without_rules(), {})
        if self.include is None:
            raise FirewallError(
                f"{self.path} (chrony_nts_firewall_nft_include) is not included by the ruleset that nftables.service"
                f' loads ({" or ".join(nftables.MAIN_FILES)}). Write `include "{self.path}"` into its input chain,'
                " before a rule that drops the rest. Nothing was changed."
            )
        if self.include.chain:
            reached = [self.include.chain]
        else:
            reached = [
                (chain.family, chain.table, chain.name)
                for chain, rules in self.firewalls.chains
                if not nftables.refuses_the_rest([rule for rule in rules if not nftables.is_ours(rule)])
            ]
        left = [
            (chain, rules)
            for chain, rules in self.firewalls.chains
            if (chain.family, chain.table, chain.name) not in reached
        ]
        if not reached:
            raise FirewallError(
                f"The last rule of the chain {left[0][0]} refuses every other packet, and {self.include.main} includes"
                f" {self.path} outside of the chain: no packet would reach its rules. Write the include into the chain,"
                " before that rule. Nothing was changed."
            )
        if not self.include.chain or self.include.chain in [
            (c.family, c.table, c.name) for c, _rules in self.firewalls.chains
        ]:
            self.by_hand = missing_by_hand(left, desired)
        self.wanted = {chain: desired.of(nftables.FAMILIES.get(chain[0], ())) for chain in reached}
        content = nftables.include_text(list(self.wanted.items()), within_chain=self.include.chain is not None)
        rules = {chain: tuple(sorted(map(nftables.comment, wanted))) for chain, wanted in self.wanted.items() if wanted}
        return NftState(content, rules)

    def _content_without_rules(self) -> Optional[str]:
        """Return the content of the file without our rules; None removes it.

        nft does not load a ruleset if a file that it includes by name is missing.
        """
        if self.before is not None:
            return self.before
        return None if self.include is None or self.include.by_pattern else nftables.HEADER

    def show(self, state: NftState) -> str:
        lines = [f"chain {' '.join(chain)}: {text}\n" for chain, texts in sorted(state.rules.items()) for text in texts]
        return "".join([f"{self.path}:\n{state.content}" if state.content is not None else "", *lines])

    def change(self, now: NftState, then: NftState) -> None:
        _write(self.host, self.path, then.content)
        try:
            if self.include and find_program("nft"):
                self.run(["nft", "--check", "--file", self.include.main])
            self._load(then)
        except FirewallError:
            _write(self.host, self.path, now.content)
            raise
        if self.read_state() != then:
            raise FirewallError("nft did not apply the rules and gave no reason")

    def _load(self, then: NftState) -> None:
        lines = []
        for chain in self.chains:
            wanted = [
                each for each in self.wanted.get(chain, ()) if nftables.comment(each) in then.rules.get(chain, ())
            ]
            lines += nftables.script(chain, self._rules(chain), wanted, self.include or nftables.Include("", False))
        if lines:
            with _temporary_file(self.host, "".join(f"{line}\n" for line in lines)) as path:
                # The kernel applies the file in one transaction.
                self.run(["nft", "--file", path])


@contextlib.contextmanager
def _temporary_file(host: System, content: str) -> Iterator[str]:
    """Yield the path of a temporary file with this content and mode 0600."""
    path = os.path.join(host.state, SCRATCH)
    files.make_private(host.state)
    files.write(path, content.encode(), 0o600, 0, 0)
    try:
        yield path
    finally:
        files.remove(path)


def _write(host: System, path: str, content: Optional[str]) -> None:
    """Replace a file, and keep its owner and mode; remove it if `content` is None."""
    existing = files.read(path)
    if content is None:
        files.remove(path)
    elif existing is None or existing.content != content.encode():
        owner, group = (str(existing.uid), str(existing.gid)) if existing else ("root", "root")
        wanted = FileSpec(path, content, owner, group, existing.mode if existing else 0o644)
        files.stage(host, wanted)
        files.swap(wanted)


def missing_by_hand(chains: Sequence[Tuple[nftables.Chain, Sequence[nftables.Row]]], desired: Desired) -> List[str]:
    """Return the commands that open the ports that nftables chains do not accept yet."""
    found = []
    for chain, rules in chains:
        missing = [each for each in desired.openings if not any(nftables.accepts(rule, each) for rule in rules)]
        found += nftables.by_hand(chain, missing)
    return found


def _text(path: str) -> Optional[str]:
    existing = files.read(path)
    return None if existing is None else existing.content.decode("utf-8", "replace")


# --- all firewalls ---------------------------------------------------------------------------------------------------


def manage(host: System, request: Request, check: bool = False) -> Report:
    """Open the requested ports in the active firewall, and remove our rules from every other one."""
    # Long: one pass over all firewalls, from their states to the report.
    firewalls = active.find_active(host)
    names = list(firewalls.active)
    if request.allow and len(names) > 1:
        raise FirewallError(
            f"Several firewalls filter incoming packets on this host: {' and '.join(firewalls.active.values())}. Each"
            " would have to open the ports, so nothing was changed. Stop all but one, or set chrony_nts_firewall to"
            " none and open the ports yourself."
        )
    name = names[0] if names else "none"
    record = files.load(host, RECORD)
    desired = Desired()
    if request.allow:
        desired = desired_of(host, request)
    report = Report(False, name, [str(each) for each in desired.openings], [], list(firewalls.warnings), [], {})
    marked = firewalls_with_rules()
    if request.allow and not names:
        # Keep our rules in a firewall that an administrator has stopped temporarily.
        return report._replace(opened=[])
    by_hand = []
    if name == "iptables":
        by_hand = _iptables_by_hand(firewalls, desired)
    elif name == "nftables" and not request.nft_include:
        by_hand = missing_by_hand(firewalls.chains, desired)
    managed = _firewalls(host, firewalls, request, record, marked)
    steps = []
    for each in managed:
        now = each.read_state()
        then = each.target(now, desired if each.name == name and _is_wanted(each, request) else Desired())
        by_hand += each.by_hand
        if now != then:
            steps.append((each, now, then))
    diffs = [{"before": one.show(now), "after": one.show(then), **_headers(one)} for one, now, then in steps]
    new_record = _record(request, managed) if request.allow and managed else {}
    if not check and (steps or new_record != record):
        _commit(host, steps, new_record)
    warnings = [*report.warnings, *(text for each in managed for text in each.warnings)]
    if by_hand and request.allow:
        warnings.append(_by_hand_warning(firewalls, name, by_hand))
    closed = dict(record.get("request", {})) if steps and not request.allow else {}
    return report._replace(changed=bool(steps), by_hand=by_hand, warnings=warnings, diffs=diffs, closed=closed)


def _firewalls(
    host: System, firewalls: ActiveFirewalls, request: Request, record: Dict[str, Any], marked: Sequence[str]
) -> List[Firewall]:
    """Return the firewalls to compare: the active one, and those that have our rules."""
    found = []  # type: List[Firewall]
    names = [*firewalls.active, *marked]
    if "firewalld" in names:
        found.append(Firewalld(host, firewalls))
    if "ufw" in names:
        found.append(Ufw(host))
    former = record.get("nft_include", "")
    if "nftables" in firewalls.active and request.nft_include:
        before = record.get("nft_before") if former == request.nft_include else _text(request.nft_include)
        found.append(Nftables(host, firewalls, request.nft_include, before))
    if former and former not in [each.path for each in found if isinstance(each, Nftables)]:
        moved = Nftables(host, firewalls, former, record.get("nft_before"))
        for each in found:
            if isinstance(each, Nftables):
                # The running rules now belong to the new include: clear the former file, and leave the chains.
                each.chains += [chain for chain in moved.chains if chain not in each.chains]
                moved.chains = []
        found.append(moved)
    return found


def _is_wanted(firewall: Firewall, request: Request) -> bool:
    return not isinstance(firewall, Nftables) or firewall.path == request.nft_include


def _record(request: Request, managed: Sequence[Firewall]) -> Dict[str, Any]:
    kept = {"request": dict(request._asdict())}  # type: Dict[str, Any]
    for each in managed:
        if isinstance(each, Nftables) and each.path == request.nft_include:
            kept.update(nft_include=each.path, nft_before=each.before)
    return kept


def _headers(firewall: Firewall) -> Dict[str, str]:
    return {"before_header": firewall.name, "after_header": firewall.name}


def _commit(host: System, steps: Sequence[Tuple[Firewall, Any, Any]], record: Dict[str, Any]) -> None:
    """Apply the changes, all or nothing."""
    before = files.load(host, RECORD)
    if record:
        files.save(host, RECORD, record)
    begun = []  # type: List[Tuple[Firewall, Any]]
    try:
        for firewall, now, then in steps:
            begun.append((firewall, now))
            firewall.change(now, then)
    except (FirewallError, TransactionError, OSError) as problem:
        left = [text for firewall, now in reversed(begun) for text in _restore(firewall, now)]
        _save(host, before)
        ending = ". ".join(left or ["The rules are what they were before"])
        raise FirewallError(f"{problem}. {ending}.") from None
    _save(host, record)


def _restore(firewall: Firewall, before: Any) -> List[str]:
    """Restore an earlier state; return a sentence if that fails."""
    try:
        found = firewall.read_state()
        if found != before:
            firewall.change(found, before)
    except (FirewallError, TransactionError, OSError) as problem:
        return [f"The rules of {firewall.name} could not be put back: {problem}"]
    return []


def _save(host: System, record: Dict[str, Any]) -> None:
    if record:
        files.save(host, RECORD, record)
    else:
        files.remove(os.path.join(host.state, RECORD))


def desired_of(host: System, request: Request) -> Desired:
    """Return the desired openings, and the interfaces that chronyd listens on."""
    device = [request.device] if request.device else None
    interfaces = dict.fromkeys(FAMILIES, device)  # type: Dict[int, Optional[List[str]]]
    families = []
    for family in FAMILIES:
        bound = [address for address in request.addresses if (":" in address) == (family == 6)][-1:]
        if bound and _is_loopback(bound[0]):
            continue
        families.append(family)
        if bound and not _is_wildcard(bound[0]) and not request.device:
            interfaces[family] = interfaces_of(host, bound[0])
    found = openings(request.allow, request.udp_ports, request.tcp_ports, families)
    return Desired([each for each in found if not _is_loopback(each.network)], interfaces)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "::1/128")


def _is_wildcard(address: str) -> bool:
    return address in ("0.0.0.0", "::")


def interfaces_of(host: System, address: str) -> Optional[List[str]]:
    """Return the interfaces that have an address; None (meaning all interfaces) if none has it now."""
    done = host.run(["ip", "-oneline", "address", "show"])
    found = re.findall(r"^\d+: (\S+)\s+inet6? (\S+?)/", done.stdout, re.MULTILINE)
    wanted = ipaddress.ip_address(address)
    names = sorted({name for name, text in found if ipaddress.ip_address(text.partition("%")[0]) == wanted})
    return names or None


def _iptables_by_hand(firewalls: ActiveFirewalls, desired: Desired) -> List[str]:
    missing = [
        each
        for each in desired.openings
        if each.family in firewalls.iptables and not iptables.accepts(firewalls.iptables[each.family], each)
    ]
    return iptables.by_hand(missing)


def _by_hand_warning(firewalls: ActiveFirewalls, name: str, by_hand: Sequence[str]) -> str:
    advice = {
        "iptables": (
            "iptables keeps no rules by itself: save them as you save the others (`service iptables save` of"
            " iptables-services, `netfilter-persistent save` on Debian)."
        ),
        "nftables": (
            "Write them into your ruleset, or include a file in that chain and name it in"
            " chrony_nts_firewall_nft_include."
        ),
    }
    return (
        f"{firewalls.active.get(name, name)} refuses clients of this NTS server, and the role does not change its"
        f" rules. {advice[name]} To silence this warning, set chrony_nts_firewall to none. Rules: {'; '.join(by_hand)}"
    )
