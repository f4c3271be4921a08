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
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import run_checked, timer_of
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
    """Reload changed units, and enable and start the timer. With `predict`, do nothing.

    Return a line for each state that differed and that no changed file shows.
    """
    timer = timer_of(host, TIMER_UNIT, SERVICE_UNIT)
    writes = not {SERVICE, TIMER}.isdisjoint(changed)
    if not predict and (writes or timer.needs_reload):
        run_checked(host, ["systemctl", "daemon-reload"])
    if not predict and not timer.is_on:
        run_checked(host, ["systemctl", "enable", "--now", TIMER_UNIT])
    lines = [f"systemd reloads {TIMER_UNIT} and {SERVICE_UNIT}\n"] if timer.needs_reload and not writes else []
    return lines + ([] if timer.is_on else [f"{TIMER_UNIT} is enabled and started\n"])


def has_failed(host: System) -> bool:
    """Return whether the last run of the service failed."""
    return host.run(["systemctl", "is-failed", "--quiet", SERVICE_UNIT]).status == 0
