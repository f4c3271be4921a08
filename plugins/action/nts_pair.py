# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a server make its keys and CSRs, and check on the controller what it sends, before anything is signed."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers, _requests

MODULE = "securetime.nts.nts_pair"


# ansible-core does not ship py.typed, so that mypy takes ActionBase for Any.
class ActionModule(ActionBase):  # type: ignore[misc]
    """Ansible's entry point."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the server sent, as far as it is what the variables ask for."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, given = self.validate_argument_spec(
            {
                "pairs": {"type": "list", "elements": "dict", "required": True},
                "root": {"type": "str", "default": ""},
                "issuing_ca_lifetime_days": {"type": "float", "default": 1825.0},
                "renew_percent": {"type": "float", "default": 33.0},
                "chains": {"type": "dict", "default": {}},
                "state_dir": {"type": "path", "default": "/var/lib/securetime-nts"},
            }
        )
        if not _requests.HAS_CRYPTOGRAPHY:
            return {**result, "failed": True, "msg": "Install cryptography for the Python that runs Ansible."}
        host = str((task_vars or {}).get("inventory_hostname"))
        shadowed = _answers.shadowed(task_vars or {}, constants.INJECT_FACTS_AS_VARS, self._task)
        if shadowed:
            return {**result, "failed": True, "msg": _answers.shadowed_message(host, shadowed)}
        pairs = _requests.labelled(given["pairs"], host)
        if not pairs:
            return {**result, "changed": False, "pairs": []}
        sent = _answers.cleaned(self._execute_module(MODULE, {**given, "pairs": pairs}, task_vars=task_vars))
        if sent.get("failed") or "pairs" not in sent:
            return {**result, **_answers.failure(sent)}
        result = {**result, "changed": bool(sent.get("changed")), "diff": sent.get("diff", [])}
        if given["chains"]:
            return result
        rows, problems = _requests.checked(pairs, given, sent["pairs"])
        if problems:
            return {**result, "failed": True, "msg": _requests.message(host, problems)}
        return {**result, "pairs": rows}
