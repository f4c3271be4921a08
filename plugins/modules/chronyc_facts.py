#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import ChronycError
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, gather
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import progress


def main() -> None:
    """Gather the facts, poll until the condition of wait_for holds, and return them."""
    module = AnsibleModule(
        argument_spec={
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
        },
        supports_check_mode=True,
    )
    wanted = GatherOptions(**{name: module.params[name] for name in GatherOptions._fields})
    for wrong, message in (
        (wanted.min_sources < 1, "min_sources must be 1 or more."),
        (wanted.max_offset is not None and wanted.max_offset <= 0, "max_offset must be more than 0 seconds."),
        (
            wanted.max_offset is not None and wanted.wait_for not in ("authenticated", "synchronised"),
            "max_offset needs wait_for: authenticated or synchronised.",
        ),
        (wanted.timeout < 0, "timeout must not be negative."),
        (wanted.command_timeout <= 0, "command_timeout must be more than 0 seconds."),
    ):
        if wrong:
            module.fail_json(msg=message)
    try:
        seen = gather(wanted)
    except ChronycError as error:
        module.fail_json(msg=str(error))
    for warning in seen.warnings:
        module.warn(warning)
    told = progress(seen.facts)
    result = {
        "changed": False,
        "ansible_facts": {"chrony": seen.facts},
        "reached": seen.reached,
        "waited_seconds": seen.waited_seconds,
        "progress": told,
    }
    if seen.reached is False and module.params["fail_on_timeout"]:
        reasons = " ".join(seen.facts["nts"]["reasons"])
        module.fail_json(
            msg=f"Not {wanted.wait_for} after {seen.waited_seconds:g} s ({'; '.join(told) or 'no sources'}). {reasons}",
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
