# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the test images and run labs of them: containers with systemd as PID 1 and VMs, reached by SSH as real
hosts are.

lab.py packages                             the Debian packages this needs
lab.py build [IMAGE ...]                    build what is missing of: debian12 debian13 el-standin (default: these),
                                            suse-standin, vm-debian13 vm-el-standin; `all` is all of them
lab.py up --state DIR [--from SAVED] [--keep-bytecode] HOST=IMAGE [...]
                                            start these hosts, keep those that run; writes DIR/inventory.yml. With
                                            --from, copies of the containers and files of a lab that was saved. With
                                            --keep-bytecode, containers compile each module once, and not in each run
lab.py save --state DIR                     save the lab's containers as images and remove the containers
lab.py status --state DIR                   table of the lab's hosts
lab.py down --state DIR                     remove the lab's hosts, its network and its files

DIR names the lab. Hosts of a lab resolve each other by HOST; containers and VMs cannot reach each other. An image's tag
is a hash of its recipe, so the lab builds an image once for each recipe. DEBIAN_IMAGE, EL_IMAGE and SUSE_IMAGE
(environment) name images to use in place of debian12/debian13, el-standin and suse-standin. Such an image needs
systemd; the lab installs the rest at the start.

Long: images, hosts and the command line share the same few helpers.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import qemu
from qemu import Vm, VmError

LAB = Path(__file__).resolve().parent
RECIPES = LAB / "images"
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
BASES = {
    "el-standin": "debian13",
    "suse-standin": "el-standin",
    "vm-debian13": "debian13",
    "vm-el-standin": "el-standin",
}
# The confinement of each VM image.
VMS = {"vm-debian13": "apparmor", "vm-el-standin": "selinux"}
CONTAINERS = [image for image in (*SUITES, *BASES) if image not in VMS]
# The images that `make test` needs.
DEFAULT = [image for image in CONTAINERS if image != "suse-standin"]
EVERYTHING = [*CONTAINERS, *VMS]
REPOSITORY = "localhost/securetime-nts"
LABEL = "securetime-nts.lab"
# What lab.py writes into the folder of a lab.
FILES = ("inventory.yml", "known_hosts", "id_ed25519", "id_ed25519.pub")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "securetime-nts"
PACKAGES = (
    "podman netavark aardvark-dns iptables nftables runc fuse-overlayfs uidmap slirp4netns passt "
    f"mmdebstrap debian-archive-keyring openssh-client {qemu.PACKAGES}"
)


class LabError(Exception):
    """A fault of the lab, with a message for the operator."""


class Host(NamedTuple):
    """A host of the lab: a container as podman reports it, or a VM (container is empty)."""

    name: str
    container: str
    image: str
    image_id: str
    state: str
    port: int


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Print a step at its start, and its duration at its end."""
    print(f"lab: {what} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"lab: {what}: {time.monotonic() - start:.1f} s", flush=True)


def require(program: str) -> None:
    """Raise LabError if the program is missing."""
    if shutil.which(program) is None:
        raise LabError(f"{program} is missing; on Debian: apt-get install {PACKAGES}")


def run(*command: str, stdin: str = "", timeout_seconds: float = 600, stdout: IO[bytes] | int = subprocess.PIPE) -> str:
    """Run a command; return its output or raise LabError with its last lines."""
    require(command[0])
    try:
        done = subprocess.run(
            command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end within {timeout_seconds:g} s: {shlex.join(command)}") from error
    if done.returncode:
        last_lines = "\n".join(((done.stdout or "") + done.stderr).splitlines()[-15:])
        raise LabError(f"exit status {done.returncode} from: {shlex.join(command)}\n{last_lines}")
    return done.stdout or ""


@functools.cache
def restrictions() -> tuple[list[str], list[str]]:
    """Return podman's global options, and the options of its run and build, that a restricted controller needs."""
    engine: list[str] = []
    limits: list[str] = []
    reasons = []
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists() and shutil.which("runc"):
        engine = ["--runtime", "runc"]
        reasons.append("runc, as crun refuses a cgroup v1 or hybrid mount")
    cap_sys_resource = 24  # its bit in linux/capability.h
    effective = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    if os.geteuid() == 0 and not effective >> cap_sys_resource & 1:
        limits = ["--ulimit=nproc=4096:4096", "--ulimit=nofile=1024:4096"]
        reasons.append("lower ulimits, as podman's own cannot be set without CAP_SYS_RESOURCE")
    if reasons:
        print(f"lab: uses {'; '.join(reasons)}", flush=True)
    return engine, limits


