# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards for Grafana: python3 dashboards.py writes grafana/*.json.

The queries use only metrics of the collector, so that the dashboards work without the recording rules.

Long: one table of all panels of three dashboards, whose helpers a reader needs beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "grafana"
TAG = "securetime-nts"
# The data source is a variable of each dashboard.
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
# The limits of the alerts.
MISSED_RUNS = 4
ERROR_BOUNDS = 0.1, 1.5
CERTIFICATE_DAYS = 14, 3
DAY = 86400
COLUMN_NAMES = {
    "instance": "Host",
    "pair": "Certificate",
    "source_name": "Source",
    "source_address": "Address",
    "state": "State",
}
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
Json = dict[str, Any]

HOST = 'instance=~"$instance"'
AGE = f"time() - chrony_collector_last_run_timestamp_seconds{{{HOST}}}"
PAIR = f'{HOST},pair=~"$pair"'
STATE_COLOURS = {
    "authenticated": GREEN,
    "partial": GREEN,
    "pending": YELLOW,
    "unknown": YELLOW,
    "failed": RED,
    "unauthenticated": RED,
    "not_running": RED,
}


def query(expr: str, legend: str = "", table: bool = False, instant: bool = False) -> Json:
    """Return a query. With table, it returns the newest values, with their labels as columns."""
    target: Json = {"datasource": SOURCE, "expr": expr, "legendFormat": legend or "__auto", "editorMode": "code"}
    if table or instant:
        target |= {"instant": True, "range": False}
    else:
        target |= {"instant": False, "range": True}
    return target | ({"format": "table"} if table else {"format": "time_series"})


def steps(*bounds: tuple[float | None, str]) -> Json:
    """Return thresholds: each colour applies from its value on."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in bounds]}


def texts(mapping: Mapping[str, tuple[str, str]]) -> list[Json]:
    """Return a value mapping, with the text and the colour of each value."""
    options = {
        value: {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(mapping.items())
    }
    return [{"type": "value", "options": options}]


YES_NO = texts({"1": ("yes", GREEN), "0": ("no", RED)})
STATES = texts({state: (state, colour) for state, colour in STATE_COLOURS.items()})


def panel(kind: str, title: str, description: str, unit: str, targets: Sequence[Json], **defaults: Any) -> Json:
    """Return a panel without its position. unit is one of Grafana's; defaults are decimals, thresholds and so on."""
    letters = [{**target, "refId": chr(ord("A") + index)} for index, target in enumerate(targets)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": letters,
        "fieldConfig": {"defaults": {"unit": unit, **defaults}, "overrides": []},
    }


def stat(title: str, description: str, unit: str, expr: str, legend: str = "", **defaults: Any) -> Json:
    """Return a panel with one number, or with the text of its legend."""
    found = panel("stat", title, description, unit, [query(expr, legend, instant=True)], **defaults)
    found["fieldConfig"]["defaults"].setdefault("thresholds", steps((None, BLUE)))
    found["options"] = {
        "colorMode": "background_solid" if "mappings" in defaults or "thresholds" in defaults else "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "name" if legend else "value",
        "wideLayout": True,
    }
    return found


