# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After any fault of a change, chronyd runs with the old files, and the error names the cause.

Long: every fault of a change uses the same two hosts and the same assertion `assert_refused`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from testinfra import get_host
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab import steps
from ansible_collections.securetime.nts.tests.lab.hosts import (
    code,
    full_disk,
    held_start,
    journal,
    lock_held,
    opened,
    run_module,
    wait_until,
    write,
)

ANSIBLE = [sys.executable, "-m", "ansible", "adhoc"]
CONFIG = "/etc/chrony/chrony.conf"
UNIT = "chrony.service"
DROP_IN = "/etc/systemd/system/chrony.service.d/zz-fault.conf"
OPTIONS = "/etc/default/chrony-securetime-nts"
SOURCES = "/etc/chrony/sources.d/fault.sources"
FAULT = "/etc/chrony/fault"
MADE = "/etc/chrony/nts/fault"
ALIAS_USER = "/run/systemd/system/alias-user.service"
LOCK = "/var/lib/securetime-nts/lock"


@pytest.fixture(scope="module")
def client() -> Host:
    return get_host("ansible://client-debian13")


@pytest.fixture(scope="module")
def server() -> Iterator[Host]:
    """Yield nts1 with pairs of certificate and key, each wrong in one way."""
    host = get_host("ansible://nts1")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for name, more in (
        ("good", "-addext subjectAltName=DNS:nts1"),
        ("other", "-addext subjectAltName=DNS:nts9"),
        ("expired", "-not_before 20250101000000Z -not_after 20250201000000Z"),
        ("future", "-not_before 20990101000000Z -not_after 20990201000000Z"),
    ):
        host.check_output(
            f"mkdir -p {MADE}; cd {MADE}; {make} -subj /CN={name} -keyout {name}.key -out {name}.pem {more}"
        )
    host.check_output(f"cd {MADE}; chgrp _chrony *.key; chmod 640 *.key; cp -p good.key secret.key")
    host.check_output(f"cd {MADE}; chmod 600 secret.key; cat good.pem other.pem >mixed.pem; touch empty.pem")
    host.check_output(f"cd {MADE}; mkdir closed; cp -p good.key closed; chmod 700 closed")
    yield host
    host.check_output(f"rm -r {MADE}")


def config(host: Host) -> str:
    return host.file(CONFIG).content_string


