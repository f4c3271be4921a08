# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. One change of chronyd's files: compare, check, write, restart, watch, and take back.

Everything that touches the host goes through a Host, so the order of the steps can be read, and tested, here.
"""

import grp
import hashlib
import json
import os
import pwd
import re
import tempfile
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

# What the running daemon has loaded, by path: survives a run that was cut between writing and restarting.
RECORD = "/var/lib/securetime-nts/loaded.json"
# chronyd stays up with these, and serves no NTS.
FATAL_LOG_LINE = re.compile(r"Could not set credentials : .*")
PARSE_ERROR = re.compile(r"Fatal error : (?P<what>.*) at line (?P<line>\d+)(?: in file .*)?$", re.MULTILINE)


class Finished(NamedTuple):
    status: int
    stdout: str
    stderr: str


class Wanted(NamedTuple):
    path: str
    content: Optional[str]
    owner: str
    group: str
    mode: int


class Existing(NamedTuple):
    content: bytes
    uid: int
    gid: int
    mode: int


class TransactionError(Exception):
    """The change was not made, or was taken back; the text says why and what the host runs now."""


class Host:
    """What the transaction needs of a host.

    run(argv) executes a program and returns its Finished; place(source, path) moves a finished file into its place
    atomically, with the security label that belongs there.
    """

    def __init__(self, run: Callable[[List[str]], Finished], place: Callable[[str, str], None], record: str = RECORD):
        self.run = run
        self.place = place
        self.record = record


class Unit:
    """A systemd unit as `systemctl show` describes it."""

    def __init__(self, host: Host, name: str):
        self.host = host
        self.name = name
        self.cursor = ""

    def show(self) -> Dict[str, str]:
        """Return these properties of the unit, those that it has."""
        wanted = "LoadState,ActiveState,UnitFileState,ConditionResult,NeedDaemonReload"
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


def apply(
    host: Host,
    wanted: Sequence[Wanted],
    config_file: str,
    service: str,
    read_at_start: Sequence[str] = (),
    start_timeout: float = 30.0,
    check_mode: bool = False,
) -> Dict[str, Any]:
    """Bring the files and the service to the wanted state, whole or not at all.

    Returns changed, changed_files (paths), actions (of daemon-reload, enable, restart, start), reasons (sentences, why
    chronyd was restarted), checked (whether chronyd itself read the candidate) and diff (Ansible's before/after pairs).
    Raises TransactionError when the candidate is refused (nothing was changed) or when chronyd does not come up
    (everything was put back).
    """
    unit = Unit(host, service)
    before = {item.path: read(item.path) for item in wanted}
    changes = [item for item in wanted if differs(item, before[item.path])]
    state = unit.show()
    if state.get("LoadState") == "not-found" and not check_mode:
        raise TransactionError(
            f"There is no unit {service} on this host, so nothing was changed. Install chrony first."
        )

    checked = False
    candidate = next((item for item in changes if item.path == config_file and item.content is not None), None)
    if candidate is not None:
        checked = check_candidate(host, candidate)

    loaded = {item.path: digest(item.content) for item in wanted if item.content is not None}
    loaded.update((path, digest_of_file(path)) for path in read_at_start)
    reasons = restart_reasons(changes, loaded, load_record(host), state)
    actions = []
    if any("/systemd/system/" in item.path for item in changes) or state.get("NeedDaemonReload") == "yes":
        actions.append("daemon-reload")
    if state.get("UnitFileState") not in ("enabled", "enabled-runtime", "alias", "static", "indirect"):
        actions.append("enable")
    if reasons:
        actions.append("restart")

    if (changes or actions) and not check_mode:
        _carry_out(host, unit, changes, before, actions, start_timeout, was_active=state.get("ActiveState") == "active")
    if reasons and not check_mode:
        save_record(host, loaded)
    return {
        "changed": bool(changes or actions),
        "changed_files": [item.path for item in changes],
        "actions": actions,
        "reasons": reasons,
        "checked": checked,
        "diff": [pair for item in changes for pair in diffs(item, before[item.path])],
    }


def restart_reasons(
    changes: Sequence[Wanted], loaded: Dict[str, str], record: Dict[str, str], state: Dict[str, str]
) -> List[str]:
    """Return why chronyd must be (re)started, or nothing when what runs is what is wanted."""
    if state.get("ActiveState") != "active":
        return ["chronyd is not running"]
    changed = {item.path for item in changes}
    reasons = [f"{item.path} changed" for item in changes]
    reasons += [
        f"{path} changed since chronyd was started"
        for path in sorted(loaded)
        if record.get(path) != loaded[path] and path not in changed
    ]
    return reasons


def check_candidate(host: Host, candidate: Wanted) -> bool:
    """Let the real chronyd parse the candidate; False when there is no chronyd yet.

    The candidate lies beside the file it is to replace, because the distributions' confinement lets chronyd read there
    and hardly anywhere else (Debian's AppArmor profile: /etc/chrony and /etc/chrony.*). `-p` is in chronyd since 4.0.
    """
    chronyd = next((path for path in ("/usr/sbin/chronyd", "/sbin/chronyd") if os.access(path, os.X_OK)), None)
    if chronyd is None or not os.path.isdir(os.path.dirname(candidate.path)):
        return False
    trial = write_beside(candidate.path, (candidate.content or "").encode(), 0o600)
    try:
        done = host.run([chronyd, "-p", "-f", trial])
    finally:
        os.unlink(trial)
    if done.status == 0:
        return True
    found = PARSE_ERROR.search(done.stderr + done.stdout)
    refusal = f"chronyd refuses the new {candidate.path}, so nothing was changed"
    if found is None:
        raise TransactionError(f"{refusal}: {(done.stderr or done.stdout).strip()}")
    number = int(found.group("line"))
    line = (candidate.content or "").splitlines()[number - 1 : number]
    text = line[0] if line else "(end of the file)"
    raise TransactionError(f"{refusal}: {found.group('what')} at line {number}: {text}")


def _carry_out(
    host: Host,
    unit: Unit,
    changes: Sequence[Wanted],
    before: Dict[str, Optional[Existing]],
    actions: Sequence[str],
    start_timeout: float,
    was_active: bool,
) -> None:
    try:
        for item in changes:
            put(host, item)
        if "daemon-reload" in actions:
            _must(host, ["systemctl", "daemon-reload"])
        if "enable" in actions:
            _must(host, ["systemctl", "enable", unit.name])
        if "restart" in actions:
            unit.restart()
            watch(host, unit, start_timeout)
    except (TransactionError, OSError) as problem:
        log = unit.log() if "restart" in actions else []
        now_runs = _take_back(host, unit, changes, before, actions, start_timeout, was_active)
        raise TransactionError(
            f"The change was taken back: {str(problem).rstrip('.')}.{_quoted(log)} {now_runs}"
        ) from problem


def _take_back(
    host: Host,
    unit: Unit,
    changes: Sequence[Wanted],
    before: Dict[str, Optional[Existing]],
    actions: Sequence[str],
    start_timeout: float,
    was_active: bool,
) -> str:
    """Put every file back and bring the service to where it was; return a sentence that says what runs now."""
    for item in changes:
        restore(host, item.path, before[item.path])
    if "daemon-reload" in actions:
        host.run(["systemctl", "daemon-reload"])
    if "enable" in actions:
        host.run(["systemctl", "disable", unit.name])
    if "restart" not in actions:
        return "The files are as they were."
    if not was_active:
        host.run(["systemctl", "reset-failed", unit.name])
        host.run(["systemctl", "stop", unit.name])
        return "The files are as they were, and chronyd is stopped, as it was."
    try:
        unit.restart()
        watch(host, unit, start_timeout)
    except TransactionError as problem:
        return f"The files are as they were, but chronyd does not run with them either: {problem}"
    return "The files are as they were, and chronyd runs with them."


def watch(host: Host, unit: Unit, timeout: float) -> None:
    """Return when the unit is active and chronyd answers on its socket; raise TransactionError when it does not in
    time.

    timeout is in seconds. A daemon that runs but could not load its certificate, or its trust anchors, counts as not
    come up.
    """
    deadline = time.monotonic() + timeout
    pause = 0.05
    while True:
        state = unit.show()
        if state.get("ConditionResult") == "no" and state.get("ActiveState") == "inactive":
            raise TransactionError(
                f"systemd skipped {unit.name}, because a condition of the unit is not met; see systemctl status"
            )
        if state.get("ActiveState") == "failed":
            raise TransactionError(f"{unit.name} failed to start")
        if state.get("ActiveState") == "active" and host.run(["chronyc", "-n", "activity"]).status == 0:
            break
        if time.monotonic() > deadline:
            raise TransactionError(f"{unit.name} did not come up within {timeout:g} seconds")
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
    for line in unit.log():
        if FATAL_LOG_LINE.search(line):
            raise TransactionError(f"chronyd runs but cannot use its certificates ({line.strip()})")


def read(path: str) -> Optional[Existing]:
    """Return the file's content and metadata, or None where there is none."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return Existing(file.read(), status.st_uid, status.st_gid, status.st_mode & 0o7777)
    except FileNotFoundError:
        return None


def differs(wanted: Wanted, existing: Optional[Existing]) -> bool:
    """Whether the host's file is not as wanted (content None: wanted absent)."""
    if wanted.content is None or existing is None:
        return (wanted.content is None) != (existing is None)
    target = (wanted.content.encode(), _uid(wanted.owner), _gid(wanted.group), wanted.mode)
    return tuple(existing) != target


def diffs(wanted: Wanted, existing: Optional[Existing]) -> List[Dict[str, str]]:
    """Return Ansible's before/after pairs for content and for metadata, each only where it changes."""
    old = existing.content.decode("utf-8", "replace") if existing else ""
    new = wanted.content or ""
    pairs = []
    if old != new or existing is None or wanted.content is None:
        pairs.append({"before_header": wanted.path, "after_header": wanted.path, "before": old, "after": new})
    if existing is not None and wanted.content is not None:
        was = f"owner: {_user_name(existing.uid)}\ngroup: {_group_name(existing.gid)}\nmode: {existing.mode:04o}\n"
        becomes = f"owner: {wanted.owner}\ngroup: {wanted.group}\nmode: {wanted.mode:04o}\n"
        if was != becomes:
            header = f"{wanted.path} (metadata)"
            pairs.append({"before_header": header, "after_header": header, "before": was, "after": becomes})
    return pairs


def put(host: Host, wanted: Wanted) -> None:
    """Make the file as wanted, atomically."""
    if wanted.content is None:
        os.unlink(wanted.path)
        return
    uid, gid = _uid(wanted.owner), _gid(wanted.group)
    for kind, name, number in (("user", wanted.owner, uid), ("group", wanted.group, gid)):
        if number is None:
            raise TransactionError(f"{wanted.path} is to belong to the {kind} {name}, which this host does not have")
    os.makedirs(os.path.dirname(wanted.path), mode=0o755, exist_ok=True)
    _place(host, wanted.path, Existing(wanted.content.encode(), uid or 0, gid or 0, wanted.mode))


def restore(host: Host, path: str, existing: Optional[Existing]) -> None:
    """Make the file what it was, also when it was not there."""
    if existing is not None:
        _place(host, path, existing)
    elif os.path.exists(path):
        os.unlink(path)


def write_beside(path: str, content: bytes, mode: int) -> str:
    """Write content to a new file in the folder of path, down to the disk, and return its path."""
    handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError:
        os.unlink(temporary)
        raise
    return temporary


def _place(host: Host, path: str, target: Existing) -> None:
    temporary = write_beside(path, target.content, 0o600)
    try:
        os.chown(temporary, target.uid, target.gid)
        os.chmod(temporary, target.mode)
        host.place(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def digest(content: str) -> str:
    """Return the SHA-256 of content in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def digest_of_file(path: str) -> str:
    """Return the SHA-256 of the file in hexadecimal, or the empty string where there is none."""
    existing = read(path)
    return hashlib.sha256(existing.content).hexdigest() if existing else ""


def load_record(host: Host) -> Dict[str, str]:
    """Return the digests of what chronyd had loaded when it last came up here, by path; empty if that is not known."""
    existing = read(host.record)
    try:
        found = json.loads(existing.content.decode()) if existing else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def save_record(host: Host, loaded: Dict[str, str]) -> None:
    """Remember what the chronyd that just came up has loaded."""
    os.makedirs(os.path.dirname(host.record), mode=0o755, exist_ok=True)
    text = json.dumps(loaded, indent=2, sort_keys=True) + "\n"
    _place(host, host.record, Existing(text.encode(), 0, 0, 0o600))


def _must(host: Host, argv: List[str]) -> None:
    done = host.run(argv)
    if done.status != 0:
        first_line = (done.stderr or done.stdout).partition("\n")[0]
        raise TransactionError(f"`{' '.join(argv)}` failed: {first_line}")


def _quoted(log: Sequence[str]) -> str:
    return " The daemon's log says: {}.".format(" | ".join(line.strip() for line in log[-8:])) if log else ""


def _uid(name: str) -> Optional[int]:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _gid(name: str) -> Optional[int]:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
