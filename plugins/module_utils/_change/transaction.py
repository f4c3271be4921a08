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
import socket
import time
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
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
    may,
    reader_of,
)
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
    load_whole,
    read,
    save,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.lock import locked
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit, must, read_options
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd, is_replaced, read_version
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import declared_sources
from ansible_collections.securetime.nts.plugins.module_utils._x509 import trust
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

# Below the state folder: what the running daemon has loaded, by path; what is being done; what was there at first.
LOADED = "loaded.json"
PLAN = "plan.json"
# Beside the paths in LOADED: how many sources chronyd lacked when it had read its files.
SOURCES_LOADED = "sources"
UNDO = "undo.sh"
# chronyd stays up with this, and serves no NTS.
FATAL_LOG_LINES = re.compile(r"Could not set credentials : .*")
# chronyd has a socket of each family, and works as long as one is left (ntp_io.c, nts_ke_server.c: open_socket).
SOCKET_LOG_LINE = re.compile(
    r"Could not open (?P<service>NTP|NTS-KE) socket on (?P<bracket>\[)?[0-9a-fA-F:.]+\]?:(?P<port>\d+)"
)
FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
# Options of chronyd that leave it one family.
ONLY = {"-4": "IPv4", "-6": "IPv6"}
# The setting of a unit that lets its service write somewhere.
WRITES = re.compile(r"ReadWritePaths=")
# How a change of a file is applied, the dearest first.
RESTART, SOURCES, KEYS, NOTHING = "restart", "sources", "keys", "nothing"
# As put_back() of files.py and put_back_cookies() of cookies.py: kept by a test.
SCRIPT = """\
#!/bin/sh
# Written by securetime.nts before a change of chronyd's files, and removed after it. If it is still there when chronyd
# starts, the change was cut: this puts back what was there. Where that fails, the old file and this script stay.
failed=0
put_back() {{
  if [ -e "$1{old}" ] || [ -L "$1{old}" ]; then
    # mv refuses two names of the same file.
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
# Results of apply() that are lists.
LISTS = ("changed_files", "actions", "reasons", "confinement", "warnings", "diff")
# Every action in its order; after READING, chronyd must read files again.
UNIT = "UNIT"
COMMANDS = {
    "stop-rivals": (),
    "stop": ("systemctl", "stop", UNIT),
    "disable": ("systemctl", "disable", UNIT),
    "daemon-reload": ("systemctl", "daemon-reload"),
    "enable": ("systemctl", "enable", UNIT),
    "drop-cookies": ("systemctl", "stop", UNIT),
    "restart": (),
    "reload-sources": ("chronyc", "reload", "sources"),
    "rekey": ("chronyc", "rekey"),
    "mask-rivals": (),
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
    # Raises TransactionError where the clock does not follow what was asked for; returns warnings.
    verify: Optional[Callable[[], Optional[Sequence[str]]]] = None
    check_mode: bool = False
    # Whether chronyd is to run afterwards, and whether its unit is to be enabled (None: if it is to run).
    run: bool = True
    enabled: Optional[bool] = None
    # Whether what was there before the first change is kept for ever.
    originals: bool = True
    # What the host is like, kept before the first change.
    remember: Mapping[str, Any] = {}
    # Files whose originals are dropped in the end, because the change puts them back.
    put_back: Sequence[str] = ()
    # Whether everything that is kept of the host is dropped in the end.
    forget: bool = False
    # Units of other time daemons, which are stopped and masked.
    rivals: Sequence[str] = ()
    # Patterns of files of nobody else's: what matches and is not wanted is removed.
    owns: Sequence[str] = ()
    # What SELinux and AppArmor must let chronyd do; None leaves that as it is.
    uses: Optional[confinement.Requirements] = None
    # chronyd's options on its command line; None are those with which it runs.
    daemon_options: Optional[Sequence[str]] = None
    # Whether that includes what the configuration names.
    uses_paths: bool = True
    # Folders of nobody else's, which chronyd must be able to read.
    folders: Sequence[str] = ()
    # The folder of chronyd's log files, which is its user's own.
    log_dir: str = ""
    # Returns why a chronyd that runs with the right files does not do its work; nothing where it does.
    idle_problems: Callable[[], List[str]] = list


def apply(host: System, wanted: Sequence[FileSpec], options: Options) -> Dict[str, Any]:
    """Bring the files and the service to the wanted state, whole or not at all.

    Returns changed, changed_files (paths), actions (recover and those of COMMANDS), reasons (sentences, why chronyd was
    made to read something), checked (whether chronyd itself read the candidate), confinement (sentences about what
    SELinux and AppArmor were told), warnings and diff (Ansible's before/after pairs). Raises TransactionError when the
    candidate is refused (nothing was changed) or when chronyd does not come up (everything was put back).
    """
    return apply_read(host, lambda: wanted, options)


def apply_read(host: System, wanted: Callable[[], Sequence[FileSpec]], options: Options) -> Dict[str, Any]:
    """As apply(), with files that are read while no other run changes them."""
    with _described(host), locked(host, options.lock_timeout, create=not options.check_mode):
        if options.check_mode:
            return _predict(host, wanted(), options)
        recovered = recover(host, options)
        originals.remember(host, options.remember)
        result = _apply_confined(host, wanted(), options, recovered)
        originals.drop(host, options.put_back)
        return _forgotten(host, result) if options.forget else result


def restore(host: System, options: Options) -> Dict[str, Any]:
    """As apply(), with what was there before the first change of each file; afterwards nothing is kept of it."""
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
    with _described(host):
        if originals.specs(host):
            return apply_read(host, lambda: originals.specs(host), options)
        if not options.check_mode and os.path.isdir(host.state):
            with locked(host, options.lock_timeout):
                recover(host, options)
                return _forgotten(host, _result())
        if not options.check_mode:
            originals.remove_forgotten(host)
        return _result()


def _forgotten(host: System, result: Dict[str, Any]) -> Dict[str, Any]:
    """Bring the other time daemons back and forget what is kept of the host; return the result with that."""
    found = originals.kept_rivals(host)
    rivals.bring_back(host, found)
    files.remove_folders(originals.kept_folders(host))
    result["warnings"] += originals.forget_everything(host)
    return {**result, "changed": result["changed"] or found != []}


def remembered(host: System) -> Dict[str, Any]:
    """Return what Options.remember was at the first change; empty where there was none."""
    with _described(host):
        return originals.remembered(host)


def recover_alone(host: System, options: Options) -> bool:
    """Undo what a run that was cut has left, when no other run is at work; say whether there was something."""
    with locked(host, options.lock_timeout):
        return recover(host, options)


@contextlib.contextmanager
def _described(host: System) -> Iterator[None]:
    """Raise TransactionError in the place of OSError."""
    try:
        yield
    except OSError as problem:
        begun = os.path.exists(os.path.join(host.state, PLAN))
        raise TransactionError(_format_oserror(problem, begun)) from None


def _predict(host: System, wanted: Sequence[FileSpec], options: Options) -> Dict[str, Any]:
    result, needs = _apply(host, wanted, options, recovered=_is_open(_load_plan(host)))
    return _merge_confinement(result, confinement.prune(host, needs, True)) if needs else result


def _apply_confined(host: System, wanted: Sequence[FileSpec], options: Options, recovered: bool) -> Dict[str, Any]:
    wanted = links.resolved(wanted)
    for path in [item.place for item in wanted] + files.owned(options.owns):
        # A run that was cut before it had a plan leaves what it staged; one that was cut after, what it kept.
        files.forget(path)
        files.forget_checks(path)
    if options.uses is None:
        return _apply(host, wanted, options, recovered)[0]
    # First more than the old files need, and in the end no more than the new ones do.
    before = confinement.used(host)
    try:
        more = confinement.allow(host, _needs(wanted, options, _words_of_main(wanted, options)) or options.uses)
        result, needs = _apply(host, wanted, options, recovered)
    except (TransactionError, OSError):
        with contextlib.suppress(TransactionError, OSError):
            confinement.prune(host, before)
        raise
    return _merge_confinement(result, more, confinement.prune(host, needs or options.uses))


def _needs(wanted: Sequence[FileSpec], options: Options, directives: Directives) -> Optional[confinement.Requirements]:
    """Return what SELinux and AppArmor must allow for files and directives; None where that is left as it is."""
    if options.uses is None or not options.uses_paths:
        return options.uses
    read_first = [item for item in wanted if _is_main(item, options) or item.effect in (SOURCES, KEYS)]
    linked = [item.place for item in read_first if item.place != item.path]
    found = confinement.union(options.uses, confinement.required(directives, linked))
    return found._replace(files=[path for path in found.files if not paths.below(path, found.folders)])


def _words_of_main(wanted: Sequence[FileSpec], options: Options) -> Directives:
    """Return the directives of the wanted main configuration, which chronyd may not read before it is allowed to."""
    return trust.words_of("".join(item.content or "" for item in wanted if _is_main(item, options)))


def _merge_confinement(result: Dict[str, Any], *outcomes: confinement.Outcome) -> Dict[str, Any]:
    """Add to the result what became of the confinement."""
    for outcome in outcomes:
        result["confinement"] += outcome.changes
        result["diff"] += outcome.diff
        result["warnings"] += [said for said in outcome.warnings if said not in result["warnings"]]
    result["changed"] = result["changed"] or result["confinement"] != []
    return result


def _apply(
    host: System, wanted: Sequence[FileSpec], options: Options, recovered: bool
) -> Tuple[Dict[str, Any], Optional[confinement.Requirements]]:
    """Return the result, and what SELinux and AppArmor must allow from now on."""
    unit = Unit(host, options.service)
    # A check must not write where another run reads.
    suffix = f"{files.CHECK}{os.getpid()}" if options.check_mode else files.NEW
    wanted = [item._replace(suffix=suffix) for item in [*links.resolved(wanted), *_not_wanted(wanted, options)]]
    before = {item.path: read(item.place) for item in wanted}
    changes = [item for item in wanted if differs(item, before[item.path])]
    relabelled = _relabelled(host, [item for item in wanted if item not in changes], before)
    state = unit.show()
    if state.get("LoadState") == "not-found" and not options.check_mode:
        raise TransactionError(
            f"There is no unit {options.service} on this host, so nothing was changed. Install chrony first."
        )
    loaded = {item.path: digest(item.data) for item in wanted if item.data is not None}
    opened = _open_folders(host, _words_of_main(wanted, options), options)
    current = _current_directives(host, changes, options)
    if options.check_mode and options.log_dir in opened:
        # It is not chronyd's own yet.
        current = {name: words for name, words in current.items() if name != "logdir"}
    decision = _decision(host, wanted, changes, loaded, state, options)
    if current and state.get("ActiveState") == "active":
        decision = _read_again(host, decision, opened, current, options)
    actions, reasons = decision
    sandbox = _sandbox(unit, state, changes)
    staged = Staged(False, NOTHING_LOST, [], current)
    if changes or reasons:
        staged = _stage_and_check(host, changes, before, options, sandbox)
    elif current:
        check_reach(host, current, sandbox, options.daemon_options)
    needs, more = _confine(host, wanted, options, staged.directives)
    if staged.lost.trust and options.run:
        # The restart does what the two others would.
        actions = [action for action in actions if action not in ("reload-sources", "rekey", "restart")]
        actions = [name for name in COMMANDS if name in (*actions, "drop-cookies", "restart")]
        reasons = reasons + staged.lost.trust
    warnings = []  # type: List[str]
    if (changes or actions) and not options.check_mode:
        warnings = _carry_out(host, unit, changes, actions, staged, state, options)
    if reasons and not options.check_mode:
        try:
            # Another program may know of other files.
            save(host, LOADED, {**load(host, LOADED), **loaded, SOURCES_LOADED: _lacking(host, options)})
        except OSError as problem:
            warnings.append(
                f"The change is in force, but {os.path.join(host.state, LOADED)} could not be written"
                f" ({problem.strerror}). Remove the cause; the next run lets chronyd read its files once more."
            )
    warnings += [
        said
        for item in wanted
        if item.path.startswith(rotation.FOLDER)
        for said in rotation.doubled(item.path, item.content)
    ]
    result = _result(
        changed=bool(changes or relabelled or opened or actions or recovered),
        changed_files=[item.path for item in changes] + relabelled + opened,
        actions=(["recover"] if recovered else []) + actions,
        reasons=reasons,
        checked=staged.checked,
        warnings=warnings,
        diff=[pair for item in changes for pair in diffs(item, before[item.path])],
    )
    return _merge_confinement(result, more), needs


def _current_directives(host: System, changes: Sequence[FileSpec], options: Options) -> Directives:
    """Return the directives with which chronyd runs on; none where they change, or chronyd is not to run."""
    if not options.run or any(_is_main(item, options) for item in changes) or not find_chronyd():
        return {}
    return effective_directives(host, options.config_file)


def _read_again(
    host: System, decision: "Decision", opened: Sequence[str], current: Directives, options: Options
) -> "Decision":
    """Return a decision with a restart where chronyd has not read what the unchanged files say."""
    if "restart" in decision.actions:
        return decision
    unread = [
        f"chronyd could not {'write to' if path == options.log_dir else 'read'} {path}" for path in opened
    ] or _unread(host, current, options)
    if not unread:
        return decision
    # The restart does what the two others would.
    kept = set(decision.actions) - {"reload-sources", "rekey"} | {"restart"}
    return Decision([name for name in COMMANDS if name in kept], decision.reasons + unread)


def _confine(
    host: System, wanted: Sequence[FileSpec], options: Options, directives: Directives
) -> Tuple[Optional[confinement.Requirements], confinement.Outcome]:
    """Allow what included files require besides the main configuration; return all that is required."""
    first = _needs(wanted, options, _words_of_main(wanted, options))
    needs = _needs(wanted, options, directives) if directives else first
    if needs is None or options.check_mode:
        return needs, confinement.NOTHING
    return needs, confinement.allow_more(host, needs, first)


def _sandbox(unit: Unit, state: Dict[str, str], changes: Sequence[FileSpec]) -> paths.Sandbox:
    """Return what the unit will let chronyd reach: what it does now, and what drop-ins of this change add."""
    drop_ins = [item.content or "" for item in changes if f"/systemd/system/{unit.name}.d/" in item.path]
    added = [line.partition("=")[2] for text in drop_ins for line in text.splitlines() if WRITES.match(line)]
    more = " ".join([state.get("ReadWritePaths", ""), *added]).replace("%%", "%")
    return paths.Sandbox(unit.name, {**state, "ReadWritePaths": more})


def _open_folders(host: System, directives: Directives, options: Options) -> List[str]:
    """Let the user of chronyd into the folders of nobody else's that are closed to it; return their paths.

    An earlier run, or an administrator under a strict umask, can have closed them. The folder of log files is the
    user's own; systemd gives Debian's the mode 0750 at each start (LogsDirectoryMode).
    """
    there = [path for path in options.folders if os.path.isdir(path) and not os.path.islink(path)]
    log_dir = options.log_dir if os.path.isdir(options.log_dir) and not os.path.islink(options.log_dir) else ""
    if not (there or log_dir) or not find_chronyd():
        return []
    reader = reader_of(host, directives, options.daemon_options)
    closed = [path for path in there if not may(reader, os.stat(path), READ | ENTER)]
    foreign = [log_dir] if log_dir and not _is_own(reader, os.stat(log_dir)) else []
    if not options.check_mode:
        for path in foreign:
            os.chown(path, reader.uid, reader.gid)
        for path in closed + foreign:
            os.chmod(path, 0o750 if path in foreign else 0o755)
    return closed + foreign


def _is_own(reader: Reader, status: os.stat_result) -> bool:
    """Say whether a folder is a user's own, and no other can write there. root writes everywhere."""
    return reader.uid == 0 or (status.st_uid == reader.uid and status.st_mode & 0o722 == 0o700)


def _unread(host: System, directives: Directives, options: Options) -> List[str]:
    """Return why a chronyd whose files have not changed must read them again."""
    lacking = _lacking(host, options)
    if lacking and lacking != load(host, LOADED).get(SOURCES_LOADED):
        return [lacking]
    missing = paths.folders_to_make(paths.used(directives))
    return [f"{path} was not there" for path in missing] or options.idle_problems()


def _lacking(host: System, options: Options) -> str:
    """Return a sentence where chronyd has fewer sources than its files name; nothing where it has them all.

    It reads files of sources as its user, and says nothing of those that it cannot read.
    """
    named = {source.name.lower() for source in declared_sources(options.config_file) or []}
    done = host.run(["chronyc", "-n", "activity"])
    counts = [int(number) for number in re.findall(r"^(\d+) sources? ", done.stdout, re.MULTILINE)]
    if done.status or not counts or sum(counts) >= len(named):
        return ""
    return f"chronyd has {sum(counts)} of the {len(named)} sources that its files name"


def _result(**found: Any) -> Dict[str, Any]:
    """Return what apply() does, by default of a run that changes nothing."""
    result = {name: [] for name in LISTS}  # type: Dict[str, Any]
    return {**result, "changed": False, "checked": False, **found}


def _relabelled(host: System, unchanged: Sequence[FileSpec], before: Dict[str, Optional[FileState]]) -> List[str]:
    """Give files the label of their place, which one that was moved there lacks; return the paths of those."""
    return [item.path for item in unchanged if before[item.path] is not None and host.label(item.place, item.place)]


def _decision(
    host: System,
    wanted: Sequence[FileSpec],
    changes: Sequence[FileSpec],
    loaded: Dict[str, str],
    state: Dict[str, str],
    options: Options,
) -> "Decision":
    enabled = options.run if options.enabled is None else options.enabled
    if options.run:
        actions, reasons = decide(host, wanted, changes, loaded, load(host, LOADED), state, enabled)
    else:
        actions, reasons = decide_to_stop(changes, state, enabled)
    return Decision(["stop-rivals", *actions, "mask-rivals"] if options.rivals else actions, reasons)


def _not_wanted(wanted: Sequence[FileSpec], options: Options) -> List[FileSpec]:
    """Return what takes away the files that match and are not wanted."""
    paths = {item.path for item in wanted}
    left = [path for path in files.owned(options.owns) if path not in paths and os.path.exists(path)]
    return [FileSpec(path, None, "root", "root", 0o644, NOTHING) for path in left]


class Staged(NamedTuple):
    """Whether chronyd read the candidate, whom it trusts no more, the folders made for it, and its directives."""

    checked: bool
    lost: "RevokedTrust"
    folders: Sequence[str]
    directives: Directives


class RevokedTrust(NamedTuple):
    """Sentences about whom a client trusts no more, and the folders of the cookies that it must not use any more."""

    trust: List[str]
    folders: List[str]


NOTHING_LOST = RevokedTrust([], [])


def _lost(
    host: System, changes: Sequence[FileSpec], before: Dict[str, Optional[FileState]], options: Options
) -> RevokedTrust:
    """Compare whom the files trust with whom the staged ones do."""
    staged = _by_path(changes)
    main = staged.get(options.config_file) or staged.get(os.path.realpath(options.config_file))
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


def decide_to_stop(changes: Sequence[FileSpec], state: Dict[str, str], enabled: bool = False) -> "Decision":
    """Return what leaves a chronyd stopped that did not run before, too."""
    actions = ["stop"] if state.get("ActiveState") == "active" else []
    return Decision(actions + _enables(state, enabled) + _reloads_units(changes, state), [])


def _enables(state: Dict[str, str], enabled: bool) -> List[str]:
    """Return the action that enables or disables the unit, if it needs one."""
    found = state.get("UnitFileState")
    if enabled:
        return [] if found in ENABLED else ["enable"]
    return ["disable"] if found in ("enabled", "enabled-runtime") else []


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
    enabled: bool = True,
) -> "Decision":
    """Return what is to be done and why: the cheapest that applies every change."""
    actions = _reloads_units(changes, state) + _enables(state, enabled)
    if state.get("ActiveState") != "active":
        return Decision([*actions, "restart"], ["chronyd is not running"])
    effects = {item.path: item.effect for item in wanted}
    why = {item.path: f"{item.path} changed" for item in changes}
    for path in sorted(loaded):
        if record.get(path) != loaded[path]:
            why.setdefault(path, f"{path} changed since chronyd was started")
    why = {path: reason for path, reason in why.items() if effects.get(path, RESTART) != NOTHING}
    needed = {effects.get(path, RESTART) for path in why}
    replaced = is_replaced(int(state.get("MainPID") or 0))
    # After an upgrade without a restart. What is installed has read the files, and not what runs.
    restarts = ["chronyd's program was replaced since its start"] if replaced else []
    if restarts or RESTART in needed or (SOURCES in needed and not reloads_sources(host)):
        actions.append("restart")
    else:
        actions += [action for effect, action in ((SOURCES, "reload-sources"), (KEYS, "rekey")) if effect in needed]
    return Decision(actions, [*restarts, *why.values()])


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
    host: System,
    changes: Sequence[FileSpec],
    before: Dict[str, Optional[FileState]],
    options: Options,
    sandbox: paths.Sandbox,
) -> Staged:
    """Write the new files beside their places, and ask chronyd; on refusal or a full disk nothing was changed."""
    made = []  # type: List[str]
    try:
        for item in changes:
            links.assert_changeable(item.place)
            # In check mode nothing is made but what chronyd must read, for a moment.
            if item.content is not None and (not options.check_mode or _can_be_tried(item, options)):
                files.stage(host, item, made)
        directives = _directives(host, changes, options)
        if not options.check_mode:
            _make_written_folders(host, directives, options, made)
        staged = _check_staged(host, changes, before, options, sandbox)
        return staged._replace(folders=made, directives=directives)
    except OSError as problem:
        raise _unchanged(changes, made, _format_oserror(problem)) from None
    except TransactionError as problem:
        raise _unchanged(changes, made, str(problem)) from None
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
    staged = _by_path(changes)
    checked = check(
        host,
        staged,
        options.config_file,
        options.names,
        whole=not options.check_mode,
        daemon_options=options.daemon_options,
        sandbox=sandbox,
    )
    return Staged(checked, _lost(host, changes, before, options) if checked else NOTHING_LOST, [], {})


