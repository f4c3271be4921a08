# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. What SELinux and AppArmor must let chronyd do that their policies do not know of.

SELinux lets chronyd_t listen at, and connect to, TCP ports of the type ntske_port_t, which is 4460 alone, and read
files of the type etc_t. Debian's AppArmor profile lets it read below /etc/chrony and takes further rules from a file
of the administrator's, in which a marked block is ours.

What is added is written down before it is added, so that it can be taken away by a later run, also of a run that was
cut; what somebody else has added stays.
"""

import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError, load, save
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_program

NTSKE_PORT = 4460
NTSKE_TYPE = "ntske_port_t"
FILE_TYPE = "etc_t"
# Types that the policies of Enterprise Linux 8 to 10 and of Debian let chronyd_t read as files.
READABLE_TYPES = (FILE_TYPE, "cert_t", "chronyd_conf_t", "chronyd_keys_t", "chronyd_var_lib_t")
# Those of the ports that no service has for itself: a port of these can be given a type of its own.
FREE_TYPES = ("port_t", "reserved_port_t", "hi_reserved_port_t", "unreserved_port_t", "ephemeral_port_t")
# Below the state folder.
RECORD = "confinement.json"
BEGIN = "# BEGIN securetime.nts: from where chronyd reads certificates"
END = "# END securetime.nts"
BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n?", re.MULTILINE | re.DOTALL)


class Requirements(NamedTuple):
    """What chronyd uses: TCP ports of key exchanges, and folders of certificates and keys."""

    ports: Sequence[int] = ()
    folders: Sequence[str] = ()


class Places(NamedTuple):
    """Where the host has what is asked and changed here; another root for tests."""

    selinux: str = "/sys/fs/selinux/enforce"
    profile: str = "/etc/apparmor.d/usr.sbin.chronyd"
    override: str = "/etc/apparmor.d/local/usr.sbin.chronyd"
    loaded: str = "/sys/kernel/security/apparmor/profiles"
    usual: str = "/etc/chrony"


HERE = Places()


class Outcome(NamedTuple):
    """Sentences about what changed, or would, Ansible's diffs of it, and what the administrator should know."""

    changes: List[str]
    diff: List[Dict[str, str]]
    warnings: List[str]


def allow(host: System, uses: Requirements, check_mode: bool = False, places: Places = HERE) -> Outcome:
    """Let chronyd use these, too. Raises TransactionError where the host's own tools refuse."""
    record = load(host, RECORD)
    before = _used(record)
    both = Requirements(sorted({*before.ports, *uses.ports}), sorted({*before.folders, *uses.folders}))
    return _reconcile(host, both, record, check_mode, places)


def prune(host: System, uses: Requirements, check_mode: bool = False, places: Places = HERE) -> Outcome:
    """Let chronyd use these, and nothing more of what was once added for it."""
    record = load(host, RECORD)
    outcome = _reconcile(host, uses, record, check_mode, places)
    wanted = {"ports": list(uses.ports), "folders": list(uses.folders)}
    record = load(host, RECORD)
    if not check_mode and record.get("uses", {"ports": [], "folders": []}) != wanted:
        save(host, RECORD, {**record, "uses": wanted})
    return outcome


def used(host: System) -> Requirements:
    """Return the requirements of the last prune()."""
    return _used(load(host, RECORD))


def _used(record: Dict[str, Any]) -> Requirements:
    return Requirements(**record.get("uses", {}))


def _reconcile(host: System, uses: Requirements, record: Dict[str, Any], check_mode: bool, places: Places) -> Outcome:
    outcome = Outcome([], [], [])
    elsewhere = [folder for folder in uses.folders if not (folder + "/").startswith(places.usual + "/")]
    _override(host, elsewhere, check_mode, places, outcome)
    if os.path.exists(places.selinux):
        _label_ports(host, [port for port in uses.ports if port != NTSKE_PORT], record, check_mode, outcome)
        _label_folders(host, elsewhere, record, check_mode, outcome)
    return outcome


