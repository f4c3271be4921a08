# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests do to the hosts of the lab from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from testinfra.host import Host


def ask(hosts: str, module: str, arguments: str = "", **variables: str) -> dict[str, dict[str, Any]]:
    """Return what a module says on each host of a pattern, also one that fails, from one start of Ansible."""
    command = [sys.executable, "-m", "ansible", "adhoc", hosts, "-m", module, "-a", arguments]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}
    done = subprocess.run(
        [*command, "-e", json.dumps(variables)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )
    answers = re.findall(r"^(\S+) \| [A-Z]+!? => (\{.*?^\})", done.stdout, re.MULTILINE | re.DOTALL)
    assert answers, done.stdout + done.stderr
    return {name: json.loads(answer) for name, answer in answers}


def as_root_of_the_machine(host: Host, command: str) -> None:
    """Do what a host in a container may not do itself."""
    container = host.backend.get_variables()["lab_container"]
    subprocess.run(["podman", "exec", "--privileged", container, "sh", "-c", command], check=True, timeout=60)


@contextlib.contextmanager
def full_disk(host: Host, folder: str, options: str = "size=64k") -> Iterator[None]:
    """Let a folder be on a disk that takes nothing more, or, with the option ro, nothing at all."""
    as_root_of_the_machine(
        host,
        f"mkdir -p {folder} /run/fault && cp -a {folder}/. /run/fault"
        f" && mount -t tmpfs -o size=1m,mode=755 fault {folder}"
        f" && cp -a /run/fault/. {folder} && mount -o remount,{options} {folder}"
        f" && (dd if=/dev/zero of={folder}/filler bs=1k 2>/dev/null || true)",
    )
    try:
        yield
    finally:
        as_root_of_the_machine(host, f"umount -l {folder}; rm -r /run/fault")
