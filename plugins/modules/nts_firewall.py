#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import ipaddress

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.lock import locked
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import IN_ENGLISH, give_label, run_program
from ansible_collections.securetime.nts.plugins.module_utils._change.signals import rollback_on_signals
from ansible_collections.securetime.nts.plugins.module_utils._firewall.change import Report, Request, manage
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import FirewallError


def main() -> None:
    """Open or close the ports of an NTS server."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "allow": {"type": "list", "elements": "str", "default": []},
            "udp_ports": {"type": "list", "elements": "int", "default": [123]},
            "tcp_ports": {"type": "list", "elements": "int", "default": [4460]},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "device": {"type": "str", "default": ""},
            "nft_include": {"type": "str", "default": ""},
            "lock_timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        with rollback_on_signals():
            report = run(module)
    except (FirewallError, TransactionError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}. Correct it, and run this again.")
    for warning in report.warnings:
        module.warn(warning)
    module.exit_json(
        changed=report.changed,
        firewall=report.firewall,
        opened=list(report.opened),
        by_hand=list(report.by_hand),
        closed=report.closed,
        diff=list(report.diffs),
    )


def run(module: AnsibleModule) -> Report:
    """Return the report of the change, in check mode of the predicted one."""
    host = System(
        run=lambda argv: run_program(module, argv, environment=IN_ENGLISH),
        label=lambda file, path: give_label(module, file, path),
    )
    given = module.params
    request = Request()
    if given["state"] == "present":
        request = Request(
            [valid(module, text) for text in given["allow"]],
            given["udp_ports"],
            given["tcp_ports"],
            given["addresses"],
            given["device"],
            given["nft_include"],
        )
    with locked(host, given["lock_timeout"], create=not module.check_mode):
        return manage(host, request, module.check_mode)


def valid(module: AnsibleModule, text: str) -> str:
    """Return a valid network; end the module with an error for an invalid one."""
    try:
        ipaddress.ip_network(text)
    except ValueError as problem:
        module.fail_json(msg=f"allow has no network: {problem}. Write it as 192.0.2.0/24 or 2001:db8::/32.")
    return text


if __name__ == "__main__":
    main()
