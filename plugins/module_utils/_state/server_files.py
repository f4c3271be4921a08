# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The files of an NTS server that this collection has put on a host."""

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
# The files that chrony_config has changed. One without an entry was not there before.
MANIFEST = "original/manifest.json"
PREVIOUS = "*.previous.*"
# Certificates of this name are trust anchors.
TRUST_ANCHORS = "trusted"


def server_files(root: str = "") -> List[str]:
    """Return the paths of the renewal, of staged and kept pairs, and of the pairs that chrony_config created."""
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
        # Nothing was changed yet, or an ordinary user asks.
        return []
    return [path for path in created if path.endswith((".pem", ".key")) and not _is_trust_anchor(path)]


def _is_trust_anchor(path: str) -> bool:
    return os.path.basename(path).startswith(TRUST_ANCHORS)
