# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Rules of iptables. The operator adds them, because iptables does not save rules."""

import re
import shlex
from typing import Iterable, List

from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import Opening, covers, is_everything
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import MARK

REFUSALS = ("DROP", "REJECT")
# Parts that a rule may have besides address, protocol and port, because they exclude no new client.
HARMLESS = (
    r"-m (?:tcp|udp|comment|conntrack|state)\b",
    r"--comment (?:\"[^\"]*\"|\S+)",
    r"--(?:ct)?state \S*NEW\S*",
    r"-A INPUT",
    r"-j ACCEPT",
)


def filters(text: str) -> bool:
    """Return whether the chain of `iptables -S INPUT` refuses packets that no rule accepts."""
    lines = text.splitlines()
    last = lines[-1] if lines else ""
    unconditional = re.fullmatch(rf"-A INPUT -j (?:{'|'.join(REFUSALS)})(?: --reject-with \S+)?", last)
    return "-P INPUT DROP" in lines or unconditional is not None


def accepts(text: str, opening: Opening) -> bool:
    """Return whether a rule of `iptables -S INPUT` accepts all of an opening; ignore rules with unknown parts."""
    return any(_accepts(line, opening) for line in text.splitlines())


def _accepts(line: str, opening: Opening) -> bool:
    if not line.startswith("-A INPUT ") or not line.endswith("-j ACCEPT"):
        return False
    rest = line
    for pattern in HARMLESS:
        rest = re.sub(pattern, "", rest)
    words = rest.split()
    given = dict(zip(words[::2], words[1::2]))
    if set(given) - {"-s", "-p", "--dport"} or len(words) % 2:
        return False
    first, _colon, last = given.get("--dport", "0:65535").partition(":")
    return (
        given.get("-p", opening.protocol) == opening.protocol
        and covers(given.get("-s", "::/0" if opening.family == 6 else "0.0.0.0/0"), opening.network)
        and int(first) <= opening.port <= int(last or first)
    )


def by_hand(openings: Iterable[Opening]) -> List[str]:
    """Return the commands that an operator can type."""
    return [" ".join(map(shlex.quote, _command(opening))) for opening in openings]


def _command(opening: Opening) -> List[str]:
    program = "ip6tables" if opening.family == 6 else "iptables"
    source = [] if is_everything(opening.network) else ["-s", opening.network]
    rule = ["-p", opening.protocol, *source, "--dport", str(opening.port)]
    return [program, "-I", "INPUT", *rule, "-m", "comment", "--comment", f"{MARK}: {opening.service}", "-j", "ACCEPT"]
