# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The facts of the host about chrony: its programs, its unit, the process and its log.

All functions only read. They return None for what the host does not have.

Long: one module reads everything of the host that the facts carry, so that the facts are checked in one place.
"""

import contextlib
import glob
import json
import os
import pwd
import re
import shlex
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set

from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import firewalls_with_rules
from ansible_collections.securetime.nts.plugins.module_utils._state.options import (
    KNOWN,
    WITH_ARGUMENT,
    of_unit,
    short_options,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import server_files
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import marked_roots

Row = Dict[str, Any]
# Run named commands within a timeout in seconds, and return the output of each.
Run = Callable[[Dict[str, List[str]], float], Dict[str, str]]

PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin")
CHRONYD = ("/usr/sbin/chronyd", "/sbin/chronyd")
UNITS = ("chrony.service", "chronyd.service")
RIVALS = (
    # chronyd without root's rights, which the packages of Debian 13, Fedora and Enterprise Linux 9 ship disabled. Its
    # unit conflicts with the unit that the role manages, and has no undo drop-in.
    "chronyd-restricted.service",
    # A unit of linuxptp, which starts a chronyd of its own.
    "timemaster.service",
    # These two set the clock at boot, by NTP without authentication.
    "ntpdate.service",
    "sntp.service",
    "systemd-timesyncd.service",
    "ntp.service",
    "ntpd.service",
    "ntpsec.service",
    "openntpd.service",
    "ntpd-rs.service",
)
# A unit that delays the boot until chronyd has set the clock.
WAIT_UNIT = "chrony-wait.service"
UNIT_PROPERTIES = (
    "Id,LoadState,ActiveState,UnitFileState,MainPID,ConditionResult,ConditionTimestampMonotonic,ExecStart,Environment,"
    "EnvironmentFiles"
)
UNIT_OF_GROUP = re.compile(r"/(?P<unit>[^/\n]+\.(?:service|scope))$", re.MULTILINE)
# Drop-ins of administrators, cloud-init, the distributions and DHCP's hooks. The patterns cover all folders of
# drop_in_dirs in the role's platforms.yml.
DROP_INS = (
    "etc/chrony/conf.d/*.conf",
    "etc/chrony/sources.d/*.sources",
    "etc/chrony.d/*.conf",
    "etc/chrony.d/*.sources",
    "usr/etc/chrony.d/*.conf",
    "run/chrony.d/*.sources",
    "run/chrony-dhcp/*.sources",
)
# The address of a source in a drop-in.
SOURCE_LINE = re.compile(r"^[ \t]*(?:server|pool|peer)[ \t]+(?P<address>[^\s!;#%]\S*)", re.IGNORECASE | re.MULTILINE)
# Files to which the chrony.conf of some distribution refers.
DISTRIBUTION_FILES = (
    "/usr/share/zoneinfo/leap-seconds.list",
    "/usr/share/zoneinfo/right/UTC",
    "/etc/chrony/nts-bootstrap-ubuntu.crt",
)
# On Enterprise Linux 8 this program adds DHCP's servers to the running chronyd, whatever chrony.conf says.
CHRONY_HELPER = "/usr/libexec/chrony-helper"
NETWORK_SETTINGS = "/etc/sysconfig/network"
PEERNTP = re.compile(r"^[ \t]*(?:export[ \t]+)?PEERNTP=(?P<quote>[\"']?)(?P<value>\w*)(?P=quote)", re.MULTILINE)
# The role's folder of certificates.
CA_FOLDER = "/etc/chrony/nts"
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
# Identifiers in os-release(5) of the families with rpm packages. Such a host can have apt-get or dpkg as well.
RPM_FAMILIES = {"fedora", "rhel", "suse", "opensuse"}
DEB_FAMILIES = {"debian", "ubuntu"}
# Both commands print "NAME installed VERSION" for a completely installed package. rpm prints all names that the package
# provides.
DPKG_QUERY = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status} ${Version}\\n"]
RPM_FORMAT = "[%{PROVIDENAME} installed %{=VERSION}-%{=RELEASE}\\n]"
RPM_QUERY = ["rpm", "--query", "--queryformat", RPM_FORMAT, "--whatprovides"]
# systemd-timesyncd creates this file when it has set the clock, and removes it when it stops
# (systemd-timesyncd.service(8)).
TIMESYNCD_SYNCHRONISED = "/run/systemd/timesync/synchronized"
PID_FILES = ("/run/chrony/chronyd.pid", "/run/chronyd.pid")
VERSION = re.compile(r"version (?P<version>\S+)(?: \((?P<features>[^)]*)\))?")
DEFAULT_CONFIG_FILE = re.compile(r"^ *-f FILE\s.*\((?P<path>/[^)]*)\)$", re.MULTILINE)
# The kernel appends this to the path of a running program whose file was replaced or removed.
DELETED = " (deleted)"
CAP_SYS_TIME = 25
CLOCK_BOOTTIME = 7  # Python 3.6 has the call but not the name.
LOG_LINES = 500


class LogLine(NamedTuple):
    """A log line of the running chronyd."""

    age_seconds: float
    text: str


def find_program(name: str) -> Optional[str]:
    """Return the path of a program, also if the PATH of the connection lacks the sbin folders; None without one."""
    for folder in filter(None, [*os.environ.get("PATH", "").split(":"), *PROGRAM_FOLDERS]):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def find_chronyd() -> Optional[str]:
    """Return the path of the chronyd that the distributions' units start, or else of any chronyd."""
    return next((path for path in CHRONYD if os.access(path, os.X_OK)), None) or find_program("chronyd")


