# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Choose the least disruptive actions that apply a change of chronyd's files."""

import re
from typing import Dict, List, NamedTuple, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.files import FileSpec, System
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import KEYS, NOTHING, RESTART, SOURCES
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import LOST_PID, runs
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd, is_replaced, read_version

UNIT = "UNIT"
# Every action, in the order of execution. transaction.py implements those without a command.
COMMANDS = {
    "stop-rivals": (),
    "stop": (),
    "disable": ("systemctl", "disable", UNIT),
    "daemon-reload": ("systemctl", "daemon-reload"),
    "enable": ("systemctl", "enable", UNIT),
    "drop-cookies": (),
    "restart": (),
    "reload-sources": ("chronyc", "reload", "sources"),
    "rekey": ("chronyc", "rekey"),
    "mask-rivals": (),
}  # type: Dict[str, Sequence[str]]
# Actions after which chronyd runs with other files, or not at all.
RELOADING_ACTIONS = {"restart", "reload-sources", "rekey", "stop"}
# UnitFileState of a unit that needs no `systemctl enable`.
ENABLED = ("enabled", "enabled-runtime", "alias", "static", "indirect")
# Ranges of versions in which `chronyc reload sources` works, each without its end (chrony's NEWS). Before 4.5 it
# ignores changed options. 4.6 and 4.6.1 duplicate the sources; Debian fixed that in 4.6.1-3.
RELOADS = ((4, 5), (4, 6)), ((4, 7), (99,))
RELOADS_IN_DEBIAN = re.compile(r"4\.6\.1-([3-9]|[1-9]\d)")


class Decision(NamedTuple):
    """The actions, and a sentence for each reason."""

    actions: List[str]
    reasons: List[str]


def decide(
    host: System,
    wanted: Sequence[FileSpec],
    changes: Sequence[FileSpec],
    loaded: Dict[str, str],
    record: Dict[str, str],
    state: Dict[str, str],
    enabled: bool = True,
) -> Decision:
    """Return the least disruptive actions that apply every change, and the reasons."""
    actions = _reloads_units(changes, state) + _enables(state, enabled)
    if state.get("ActiveState") != "active":
        lost = f"systemd has lost the running chronyd (process {state[LOST_PID]})" if LOST_PID in state else ""
        return Decision([*actions, "restart"], [lost or "chronyd is not running"])
    effects = {item.path: item.effect for item in wanted}
    why = {item.path: f"{item.path} changed" for item in changes}
    for path in sorted(loaded):
        if record.get(path) != loaded[path]:
            why.setdefault(path, f"{path} changed since chronyd was started")
    why = {path: reason for path, reason in why.items() if effects.get(path, RESTART) != NOTHING}
    needed = {effects.get(path, RESTART) for path in why}
    replaced = is_replaced(int(state.get("MainPID") or 0))
    # After an upgrade without a restart, the installed program has parsed the files, not the running one.
    restarts = ["chronyd's program was replaced since its start"] if replaced else []
    if restarts or RESTART in needed or (SOURCES in needed and not reloads_sources(host)):
        actions.append("restart")
    else:
        actions += [action for effect, action in ((SOURCES, "reload-sources"), (KEYS, "rekey")) if effect in needed]
    return Decision(actions, [*restarts, *why.values()])


def decide_to_stop(changes: Sequence[FileSpec], state: Dict[str, str], enabled: bool = False) -> Decision:
    """Return the actions that leave chronyd stopped, whether it runs now or not."""
    actions = ["stop"] if runs(state) else []
    return Decision(actions + _enables(state, enabled) + _reloads_units(changes, state), [])


def _enables(state: Dict[str, str], enabled: bool) -> List[str]:
    """Return the action that enables or disables the unit, if one is necessary."""
    found = state.get("UnitFileState")
    if enabled:
        return [] if found in ENABLED else ["enable"]
    return ["disable"] if found in ("enabled", "enabled-runtime") else []


def _reloads_units(changes: Sequence[FileSpec], state: Dict[str, str]) -> List[str]:
    changed = any("/systemd/system/" in item.path for item in changes) or state.get("NeedDaemonReload") == "yes"
    return ["daemon-reload"] if changed else []


def reloads_sources(host: System) -> bool:
    """Return whether `chronyc reload sources` of the installed chrony yields the sources that the files name."""
    shown = read_version(host.run([find_chronyd() or "chronyd", "-v"]).stdout)["version"] or ""
    version = tuple(map(int, re.findall(r"\d+", shown)))
    if any(first <= version < last for first, last in RELOADS):
        return True
    package = host.run(["dpkg-query", "--show", "--showformat=${Version}", "chrony"])
    return package.status == 0 and bool(RELOADS_IN_DEBIAN.match(package.stdout))
