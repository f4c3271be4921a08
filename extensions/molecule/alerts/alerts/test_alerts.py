# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cause real faults on several hosts at once, and check the reaction of a real Prometheus and Alertmanager.

Prometheus, Alertmanager and node_exporter are Debian's packages. `alerts.py --speed-up 30` divides the rules' waiting
times and look-back windows by 30. No assertion is about seconds: the tests derive whether an alert fired in time from
the samples that Prometheus stored, so a busy controller changes nothing. The tests record the seconds in
docs/alerts.md.

Long: the list of faults and the tests that judge each fault share one lab and one set of queries.
"""

from __future__ import annotations

import datetime
import json
import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import yaml
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.monitoring import alerts, dashboards
from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.lab.hosts import wait_until
from ansible_collections.securetime.nts.tests.stages import run as stages

SPEED_UP = 30
COLLECTOR_SECONDS = 10
SCRAPE_SECONDS = EVALUATION_SECONDS = 5
# Delay that collector, scrape and evaluation add to an alert's own waiting time, on an idle controller.
PIPELINE_SECONDS = COLLECTOR_SECONDS + SCRAPE_SECONDS + EVALUATION_SECONDS
# Ten times the delay of the slowest alert.
WAIT_SECONDS = 10 * (3600 / SPEED_UP + PIPELINE_SECONDS)
# No alert may be pending or firing for this long before the first fault.
QUIET_SECONDS = 60
HEALTHY = ("nts1", "nts2", "client-debian12", "client-debian13", "client-el", "client-local")
RULES = "/etc/prometheus/securetime-nts.yml"
BY_NAME = {alert.name: alert for alert in alerts.ALERTS}
LIMITS = {limit.name: limit.default for limit in alerts.LIMITS}
# Maximum age of the collector's last run.
STALE_SECONDS = float(LIMITS["missed_runs"]) * COLLECTOR_SECONDS
RUN_OF_COLLECTOR = "chrony_collector_last_run_timestamp_seconds"
# The samples of this series mark the times at which Prometheus evaluated the rules.
EVALUATED = "instance:chrony_sources_configured:count"
# Alerts that may fire besides those of a fault. The first two are correct on an overloaded controller. ChronyDown waits
# 10 s here: a collector run that meets a restart of chronyd is the last run for 10 s.
TOLERATED = {"ChronyCollectorStale", "ChronyMetricsMissing", "ChronyDown"}

# Runs on the host of Prometheus. Each input line is a path with a query; each output line is its answer.
ASK = """
import json, sys, urllib.request
for line in sys.stdin.read().splitlines():
    try:
        with urllib.request.urlopen("http://localhost:" + line, timeout=60) as answer:
            print(answer.read().decode().replace(chr(10), " "))
    except OSError as error:
        print(json.dumps({"error": str(error)}))
"""

SERVER = "/etc/chrony/nts/server"
AUTHORITY = "/etc/chrony/nts/staging/server/ownca/issuing"
TRUSTED = "/etc/chrony/nts/trusted.pem"
SOURCES = "/etc/chrony/nts-sources.d/*.sources"
RESTART = "systemctl restart chronyd"
# The state of a client's first start: no cookies and no saved measurements.
START_ANEW = "systemctl stop chronyd; rm -f /var/lib/chrony/*.nts /var/lib/chrony/*.dat; systemctl start chronyd"
FILTER = "nft add table inet fault; nft add chain inet fault out '{ type filter hook output priority 0; }'; "
NEW_CERTIFICATE = f"""
openssl req -new -key {SERVER}.key -subj /CN=nts2 -addext subjectAltName=DNS:nts2 |
  openssl x509 -req -CA {AUTHORITY}.pem -CAkey {AUTHORITY}.key -copy_extensions copy -out /root/new.pem \
    -not_before $(date -u -d '-60 days' +%Y%m%d%H%M%SZ) -not_after $(date -u -d '+1 day' +%Y%m%d%H%M%SZ)
