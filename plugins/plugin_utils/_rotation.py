# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The rotation of chronyd's own log files by logrotate."""

from __future__ import annotations

from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

PACKAGE = "logrotate"
# The name of the distributions' own file. logrotate refuses a second file about the same logs.
FILE = "/etc/logrotate.d/chrony"
# What chronyd logs where the operator names nothing else.
LOGS = ("measurements", "statistics", "tracking")


def log_dir(lines: Directives) -> str:
    """Return the folder to which chronyd writes log files; empty where it writes none."""
    folders = [words[0] for words in lines.get("logdir", []) if words]
    return folders[-1].rstrip("/") if folders and any(lines.get("log", [])) else ""


def text(folder: str, service: str, socket: str, keep: int, max_megabytes: int) -> str:
    """Return the directives of logrotate for the log files in a folder.

    A reload or SIGHUP ends chronyd: `cyclelogs` makes it open new files. The line that follows it keeps logrotate
    from failing on a chronyd that is stopped. logrotate compresses a file one rotation later, so that nothing is lost
    of what chronyd still writes to the old one. By `nodateext` a file can be rotated twice a day, for its size.
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
