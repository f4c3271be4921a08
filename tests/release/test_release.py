# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the release tarball into an empty path, and run it on hosts that an older tarball has set up.

The tests follow an operator's steps: a fleet under the old names, the upgrade, all playbooks, the restoration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build/release"
LAB = ROOT / ".lab/release"
# The last commit before the renaming of variables.
OLD_COMMIT = "ebe81ee"
# Old names and values, with the new ones.
RENAMED = {
    "chrony_nts_verify_or_take_back": ("chrony_nts_rollback_on_failed_verify", True, True),
    "chrony_nts_dropins": ("chrony_nts_dropins", "keep", "include"),
}
HOSTS = {"server": "debian13", "client": "el-standin"}
CONFIG = {"server": "/etc/chrony/chrony.conf", "client": "/etc/chrony.conf"}
DROP_IN = {"server": "/etc/chrony/conf.d/operator.conf", "client": "/etc/chrony.d/operator.conf"}
# More than ten times the duration of any Ansible run on two hosts.
TIMEOUT_SECONDS = 1800
# Modules whose action plugin does all of the work on the controller, or calls another module.
ON_THE_CONTROLLER = {"chrony_nts_apply", "chrony_nts_plan", "nts_report", "nts_report_host"}
MODULES = {path.stem for path in ROOT.glob("plugins/modules/*.py")}
PLAYBOOKS = sorted(path.stem for path in ROOT.glob("playbooks/*.yml"))


def run(*command: str, path: Path | None = None, inventory: Path | None = None, cwd: Path = BUILD) -> str:
    """Run a program that must succeed; return its output. Ansible finds only the collections in `path`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(path or BUILD / "none"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_INVENTORY": f"{inventory},{LAB / 'inventory.yml'}",
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
    return done.stdout


def install(name: str, source: Path) -> Path:
    """Build a tarball of a source tree and install it with community.crypto into an empty path; return the path."""
    tarballs, path = BUILD / name / "tarball", BUILD / name / "collections"
    run("ansible-galaxy", "collection", "build", "--force", "--output-path", str(tarballs), str(source))
    (tarball,) = tarballs.glob("securetime-nts-*.tar.gz")
    run("ansible-galaxy", "collection", "install", "--no-deps", "-p", str(path), str(tarball), path=path)
    shutil.copytree(ROOT / ".build/collections/ansible_collections/community", path / "ansible_collections/community")
    return path


@pytest.fixture(scope="session", autouse=True)
def clean() -> None:
    """Remove the files of an earlier run."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)


@pytest.fixture(scope="session")
def new(clean: None) -> Path:
    """Return the path with the collection of this tree."""
    return install("new", Path(run("tests/stages/copy.sh", "release/tree", cwd=ROOT).splitlines()[-1]))


@pytest.fixture(scope="session")
def old(clean: None) -> Path:
    """Return the path with the collection of the old commit."""
    source = BUILD / "old-source"
    source.mkdir()
    archive = BUILD / "old.tar"
    run("git", "archive", "--output", str(archive), OLD_COMMIT, cwd=ROOT)
    with tarfile.open(archive) as opened:
        opened.extractall(source, filter="data")
    return install("old", source)


def inventory(name: str, renamed: dict[str, Any]) -> Path:
    """Write an inventory with these variables and those whose names have not changed; return its path."""
    common = {
        "chrony_nts_ca_dir": str(LAB / "nts-ca"),
        "chrony_nts_ca_passphrase": "horse-battery-staple",
        "chrony_nts_symmetric_keys": [{"id": 7, "type": "SHA256", "key": "HEX:" + "5EC2E7" * 10}],
    }
    servers = {
        "hosts": {"server": {}},
        "vars": {
            "chrony_nts_sources": [],
            "chrony_nts_directives": {"local": {"stratum": 10}},
            "chrony_nts_server_allow": ["0.0.0.0/0", "::/0"],
        },
    }
    clients = {
        "hosts": {"client": {}},
        "vars": {"chrony_nts_sources": [{"address": "server"}], "chrony_nts_directives": {"maxdistance": 2.5}},
    }
    path = LAB / f"{name}.yml"
    children = {"nts_servers": servers, "nts_clients": clients}
    path.write_text(yaml.safe_dump({"all": {"vars": {**common, **renamed}, "children": children}}))
    return path


@pytest.fixture(scope="session")
def fleet(old: Path) -> Iterator[Path]:
    """Set up hosts with the old collection and the old names; return the inventory with the new names."""
    lab = [str(ROOT / ".venv/bin/python"), str(ROOT / "tests/lab/lab.py")]
    run(*lab, "down", "--state", str(LAB))
    run(*lab, "up", "--state", str(LAB), *(f"{host}={image}" for host, image in HOSTS.items()))
    try:
        names = inventory("old", {name: value for name, (_new, value, _value) in RENAMED.items()})
        for host, drop_in in DROP_IN.items():
            shell(host, f"mkdir -p $(dirname {drop_in}); echo maxupdateskew 50 >{drop_in}")
        run("ansible-playbook", "securetime.nts.site", path=old, inventory=names)
        yield inventory("new", {name: value for name, _value, value in RENAMED.values()})
    finally:
        run(*lab, "down", "--state", str(LAB))