def _directives(host: System, changes: Sequence[FileSpec], options: Options) -> Directives:
    """Return the directives of the candidate, or of the configuration where that does not change."""
    main = [item for item in changes if _is_main(item, options)]
    if not main:
        return effective_directives(host, options.config_file) if os.path.exists(options.config_file) else {}
    if main[0].content is None:
        return {}
    return effective_directives(host, main[0].staged) if os.path.exists(main[0].staged) else {}


def _make_written_folders(host: System, directives: Directives, options: Options, made: List[str]) -> None:
    """Make the missing folders that chronyd is to write to, as it makes them; add their paths to made."""
    for path in paths.folders_to_make(paths.used(directives)) if find_chronyd() else ():
        reader = reader_of(host, directives, options.daemon_options)
        files.make_folders(path, made)
        os.chown(path, reader.uid, reader.gid)
        os.chmod(path, 0o750)
        host.label(path, path)


def _by_path(changes: Sequence[FileSpec]) -> Dict[str, FileSpec]:
    """Return files by their paths, and by those of their targets where they are symbolic links."""
    return {path: item for item in changes for path in (item.path, item.place)}


def _is_main(item: FileSpec, options: Options) -> bool:
    """Say whether a file is the main configuration, by either of its names where it is a symbolic link."""
    return item.place == os.path.realpath(options.config_file) or item.path == options.config_file


