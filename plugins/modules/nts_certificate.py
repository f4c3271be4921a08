#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import tempfile
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
    read,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import give_label, run_program
from ansible_collections.securetime.nts.plugins.module_utils._pair import archive, manager, renewal_files
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import (
    PLATFORM_PYTHONS,
    installed,
    platform_python,
    remove,
    uninstall,
    unused,
)


def main() -> None:
    """Install or remove the renewal."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/usr/local/sbin/nts-certificate"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "staging": {"type": "list", "elements": "path"},
            "settings": {"type": "dict"},
            "service": {"type": "str"},
            "timer": {"type": "str"},
            "by_certbot": {"type": "bool", "default": False},
        },
        required_together=[("settings", "service", "timer")],
        supports_check_mode=True,
    )
    host = System(run=lambda argv: run_program(module, argv), label=lambda *paths: give_label(module, *paths))
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
    of_the_program = {"python": "", "changed_files": [], "failed_before": False}
    return {"changed": bool(paths), "removed": paths, "diff": diff, **of_the_program}


def present(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Install the renewal and remove the files that no pair uses; return the result of the module."""
    path = module.params["path"]
    python = interpreter(module, host)
    wanted = program(python)
    found = read(path)
    is_intact = found is not None and archive.is_current(found.content, wanted, archive.magic_of(host, python))
    written = not is_intact or os.path.islink(path)
    if written and not module.check_mode:
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as file:
            file.write(wanted)
        archive.add_bytecode(host, python, file.name, path)
        module.atomic_move(file.name, path)
    options = dict(module.load_file_common_arguments({"path": path}), owner="root", group="root", mode="0755")
    if not module.check_mode or os.path.exists(path):
        written = module.set_fs_attributes_if_different(options, written)
    removed = [] if module.params["staging"] is None else unused(module.params["staging"])
    if not module.check_mode:
        for each in removed:
            remove(each)
    # The start of the timer may start the service.
    failed_before = renewal_files.has_failed(host)
    changed, diffs = install(module, host)
    lines = [f"{path} changes\n"] * written + [f"{each} is removed\n" for each in removed]
    return {
        "changed": bool(lines or changed or diffs),
        "python": python,
        "removed": removed,
        "changed_files": [path] * written + changed,
        "failed_before": failed_before,
        "diff": [{"prepared": text} for text in ["".join(lines)] if text] + diffs,
    }


def install(module: AnsibleModule, host: System) -> Tuple[List[str], List[Dict[str, str]]]:
    """Write the settings, the units and the hook, and start the timer; return the changed paths, and the diffs."""
    given = {name: module.params[name] for name in ("settings", "service", "timer", "by_certbot")}
    if given["settings"] is None:
        return [], []
    changed, diffs = renewal_files.write(host, renewal_files.wanted_files(**given), module.check_mode)
    lines = renewal_files.start_timer(host, changed, module.check_mode)
    return changed, diffs + [{"prepared": line} for line in lines]


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