def run_together(commands: Dict[str, List[str]], timeout: float) -> Dict[str, str]:
    """Run programs in parallel and return the output of each: empty if it cannot run or exceeds timeout (seconds)."""
    deadline = time.monotonic() + timeout
    running = {}
    for name, command in commands.items():
        with contextlib.suppress(OSError):
            running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(os.environ, LC_ALL="C"),
            )
    outputs = dict.fromkeys(commands, "")
    for name, process in running.items():
        with contextlib.suppress(subprocess.TimeoutExpired):
            output = process.communicate(timeout=max(0.0, deadline - time.monotonic()))[0]
            outputs[name] = output.decode(errors="replace")
        if process.returncode is None:
            process.kill()
            process.communicate()
    return outputs


def survey(timeout: float, packages: Sequence[str] = (), run: Optional[Run] = None, brief: bool = False) -> Row:
    """Return the facts that need no query of the daemon, in the shape of the facts.

    run replaces run_together(). With brief, facts that cost time and that the verdict does not read are None.
    """
    # Long: it builds one nested document of all facts of the host, which is read as a whole.
    programs = {name: find_program(name) for name in ("chronyc", "systemctl")}
    programs["chronyd"] = find_chronyd()
    commands = {}  # type: Dict[str, List[str]]
    if programs["chronyd"]:
        commands["chronyd"] = [programs["chronyd"], "-v"]
        commands["usage"] = [programs["chronyd"], "--help"]
    if programs["chronyc"]:
        commands["chronyc"] = [programs["chronyc"], "-v"]
    if programs["systemctl"]:
        units_asked = (*UNITS, *RIVALS, WAIT_UNIT)
        commands["systemctl"] = [programs["systemctl"], "show", f"--property={UNIT_PROPERTIES}", *units_asked]
    system = read_os_release(next(filter(None, map(read_file, OS_RELEASE)), ""))
    has_rpm = uses_rpm({system["id"], *system["like"]})
    if packages:
        commands["packages"] = [*(RPM_QUERY if has_rpm else DPKG_QUERY), *packages]
    command_names = ("chronyd", "usage", "chronyc", "systemctl", "packages")
    outputs = dict(dict.fromkeys(command_names, ""), **(run or run_together)(commands, timeout))
    units = read_units(outputs["systemctl"])
    unit = next((units[name] for name in UNITS if name in units), None)
    config_file = DEFAULT_CONFIG_FILE.search(outputs["usage"])
    daemon = {"path": programs["chronyd"]}  # type: Row
    daemon.update(read_version(outputs["chronyd"]))
    pid = find_daemon(unit["main_pid"] if unit else 0)
    daemon.update(process_facts(pid, config_file and config_file.group("path")))
    client = read_version(outputs["chronyc"])
    drop_ins = find_drop_ins()
    return {
        "installed": bool(programs["chronyd"]),
        "client": {"path": programs["chronyc"], "version": client["version"]},
        "daemon": daemon,
        "unit": unit and {name: value for name, value in unit.items() if name != "main_pid"},
        "environment": {
            "os": system,
            "service_manager": "systemd" if os.path.isdir("/run/systemd/system") else None,
            "package_manager": package_manager(has_rpm),
            "packages": read_packages(outputs["packages"], packages) if packages else None,
            "own_ca": None if brief else own_ca(),
            "selinux": os.path.exists("/sys/fs/selinux/enforce"),
            "python": sys.executable,
            "container": container(),
            "cap_sys_time": has_cap_sys_time(),
            "clock": {
                "time": round(time.time(), 2),
                "timesyncd_synchronised": os.path.exists(TIMESYNCD_SYNCHRONISED),
            },
            "drop_ins": drop_ins,
            "drop_in_sources": {path: read_sources(read_file(path)) for path in drop_ins if os.path.isfile(path)},
            "distribution_files": [path for path in DISTRIBUTION_FILES if os.path.exists(path)],
            "dhcp": {
                "helper": os.path.exists(CHRONY_HELPER),
                "peerntp": read_peerntp(read_file(NETWORK_SETTINGS)),
            },
            "fips": read_file("/proc/sys/crypto/fips_enabled").strip() == "1",
            "rivals": [
                {
                    "unit": name,
                    "load_state": rival["load_state"],
                    "active_state": rival["active_state"],
                    "unit_file_state": rival["unit_file_state"],
                }
                for name, rival in units.items()
                if name in RIVALS
            ],
            "chrony_wait": units[WAIT_UNIT]["unit_file_state"] if WAIT_UNIT in units else None,
            "daemon_options": daemon_options(outputs["systemctl"], unit["name"]) if unit else None,
            "clock_setters": None,
            "server_files": None if brief else server_files(),
            "firewall_rules": None if brief else firewalls_with_rules(),
        },
    }


