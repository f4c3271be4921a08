# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Watch whether chronyd starts, stays active, and works."""

import re
import socket
import time
from typing import List, NamedTuple, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit, read_options

# After this line chronyd keeps running, but serves no NTS.
FATAL_LOG_LINES = re.compile(r"Could not set credentials : .*")
# chronyd opens a socket for each family, and works if it has one of them (ntp_io.c, nts_ke_server.c: open_socket).
SOCKET_LOG_LINE = re.compile(
    r"Could not open (?P<service>NTP|NTS-KE) socket on (?P<bracket>\[)?[0-9a-fA-F:.]+\]?:(?P<port>\d+)"
)
FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
# Options that restrict chronyd to one family.
FAMILY_OPTIONS = {"-4": "IPv4", "-6": "IPv6"}


def watch(host: System, unit: Unit, options: Options) -> List[str]:
    """Wait until the unit is active and chronyd answers, then check that it stays active for the settle time.

    Raise TransactionError if that fails, if chronyd cannot load its certificates, or if it can open a port in no
    family. Return a warning for each port that is open in one family only.
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
    line = fatal_line(log, enabled_families(read_options(state.get("MainPID", ""))))
    if line:
        raise TransactionError(f"chronyd runs but cannot do its work ({line})")
    possible = kernel_families()
    return [
        f"chronyd runs without a socket of {each.family} ({each.line}). Check whether another program uses the port"
        f" (ss -lntup), or whether a directive or the unit {unit.name} keeps {each.family} from chronyd."
        for each in closed_sockets(log)
        if each.family in possible
    ]


def _answers(host: System) -> bool:
    """Return whether chronyd answers chronyc; raise TransactionError if chronyc cannot be run."""
    done = host.run(["chronyc", "-n", "activity"])
    if done.status == files.NOT_RUN:
        raise TransactionError(f"chronyc cannot be run ({done.stderr.strip()}): reinstall the package chrony")
    return done.status == 0


class ClosedSocket(NamedTuple):
    """A socket that chronyd could not open, and the line of its log."""

    line: str
    family: str
    # The service and its port.
    purpose: Tuple[str, str]


def closed_sockets(log: Sequence[str]) -> List[ClosedSocket]:
    """Parse chronyd's log; return the sockets that chronyd could not open."""
    found = [(line.strip(), SOCKET_LOG_LINE.search(line)) for line in log]
    return [
        ClosedSocket(line, "IPv6" if match["bracket"] else "IPv4", (match["service"], match["port"]))
        for line, match in found
        if match
    ]


def fatal_line(log: Sequence[str], families: Sequence[str] = tuple(FAMILIES)) -> str:
    """Return the line of chronyd's log that shows why chronyd cannot work; an empty string if it works.

    `families` are those in which chronyd opens sockets. A service works if its socket of one family is open.
    """
    for line in log:
        if FATAL_LOG_LINES.search(line):
            return line.strip()
    closed = closed_sockets(log)
    for each in closed:
        if set(families) <= {other.family for other in closed if other.purpose == each.purpose}:
            return each.line
    return ""


def enabled_families(options: Sequence[str]) -> List[str]:
    """Return the families that chronyd uses with these options."""
    return [name for name in FAMILIES if all(FAMILY_OPTIONS.get(option, name) == name for option in options)]


def kernel_families() -> List[str]:
    """Return the families that the kernel of this host supports."""
    return [name for name, family in FAMILIES.items() if _has_sockets(family)]


def _has_sockets(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
