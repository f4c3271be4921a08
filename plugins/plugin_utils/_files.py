# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The parameters of chrony_config: the files of chronyd, its units and its logs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf, _pairs, _roots
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import MADE_IN, Inputs

Row = dict[str, Any]

MANAGED = "# Managed by Ansible: collection securetime.nts, role chrony_nts. The next run overwrites manual changes."
UNITS = "/etc/systemd/system"
# A folder of the role's own, so that the distribution's sources are read only where the operator wants them.
SOURCE_DIR = "/etc/chrony/nts-sources.d"


def parameters(inputs: Inputs, planned: Mapping[str, Any], anchors: Iterable[Row]) -> Row:
    """Return the parameters of chrony_config for one host, secrets included.

    planned is the result of _plan.plan(), and anchors that of trust_files().
    """
    place, proof = planned["platform"], planned["proof"]
    served = _pairs.files(inputs.pairs, place["group"])
    trust = [{"path": row["path"], "content": row["content"], "effect": planned["trust_effect"]} for row in anchors]
    keys = inputs["symmetric_keys"]
    return {
        "config_file": place["config_file"],
        "service": place["service"],
        "files": [*of_the_host(inputs, planned), *trust, *served["files"]],
        "secrets": {**({place["key_file"]: key_file(keys)} if keys else {}), **served["secrets"]},
        "owns": [*_chrony_conf.trust_patterns(MADE_IN), *planned["unused_pair_files"]],
        "folders": [planned["source_dir"], MADE_IN],
        "ntske_ports": planned["ntske_ports"],
        "certificate_dirs": planned["certificate_dirs"],
        "log_dir": planned["log_dir"],
        "daemon_options": planned["daemon_options"],
        "remember": planned["first_seen"],
        "rivals": planned["rivals"],
        "serves": served["serves"],
        "verify": proof["goal"],
        "verify_rollback": inputs.is_true("rollback_on_failed_verify"),
        "verify_min_sources": proof["min_sources"],
        "verify_timeout": proof["timeout_seconds"],
    }


def digest(values: Row) -> str:
    """Return the SHA-256 of parameters, in hexadecimal digits.

    Without `remember`: the state of the host before its first change is new to it in that run alone.
    """
    given = {name: value for name, value in values.items() if name != "remember"}
    return hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()


def trust_files(inputs: Inputs, version: str = "", roots: Collection[str] | None = None) -> list[Row]:
    """Return set, path and content of the file of each set of trust anchors, as _chrony_conf.trust_files().

    roots are the role's root CAs in PEM, by default those in chrony_nts_ca_dir on the controller. Raise OSError if one
    of its files is unreadable.
    """
    own: list[str] = []
    server_cas: list[str] = []
    if inputs.is_true("trust_own_ca"):
        own = sorted(set(_roots.roots(inputs) if roots is None else roots))
        server_cas = [_roots.read_file(path) for path in _roots.server_cas(str(inputs["ca_dir"]))]
    return _chrony_conf.trust_files(inputs["trust_anchors"], MADE_IN, own, server_cas, version)


def key_file(keys: Iterable[Row]) -> str:
    """Return chronyd's file of symmetric keys (keyfile in chrony.conf)."""
    return managed(f"{key['id']} {key.get('type') or 'SHA256'} {key['key']}" for key in keys)


def managed(lines: Iterable[str]) -> str:
    """Return the text of a file that the role manages."""
    return "".join(f"{line}\n" for line in (MANAGED, *lines))


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
