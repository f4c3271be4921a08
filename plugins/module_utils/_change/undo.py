# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The plan of a change of chronyd's files, its rollback, and recovery by a later run.

A run writes the plan before the first step. If the run is interrupted, the next one undoes the change by this plan.
The run also writes a shell script that restores the files without Python. A drop-in of the unit runs that script before
each start of chronyd, unless a run holds the lock.
"""

import contextlib
import os
import shlex
from typing import Any, Dict, Iterator, List, Optional

from ansible_collections.securetime.nts.plugins.module_utils._change import files, originals, rivals
from ansible_collections.securetime.nts.plugins.module_utils._change.cookies import (
    RACES,
    forget_cookies,
    put_back_cookies,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.decision import RELOADING_ACTIONS
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
    load_whole,
    save,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import LOST_PID, Unit
from ansible_collections.securetime.nts.plugins.module_utils._change.watch import watch

PLAN = "plan.json"
UNDO = "undo.sh"
# Does the same as put_back() of files.py and put_back_cookies() of cookies.py. A unit test compares them.
SCRIPT = """\
#!/bin/sh
# securetime.nts writes this script before it changes chronyd's files, and removes it afterwards. If the script exists
# when chronyd starts, the change was interrupted: it restores the old files. If that fails, the old file and the script
# stay.
failed=0
put_back() {{
  if [ -e "$1{old}" ] || [ -L "$1{old}" ]; then
    # mv refuses two links to the same file.
    inode=$(stat -c %d:%i "$1{old}" 2>/dev/null) && [ "$inode" = "$(stat -c %d:%i "$1" 2>/dev/null)" ] ||
      mv -fT "$1{old}" "$1" && rm -f "$1{old}"
  elif [ "$2" = new ]; then
    rm -f "$1"
  fi && rm -f "$1{new}" || failed=1
}}
put_back_cookies() {{
  for saved in "$1"/*.nts{old}; do
    if [ -f "$saved" ] && [ ! -L "$saved" ]; then mv -fT "$saved" "${{saved%{old}}}"; fi
  done
}}
"""


def write_plan(host: System, plan: Dict[str, Any], options: Options) -> None:
    """Write the plan, the undo script and the originals, before the first step of the change."""
    for path in plan["files"]:
        if options.originals:
            originals.keep(host, path)
        files.remove(path + files.OLD)
    if options.originals:
        originals.keep_rivals(host, plan["rivals"])
        originals.keep_folders(host, plan["folders"])
    _write_undo(host, plan)
    save(host, PLAN, plan)


def load_plan(host: System) -> Dict[str, Any]:
    """Return the plan of an interrupted run; empty if there is none. Raise TransactionError if it is damaged."""
    undo_path, plan_path = os.path.join(host.state, UNDO), os.path.join(host.state, PLAN)
    remedy = (
        "It lists the files of an interrupted change, whose old versions are beside them as"
        f" *{files.OLD}. Run `sh {undo_path}` if that file exists, which puts them back, and remove {plan_path}."
    )
    return load_whole(host, PLAN, remedy)


def is_open(plan: Dict[str, Any]) -> bool:
    return bool(plan) and not plan.get("done")


def finish(host: System, plan: Dict[str, Any]) -> List[str]:
    """Remove the plan of a change that is in force, and its kept files; return a sentence for each failed removal.

    Remove the undo script and mark the plan as done before anything else. From then on no run undoes the change, and
    the run after an interruption continues here.
    """
    files.remove(os.path.join(host.state, UNDO))
    save(host, PLAN, {**plan, "done": True})
    warnings = [warning for folder in plan["cookies"] for warning in forget_cookies(folder)]
    left = [path + end for path in plan["files"] for end in (files.NEW, files.OLD)]
    warnings += [problem for problem in map(files.removal_problem, left) if problem]
    forget_plan(host)
    return warnings


def recover(host: System, options: Options) -> bool:
    """Undo the change of an interrupted run; return whether there was one."""
    originals.remove_forgotten(host)
    plan = load_plan(host)
    if not plan:
        # A run that was interrupted before it saved its plan has changed no file. Its script would undo later changes
        # at the next start of chronyd.
        files.remove(os.path.join(host.state, UNDO))
    elif plan.get("done"):
        finish(host, plan)
    else:
        _assert_writable(host, plan)
        undo(host, plan, options, stopped=_stopped_since(host, plan))
    return is_open(plan)


def _assert_writable(host: System, plan: Dict[str, Any]) -> None:
    """Raise TransactionError where a folder of the plan is not writable, as in the sandbox of a unit.

    An undo that fails halfway would leave a mix of old and new files, and chronyd stopped.
    """
    folders = {host.state, *map(os.path.dirname, plan["files"]), *plan.get("cookies", [])}
    denied = [folder for folder in sorted(folders) if os.path.isdir(folder) and not os.access(folder, os.W_OK)]
    if denied:
        raise TransactionError(
            f"An interrupted change cannot be undone, because this process cannot write in {', '.join(denied)}; nothing"
            " was changed. Make the folder writable, then run the playbook or `nts-certificate recover` as root."
        )


def _stopped_since(host: System, plan: Dict[str, Any]) -> bool:
    """Return whether an administrator has stopped chronyd since the change was interrupted.

    An interrupted restart leaves no inactive unit, unless systemd had lost chronyd.
    """
    state = Unit(host, plan["service"]).show()
    inactive = state.get("ActiveState") == "inactive" and LOST_PID not in state and not plan.get("lost")
    return inactive and not {"drop-cookies", "stop"} & set(plan["actions"])


def undo(host: System, plan: Dict[str, Any], options: Options, stopped: bool = False) -> str:
    """Restore every file and the state of the service; return a sentence about what runs now.

    If an administrator has stopped chronyd, leave it stopped. If a file cannot be restored, still restore the other
    files and the time daemons. Then raise TransactionError, which names the file, and leave the plan for the next run.
    A file in a folder of another user is given up instead: that user could otherwise block every later change.
    """
    unit = Unit(host, plan["service"])
    failed, given_up = [], []  # type: List[str], List[str]
    for path in _undo_order(plan):
        with _collect_failures(failed, path, given_up):
            files.put_back(path, plan["files"][path])
    for folder in plan.get("cookies", []):
        # A running chronyd would overwrite the restored cookies with its present ones when it stops.
        host.run(["systemctl", "stop", unit.name])
        with _collect_failures(failed, folder):
            put_back_cookies(folder)
    files.remove_folders(plan.get("folders", []))
    if "daemon-reload" in plan["actions"]:
        host.run(["systemctl", "daemon-reload"])
    for done, opposite in (("enable", "disable"), ("disable", "enable")):
        if done in plan["actions"]:
            host.run(["systemctl", opposite, unit.name])
    outcome = _restore_service(host, unit, plan, options, stopped)
    if given_up:
        outcome = f", but for {'; '.join(given_up)}, whose folder is another user's{outcome}"
    rivals.bring_back(host, plan.get("rivals", []))
    if failed:
        raise TransactionError(
            f"These could not be put back: {'; '.join(failed)}. Their old versions are beside them as *{files.OLD}."
            f" Remove the cause; the next run tries again. The other files are as they were{outcome}"
        )
    forget_plan(host)
    return f"The files are as they were{outcome}"


def _is_foreign(path: str) -> bool:
    """Return whether another user than root owns the folder of a file, as chronyd's user owns ntsdumpdir."""
    try:
        return os.stat(os.path.dirname(path)).st_uid not in (0, os.geteuid())
    except OSError:
        return False


def _undo_order(plan: Dict[str, Any]) -> List[str]:
    """Return the files of a plan in the reverse order of the swaps.

    The drop-in that runs the undo script at boot is installed first, so it is removed last.
    """
    return list(reversed(plan.get("order") or list(plan["files"])))


@contextlib.contextmanager
def _collect_failures(failed: List[str], path: str, given_up: Optional[List[str]] = None) -> Iterator[None]:
    """Suppress OSError, and add the path with the reason to `failed`; to `given_up` if another user can cause it."""
    try:
        yield
    except OSError as problem:
        raced = given_up if problem.errno in RACES and _is_foreign(path) else None
        (failed if raced is None else raced).append(f"{path} ({problem.strerror})")


def _restore_service(host: System, unit: Unit, plan: Dict[str, Any], options: Options, stopped: bool) -> str:
    """Restart chronyd with the old files or stop it, as before the change; return the end of a sentence about it."""
    if "restart" in plan["actions"] and not plan["was_active"]:
        host.run(["systemctl", "reset-failed", unit.name])
        host.run(["systemctl", "stop", unit.name])
        return ", and chronyd is stopped, as it was."
    if not stopped and plan["was_active"] and RELOADING_ACTIONS & set(plan["actions"]):
        # Whatever action failed, a restart makes chronyd read all files again.
        try:
            unit.restart()
            watch(host, unit, options)
        except TransactionError as problem:
            return f", but chronyd does not run with them either: {problem}"
        return ", and chronyd runs with them."
    return "."


def forget_plan(host: System) -> None:
    # Remove the script first: with the plan alone, the next run can still undo the change.
    for name in (UNDO, PLAN):
        files.remove(os.path.join(host.state, name))
    files.sync(os.path.join(host.state, PLAN))


def _write_undo(host: System, plan: Dict[str, Any]) -> None:
    path = os.path.join(host.state, UNDO)
    files.write(path + files.NEW, undo_script(plan, path).encode("utf-8", "surrogateescape"), 0o600, 0, 0)
    os.replace(path + files.NEW, path)


def undo_script(plan: Dict[str, Any], own_path: str) -> str:
    """Return a shell script that restores the files as undo() does, and leaves the plan.

    The script removes itself after it has restored every file. Failed cookies and keys do not matter: chronyd's user
    owns their folder, and the next run tries again.
    """
    lines = [SCRIPT.format(old=files.OLD, new=files.NEW)]
    for path in _undo_order(plan):
        line = f"put_back {shlex.quote(path)} {'old' if plan['files'][path] else 'new'}"
        # A subshell keeps its own count of what has failed.
        lines.append(f"({line})" if _is_foreign(path) else line)
    lines += [f"put_back_cookies {shlex.quote(folder)}" for folder in plan["cookies"]]
    lines += [f"rmdir {shlex.quote(folder)} 2>/dev/null" for folder in reversed(plan["folders"])]
    return "\n".join([*lines, "sync", f'[ "$failed" = 1 ] || rm -f {shlex.quote(own_path)}', 'exit "$failed"', ""])
