# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules for Prometheus and inhibition rules for Alertmanager, from one table.

python3 alerts.py                                  the rules with their defaults, as in prometheus/securetime-nts.yml
python3 alerts.py --set ca_days=30 --without NAME  the rules with another limit, and without an alert
python3 alerts.py --limits                         the limits that can be set
python3 alerts.py --inhibitions                    the inhibition rules
python3 alerts.py --write                          the files of this folder, and the tables of docs/alerts.md

It needs Python 3.9 and nothing else. The metrics are those of docs/monitoring.md and, where their names begin with
node_, of node_exporter.

Long: one table of all limits, records and alerts, which is read as a whole beside its output format.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
RULES = FOLDER / "prometheus" / "securetime-nts.yml"
INHIBITIONS_FILE = FOLDER / "alertmanager" / "securetime-nts.yml"
PAGE = FOLDER.parent / "docs" / "alerts.md"
RUNBOOKS = "https://github.com/securetime/nts/blob/main/docs/alerts.md"
HEADER = "# Made by monitoring/alerts.py. To change a limit, see docs/alerts.md.\n---\n"
WIDTH = 116
CRITICAL, WARNING = "critical", "warning"
# The units of durations in PromQL.
UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400}


class Limit(NamedTuple):
    """A limit that an operator can set: its name, its default and its meaning."""

    name: str
    default: float | str
    help: str


class Record(NamedTuple):
    """A recording rule."""

    name: str
    expr: str


class Alert(NamedTuple):
    """An alert rule. expr has its limits as %(name)s. The alert fires when expr has held for so many minutes."""

    name: str
    severity: str
    minutes: int
    expr: str
    summary: str
    description: str


class Inhibition(NamedTuple):
    """An inhibition rule: while source fires, Alertmanager mutes targets with equal values of the labels in equal."""

    source: str
    targets: tuple[str, ...]
    equal: tuple[str, ...] = ("instance",)


# A limit that nts-monitor --nagios also has keeps its default.
LIMITS = (
    Limit("node_jobs", "node.*", "Jobs of Prometheus that scrape node_exporter, as a regular expression."),
    Limit("missed_runs", 4, "Age of the collector's last run, as a multiple of its interval."),
    Limit(
        "error_bound_seconds", 0.1, "Error bound of the clock; half of the way to the server and back is part of it."
    ),
    Limit("error_bound_critical_seconds", 1.5, "Error bound of the clock that is critical."),
    Limit("offset_seconds", 0.05, "Offset of the clock from its sources."),
    Limit("clock_difference_seconds", 5, "Difference between the host's clock and that of Prometheus."),
    Limit("stratum", 6, "Highest stratum. Servers that serve their own clock have stratum 10 by default."),
    Limit("missed_polls", 3, "Polls without a measurement, at the longest poll interval in use."),
    Limit("sources", 3, "Sources that must be reachable. Fewer are enough where fewer are configured."),
    Limit("cookies", 4, "Cookies that must be left, of 8."),
    Limit("key_exchanges_a_day", 3, "Key exchanges with one server within a day."),
    Limit("certificate_percent", 20, "Part of its lifetime that a certificate or a trust anchor must have left."),
    Limit("certificate_days", 14, "Days that a certificate must have left, if that is less than the part."),
    Limit("certificate_critical_percent", 5, "Part of its lifetime at which a certificate's end is critical."),
    Limit("certificate_critical_days", 3, "Days at which a certificate's end is critical, if that is less."),
    Limit("ca_days", 60, "Days that issuing CAs must have left, and trust anchors, if that is less than the part."),
    Limit("storm_factor", 10, "Key exchanges, as a multiple of the mean of the day before."),
    Limit("storm_per_second", 1, "Key exchanges a second below which there is no storm."),
)