cp -a {SERVER}.pem /root/before.pem
cat /root/new.pem {AUTHORITY}.pem >{SERVER}.pem
"""


class Fault(NamedTuple):
    """A fault of a host: the command that causes it, the command that repairs it, and the alerts that it must fire.

    `runs` is the number of collector runs until the metrics show the fault, because chronyd retries before it fails.
    `others` are alerts that the same fault can fire. `text` goes into docs/alerts.md.
    """

    text: str
    host: str
    alerts: tuple[str, ...]
    do: str
    repair: str
    runs: int = 1
    others: tuple[str, ...] = ()


# Further alerts that a client without its only server can fire.
WITHOUT_SERVER = (
    "ChronyNotSynchronised",
    "ChronyNotAuthenticated",
    "ChronyTooFewSources",
    "ChronyKeyExchangeFailing",
    "ChronyCookiesRunningOut",
    "ChronyMeasurementsStopped",
    "ChronyClockErrorBoundHigh",
    "ChronyClockErrorBoundCritical",
)
# The faults of one host run one after the other; the hosts run in parallel.
FAULTS = (
    Fault(
        "the server's key unreadable for chronyd",
        "nts2",
        ("ChronyServerProbeFailed",),
        f"chown root:root {SERVER}.key; chmod 600 {SERVER}.key; {RESTART}",
        "nts-certificate renew",
    ),
    Fault(
        "a certificate with a day left of 61",
        "nts2",
        ("ChronyCertificateNearlyExpired", "ChronyCertificateExpiring"),
        f"{NEW_CERTIFICATE} {RESTART}",
        "nts-certificate renew",
    ),
    Fault(
        "a new certificate, and no restart of chronyd",
        "nts2",
        ("ChronyCertificateNotLoaded",),
        f"test -s /root/before.pem; cat /root/before.pem >{SERVER}.pem",
        "nts-certificate renew",
    ),
    Fault(
        "a wrong CA on a client without cookies",
        "client-debian12",
        ("ChronyKeyExchangeFailing",),
        f"cp -a {TRUSTED} /root/trusted.pem; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        " -keyout /dev/null -subj /CN=wrong -days 30 -out /root/wrong.pem 2>/dev/null;"
        f" cat /root/wrong.pem >{TRUSTED}; {START_ANEW}",
        f"cat /root/trusted.pem >{TRUSTED}; {RESTART}",
        runs=4,
        others=WITHOUT_SERVER,
    ),
    Fault(
        "node_exporter stopped",
        "client-debian12",
        ("ChronyMetricsMissing",),
        "systemctl stop prometheus-node-exporter",
        "systemctl start prometheus-node-exporter",
    ),
    Fault(
        "TCP port 4460 blocked for a client without cookies",
        "client-debian13",
        ("ChronyNotSynchronised", "ChronyTooFewSources", "ChronyNotAuthenticated"),
        f"{FILTER} nft add rule inet fault out tcp dport 4460 drop; {START_ANEW}",
        f"nft delete table inet fault; {RESTART}",
        runs=2,
        others=WITHOUT_SERVER,
    ),
    Fault(
        "a source whose time is 0.2 s off (option offset)",
        "client-debian13",
        ("ChronyClockErrorBoundHigh", "ChronyClockOffsetHigh"),
        f"sed -i 's/ nts$/ nts offset 0.2/' {SOURCES}; {RESTART}",
        f"sed -i 's/ offset 0.2$//' {SOURCES}; {RESTART}",
        runs=4,
        others=WITHOUT_SERVER,
    ),
    Fault(
        "chronyd stopped",
        "client-el",
        ("ChronyDown", "ChronyNotAuthenticated"),
        "systemctl stop chronyd",
        "systemctl start chronyd",
    ),
    Fault(
        "the collector's timer stopped",
        "client-el",
        ("ChronyCollectorStale",),
        "systemctl stop nts-monitor.timer",
        "systemctl start nts-monitor.timer",
    ),
    Fault(
        "the server gone: the host serves its own clock after a restart",
        "client-local",
        ("ChronyStratumHigh",),
        f"{FILTER} nft add rule inet fault out udp dport 123 drop; {START_ANEW}",
        f"nft delete table inet fault; {RESTART}",
        others=WITHOUT_SERVER,
    ),
    Fault(
        "a source without NTS, and authselectmode ignore",
        "client-local",
        ("ChronyFollowsUnauthenticated",),
        f"sed -i 's/ nts$//' {SOURCES}; sed -i 's/^authselectmode .*/authselectmode ignore/' /etc/chrony/chrony.conf;"
        f" {RESTART}",
        f"sed -i 's/^server .*/& nts/' {SOURCES};"
        f" sed -i 's/^authselectmode .*/authselectmode require/' /etc/chrony/chrony.conf; {RESTART}",
        runs=4,
        others=WITHOUT_SERVER,
    ),
)


class Outcome(NamedTuple):
    """Times at which an alert fired and ended, in seconds since 1970; None where it did not within WAIT_SECONDS.

    `state` is the state of the alert in Alertmanager.
    """

    fault: Fault
    alert: str
    begun: float
    fired: float | None
    state: str
    repaired: float
    ended: float | None


def monitor() -> Host:
    """Return the host of Prometheus."""
    return get_host("ansible://monitor")


def ask(*paths: str) -> list[Any]:
    """Query Prometheus or Alertmanager at each port and path; return the JSON answers."""
    answers = hosts.write(monitor(), f"python3 -c {shlex.quote(ASK)}", "".join(f"{path}\n" for path in paths))
    return [json.loads(line) for line in answers.splitlines()]


def query(*expressions: str) -> list[list[Any]]:
    """Return the series that Prometheus returns for each query."""
    quoted = [f"9090/api/v1/query?{urlencode({'query': expression})}" for expression in expressions]
    found = []
    for expression, answer in zip(expressions, ask(*quoted), strict=True):
        assert "data" in answer, (expression, answer)
        result = answer["data"]["result"]
        found.append(result if answer["data"]["resultType"] != "scalar" else [result])
    return found


def samples(selector: str, since: float) -> list[tuple[float, float]]:
    """Return the times and values of one series that Prometheus has stored since a time."""
    seconds = int(time.time() - since) + 60
    (found,) = query(f"{selector}[{seconds}s]")
    rows = [(float(when), float(value)) for series in found for when, value in series["values"]]
    return sorted(row for row in rows if row[0] >= since)


class Firing:
    """The alerts that fire now, by name and host. All threads together send at most one query a second."""

    def __init__(self) -> None:
        self._lock, self._asked, self._found = threading.Lock(), 0.0, set[tuple[str, str]]()

    def now(self) -> set[tuple[str, str]]:
        """Return the name and host of each firing alert."""
        with self._lock:
            if time.monotonic() - self._asked > 1:
                (found,) = query('ALERTS{alertstate="firing"}')
                self._found = {(row["metric"]["alertname"], host_of(row)) for row in found}
                self._asked = time.monotonic()
            return self._found


def host_of(row: dict[str, Any]) -> str:
    """Return the host of a series."""
    return str(row["metric"]["instance"].partition(":")[0])


def instance(host: str) -> str:
    """Return the matcher of a host's series."""
    return f'instance="{host}:9100"'


