# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A systemd unit: its state, its restart, and what it logs."""

from typing import Dict, List

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError

# What a unit lets its service reach, and where systemd looks for the process.
SANDBOX = (
    "Type,PIDFile,ProtectSystem,ProtectHome,PrivateTmp,ReadWritePaths,ReadOnlyPaths,InaccessiblePaths"
    ",RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory"
)


class Unit:
    """A systemd unit as `systemctl show` describes it."""

    def __init__(self, host: System, name: str):
        self.host = host
        self.name = name
        self.cursor = ""

    def show(self) -> Dict[str, str]:
        """Return these properties of the unit, those that it has."""
        wanted = "LoadState,ActiveState,UnitFileState,ConditionResult,NeedDaemonReload,MainPID"
        done = self.host.run(["systemctl", "show", "--property", f"{wanted},{SANDBOX}", self.name])
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def restart(self) -> None:
        """Start the service anew, and remember where its log begins."""
        self.host.run(["systemctl", "reset-failed", self.name])
        marked = self.host.run(["journalctl", "--quiet", "--lines=0", "--show-cursor"]).stdout
        self.cursor = marked.rpartition("cursor: ")[2].strip()
        must(self.host, ["systemctl", "restart", self.name])

    def log(self) -> List[str]:
        """Return what chronyd logged since restart(), or else what systemd did about it, at most 40 lines.

        By name, because the journal does not know the unit of a process that ended as soon as it had logged; by cursor
        and not by time, because a failed start and the next one may share a second, and chronyd may step the clock at
        its start. A journal without a cursor was empty.
        """
        self.host.run(["journalctl", "--sync"])
        since = [f"--after-cursor={self.cursor}"] if self.cursor else []
        options = ["--output=cat", "--quiet", "--no-pager", "--lines=40", *since]
        return (
            self.host.run(["journalctl", *options, "SYSLOG_IDENTIFIER=chronyd"]).stdout
            or self.host.run(["journalctl", *options, f"--unit={self.name}"]).stdout
        ).splitlines()


def read_options(pid: str) -> List[str]:
    """Return the words behind the name of a running program; none where it does not run."""
    try:
        with open(f"/proc/{int(pid)}/cmdline", "rb") as file:
            return [word.decode("utf-8", "replace") for word in file.read().split(b"\0")[1:]]
    except (OSError, ValueError):
        return []


def must(host: System, argv: List[str]) -> None:
    """Run a program, or raise TransactionError with the first line that it printed."""
    done = host.run(argv)
    if done.status != 0:
        first_line = (done.stderr or done.stdout).partition("\n")[0]
        raise TransactionError(f"`{' '.join(argv)}` failed: {first_line}")
