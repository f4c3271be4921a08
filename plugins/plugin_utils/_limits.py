# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Size the limits of a server by the number of its clients.

The numbers come from measurements (tests/bench/server_limits.py), which docs/servers.md lists.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# Size of chronyd's record of a client with its timestamp for the interleaved mode (chrony.conf(5), clientloglimit).
BYTES_PER_CLIENT = 128
DEFAULT_LOG_BYTES, LARGEST_LOG_BYTES = 2**19, 2**31
# With the role's certificate (ECDSA P-256), one process makes several hundred key exchanges per second on a core.
CLIENTS_PER_PROCESS = 50_000
MOST_PROCESSES = 8
# For each process. A single host with idle connections exhausts chronyd's default of 100. chronyd accepts no more than
# half of FD_SETSIZE (512).
CONNECTIONS = 500
# Enough for twice the packets of a client with iburst, and for thirty clients with minpoll 6 behind one address.
NTP_RATE = {"interval": 1, "burst": 16}
# Sixteen clients behind one address can start at once. An attacker cannot open TCP connections from a forged address,
# so a larger leak would help no client.
NTSKE_RATE = {"interval": 3, "burst": 16, "leak": 4}
# chronyd's own default interval. Without the directive, the limit is off.
COMMAND_RATE = {"interval": -4}


def recommended(clients: int, given: Collection[str] = ()) -> dict[str, Any]:
    """Return the directives that limit a server with this number of clients; none for 0.

    given are the names of the operator's directives. Limit commands only if cmdallow permits them from other hosts.
    """
    if not clients:
        return {}
    # Twice the clients, because chronyd drops a record even while its table has free slots. It rounds to a power of 2.
    records = 2 ** (2 * clients - 1).bit_length()
    limits: dict[str, Any] = {
        "clientloglimit": min(max(BYTES_PER_CLIENT * records, DEFAULT_LOG_BYTES), LARGEST_LOG_BYTES),
        "ratelimit": NTP_RATE,
        "ntsratelimit": NTSKE_RATE,
        "ntsprocesses": min(-(-clients // CLIENTS_PER_PROCESS), MOST_PROCESSES),
        "maxntsconnections": CONNECTIONS,
    }
    return {**limits, **({"cmdratelimit": COMMAND_RATE} if "cmdallow" in given else {})}
