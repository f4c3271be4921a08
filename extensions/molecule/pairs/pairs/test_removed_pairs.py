# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a host keeps when it stops being a server or loses a pair."""

from __future__ import annotations

from pathlib import Path

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import changed, facts, playbook
from ansible_collections.securetime.nts.tests.lab.pairs import pair

FIND = "find /etc/chrony/nts /var/lib/securetime-nts -name 'extra*' -o -path '*staging/*' -type d | sort"
RENEWAL = (
    "/usr/local/sbin/nts-certificate",
    "/etc/systemd/system/nts-certificate.service",
    "/etc/systemd/system/nts-certificate.timer",
    "/etc/letsencrypt/renewal-hooks/deploy/securetime-nts",
    "/etc/chrony/nts/certificate.json",
    "/etc/chrony/nts/staging",
    "/etc/chrony/nts/server.key",
    "/etc/chrony/nts/server.pem",
    "/var/lib/securetime-nts/server.previous.key",
)
OWN_FILES = ("/root/own.key", "/etc/chrony/nts/own.key", "/etc/letsencrypt/renewal-hooks/deploy/own")


def kept(host: Host) -> list[str]:
    """Return the files and staging folders of all pairs but the server's first pair."""
    first = {f"/etc/chrony/nts/staging/{name}" for name in ("server", "server/ownca")}
    return [path for path in host.check_output(FIND).split() if path not in first]


def test_a_removed_pair_leaves_no_key(tmp_path: Path) -> None:
    host = get_host("ansible://nts1")
    name = "extra.example.org"
    certificate, key = pair(tmp_path / "own", names=f"DNS:{name}")
    made = {"id": "extra", "names": [name], "provider": "selfsigned"}
    brought = {"id": "extra", "names": [name], "provider": "files", "content": certificate, "key_content": key}
    changed(playbook("site", "--limit", "nts1", variables={"chrony_nts_more_certificates": [made]}))
    assert "/etc/chrony/nts/staging/extra/selfsigned" in kept(host)
    # After a change of the provider, no staged file of the former one is left.
    changed(playbook("site", "--limit", "nts1", variables={"chrony_nts_more_certificates": [brought]}))
    assert "/etc/chrony/nts/staging/extra/selfsigned" not in kept(host)
    host.check_output("nts-certificate deploy --pair extra --certificate %s --key %s", *_put(host, tmp_path / "new"))
    assert "/var/lib/securetime-nts/extra.previous.key" in kept(host)
    done = playbook("site", "--limit", "nts1", "--check", "--diff")
    assert changed(done)["nts1"] > 0
    assert "PRIVATE KEY" not in done
    assert "/etc/chrony/nts/extra.key" in kept(host)
    changed(playbook("site", "--limit", "nts1"))
    assert kept(host) == []
    assert host.run("grep -r %s /var/lib/securetime-nts/original", key.splitlines()[1]).rc == 1
    assert "chronyd serves it." in host.check_output("nts-certificate check")
    assert changed(playbook("site", "--limit", "nts1"))["nts1"] == 0


def _put(host: Host, folder: Path) -> tuple[str, str]:
    """Put a new pair for extra.example.org on the host; return the two paths."""
    for name, text in zip(("pem", "key"), pair(folder, names="DNS:extra.example.org"), strict=True):
        host.check_output("printf %%s %s >/root/extra-new.%s", text, name)
    return "/root/extra-new.pem", "/root/extra-new.key"


@pytest.fixture
def former_server() -> Host:
    """Yield a server whose operator has files beside those of the collection."""
    host = get_host("ansible://nts2")
    host.check_output(
        f"mkdir -p /etc/letsencrypt/renewal-hooks/deploy; touch {' '.join(OWN_FILES)} {RENEWAL[3]};"
        " nts-certificate renew --force"
    )
    yield host
    host.check_output(f"rm {' '.join(OWN_FILES)}")
    changed(playbook("site", "--limit", "nts2"))
    # With -x, chronyd serves time at the rate that it measured as a client, so clients see two servers disagree.
    host.check_output(
        "systemctl stop chronyd; rm -f /var/lib/chrony/drift /var/lib/chrony/*.nts; systemctl start chronyd"
    )


def test_a_host_that_stops_being_a_server_loses_the_renewal_and_the_keys(former_server: Host) -> None:
    host = former_server
    become_client = {
        "chrony_nts_site_servers": "none",
        "chrony_nts_site_clients": "nts2",
        "chrony_nts_sources": [{"address": "nts1"}],
        "chrony_nts_directives": {},
        "chrony_nts_server_allow": [],
    }
    there = [path for path in RENEWAL if host.file(path).exists]
    assert len(there) == len(RENEWAL)
    done = playbook("site", "--check", "--diff", variables=become_client)
    assert changed(done)["nts2"] > 0
    assert "/usr/local/sbin/nts-certificate is removed" in done
    assert "PRIVATE KEY" not in done
    assert all(host.file(path).exists for path in RENEWAL)
    assert host.service("nts-certificate.timer").is_running
    assert changed(playbook("site", variables=become_client))["nts2"] > 0
    assert [path for path in RENEWAL if host.file(path).exists] == []
    assert [path for path in OWN_FILES if not host.file(path).exists] == []
    assert host.run("grep -rl 'PRIVATE KEY' /etc/chrony /var/lib/securetime-nts").stdout == ""
    assert host.check_output("systemctl list-units --all --no-legend 'nts-certificate*'") == ""
    assert facts(host)["environment"]["server_files"] == []
    assert not host.socket("tcp://0.0.0.0:4460").is_listening
    assert host.service("chronyd").is_running
    assert changed(playbook("site", variables=become_client))["nts2"] == 0
