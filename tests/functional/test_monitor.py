# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's results on real NTS servers of four suites, and Prometheus' check of its metrics."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import samples, server
from ansible_collections.securetime.nts.plugins.module_utils._monitor.metrics import METRICS
from ansible_collections.securetime.nts.plugins.module_utils._monitor.samples import Run, Sample
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import DAY, Pair, make_pair
from ansible_collections.securetime.nts.tests.functional.unpacked import program

# chrony 4.0, 4.3, 4.6.1 and the newest.
SUITES = ["bullseye", "bookworm", "trixie", "testing"]
ALL_STAGES = ["dns", "tcp", "tls", "ke", "ntp"]
LINES = ["local stratum 5", "allow 127.0.0.0/8", "allow 192.0.2.0/24"]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rooms.Room]:
    with rooms.room(tmp_path_factory.mktemp("room") / "server") as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that chronyd creates."""
    return tmp_path / "chronyd"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    ca = make_pair(tmp_path / "ca", name="ca", authority=True)
    return make_pair(tmp_path / "pair", ca, chain=[ca])


def pairs_lines(pair: Pair) -> list[str]:
    """Return the directives of a server with this pair."""
    return [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", *LINES]


def check(room: rooms.Room, daemon: rooms.Chrony, tmp_path: Path) -> dict[str, Any]:
    """Return the monitor's result for a chronyd in a network namespace."""
    chronyc = tmp_path / "chronyc"
    user = "" if daemon.suite in ("bullseye", "bookworm", "trixie") else "-u root "
    words = " ".join(program(daemon.suite, "usr/bin/chronyc"))
    chronyc.write_text(f'#!/bin/sh\nexec {words} {user}-h {daemon.command_socket} "$@"\n')
    chronyc.chmod(0o755)
    pid = int((daemon.folder / "pid").read_text())
    text = (daemon.folder / "chrony.conf").read_text()
    with room.inside():
        return server.check(text, pid, str(chronyc), time.time())


def accepted(daemon: rooms.Chrony) -> int:
    """Return how many connections chronyd has counted."""
    return int(daemon.value("serverstats", "NTS-KE connections accepted"))


def passed(found: dict[str, Any]) -> list[bool | None]:
    """Return the result of each stage of the probe."""
    return [found["pairs"][0]["stages"].get(stage, (None, None))[0] for stage in ALL_STAGES]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("limits", [[], ["ntsratelimit interval 6 burst 1", "ratelimit interval 3 burst 1"]])
def test_a_server_passes_every_stage_and_its_probe_is_counted(
    suite: str, limits: list[str], room: rooms.Room, pair: Pair, folder: Path, tmp_path: Path
) -> None:
    with rooms.chronyd(room, suite, folder, [*pairs_lines(pair), *limits]) as daemon:
        for _probe in range(2):
            before = accepted(daemon)
            found = check(room, daemon, tmp_path)
            assert passed(found) == [True] * 5, found
            (row,) = found["pairs"]
            assert (row["matches"], row["problem"]) == (True, "")
            assert row["served"] == row["file"]
            assert row["id"] == pair.chain.stem
            assert abs(row["chain_not_after"] - time.time()) > 86400
            assert found["connections"] == accepted(daemon) - before >= 1