# --- AppArmor ---------------------------------------------------------------------------------------------------------


def with_block(text: str, folders: Sequence[str]) -> str:
    """Return the administrator's rules with ours for these folders, or without where there are none."""
    rest = BLOCK.sub("", text)
    if not folders:
        return rest
    rules = "".join(f"{folder}/{{,**}} r,\n" for folder in folders)
    return rest + ("\n" if rest and not rest.endswith("\n") else "") + f"{BEGIN}\n{rules}{END}\n"


def _override(host: System, folders: Sequence[str], check_mode: bool, places: Places, outcome: Outcome) -> None:
    existing = files.read(places.override)
    text = existing.content.decode("utf-8", "surrogateescape") if existing else ""
    wanted = with_block(text, folders)
    if wanted == text or not os.path.exists(places.profile):
        return
    outcome.changes.append(
        f"AppArmor lets chronyd read {', '.join(folders)}"
        if folders
        else "AppArmor lets chronyd read what its profile says and no more"
    )
    header = {"before_header": places.override, "after_header": places.override}
    outcome.diff.append({**header, "before": text, "after": wanted})
    if check_mode:
        return
    _write(places.override, wanted, existing)
    if not _is_loaded(places.loaded):
        return
    parser = find_program("apparmor_parser")
    done = host.run([parser or "apparmor_parser", "--replace", places.profile])
    if done.status:
        _write(places.override, text, existing)
        raise TransactionError(f"apparmor_parser refuses {places.override}: {_last_line(done.stderr)}")


def _write(path: str, text: str, existing: Any) -> None:
    # An administrator may keep the file elsewhere, behind a symbolic link.
    path = os.path.realpath(path)
    files.make_folders(os.path.dirname(path), [])
    mode, uid, gid = (existing.mode, existing.uid, existing.gid) if existing else (0o644, 0, 0)
    files.write(path + files.NEW, text.encode("utf-8", "surrogateescape"), mode, uid, gid)
    os.replace(path + files.NEW, path)
    files.sync(path)


def _is_loaded(path: str) -> bool:
    # A container may see the file and not be able to read it: then it cannot load profiles either.
    try:
        with open(path, encoding="utf-8") as file:
            return any(line.startswith(("/usr/sbin/chronyd ", "chronyd ")) for line in file)
    except OSError:
        return False


# --- SELinux ----------------------------------------------------------------------------------------------------------


def port_types(listing: str) -> List[Tuple[str, int, int]]:
    """Return type, first and last port of each range of TCP ports in what `semanage port --list` prints."""
    found = []
    for line in listing.splitlines():
        words = line.replace(",", " ").split()
        if len(words) > 2 and words[1] == "tcp":
            for word in words[2:]:
                first, _dash, last = word.partition("-")
                if first.isdigit():
                    found.append((words[0], int(first), int(last or first)))
    return found


def type_of(port: int, types: Sequence[Tuple[str, int, int]]) -> str:
    """Return the type of a port, which is that of the smallest range it is in; nothing if it is in none."""
    ranges = [(last - first, name) for name, first, last in types if first <= port <= last]
    return min(ranges)[1] if ranges else ""


def _label_ports(
    host: System, ports: Sequence[int], record: Dict[str, Any], check_mode: bool, outcome: Outcome
) -> None:
    ours = record.get("ports", [])
    if not ports and not ours:
        return
    # The run that is checked installs semanage first.
    unknown = check_mode and find_program("semanage") is None
    types = [] if unknown else port_types(_semanage(host, "port", "--list", "--noheading"))
    now = {port: type_of(port, types) for port in {*ports, *ours}}
    outcome.warnings.extend(
        f"TCP port {port} is {now[port]} in this host's SELinux policy, which may keep chronyd from using it for NTS. "
        f"Take a port that no other service has, or let the policy allow it."
        for port in ports
        if now[port] not in ("", *FREE_TYPES, NTSKE_TYPE)
    )

    def add(port: int) -> None:
        _semanage(host, "port", "--add", "--type", NTSKE_TYPE, "--proto", "tcp", str(port))

    def delete(port: int) -> None:
        # Somebody may have taken it away already.
        if now[port] == NTSKE_TYPE:
            _semanage(host, "port", "--delete", "--type", NTSKE_TYPE, "--proto", "tcp", str(port))

    rules = _Rules("ports", "use TCP port", NTSKE_TYPE, add, delete)
    missing = [port for port in ports if now[port] in ("", *FREE_TYPES)]
    _change(host, rules, ours, missing, [port for port in ours if port not in ports], check_mode, outcome)


