# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather the facts of a host and return the checked part that its report needs; store no facts for the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers
from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import row

FACTS = "securetime.nts.chronyc_facts"


class ActionModule(HostAction):
    """Ansible's entry point."""

    _supports_async = False
    facts = ("chrony",)

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row of the host in the report; see the documentation of the module of the same name."""
        _checked, given = self.validate_argument_spec({"names": {"type": "list", "elements": "str", "default": []}})
        result = self.run_module(task_vars, FACTS, {"reports": ["clients"], "certificates": True})
        facts = result.get("ansible_facts", {}).pop("chrony", None)
        if result.get("failed") or not isinstance(facts, dict):
            # Pass on `unreachable`, or Ansible would take a lost connection for a failed module.
            return {**_answers.failure(result), **({"unreachable": True} if result.get("unreachable") else {})}
        more: dict[str, Any] = {
            name: result[name] for name in ("warnings", "deprecations", "ansible_facts") if name in result
        }
        return {**more, "changed": False, "names": given["names"], "row": row(facts)}