# `without` keeps the labels that a site adds to its targets. count() returns nothing for zero matching samples; sum()
# of `> bool` returns 0.
RECORDS = (
    Record(
        "instance:chrony_clock_error_bound:seconds",
        "abs(chrony_tracking_system_time_seconds) + chrony_tracking_root_dispersion_seconds + 0.5 *"
        " chrony_tracking_root_delay_seconds",
    ),
    # A source with an unresolved name has no address and no sample, so that the sum needs the 0 of a running chronyd.
    Record(
        "instance:chrony_sources_reachable:count",
        "sum without (source_address, source_name) (chrony_sources_reachability_ratio > bool 0)"
        " or 0 * (chrony_up == 1)",
    ),
    Record("instance:chrony_sources_configured:count", "sum without (state) (chrony_nts_sources)"),
    Record(
        "instance:chrony_sources_polling_interval_seconds:max",
        "max without (source_address, source_name) (chrony_sources_polling_interval_seconds)",
    ),
    Record(
        "instance:chrony_nts_server_certificate_left:seconds",
        "min without (place) (chrony_nts_server_certificate_not_after_timestamp_seconds) - time()",
    ),
    Record(
        "instance:chrony_nts_server_certificate_lifetime:seconds",
        "min without (place) (chrony_nts_server_certificate_not_after_timestamp_seconds -"
        " chrony_nts_server_certificate_not_before_timestamp_seconds)",
    ),
)

LEFT = "instance:chrony_nts_server_certificate_left:seconds"
LIFETIME = "instance:chrony_nts_server_certificate_lifetime:seconds"

