# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Collect the facts of chrony once, or poll until the condition holds."""

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._state.certificate_files import certificates_of
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import read_reports
from ansible_collections.securetime.nts.plugins.module_utils._state.clock_setters import clock_setters
from ansible_collections.securetime.nts.plugins.module_utils._state.host import (
    directives_of,
    find_daemon,
    log_lines,
    process_facts,
    survey,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import declared_sources
from ansible_collections.securetime.nts.plugins.module_utils._state.verdict import judge, needs_log, reached, read_log

Row = Dict[str, Any]
Survey = Callable[[float, Sequence[str]], Row]

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
PAUSE_GROWTH = 1.5


class GatherOptions(NamedTuple):
    """The parameters of the module chronyc_facts (see its documentation). Times are in seconds."""

    wait_for: Optional[str]
    min_sources: int
    max_offset: Optional[float]
    timeout: float
    command_timeout: float
    log_lines: bool
    reports: Sequence[str]
    packages: Sequence[str] = ()
    certificates: bool = False


class GatherResult(NamedTuple):
    """The facts, whether the condition holds (None without one), the time until then, and warnings."""

    facts: Row
    reached: Optional[bool]
    waited_seconds: float
    warnings: List[str]


def gather(options: GatherOptions, look_at_host: Optional[Survey] = None) -> GatherResult:
    """Collect the facts until the condition of wait_for holds, or options.timeout seconds have passed.

    look_at_host replaces survey().
    """
    begin = time.monotonic()
    pause = FIRST_PAUSE_SECONDS
    while True:
        host, reports = _collect(options.command_timeout, options.reports, options.packages, look_at_host or survey)
        facts = judge(host, reports, read_log(None))
        holds = reached(facts, options.wait_for, options.min_sources, options.max_offset) if options.wait_for else None
        left = begin + options.timeout - time.monotonic()
        if holds is not False or left <= 0 or not host["installed"]:
            break
        time.sleep(min(pause, left))
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
    waited = round(time.monotonic() - begin, 2)
    daemon = host["daemon"]
    if options.log_lines and daemon["pid"] and needs_log(facts):
        lines = log_lines(daemon["pid"], daemon["uptime_seconds"], options.command_timeout)
        facts = judge(host, reports, read_log(lines))
    # Read certificates once, after the loop: no condition depends on them.
    directives = directives_of(daemon.get("arguments") or [])
    facts["certificates"] = certificates_of(daemon["config_file"], directives) if options.certificates else None
    return GatherResult(facts, holds, waited, reports.get("warnings", []))


def _collect(
    command_timeout: float, more: Sequence[str], packages: Sequence[str], look_at_host: Survey
) -> Tuple[Row, Row]:
    host = look_at_host(command_timeout, packages)
    chronyc = host["client"]["path"]
    reports = {"access": "unusable", "refusal": "chronyc is not installed"}  # type: Row
    if chronyc:
        reports = read_reports(chronyc, command_timeout, more)
    answered = "refusal" not in reports
    if answered and not host["daemon"]["pid"]:
        host["daemon"].update(process_facts(find_daemon(0, everywhere=True), host["daemon"]["config_file"]))
    host["environment"]["clock_setters"] = clock_setters(host["daemon"]["pid"], command_timeout)
    host["running"] = answered or bool(host["daemon"]["pid"])
    daemon = host["daemon"]
    if answered and daemon["pid"]:
        reports["declared"] = declared_sources(daemon["config_file"], directives_of(daemon["arguments"] or []))
    return host, reports
