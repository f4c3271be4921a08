# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The limits of a server by the number of its clients.

docs/servers.md has the measurements (tests/bench/server_limits.py) that the numbers come from.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# chronyd's record of a client, and its timestamp for the interleaved mode (chrony.conf(5), clientloglimit).
BYTES_PER_CLIENT = 128
DEFAULT_LOG_BYTES, LARGEST_LOG_BYTES = 2**19, 2**31
# One process of the role's certificate (ECDSA P-256) makes several hundred key exchanges per second on a core.
CLIENTS_PER_PROCESS = 50_000
MOST_PROCESSES = 8
# Of each process. chronyd's 100 are held by a single host that opens connections and says nothing. Above half of
# FD_SETSIZE (512) chronyd accepts no more.
CONNECTIONS = 500
# Twice as many packets as a client with iburst sends at most, and thirty clients of minpoll 6 behind one address.
NTP_RATE = {"interval": 1, "burst": 16}
# Sixteen clients behind one address start at once. A TCP connection cannot be made from a forged address, so that no
# client is helped by what leaks.
NTSKE_RATE = {"interval": 3, "burst": 16, "leak": 4}
# chronyd's own default, which is off without the directive.
COMMAND_RATE = {"interval": -4}


def recommended(clients: int, given: Collection[str] = ()) -> dict[str, Any]:
    """Return the directives of a server for this number of clients; none for 0.

    given are the names of the operator's directives: commands are limited where they are allowed from other hosts.
    """
    if not clients:
        return {}
    # Twice the clients, because chronyd forgets one while other slots of its table are free. It rounds to a power of 2.
    records = 2 ** (2 * clients - 1).bit_length()
    limits: dict[str, Any] = {
        "clientloglimit": min(max(BYTES_PER_CLIENT * records, DEFAULT_LOG_BYTES), LARGEST_LOG_BYTES),
        "ratelimit": NTP_RATE,
        "ntsratelimit": NTSKE_RATE,
        "ntsprocesses": min(-(-clients // CLIENTS_PER_PROCESS), MOST_PROCESSES),
        "maxntsconnections": CONNECTIONS,
    }
    return {**limits, **({"cmdratelimit": COMMAND_RATE} if "cmdallow" in given else {})}
