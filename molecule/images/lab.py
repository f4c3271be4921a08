# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the test images and run labs of them: containers with systemd as PID 1, reached by SSH as real hosts are.

lab.py packages                             the Debian packages this needs
lab.py build [IMAGE ...]                    build what is missing of: debian12 debian13 el-standin
lab.py up --state DIR HOST=IMAGE [...]      start these hosts, keep those that run; writes DIR/inventory.yml
lab.py status --state DIR                   table of the lab's hosts
lab.py down --state DIR                     remove the lab's hosts, its network and its files

DIR names the lab. Hosts of a lab resolve each other by HOST. An image's tag is a hash of its
recipe, so an image is built once and again when its recipe changes. DEBIAN_IMAGE and EL_IMAGE (environment) name images
to use in place of debian12/debian13 and el-standin; such an image needs systemd, the rest is installed at start.
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

RECIPES = Path(__file__).resolve().parent
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
BASES = {"el-standin": "debian13"}
IMAGES = [*SUITES, *BASES]
REPOSITORY = "localhost/securetime-nts"
LABEL = "securetime-nts.lab"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "securetime-nts"
PACKAGES = (
    "podman netavark aardvark-dns iptables nftables runc fuse-overlayfs uidmap slirp4netns passt "
    "mmdebstrap debian-archive-keyring openssh-client"
)


class LabError(Exception):
    """What went wrong, as a sentence."""


class Host(NamedTuple):
    """A container of the lab, as podman sees it."""

    name: str
    container: str
    image: str
    image_id: str
    state: str
    port: int


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long it took."""
    start = time.monotonic()
    yield
    print(f"lab: {what}: {time.monotonic() - start:.1f} s", flush=True)


def require(program: str) -> None:
    """Raise LabError unless the program is installed."""
    if shutil.which(program) is None:
        raise LabError(f"{program} is missing; on Debian: apt-get install {PACKAGES}")


def run(*command: str, stdin: str = "", timeout_seconds: float = 120, stdout: IO[bytes] | int = subprocess.PIPE) -> str:
    """Run a command; return what it printed or raise LabError with its last lines."""
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
    """What a restricted machine needs: global options of podman, and options of its run and build."""
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


def tag(image: str) -> str:
    """The image's name in podman's store, with a hash of all that it is made of."""
    recipe = RECIPES / ("debian" if image in SUITES else image)
    digest = hashlib.sha256((tag(BASES[image]) if image in BASES else SUITES[image]).encode())
    for path in sorted(path for path in recipe.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(recipe)}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}/{image}:{digest.hexdigest()[:12]}"


def reference(image: str) -> str:
    """The image to run: the one that the environment names, or the one that is built here."""
    return os.environ.get("EL_IMAGE" if image in BASES else "DEBIAN_IMAGE") or tag(image)


def image_id(name: str) -> str:
    """The id of an image in podman's store, or nothing."""
    with contextlib.suppress(LabError):
        return run("podman", "image", "inspect", "--format", "{{.Id}}", name).strip()
    return ""


def apt_sources(suite: str) -> str:
    """sources.list lines for a suite, from the mirrors that this machine itself uses, if it is a Debian."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    if release.get("ID") != "debian" or not shutil.which("apt-get"):
        return ""
    wanted = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = []
    for line in run("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines():
        uri, name, component, origin = line.split(" ", 3)
        pocket = re.fullmatch(rf"(?:{release.get('VERSION_CODENAME')}|stable|oldstable)(|-updates|-security)", name)
        # The origin is unknown, and its placeholder is left as it is, where apt has no lists yet.
        if pocket and component == "main" and origin in ("Debian", "$(ORIGIN)") and uri.startswith("http"):
            lines.append(f"deb [signed-by={keyring}] {uri} {suite}{pocket[1]} main\n")
    return "".join(lines) if any(f" {suite} " in line for line in lines) else ""


def build(image: str) -> None:
    """Build an image that podman's store lacks, and drop the tags of its former recipes."""
    if image in BASES:
        build(BASES[image])
    name = tag(image)
    engine, limits = restrictions()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{image}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if image_id(name):
            return
        with timed(f"{image}: image built"):
            if image in SUITES:
                sources = apt_sources(SUITES[image])
                with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".tar") as archive:
                    command = (str(RECIPES / "debian" / "build.sh"), SUITES[image], *(["-"] if sources else []))
                    run(*command, stdin=sources, stdout=archive, timeout_seconds=1800)
                    run("podman", "import", "--change", 'CMD ["/sbin/init"]', archive.name, name, timeout_seconds=600)
            else:
                options = [*limits, "--network=host", "--layers=false", f"--build-arg=BASE={tag(BASES[image])}"]
                run("podman", *engine, "build", *options, f"--tag={name}", str(RECIPES / image), timeout_seconds=1800)
        former = run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{REPOSITORY}/{image}").split()
        for old in set(former) - {name}:
            # One that a running lab uses stays until the next build.
            with contextlib.suppress(LabError):
                run("podman", "rmi", old)