def find_drop_ins(root: str = "/") -> List[str]:
    """Return the files in the drop-in directories of every platform, which the role does not write."""
    return sorted(path for pattern in DROP_INS for path in glob.glob(os.path.join(root, pattern)))


def read_sources(text: str) -> List[str]:
    """Return the addresses of the sources in a drop-in, in the order of its lines."""
    return [found.group("address") for found in SOURCE_LINE.finditer(text)]


def read_peerntp(text: str) -> bool:
    """Return whether /etc/sysconfig/network lets DHCP's servers reach chronyd; PEERNTP=no forbids it."""
    values = [found.group("value") for found in PEERNTP.finditer(text)]
    return not values or values[-1] != "no"


def own_ca(folder: str = CA_FOLDER) -> Row:
    """Return the fingerprints of the role's root CAs that the host trusts, and whether the host has an issuing CA."""
    return {
        "trusted": marked_roots(read_file(f"{folder}/trusted.pem")),
        "issues": glob.glob(f"{folder}/staging/*/ownca/issuing.pem") != [],
    }


def read_os_release(text: str) -> Row:
    """Return the identifier, the related identifiers (ID_LIKE), the name and the version of os-release(5)."""
    given = {}
    for line in text.splitlines():
        name, _equals, value = line.partition("=")
        with contextlib.suppress(ValueError):
            given[name.strip()] = "".join(shlex.split(value, comments=True))
    return {
        "id": given.get("ID") or "linux",
        "like": given.get("ID_LIKE", "").split(),
        "name": given.get("NAME") or None,
        "version": given.get("VERSION_ID") or None,
    }


def uses_rpm(families: Set[str]) -> bool:
    """Return whether the host uses rpm packages. In an unknown family, it does if it has rpm and no dpkg-query."""
    if families & (RPM_FAMILIES | DEB_FAMILIES):
        return bool(families & RPM_FAMILIES)
    return bool(find_program("rpm")) and not find_program("dpkg-query")


def package_manager(has_rpm: bool) -> Optional[str]:
    """Return the name of Ansible's module for the host's package manager."""
    if not has_rpm:
        return "apt" if find_program("apt-get") else None
    if find_program("zypper"):
        return "zypper"
    dnf = find_program("dnf")
    return dnf and ("dnf5" if os.path.basename(os.path.realpath(dnf)) == "dnf5" else "dnf")


