# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible starts them, each in a process of its own, where they need neither systemd nor another host."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509 import request
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import DAY, make_pair

MODULES = "ansible_collections.securetime.nts.plugins.modules"


def run_module(name: str, arguments: dict[str, Any], wrapper: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Return the result of a module, also when it fails."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-m", f"{MODULES}.{name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nts_challenge_writes_answers_once_and_removes_them(tmp_path: Path) -> None:
    root = tmp_path / "www"
    given = {"root": str(root), "answers": {".well-known/acme-challenge/token": "token.thumbprint"}}
    assert [run_module("nts_challenge", given)["changed"] for _run in range(2)] == [True, False]
    assert (root / ".well-known/acme-challenge/token").read_text() == "token.thumbprint"
    assert [run_module("nts_challenge", {**given, "state": "absent"})["changed"] for _run in range(2)] == [True, False]


def test_nts_challenge_writes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    failed = run_module("nts_challenge", {"root": str(tmp_path / "www"), "answers": {"../outside": "x"}})
    assert "cannot be written below" in failed["msg"]
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"packets": 9}, "packets must be 1 to 8"),
        ({"timeout": 0}, "timeout must be more than 0 seconds."),
        ({"aeads": []}, "aeads must name an algorithm."),
        ({"ntsport": 0}, "ntsport must be 1 to 65535."),
        ({"port": 65536}, "port must be 1 to 65535."),
        ({"method": "chronyd", "trusted_certs_content": "x"}, "chronyd"),
    ],
)
def test_nts_probe_refuses_wrong_options(wrong: dict[str, Any], message: str) -> None:
    assert message in run_module("nts_probe", {"server": "nts.example.org", **wrong})["msg"]


@pytest.mark.parametrize("method", ["gnutls", "ssl"])
def test_nts_probe_reports_a_server_and_its_faults(tmp_path: Path, method: str) -> None:
    ca = make_pair(tmp_path / "ca", name="ca", authority=True)
    pair = make_pair(tmp_path / "pair", ca, names=[rooms.NAME], chain=[ca], not_after=10 * DAY)
    lines = [
        f"ntsservercert {pair.chain}",
        f"ntsserverkey {pair.key_file}",
        "local stratum 5",
        "allow",
        f"port {rooms.CHRONY_PORT}",
    ]
    given = {"server": rooms.NAME, "trusted_certs": [str(ca.chain)], "timeout": 30, "method": method}
    with rooms.room(tmp_path / "room") as place, rooms.chronyd(place, "testing", tmp_path / "chronyd", lines):
        wrapper = place.command([])
        found = run_module("nts_probe", given, wrapper)
        assert (found["changed"], found["error"]) == (False, None), found
        expiring = {**given, "min_remaining_days": 20}
        failed = run_module("nts_probe", expiring, wrapper)
        assert failed["failed"]
        assert failed["msg"].startswith(f"{rooms.NAME}, tls: ")
        reported = run_module("nts_probe", {**expiring, "fail_on_error": False}, wrapper)
        assert (reported.get("failed", False), reported["error"]) == (False, failed["error"])


def test_nts_firewall_opens_and_closes_ports(tmp_path: Path) -> None:
    main, include = tmp_path / "nftables.conf", tmp_path / "nts.nft"
    main.write_text(
        "table inet filter { chain input { type filter hook input priority 0; policy drop; }; }\n"
        f'include "{tmp_path}/*.nft"\n'
    )
    prepare = f"""
        mount -t tmpfs tmpfs /var/lib
        mkdir {tmp_path}/upper {tmp_path}/work
        mount -t overlay overlay -o lowerdir=/etc,upperdir={tmp_path}/upper,workdir={tmp_path}/work /etc
        cp {main} /etc/nftables.conf
        nft --file /etc/nftables.conf
    """
    given = {"allow": ["192.0.2.0/24"], "nft_include": str(include)}
    with rooms.room(tmp_path / "room") as place:
        prepared = subprocess.run(place.command(["sh", "-ec", prepare]), capture_output=True, text=True, check=False)
        assert prepared.returncode == 0, prepared.stderr
        wrapper = place.command([])
        assert "allow has no network" in run_module("nts_firewall", {"allow": ["192.0.2.1/24"]}, wrapper)["msg"]
        opened = run_module("nts_firewall", given, wrapper)
        assert (opened["changed"], opened["firewall"], len(opened["opened"])) == (True, "nftables", 2), opened
        assert run_module("nts_firewall", given, wrapper)["changed"] is False
        closed = run_module("nts_firewall", {"state": "absent"}, wrapper)
        assert (closed["changed"], closed["closed"]["allow"]) == (True, ["192.0.2.0/24"])
        assert not include.exists()
        missing = run_module("nts_firewall", {**given, "nft_include": "/elsewhere.nft"}, wrapper)
        assert "is not included by the ruleset" in missing["msg"]


def test_nts_packages_leaves_an_installed_package_alone() -> None:
    found = run_module("nts_packages", {"manager": "apt", "name": ["dpkg"]})
    assert (found["changed"], found["commands"], list(found["versions"])) == (False, [], ["dpkg"]), found
    failed = run_module("nts_packages", {"manager": "apt", "name": ["dpkg"], "versions": {"dpkg": "0.0.1"}})
    assert failed["failed"]
    assert failed["cause"]


def test_nts_pair_makes_a_key_and_its_request(tmp_path: Path) -> None:
    pair = {
        "id": "server",
        "names": ["nts1.example.org"],
        "label": "nts1",
        "key_type": "ECDSA P-256",
        "staging": str(tmp_path / "staging"),
        "requests": "leaf",
        "chain": str(tmp_path / "staging" / "chain.pem"),
        "root": "",
        "signs_itself": False,
        "new_key": False,
        "lifetime_days": 365,
    }
    given = {"pairs": [pair], "state_dir": str(tmp_path / "state")}
    (row,) = run_module("nts_pair", given)["pairs"]
    csr = request.load_csr(row["csr"])
    assert "nts1.example.org" in str(
        csr.extensions.get_extension_for_oid(request.x509.SubjectAlternativeName.oid).value
    )
    # In check mode none is made.
    assert run_module("nts_pair", {**given, "_ansible_check_mode": True})["pairs"][0]["csr"] == ""
    failed = run_module("nts_pair", {**given, "state_dir": "/proc/nowhere"})
    assert failed["failed"]


def test_nts_cookie_keys_makes_the_key_pair_of_a_run(tmp_path: Path) -> None:
    given = {"state": "prepare", "name": "fleet", "run_dir": str(tmp_path / "run")}
    assert run_module("nts_cookie_keys", {**given, "_ansible_check_mode": True})["public"] == ""
    assert not (tmp_path / "run").exists()
    point = base64.b64decode(run_module("nts_cookie_keys", given)["public"])
    # Uncompressed, on P-256.
    assert (len(point), point[0]) == (65, 4)
    assert (tmp_path / "run" / "ntskeys.pem").stat().st_mode & 0o777 == 0o600


def test_nts_cookie_keys_names_what_a_host_lacks(tmp_path: Path) -> None:
    config = tmp_path / "chrony.conf"
    config.write_text("local\n")
    given = {"name": "fleet", "config_file": str(config), "run_dir": str(tmp_path)}
    read = run_module("nts_cookie_keys", {**given, "state": "read"})
    assert (read["changed"], read["name"], read["tags"]) == (False, "", [])
    assert "chrony.conf has no ntsservercert" in read["problem"]
    for state in ("seal", "applied"):
        assert run_module("nts_cookie_keys", {**given, "state": state})["msg"] == read["problem"]
