# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's proof that it serves, under any directives of its operator, and its report where it has no proof.

Real chronyds of four suites, each in a network namespace with the addresses of rooms.py.

Long: the programs that rely on the proof are tested on the same daemons.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.serving import is_allowed, read_serving
from ansible_collections.securetime.nts.plugins.module_utils._change.watch import closed_sockets, fatal_line
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager, served
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import Server, assert_served, own_addresses
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import SERVERSTATS, ChronycError, parse
from ansible_collections.securetime.nts.plugins.modules import chrony_config
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import (
    ADDRESS,
    DAY,
    NAME,
    Pair,
    chronyd,
    make_pair,
)

LINES = ["local stratum 5", "maxntsconnections 1"]
# chrony 4.0, 4.3, 4.6.1 and the newest.
SUITES = ["bullseye", "bookworm", "trixie", "testing"]
# The role's lines that let a server probe itself.
OWN4, OWN6 = "allow 127.0.0.0/8", "allow ::1"
CLIENTS4, CLIENTS6 = "allow 198.51.100.0/24", "allow 2001:db8:1::/48"


def at(ntsport: int, port: int) -> Server:
    """Return a server with these ports on loopback."""
    return Server(read_serving(f"allow\nntsport {ntsport}\nport {port}"))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    ca = make_pair(tmp_path / "ca", name="ca", authority=True)
    return make_pair(tmp_path / "pair", ca, chain=[ca])