def wait_seconds(alert: str) -> float:
    """Return the waiting time of an alert in this lab, in seconds."""
    return max(1.0, BY_NAME[alert].minutes * 60 / SPEED_UP) if BY_NAME[alert].minutes else 0.0


def documented_seconds(alert: str) -> float:
    """Return the longest time in seconds from a fault to its alert by docs/alerts.md, with its waiting time divided."""
    silence = STALE_SECONDS if alert == "ChronyCollectorStale" else 0
    return wait_seconds(alert) + silence + PIPELINE_SECONDS


@pytest.fixture(scope="module")
def firing() -> Firing:
    """Set up Prometheus and Alertmanager as docs/alerts.md says; wait until every host is healthy for QUIET_SECONDS."""
    host = monitor()
    targets = [f"{name}:9100" for name in HEALTHY]
    content = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{EVALUATION_SECONDS}s"},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["localhost:9093"]}]}]},
        "rule_files": [Path(RULES).name],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": targets}]}],
    }
    inhibitions = yaml.safe_load(alerts.INHIBITIONS_FILE.read_text())
    routes = {"route": {"receiver": "nobody", "group_wait": "1s"}, "receivers": [{"name": "nobody"}]}
    hosts.write(host, f"cat >{RULES}", alerts.rules(LIMITS, alerts.ALERTS, alerts.RUNBOOKS, SPEED_UP))
    hosts.write(host, "cat >/etc/prometheus/prometheus.yml", json.dumps(content))
    hosts.write(host, "cat >/etc/prometheus/alertmanager.yml", json.dumps({**routes, **inhibitions}))
    host.check_output("promtool check config /etc/prometheus/prometheus.yml")
    host.check_output("amtool check-config /etc/prometheus/alertmanager.yml")
    services = "prometheus prometheus-alertmanager"
    host.check_output(f"systemctl stop {services}; rm -rf /var/lib/prometheus/metrics2/*; systemctl start {services}")
    wait_until(lambda: "error" not in ask("9090/api/v1/rules")[0], "Prometheus answers", WAIT_SECONDS, 1)

    def well() -> bool:
        # A busy controller may miss a few of the twelve evaluations.
        evaluated, alerted = query(
            f"count(count_over_time({EVALUATED}[{QUIET_SECONDS}s]) > {QUIET_SECONDS // EVALUATION_SECONDS - 4})",
            f"ALERTS or count_over_time(ALERTS[{QUIET_SECONDS}s])",
        )
        return bool(evaluated) and int(evaluated[0]["value"][1]) == len(HEALTHY) and alerted == []

    wait_until(well, "no alert waits or fires", WAIT_SECONDS, 2)
    return Firing()


