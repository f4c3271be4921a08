# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules, dashboards and their pages agree with each other and with the collector's table of metrics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ansible_collections.securetime.nts.monitoring import alerts, dashboards
from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import BY_NAME
from ansible_collections.securetime.nts.plugins.module_utils._monitor.nagios import PARTS_OF_LIFETIME, THRESHOLDS

ROOT = Path(__file__).parents[1]
PAGE = alerts.PAGE.read_text()
RULES = yaml.safe_load(alerts.RULES.read_text())["groups"][0]["rules"]
CASES = yaml.safe_load((alerts.RULES.parent / "securetime-nts.test.yml").read_text())["tests"]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in dashboards.files()}
NAMES = [alert.name for alert in alerts.ALERTS]
# Metrics of Prometheus, and of node_exporter's collectors time and timex.
OTHERS = {"up": (), "node_time_seconds": (), "node_timex_sync_status": (), "node_timex_maxerror_seconds": ()}
TARGET = ("instance", "job")
# Words of PromQL that are not metrics; functions and aggregations stand before a bracket.
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
MODIFIERS = r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"


class Query(NamedTuple):
    """The names in a query: metrics, each with the labels of its matchers, and the labels of its grouping."""

    metrics: list[tuple[str, set[str]]]
    grouped: set[str]
    dropped: set[str]