def recipe_of(image: str) -> Path:
    """Return the folder with the recipe of an image."""
    return RECIPES / ("debian" if image in SUITES else "vm" if image in VMS else image)


def tag(image: str) -> str:
    """Return the image's name in podman's store, with a hash of its recipe and its base."""
    recipe = recipe_of(image)
    digest = hashlib.sha256((tag(BASES[image]) if image in BASES else SUITES[image]).encode())
    files = [path for path in recipe.rglob("*") if path.is_file()]
    if image in VMS:
        files.append(LAB / "qemu.py")
    for path in sorted(files):
        digest.update(f"\0{path.relative_to(LAB)}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}/{image}:{digest.hexdigest()[:12]}"


def reference(image: str) -> str:
    """Return the image to run: the one that the environment names, or the local build."""
    variable = (
        "DEBIAN_IMAGE" if image in SUITES else {"el-standin": "EL_IMAGE", "suse-standin": "SUSE_IMAGE"}.get(image)
    )
    return (variable and os.environ.get(variable)) or tag(image)


def image_id(name: str) -> str:
    """Return the id of an image in podman's store, or an empty string."""
    with contextlib.suppress(LabError):
        return run("podman", "image", "inspect", "--format", "{{.Id}}", name).strip()
    return ""


def apt_sources(suite: str) -> str:
    """Return sources.list lines for a suite, with the mirrors of a Debian controller."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    if release.get("ID") != "debian" or not shutil.which("apt-get"):
        return ""
    wanted = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = []
    for line in run("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines():
        uri, name, component, origin = line.split(" ", 3)
        pocket = re.fullmatch(rf"(?:{release.get('VERSION_CODENAME')}|stable|oldstable)(|-updates|-security)", name)
        # Where apt has no lists yet, the origin is unknown and its placeholder stays.
        if pocket and component == "main" and origin in ("Debian", "$(ORIGIN)") and uri.startswith("http"):
            lines.append(f"deb [signed-by={keyring}] {uri} {suite}{pocket[1]} main\n")
    return "".join(lines) if any(f" {suite} " in line for line in lines) else ""


def build(image: str) -> None:
    """Build an image that podman's store lacks; remove the tags of its former recipes."""
    if image in BASES:
        build(BASES[image])
    name = tag(image)
    engine, limits = restrictions()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{image}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if image_id(name):
            return
        with timed(f"{image}: build the image"):
            if image in SUITES:
                sources = apt_sources(SUITES[image])
                with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".tar") as archive:
                    command = (str(RECIPES / "debian" / "build.sh"), SUITES[image], *(["-"] if sources else []))
                    run(*command, stdin=sources, stdout=archive, timeout_seconds=1800)
                    run("podman", "import", "--change", 'CMD ["/sbin/init"]', archive.name, name, timeout_seconds=600)
            else:
                options = [*limits, "--network=host", "--layers=false", f"--build-arg=BASE={tag(BASES[image])}"]
                options += [f"--build-arg=SECURITY={VMS[image]}"] if image in VMS else []
                run("podman", *engine, "build", *options, f"--tag={name}", str(recipe_of(image)), timeout_seconds=1800)
        former = run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{REPOSITORY}/{image}").split()
        for old in set(former) - {name}:
            # podman keeps an image of a running lab; the next build removes it.
            with contextlib.suppress(LabError):
                run("podman", "rmi", old)


def ensure_image(image: str) -> str:
    """Build or pull an image that podman's store lacks; return its id."""
    name = reference(image)
    if not image_id(name):
        if name == tag(image):
            build(image)
        else:
            with timed(f"pull {name}"):
                run("podman", "pull", name, timeout_seconds=1800)
    return image_id(name)


def vm_folder(image: str) -> Path:
    """Return the folder of a VM image."""
    return CACHE / "vms" / tag(image).rpartition("/")[2].replace(":", "-")


