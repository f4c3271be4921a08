# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The operator's time sources in one form."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import SOURCE

FLAGS = {part.name for part in SOURCE.parts if part.kind == "flag"}


def complete(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each source with address, type, nts and iburst filled in, and its flags as booleans.

    address is empty where a source has none, and where its address and hostname disagree.
    """
    return [_complete(source) for source in sources]


def _complete(source: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in source.items() if value is not None}
    names = {given.pop(alias) for alias in ("address", "hostname") if alias in given}
    pool = boolean(given.pop("pool", False))
    return {
        "address": names.pop() if len(names) == 1 else "",
        "type": "pool" if pool else "server",
        "iburst": True,
        "nts": True,
        **{name: boolean(value) if name in FLAGS else value for name, value in given.items()},
    }
