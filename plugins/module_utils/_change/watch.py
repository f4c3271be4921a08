# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Watch whether chronyd comes up, stays, and can do its work."""

import re
import socket
import time
from typing import List, NamedTuple, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit, read_options

# chronyd stays up with this, and serves no NTS.
FATAL_LOG_LINES = re.compile(r"Could not set credentials : .*")
# chronyd has a socket of each family, and works as long as one is left (ntp_io.c, nts_ke_server.c: open_socket).
SOCKET_LOG_LINE = re.compile(
    r"Could not open (?P<service>NTP|NTS-KE) socket on (?P<bracket>\[)?[0-9a-fA-F:.]+\]?:(?P<port>\d+)"
)
FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
# Options of chronyd that leave it one family.
ONLY = {"-4": "IPv4", "-6": "IPv6"}


def watch(host: System, unit: Unit, options: Options) -> List[str]:
    """Return when the unit is active, chronyd answers, and it has stayed so; else raise TransactionError.

    A daemon that runs but could not load its certificates, or open a port in any family, counts as not come up. Return
    a warning for each port that it has in one family alone.
    """
    deadline = time.monotonic() + options.start_timeout
    pause = 0.05
    while True:
        state = unit.show()
        if state.get("ConditionResult") == "no" and state.get("ActiveState") == "inactive":
            raise TransactionError(
                f"systemd skipped {unit.name}, because a condition of the unit is not met; see systemctl status"
            )
        if state.get("ActiveState") == "failed":
            raise TransactionError(f"{unit.name} failed to start")
        if state.get("ActiveState") == "active" and _answers(host):
            break
        if time.monotonic() > deadline:
            raise TransactionError(f"{unit.name} did not come up within {options.start_timeout:g} seconds")
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
    settled = time.monotonic() + options.settle_time
    while time.monotonic() < settled:
        now = unit.show()
        if (now.get("ActiveState"), now.get("MainPID")) != ("active", state.get("MainPID")):
            raise TransactionError(f"{unit.name} came up and ended again within {options.settle_time:g} seconds")
        time.sleep(0.25)
    log = unit.log()
    line = fatal_line(log, left_families(read_options(state.get("MainPID", ""))))
    if line:
        raise TransactionError(f"chronyd runs but cannot do its work ({line})")
    possible = families_of_the_kernel()
    return [
        f"chronyd runs without a socket of {each.family} ({each.line}). See whether another program has the port"
        f" (ss -lntup), or a directive or the unit {unit.name} keeps {each.family} from it."
        for each in closed_sockets(log)
        if each.family in possible
    ]


def _answers(host: System) -> bool:
    """Say whether chronyd answers chronyc; raise TransactionError where chronyc cannot be run."""
    done = host.run(["chronyc", "-n", "activity"])
    if done.status == files.NOT_RUN:
        raise TransactionError(f"chronyc cannot be run ({done.stderr.strip()}): reinstall the package chrony")
    return done.status == 0


class ClosedSocket(NamedTuple):
    """A line of chronyd's log about a socket that it could not open."""

    line: str
    family: str
    # What it is for, and its port.
    purpose: Tuple[str, str]


def closed_sockets(log: Sequence[str]) -> List[ClosedSocket]:
    """Return the sockets that chronyd could not open, by its log."""
    found = [(line.strip(), SOCKET_LOG_LINE.search(line)) for line in log]
    return [
        ClosedSocket(line, "IPv6" if match["bracket"] else "IPv4", (match["service"], match["port"]))
        for line, match in found
        if match
    ]


def fatal_line(log: Sequence[str], families: Sequence[str] = tuple(FAMILIES)) -> str:
    """Return the line of chronyd's log after which it does not do its work, empty where it does.

    families are those in which chronyd opens sockets: as long as it has one of them, it works.
    """
    for line in log:
        if FATAL_LOG_LINES.search(line):
            return line.strip()
    closed = closed_sockets(log)
    for each in closed:
        if set(families) <= {other.family for other in closed if other.purpose == each.purpose}:
            return each.line
    return ""


def left_families(options: Sequence[str]) -> List[str]:
    """Return the families that the options leave to chronyd."""
    return [name for name in FAMILIES if all(ONLY.get(option, name) == name for option in options)]


def families_of_the_kernel() -> List[str]:
    """Return the families of which this host has sockets."""
    return [name for name, family in FAMILIES.items() if _has_sockets(family)]


def _has_sockets(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