def ensure_vm(image: str) -> Path:
    """Make the disk and the saved states of a VM image unless they exist; return their folder."""
    folder = vm_folder(image)
    if folder.exists():
        return folder
    build(image)
    engine, limits = restrictions()

    def unpack(root: Path) -> None:
        container = run("podman", *engine, "create", *limits, "--pull=never", tag(image), "true").strip()
        try:
            with tempfile.TemporaryFile() as archive:
                run("podman", "export", container, stdout=archive, timeout_seconds=600)
                archive.seek(0)
                subprocess.run(["tar", "-x", "-C", str(root)], stdin=archive, check=True, timeout=600)
        finally:
            run("podman", "rm", container)

    def label(root: Path) -> None:
        contexts = root / "etc/selinux/default/contexts/files/file_contexts"
        if contexts.exists():
            # The compiled contexts may be of another version than setfiles.
            for compiled in contexts.parent.glob("*.bin"):
                compiled.unlink()
            options = [*limits, "--rm", "--privileged", "--network=none", f"--volume={root}:/mnt"]
            inside = f"/mnt/{contexts.relative_to(root)}"
            run("podman", *engine, "run", *options, tag(image), "setfiles", "-F", "-r", "/mnt", inside, "/mnt")

    with timed(f"{image}: make the VM's disk and saved states"):
        made = qemu.build(folder, unpack, label)
    if made:
        # A running lab keeps its open files.
        for old in set(folder.parent.glob(f"{image}-*")) - {folder, Path(f"{folder}.lock")}:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def ensure(image: str) -> None:
    """Make an image unless it exists."""
    (ensure_vm if image in VMS else ensure_image)(image)


def lab_name(state: Path) -> str:
    """Return the name of the lab, which is unique among all checkouts."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", state.name):
        raise LabError(f"'{state.name}' cannot name a lab: use lower-case letters, digits, '-', '_' and '.'")
    return f"{state.name}-{hashlib.sha256(str(state).encode()).hexdigest()[:4]}"


def lab_hosts(state: Path) -> list[Host]:
    """Return the containers of this lab alone."""
    listed = run("podman", "ps", "--all", "--filter", f"label={LABEL}={lab_name(state)}", "--format", "json")
    hosts = []
    for item in json.loads(listed or "[]"):
        labels = item["Labels"]
        ports = [entry["host_port"] for entry in item["Ports"] or [] if entry["container_port"] == 22]
        named = (labels[f"{LABEL}.host"], item["Names"][0], labels[f"{LABEL}.image"])
        hosts.append(Host(*named, item["ImageID"], item["State"], ports[0] if ports else 0))
    return sorted(hosts)


def seemingly_running() -> dict[str, tuple[str, int]]:
    """Return name and process of each container of any lab that runs for podman and whose process has ended, by id."""
    found: dict[str, tuple[str, int]] = {}
    for item in json.loads(run("podman", "ps", "--filter", f"label={LABEL}", "--format", "json") or "[]"):
        try:
            runs = item["Id"] in Path(f"/proc/{item['Pid']}/cgroup").read_text()
        except OSError:
            runs = False
        if not runs:
            found[item["Id"]] = item["Names"][0], item["Pid"]
    return found


def remove_killed() -> None:
    """Remove the containers of any lab that were killed together with podman's monitor of them.

    For podman they still run, so it refuses to start them, and forwards their ports to them even where it has given
    such a port to another container.
    """
    killed = seemingly_running()
    if killed:
        # Of a container that stops in this moment, podman's monitor learns it soon.
        time.sleep(2)
    for container, item in seemingly_running().items() if killed else ():
        if killed.get(container) == item:
            with timed(f"remove {item[0]}, which was killed"), contextlib.suppress(LabError):
                run("podman", "rm", "--force", "--time=0", "--volumes", container)


def saved_image(state: Path, name: str) -> str:
    """Return the name of the image in which save() keeps a host."""
    return f"{REPOSITORY}/saved-{lab_name(state)}:{name}"


def save(state: Path) -> None:
    """Save the containers of a lab as images and remove the containers; keep the lab's files."""
    engine, _limits = restrictions()

    def commit(host: Host) -> None:
        # Stopped, the services have written their state, as before any reboot.
        run("podman", *engine, "stop", "--time=60", host.container)
        run("podman", *engine, "commit", "--quiet", host.container, saved_image(state, host.name))
        run("podman", "rm", "--volumes", host.container)

    hosts = lab_hosts(state)
    with timed(" ".join(["save", *(host.name for host in hosts)])), ThreadPoolExecutor() as pool:
        list(pool.map(commit, hosts))


def copy_files(saved: Path, state: Path) -> None:
    """Copy what a lab keeps beside what lab.py writes, such as a CA, to another lab."""
    if not saved.is_dir():
        raise LabError(f"{saved} is not a saved lab: make stage NAME=molecule-default")
    shutil.copytree(saved, state, ignore=shutil.ignore_patterns(*FILES), dirs_exist_ok=True)


