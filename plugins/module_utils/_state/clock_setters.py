# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Other programs that may set the host's clock: time daemons, PTP, hypervisor tools.

The search goes by processes, because units of PTP are templates and a container's daemon has no unit. All functions
only read.
"""

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._state.host import (
    CAP_SYS_TIME,
    find_program,
    has_cap_sys_time,
    read_file,
    run_together,
    status_of,
    unit_of,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.options import WITH_ARGUMENT, short_options

Row = Dict[str, Any]

# The options of linuxptp 3.1 to 4.4 that take an argument.
PHC2SYS_ARGUMENTS = "cdEfFiIlLMnNOPRsStuz"
PTP4L_ARGUMENTS = "fipl"
# Servos that pass the time to another program, or discard it.
FEEDING_SERVOS = ("ntpshm", "refclock_sock", "nullf")


class Setter(NamedTuple):
    """Whether a process sets the clock by itself, and the reason with its remedy."""

    sets_clock: bool
    why: str


Judge = Callable[[Sequence[str], float], Optional[Setter]]


def clock_setters(own_pid: Optional[int], timeout: float) -> List[Row]:
    """Return the processes, other than own_pid, that may set the clock.

    Such a process needs CAP_SYS_TIME in the user namespace of the host. The search reads one file for each process.
    """
    if has_cap_sys_time() is False:
        return []
    rows = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        name = _name_of(pid)
        if name in PROCESSES and int(pid) != own_pid and _may_set_clock(pid):
            arguments = read_file(f"/proc/{pid}/cmdline").split("\0")[:-1]
            found = PROCESSES[name](arguments[1:], timeout)
            if found:
                unit = unit_of(int(pid))
                rows.append({"process": name, "pid": int(pid), "unit": unit, **found._asdict()})
    return sorted(rows, key=lambda row: (row["process"], row["pid"]))


def _name_of(pid: str) -> str:
    """Return the first 15 characters of the name of a process; empty if unreadable.

    A host has many processes, and this is twice as fast as read_file().
    """
    try:
        descriptor = os.open(f"/proc/{pid}/comm", os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 16).decode(errors="replace").rstrip("\n")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _may_set_clock(pid: str) -> bool:
    """Return whether a process has CAP_SYS_TIME on the host, and is no helper of a process of the same name."""
    status = status_of(pid)
    if not int(status.get("CapEff", "0"), 16) >> CAP_SYS_TIME & 1:
        return False
    try:
        if os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"):
            return False
    except OSError:
        pass  # An ordinary user may not read the namespace.
    return status.get("Name") != status_of(status.get("PPid", "0")).get("Name")


def _chronyd(arguments: Sequence[str], _timeout: float) -> Optional[Setter]:
    letters = {letter for letter, _value in short_options(arguments, WITH_ARGUMENT)}
    if letters & {"x", "Q", "p"}:
        return None
    return Setter(True, "it is another chronyd. Stop it, or start it with -x")


def _ntp(_arguments: Sequence[str], _timeout: float) -> Optional[Setter]:
    return Setter(True, "it follows servers of its own. Stop it, and mask its unit")


def _phc2sys(arguments: Sequence[str], _timeout: float) -> Optional[Setter]:
    given = dict(short_options(arguments, PHC2SYS_ARGUMENTS))
    config = _linuxptp_config(given.get("f"))
    target = "r" in given if "a" in given else given.get("c") in (None, "CLOCK_REALTIME")
    if not target or (given.get("E") or config.get("clock_servo")) in FEEDING_SERVOS:
        return None
    return Setter(True, "it follows a PTP clock. Let it feed a refclock of chronyd (-E ntpshm), or stop it")


def _ptp4l(arguments: Sequence[str], _timeout: float) -> Optional[Setter]:
    given = dict(short_options(arguments, PTP4L_ARGUMENTS))
    config = _linuxptp_config(given.get("f"))
    # With hardware timestamps, ptp4l sets only the clock of the network interface.
    in_software = "S" in given or (config.get("time_stamping") == "software" and "H" not in given)
    others = config.get("clock_servo") in FEEDING_SERVOS or config.get("free_running") == "1"
    if not in_software or others or "1" in (config.get("serverOnly"), config.get("masterOnly")):
        return None
    return Setter(True, "it follows PTP with software timestamps. Set free_running or clock_servo ntpshm, or stop it")


def _linuxptp_config(path: Optional[str]) -> Dict[str, str]:
    words = [line.split() for line in read_file(path).splitlines()] if path else []
    return {pair[0]: pair[1] for pair in words if len(pair) == 2}


def _vmware(_arguments: Sequence[str], timeout: float) -> Optional[Setter]:
    program = find_program("vmware-toolbox-cmd")
    commands = {"status": [program, "timesync", "status"]} if program else {}
    if run_together(commands, timeout).get("status", "").startswith("Enabled"):
        return Setter(True, "VMware's time synchronisation is on. Run `vmware-toolbox-cmd timesync disable`")
    return Setter(False, "it sets the clock where the hypervisor asks for that, as after a suspension")


def _virtualbox(arguments: Sequence[str], _timeout: float) -> Optional[Setter]:
    if "--disable-timesync" in arguments:
        return None
    return Setter(True, "it follows the clock of VirtualBox's host. Start it with --disable-timesync")


def _on_request(_arguments: Sequence[str], _timeout: float) -> Optional[Setter]:
    return Setter(False, "it sets the clock where the hypervisor asks for that, as after a suspension")


# Programs that may set the clock, by the first 15 characters of their names, which the kernel keeps.
PROCESSES = {
    "chronyd": _chronyd,
    "htpdate": _ntp,
    "ntp-daemon": _ntp,
    "ntpd": _ntp,
    "ptpd": _ntp,
    "ptpd2": _ntp,
    "sfptpd": _ntp,
    "systemd-timesyn": _ntp,
    "tlsdated": _ntp,
    "phc2sys": _phc2sys,
    "ptp4l": _ptp4l,
    "vmtoolsd": _vmware,
    "VBoxService": _virtualbox,
    "google_guest_ag": _on_request,
    "qemu-ga": _on_request,
}  # type: Dict[str, Judge]
