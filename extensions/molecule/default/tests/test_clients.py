# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of a client after the run."""

from __future__ import annotations

from typing import Any

import pytest
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts

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


@pytest.mark.parametrize("server", ["nts1", "nts2"])
def test_the_probe_agrees_with_chronyd(host: Host, chrony: dict[str, Any], server: str) -> None:
    found = probe_closely(host, server)
    source = next(source for source in chrony["sources"] if source["name"] == server)
    assert found["ke"]["aead"] == source["auth"]["aead"]
    assert found["ntp"]["address"] == source["address"]
    assert found["ntp"]["stratum"] == source["stratum"]
    leaf, issuing = found["tls"]["certificates"]
    assert f"DNS:{server}" in leaf["subject_alt_names"]
    assert leaf["issuer"] == issuing["subject"]


@pytest.mark.parametrize("method", ["ssl", "chronyd"])
def test_every_method_of_the_probe_succeeds(host: Host, method: str) -> None:
    found = probe_closely(host, "nts1", method=method)
    assert found["stages"]["ntp"]["state"] == ("skipped" if method == "ssl" else "ok")


def test_an_untrusted_issuer_is_reported_with_a_remedy(host: Host) -> None:
    for method in ("gnutls", "ssl"):
        found = probe(host, "nts1", method=method, trusted_certs="/etc/ssl/certs/ca-certificates.crt")
        assert found["error"]["kind"] == "certificate_issuer"
        assert "ntstrustedcerts" in found["error"]["remedy"]


def probe_closely(host: Host, server: str, **options: str) -> dict[str, Any]:
    """Assert that a probe succeeds, and measures less than 0.1 s where it measures; return its result.

    All hosts of the lab have the same clock. On a busy machine, the time that an answer takes falsifies the offset.
    """
    for _time in range(10):
        found = probe(host, server, **options)
        assert (found["ok"], found["error"]) == (True, None)
        if not found["ntp"] or abs(found["ntp"]["offset_seconds"]) < 0.1:
            return found
    pytest.fail(f"the offset is not small: {found['ntp']}")


def probe(host: Host, server: str, **options: str) -> dict[str, Any]:
    options = {"trusted_certs": "/etc/chrony/nts/trusted.pem", **options}
    return hosts.probe(host, server, **options)