def _can_be_tried(item: FileSpec, options: Options) -> bool:
    readable = _is_main(item, options) or item.effect == SOURCES
    # AppArmor may not let chronyd read behind a symbolic link yet.
    return readable and item.target is None and os.path.isdir(os.path.dirname(item.path))


def _unchanged(changes: Sequence[FileSpec], folders: Sequence[str], message: str) -> TransactionError:
    for item in changes:
        files.remove(item.staged)
    files.remove_folders(folders)
    return TransactionError(message)


def _carry_out(
    host: System,
    unit: Unit,
    changes: Sequence[FileSpec],
    actions: Sequence[str],
    staged: Staged,
    state: Dict[str, str],
    options: Options,
) -> List[str]:
    """Swap the files and apply the actions, or roll back and raise TransactionError; return warnings."""
    swaps = sorted(changes, key=lambda item: _rank(item, options))
    plan = {
        "service": unit.name,
        "files": {item.place: os.path.lexists(item.place) for item in changes},
        "order": [item.place for item in swaps],
        "folders": list(staged.folders),
        "actions": list(actions),
        "cookies": list(staged.lost.folders),
        "rivals": rivals.look(host, options.rivals),
        "was_active": state.get("ActiveState") == "active",
    }
    try:
        _write_plan(host, plan, options)
    except OSError as problem:
        _forget_plan(host)
        raise _unchanged(changes, staged.folders, _format_oserror(problem)) from None
    try:
        for item in changes:
            files.keep(item.place)
        for item in swaps:
            files.swap(item)
        warnings = _apply_actions(host, unit, plan, options)
    except (TransactionError, OSError) as problem:
        log = unit.log() if "restart" in actions else []
        try:
            now_runs = undo(host, plan, options)
        except TransactionError as left:
            raise TransactionError(f"The change failed: {str(problem).rstrip('.')}.{_quoted(log)} {left}") from problem
        raise TransactionError(
            f"The change was taken back: {str(problem).rstrip('.')}.{_quoted(log)} {now_runs}"
        ) from problem
    return warnings + _finish(host, plan)


