# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of a host, and take no others of it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers


# ansible-core does not ship py.typed, so that mypy takes ActionBase for Any.
class ActionModule(ActionBase):  # type: ignore[misc]
    """Ansible's entry point."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the facts."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        sent = self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val))
        return {**result, **_answers.cleaned(sent, ("chrony",))}
