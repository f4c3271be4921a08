# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Rivals: the time daemons that chronyd replaces.

A change stops them before chronyd starts, because two daemons cannot bind UDP port 123. It disables and masks them only
once chronyd works. Until then a reboot or a rollback starts them again, so no failure leaves a host without a time
daemon.
"""

from typing import Any, Dict, List, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit, run_checked

Row = Dict[str, Any]


def read_states(host: System, units: Sequence[str]) -> List[Row]:
    """Return a row for each unit: its name, whether it is active, and whether it is enabled."""
    rows = []
    for name in units:
        state = Unit(host, name).show()
        enabled = state.get("UnitFileState", "").startswith("enabled")
        rows.append({"unit": name, "active": state.get("ActiveState") == "active", "enabled": enabled})
    return rows


def stop(host: System, rows: Sequence[Row]) -> None:
    """Stop the units; raise TransactionError if that fails."""
    run_checked(host, ["systemctl", "stop", *(row["unit"] for row in rows)])


def mask(host: System, rows: Sequence[Row]) -> None:
    """Disable and mask the units; raise TransactionError if that fails."""
    names = [row["unit"] for row in rows]
    run_checked(host, ["systemctl", "disable", *names])
    run_checked(host, ["systemctl", "mask", *names])


def bring_back(host: System, rows: Sequence[Row]) -> None:
    """Restore the state of the units as of read_states(); ignore failures."""
    for row in rows:
        host.run(["systemctl", "unmask", row["unit"]])
        if row["enabled"]:
            host.run(["systemctl", "enable", row["unit"]])
        if row["active"]:
            host.run(["systemctl", "start", row["unit"]])