def lines(title: str, description: str, unit: str, *targets: Json, stacked: bool = False, **defaults: Any) -> Json:
    """Return a panel of values over time."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter" if stacked else "linear",
        "lineWidth": 1,
        "fillOpacity": 40 if stacked else 5,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    found = panel("timeseries", title, description, unit, targets, custom=custom, **defaults)
    found["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return found


def timeline(title: str, description: str, mappings: list[Json], *targets: Json) -> Json:
    """Return a panel of states over time."""
    custom = {"fillOpacity": 80, "lineWidth": 0}
    found = panel("state-timeline", title, description, "none", targets, custom=custom, mappings=mappings)
    found["options"] = {
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "mergeValues": True,
        "rowHeight": 0.9,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return found


def table(title: str, description: str, queries: Mapping[str, tuple[str, str]], link: str) -> Json:
    """Return a table whose columns are the labels and the values of its queries, each value with its unit.

    For a query without a name, omit the value and show the label `state` as a column. link is the dashboard to which
    the hosts link.
    """
    targets = [query(expr, table=True) for expr, _unit in queries.values()]
    found = panel("table", title, description, "none", targets, custom={"align": "auto", "filterable": True})
    letters = {f"Value #{chr(ord('A') + index)}": column for index, column in enumerate(queries)}
    columns = ["instance", "pair", "source_name", "source_address", "state", *letters]
    organized: Json = {
        "excludeByName": {"Time": True, **{name: True for name, column in letters.items() if not column}},
        "indexByName": {name: index for index, name in enumerate(columns)},
        "renameByName": {**COLUMN_NAMES, **{name: column for name, column in letters.items() if column}},
    }
    found["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organized}]
    overrides: list[Json] = [
        {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "unit", "value": unit}]}
        for column, (_expr, unit) in queries.items()
        if column
    ]
    coloured: list[Json] = [
        {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        {"id": "mappings", "value": STATES},
    ]
    overrides.append({"matcher": {"id": "byName", "options": "State"}, "properties": coloured})
    if link:
        url = (
            f"/d/{TAG}-{link}?var-instance=${{__data.fields.Host}}&var-datasource=${{datasource}}&${{__url_time_range}}"
        )
        links = [{"title": f"Open the dashboard of this {link}", "url": url}]
        overrides.append(
            {"matcher": {"id": "byName", "options": "Host"}, "properties": [{"id": "links", "value": links}]}
        )
    found["fieldConfig"]["overrides"] = overrides
    found["options"] = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": []}
    return found


def placed(*rows: tuple[int, Sequence[Json]]) -> list[Json]:
    """Return panels with their positions. Each row has a height, and its panels share the width."""
    found: list[Json] = []
    top = 0
    for height, panels in rows:
        width = COLUMNS // len(panels)
        for index, item in enumerate(panels):
            place = {"x": index * width, "y": top, "w": width, "h": height}
            found.append({"id": len(found) + 1, **item, "gridPos": place})
        top += height
    return found


def variable(name: str, label: str, values: str, several: bool) -> Json:
    """Return a variable of a dashboard, with the values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": values, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}} if several else {}),
    }


def dashboard(name: str, title: str, description: str, variables: Sequence[Json], panels: list[Json]) -> Json:
    """Return a dashboard, with links to the other ones by their tag."""
    link = {
        "title": "Clocks and NTS",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": False,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
    }
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}
    return {
        "uid": f"{TAG}-{name}",
        "title": title,
        "description": description,
        "tags": [TAG],
        "links": [link],
        "schemaVersion": 42,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "panels": panels,
    }


NONE_IS_GOOD = steps((None, GREEN), (1, RED))