ALERTS = (
    # --- the collector
    Alert(
        "ChronyMetricsMissing",
        WARNING,
        15,
        'up{job=~"%(node_jobs)s"} unless on (instance) chrony_collector_last_run_timestamp_seconds',
        "Prometheus has no chrony metrics of {{ $labels.instance }}",
        "Prometheus has no chrony metrics of {{ $labels.instance }}, and no other alert about its clock can fire. {{"
        " if eq $value 0.0 }}node_exporter does not answer.{{ else }}node_exporter answers without what the collector"
        " writes.{{ end }}",
    ),
    Alert(
        "ChronyCollectorStale",
        WARNING,
        5,
        # timestamp() is the time of the scrape, so that only the collector's interval matters, not that of the scrapes.
        "timestamp(chrony_collector_last_run_timestamp_seconds) - chrony_collector_last_run_timestamp_seconds >"
        " %(missed_runs)s * chrony_collector_interval_seconds",
        "The metrics of chrony on {{ $labels.instance }} are old",
        "The last run of nts-monitor was {{ $value | humanizeDuration }} ago, and node_exporter still exports its"
        " result. Other alerts about {{ $labels.instance }} describe that time.",
    ),
    Alert(
        "ChronyCollectorFailing",
        WARNING,
        15,
        "chrony_collector_success == 0",
        "The collector on {{ $labels.instance }} cannot read all reports of chronyd",
        "The last runs of nts-monitor on {{ $labels.instance }} failed. Some metrics of chrony are missing, and"
        " alerts that use them cannot fire.",
    ),
    # --- the clock
    Alert(
        "ChronyDown",
        CRITICAL,
        5,
        "chrony_up == 0",
        "chronyd on {{ $labels.instance }} does not answer",
        "chronyd on {{ $labels.instance }} is stopped, or does not answer chronyc. The clock runs free.",
    ),
    Alert(
        "ChronyNotSynchronised",
        CRITICAL,
        15,
        "chrony_tracking_leap_status == 3 or chrony_tracking_stratum == 0",
        "The clock of {{ $labels.instance }} is not synchronised",
        "chronyd on {{ $labels.instance }} follows no source. The clock runs free, and its error grows.",
    ),
    Alert(
        "ChronyClockErrorBoundHigh",
        WARNING,
        10,
        "instance:chrony_clock_error_bound:seconds > %(error_bound_seconds)s",
        "The clock of {{ $labels.instance }} may be wrong by {{ $value | humanizeDuration }}",
        "Remaining correction, root dispersion and half of the root delay on {{ $labels.instance }} add up to {{"
        " $value | humanizeDuration }}.",
    ),
    Alert(
        "ChronyClockErrorBoundCritical",
        CRITICAL,
        10,
        "instance:chrony_clock_error_bound:seconds > %(error_bound_critical_seconds)s",
        "The clock of {{ $labels.instance }} may be wrong by {{ $value | humanizeDuration }}",
        "Remaining correction, root dispersion and half of the root delay on {{ $labels.instance }} add up to {{"
        " $value | humanizeDuration }}.",
    ),
    Alert(
        "ChronyClockOffsetHigh",
        WARNING,
        30,
        "abs(chrony_tracking_system_time_seconds) > %(offset_seconds)s or abs(chrony_tracking_last_offset_seconds) >"
        " %(offset_seconds)s",
        "The clock of {{ $labels.instance }} is off by {{ $value | humanizeDuration }}",
        "chronyd on {{ $labels.instance }} measured an offset of {{ $value | humanizeDuration }}, and did not remove"
        " it within half an hour.",
    ),
    Alert(
        "ChronyClockDiffersFromPrometheus",
        WARNING,
        10,
        "abs(node_time_seconds - timestamp(node_time_seconds)) > %(clock_difference_seconds)s and on (instance)"
        " chrony_collector_last_run_timestamp_seconds",
        "The clocks of {{ $labels.instance }} and Prometheus differ by {{ $value | humanizeDuration }}",
        "Either clock is wrong by {{ $value | humanizeDuration }}. It is the clock of Prometheus if this alert fires"
        " for every host.",
    ),
    Alert(
        "ChronyStratumHigh",
        WARNING,
        15,
        "chrony_tracking_stratum > %(stratum)s",
        "{{ $labels.instance }} has stratum {{ $value }}",
        "{{ $labels.instance }} is {{ $value }} servers away from a reference clock, or a server before it serves"
        " its own clock because it has lost its sources.",
    ),
    # Both times come from the host's clock, so that neither the age of the metrics nor a wrong clock matters.
    Alert(
        "ChronyMeasurementsStopped",
        WARNING,
        15,
        "chrony_collector_last_run_timestamp_seconds - chrony_tracking_reference_timestamp_seconds >"
        " %(missed_polls)s * instance:chrony_sources_polling_interval_seconds:max",
        "{{ $labels.instance }} has not measured its clock for {{ $value | humanizeDuration }}",
        "The last measurement of {{ $labels.instance }} that chronyd used is {{ $value | humanizeDuration }} old,"
        " which is more than %(missed_polls)s polls of the slowest source. The clock runs on what chronyd knew then.",
    ),
    Alert(
        "ChronyKernelClockNotSynchronised",
        WARNING,
        10,
        "min_over_time(node_timex_sync_status[5m]) == 0 and node_timex_maxerror_seconds >= 16 and on (instance)"
        " chrony_up == 1 unless on (instance) chrony_clock_controlled == 0",
        "The kernel of {{ $labels.instance }} reports an unsynchronised clock",
        "chronyd on {{ $labels.instance }} sets the clock, but the kernel has the status"
        " unsynchronised. Programs that read the kernel's error bound, as databases do, see 16 s,"
        " and the kernel does not set the hardware clock.",
    ),
    # --- sources and NTS
    Alert(
        "ChronyTooFewSources",
        WARNING,
        15,
        "instance:chrony_sources_reachable:count < %(sources)s unless instance:chrony_sources_reachable:count >="
        " instance:chrony_sources_configured:count",
        "{{ $labels.instance }} reaches {{ $value }} sources",
        "Only {{ $value }} sources of {{ $labels.instance }} answer. chronyd can tell a wrong source from the others"
        " when it has %(sources)s.",
    ),
    # With authselectmode mix, chronyd combines plain sources within the time of those with NTS. The verdict then is
    # authenticated, and the alert must not fire.
    Alert(
        "ChronyFollowsUnauthenticated",
        CRITICAL,
        5,
        "chrony_nts_unauthenticated_selected == 1 unless chrony_nts_authenticated == 1",
        "{{ $labels.instance }} follows unauthenticated time",
        "chronyd on {{ $labels.instance }} follows a source without NTS and without a key, and no authenticated"
        " source confirms its time. An attacker on the network path can move this clock.",
    ),
    Alert(
        "ChronyNotAuthenticated",
        CRITICAL,
        30,
        "chrony_nts_authenticated == 0 unless chrony_nts_goal_reached == 1",
        "{{ $labels.instance }} has no authenticated time",
        "No NTS source of {{ $labels.instance }} has an authenticated answer that agrees with the clock.",
    ),
    # One attempt is enough: after a refused certificate, chronyd tries again only after 17 minutes, then after 34. One
    # lost answer after a good key exchange costs at most a poll of 17 minutes, so that 20 minutes exclude it.
    Alert(
        "ChronyKeyExchangeFailing",
        WARNING,
        20,
        "chrony_authdata_key_establishment_attempts > 0",
        "{{ $labels.instance }} gets no authenticated answer from {{ $labels.source_name }}",
        "{{ $labels.instance }} tried {{ $value }} key exchanges with {{ $labels.source_name }}"
        " ({{ $labels.source_address }}), and has had no authenticated answer since.",
    ),
    Alert(
        "ChronyCookiesRunningOut",
        WARNING,
        30,
        "chrony_authdata_cookies < %(cookies)s and chrony_authdata_key_establishments_total > 0",
        "{{ $labels.instance }} has {{ $value }} cookies left for {{ $labels.source_name }}",
        "Requests of {{ $labels.instance }} to {{ $labels.source_name }} ({{ $labels.source_address }}) use cookies"
        " up, and no answer brings new ones. At 0 chronyd makes a new key exchange.",
    ),
    # increase() extrapolates a little beyond whole numbers, so that the rule adds 1.
    Alert(
        "ChronyKeysLostRepeatedly",
        WARNING,
        0,
        "increase(chrony_authdata_key_establishments_total[1d]) >= %(key_exchanges_a_day)s + 1",
        '{{ $labels.instance }} made {{ $value | printf "%%.0f" }} key exchanges with'
        " {{ $labels.source_name }} in a day",
        "A client needs one key exchange in weeks. {{ $labels.source_name }} ({{ $labels.source_address }}) has lost"
        " the keys of its cookies, or {{ $labels.instance }} has lost its cookies, again and again.",
    ),
    Alert(
        "ChronyTrustAnchorExpiring",
        WARNING,
        60,
        "chrony_nts_trust_anchor_not_after_timestamp_seconds - time() < clamp_max(%(certificate_percent)s / 100 *"
        " (chrony_nts_trust_anchor_not_after_timestamp_seconds - chrony_nts_trust_anchor_not_before_timestamp_seconds),"
        " %(ca_days)s * 86400)",
        "A trust anchor of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
        "{{ $labels.instance }} trusts {{ $labels.subject }} ({{ $labels.file }}), which ends in {{ $value |"
        " humanizeDuration }}. From then on no key exchange with the servers below it succeeds.",
    ),
    # --- servers
    # The stages after the failed one are 0, too, so that their number identifies the failed stage.
    Alert(
        "ChronyServerProbeFailed",
        CRITICAL,
        10,
        "sum without (stage) (chrony_nts_server_probe_success == bool 0) > 0",
        "{{ $labels.instance }} does not serve NTS with certificate {{ $labels.pair }}",
        "{{ $labels.instance }} probes itself as a client does, and fails at the stage {{ if eq $value 1.0 }}ntp"
        " (authenticated answer){{ else if eq $value 2.0 }}ke (key exchange){{ else if eq $value 3.0 }}tls"
        " (certificate){{ else if eq $value 4.0 }}tcp (port){{ else }}dns (name){{ end }}. Clients with cookies go on"
        " for a while; new and restarted ones get no time.",
    ),
    Alert(
        "ChronyCertificateExpiring",
        WARNING,
        60,
        f"{LEFT} < clamp_max(%(certificate_percent)s / 100 * {LIFETIME}, %(certificate_days)s * 86400)",
        "Certificate {{ $labels.pair }} of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
        "Certificate {{ $labels.pair }} of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}. Its"
        " renewal is overdue.",
    ),
    Alert(
        "ChronyCertificateNearlyExpired",
        CRITICAL,
        15,
        f"{LEFT} < clamp_max(%(certificate_critical_percent)s / 100 * {LIFETIME},"
        " %(certificate_critical_days)s * 86400)",
        "Certificate {{ $labels.pair }} of {{ $labels.instance }} {{ if gt $value 0.0 }}ends in {{ $value |"
        " humanizeDuration }}{{ else }}has ended{{ end }}",
        "{{ if gt $value 0.0 }}Certificate {{ $labels.pair }} of {{ $labels.instance }} ends in {{ $value |"
        " humanizeDuration }}. Then no client can make a key exchange.{{ else }}Certificate {{ $labels.pair }} of {{"
        " $labels.instance }} has ended. No client can make a key exchange.{{ end }}",
    ),
    Alert(
        "ChronyCertificateChainExpiring",
        WARNING,
        60,
        "chrony_nts_server_certificate_chain_not_after_timestamp_seconds - time() < %(ca_days)s * 86400",
        "An issuing CA of certificate {{ $labels.pair }} of {{ $labels.instance }} ends in {{ $value |"
        " humanizeDuration }}",
        "A CA certificate in the file of {{ $labels.pair }} on {{ $labels.instance }} ends in {{ $value |"
        " humanizeDuration }}. The server cannot renew a CA itself.",
    ),
    Alert(
        "ChronyCertificateNotLoaded",
        WARNING,
        15,
        "chrony_nts_server_certificate_served_matches_file == 0",
        "{{ $labels.instance }} does not serve the certificate in its file ({{ $labels.pair }})",
        "chronyd on {{ $labels.instance }} serves another certificate than the file of {{ $labels.pair }} has."
        " chronyd loads certificates only at its start.",
    ),
    Alert(
        "ChronyServerRateLimits",
        WARNING,
        30,
        "rate(chrony_serverstats_nts_ke_connections_dropped_total[10m]) > 0",
        "{{ $labels.instance }} refuses key exchanges",
        'chronyd on {{ $labels.instance }} drops {{ $value | printf "%%.2f" }} key exchanges a second'
        " by its ntsratelimit.",
    ),
    # Average the rates of the known parts of that day: rate() over a day would count the unknown parts as zero.
    Alert(
        "ChronyKeyExchangeStorm",
        WARNING,
        10,
        "rate(chrony_serverstats_nts_ke_connections_accepted_total[10m]) > %(storm_factor)s *"
        " avg_over_time(rate(chrony_serverstats_nts_ke_connections_accepted_total[10m])[1d:10m] offset 1h) and"
        " rate(chrony_serverstats_nts_ke_connections_accepted_total[10m]) > %(storm_per_second)s",
        '{{ $labels.instance }} gets {{ $value | printf "%%.1f" }} key exchanges a second',
        '{{ $labels.instance }} gets {{ $value | printf "%%.1f" }} key exchanges a second, more than'
        " %(storm_factor)s times the"
        " mean of the day before. Its clients have lost their cookies, or an attacker floods it.",
    ),
)

