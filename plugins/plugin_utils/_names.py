# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. What chrony takes as an address, a host name and a subnet."""

from __future__ import annotations

import ipaddress
import re

LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def is_ip_address(value: object) -> bool:
    """Whether value is one IPv4 or IPv6 address, without a zone or a prefix length."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return "%" not in str(value)


def is_host_name(value: object) -> bool:
    """Whether value is a name that can be resolved: no port, no trailing dot, not half an address.

    That is a host name (RFC 1123) or one with underscores, which the DNS has, and which no certificate can be for.
    """
    labels = str(value).split(".")
    return len(str(value)) <= 253 and all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_subnet(value: object) -> bool:
    """Whether value is an address or ADDRESS/PREFIX of which no host bit is set."""
    try:
        ipaddress.ip_network(str(value))
    except ValueError:
        return False
    # chronyd takes neither a netmask nor a zone.
    return re.fullmatch(r"[^/%]+(/[0-9]+)?", str(value)) is not None
