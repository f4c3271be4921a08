#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_certificate
short_description: Put the program that keeps an NTS server's certificate on the server
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Writes the program C(nts-certificate), which renews, checks and deploys the certificate of an NTS server without
    Ansible, by the same code as the modules of this collection. What it does on this host is in its settings, which
    the role P(securetime.nts.chrony_nts#role) writes.
  - Replaces a renewal hook that copies two files and restarts chronyd. The program checks the pair as chronyd will
    read it, swaps both files as one, restarts chronyd, asks it by a key exchange what it serves, and brings the old
    pair back if that is not the new one.
  - The program runs on the platform's own Python, C(/usr/libexec/platform-python) or C(/usr/bin/python3), whatever
    interpreter Ansible uses on the host.
attributes:
  check_mode:
    description: Predicts the change and makes none.
    support: full
  diff_mode:
    description: Names the files that change, and does not show them, because they are for machines or secret.
    support: partial
  platform:
    description: Linux with systemd, Python 3.6 or newer.
    support: full
    platforms: posix
options:
  path:
    description: Where the program is to be.
    type: path
    default: /usr/local/sbin/nts-certificate
  state:
    description:
      - V(present) - the program is on the host.
      - V(absent) - the program, its units, its settings, the hook of certbot, the folder in which pairs are made, and
        the pairs kept for a rollback are not on the host. A renewal in progress is rolled back first. The pairs that
        chronyd reads are not touched; M(securetime.nts.chrony_config) removes them with the configuration that names
        them.
    type: str
    choices: [present, absent]
    default: present
  staging:
    description:
      - The folders below F(/etc/chrony/nts/staging) in which the pairs of this server are made. Other folders there,
        and the pairs kept for a rollback of pairs without a folder here, are removed.
      - Without this option, nothing of them is removed. Not used where O(state=absent).
    type: list
    elements: path
seealso:
  - module: securetime.nts.nts_probe
  - module: securetime.nts.chrony_config
"""

EXAMPLES = r"""
- name: Install the program (the role does it)
  securetime.nts.nts_certificate:
  become: true

- name: Remove the renewal from a host that is no server any more (the role does it)
  securetime.nts.nts_certificate:
    state: absent
  become: true
"""

RETURN = r"""
path:
  description: Where the program is.
  type: str
  returned: success
python:
  description: The interpreter that runs the program. Empty where O(state=absent).
  type: str
  returned: success
  sample: /usr/bin/python3
removed:
  description: Files and folders that were, or would be, removed.
  type: list
  elements: str
  returned: success
  sample: [/etc/chrony/nts/staging/public]
failed_before:
  description: Whether the last run of C(nts-certificate.service) failed.
  type: bool
  returned: success
"""

import os
import tempfile
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
    read,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import run_program
from ansible_collections.securetime.nts.plugins.module_utils._pair import archive, manager
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import (
    PLATFORM_PYTHONS,
    installed,
    platform_python,
    remove,
    uninstall,
    unused,
)


def main() -> None:
    """Write or remove the program."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/usr/local/sbin/nts-certificate"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "staging": {"type": "list", "elements": "path"},
        },
        supports_check_mode=True,
    )
    host = System(run=lambda argv: run_program(module, argv), label=lambda *_paths: None)
    try:
        result = absent(module, host) if module.params["state"] == "absent" else present(module, host)
    except TransactionError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.strerror} ({error.filename}); the next run goes on from here.")
    module.exit_json(path=module.params["path"], **result)


def absent(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Remove the renewal; return the result of the module."""
    paths = installed(module.params["path"])
    if not module.check_mode:
        uninstall(host, paths)
    diff = [{"prepared": "".join(f"{path} is removed\n" for path in paths)}] if paths else []
    return {"changed": bool(paths), "python": "", "removed": paths, "failed_before": False, "diff": diff}


def present(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Write the program and remove what no pair uses; return the result of the module."""
    path = module.params["path"]
    python = interpreter(module, host)
    wanted = program(python)
    found = read(path)
    written = found is None or found.content != wanted or os.path.islink(path)
    if written and not module.check_mode:
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as file:
            file.write(wanted)
        module.atomic_move(file.name, path)
    options = dict(module.load_file_common_arguments({"path": path}), owner="root", group="root", mode="0755")
    if not module.check_mode or os.path.exists(path):
        written = module.set_fs_attributes_if_different(options, written)
    removed = [] if module.params["staging"] is None else unused(module.params["staging"])
    if not module.check_mode:
        for each in removed:
            remove(each)
    lines = [f"{path} changes\n"] * written + [f"{each} is removed\n" for each in removed]
    return {
        "changed": bool(lines),
        "python": python,
        "removed": removed,
        "failed_before": host.run(["systemctl", "is-failed", "--quiet", "nts-certificate.service"]).status == 0,
        "diff": [{"prepared": "".join(lines)}] if lines else [],
    }


def interpreter(module: AnsibleModule, host: System) -> str:
    """Return the Python for the program. A check mode has not installed the packages that it predicts."""
    try:
        return platform_python(host)
    except TransactionError:
        if module.check_mode:
            return PLATFORM_PYTHONS[-1]
        raise


def program(interpreter: str) -> bytes:
    """Return the program: this module's own utilities as an archive that Python runs."""
    return archive.program(interpreter, manager.__name__)


if __name__ == "__main__":
    main()