def read_packages(text: str, names: Sequence[str]) -> Dict[str, Optional[str]]:
    """Return the version of each package from the output of dpkg-query or rpm; None if it is not wholly installed."""
    rows = (line.split(" ") for line in text.splitlines())
    versions = {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}
    return {name: versions.get(name) for name in names}


def read_version(text: str) -> Row:
    """Return version and features from the output of `chronyd -v` or `chronyc -v`."""
    match = VERSION.search(text)
    if not match:
        return {"version": None, "features": {}}
    features = (match.group("features") or "").split()
    return {
        "version": match.group("version"),
        "features": {feature[1:]: feature[0] == "+" for feature in features if feature[0] in "+-"},
    }


def read_units(text: str) -> Dict[str, Row]:
    """Return the existing units by name from the output of `systemctl show`: with masked units, without aliases."""
    units = {}
    for block in text.split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if shown.get("LoadState", "not-found") != "not-found":
            units[shown["Id"]] = {
                "name": shown["Id"],
                "load_state": shown["LoadState"],
                "active_state": shown.get("ActiveState"),
                "unit_file_state": shown.get("UnitFileState") or None,
                # systemd shows a condition that it never checked as not met, too.
                "skipped": shown.get("ConditionResult") == "no"
                and shown.get("ConditionTimestampMonotonic", "0") != "0",
                "main_pid": int(shown.get("MainPID", "0")),
            }
    return units


def daemon_options(shown: str, name: str) -> Optional[Row]:
    """Return chronyd's options from the output of `systemctl show`, without the role's own; None for a masked unit.

    The options are the words of each variable in the unit's command line.
    """
    block = next((block for block in shown.split("\n\n") if f"Id={name}" in block.splitlines()), "")
    pairs = [line.partition("=") for line in block.splitlines()]
    commands = [value for key, _equals, value in pairs if key == "ExecStart"]
    if not commands:
        return None
    environment = " ".join(value for key, _equals, value in pairs if key == "Environment")
    paths = [value.rpartition(" (")[0] or value for key, _equals, value in pairs if key == "EnvironmentFiles"]
    variables = of_unit(commands, environment, [(path, read_file(path)) for path in paths])
    return {"files": paths, "variables": variables}


def read_file(path: str) -> str:
    """Return the text of a small file; empty if it is unreadable."""
    # Avoid pathlib: its import takes a twentieth of a run of the monitor.
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def find_daemon(main_pid: int, everywhere: bool = False) -> Optional[int]:
    """Return the process ID of chronyd: from systemd, its PID file, or (everywhere) all processes; None without one."""
    candidates = [str(main_pid)] if main_pid else []
    candidates += [read_file(path).strip() for path in PID_FILES]
    if everywhere:
        candidates += os.listdir("/proc")
    for candidate in candidates:
        if candidate.isdigit() and _is_daemon(candidate):
            return int(candidate)
    return None


def _is_daemon(pid: str) -> bool:
    """Return whether a process is a chronyd of this host.

    A chronyd of a container has another network namespace, and a helper of chronyd has chronyd as its parent.
    """
    if read_file(f"/proc/{pid}/comm").strip() != "chronyd":
        return False
    try:
        if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
            return False
    except OSError:
        pass  # An ordinary user may not read the namespace, so that only the parent counts.
    parent = status_of(pid).get("PPid", "0")
    return read_file(f"/proc/{parent}/comm").strip() != "chronyd"


def status_of(pid: str) -> Dict[str, str]:
    """Return the fields of /proc/PID/status; empty without such a process."""
    lines = read_file(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _colon, value in (line.partition(":") for line in lines)}


