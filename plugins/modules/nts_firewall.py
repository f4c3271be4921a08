#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_firewall
short_description: Open the ports of an NTS server in the firewall that is active
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Opens the ports of NTP and of the NTS key exchange to the networks that chronyd allows, in the firewall that runs,
    and removes the rules of this module for what is not listed any more. It neither installs, starts nor enables a
    firewall, and changes no rule that it has not made.
  - B(firewalld) gets the service C(securetime-nts) and a rich rule for each network, in the zones of the interfaces at
    which chronyd listens, and in zones whose sources are clients. The running firewall gets the same openings by their
    ports, without a reload, which would drop the rules that others have added at run time. The priority of the rules,
    C(4460), lets the rules of the operator go first.
  - >-
    B(ufw) gets a rule for each network and port, with the comment C(securetime.nts: NTP) or
    C(securetime.nts: NTS-KE). Where the operator has the same rule, it stays as it is.
  - B(nftables) has its rules in files of the operator. A table of this module could open nothing that another one
    drops. Include a file in the chain that filters, and name it in O(nft_include); the module writes its rules into it,
    and adds them to the running chain at the same place. Without that, the module warns with the rules to add.
  - B(iptables), of iptables-services or of the older interface, keeps no rules. The module warns with the rules to add,
    until they are there.
  - Two firewalls that filter are an error, because a port would have to be open in both. Where none filters, nothing is
    changed.
attributes:
  action:
    description: Has a plugin on the controller.
    support: full
  async:
    description: Can run in the background.
    support: full
  check_mode:
    description: Predicts the change and makes none.
    support: full
  diff_mode:
    description: Shows the rules of this module in each firewall that it changes, before and after.
    support: full
  idempotent:
    description: Changes nothing where the rules are as wanted.
    support: full
  platform:
    description: Linux, Python 3.6 or newer.
    support: full
    platforms: posix
options:
  state:
    description:
      - V(present) - the ports are open to O(allow), in the firewall that is active. Rules of this module in other
        firewalls are removed. Where no firewall is active, those stay.
      - V(absent) - no firewall has rules of this module, whether it is active or not.
    type: str
    choices: [present, absent]
    default: present
  allow:
    description: The networks and addresses of the clients, as C(192.0.2.0/24) or C(2001:db8::/32).
    type: list
    elements: str
    default: []
  udp_ports:
    description: The ports of NTP.
    type: list
    elements: int
    default: [123]
  tcp_ports:
    description: The ports of the NTS key exchange.
    type: list
    elements: int
    default: [4460]
  addresses:
    description:
      - The addresses at which chronyd listens (its directive C(bindaddress)), the last one of each family. In
        firewalld, they choose the zones. A family whose address is a loopback address is not opened.
    type: list
    elements: str
    default: []
  device:
    description: The interface at which chronyd listens (its directive C(binddevice)). Empty for all.
    type: str
    default: ""
  nft_include:
    description:
      - The absolute path of the file that the ruleset of C(nftables.service) includes, in the chain that filters or
        behind it. Not used where another firewall is active.
    type: str
    default: ""
  lock_timeout:
    description: How many seconds to wait for another run that changes chrony on this host.
    type: float
    default: 60
seealso:
  - module: securetime.nts.chrony_config
"""

EXAMPLES = r"""
- name: Open the ports of an NTS server (the role does it)
  securetime.nts.nts_firewall:
    allow: [192.0.2.0/24, "2001:db8::/32"]
  become: true

- name: Close what was opened
  securetime.nts.nts_firewall:
    state: absent
  become: true
"""

RETURN = r"""
firewall:
  description:
    - The firewall that is active, V(firewalld), V(ufw), V(nftables), V(iptables), or V(none).
    - Where O(state=absent), the names of several are joined by C(, ).
  type: str
  returned: success
  sample: ufw
opened:
  description: What is open to whom, or would be, rules that are left to the operator included.
  type: list
  elements: str
  returned: success
  sample: ["123/udp from 192.0.2.0/24", "4460/tcp from 192.0.2.0/24"]
by_hand:
  description: The commands that open what the module leaves to the operator.
  type: list
  elements: str
  returned: success
  sample: ["iptables -I INPUT -p udp -s 192.0.2.0/24 --dport 123 -j ACCEPT"]
closed:
  description: The options that had opened what O(state=absent) has removed. Empty where there was nothing.
  type: dict
  returned: success
  sample: {"allow": ["192.0.2.0/24"], "tcp_ports": [4460], "udp_ports": [123]}
"""

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
    """Open or close the ports."""
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
    """Return what was done, or would be."""
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
    """Return a network, or end the module."""
    try:
        ipaddress.ip_network(text)
    except ValueError as problem:
        module.fail_json(msg=f"allow has no network: {problem}. Write it as 192.0.2.0/24 or 2001:db8::/32.")
    return text


if __name__ == "__main__":
    main()