def fleet() -> Json:
    """Return the dashboard of all hosts."""
    # Long: one list of panels, which is read as a whole.
    totals = [
        stat("Hosts with metrics", "Hosts whose metrics Prometheus has.", "none", f"count(chrony_up{{{HOST}}})"),
        stat(
            "Authenticated",
            "Part of the hosts whose clock follows authenticated time.",
            "percentunit",
            f"avg(chrony_nts_authenticated{{{HOST}}})",
            decimals=1,
            thresholds=steps((None, RED), (0.95, YELLOW), (1, GREEN)),
        ),
        stat(
            "Below their goal",
            "Hosts that do not reach their goal: authenticated time, or for some servers a synchronised clock.",
            "none",
            f"count(chrony_nts_goal_reached{{{HOST}}} == 0) or vector(0)",
            thresholds=NONE_IS_GOOD,
        ),
        stat(
            "Unauthenticated",
            "Hosts that follow a source without NTS and without a key, which no authenticated source confirms.",
            "none",
            f"count(chrony_nts_unauthenticated_selected{{{HOST}}} == 1 unless chrony_nts_authenticated == 1)"
            " or vector(0)",
            thresholds=NONE_IS_GOOD,
        ),
        stat(
            "chronyd is down",
            "Hosts whose chronyd does not answer.",
            "none",
            f"count(chrony_up{{{HOST}}} == 0) or vector(0)",
            thresholds=NONE_IS_GOOD,
        ),
        stat(
            "Metrics are old",
            "Hosts whose collector has missed its last runs. What the other panels show of them is old.",
            "none",
            f"count({AGE} > {MISSED_RUNS} * chrony_collector_interval_seconds{{{HOST}}}) or vector(0)",
            thresholds=NONE_IS_GOOD,
        ),
    ]
    bound = f"chrony_clock_error_bound_seconds{{{HOST}}}"
    offset = f"abs(chrony_tracking_system_time_seconds{{{HOST}}})"
    hosts = {
        "": (f"max by (instance, state) (chrony_nts_state_info{{{HOST}}})", "none"),
        "Error bound": (f"max by (instance) ({bound})", "s"),
        "Offset": (f"max by (instance) ({offset})", "s"),
        "Stratum": (f"max by (instance) (chrony_tracking_stratum{{{HOST}}})", "none"),
        "Authenticated sources": (
            f'max by (instance) (chrony_nts_sources{{{HOST},state="authenticated"}})',
            "none",
        ),
        "Fewest cookies": (f"min by (instance) (chrony_authdata_cookies{{{HOST}}})", "none"),
    }
    certificates = {
        "Ends in": (
            f"min by (instance, pair) (chrony_nts_server_certificate_not_after_timestamp_seconds{{{HOST}}}) - time()",
            "s",
        ),
        "Is served": (
            f"min by (instance, pair) (chrony_nts_server_certificate_served_matches_file{{{HOST}}})",
            "bool_yes_no",
        ),
        "Probe passes": (f"min by (instance, pair) (chrony_nts_server_probe_success{{{HOST}}})", "bool_yes_no"),
    }
    return dashboard(
        "fleet",
        "NTS: fleet",
        "Which hosts have no authenticated time, and which clocks are worst.",
        [variable("instance", "Hosts", "label_values(chrony_up, instance)", True)],
        placed(
            (4, totals),
            (
                8,
                [
                    lines(
                        "Hosts by state",
                        "States of docs/verdict.md.",
                        "none",
                        query(f"sum by (state) (chrony_nts_state_info{{{HOST}}})", "{{state}}"),
                        stacked=True,
                        min=0,
                    ),
                    lines(
                        "Error bound of the clocks",
                        "Largest possible error: remaining correction, root dispersion and half of the root delay.",
                        "s",
                        query(f"max({bound})", "worst"),
                        query(f"quantile(0.95, {bound})", "95 % are better"),
                        query(f"quantile(0.5, {bound})", "median"),
                        min=0,
                    ),
                    lines(
                        "Offset of the clocks",
                        "Correction that remains to be applied, without its sign.",
                        "s",
                        query(f"max({offset})", "worst"),
                        query(f"quantile(0.95, {offset})", "95 % are better"),
                        query(f"quantile(0.5, {offset})", "median"),
                        min=0,
                    ),
                ],
            ),
            (12, [table("All hosts", "A row for each host. Follow the name to its dashboard.", hosts, "host")]),
            (
                8,
                [
                    table(
                        "Certificates of the servers",
                        "A row for each certificate of an NTS server. Follow the name to the server's dashboard.",
                        certificates,
                        "server",
                    ),
                    lines(
                        "Clients by protocol",
                        "Clients of all servers: nts has made a key exchange within 35 days, plain has not. Needs"
                        " chrony_monitor_clients.",
                        "none",
                        query(f"sum by (protocol) (chrony_clients{{{HOST}}})", "{{protocol}}"),
                        stacked=True,
                        min=0,
                    ),
                ],
            ),
        ),
    )


