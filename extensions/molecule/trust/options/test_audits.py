# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The searches of hardening baselines in both layouts of the configuration; docs/coexistence.md has the same controls.

Each audit is the search of a published check, which `grep -P` runs on the host. The checks are goss files of
ansible-lockdown, Wazuh's SCA policies, the OVAL content of ComplianceAsCode, and the script of CIS-CAT for Debian and
Ubuntu.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra import get_host

from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.lab.hosts import changed

DEBIAN, EL = ("client-debian12", "client-debian13"), ("client-el",)
CONFIG = {**dict.fromkeys(DEBIAN, "/etc/chrony/chrony.conf"), **dict.fromkeys(EL, "/etc/chrony.conf")}
# The variables that docs/coexistence.md recommends to the operator.
VARIABLES: dict[str, Any] = {
    "chrony_nts_layout": "single",
    "chrony_nts_sources": [{"address": "nts1", "maxpoll": 10}, {"address": "nts2", "maxpoll": 10}],
    "chrony_nts_directives": {"port": 0, "cmdport": 0},
}
END = "-- end of a check --"
SOURCE = r"^(?:server|pool|peer)[\s]+[\S]+[\s]+(.*)"


@dataclass(frozen=True)
class Audit:
    """A search of a check, and the result that the check requires."""

    control: str
    """The row of docs/coexistence.md."""
    names: tuple[str, ...]
    pattern: str
    files: str = "{config}"
    wanted: str = r"."
    """What each line that is found must hold; of none found, the check fails."""
    split: bool = False
    """Whether the default layout passes."""
    absent: bool = False
    """Whether nothing may be found."""
    multiline: bool = False
    """Whether it is searched in the whole text, as OVAL does."""

    def judge(self, found: str) -> bool:
        """Return whether the check passes, from the output of its command."""
        if self.multiline:
            return re.search(self.pattern, found, re.MULTILINE) is not None
        lines = found.splitlines()
        return lines == [] if self.absent else lines != [] and all(re.search(self.wanted, line) for line in lines)


ALL = (*DEBIAN, *EL)
# The folders that the main file includes, by the method of CIS-CAT's script.
NAMED = "{config} $(awk '$1~/^\\s*(confdir|sourcedir)$/{{print $2\"/*\"}}' {config})"
AUDITS = (
    Audit("CIS authorized timeserver", DEBIAN, r"^\h*(server|pool)(\h+|\h*:\h*).+\b", NAMED, split=True),
    Audit("CIS authorized timeserver", DEBIAN, r"^server|^pool"),
    Audit("CIS authorized timeserver", DEBIAN, r"^(?:server)[[:space:]]nts1([[:space:]].*)?$"),
    Audit("CIS chrony user", DEBIAN, r"^user _chrony"),
    Audit("CIS chrony user", DEBIAN, r"user\s*\t*_chrony"),
    Audit("CIS chrony is configured", EL, r"^\h*(server|pool)\h+[^#\n\r]+", "/etc/chrony.conf /etc/chrony.d/"),
    Audit("CIS chrony is configured", EL, r"^(server|pool)\s.*"),
    Audit("CIS chrony is configured", EL, r"^\s*\t*server|^\s*\t*pool"),
    Audit(
        "CIS not run as root",
        EL,
        r'^\h*OPTIONS="?\h*([^#\n\r]+\h+)?-u\h+root\b',
        "/etc/sysconfig/chronyd",
        split=True,
        absent=True,
    ),
    Audit(
        "CIS not run as root",
        EL,
        r"^\s*OPTIONS=.*[\s'\"]-u(?!\s*chrony\b).*",
        "/etc/sysconfig/chronyd",
        absent=True,
        split=True,
    ),
    Audit("STIG maxpoll", ALL, SOURCE, wanted=r"maxpoll ([1-9]|1[0-6])\b"),
    Audit("STIG maxpoll", ALL, r"^[\s]*server.*$"),
    Audit("STIG maxpoll", ALL, r"^[\s]+pool.*$", absent=True, split=True),
    Audit("STIG port 0", ALL, r"^\s*port[\s]+(\S+)", wanted=r"^\s*port\s+0$"),
    Audit("STIG cmdport 0", ALL, r"^\s*cmdport[\s]+(\S+)", wanted=r"^\s*cmdport\s+0$"),
    Audit("SCAP several servers", ALL, r"^([\s]*server[\s]+.+$){2,}$", multiline=True),
    Audit("SCAP NTS", ALL, SOURCE, wanted=r"\bnts\b"),
)


