#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

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
        module.fail_json(msg=f"{error.strerror} ({error.filename}); the next run continues from here.")
    module.exit_json(path=module.params["path"], **result)


def absent(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Remove the renewal; return the result of the module."""
    paths = installed(module.params["path"])
    if not module.check_mode:
        uninstall(host, paths)
    diff = [{"prepared": "".join(f"{path} is removed\n" for path in paths)}] if paths else []
    return {"changed": bool(paths), "python": "", "removed": paths, "failed_before": False, "diff": diff}


def present(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Write the program and remove the files that no pair uses; return the result of the module."""
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
    """Return the Python for the program; raise TransactionError without one.

    In check mode, return the likely path, because the role may only have predicted the installation of Python.
    """
    try:
        return platform_python(host)
    except TransactionError:
        if module.check_mode:
            return PLATFORM_PYTHONS[-1]
        raise


def program(interpreter: str) -> bytes:
    """Return the program, an archive of this module's own utilities that Python runs."""
    return archive.program(interpreter, manager.__name__)


if __name__ == "__main__":
    main()
