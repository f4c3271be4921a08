# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotate the root CA while every client keeps its authenticated servers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import hosts

CLIENTS = ("client-debian12", "client-debian13", "client-el")
CA = Path(os.environ["LAB_STATE"]) / "nts-ca"
SERVED = "/etc/chrony/nts/server.pem"
TRUSTED = "/etc/chrony/nts/trusted.pem"
# Records every client's authdata and sources twice a second.
SAMPLE = """
while :; do echo "@ $(date +%s.%N)"; chronyc -n -c authdata 2>&1; chronyc -n -c sources 2>&1; sleep 0.5; done
"""


def playbook(name: str, *arguments: str) -> str:
    """Return the output of a playbook as one line, because Ansible wraps sentences; also when it fails."""
    return " ".join(hosts.playbook(name, *arguments).split())


def rotate(step: str, *arguments: str) -> str:
    return playbook("rotate_ca", "--extra-vars", f"chrony_nts_ca_rotation={step}", *arguments)


def is_well(output: str, changed: str = r"\d+") -> bool:
    """Return whether no host failed and the number of changed tasks of each host matches the pattern."""
    hosts = re.findall(r" changed=(\d+) unreachable=(\d+) failed=(\d+) ", output)
    return bool(hosts) and all(re.fullmatch(changed, c) and (u, f) == ("0", "0") for c, u, f in hosts)


def probe(name: str, server: str) -> dict[str, Any]:
    """Return what nts_probe finds on a client that trusts the role's own CA alone."""
    return hosts.probe(get_host(f"ansible://{name}"), server, trusted_certs=TRUSTED, system_certs=False)


class Sample:
    """One report of a client about its two sources."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.when = float(lines[0])
        self.keys = {w[0]: w[2:] for w in (line.split(",") for line in lines[1:]) if w[1:2] == ["NTS"]}
        self.selected = any(line.startswith("^,*,") for line in lines)
        self.is_silent = any("Cannot talk to daemon" in line for line in lines)

    @property
    def numbers(self) -> dict[str, str]:
        """Return the key ID of each source; another key exchange would increase it."""
        return {address: words[0] for address, words in self.keys.items()}

    @property
    def is_authenticated(self) -> bool:
        """Return whether the clock follows a source, and both have keys and cookies without failed attempts or NAKs."""
        well = [int(words[0]) > 0 and words[4:6] == ["0", "0"] and int(words[6]) > 0 for words in self.keys.values()]
        return self.selected and len(well) == 2 and all(well)

    @property
    def has_failed(self) -> bool:
        """Return whether a source needed more than one key exchange, or a server refused cookies."""
        return any(int(words[4]) > 1 or words[5] != "0" for words in self.keys.values())


class Watch:
    """Record the sources of every client continuously."""

    def __init__(self) -> None:
        self.hosts = {name: get_host(f"ansible://{name}") for name in CLIENTS}

    def start(self) -> None:
        for host in self.hosts.values():
            host.check_output("systemd-run --collect --quiet --unit=samples sh -c %s", f"({SAMPLE}) >/run/samples")
        time.sleep(1)

    def stop(self) -> None:
        for host in self.hosts.values():
            host.run("systemctl stop samples; rm -f /run/samples")

    def take_samples(self) -> dict[str, list[Sample]]:
        """Return the samples of each client since the previous call."""
        found = {}
        for name, host in self.hosts.items():
            text = host.check_output("cat /run/samples; : >/run/samples")
            # The first and the last sample may be incomplete.
            parts = text.lstrip("\0").split("@ ")[1:-1]
            found[name] = [Sample(part) for part in parts]
            assert len(found[name]) > 2, text
        return found


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    watch.start()
    yield watch
    watch.stop()


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of the root CA; afterwards restore it and every host."""
    shutil.copytree(CA, tmp_path / "nts-ca")
    shutil.rmtree(CA / "retired", ignore_errors=True)
    yield CA
    shutil.rmtree(CA)
    shutil.copytree(tmp_path / "nts-ca", CA)
    done = playbook("site", "--extra-vars", "chrony_nts_replace_root_ca=true")
    assert is_well(done), done[-3000:]


@contextlib.contextmanager
def serving(host: Host, chain: str) -> Iterator[None]:
    """Serve another certificate chain from a server inside the context."""
    own = host.file(SERVED).content_string
    put = f"printf %%s %s >{SERVED}; systemctl restart chronyd; sleep 1"
    host.check_output(put, chain)
    try:
        yield
    finally:
        host.check_output(put, own)


