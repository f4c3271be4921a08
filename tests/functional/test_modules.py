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


def disposable(place: rooms.Room, folder: Path) -> list[str | Path]:
    """Let commands in a room change system folders without an effect outside, and reach no systemd; return the wrapper.

    The users of Debian's chrony exist there.
    """
    script = "mount -t tmpfs tmpfs /run\n"
    for path in ("/etc", "/usr/local", "/var/lib", "/var/log"):
        upper, work = (folder / f"{kind}{path.replace('/', '-')}" for kind in ("upper", "work"))
        upper.mkdir()
        work.mkdir()
        script += f"mount -t overlay overlay -o lowerdir={path},upperdir={upper},workdir={work} {path}\n"
    script += "echo _chrony:x:4460:4460::/:/bin/false >>/etc/passwd\necho _chrony:x:4460: >>/etc/group\n"
    prepared = subprocess.run(place.command(["sh", "-ec", script]), capture_output=True, text=True, check=False)
    assert prepared.returncode == 0, prepared.stderr
    return place.command([])


def exist(wrapper: Sequence[str | Path], *paths: str) -> bool:
    """Return whether all of the paths exist in a room, where a link need not lead to a file; fail for some of them."""
    found = {
        subprocess.run([*wrapper, "test", "-e", path, "-o", "-L", path], check=False).returncode == 0 for path in paths
    }
    assert len(found) == 1, paths
    return found.pop()


def test_nts_certificate_installs_and_removes_the_program(tmp_path: Path) -> None:
    program = "/usr/local/sbin/nts-certificate"
    with rooms.room(tmp_path / "room") as place:
        wrapper = disposable(place, tmp_path)
        foreseen = run_module("nts_certificate", {"_ansible_check_mode": True}, wrapper)
        assert (foreseen["changed"], exist(wrapper, program)) == (True, False)
        runs = [run_module("nts_certificate", {}, wrapper) for _run in range(2)]
        assert [row["changed"] for row in runs] == [True, False], runs
        assert runs[0]["diff"] == foreseen["diff"] == [{"prepared": f"{program} changes\n"}]
        assert (runs[0]["python"], runs[0]["failed_before"]) == (foreseen["python"], False)
        usage = subprocess.run([*wrapper, program, "--help"], capture_output=True, text=True, check=False)
        assert (usage.returncode, "recover" in usage.stdout) == (0, True), usage
        # The program holds the bytecode of its modules.
        subprocess.run([*wrapper, "grep", "-q", "_pair/manager.pyc", program], check=True)
        # The staging folder of a pair that is gone.
        stray = "/etc/chrony/nts/staging/old"
        subprocess.run([*wrapper, "mkdir", "-p", f"{stray}/ownca"], check=True)
        for check_mode in (True, False):
            cleared = run_module("nts_certificate", {"staging": [], "_ansible_check_mode": check_mode}, wrapper)
            assert (cleared["removed"], exist(wrapper, stray)) == ([stray], check_mode)
        for check_mode in (True, False):
            gone = run_module("nts_certificate", {"state": "absent", "_ansible_check_mode": check_mode}, wrapper)
            assert (gone["changed"], gone["removed"]) == (True, [program, "/etc/chrony/nts/staging"])
            assert exist(wrapper, program) is check_mode
        assert run_module("nts_certificate", {"state": "absent"}, wrapper)["changed"] is False


