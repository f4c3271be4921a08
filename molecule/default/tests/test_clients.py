# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client must be after the run."""

from __future__ import annotations

from typing import Any

from testinfra.host import Host

testinfra_hosts = ["ansible://nts_clients"]


def test_client_is_no_server(host: Host) -> None:
    assert not host.socket("tcp://0.0.0.0:4460").is_listening
    assert not host.file("/etc/chrony/nts/server.key").exists


def test_client_follows_authenticated_time(chrony: dict[str, Any]) -> None:
    assert chrony["nts"]["authenticated"], chrony["nts"]
    assert chrony["tracking"]["stratum"] == 11
    selected = next(source for source in chrony["sources"] if source["state"] == "selected")
    assert selected["auth"]["mode"] == "nts"
    assert selected["auth"]["cookies"] > 0
    assert selected["ntpdata"]["authenticated"]
