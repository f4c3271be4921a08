# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Render logrotate's file for chronyd's own log files."""

from __future__ import annotations

from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

PACKAGE = "logrotate"
# The distributions' own file has this name. logrotate refuses a second file for the same logs.
FILE = "/etc/logrotate.d/chrony"
# Default values of the directive log.
LOGS = ("measurements", "statistics", "tracking")


def log_dir(lines: Directives) -> str:
    """Return the folder of chronyd's log files; empty if chronyd writes none."""
    folders = [words[0] for words in lines.get("logdir", []) if words]
    return folders[-1].rstrip("/") if folders and any(lines.get("log", [])) else ""


def text(folder: str, service: str, socket: str, keep: int, max_megabytes: int) -> str:
    """Return logrotate's directives for the log files in a folder.

    A reload or SIGHUP ends chronyd, so `cyclelogs` makes it open new files. The next line keeps logrotate from failing
    if chronyd is stopped. logrotate compresses a file one rotation later, so that lines that chronyd still writes to
    the old file are kept. `nodateext` permits two rotations of a file by its size on one day.
    """
    return "\n".join(
        [
            f'"{folder}/*.log" {{',
            "    daily",
            f"    rotate {keep}",
            f"    maxsize {max_megabytes}M",
            "    nodateext",
            "    compress",
            "    delaycompress",
            "    missingok",
            "    notifempty",
            "    nocreate",
            "    sharedscripts",
            "    postrotate",
            f"        /usr/bin/chronyc -h {socket} cyclelogs >/dev/null ||",
            f"            ! systemctl --quiet is-active {service}",
            "    endscript",
            "}",
        ]
    )
