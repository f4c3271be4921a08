# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Prometheus with the rules answers every query of the dashboards, from the metrics of the collector's table."""

from __future__ import annotations

import http.server
import itertools
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.monitoring import alerts, dashboards
from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import (
    METRICS,
    PLACES,
    PROBE_STAGES,
    PROTOCOLS,
    VERDICTS_OF_SOURCES,
)
from ansible_collections.securetime.nts.tests.functional.nts_servers import free_port, listens, wait_for
from ansible_collections.securetime.nts.tests.functional.unpacked import loader, system

SECONDS = 300
VALUES = {"place": PLACES, "stage": PROBE_STAGES, "protocol": PROTOCOLS, "state": VERDICTS_OF_SOURCES}
QUERIES = [
    pytest.param(target["expr"], id=f"{path.stem} {panel['title']} {target['refId']}")
    for path in dashboards.files()
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]


def filled(expr: str) -> str:
    """Return a query with values in place of Grafana's variables."""
    return expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$pair", ".*")


def exposition() -> str:
    """Return a sample of each metric, with each value of the labels that queries match."""
    lines = []
    for metric in METRICS:
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for values in itertools.product(*(VALUES.get(label, ("x",)) for label in metric.labels)):
            labels = ",".join(f'{label}="{value}"' for label, value in zip(metric.labels, values, strict=True))
            lines.append(f"{metric.name}{{{labels}}} 1")
    return "".join(f"{line}\n" for line in lines)


class Exporter(http.server.BaseHTTPRequestHandler):
    """Serve the metrics as node_exporter does."""

    def do_GET(self) -> None:
        """Answer with the metrics."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(exposition().encode())

    def log_message(self, *_words: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Prometheus with the rules, which scrapes the metrics; yield its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as exporter:
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        target = {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{exporter.server_port}"]}]}
        content = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(alerts.RULES)],
            "scrape_configs": [target],
        }
        (folder / "prometheus.yml").write_text(json.dumps(content))
        port = free_port()
        root = system("bookworm", "prometheus")
        options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
        command = [*loader(root), str(root / "usr/bin/prometheus"), *options]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
        ):
            try:
                wait_for(lambda: listens(port), SECONDS, (folder / "log").read_text)
                # A rate needs two samples.
                wait_for(
                    lambda: bool(ask(f"127.0.0.1:{port}", "rate(chrony_serverstats_ntp_packets_received_total[10s])")),
                    SECONDS,
                    (folder / "log").read_text,
                )
                yield f"127.0.0.1:{port}"
            finally:
                process.terminate()
                exporter.shutdown()


def ask(address: str, expr: str) -> list[Any]:
    """Return the series that Prometheus returns for a query."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            found = json.loads(answer.read())["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return []
        pytest.fail(error.read().decode())
    return found["result"] if found["resultType"] == "vector" else [found["result"]]


def has_result(address: str, expr: str) -> None:
    """Assert that Prometheus returns series for a query; on a busy machine it misses scrapes, and repeats them."""
    wait_for(lambda: ask(address, expr) != [], SECONDS, lambda: f"no series: {expr}")


@pytest.mark.parametrize("expr", QUERIES)
def test_prometheus_answers_the_queries_of_every_panel(prometheus: str, expr: str) -> None:
    has_result(prometheus, filled(expr))


def test_prometheus_evaluates_every_rule(prometheus: str) -> None:
    url = f"http://{prometheus}/api/v1/rules"
    deadline = time.monotonic() + SECONDS
    while True:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            (group,) = json.loads(answer.read())["data"]["groups"]
        health = {rule["name"]: rule["health"] for rule in group["rules"]}
        if "unknown" not in health.values() or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert set(health.values()) == {"ok"}
    assert len(health) == len(alerts.RECORDS) + len(alerts.ALERTS)
    for record in alerts.RECORDS:
        has_result(prometheus, record.name)


def test_promtool_accepts_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query_{index}", "expr": filled(param.values[0])} for index, param in enumerate(QUERIES)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    root = system("testing", "promtool")
    command = [*loader(root), str(root / "usr/bin/promtool"), "check", "rules", "--lint=all", "queries.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, f"{len(rules)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr
