# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Extend SELinux and AppArmor by what the configuration needs beyond their policies.

SELinux lets chronyd_t listen on and connect to TCP ports of the type ntske_port_t, which is 4460 alone. It lets it
listen on UDP ports of the type ntp_port_t, and does not check the destination ports of datagrams. chronyd_t may read
files of the type etc_t, and write those of chronyd_var_lib_t and chronyd_var_log_t.

Debian's AppArmor profile lets chronyd read below /etc/chrony. It lets it write files in /var/lib/chrony and
/var/log/chrony, but not in their subfolders. It includes a local file of the administrator, in which this module
manages a marked block.

This module records a rule before it adds it. So a later run can remove the rule even if this run is interrupted. Rules
that others added stay.

Long: AppArmor and SELinux allow the same requirements, which share one record.
"""

import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files, paths
from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError, load, save
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_program
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

NTSKE_PORT = 4460
NTSKE_TYPE = "ntske_port_t"
FILE_TYPE = "etc_t"
# Types that the policies of Enterprise Linux 8 to 10 and of Debian let chronyd_t read as files.
READABLE_TYPES = (FILE_TYPE, "cert_t", "chronyd_conf_t", "chronyd_keys_t", "chronyd_var_lib_t")
# Types of ports that no service owns: a local rule can give such a port another type.
FREE_TYPES = ("port_t", "reserved_port_t", "hi_reserved_port_t", "unreserved_port_t", "ephemeral_port_t")
# In the state folder.
RECORD = "confinement.json"
BEGIN = "# BEGIN securetime.nts: from where chronyd reads certificates"
END = "# END securetime.nts"
BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n?", re.MULTILINE | re.DOTALL)


# Paths that the policies of the distributions let chronyd read and write without local rules.
USUAL_FOLDERS = (
    *("/etc/chrony", "/etc/chrony.d", "/run/chrony", "/run/chrony-dhcp"),
    *("/etc/pki", "/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"),
)
USUAL_FILES = (*USUAL_FOLDERS, "/usr/share/zoneinfo", "/etc/adjtime", "/dev", "/sys", "/proc")
USUAL_WRITES = ("/var/lib/chrony", "/var/log/chrony", "/run/chrony")
RUN_FOLDER = "/run/chrony"
# Shared folders, which no rule for chronyd may cover. The direct subfolders of / are shared, too.
SHARED_FOLDERS = (
    *("/etc/default", "/etc/ssl", "/etc/sysconfig", "/etc/systemd", "/run/lock", "/run/systemd", "/run/user"),
    *("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/local", "/usr/sbin", "/usr/share"),
    *("/var/cache", "/var/lib", "/var/log", "/var/mail", "/var/opt", "/var/spool", "/var/tmp"),
)
NTP_TYPE = "ntp_port_t"
STATE_TYPE, LOG_TYPE = "chronyd_var_lib_t", "chronyd_var_log_t"
# Folders in which SELinux labels a new socket of chronyd with a type of chronyd.
SOCKET_FOLDERS = ("/run", "/run/chrony", "/var/lib/chrony")


class Requirements(NamedTuple):
    """The ports and paths that chronyd needs.

    `ports` are the TCP ports of key exchanges, and `udp_ports` the UDP ports that chronyd listens on. chronyd reads
    `folders` with everything below them, reads single `files`, writes to the folders `state` and `logs`, and creates
    `sockets`.
    """

    ports: Sequence[int] = ()
    folders: Sequence[str] = ()
    udp_ports: Sequence[int] = ()
    state: Sequence[str] = ()
    logs: Sequence[str] = ()
    files: Sequence[str] = ()
    sockets: Sequence[str] = ()


# Fields that the first format of the record has.
OLD_FIELDS = ("ports", "folders")


class HostPaths(NamedTuple):
    """The paths of the host that this module reads and writes; tests pass others."""

    selinux: str = "/sys/fs/selinux/enforce"
    profile: str = "/etc/apparmor.d/usr.sbin.chronyd"
    override: str = "/etc/apparmor.d/local/usr.sbin.chronyd"
    loaded: str = "/sys/kernel/security/apparmor/profiles"
    usual: str = "/etc/chrony"


HOST_PATHS = HostPaths()


class Outcome(NamedTuple):
    """Sentences about the changes (in check mode: the predicted ones), Ansible's diffs of them, and warnings."""

    changes: List[str]
    diff: List[Dict[str, str]]
    warnings: List[str]