def change(host: Host, *files: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return the result of chrony_config for a change."""
    arguments = {"config_file": CONFIG, "service": UNIT, "files": list(files), "start_timeout": 100, **options}
    return run_module(host, "chrony_config", **arguments)


def state(host: Host) -> tuple[str, ...]:
    """Return everything that a change could touch."""
    return (
        host.check_output("find /etc/chrony /etc/default/chrony* /etc/systemd/system -type f | sort | xargs sha256sum"),
        host.check_output("find /etc/systemd/system -type l | sort"),
        host.check_output("find /etc/chrony -printf '%p %u %g %m\\n' | sort"),
        host.check_output("systemctl show -p ActiveState,UnitFileState chrony"),
        host.check_output("chronyc -n activity >/dev/null; echo answers"),
    )


def assert_refused(host: Host, message: str, *files: dict[str, Any], **options: Any) -> None:
    """Assert that a change fails with this message and leaves the host as before."""
    before = state(host)
    pid = host.check_output("cat /run/chrony/chronyd.pid")
    result = change(host, *files, **options)
    assert "msg" in result, result
    error = result["msg"]
    assert re.search(message, error), error
    assert state(host) == before
    rolled_back = "was rolled back" in error
    assert rolled_back == error.endswith("The files are as they were, and chronyd runs with them.")
    assert rolled_back or "nothing was changed" in error
    assert rolled_back or host.check_output("cat /run/chrony/chronyd.pid") == pid
    assert not host.file("/var/lib/securetime-nts/plan.json").exists


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ntstimeout 10", r"Invalid directive.* at line \d+: ntstimeout 10"),
        ("server nts1 nts # a comment", r"at line \d+: server nts1 nts # a comment"),
        ("user no-such-user", "the user no-such-user, which this host does not have"),
        ("ntstrustedcerts /etc/chrony/nts/none.pem", r"none.pem \(ntstrustedcerts\) is not on this host"),
        ("mailonchange root 0.5", r"would not start.*chrony_nts_daemon_options to \['-F', '0'\]"),
        ("include /etc/chrony/none.conf", "Could not open .*none.conf"),
        ("ntsservercert /etc/chrony/nts/trusted.pem", "There are 1 ntsservercert and 0 ntsserverkey"),
    ],
)
def test_an_invalid_configuration_is_refused(client: Host, lines: str, message: str) -> None:
    assert_refused(client, message, {"path": CONFIG, "content": f"{config(client)}{lines}\n"})


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("good.pem", "secret.key", r"secret.key \(ntsserverkey\) cannot be read by _chrony.*permissions of"),
        ("good.pem", "closed/good.key", r"cannot be read by _chrony.*permissions of /etc/chrony/nts/fault/closed"),
        ("good.pem", "none.key", r"none.key \(ntsserverkey\) is not on this host"),
        ("good.pem", "other.key", "good.pem and .*other.key do not belong together"),
        ("expired.pem", "expired.key", "The server's certificate in .*expired.pem expired Feb  1 00:00:00 2025"),
        ("future.pem", "future.key", "future.pem is not valid before Jan  1 00:00:00 2099"),
        ("other.pem", "other.key", "other.pem is not for nts1"),
        ("mixed.pem", "good.key", "mixed.pem are not a chain"),
        ("empty.pem", "good.key", "empty.pem"),
    ],
)
def test_an_unusable_pair_is_refused(server: Host, certificate: str, key: str, message: str) -> None:
    kept = [line for line in config(server).splitlines() if not line.startswith("ntsserver")]
    pair = [f"ntsservercert {MADE}/{certificate}", f"ntsserverkey {MADE}/{key}", ""]
    file = {"path": CONFIG, "content": "\n".join(kept + pair)}
    serves = [{"certificate": f"{MADE}/{certificate}", "names": ["nts1"]}]
    assert_refused(server, message, file, serves=serves)


TIGHT = ["ratelimit interval 12 burst 1 leak 4", "ntsratelimit interval 12 burst 1 leak 4", "maxntsconnections 2"]
GOOD = {"certificate": f"{MADE}/good.pem", "names": ["nts1"]}


def serving(host: Host, *lines: str) -> dict[str, str]:
    """Return chrony.conf of nts1 with the good pair, and with these lines as its only directives about serving."""
    theirs = ("ntsserver", "allow", "deny", "bind", "port", "ntsport", "ratelimit", "ntsratelimit")
    kept = [line for line in config(host).splitlines() if not line.startswith(theirs)]
    pair = [f"ntsservercert {MADE}/good.pem", f"ntsserverkey {MADE}/good.key"]
    return {"path": CONFIG, "content": "\n".join([*kept, *pair, *lines, ""])}


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        # The role probes each of the two pairs: one request more than the limits allow from one address.
        (["bindaddress ::", "allow 198.51.100.0/24", "allow 127.0.0.0/8", *TIGHT], ""),
        (["bindaddress 0.0.0.0", "allow 198.51.100.0/24", "deny 127.0.0.0/8"], "`deny 127.0.0.0/8` lets no request"),
        (["binddevice lo", "allow 198.51.100.0/24", "allow 127.0.0.0/8"], ""),
    ],
)
def test_the_operator_s_limits_do_not_roll_back_a_good_server(server: Host, lines: list[str], warning: str) -> None:
    before = config(server)
    try:
        result = change(server, serving(server, *lines), serves=[GOOD, GOOD])
        assert result.get("changed"), result
        assert re.search(warning, str(result.get("warnings"))), result
        assert bool(warning) == ("warnings" in result), result
    finally:
        assert "msg" not in change(server, {"path": CONFIG, "content": before})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["allow", "port 0"], "`port 0` closes .*no client; nothing was changed. Take the line out"),
        (["allow 192.0.2.0/24", "deny all"], "`deny all` leaves no client .*; nothing was changed"),
        (["allow 0.0.0.0/0", "bindaddress 192.0.2.77"], "rolled back: .*`bindaddress 192.0.2.77` names no address"),
    ],
)
def test_directives_that_exclude_every_client_are_refused(server: Host, lines: list[str], message: str) -> None:
    assert_refused(server, message, serving(server, *lines), serves=[GOOD])


def test_a_trust_anchor_without_a_certificate_is_refused(server: Host) -> None:
    line = f"ntstrustedcerts {MADE}/empty.pem"
    assert_refused(
        server, "empty.pem .* holds no certificate", {"path": CONFIG, "content": f"{config(server)}{line}\n"}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("server nts1 nts ibrust\n", "at line 1: server nts1 nts ibrust"),
        ("server nts1 nts", "last line .* has no newline"),
        ("makestep 1 3\n", "would silently ignore its line 1"),
    ],
)
def test_sources_that_chronyd_would_ignore_are_refused(client: Host, content: str, message: str) -> None:
    assert_refused(client, message, {"path": SOURCES, "content": content, "effect": "sources"})


# The files and the error of each change whose fault only the start of chronyd shows.
STARTS: dict[str, tuple[list[dict[str, str]], str]] = {
    "options": ([{"path": OPTIONS, "content": 'DAEMON_OPTS="--no-such-option"\n'}], "restart chrony.service. failed"),
    "program": (
        [{"path": DROP_IN, "content": "[Service]\nExecStart=\nExecStart=/usr/sbin/no-such-program\n"}],
        "restart chrony.service. failed",
    ),
    "condition": (
        [{"path": DROP_IN, "content": "[Unit]\nConditionPathExists=/no-such-path\n"}],
        "systemd skipped chrony.service",
    ),
    "exits": (
        [
            {
                "path": DROP_IN,
                "content": "[Service]\nExecStartPost=+/bin/sh -c '(sleep 6; kill $MAINPID) >/dev/null 2>&1 &'\n",
            }
        ],
        "came up and ended again within 30 seconds",
    ),
    "hangs": (
        [{"path": DROP_IN, "content": "[Service]\nExecStartPost=+/bin/sh -c 'kill -STOP $MAINPID'\n"}],
        "did not come up within 8 seconds",
    ),
    "group": (
        [{"path": FAULT, "content": "x", "group": "no-such-group"}],
        "belong to the group no-such-group, which this host does not have",
    ),
    "folder": ([{"path": f"{CONFIG}/below", "content": "x"}], "(Not a directory|File exists).*nothing was changed"),
}


@pytest.mark.parametrize("fault", STARTS)
def test_a_fault_at_the_start_leaves_the_old_files(client: Host, fault: str) -> None:
    files, message = STARTS[fault]
    more = {"path": f"{FAULT}-too", "content": "this is to disappear"}
    limits = {"hangs": {"start_timeout": 8}, "exits": {"settle_time": 30}}.get(fault, {})
    assert_refused(client, message, more, *files, **limits)


def test_a_port_in_use_rolls_back(server: Host) -> None:
    # Take the port of both families, because chronyd works while one is left.
    script = (
        "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM);"
        " s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); s.bind(('::', 9123)); time.sleep(3600)"
    )
    server.check_output("systemd-run --quiet --unit=fault-port python3 -c %s", script)
    wait_until(lambda: ":23A3 " in server.check_output("cat /proc/net/udp6"), "no program has UDP port 9123")
    try:
        assert_refused(
            server,
            "Could not open NTP socket on 0.0.0.0:9123",
            {"path": CONFIG, "content": f"{config(server)}port 9123\n"},
        )
    finally:
        server.check_output("systemctl stop fault-port")


def test_a_lost_authentication_rolls_back(client: Host) -> None:
    sources = re.sub(r"^sourcedir .*", "", config(client), flags=re.MULTILINE) + "server 192.0.2.1 nts iburst\n"
    assert_refused(
        client,
        "the clock is not authenticated after .*192.0.2.1: ",
        {"path": CONFIG, "content": sources},
        verify="authenticated",
        verify_timeout=5,
    )


def test_a_configuration_for_a_newer_chronyd_is_refused() -> None:
    host = get_host("ansible://client-debian12")
    before = config(host)
    newer = {"path": CONFIG, "content": f"{before}ntsaeads 15\n"}
    assert host.check_output("chronyd -v").split()[3] == "4.3"
    assert_refused(host, r"Invalid directive at line \d+: ntsaeads 15", newer)
    host.check_output(f"echo ntsaeads 15 >>{CONFIG}; systemctl restart chrony || true")
    assert not host.service("chrony").is_running
    assert "nothing was changed" in change(host, {"path": CONFIG, "content": f"{before}ntsaeads 30\n"})["msg"]
    assert "restart" in change(host, {"path": CONFIG, "content": before})["actions"]
    assert host.service("chrony").is_running


def test_a_missing_chronyc_rolls_back(client: Host) -> None:
    hide = "[Service]\nExecStartPost=+/bin/mv /usr/bin/chronyc /usr/bin/chronyc.hidden\n"
    client.check_output(f"mkdir -p {DROP_IN.rpartition('/')[0]}")
    try:
        before = state(client)
        result = change(client, {"path": DROP_IN, "content": hide})
        assert "was rolled back: chronyc cannot be run (chronyc: No such file" in result["msg"], result
    finally:
        client.check_output("mv /usr/bin/chronyc.hidden /usr/bin/chronyc")
    assert state(client) == before
    assert not client.file("/var/lib/securetime-nts/plan.json").exists


def test_sources_change_on_a_host_without_dpkg_query() -> None:
    """Enterprise Linux has no dpkg-query, unlike el-standin."""
    host = get_host("ansible://client-el")
    path = "/etc/chrony/nts-sources.d/fault.sources"
    files = [{"path": path, "content": "server nts1 nts\n", "effect": "sources"}]
    host.check_output("mv /usr/bin/dpkg-query /usr/bin/dpkg-query.hidden")
    try:
        for wanted in ("present", "absent"):
            changes = [dict(file, state=wanted) for file in files]
            arguments = {"config_file": "/etc/chrony.conf", "service": "chronyd.service", "files": changes}
            assert run_module(host, "chrony_config", **arguments).get("actions") == ["restart"]
    finally:
        host.check_output("mv /usr/bin/dpkg-query.hidden /usr/bin/dpkg-query")


@pytest.fixture
def losing(client: Host) -> Iterator[Host]:
    """Yield the client after its systemd has lost the running chronyd, as it does whenever the unit is enabled.

    systemd does so where a loaded unit names the alias, in about every third boot: it depends on the order in which
    systemd reads its units again, which is random for each start of systemd.
    """
    unit = "[Unit]\nAfter=chronyd.service\n[Service]\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    write(client, f"mkdir -p {ALIAS_USER.rpartition('/')[0]}; cat >{ALIAS_USER}", unit)
    client.check_output("systemctl daemon-reload; systemctl start alias-user")
    wait_until(lambda: is_lost(client), "systemd does not lose chronyd")
    yield client
    client.check_output(f"systemctl stop alias-user; rm {ALIAS_USER}; systemctl daemon-reload")


def is_lost(host: Host) -> bool:
    """Start systemd anew, disable and enable chronyd's unit, and return whether systemd has lost the process."""
    host.check_output(f"systemctl start {UNIT}; systemctl daemon-reexec; systemctl disable {UNIT}")
    host.check_output(f"systemctl enable {UNIT}; pgrep --parent 1 chronyd")
    return not host.service(UNIT).is_running


def assert_runs_once(host: Host) -> None:
    """Assert that chronyd runs, that systemd knows its process, and that its unit is enabled."""
    shown = host.check_output(f"systemctl show --property=ActiveState,UnitFileState,MainPID --value {UNIT}").split()
    assert sorted(shown) == sorted([host.check_output("cat /run/chrony/chronyd.pid"), "active", "enabled"])
    assert host.check_output("pgrep --count --parent 1 chronyd") == "1"


def test_a_chronyd_that_systemd_has_lost_is_restarted(losing: Host) -> None:
    result = change(losing)
    assert result.get("actions") == ["restart"], result
    assert "systemd has lost the running chronyd" in result["reasons"][0], result
    assert_runs_once(losing)
    # The unit is disabled, and systemd loses chronyd within the change.
    losing.check_output(f"systemctl disable {UNIT}")
    result = change(losing)
    assert result.get("actions") == ["enable", "restart"], result
    assert "systemd lost the running chronyd" in str(result["warnings"]), result
    assert_runs_once(losing)
    # The change of a host whose chronyd is lost fails.
    losing.check_output(f"systemctl disable {UNIT}; systemctl enable {UNIT}; pgrep --parent 1 chronyd")
    assert not losing.service(UNIT).is_running
    before = config(losing)
    message = change(losing, {"path": OPTIONS, "content": 'DAEMON_OPTS="--no-such-option"\n'})["msg"]
    assert message.endswith("The files are as they were, and chronyd runs with them."), message
    assert config(losing) == before
    assert_runs_once(losing)


def test_a_masked_unit_changes_nothing(client: Host) -> None:
    """A masked chronyd still runs. systemd would stop it to drop cookies, and not start it again."""
    client.check_output(f"systemctl mask {UNIT}")
    try:
        file = {"path": CONFIG, "content": f"{config(client)}! masked\n"}
        assert_refused(client, f"{UNIT} is masked.*Run `systemctl unmask {UNIT}`", file)
    finally:
        client.check_output(f"systemctl unmask {UNIT}")


@pytest.mark.parametrize("folder", ["/etc/chrony", "/var/lib/securetime-nts"])
@pytest.mark.parametrize(("options", "message"), [("size=64k", "No space left"), ("ro", "Read-only file system")])
def test_a_full_or_read_only_disk_changes_nothing(client: Host, folder: str, options: str, message: str) -> None:
    with full_disk(client, folder, options):
        # More data than the smallest free block can hold.
        content = config(client) + "! a line to fill the disk with\n" * 400
        assert_refused(client, f"{message}.*nothing was changed", {"path": CONFIG, "content": content})


def test_a_second_run_waits_for_the_lock(client: Host) -> None:
    before = config(client)
    file = {"path": CONFIG, "content": f"{before}! twice\n"}
    with lock_held(client, LOCK) as release:
        assert_refused(client, r"Another run \(process \d+, sleep\) has been changing chrony", file, lock_timeout=1)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(change, client, file, lock_timeout=300)
            # The second run has the file open and waits.
            wait_until(lambda: len(opened(client, LOCK)) > 1, "no second run waits for the lock")
            release()
            assert waiting.result()["changed"]
    assert change(client, {"path": CONFIG, "content": before})["changed"]


def test_check_mode_waits_for_the_lock_and_writes_nothing(client: Host) -> None:
    before = config(client)
    with ThreadPoolExecutor() as pool, held_start(client, UNIT) as go_on:
        file = {"path": CONFIG, "content": f"{before}! of the run\n"}
        running = pool.submit(change, client, file)
        wait_until(lambda: client.file("/var/lib/securetime-nts/plan.json").exists, "no change is under way")
        check = {"path": CONFIG, "content": f"{before}authselectmode ignore\n"}
        blocked = change(client, check, lock_timeout=1, _ansible_check_mode=True)
        assert re.search(r"Another run \(process \d+, python", blocked["msg"]), blocked
        go_on()
        assert running.result()["changed"]
    assert config(client) == f"{before}! of the run\n"
    assert change(client, check, _ansible_check_mode=True)["changed"]
    assert config(client) == f"{before}! of the run\n"
    assert client.run("ls /etc/chrony/*securetime-nts*").rc != 0
    assert change(client, {"path": CONFIG, "content": before})["changed"]


def test_a_user_without_rights_gets_an_error(client: Host) -> None:
    arguments = {"config_file": CONFIG, "service": UNIT, "files": [{"path": CONFIG, "content": "x"}]}
    command = f"runuser -u nobody -- python3 {code(client)}/run.py chrony_config || true"
    output = write(client, command, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    assert "Traceback" not in output
    assert re.search(r"Permission denied \(\S+\); nothing was changed. Run it as root \(become\).", output), output


def test_the_journal_holds_no_content_of_a_file(client: Host) -> None:
    since = client.check_output("sleep 1; date +%s")
    assert_refused(client, "no-such-group", {"path": FAULT, "content": "CONTENT OF A KEY", "group": "no-such-group"})
    logged = journal(client, f"--since=@{since}")
    assert FAULT in logged
    assert "CONTENT OF A KEY" not in logged


@pytest.fixture
def rival(client: Host) -> Iterator[str]:
    """Yield the unit of another time daemon that runs and is enabled."""
    path = "/usr/lib/systemd/system/fault-rival.service"
    lines = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    write(client, f"cat >{path}; systemctl daemon-reload; systemctl enable --now fault-rival", lines)
    yield "fault-rival.service"
    client.check_output("systemctl unmask fault-rival; systemctl disable --now fault-rival")
    client.check_output(f"rm {path}; systemctl daemon-reload")


def test_a_rival_is_masked_only_after_a_successful_change(client: Host, rival: str) -> None:
    before = config(client)
    now = f"systemctl show --property ActiveState,UnitFileState {rival}"
    runs = {"ActiveState=active", "UnitFileState=enabled"}
    assert_refused(client, "at line", {"path": CONFIG, "content": f"{before}nonsense\n"}, rivals=[rival])
    assert set(client.check_output(now).split()) == runs
    broken = {"path": OPTIONS, "content": 'DAEMON_OPTS="--no-such-option"\n'}
    assert_refused(client, "was rolled back", broken, rivals=[rival])
    assert set(client.check_output(now).split()) == runs
    result = change(client, {"path": CONFIG, "content": before}, rivals=[rival])
    assert result["actions"] == ["stop-rivals", "mask-rivals"]
    assert set(client.check_output(now).split()) == {"ActiveState=inactive", "UnitFileState=masked"}


def test_an_ordinary_user_cannot_hold_the_lock(client: Host) -> None:
    assert "Permission denied" in client.run(f"runuser -u nobody -- flock --nonblock {LOCK} true").stderr
    client.check_output(f"chmod 755 /var/lib/securetime-nts; chmod 644 {LOCK}")
    assert "changed" in change(client)
    modes = client.check_output(f"stat -c %a /var/lib/securetime-nts /var/lib/securetime-nts/original {LOCK}")
    assert modes.split() == ["700", "700", "600"]


def changed_under_umask(host: Host, umask: str, *files: dict[str, Any]) -> dict[str, Any]:
    """Run a change in a process with this umask; return its result."""
    arguments = {"config_file": CONFIG, "service": UNIT, "files": list(files)}
    command = f"umask {umask}; python3 {code(host)}/run.py chrony_config || true"
    result: dict[str, Any] = json.loads(write(host, command, json.dumps({"ANSIBLE_MODULE_ARGS": arguments})))
    return result


def test_chronyd_enters_folders_that_were_made_under_a_strict_umask(client: Host) -> None:
    before = config(client)
    folder = "/etc/chrony/fault.d/below"
    sources = {"path": f"{folder}/fault.sources", "content": "server nts1.example.org nts\n", "effect": "sources"}
    with_folder = {"path": CONFIG, "content": f"{before}sourcedir {folder}\n"}
    try:
        error = changed_under_umask(client, "077", with_folder, dict(sources, mode="0640"))["msg"]
        assert "fault.sources (sourcedir) cannot be read by _chrony" in error
        assert not client.file("/etc/chrony/fault.d").exists
        assert "restart" in changed_under_umask(client, "077", with_folder, sources).get("actions", [])
        assert "nts1.example.org" in client.check_output("chronyc -N sources -a")
        client.check_output(f"chmod 750 {folder}")
        added = {"path": CONFIG, "content": f"{before}sourcedir {folder}\n! more\n"}
        assert_refused(client, rf"{folder} \(sourcedir\) cannot be read by _chrony.*permissions of {folder},", added)
    finally:
        assert "changed" in change(client, {"path": CONFIG, "content": before}, dict(sources, state="absent"))
        client.check_output("rmdir -p --ignore-fail-on-non-empty /etc/chrony/fault.d/below")


@pytest.mark.parametrize("since", ["closed", "closed at a start", "closed at a start and opened"])
def test_a_closed_folder_of_the_role_is_opened_and_read_again(client: Host, since: str) -> None:
    folder, name = "/etc/chrony/nts-sources.d", "closed.example.org"
    sources = {"path": f"{folder}/fault.sources", "content": f"server {name} nts\n", "effect": "sources"}
    try:
        change(client, sources)
        client.check_output(f"chmod go-rwx {folder} {folder}/fault.sources")
        if since != "closed":
            client.check_output("systemctl restart chrony")
            assert name not in client.check_output("chronyc -N sources -a")
        if since.endswith("opened"):
            client.check_output(f"chmod a+rX {folder} {folder}/fault.sources")
        result = change(client, sources, folders=[folder])
        assert result["actions"] == ["restart"], result
        assert (folder in result["changed_files"]) == (not since.endswith("opened")), result
        assert client.file(folder).mode == 0o755
        assert name in client.check_output("chronyc -N sources -a")
        assert not change(client, sources, folders=[folder])["changed"]
    finally:
        change(client, dict(sources, state="absent"), folders=[folder])


def test_a_closed_folder_of_the_package_is_refused(client: Host) -> None:
    closed = "chmod 700 /etc/chrony"
    client.check_output(closed)
    try:
        # The content is unchanged: chronyd has read it, and could not read it at its next start.
        assert_refused(
            client,
            r"permissions of /etc/chrony,.*`chgrp _chrony /etc/chrony; chmod g\+rx",
            {"path": CONFIG, "content": config(client)},
        )
        client.check_output("chgrp _chrony /etc/chrony; chmod g+rx /etc/chrony")
        assert not change(client, {"path": CONFIG, "content": config(client)})["changed"]
    finally:
        client.check_output("chgrp root /etc/chrony; chmod 755 /etc/chrony")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "dumpdir /home/fault/dump",
            r"/home/fault/dump \(dumpdir\) is hidden from chronyd by ProtectHome=yes of chrony.service",
        ),
        (
            "logdir /srv/fault",
            r"/srv/fault \(logdir\) is read-only for chronyd by ProtectSystem=strict of chrony.service",
        ),
        ("driftfile /etc/chrony/drift", r"\(driftfile\) is read-only for chronyd by ProtectSystem=strict"),
        ("pidfile /run/fault.pid", r"\(pidfile\) is not /run/chrony/chronyd.pid, where chrony.service looks for it"),
        ("refclock SOCK /run/fault/gps.sock", "needs the folder /run/fault, which does not exist"),
        ("refclock SOCK /tmp/gps.sock", r"\(refclock\) is hidden from chronyd by PrivateTmp=yes"),
        ("bindcmdaddress /run/chronyd.sock", "is in /run, which is not a folder of _chrony alone"),
        ("tempcomp /etc/shadow 30 0 0 0 0", r"/etc/shadow \(tempcomp\) cannot be read by _chrony"),
    ],
)
def test_a_path_that_chronyd_cannot_use_is_refused(client: Host, line: str, message: str) -> None:
    assert_refused(client, message, {"path": CONFIG, "content": f"{config(client)}{line}\n"})
    assert client.run("ls /home/fault /srv/fault").rc != 0


