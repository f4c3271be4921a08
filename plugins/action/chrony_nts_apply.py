# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the plan of a host.

Ansible evaluates the inputs and the plan once for this task, and not once for each parameter of chrony_config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _files
from ansible_collections.securetime.nts.plugins.plugin_utils._config_action import CONFIG, ConfigAction
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs


class ActionModule(ConfigAction):
    """Ansible's entry point."""

    _supports_async = False

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of chrony_config; see the documentation of the module of this plugin's name."""
        # The role alone gives these; see chrony_nts_plan.
        inputs, planned = Inputs(self._task.args["variables"]), self._task.args["plan"]
        anchors = _files.trust_files(inputs, planned["skip_for"])
        known = {
            "__chrony_nts_plan": planned,
            "__chrony_nts_trust_files": [{"set": row["set"], "path": row["path"]} for row in anchors],
        }
        parameters = self.rendered(task_vars, _files.parameters(inputs, planned, anchors), known)
        # The host stores this digest, and its journal shows it: compute none of secrets.
        parameters["digest"] = None if parameters["secrets"] else _files.digest(parameters)
        # The role may have changed the host since the survey.
        prepared = planned["pairs"] or planned["installs"] or planned["masked_at_runtime"]
        applied = None if prepared or planned["clock"]["step_seconds"] else self._task.args.get("applied")
        unchanged = _files.unchanged(applied, parameters["digest"])
        return unchanged or self.run_module(task_vars, CONFIG, parameters)
