#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_challenge
short_description: Write or remove the answers to the challenges of an ACME server
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Part of the role P(securetime.nts.chrony_nts#role), and made for it alone. Its parameters and its result can change
    in any release.
  - Writes files below a folder that a web server's user may own. Follows no symbolic links below it, and changes
    neither owner nor mode of what is there, so that this user cannot make root write elsewhere.
attributes:
  check_mode:
    description: Predicts no change, because an ACME server is not asked in check mode.
    support: none
  diff_mode:
    description: The answers are of use for a moment only.
    support: none
  idempotent:
    description: Changes what differs.
    support: full
  platform:
    description: Linux.
    support: full
    platforms: posix
options:
  root:
    description: The folder that the web server serves.
    type: path
    required: true
  answers:
    description: The content of each file, by its path below O(root).
    type: dict
    required: true
  state:
    description: Whether the files are to be there.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Answer the challenges (the role does it)
  securetime.nts.nts_challenge:
    root: /var/www/html
    answers: {.well-known/acme-challenge/token: token.thumbprint}
"""

RETURN = r"""
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.below import remove_below, write_below


def main() -> None:
    """Write or remove the answers."""
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
