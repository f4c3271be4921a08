# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of every host after the run, from the host itself."""

from __future__ import annotations

from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://all"]

CONFIG = {
    **dict.fromkeys(("debian", "ubuntu"), "/etc/chrony/chrony.conf"),
    **dict.fromkeys(("almalinux", "rocky"), "/etc/chrony.conf"),
}
OPTIONS = {
    **dict.fromkeys(("debian", "ubuntu"), "/etc/default/chrony"),
    **dict.fromkeys(("almalinux", "rocky"), "/etc/sysconfig/chronyd"),
}


@pytest.fixture
def distribution(host: Host) -> str:
    return host.system_info.distribution


def test_chrony_comes_from_the_package_manager(host: Host) -> None:
    assert host.package("chrony").is_installed


def test_chronyd_runs_and_starts_at_boot(host: Host, chrony: dict[str, Any]) -> None:
    chronyd = host.service(chrony["unit"]["name"])
    assert chronyd.is_running
    assert chronyd.is_enabled
    assert chrony["daemon"]["unit"] == chrony["unit"]["name"]


def test_no_rival_can_start(chrony: dict[str, Any]) -> None:
    assert [rival for rival in chrony["environment"]["rivals"] if rival["load_state"] != "masked"] == []


def test_configuration_is_at_the_path_of_the_platform(host: Host, chrony: dict[str, Any], distribution: str) -> None:
    config = host.file(CONFIG[distribution])
    assert (config.user, config.group, config.mode) == ("root", "root", 0o644)
    assert chrony["daemon"]["config_file"] == CONFIG[distribution]
    assert config.contains("^authselectmode require$")
    assert config.contains("^ntsdumpdir /var/lib/chrony$")
    assert not config.contains("^user ")


def test_chronyd_does_not_control_the_clock_in_a_container(
    host: Host, chrony: dict[str, Any], distribution: str
) -> None:
    assert chrony["environment"]["cap_sys_time"] is False
    assert chrony["daemon"]["clock_control"] is False
    assert host.file(f"{OPTIONS[distribution]}-securetime-nts").content_string.rstrip().endswith(' -x"')
    assert " -x" not in host.file(OPTIONS[distribution]).content_string


def test_no_candidate_or_temporary_file_is_left(host: Host) -> None:
    command = r"find /etc /var/lib/securetime-nts -type f \( -name 'chrony.conf.*' -o -name '*.pem.*' \)"
    assert host.run(command).stdout == ""


def test_the_key_of_the_root_ca_is_on_no_host(host: Host) -> None:
    found = host.run("grep -rlsI 'ENCRYPTED PRIVATE KEY' /etc /root /home /tmp /var/tmp /var/lib").stdout
    assert found == ""