def assert_stayed_authenticated(samples_by_host: dict[str, list[Sample]]) -> None:
    """Assert that every client stayed authenticated and kept its keys."""
    for name, samples in samples_by_host.items():
        wrong = [sample for sample in samples if not sample.is_authenticated]
        assert wrong == [], (name, [(sample.when, sample.keys, sample.selected) for sample in wrong])
        assert [sample.numbers for sample in samples if sample.numbers != samples[0].numbers] == [], name


def test_the_root_ca_changes_and_no_client_loses_its_servers(watch: Watch, ca: Path) -> None:
    # Long: the steps of one rotation depend on each other and are read in order.
    servers = [get_host("ansible://nts1"), get_host("ansible://nts2")]
    old_root, old_chain = (ca / "root.pem").read_text(), servers[1].file(SERVED).content_string
    old_key = (ca / "root.key").read_text()
    assert "Run rotate_ca.yml with chrony_nts_ca_rotation: prepare first" in rotate("switch")

    done = rotate("prepare")
    assert is_well(done), done[-3000:]
    new_root, new_key = (ca / "next.pem").read_text(), (ca / "next.key").read_text()
    assert "ENCRYPTED" in new_key
    for host in watch.hosts.values():
        assert all(root.strip() in host.file(TRUSTED).content_string for root in (old_root, new_root))
    done = rotate("prepare", "--limit", "client-debian12")
    assert is_well(done, changed="0"), done[-3000:]
    assert ((ca / "next.pem").read_text(), (ca / "next.key").read_text()) == (new_root, new_key)
    assert_stayed_authenticated(watch.take_samples())

    # One client does not trust the next root CA yet, or --limit excludes it.
    assert "chrony_nts_ca_rotation: switch first" in rotate("finish")
    assert "Run this step without --limit" in rotate("switch", "--limit", "nts1")
    late = watch.hosts["client-el"]
    both = late.file(TRUSTED).content_string
    late.check_output(f"printf %%s %s >{TRUSTED}", old_root)
    assert "client-el does not trust the next root CA" in rotate("switch")
    late.check_output(f"printf %%s %s >{TRUSTED}", both)
    assert ((ca / "root.pem").read_text(), (ca / "next.pem").read_text()) == (old_root, new_root)
    assert servers[1].file(SERVED).content_string == old_chain

    # The state of a run that was interrupted between the two files.
    shutil.copy(ca / "root.key", ca / "previous.key")
    shutil.copy(ca / "root.pem", ca / "previous.pem")
    (ca / "next.key").rename(ca / "root.key")
    done = rotate("switch")
    assert is_well(done), done[-3000:]
    assert [(ca / name).read_text() for name in ("root.pem", "root.key")] == [new_root, new_key]
    assert [(ca / name).read_text() for name in ("previous.pem", "previous.key")] == [old_root, old_key]
    assert_stayed_authenticated(watch.take_samples())
    with serving(servers[1], old_chain):
        refused = rotate("finish")
        assert re.search(r"nts2 .* failed=1 ", refused), refused[-3000:]
        assert "could not use nts2" in refused or "issuer" in refused, refused[-3000:]
    assert (ca / "previous.pem").exists()
    assert is_well(rotate("switch"), changed="0")
    assert_stayed_authenticated(watch.take_samples())

    done = rotate("finish")
    assert is_well(done), done[-3000:]
    for name, samples in watch.take_samples().items():
        assert not [sample for sample in samples if sample.has_failed], name
        # The last step starts chronyd once without its cookies.
        pauses = [list(group) for well, group in groupby(samples, lambda sample: sample.is_authenticated) if not well]
        assert len(pauses) == 1, (name, [[sample.when for sample in pause] for pause in pauses])
        print(name, "was without for", round(pauses[0][-1].when - pauses[0][0].when, 1), "s or a little more")
        assert samples[-1].is_authenticated
        trusted = watch.hosts[name].file(TRUSTED).content_string
        assert new_root.strip() in trusted
        assert old_root.strip() not in trusted
    assert sorted(path.suffix for path in (ca / "retired").iterdir()) == [".key", ".pem"]
    assert sorted(path.name for path in ca.iterdir()) == [".gitignore", "retired", "root.key", "root.pem"]

    with serving(servers[1], old_chain):
        for name in CLIENTS:
            found = probe(name, "nts2")
            assert found["error"]["kind"] == "certificate_issuer", found["error"]
            assert probe(name, "nts1")["ok"]
