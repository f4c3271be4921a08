# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. One transaction on chronyd's files: compare, check, write, apply, watch, roll back.

Long: the phases of one transaction share its data, and the order of the phases is read as a whole.
"""

import contextlib
import os
import re
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from ansible_collections.securetime.nts.plugins.module_utils._change import (
    confinement,
    files,
    links,
    originals,
    paths,
    rivals,
    rotation,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import (
    ENTER,
    READ,
    Reader,
    check,
    check_reach,
    effective_directives,
    has_permission,
    reader_of,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.cookies import (
    set_aside_cookies,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.decision import (
    COMMANDS,
    RELOADING_ACTIONS,
    UNIT,
    Decision,
    decide,
    decide_to_stop,
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
from ansible_collections.securetime.nts.plugins.module_utils._change.lost_trust import (
    NOTHING_LOST,
    RevokedTrust,
    by_path,
    lost_trust,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import KEYS, NOTHING, SOURCES, Options
from ansible_collections.securetime.nts.plugins.module_utils._change.undo import (
    PLAN,
    UNDO,
    finish,
    forget_plan,
    is_open,
    load_plan,
    recover,
    undo,
    write_plan,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import (
    LOST_PID,
    Unit,
    run_checked,
    runs,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.watch import watch
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import declared_sources
from ansible_collections.securetime.nts.plugins.module_utils._x509 import trust
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

# In the state folder: the digests of what the running daemon has loaded, by path.
LOADED = "loaded.json"
# Key in LOADED, beside the paths: the sentence about the sources that chronyd lacked after it read its files.
SOURCES_LOADED = "sources"
# The setting of a unit that makes a path writable for its service.
WRITES = re.compile(r"ReadWritePaths=")
# Results of apply() that are lists.
LISTS = ("changed_files", "actions", "reasons", "confinement", "warnings", "diff")
LOST_WARNING = "systemd lost the running chronyd when it read the unit again, so chronyd was restarted."
# What a failed run leaves behind: before the first swap, between it and the commit, and after the commit.
UNCHANGED = "nothing was changed"
INTERRUPTED = "an interrupted change remains, and the next run undoes it"
IN_FORCE = "chronyd's files are in their desired state, and the next run completes the change"


def apply(host: System, wanted: Sequence[FileSpec], options: Options) -> Dict[str, Any]:
    """Bring the files and the service to the desired state, all or nothing.

    Return a dictionary: changed, changed_files (paths), actions (recover, and names of COMMANDS), reasons (sentences:
    why chronyd reads files again), checked (whether chronyd itself parsed the candidate), confinement (sentences about
    changed rules of SELinux and AppArmor), warnings, and diff (Ansible's before/after pairs). Raise TransactionError
    where a check refuses the candidate (no file is replaced), or chronyd does not come up (everything is rolled back).
    """
    return apply_read(host, lambda: wanted, options)


def apply_read(host: System, wanted: Callable[[], Sequence[FileSpec]], options: Options) -> Dict[str, Any]:
    """Do the same as apply(), but call `wanted` for the files under the lock, while no other run changes them."""
    with _convert_oserror(host), locked(host, options.lock_timeout, create=not options.check_mode):
        if options.check_mode:
            return _predict(host, wanted(), options)
        recovered = recover(host, options)
        originals.remember(host, options.remember)
        result = _apply_confined(host, wanted(), options, recovered)
        with _report_in_force():
            originals.drop(host, options.put_back)
        return _finish_restore(host, result) if options.forget else result


def restore(host: System, options: Options) -> Dict[str, Any]:
    """Put back every original, as apply() does, and delete everything that the state folder keeps of the host."""
    options = options._replace(
        uses=confinement.Requirements(),
        uses_paths=False,
        owns=(),
        folders=(),
        log_dir="",
        originals=False,
        forget=True,
        daemon_options=(),
    )
    with _convert_oserror(host):
        if originals.specs(host):
            return apply_read(host, lambda: originals.specs(host), options)
        if not options.check_mode and os.path.isdir(host.state):
            with locked(host, options.lock_timeout):
                recover(host, options)
                return _finish_restore(host, _result())
        if not options.check_mode:
            originals.remove_forgotten(host)
        return _result()


def _finish_restore(host: System, result: Dict[str, Any]) -> Dict[str, Any]:
    """Bring the other time daemons back and delete the originals; return the result, updated."""
    with _report_in_force():
        found = originals.kept_rivals(host)
        rivals.bring_back(host, found)
        files.remove_folders(originals.kept_folders(host))
        result["warnings"] += originals.forget_everything(host)
    return {**result, "changed": result["changed"] or found != []}


def remembered(host: System) -> Dict[str, Any]:
    """Return Options.remember as of the first change; empty if there was no change."""
    with _convert_oserror(host):
        return originals.remembered(host)


def recover_alone(host: System, options: Options) -> bool:
    """Take the lock and undo an interrupted run; return whether there was one."""
    with _convert_oserror(host), locked(host, options.lock_timeout):
        return recover(host, options)


def read_again(host: System, options: Options, paths: Sequence[str]) -> None:
    """Mark files so that the next apply() makes chronyd read them, even if they have not changed."""
    with _convert_oserror(host), locked(host, options.lock_timeout):
        loaded = load(host, LOADED)
        save(host, LOADED, {path: known for path, known in loaded.items() if path not in paths})


@contextlib.contextmanager
def _convert_oserror(host: System, otherwise: str = UNCHANGED) -> Iterator[None]:
    """Convert OSError to TransactionError, with the file, the state of the host and the remedy.

    `otherwise` is the state where the plan of an interrupted change does not exist.
    """
    try:
        yield
    except OSError as problem:
        raise TransactionError(_format_oserror(problem, INTERRUPTED if _has_open_plan(host) else otherwise)) from None


def _has_open_plan(host: System) -> bool:
    with contextlib.suppress(OSError, TransactionError):
        return is_open(load_plan(host))
    return False


@contextlib.contextmanager
def _report_in_force() -> Iterator[None]:
    """Add to an error of a step after the commit that the change of chronyd's files is in force."""
    try:
        yield
    except OSError as problem:
        raise TransactionError(_format_oserror(problem, IN_FORCE)) from None
    except TransactionError as problem:
        raise TransactionError(f"{str(problem).rstrip('.')}. {IN_FORCE}.") from None


def _predict(host: System, wanted: Sequence[FileSpec], options: Options) -> Dict[str, Any]:
    result, needs = _apply(host, wanted, options, recovered=is_open(load_plan(host)))
    return _merge_confinement(result, confinement.prune(host, needs, True)) if needs else result


def _apply_confined(host: System, wanted: Sequence[FileSpec], options: Options, recovered: bool) -> Dict[str, Any]:
    wanted = links.resolved(wanted)
    for path in _paths(wanted, options):
        # A run that was interrupted before its plan leaves staged files; one after it, hard links to the old files.
        files.forget(path)
        files.forget_checks(path)
    if options.uses is None:
        return _apply(host, wanted, options, recovered)[0]
    # Allow what the old and the new files need before the change, and only what the new ones need after it.
    before = confinement.recorded(host)
    try:
        allowed = confinement.allow(host, _needs(wanted, options, _main_directives(wanted, options)) or options.uses)
        result, needs = _apply(host, wanted, options, recovered)
    except (TransactionError, OSError):
        with contextlib.suppress(TransactionError, OSError):
            confinement.prune(host, before)
        raise
    with _report_in_force():
        pruned = confinement.prune(host, needs or options.uses)
    return _merge_confinement(result, allowed, pruned)


def is_left(host: System, wanted: Sequence[FileSpec], options: Options) -> bool:
    """Return whether an interrupted run has left something that the next run removes."""
    plan = [os.path.join(host.state, name) for name in (PLAN, UNDO)]
    return any(map(files.is_left, _paths(links.resolved(wanted), options))) or any(map(os.path.lexists, plan))


def _paths(wanted: Sequence[FileSpec], options: Options) -> List[str]:
    """Return the paths beside which a run stages and keeps files. `wanted` has its links resolved."""
    return [item.write_path for item in wanted] + files.owned(options.owns)


def _needs(wanted: Sequence[FileSpec], options: Options, directives: Directives) -> Optional[confinement.Requirements]:
    """Return what SELinux and AppArmor must allow for files and directives; None leaves the confinement unmanaged."""
    if options.uses is None or not options.uses_paths:
        return options.uses
    read_first = [item for item in wanted if _is_main(item, options) or item.effect in (SOURCES, KEYS)]
    linked = [item.write_path for item in read_first if item.write_path != item.path]
    found = confinement.union(options.uses, confinement.required(directives, linked))
    return found._replace(files=[path for path in found.files if not paths.below(path, found.folders)])


def _main_directives(wanted: Sequence[FileSpec], options: Options) -> Directives:
    """Return the directives of the desired main configuration.

    Parse the text here: confinement may deny chronyd the file until the rules are in place.
    """
    return trust.words_of("".join(item.content or "" for item in wanted if _is_main(item, options)))


def _merge_confinement(result: Dict[str, Any], *outcomes: confinement.Outcome) -> Dict[str, Any]:
    """Add the outcomes of the confinement to the result."""
    for outcome in outcomes:
        result["confinement"] += outcome.changes
        result["diff"] += outcome.diff
        result["warnings"] += [warning for warning in outcome.warnings if warning not in result["warnings"]]
    result["changed"] = result["changed"] or result["confinement"] != []
    return result


def _apply(
    host: System, wanted: Sequence[FileSpec], options: Options, recovered: bool
) -> Tuple[Dict[str, Any], Optional[confinement.Requirements]]:
    """Return the result, and what SELinux and AppArmor must allow from now on."""
    # Long: the steps of one change, in order, over the same values.
    unit = Unit(host, options.service)
    # Check mode must not write to a path that another run reads.
    suffix = f"{files.CHECK}{os.getpid()}" if options.check_mode else files.NEW
    wanted = [item._replace(suffix=suffix) for item in [*links.resolved(wanted), *_removals(wanted, options)]]
    # `wanted` has its links resolved. Follow none at a key file: chronyd's user owns that folder and could plant one.
    before = {item.path: read(item.write_path, follow=item.content is None or item.effect != KEYS) for item in wanted}
    changes = [item for item in wanted if differs(item, before[item.path])]
    relabelled = _relabelled(host, [item for item in wanted if item not in changes], before)
    state = unit.show()
    _assert_startable(state, options)
    loaded = {item.path: digest(item.data) for item in wanted if item.data is not None}
    opened = _grant_access(host, _main_directives(wanted, options), options)
    current = _current_directives(host, changes, opened, options)
    decision = _decision(host, wanted, changes, loaded, state, options)
    if current and state.get("ActiveState") == "active":
        decision = _add_restart(host, decision, opened, current, options)
    sandbox = _sandbox(unit, state, changes)
    staged = Staged(False, NOTHING_LOST, [], current)
    if changes or decision.reasons:
        staged = _stage_and_check(host, changes, before, options, sandbox)
    elif current:
        check_reach(host, current, sandbox, options.daemon_options)
    needs, confined = _confine(host, wanted, options, staged.directives)
    actions, reasons = _drop_revoked_cookies(decision, staged.revoked, options)
    warnings = []  # type: List[str]
    if (changes or actions) and not options.check_mode:
        warnings = _commit(host, unit, changes, actions, staged, state, options)
    if reasons and not options.check_mode:
        warnings += _record_loaded(host, loaded, options)
    result = _result(
        changed=bool(changes or relabelled or opened or actions or recovered),
        changed_files=[item.path for item in changes] + relabelled + opened,
        actions=(["recover"] if recovered else []) + actions,
        reasons=reasons,
        checked=staged.checked,
        warnings=warnings + _rotation_warnings(wanted),
        diff=[pair for item in changes for pair in diffs(item, before[item.path])],
    )
    return _merge_confinement(result, confined), needs


def _assert_startable(state: Dict[str, str], options: Options) -> None:
    """Raise TransactionError if systemd cannot start the unit, because it is missing or masked.

    In check mode, accept what the role corrects before: the missing package, and the runtime mask of an earlier run.
    """
    if state.get("LoadState") == "not-found" and not options.check_mode:
        raise TransactionError(
            f"There is no unit {options.service} on this host, so nothing was changed. Install chrony first."
        )
    runtime = state.get("UnitFileState") == "masked-runtime"
    if state.get("LoadState") == "masked" and options.run and not (runtime and options.check_mode):
        raise TransactionError(
            f"{options.service} is masked, so that systemd does not start chronyd; nothing was changed. Run `systemctl"
            f" unmask {'--runtime ' if runtime else ''}{options.service}` on the host, if chronyd is to run there."
            " Reinstall chrony if the unit file is empty."
        )


def _record_loaded(host: System, loaded: Dict[str, str], options: Options) -> List[str]:
    """Record the digests of what chronyd has loaded; return a warning if that fails, as on a full disk."""
    try:
        # Keep the other entries: another program applies other files and records them here.
        save(host, LOADED, {**load(host, LOADED), **loaded, SOURCES_LOADED: _missing_sources(host, options)})
    except OSError as problem:
        path = os.path.join(host.state, LOADED)
        remedy = "Remove the cause; the next run lets chronyd read its files once more."
        return [f"The change is in force, but {path} could not be written ({problem.strerror}). {remedy}"]
    return []


def _rotation_warnings(wanted: Sequence[FileSpec]) -> List[str]:
    """Return a warning for each other logrotate file that names the logs of a desired one."""
    return [
        warning
        for item in wanted
        if item.path.startswith(rotation.FOLDER)
        for warning in rotation.find_duplicates(item.path, item.content)
    ]


def _drop_revoked_cookies(decision: Decision, revoked: RevokedTrust, options: Options) -> Decision:
    """Return a decision that drops the saved cookies if the change removes a trust anchor."""
    if not revoked.trust or not options.run:
        return decision
    # A restart includes what reload-sources and rekey do.
    actions = set(decision.actions) - {"reload-sources", "rekey"} | {"drop-cookies", "restart"}
    return Decision([name for name in COMMANDS if name in actions], decision.reasons + revoked.trust)


def _current_directives(
    host: System, changes: Sequence[FileSpec], opened: Sequence[str], options: Options
) -> Directives:
    """Return the directives if the main configuration does not change; none if it does, or if chronyd is to stop."""
    if not options.run or any(_is_main(item, options) for item in changes) or not find_chronyd():
        return {}
    directives = effective_directives(host, options.config_file)
    if options.check_mode and options.log_dir in opened:
        # Check mode leaves the folder with its old owner, which check_reach() would report.
        return {name: words for name, words in directives.items() if name != "logdir"}
    return directives


def _add_restart(
    host: System, decision: Decision, opened: Sequence[str], current: Directives, options: Options
) -> Decision:
    """Add a restart to the decision where chronyd has not read what the unchanged files say."""
    if "restart" in decision.actions:
        return decision
    unread = [
        f"chronyd could not {'write to' if path == options.log_dir else 'read'} {path}" for path in opened
    ] or _reload_reasons(host, current, options)
    if not unread:
        return decision
    # A restart includes what reload-sources and rekey do.
    kept = set(decision.actions) - {"reload-sources", "rekey"} | {"restart"}
    return Decision([name for name in COMMANDS if name in kept], decision.reasons + unread)


def _confine(
    host: System, wanted: Sequence[FileSpec], options: Options, directives: Directives
) -> Tuple[Optional[confinement.Requirements], confinement.Outcome]:
    """Allow what included files require beyond the main configuration; return all requirements and the outcome."""
    first = _needs(wanted, options, _main_directives(wanted, options))
    needs = _needs(wanted, options, directives) if directives else first
    if needs is None or options.check_mode:
        return needs, confinement.NOTHING
    return needs, confinement.allow_more(host, needs, first)


def _sandbox(unit: Unit, state: Dict[str, str], changes: Sequence[FileSpec]) -> paths.Sandbox:
    """Return the sandbox of the unit, with the writable paths that drop-ins of this change add."""
    drop_ins = [item.content or "" for item in changes if f"/systemd/system/{unit.name}.d/" in item.path]
    added = [line.partition("=")[2] for text in drop_ins for line in text.splitlines() if WRITES.match(line)]
    writable = " ".join([state.get("ReadWritePaths", ""), *added]).replace("%%", "%")
    return paths.Sandbox(unit.name, {**state, "ReadWritePaths": writable})


def _grant_access(host: System, directives: Directives, options: Options) -> List[str]:
    """Give chronyd's user access to the folders that only chronyd uses; return the paths of those that lacked it.

    An earlier run, or an administrator with a strict umask, can have removed the access. chronyd's user owns the folder
    of log files. On Debian systemd sets the mode of that folder to 0750 at each start (LogsDirectoryMode).
    """
    folders_found = [path for path in options.folders if os.path.isdir(path) and not os.path.islink(path)]
    log_dir = options.log_dir if os.path.isdir(options.log_dir) and not os.path.islink(options.log_dir) else ""
    if not (folders_found or log_dir) or not find_chronyd():
        return []
    reader = reader_of(host, directives, options.daemon_options)
    closed = [path for path in folders_found if not has_permission(reader, os.stat(path), READ | ENTER)]
    foreign = [log_dir] if log_dir and not _owns_exclusively(reader, os.stat(log_dir)) else []
    if not options.check_mode:
        for path in foreign:
            os.chown(path, reader.uid, reader.gid)
        for path in closed + foreign:
            os.chmod(path, 0o750 if path in foreign else 0o755)
    return closed + foreign


def _owns_exclusively(reader: Reader, status: os.stat_result) -> bool:
    """Return whether the user owns the folder and no other user can write to it. root can write to any folder."""
    return reader.uid == 0 or (status.st_uid == reader.uid and status.st_mode & 0o722 == 0o700)


def _reload_reasons(host: System, directives: Directives, options: Options) -> List[str]:
    """Return why chronyd must read its unchanged files again."""
    reason = _missing_sources(host, options)
    if reason and reason != load(host, LOADED).get(SOURCES_LOADED):
        return [reason]
    missing = paths.folders_to_make(paths.used(directives))
    return [f"{path} was missing" for path in missing] or options.idle_problems()


def _missing_sources(host: System, options: Options) -> str:
    """Return a sentence if chronyd has fewer sources than its files name; an empty string if it has them all.

    chronyd reads source files as its user, and silently ignores those that it cannot read.
    """
    names = {source.name.lower() for source in declared_sources(options.config_file) or []}
    done = host.run(["chronyc", "-n", "activity"])
    counts = [int(number) for number in re.findall(r"^(\d+) sources? ", done.stdout, re.MULTILINE)]
    if done.status or not counts or sum(counts) >= len(names):
        return ""
    return f"chronyd has {sum(counts)} of the {len(names)} sources that its files name"


def _result(**found: Any) -> Dict[str, Any]:
    """Return the result of apply(). By default it is the result of a run that changes nothing."""
    result = {name: [] for name in LISTS}  # type: Dict[str, Any]
    return {**result, "changed": False, "checked": False, **found}


def _relabelled(host: System, unchanged: Sequence[FileSpec], before: Dict[str, Optional[FileState]]) -> List[str]:
    """Give unchanged files the security label of their path, which moved files lack; return the relabelled paths."""
    return [
        item.path
        for item in unchanged
        if before[item.path] is not None and host.label(item.write_path, item.write_path)
    ]


def _decision(
    host: System,
    wanted: Sequence[FileSpec],
    changes: Sequence[FileSpec],
    loaded: Dict[str, str],
    state: Dict[str, str],
    options: Options,
) -> Decision:
    enabled = options.run if options.enabled is None else options.enabled
    if options.run:
        actions, reasons = decide(host, wanted, changes, loaded, load(host, LOADED), state, enabled)
    else:
        actions, reasons = decide_to_stop(changes, state, enabled)
    return Decision(["stop-rivals", *actions, "mask-rivals"] if options.rivals else actions, reasons)


def _removals(wanted: Sequence[FileSpec], options: Options) -> List[FileSpec]:
    """Return specs that remove the owned files which are not wanted."""
    paths = {item.path for item in wanted}
    left = [path for path in files.owned(options.owns) if path not in paths and os.path.exists(path)]
    return [FileSpec(path, None, "root", "root", 0o644, NOTHING) for path in left]


class Staged(NamedTuple):
    """Result of the checks: whether chronyd parsed the candidate, revoked trust, new folders, and the directives."""

    checked: bool
    revoked: RevokedTrust
    folders: Sequence[str]
    directives: Directives


def _stage_and_check(
    host: System,
    changes: Sequence[FileSpec],
    before: Dict[str, Optional[FileState]],
    options: Options,
    sandbox: paths.Sandbox,
) -> Staged:
    """Stage the new files beside their targets and check them with chronyd.

    Raise TransactionError if chronyd refuses them or the disk is full; then nothing is changed.
    """
    made = []  # type: List[str]
    try:
        for item in changes:
            links.assert_changeable(item.write_path)
            # In check mode stage only what chronyd must parse; the end of this function removes it.
            if item.content is not None and (not options.check_mode or _can_parse_in_check_mode(item, options)):
                files.stage(host, item, made)
        directives = _directives(host, changes, options)
        if not options.check_mode:
            _make_written_folders(host, directives, options, made)
        staged = _check_staged(host, changes, before, options, sandbox)
        return staged._replace(folders=made, directives=directives)
    except OSError as problem:
        raise _discard_staged(changes, made, _format_oserror(problem)) from None
    except TransactionError as problem:
        raise _discard_staged(changes, made, str(problem)) from None
    finally:
        if options.check_mode:
            for item in changes:
                files.remove(item.staged)


def _check_staged(
    host: System,
    changes: Sequence[FileSpec],
    before: Dict[str, Optional[FileState]],
    options: Options,
    sandbox: paths.Sandbox,
) -> Staged:
    if options.check_mode and any(not os.path.exists(i.staged) for i in changes if _is_main(i, options)):
        return Staged(False, NOTHING_LOST, [], {})
    staged = by_path(changes)
    checked = check(
        host,
        staged,
        options.config_file,
        options.names,
        whole=not options.check_mode,
        daemon_options=options.daemon_options,
        sandbox=sandbox,
    )
    return Staged(checked, lost_trust(host, changes, before, options) if checked else NOTHING_LOST, [], {})


def _directives(host: System, changes: Sequence[FileSpec], options: Options) -> Directives:
    """Return the directives of the candidate, or those of the current configuration if it does not change."""
    main = [item for item in changes if _is_main(item, options)]
    if not main:
        return effective_directives(host, options.config_file) if os.path.exists(options.config_file) else {}
    if main[0].content is None:
        return {}
    return effective_directives(host, main[0].staged) if os.path.exists(main[0].staged) else {}


def _make_written_folders(host: System, directives: Directives, options: Options, made: List[str]) -> None:
    """Create the missing folders that chronyd writes to, with its owner and mode 0750; add their paths to `made`."""
    for path in paths.folders_to_make(paths.used(directives)) if find_chronyd() else ():
        reader = reader_of(host, directives, options.daemon_options)
        files.make_folders(path, made)
        os.chown(path, reader.uid, reader.gid)
        os.chmod(path, 0o750)
        host.label(path, path)


def _is_main(item: FileSpec, options: Options) -> bool:
    """Return whether a file is the main configuration, under its own path or that of its symbolic link."""
    return item.write_path == os.path.realpath(options.config_file) or item.path == options.config_file


def _can_parse_in_check_mode(item: FileSpec, options: Options) -> bool:
    readable = _is_main(item, options) or item.effect == SOURCES
    # AppArmor may still deny chronyd the target of a symbolic link.
    return readable and item.target is None and os.path.isdir(os.path.dirname(item.path))


def _discard_staged(changes: Sequence[FileSpec], folders: Sequence[str], message: str) -> TransactionError:
    for item in changes:
        files.remove(item.staged)
    files.remove_folders(folders)
    return TransactionError(message)


def _commit(
    host: System,
    unit: Unit,
    changes: Sequence[FileSpec],
    actions: List[str],
    staged: Staged,
    state: Dict[str, str],
    options: Options,
) -> List[str]:
    """Swap the files and apply the actions, or roll back and raise TransactionError; return warnings.

    Add a restart to the actions where systemd loses chronyd meanwhile.
    """
    # Long: the plan and the two error paths of one commit sequence, which are only right together.
    swaps = sorted(changes, key=lambda item: _swap_order(item, options))
    plan = {
        "service": unit.name,
        "files": {item.write_path: os.path.lexists(item.write_path) for item in changes},
        "order": [item.write_path for item in swaps],
        "folders": list(staged.folders),
        "actions": actions,
        "cookies": list(staged.revoked.folders),
        "rivals": rivals.read_states(host, options.rivals),
        "was_active": runs(state),
        "lost": LOST_PID in state,
    }
    try:
        write_plan(host, plan, options)
    except OSError as problem:
        forget_plan(host)
        raise _discard_staged(changes, staged.folders, _format_oserror(problem)) from None
    try:
        for item in changes:
            files.keep(item.write_path)
        for item in swaps:
            files.swap(item)
        warnings = _apply_actions(host, unit, plan, options)
    except (TransactionError, OSError) as problem:
        log = unit.log() if "restart" in actions else []
        try:
            outcome = undo(host, plan, options)
        except TransactionError as left:
            raise TransactionError(
                f"The change failed: {str(problem).rstrip('.')}.{_format_log(log)} {left}"
            ) from problem
        raise TransactionError(
            f"The change was rolled back: {str(problem).rstrip('.')}.{_format_log(log)} {outcome}"
        ) from problem
    with _convert_oserror(host, IN_FORCE):
        return warnings + finish(host, plan)


def _swap_order(item: FileSpec, options: Options) -> int:
    """Return the sort key of a file in the order of the swaps.

    The drop-in that runs the undo script at boot is installed first and removed last. The main configuration follows
    the files that it names.
    """
    if "/systemd/" in item.path:
        return 3 if item.content is None else 0
    return 2 if _is_main(item, options) else 1


def _apply_actions(host: System, unit: Unit, plan: Dict[str, Any], options: Options) -> List[str]:
    """Apply the actions of the plan in the order of COMMANDS; return warnings."""
    warnings = []  # type: List[str]
    for action in COMMANDS:
        if action not in plan["actions"]:
            continue
        if action == "stop-rivals":
            rivals.stop(host, plan["rivals"])
        elif action in ("stop", "drop-cookies"):
            unit.stop()
        elif action == "restart":
            unit.restart()
            warnings += watch(host, unit, options)
        elif action == "mask-rivals":
            warnings += _verify(plan, options)
            rivals.mask(host, plan["rivals"])
        else:
            run_checked(host, [unit.name if word == UNIT else word for word in COMMANDS[action]])
        if action == "drop-cookies":
            # chronyd saves its cookies when it stops, so set them aside after the stop.
            for folder in plan["cookies"]:
                set_aside_cookies(folder)
        if action in ("daemon-reload", "enable") and "restart" not in plan["actions"] and LOST_PID in unit.show():
            plan["actions"].append("restart")
            # A rollback restarts chronyd as well, and so does the next run if this one is interrupted.
            save(host, PLAN, {**plan, "lost": True})
            warnings.append(LOST_WARNING)
    return warnings + (_verify(plan, options) if "mask-rivals" not in plan["actions"] else [])


def _verify(plan: Dict[str, Any], options: Options) -> List[str]:
    return list(options.verify() or ()) if options.verify and RELOADING_ACTIONS & set(plan["actions"]) else []


def _format_oserror(problem: OSError, state: str = UNCHANGED) -> str:
    remedy = " Run it as root (become)." if isinstance(problem, PermissionError) and os.geteuid() else ""
    return f"{problem.strerror} ({problem.filename or 'while writing'}); {state}.{remedy}"


def _format_log(log: Sequence[str]) -> str:
    return " chronyd's log: {}.".format(" | ".join(line.strip() for line in log[-8:])) if log else ""
