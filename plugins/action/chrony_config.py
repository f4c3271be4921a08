# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the files of chronyd; render their templates, and refuse where facts of the host shadow variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._config_action import ConfigAction


class ActionModule(ConfigAction):
    """Ansible's entry point."""

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of the module."""
        return self.run_config(task_vars, self._task.args)
