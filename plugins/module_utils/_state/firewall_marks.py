# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The marks of this collection in the configuration files of a host's firewalls."""

import glob
import json
import os
from typing import Any, Dict, List

from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import STATE

# The name of the service in firewalld, and the prefix of comments in ufw and nftables.
SERVICE_NAME = "securetime-nts"
MARK = "securetime.nts"
FIREWALLD = "/etc/firewalld"
UFW_RULES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")
# In the state folder: the record of the openings, and of the include file of nftables.
RECORD = "firewall.json"


def firewalls_with_rules(root: str = "") -> List[str]:
    """Return the firewalls, active or not, in which this collection has rules."""
    found = []
    if os.path.exists(f"{root}{FIREWALLD}/services/{SERVICE_NAME}.xml") or _zones_with_rules(root):
        found.append("firewalld")
    # ufw encodes comments in hexadecimal digits.
    if any(MARK.encode().hex() in _text(root + path) for path in UFW_RULES):
        found.append("ufw")
    if _record(root).get("nft_include"):
        found.append("nftables")
    return found


def _zones_with_rules(root: str) -> bool:
    return any(f'"{SERVICE_NAME}"' in _text(path) for path in glob.glob(f"{root}{FIREWALLD}/zones/*.xml"))


def _record(root: str) -> Dict[str, Any]:
    try:
        found = json.loads(_text(os.path.join(root + STATE, RECORD)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
