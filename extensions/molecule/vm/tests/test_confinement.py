# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role under enforcing AppArmor (nts1) and SELinux (nts2), and what these would deny without it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from ansible_collections.securetime.nts.tests.lab.qemu import Vm, inside
from ansible_collections.securetime.nts.tests.lab.vms import (
    ansible,
    ask_server,
    both,
    known,
)

PLAYBOOK = [sys.executable, "-m", "ansible", "playbook"]
# Selects log lines about the role; Debian's policy also denies the VMs' own systemd and semanage some accesses.
OURS = r"chrony|securetime|nts-certificate|/etc/chrony|DENIED"
DENIALS = f"journalctl -k -b --no-pager | grep -E 'avc: +denied|apparmor=.DENIED' | grep -E '{OURS}' || true"


def denials() -> dict[str, str]:
    return both(lambda each: inside(each, DENIALS))


def run_role(host: str, *options: str, **variables: Any) -> str:
    """Run site.yml on a host with extra variables; return its output."""
    command = [*PLAYBOOK, "securetime.nts.site", "--limit", host, "--diff", "--extra-vars", json.dumps(variables)]
    command += options
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_confinement_is_on() -> None:
    assert "/usr/sbin/chronyd (enforce)" in inside(known()["nts1"], "cat /sys/kernel/security/apparmor/profiles")
    assert inside(known()["nts2"], "getenforce").strip() == "Enforcing"
    confined = inside(known()["nts2"], "cat /proc/$(cat /run/chrony/chronyd.pid)/attr/current").strip("\0\n")
    assert confined == "system_u:system_r:chronyd_t:s0"
    assert "chronyd (enforce)" in inside(known()["nts1"], "cat /proc/$(cat /run/chrony/chronyd.pid)/attr/current")


def test_unit_and_options_are_the_distributions() -> None:
    for name, package in {
        "nts1": ". /etc/default/chrony; echo $DAEMON_OPTS",
        "nts2": ". /etc/sysconfig/chronyd; echo $OPTIONS",
    }.items():
        drop_ins = inside(known()[name], "systemctl show chronyd --property=DropInPaths").split("=")[1].split()
        # The first undoes an interrupted change at a boot; the second names the role's file of options.
        assert {path.rpartition("/")[2] for path in drop_ins} == {"securetime-nts-undo.conf", "securetime-nts.conf"}
        words = inside(known()[name], "tr '\\0' ' ' </proc/$(cat /run/chrony/chronyd.pid)/cmdline").split()
        package_options = inside(known()[name], package).split()
        assert package_options != []
        assert words[1:] == [*package_options, "-r"], name


def test_facts_and_probe_succeed() -> None:
    def one(vm: Vm) -> list[dict[str, Any]]:
        sources = {"nts1": 1, "nts2": 2}[vm.name]
        other = {"nts1": "nts2", "nts2": "nts1"}[vm.name]
        wait = {"wait_for": "authenticated", "min_sources": sources, "timeout": 90}
        return [
            ansible(vm.name, "securetime.nts.chronyc_facts", **wait),
            ask_server(vm.name, other),
        ]

    for name, (facts, probed) in both(one).items():
        assert facts["reached"], (name, facts)
        nts = facts["ansible_facts"]["chrony"]["nts"]
        assert (nts["state"], nts["reasons"]) == ("authenticated", []), (name, nts)
        assert probed["ok"], (name, probed)


def test_renewal_works_in_its_own_unit() -> None:
    # Start the renewal in its sandbox as the timer does, and force it before its time.
    force = "mkdir -p /run/systemd/system/nts-certificate.service.d\n"
    force += "printf '[Service]\\nExecStart=\\nExecStart=/usr/local/sbin/nts-certificate renew --force\\n' "
    force += ">/run/systemd/system/nts-certificate.service.d/force.conf\nsystemctl daemon-reload\n"
    undo = "rm -r /run/systemd/system/nts-certificate.service.d\nsystemctl daemon-reload\n"
    serial = "openssl x509 -in /etc/chrony/nts/server.pem -noout -serial\n"
    output = both(lambda each: inside(each, serial + force + "systemctl start nts-certificate\n" + serial + undo))
    for name, lines in output.items():
        before, after = lines.split()
        assert before != after, name


