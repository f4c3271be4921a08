# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the files of chronyd, unless the host has replaced variables of the operator."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers


# ansible-core does not ship py.typed, so that mypy takes ActionBase for Any.
class ActionModule(ActionBase):  # type: ignore[misc]
    """Ansible's entry point."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what changed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        shadowed = _answers.shadowed(task_vars or {}, constants.INJECT_FACTS_AS_VARS, self._task)
        if shadowed:
            # The parameters can hold files of the controller that the operator did not choose.
            host = str((task_vars or {}).get("inventory_hostname"))
            return {**result, "failed": True, "msg": _answers.shadowed_message(host, shadowed)}
        sent = self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val))
        return {**result, **_answers.cleaned(sent, ("chrony",))}
