# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server is told of itself when it is busy: a restart, or another certificate, would not help it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._pair import served
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import Endpoint, assert_served
from ansible_collections.securetime.nts.tests.functional.nts_servers import ADDRESS, NAME, Pair, chronyd, make_pair

LINES = ["local stratum 5", "maxntsconnections 1"]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    ca = make_pair(tmp_path / "ca", name="ca", authority=True)
    return make_pair(tmp_path / "pair", ca, chain=[ca])


def test_a_busy_chronyd_is_given_time(pair: Pair, tmp_path: Path) -> None:
    with chronyd("trixie", tmp_path / "chronyd", pair, LINES) as server:
        pid = int((tmp_path / "chronyd" / "pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        go_on = threading.Timer(7.0, os.kill, (pid, signal.SIGCONT))
        go_on.start()
        assert_served(Endpoint(ADDRESS, server.ntsport), [NAME], pair.chain.read_text())
        go_on.join()


def test_one_connection_too_many_is_tried_again(pair: Pair, tmp_path: Path) -> None:
    with chronyd("trixie", tmp_path / "chronyd", pair, LINES) as server:
        place = (ADDRESS, server.ntsport)
        with contextlib.ExitStack() as stack:
            # chronyd has two processes that serve, and gives up on a session in which nothing comes after 2 s.
            for _number in range(3):
                stack.enter_context(socket.create_connection(place))
            assert_served(Endpoint(*place), [NAME], pair.chain.read_text())


def test_one_that_serves_nothing_is_told(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PAUSES_SECONDS", (0.1, 0.1))
    pair.key_file.write_bytes(make_pair(tmp_path / "other").key_file.read_bytes())
    with (
        chronyd("trixie", tmp_path / "chronyd", pair, LINES) as server,
        pytest.raises(TransactionError, match="serves no NTS"),
    ):
        assert_served(Endpoint(ADDRESS, server.ntsport), [NAME], pair.chain.read_text())
