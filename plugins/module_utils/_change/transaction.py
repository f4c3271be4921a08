# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. One change of chronyd's files: compare, check, write, apply, watch, and take back.

What is about to be done is written down first. A run that is cut at any point leaves a plan, and the next one undoes
it before it does anything else: the host then has every old file and runs with them. It leaves a script, too, that puts
the files back without Python: after a power cut, the role's drop-in of the unit runs it before chronyd starts again.
"""

import contextlib
import os
import re
import shlex
import shutil
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change import confinement, files
from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import check, effective_directives
from ansible_collections.securetime.nts.plugins.module_utils._change.cookies import (
    forget_cookies,
    put_back_cookies,
    set_aside_cookies,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    FileSpec,
    FileState,
    System,
    TransactionError,
    differs,
    diffs,
    digest,
    load,
    read,
    save,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.lock import locked
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd, read_version
from ansible_collections.securetime.nts.plugins.module_utils._x509 import trust

# Below the state folder: what the running daemon has loaded, by path; what is being done; what was there at first.
LOADED = "loaded.json"
PLAN = "plan.json"
UNDO = "undo.sh"
ORIGINAL = "original"
MANIFEST = "original/manifest.json"
REMEMBERED = "original/remembered.json"
# chronyd stays up with these, and serves no NTS or no time.
FATAL_LOG_LINES = re.compile(r"Could not set credentials : .*|Could not open (?:NTP|NTS-KE) socket on .*")
# How a change of a file is applied, the dearest first.
RESTART, SOURCES, KEYS, NOTHING = "restart", "sources", "keys", "nothing"
# As put_back() of files.py and put_back_cookies() of cookies.py: kept by a test.
SCRIPT = """\
#!/bin/sh
# Written by securetime.nts before a change of chronyd's files, and removed after it. If it is still there when chronyd
# starts, the change was cut: this puts back what was there.
put_back() {{
  if [ -e "$1{old}" ] || [ -L "$1{old}" ]; then
    mv -fT "$1{old}" "$1"
    rm -f "$1{old}"
  elif [ "$2" = new ]; then
    rm -f "$1"
  fi
  rm -f "$1{new}"
}}
put_back_cookies() {{
  for saved in "$1"/*.nts{old}; do
    if [ -f "$saved" ] && [ ! -L "$saved" ]; then mv -fT "$saved" "${{saved%{old}}}"; fi
  done
}}
"""
# Every action in its order; after READING, chronyd must read files again.
UNIT = "UNIT"
COMMANDS = {
    "stop": ("systemctl", "stop", UNIT),
    "disable": ("systemctl", "disable", UNIT),
    "daemon-reload": ("systemctl", "daemon-reload"),
    "enable": ("systemctl", "enable", UNIT),
    "drop-cookies": ("systemctl", "stop", UNIT),
    "restart": (),
    "reload-sources": ("chronyc", "reload", "sources"),
    "rekey": ("chronyc", "rekey"),
}  # type: Dict[str, Sequence[str]]
RELOADING_ACTIONS = {"restart", "reload-sources", "rekey", "stop"}
# UnitFileState of a unit that needs no `systemctl enable`.
ENABLED = ("enabled", "enabled-runtime", "alias", "static", "indirect")
# The packages in which `chronyc reload sources` does what it says, from the first to before the last version (chrony's
# NEWS: changed options are applied since 4.5; 4.6 and 4.6.1 multiply the sources, which Debian mended in 4.6.1-3).
RELOADS = ((4, 5), (4, 6)), ((4, 7), (99,))
RELOADS_IN_DEBIAN = re.compile(r"4\.6\.1-([3-9]|[1-9]\d)")


class Options(NamedTuple):
    """How a change is carried out; times are in seconds."""

    config_file: str
    service: str
    # What the server's certificates must be for, by their paths.
    names: Mapping[str, Sequence[str]] = {}
    start_timeout: float = 30.0
    settle_time: float = 3.0
    lock_timeout: float = 60.0
    # Raises TransactionError where the clock does not follow what was asked for.
    verify: Optional[Callable[[], None]] = None
    check_mode: bool = False
    # Whether chronyd is to run afterwards.
    run: bool = True
    # Whether what was there before the first change is kept for ever.
    originals: bool = True
    # Patterns of files of nobody else's: what matches and is not wanted is removed.
    owns: Sequence[str] = ()
    # What SELinux and AppArmor must let chronyd do; None leaves that as it is.
    uses: Optional[confinement.Requirements] = None


class Unit:
    """A systemd unit as `systemctl show` describes it."""

    def __init__(self, host: System, name: str):
        self.host = host
        self.name = name
        self.cursor = ""

    def show(self) -> Dict[str, str]:
        """Return these properties of the unit, those that it has."""
        wanted = "LoadState,ActiveState,UnitFileState,ConditionResult,NeedDaemonReload,MainPID"
        done = self.host.run(["systemctl", "show", "--property", wanted, self.name])
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def restart(self) -> None:
        """Start the service anew, and remember where its log begins."""
        self.host.run(["systemctl", "reset-failed", self.name])
        marked = self.host.run(["journalctl", "--quiet", "--lines=0", "--show-cursor"]).stdout
        self.cursor = marked.rpartition("cursor: ")[2].strip()
        _must(self.host, ["systemctl", "restart", self.name])

    def log(self) -> List[str]:
        """Return what chronyd logged since restart(), or else what systemd did about it, at most 40 lines.

        By name, because the journal does not know the unit of a process that ended as soon as it had logged; by cursor
        and not by time, because a failed start and the next one may share a second.
        """
        self.host.run(["journalctl", "--sync"])
        options = ["--output=cat", "--quiet", "--no-pager", "--lines=40", f"--after-cursor={self.cursor}"]
        return (
            self.host.run(["journalctl", *options, "SYSLOG_IDENTIFIER=chronyd"]).stdout
            or self.host.run(["journalctl", *options, f"--unit={self.name}"]).stdout
        ).splitlines()


def apply(host: System, wanted: Sequence[FileSpec], options: Options) -> Dict[str, Any]:
    """Bring the files and the service to the wanted state, whole or not at all.

    Returns changed, changed_files (paths), actions (recover and those of COMMANDS), reasons (sentences, why chronyd was
    made to read something), checked (whether chronyd itself read the candidate), confinement (sentences about what
    SELinux and AppArmor were told), warnings and diff (Ansible's before/after pairs). Raises TransactionError when the
    candidate is refused (nothing was changed) or when chronyd does not come up (everything was put back).
    """
    try:
        if options.check_mode:
            result = _apply(host, wanted, options, load(host, PLAN) != {})
            return _merge_confinement(result, confinement.prune(host, options.uses, True)) if options.uses else result
        return _apply_alone(host, wanted, options)
    except OSError as problem:
        raise TransactionError(_format_oserror(problem, begun=load(host, PLAN) != {})) from None


def recover_alone(host: System, options: Options) -> bool:
    """Undo what a run that was cut has left, when no other run is at work; say whether there was something."""
    with locked(host, options.lock_timeout):
        return recover(host, options)


def _apply_alone(host: System, wanted: Sequence[FileSpec], options: Options) -> Dict[str, Any]:
    with locked(host, options.lock_timeout):
        recovered = recover(host, options)
        for path in [item.path for item in wanted] + files.owned(options.owns):
            # A run that was cut before it had a plan leaves what it staged; one that was cut after, what it kept.
            files.forget(path)
        if options.uses is None:
            return _apply(host, wanted, options, recovered)
        # First more than the old files need, and in the end no more than the new ones do.
        before = confinement.used(host)
        try:
            more = confinement.allow(host, options.uses)
            result = _apply(host, wanted, options, recovered)
        except (TransactionError, OSError):
            with contextlib.suppress(TransactionError, OSError):
                confinement.prune(host, before)
            raise
        return _merge_confinement(result, more, confinement.prune(host, options.uses))


def _merge_confinement(result: Dict[str, Any], *outcomes: confinement.Outcome) -> Dict[str, Any]:
    """Add to the result what became of the confinement."""
    for outcome in outcomes:
        result["confinement"] += outcome.changes
        result["diff"] += outcome.diff
        result["warnings"] += [said for said in outcome.warnings if said not in result["warnings"]]
    result["changed"] = result["changed"] or result["confinement"] != []
    return result


def _apply(host: System, wanted: Sequence[FileSpec], options: Options, recovered: bool) -> Dict[str, Any]:
    unit = Unit(host, options.service)
    wanted = [*wanted, *_not_wanted(wanted, options)]
    before = {item.path: read(item.path) for item in wanted}
    changes = [item for item in wanted if differs(item, before[item.path])]
    # A file that was moved into its place from elsewhere may have the label of that.
    relabelled = [
        item.path
        for item in wanted
        if before[item.path] is not None and item not in changes and host.label(item.path, item.path)
    ]
    state = unit.show()
    if state.get("LoadState") == "not-found" and not options.check_mode:
        raise TransactionError(
            f"There is no unit {options.service} on this host, so nothing was changed. Install chrony first."
        )
    loaded = {item.path: digest(item.data) for item in wanted if item.data is not None}
    if options.run:
        actions, reasons = decide(host, wanted, changes, loaded, load(host, LOADED), state)
    else:
        actions, reasons = decide_to_stop(changes, state)
    staged = Staged(False, NOTHING_LOST, [])
    if changes or reasons:
        staged = _stage_and_check(host, changes, before, options)
    if staged.lost.trust and options.run:
        # The restart does what the two others would.
        actions = [action for action in actions if action not in ("reload-sources", "rekey", "restart")]
        actions, reasons = [*actions, "drop-cookies", "restart"], reasons + staged.lost.trust
    warnings = []  # type: List[str]
    if (changes or actions) and not options.check_mode:
        warnings = _carry_out(host, unit, changes, before, actions, staged, state, options)
    if reasons and not options.check_mode:
        # Another program may know of other files.
        save(host, LOADED, {**load(host, LOADED), **loaded})
    return {
        "changed": bool(changes or relabelled or actions or recovered),
        "changed_files": [item.path for item in changes] + relabelled,
        "actions": (["recover"] if recovered else []) + actions,
        "reasons": reasons,
        "checked": staged.checked,
        "confinement": [],
        "warnings": warnings,
        "diff": [pair for item in changes for pair in diffs(item, before[item.path])],
    }


def _not_wanted(wanted: Sequence[FileSpec], options: Options) -> List[FileSpec]:
    """Return what takes away the files that match and are not wanted."""
    paths = {item.path for item in wanted}
    left = [path for path in files.owned(options.owns) if path not in paths and os.path.exists(path)]
    return [FileSpec(path, None, "root", "root", 0o644, NOTHING) for path in left]


class Staged(NamedTuple):
    """Whether chronyd read the candidate, whom it trusts no more, and the folders that were made for it."""

    checked: bool
    lost: "RevokedTrust"
    folders: Sequence[str]


class RevokedTrust(NamedTuple):
    """Sentences about whom a client trusts no more, and the folders of the cookies that it must not use any more."""

    trust: List[str]
    folders: List[str]


NOTHING_LOST = RevokedTrust([], [])


def _lost(
    host: System, changes: Sequence[FileSpec], before: Dict[str, Optional[FileState]], options: Options
) -> RevokedTrust:
    """Compare whom the files trust with whom the staged ones do."""
    staged = {item.path: item for item in changes}
    main = staged.get(options.config_file)
    if not changes or not os.path.exists(options.config_file) or (main is not None and main.content is None):
        return NOTHING_LOST
    old = effective_directives(host, options.config_file)
    new = old if main is None else effective_directives(host, main.staged)
    sources = [item for item in changes if item.effect == SOURCES]
    old_sources = [trust.words_of(_decoded(before[item.path])) for item in sources]
    new_sources = [trust.words_of(item.content or "") for item in sources]
    trusted = trust.trust_of(old, lambda path: map(_decoded, _behind(path)), old_sources)
    trusts = trust.trust_of(
        new,
        lambda path: [staged[path].content or ""] if path in staged else map(_decoded, _behind(path)),
        new_sources,
    )
    lost = trust.removed_anchors(trusted, trusts)
    return RevokedTrust(lost, trust.dump_folders(old, new) if lost else [])


def _behind(path: str) -> List[Optional[FileState]]:
    """Return the file, or the files in the folder."""
    inside = sorted(os.listdir(path)) if os.path.isdir(path) else []
    paths = [os.path.join(path, name) for name in inside] if inside else [path]
    return [read(item) for item in paths if not os.path.isdir(item)]


def _decoded(existing: Optional[FileState]) -> str:
    return existing.content.decode("utf-8", "replace") if existing else ""


def decide_to_stop(changes: Sequence[FileSpec], state: Dict[str, str]) -> "Decision":
    """Return what leaves a chronyd stopped that did not run before, too."""
    actions = ["stop"] if state.get("ActiveState") == "active" else []
    actions += ["disable"] if state.get("UnitFileState") in ("enabled", "enabled-runtime") else []
    return Decision(actions + _reloads_units(changes, state), [])


def _reloads_units(changes: Sequence[FileSpec], state: Dict[str, str]) -> List[str]:
    changed = any("/systemd/system/" in item.path for item in changes) or state.get("NeedDaemonReload") == "yes"
    return ["daemon-reload"] if changed else []


def decide(
    host: System,
    wanted: Sequence[FileSpec],
    changes: Sequence[FileSpec],
    loaded: Dict[str, str],
    record: Dict[str, str],
    state: Dict[str, str],
) -> "Decision":
    """Return what is to be done and why: the cheapest that applies every change."""
    actions = _reloads_units(changes, state)
    if state.get("UnitFileState") not in ENABLED:
        actions.append("enable")
    if state.get("ActiveState") != "active":
        return Decision([*actions, "restart"], ["chronyd is not running"])
    effects = {item.path: item.effect for item in wanted}
    why = {item.path: f"{item.path} changed" for item in changes}
    for path in sorted(loaded):
        if record.get(path) != loaded[path]:
            why.setdefault(path, f"{path} changed since chronyd was started")
    why = {path: reason for path, reason in why.items() if effects.get(path, RESTART) != NOTHING}
    needed = {effects.get(path, RESTART) for path in why}
    if RESTART in needed or (SOURCES in needed and not reloads_sources(host)):
        actions.append("restart")
    else:
        actions += [action for effect, action in ((SOURCES, "reload-sources"), (KEYS, "rekey")) if effect in needed]
    return Decision(actions, list(why.values()))


class Decision(NamedTuple):
    """What is to be done, and why."""

    actions: List[str]
    reasons: List[str]


def reloads_sources(host: System) -> bool:
    """Say whether `chronyc reload sources` of the installed chrony leaves the sources as the files say."""
    shown = read_version(host.run([find_chronyd() or "chronyd", "-v"]).stdout)["version"] or ""
    version = tuple(map(int, re.findall(r"\d+", shown)))
    if any(first <= version < last for first, last in RELOADS):
        return True
    package = host.run(["dpkg-query", "--show", "--showformat=${Version}", "chrony"])
    return package.status == 0 and bool(RELOADS_IN_DEBIAN.match(package.stdout))


def _stage_and_check(
    host: System, changes: Sequence[FileSpec], before: Dict[str, Optional[FileState]], options: Options
) -> Staged:
    """Write the new files beside their places, and ask chronyd; on refusal or a full disk nothing was changed."""
    made = []  # type: List[str]
    try:
        for item in changes:
            # In check mode nothing is made but what chronyd must read, for a moment.
            if item.content is not None and (not options.check_mode or _can_be_tried(item, options)):
                files.stage(host, item, made)
        return _check_staged(host, changes, before, options)._replace(folders=made)
    except OSError as problem:
        raise _unchanged(changes, made, _format_oserror(problem)) from None
    except TransactionError as problem:
        raise _unchanged(changes, made, str(problem)) from None
    finally:
        if options.check_mode:
            for item in changes:
                files.remove(item.staged)


def _check_staged(
    host: System, changes: Sequence[FileSpec], before: Dict[str, Optional[FileState]], options: Options
) -> Staged:
    if options.check_mode and any(not os.path.exists(i.staged) for i in changes if i.path == options.config_file):
        return Staged(False, NOTHING_LOST, [])
    staged = {item.path: item for item in changes}
    checked = check(host, staged, options.config_file, options.names, whole=not options.check_mode)
    return Staged(checked, _lost(host, changes, before, options) if checked else NOTHING_LOST, [])


def _can_be_tried(item: FileSpec, options: Options) -> bool:
    readable = item.path == options.config_file or item.effect == SOURCES
    return readable and os.path.isdir(os.path.dirname(item.path))


def _unchanged(changes: Sequence[FileSpec], folders: Sequence[str], message: str) -> TransactionError:
    for item in changes:
        files.remove(item.staged)
    files.remove_folders(folders)
    return TransactionError(message)


def _carry_out(
    host: System,
    unit: Unit,
    changes: Sequence[FileSpec],
    before: Dict[str, Optional[FileState]],
    actions: Sequence[str],
    staged: Staged,
    state: Dict[str, str],
    options: Options,
) -> List[str]:
    """Swap the files and apply the actions, or roll back and raise TransactionError; return warnings."""
    plan = {
        "service": unit.name,
        "files": {item.path: os.path.lexists(item.path) for item in changes},
        "folders": list(staged.folders),
        "actions": list(actions),
        "cookies": list(staged.lost.folders),
        "was_active": state.get("ActiveState") == "active",
    }
    try:
        for item in changes:
            if options.originals:
                _keep_original(host, item.path, before[item.path])
            files.remove(item.path + files.OLD)
        _write_undo(host, plan)
        save(host, PLAN, plan)
    except OSError as problem:
        raise _unchanged(changes, staged.folders, _format_oserror(problem)) from None
    try:
        for item in changes:
            files.keep(item.path)
        # The main file is the last: until then, everything that it names is there, old or new.
        # What undoes it all at a boot is the first.
        for item in sorted(changes, key=lambda item: (item.path == options.config_file, "/systemd/" not in item.path)):
            files.swap(item)
        _apply_actions(host, unit, actions, staged.lost.folders, options)
    except (TransactionError, OSError) as problem:
        log = unit.log() if "restart" in actions else []
        now_runs = undo(host, plan, options)
        raise TransactionError(
            f"The change was taken back: {str(problem).rstrip('.')}.{_quoted(log)} {now_runs}"
        ) from problem
    return _finish(host, plan)


def _finish(host: System, plan: Dict[str, Any]) -> List[str]:
    """Remove the plan of a change that is in force, and what it left; return what could not be removed, in sentences.

    The plan says that the change is in force before anything is removed: from there on nothing undoes it, and a run
    after a cut goes on here.
    """
    files.remove(os.path.join(host.state, UNDO))
    save(host, PLAN, {**plan, "done": True})
    warnings = [warning for folder in plan["cookies"] for warning in forget_cookies(folder)]
    left = [path + end for path in plan["files"] for end in (files.NEW, files.OLD)]
    warnings += [problem for problem in map(files.removal_problem, left) if problem]
    _forget_plan(host)
    return warnings


def _apply_actions(host: System, unit: Unit, actions: Sequence[str], cookies: Sequence[str], options: Options) -> None:
    for action, command in COMMANDS.items():
        if action == "restart" and action in actions:
            unit.restart()
            watch(host, unit, options)
        elif action in actions:
            _must(host, [unit.name if word == UNIT else word for word in command])
        if action == "drop-cookies" and action in actions:
            # At its end chronyd has saved all that it had.
            for folder in cookies:
                set_aside_cookies(folder)
    if options.verify and RELOADING_ACTIONS & set(actions):
        options.verify()


def _format_oserror(problem: OSError, begun: bool = False) -> str:
    left = "the next run undoes what this one has begun" if begun else "nothing was changed"
    return f"{problem.strerror} ({problem.filename or 'while writing'}); {left}."


def recover(host: System, options: Options) -> bool:
    """Undo what a run that was cut has left; say whether there was something."""
    plan = load(host, PLAN)
    if plan.get("done"):
        _finish(host, plan)
        return False
    if plan:
        undo(host, plan, options, stopped=_stopped_since(host, plan))
    return bool(plan)


def _stopped_since(host: System, plan: Dict[str, Any]) -> bool:
    """Say whether somebody has stopped chronyd since a change was interrupted: a restart leaves no inactive unit."""
    inactive = Unit(host, plan["service"]).show().get("ActiveState") == "inactive"
    return inactive and not {"drop-cookies", "stop"} & set(plan["actions"])


def undo(host: System, plan: Dict[str, Any], options: Options, stopped: bool = False) -> str:
    """Put every file back and bring the service to where it was; return a sentence that says what runs now.

    A chronyd that an administrator has stopped stays stopped.
    """
    unit = Unit(host, plan["service"])
    for path, existed in plan["files"].items():
        files.put_back(path, existed)
    for folder in plan.get("cookies", []):
        # Otherwise it would save those that it has now in their place.
        host.run(["systemctl", "stop", unit.name])
        put_back_cookies(folder)
    files.remove_folders(plan.get("folders", []))
    if "daemon-reload" in plan["actions"]:
        host.run(["systemctl", "daemon-reload"])
    for done, opposite in (("enable", "disable"), ("disable", "enable")):
        if done in plan["actions"]:
            host.run(["systemctl", opposite, unit.name])
    said = "The files are as they were."
    if "restart" in plan["actions"] and not plan["was_active"]:
        host.run(["systemctl", "reset-failed", unit.name])
        host.run(["systemctl", "stop", unit.name])
        said = "The files are as they were, and chronyd is stopped, as it was."
    elif not stopped and plan["was_active"] and RELOADING_ACTIONS & set(plan["actions"]):
        # Whatever was tried, a restart makes chronyd read all of them again.
        try:
            unit.restart()
            watch(host, unit, options)
            said = "The files are as they were, and chronyd runs with them."
        except TransactionError as problem:
            said = f"The files are as they were, but chronyd does not run with them either: {problem}"
    _forget_plan(host)
    return said


def _forget_plan(host: System) -> None:
    # In this order: without the script, the next run would still undo what has the plan.
    for name in (UNDO, PLAN):
        files.remove(os.path.join(host.state, name))
    files.sync(os.path.join(host.state, PLAN))


def _write_undo(host: System, plan: Dict[str, Any]) -> None:
    path = os.path.join(host.state, UNDO)
    files.write(path + files.NEW, undo_script(plan, path).encode("utf-8", "surrogateescape"), 0o600, 0, 0)
    os.replace(path + files.NEW, path)


def undo_script(plan: Dict[str, Any], own_path: str) -> str:
    """Return what does in the shell to the files what undo() does; afterwards it removes itself, and the plan stays."""
    lines = [SCRIPT.format(old=files.OLD, new=files.NEW)]
    lines += [f"put_back {shlex.quote(path)} {'old' if old else 'new'}" for path, old in plan["files"].items()]
    lines += [f"put_back_cookies {shlex.quote(folder)}" for folder in plan["cookies"]]
    lines += [f"rmdir {shlex.quote(folder)} 2>/dev/null" for folder in reversed(plan["folders"])]
    return "\n".join([*lines, "sync", f"rm -f {shlex.quote(own_path)}", ""])


def watch(host: System, unit: Unit, options: Options) -> None:
    """Return when the unit is active, chronyd answers, and it has stayed so; else raise TransactionError.

    A daemon that runs but could not load its certificates or open its ports counts as not come up.
    """
    deadline = time.monotonic() + options.start_timeout
    pause = 0.05
    while True:
        state = unit.show()
        if state.get("ConditionResult") == "no" and state.get("ActiveState") == "inactive":
            raise TransactionError(
                f"systemd skipped {unit.name}, because a condition of the unit is not met; see systemctl status"
            )
        if state.get("ActiveState") == "failed":
            raise TransactionError(f"{unit.name} failed to start")
        if state.get("ActiveState") == "active" and _answers(host):
            break
        if time.monotonic() > deadline:
            raise TransactionError(f"{unit.name} did not come up within {options.start_timeout:g} seconds")
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
    settled = time.monotonic() + options.settle_time
    while time.monotonic() < settled:
        now = unit.show()
        if (now.get("ActiveState"), now.get("MainPID")) != ("active", state.get("MainPID")):
            raise TransactionError(f"{unit.name} came up and ended again within {options.settle_time:g} seconds")
        time.sleep(0.25)
    for line in unit.log():
        if FATAL_LOG_LINES.search(line):
            raise TransactionError(f"chronyd runs but cannot do its work ({line.strip()})")


def _answers(host: System) -> bool:
    """Say whether chronyd answers chronyc; raise TransactionError where chronyc cannot be run."""
    done = host.run(["chronyc", "-n", "activity"])
    if done.status == files.NOT_RUN:
        raise TransactionError(f"chronyc cannot be run ({done.stderr.strip()}): reinstall the package chrony")
    return done.status == 0


def read_again(host: System, options: Options, paths: Sequence[str]) -> None:
    """Let the next apply() have chronyd read these, also where they have not changed."""
    with locked(host, options.lock_timeout):
        loaded = load(host, LOADED)
        save(host, LOADED, {path: known for path, known in loaded.items() if path not in paths})


def remember(host: System, facts: Dict[str, Any]) -> None:
    """Keep what the host was like before the first change, once and for all."""
    if facts and not load(host, REMEMBERED):
        save(host, REMEMBERED, facts)


def originals(host: System) -> List[FileSpec]:
    """Return the files as they were before the first change of each."""
    return [_original(host, path, entry) for path, entry in sorted(load(host, MANIFEST).items())]


def _original(host: System, path: str, entry: Optional[Dict[str, Any]]) -> FileSpec:
    kept = read(os.path.join(host.state, ORIGINAL, entry["file"])) if entry else None
    if entry is None:
        return FileSpec(path, None, "root", "root", 0o644)
    if kept is None:
        raise TransactionError(f"What {path} was before the first change is lost: {host.state} is not whole.")
    content = kept.content.decode("utf-8", "surrogateescape")
    owner, group = files.user_name(entry["uid"]), files.group_name(entry["gid"])
    return FileSpec(path, content, owner, group, int(entry["mode"], 8))


def forget_everything(host: System) -> None:
    """Begin anew: what the host is now is what the next first change will find."""
    shutil.rmtree(os.path.join(host.state, ORIGINAL), ignore_errors=True)
    files.remove(os.path.join(host.state, LOADED))


def _keep_original(host: System, path: str, existing: Optional[FileState]) -> None:
    """Keep what was there before the first change of a file, once and for all."""
    kept = load(host, MANIFEST)
    if path in kept:
        return
    entry = None
    if existing:
        name = f"{len(kept):03d}"
        place = os.path.join(host.state, ORIGINAL, name)
        files.make_private(host.state)
        files.make_private(os.path.dirname(place))
        files.write(place, existing.content, 0o600, 0, 0)
        entry = {"file": name, "uid": existing.uid, "gid": existing.gid, "mode": f"{existing.mode:04o}"}
    save(host, MANIFEST, dict(kept, **{path: entry}))


def _must(host: System, argv: List[str]) -> None:
    done = host.run(argv)
    if done.status != 0:
        first_line = (done.stderr or done.stdout).partition("\n")[0]
        raise TransactionError(f"`{' '.join(argv)}` failed: {first_line}")


def _quoted(log: Sequence[str]) -> str:
    return " The daemon's log says: {}.".format(" | ".join(line.strip() for line in log[-8:])) if log else ""
