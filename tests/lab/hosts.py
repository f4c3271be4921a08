# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of the scenarios' tests on the hosts of the lab.

`run_module` runs a module's code with the host's own Python, without the 2 to 4 s of an Ansible start. Each playbook
run covers the transport and Ansible's start of modules.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any, TypeVar

import ansible
from testinfra import get_host
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[2]
LAB = Path(__file__).resolve().parent
COLLECTION = "ansible_collections/securetime/nts"
# Tests search /etc, /var, /root and /tmp for leftover files, so the code lies elsewhere.
CODE = "/run/securetime-nts-code"
# More than ten times the duration of any Ansible run on the lab's hosts.
PLAYBOOK_TIMEOUT_SECONDS = 900
# Run a module as AnsiballZ does: the arguments are in ansible.module_utils.basic, and the module is the main program.
RUN = """
import json, runpy, sys
sys.path.insert(0, "%s")
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.securetime.nts.plugins.modules." + sys.argv[1], run_name="__main__")
"""
T = TypeVar("T")


@functools.cache
def _packed() -> tuple[str, str]:
    """Return the code that modules need on a host as a base64 tar archive, and its digest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        # Regular packages, because ansible-core's module_utils requires the file of its parent.
        archive.addfile(tarfile.TarInfo("ansible/__init__.py"))
        files = {Path("ansible/module_utils"): Path(ansible.__file__).parent / "module_utils"}
        files |= {Path(COLLECTION, "plugins", kind): ROOT / "plugins" / kind for kind in ("modules", "module_utils")}
        for inside, folder in files.items():
            for path in sorted(folder.rglob("*.py")):
                archive.add(path, str(inside / path.relative_to(folder)))
    content = packed.getvalue()
    return base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest()[:12]


@functools.cache
def _put(name: str) -> str:
    host = get_host(name)
    archive, digest = _packed()
    folder = f"{CODE}/{digest}"
    # Use standard input, because an argument of a program is limited to 128 KiB.
    write(host, f"mkdir -p {folder}; base64 -d | tar -xzf - -C {folder}", archive)
    write(host, f"cat >{folder}/run.py", RUN % folder)
    return folder


def code(host: Host) -> str:
    """Return the folder on the host with ansible.module_utils and the collection's code for managed hosts."""
    return _put(host.backend.get_pytest_id())