def test_nts_certificate_installs_the_renewal(tmp_path: Path) -> None:
    """Without systemd its units cannot be loaded, after all files."""
    units = ["/etc/systemd/system/nts-certificate.service", "/etc/systemd/system/nts-certificate.timer"]
    hook = "/etc/letsencrypt/renewal-hooks/deploy/securetime-nts"
    files = ["/usr/local/sbin/nts-certificate", "/etc/chrony/nts/certificate.json", *units, hook]
    given = {"settings": {"pairs": []}, "service": "[Service]\n", "timer": "[Timer]\n", "by_certbot": True}
    with rooms.room(tmp_path / "room") as place:
        wrapper = disposable(place, tmp_path)
        assert "required together" in run_module("nts_certificate", {"settings": {}}, wrapper)["msg"]
        foreseen = run_module("nts_certificate", {**given, "_ansible_check_mode": True}, wrapper)
        assert foreseen["changed_files"] == files, foreseen
        assert foreseen["diff"][-1] == {"prepared": "nts-certificate.timer is enabled and started\n"}
        assert not exist(wrapper, *files)
        failed = run_module("nts_certificate", given, wrapper)
        assert failed["msg"].startswith("`systemctl daemon-reload` failed: "), failed
        assert exist(wrapper, *files)
        # The files are complete, and the timer does not run.
        second = run_module("nts_certificate", {**given, "_ansible_check_mode": True}, wrapper)
        assert (second["changed"], second["changed_files"], second["diff"]) == (True, [], foreseen["diff"][-1:])
        run_module("nts_certificate", {**given, "by_certbot": False}, wrapper)
        assert not exist(wrapper, hook)


def test_nts_certificate_removes_nothing_while_its_timer_cannot_be_stopped(tmp_path: Path) -> None:
    timer = "/etc/systemd/system/nts-certificate.timer"
    with rooms.room(tmp_path / "room") as place:
        wrapper = disposable(place, tmp_path)
        run_module("nts_certificate", {}, wrapper)
        subprocess.run([*wrapper, "touch", timer], check=True)
        failed = run_module("nts_certificate", {"state": "absent"}, wrapper)
        assert failed["msg"].startswith("`systemctl stop nts-certificate.timer` failed: "), failed
        assert exist(wrapper, timer, "/usr/local/sbin/nts-certificate")


def test_nts_certificate_names_a_path_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = run_module("nts_certificate", {"path": str(tmp_path / "file" / "program")})
    assert failed["msg"] == f"Not a directory ({tmp_path}/file/program); the next run continues from here."


def test_chrony_monitor_installs_its_files_and_removes_them(tmp_path: Path) -> None:
    """Without systemd the timer cannot start, which is the last step."""
    units = ["/etc/systemd/system/nts-monitor.service", "/etc/systemd/system/nts-monitor.timer"]
    textfiles = "/var/lib/securetime-textfiles"
    files = ["/usr/local/sbin/nts-monitor", "/etc/nts-monitor.json", *units, f"{textfiles}/nts-monitor.prom"]
    given = {"textfile_directory": textfiles, "log": "/var/log/securetime-test/monitor.log"}
    with rooms.room(tmp_path / "room") as place:
        wrapper = disposable(place, tmp_path)
        assert "does not exist: install node_exporter first" in run_module("chrony_monitor", given, wrapper)["msg"]
        subprocess.run([*wrapper, "mkdir", textfiles], check=True)
        foreseen = run_module("chrony_monitor", {**given, "_ansible_check_mode": True}, wrapper)
        assert not exist(wrapper, *files)
        assert [path for path in foreseen["changed_files"] if path in files] == files, foreseen
        assert foreseen["diff"][-1] == {"prepared": "nts-monitor.timer is enabled and started\n"}
        failed = run_module("chrony_monitor", given, wrapper)
        assert failed["msg"].startswith("`systemctl restart nts-monitor.timer` failed: "), failed
        subprocess.run([*wrapper, files[0], "--help"], check=True)
        # The files are complete, and the timer does not run.
        second = run_module("chrony_monitor", {**given, "_ansible_check_mode": True}, wrapper)
        assert (second["changed"], second["changed_files"], second["diff"]) == (True, [], foreseen["diff"][-1:])
        assert (second["user"], second["textfile_directory"]) == ("root", textfiles)
        # A log of an earlier run goes to the present user of the monitor.
        subprocess.run([*wrapper, "install", "-o", "_chrony", "/dev/null", given["log"]], check=True)
        for check_mode in (True, False):
            row = run_module("chrony_monitor", {**given, "_ansible_check_mode": check_mode}, wrapper)
            owner = subprocess.run([*wrapper, "stat", "-c", "%U", given["log"]], capture_output=True, check=True).stdout
            assert owner == (b"_chrony\n" if check_mode else b"root\n"), row
        assert row["msg"] == failed["msg"]
        for check_mode in (True, False):
            gone = run_module("chrony_monitor", {"state": "absent", "_ansible_check_mode": check_mode}, wrapper)
            assert {*files} <= {*gone["changed_files"]}, gone
            assert exist(wrapper, *files) is check_mode
        assert run_module("chrony_monitor", {"state": "absent"}, wrapper)["changed"] is False