def read(expr: str) -> Query:
    """Return the names in a query."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    grouped, dropped = set(), set()
    for word, labels in re.findall(MODIFIERS, text):
        names = set(re.findall(r"\w+", labels))
        grouped |= names
        dropped |= names if word == "without" else set()
    text = re.sub(MODIFIERS, " ", text)
    text = re.sub(r"\[[^\]]*\]|\$\w+|\boffset\s+\w+", " ", text)
    metrics = []
    for name, call, matchers in re.findall(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(\(?)(\{[^}]*\})?", text):
        if not call and name not in WORDS:
            metrics.append((name, set(re.findall(r"(\w+)\s*[=!]", matchers))))
    return Query(metrics, grouped, dropped)


def labels_of(name: str) -> set[str]:
    """Return the labels of a metric or of a recording rule, with those of its target."""
    records = {record.name: record.expr for record in alerts.RECORDS}
    if name in records:
        query = read(records[name])
        return set().union(*(labels_of(metric) for metric, _matched in query.metrics)) - query.dropped
    return {*(BY_NAME[name].labels if name in BY_NAME else OTHERS[name]), *TARGET}


def misuses(expr: str) -> Iterator[str]:
    """Yield the names in a query that the table of metrics lacks."""
    query = read(expr)
    known = {*BY_NAME, *OTHERS, *(record.name for record in alerts.RECORDS)}
    used = {name for name, _matched in query.metrics}
    yield from sorted(used - known)
    for name, matched in query.metrics:
        if name in known:
            yield from (f"{name}: {label}" for label in sorted(matched - labels_of(name)))
    available = set().union(*(labels_of(name) for name in used & known))
    yield from sorted(query.grouped - available)


def expressions() -> dict[str, str]:
    """Return the expressions of all rules, by the names of the rules."""
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES}


def sections() -> dict[str, str]:
    """Return the sections of docs/alerts.md, by their titles."""
    found = re.split(r"^### ", PAGE.partition("\n## The alerts\n")[2].partition("\n## ")[0], flags=re.MULTILINE)
    return {section.partition("\n")[0]: section for section in found[1:]}


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_files_of_rules_follow_from_their_table() -> None:
    differing = [path.name for path, content in alerts.files().items() if path.read_text() != content]
    assert differing == [], "run: make monitoring"


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert list(sections()) == NAMES
    for title, text in sections().items():
        assert [part for part in ("**Means**", "**Confirm**") if part not in text] == [], title
        assert re.search(r"\*\*[Dd]o\*\*", text), title
        assert "`" in text, title


def test_every_runbook_is_an_anchor_of_the_page() -> None:
    links = [rule["annotations"]["runbook_url"] for rule in RULES if "alert" in rule]
    assert {link.partition("#")[0] for link in links} == {alerts.RUNBOOKS}
    assert alerts.RUNBOOKS.endswith(str(alerts.PAGE.relative_to(ROOT)))
    assert {link.partition("#")[2] for link in links} - anchors(PAGE) == set()
    assert len(set(links)) == len(NAMES)


def test_links_of_the_page_lead_to_headings() -> None:
    links = re.findall(r"\]\(([\w.]*)#([\w-]+)\)", PAGE)
    assert len(links) > 20
    broken = [
        (page, anchor)
        for page, anchor in links
        if anchor not in anchors((ROOT / "docs" / (page or "alerts.md")).read_text())
    ]
    assert broken == []


def test_every_alert_says_what_is_wrong_and_how_bad() -> None:
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
            assert len(rule["annotations"]["summary"]) <= 150, rule["alert"]
            assert "{{ $labels.instance }}" in rule["annotations"]["summary"], rule["alert"]


def test_annotations_use_labels_that_the_alert_has() -> None:
    for rule in RULES:
        if "alert" in rule:
            query = read(rule["expr"])
            had = set().union(*(labels_of(name) for name, _matched in query.metrics)) - query.dropped
            used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
            assert used - had == set(), rule["alert"]


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_a_firing_and_a_silent_case(name: str) -> None:
    cases = {case["name"]: case for case in CASES}
    firing, silent = cases[f"{name} fires"], cases[f"{name} is silent"]
    expected = {case["name"]: [test["exp_alerts"] for test in case["alert_rule_test"]] for case in (firing, silent)}
    assert expected[firing["name"]][-1] != []
    # A silent case must be silent by its values, and not for lack of samples.
    assert silent["input_series"]
    assert not any(expected[silent["name"]])
    assert {test["alertname"] for case in (firing, silent) for test in case["alert_rule_test"]} == {name}
    if next(alert.minutes for alert in alerts.ALERTS if alert.name == name):
        assert expected[firing["name"]][0] == [], "a moment before it fires"


def test_there_is_no_case_without_an_alert() -> None:
    assert [case["name"] for case in CASES] == [f"{name} {how}" for name in NAMES for how in ("fires", "is silent")]


def test_rules_use_metrics_and_labels_that_the_collector_has() -> None:
    assert {name: found for name, expr in expressions().items() if (found := list(misuses(expr)))} == {}


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("chrony_upp == 0", ["chrony_upp"]),
        ('chrony_up{source="a"} == 0', ["chrony_up: source"]),
        ('min by (stage) (chrony_nts_server_probe_success{place="file"})', ["chrony_nts_server_probe_success: place"]),
        ("sum without (pair) (chrony_up)", ["pair"]),
        ('rate(chrony_nts_server_probe_connections_total{instance=~"$host"}[$__rate_interval] offset 1h) > bool 1', []),
        ("instance:chrony_sources_reachable:count < 3 and on (source_name) chrony_up", ["source_name"]),
    ],
)
def test_a_wrong_name_in_a_query_is_found(expr: str, found: list[str]) -> None:
    assert list(misuses(expr)) == found


def test_cases_have_the_series_that_the_collector_writes() -> None:
    for case in CASES:
        for series in case["input_series"]:
            name, _bracket, labels = series["series"].partition("{")
            wanted = {*(BY_NAME[name].labels if name in BY_NAME else OTHERS[name]), *TARGET}
            assert set(re.findall(r'(\w+)="', labels)) == wanted, series


def test_the_limits_are_those_of_the_plugin_for_nagios() -> None:
    limits = {limit.name: limit.default for limit in alerts.LIMITS}
    assert THRESHOLDS["stratum"][0] == limits["stratum"]
    assert THRESHOLDS["offset"][0] == limits["offset_seconds"]
    assert THRESHOLDS["root_distance"] == (limits["error_bound_seconds"], limits["error_bound_critical_seconds"])
    assert THRESHOLDS["cookies"][0] == limits["cookies"]
    assert THRESHOLDS["certificate_days"] == (limits["certificate_days"], limits["certificate_critical_days"])
    percents = limits["certificate_percent"], limits["certificate_critical_percent"]
    assert tuple(100 * part for part in PARTS_OF_LIFETIME) == percents


def test_every_limit_is_used() -> None:
    used = {name for alert in alerts.ALERTS for name in re.findall(r"%\((\w+)\)s", alert.expr)}
    assert used == {limit.name for limit in alerts.LIMITS}


def test_no_alert_silences_a_more_severe_one_or_by_a_label_that_it_lacks() -> None:
    by_name = {rule["alert"]: rule for rule in RULES if "alert" in rule}
    for rule in alerts.INHIBITIONS:
        for target in rule.targets:
            pair = by_name[rule.source], by_name[target]
            assert pair[0]["labels"]["severity"] in ("critical", pair[1]["labels"]["severity"]), (rule.source, target)
            for alert in pair:
                query = read(alert["expr"])
                had = set().union(*(labels_of(name) for name, _matched in query.metrics)) - query.dropped
                assert set(rule.equal) <= had, alert["alert"]


def generated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the rules in the output of alerts.py, by their names."""
    assert alerts.main(arguments) == 0
    rules = yaml.safe_load(capsys.readouterr().out)["groups"][0]["rules"]
    return {rule.get("alert") or rule["record"]: rule for rule in rules}


