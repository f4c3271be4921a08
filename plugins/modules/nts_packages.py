#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.programs import IN_ENGLISH, run_program
from ansible_collections.securetime.nts.plugins.module_utils._packages.change import PackageError, manage
from ansible_collections.securetime.nts.plugins.module_utils._packages.managers import (
    MANAGERS,
    Request,
    versions_text,
)

ARGUMENTS: Dict[str, Any] = {
    "manager": {"type": "str", "choices": list(MANAGERS), "required": True},
    "name": {"type": "list", "elements": "str", "default": []},
    "versions": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "latest"], "default": "present"},
    "upgrade": {"type": "bool", "default": False},
    "cache_seconds": {"type": "int", "default": -1},
    "lock_seconds": {"type": "int", "default": 120},
}


def version_problems(versions: Dict[str, Any]) -> List[str]:
    """Return a sentence for each version that is no text: YAML reads 4.10 as the number 4.1."""
    wrong = [(name, version) for name, version in versions.items() if not (isinstance(version, str) and version)]
    return [f"The version of {name} in versions is {version!r}: write it in quotes." for name, version in wrong]


def main() -> None:
    """Install the packages."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    wrong = version_problems(given["versions"])
    if wrong:
        module.fail_json(msg=" ".join(wrong), cause="version")
    request = Request(
        given["name"],
        given["versions"],
        given["state"] == "latest",
        given["upgrade"],
        given["cache_seconds"],
        given["lock_seconds"],
    )
    # An interactive prompt of debconf would wait for ever.
    environment = {**IN_ENGLISH, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        report = manage(
            given["manager"],
            request,
            lambda argv: run_program(module, argv, environment=environment),
            module.check_mode,
        )
    except PackageError as error:
        module.fail_json(msg=str(error), cause=error.cause)
    for warning in report.warnings:
        module.warn(warning)
    module.exit_json(
        changed=report.changed,
        versions=report.versions,
        held=report.held,
        commands=report.commands,
        reboot_required=report.reboot_required,
        diff={"before": versions_text(report.before), "after": versions_text(report.versions)},
    )


if __name__ == "__main__":
    main()
