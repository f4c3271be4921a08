# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chronyd's options and units are shared with administrators and hardening roles."""

from __future__ import annotations

import re
from typing import Any

import pytest
from testinfra import get_host

from ansible_collections.securetime.nts.plugins.module_utils._state.options import read_environment_file
from ansible_collections.securetime.nts.tests.lab import hosts
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.environment_file import TEXT, VALUES

# The file of options, its variable, and the user that a hardening role names there.
SHARED = {
    "client-debian12": ("/etc/default/chrony", "DAEMON_OPTS", "_chrony"),
    "client-debian13": ("/etc/default/chrony", "DAEMON_OPTS", "_chrony"),
    "client-el": ("/etc/sysconfig/chronyd", "OPTIONS", "chrony"),
}


def harden(text: str, variable: str, user: str) -> str:
    """Return a file as ansible-lockdown's RHEL8-CIS and RHEL9-CIS leave it (lineinfile with backrefs)."""
    pattern = rf'^{variable}="(?!.* -u {user}.*)(.*)"'
    return re.sub(pattern, rf'{variable}="\1 -u {user}"', text, flags=re.MULTILINE)


def run(variables: dict[str, Any] | None = None) -> set[int]:
    """Return the numbers of changed tasks of a run on all clients."""
    return set(hosts.changed(hosts.playbook("site", "--limit", "nts_clients", variables=variables)).values())


def test_a_hardened_file_of_options_is_left_alone_and_has_its_say() -> None:
    """chrony-wait.service, which asks by UDP, waits for a chronyd that answers on its Unix socket alone, too."""
    clients = {name: get_host(f"ansible://{name}") for name in SHARED}
    hardened = {}
    for name, host in clients.items():
        path, variable, user = SHARED[name]
        before = host.file(path).content_string
        hardened[name] = harden(before, variable, user)
        assert hardened[name] != before
        hosts.write(host, f"cat >{path}; systemctl enable chrony-wait", hardened[name])
    closed = {"chrony_nts_directives": {"cmdport": 0}}
    assert run(closed) == {1}
    for name, host in clients.items():
        path, variable, user = SHARED[name]
        arguments = hosts.facts(host)["daemon"]["arguments"]
        assert " ".join(arguments).endswith(f" -u {user} -r -x"), arguments
        assert arguments[arguments.index("-F") + 1] in ("1", "2")
        assert host.file(path).content_string == hardened[name] == harden(hardened[name], variable, user)
        assert host.run("timeout 60 systemctl restart chrony-wait").rc == 0, host.run("systemctl status chrony-wait")
    assert run(closed) == {0}
    for name, host in clients.items():
        path, variable, user = SHARED[name]
        assert host.file(path).content_string == hardened[name]
        text = hardened[name].replace(f" -u {user}", "")
        hosts.write(host, f"cat >{path}; systemctl disable --now chrony-wait", text)
    assert run() == {1}
    for host in clients.values():
        assert "-u" not in hosts.facts(host)["daemon"]["arguments"]
        assert not host.file("/etc/systemd/system/chrony-wait.service.d/securetime-nts.conf").exists


@pytest.mark.parametrize("name", ["client-debian12", "client-debian13"])
def test_a_file_of_options_is_read_as_by_systemd(name: str) -> None:
    host = get_host(f"ansible://{name}")
    unit = (
        "[Service]\nType=oneshot\nEnvironmentFile=/run/read-options\nStandardOutput=truncate:/run/read-by-systemd\n"
        "ExecStart=/usr/bin/env -0\n"
    )
    hosts.write(host, "cat >/run/systemd/system/read-options.service", unit)
    hosts.write(host, "cat >/run/read-options; systemctl daemon-reload; systemctl start read-options", TEXT)
    printed = host.check_output("tr '\\0' '\\1' </run/read-by-systemd")
    host.check_output("rm /run/systemd/system/read-options.service /run/read-*; systemctl daemon-reload")
    read = dict(pair.split("=", 1) for pair in printed.split("\1") if "=" in pair)
    assert {key: read.get(key) for key in VALUES} == VALUES
    assert read_environment_file(TEXT) == VALUES
