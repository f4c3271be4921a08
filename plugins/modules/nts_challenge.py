#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.below import remove_below, write_below


def main() -> None:
    """Write or remove the answers to the challenges."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "answers": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    )
    root, answers = module.params["root"], module.params["answers"]
    try:
        if module.params["state"] == "present":
            os.makedirs(root, mode=0o755, exist_ok=True)
            changed = [write_below(root, path, str(text).encode()) for path, text in answers.items()]
        else:
            changed = [remove_below(root, path) for path in answers]
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"The answers to the ACME server's challenges cannot be written below {root}: {error}.")
    module.exit_json(changed=any(changed))


if __name__ == "__main__":
    main()
