# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Rules of ufw. Their comments mark ours."""

import re
from typing import Iterable, List, NamedTuple, Optional

from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import (
    Opening,
    covers,
    is_everything,
    network,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import MARK

# ACTION PROTOCOL PORT DESTINATION SOURCE_PORT SOURCE [APPLICATIONS] DIRECTION [comment=HEXADECIMAL]
TUPLE = re.compile(
    r"^### tuple ### (?P<action>\w+) (?P<protocol>\S+) (?P<port>\S+) (?P<destination>\S+) (?P<source_port>\S+)"
    r" (?P<source>\S+)(?: \S+ \S+)? (?P<direction>in|out|\S+_\S+)(?: comment=(?P<comment>[0-9a-f]*))?$",
    re.MULTILINE,
)
REFUSALS = ("deny", "reject")
# Values of ENABLED and IPV6 that ufw accepts as yes.
IS_YES = r'^{name}="?yes"?\s*$'


class Rule(NamedTuple):
    """A rule of ufw. `opening` is None unless the rule has the form of ours; its action does not matter."""

    text: str
    opening: Optional[Opening]
    ours: bool


def says_yes(text: str, name: str) -> bool:
    """Return whether a settings file of ufw has NAME=yes."""
    return re.search(IS_YES.format(name=name), text, re.MULTILINE | re.IGNORECASE) is not None


def read_rules(text: str) -> List[Rule]:
    """Parse user.rules or user6.rules."""
    return [_rule(match) for match in TUPLE.finditer(text)]


def _rule(match: "re.Match[str]") -> Rule:
    comment = bytes.fromhex(match.group("comment") or "").decode("utf-8", "replace")
    text = match.group().replace("### tuple ### ", "").partition(" comment=")[0]
    opening = None
    is_plain = (match.group("source_port"), match.group("direction")) == ("any", "in")
    is_plain = is_plain and match.group("protocol") in ("tcp", "udp") and is_everything(match.group("destination"))
    if is_plain and match.group("port").isdigit():
        opening = Opening(network(match.group("source")), match.group("protocol"), int(match.group("port")))
    return Rule(f"{text} '{comment}'" if comment else text, opening, comment.startswith(f"{MARK}: "))


def ours(rules: Iterable[Rule]) -> List[Opening]:
    """Return the openings of our rules."""
    return [rule.opening for rule in rules if rule.ours and rule.opening]


def to_add(rules: Iterable[Rule], wanted: Iterable[Opening]) -> List[Opening]:
    """Return the desired openings for which ufw has no rule yet.

    ufw holds one rule for each opening. To add ours would overwrite the action and the comment of the operator's rule.
    """
    existing = {rule.opening for rule in rules}
    return [opening for opening in wanted if opening not in existing]


def to_remove(rules: Iterable[Rule], wanted: Iterable[Opening]) -> List[Opening]:
    """Return the openings of our rules that are no longer wanted."""
    return [opening for opening in ours(rules) if opening not in set(wanted)]


def refusals(text: str, wanted: Iterable[Opening]) -> List[str]:
    """Return the operator's rules that refuse a whole opening. In ufw the first matching rule wins."""
    found = []
    for match in TUPLE.finditer(text):
        for opening in wanted:
            fits = match.group("protocol") in ("any", opening.protocol) and _has_port(match.group("port"), opening.port)
            fits = fits and match.group("direction") == "in" and match.group("source_port") == "any"
            if fits and match.group("action") in REFUSALS and covers(match.group("source"), opening.network):
                found.append(_rule(match).text)
                break
    return found


def _has_port(text: str, port: int) -> bool:
    for part in text.split(","):
        first, _colon, last = part.partition(":")
        if part == "any" or (first.isdigit() and int(first) <= port <= int(last or first)):
            return True
    return False


def command(opening: Opening, delete: bool = False) -> List[str]:
    """Return the command that adds or deletes one of our rules."""
    # `any` would mean both families.
    anywhere = "::/0" if opening.family == 6 else "0.0.0.0/0"
    rule = ["allow", "proto", opening.protocol, "from", opening.network, "to", anywhere, "port", str(opening.port)]
    return ["ufw", "delete", *rule] if delete else ["ufw", *rule, "comment", opening.comment]


def show(opened: Iterable[Opening]) -> str:
    """Return our rules as text, for a diff."""
    return "".join(
        f"allow proto {each.protocol} from {each.network} to any port {each.port} comment '{each.comment}'\n"
        for each in sorted(opened)
    )
