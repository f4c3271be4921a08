# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The status of the monitor's last run in the form of a plugin of Nagios, Icinga or Naemon.

Pure functions of the status file. Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
"""

import contextlib
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

Row = Dict[str, Any]

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# The order from the least to the most severe; the most severe status becomes the answer's.
SEVERITY = (OK, WARNING, UNKNOWN, CRITICAL)
# The default limits for warning and critical. For cookies and certificate_days, lower values are worse.
THRESHOLDS = {
    "stratum": (6.0, 15.0),
    "offset": (0.05, 1.0),
    "root_distance": (0.1, 1.5),
    "cookies": (4.0, 1.0),
    "certificate_days": (14.0, 3.0),
}  # type: Dict[str, Tuple[float, float]]
FALLING = ("cookies", "certificate_days")
UNITS = {"offset": "s", "root_distance": "s"}
# The limits as parts of a certificate's lifetime, if these are shorter: a certificate of six days would always be below
# the limits in days.
PARTS_OF_LIFETIME = (0.2, 0.05)
STATES = {
    "authenticated": OK,
    "partial": WARNING,
    "pending": WARNING,
    "failed": CRITICAL,
    "unauthenticated": CRITICAL,
    "not_running": CRITICAL,
    "unknown": UNKNOWN,
}
DAY = 86400.0
# Number of missed runs after which the status is too old.
MISSED_RUNS = 3
SLACK_SECONDS = 60.0


class Value(NamedTuple):
    """A measured value with its thresholds."""

    name: str
    value: float
    warning: float
    critical: float

    @property
    def status(self) -> int:
        """Return the status of the value by its thresholds."""
        if self.name in FALLING:
            return CRITICAL if self.value < self.critical else WARNING if self.value < self.warning else OK
        return CRITICAL if self.value > self.critical else WARNING if self.value > self.warning else OK

    @property
    def data(self) -> str:
        """Return the performance data, with the ranges of values that raise no alert."""
        end = ":" if self.name in FALLING else ""
        unit = UNITS.get(self.name, "")
        ends = f"{_text(self.warning)}{end};{_text(self.critical)}{end}"
        return f"{self.name}={_text(self.value)}{unit};{ends}"

    def __str__(self) -> str:
        bound = self.critical if self.status == CRITICAL else self.warning
        relation = "below" if self.name in FALLING else "above"
        unit = f" {UNITS[self.name]}" if self.name in UNITS else ""
        return f"{self.name} {_text(self.value)}{unit} is {relation} {_text(bound)}{unit}"


def _text(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".") if number else "0"


def report(status: Optional[Row], thresholds: Dict[str, Tuple[float, float]], now: float) -> Tuple[int, str]:
    """Return the exit status and the line to print; status is the content of the status file, now a Unix time."""
    if status is None:
        return UNKNOWN, "NTS UNKNOWN - the monitor has not run yet: look at systemctl status nts-monitor.timer"
    age = now - status["time"]
    if age > MISSED_RUNS * status["interval_seconds"] + SLACK_SECONDS:
        return UNKNOWN, (
            f"NTS UNKNOWN - the monitor last ran {age:.0f} s ago: look at systemctl status nts-monitor.timer and"
            " nts-monitor.service"
        )
    values = list(measured(status, thresholds, now))
    found = [*_states(status), *((value.status, str(value)) for value in values if value.status)]
    code = max((each for each, _text in found), key=SEVERITY.index, default=OK)
    texts = [text for each, text in sorted(found, key=lambda pair: -SEVERITY.index(pair[0])) if text]
    summary = "; ".join(texts) or "the clock follows authenticated time"
    data = " ".join(value.data for value in values)
    # A line end or a bar would cut the text of the answer.
    clean = " ".join(summary.replace("|", "/").split())
    return code, f"NTS {WORDS[code]} - {clean}{f' | {data}' if data else ''}"


def _states(status: Row) -> Iterator[Tuple[int, str]]:
    if not status["success"]:
        yield UNKNOWN, " ".join(status["failures"]) or "the last run of the monitor failed"
    nts = status["nts"]
    if nts:
        code = STATES.get(nts["state"], UNKNOWN)
        text = f"{nts['state']}: {' '.join(nts['reasons'])}" if nts["reasons"] else nts["state"]
        if status["goal"] != "authenticated":
            code = OK if status["goal_reached"] else max(code, CRITICAL)
            text = f"the host has the goal {status['goal']} ({nts['state']})" if code == OK else text
        elif code == OK and not nts["reasons"]:
            text = ""
        yield code, text
    for pair in status["pairs"]:
        if pair["problem"]:
            yield WARNING if pair["matches"] is False else CRITICAL, f"{pair['id']}: {pair['problem']}"


def measured(status: Row, thresholds: Dict[str, Tuple[float, float]], now: float) -> Iterator[Value]:
    """Yield the values that have thresholds."""
    tracking = status["tracking"] or {}
    if tracking.get("synchronised") is not None and tracking["stratum"]:
        yield Value("stratum", tracking["stratum"], *thresholds["stratum"])
    if tracking.get("offset_seconds") is not None and tracking["synchronised"]:
        yield Value("offset", abs(tracking["offset_seconds"]), *thresholds["offset"])
        distance = tracking["root_delay_seconds"] / 2 + tracking["root_dispersion_seconds"]
        yield Value("root_distance", distance, *thresholds["root_distance"])
    cookies = [source["cookies"] for source in status["sources"] or [] if source["cookies"] is not None]
    if cookies:
        yield Value("cookies", min(cookies), *thresholds["cookies"])
    days = list(_certificate_days(status["pairs"], thresholds["certificate_days"], now))
    if days:
        yield min(days, key=lambda value: (-SEVERITY.index(value.status), value.value))


def _certificate_days(pairs: Sequence[Row], limits: Tuple[float, float], now: float) -> Iterator[Value]:
    for pair in pairs:
        dates = pair["served"] or pair["file"]
        if dates:
            lifetime = (dates["not_after"] - dates["not_before"]) / DAY
            warning, critical = (min(days, lifetime * part) for days, part in zip(limits, PARTS_OF_LIFETIME))
            yield Value(
                "certificate_days", round((dates["not_after"] - now) / DAY, 2), round(warning, 2), round(critical, 2)
            )


def read_thresholds(given: Dict[str, Any]) -> Dict[str, Tuple[float, float]]:
    """Return the default thresholds, overridden by the given ones; raise ValueError with the problem of a wrong one."""
    found = dict(THRESHOLDS)
    for name, pair in given.items():
        problem = threshold_problem(name, pair)
        if problem:
            raise ValueError(problem)
        found[name] = (float(pair[0]), float(pair[1]))
    return found


def threshold_problem(name: str, pair: Any) -> str:
    """Return the problem of a threshold, or an empty text."""
    if name not in THRESHOLDS:
        return f"{name} is no threshold: use {', '.join(THRESHOLDS)}"
    numbers = []
    with contextlib.suppress(TypeError, ValueError):
        numbers = [float(number) for number in pair] if isinstance(pair, (list, tuple)) else []
    if len(numbers) != 2 or not all(0 <= number < float("inf") for number in numbers):
        return f"{name} is {pair!r}: set it to two numbers, warning and critical"
    if (numbers[0] < numbers[1]) if name in FALLING else (numbers[0] > numbers[1]):
        return f"{name} is {pair!r}: the warning would come after the critical state. Swap the two numbers"
    return ""