def _write_plan(host: System, plan: Dict[str, Any], options: Options) -> None:
    """Write what undoes the change, before its first step."""
    for path in plan["files"]:
        if options.originals:
            originals.keep(host, path)
        files.remove(path + files.OLD)
    if options.originals:
        originals.keep_rivals(host, plan["rivals"])
        originals.keep_folders(host, plan["folders"])
    _write_undo(host, plan)
    save(host, PLAN, plan)


def _rank(item: FileSpec, options: Options) -> int:
    """Return the place of a file in the order of the swaps.

    The drop-in that undoes everything at a boot comes first and goes last. The main file follows all that it names.
    """
    if "/systemd/" in item.path:
        return 3 if item.content is None else 0
    return 2 if _is_main(item, options) else 1


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


def _apply_actions(host: System, unit: Unit, plan: Dict[str, Any], options: Options) -> List[str]:
    """Do what the plan says, in its order; return warnings."""
    warnings = []  # type: List[str]
    for action in [name for name in COMMANDS if name in plan["actions"]]:
        if action == "stop-rivals":
            rivals.stop(host, plan["rivals"])
        elif action == "restart":
            unit.restart()
            warnings += watch(host, unit, options)
        elif action == "mask-rivals":
            warnings += _verify(plan, options)
            rivals.mask(host, plan["rivals"])
        else:
            must(host, [unit.name if word == UNIT else word for word in COMMANDS[action]])
        if action == "drop-cookies":
            # At its end chronyd has saved all that it had.
            for folder in plan["cookies"]:
                set_aside_cookies(folder)
    return warnings + (_verify(plan, options) if "mask-rivals" not in plan["actions"] else [])


