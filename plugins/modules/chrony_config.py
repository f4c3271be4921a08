#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: chrony_config
short_description: Change chronyd's files and restart it as one transaction
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Compares the wanted files with those on the host, lets the real C(chronyd -p) read the new main configuration,
    writes what differs, restarts chronyd where that is needed, and watches it come up.
  - When chronyd does not come up, every file is put back, chronyd is restarted with them, and the module fails with the
    lines that the daemon logged.
  - chronyd is also restarted when a file changed since it was started, so that a run that was cut after writing is
    finished by the next.
attributes:
  check_mode:
    description: Predicts the result. The candidate is read by chronyd, for which it is put beside the configuration
      file for a moment.
    support: full
  diff_mode:
    description: Shows the content and the metadata of every file that changes.
    support: full
  idempotent:
    description: Changes nothing when the files, and what chronyd has loaded, are as wanted.
    support: full
  platform:
    description: Linux with systemd.
    support: full
    platforms: posix
options:
  config_file:
    description: Path of chronyd's main configuration file. It is checked by chronyd itself when it is among O(files).
    type: path
    required: true
  service:
    description: The systemd unit of chronyd. It is enabled and running afterwards.
    type: str
    required: true
  files:
    description: The files that belong to the change.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path. Missing folders are made with mode 0755.
        type: path
        required: true
      content:
        description: The whole content. A file without content is removed.
        type: str
      owner:
        description: Name of the user that owns the file.
        type: str
        default: root
      group:
        description: Name of the group that owns the file.
        type: str
        default: root
      mode:
        description: Permissions in octal.
        type: str
        default: "0644"
  read_at_start:
    description: Paths of further files that chronyd reads only when it starts, like certificates. A change of one needs
      a restart.
    type: list
    elements: path
    default: []
  start_timeout:
    description: Seconds for which chronyd is given time to come up.
    type: float
    default: 30.0
seealso:
  - module: securetime.nts.chronyc_facts
"""

EXAMPLES = r"""
- name: Follow one NTS server
  securetime.nts.chrony_config:
    config_file: /etc/chrony/chrony.conf
    service: chrony.service
    files:
      - path: /etc/chrony/chrony.conf
        content: |
          server nts.example.org iburst nts
          ntsdumpdir /var/lib/chrony
"""

RETURN = r"""
changed_files:
  description: Paths of the files that were, or would be, written or removed.
  returned: success
  type: list
  elements: str
actions:
  description: What was, or would be, done, out of V(daemon-reload), V(enable) and V(restart).
  returned: success
  type: list
  elements: str
reasons:
  description: Why chronyd was, or would be, restarted.
  returned: success
  type: list
  elements: str
checked:
  description: Whether chronyd read the new configuration before it was written. False where it did not change or
    chronyd is not installed yet.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._transaction import (
    Finished,
    Host,
    TransactionError,
    Wanted,
    apply,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config_file": {"type": "path", "required": True},
            "service": {"type": "str", "required": True},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "read_at_start": {"type": "list", "elements": "path", "default": []},
            "start_timeout": {"type": "float", "default": 30.0},
        },
        supports_check_mode=True,
    )
    host = Host(run=lambda argv: Finished(*module.run_command(argv)), place=module.atomic_move)
    try:
        wanted = [
            Wanted(item["path"], item["content"], item["owner"], item["group"], int(item["mode"], 8))
            for item in module.params["files"]
        ]
        result = apply(
            host,
            wanted,
            config_file=module.params["config_file"],
            service=module.params["service"],
            read_at_start=module.params["read_at_start"],
            start_timeout=module.params["start_timeout"],
            check_mode=module.check_mode,
        )
    except (TransactionError, ValueError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