def cause(fault: Fault, firing: Firing) -> Iterator[Outcome]:
    """Cause a fault, wait for its alerts, repair it and wait for their end; yield an Outcome for each alert."""
    host = get_host(f"ansible://{fault.host}")
    done = host.run(f"set -e; {fault.do}")
    assert done.rc == 0, (fault.text, done.stdout + done.stderr)
    begun = time.time()
    fired = _moments(fault, firing, present=True)
    states = _states(fault)
    repaired_by = host.run(f"set -e; {fault.repair}")
    repaired = time.time()
    ended = _moments(fault, firing, present=False)
    for alert in fault.alerts:
        yield Outcome(fault, alert, begun, fired.get(alert), states.get(alert, ""), repaired, ended.get(alert))
    assert repaired_by.rc == 0, (fault.text, repaired_by.stdout + repaired_by.stderr)


def _moments(fault: Fault, firing: Firing, present: bool) -> dict[str, float]:
    """Return the time at which each alert of a fault first fires, or first no longer fires."""
    found: dict[str, float] = {}
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found) < len(fault.alerts) and time.monotonic() < deadline:
        now = firing.now()
        for alert in fault.alerts:
            if ((alert, fault.host) in now) is present:
                found.setdefault(alert, time.time())
        time.sleep(1)
    return found


def _states(fault: Fault) -> dict[str, str]:
    """Return Alertmanager's state of each alert of a fault, once it has processed all of them."""
    states: dict[str, str] = {}
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        (rows,) = ask("9093/api/v2/alerts")
        of_host = [row for row in rows if row["labels"]["instance"] == f"{fault.host}:9100"]
        states = {row["labels"]["alertname"]: row["status"]["state"] for row in of_host}
        if all(states.get(alert, "unprocessed") != "unprocessed" for alert in fault.alerts):
            break
        time.sleep(1)
    return states


@pytest.fixture(scope="module")
def outcomes(firing: Firing) -> dict[tuple[str, str], Outcome]:
    """Run the faults of all hosts in parallel; return the outcome by fault and alert."""
    problems = list[str]()
    found: dict[tuple[str, str], Outcome] = {}

    def one(host: str) -> None:
        for fault in FAULTS:
            if fault.host == host:
                try:
                    found.update({(each.fault.text, each.alert): each for each in cause(fault, firing)})
                except (AssertionError, OSError) as error:
                    problems.append(f"{fault.text}: {error}")

    with ThreadPoolExecutor(len(HEALTHY)) as pool:
        list(pool.map(one, HEALTHY))
    assert problems == []
    return found


CASES = [
    pytest.param(fault, alert, id=f"{alert}: {fault.text}".replace("'", ""))
    for fault in FAULTS
    for alert in fault.alerts
]
each_case = pytest.mark.parametrize(("fault", "alert"), CASES)


@each_case
def test_an_alert_fires_and_resolves_after_the_repair(
    outcomes: dict[tuple[str, str], Outcome], fault: Fault, alert: str
) -> None:
    outcome = outcomes[fault.text, alert]
    assert outcome.fired is not None
    assert outcome.ended is not None


@each_case
def test_an_alert_waits_for_its_documented_time_and_no_evaluation_longer(
    outcomes: dict[tuple[str, str], Outcome], fault: Fault, alert: str
) -> None:
    outcome = outcomes[fault.text, alert]
    labels = f'{{alertname="{alert}",{instance(fault.host)}'
    fired = samples(f'ALERTS{labels},alertstate="firing"}}', outcome.begun)
    # The sample's value is the time of the evaluation that first saw the fault.
    since = dict(samples(f"ALERTS_FOR_STATE{labels}}}", outcome.begun))
    moment = fired[0][0]
    began = since[moment]
    assert moment - began >= wait_seconds(alert)
    evaluated = [when for when, _value in samples(f"{EVALUATED}{{{instance('nts1')}}}", outcome.begun)]
    assert [when for when in evaluated if began + wait_seconds(alert) <= when < moment] == []
    scrapes = samples(f"up{{{instance(fault.host)}}}", outcome.begun) if alert != "ChronyMetricsMissing" else []
    assert missed(evaluated, shown_at(fault, alert, outcome.begun), began, scrapes) == []


