# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Validate addresses, host names and subnets as chrony does."""

from __future__ import annotations

import ipaddress
import re

LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def is_ip_address(value: object) -> bool:
    """Return whether value is one IPv4 or IPv6 address, without a zone or a prefix length."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return "%" not in str(value)


def is_host_name(value: object) -> bool:
    """Return whether value is a resolvable name: no port, no trailing dot, not half an address.

    Accept host names (RFC 1123), and names with underscores. The DNS has those, but no certificate can be for one.
    """
    labels = str(value).split(".")
    return len(str(value)) <= 253 and all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_subnet(value: object) -> bool:
    """Return whether value is an address or ADDRESS/PREFIX without host bits."""
    try:
        ipaddress.ip_network(str(value))
    except ValueError:
        return False
    # chronyd rejects a netmask and a zone.
    return re.fullmatch(r"[^/%]+(/[0-9]+)?", str(value)) is not None