def test_a_symbolic_link_to_the_configuration_is_kept(client: Host) -> None:
    before, far = config(client), "/srv/fault/chrony.conf"
    client.check_output(
        f"mkdir -p /srv/fault; mv {CONFIG} {far}; ln -s /srv/fault/hop {CONFIG}; ln -s ./chrony.conf /srv/fault/hop"
    )
    try:
        changed = {"path": CONFIG, "content": f"{before}! changed\n"}
        assert change(client, changed)["actions"] == ["restart"]
        assert (client.check_output(f"readlink {CONFIG}"), config(client)) == ("/srv/fault/hop", changed["content"])
        assert client.check_output("ls /srv/fault").split() == ["chrony.conf", "hop"]
        assert not change(client, changed)["changed"]
        # chronyd refuses the first change; the second is rolled back after the start.
        assert_refused(client, "Invalid directive", {"path": CONFIG, "content": f"{before}nonsense\n"})
        assert_refused(
            client,
            "was rolled back",
            {"path": CONFIG, "content": f"{before}bindaddress 198.51.100.7\nallow\n"},
            verify="synchronised",
            verify_timeout=1,
            verify_min_sources=99,
        )
        client.check_output("chmod 777 /srv/fault")
        assert_refused(
            client,
            "leads through /srv/fault, a folder that all users can write to",
            {"path": CONFIG, "content": before},
        )
        client.check_output("chmod 755 /srv/fault")
        assert change(client, {"path": CONFIG, "content": before})["actions"] == ["restart"]
        assert client.check_output(f"readlink {CONFIG}") == "/srv/fault/hop"
    finally:
        client.check_output(f"chmod 755 /srv/fault; rm {CONFIG}; mv {far} {CONFIG}; rm -r /srv/fault")


