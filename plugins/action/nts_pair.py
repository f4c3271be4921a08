# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make keys and CSRs on a server, and check its answer on the controller before the controller signs anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers, _requests
from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction, host_of

MODULE = "securetime.nts.nts_pair"


class ActionModule(HostAction):
    """Ansible's entry point."""

    _supports_async = False
    refuses_shadowed_variables = True

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the server's CSRs and chains; fail with each difference from the variables."""
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
            return {"failed": True, "msg": "Install cryptography for the Python that runs Ansible."}
        host = host_of(task_vars)
        pairs = _requests.labelled(given["pairs"], host)
        if not pairs:
            return {"changed": False, "pairs": []}
        sent = self.run_module(task_vars, MODULE, {**given, "pairs": pairs})
        if sent.get("failed") or "pairs" not in sent:
            return _answers.failure(sent)
        result = {"changed": bool(sent.get("changed")), "diff": sent.get("diff", [])}
        if given["chains"]:
            return result
        rows, problems = _requests.checked(pairs, given, sent["pairs"])
        if problems:
            return {**result, "failed": True, "msg": _requests.message(host, problems)}
        return {**result, "pairs": rows}
