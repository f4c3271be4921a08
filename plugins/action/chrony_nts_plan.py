# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of a host, read its facts, and plan it: one task, so that it costs a host of a fleet one task."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.securetime.nts.plugins.plugin_utils import (
    _answers,
    _clock,
    _islands,
    _plan,
    _requests,
    _roots,
    _rules,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs

FACTS = "securetime.nts.chronyc_facts"


# ansible-core does not ship py.typed, so that mypy takes ActionBase for Any.
class ActionModule(ActionBase):  # type: ignore[misc]
    """Ansible's entry point."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan; see the documentation of the module of the same name."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, given = self.validate_argument_spec(
            {
                "variables": {"type": "dict", "required": True},
                "platforms": {"type": "dict", "required": True},
                "first_seen": {"type": "dict"},
            }
        )
        if "chrony_nts_sources" not in given["variables"]:
            # Before ansible-core 2.19, a date or .inf in a variable makes text of all of them.
            return {**result, "failed": True, "msg": "A chrony_nts_ variable holds a date or .inf in YAML: quote it."}
        host = str((task_vars or {}).get("inventory_hostname"))
        shadowed = _answers.shadowed(task_vars or {}, constants.INJECT_FACTS_AS_VARS, self._task)
        if shadowed:
            return {**result, "failed": True, "msg": _answers.shadowed_message(host, shadowed)}
        names = [name for name in task_vars or {} if isinstance(name, str)]
        for warning in _rules.unknown_names(names, given["variables"]):
            Display().warning(warning)
        found = _rules.mistakes(given["variables"], names)
        if boolean(given["variables"]["chrony_nts_server_enabled"], strict=False):
            found += _requests.label_problems(host)
        if found:
            return {**result, "failed": True, "msg": _rules.message(found)}
        inputs = Inputs(given["variables"])
        for warning in _warnings(host, inputs, task_vars or {}):
            Display().warning(warning)
        packages = _plan.package_names(given["platforms"], inputs["platform"])
        before = time.time()
        sent = self._execute_module(FACTS, {"packages": packages}, task_vars=task_vars)
        after = time.time()
        read = _answers.cleaned(_answers.explained(sent, host), ("chrony",))
        chrony = read.get("ansible_facts", {}).pop("chrony", None)
        if read.get("failed") or not isinstance(chrony, dict):
            # Nothing else of it: a result by the name of the plan would be taken for the plan.
            return {**result, **_answers.failure(read)}
        # Warnings, and the interpreter that was found.
        more: dict[str, Any] = {
            name: read[name] for name in ("warnings", "deprecations", "ansible_facts") if name in read
        }
        planned = _plan.plan(inputs, given["platforms"], chrony, given["first_seen"])
        planned["problems"] += _roots.lost(inputs, _roots.roots(inputs), chrony["environment"]["own_ca"])
        _clock.add(planned, inputs, chrony, before, after)
        if planned["problems"]:
            return {**result, **more, "failed": True, "msg": _rules.message(planned["problems"])}
        # Not as a message of the result, with which Ansible would print the whole plan.
        for note in planned["notes"]:
            Display().display(f"{host}: {note}")
        # Not the facts: stored twice for each host, they would be most of what a fleet takes of memory.
        # Plain values: those of the variables carry where they come from, which would be kept for each host.
        return {**result, **more, "changed": False, "plan": json.loads(json.dumps(planned))}


def _warnings(host: str, inputs: Inputs, variables: dict[str, Any]) -> Iterator[str]:
    """Yield what the operator should know of several hosts together, though no one of them has a mistake."""
    hostvars = variables.get("hostvars", {})
    for path in _requests.left_over(str(inputs["ca_dir"]), hostvars):
        yield (
            f"{path} is the CA of no server of this inventory that signs itself, and clients trust it. Run the"
            " playbook securetime.nts.site with chrony_nts_site_forget_server_cas=true to end that."
        )
    play = variables.get("ansible_play_hosts_all", [])
    islands = _islands.warning(host, inputs, play, hostvars, AnsibleError)
    if islands:
        yield islands