CLOCK_ALERTS = (
    "ChronyMeasurementsStopped",
    "ChronyClockErrorBoundHigh",
    "ChronyClockErrorBoundCritical",
    "ChronyClockOffsetHigh",
    "ChronyStratumHigh",
    "ChronyKernelClockNotSynchronised",
    "ChronyNotAuthenticated",
)
# No alert mutes a more severe one.
INHIBITIONS = (
    Inhibition(
        "ChronyDown",
        (
            "ChronyNotSynchronised",
            *CLOCK_ALERTS,
            "ChronyTooFewSources",
            "ChronyKeysLostRepeatedly",
            "ChronyServerProbeFailed",
            "ChronyCollectorFailing",
        ),
    ),
    # Do not mute alerts about sources and their keys, which may be the cause.
    Inhibition("ChronyNotSynchronised", CLOCK_ALERTS),
    Inhibition("ChronyFollowsUnauthenticated", ("ChronyNotAuthenticated",)),
    Inhibition("ChronyClockErrorBoundCritical", ("ChronyClockErrorBoundHigh", "ChronyClockOffsetHigh")),
    Inhibition("ChronyClockErrorBoundHigh", ("ChronyClockOffsetHigh",)),
    Inhibition("ChronyCollectorStale", ("ChronyCollectorFailing",)),
    Inhibition("ChronyKeyExchangeFailing", ("ChronyCookiesRunningOut",), ("instance", "source_address")),
    Inhibition("ChronyCertificateNearlyExpired", ("ChronyCertificateExpiring",), ("instance", "pair")),
)


