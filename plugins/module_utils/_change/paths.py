# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The table of the paths that chronyd uses: the directive, the access, and the user.

Source: chrony 4.0 to 4.9. main.c drops root after it has created the folders (conf.c: CNF_CreateDirs), written its PID
file, and opened refclocks and keys. chronyd's user opens every other file.
"""

import os
from typing import Dict, Iterator, List, NamedTuple, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

FILE, FOLDER, SOCKET = "file", "folder", "socket"
# Folders whose content packages, the kernel and systemd create at each boot.
RUNTIME = ("/run/", "/var/run/")


UDP_PORTS = ("port", "acquisitionport", "cmdport", "ptpport")
# Ports that SELinux policies label for chronyd: ntp_port_t, chronyd_port_t, ptp_event_port_t.
USUAL_UDP_PORTS = (123, 323, 319)


class PathUse(NamedTuple):
    """How chronyd uses the path of a directive.

    chronyd writes a file beside its path first, so the folder must be writable. `makes`: chronyd creates the missing
    folder as root, for its user, with mode 0750 (for a socket: 0770). `otherwise`: the consequence of a path that
    chronyd cannot use.
    """

    directive: str
    path: str
    kind: str
    writes: bool = False
    as_root: bool = False
    makes: bool = False
    log: bool = False
    otherwise: str = ""

    @property
    def folder(self) -> str:
        """Return the folder of the path, or the path itself if it is a folder."""
        return self.path if self.kind == FOLDER else os.path.dirname(self.path)


TABLE = [
    PathUse("driftfile", "", FILE, writes=True, otherwise="would forget the drift of the clock at each start"),
    PathUse("rtcfile", "", FILE, writes=True, otherwise="would forget the drift of the real-time clock"),
    PathUse("dumpdir", "", FOLDER, True, makes=True, otherwise="would forget its measurements at each start"),
    PathUse(
        "ntsdumpdir", "", FOLDER, True, makes=True, otherwise="would forget its NTS keys and cookies at each start"
    ),
    PathUse(
        "ntscachedir", "", FOLDER, True, makes=True, otherwise="would forget its NTS keys and cookies at each start"
    ),
    PathUse("logdir", "", FOLDER, True, makes=True, log=True, otherwise="would write no log files"),
    PathUse("keyfile", "", FILE, as_root=True),
    PathUse("hwclockfile", "", FILE, as_root=True),
    PathUse("leapseclist", "", FILE, otherwise="would know of no leap second"),
    PathUse("tempcomp", "", FILE, otherwise="would not compensate the temperature"),
    PathUse("pidfile", "", FILE, writes=True, as_root=True, otherwise="would not come up"),
    PathUse("refclock", "", SOCKET, writes=True, as_root=True, otherwise="would end at its start"),
    PathUse("bindcmdaddress", "", SOCKET, writes=True, makes=True, otherwise="would not answer chronyc at this socket"),
    PathUse("ntsservercert", "", FILE),
    PathUse("ntsserverkey", "", FILE),
    PathUse("ntstrustedcerts", "", FILE),
    PathUse("sourcedir", "", FOLDER),
    PathUse("confdir", "", FOLDER, as_root=True),
    PathUse("include", "", FILE, as_root=True),
]  # type: List[PathUse]


def used(directives: Directives) -> List[PathUse]:
    """Return every path that a configuration names, in the order of the table; the last line of a directive wins."""
    return [row._replace(path=path) for row in TABLE for path in _paths(row.directive, directives)]


def _paths(name: str, directives: Directives) -> Iterator[str]:
    lines = [words for words in directives.get(name, []) if words]
    if name == "refclock":
        # A colon separates the path from its options (refclock.c).
        found = [words[1].partition(":")[0] for words in lines if len(words) > 1 and words[0].upper() == "SOCK"]
    elif name == "tempcomp":
        # The arguments are: sensor, interval, and either a file of points or four numbers.
        found = [path for words in lines[-1:] for path in (words[:1] + (words[2:] if len(words) == 3 else []))]
    elif name == "bindcmdaddress":
        # `/` turns the socket off.
        found = [words[0] for words in lines if words[0].startswith("/")][-1:]
        found = [path for path in found if path != "/"]
    elif name == "ntstrustedcerts":
        found = [words[-1] for words in lines]
    elif name in ("ntsservercert", "ntsserverkey"):
        found = [words[0] for words in lines]
    elif name in ("sourcedir", "confdir"):
        found = [path for words in lines for path in words]
    elif name == "include":
        # For a glob pattern, chronyd needs the folder.
        found = [os.path.dirname(path) if set(path) & set("*?[") else path for words in lines for path in words[:1]]
    else:
        found = [words[0] for words in lines[-1:]]
    return (os.path.normpath(path) for path in found if path.startswith("/"))


def folders_to_make(uses: Sequence[PathUse]) -> List[str]:
    """Return the missing folders that chronyd writes to, each once.

    chronyd itself creates some of them. It cannot create their parents under AppArmor, nor any folder that is read-only
    for its unit. Omit the runtime folders: they vanish at reboot, and chronyd creates them.
    """
    found = [each.folder for each in uses if each.writes and not each.as_root and each.kind != SOCKET]
    return sorted({path for path in found if not path.startswith(RUNTIME) and not os.path.lexists(path)})


def written(uses: Sequence[PathUse]) -> Dict[str, List[str]]:
    """Return the folders that chronyd writes to, under the keys `state` and `logs`."""
    kept = [each for each in uses if each.writes and not each.as_root and each.kind != SOCKET]
    state = {each.folder for each in kept if not each.log}
    logs = {each.folder for each in kept if each.log}
    return {"state": sorted(state), "logs": sorted(logs - state)}


def udp_ports(directives: Directives) -> List[int]:
    """Return the UDP ports that chronyd listens on and that no policy labels for it.

    Policies do not check destination ports, such as those of sources.
    """
    found = [words[0] for name in UDP_PORTS for words in directives.get(name, [])[-1:] if words]
    return sorted({int(port) for port in found if port.isdigit() and int(port) not in (0, *USUAL_UDP_PORTS)})


class Sandbox(NamedTuple):
    """The sandbox settings of chronyd's unit, as `systemctl show` prints them."""

    unit: str
    shown: Dict[str, str]

    def hides(self, path: str) -> str:
        """Return the setting of the unit that hides a path; an empty string if none does."""
        shown = self.shown
        if shown.get("ProtectHome") in ("yes", "tmpfs") and below(path, ("/home", "/root", "/run/user")):
            return f"ProtectHome={shown['ProtectHome']}"
        if shown.get("PrivateTmp") in ("yes", "connected", "disconnected") and below(path, ("/tmp", "/var/tmp")):
            return f"PrivateTmp={shown['PrivateTmp']}"
        if below(path, _listed(shown.get("InaccessiblePaths", ""))):
            return "InaccessiblePaths"
        return ""

    def denies_writing(self, path: str) -> str:
        """Return the setting of the unit that makes a path read-only; an empty string if chronyd can write to it."""
        shown = self.shown
        protect = shown.get("ProtectSystem", "no")
        read_only = {
            "strict": ("/",),
            "full": ("/usr", "/boot", "/efi", "/etc"),
            "yes": ("/usr", "/boot", "/efi"),
        }.get(protect, ())
        rules = [(place, f"ProtectSystem={protect}") for place in read_only]
        rules += [(place, "") for place in ("/dev", "/proc", "/sys")]
        if shown.get("ProtectHome") == "read-only":
            rules += [(place, "ProtectHome=read-only") for place in ("/home", "/root", "/run/user")]
        for name, parent in (
            ("RuntimeDirectory", "/run"),
            ("StateDirectory", "/var/lib"),
            ("CacheDirectory", "/var/cache"),
            ("LogsDirectory", "/var/log"),
        ):
            rules += [(f"{parent}/{each.partition(':')[0]}", "") for each in shown.get(name, "").split()]
        rules += [(place, "") for place in _listed(shown.get("ReadWritePaths", ""))]
        rules += [(place, "ReadOnlyPaths") for place in _listed(shown.get("ReadOnlyPaths", ""))]
        # The most specific rule wins.
        return max(((len(place), setting) for place, setting in rules if below(path, (place,))), default=(0, ""))[1]


def _listed(paths: str) -> List[str]:
    return [os.path.normpath(path.lstrip("-+")) for path in paths.split()]


def below(path: str, folders: Sequence[str]) -> bool:
    """Return whether a path is one of these folders or below one."""
    return any(folder == "/" or path == folder or path.startswith(folder + "/") for folder in folders)