NOTHING = Outcome([], [], [])


def allow(host: System, uses: Requirements, check_mode: bool = False, host_paths: HostPaths = HOST_PATHS) -> Outcome:
    """Allow these requirements in addition to the recorded ones; raise TransactionError if a tool of the host fails."""
    record = load(host, RECORD)
    return _reconcile(host, union(_recorded(record), uses), record, check_mode, host_paths)


def allow_more(host: System, uses: Requirements, allowed: Optional[Requirements]) -> Outcome:
    """Call allow() only if the requirements exceed what is already allowed."""
    before = union(_recorded(load(host, RECORD)), allowed or Requirements())
    return NOTHING if union(before, uses) == before else allow(host, union(before, uses))


def prune(host: System, uses: Requirements, check_mode: bool = False, host_paths: HostPaths = HOST_PATHS) -> Outcome:
    """Allow these requirements alone: remove the other rules that this module added."""
    record = load(host, RECORD)
    outcome = _reconcile(host, uses, record, check_mode, host_paths)
    # Omit empty fields, so that an older version can read the record.
    wanted = {name: list(getattr(uses, name)) for name in uses._fields if name in OLD_FIELDS or getattr(uses, name)}
    record = load(host, RECORD)
    if not check_mode and record.get("uses", {"ports": [], "folders": []}) != wanted:
        save(host, RECORD, {**record, "uses": wanted})
    return outcome


def recorded(host: System) -> Requirements:
    """Return the requirements of the last prune()."""
    return _recorded(load(host, RECORD))


def _recorded(record: Dict[str, Any]) -> Requirements:
    return Requirements(
        **{name: value for name, value in record.get("uses", {}).items() if name in Requirements._fields}
    )


def union(*requirements: Requirements) -> Requirements:
    """Return the union of these requirements; each field is sorted."""
    return Requirements(*(sorted(set().union(*values)) for values in zip(*requirements)))


def required(directives: Directives, linked: Sequence[str] = ()) -> Requirements:
    """Return what a configuration requires beyond the policies of the distributions.

    `linked` are the targets of symbolic links that chronyd reads, because AppArmor and SELinux check the resolved path.
    Raise TransactionError where chronyd would write to a shared folder.
    """
    uses = [each._replace(path=os.path.realpath(each.path)) for each in paths.used(directives)]
    writes = paths.written(uses)
    for folder in writes["state"] + writes["logs"]:
        if folder not in USUAL_WRITES and _is_shared(folder):
            raise TransactionError(
                f"chronyd would keep files in the shared folder {folder}; nothing was changed. Name a folder of its"
                f" own, such as {os.path.join(folder, 'chrony')}."
            )
    reads = [each.path for each in uses if not each.writes]
    return Requirements(
        udp_ports=paths.udp_ports(directives),
        state=[path for path in writes["state"] if path not in USUAL_WRITES],
        logs=[path for path in writes["logs"] if path not in USUAL_WRITES],
        folders=[
            path for path in reads if os.path.isdir(path) and not (paths.below(path, USUAL_FOLDERS) or _is_shared(path))
        ],
        files=[
            path
            for path in (*linked, *reads)
            if not (os.path.isdir(path) or paths.below(path, USUAL_FILES) or path.startswith("/etc/chrony."))
        ],
        sockets=[path for path in map(_created_at_start, uses) if path],
    )


def _created_at_start(use: paths.PathUse) -> str:
    """Return the path of a socket or a PID file outside /run/chrony, else an empty string.

    For the command socket return its folder with a trailing slash: chronyc creates its own socket beside it.
    """
    if use.kind == paths.SOCKET and use.makes and use.folder != RUN_FOLDER:
        return use.folder + "/"
    at_start = use.kind == paths.SOCKET or use.directive == "pidfile"
    return use.path if at_start and use.folder != RUN_FOLDER else ""


