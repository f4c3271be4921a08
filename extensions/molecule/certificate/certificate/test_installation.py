# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role detects during the run whether a server can renew its certificate."""

from __future__ import annotations

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import changed, playbook, recap, write

PROGRAM = "/usr/local/sbin/nts-certificate"
DROP_IN = "/run/systemd/system/nts-certificate.service.d"
WRITTEN = (
    PROGRAM,
    "/etc/chrony/nts/certificate.json",
    "/etc/systemd/system/nts-certificate.service",
    "/etc/systemd/system/nts-certificate.timer",
)


@pytest.fixture(scope="module")
def server() -> Host:
    return get_host("ansible://nts1")


def renewal(*arguments: str) -> str:
    """Run the role's certificate phase on the server; return its output, also when it fails."""
    return playbook("site", "--limit", "nts1", "--tags", "certificate", *arguments)


def test_the_program_runs_on_the_platform_s_python_whatever_ansible_uses(server: Host) -> None:
    before = server.check_output(f"sha256sum {PROGRAM}")
    server.check_output("mkdir -p /root/venv/bin; ln -sf /usr/bin/python3 /root/venv/bin/python3")
    assert changed(renewal("--extra-vars", "ansible_python_interpreter=/root/venv/bin/python3"))["nts1"] == 0
    assert server.check_output(f"sha256sum {PROGRAM}") == before
    assert server.check_output(f"head -c 18 {PROGRAM}") == "#!/usr/bin/python3"
    server.check_output("rm -r /root/venv")


def test_a_program_that_cannot_run_in_its_unit_stops_the_run(server: Host) -> None:
    broken = "[Service]\nEnvironment=PYTHONHOME=/none\n"
    write(server, f"mkdir -p {DROP_IN}; cat >{DROP_IN}/broken.conf; systemctl daemon-reload", broken)
    server.check_output(f"echo >>{WRITTEN[2]}")
    try:
        # The second run changes nothing and must still report the fault.
        for _run in range(2):
            done = renewal()
            assert recap(done)["nts1"]["failed"] == 1, done[-3000:]
            assert "nts-certificate.service fails on nts1 with exit status 1" in " ".join(done.split()), done[-3000:]
            assert "Fatal Python error" in done
    finally:
        server.check_output(f"rm -r {DROP_IN}; systemctl daemon-reload")
    assert changed(renewal())["nts1"] == 0
    assert server.check_output("systemctl is-failed nts-certificate.service || true") == "inactive"


@pytest.mark.parametrize("unit", WRITTEN[2:])
def test_a_unit_that_an_interrupted_run_has_written_is_reloaded(server: Host, unit: str) -> None:
    server.check_output("touch %s", unit)
    for arguments, reloads in (["--check"], 1), ([], 1), ([], 0):
        done = renewal("--diff", *arguments)
        assert changed(done)["nts1"] == reloads, done[-3000:]
        assert ("systemd reloads nts-certificate.timer and nts-certificate.service" in done) is bool(reloads)


def test_planted_symlinks_are_replaced_and_their_targets_are_not_written(server: Host) -> None:
    targets = "stat --format '%n %a %U %Y' /root/target*; sha256sum /root/target*"
    for change in ("echo >>", "true "):
        for number, path in enumerate(WRITTEN):
            target = f"/root/target{number}"
            server.check_output(f"cp -p {path} {target}; {change}{target}; ln -sf {target} {path}")
        before = server.check_output(targets)
        changed(renewal())
        assert [path for path in WRITTEN if server.file(path).is_symlink] == [], change
        assert server.check_output(targets) == before, change
    server.check_output("rm /root/target*")