def passed(name: str) -> dict[str, bool]:
    """Return whether each audit of a host passes, with one command on the host."""
    mine = [audit for audit in AUDITS if name in audit.names]
    commands = [command(audit, CONFIG[name]) for audit in mine]
    output = hosts.write(get_host(f"ansible://{name}"), f"; echo {END}; ".join(commands) + "; true", "")
    return {
        f"{audit.control}: {audit.pattern}": audit.judge(found)
        for audit, found in zip(mine, output.split(f"{END}\n"), strict=True)
    }


def command(audit: Audit, config: str) -> str:
    """Return the command that prints the lines a check searches; missing files print nothing."""
    files = audit.files.format(config=config)
    return f"cat {files}" if audit.multiline else f"grep -Prhsi -- {shlex.quote(audit.pattern)} {files}"


@pytest.mark.parametrize("name", ALL)
def test_the_default_layout_passes_the_documented_audits(name: str) -> None:
    expected = {f"{audit.control}: {audit.pattern}": audit.split for audit in AUDITS if name in audit.names}
    assert passed(name) == expected


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], dict[str, int]]:
    """Return a function that runs the role on the clients and returns the number of changed tasks of each."""
    playbook = tmp_path_factory.mktemp("audits") / "role.yml"
    task = "ansible.builtin.import_role: {name: securetime.nts.chrony_nts}"
    playbook.write_text(f"- hosts: nts_clients\n  gather_facts: false\n  become: true\n  tasks:\n    - {task}\n")
    return lambda variables: changed(hosts.playbook(str(playbook), variables=variables))


@pytest.fixture(scope="module")
def single(role: Callable[[dict[str, Any]], dict[str, int]]) -> Iterator[None]:
    """Configure the clients with the layout `single` and the variables that baselines require."""
    assert role(VARIABLES) == dict.fromkeys(ALL, 1)
    yield
    assert role({}) == dict.fromkeys(ALL, 1)
    for name in ALL:
        hosts.write(get_host(f"ansible://{name}"), "test -s /etc/chrony/nts-sources.d/securetime-nts.sources", "")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("single")
def test_the_single_layout_passes_every_audit(name: str) -> None:
    assert [check for check, passes in passed(name).items() if not passes] == []


@pytest.mark.usefixtures("single")
def test_the_next_run_does_not_change_a_single_file(role: Callable[[dict[str, Any]], dict[str, int]]) -> None:
    assert role(VARIABLES) == dict.fromkeys(ALL, 0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("single")
def test_chronyd_runs_as_its_own_user_and_alone(name: str) -> None:
    user, unit = ("_chrony", "chrony") if name in DEBIAN else ("chrony", "chronyd")
    keys = "/etc/chrony/chrony.keys" if name in DEBIAN else "/etc/chrony.keys"
    checks = f"ps -o user:16= -C chronyd | sort -u; systemctl is-enabled {unit}; systemctl is-active {unit}"
    others = "! systemctl is-active --quiet systemd-timesyncd ntp ntpd ntpsec openntpd"
    output = hosts.write(get_host(f"ansible://{name}"), f"{checks}; stat -c '%U %G %a' {keys}; {others}", "")
    assert output.split() == [user, "enabled", "active", "root", user, "640"]