def _is_shared(folder: str) -> bool:
    """Return whether a folder is shared: a label or a rule for it would apply to other programs, too."""
    return folder.count("/") < 2 or folder in SHARED_FOLDERS


def _reconcile(
    host: System, uses: Requirements, record: Dict[str, Any], check_mode: bool, host_paths: HostPaths
) -> Outcome:
    outcome = Outcome([], [], [])
    extra_folders = [folder for folder in uses.folders if not paths.below(folder, (host_paths.usual,))]
    uses = uses._replace(folders=extra_folders, ports=[port for port in uses.ports if port != NTSKE_PORT])
    is_selinux = os.path.exists(host_paths.selinux)
    if is_selinux:
        _assert_labelled(uses.sockets)
    _update_apparmor(host, uses, check_mode, host_paths, outcome)
    if is_selinux:
        _label_ports(host, TCP, uses.ports, record, check_mode, outcome)
        _label_ports(host, UDP, uses.udp_ports, record, check_mode, outcome)
        for kind in PATH_KINDS:
            _label_paths(host, kind, getattr(uses, kind.name), record, check_mode, outcome)
    return outcome


# --- AppArmor ---------------------------------------------------------------------------------------------------------


def rules_of(uses: Requirements) -> List[str]:
    """Return the AppArmor rules for these requirements."""
    return [
        *(f"{_escape(folder)}/{{,**}} r," for folder in uses.folders),
        # `chronyd -p` also reads the staged file and the one of check mode, beside the target.
        *(f"{_escape(path)}{{,{files.NEW},{files.CHECK}*}} r," for path in uses.files),
        *(f"{_escape(folder)}/{{,**}} rw," for folder in (*uses.state, *uses.logs)),
        *(f"{_escape(path)}{'{,*}' if path.endswith('/') else ''} rw," for path in uses.sockets),
    ]


def _escape(path: str) -> str:
    """Return a path with escapes for the characters that are patterns in AppArmor."""
    return re.sub(r'([][{}*?^",\\])', r"\\\1", path)


def with_block(text: str, rules: Sequence[str]) -> str:
    """Return the administrator's rules with our block; without rules, remove the block."""
    rest = BLOCK.sub("", text)
    if not rules:
        return rest
    ours = "".join(f"{rule}\n" for rule in rules)
    return rest + ("\n" if rest and not rest.endswith("\n") else "") + f"{BEGIN}\n{ours}{END}\n"


def _update_apparmor(
    host: System, uses: Requirements, check_mode: bool, host_paths: HostPaths, outcome: Outcome
) -> None:
    existing = files.read(host_paths.override)
    text = existing.content.decode("utf-8", "surrogateescape") if existing else ""
    profile = files.read(host_paths.profile)
    sockets = [path for path in uses.sockets if not (profile and _allows_socket(profile.content, path))]
    uses = uses._replace(sockets=sockets)
    wanted = with_block(text, rules_of(uses))
    if wanted == text or profile is None:
        return
    reads, writes = [*uses.folders, *uses.files], [*uses.state, *uses.logs, *uses.sockets]
    accesses = [f"{verb} {', '.join(found)}" for verb, found in (("read", reads), ("write", writes)) if found]
    outcome.changes.append(f"AppArmor lets chronyd {' and '.join(accesses) or 'read only what its profile allows'}")
    header = {"before_header": host_paths.override, "after_header": host_paths.override}
    outcome.diff.append({**header, "before": text, "after": wanted})
    if check_mode:
        return
    _write(host_paths.override, wanted, existing)
    if not _is_loaded(host_paths.loaded):
        return
    parser = find_program("apparmor_parser")
    done = host.run([parser or "apparmor_parser", "--replace", host_paths.profile])
    if done.status:
        _write(host_paths.override, text, existing)
        raise TransactionError(f"apparmor_parser refuses {host_paths.override}: {_last_line(done.stderr)}")