def host() -> Json:
    """Return the dashboard of one host."""
    # Long: one list of panels, which is read as a whole.
    now = [
        stat(
            "State",
            "States of docs/verdict.md.",
            "none",
            f"chrony_nts_state_info{{{HOST}}} == 1",
            "{{state}}",
        ),
        stat(
            "Authenticated",
            "Whether the clock follows authenticated time.",
            "none",
            f"chrony_nts_authenticated{{{HOST}}}",
            mappings=YES_NO,
        ),
        stat(
            "Follows",
            "The source that chronyd follows.",
            "none",
            f"chrony_tracking_info{{{HOST}}}",
            "{{tracking_name}}",
        ),
        stat("Stratum", "0 while the clock is not synchronised.", "none", f"chrony_tracking_stratum{{{HOST}}}"),
        stat(
            "Error bound",
            "Largest possible error: remaining correction, root dispersion and half of the root delay.",
            "s",
            f"chrony_clock_error_bound_seconds{{{HOST}}}",
            thresholds=steps((None, GREEN), (ERROR_BOUNDS[0], YELLOW), (ERROR_BOUNDS[1], RED)),
        ),
        stat(
            "Age of the metrics",
            "Time since the last run of the collector, by the clock of Prometheus, as a multiple of its interval.",
            "none",
            f"({AGE}) / chrony_collector_interval_seconds{{{HOST}}}",
            thresholds=steps((None, GREEN), (MISSED_RUNS, RED)),
        ),
    ]
    name = "{{source_name}}"
    sources = {
        "": (f"max by (source_name, source_address, state) (chrony_nts_source_state_info{{{HOST}}})", "none"),
        "Reach": (f"max by (source_name, source_address) (chrony_sources_reachability_ratio{{{HOST}}})", "percentunit"),
        "Stratum": (f"max by (source_name, source_address) (chrony_sources_stratum{{{HOST}}})", "none"),
        "Poll": (f"max by (source_name, source_address) (chrony_sources_polling_interval_seconds{{{HOST}}})", "s"),
        "Last sample": (
            f"max by (source_name, source_address) (chrony_sources_last_sample_age_seconds{{{HOST}}})",
            "s",
        ),
        "Last key exchange": (
            f"max by (source_name, source_address) (chrony_authdata_last_key_establishment_age_seconds{{{HOST}}})",
            "s",
        ),
        "Key exchanges": (
            f"max by (source_name, source_address) (chrony_authdata_key_establishments_total{{{HOST}}})",
            "none",
        ),
    }
    return dashboard(
        "host",
        "NTS: host",
        "What one host follows, how well, and since when.",
        [variable("instance", "Host", "label_values(chrony_up, instance)", False)],
        placed(
            (4, now),
            (
                8,
                [
                    lines(
                        "Offset and error bound of the clock",
                        "The clock is within the bounds. Positive: the clock is behind.",
                        "s",
                        query(f"chrony_tracking_system_time_seconds{{{HOST}}}", "offset"),
                        query(f"chrony_clock_error_bound_seconds{{{HOST}}}", "bound"),
                        query(f"-chrony_clock_error_bound_seconds{{{HOST}}}", "bound, other side"),
                    ),
                    lines(
                        "Frequency",
                        "Rate by which the clock would be wrong without chronyd, and how well chronyd knows it.",
                        "ppm",
                        query(f"chrony_tracking_frequency_ppms{{{HOST}}}", "frequency"),
                        query(f"chrony_tracking_skew_ppms{{{HOST}}}", "error bound"),
                    ),
                ],
            ),
            (
                8,
                [
                    table(
                        "Sources",
                        "A row for each source. State is the verdict of docs/verdict.md.",
                        sources,
                        "",
                    )
                ],
            ),
            (
                8,
                [
                    lines(
                        "Offset of the sources",
                        "Of the last sample of each source. Positive: the clock is ahead.",
                        "s",
                        query(f"chrony_sources_last_sample_offset_seconds{{{HOST}}}", name),
                    ),
                    lines(
                        "Cookies",
                        "Cookies that are left for each source, at most 8. Without an answer each request costs one.",
                        "none",
                        query(f"chrony_authdata_cookies{{{HOST}}}", name),
                        min=0,
                        max=8,
                    ),
                    lines(
                        "Failed key exchanges",
                        "Attempts of the key exchange since the last authenticated answer. More than 1: it fails.",
                        "none",
                        query(f"chrony_authdata_key_establishment_attempts{{{HOST}}}", name),
                        min=0,
                    ),
                ],
            ),
        ),
    )