@pytest.mark.parametrize("former", ["/var/lib/node_exporter", "/var/lib/securetime-textfiles"])
def test_chrony_monitor_takes_its_metrics_out_of_a_former_folder(former: str, tmp_path: Path) -> None:
    left = [f"{former}/nts-monitor.prom", f"{former}/nts-monitor"]
    with rooms.room(tmp_path / "room") as place:
        wrapper = disposable(place, tmp_path)
        subprocess.run([*wrapper, "mkdir", "-p", former], check=True)
        run_module("chrony_monitor", {"textfile_directory": former}, wrapper)
        assert exist(wrapper, *left)
        given = {"textfile_directory": ""}
        foreseen = run_module("chrony_monitor", {**given, "_ansible_check_mode": True}, wrapper)
        assert ([path for path in foreseen["changed_files"] if path in left], exist(wrapper, *left)) == (left, True)
        assert "systemctl" in run_module("chrony_monitor", given, wrapper)["msg"]
        assert not exist(wrapper, *left)


def test_chrony_monitor_names_a_folder_that_it_cannot_make(tmp_path: Path) -> None:
    with rooms.room(tmp_path / "room") as place:
        failed = run_module("chrony_monitor", {"textfile_directory": "/proc"}, disposable(place, tmp_path))
    assert failed["msg"] == "/proc/nts-monitor: No such file or directory; the next run continues from here."


def test_chrony_monitor_refuses_wrong_parameters() -> None:
    failed = run_module("chrony_monitor", {"interval_seconds": 1, "log": "x", "_ansible_check_mode": True})
    assert failed["msg"].startswith("interval_seconds is 1: set it to 10 to 86400. log is 'x': set it to an absolute")


def test_chrony_config_predicts_a_change_and_rolls_back_one_that_fails(tmp_path: Path) -> None:
    """Without systemd no unit can be enabled, so every change is rolled back."""
    config = tmp_path / "chrony.conf"
    given = {
        "config_file": str(config),
        "service": "securetime-test.service",
        "files": [{"path": str(config), "content": "local\n"}],
    }
    with rooms.room(tmp_path / "room") as place:
        wrapper = disposable(place, tmp_path)
        foreseen = run_module("chrony_config", {**given, "_ansible_check_mode": True}, wrapper)
        assert (foreseen["changed"], foreseen["changed_files"]) == (True, [str(config)]), foreseen
        assert foreseen["actions"] == ["enable", "restart"]
        assert [(pair["before"], pair["after"]) for pair in foreseen["diff"]] == [("", "local\n")]
        assert (foreseen["reached"], foreseen["remembered"], config.exists()) == (None, {}, False)
        original = {**given, "state": "original", "files": [], "_ansible_check_mode": True}
        assert run_module("chrony_config", original, wrapper)["changed"] is False
        failed = run_module("chrony_config", given, wrapper)
        assert failed["msg"].startswith("The change was rolled back: `systemctl enable securetime-test.service`"), (
            failed
        )
        assert failed["msg"].endswith("The files are as they were, and chronyd is stopped, as it was.")
        assert not config.exists()
        given["files"] = [{"path": str(config)}]
        assert "has no content: set its content" in run_module("chrony_config", given, wrapper)["msg"]