def _verify(plan: Dict[str, Any], options: Options) -> List[str]:
    return list(options.verify() or ()) if options.verify and RELOADING_ACTIONS & set(plan["actions"]) else []


def _format_oserror(problem: OSError, begun: bool = False) -> str:
    left = "the next run undoes what this one has begun" if begun else "nothing was changed"
    remedy = " Run it as root (become)." if isinstance(problem, PermissionError) and os.geteuid() else ""
    return f"{problem.strerror} ({problem.filename or 'while writing'}); {left}.{remedy}"


def recover(host: System, options: Options) -> bool:
    """Undo what a run that was cut has left; say whether there was something."""
    originals.remove_forgotten(host)
    plan = _load_plan(host)
    if not plan:
        # A run that was cut before it saved its plan had changed no file. At a start of chronyd its script would undo
        # what was changed since.
        files.remove(os.path.join(host.state, UNDO))
    elif plan.get("done"):
        _finish(host, plan)
    else:
        _assert_writable(host, plan)
        undo(host, plan, options, stopped=_stopped_since(host, plan))
    return _is_open(plan)


def _load_plan(host: System) -> Dict[str, Any]:
    """Return the plan of a run that was cut, empty where there is none; raise TransactionError where it is damaged."""
    undo_path, plan_path = os.path.join(host.state, UNDO), os.path.join(host.state, PLAN)
    remedy = (
        "It names the files of an interrupted change, whose old versions are beside them as"
        f" *{files.OLD}. Run `sh {undo_path}` if that file exists, which puts them back, and remove {plan_path}."
    )
    return load_whole(host, PLAN, remedy)