def rules(limits: Mapping[str, float | str], alerts: Sequence[Alert], runbooks: str, speed_up: float = 1) -> str:
    """Return the text of the rules. speed_up divides the waiting times of alerts and the windows of expressions."""
    values = {name: f"{value:.15g}" if isinstance(value, float) else value for name, value in limits.items()}
    changed = [f"--set {limit.name}={values[limit.name]}" for limit in LIMITS if limit.default != limits[limit.name]]
    changed += [f"--without {alert.name}" for alert in ALERTS if alert not in alerts]
    lines = [f"# With {words}" for words in changed]
    lines += ["groups:", "  - name: securetime-nts", "    rules:"]
    for record in RECORDS:
        lines += [f"      - record: {record.name}", *_folded("        expr", _shorten_windows(record.expr, speed_up))]
    for alert in alerts:
        lines += [
            f"      - alert: {alert.name}",
            *_folded("        expr", _shorten_windows(alert.expr % values, speed_up)),
        ]
        if alert.minutes:
            lines.append(
                f"        for: {alert.minutes}m" if speed_up == 1 else f"        for: {_seconds(alert, speed_up)}s"
            )
        lines += ["        labels:", f"          severity: {alert.severity}", "        annotations:"]
        lines += _folded("          summary", alert.summary % values)
        lines += _folded("          description", alert.description % values)
        lines.append(f"          runbook_url: {runbooks}#{alert.name.lower()}")
    return HEADER + "".join(f"{line}\n" for line in lines)


