# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two servers share their keys by the playbook. The keys stay secret, and the next run completes a failed rotation."""

from __future__ import annotations

import base64
import contextlib
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import CookieKeys, read_keys
from ansible_collections.securetime.nts.tests.lab import hosts

SERVERS = ("nts1", "nts2")
CLIENT = "client-debian13"
SHARED = {"chrony_nts_shared_keys": "ntp"}
FOLDER = "/var/lib/chrony"
FILE = f"{FOLDER}/ntskeys"
RUN_DIR = "/run/securetime-nts-keys"


def host_of(name: str) -> Host:
    return get_host(f"ansible://{name}")


def text_of(name: str) -> str:
    return str(host_of(name).check_output(f"cat {FILE}")) + "\n"


def keys_of(name: str) -> CookieKeys:
    return read_keys(text_of(name))


def rotate(*arguments: str, rotation: str = "due", **environment: str) -> str:
    variables = {**SHARED, "chrony_nts_ntskeys_rotation": rotation}
    return hosts.playbook("rotate_ntskeys", *arguments, variables=variables, **environment)


def in_one_line(output: str) -> str:
    return " ".join(output.split())


class Watch:
    """Record the content of every file below a folder of the controller during a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._stop = folder, threading.Event()
        self.recorded: dict[Path, set[bytes]] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.wait(0.02):
            for path in self.folder.rglob("*"):
                # Ansible may remove a file at any moment.
                with contextlib.suppress(OSError):
                    self.recorded.setdefault(path, set()).add(path.read_bytes())


class Runs(NamedTuple):
    """Output of each run, contents of the controller's files, and journals of the servers."""

    without_rotate: str
    checked: str
    after_check: dict[str, str]
    first: str
    written: bytes
    again: str
    journal: str
    keys: CookieKeys


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    local = tmp_path_factory.mktemp("local")
    refused = rotate()
    site = hosts.playbook("site", variables={**SHARED, "chrony_nts_site_clients": []})
    assert all(hosts.changed(site).values())
    checked = rotate("--check", "--diff")
    after_check = {name: host_of(name).run(f"cat {FILE}; ls {RUN_DIR}").stdout for name in SERVERS}
    with Watch(local) as watch:
        first = rotate("-vvv", "--diff", ANSIBLE_LOCAL_TEMP=str(local))
    again = rotate()
    journal = "\n".join(host_of(name).check_output("journalctl --quiet --no-pager --output=cat") for name in SERVERS)
    written = b"".join(content for contents in watch.recorded.values() for content in contents)
    return Runs(refused, checked, after_check, first, written, again, journal, keys_of("nts1"))


def test_a_server_that_makes_its_own_keys_is_refused(runs: Runs) -> None:
    assert "has no `ntsrotate 0`, so chronyd makes its own keys" in in_one_line(runs.without_rotate)


def test_check_mode_predicts_and_changes_nothing(runs: Runs) -> None:
    assert hosts.changed(runs.checked) == dict.fromkeys(SERVERS, 1)
    assert [name for name, text in runs.after_check.items() if "securetime" in text or "ntskeys.pem" in text] == []


def test_the_servers_have_the_same_keys(runs: Runs) -> None:
    assert hosts.changed(runs.first) == dict.fromkeys(SERVERS, 1)
    assert keys_of("nts2") == runs.keys
    assert [host_of(name).run(f"ls -A {RUN_DIR}").stdout for name in SERVERS] == ["", ""]
    assert [host_of(name).file(FILE).mode for name in SERVERS] == [0o600, 0o600]


def test_a_second_run_changes_nothing(runs: Runs) -> None:
    assert hosts.changed(runs.again) == dict.fromkeys(SERVERS, 0)


def test_no_key_leaves_the_servers(runs: Runs) -> None:
    forms = []
    for _number, key in runs.keys.keys:
        forms += [key, key.hex().encode(), key.hex().upper().encode()]
        # Base64 of a key at any offset in a longer text, without the characters that its neighbours determine.
        forms += [base64.b64encode(bytes(shift) + key)[8:-8] for shift in range(3)]
        forms += [base64.b64encode(bytes(shift) + key.hex().upper().encode())[8:-8] for shift in range(3)]
    # Prove that the files of the run were recorded and that its output is that of -vvv.
    assert b"ansible" in runs.written
    assert '"sealed"' in runs.first
    for text in (runs.first.encode(), runs.written, runs.journal.encode()):
        assert [form for form in forms if form in text] == []
    assert "PRIVATE KEY-----" not in runs.first + runs.journal
    kept = "grep -rl -e {0} /etc /root /tmp /var/lib/securetime-nts /var/tmp"
    assert [host_of(name).run(kept.format(runs.keys.keys[0][1].hex().upper())).stdout for name in SERVERS] == ["", ""]


def test_a_limit_to_some_servers_is_refused(runs: Runs) -> None:
    assert "Run this playbook without --limit" in in_one_line(rotate("--limit", "nts1"))
    assert keys_of("nts1") == runs.keys


def test_the_next_run_completes_a_failed_rotation(runs: Runs) -> None:
    with hosts.full_disk(host_of("nts2"), FOLDER, "ro"):
        failed = hosts.recap(rotate(rotation="now"))
    assert (failed["nts1"]["changed"], failed["nts2"]["failed"]) == (1, 1)
    newer = keys_of("nts1")
    assert newer.keys[:3] == runs.keys.keys[1:]
    assert keys_of("nts2") == runs.keys
    probes = {name: probe(name) for name in SERVERS}
    assert probes == {"nts1": newer.current_id, "nts2": runs.keys.current_id}
    assert hosts.changed(rotate()) == {"nts1": 0, "nts2": 1}
    assert keys_of("nts2") == newer
    assert {probe(name) for name in SERVERS} == {newer.current_id}


@pytest.mark.usefixtures("runs")
def test_a_truncated_key_file_is_restored() -> None:
    before = keys_of("nts2")
    host_of("nts1").check_output(f"truncate -s 100 {FILE}")
    assert hosts.changed(rotate()) == {"nts1": 1, "nts2": 0}
    assert keys_of("nts1") == before


@pytest.mark.usefixtures("runs")
def test_new_keys_share_nothing_with_the_old_keys() -> None:
    before = keys_of("nts1")
    assert hosts.changed(rotate(rotation="replace")) == dict.fromkeys(SERVERS, 1)
    after = keys_of("nts1")
    assert keys_of("nts2") == after
    assert not {key for _number, key in after.keys} & {key for _number, key in before.keys}


def probe(server: str) -> str:
    """Return the ID of the key of a server's cookies, as a client receives them."""
    found = hosts.run_module(
        host_of(CLIENT), "nts_probe", server=server, trusted_certs="/etc/chrony/nts/trusted.pem", system_certs=False
    )
    return str(found["ke"]["cookie_key"])