def test_planted_folders_do_not_keep_a_trust_anchor(client: Host) -> None:
    before = config(client)
    anchor = client.file("/etc/chrony/nts/trusted.pem").content_string
    as_chrony = "cd /var/lib/chrony; runuser -u _chrony --"
    client.check_output(f"{as_chrony} mkdir evil.nts onto.nts into.nts.securetime-nts-old")
    client.check_output(f"{as_chrony} sh -c 'echo x >onto.nts.securetime-nts-old; ln -s /etc into.nts'")
    trusts = {"path": CONFIG, "content": f"{before}ntstrustedcerts 3 {FAULT}\n"}
    try:
        assert "restart" in change(client, trusts, {"path": FAULT, "content": anchor})["actions"]
        result = change(client, {"path": CONFIG, "content": before}, {"path": FAULT, "state": "absent"})
        assert "drop-cookies" in result.get("actions", []), result
        assert not client.file("/var/lib/securetime-nts/plan.json").exists
        client.check_output("systemctl restart chrony")
        assert not client.file(FAULT).exists
        assert client.run("ls /etc/*securetime-nts-old /etc/*.nts").rc != 0
    finally:
        client.check_output(f"{as_chrony} sh -c 'rm -rf evil.nts onto.nts* into.nts*'")
        change(client, {"path": CONFIG, "content": before}, {"path": FAULT, "state": "absent"})