def create(state: Path, name: str, image: str, saved: Path | None) -> None:
    """Create and start the container of one host, from its image or from that of a saved lab."""
    engine, limits = restrictions()
    lab = lab_name(state)
    labels = {LABEL: lab, f"{LABEL}.host": name, f"{LABEL}.image": image}
    run(
        *("podman", *engine, "run", "--detach", "--pull=never", "--systemd=always", *limits),
        *("--name", f"nts-{lab}-{name}", "--hostname", name, "--network", f"nts-{lab}", "--network-alias", name),
        *(f"--label={key}={value}" for key, value in labels.items()),
        # NET_ADMIN for the container's own firewall; never SYS_TIME, because the clock is the controller's.
        *("--cap-add=NET_ADMIN", "--cap-drop=SYS_TIME", "--publish", "127.0.0.1::22"),
        *(saved_image(saved, name) if saved else reference(image), "/sbin/init"),
    )


def prepare(host: Host, public_key: str, *, keep_bytecode: bool) -> str:
    """Wait until a host answers SSH; return its known_hosts line."""
    script = (LAB / "prepare.sh").read_text()
    bytecode = (LAB / "bytecode.py").read_text() if keep_bytecode else ""
    command = ("podman", "exec", "--interactive", host.container, "sh", "-s", public_key, bytecode)
    host_key = run(*command, stdin=script, timeout_seconds=1200).split()
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", host.port), timeout=60) as connection:
            if connection.recv(4) == b"SSH-":
                return f"[127.0.0.1]:{host.port} {host_key[0]} {host_key[1]}\n"
        time.sleep(0.1)
    raise LabError(f"{host.name}: no SSH server answers at 127.0.0.1:{host.port}")


def inventory(state: Path, hosts: list[Host]) -> str:
    """Return the hosts as an Ansible inventory; each value is JSON, which is valid YAML."""
    known_hosts = f"-o UserKnownHostsFile={shlex.quote(str(state / 'known_hosts'))} -o GlobalKnownHostsFile=/dev/null"
    lines = [f"# Written by lab.py for the lab {state.name}", "all:", "  hosts:"]
    for host in hosts:
        variables: dict[str, object] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": host.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(state / "id_ed25519"),
            "ansible_ssh_common_args": f"{known_hosts} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
            # testinfra's own limit is 10 s.
            " -o ConnectTimeout=60",
            "lab_image": host.image,
            "lab_container": host.container,
        }
        for each in qemu.known(state):
            if each.name == host.name:
                variables["ansible_ssh_private_key_file"] = str(each.image / "id_ed25519")
                variables["ansible_ssh_common_args"] = shlex.join(qemu.ssh_options(each))
        lines += [f"    {host.name}:", *(f"      {key}: {json.dumps(value)}" for key, value in variables.items())]
    return "\n".join(lines) + "\n"


def vm_hosts(state: Path) -> list[Host]:
    """Return the VMs of this lab."""
    return [
        Host(each.name, "", each.image.name, "", "running" if qemu.runs(each) else "off", each.port)
        for each in qemu.known(state)
    ]


def up_vms(state: Path, wanted: dict[str, str]) -> None:
    """Start the desired VMs that do not run, each from its image's state `ready`."""
    images = {image: ensure_vm(image) for image in sorted(set(wanted.values()))}
    all_of_them = [
        Vm(state / name, images[image], qemu.free_port(), number)
        for number, (name, image) in enumerate(sorted(wanted.items()))
    ]
    running = [each.name for each in qemu.known(state) if qemu.runs(each)]

    def bring_up(each: Vm) -> None:
        if each.name not in running:
            with timed(f"{each.name}: start {wanted[each.name]}"):
                qemu.start(each, all_of_them)

    with ThreadPoolExecutor() as pool:
        list(pool.map(bring_up, all_of_them))


def image_ids(wanted: dict[str, str], saved: Path | None) -> dict[str, str]:
    """Return the id of the image of each host, which is a saved one if `saved` is a lab."""
    if saved:
        return {name: image_id(saved_image(saved, name)) for name in wanted}
    ids = {image: ensure_image(image) for image in sorted(set(wanted.values()))}
    return {name: ids[image] for name, image in wanted.items()}


