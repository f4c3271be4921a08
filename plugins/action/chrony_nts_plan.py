# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of a host, read its facts, and plan it, all in one task, because each task costs a fleet time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.display import Display

from ansible_collections.securetime.nts.plugins.plugin_utils import (
    _answers,
    _clock,
    _islands,
    _plan,
    _requests,
    _roots,
    _rules,
    _variables,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._action import host_of
from ansible_collections.securetime.nts.plugins.plugin_utils._config_action import CONFIG, ConfigAction
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs

# Tags that skip a part of the role: its phases, and those with a meaning for Ansible.
SKIPPING = {"preflight", "install", "certificate", "configure", "firewall", "verify", "all", "always", "tagged"}


class ActionModule(ConfigAction):
    """Ansible's entry point."""

    _supports_async = False

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plan; see the documentation of the module of the same name."""
        # The role alone gives these. Ansible's validation would copy them deeply, a quarter of this task's CPU time.
        given = self._task.args
        host = host_of(task_vars)
        found = _mistakes(host, given["variables"], task_vars)
        if found:
            return {"failed": True, "msg": _rules.message(found)}
        inputs = Inputs(given["variables"])
        for warning in _warnings(host, inputs, task_vars):
            Display().warning(warning)
        packages = _plan.package_names(given["platforms"], inputs["platform"])
        before = time.time()
        # The module that later applies the plan also reads the facts, so that an unchanged host gets one module.
        read = self.run_module(task_vars, CONFIG, {"config_file": "", "service": "", "survey": {"packages": packages}})
        after = time.time()
        chrony = read.get("ansible_facts", {}).pop("chrony", None)
        if read.get("failed") or not isinstance(chrony, dict):
            # Return the failure alone: the role would take a result with other keys for the plan.
            return _answers.failure(read)
        # Pass on the warnings, and the interpreter that Ansible discovered.
        more: dict[str, Any] = {
            name: read[name] for name in ("warnings", "deprecations", "ansible_facts") if name in read
        }
        planned = _plan.plan(inputs, given["platforms"], chrony, given.get("first_seen"))
        planned["problems"] += _roots.lost(inputs, _roots.roots(inputs), chrony["environment"]["own_ca"])
        _clock.add(planned, inputs, chrony, before, after)
        if planned["problems"]:
            return {**more, "failed": True, "msg": _rules.message(planned["problems"])}
        # Display each note directly: with a message in the result, Ansible would print the whole plan.
        for note in planned["notes"]:
            Display().display(f"{host}: {note}")
        # Leave out the facts: stored twice for each host, they would take most of the memory of a fleet's run.
        # Convert to plain values: Ansible's values carry their origin, which Ansible would keep for each host.
        planned = json.loads(json.dumps({**planned, "prepares": _plan.prepares(planned)}))
        unchanged = self._is_unchanged(task_vars, inputs, planned, read.get("applied"))
        # Ansible keeps the result for each host, and each of its forks has the memory of all.
        kept = {"skip_for": planned["skip_for"]} if unchanged else planned
        return {**more, "changed": False, "plan": kept, "unchanged": unchanged}

    def _is_unchanged(
        self, task_vars: Mapping[str, Any], inputs: Inputs, planned: Mapping[str, Any], applied: Any
    ) -> bool:
        """Return whether the rest of the role would do nothing.

        applied is the digest that the survey returns. A run with tags runs each phase that they select, and a plan
        within a change is for the phases that follow.
        """
        selected = list(task_vars.get("ansible_run_tags", [])) != ["all"]
        selected = selected or not SKIPPING.isdisjoint(task_vars.get("ansible_skip_tags", []))
        if not applied or selected or self._task.args.get("first_seen"):
            return False
        if planned["prepares"] or planned["renewal"] or _roots.may_change(inputs, _roots.roots(inputs)):
            return False
        return bool(self.parameters_of(task_vars, inputs, planned)["digest"] == applied)


def _mistakes(host: str, variables: Mapping[str, Any], task_vars: Mapping[str, Any]) -> list[str]:
    """Return every mistake in the variables of the role; warn of unknown names."""
    missing = _variables.missing(variables)
    if missing:
        return missing
    names = [name for name in task_vars if isinstance(name, str)]
    for warning in _rules.unknown_names(names, variables):
        Display().warning(warning)
    found = _rules.mistakes(variables, names)
    serves = boolean(variables["chrony_nts_server_enabled"], strict=False)
    return found + (_requests.label_problems(host) if serves else [])


def _warnings(host: str, inputs: Inputs, variables: Mapping[str, Any]) -> Iterator[str]:
    """Yield warnings about several hosts together, which no single host shows."""
    hostvars = variables.get("hostvars", {})
    for path in _requests.left_over_if_known(str(inputs["ca_dir"]), hostvars, AnsibleError):
        yield (
            f"{path} is the CA of no server of this inventory that signs itself, and clients trust it. Run the"
            " playbook securetime.nts.site with chrony_nts_site_forget_server_cas=true to end that."
        )
    play = variables.get("ansible_play_hosts_all", [])
    islands = _islands.warning(host, inputs, play, hostvars, AnsibleError)
    if islands:
        yield islands
