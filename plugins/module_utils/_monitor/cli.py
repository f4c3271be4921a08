# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The command line of nts-monitor, which prints the results of the last run."""

import argparse
import json
import os
import sys
import time
from typing import Any, Dict, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._monitor import nagios
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import (
    MEMORY,
    METRICS,
    SETTINGS,
    STATUS,
    Settings,
    read_settings,
)

Row = Dict[str, Any]

EXIT_OK, EXIT_FAILED, EXIT_USAGE = range(3)
UNREADABLE = 3


def main(arguments: Sequence[str]) -> int:
    """Run the program and return its exit status."""
    words = read_arguments(arguments)
    try:
        settings = read_settings(words.settings)
    except ValueError as error:
        return refuse(words, str(error))
    path = os.path.join(settings.state, STATUS)
    if words.nagios:
        return answer_nagios(words, settings, read(path))
    if words.prometheus:
        return show(os.path.join(settings.state, METRICS))
    if words.clients:
        return show_clients(settings)
    if words.json:
        return show(path)
    return show_people(read(path))


def read_arguments(arguments: Sequence[str]) -> Any:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="nts-monitor",
        description="What the last run of nts-monitor.timer found about chrony and NTS on this host.",
        epilog="Exit status: 0 well, 1 no result yet, 2 wrong call or settings; of --nagios 0 OK, 1 WARNING,"
        " 2 CRITICAL, 3 UNKNOWN.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--nagios", action="store_true", help="a line and an exit status for Nagios and Icinga")
    what.add_argument("--json", action="store_true", help="everything, in JSON")
    what.add_argument("--prometheus", action="store_true", help="the metrics, in Prometheus' text format")
    what.add_argument(
        "--clients", action="store_true", help="the clients that do not use NTS yet, and those that do (root)"
    )
    what.add_argument("--collect", metavar="SETTINGS", nargs="?", help="collect now, as the unit does")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="NAME=WARNING,CRITICAL",
        help=f"with --nagios, in the place of those of the settings: {', '.join(nagios.THRESHOLDS)}",
    )
    parser.add_argument("--settings", default=SETTINGS, metavar="FILE")
    return parser.parse_args(list(arguments))


def refuse(words: Any, text: str) -> int:
    """Report a usage or settings error; return the exit status."""
    if words.nagios:
        sys.stdout.write(f"NTS UNKNOWN - {text}\n")
        return nagios.UNKNOWN
    sys.stderr.write(f"nts-monitor: {text}.\n")
    return EXIT_USAGE


def answer_nagios(words: Any, settings: Settings, status: Optional[Row]) -> int:
    """Print the line for Nagios, and return its exit status."""
    given = dict(settings.thresholds)  # type: Dict[str, Any]
    for word in words.threshold:
        name, _equals, numbers = word.partition("=")
        given[name] = numbers.split(",")
    try:
        thresholds = nagios.read_thresholds(given)
    except ValueError as error:
        return refuse(words, str(error))
    code, text = nagios.report(status, thresholds, time.time())
    sys.stdout.write(f"{text}\n")
    return code


def read(path: str) -> Optional[Row]:
    """Return the content of a JSON file of the last run, or None if it is unreadable."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return None


def show(path: str) -> int:
    """Print a file, and return the exit status."""
    try:
        with open(path, encoding="utf-8") as file:
            sys.stdout.write(file.read())
    except OSError as error:
        sys.stderr.write(f"nts-monitor: {path}: {error.strerror}: look at systemctl status nts-monitor.timer.\n")
        return EXIT_FAILED
    return EXIT_OK


def show_clients(settings: Settings) -> int:
    """Print the address of each client without NTS, then the NTS clients with the time of their last key exchange."""
    path = os.path.join(settings.state, MEMORY)
    if not os.access(path, os.R_OK):
        sys.stderr.write(f"nts-monitor: {path} cannot be read: become root.\n")
        return EXIT_FAILED
    memory = read(path) or {}
    for address in memory.get("plain_clients") or ():
        sys.stdout.write(f"plain {address}\n")
    for address, when in sorted((memory.get("clients") or {}).items(), key=lambda item: -item[1]):
        sys.stdout.write(f"nts {address} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(when))}\n")
    return EXIT_OK


def show_people(status: Optional[Row]) -> int:
    """Print state, reasons, notes and problems in a few lines; return the exit status."""
    if status is None:
        sys.stderr.write("nts-monitor: the monitor has not run yet: look at systemctl status nts-monitor.timer.\n")
        return EXIT_FAILED
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status["time"]))
    nts = status["nts"] or {"state": "unknown", "reasons": [], "notes": []}
    lines = [f"{nts['state']} ({when})", *nts["reasons"], *nts["notes"], *status["failures"]]
    lines += [f"{pair['id']}: {pair['problem']}." for pair in status["pairs"] if pair["problem"]]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return EXIT_OK
