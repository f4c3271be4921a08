# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The conditions that the monitor watches, and their changes since its last run.

Pure functions. The monitor logs a condition when its state or its cause changes, and not again while it lasts.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional

from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import kind_of, label_of

Row = Dict[str, Any]

# States of hosts and of sources that need no action.
GOOD_STATES = ("authenticated", "partial", "synchronised", "ok")
# A key exchange under way, or a chronyd that has just started.
WAITING_STATES = ("pending",)
# Two reports of one fault may differ in numbers, and in the text after the cause.
NUMBER = re.compile(r"\d+([.,:]\d+)*")
END_OF_CAUSE = re.compile(r"; |\. |\.$")
COLLECTOR = "collector"


class Condition(NamedTuple):
    """The state of a watched item, and the reason with its remedy."""

    state: str
    text: str = ""

    @property
    def signature(self) -> str:
        """Return the key that equal reports share: the state and the cause, without its numbers."""
        cause = END_OF_CAUSE.split(self.text, 1)[0]
        return f"{self.state} {NUMBER.sub('N', cause)}"


class Change(NamedTuple):
    """The change of a condition. old is None for a new condition, new is None for one that no longer exists."""

    name: str
    old: Optional[Condition]
    new: Optional[Condition]

    @property
    def level(self) -> str:
        """Return the name of the syslog priority."""
        if self.new is None or self.new.state in GOOD_STATES:
            return "notice"
        return "info" if self.new.state in WAITING_STATES else "warning"

    def __str__(self) -> str:
        was = f"{self.old.state} -> " if self.old else ""
        if self.new is None:
            return f"{self.name}: {was}gone"
        text = f": {self.new.text}" if self.new.text and self.new.state != "authenticated" else ""
        return f"{self.name}: {was}{self.new.state}{text}"


def conditions(facts: Optional[Row], server: Optional[Row], failures: List[str]) -> Dict[str, Condition]:
    """Return all conditions by name; failures are those of the collector itself."""
    found = {COLLECTOR: Condition("failed", " ".join(failures)) if failures else Condition("ok")}
    if facts is not None:
        found["host"] = _host(facts)
        for source in facts["sources"] or []:
            if kind_of(source) == "nts":
                name = f"source {label_of(source, facts['sources'])}"
                found[name] = Condition(source["nts"]["state"], " ".join(source["nts"]["reasons"]))
    for pair in (server or {}).get("pairs", []):
        state = "failed" if pair["problem"] else "ok"
        found[f"certificate {pair['id']}"] = Condition(state, f"{pair['problem']}." if pair["problem"] else "")
    return found


def _host(facts: Row) -> Condition:
    if facts.get("goal") == "synchronised" and facts["goal_reached"]:
        return Condition("synchronised")
    return Condition(facts["nts"]["state"], " ".join(facts["nts"]["reasons"]))


def changes(old: Dict[str, Condition], new: Dict[str, Condition]) -> List[Change]:
    """Return the changes, the host first.

    While chronyd's reports are unreadable, their conditions are missing. keep() preserves the old ones.
    """
    names = sorted({*old, *new}, key=lambda name: (name != "host", name))
    found = []
    for name in names:
        was, becomes = old.get(name), new.get(name)
        if was is None and becomes is not None and name != "host" and becomes.state in GOOD_STATES:
            continue  # Do not report a new condition that is good from its start.
        if was is None or becomes is None or was.signature != becomes.signature:
            found.append(Change(name, was, becomes))
    return found


def keep(old: Dict[str, Condition], new: Dict[str, Condition], facts: Optional[Row]) -> Dict[str, Condition]:
    """Return the new conditions, and the old ones of the items that this run could not check."""
    unchecked = []  # type: List[str]
    if facts is None or facts["sources"] is None:
        unchecked.append("source ")
    if facts is None or not facts["running"]:
        unchecked.append("certificate ")
    if facts is None:
        unchecked.append("host")
    kept = {name: condition for name, condition in old.items() if unchecked and name.startswith(tuple(unchecked))}
    return {**kept, **new}


def to_json(found: Dict[str, Condition]) -> Row:
    """Return conditions in the form of the state file."""
    return {name: list(condition) for name, condition in found.items()}


def from_json(saved: Any) -> Dict[str, Condition]:
    """Return the conditions of a state file, without damaged entries."""
    if not isinstance(saved, dict):
        return {}
    return {
        str(name): Condition(*map(str, row)) for name, row in saved.items() if isinstance(row, list) and len(row) == 2
    }
