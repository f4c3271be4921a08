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
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import run_program
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import timer_of

# The program imports cli and server by name at run time. Import them here, or Ansible would not send them to the host.
from ansible_collections.securetime.nts.plugins.module_utils._monitor import cli, collector, server
from ansible_collections.securetime.nts.plugins.module_utils._monitor.installation import (
    CHRONY_USERS,
    File,
    Folder,
    User,
    installed,
    journal_groups,
    left_over,
    makes_log_folder,
    settings_problems,
    textfile_directory,
    user_of_monitor,
    wanted_files,
    wanted_folders,
)
from ansible_collections.securetime.nts.plugins.module_utils._monitor.nagios import threshold_problem
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import (
    LOG,
    PROGRAM,
    SERVICE,
    STATUS,
    TIMER,
    Settings,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair import archive
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import (
    PLATFORM_PYTHONS,
    platform_python,
    remove,
)

RANGES = {"interval_seconds": (10, 86400), "probe_interval_minutes": (1, 1440)}
UNITS = [os.path.basename(TIMER), os.path.basename(SERVICE)]
PACKED = (cli, collector, server)


def main() -> None:
    """Install or remove the monitor."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "interval_seconds": {"type": "int", "default": 60},
            "probe_interval_minutes": {"type": "int", "default": 15},
            "textfile_directory": {"type": "str", "default": "auto"},
            "log": {"type": "str", "default": LOG},
            "keep_log": {"type": "bool", "default": True},
            "hook": {"type": "list", "elements": "str", "default": []},
            "clients": {"type": "bool", "default": False},
            "goal": {"type": "str", "choices": ["auto", "authenticated", "synchronised"], "default": "auto"},
            "thresholds": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    host = System(run=lambda argv: run_program(module, argv), label=lambda *_paths: None)
    try:
        result = absent(module, host) if module.params["state"] == "absent" else present(module, host)
    except TransactionError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file'}: {error.strerror}; the next run continues from here.")
    module.exit_json(**result)


def problems(params: Dict[str, Any]) -> List[str]:
    """Return the problems of the parameters, in sentences."""
    found = [
        f"{name} is {params[name]}: set it to {low} to {high}"
        for name, (low, high) in RANGES.items()
        if not low <= params[name] <= high
    ]
    found += filter(None, (threshold_problem(name, pair) for name, pair in params["thresholds"].items()))
    given = "" if params["textfile_directory"] == "auto" else params["textfile_directory"]
    return found + list(settings_problems(Settings(textfile_directory=given, log=params["log"], hook=params["hook"])))


def absent(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Remove the monitor; return the result of the module."""
    paths = installed(keep_log=module.params["keep_log"])
    if paths and not module.check_mode:
        host.run(["systemctl", "disable", "--now", UNITS[0]])
        host.run(["systemctl", "stop", *UNITS])
        for path in paths:
            remove(path)
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "reset-failed", *UNITS])
    diff = [{"prepared": "".join(f"{path} is removed\n" for path in paths)}] if paths else []
    result = {"changed": bool(paths), "changed_files": paths, "diff": diff}
    return dict(result, textfile_directory="", user="", python="", notes=[])


