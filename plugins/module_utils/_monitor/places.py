# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The paths of the monitor's files, and its settings."""

import json
from typing import Any, Dict, NamedTuple, Sequence

PROGRAM = "/usr/local/sbin/nts-monitor"
SETTINGS = "/etc/nts-monitor.json"
SERVICE = "/etc/systemd/system/nts-monitor.service"
TIMER = "/etc/systemd/system/nts-monitor.timer"
STATE = "/var/lib/nts-monitor"
# The results of the last run, readable for every user.
STATUS = "status.json"
METRICS = "metrics.prom"
# The data that the next run needs, readable only for chronyd's user.
MEMORY = "memory.json"
LOG = "/var/log/chrony/nts-monitor.log"
# The suffix of the previous state log, if logrotate does not rotate it.
OLD_LOG = ".old"
# node_exporter reads the link. Its target is in a folder of the monitor's user, so that the monitor needs no right to
# write into node_exporter's folder. A relative link also works in a container.
TEXTFILE_LINK = "nts-monitor.prom"
TEXTFILE_FOLDER = "nts-monitor"
NO_THRESHOLDS = {}  # type: Dict[str, Any]
GOALS = ("auto", "authenticated", "synchronised")


class Settings(NamedTuple):
    """The settings of the program nts-monitor on this host."""

    interval_seconds: int = 60
    probe_interval_minutes: int = 15
    # The folder of node_exporter's textfile collector; empty without one.
    textfile_directory: str = ""
    log: str = LOG
    # Whether the role created the folder of the state log.
    log_folder_made: bool = False
    hook: Sequence[str] = ()
    clients: bool = False
    goal: str = "auto"
    # The limits for warning and critical, by the name of the threshold.
    thresholds: Dict[str, Any] = NO_THRESHOLDS
    state: str = STATE


def read_settings(path: str = SETTINGS) -> Settings:
    """Return the settings in a file; raise ValueError with a message for the operator."""
    try:
        with open(path, encoding="utf-8") as file:
            return Settings(**json.load(file))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"The settings {path} cannot be read: {error}. Run the role chrony_monitor again") from None
