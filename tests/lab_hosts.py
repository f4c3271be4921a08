# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests do to the hosts of the lab from outside."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from testinfra.host import Host


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