def up(state: Path, wanted: dict[str, str], saved: Path | None = None, *, keep_bytecode: bool = False) -> None:
    """Start the desired hosts that do not run, and write the inventory of all; `saved` is a lab to copy them from."""
    vms = {name: image for name, image in wanted.items() if image in VMS}
    wanted = {name: image for name, image in wanted.items() if image not in VMS}
    up_vms(state, vms)
    if not wanted and vms:
        (state / "inventory.yml").write_text(inventory(state, vm_hosts(state)))
        return
    present = {host.name: host for host in lab_hosts(state)}
    ids = image_ids(wanted, saved)
    state.mkdir(parents=True, exist_ok=True)
    if saved:
        copy_files(saved, state)
    key = state / "id_ed25519"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {state.name}", "-f", str(key))
    network = f"nts-{lab_name(state)}"
    if network not in run("podman", "network", "ls", "--quiet").split():
        run("podman", "network", "create", "--label", f"{LABEL}={lab_name(state)}", network)

    def bring_up(name: str) -> None:
        host, image = present.get(name), wanted[name]
        if host and host.image_id == ids[name] and host.state == "running":
            return
        with timed(f"{name}: start {image}"):
            if host and host.image_id == ids[name]:
                run("podman", "start", host.container)
                return
            if host:
                run("podman", "rm", "--force", "--time=0", "--volumes", host.container)
            create(state, name, image, saved)

    restrictions()
    with timed(f"up {' '.join(wanted)}"), ThreadPoolExecutor() as pool:
        list(pool.map(bring_up, wanted))
        hosts = [host for host in lab_hosts(state) if host.state == "running"]
        public_key = Path(f"{key}.pub").read_text().strip()
        known_hosts = list(pool.map(lambda host: prepare(host, public_key, keep_bytecode=keep_bytecode), hosts))
    (state / "known_hosts").write_text("".join(known_hosts))
    (state / "inventory.yml").write_text(inventory(state, hosts + vm_hosts(state)))


def status(state: Path) -> None:
    """Print the lab's hosts."""
    rows = [("HOST", "IMAGE", "STATE", "SSH", "CONTAINER")]
    rows += [
        (host.name, host.image, host.state, f"127.0.0.1:{host.port}", host.container)
        for host in [*lab_hosts(state), *vm_hosts(state)]
    ]
    for row in rows:
        print("{:<16} {:<12} {:<10} {:<16} {}".format(*row))


def down(state: Path) -> None:
    """Remove the hosts, network and files of the lab."""
    hosts = lab_hosts(state)
    vms = qemu.known(state)
    with timed(" ".join(["down", *(host.name for host in hosts), *(each.name for each in vms)])):
        for each in vms:
            qemu.cut(each)
            shutil.rmtree(each.folder)
        if hosts:
            run("podman", "rm", "--force", "--time=0", "--volumes", *(host.container for host in hosts))
        for network in run(
            "podman", "network", "ls", "--quiet", "--filter", f"label={LABEL}={lab_name(state)}"
        ).split():
            run("podman", "network", "rm", network)
        for name in run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}", saved_image(state, "*")).split():
            # podman keeps an image of running copies.
            with contextlib.suppress(LabError):
                run("podman", "rmi", name)
        for name in FILES:
            (state / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            state.rmdir()


def image_name(text: str) -> str:
    """Return an argument that names an image; fail for any other."""
    if text not in EVERYTHING:
        raise argparse.ArgumentTypeError(f"no image '{text}': there are {' '.join(EVERYTHING)}")
    return text


def image_name_or_all(text: str) -> str:
    """Return an argument that names an image, or `all`; fail for any other."""
    return text if text == "all" else image_name(text)


def folder(text: str) -> Path:
    """Return an argument that names a folder, as an absolute path."""
    return Path(text).resolve()


def host_and_image(text: str) -> tuple[str, str]:
    """Return the parts of an argument HOST=IMAGE."""
    host, _equals, image = text.partition("=")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST=IMAGE")
    return host, image_name(image)


def main() -> int:
    """Run one sub-command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("packages")
    commands.add_parser("build").add_argument("images", nargs="*", type=image_name_or_all, metavar="IMAGE")
    for command in ("up", "status", "save", "down"):
        of_a_lab = commands.add_parser(command)
        of_a_lab.add_argument("--state", required=True, type=folder, metavar="DIR")
        if command == "up":
            of_a_lab.add_argument("--from", type=folder, dest="saved", metavar="SAVED")
            of_a_lab.add_argument("--keep-bytecode", action="store_true")
            of_a_lab.add_argument("hosts", nargs="+", type=host_and_image, metavar="HOST=IMAGE")
    arguments = parser.parse_args()
    if arguments.command == "packages":
        print(PACKAGES)
        return 0
    try:
        require("podman")
        if arguments.command == "build":
            # An image with several dependents is built once: the second build waits for its lock.
            with ThreadPoolExecutor() as pool:
                list(pool.map(ensure, EVERYTHING if "all" in arguments.images else arguments.images or DEFAULT))
        elif arguments.command == "up":
            remove_killed()
            up(arguments.state, dict(arguments.hosts), arguments.saved, keep_bytecode=arguments.keep_bytecode)
        elif arguments.command == "save":
            save(arguments.state)
        elif arguments.command == "status":
            status(arguments.state)
        else:
            down(arguments.state)
    except (LabError, VmError, OSError, subprocess.SubprocessError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