def process_facts(pid: Optional[int], config_file: Optional[str]) -> Row:
    """Return the daemon's facts from /proc."""
    facts = {
        "pid": pid,
        "unit": None,
        "uptime_seconds": None,
        "started": None,
        "user": None,
        "arguments": None,
        "config_file": config_file,
        "clock_control": None,
        "replaced": None,
    }  # type: Row
    arguments = read_file(f"/proc/{pid}/cmdline").split("\0")[:-1]
    statistics = read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not pid or not arguments or not statistics:
        return dict(facts, pid=None)
    facts["unit"] = unit_of(pid)
    facts["arguments"] = arguments
    facts.update(read_options(arguments))
    facts["config_file"] = facts["config_file"] or config_file
    # Field 22 of stat (here the 20th after the name) is the start time, in clock ticks since the boot.
    uptime = time.clock_gettime(CLOCK_BOOTTIME) - int(statistics[19]) / os.sysconf("SC_CLK_TCK")
    facts["uptime_seconds"] = round(uptime, 2)
    facts["started"] = round(time.time() - uptime, 2)
    facts["replaced"] = is_replaced(pid)
    effective = status_of(str(pid)).get("Uid", "").split()[1:2]
    if effective:
        try:
            facts["user"] = pwd.getpwuid(int(effective[0])).pw_name
        except KeyError:
            facts["user"] = effective[0]
    return facts


def is_replaced(pid: int) -> Optional[bool]:
    """Return whether the program file of a process was replaced or removed since its start; None if unreadable."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(DELETED)
    except OSError:
        return None


def unit_of(pid: int) -> Optional[str]:
    """Return the systemd unit of a process from its control group, or None."""
    found = UNIT_OF_GROUP.search(read_file(f"/proc/{pid}/cgroup"))
    return found and found.group("unit")


def read_options(arguments: List[str]) -> Row:
    """Return clock control and configuration file from chronyd's command line; None for both at an unknown option."""
    given = dict(short_options(arguments[1:], WITH_ARGUMENT))
    if not KNOWN.issuperset(filter(None, given)):
        return {"clock_control": None, "config_file": None}
    return {"clock_control": "x" not in given, "config_file": given.get("f")}


def directives_of(arguments: List[str]) -> List[str]:
    """Return the directives on chronyd's command line. With any of them, chronyd reads no configuration file."""
    return [word for letter, word in short_options(arguments[1:], WITH_ARGUMENT) if not letter and word]


def container() -> Optional[str]:
    """Return the kind of this container in systemd's words; None outside of containers."""
    named = read_file("/run/systemd/container").strip()
    if not named:
        for variable in read_file("/proc/1/environ").split("\0"):
            if variable.startswith("container="):
                named = variable.partition("=")[2]
    if not named:
        markers = (("podman", "/run/.containerenv"), ("docker", "/.dockerenv"))
        named = next((kind for kind, path in markers if os.path.exists(path)), "")
    return named or None


def has_cap_sys_time() -> Optional[bool]:
    """Return whether a service of this host can have CAP_SYS_TIME; None if unknown.

    The bounding set of process 1 decides, or of this process if that one is unreadable.
    """
    for process in ("1", "self"):
        bounding = status_of(process).get("CapBnd")
        if bounding:
            return bool(int(bounding, 16) >> CAP_SYS_TIME & 1)
    return None


def log_lines(pid: int, uptime_seconds: float, timeout: float) -> Optional[List[LogLine]]:
    """Return the last log lines of the running daemon, or None if the journal is unreadable."""
    journalctl = find_program("journalctl")
    boot = read_file("/proc/sys/kernel/random/boot_id").strip().replace("-", "")
    if not journalctl or not boot:
        return None
    command = [
        journalctl,
        "--quiet",
        "--no-pager",
        "--output=json",
        f"--lines={LOG_LINES}",
        f"_PID={pid}",
        f"_BOOT_ID={boot}",
    ]
    output = run_together({"journal": command}, timeout)["journal"]
    # The daemon logs its start, so an empty output means that this user may not read the journal.
    return list(read_journal(output.splitlines(), uptime_seconds)) or None


def read_journal(lines: Iterable[str], uptime_seconds: float) -> Iterable[LogLine]:
    """Yield the lines of `journalctl --output=json`, without those of an earlier process with the same ID.

    The age of a line comes from the monotonic clock, because the host's clock may be wrong.
    """
    now = time.monotonic()
    for line in lines:
        entry = json.loads(line)
        age = now - int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        if isinstance(entry.get("MESSAGE"), str) and age <= uptime_seconds + 1.0:
            yield LogLine(age, entry["MESSAGE"])