def test_an_operator_changes_limits_by_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert alerts.main([]) == 0
    assert capsys.readouterr().out == alerts.RULES.read_text()
    options = ["--set", "stratum=4", "--set", 'node_jobs=a"b', "--without", "ChronyDown", "--speed-up", "30"]
    changed = generated(capsys, *options, "--runbooks", "https://wiki.example.org/clock")
    assert set(expressions()) - set(changed) == {"ChronyDown"}
    assert changed["ChronyStratumHigh"]["expr"] == "chrony_tracking_stratum > 4"
    assert changed["ChronyMetricsMissing"]["expr"].startswith('up{job=~"a\\"b"} ')
    assert changed["ChronyStratumHigh"]["for"] == "30s"
    assert (
        changed["ChronyStratumHigh"]["annotations"]["runbook_url"] == "https://wiki.example.org/clock#chronystratumhigh"
    )
    assert "[10s]" in changed["ChronyKernelClockNotSynchronised"]["expr"]
    assert "[2880s:20s] offset 120s" in changed["ChronyKeyExchangeStorm"]["expr"]
    alerts.main(options)
    assert capsys.readouterr().out.splitlines()[2:5] == [
        '# With --set node_jobs=a\\"b',
        "# With --set stratum=4",
        "# With --without ChronyDown",
    ]


@pytest.mark.parametrize("setting", ["strata=4", "stratum=high", "stratum", "stratum=-1", "stratum=1e"])
def test_a_wrong_limit_is_refused_by_its_name(capsys: pytest.CaptureFixture[str], setting: str) -> None:
    with pytest.raises(SystemExit):
        alerts.main(["--set", setting])
    assert setting.partition("=")[0] in capsys.readouterr().err


def test_the_inhibition_rules_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert alerts.main(["--inhibitions"]) == 0
    assert capsys.readouterr().out == alerts.INHIBITIONS_FILE.read_text()


def values_of(key: str, item: Any) -> Iterator[Any]:
    """Yield every value of a key at any depth of a dashboard."""
    children = item.items() if isinstance(item, dict) else enumerate(item if isinstance(item, list) else ())
    for name, child in children:
        if name == key:
            yield child
        yield from values_of(key, child)


each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def test_the_files_of_dashboards_follow_from_their_program() -> None:
    differing = [path.name for path, content in dashboards.files().items() if path.read_text() != content]
    assert differing == [], "run: make monitoring"
    assert {path.name for path in dashboards.FOLDER.iterdir()} == {f"{name}.json" for name in DASHBOARDS}


@each_dashboard
def test_the_data_source_of_a_dashboard_is_a_variable(name: str) -> None:
    variables = {item["name"]: item for item in DASHBOARDS[name]["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    text = json.dumps(DASHBOARDS[name])
    sources = list(values_of("datasource", DASHBOARDS[name]))
    assert len(sources) > len(DASHBOARDS[name]["panels"])
    assert [source for source in sources if source != {"type": "prometheus", "uid": "${datasource}"}] == []
    asked = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__url_time_range", "__data", "__all"}
    assert asked <= set(variables)


@each_dashboard
def test_a_dashboard_is_readable(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert len(panels) <= 12
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _y in cells) < dashboards.COLUMNS


@each_dashboard
def test_a_dashboard_uses_metrics_and_labels_that_the_collector_has(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    found = {panel["title"]: [*misuses(target["expr"])] for panel in panels for target in panel["targets"]}
    assert {title: wrong for title, wrong in found.items() if wrong} == {}
    for variable in DASHBOARDS[name]["templating"]["list"][1:]:
        expr, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        assert list(misuses(f"sum by ({label}) ({expr})")) == []
    records = {record.name for record in alerts.RECORDS}
    used = {name for panel in panels for target in panel["targets"] for name, _m in read(target["expr"]).metrics}
    assert used & records == set(), "the dashboards need no rules"


@each_dashboard
def test_legends_use_labels_that_the_query_has(name: str) -> None:
    for panel in DASHBOARDS[name]["panels"]:
        for target in panel["targets"]:
            query = read(target["expr"])
            had = set().union(*(labels_of(metric) for metric, _matched in query.metrics)) - query.dropped
            if " by (" in target["expr"]:
                had = query.grouped
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= had, panel["title"]


def test_dashboards_lead_to_each_other() -> None:
    uids = {item["uid"] for item in DASHBOARDS.values()}
    assert len(uids) == len(DASHBOARDS)
    for item in DASHBOARDS.values():
        assert item["links"][0]["tags"] == item["tags"] == [dashboards.TAG]
    links = re.findall(r'"url": "/d/([\w-]+)\?', json.dumps(DASHBOARDS))
    assert set(links) == {f"{dashboards.TAG}-host", f"{dashboards.TAG}-server"} <= uids


def test_the_page_names_every_dashboard_and_the_schema_that_checks_them() -> None:
    assert re.findall(r"^\| `(\w+)\.json` \|", PAGE, re.MULTILINE) == list(DASHBOARDS)
    packages = json.loads((ROOT / "tests/dashboards/package.json").read_text())["dependencies"]
    assert f"`@grafana/schema` ({packages['@grafana/schema']})" in PAGE


def test_dashboards_have_the_limits_of_the_alerts() -> None:
    limits = {limit.name: limit.default for limit in alerts.LIMITS}
    assert limits["missed_runs"] == dashboards.MISSED_RUNS
    assert (limits["error_bound_seconds"], limits["error_bound_critical_seconds"]) == dashboards.ERROR_BOUNDS
    assert (limits["certificate_days"], limits["certificate_critical_days"]) == dashboards.CERTIFICATE_DAYS
