# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the facts say of the host around chronyd.

Long: one module, one file of tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import host

# The output of systemd 252 for a running unit, its alias, a masked unit, and a missing one.
SHOWN = """\
MainPID=1033
Id=chrony.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
ConditionResult=yes
ConditionTimestampMonotonic=2607459134

MainPID=1033
Id=chrony.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
ConditionResult=yes
ConditionTimestampMonotonic=2607459134

MainPID=0
Id=systemd-timesyncd.service
LoadState=masked
ActiveState=inactive
UnitFileState=masked
ConditionResult=no
ConditionTimestampMonotonic=0

MainPID=0
Id=ntpd.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
"""


def test_drop_ins_and_their_sources_are_found(tmp_path):
    for pattern in host.DROP_INS:
        path = tmp_path / pattern.replace("*", "a")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("server 192.0.2.1 iburst\n")
    (tmp_path / "etc/chrony.d/README").write_text("server 192.0.2.9\n")
    found = host.find_drop_ins(str(tmp_path))
    assert [path[len(str(tmp_path)) + 1 :] for path in found] == sorted(
        pattern.replace("*", "a") for pattern in host.DROP_INS
    )
    text = "#server a\n!pool b\n  Pool time.aws.com iburst\nserver\nmakestep 1 3\npeer 192.0.2.7\nserver # c\n"
    assert host.read_sources(text) == ["time.aws.com", "192.0.2.7"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("NETWORKING=yes\n", True),
        ("PEERNTP=no\n", False),
        ("  export PEERNTP='no' # ours\n", False),
        ('PEERNTP="no"\n', False),
        ("PEERNTP=no\nPEERNTP=yes\n", True),
        ("#PEERNTP=no\nMYPEERNTP=no\n", True),
        # The distribution's scripts accept only this word.
        ("PEERNTP=No\n", True),
        ("PEERNTP=\n", True),
    ],
)
def test_peerntp_is_read_as_the_distribution_s_scripts_read_it(text, expected):
    assert host.read_peerntp(text) is expected


def test_units_that_exist_are_read_once():
    assert host.read_units(SHOWN) == {
        "chrony.service": {
            "name": "chrony.service",
            "load_state": "loaded",
            "active_state": "active",
            "unit_file_state": "enabled",
            "skipped": False,
            "main_pid": 1033,
        },
        "systemd-timesyncd.service": {
            "name": "systemd-timesyncd.service",
            "load_state": "masked",
            "active_state": "inactive",
            "unit_file_state": "masked",
            "skipped": False,
            "main_pid": 0,
        },
    }


def test_a_skipped_unit_differs_from_one_that_never_started():
    shown = SHOWN.replace("ConditionResult=yes", "ConditionResult=no").replace(
        "ActiveState=active", "ActiveState=inactive"
    )
    assert {name: unit["skipped"] for name, unit in host.read_units(shown).items()} == {
        "chrony.service": True,
        "systemd-timesyncd.service": False,
    }


def test_the_options_of_others_are_those_of_the_unit_s_files(tmp_path):
    shared, own = tmp_path / "chronyd", tmp_path / "chronyd-securetime-nts"
    shared.write_text('OPTIONS="-F 2 -u chrony"\n')
    own.write_text('OPTIONS="-F 2 -u chrony -r -x"\n')
    argv = "ExecStart={ path=/usr/sbin/chronyd ; argv[]=/usr/sbin/chronyd -n $OPTIONS ; ignore_errors=no }\n"
    files = f"EnvironmentFiles={shared} (ignore_errors=yes)\nEnvironmentFiles={own} (ignore_errors=yes)\n"
    shown = f"Id=other.service\n\nId=chronyd.service\n{argv}Environment=OPTIONS=\n{files}\n{SHOWN}"
    found = host.daemon_options(shown, "chronyd.service")
    assert found == {"files": [str(shared), str(own)], "variables": {"OPTIONS": ["-F", "2", "-u", "chrony"]}}
    assert host.daemon_options(shown, "chrony.service") is None


