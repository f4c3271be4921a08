# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines for tests: own kernel, AppArmor or SELinux, clock and power switch. lab.py makes labs of them.

An image is a folder: base.img (the disk as it was made), vmlinuz, initrd, id_ed25519 (root's key), and two states:
`boot`, in which the kernel has not seen a disk yet, so that a boot goes on from it with any disk and any time of day,
and `ready`, in which the machine of ready.qcow2 answers SSH.

A machine of a lab is a folder too: disk.qcow2 upon the image's disk, qmp (its control socket), serial.log. Its first
network interface leads to this machine's loopback, as 10.0.2.2, and from 127.0.0.1:PORT to its SSH server; the second
to the other machines of the lab, and nowhere else.
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
# A machine stops by itself after this long, should nobody stop it.
LIFETIME_SECONDS = 10800
MEMORY = "1024"
CONTROLLER = "10.0.2.2"


class MachineError(Exception):
    """What went wrong, as a sentence."""


class Machine(NamedTuple):
    """A machine of a lab: its folder, the folder of its image, the port of its SSH server, its number in the lab."""

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
        """What the machine has written."""
        return self.folder / "disk.qcow2"

    def save(self) -> None:
        """Write down what cannot be seen from outside."""
        told = {"image": str(self.image), "port": self.port, "number": self.number}
        (self.folder / "machine.json").write_text(json.dumps(told))


def known(state: Path) -> list[Machine]:
    """Return the machines of a lab, running or not."""
    found = []
    for path in sorted(state.glob("*/machine.json")):
        told = json.loads(path.read_text())
        found.append(Machine(path.parent, Path(told["image"]), told["port"], told["number"]))
    return found


def _tool(*command: str, **options: Any) -> str:
    if shutil.which(command[0]) is None:
        raise MachineError(f"{command[0]} is missing; on Debian: apt-get install {PACKAGES}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **{"timeout": 300, **options})
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"no end within {error.timeout:g} s: {' '.join(command)}") from error
    if done.returncode:
        raise MachineError(f"exit status {done.returncode} from {' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)


def free_port() -> int:
    """Return a TCP port of the loopback that nobody uses at the moment.

    Not one that the kernel gives to connections, for it has to be free at every start of the machine.
    """
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port


# --- qemu ------------------------------------------------------------------------------------------------------------


def qmp(machine: Machine, command: str, timeout_seconds: float = 60, **arguments: Any) -> Any:
    """Have qemu carry out one command of its QMP; return what it says."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(_socket_path(machine.folder / "qmp"))
            with connection.makefile("rw") as stream:
                stream.readline()
                for each in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(each))
                    stream.flush()
                    while "event" in (answer := json.loads(stream.readline())):
                        pass
        except (OSError, ValueError) as error:
            raise MachineError(f"{machine.name}: qemu does not answer {command}: {error}") from error
    if "error" in answer:
        raise MachineError(f"{machine.name}: {command}: {answer['error']['desc']}")
    return answer["return"]


def _socket_path(path: Path) -> str:
    """A path that is short enough for a socket's address, whatever the folder."""
    return os.path.relpath(path) if len(str(path)) > 100 else str(path)


def _qemu(machine: Machine, accelerator: str, disk: Path | None, *more: str) -> None:
    """Start qemu in the background."""
    folder = machine.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("qmp", "pause"):
        (folder / name).unlink(missing_ok=True)
    security = (machine.image / "cmdline").read_text().strip()
    mac = f"52:54:00:6e:74:{machine.number:02x}"
    group = 20000 + int(hashlib.sha256(str(folder.parent).encode()).hexdigest()[:4], 16) % 10000
    command = [
        # Emulated, a machine eats a processor: whatever else runs goes first.
        *("nice", "-n", "5", "timeout", "--signal=KILL", str(LIFETIME_SECONDS)),
        *("qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        # One processor: Linux patches its own code while others run it, which an emulation of several gets wrong.
        *("-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "Nehalem", "-smp", "1", "-m", MEMORY),
        *("-kernel", str(machine.image / "vmlinuz"), "-initrd", str(machine.image / "initrd"), "-append"),
        f"root=/dev/vda rw rdinit=/pause console=ttyS0 quiet net.ifnames=0 mitigations=off panic=1 {security}",
        # What the machine has flushed outlives a cut, and of the rest nothing is sure to.
        *("-drive", "if=none,id=disk,cache=writeback," + (f"file={disk}" if disk else "file.driver=null-co")),
        *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=controller,hostfwd=tcp:127.0.0.1:{machine.port}-:22"),
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
    _wait(lambda: (folder / "qmp").exists() or process.poll() is not None, 20, f"{machine.name}: qemu does not start")
    if process.poll() is not None:
        raise MachineError(f"{machine.name}: qemu has ended: {(folder / 'qemu.log').read_text()[-1000:]}")


def _wait(condition: Callable[[], bool], timeout_seconds: float, otherwise: str, pause_seconds: float = 0.1) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise MachineError(f"{otherwise} within {timeout_seconds:g} s")
        time.sleep(pause_seconds)


def _pid(machine: Machine) -> int:
    """The process group of the machine, or 0: a number that has been given to another process does not count."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((machine.folder / "pid").read_text())
        if str(machine.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return 0


def runs(machine: Machine) -> bool:
    """Say whether the machine has power."""
    return _pid(machine) != 0


def cut(machine: Machine) -> None:
    """Take the power away: nothing that has not reached the disk ever will."""
    pid = _pid(machine)
    if not pid:
        return
    os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    # Its threads end one after the other, and with the last of them it lets go of its port and of the disk.
    _wait(lambda: not runs(machine) and _is_free(machine.port), 20, f"{machine.name}: qemu does not end")


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        return True
    return False


def _save_state(machine: Machine, path: Path) -> None:
    """Save memory and devices of a machine, which ends with that; its disk stays as it is at this moment."""
    qmp(machine, "stop")
    qmp(machine, "migrate-set-parameters", **{"max-bandwidth": 10**10})
    qmp(machine, "migrate", uri=f"exec:zstd -q -1 -T0 -f -o '{path}.new'")
    _wait(lambda: qmp(machine, "query-migrate").get("status") == "completed", 120, f"{machine.name}: not saved")
    cut(machine)
    path.with_name(path.name + ".new").rename(path)


def _from_state(machine: Machine, state: Path, disk: Path) -> None:
    """Start a machine where a state has left off."""
    accelerator = (machine.image / "accelerator").read_text()
    _qemu(machine, accelerator, disk, "-incoming", f"exec:zstd -qdc '{state}'")
    _wait(
        lambda: qmp(machine, "query-status")["status"] not in ("inmigrate", "prelaunch"),
        60,
        f"{machine.name}: not restored",
    )
    qmp(machine, "cont")


def _overlay(disk: Path, upon: Path) -> None:
    kind = "qcow2" if upon.suffix == ".qcow2" else "raw"
    _tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(upon), "-F", kind, str(disk))


def boot(machine: Machine, disk: Path | None = None, clock_seconds: float | None = None) -> None:
    """Boot from the machine's disk, or from another one, with a clock of its own (default: the right one)."""
    _from_state(machine, machine.image / "boot.state", disk or machine.disk)
    clock = time.time() if clock_seconds is None else clock_seconds
    _pause(machine, f"{clock:.0f} {clock:.0f}\n", "going on", 60)


def _pause(machine: Machine, said: str, answer: str, timeout_seconds: float) -> None:
    """Say something to the pause, if there is something to say, and wait for what it answers."""
    with second_line(machine) as line:
        line.settimeout(timeout_seconds)
        try:
            line.sendall(said.encode())
            with line.makefile() as stream:
                while answer not in (heard := stream.readline()):
                    if not heard:
                        raise MachineError(f"{machine.name}: qemu ended at its pause")
                    if "again" in heard:
                        line.sendall(said.encode())
        except OSError as error:
            raise MachineError(f"{machine.name}: the kernel does not come to its pause: {error}") from error


@contextlib.contextmanager
def second_line(machine: Machine) -> Iterator[socket.socket]:
    """Yield the other end of the machine's ttyS1, which keeps nothing while nobody is there."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(_socket_path(machine.folder / "pause"))
        yield line


# --- inside ----------------------------------------------------------------------------------------------------------


def ssh_options(machine: Machine) -> list[str]:
    """What ssh needs to reach the machine, whose host key is that of its image."""
    return [
        *("-o", f"UserKnownHostsFile={machine.image / 'known_hosts'}", "-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "HostKeyAlias=machine", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"),
        *("-i", str(machine.image / "id_ed25519")),
    ]


def inside(machine: Machine, script: str, timeout_seconds: float = 120, check: bool = True) -> str:
    """Run a script of the shell on the machine; return what it printed."""
    done = subprocess.run(
        [*_ssh(machine), "sh -eu"], input=script, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if check and done.returncode:
        raise MachineError(f"{machine.name}: exit status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _ssh(machine: Machine) -> list[str]:
    return ["ssh", *ssh_options(machine), "-o", "LogLevel=ERROR", "-p", str(machine.port), "root@127.0.0.1"]


@contextlib.contextmanager
def begun(machine: Machine, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command on the machine and yield the process that waits for its end."""
    process = subprocess.Popen(
        [*_ssh(machine), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _await_ssh(machine: Machine, timeout_seconds: float = 240) -> None:
    def answers() -> bool:
        if not runs(machine):
            raise MachineError(f"{machine.name} has ended: {(machine.folder / 'qemu.log').read_text()[-1000:]}")
        # qemu takes connections before the machine does.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", machine.port), 20) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    _wait(answers, timeout_seconds, f"{machine.name}: no SSH server answers", 0.2)


def identify(machine: Machine, others: Sequence[Machine], clock_seconds: float | None = None) -> None:
    """Give a machine that comes from the state `ready` its name, its addresses, and a clock."""
    ipv4, ipv6 = machine.addresses
    names = [f"{address} {other.name}" for other in others for address in other.addresses]
    clock = time.time() if clock_seconds is None else clock_seconds
    inside(
        machine,
        f"date -s @{clock:.3f} >/dev/null\n"
        f"echo {machine.name} >/etc/hostname\nhostname {machine.name}\n"
        "cat >/etc/hosts <<'END'\n127.0.0.1 localhost\n" + "\n".join([*names, f"{CONTROLLER} controller"]) + "\nEND\n"
        "cat >/etc/systemd/network/20-lab.network <<'END'\n"
        f"[Match]\nName=eth1\n[Link]\nMACAddress=52:54:00:6e:74:{machine.number:02x}\n"
        f"[Network]\nAddress={ipv4}/24\nAddress={ipv6}/64\nIPv6AcceptRA=no\nLinkLocalAddressing=no\nEND\n"
        "! command -v restorecon >/dev/null || restorecon -FR /etc/hostname /etc/hosts /etc/systemd/network\n"
        "systemctl restart systemd-networkd\nsync\n",
    )


def start(machine: Machine, others: Sequence[Machine]) -> None:
    """Start a new machine of a lab from the state `ready`."""
    machine.folder.mkdir(parents=True, exist_ok=True)
    machine.disk.unlink(missing_ok=True)
    _overlay(machine.disk, machine.image / "ready.qcow2")
    machine.save()
    _from_state(machine, machine.image / "ready.state", machine.disk)
    _await_ssh(machine)
    identify(machine, others)


def await_end(machine: Machine) -> None:
    """Return when a machine that shuts down has."""
    _wait(lambda: not runs(machine), 120, f"{machine.name}: does not shut down")


def await_boot(machine: Machine) -> None:
    """Return when a machine that boots answers SSH."""
    _await_ssh(machine)


def freeze(machine: Machine) -> None:
    """Save a running machine as it is, for thaw(); it has no power afterwards."""
    inside(machine, "sync")
    _save_state(machine, machine.folder / "point.state")
    point = machine.folder / "point.qcow2"
    if point.exists():
        # The disk lies upon the point before.
        _tool("qemu-img", "commit", "-q", str(machine.disk))
    else:
        machine.disk.rename(point)
    as_frozen(machine)


def as_frozen(machine: Machine) -> None:
    """Take the power away, and give a machine the disk that it had when it was frozen."""
    cut(machine)
    machine.disk.unlink(missing_ok=True)
    _overlay(machine.disk, machine.folder / "point.qcow2")


def thaw(machine: Machine) -> None:
    """Let a machine go on from where it was frozen, with the right time."""
    as_frozen(machine)
    _from_state(machine, machine.folder / "point.state", machine.disk)
    _await_ssh(machine)
    inside(machine, f"date -s @{time.time():.3f} >/dev/null")


def is_frozen(machine: Machine) -> bool:
    """Say whether there is something to thaw."""
    return (machine.folder / "point.qcow2").exists()


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
        _tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test machine", "-f", str(image / "id_ed25519"))
        authorized = root / "root/.ssh/authorized_keys"
        authorized.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(image / "id_ed25519.pub", authorized)
        host_key = root / "etc/ssh/ssh_host_ed25519_key"
        _tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(host_key))
        (image / "known_hosts").write_text("machine " + Path(f"{host_key}.pub").read_text())
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


def _pauses(machine: Machine, accelerator: str, disk: Path) -> bool:
    """Start the kernel, and say whether it comes to its pause."""
    with contextlib.suppress(MachineError):
        _qemu(machine, accelerator, disk)
        _pause(machine, "", "paused", 20 if accelerator == "kvm" else 120)
        return True
    cut(machine)
    return False


def _save_states(image: Path) -> None:
    machine = Machine(image / "first", image, free_port(), 0)
    ready = image / "ready.qcow2"
    _overlay(ready, image / "base.img")
    # A KVM that is there may not work: then it does not get as far as the pause.
    accelerator = "kvm" if kvm_may_work() and _pauses(machine, "kvm", ready) else "tcg"
    if accelerator == "tcg" and not _pauses(machine, "tcg", ready):
        raise MachineError(
            f"the kernel does not come to its pause: {(machine.folder / 'qemu.log').read_text()[-1000:]}"
        )
    (image / "accelerator").write_text(accelerator)
    _save_state(machine, image / "boot.state")
    boot(machine, ready)
    _await_ssh(machine)
    # Programs that Ansible starts all the time are in memory from now on.
    inside(machine, "systemctl is-system-running --wait || true\npython3 -c 'import json, subprocess, zipfile'\nsync\n")
    _save_state(machine, image / "ready.state")
    shutil.rmtree(machine.folder)
