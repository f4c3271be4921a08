# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""promtool checks the alert rules and the queries of dashboards, and an Alertmanager applies the inhibition rules."""

from __future__ import annotations

import datetime
import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.securetime.nts.monitoring import alerts
from ansible_collections.securetime.nts.tests.functional.nts_servers import free_port, listens, wait_for
from ansible_collections.securetime.nts.tests.functional.unpacked import loader, system

PROMETHEUS = alerts.RULES.parent
CASES = "securetime-nts.test.yml"
# The oldest Prometheus that docs/alerts.md names, and a current one.
PROMTOOLS = {"bookworm": "prometheus", "testing": "promtool"}
ALERTMANAGER = "prometheus-alertmanager"
SECONDS = 300
RECEIVER = "route: {receiver: nobody, group_wait: 1s}\nreceivers: [{name: nobody}]\n"


def tool(suite: str, name: str, package: str) -> list[str]:
    """Return the command that runs a program of a package with the libraries of its suite."""
    root = system(suite, package)
    return [*loader(root), str(root / "usr/bin" / name)]


@pytest.fixture(scope="module", params=PROMTOOLS)
def promtool(request: pytest.FixtureRequest) -> list[str]:
    return tool(request.param, "promtool", PROMTOOLS[request.param])


def run(command: Sequence[str], folder: Path) -> str:
    """Return the output of a command; fail with that output if the command fails."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_promtool_accepts_every_rule(promtool: list[str]) -> None:
    count = len(alerts.RECORDS) + len(alerts.ALERTS)
    printed = run([*promtool, "check", "rules", "--lint=all", "--lint-fatal", alerts.RULES.name], PROMETHEUS)
    assert f"SUCCESS: {count} rules found" in printed


def test_every_alert_fires_and_is_silent_as_its_cases_say(promtool: list[str]) -> None:
    assert "SUCCESS" in run([*promtool, "test", "rules", CASES], PROMETHEUS)


def test_a_limit_that_is_raised_silences_its_alert(promtool: list[str], tmp_path: Path) -> None:
    """The cases fail by the rules of other limits, which proves that they compare values."""
    limits = {**{limit.name: limit.default for limit in alerts.LIMITS}, "stratum": 7}
    (tmp_path / alerts.RULES.name).write_text(alerts.rules(limits, alerts.ALERTS, alerts.RUNBOOKS))
    cases = yaml.safe_load((PROMETHEUS / CASES).read_text())
    cases["tests"] = [case for case in cases["tests"] if case["name"].startswith("ChronyStratumHigh ")]
    (tmp_path / CASES).write_text(yaml.safe_dump(cases))
    command = [*promtool, "test", "rules", CASES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "alertname: " in line]
    assert (done.returncode, failed) == (1, ["alertname: ChronyStratumHigh, time: 15m,"])


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start an Alertmanager with the inhibition rules; yield its address."""
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "alertmanager.yml").write_text(alerts.INHIBITIONS_FILE.read_text() + RECEIVER)
    run([*tool("bookworm", "amtool", ALERTMANAGER), "check-config", "alertmanager.yml"], folder)
    port = free_port()
    address = f"127.0.0.1:{port}"
    options = ["--config.file=/tmp/alertmanager.yml", "--storage.path=/tmp/data", f"--web.listen-address={address}"]
    # Alertmanager reads a template of its package by an absolute path.
    script = f'mount --bind {folder} "$0/tmp" && exec chroot "$0" "$@"'
    root = system("bookworm", ALERTMANAGER)
    command = ["unshare", "--mount", "sh", "-c", script, str(root), f"/usr/bin/{ALERTMANAGER}", *options]
    command.append("--cluster.listen-address=")
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: listens(port), SECONDS, (folder / "log").read_text)
            yield address
        finally:
            process.terminate()


def ask(address: str, path: str, content: object = None) -> Any:
    """Return the JSON answer of an Alertmanager."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"http://{address}{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.loads(answer.read() or b"null")


def inhibited(address: str) -> set[tuple[str, ...]]:
    """Return the name and the other labels of the alerts that are inhibited now."""
    labels = [dict(alert["labels"]) for alert in ask(address, "/api/v2/alerts") if alert["status"]["inhibitedBy"]]
    return {(row.pop("alertname"), *sorted(row.values())) for row in labels}


def test_a_cause_silences_its_effects_where_it_fires_and_nowhere_else(alertmanager: str) -> None:
    firing, expected = [], set()
    for rule in alerts.INHIBITIONS:
        for target in rule.targets:
            here = f"{rule.source}-{target}"
            labels = {**dict.fromkeys(rule.equal, "1"), "instance": here}
            firing += [{"alertname": rule.source, **labels}, {"alertname": target, **labels}]
            expected.add((target, *sorted(labels.values())))
            # The same effect with another cause: another host, another source, or another pair.
            firing += [{"alertname": target, **labels, name: "2"} for name in rule.equal if name != "instance"]
            firing.append({"alertname": target, **labels, "instance": f"elsewhere-{here}"})
    end = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)).isoformat()
    ask(alertmanager, "/api/v2/alerts", [{"labels": labels, "endsAt": end} for labels in firing])
    # Alertmanager reads the causes some time after it accepted them. It knows all causes once each has an effect.
    wait_for(lambda: expected <= inhibited(alertmanager), SECONDS, lambda: str(expected - inhibited(alertmanager)))
    assert len(ask(alertmanager, "/api/v2/alerts")) == len(firing)
    assert inhibited(alertmanager) == expected
