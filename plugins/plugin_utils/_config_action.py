# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Base class of action plugins that run chrony_config: it renders the templates of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.securetime.nts.plugins.plugin_utils import _files
from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs

CONFIG = "securetime.nts.chrony_config"


class Variables(dict[str, Any]):
    """The variables of a host, for a template.

    The lookup plugin copies them deeply to add its own. They hold lists of all hosts, so the copies of all hosts would
    take time by the square of the number of hosts.
    """

    def __deepcopy__(self, _memo: dict[int, Any]) -> dict[str, Any]:
        return dict(self)


class ConfigAction(HostAction):
    """Run chrony_config, and refuse where facts of the host shadow variables."""

    facts = ("chrony",)
    refuses_shadowed_variables = True

    def run_config(
        self, task_vars: Mapping[str, Any], given: Mapping[str, Any], known: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the result of chrony_config, which gets the content of each template.

        known holds variables that the templates use and the caller has evaluated. No template in them is run.
        """
        parameters = self.rendered(task_vars, given, known)
        return self.run_module(task_vars, CONFIG, parameters, wrap_async=bool(self._task.async_val))

    def parameters_of(self, task_vars: Mapping[str, Any], inputs: Inputs, planned: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of chrony_config that follow from the plan of a host."""
        anchors = _files.trust_files(inputs, planned["skip_for"])
        known = {
            "__chrony_nts_plan": planned,
            "__chrony_nts_trust_files": [{"set": row["set"], "path": row["path"]} for row in anchors],
        }
        parameters = self.rendered(task_vars, _files.parameters(inputs, planned, anchors), known)
        # The host stores this digest, and its journal shows it: compute none of secrets.
        parameters["digest"] = None if parameters["secrets"] else _files.digest(parameters)
        return parameters

    def rendered(
        self, task_vars: Mapping[str, Any], given: Mapping[str, Any], known: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the parameters with the content of each template; known as for run_config()."""
        parameters = dict(given)
        # The module itself reports a parameter of a wrong type.
        if isinstance(parameters.get("files"), list):
            variables = Variables({**task_vars, **wrap_var(known or {})})
            parameters["files"] = [self._rendered(item, variables) for item in parameters["files"]]
        return parameters

    def _rendered(self, item: Any, variables: Variables) -> Any:
        """Return a file with the content of its template. The module itself reports a mistake in another file."""
        if not isinstance(item, dict) or item.get("template") is None or item.get("content") is not None:
            return item
        if item.get("state", "present") != "present":
            return item
        lookup = lookup_loader.get("ansible.legacy.template", loader=self._loader, templar=self._templar)
        (content,) = lookup.run([item["template"]], variables=variables)
        return {**{name: item[name] for name in item if name != "template"}, "content": content}