def server() -> Json:
    """Return the dashboard of one NTS server."""
    # Long: one list of panels, which is read as a whole.
    left = f"min by (pair, place) (chrony_nts_server_certificate_not_after_timestamp_seconds{{{PAIR}}}) - time()"
    counter = "chrony_serverstats_"

    def rate(name: str) -> str:
        return f"rate({counter}{name}{{{HOST}}}[$__rate_interval])"

    now = [
        stat(
            "Serves NTS",
            "Whether the last probe by the server itself got an authenticated answer, with every certificate.",
            "none",
            f"min(chrony_nts_server_probe_success{{{PAIR}}})",
            mappings=YES_NO,
        ),
        stat(
            "Certificate ends in",
            "The first end of the certificates in the files and of those that are served.",
            "s",
            f"min({left})",
            thresholds=steps((None, RED), (CERTIFICATE_DAYS[1] * DAY, YELLOW), (CERTIFICATE_DAYS[0] * DAY, GREEN)),
        ),
        stat(
            "File is served",
            "Whether chronyd serves the certificates that are in the files.",
            "none",
            f"min(chrony_nts_server_certificate_served_matches_file{{{PAIR}}})",
            mappings=YES_NO,
        ),
        stat(
            "Age of the keys",
            "Time since chronyd saved the keys of its cookies. Missing without ntsdumpdir.",
            "s",
            f"chrony_nts_server_keys_age_seconds{{{HOST}}}",
        ),
        stat(
            "Clients without NTS",
            "Clients that made no key exchange within 35 days. Needs chrony_monitor_clients.",
            "none",
            f'chrony_clients{{{HOST},protocol="plain"}}',
        ),
        stat("Stratum", "0 while the clock is not synchronised.", "none", f"chrony_tracking_stratum{{{HOST}}}"),
    ]
    stage = "{{pair}} {{stage}}"
    return dashboard(
        "server",
        "NTS: server",
        "Whether one server serves NTS, until when, and to how many clients.",
        [
            variable("instance", "Server", "label_values(chrony_nts_server_probe_success, instance)", False),
            variable("pair", "Certificate", f"label_values(chrony_nts_server_probe_success{{{HOST}}}, pair)", True),
        ],
        placed(
            (4, now),
            (
                8,
                [
                    timeline(
                        "Probe by stage",
                        "The first stage that fails is the cause: dns name, tcp port, tls certificate, ke key exchange,"
                        " ntp authenticated answer.",
                        texts({"1": ("passed", GREEN), "0": ("failed", RED)}),
                        query(f"min by (pair, stage) (chrony_nts_server_probe_success{{{PAIR}}})", stage),
                    ),
                    lines(
                        "Duration of the probe",
                        "Time that each stage took.",
                        "s",
                        query(f"chrony_nts_server_probe_duration_seconds{{{PAIR}}}", stage),
                        min=0,
                    ),
                ],
            ),
            (
                8,
                [
                    lines(
                        "Key exchanges",
                        "NTS-KE connections a second, without those of the probe. Dropped by ntsratelimit.",
                        "reqps",
                        query(rate("nts_ke_connections_accepted_total"), "accepted"),
                        query(rate("nts_ke_connections_dropped_total"), "dropped"),
                        min=0,
                    ),
                    lines(
                        "NTP requests",
                        "NTP requests a second. Dropped by ratelimit.",
                        "reqps",
                        query(rate("ntp_packets_received_total"), "all"),
                        query(rate("authenticated_ntp_packets_total"), "with NTS or a key"),
                        query(rate("ntp_packets_dropped_total"), "dropped"),
                        min=0,
                    ),
                ],
            ),
            (
                8,
                [
                    lines(
                        "Time left of the certificates",
                        "In the file, and as served. A renewal is a step upwards, of both lines.",
                        "s",
                        query(left, "{{pair}} {{place}}"),
                    ),
                    lines(
                        "Clients by protocol",
                        "nts has made a key exchange within 35 days, plain has not. Needs chrony_monitor_clients.",
                        "none",
                        query(f"chrony_clients{{{HOST}}}", "{{protocol}}"),
                        stacked=True,
                        min=0,
                    ),
                ],
            ),
        ),
    )


def files() -> dict[Path, str]:
    """Return the content of each dashboard's file."""
    made = {"fleet": fleet(), "host": host(), "server": server()}
    return {FOLDER / f"{name}.json": json.dumps(content, indent=2) + "\n" for name, content in made.items()}


def main() -> int:
    """Write the files of the dashboards."""
    FOLDER.mkdir(exist_ok=True)
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
