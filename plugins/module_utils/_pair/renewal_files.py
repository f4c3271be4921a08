# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The settings, the units and the hook of nts-certificate on a server."""

import json
import os
from typing import Any, Dict, List, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    FileSpec,
    System,
    differs,
    diffs,
    read,
    remove,
    stage,
    swap,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import run_checked
from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import (
    CERTBOT_HOOK,
    PROGRAM,
    SERVICE,
    SETTINGS,
    TIMER,
)

HOOK = f"""#!/bin/sh
# Managed by Ansible: collection securetime.nts, role chrony_nts.
exec {PROGRAM} deploy --lineage "$RENEWED_LINEAGE"
"""
SERVICE_UNIT, TIMER_UNIT = os.path.basename(SERVICE), os.path.basename(TIMER)
# certbot runs every program in the folder of its hooks whose name has another end.
STAGED_HOOK = ".securetime-nts-new~"


def wanted_files(settings: Dict[str, Any], service: str, timer: str, by_certbot: bool) -> List[FileSpec]:
    """Return the files in the order of their writing; service and timer are the texts of the units."""
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    return [
        FileSpec(SETTINGS, text, "root", "root", 0o644),
        FileSpec(SERVICE, service, "root", "root", 0o644),
        FileSpec(TIMER, timer, "root", "root", 0o644),
        FileSpec(CERTBOT_HOOK, HOOK if by_certbot else None, "root", "root", 0o755, suffix=STAGED_HOOK),
    ]


def write(host: System, files: Sequence[FileSpec], predict: bool) -> Tuple[List[str], List[Dict[str, str]]]:
    """Write the files that differ; return their paths and Ansible's diffs. With `predict`, write none.

    Replace a symbolic link at one of the paths; neither read nor write its target.
    """
    changed, shown = [], []  # type: List[str], List[Dict[str, str]]
    for wanted in files:
        if not predict:
            remove(wanted.staged)
        planted = os.path.islink(wanted.path)
        existing = None if planted else read(wanted.path, follow=False)
        if planted or differs(wanted, existing):
            changed.append(wanted.path)
            shown += diffs(wanted, existing)
            if not predict:
                if wanted.content is not None:
                    stage(host, wanted)
                swap(wanted)
        # In check mode, this only reports whether the security label would change.
        elif existing and host.label(wanted.path, wanted.path):
            changed.append(wanted.path)
    return changed, shown


def start_timer(host: System, changed: Sequence[str], predict: bool) -> List[str]:
    """Load changed units, and enable and start the timer; return what was not so, in lines. With `predict`, do nothing.

    After an interrupted run, the files are as desired, and systemd may not have read them.
    """
    timer, service = _properties(host, TIMER_UNIT), _properties(host, SERVICE_UNIT)
    writes = not {SERVICE, TIMER}.isdisjoint(changed)
    is_outdated = "NeedDaemonReload=yes" in timer + service
    is_on = "ActiveState=active" in timer and "UnitFileState=enabled" in timer
    if not predict and (writes or is_outdated):
        run_checked(host, ["systemctl", "daemon-reload"])
    if not predict and not is_on:
        run_checked(host, ["systemctl", "enable", "--now", TIMER_UNIT])
    lines = ["systemd reads its units again\n"] if is_outdated and not writes else []
    return lines + ([] if is_on else [f"{TIMER_UNIT} is enabled and started\n"])


def _properties(host: System, unit: str) -> List[str]:
    return host.run(["systemctl", "show", "--property=ActiveState,UnitFileState,NeedDaemonReload", unit]).stdout.split()


def has_failed(host: System) -> bool:
    """Return whether the last run of the service failed."""
    return host.run(["systemctl", "is-failed", "--quiet", SERVICE_UNIT]).status == 0