def ensure_image(image: str) -> str:
    """Build, or pull, an image that podman's store lacks; return its id."""
    name = reference(image)
    if not image_id(name):
        if name == tag(image):
            build(image)
        else:
            with timed(f"{name} pulled"):
                run("podman", "pull", name, timeout_seconds=1800)
    return image_id(name)


def lab_name(state: Path) -> str:
    """The name of the lab, which no other checkout's lab has."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", state.name):
        raise LabError(f"'{state.name}' cannot name a lab: use lower-case letters, digits, '-', '_' and '.'")
    return f"{state.name}-{hashlib.sha256(str(state).encode()).hexdigest()[:4]}"


def lab_hosts(state: Path) -> list[Host]:
    """The containers of this lab and no others."""
    listed = run("podman", "ps", "--all", "--filter", f"label={LABEL}={lab_name(state)}", "--format", "json")
    hosts = []
    for item in json.loads(listed or "[]"):
        labels = item["Labels"]
        ports = [entry["host_port"] for entry in item["Ports"] or [] if entry["container_port"] == 22]
        named = (labels[f"{LABEL}.host"], item["Names"][0], labels[f"{LABEL}.image"])
        hosts.append(Host(*named, item["ImageID"], item["State"], ports[0] if ports else 0))
    return sorted(hosts)


def create(state: Path, name: str, image: str) -> None:
    """Create and start the container of one host."""
    engine, limits = restrictions()
    lab = lab_name(state)
    labels = {LABEL: lab, f"{LABEL}.host": name, f"{LABEL}.image": image}
    run(
        *("podman", *engine, "run", "--detach", "--pull=never", "--systemd=always", *limits),
        *("--name", f"nts-{lab}-{name}", "--hostname", name, "--network", f"nts-{lab}", "--network-alias", name),
        *(f"--label={key}={value}" for key, value in labels.items()),
        # A firewall of its own, as on a real host; never the clock, which is the machine's.
        *("--cap-add=NET_ADMIN", "--cap-drop=SYS_TIME", "--publish", "127.0.0.1::22"),
        *(reference(image), "/sbin/init"),
    )


def prepare(host: Host, public_key: str) -> str:
    """Wait until a host answers SSH; return its known_hosts line."""
    script = (RECIPES / "prepare.sh").read_text()
    command = ("podman", "exec", "--interactive", host.container, "sh", "-s", public_key)
    host_key = run(*command, stdin=script, timeout_seconds=600).split()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", host.port), timeout=2) as connection:
            if connection.recv(4) == b"SSH-":
                return f"[127.0.0.1]:{host.port} {host_key[0]} {host_key[1]}\n"
        time.sleep(0.1)
    raise LabError(f"{host.name}: no SSH server answers at 127.0.0.1:{host.port}")


def inventory(state: Path, hosts: list[Host]) -> str:
    """The hosts as an Ansible inventory; each value is JSON, which YAML reads."""
    known_hosts = f"-o UserKnownHostsFile={shlex.quote(str(state / 'known_hosts'))} -o GlobalKnownHostsFile=/dev/null"
    lines = [f"# Written by lab.py for the lab {state.name}", "all:", "  hosts:"]
    for host in hosts:
        variables: dict[str, object] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": host.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(state / "id_ed25519"),
            "ansible_ssh_common_args": f"{known_hosts} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
            "lab_image": host.image,
            "lab_container": host.container,
        }
        lines += [f"    {host.name}:", *(f"      {key}: {json.dumps(value)}" for key, value in variables.items())]
    return "\n".join(lines) + "\n"


def up(state: Path, wanted: dict[str, str]) -> None:
    """Bring up the hosts that are wanted, beside those that run, and write the inventory of all."""
    present = {host.name: host for host in lab_hosts(state)}
    ids = {image: ensure_image(image) for image in sorted(set(wanted.values()))}
    state.mkdir(parents=True, exist_ok=True)
    key = state / "id_ed25519"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {state.name}", "-f", str(key))
    network = f"nts-{lab_name(state)}"
    if network not in run("podman", "network", "ls", "--quiet").split():
        run("podman", "network", "create", "--label", f"{LABEL}={lab_name(state)}", network)

    def bring_up(name: str) -> None:
        host, image = present.get(name), wanted[name]
        if host and host.image_id == ids[image] and host.state == "running":
            return
        with timed(f"{name}: {image} started"):
            if host and host.image_id == ids[image]:
                run("podman", "start", host.container)
                return
            if host:
                run("podman", "rm", "--force", "--time=0", "--volumes", host.container)
            create(state, name, image)

    restrictions()
    with timed(f"up {' '.join(wanted)}"), ThreadPoolExecutor() as pool:
        list(pool.map(bring_up, wanted))
        hosts = [host for host in lab_hosts(state) if host.state == "running"]
        public_key = Path(f"{key}.pub").read_text().strip()
        known_hosts = list(pool.map(lambda host: prepare(host, public_key), hosts))
    (state / "known_hosts").write_text("".join(known_hosts))
    (state / "inventory.yml").write_text(inventory(state, hosts))


def status(state: Path) -> None:
    """Print the lab's hosts."""
    rows = [("HOST", "IMAGE", "STATE", "SSH", "CONTAINER")]
    rows += [(host.name, host.image, host.state, f"127.0.0.1:{host.port}", host.container) for host in lab_hosts(state)]
    for row in rows:
        print("{:<16} {:<12} {:<10} {:<16} {}".format(*row))


