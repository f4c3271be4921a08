# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A systemd unit: its state, its restart, and its log."""

from typing import Dict, List

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError

# Properties that restrict the paths of a service, and those by which systemd finds its process.
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
        """Return the properties of the unit that `systemctl show` prints."""
        wanted = "LoadState,ActiveState,UnitFileState,ConditionResult,NeedDaemonReload,MainPID"
        done = self.host.run(["systemctl", "show", "--property", f"{wanted},{SANDBOX}", self.name])
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def restart(self) -> None:
        """Restart the service, and keep the journal cursor from before the restart."""
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