def shell(host: str, command: str) -> str:
    """Return the output of a shell command on a host."""
    found = yaml.safe_load((LAB / "inventory.yml").read_text())["all"]["hosts"][host]["lab_container"]
    return run("podman", "exec", found, "sh", "-ec", command)


def changed(output: str) -> dict[str, int]:
    """Return the number of changed tasks of each host; fail if a host failed."""
    found = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", output, re.MULTILINE)
    return {host: int(number) for host, number in found if host != "localhost"}


def state() -> dict[str, Any]:
    """Return the state that an upgrade must keep: CA, keys, the operator's settings, and the clock."""
    found: dict[str, Any] = {"root": (LAB / "nts-ca/root.pem").read_text()}
    for host in HOSTS:
        directives = shell(host, f"chronyd -p -f {CONFIG[host]}").splitlines()
        # Without the role's own access rules for the loopback.
        wanted = ("maxupdateskew", "maxdistance", "local ", "allow 0.0.0.0/0", "allow ::/0", "keyfile")
        found[f"{host} directives"] = [line for line in directives if line.startswith(wanted)]
        found[f"{host} key"] = shell(
            host, "grep -rh '^7 ' /etc/chrony/chrony.keys /etc/chrony.keys 2>/dev/null || true"
        )
        found[f"{host} trust"] = shell(host, "grep -hv '^#' /etc/chrony/nts/trusted*.pem || true")
    # The role signs the certificate again, for the same key and with the same root CA.
    found["server's key"] = shell("server", "sha256sum /etc/chrony/nts/server.key")
    return found


@pytest.fixture(scope="session")
def upgrade(fleet: Path, new: Path) -> dict[str, Any]:
    """Upgrade the fleet; return its state before and after, and the output of the second run."""
    before = state()
    site = ["ansible-playbook", "securetime.nts.site", "-e", "chrony_nts_site_monitor=true"]
    run(*site, path=new, inventory=fleet)
    after = state()
    return {"before": before, "after": after, "second": run(*site, path=new, inventory=fleet)}


def test_the_tarball_has_what_users_need_and_nothing_of_the_tests(new: Path) -> None:
    (tarball,) = (BUILD / "new/tarball").glob("*.tar.gz")
    with tarfile.open(tarball) as opened:
        names = {name.split("/")[0] for name in opened.getnames()}
        files = set(opened.getnames())
    assert names >= {
        "README.md",
        "LICENSE",
        "MANIFEST.json",
        "docs",
        "meta",
        "monitoring",
        "playbooks",
        "plugins",
        "roles",
    }
    assert names.isdisjoint({"tests", "extensions", ".github", ".ci", "Makefile", "requirements-dev.txt"})
    assert {"changelogs/changelog.yaml", "docs/report.png", "meta/execution-environment.yml"} <= files
    manifest = json.loads((new / "ansible_collections/securetime/nts/MANIFEST.json").read_text())
    assert manifest["collection_info"]["version"] == yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]


