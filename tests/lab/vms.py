# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's VMs, and operations on both in parallel: each VM has its own processor."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.securetime.nts.tests.lab import qemu
from ansible_collections.securetime.nts.tests.lab.hosts import ask
from ansible_collections.securetime.nts.tests.lab.qemu import Vm

T = TypeVar("T")
FIGURES = Path(__file__).resolve().parents[2] / ".build" / "vm-figures.txt"
UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
# Runs on the VM; the test cuts the VM's power at one of its steps.
CUT = Path(__file__).with_name("cut.py")
PACKAGE = "ansible_collections/securetime/nts/plugins/module_utils"
# Prints the result of chronyc_facts, without the time of an Ansible start.
FACTS = Path(__file__).with_name("vm_facts.py")


def known() -> dict[str, Vm]:
    """Return the VMs of the lab by name."""
    return {found.name: found for found in qemu.known(Path(os.environ["LAB_STATE"]))}


def both(do: Callable[[Vm], T]) -> dict[str, T]:
    """Call a function for every VM in parallel; return the results by name."""
    vms = known()
    with ThreadPoolExecutor() as pool:
        return dict(zip(vms, pool.map(do, vms.values()), strict=True))


def facts(vm: Vm, goal: str = "none", timeout_seconds: float = 0, sources: int = 1) -> dict[str, Any]:
    """Wait for a goal and a clock within 0.5 s; return the facts of chronyc_facts."""
    script = f"python3 - {goal} {timeout_seconds} {sources} <<'END'\n{FACTS.read_text()}\nEND\n"
    answer: dict[str, Any] = json.loads(qemu.inside(vm, script, timeout_seconds + 120))
    return answer


def ansible(host: str, module: str, **options: Any) -> dict[str, Any]:
    """Run a module on a host; return its result, also when it fails."""
    # Ansible rejects an empty object as raw parameters.
    return ask(host, module, json.dumps(options) if options else "")[host]


def ask_server(host: str, server: str, **options: Any) -> dict[str, Any]:
    """Run nts_probe on a host with timeouts for emulated VMs; return its result."""
    trusted = ["/etc/chrony/nts/trusted.pem"]
    return ansible(host, "securetime.nts.nts_probe", server=server, trusted_certs=trusted, timeout=20, **options)


# A service that must start only with a correct clock; it records its start by the clock and since the boot.
AFTER_TIME = """\
[Unit]
Wants=time-sync.target
After=time-sync.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'date +%%s.%%N >/run/after-time; cat /proc/uptime >>/run/after-time'
[Install]
WantedBy=multi-user.target
"""


def install_code(vm: Vm) -> None:
    """Put the code for managed hosts below /root/utils on a VM."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in UTILS.rglob("*.py"):
            tar.add(path, f"{PACKAGE}/{path.relative_to(UTILS)}")
    archive = base64.b64encode(packed.getvalue()).decode()
    qemu.inside(vm, f"mkdir -p /root/utils\nbase64 -d <<'END' | tar -xz -C /root/utils\n{archive}\nEND\n")


def prepare(vm: Vm) -> None:
    """Install on a server what the tests need at its next boots."""
    install_code(vm)
    qemu.inside(
        vm,
        f"cat >/etc/systemd/system/after-time.service <<'END'\n{AFTER_TIME}END\n"
        # With this folder, systemd would move the clock to at least the last run of systemd-timesyncd.
        "rm -rf /var/lib/systemd/timesync\n"
        "systemctl daemon-reload\nsystemctl enable -q after-time chrony-wait\n"
        f"cat >/root/cut.py <<'END'\n{CUT.read_text()}\nEND\npython3 /root/cut.py prepare\n",
    )


def image_of(vm: Vm) -> str:
    """Return the name of a VM's image."""
    return vm.image.name.rpartition("-")[0]


def settled(vm: Vm) -> dict[str, Any]:
    """Bring a thawed VM back to the state in which it was frozen; return its facts."""
    qemu.inside(vm, "chronyc -a burst 4/4\nchronyc waitsync 10 0 0 1\nchronyc makestep\n", check=False)
    return facts(vm, "authenticated", 120, {"nts1": 1, "nts2": 2}[vm.name])


def note(text: str) -> None:
    """Append a figure for docs/reliability.md."""
    with FIGURES.open("a") as file:
        file.write(text + "\n")
