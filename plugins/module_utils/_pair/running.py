# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Let a change restart a running chronyd, but neither start nor enable it.

A renewal takes minutes. An administrator, or the playbook securetime.nts.restore, can stop chronyd during that time.
"""

from typing import List

from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import END, Unit

# A restart would start a unit that is inactive for systemd.
LOST = (
    "systemd has lost the running chronyd, and nts-certificate does not restart it: run the playbook"
    " securetime.nts.site."
)


class RunningOnly:
    """Run the commands of a change on a host, but refuse those that start a stopped unit, enable it or end its process.

    Give `system` to the change as its host. `refused` is the reason of the last refusal; empty without one.
    """

    def __init__(self, host: System, service: str) -> None:
        self.host = host
        self.service = service
        self.system = System(self.run, host.label, host.state)
        self.is_on = False
        self.has_restarted = False
        self.has_failed = False
        self.refused = ""

    def run(self, argv: List[str]) -> CommandResult:
        """Run a program; return a failure instead where it would start or enable the unit."""
        argv = list(argv)
        if self.is_on and argv[: len(END)] == END:
            return self.refuse(LOST)
        if not self.is_on or argv[0] != "systemctl" or argv[-1] != self.service:
            return self.host.run(argv)
        if argv[1] == "reset-failed":
            # reset-failed leaves the unit inactive, like a stopped one, so remember the failure.
            self.has_failed = self.has_failed or self.state() == "failed"
        if argv[1] == "enable":
            return self.refuse(f"{self.service} is disabled, and nts-certificate does not enable it")
        if argv[1] != "restart":
            return self.host.run(argv)
        state = self.state()
        if not self.has_restarted:
            if state not in ("active", "reloading"):
                return self.refuse(f"{self.service} is {state}, and nts-certificate does not start it")
            self.has_restarted, self.has_failed = True, False
            # try-restart does not start a unit that stops at this moment.
            return self.host.run(["systemctl", "try-restart", self.service])
        # The second restart is the rollback: it starts a unit that failed with the new pair, but no stopped one.
        if state == "inactive" and not self.has_failed:
            return self.refuse(f"{self.service} was stopped, and nts-certificate does not start it")
        return self.host.run(argv)

    def state(self) -> str:
        """Return the ActiveState of the unit."""
        return Unit(self.host, self.service).show().get("ActiveState") or "not found"

    def refuse(self, reason: str) -> CommandResult:
        """Record the reason and return the result of a refused command."""
        self.refused = reason
        return CommandResult(1, "", reason)