def present(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Install the files that differ and start the timer; return the result of the module."""
    params = module.params
    wrong = problems(params)
    if wrong:
        raise TransactionError(". ".join(wrong))
    settings, notes = settings_of(params)
    user = user_of(module)
    python = interpreter(module, host)
    magic = archive.magic_of(host, python)
    program = archive.program(f"{python} -IS", collector.__name__)
    diffs = []  # type: List[Dict[str, str]]
    changed = [folder.path for folder in wanted_folders(settings, user) if make_folder(module, folder)]
    if hand_over(module, settings.log, user):
        changed.append(settings.log)
    old = left_over(settings)  # by the settings of the last run, which the loop below replaces
    for path in old if not module.check_mode else ():
        remove(path)
    changed += old
    diffs += [{"prepared": f"{path} is removed\n"} for path in old]
    for file in wanted_files(settings, user, journal_groups(), program):
        current = is_current(file, magic)
        if not current:
            diffs.append(diff_of(file))
            if not module.check_mode:
                put(module, host, file, python)
        if set_attributes(module, file) or not current:
            changed.append(file.path)
    lines = start(module, host, changed)
    diffs += [{"prepared": line} for line in lines]
    notes += collector.read_json(os.path.join(settings.state, STATUS)).get("failures", [])
    return {
        "changed": bool(changed or lines),
        "changed_files": changed,
        "textfile_directory": settings.textfile_directory,
        "user": user.name,
        "python": python,
        "notes": notes,
        "diff": diffs,
    }


def settings_of(params: Dict[str, Any]) -> Tuple[Settings, List[str]]:
    """Return the settings of the program, and notes; raise TransactionError where the textfile folder is missing."""
    folder, note = params["textfile_directory"].rstrip("/"), ""
    if folder == "auto":
        folder, note = textfile_directory()
    elif folder and not os.path.isdir(folder):
        raise TransactionError(
            f"textfile_directory is {folder}, which does not exist: install node_exporter first, or correct the path"
        )
    names = ("interval_seconds", "probe_interval_minutes", "log", "hook", "clients", "goal", "thresholds")
    notes = [f"{note} The metrics are in /var/lib/nts-monitor/metrics.prom."] if note else []
    made = makes_log_folder(params["log"])
    return Settings(textfile_directory=folder, log_folder_made=made, **{name: params[name] for name in names}), notes


def user_of(module: AnsibleModule) -> User:
    """Return the user that runs the monitor; raise TransactionError without one.

    In check mode, return the likely user, because the role may only have predicted the installation of chrony.
    """
    user = user_of_monitor()
    if user is None and not module.check_mode:
        raise TransactionError(
            f"chronyd's user ({' or '.join(CHRONY_USERS)}) is missing: install chrony first (role chrony_nts)"
        )
    return user or User(CHRONY_USERS[0])


def interpreter(module: AnsibleModule, host: System) -> str:
    """Return the Python for the program; raise TransactionError without one.

    In check mode, return the likely path, because the role may only have predicted the installation of Python.
    """
    try:
        return platform_python(host, "nts-monitor")
    except TransactionError:
        if module.check_mode:
            return PLATFORM_PYTHONS[-1]
        raise


def make_folder(module: AnsibleModule, folder: Folder) -> bool:
    """Make a missing folder, and give the monitor its own ones; return whether that is a change."""
    if os.path.isdir(folder.path) and not folder.own:
        return False
    missing = not os.path.isdir(folder.path)
    if missing and module.check_mode:
        return True
    if missing:
        os.makedirs(folder.path, 0o755)
    options = module.load_file_common_arguments({"path": folder.path})
    # A log folder gets the mode that chronyd gives its own.
    wanted = dict(options, owner=folder.user, group=None, mode="0755" if folder.own else "0750")
    return bool(module.set_fs_attributes_if_different(wanted, missing))


def hand_over(module: AnsibleModule, path: str, user: User) -> bool:
    """Give the state log of an earlier run to the monitor's current user; return whether that is a change."""
    if not path or not os.path.isfile(path) or os.path.islink(path):
        return False
    options = module.load_file_common_arguments({"path": path})
    return bool(module.set_fs_attributes_if_different(dict(options, owner=user.name, group=None, mode=None), False))


def is_current(file: File, magic: str) -> bool:
    """Return whether a file on the host has the desired content."""
    if file.link:
        return os.path.islink(file.path) and os.readlink(file.path) == file.link
    found = read(file.path)
    if found is None or os.path.islink(file.path):
        return False
    if file.path == PROGRAM:
        return archive.is_current(found.content, file.content, magic)
    return found.content == file.content


def put(module: AnsibleModule, host: System, file: File, python: str) -> None:
    """Write a file or a link atomically, and the program with its bytecode; raise TransactionError."""
    if file.link:
        staged = f"{file.path}.new"
        if os.path.lexists(staged):
            remove(staged)
        if os.path.isdir(file.path) and not os.path.islink(file.path):
            raise TransactionError(f"{file.path} is a folder, and not the monitor's: move it away")
        os.symlink(file.link, staged)
        os.replace(staged, file.path)
        return
    with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as staged_file:
        staged_file.write(file.content)
    if file.path == PROGRAM:
        archive.add_bytecode(host, python, staged_file.name, PROGRAM)
    os.makedirs(os.path.dirname(file.path), exist_ok=True)
    module.atomic_move(staged_file.name, file.path)


def set_attributes(module: AnsibleModule, file: File) -> bool:
    """Set owner, group and mode of a file; return whether that is a change. Links have none of their own."""
    if file.link or (module.check_mode and not os.path.exists(file.path)):
        return False
    options = dict(module.load_file_common_arguments({"path": file.path}), owner="root", group="root")
    options["mode"] = f"{file.mode:04o}"
    return bool(module.set_fs_attributes_if_different(options, False))


def diff_of(file: File) -> Dict[str, str]:
    """Return a file's diff for Ansible; for the program and links, only the note that they change."""
    if file.path == PROGRAM or file.link:
        return {"prepared": f"{file.path} changes\n"}
    found = read(file.path)
    return {
        "before_header": file.path,
        "after_header": file.path,
        "before": found.content.decode("utf-8", "replace") if found else "",
        "after": file.content.decode(),
    }


def start(module: AnsibleModule, host: System, changed: List[str]) -> List[str]:
    """Enable and start the timer, and run the service once after a change.

    Return a line for each state that differed and that no changed file shows.
    """
    timer = timer_of(host, *UNITS)
    writes = not {TIMER, SERVICE}.isdisjoint(changed)
    lines = [f"systemd reloads {' and '.join(UNITS)}\n"] if timer.needs_reload and not writes else []
    lines += [] if timer.is_on else [f"{UNITS[0]} is enabled and started\n"]
    if module.check_mode or not (lines or changed):
        return lines
    host.run(["systemctl", "daemon-reload"])
    for command in (["enable", UNITS[0]], ["restart", UNITS[0]], ["start", UNITS[1]]):
        done = host.run(["systemctl", *command])
        if done.status:
            options = ["--quiet", "--no-pager", "--output=cat", "--lines=5", f"--unit={UNITS[1]}"]
            log = host.run(["journalctl", *options])
            shown = [*done.stderr.strip().splitlines(), *log.stdout.strip().splitlines()][-5:]
            raise TransactionError(f"`systemctl {' '.join(command)}` failed: {' / '.join(shown)}")
    return lines


if __name__ == "__main__":
    main()