def test_a_moved_file_gets_the_label_of_its_path() -> None:
    nts2, folder, path = known()["nts2"], "/etc/chrony/nts", "/etc/chrony/nts/trusted.pem"
    content = inside(nts2, f"cat {path}")
    # Operators write files in a home directory and move them, and mv keeps the label of the home directory.
    label = inside(nts2, f"cp {path} /root/new\nmv /root/new {path}\nstat -c %C {path}\n")
    assert "home" in label, label
    output = ansible(
        "nts2",
        "securetime.nts.chrony_config",
        config_file="/etc/chrony.conf",
        service="chronyd.service",
        files=[{"path": path, "content": content, "effect": "nothing"}],
        ntske_ports=[ntsport_of_the_right_time()],
    )
    assert (output["changed"], output["changed_files"], output["actions"]) == (True, [path], []), output
    pair = f"{folder}/server.pem {folder}/server.key"
    deploy = "/usr/local/sbin/nts-certificate deploy --certificate server.pem --key server.key"
    inside(nts2, f"cd /root\ncp {pair} .\nrm {pair}\n{deploy}\nrm server.pem server.key\n")
    assert inside(nts2, f"stat -c %C {path} {pair}").split() == ["system_u:object_r:etc_t:s0"] * 3


def test_labels_are_those_of_the_policy() -> None:
    paths = "/etc/chrony.conf /etc/chrony.keys /etc/chrony /etc/systemd/system /etc/sysconfig /usr/local/sbin"
    paths += " /var/lib/chrony /var/lib/securetime-nts /var/log/chrony"
    # The timer may run a renewal now, which labels a staged file a moment after it has made it.
    idle = "while [ $(systemctl is-active nts-certificate) = activating ]; do sleep 1; done\n"
    assert inside(known()["nts2"], f"{idle}restorecon -nvR {paths}") == ""


def ntsport_of_the_right_time() -> int:
    with open(os.path.join(os.environ["LAB_STATE"], "right-time", "ntsport")) as file:
        return int(file.read())


def test_port_of_the_right_time_is_labelled() -> None:
    labelled = inside(known()["nts2"], "semanage port --list --locallist --noheading").split()
    assert labelled == ["ntske_port_t", "tcp", str(ntsport_of_the_right_time())]


def test_nothing_was_denied() -> None:
    assert denials() == {"nts1": "", "nts2": ""}


def test_the_tutorials_paths_are_refused() -> None:
    """Root makes key and certificate in a home directory and moves them to /var/lib/chrony/nts."""

    def one(vm: Vm) -> str:
        config = {"nts1": "/etc/chrony/chrony.conf", "nts2": "/etc/chrony.conf"}[vm.name]
        user = {"nts1": "_chrony", "nts2": "chrony"}[vm.name]
        folder = "/var/lib/chrony/nts"
        return inside(
            vm,
            f"""
cp -p {config} /root/config
mkdir -p {folder} && cd /root
make="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
$make -subj /CN={vm.name} -keyout server.key -out server.crt 2>/dev/null
mv server.key server.crt {folder}/
chown -R {user}:{user} {folder}; chmod 600 {folder}/server.key
sed -i -e '/^ntsserver/d' -e '$a ntsservercert {folder}/server.crt\\nntsserverkey {folder}/server.key' {config}
systemctl restart chronyd || true
sleep 2
journalctl -b --no-pager -n 30 -o cat SYSLOG_IDENTIFIER=chronyd
{DENIALS}
cat /root/config >{config}
rm -r {folder} /root/config
systemctl reset-failed chronyd; systemctl restart chronyd
""",
        )

    for name, output in both(one).items():
        assert "denied" in output.lower(), (name, output)
        assert "Could not set credentials" in output, (name, output)
        assert "server.key" in output or "server.crt" in output, (name, output)


def test_another_run_and_check_mode_change_nothing() -> None:
    for options in ([], ["--check"]):
        output = run_role("all", *options)
        assert re.findall(r" changed=(\d+) ", output) == ["0", "0"], output[-3000:]


@pytest.mark.parametrize("host", ["nts1", "nts2"])
def test_confinement_follows_another_folder_and_port(host: str) -> None:
    rules = "cat /etc/apparmor.d/local/usr.sbin.chronyd 2>/dev/null || true; semanage port -l -C -n 2>/dev/null || true"
    rules += "; semanage fcontext -l -C -n 2>/dev/null || true"
    inside(known()[host], "dmesg -C")
    before = inside(known()[host], rules)
    directives = {"ntsport": 14460}
    run_role(host, chrony_nts_certificate_dir="/srv/nts/pair", chrony_nts_directives=directives)
    assert inside(known()[host], "ls /srv/nts/pair").split() == ["server.key", "server.pem"]
    during = inside(known()[host], rules)
    assert "/srv/nts/pair" in during, during
    assert host == "nts1" or "14460" in during, during
    probed = ask_server(host, host, ntsport=14460)
    assert probed["ok"], probed
    assert inside(known()[host], f"dmesg | grep -E 'avc: +denied|apparmor=.DENIED' | grep -E '{OURS}' || true") == ""
    run_role(host)
    assert inside(known()[host], rules) == before


