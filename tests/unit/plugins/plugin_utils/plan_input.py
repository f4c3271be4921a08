# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables and facts of hosts, as input of the plan."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.plugins.plugin_utils._plan import plan

ROLE = Path(__file__).resolve().parents[4] / "roles/chrony_nts"
PLATFORMS = yaml.safe_load((ROLE / "vars/main/platforms.yml").read_text())["__chrony_nts_platforms"]
DEFAULTS = {
    **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
    "chrony_nts_server_names": ["nts1.example.org"],
    "chrony_nts_ca_dir": "/srv/nts-ca",
}
DEBIAN = {"id": "debian", "like": [], "name": "Debian GNU/Linux", "version": "13"}
ROCKY = {"id": "rocky", "like": ["rhel", "centos", "fedora"], "name": "Rocky Linux", "version": "9.4"}
ORACLE = {"id": "ol", "like": ["fedora"], "name": "Oracle Linux Server", "version": "8.9"}
UBUNTU = {"id": "ubuntu", "like": ["debian"], "name": "Ubuntu", "version": "26.04"}
AMAZON = {"id": "amzn", "like": ["fedora"], "name": "Amazon Linux", "version": "2023"}
LEAP = {"id": "opensuse-leap", "like": ["suse", "opensuse"], "name": "openSUSE Leap", "version": "15.6"}
FACTS: dict[str, Any] = {
    "installed": True,
    "daemon": {"version": "4.6.1", "features": {"NTS": True}},
    "unit": {"name": "chrony.service", "active_state": "active"},
    "nts": {"state": "authenticated"},
    "environment": {
        "os": DEBIAN,
        "service_manager": "systemd",
        "package_manager": "apt",
        "python": "/usr/bin/python3",
        "packages": {"chrony": "4.6.1-3", "ca-certificates": "20250419", "python3-cryptography": None},
        "own_ca": {"trusted": [], "issues": False},
        "selinux": False,
        "container": None,
        "cap_sys_time": True,
        "clock": {"time": 1795420109.21, "timesyncd_synchronised": False},
        "drop_ins": [],
        "drop_in_sources": {},
        "distribution_files": ["/usr/share/zoneinfo/leap-seconds.list"],
        "dhcp": {"helper": False, "peerntp": True},
        "fips": False,
        "rivals": [],
        "chrony_wait": None,
        "daemon_options": {"files": ["/etc/default/chrony"], "variables": {"DAEMON_OPTS": ["-F", "1"]}},
        "server_files": [],
        "firewall_rules": [],
    },
}
SERVER = {"chrony_nts_server_enabled": True, "chrony_nts_server_allow": ["192.0.2.0/24"]}


def planned(variables: dict[str, Any] | None = None, first_seen: Any = None, **facts: Any) -> dict[str, Any]:
    """Return the plan of a Debian 13 client; override variables, and facts by their path (a__b)."""
    chrony = copy.deepcopy(FACTS)
    for path, value in facts.items():
        *parents, name = path.split("__")
        row = chrony
        for parent in parents:
            row = row[parent]
        row[name] = value
    return plan(Inputs({**DEFAULTS, **(variables or {})}), PLATFORMS, chrony, first_seen)
