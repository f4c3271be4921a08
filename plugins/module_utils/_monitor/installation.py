# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The installation of the monitor on a host: its user, its files, and their removal."""

import grp
import json
import os
import pwd
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._monitor import units
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import (
    LOG,
    OLD_LOG,
    PROGRAM,
    SERVICE,
    SETTINGS,
    STATE,
    TEXTFILE_FOLDER,
    TEXTFILE_LINK,
    TIMER,
    Settings,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.host import UNITS, find_daemon, read_file, status_of

Row = Dict[str, Any]

# The names of chronyd's user on Debian and on Enterprise Linux; its group has the same name.
CHRONY_USERS = ("_chrony", "chrony")
JOURNAL_GROUP = "systemd-journal"
BUS = "/run/dbus/system_bus_socket"
RUNTIME = "/run/chrony"
NODE_EXPORTERS = {"node_exporter", "prometheus-node-exporter"}
DEBIANS_EXPORTER = "prometheus-node-exporter"
TEXTFILE_OPTION = "--collector.textfile.directory"
# The default of Debian's package; TEXTFILE_FOLDERS also has that of the role prometheus.prometheus.node_exporter.
DEBIANS_FOLDER = "/var/lib/prometheus/node-exporter"
# The suffixes that logrotate, or the monitor itself, adds to the name of a log.
ROTATED = rf"(?:{re.escape(OLD_LOG)}|[.-][0-9]+)?(?:\.(?:gz|bz2|xz|zst))?"
TEXTFILE_FOLDERS = (DEBIANS_FOLDER, "/var/lib/node_exporter")
# Folders of the units that packages bring.
UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")


class User(NamedTuple):
    """The user of the monitor; why_root is the reason if that is root."""

    name: str
    why_root: str = ""


class Folder(NamedTuple):
    """A folder that must exist. If own is false, an existing folder keeps its owner."""

    path: str
    user: str
    own: bool = True


class File(NamedTuple):
    """A file that root owns, or a link."""

    path: str
    content: bytes
    mode: int = 0o644
    link: str = ""


def user_of_monitor(root: str = "") -> Optional[User]:
    """Return the user with the least rights that can read chronyd's reports; None without chrony."""
    pid = find_daemon(0) if not root else None
    owner = _name(int(status_of(str(pid)).get("Uid", "0").split()[0])) if pid else None
    if owner == "root":
        return User("root", "chronyd runs as root, so that only root may use its socket.")
    name = next((name for name in (owner, *CHRONY_USERS) if name and _exists(name)), None)
    if name is None:
        return None
    if not os.path.exists(root + BUS):
        return User("root", "Without D-Bus, systemd answers only root.")
    return User(name)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def journal_groups() -> List[str]:
    """Return the group that may read the journal, if this host has it."""
    try:
        grp.getgrnam(JOURNAL_GROUP)
    except KeyError:
        return []
    return [JOURNAL_GROUP]


def textfile_directory(root: str = "") -> Tuple[str, str]:
    """Return the folder of node_exporter's textfile collector, or an empty text and the reason."""
    for words in command_lines(root):
        name = os.path.basename(words[0])
        if name not in NODE_EXPORTERS:
            continue
        given = _option(words)
        if given is None and name == DEBIANS_EXPORTER:
            given = DEBIANS_FOLDER
        if given is None:
            return "", f"node_exporter runs without {TEXTFILE_OPTION}, so that it reads no file of metrics."
        if os.path.isdir(root + given):
            return given, ""
        return "", f"node_exporter reads {given}, but this folder does not exist."
    found = next((path for path in TEXTFILE_FOLDERS if os.path.isdir(root + path)), "")
    folders = " and ".join(TEXTFILE_FOLDERS)
    return found, "" if found else f"No node_exporter runs here, and its usual folders {folders} do not exist."


def command_lines(root: str = "") -> Iterator[List[str]]:
    """Yield the command line of each running process, as a list of words."""
    for pid in sorted(filter(str.isdigit, os.listdir(f"{root}/proc")), key=int):
        words = read_file(f"{root}/proc/{pid}/cmdline").split("\0")[:-1]
        if words and words[0]:
            yield words


def _option(words: Sequence[str]) -> Optional[str]:
    """Return the first value of the option that is a folder, not a pattern of folders; None without one."""
    given = [word.partition("=")[2] for word in words if word.startswith(f"{TEXTFILE_OPTION}=")]
    given += [value for word, value in zip(words, words[1:]) if word == TEXTFILE_OPTION]
    return next((path.rstrip("/") for path in given if path and not set(path) & set("*?[")), None)


def settings_text(settings: Settings) -> str:
    """Return the text of the settings file."""
    return json.dumps(settings._asdict(), indent=2, sort_keys=True) + "\n"


def text_folder(settings: Settings) -> str:
    """Return the path of the monitor's own folder in node_exporter's folder."""
    return os.path.join(settings.textfile_directory, TEXTFILE_FOLDER)


def chronyd_unit(root: str = "") -> str:
    """Return the name of chronyd's unit. Its alias may not be named: systemd then can lose the service (LOST_PID)."""
    found = [name for name in UNITS for folder in UNIT_FOLDERS if os.path.exists(f"{root}{folder}/{name}")]
    return found[0] if found else UNITS[-1]


def wanted_files(settings: Settings, user: User, groups: Sequence[str], program: bytes) -> List[File]:
    """Return the files of the monitor in the order of their writing; program is the content without bytecode."""
    writable = [RUNTIME]
    writable += [os.path.dirname(settings.log)] if settings.log else []
    writable += [text_folder(settings)] if settings.textfile_directory else []
    files = [
        File(PROGRAM, program, 0o755),
        File(SETTINGS, settings_text(settings).encode()),
        File(SERVICE, units.service(user.name, groups, writable, chronyd_unit(), user.why_root).encode()),
        File(TIMER, units.timer(settings.interval_seconds).encode()),
    ]
    if settings.textfile_directory:
        link = os.path.join(settings.textfile_directory, TEXTFILE_LINK)
        files.append(File(link, b"", link=f"{TEXTFILE_FOLDER}/{TEXTFILE_LINK}"))
    return files


def wanted_folders(settings: Settings, user: User) -> List[Folder]:
    """Return the folders of the monitor."""
    folders = [Folder(settings.state, user.name)]
    if settings.log:
        folders.append(Folder(os.path.dirname(settings.log), user.name, own=False))
    if settings.textfile_directory:
        folders.append(Folder(text_folder(settings), user.name))
    return folders


def left_over(settings: Settings, root: str = "") -> List[str]:
    """Return the paths of an earlier run in folders of node_exporter other than that of the settings."""
    known = installed_settings(root).get("textfile_directory") or ""
    folders = [path for path in dict.fromkeys([known, *TEXTFILE_FOLDERS]) if path]
    return [
        path
        for folder in folders
        if folder != settings.textfile_directory
        for path in (f"{folder}/{TEXTFILE_LINK}", f"{folder}/{TEXTFILE_FOLDER}")
        if os.path.lexists(root + path)
    ]


def installed(root: str = "", keep_log: bool = True) -> List[str]:
    """Return all existing paths of the monitor on the host, in the order of their removal."""
    logs = [] if keep_log else _state_logs(root)
    # Remove the settings last: after an interrupted removal, the next one finds the rest by them.
    paths = [TIMER, SERVICE, *left_over(Settings(textfile_directory=""), root), PROGRAM, STATE, *logs, SETTINGS]
    return [path for path in paths if os.path.lexists(root + path)]


def _state_logs(root: str) -> List[str]:
    """Return the state logs of the settings and of the default, and the folder if the role created it only for them."""
    settings = installed_settings(root)
    paths = []  # type: List[str]
    # An earlier run may have used another log than the current settings.
    for log in dict.fromkeys([settings.get("log") or LOG, LOG]):
        folder, name = os.path.split(str(log))
        rotated = re.compile(re.escape(name) + ROTATED)
        entries = sorted(os.listdir(root + folder)) if os.path.isdir(root + folder) else []
        logs = [os.path.join(folder, entry) for entry in entries if rotated.fullmatch(entry)]
        made = log == settings.get("log") and settings.get("log_folder_made") is True
        paths += [*logs, folder] if made and len(logs) == len(entries) else logs
    return paths


def makes_log_folder(log: str, root: str = "") -> bool:
    """Return whether the role creates the folder of the state log: it is missing, or an earlier run created it."""
    folder, before = os.path.dirname(log), installed_settings(root)
    known = before.get("log_folder_made") is True and os.path.dirname(before.get("log") or "") == folder
    return bool(log) and (known or not os.path.isdir(root + folder))


def installed_settings(root: str = "") -> Row:
    """Return the settings on the host; empty without a readable settings file."""
    try:
        found = json.loads(read_file(root + SETTINGS))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def settings_problems(settings: Settings) -> Iterator[str]:
    """Yield a problem for each invalid path in the settings; the program runs the hook without a shell."""
    for name, path in (("textfile_directory", settings.textfile_directory), ("log", settings.log)):
        if path and (not path.startswith("/") or set(path) & set(" \t\n%\"'\\:")):
            yield f"{name} is {path!r}: set it to an absolute path without spaces, quotes, colons, % and backslashes"
    if settings.hook and not settings.hook[0].startswith("/"):
        yield f"hook is {' '.join(settings.hook)!r}: begin it with the absolute path of a program"
    elif settings.hook and re.search(r"\s", settings.hook[0]) and not os.path.exists(settings.hook[0]):
        # Ansible makes a list with one entry of a command that is text.
        yield f"hook begins with {settings.hook[0]!r}: write the command as a list of words"
