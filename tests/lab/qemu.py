# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs for tests: own kernel, AppArmor or SELinux, clock and power switch. lab.py makes labs of them.

An image is a folder: base.img (the disk as it was made), vmlinuz, initrd, id_ed25519 (root's key), and two states:
`boot`, in which the kernel has not seen a disk yet, so that a boot goes on from it with any disk and any time of day,
and `ready`, in which the VM of ready.qcow2 answers SSH.

A VM of a lab is a folder too: disk.qcow2 upon the image's disk, qmp (its control socket), serial.log. Its first
network interface leads to the controller's loopback, as 10.0.2.2, and from 127.0.0.1:PORT to its SSH server; the second
to the other VMs of the lab, and nowhere else.

Long: images, VMs and their power share the commands of QEMU and its sockets.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = "qemu-system-x86 qemu-utils e2fsprogs zstd"
# A VM stops by itself after this long, should nobody stop it.
LIFETIME_SECONDS = 10800
MEMORY = "1024"
CONTROLLER = "10.0.2.2"


class VmError(Exception):
    """What went wrong, as a sentence."""


class Vm(NamedTuple):
    """A VM of a lab: its folder, the folder of its image, the port of its SSH server, its number in the lab."""

    folder: Path
    image: Path
    port: int
    number: int

    @property
    def name(self) -> str:
        """The host's name."""
        return self.folder.name

    @property
    def addresses(self) -> list[str]:
        """Its addresses in the network of the lab, of the blocks for documentation."""
        return [f"192.0.2.{10 + self.number}", f"2001:db8::{10 + self.number}"]

    @property
    def disk(self) -> Path:
        """What the VM has written."""
        return self.folder / "disk.qcow2"

    def save(self) -> None:
        """Write down what cannot be seen from outside."""
        told = {"image": str(self.image), "port": self.port, "number": self.number}
        (self.folder / "vm.json").write_text(json.dumps(told))


def known(state: Path) -> list[Vm]:
    """Return the VMs of a lab, running or not."""
    found = []
    for path in sorted(state.glob("*/vm.json")):
        told = json.loads(path.read_text())
        found.append(Vm(path.parent, Path(told["image"]), told["port"], told["number"]))
    return found


def _tool(*command: str, **options: Any) -> str:
    if shutil.which(command[0]) is None:
        raise VmError(f"{command[0]} is missing; on Debian: apt-get install {PACKAGES}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **{"timeout": 300, **options})
    except subprocess.TimeoutExpired as error:
        raise VmError(f"no end within {error.timeout:g} s: {' '.join(command)}") from error
    if done.returncode:
        raise VmError(f"exit status {done.returncode} from {' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)


def free_port() -> int:
    """Return a TCP port of the loopback that nobody uses at the moment.

    Not one that the kernel gives to connections, for it has to be free at every start of the VM.
    """
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port


# --- qemu ------------------------------------------------------------------------------------------------------------


def qmp(vm: Vm, command: str, timeout_seconds: float = 60, **arguments: Any) -> Any:
    """Have qemu carry out one command of its QMP; return what it says."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(_socket_path(vm.folder / "qmp"))
            with connection.makefile("rw") as stream:
                stream.readline()
                for each in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(each))
                    stream.flush()
                    while "event" in (answer := json.loads(stream.readline())):
                        pass
        except (OSError, ValueError) as error:
            raise VmError(f"{vm.name}: qemu does not answer {command}: {error}") from error
    if "error" in answer:
        raise VmError(f"{vm.name}: {command}: {answer['error']['desc']}")
    return answer["return"]


def _socket_path(path: Path) -> str:
    """A path that is short enough for a socket's address, whatever the folder."""
    return os.path.relpath(path) if len(str(path)) > 100 else str(path)


def _qemu(vm: Vm, accelerator: str, disk: Path | None, *more: str) -> None:
    """Start qemu in the background."""
    folder = vm.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("qmp", "pause"):
        (folder / name).unlink(missing_ok=True)
    security = (vm.image / "cmdline").read_text().strip()
    mac = f"52:54:00:6e:74:{vm.number:02x}"
    group = 20000 + int(hashlib.sha256(str(folder.parent).encode()).hexdigest()[:4], 16) % 10000
    command = [
        # Emulated, a VM eats a processor: whatever else runs goes first.
        *("nice", "-n", "5", "timeout", "--signal=KILL", str(LIFETIME_SECONDS)),
        *("qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        # One processor: Linux patches its own code while others run it, which an emulation of several gets wrong.
        *("-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "Nehalem", "-smp", "1", "-m", MEMORY),
        *("-kernel", str(vm.image / "vmlinuz"), "-initrd", str(vm.image / "initrd"), "-append"),
        f"root=/dev/vda rw rdinit=/pause console=ttyS0 quiet net.ifnames=0 mitigations=off panic=1 {security}",
        # What the VM has flushed outlives a cut, and of the rest nothing is sure to.
        *("-drive", "if=none,id=disk,cache=writeback," + (f"file={disk}" if disk else "file.driver=null-co")),
        *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=controller,hostfwd=tcp:127.0.0.1:{vm.port}-:22"),
        *("-device", "virtio-net-pci,netdev=controller,romfile="),
        *("-netdev", f"socket,id=lab,mcast=230.0.0.1:{group},localaddr=127.0.0.1"),
        *("-device", f"virtio-net-pci,netdev=lab,romfile=,mac={mac}"),
        *("-serial", f"file:{folder / 'serial.log'}"),
        *("-chardev", f"socket,id=pause,path={_socket_path(folder / 'pause')},server=on,wait=off"),
        *("-serial", "chardev:pause", "-qmp", f"unix:{_socket_path(folder / 'qmp')},server=on,wait=off"),
        *more,
    ]
    with (folder / "qemu.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    (folder / "pid").write_text(str(process.pid))
    _wait(lambda: (folder / "qmp").exists() or process.poll() is not None, 20, f"{vm.name}: qemu does not start")
    if process.poll() is not None:
        raise VmError(f"{vm.name}: qemu has ended: {(folder / 'qemu.log').read_text()[-1000:]}")


def _wait(condition: Callable[[], bool], timeout_seconds: float, otherwise: str, pause_seconds: float = 0.1) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise VmError(f"{otherwise} within {timeout_seconds:g} s")
        time.sleep(pause_seconds)


def _pid(vm: Vm) -> int:
    """The process group of the VM, or 0: a number that has been given to another process does not count."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((vm.folder / "pid").read_text())
        if str(vm.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return 0


def runs(vm: Vm) -> bool:
    """Say whether the VM has power."""
    return _pid(vm) != 0


def cut(vm: Vm) -> None:
    """Take the power away: nothing that has not reached the disk ever will."""
    pid = _pid(vm)
    if not pid:
        return
    os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    # Its threads end one after the other, and with the last of them it lets go of its port and of the disk.
    _wait(lambda: not runs(vm) and _is_free(vm.port), 20, f"{vm.name}: qemu does not end")


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        return True
    return False


def _save_state(vm: Vm, path: Path) -> None:
    """Save memory and devices of a VM, which ends with that; its disk stays as it is at this moment."""
    qmp(vm, "stop")
    qmp(vm, "migrate-set-parameters", **{"max-bandwidth": 10**10})
    qmp(vm, "migrate", uri=f"exec:zstd -q -1 -T0 -f -o '{path}.new'")
    _wait(lambda: qmp(vm, "query-migrate").get("status") == "completed", 120, f"{vm.name}: not saved")
    cut(vm)
    path.with_name(path.name + ".new").rename(path)


def _from_state(vm: Vm, state: Path, disk: Path) -> None:
    """Start a VM where a state has left off."""
    accelerator = (vm.image / "accelerator").read_text()
    _qemu(vm, accelerator, disk, "-incoming", f"exec:zstd -qdc '{state}'")
    _wait(
        lambda: qmp(vm, "query-status")["status"] not in ("inmigrate", "prelaunch"),
        60,
        f"{vm.name}: not restored",
    )
    qmp(vm, "cont")


def _overlay(disk: Path, upon: Path) -> None:
    kind = "qcow2" if upon.suffix == ".qcow2" else "raw"
    _tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(upon), "-F", kind, str(disk))


def boot(vm: Vm, disk: Path | None = None, clock_seconds: float | None = None) -> None:
    """Boot from the VM's disk, or from another one, with a clock of its own (default: the right one)."""
    _from_state(vm, vm.image / "boot.state", disk or vm.disk)
    clock = time.time() if clock_seconds is None else clock_seconds
    _pause(vm, f"{clock:.0f} {clock:.0f}\n", "going on", 60)


def _pause(vm: Vm, said: str, answer: str, timeout_seconds: float) -> None:
    """Say something to the pause, if there is something to say, and wait for what it answers."""
    with second_line(vm) as line:
        line.settimeout(timeout_seconds)
        try:
            line.sendall(said.encode())
            with line.makefile() as stream:
                while answer not in (heard := stream.readline()):
                    if not heard:
                        raise VmError(f"{vm.name}: qemu ended at its pause")
                    if "again" in heard:
                        line.sendall(said.encode())
        except OSError as error:
            raise VmError(f"{vm.name}: the kernel does not come to its pause: {error}") from error


@contextlib.contextmanager
def second_line(vm: Vm) -> Iterator[socket.socket]:
    """Yield the other end of the VM's ttyS1, which keeps nothing while nobody is there."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(_socket_path(vm.folder / "pause"))
        except OSError as error:
            # A KVM that does not work ends qemu soon after its start.
            raise VmError(f"{vm.name}: qemu does not accept a connection: {error}") from error
        yield line


# --- inside ----------------------------------------------------------------------------------------------------------


def ssh_options(vm: Vm) -> list[str]:
    """What ssh needs to reach the VM, whose host key is that of its image."""
    return [
        *("-o", f"UserKnownHostsFile={vm.image / 'known_hosts'}", "-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "HostKeyAlias=vm", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"),
        *("-i", str(vm.image / "id_ed25519")),
    ]


def inside(vm: Vm, script: str, timeout_seconds: float = 120, check: bool = True) -> str:
    """Run a script of the shell on the VM; return what it printed."""
    done = subprocess.run(
        [*_ssh(vm), "sh -eu"], input=script, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if check and done.returncode:
        raise VmError(f"{vm.name}: exit status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _ssh(vm: Vm) -> list[str]:
    return ["ssh", *ssh_options(vm), "-o", "LogLevel=ERROR", "-p", str(vm.port), "root@127.0.0.1"]


@contextlib.contextmanager
def begun(vm: Vm, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command on the VM and yield the process that waits for its end."""
    process = subprocess.Popen(
        [*_ssh(vm), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _await_ssh(vm: Vm, timeout_seconds: float = 600) -> None:
    def answers() -> bool:
        if not runs(vm):
            raise VmError(f"{vm.name} has ended: {(vm.folder / 'qemu.log').read_text()[-1000:]}")
        # qemu takes connections before the VM does.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", vm.port), 20) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    _wait(answers, timeout_seconds, f"{vm.name}: no SSH server answers", 0.2)


def identify(vm: Vm, others: Sequence[Vm], clock_seconds: float | None = None) -> None:
    """Give a VM that comes from the state `ready` its name, its addresses, and a clock."""
    ipv4, ipv6 = vm.addresses
    names = [f"{address} {other.name}" for other in others for address in other.addresses]
    clock = time.time() if clock_seconds is None else clock_seconds
    inside(
        vm,
        f"date -s @{clock:.3f} >/dev/null\n"
        f"echo {vm.name} >/etc/hostname\nhostname {vm.name}\n"
        "cat >/etc/hosts <<'END'\n127.0.0.1 localhost\n" + "\n".join([*names, f"{CONTROLLER} controller"]) + "\nEND\n"
        "cat >/etc/systemd/network/20-lab.network <<'END'\n"
        f"[Match]\nName=eth1\n[Link]\nMACAddress=52:54:00:6e:74:{vm.number:02x}\n"
        f"[Network]\nAddress={ipv4}/24\nAddress={ipv6}/64\nIPv6AcceptRA=no\nLinkLocalAddressing=no\nEND\n"
        "! command -v restorecon >/dev/null || restorecon -FR /etc/hostname /etc/hosts /etc/systemd/network\n"
        "systemctl restart systemd-networkd\nsync\n",
    )


def start(vm: Vm, others: Sequence[Vm]) -> None:
    """Start a new VM of a lab from the state `ready`."""
    vm.folder.mkdir(parents=True, exist_ok=True)
    vm.disk.unlink(missing_ok=True)
    _overlay(vm.disk, vm.image / "ready.qcow2")
    vm.save()
    _from_state(vm, vm.image / "ready.state", vm.disk)
    _await_ssh(vm)
    identify(vm, others)


def await_end(vm: Vm) -> None:
    """Return when a VM that shuts down has."""
    _wait(lambda: not runs(vm), 120, f"{vm.name}: does not shut down")


def await_boot(vm: Vm) -> None:
    """Return when a VM that boots answers SSH."""
    _await_ssh(vm)


def freeze(vm: Vm) -> None:
    """Save a running VM as it is, for thaw(); it has no power afterwards."""
    inside(vm, "sync")
    _save_state(vm, vm.folder / "point.state")
    point = vm.folder / "point.qcow2"
    if point.exists():
        # The disk lies upon the point before.
        _tool("qemu-img", "commit", "-q", str(vm.disk))
    else:
        vm.disk.rename(point)
    as_frozen(vm)


def as_frozen(vm: Vm) -> None:
    """Take the power away, and give a VM the disk that it had when it was frozen."""
    cut(vm)
    vm.disk.unlink(missing_ok=True)
    _overlay(vm.disk, vm.folder / "point.qcow2")


def thaw(vm: Vm) -> None:
    """Let a VM go on from where it was frozen, with the right time."""
    as_frozen(vm)
    _from_state(vm, vm.folder / "point.state", vm.disk)
    _await_ssh(vm)
    inside(vm, f"date -s @{time.time():.3f} >/dev/null")


def is_frozen(vm: Vm) -> bool:
    """Say whether there is something to thaw."""
    return (vm.folder / "point.qcow2").exists()


# --- images ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder_to_fill(folder: Path) -> Iterator[Path | None]:
    """Yield a folder to make an image in, which then becomes the image; nothing if it is there already."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            yield None
            return
        unfinished = folder.with_name(folder.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        yield unfinished
        # Where it is made is where its files say it is.
        unfinished.rename(folder)


@functools.cache
def kvm_may_work() -> bool:
    """Say whether there is something to try."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def build(folder: Path, unpack: Callable[[Path], None], label: Callable[[Path], None]) -> bool:
    """Make an image unless it is there; say whether it was made.

    unpack puts the root file system into a folder; label gives its files their SELinux contexts, if it has a policy.
    """
    with _folder_to_fill(folder) as image:
        if image is None:
            return False
        root = image / "root"
        root.mkdir()
        unpack(root)
        _tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test vm", "-f", str(image / "id_ed25519"))
        authorized = root / "root/.ssh/authorized_keys"
        authorized.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(image / "id_ed25519.pub", authorized)
        host_key = root / "etc/ssh/ssh_host_ed25519_key"
        _tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(host_key))
        (image / "known_hosts").write_text("vm " + Path(f"{host_key}.pub").read_text())
        (root / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
        for wanted, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*"), ("cmdline", "cmdline")):
            shutil.copyfile(next((root / "boot").glob(pattern)), image / wanted)
        label(root)
        _tool("mkfs.ext4", "-q", "-F", "-d", str(root), str(image / "base.img"), "3G")
        shutil.rmtree(root)
        _save_states(image)
    # Backing files are named by their paths, which have changed with the folder's name.
    _tool(
        "qemu-img",
        "rebase",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        str(folder / "base.img"),
        str(folder / "ready.qcow2"),
    )
    return True


def _pauses(vm: Vm, accelerator: str, disk: Path) -> bool:
    """Start the kernel, and say whether it comes to its pause."""
    with contextlib.suppress(VmError):
        _qemu(vm, accelerator, disk)
        _pause(vm, "", "paused", 20 if accelerator == "kvm" else 120)
        return True
    cut(vm)
    return False


def _save_states(image: Path) -> None:
    vm = Vm(image / "first", image, free_port(), 0)
    ready = image / "ready.qcow2"
    _overlay(ready, image / "base.img")
    # A KVM that is there may not work: then it does not get as far as the pause.
    accelerator = "kvm" if kvm_may_work() and _pauses(vm, "kvm", ready) else "tcg"
    if accelerator == "tcg" and not _pauses(vm, "tcg", ready):
        raise VmError(f"the kernel does not come to its pause: {(vm.folder / 'qemu.log').read_text()[-1000:]}")
    (image / "accelerator").write_text(accelerator)
    _save_state(vm, image / "boot.state")
    boot(vm, ready)
    _await_ssh(vm)
    # Programs that Ansible starts all the time are in memory from now on.
    inside(vm, "systemctl is-system-running --wait || true\npython3 -c 'import json, subprocess, zipfile'\nsync\n")
    _save_state(vm, image / "ready.state")
    shutil.rmtree(vm.folder)