def _write(path: str, text: str, existing: Any) -> None:
    # Write to the target: an administrator may have made the file a symbolic link.
    path = os.path.realpath(path)
    files.make_folders(os.path.dirname(path), [])
    mode, uid, gid = (existing.mode, existing.uid, existing.gid) if existing else (0o644, 0, 0)
    files.write(path + files.NEW, text.encode("utf-8", "surrogateescape"), mode, uid, gid)
    os.replace(path + files.NEW, path)
    files.sync(path)


def _allows_socket(profile: bytes, path: str) -> bool:
    """Return whether a profile has the rule for refclock sockets. Debian's profile has it since chrony 4.3."""
    return b"/chrony.*.sock rw" in profile and re.match(r"/run/chrony\.[^/]*\.sock$", path) is not None


def _is_loaded(path: str) -> bool:
    # A container may list this file without being able to read it. Such a container cannot load profiles either.
    try:
        with open(path, encoding="utf-8") as file:
            return any(line.startswith(("/usr/sbin/chronyd ", "chronyd ")) for line in file)
    except OSError:
        return False


# --- SELinux ----------------------------------------------------------------------------------------------------------


class _Protocol(NamedTuple):
    """A protocol: its field in the record, its name for semanage, the port type for chronyd, and its purpose."""

    record: str
    name: str
    type: str
    use: str


TCP = _Protocol("ports", "tcp", NTSKE_TYPE, "NTS")
UDP = _Protocol("udp_ports", "udp", NTP_TYPE, "NTP")


def port_types(listing: str, protocol: str = "tcp") -> List[Tuple[str, int, int]]:
    """Parse the output of `semanage port --list`; return the type, the first and the last port of each range."""
    found = []
    for line in listing.splitlines():
        words = line.replace(",", " ").split()
        if len(words) > 2 and words[1] == protocol:
            for word in words[2:]:
                first, _dash, last = word.partition("-")
                if first.isdigit():
                    found.append((words[0], int(first), int(last or first)))
    return found


def type_of(port: int, types: Sequence[Tuple[str, int, int]]) -> str:
    """Return the type of a port: that of the smallest range that holds it; an empty string if none does."""
    ranges = [(last - first, name) for name, first, last in types if first <= port <= last]
    return min(ranges)[1] if ranges else ""


