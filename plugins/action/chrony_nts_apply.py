# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the plan of a host.

Ansible evaluates the inputs and the plan once for this task, and not once for each parameter of chrony_config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._config_action import CONFIG, ConfigAction
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs


class ActionModule(ConfigAction):
    """Ansible's entry point."""

    _supports_async = False

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of chrony_config; see the documentation of the module of this plugin's name."""
        # The role alone gives these; see chrony_nts_plan.
        inputs, planned = Inputs(self._task.args["variables"]), self._task.args["plan"]
        return self.run_module(task_vars, CONFIG, self.parameters_of(task_vars, inputs, planned))