def _assert_writable(host: System, plan: Dict[str, Any]) -> None:
    """Raise TransactionError where a folder of the plan cannot be written, as from the sandbox of a unit.

    An undo that fails halfway would leave old files with new ones, and chronyd stopped.
    """
    folders = {host.state, *map(os.path.dirname, plan["files"]), *plan.get("cookies", [])}
    denied = [folder for folder in sorted(folders) if os.path.isdir(folder) and not os.access(folder, os.W_OK)]
    if denied:
        raise TransactionError(
            f"An interrupted change cannot be undone, because this process cannot write in {', '.join(denied)}; nothing"
            " was changed. Make the folder writable, then run the playbook or `nts-certificate recover` as root."
        )


def _is_open(plan: Dict[str, Any]) -> bool:
    return bool(plan) and not plan.get("done")


def _stopped_since(host: System, plan: Dict[str, Any]) -> bool:
    """Say whether somebody has stopped chronyd since a change was interrupted: a restart leaves no inactive unit."""
    inactive = Unit(host, plan["service"]).show().get("ActiveState") == "inactive"
    return inactive and not {"drop-cookies", "stop"} & set(plan["actions"])


def undo(host: System, plan: Dict[str, Any], options: Options, stopped: bool = False) -> str:
    """Put every file back and bring the service to where it was; return a sentence that says what runs now.

    A chronyd that an administrator has stopped stays stopped. A file that cannot be put back keeps neither the other
    files nor a time daemon from coming back; in the end TransactionError names it, and the plan stays for the next run.
    """
    unit = Unit(host, plan["service"])
    failed = []  # type: List[str]
    for path in _undo_order(plan):
        with _collected(failed, path):
            files.put_back(path, plan["files"][path])
    for folder in plan.get("cookies", []):
        # Otherwise it would save those that it has now in their place.
        host.run(["systemctl", "stop", unit.name])
        with _collected(failed, folder):
            put_back_cookies(folder)
    files.remove_folders(plan.get("folders", []))
    if "daemon-reload" in plan["actions"]:
        host.run(["systemctl", "daemon-reload"])
    for done, opposite in (("enable", "disable"), ("disable", "enable")):
        if done in plan["actions"]:
            host.run(["systemctl", opposite, unit.name])
    said = _run_again(host, unit, plan, options, stopped)
    rivals.bring_back(host, plan.get("rivals", []))
    if failed:
        raise TransactionError(
            f"These could not be put back: {'; '.join(failed)}. Their old versions are beside them as *{files.OLD}."
            f" Remove the cause; the next run tries again. The other files are as they were{said}"
        )
    _forget_plan(host)
    return f"The files are as they were{said}"


