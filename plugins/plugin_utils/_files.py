# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The files of chronyd, its units and its logs, as the parameter files of chrony_config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs

Row = dict[str, Any]

UNITS = "/etc/systemd/system"
# A folder of the role's own, so that the distribution's sources are read only where the operator wants them.
SOURCE_DIR = "/etc/chrony/nts-sources.d"


def of_the_host(inputs: Inputs, planned: Mapping[str, Any]) -> list[Row]:
    """Return the files of every host. planned is the result of _plan.plan()."""
    place = planned["platform"]
    writable, rotation = planned["writable_text"], planned["rotation_text"]
    drop_in = f"{UNITS}/{place['service']}.d/securetime-nts"
    return [
        {"path": place["config_file"], "template": inputs["config_template"]},
        {
            "path": f"{SOURCE_DIR}/securetime-nts.sources",
            **_present(inputs["layout"] != "single", content=planned["sources_text"]),
            "effect": "sources",
        },
        # The package's file belongs to administrators and hardening roles. An earlier version of this role wrote it.
        {"path": place["options_file"], "state": "original", "effect": "nothing"},
        {"path": planned["options_file"], "content": planned["options_text"]},
        # The transaction writes this file first, because it rolls back the others after a power cut.
        {"path": f"{drop_in}-undo.conf", "template": "undo.conf.j2", "effect": "nothing"},
        {"path": f"{drop_in}.conf", "template": "unit.conf.j2"},
        {
            "path": f"{UNITS}/chrony-wait.service.d/securetime-nts.conf",
            **_present(planned["wait_by_socket"], template="chrony-wait.conf.j2"),
            "effect": "nothing",
        },
        # chronyd writes into folders that its unit makes read-only.
        {"path": f"{drop_in}-paths.conf", **_present(writable, content=writable)},
        # logrotate refuses a second file about the same logs, so this file replaces the distribution's.
        {
            "path": planned["rotation_file"],
            **_present(rotation, "original", content=rotation),
            "effect": "nothing",
        },
        # Without chrony_nts_symmetric_keys, restore the file from before the role's first change.
        {
            "path": place["key_file"],
            **_present(inputs["symmetric_keys"], "original"),
            "group": place["group"],
            "mode": "0640",
            "effect": "keys",
        },
    ]


def _present(wanted: object, otherwise: str = "absent", **source: str) -> Row:
    """Return the state of a file, and its content or template where it is wanted."""
    return {"state": "present", **source} if wanted else {"state": otherwise}