def _seconds(alert: Alert, speed_up: float) -> int:
    return max(1, round(alert.minutes * 60 / speed_up))


def _shorten_windows(expr: str, speed_up: float) -> str:
    """Return an expression with all windows and offsets divided by speed_up, at least 1 s each."""

    def divided(found: re.Match[str]) -> str:
        return f"{max(1, round(int(found[1]) * UNIT_SECONDS[found[2]] / speed_up))}s"

    return expr if speed_up == 1 else re.sub(r"\b([0-9]+)([mhd])\b", divided, expr)


def inhibitions() -> str:
    """Return the text of the inhibition rules."""
    lines = ["inhibit_rules:"]
    for rule in INHIBITIONS:
        lines += ["  - source_matchers:", f'      - alertname="{rule.source}"', "    target_matchers:"]
        lines += _folded("      -", f'alertname=~"{"|".join(rule.targets)}"') if len(rule.targets) > 1 else []
        lines += [f'      - alertname="{rule.targets[0]}"'] if len(rule.targets) == 1 else []
        lines.append(f"    equal: [{', '.join(rule.equal)}]")
    return HEADER + "".join(f"{line}\n" for line in lines)


def _folded(key: str, text: str) -> Iterator[str]:
    """Yield a text as a folded block of YAML, which allows any character and joins its lines by a space."""
    depth = len(key) - len(key.lstrip()) + 2
    yield f"{key}: >-" if key.strip() != "-" else f"{key} >-"
    # A matcher has no space for a line break, so its line may be longer.
    for line in textwrap.wrap(text, WIDTH - depth, break_long_words=False, break_on_hyphens=False):
        yield " " * depth + line