@pytest.mark.parametrize("lost", ["module", "connection"])
def test_the_next_run_recovers_a_lost_run(client: Host, lost: str) -> None:
    before = config(client)
    file = {"path": CONFIG, "content": f"{before}! lost\n"}
    # The plan exists until chronyd has settled. The test cuts the change before.
    arguments = {"config_file": CONFIG, "service": UNIT, "files": [file], "settle_time": 600}
    process = subprocess.Popen(
        [*ANSIBLE, "client-debian13", "-m", "securetime.nts.chrony_config", "-a", json.dumps(arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not client.file("/var/lib/securetime-nts/plan.json").exists:
        assert process.poll() is None, "the change was over before it could be cut"
        time.sleep(0.02)
    holds_lock = "ls -l $p/fd 2>/dev/null | grep -q securetime-nts/lock"
    parents = "ppid=$(awk '/^PPid/ {print $2}' $p/status); grep -q sshd /proc/$ppid/comm && kill -KILL $ppid"
    kill = "kill -KILL ${p#/proc/}" if lost == "module" else f"{parents}; kill -HUP ${{p#/proc/}}"
    client.check_output("sh -c %s", f"for p in /proc/[0-9]*; do if {holds_lock}; then {kill}; fi; done")
    process.wait(timeout=900)
    result = change(client, {"path": CONFIG, "content": before})
    assert ("recover" in result["actions"]) == (lost == "module" or result["actions"] == ["recover"]), result
    assert config(client) == before
    assert client.service("chrony").is_running
    assert not client.file("/var/lib/securetime-nts/plan.json").exists


def test_a_transaction_killed_at_some_steps_is_recovered() -> None:
    """The scenario `killed` tries every step. The sample has odd and even ones, which recover in different ways."""
    steps.assert_recovery(every=3)