def _undo_order(plan: Dict[str, Any]) -> List[str]:
    """Return the files of a plan in the reverse order of the swaps.

    The drop-in that undoes a cut at a boot came first, so that it goes last.
    """
    return list(reversed(plan.get("order") or list(plan["files"])))


@contextlib.contextmanager
def _collected(failed: List[str], path: str) -> Iterator[None]:
    """Add the path and the reason to failed where OSError is raised."""
    try:
        yield
    except OSError as problem:
        failed.append(f"{path} ({problem.strerror})")


def _run_again(host: System, unit: Unit, plan: Dict[str, Any], options: Options, stopped: bool) -> str:
    """Let chronyd run with the old files, or not, as before; return the end of a sentence that says so."""
    if "restart" in plan["actions"] and not plan["was_active"]:
        host.run(["systemctl", "reset-failed", unit.name])
        host.run(["systemctl", "stop", unit.name])
        return ", and chronyd is stopped, as it was."
    if not stopped and plan["was_active"] and RELOADING_ACTIONS & set(plan["actions"]):
        # Whatever was tried, a restart makes chronyd read all of them again.
        try:
            unit.restart()
            watch(host, unit, options)
        except TransactionError as problem:
            return f", but chronyd does not run with them either: {problem}"
        return ", and chronyd runs with them."
    return "."


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
    """Return what does in the shell to the files what undo() does; the plan stays.

    The script removes itself where every file was put back. Cookies do not count: chronyd's user owns their folder, and
    the next run tries again.
    """
    lines = [SCRIPT.format(old=files.OLD, new=files.NEW)]
    existed = plan["files"]
    lines += [f"put_back {shlex.quote(path)} {'old' if existed[path] else 'new'}" for path in _undo_order(plan)]
    lines += [f"put_back_cookies {shlex.quote(folder)}" for folder in plan["cookies"]]
    lines += [f"rmdir {shlex.quote(folder)} 2>/dev/null" for folder in reversed(plan["folders"])]
    return "\n".join([*lines, "sync", f'[ "$failed" = 1 ] || rm -f {shlex.quote(own_path)}', 'exit "$failed"', ""])