def _label_folders(
    host: System, folders: Sequence[str], record: Dict[str, Any], check_mode: bool, outcome: Outcome
) -> None:
    def add(folder: str) -> None:
        # It is there already if a run was cut between the record and here, or between here and what follows.
        if "(/.*)?" not in _local_contexts(host, folder):
            _semanage(host, "fcontext", "--add", "--type", FILE_TYPE, _pattern(folder))
        os.makedirs(folder, mode=0o755, exist_ok=True)
        host.run([find_program("restorecon") or "restorecon", "-R", folder])

    def delete(folder: str) -> None:
        if _local_contexts(host, folder):
            _semanage(host, "fcontext", "--delete", _pattern(folder))
        host.run([find_program("restorecon") or "restorecon", "-R", folder])

    ours = record.get("folders", [])
    rules = _Rules("folders", "read", FILE_TYPE, add, delete)
    missing = [folder for folder in folders if folder not in ours and not _is_readable(host, folder)]
    _change(host, rules, ours, missing, [folder for folder in ours if folder not in folders], check_mode, outcome)


class _Rules(NamedTuple):
    """One kind of local rules of SELinux: its name in the record, what it lets chronyd do, the type it gives."""

    name: str
    lets: str
    type: str
    add: Callable[[Any], None]
    delete: Callable[[Any], None]


def _change(
    host: System,
    rules: _Rules,
    ours: Sequence[Any],
    missing: Sequence[Any],
    spare: Sequence[Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    """Add what is missing and delete what is spare; a rule is in the record for as long as it may be there."""
    outcome.changes.extend(f"SELinux lets chronyd {rules.lets} {each} ({rules.type})" for each in missing)
    outcome.changes.extend(f"SELinux lets chronyd {rules.lets} {each} no more" for each in spare)
    if check_mode:
        return
    if missing:
        _remember(host, rules.name, sorted({*ours, *missing}))
    for each in missing:
        rules.add(each)
    for each in spare:
        rules.delete(each)
    if spare:
        _remember(host, rules.name, sorted({*ours, *missing} - set(spare)))


def _pattern(folder: str) -> str:
    return re.escape(folder).replace(r"\/", "/").replace(r"\-", "-") + "(/.*)?"


def _local_contexts(host: System, folder: str) -> str:
    listed = _semanage(host, "fcontext", "--list", "--locallist", "--noheading")
    return "\n".join(line for line in listed.splitlines() if line.startswith(_pattern(folder)))


def _is_readable(host: System, folder: str) -> bool:
    found = host.run([find_program("matchpathcon") or "matchpathcon", "-n", folder + "/server.key"])
    parts = found.stdout.strip().split(":")
    return len(parts) > 2 and parts[2] in READABLE_TYPES


def _remember(host: System, what: str, values: List[Any]) -> None:
    save(host, RECORD, {**load(host, RECORD), what: values})


def _semanage(host: System, *words: str) -> str:
    program = find_program("semanage")
    if program is None:
        raise TransactionError(
            "SELinux is on and semanage, which tells it what chronyd may use, is missing: install the package "
            "policycoreutils-python-utils. Nothing was changed."
        )
    done = host.run([program, *words])
    if done.status:
        raise TransactionError(f"semanage {' '.join(words)} failed: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]
