# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role changes no host whose clock is wrong, and lets chronyd correct a client that needs no time.

No container can set its clock, so a wrapper of the Python interpreter shifts the time that modules read. The scenario
`vm` tests clocks that are really wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import changed, playbook, recap, write

FOLDER = "/run/false-clock"
WRAPPER = f'#!/bin/sh\nPYTHONPATH={FOLDER} exec python3 "$@"\n'
SHIFT = "import time\nright = time.time\ntime.time = lambda: right() + %d\n"
DAY_SECONDS = 86400
OFFSETS = [-30 * DAY_SECONDS, 3652 * DAY_SECONDS]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Yield a function that runs site.yml on a host with a false clock and returns the output as one line."""
    hosts = []

    def site(name: str, offset: int, *arguments: str, **variables: Any) -> str:
        host = get_host(f"ansible://{name}")
        hosts.append(host)
        write(host, f"mkdir -p {FOLDER}; cat >{FOLDER}/sitecustomize.py", SHIFT % offset)
        write(host, f"cat >{FOLDER}/python3; chmod 755 {FOLDER}/python3", WRAPPER)
        inventory = tmp_path / "false.yml"
        inventory.write_text(f"all: {{hosts: {{{name}: {{ansible_python_interpreter: {FOLDER}/python3}}}}}}\n")
        found = f"{os.environ['ANSIBLE_INVENTORY']},{inventory}"
        return playbook("site", "--limit", name, *arguments, variables=variables, ANSIBLE_INVENTORY=found)

    yield site
    for host in hosts:
        host.check_output(f"rm -rf {FOLDER}")


def files(host: Host) -> str:
    # applied.json holds the parameters of the last run, changed or not.
    found = "find /etc /var/lib/securetime-nts -type f -not -name applied.json"
    return host.check_output(f"{found} | sort | xargs -d '\\n' sha256sum")


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_server_is_not_changed_and_the_error_names_the_owner_of_the_clock(run: Run, offset: int) -> None:
    host = get_host("ansible://nts1")
    before = files(host)
    # The role tries to set the clock, and cannot.
    output = run("nts1", offset, chrony_nts_clock_from_controller=offset > 0)
    words = " ".join(output.split())
    counts = recap(output)["nts1"]
    assert (counts["failed"], counts["changed"]) == (1, 0), output[-3000:]
    assert f"{abs(offset) // DAY_SECONDS} days {'ahead of' if offset > 0 else 'behind'} the controller's" in words
    assert "the server's certificates cannot be made or checked. Nothing was changed." in words
    assert "whose clock is that of the host that runs it: correct it there by `date --set='" in words
    assert files(host) == before


def test_a_client_goes_on_unless_chronyd_could_not_correct_the_clock(run: Run) -> None:
    name = "client-el"
    host = get_host(f"ansible://{name}")
    before = files(host)
    output = run(name, OFFSETS[0], "--tags", "preflight,install,configure")
    assert changed(output)[name] == 0
    assert "is 30 days behind the controller's" in output
    output = run(name, OFFSETS[0], chrony_nts_nocerttimecheck=0)
    assert recap(output)[name]["failed"] == 1, output[-3000:]
    assert "chrony_nts_nocerttimecheck is 0" in output
    assert files(host) == before