def test_a_process_belongs_to_the_unit_of_its_control_group():
    groups = {
        "0::/system.slice/chronyd-restricted.service\n": "chronyd-restricted.service",
        "2:cpu:/\n1:name=systemd:/system.slice/chrony.service\n": "chrony.service",
        "0::/user.slice/user-0.slice/session-1.scope\n": "session-1.scope",
        "0::/system.slice/system-phc2sys.slice/phc2sys@eth0.service\n": "phc2sys@eth0.service",
        "0::/init.scope/x\n": None,
        "": None,
    }
    for text, unit in groups.items():
        found = host.UNIT_OF_GROUP.search(text)
        assert (found and found.group("unit")) == unit


def test_no_systemd_is_no_unit():
    assert host.read_units("") == {}


def test_version_and_features_are_read_from_what_each_version_prints(any_capture):
    said = host.read_version(any_capture.content["banner"])
    assert said["version"] == any_capture.version
    assert said["features"]["NTS"] is True
    assert said["features"]["DEBUG"] is False
    assert said["features"]["CMDMON"] is True


@pytest.mark.parametrize(
    ("text", "version", "features"),
    [
        ("chronyd (chrony) version 4.8 (+CMDMON -NTS)\n", "4.8", {"CMDMON": True, "NTS": False}),
        ("chronyd (chrony) version 4.9-pre1 (+NTS)\n", "4.9-pre1", {"NTS": True}),
        ("chronyd (chrony) version DEVELOPMENT\n", "DEVELOPMENT", {}),
        ("", None, {}),
        ("Illegal instruction\n", None, {}),
    ],
)
def test_version(text, version, features):
    assert host.read_version(text) == {"version": version, "features": features}


@pytest.mark.parametrize(
    ("arguments", "clock_control", "config_file"),
    [
        (["/usr/sbin/chronyd"], True, None),
        (["/usr/sbin/chronyd", "-F", "1", "-x"], False, None),
        (["/usr/sbin/chronyd", "-xn"], False, None),
        (["/usr/sbin/chronyd", "-u", "x", "-f", "/srv/x.conf"], True, "/srv/x.conf"),
        (["/usr/sbin/chronyd", "-nf/srv/x.conf"], True, "/srv/x.conf"),
        (["/usr/sbin/chronyd", "-Z"], None, None),
        (["/usr/sbin/chronyd", "-n", "server -x"], True, None),
    ],
)
def test_options(arguments, clock_control, config_file):
    assert host.read_options(arguments) == {"clock_control": clock_control, "config_file": config_file}


def test_directives_on_the_command_line():
    assert host.directives_of(["/usr/sbin/chronyd", "-F", "1"]) == []
    assert host.directives_of(["/usr/sbin/chronyd", "-n", "server a", "log tracking"]) == ["server a", "log tracking"]
    assert host.directives_of(["/usr/sbin/chronyd", "-Z"]) == []
    assert host.directives_of([]) == []


def entry(age, text, **more):
    microseconds = int((time.monotonic() - age) * 1e6)
    return json.dumps(dict({"__MONOTONIC_TIMESTAMP": str(microseconds), "MESSAGE": text}, **more))