@pytest.mark.parametrize("suite", SUITES)
def test_a_server_that_cannot_read_its_key_fails_at_tls(
    suite: str, room: rooms.Room, pair: Pair, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.securetime.nts.plugins.module_utils._pair.served.PAUSES_SECONDS", (0.1,))
    pair.key_file.write_bytes(make_pair(tmp_path / "other").key_file.read_bytes())
    with rooms.chronyd(room, suite, folder, pairs_lines(pair)) as daemon:
        before = accepted(daemon)
        found = check(room, daemon, tmp_path)
        assert passed(found) == [True, True, False, False, False]
        assert found["pairs"][0]["problem"].startswith("chronyd serves no NTS: the server closed the key exchange")
        # chronyd also counts key exchanges that failed.
        assert found["connections"] == accepted(daemon) - before == 2


def test_a_renewal_without_a_restart_is_reported(room: rooms.Room, pair: Pair, folder: Path, tmp_path: Path) -> None:
    with rooms.chronyd(room, "trixie", folder, pairs_lines(pair)) as daemon:
        old = check(room, daemon, tmp_path)["pairs"][0]["file"]
        ca = make_pair(tmp_path / "ca2", name="ca", authority=True)
        renewed = make_pair(tmp_path / "renewed", ca, chain=[ca])
        pair.chain.write_bytes(renewed.chain.read_bytes())
        (row,) = check(room, daemon, tmp_path)["pairs"]
        assert row["matches"] is False
        assert (row["served"], row["file"]["serial"] != old["serial"]) == (old, True)
        assert row["problem"].endswith("restart chronyd")
        assert False not in passed({"pairs": [row]})


def test_a_port_that_is_taken_fails_at_tcp(room: rooms.Room, pair: Pair, folder: Path, tmp_path: Path) -> None:
    lines = [*pairs_lines(pair), "bindaddress 192.0.2.77"]
    with rooms.chronyd(room, "testing", folder, lines) as daemon:
        found = check(room, daemon, tmp_path)
        assert passed(found) == [True, False, False, False, False]
        assert "`bindaddress 192.0.2.77` names no address of this host" in found["pairs"][0]["problem"]
        assert found["connections"] == 0


def test_an_expired_certificate_and_a_missing_one_are_problems(room: rooms.Room, folder: Path, tmp_path: Path) -> None:
    ca = make_pair(tmp_path / "ca", name="ca", authority=True)
    expired = make_pair(tmp_path / "expired", ca, chain=[ca], not_before=-2 * DAY, not_after=-DAY)
    with rooms.chronyd(room, "testing", folder, pairs_lines(expired)) as daemon:
        (row,) = check(room, daemon, tmp_path)["pairs"]
        assert row["matches"] is True
        assert "has expired" in row["problem"]
        expired.chain.unlink()
        (row,) = check(room, daemon, tmp_path)["pairs"]
        assert "holds no certificate that chronyd's user can read" in row["problem"]


def test_trust_anchors_are_listed_with_their_dates(room: rooms.Room, pair: Pair, folder: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.pem"
    many.write_bytes(pair.chain.read_bytes() * 11)
    lines = [f"ntstrustedcerts {pair.chain}", f"ntstrustedcerts 2 {many}", f"ntsdumpdir {folder}"]
    with rooms.chronyd(room, "testing", folder, lines) as daemon:
        found = check(room, daemon, tmp_path)
    assert {row["file"] for row in found["anchors"]} == {str(pair.chain)}
    assert {row["subject"] for row in found["anchors"]} >= {"CN=ca"}
    assert all(len(row["fingerprint"]) == 16 for row in found["anchors"])
    assert all(row["not_before"] < time.time() < row["not_after"] for row in found["anchors"])
    assert (found["pairs"], found["dump_dir"]) == ([], str(folder))


def test_prometheus_accepts_every_metric() -> None:
    """Check the text with the linter of Prometheus, which also finds what node_exporter would refuse."""
    every = [Sample(metric.name, tuple(f'{label} "\\x' for label in metric.labels), 1.5) for metric in METRICS]
    text = samples.exposition(every)
    command = program("bookworm", "usr/bin/promtool", "prometheus")
    done = subprocess.run([*command, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    broken = subprocess.run([*command, "check", "metrics"], input=text * 2, capture_output=True, text=True, check=False)
    assert broken.returncode != 0


def test_prometheus_accepts_a_run_without_reports() -> None:
    command = program("bookworm", "usr/bin/promtool", "prometheus")
    text = samples.exposition(samples.samples(None, None, Run(False, time.time(), 0.1, 60)))
    done = subprocess.run([*command, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
