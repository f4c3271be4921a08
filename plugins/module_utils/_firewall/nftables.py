# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Rules of nftables, in a file that the operator's own ruleset includes.

Every base chain of the input hook must accept a packet. So a table of our own could not open a port that another table
drops. Our rules go into the operator's chain instead. The operator chooses the position of the include in it.
"""

import fnmatch
import glob
import ipaddress
import json
import os
import re
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import (
    FirewallError,
    Opening,
    covers,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import MARK

Row = Dict[str, Any]

# The rulesets that nftables.service loads on Debian and on Enterprise Linux.
MAIN_FILES = ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf")
# nft resolves a relative include path from here.
INCLUDE_FOLDER = "/etc"
# nftables families whose input chains filter packets for the host, and the IP families of each.
FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
HEADER = "# Managed by Ansible: collection securetime.nts, module nts_firewall.\n"
MAXIMUM_DEPTH = 16
# Statements in a chain block that are not rules.
NOT_RULES = re.compile(r"^(?:type|policy|devices?|flags|comment|include|define|undefine|redefine)\b")
REFUSALS = ("drop", "reject")


class Chain(NamedTuple):
    """A base chain of the input hook."""

    family: str
    table: str
    name: str
    policy: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"

    @property
    def by_iptables(self) -> bool:
        """Return whether the program iptables manages this chain."""
        return (self.table, self.name) == ("filter", "INPUT") and self.family in ("ip", "ip6")


class Include(NamedTuple):
    """The position at which the operator's ruleset includes our file.

    `chain` is None at the top level. `before` is the number of rules before the include, and `rules` that of the chain.
    """

    main: str
    by_pattern: bool
    chain: Optional[Tuple[str, str, str]] = None
    before: int = 0
    rules: int = 0


# --- the ruleset -----------------------------------------------------------------------------------------------------


def read_chains(text: str) -> List[Chain]:
    """Parse the output of `nft --json list chains`; return the base chains of the input hook for IP packets."""
    rows = [row["chain"] for row in _objects(text) if "chain" in row]
    return [
        Chain(row["family"], row["table"], row["name"], row.get("policy", "accept"))
        for row in rows
        if row.get("hook") == "input" and row["family"] in FAMILIES
    ]


def read_rules(text: str) -> List[Row]:
    """Parse the output of `nft --json list chain`; return the rules in order."""
    return [row["rule"] for row in _objects(text) if "rule" in row]


def _objects(text: str) -> List[Row]:
    try:
        found = json.loads(text)["nftables"]
    except (ValueError, KeyError, TypeError):
        raise FirewallError("`nft --json` printed no JSON. Install an nft that has it.") from None
    return list(found)


def refuses_the_rest(rules: Sequence[Row]) -> bool:
    """Return whether the last rule drops or rejects every packet that reaches it."""
    return bool(rules) and _verdict(rules[-1]) in REFUSALS and not any("match" in each for each in rules[-1]["expr"])


def _verdict(rule: Row) -> str:
    last = (rule.get("expr") or [{}])[-1]
    return next(iter(last), "") if isinstance(last, dict) else ""


def is_ours(rule: Row) -> bool:
    """Return whether a rule has our mark."""
    return str(rule.get("comment", "")).startswith(f"{MARK}: ")


def accepts(rule: Row, opening: Opening) -> bool:
    """Return whether a rule accepts all packets of an opening; False for a rule with an unknown match."""
    if _verdict(rule) != "accept":
        return False
    matches = [each["match"] for each in rule["expr"] if "match" in each]
    passive = {"match", "counter", "accept", "log"}
    if not matches or any(set(each) - passive for each in rule["expr"]):
        return False
    return all(_matches(each, opening) for each in matches)


def _matches(match: Row, opening: Opening) -> bool:
    left, right, operator = match.get("left"), match.get("right"), match.get("op")
    if not isinstance(left, dict) or operator not in ("==", "in"):
        return False
    items = right.get("set", [right]) if isinstance(right, dict) else right if isinstance(right, list) else [right]
    payload, meta = left.get("payload", {}), left.get("meta", {})
    if payload.get("field") == "dport" and payload.get("protocol") in (opening.protocol, "th"):
        return any(_has_port(item, opening.port) for item in items)
    if payload.get("field") == "saddr" and payload.get("protocol") == ("ip6" if opening.family == 6 else "ip"):
        return any(_has_network(item, opening.network) for item in items)
    if meta.get("key") == "l4proto":
        return opening.protocol in items
    if meta.get("key") == "nfproto":
        return f"ipv{opening.family}" in items
    return left.get("ct", {}).get("key") == "state" and "new" in items


def _has_port(item: Any, port: int) -> bool:
    if isinstance(item, dict) and "range" in item:
        first, last = item["range"]
        return isinstance(first, int) and isinstance(last, int) and first <= port <= last
    return bool(item == port)


def _has_network(item: Any, network: str) -> bool:
    if isinstance(item, dict) and "prefix" in item:
        return covers(f"{item['prefix']['addr']}/{item['prefix']['len']}", network)
    if isinstance(item, dict) and "range" in item:
        inner = ipaddress.ip_network(network)
        try:
            first, last = (ipaddress.ip_address(each) for each in item["range"])
        except ValueError:
            return False
        same_family = first.version == last.version == inner.version
        return same_family and int(first) <= int(inner[0]) and int(last) >= int(inner[-1])
    return isinstance(item, str) and covers(item, network)


# --- our rules -------------------------------------------------------------------------------------------------------


def comment(opening: Opening) -> str:
    """Return the comment of a rule, which identifies the opening."""
    return f"{opening.comment} {opening}"


def statement(opening: Opening) -> str:
    """Return the nft rule of an opening."""
    saddr = "ip6 saddr" if opening.family == 6 else "ip saddr"
    return f'{saddr} {opening.network} {opening.protocol} dport {opening.port} accept comment "{comment(opening)}"'


def include_text(by_chain: Sequence[Tuple[Tuple[str, str, str], Sequence[Opening]]], within_chain: bool) -> str:
    """Return the content of our file: bare rules for an include within a chain, else blocks of tables and chains."""
    lines = []
    for (family, table, name), openings in by_chain:
        rules = [statement(each) for each in openings]
        if within_chain:
            lines += rules
        elif rules:
            lines += [
                f"table {family} {table} {{",
                f"\tchain {name} {{",
                *(f"\t\t{each}" for each in rules),
                "\t}",
                "}",
            ]
    return HEADER + "".join(f"{line}\n" for line in lines)


def script(
    chain: Tuple[str, str, str], rules: Sequence[Row], openings: Sequence[Opening], include: Include
) -> List[str]:
    """Return the nft commands that change our rules of a chain into the desired ones."""
    wanted = {comment(each): each for each in openings}
    ours = [rule for rule in rules if is_ours(rule)]
    present = [rule["comment"] for rule in ours]
    chain_words = " ".join(chain)
    found = [
        f"delete rule {chain_words} handle {rule['handle']}"
        for number, rule in enumerate(ours)
        if rule["comment"] not in wanted or rule["comment"] in present[:number]
    ]
    anchor = _anchor(rules, include)
    missing = [each for text, each in wanted.items() if text not in present]
    if anchor is None:
        return found + [f"add rule {chain_words} {statement(each)}" for each in missing]
    return found + [f"insert rule {chain_words} handle {anchor} {statement(each)}" for each in missing]


def _anchor(rules: Sequence[Row], include: Include) -> Optional[int]:
    """Return the handle of the rule before which to insert ours; None for the end of the chain.

    If the running chain differs from that of the file, insert ours after all other rules but a last refusal. So they
    override no rule of the operator.
    """
    others = [rule for rule in rules if not is_ours(rule)]
    if include.chain is not None and include.rules == len(others):
        return int(others[include.before]["handle"]) if include.before < len(others) else None
    return int(others[-1]["handle"]) if refuses_the_rest(others) else None


def by_hand(chain: Chain, openings: Iterable[Opening]) -> List[str]:
    """Return the commands that an operator can type."""
    found = [each for each in openings if each.family in FAMILIES[chain.family]]
    # The single quotes are for the shell, because nft itself needs the double quotes of the comment.
    return [f"nft 'insert rule {chain} {statement(each)}'" for each in found]


# --- the operator's files --------------------------------------------------------------------------------------------


def find_include(path: str, mains: Sequence[str], read: Callable[[str], Optional[str]]) -> Optional[Include]:
    """Return the position at which the ruleset of nftables.service includes a file; None if it does not.

    `read` returns the text of a file, or None if it does not exist.
    """
    for main in mains:
        text = read(main)
        found = _Reader(path, main, read)
        if text is not None:
            found.file(text, [], 0)
        if found.position:
            chain = found.position.chain
            return found.position._replace(rules=found.counts.get(chain, 0)) if chain else found.position
    return None


class _Reader:
    """A parser of the blocks, statements and includes of nft's language."""

    def __init__(self, path: str, main: str, read: Callable[[str], Optional[str]]) -> None:
        self.path = path
        self.main = main
        self.read = read
        self.position = None  # type: Optional[Include]
        # The number of rules of each chain, without ours.
        self.counts = {}  # type: Dict[Tuple[str, str, str], int]

    def file(self, text: str, blocks: List[str], depth: int) -> None:
        """Parse a file that is included within these blocks."""
        inner = list(blocks)
        current = ""
        for token in re.findall(r'"[^"\n]*"|#[^\n]*|[{};\n]|[^"#{};\n]+|"', text.replace("\\\n", " ")):
            if token == "{":
                inner.append(current.strip())
                current = ""
            elif token == "}":
                self.statement(current, inner, depth)
                block = inner.pop() if len(inner) > len(blocks) else ""
                # After a set within a rule, the statement continues.
                current = "" if _names_a_block(block) else f"{block} {{}}"
            elif token in (";", "\n"):
                # Within a set of a rule, the separators divide elements, not statements.
                if not inner or _names_a_block(inner[-1]):
                    self.statement(current, inner, depth)
                current = ""
            elif not token.startswith("#"):
                current += token
        self.statement(current, inner, depth)

    def statement(self, text: str, blocks: List[str], depth: int) -> None:
        """Count a rule, or follow an include."""
        words = text.split()
        if not words or (blocks and not _names_a_block(blocks[-1])):
            return
        if words[0] == "include":
            self.include(text.split(None, 1)[-1].strip().strip('"'), blocks, depth)
        chain = _chain(blocks)
        if chain and not NOT_RULES.match(text.strip()):
            self.counts[chain] = self.counts.get(chain, 0) + 1
        if not blocks and words[:2] in (["add", "rule"], ["insert", "rule"]):
            named = (
                words[2:] if words[2:3] and words[2] in (*FAMILIES, "arp", "bridge", "netdev") else ["ip", *words[2:]]
            )
            added = (named[0], *named[1:3])
            if len(added) == 3:
                self.counts[added] = self.counts.get(added, 0) + 1

    def include(self, name: str, blocks: List[str], depth: int) -> None:
        """Note the position of our file, or parse another included file."""
        pattern = os.path.join(INCLUDE_FOLDER, name)
        by_pattern = glob.has_magic(pattern)
        # As in nft, a pattern matches no file whose name begins with a dot.
        files = sorted({*glob.glob(pattern), *([self.path] if _fits(self.path, pattern) else [])})
        for path in files if by_pattern else [pattern]:
            if os.path.normpath(path) == os.path.normpath(self.path):
                chain = _chain(blocks)
                if self.position is None and (chain or not blocks):
                    self.position = Include(self.main, by_pattern, chain, self.counts.get(chain, 0) if chain else 0)
            elif depth < MAXIMUM_DEPTH:
                text = self.read(path)
                if text is not None:
                    self.file(text, blocks, depth + 1)


def _fits(path: str, pattern: str) -> bool:
    folder, name = os.path.split(pattern)
    return os.path.normpath(folder) == os.path.dirname(path) and fnmatch.fnmatchcase(os.path.basename(path), name)


def _names_a_block(text: str) -> bool:
    return (
        re.match(r"(?:add |create )?(?:table|chain|set|map|flowtable|counter|quota|limit|ct|secmark|synproxy)\b", text)
        is not None
    )


def _chain(blocks: Sequence[str]) -> Optional[Tuple[str, str, str]]:
    """Return the chain of the innermost block; None if that block is no chain."""
    if len(blocks) != 2:
        return None
    table, chain = (re.sub(r"^(?:add|create) ", "", block).split() for block in blocks)
    if table[:1] != ["table"] or chain[:1] != ["chain"] or len(chain) < 2 or len(table) < 2:
        return None
    family, name = (table[1], table[2]) if len(table) > 2 else ("ip", table[1])
    return family, name, chain[1]