def test_a_busy_chronyd_gets_time(pair: Pair, tmp_path: Path) -> None:
    with chronyd("trixie", tmp_path / "chronyd", pair, LINES) as server:
        pid = int((tmp_path / "chronyd" / "pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        go_on = threading.Timer(7.0, os.kill, (pid, signal.SIGCONT))
        go_on.start()
        assert_served(at(server.ntsport, server.port), [NAME], pair.chain.read_text())
        go_on.join()


def test_a_refused_connection_is_retried(pair: Pair, tmp_path: Path) -> None:
    with chronyd("trixie", tmp_path / "chronyd", pair, LINES) as server:
        place = (ADDRESS, server.ntsport)
        with contextlib.ExitStack() as stack:
            # chronyd has two serving processes, and closes a session after 2 s without data.
            for _number in range(3):
                stack.enter_context(socket.create_connection(place))
            assert_served(at(*place[1:], server.port), [NAME], pair.chain.read_text())


def test_a_server_without_nts_is_reported(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PAUSES_SECONDS", (0.1, 0.1))
    pair.key_file.write_bytes(make_pair(tmp_path / "other").key_file.read_bytes())
    with (
        chronyd("trixie", tmp_path / "chronyd", pair, LINES) as server,
        pytest.raises(TransactionError, match="serves no NTS"),
    ):
        assert_served(at(server.ntsport, server.port), [NAME], pair.chain.read_text())


class Case(NamedTuple):
    """Directives of a server, and the result on this host: a pattern of the warning or of the failure, if any."""

    lines: Sequence[str]
    warning: str = ""
    failure: str = ""
    options: Sequence[str] = ()
    # Number of probes of the server by itself, one for each pair.
    times: int = 1
    # Whether the server's own clock counts as synchronised.
    local: bool = True


TIGHT = ["ratelimit interval 12 burst 1 leak 4", "ntsratelimit interval 12 burst 1 leak 4"]
DEVICE = ["binddevice veth0"]
CASES = {
    "no limits": Case([CLIENTS4, OWN4]),
    "unsynchronised": Case([CLIENTS4, OWN4], local=False),
    "wildcard of one family": Case([CLIENTS4, OWN4, "bindaddress 0.0.0.0"]),
    "wildcard of the other family": Case([CLIENTS4, OWN4, "bindaddress ::"]),
    "wildcard of the clients' family": Case([CLIENTS6, OWN6, "bindaddress ::"]),
    "both addresses": Case([CLIENTS4, CLIENTS6, OWN4, OWN6, "bindaddress 192.0.2.1", "bindaddress 2001:db8::1"]),
    "the last address counts": Case([CLIENTS4, OWN4, "bindaddress 192.0.2.77", "bindaddress 192.0.2.1"]),
    "IPv6 address alone": Case([CLIENTS6, OWN6, "bindaddress 2001:db8::1"]),
    "option -4": Case([CLIENTS4, CLIENTS6, OWN4, OWN6], options=["-4"]),
    "option -6": Case([CLIENTS4, CLIENTS6, OWN4, OWN6], options=["-6"]),
    "option of the wrong family": Case([CLIENTS4, OWN4], failure="option -6 closes", options=["-6"]),
    "IPv4 limits, three pairs": Case([CLIENTS4, OWN4, *TIGHT], times=3),
    "IPv4 limits at an address": Case([CLIENTS4, OWN4, *TIGHT, "bindaddress 192.0.2.1"], times=3),
    "IPv6 limits, four pairs": Case([CLIENTS6, OWN6, *TIGHT], warning="`n?t?s?ratelimit interval 12", times=4),
    "own address alone is allowed": Case(["allow 192.0.2.0/24", "deny 127.0.0.0/8"]),
    "loopback is denied": Case([CLIENTS4, "deny 127.0.0.0/8"], warning="`deny 127.0.0.0/8` lets no request"),
    "device": Case(["allow 203.0.113.0/24", *DEVICE]),
    "device and its address": Case(["allow 203.0.113.0/24", *DEVICE, "bindaddress 203.0.113.1"]),
    "device with IPv6": Case(["allow 2001:db8:2::/64", *DEVICE]),
    "device with link-local clients": Case(["allow fe80::/10", *DEVICE]),
    "device whose address is not allowed": Case([CLIENTS4, OWN4, *DEVICE], warning="`binddevice veth0` lets no"),
    "other port": Case([CLIENTS4, OWN4, "port 11123"]),
    "NTP elsewhere, and here": Case([CLIENTS4, OWN4, "ntsntpserver time.example.com"]),
    "NTP elsewhere": Case([CLIENTS4, OWN4, "port 0", "ntsntpserver time.example.com"], warning="`port 0`"),
    "port 0": Case([CLIENTS4, OWN4, "port 0"], failure="`port 0` closes"),
    "no such address": Case([CLIENTS4, OWN4, "bindaddress 192.0.2.77"], failure="`bindaddress 192.0.2.77` names no"),
    "family of the clients alone": Case(
        [CLIENTS4, OWN4, OWN6, "bindaddress 192.0.2.77"], failure="`bindaddress 192.0.2.77` names no"
    ),
    "denied last": Case([CLIENTS4, OWN4, "deny all"], failure="`deny all` leaves no client"),
    "clients denied last": Case([CLIENTS4, OWN4, "deny 198.51.100.0/24"], failure="`deny 198.51.100.0/24` leaves no"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rooms.Room]:
    with rooms.room(tmp_path_factory.mktemp("room") / "server") as made:
        script = """
            ip link add veth0 type veth peer name veth1
            ip link set veth0 up
            ip link set veth1 up
            ip address add 203.0.113.1/24 dev veth0
            ip address add 2001:db8:2::1/64 dev veth0 nodad
            ip address add fe80::1/64 dev veth0 nodad
        """
        subprocess.run(made.command(["sh", "-ec", script]), check=True)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that chronyd creates."""
    return tmp_path / "chronyd"


@contextlib.contextmanager
def in_room(
    place: rooms.Room, suite: str, folder: Path, pair: Pair, case: Case, wrapper: Sequence[str] = ()
) -> Iterator[tuple[rooms.Chrony, Server]]:
    """Run chronyd in a network namespace; yield the daemon and its host's description of it."""
    lines = [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", f"ntsdumpdir {folder}", *case.lines]
    lines += ["local stratum 5"] if case.local else []
    with rooms.chronyd(place, suite, folder, lines, case.options, wrapper) as daemon, place.inside():

        def dropped() -> dict[str, int]:
            return parse(SERVERSTATS, daemon.ask("-c", "serverstats")).rows[0]

        text = (folder / "chrony.conf").read_text()
        yield daemon, Server(read_serving(text), own_addresses(), case.options, dropped)


IN_EACH = ("no limits", "both addresses", "IPv4 limits, three pairs", "IPv6 limits, four pairs", "device")


@pytest.mark.parametrize(
    ("case", "suite"),
    [
        pytest.param(case, suite, id=f"{name}, {suite}")
        for name, case in CASES.items()
        for suite in (SUITES if name in IN_EACH else SUITES[-1:])
    ],
)
def test_a_server_is_verified_within_the_limits_of_its_operator(
    case: Case, suite: str, place: rooms.Room, pair: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "PAUSES_SECONDS", (0.1,))
    # A busy machine may take seconds for an answer. Where silence is expected, a short wait is enough.
    monkeypatch.setattr(served, "REPLY_SECONDS", 0.3 if case.warning else 60.0)
    with in_room(place, suite, folder, pair, case) as (daemon, server):
        if case.failure:
            with pytest.raises(TransactionError, match=case.failure):
                assert_served(server, [NAME], pair.chain.read_text())
            return
        found = [note for _time in range(case.times) for note in assert_served(server, [NAME], pair.chain.read_text())]
        if case.warning:
            assert re.search(case.warning, " ".join(found)), found
        else:
            assert (found, daemon.authentic()) == ([], case.times)


# Runs a command whose socket() fails as in a kernel without IPv6.
WITHOUT_IPV6 = f"""
import ctypes, os, struct, sys
load, equal, give_back = 0x20, 0x15, 0x06
program = [(load, 0, 0, 0), (equal, 0, 3, {41 if platform.machine() == "x86_64" else 198})]
program += [(load, 0, 0, 16), (equal, 0, 1, 10), (give_back, 0, 0, 0x50000 | 97), (give_back, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter):
    raise OSError(ctypes.get_errno(), "seccomp")
os.execvp(sys.argv[1], sys.argv[1:])
"""
BOTH = [CLIENTS4, CLIENTS6, OWN4, OWN6]
IN_FAMILY = {4: (socket.AF_INET, "0.0.0.0"), 6: (socket.AF_INET6, "::")}


def taken(family: int, kind: socket.SocketKind, port: int) -> socket.socket:
    """Return a socket that occupies a port of one family."""
    name, address = IN_FAMILY[family]
    made = socket.socket(name, kind)
    if family == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    return made


@pytest.mark.parametrize("suite", SUITES[:1] + SUITES[-1:])
def test_a_host_without_ipv6_serves(suite: str, place: rooms.Room, pair: Pair, folder: Path) -> None:
    wrapper = [sys.executable, "-c", WITHOUT_IPV6]
    with in_room(place, suite, folder, pair, Case(BOTH), wrapper) as (daemon, server):
        log = daemon.told().splitlines()
        assert {each.purpose for each in closed_sockets(log) if each.family == "IPv6"} == {
            ("NTP", "123"),
            ("NTS-KE", "4460"),
        }
        assert fatal_line(log) == ""
        assert assert_served(server, [NAME], pair.chain.read_text()) == []


@pytest.mark.parametrize(
    ("families", "kind", "port", "is_fatal"),
    [
        ([4], socket.SOCK_DGRAM, 123, False),
        ([6], socket.SOCK_DGRAM, 123, False),
        ([4, 6], socket.SOCK_DGRAM, 123, True),
        ([4], socket.SOCK_STREAM, 4460, False),
        ([4, 6], socket.SOCK_STREAM, 4460, True),
    ],
)
def test_a_port_of_another_program_is_fatal_where_no_family_is_left(
    families: list[int],
    kind: socket.SocketKind,
    port: int,
    is_fatal: bool,
    place: rooms.Room,
    pair: Pair,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served, "PAUSES_SECONDS", ())
    with contextlib.ExitStack() as stack:
        with place.inside():
            for family in families:
                stack.enter_context(taken(family, kind, port))
        daemon, server = stack.enter_context(in_room(place, SUITES[-1], folder, pair, Case(BOTH)))
        assert (fatal_line(daemon.told().splitlines()) != "") is is_fatal
        # The other program is silent, so a short wait is enough for it. A busy chronyd gets a longer one.
        errors = []
        for reply_seconds in (0.3, 60.0)[: 1 if is_fatal else 2]:
            monkeypatch.setattr(served, "REPLY_SECONDS", reply_seconds)
            try:
                assert_served(server, [NAME], pair.chain.read_text())
            except TransactionError as error:
                errors.append(str(error))
            else:
                break
        if is_fatal:
            assert "ss -lntup" in errors[0]
        else:
            assert len(errors) < 2, errors


def host_with(place: rooms.Room, folder: Path) -> System:
    """Return a host whose unit of chronyd systemd shows as active; the daemon itself is real."""
    pid = (folder / "pid").read_text().strip()
    shown = f"LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID={pid}\n"

    def run(argv: list[str]) -> CommandResult:
        if argv[0] == "systemctl":
            return CommandResult(0, "" if "--value" in argv else shown, "")
        done = subprocess.run(place.command(argv), capture_output=True, text=True, check=False)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return System(run, lambda _file, _path: False)


def test_the_status_of_a_pair_is_what_chronyd_serves(
    place: rooms.Room, pair: Pair, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = manager.Settings(
        "server",
        [NAME],
        str(pair.chain),
        str(pair.key_file),
        "root",
        f"{folder}/chrony.conf",
        "chrony.service",
        "files",
    )
    arguments = manager.read_arguments(["check"])
    with in_room(place, SUITES[-1], folder, pair, Case([CLIENTS4, OWN4])):
        pair_manager = manager.CertificateManager(settings, host_with(place, folder))
        status = pair_manager.status()
        assert (status["served"], status["serves_nts"]) == (status["file"], True)
        assert (status["problems"], status["due"], len(status["warnings"])) == ([], False, 1)
        assert "The CA that issues this server's certificates ends in 30 days" in status["warnings"][0]
        assert (round(status["remaining_days"]), round(status["lifetime_days"])) == (30, 31)
        assert round(status["issuer_remaining_days"]) == 30  # the CA has the same dates
        assert pair_manager.renew() == {"changed": False, "served": status["file"], "actions": []}
        assert manager.run_for_pair(pair_manager, arguments) == 0
        assert "chronyd serves it." in capsys.readouterr().out
        # chronyd has read the pair before the file changes.
        other = make_pair(tmp_path / "other", not_after=DAY)
        pair.chain.write_bytes(other.chain.read_bytes())
        status = pair_manager.status()
        serials = (f"{one.certificate.serial_number:X}" for one in (pair, other))
        assert status["problems"] == [
            "chronyd serves another certificate ({}) than the file has ({}): restart it.".format(*serials)
        ]
        assert (status["serves_nts"], status["due"], status["issuer_remaining_days"]) == (True, False, None)
        assert manager.run_for_pair(pair_manager, arguments) == 1
    # The daemon is gone, and its port with it.
    status = pair_manager.status()
    assert status["problems"][0].startswith("chronyd serves no NTS: "), status
    assert (status["served"], status["serves_nts"], len(status["problems"])) == (None, False, 1)
    assert manager.run_for_pair(pair_manager, arguments) == 3


GOAL = {"verify": "none", "verify_rollback": True, "verify_min_sources": 1, "verify_timeout": 0.0}


def verification(**wanted: Any) -> chrony_config.Verification:
    """Return what chrony_config checks after a change."""
    given = {"serves": [], "serves_at": None, "config_file": "/chrony.conf", "service": "chrony.service", **GOAL}
    return chrony_config.Verification({**given, **wanted}, System(lambda _argv: CommandResult(1, "", ""), bool))


def test_a_change_is_verified_by_what_chronyd_serves(
    place: rooms.Room, pair: Pair, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"certificate": str(pair.chain), "names": [NAME]}
    with in_room(place, SUITES[-1], folder / "open", pair, Case([CLIENTS4, OWN4])) as (_daemon, server):
        monkeypatch.setattr(served, "server_of", lambda *_arguments: server)
        assert verification(serves=[own]).check() == verification(serves=[own]).idle_problems() == []
        other = make_pair(tmp_path / "other")
        wrong = verification(serves=[own, {"certificate": str(other.chain), "names": [NAME]}])
        with pytest.raises(TransactionError) as refused:
            wrong.check()
        assert wrong.idle_problems() == [str(refused.value)]
        missing = verification(serves=[{"certificate": "/none.pem", "names": [NAME]}])
        assert missing.idle_problems()[0].startswith("The certificate /none.pem (serves) is not on this host")
        # The address that the operator names is probed alone.
        elsewhere = verification(serves=[own], serves_at="192.0.2.77")
        assert "192.0.2.77" in elsewhere.idle_problems()[0]
    with in_room(place, SUITES[-1], folder / "denied", pair, Case([CLIENTS4, "deny 127.0.0.0/8"])) as (_daemon, server):
        # Each pair has the same note, which a user reads once.
        (note,) = verification(serves=[own, own]).check()
        assert "`deny 127.0.0.0/8` lets no request" in note


def test_a_clock_that_misses_its_goal_ends_a_change_unless_it_may_stay() -> None:
    # No host has as many sources.
    unreachable = {"verify": "authenticated", "verify_min_sources": 9999}
    strict = verification(**unreachable)
    with pytest.raises(TransactionError, match=r"^the clock is not authenticated after [0-9.e-]+ s: "):
        strict.check()
    result = strict.result()
    assert (result["reached"], "nts" in result["ansible_facts"]["chrony"]) == (False, True)
    lenient = verification(**unreachable, verify_rollback=False)
    assert (lenient.check(), lenient.result()) == ([], {"reached": None, "waited_seconds": None})
    # The goal is awaited once, and reported without a failure.
    lenient.wait_for_goal()
    found = lenient.gathered
    lenient.wait_for_goal()
    assert lenient.gathered is found
    assert lenient.result()["reached"] is False
    without = verification()
    assert (without.check(), without.gathered) == ([], None)


def test_unreadable_reports_end_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(_options: Any) -> None:
        raise ChronycError("chronyc tracking printed a line that is no report", "x")

    monkeypatch.setattr(chrony_config, "gather", gather)
    with pytest.raises(TransactionError, match="printed a line that is no report"):
        verification(verify="synchronised").check()


def test_access_rules_agree_with_chronyd(place: rooms.Room, folder: Path) -> None:
    generator = random.Random(20)
    with rooms.chronyd(place, SUITES[-1], folder, []) as daemon:
        for _round in range(30):
            lines = ["deny all", *(some_rule(generator) for _number in range(12))]
            addresses = [some_address(generator) for _number in range(40)]
            answers = daemon.ask_all([*lines, *(f"accheck {address}" for address in addresses)])[len(lines) :]
            rules = read_serving("\n".join(lines)).rules
            expected = [is_allowed(rules, ipaddress.ip_address(address)) for address in addresses]
            assert [answer == "208 Access allowed" for answer in answers] == expected, lines


def some_rule(generator: random.Random) -> str:
    """Return a rule about one of a few addresses, so that many rules overlap."""
    verb = generator.choice(["allow", "deny", "allow all", "deny all"])
    bits = generator.randrange(20, 33)
    place = generator.choice([f"{some_address(generator, 4)}/{bits}", f"2001:db8::/{bits + 60}", "10", "10.1/16", ""])
    return f"{verb} {place}".strip()


def some_address(generator: random.Random, family: int = 0) -> str:
    """Return one of a few neighbouring addresses."""
    ipv4 = f"10.1.{generator.randrange(2)}.{generator.choice([0, 1, 2, 127, 128, 255])}"
    return ipv4 if family or generator.random() < 0.7 else f"2001:db8::{generator.choice(['', '1', 'ffff', '1:0:0'])}"