def test_every_playbook_and_module_of_the_tarball_is_found(new: Path, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("nts_servers: {hosts: {a: }}\nnts_clients: {hosts: {b: }}\n")
    examples = sorted((new / "ansible_collections/securetime/nts/playbooks/examples").glob("*.yml"))
    assert len(examples) >= 3
    for name in (*(f"securetime.nts.{name}" for name in PLAYBOOKS), *map(str, examples)):
        run("ansible-playbook", "--syntax-check", "-i", str(tmp_path / "hosts.yml"), name, path=new)
    listed = run("ansible-doc", "--list", "--type", "module", "securetime.nts", path=new)
    assert set(re.findall(r"^securetime\.nts\.(\w+)", listed, re.MULTILINE)) == MODULES
    for role in ("chrony_nts", "chrony_monitor"):
        assert f"securetime.nts.{role}" in run("ansible-doc", "--type", "role", f"securetime.nts.{role}", path=new)


def test_an_upgrade_loses_nothing(upgrade: dict[str, Any]) -> None:
    before, after = upgrade["before"], upgrade["after"]
    assert "maxupdateskew 50" in before["server directives"]
    assert "maxdistance 2.5" in before["client directives"]
    # A later release may add directives.
    for host in HOSTS:
        assert set(before[f"{host} directives"]) <= set(after[f"{host} directives"]), host
    # If a directive appears twice, chronyd uses the last one, which is the operator's.
    for host in HOSTS:
        skews = [line for line in after[f"{host} directives"] if line.startswith("maxupdateskew")]
        assert skews[-1] == "maxupdateskew 50", host
    same = [name for name in before if not name.endswith("directives")]
    assert [name for name in same if before[name] != after[name]] == []


def test_a_second_run_after_an_upgrade_changes_nothing(upgrade: dict[str, Any]) -> None:
    assert changed(upgrade["second"]) == {"server": 0, "client": 0}
    assert re.search(r'^ +"client +client +authenticated +server ', upgrade["second"], re.MULTILINE)


def test_an_inventory_in_the_old_names_is_refused_with_the_variable(upgrade: dict[str, Any], new: Path) -> None:
    with pytest.raises(AssertionError) as error:
        run("ansible-playbook", "--check", "securetime.nts.site", path=new, inventory=LAB / "old.yml")
    text = " ".join(str(error.value).split())
    assert "chrony_nts_dropins" in text
    assert "chrony_nts_verify_or_take_back" in text


def test_every_playbook_works_on_the_hosts(upgrade: dict[str, Any], fleet: Path, new: Path) -> None:
    assert "No faults." in run("ansible-playbook", "securetime.nts.verify", path=new, inventory=fleet)
    arguments = {
        "report": ("-e", f"chrony_nts_report_dir={BUILD / 'report'}"),
        "renew": (),
        "rotate_ntskeys": (),
        "rotate_ca": ("-e", "chrony_nts_ca_rotation=prepare"),
    }
    for name, more in arguments.items():
        run("ansible-playbook", f"securetime.nts.{name}", *more, path=new, inventory=fleet)
    for step in ("switch", "finish"):
        run(
            "ansible-playbook",
            "securetime.nts.rotate_ca",
            "-e",
            f"chrony_nts_ca_rotation={step}",
            path=new,
            inventory=fleet,
        )
    assert {*arguments, "site", "verify", "restore"} == set(PLAYBOOKS)
    # The module reads the keys of the one server, and the playbook refuses to share them with no other.
    shared = ("-e", "chrony_nts_shared_keys=example")
    with pytest.raises(AssertionError) as error:
        run("ansible-playbook", "securetime.nts.rotate_ntskeys", *shared, path=new, inventory=fleet)
    assert "Only server has example in chrony_nts_shared_keys" in " ".join(str(error.value).split())
    assert json.loads((BUILD / "report/report.json").read_text())["totals"]
    assert "nts-monitor.timer" in shell("client", "systemctl list-timers --all")


def test_every_module_runs_from_the_tarball(upgrade: dict[str, Any], fleet: Path, new: Path) -> None:
    for module, arguments in {
        "nts_challenge": {"root": "/run/challenges", "answers": {".well-known/acme-challenge/token": "answer"}},
        "nts_packages": {"manager": "apt", "name": ["chrony"]},
        "nts_probe": {"server": "server", "trusted_certs": "/etc/chrony/nts/trusted.pem"},
    }.items():
        host = "client" if module == "nts_probe" else "server"
        if module == "nts_challenge":
            shell(host, "mkdir -p /run/challenges")
        command = ["ansible", host, "-b", "-m", f"securetime.nts.{module}", "-a", json.dumps(arguments)]
        run(*command, path=new, inventory=fleet)
    journals = "".join(shell(host, "journalctl --quiet --no-pager") for host in HOSTS)
    invoked = set(re.findall(r"ansible-securetime\.nts\.(\w+)\[\d+\]: Invoked", journals))
    assert invoked | ON_THE_CONTROLLER == MODULES


def test_restore_restores_the_state_before_the_old_collection(upgrade: dict[str, Any], fleet: Path, new: Path) -> None:
    run("ansible-playbook", "securetime.nts.restore", path=new, inventory=fleet)
    shell("server", f"cmp /usr/share/chrony/chrony.conf {CONFIG['server']}")
    assert "chrony-" in shell("client", f"rpm -qf {CONFIG['client']}")
    # The third flag of rpm is the digest of the content.
    flags = shell("client", f"rpm -V chrony | grep ' {CONFIG['client']}$' || true")
    assert flags[2:3] != "5", flags
    for host, drop_in in DROP_IN.items():
        assert shell(host, f"cat {drop_in}") == "maxupdateskew 50\n"


def test_the_execution_environment_is_introspected_and_created(new: Path) -> None:
    found = yaml.safe_load(run("ansible-builder", "introspect", str(new)))
    collection = new / "ansible_collections/securetime/nts"
    meta = yaml.safe_load((collection / "meta/execution-environment.yml").read_text())
    assert meta["version"] == 3
    for kind in ("python", "system"):
        lines = (collection / meta["dependencies"][kind]).read_text().splitlines()
        wanted = [line for line in lines if not line.startswith("#")]
        listed = [line.partition("  # from")[0] for line in found[kind] if "securetime.nts" in line]
        assert listed == wanted
    page = (ROOT / "docs/fleets.md").read_text()
    definition = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "base_image" in block)
    folder = BUILD / "environment"
    folder.mkdir()
    (folder / "execution-environment.yml").write_text(definition)
    assert yaml.safe_load(definition)["version"] == 3
    created = run("ansible-builder", "create", "--context", str(folder / "context"), cwd=folder)
    assert "Complete!" in created
    context = folder / "context"
    assert "\nFROM " in (context / "Containerfile").read_text()
    assert "securetime.nts" in (context / "_build/requirements.yml").read_text()
