# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Base class of action plugins, which sanitises every result of a host."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible.utils.display import Display

from ansible_collections.securetime.nts.plugins.plugin_utils import _answers

# Verbosity (-vvv) from which Ansible prints a module's parameters.
SHOWS_INVOCATION = 3

# Ansible imports this file in its own process, from which it forks one for each task of each host. Load here what
# templates use, so that the forks find it: with the first filter, Ansible loads all of its filters, for 10 ms of CPU.
filter_loader.get("bool")
test_loader.get("file")
for _name in ("ansible.builtin.vars", "ansible.legacy.template"):
    lookup_loader.get(_name, class_only=True)


# ansible-core does not ship py.typed, so mypy treats ActionBase as Any.
class HostAction(ActionBase):  # type: ignore[misc]
    """Run a module on the host and return its sanitised result."""

    _supports_check_mode = True
    _supports_async = True
    # Names of the facts that the controller accepts from the host.
    facts: tuple[str, ...] = ()
    # Whether the plugin fails if facts of the host override operator variables. Set it where parameters name files
    # of the controller or certificates to sign.
    refuses_shadowed_variables = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        # Ansible forks a process for each task of a host. A garbage collection in it would write to the headers of all
        # objects, so that the kernel copies the memory that it shares with the controller.
        gc.freeze()
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            shadowed = self._shadowed(variables)
            if shadowed:
                return {**result, "failed": True, "msg": _answers.shadowed_message(host_of(variables), shadowed)}
            return {**result, **self.answer(variables)}
        finally:
            # Ansible sends the parameters back with the result, keeps them for each host, and hands them to every
            # callback plugin, keys among them. For another try, it takes them from here.
            if not (self._task.until or self._task.retries or self._task.async_val):
                self._task.args = {}

    def _shadowed(self, variables: Mapping[str, Any]) -> list[str]:
        """Return the operator's variables that facts of the host override, where that matters."""
        if not self.refuses_shadowed_variables:
            return []
        return _answers.shadowed(variables, constants.INJECT_FACTS_AS_VARS, self._task)

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of the result that the plugin adds."""
        return self.run_module(task_vars, wrap_async=bool(self._task.async_val))

    def run_module(self, task_vars: Mapping[str, Any], *module: Any, wrap_async: bool = False) -> dict[str, Any]:
        """Run a module, by default the one of the task, and return its sanitised result.

        module is the name of the module and its parameters.
        """
        result = self._execute_module(*module, task_vars=task_vars, wrap_async=wrap_async)
        if Display().verbosity < SHOWS_INVOCATION:
            # The parameters hold whole files. Ansible keeps them for each host until the last host has ended the task.
            result.pop("invocation", None)
        return _answers.cleaned(_answers.explain_python_problem(result, host_of(task_vars)), self.facts)


def host_of(task_vars: Mapping[str, Any]) -> str:
    """Return the inventory name of the host."""
    return str(task_vars.get("inventory_hostname"))