def test_journal_gives_the_age_and_forgets_earlier_processes(monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = [entry(500.0, "of an earlier process"), entry(99.0, "started"), entry(3.0, [1, 2]), entry(2.0, "failed")]
    read = list(host.read_journal(lines, 100.0))
    assert [line.text for line in read] == ["started", "failed"]
    assert [round(line.age_seconds) for line in read] == [99, 2]


def test_programs_run_in_parallel(tmp_path):
    # Opening a FIFO waits for its other end: run one after the other, both programs would hang.
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    outputs = host.run_together(
        {
            "first": ["/bin/sh", "-c", f"read word <{fifo}; echo $word"],
            "second": ["/bin/sh", "-c", f"echo one >{fifo}; echo two; exit 3"],
            "missing": ["/nonexistent/program"],
        },
        60.0,
    )
    assert outputs == {"first": "one\n", "second": "two\n", "missing": ""}


def test_a_program_runs_until_the_timeout():
    begin = time.monotonic()
    assert host.run_together({"hanging": ["/bin/sleep", "120"]}, 0.3) == {"hanging": ""}
    assert time.monotonic() - begin >= 0.3


def test_a_program_is_found_without_the_administrators_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host.find_program("sh") in ("/usr/bin/sh", "/bin/sh")
    assert host.find_program("no-such-program") is None
    (tmp_path / "sh").write_text("#!/bin/sh\n")
    (tmp_path / "sh").chmod(0o755)
    assert host.find_program("sh") == str(tmp_path / "sh")


def test_process_facts_of_a_real_process():
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()", "-x"], stdin=subprocess.PIPE) as process:
        time.sleep(0.2)
        facts = host.process_facts(process.pid, "/etc/chrony.conf")
        process.communicate(b"\n")
    assert facts["pid"] == process.pid
    assert facts["arguments"] == [sys.executable, "-c", "input()", "-x"]
    assert 0.1 < facts["uptime_seconds"] <= time.time() - before + 1
    assert before - 1 < facts["started"] < time.time() + 1
    assert facts["user"] == host.pwd.getpwuid(os.geteuid()).pw_name
    assert facts["config_file"] == "/etc/chrony.conf"


def test_a_program_that_was_replaced_since_its_start_is_noticed(tmp_path):
    program = tmp_path / "program"
    shutil.copy(shutil.which("sleep"), str(program))
    with subprocess.Popen([str(program), "60"]) as process:
        time.sleep(0.1)
        before = host.process_facts(process.pid, None)["replaced"]
        shutil.copy(str(program), str(tmp_path / "new"))
        os.replace(str(tmp_path / "new"), str(program))
        after = host.process_facts(process.pid, None)["replaced"]
        process.kill()
    assert (before, after) == (False, True)


@pytest.mark.parametrize("pid", [None, 4194305])
def test_no_process_has_no_facts(pid):
    facts = host.process_facts(pid, "/etc/chrony.conf")
    assert facts.pop("config_file") == "/etc/chrony.conf"
    assert facts.pop("pid") is None
    assert set(facts.values()) == {None}


@pytest.fixture
def daemon(monkeypatch, tmp_path):
    """Return the process IDs of a process named chronyd, and of its child with the same name."""
    monkeypatch.setattr(host, "PID_FILES", (str(tmp_path / "missing"), str(tmp_path / "pid")))
    program = str(tmp_path / "chronyd")
    shutil.copy("/bin/sh", program)
    script = f"exec 3<&0; {program} -c 'echo $$; read -r line <&3' & wait"
    with subprocess.Popen([program, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        helper = int(process.stdout.readline())
        yield process.pid, helper
        process.kill()


def test_the_daemon_is_found_by_its_unit(daemon):
    assert host.find_daemon(daemon[0]) == daemon[0]
    assert host.find_daemon(os.getpid()) is None
    assert host.find_daemon(4194305) is None
    assert host.find_daemon(0) is None


def test_the_daemon_is_found_by_its_file(daemon, tmp_path):
    (tmp_path / "pid").write_text(f"{daemon[0]}\n")
    assert host.find_daemon(0) == daemon[0]
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert host.find_daemon(0) is None


def test_the_daemon_is_found_among_all_processes_and_is_no_helper(daemon):
    assert host.read_file(f"/proc/{daemon[1]}/comm") == "chronyd\n"
    assert host.find_daemon(daemon[1]) is None
    found = host.find_daemon(0, everywhere=True)
    assert found != daemon[1]
    assert host.read_file(f"/proc/{found}/comm") == "chronyd\n"


def test_the_environment_is_that_of_the_controller():
    bounding = re.search(r"CapBnd:\s*(\w+)", host.read_file("/proc/1/status")).group(1)
    assert host.has_cap_sys_time() == (f"{int(bounding, 16):064b}"[-26] == "1")
    detected = (
        subprocess.run(["systemd-detect-virt", "--container"], stdout=subprocess.PIPE, check=False)
        .stdout.decode()
        .strip()
    )
    assert host.container() == (None if detected in ("", "none") else detected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n',
            {"id": "rocky", "like": ["rhel", "centos", "fedora"], "name": "Rocky Linux", "version": "9.4"},
        ),
        (
            'PRETTY_NAME="Debian"\n# a comment\nID=debian\nNAME=\'Debian GNU/Linux\'\n\nbroken "line\n',
            {"id": "debian", "like": [], "name": "Debian GNU/Linux", "version": None},
        ),
        ("", {"id": "linux", "like": [], "name": None, "version": None}),
    ],
)
def test_os_release_is_read(text, expected):
    assert host.read_os_release(text) == expected


def test_a_package_that_is_half_installed_or_missing_has_no_version():
    text = (
        "chrony installed 4.6.1-3\nca-certificates half-configured 2025\n"
        "package nix is not installed\nno package provides nix\nchronyd installed 4.6.1-3\n"
    )
    names = ["chrony", "ca-certificates", "nix"]
    assert host.read_packages(text, names) == {"chrony": "4.6.1-3", "ca-certificates": None, "nix": None}


@pytest.mark.parametrize(
    ("programs", "has_rpm", "expected"),
    [
        (["apt-get", "dnf"], False, "apt"),
        (["apt-get", "dnf"], True, "dnf"),
        (["zypper", "dnf"], True, "zypper"),
        (["dnf5"], True, "dnf5"),
        ([], True, None),
        ([], False, None),
    ],
)
def test_the_package_manager_is_that_of_the_family(monkeypatch, tmp_path, programs, has_rpm, expected):
    for name in programs:
        (tmp_path / name).write_text("")
    if "dnf5" in programs:
        (tmp_path / "dnf").symlink_to(tmp_path / "dnf5")
    found = {path.name: str(path) for path in tmp_path.iterdir()}
    monkeypatch.setattr(host, "find_program", found.get)
    assert host.package_manager(has_rpm) == expected


def test_the_chronyd_of_the_distribution_comes_before_another(monkeypatch, tmp_path):
    ours = tmp_path / "chronyd"
    ours.write_text("#!/bin/sh\n")
    ours.chmod(0o755)
    monkeypatch.setattr(host, "CHRONYD", ("/nonexistent/chronyd", str(ours)))
    monkeypatch.setattr(host, "find_program", lambda name: f"/usr/local/sbin/{name}")
    assert host.find_chronyd() == str(ours)
    monkeypatch.setattr(host, "CHRONYD", ())
    assert host.find_chronyd() == "/usr/local/sbin/chronyd"


@pytest.mark.parametrize(
    ("files", "markers", "expected"),
    [
        ({"/run/systemd/container": "lxc\n", "/proc/1/environ": "container=docker"}, [], "lxc"),
        ({"/proc/1/environ": "PATH=/bin\0container=podman\0"}, ["/.dockerenv"], "podman"),
        ({"/proc/1/environ": "PATH=/bin\0"}, ["/.dockerenv"], "docker"),
        ({}, ["/run/.containerenv"], "podman"),
        ({}, [], None),
    ],
)
def test_the_kind_of_a_container_is_named_as_by_systemd(monkeypatch, files, markers, expected):
    monkeypatch.setattr(host, "read_file", lambda path: files.get(path, ""))
    monkeypatch.setattr(host.os.path, "exists", lambda path: path in markers)
    assert host.container() == expected


@pytest.mark.parametrize(
    ("first", "own", "expected"),
    [
        ("000001ffffffffff", "0000000000000000", True),
        ("000001fffdffffff", "000001ffffffffff", False),
        ("", "000001ffffffffff", True),
        ("", "", None),
    ],
)
def test_the_right_to_set_the_clock_is_that_of_the_first_process(monkeypatch, first, own, expected):
    sets = {"1": {"CapBnd": first}, "self": {"CapBnd": own}}
    monkeypatch.setattr(host, "status_of", lambda process: sets[process])
    assert host.has_cap_sys_time() is expected


def test_the_journal_of_the_process_is_read(tmp_path, monkeypatch):
    program = tmp_path / "journalctl"
    line = {"__MONOTONIC_TIMESTAMP": str(int(time.monotonic() * 1e6)), "MESSAGE": "Selected source 192.0.2.1"}
    program.write_text(f"#!/bin/sh\ncase \"$*\" in *_PID=7*) echo '{json.dumps(line)}' ;; esac\n")
    program.chmod(0o755)
    monkeypatch.setattr(host, "find_program", lambda name: str(tmp_path / name))
    assert [found.text for found in host.log_lines(7, 600.0, 60.0)] == ["Selected source 192.0.2.1"]
    # Who may not read the journal gets nothing.
    assert host.log_lines(8, 600.0, 60.0) is None
    monkeypatch.setattr(host, "find_program", lambda _name: None)
    assert host.log_lines(7, 600.0, 60.0) is None
