# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the files of chronyd; render their templates, and refuse where facts of the host shadow variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import lookup_loader

from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction


class Variables(dict[str, Any]):
    """The variables of a host, for a template.

    The lookup plugin copies them deeply to add its own. They hold lists of all hosts, so the copies of all hosts would
    take time by the square of the number of hosts.
    """

    def __deepcopy__(self, _memo: dict[int, Any]) -> dict[str, Any]:
        return dict(self)


class ActionModule(HostAction):
    """Ansible's entry point."""

    facts = ("chrony",)
    refuses_shadowed_variables = True

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of the module, which gets the content of each template."""
        given = dict(self._task.args)
        # The module itself reports a parameter of a wrong type.
        if isinstance(given.get("files"), list):
            given["files"] = [self._rendered(item, task_vars) for item in given["files"]]
        return self.run_module(task_vars, None, given, wrap_async=bool(self._task.async_val))

    def _rendered(self, item: Any, task_vars: Mapping[str, Any]) -> Any:
        """Return a file with the content of its template. The module itself reports a mistake in another file."""
        if not isinstance(item, dict) or item.get("template") is None or item.get("content") is not None:
            return item
        if item.get("state", "present") != "present":
            return item
        lookup = lookup_loader.get("ansible.legacy.template", loader=self._loader, templar=self._templar)
        (content,) = lookup.run([item["template"]], variables=Variables(task_vars))
        return {**{name: item[name] for name in item if name != "template"}, "content": content}