def missed(evaluated: list[float], shown: float, began: float, scrapes: list[tuple[float, float]]) -> list[float]:
    """Return the evaluations that came after the fault showed and before the alert began to wait.

    A failed scrape ends every series of its host, and the host's alerts start to wait again. The next successful scrape
    then counts.
    """
    failed = [when for when, succeeded in scrapes if not succeeded and shown <= when < began]
    if failed:
        shown = next(when for when, succeeded in scrapes if succeeded and when > failed[-1])
    # Prometheus stores times in milliseconds.
    return [when for when in evaluated if shown < when < began - 0.001]


def shown_at(fault: Fault, alert: str, begun: float) -> float:
    """Return the time of the first scrape that shows a fault."""
    if alert == "ChronyMetricsMissing":
        return next(when for when, up in samples(f"up{{{instance(fault.host)}}}", begun) if not up)
    runs = samples(f"{RUN_OF_COLLECTOR}{{{instance(fault.host)}}}", begun)
    if alert == "ChronyCollectorStale":
        return next(when for when, run in runs if when - run > STALE_SECONDS)
    after = sorted({run for _when, run in runs if run >= begun})
    assert len(after) >= fault.runs, (fault, runs)
    return next(when for when, run in runs if run >= after[fault.runs - 1])


def test_no_other_alert_fires(outcomes: dict[tuple[str, str], Outcome]) -> None:
    begun = min(outcome.begun for outcome in outcomes.values())
    seconds = int(time.time() - begun)
    (rows,) = query(f'count_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])')
    fired = {(row["metric"]["alertname"], host_of(row)) for row in rows}
    expected = {(alert, fault.host) for fault in FAULTS for alert in (*fault.alerts, *fault.others)}
    other = {(alert, host) for alert, host in fired - expected if alert not in TOLERATED}
    assert other == set()


@pytest.mark.usefixtures("firing")
def test_every_query_of_the_dashboards_has_an_answer() -> None:
    expressions = []
    for path in dashboards.files():
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                host = "nts1" if path.stem == "server" else "client-debian12"
                expression = target["expr"].replace("$__rate_interval", "60s").replace("$pair", ".*")
                expressions.append(expression.replace("$instance", ".*" if path.stem == "fleet" else f"{host}:9100"))
    assert [expr for expr, found in zip(expressions, query(*expressions), strict=True) if not found] == []


def test_alertmanager_silences_the_effects_of_another_alert(outcomes: dict[tuple[str, str], Outcome]) -> None:
    states, expected = {}, {}
    for outcome in outcomes.values():
        of_fault = outcome.fault.alerts
        silenced = {target for rule in alerts.INHIBITIONS if rule.source in of_fault for target in rule.targets}
        states[outcome.fault.text, outcome.alert] = outcome.state
        expected[outcome.fault.text, outcome.alert] = "suppressed" if outcome.alert in silenced else "active"
    assert states == expected
    assert {*expected.values()} == {"active", "suppressed"}


def test_the_figures_are_recorded(outcomes: dict[tuple[str, str], Outcome]) -> None:
    rows = [figures(outcomes[fault.text, alert]) for fault in FAULTS for alert in fault.alerts]
    commit = stages.commit_of_tree()
    today = datetime.date.today().isoformat()
    stages.write_between(
        stages.FAULTS_PAGE,
        stages.FAULTS_MARKS,
        [
            f"Measured on {today} at {commit}.",
            "",
            "| fault | alert | waits | documented, divided by 30 | fired after | ended after the repair |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
        ],
    )


def figures(outcome: Outcome) -> str:
    """Return a row of the table in docs/alerts.md."""
    fired = (outcome.fired or 0) - outcome.begun
    ended = (outcome.ended or 0) - outcome.repaired
    alert = outcome.alert
    documented = f"{wait_seconds(alert):.0f} s | {documented_seconds(alert):.0f} s"
    return f"| {outcome.fault.text} | `{alert}` | {documented} | {fired:.0f} s | {ended:.0f} s |"