def watch(host: System, unit: Unit, options: Options) -> List[str]:
    """Return when the unit is active, chronyd answers, and it has stayed so; else raise TransactionError.

    A daemon that runs but could not load its certificates, or open a port in any family, counts as not come up. Return
    a warning for each port that it has in one family alone.
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
    log = unit.log()
    line = fatal_line(log, left_families(read_options(state.get("MainPID", ""))))
    if line:
        raise TransactionError(f"chronyd runs but cannot do its work ({line})")
    possible = families_of_the_kernel()
    return [
        f"chronyd runs without a socket of {each.family} ({each.line}). See whether another program has the port"
        f" (ss -lntup), or a directive or the unit {unit.name} keeps {each.family} from it."
        for each in closed_sockets(log)
        if each.family in possible
    ]


class ClosedSocket(NamedTuple):
    """A line of chronyd's log about a socket that it could not open."""

    line: str
    family: str
    # What it is for, and its port.
    purpose: Tuple[str, str]


def closed_sockets(log: Sequence[str]) -> List[ClosedSocket]:
    """Return the sockets that chronyd could not open, by its log."""
    found = [(line.strip(), SOCKET_LOG_LINE.search(line)) for line in log]
    return [
        ClosedSocket(line, "IPv6" if match["bracket"] else "IPv4", (match["service"], match["port"]))
        for line, match in found
        if match
    ]


def fatal_line(log: Sequence[str], families: Sequence[str] = tuple(FAMILIES)) -> str:
    """Return the line of chronyd's log after which it does not do its work, empty where it does.

    families are those in which chronyd opens sockets: as long as it has one of them, it works.
    """
    for line in log:
        if FATAL_LOG_LINES.search(line):
            return line.strip()
    closed = closed_sockets(log)
    for each in closed:
        if set(families) <= {other.family for other in closed if other.purpose == each.purpose}:
            return each.line
    return ""


def left_families(options: Sequence[str]) -> List[str]:
    """Return the families that the options leave to chronyd."""
    return [name for name in FAMILIES if all(ONLY.get(option, name) == name for option in options)]


def families_of_the_kernel() -> List[str]:
    """Return the families of which this host has sockets."""
    return [name for name, family in FAMILIES.items() if _has_sockets(family)]


def _has_sockets(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


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


def _quoted(log: Sequence[str]) -> str:
    return " The daemon's log says: {}.".format(" | ".join(line.strip() for line in log[-8:])) if log else ""