@pytest.mark.parametrize("host", ["nts1", "nts2"])
def test_confinement_follows_other_paths_and_an_ntp_port(host: str) -> None:
    rules = "cat /etc/apparmor.d/local/usr.sbin.chronyd 2>/dev/null || true; semanage port -l -C -n 2>/dev/null || true"
    rules += "; semanage fcontext -l -C -n 2>/dev/null || true"
    config = {"nts1": "/etc/chrony/chrony.conf", "nts2": "/etc/chrony.conf"}[host]
    vm = known()[host]
    inside(vm, "dmesg -C")
    before = inside(vm, rules)
    # An administrator may keep the file elsewhere.
    inside(vm, f"mkdir -p /srv/conf\nmv {config} /srv/conf/chrony.conf\nln -s /srv/conf/chrony.conf {config}\n")
    directives = {
        "port": 10123,
        "dumpdir": "/srv/chrony/dump",
        "ntsdumpdir": "/srv/chrony/dump",
        "driftfile": "/srv/chrony/state/drift",
        "logdir": "/srv/chrony/log",
        "log": ["tracking"],
    }
    run_role(host, chrony_nts_directives=directives)
    during = inside(vm, rules)
    for needed in ("/srv/chrony/dump", "/srv/chrony/state", "/srv/chrony/log", "/srv/conf/chrony"):
        assert needed in during, (needed, during)
    assert host == "nts1" or "10123" in during, during
    inside(
        vm,
        "systemctl restart chronyd\nsleep 2\ncd /srv/chrony\nls dump/ntskeys log/tracking.log state/drift",
    )
    assert "10123" in inside(vm, "ss -Huln")
    assert inside(vm, f"readlink {config}").strip() == "/srv/conf/chrony.conf"
    assert inside(vm, f"dmesg | grep -E 'avc: +denied|apparmor=.DENIED' | grep -E '{OURS}' || true") == ""
    output = run_role(host, "--check", chrony_nts_directives=directives)
    assert re.findall(r" changed=(\d+) ", output) == ["0"], output[-3000:]
    inside(vm, f"rm {config}\nmv /srv/conf/chrony.conf {config}\nrmdir /srv/conf\n")
    run_role(host)
    assert inside(vm, rules) == before


@pytest.mark.parametrize("host", ["nts1", "nts2"])
def test_rotation_of_log_files_is_not_denied(host: str) -> None:
    """systemd starts logrotate as its timer does, so that SELinux confines it."""
    vm = known()[host]
    inside(vm, "dmesg -C")
    run_role(host, chrony_nts_logs=True)
    # chronyd creates the file, also after a rotation, with its next line.
    measure = (
        "for _ in $(seq 60); do [ -s /var/log/chrony/measurements.log ] && break;"
        " chronyc burst 1/1 >/dev/null; sleep 2; done\n"
    )
    rotate = "systemd-run --quiet --wait $(command -v logrotate) --force /etc/logrotate.conf\n"
    names = inside(vm, f"{measure}{rotate}{measure}ls /var/log/chrony").split()
    assert {"measurements.log", "measurements.log.1"} <= {*names}
    assert inside(vm, "stat -c %s /var/log/chrony/measurements.log").strip() != "0"
    assert inside(vm, f"dmesg | grep -E 'avc: +denied|apparmor=.DENIED' | grep -E '{OURS}' || true") == ""
    run_role(host)


def test_the_monitor_is_not_denied() -> None:
    """The unit runs in its sandbox with chronyc, the probe of the host's own server, and its output files."""
    folder = "/var/lib/node_exporter"
    paths = f"/usr/local/sbin /etc/nts-monitor.json /etc/systemd/system /var/lib/nts-monitor {folder} /var/log/chrony"

    def one(vm: Vm) -> tuple[dict[str, Any], str, str, str]:
        inside(vm, f"dmesg -C\nmkdir -p {folder}\n")
        try:
            output = ansible(vm.name, "securetime.nts.chrony_monitor")
            text = inside(vm, f"date +%s\nsystemctl start nts-monitor.service\ncat {folder}/nts-monitor.prom\n")
            denied = f"dmesg | grep -E 'avc: +denied|apparmor=.DENIED' | grep -E '{OURS}|nts-monitor' || true"
            labels = f"if command -v restorecon >/dev/null; then restorecon -nvR {paths}; fi\n"
            return output, text, inside(vm, denied), inside(vm, labels)
        finally:
            ansible(vm.name, "securetime.nts.chrony_monitor", state="absent", keep_log=False)
            inside(vm, f"rmdir {folder}\n")

    for name, (output, text, denied, labels) in both(one).items():
        assert (output["textfile_directory"], output["notes"]) == (folder, []), (name, output)
        now, *lines = text.splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        assert values["chrony_collector_last_run_timestamp_seconds"] >= int(now), name
        assert [values[f"chrony_{what}"] for what in ("up", "collector_success", "clock_controlled")] == [1, 1, 1], name
        probed = {key: value for key, value in values.items() if key.startswith("chrony_nts_server_probe_success")}
        assert (len(probed), {*probed.values()}) == (5, {1}), (name, probed)
        assert (denied, labels) == ("", ""), name