def table_of_alerts() -> Iterator[str]:
    """Yield the rows of the table of alerts in docs/alerts.md."""
    yield "| alert | severity | fires after | when |"
    yield "| --- | --- | --- | --- |"
    defaults = {limit.name: limit.default for limit in LIMITS}
    for alert in ALERTS:
        expr = (alert.expr % defaults).replace("|", "\\|")
        after = f"{alert.minutes} min" if alert.minutes else "at once"
        yield f"| [{alert.name}](#{alert.name.lower()}) | {alert.severity} | {after} | `{expr}` |"


def table_of_limits() -> Iterator[str]:
    """Yield the rows of the table of limits in docs/alerts.md."""
    yield "| limit | default | meaning |"
    yield "| --- | --- | --- |"
    for limit in LIMITS:
        yield f"| `{limit.name}` | {limit.default} | {limit.help} |"


def page(text: str) -> str:
    """Return the text of docs/alerts.md with regenerated tables."""
    for name, rows in (("alerts", table_of_alerts()), ("limits", table_of_limits())):
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _mark, rest = text.partition(marks[0])
        _old, _mark, after = rest.partition(marks[1])
        text = before + "\n".join([marks[0], *rows, marks[1]]) + after
    return text


def files() -> dict[Path, str]:
    """Return the content of each generated file."""
    defaults = {limit.name: limit.default for limit in LIMITS}
    return {
        RULES: rules(defaults, ALERTS, RUNBOOKS),
        INHIBITIONS_FILE: inhibitions(),
        PAGE: page(PAGE.read_text(encoding="utf-8")),
    }


def _setting(text: str) -> tuple[str, float | str]:
    name, _equals, value = text.partition("=")
    defaults = {limit.name: limit.default for limit in LIMITS}
    if name not in defaults:
        raise argparse.ArgumentTypeError(f"there is no limit {name!r}; --limits names them")
    if isinstance(defaults[name], str):
        # Escape the value, because PromQL has it between quotes.
        return name, json.dumps(value)[1:-1]
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        raise argparse.ArgumentTypeError(f"{name} takes a number, not {value!r}")
    return name, float(value)


def main(arguments: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    names = [alert.name for alert in ALERTS]
    description = (__doc__ or "").partition("\n\nLong: ")[0]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], type=_setting, metavar="LIMIT=VALUE")
    parser.add_argument("--without", action="append", default=[], choices=names, metavar="ALERT")
    parser.add_argument("--runbooks", default=RUNBOOKS, metavar="URL", help="the page that the alerts link to")
    parser.add_argument("--speed-up", type=float, default=1, metavar="N", help="wait N times less: to try the alerts")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--inhibitions", action="store_true")
    parser.add_argument("--write", action="store_true")
    words = parser.parse_args(arguments)
    if words.write:
        for path, content in files().items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
    elif words.limits:
        for limit in LIMITS:
            print(f"{limit.name}={limit.default}\n    {limit.help}")
    elif words.inhibitions:
        print(inhibitions(), end="")
    else:
        limits = {**{limit.name: limit.default for limit in LIMITS}, **dict(words.set)}
        alerts = [alert for alert in ALERTS if alert.name not in words.without]
        print(rules(limits, alerts, words.runbooks, words.speed_up), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