def down(state: Path) -> None:
    """Remove what belongs to the lab."""
    hosts = lab_hosts(state)
    with timed(" ".join(["down", *(host.name for host in hosts)])):
        if hosts:
            run("podman", "rm", "--force", "--time=0", "--volumes", *(host.container for host in hosts))
        for network in run(
            "podman", "network", "ls", "--quiet", "--filter", f"label={LABEL}={lab_name(state)}"
        ).split():
            run("podman", "network", "rm", network)
        for name in ("inventory.yml", "known_hosts", "id_ed25519", "id_ed25519.pub"):
            (state / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            state.rmdir()


def image_name(text: str) -> str:
    """Check an argument that names an image."""
    if text not in IMAGES:
        raise argparse.ArgumentTypeError(f"no image '{text}': there are {' '.join(IMAGES)}")
    return text


def host_and_image(text: str) -> tuple[str, str]:
    """Split an argument HOST=IMAGE."""
    host, _equals, image = text.partition("=")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST=IMAGE")
    return host, image_name(image)


def main() -> int:
    """Run one sub-command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("packages")
    commands.add_parser("build").add_argument("images", nargs="*", type=image_name, metavar="IMAGE")
    for command in ("up", "status", "down"):
        of_a_lab = commands.add_parser(command)
        of_a_lab.add_argument("--state", required=True, type=lambda text: Path(text).resolve(), metavar="DIR")
        if command == "up":
            of_a_lab.add_argument("hosts", nargs="+", type=host_and_image, metavar="HOST=IMAGE")
    arguments = parser.parse_args()
    if arguments.command == "packages":
        print(PACKAGES)
        return 0
    try:
        require("podman")
        if arguments.command == "build":
            for image in arguments.images or IMAGES:
                ensure_image(image)
        elif arguments.command == "up":
            up(arguments.state, dict(arguments.hosts))
        elif arguments.command == "status":
            status(arguments.state)
        else:
            down(arguments.state)
    except (LabError, OSError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
