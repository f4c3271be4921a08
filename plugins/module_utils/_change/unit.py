# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A systemd unit: its state, its restart, and its log."""

import time
from typing import Dict, List, Mapping, NamedTuple

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_daemon, unit_of

# Properties that restrict the paths of a service, and those by which systemd finds its process.
SANDBOX = (
    "Type,PIDFile,ProtectSystem,ProtectHome,PrivateTmp,ReadWritePaths,ReadOnlyPaths,InaccessiblePaths"
    ",RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory"
)
# ActiveState of a unit that has no process, as far as systemd knows.
IDLE = ("inactive", "failed")
# Key in the state of a unit: the process ID of a chronyd in its control group that systemd has lost. On Debian, systemd
# (252 and 257) loses a running service, in about every third boot, when the unit is disabled and enabled while another
# unit names its alias, as units of monitors do: chronyd.service is a unit of its own until the alias is back.
LOST_PID = "LostPID"
# Followed by a process ID. A minimal Debian has no program kill.
END = ["sh", "-c", 'kill "$0"']
# chronyd saves its state and ends within a second. systemd also waits this long (DefaultTimeoutStopSec).
END_TIMEOUT_SECONDS = 90


class Unit:
    """A systemd unit as `systemctl show` describes it."""

    def __init__(self, host: System, name: str):
        self.host = host
        self.name = name
        self.cursor = ""

    def show(self) -> Dict[str, str]:
        """Return properties of the unit from `systemctl show`, and LOST_PID where systemd has lost chronyd."""
        wanted = "Id,LoadState,ActiveState,UnitFileState,ConditionResult,NeedDaemonReload,MainPID"
        done = self.host.run(["systemctl", "show", "--property", f"{wanted},{SANDBOX}", self.name])
        state = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        pid = find_daemon(0, everywhere=True) if state.get("ActiveState") in IDLE else None
        return {**state, LOST_PID: str(pid)} if pid and unit_of(pid) == state.get("Id", "") else state

    def stop(self) -> None:
        """Stop the service, and its chronyd that systemd has lost."""
        run_checked(self.host, ["systemctl", "stop", self.name])
        self.end_lost()

    def end_lost(self) -> None:
        """End a chronyd that systemd has lost, because the next one fails while it runs.

        systemd would then kill both, and the host would have no time daemon.
        """
        pid = self.show().get(LOST_PID)
        if not pid:
            return
        deadline = time.monotonic() + END_TIMEOUT_SECONDS
        done = self.host.run([*END, pid])
        while find_daemon(int(pid)) == int(pid):
            if done.status != 0 or time.monotonic() > deadline:
                reason = done.stderr.strip() or f"it still runs after {END_TIMEOUT_SECONDS} seconds"
                raise TransactionError(f"systemd has lost chronyd (process {pid}), and it does not end: {reason}")
            time.sleep(0.05)

    def restart(self) -> None:
        """Restart the service, and keep the journal cursor from before the restart."""
        self.end_lost()
        self.host.run(["systemctl", "reset-failed", self.name])
        marked = self.host.run(["journalctl", "--quiet", "--lines=0", "--show-cursor"]).stdout
        self.cursor = marked.rpartition("cursor: ")[2].strip()
        run_checked(self.host, ["systemctl", "restart", self.name])

    def log(self) -> List[str]:
        """Return at most 40 lines that chronyd logged since restart(), or else those of its unit.

        Select by the identifier: the journal cannot attribute a process to a unit if it ends right after it logs.
        Select by cursor, not by time: a failed start and the next one may share a second, and chronyd may step the
        clock at its start. A journal without a cursor was empty before the restart.
        """
        self.host.run(["journalctl", "--sync"])
        since = [f"--after-cursor={self.cursor}"] if self.cursor else []
        options = ["--output=cat", "--quiet", "--no-pager", "--lines=40", *since]
        return (
            self.host.run(["journalctl", *options, "SYSLOG_IDENTIFIER=chronyd"]).stdout
            or self.host.run(["journalctl", *options, f"--unit={self.name}"]).stdout
        ).splitlines()


def runs(state: Mapping[str, str]) -> bool:
    """Return whether chronyd runs, from the state of its unit, even where systemd has lost it."""
    return state.get("ActiveState") == "active" or LOST_PID in state


class Timer(NamedTuple):
    """Whether a timer is enabled and active, and whether systemd must reload its unit or that of its service."""

    is_on: bool
    needs_reload: bool


def timer_of(host: System, timer: str, service: str) -> Timer:
    """Return the state of a timer. An interrupted run may have written the units without a reload."""
    show = ["systemctl", "show", "--property=ActiveState,UnitFileState,NeedDaemonReload"]
    state, of_service = (host.run([*show, unit]).stdout.split() for unit in (timer, service))
    is_on = "ActiveState=active" in state and "UnitFileState=enabled" in state
    return Timer(is_on=is_on, needs_reload="NeedDaemonReload=yes" in state + of_service)


def read_options(pid: str) -> List[str]:
    """Return the command-line arguments of a process; an empty list if it does not run."""
    try:
        with open(f"/proc/{int(pid)}/cmdline", "rb") as file:
            return [word.decode("utf-8", "replace") for word in file.read().split(b"\0")[1:]]
    except (OSError, ValueError):
        return []


def run_checked(host: System, argv: List[str]) -> None:
    """Run a program; if it fails, raise TransactionError with the first line of its output."""
    done = host.run(argv)
    if done.status != 0:
        first_line = (done.stderr or done.stdout).partition("\n")[0]
        raise TransactionError(f"`{' '.join(argv)}` failed: {first_line}")
