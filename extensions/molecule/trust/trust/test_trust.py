# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of trust anchors, and the removal of anchors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import changed, facts, playbook, wait_until

CA = Path(os.environ["LAB_STATE"]) / "nts-ca"
TRUSTED = "/etc/chrony/nts/trusted.pem"


def source(chrony: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a source of ansible_facts.chrony by its name."""
    return next(item for item in chrony["sources"] if item["name"] == name)


def wait_for_cookies(host: Host, name: str) -> None:
    """Wait until a source has made its key exchange."""

    def has_cookies() -> bool:
        auth = source(facts(host), name)["auth"]
        return bool(auth["cookies"] > 0 and auth["ke_attempts"] == 0)

    wait_until(has_cookies, f"{name} makes no key exchange", 400, 0.5)


def test_anchors_count_in_their_set_alone_and_not_after_removal(tmp_path: Path) -> None:
    names = ("client-debian12", "client-debian13")
    hosts = {name: get_host(f"ansible://{name}") for name in names}
    own = (CA / "root.pem").read_text()
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]
    subprocess.run([*make, tmp_path / "key", "-out", tmp_path / "other.pem", "-subj", "/CN=other"], check=True)
    other = (tmp_path / "other.pem").read_text()

    def run(anchors: list[dict[str, Any]]) -> None:
        sources = [{"address": "nts1", "certset": 2}, {"address": "nts2"}]
        variables = {"chrony_nts_verify": "none", "chrony_nts_trust_own_ca": False}
        variables |= {"chrony_nts_sources": sources, "chrony_nts_trust_anchors": anchors}
        changed(playbook("site", "--limit", ",".join(names), variables=variables))

    for host in hosts.values():
        for name in ("nts1", "nts2"):
            wait_for_cookies(host, name)

    try:
        # Set 0 loses the CA; nts2 has cookies until now.
        anchors = [{"content": own, "set": 2}]
        run(anchors)
        for host in hosts.values():
            wait_for_cookies(host, "nts1")
            assert_unknown_issuer(host, "nts2")
            assert not host.file(TRUSTED).exists
            assert host.file("/etc/chrony/nts/trusted-2.pem").content_string == own.strip() + "\n"

        # Set 2 has another CA, and the CA in set 0 does not count for it.
        anchors = [{"content": own}, {"content": other, "set": 2}]
        run(anchors)
        for host in hosts.values():
            wait_for_cookies(host, "nts2")
            assert_unknown_issuer(host, "nts1")
    finally:
        changed(playbook("site", "--limit", ",".join(names)))
    for host in hosts.values():
        assert "ntstrustedcerts 2" not in host.check_output("chronyd -p")
        assert host.check_output("ls /etc/chrony/nts").split() == ["trusted.pem"]
        assert not host.check_output("find /var/lib/chrony /etc/chrony -name '*securetime-nts-*'")


def assert_unknown_issuer(host: Host, name: str) -> None:
    """Assert that a source does not count because its certificate has an unknown issuer."""
    found: list[dict[str, Any]] = []

    def is_refused() -> bool:
        # chronyd logs the reason, and measures the other source, some time after it has begun the key exchange.
        found[:] = [facts(host)]
        return found[0]["nts"]["state"] == "partial" and any(
            name in reason and "issuer of the server's certificate is not trusted" in reason
            for reason in found[0]["nts"]["reasons"]
        )

    wait_until(is_refused, f"{name} is not refused for its issuer", 400, 0.5)
    assert source(found[0], name)["auth"]["cookies"] == 0