def write(host: Host, command: str, content: str) -> str:
    """Run a shell command on the host with this standard input; return its output."""
    done = subprocess.run(
        [*_ssh(host), command],
        input=content,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        timeout=PLAYBOOK_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _ssh(host: Host) -> list[str]:
    """Return the ssh command that reaches a host as Ansible does."""
    variables = host.backend.get_variables()
    options = shlex.split(variables["ansible_ssh_common_args"])
    options += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", f"ControlPath={_control_folder()}/%C"]
    port, key = str(variables["ansible_port"]), variables["ansible_ssh_private_key_file"]
    return ["ssh", "-o", "LogLevel=ERROR", *options, "-p", port, "-i", key, f"root@{variables['ansible_host']}"]


@functools.cache
def _control_folder() -> Path:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"securetime-nts-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def run_module(host: Host, module: str, **arguments: Any) -> dict[str, Any]:
    """Run a module of the collection on a host; return its result, also when it fails."""
    given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    done = subprocess.run(
        [*_ssh(host), f"python3 {code(host)}/run.py {module}"],
        input=given,
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.stdout.startswith("\n{") or done.stdout.startswith("{"), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def probe(host: Host, server: str, **options: Any) -> dict[str, Any]:
    """Return the result of nts_probe, also when it fails; timeouts and repetition allow for a busy controller."""
    for _time in range(10):
        given = {"server": server, "timeout": 60.0, "fail_on_error": False, **options}
        found = run_module(host, "nts_probe", **given)
        # chronyd closes a session after 2 s.
        if found["ok"] or found["error"]["kind"] not in ("tls_closed", "ke_closed"):
            break
    return found


def facts(host: Host, **arguments: Any) -> dict[str, Any]:
    """Return ansible_facts.chrony of a host; the timeout allows for a busy controller."""
    arguments = {"command_timeout": 60.0, **arguments}
    chrony: dict[str, Any] = run_module(host, "chronyc_facts", **arguments)["ansible_facts"]["chrony"]
    return chrony


def journal(host: Host, options: str) -> str:
    """Return the host's journal, including all that programs have sent to a journald that is still busy."""
    return str(host.check_output(f"journalctl --sync; journalctl --quiet --no-pager {options}"))


def each(function: Callable[[Host], T], *hosts: Host) -> list[T]:
    """Call a function for several hosts in parallel; return the results."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(function, hosts))


def playbook(name: str, *arguments: str, variables: dict[str, Any] | None = None, **environment: str) -> str:
    """Run a playbook of the collection, or one by its path; return its output, also when it fails."""
    playbook_name = name if "/" in name else f"securetime.nts.{name}"
    command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook_name, *arguments]
    command += ["--extra-vars", json.dumps(variables)] if variables else []
    # Molecule sets these two variables, for coloured output and failures on stderr.
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_DISPLAY_FAILED_STDERR": "false", **environment}
    done = subprocess.run(
        command, stdout=PIPE, stderr=STDOUT, text=True, timeout=PLAYBOOK_TIMEOUT_SECONDS, check=False, env=plain
    )
    return done.stdout


def recap(output: str) -> dict[str, dict[str, int]]:
    """Return the counts of each host from a recap of ansible-playbook: ok, changed, unreachable, failed and so on."""
    lines = re.findall(r"^(\S+) +: (ok=.*)$", output, re.MULTILINE)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def changed(output: str) -> dict[str, int]:
    """Return how many tasks changed each host, in a run without failures."""
    found = recap(output)
    assert found, output[-4000:]
    assert not any(counts["failed"] or counts["unreachable"] for counts in found.values()), output[-4000:]
    return {host: counts["changed"] for host, counts in found.items()}


def ask(hosts: str, module: str, arguments: str = "", **variables: str) -> dict[str, dict[str, Any]]:
    """Run a module on each host of a pattern with one Ansible start; return the results, also of failures."""
    command = [sys.executable, "-m", "ansible", "adhoc", hosts, "-m", module, "-a", arguments]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}
    done = subprocess.run(
        [*command, "-e", json.dumps(variables)],
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_TIMEOUT_SECONDS,
        check=False,
        env=environment,
    )
    answers = re.findall(r"^(\S+) \| [A-Z]+!? => (\{.*?^\})", done.stdout, re.MULTILINE | re.DOTALL)
    assert answers, done.stdout + done.stderr
    return {name: json.loads(answer) for name, answer in answers}


def wait_until(
    condition: Callable[[], bool], what: str, timeout_seconds: float = 120, pause_seconds: float = 0.2
) -> None:
    """Return once the condition holds; fail with the description after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {timeout_seconds:g} s"
        time.sleep(pause_seconds)


def opened(host: Host, path: str) -> list[int]:
    """Return the ids of the host's processes that have a file open."""
    found = host.run(f"ls -l /proc/[0-9]*/fd/* 2>/dev/null | grep -- '-> {path}$'").stdout
    return sorted({int(pid) for pid in re.findall(r"/proc/(\d+)/fd/", found)})


@contextlib.contextmanager
def lock_held(host: Host, path: str) -> Iterator[Callable[[], None]]:
    """Hold a lock on the host as another program would, until the test calls the yielded function."""
    # --no-fork leaves one process with the file open, so a second one is the waiting program.
    host.check_output("systemd-run --quiet --collect --unit=held-lock flock --no-fork %s sleep infinity", path)
    wait_until(lambda: host.run(f"flock --nonblock {path} true").rc != 0, f"no process locks {path}")
    assert len(opened(host, path)) == 1

    def release() -> None:
        host.run("systemctl stop held-lock")

    try:
        yield release
    finally:
        release()


@contextlib.contextmanager
def held_start(host: Host, unit: str) -> Iterator[Callable[[], None]]:
    """Hold each start of a unit until the test calls the yielded function."""
    folder, go_on = f"/run/systemd/system/{unit}.d", "/run/held-start"
    wait = f"timeout {PLAYBOOK_TIMEOUT_SECONDS} sh -c 'until test -e {go_on}; do sleep 0.1; done'"
    lines = f'[Service]\nTimeoutStartSec=infinity\nExecStartPre=+/bin/sh -c "{wait}"\n'
    write(host, f"rm -f {go_on}; mkdir -p {folder}; cat >{folder}/held.conf; systemctl daemon-reload", lines)
    try:
        yield lambda: host.check_output(f"touch {go_on}")
    finally:
        # The file stays, because a start may still wait for it.
        host.check_output(f"touch {go_on}; rm {folder}/held.conf; systemctl daemon-reload")


def as_controller_root(host: Host, command: str) -> None:
    """Run a shell command in a container with the controller's rights, which the container's root lacks."""
    container = host.backend.get_variables()["lab_container"]
    command_line = ["podman", "exec", "--privileged", container, "sh", "-c", command]
    subprocess.run(command_line, check=True, timeout=PLAYBOOK_TIMEOUT_SECONDS)


@contextlib.contextmanager
def full_disk(host: Host, folder: str, options: str = "size=64k") -> Iterator[None]:
    """Mount a full file system on a folder, or a read-only one with the option ro."""
    as_controller_root(
        host,
        f"mkdir -p {folder} /run/fault && cp -a {folder}/. /run/fault"
        f" && mount -t tmpfs -o size=1m,mode=755 fault {folder}"
        f" && cp -a /run/fault/. {folder} && mount -o remount,{options} {folder}"
        f" && (dd if=/dev/zero of={folder}/filler bs=1k 2>/dev/null || true)",
    )
    try:
        yield
    finally:
        as_controller_root(host, f"umount -l {folder}; rm -r /run/fault")
