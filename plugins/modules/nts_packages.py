#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_packages
short_description: Install packages by apt, dnf or zypper, and say why they cannot be installed
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Runs C(apt-get), C(dnf) or C(zypper) as a command, so that it needs neither their bindings for Python nor another
    collection. Where everything is installed as wanted, it runs none of them and needs no network.
  - A failure names its cause - the clock, a lock, the network, a full disk, a missing package - with the program's own
    words and what to do.
  - Packages that are held (C(apt-mark hold), C(dnf versionlock), C(excludepkgs), C(zypper addlock)) are left as they
    are, and reported.
attributes:
  action:
    description: Has a plugin on the controller.
    support: none
  async:
    description: Can run in the background.
    support: full
  check_mode:
    description: Lets the package manager resolve the change, and makes none. Lists of packages are not refreshed.
    support: full
  diff_mode:
    description: Shows the versions of the packages before and after.
    support: full
  idempotent:
    description: Changes nothing where the packages are as wanted.
    support: full
  platform:
    description: Linux, Python 3.6 or newer.
    support: full
    platforms: posix
options:
  manager:
    description: The package manager, as RV(securetime.nts.chronyc_facts#module:ansible_facts.chrony) names it.
    type: str
    choices: [apt, dnf, dnf5, zypper]
    required: true
  name:
    description: The packages.
    type: list
    elements: str
    default: []
  versions:
    description:
      - The version of each package that is pinned to one. C(*) stands for anything, but not with zypper. With dnf and
        zypper it can lack the release. An older version than the one that is installed replaces it.
    type: dict
    default: {}
  state:
    description:
      - V(present) - packages that are installed stay as they are, unless O(versions) names another version.
      - V(latest) - they are updated.
    type: str
    choices: [present, latest]
    default: present
  upgrade:
    description:
      - Whether all packages of the host are updated. None is removed, and configuration files stay. The module does not
        reboot.
    type: bool
    default: false
  cache_seconds:
    description:
      - The age in seconds at which the lists of packages are refreshed before something is installed. V(0) always
        refreshes them. V(-1) leaves it to the package manager; apt refreshes them only where a package is not found.
    type: int
    default: -1
  lock_seconds:
    description:
      - How many seconds to wait for another program that uses the package database. dnf 5 waits by itself, without a
        limit.
    type: int
    default: 120
seealso:
  - module: securetime.nts.chronyc_facts
"""

EXAMPLES = r"""
- name: Install chrony (the role does it)
  securetime.nts.nts_packages:
    manager: apt
    name: [chrony, ca-certificates]
    cache_seconds: 3600
  become: true

- name: Install one version of it
  securetime.nts.nts_packages:
    manager: dnf
    name: [chrony]
    versions: {chrony: 4.6.1}
  become: true
"""

RETURN = r"""
versions:
  description: The version of each package that is installed, or null. In check mode, the one before the change.
  type: dict
  returned: success
  sample: {"chrony": "4.6.1-3+deb13u2"}
held:
  description: The packages that are held, where that was asked for.
  type: list
  elements: str
  returned: success
  sample: [chrony]
commands:
  description: The commands that were run, in their order. Empty where nothing was to be done.
  type: list
  elements: str
  returned: success
  sample: ["apt-get --quiet --yes install chrony"]
reboot_required:
  description: Whether the host says that it needs a reboot.
  type: bool
  returned: success
  sample: false
cause:
  description:
    - The cause of a failure, V(lock), V(interrupted), V(read-only), V(space), V(held), V(clock), V(certificate),
      V(signature), V(network), V(subscription), V(repository), V(dependencies), V(unknown) or V(other).
  type: str
  returned: failure
  sample: network
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.programs import IN_ENGLISH, run_program
from ansible_collections.securetime.nts.plugins.module_utils._packages.change import PackageError, manage
from ansible_collections.securetime.nts.plugins.module_utils._packages.managers import (
    MANAGERS,
    Request,
    versions_text,
)


def main() -> None:
    """Install the packages."""
    module = AnsibleModule(
        argument_spec={
            "manager": {"type": "str", "choices": list(MANAGERS), "required": True},
            "name": {"type": "list", "elements": "str", "default": []},
            "versions": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "latest"], "default": "present"},
            "upgrade": {"type": "bool", "default": False},
            "cache_seconds": {"type": "int", "default": -1},
            "lock_seconds": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    request = Request(
        given["name"],
        given["versions"],
        given["state"] == "latest",
        given["upgrade"],
        given["cache_seconds"],
        given["lock_seconds"],
    )
    # A question would wait for ever.
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
