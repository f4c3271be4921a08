# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collector's facts of captured daemons."""

from ansible_collections.securetime.nts.plugins.module_utils._state import verdict


def host_of(capture, **more):
    """Return the facts of the host without chronyd's reports."""
    host = {
        "installed": True,
        "running": True,
        "client": {"path": "/usr/bin/chronyc", "version": capture.version},
        "daemon": {
            "pid": 7,
            "uptime_seconds": capture.uptime_seconds,
            "features": {"NTS": True},
            "version": capture.version,
            "config_file": None,
            "arguments": ["chronyd"],
            "clock_control": True,
            "replaced": False,
        },
        "unit": None,
        "environment": {"cap_sys_time": True, "rivals": [], "clock_setters": [], "fips": False},
    }
    return dict(host, **more)


def facts_of(capture, **more):
    """Return the facts of chronyc_facts for a captured state."""
    return verdict.judge(host_of(capture, **more), capture.take("clients"), verdict.read_log(capture.log()))
