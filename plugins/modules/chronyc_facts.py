#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Iterator

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import ChronycError
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, gather
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import progress

ARGUMENTS: Dict[str, Any] = {
    "wait_for": {"type": "str", "choices": ["authenticated", "synchronised", "reachable"]},
    "min_sources": {"type": "int", "default": 1},
    "max_offset": {"type": "float"},
    "timeout": {"type": "float", "default": 10.0},
    "fail_on_timeout": {"type": "bool", "default": False},
    "command_timeout": {"type": "float", "default": 5.0},
    "log_lines": {"type": "bool", "default": True},
    "reports": {
        "type": "list",
        "elements": "str",
        "choices": ["clients", "manual", "rtcdata", "smoothing", "waitsync"],
        "default": [],
    },
    "packages": {"type": "list", "elements": "str", "default": []},
    "certificates": {"type": "bool", "default": False},
}


def main() -> None:
    """Gather the facts, poll until the condition of wait_for holds, and return them."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = GatherOptions(**{name: module.params[name] for name in GatherOptions._fields})
    for problem in problems(options):
        module.fail_json(msg=problem)
    try:
        gathered = gather(options)
    except ChronycError as error:
        module.fail_json(msg=str(error))
    for warning in gathered.warnings:
        module.warn(warning)
    lines = progress(gathered.facts)
    result = {
        "changed": False,
        "ansible_facts": {"chrony": gathered.facts},
        "reached": gathered.reached,
        "waited_seconds": gathered.waited_seconds,
        "progress": lines,
    }
    if gathered.reached is False and module.params["fail_on_timeout"]:
        reasons = " ".join(gathered.facts["nts"]["reasons"])
        sources = "; ".join(lines) or "no sources"
        message = f"Not {options.wait_for} after {gathered.waited_seconds:g} s ({sources}). {reasons}"
        module.fail_json(msg=message, **result)
    module.exit_json(**result)


def problems(options: GatherOptions) -> Iterator[str]:
    """Yield the problems of the parameters, in sentences."""
    if options.min_sources < 1:
        yield "min_sources must be 1 or more."
    if options.max_offset is not None and options.max_offset <= 0:
        yield "max_offset must be more than 0 seconds."
    if options.max_offset is not None and options.wait_for not in ("authenticated", "synchronised"):
        yield "max_offset needs wait_for: authenticated or synchronised."
    if options.timeout < 0:
        yield "timeout must not be negative."
    if options.command_timeout <= 0:
        yield "command_timeout must be more than 0 seconds."


if __name__ == "__main__":
    main()
