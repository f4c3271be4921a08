# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The files of an NTS server that this collection created on a host."""

import glob
import json
import os
from typing import List

STATE = "/var/lib/securetime-nts"
PROGRAM = "/usr/local/sbin/nts-certificate"
SERVICE = "/etc/systemd/system/nts-certificate.service"
TIMER = "/etc/systemd/system/nts-certificate.timer"
CERTBOT_HOOK = "/etc/letsencrypt/renewal-hooks/deploy/securetime-nts"
SETTINGS = "/etc/chrony/nts/certificate.json"
STAGING = "/etc/chrony/nts/staging"
# The files that chrony_config changed. The entry of a file that it created is null.
MANIFEST = "original/manifest.json"
PREVIOUS = "*.previous.*"
# The prefix of the names of trust anchors.
TRUST_ANCHORS = "trusted"


def server_files(root: str = "") -> List[str]:
    """Return the existing paths of the renewal, of staged and kept pairs, and of pairs that chrony_config created."""
    paths = [PROGRAM, SERVICE, TIMER, CERTBOT_HOOK, STAGING, *kept_pairs(root), *_pairs(root), SETTINGS]
    return [path for path in paths if os.path.lexists(root + path)]


def kept_pairs(root: str = "") -> List[str]:
    """Return the paths of the pairs that nts-certificate keeps for a rollback."""
    return [path[len(root) :] for path in sorted(glob.glob(f"{root}{STATE}/{PREVIOUS}"))]


def _pairs(root: str) -> List[str]:
    try:
        with open(os.path.join(root + STATE, MANIFEST), encoding="utf-8") as file:
            created = [path for path, entry in sorted(json.load(file).items()) if entry is None]
    except (OSError, ValueError, AttributeError):
        # chrony_config changed nothing yet, or an ordinary user may not read the manifest.
        return []
    return [path for path in created if path.endswith((".pem", ".key")) and not _is_trust_anchor(path)]


def _is_trust_anchor(path: str) -> bool:
    return os.path.basename(path).startswith(TRUST_ANCHORS)