def _label_ports(
    host: System,
    protocol: _Protocol,
    ports: Sequence[int],
    record: Dict[str, Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    ours = record.get(protocol.record, [])
    if not ports and not ours:
        return
    # Check mode may precede the installation of semanage, which the real run has by then.
    unknown = check_mode and find_program("semanage") is None
    types = [] if unknown else port_types(_semanage(host, "port", "--list", "--noheading"), protocol.name)
    current_types = {port: type_of(port, types) for port in {*ports, *ours}}
    protocol_name = protocol.name.upper()
    outcome.warnings.extend(
        f"{protocol_name} port {port} is {current_types[port]} in this host's SELinux policy, which may keep chronyd"
        f" from using it for {protocol.use}. Take a port that no other service has, or let the policy allow it."
        for port in ports
        if current_types[port] not in ("", *FREE_TYPES, protocol.type)
    )
    words = ("--type", protocol.type, "--proto", protocol.name)

    def add(port: int) -> None:
        _semanage(host, "port", "--add", *words, str(port))

    def delete(port: int) -> None:
        # The rule may be gone already: an administrator can remove it.
        if current_types[port] == protocol.type:
            _semanage(host, "port", "--delete", *words, str(port))

    rules = _RuleKind(protocol.record, f"use {protocol_name} port", protocol.type, add, delete)
    missing = [port for port in ports if current_types[port] in ("", *FREE_TYPES)]
    _update_rules(host, rules, ours, missing, [port for port in ours if port not in ports], check_mode, outcome)


class _PathKind(NamedTuple):
    """A kind of path: its field in the record, the access, the type to set, and the types that already suffice."""

    name: str
    access: str
    type: str
    sufficient: Sequence[str]
    # The suffix of the path in the regular expression of the rule.
    pattern: str


PATH_KINDS = (
    _PathKind("folders", "read", FILE_TYPE, READABLE_TYPES, "(/.*)?"),
    _PathKind("files", "read", FILE_TYPE, READABLE_TYPES, r"(\.securetime-nts-.*)?"),
    _PathKind("state", "write", STATE_TYPE, (STATE_TYPE,), "(/.*)?"),
    _PathKind("logs", "write", LOG_TYPE, (LOG_TYPE,), "(/.*)?"),
)


def _label_paths(
    host: System,
    kind: _PathKind,
    wanted_paths: Sequence[str],
    record: Dict[str, Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    def add(path: str) -> None:
        # The rule exists already if a run was interrupted after it wrote the record.
        if kind.pattern not in _local_contexts(host, path, kind):
            _semanage(host, "fcontext", "--add", "--type", kind.type, _pattern(path, kind))
        if kind.name == "folders":
            files.make_folders(path, [])
        _restore_labels(host, path)

    def delete(path: str) -> None:
        if _local_contexts(host, path, kind):
            _semanage(host, "fcontext", "--delete", _pattern(path, kind))
        _restore_labels(host, path)

    ours = record.get(kind.name, [])
    rules = _RuleKind(kind.name, kind.access, kind.type, add, delete)
    missing = [path for path in wanted_paths if path not in ours and not _is_labelled(host, path, kind)]
    _update_rules(host, rules, ours, missing, [path for path in ours if path not in wanted_paths], check_mode, outcome)


def _restore_labels(host: System, path: str) -> None:
    host.run([find_program("restorecon") or "restorecon", "-R", path])


def _assert_labelled(sockets: Sequence[str]) -> None:
    """Raise TransactionError where SELinux denies chronyd the creation of a socket or a PID file at its start."""
    for path in sockets:
        if os.path.dirname(path.rstrip("/")) not in SOCKET_FOLDERS:
            raise TransactionError(
                f"SELinux keeps chronyd from making {path} at its start; nothing was changed. Name a path directly in"
                " /run, such as /run/chrony.NAME.sock, here and for the program that uses it."
            )


class _RuleKind(NamedTuple):
    """A kind of local SELinux rule: its field in the record, the access, the type, and how to add and delete one."""

    name: str
    access: str
    type: str
    add: Callable[[Any], None]
    delete: Callable[[Any], None]


def _update_rules(
    host: System,
    rules: _RuleKind,
    ours: Sequence[Any],
    missing: Sequence[Any],
    obsolete: Sequence[Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    """Add the missing rules and delete the spare ones; the record names a rule for as long as it may exist."""
    outcome.changes.extend(f"SELinux lets chronyd {rules.access} {each} ({rules.type})" for each in missing)
    outcome.changes.extend(f"SELinux no longer lets chronyd {rules.access} {each}" for each in obsolete)
    if check_mode:
        return
    if missing:
        _save_record(host, rules.name, sorted({*ours, *missing}))
    for each in missing:
        rules.add(each)
    for each in obsolete:
        rules.delete(each)
    if obsolete:
        _save_record(host, rules.name, sorted({*ours, *missing} - set(obsolete)))


def _pattern(path: str, kind: _PathKind) -> str:
    return re.escape(path).replace(r"\/", "/").replace(r"\-", "-") + kind.pattern


def _local_contexts(host: System, path: str, kind: _PathKind) -> str:
    listed = _semanage(host, "fcontext", "--list", "--locallist", "--noheading")
    return "\n".join(line for line in listed.splitlines() if line.startswith(_pattern(path, kind)))


def _is_labelled(host: System, path: str, kind: _PathKind) -> bool:
    inside = "/server.key" if kind.pattern.startswith("(/") else ""
    found = host.run([find_program("matchpathcon") or "matchpathcon", "-n", path + inside])
    parts = found.stdout.strip().split(":")
    return len(parts) > 2 and parts[2] in kind.sufficient


def _save_record(host: System, what: str, values: List[Any]) -> None:
    save(host, RECORD, {**load(host, RECORD), what: values})


def _semanage(host: System, *words: str) -> str:
    program = find_program("semanage")
    if program is None:
        raise TransactionError(
            "SELinux is on, but semanage, which changes its policy, is missing. Install the package"
            " policycoreutils-python-utils."
        )
    done = host.run([program, *words])
    if done.status:
        raise TransactionError(f"semanage {' '.join(words)} failed: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it gave no reason"])[-1]
