# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chrony and ntpsec as client and server of each other, with the certificates of the role. Needs root.

Each client and server meet in a network namespace of their own; some pairs run in parallel. With `pytest -rP` each pair
prints the parameters that it agreed on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509

from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import ProbeOptions
from ansible_collections.securetime.nts.tests.functional import rooms
from ansible_collections.securetime.nts.tests.functional.nts_servers import probed, wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import Certificates, Daemon, Room
from ansible_collections.securetime.nts.tests.functional.unpacked import NTPSEC_PACKAGES, program

CHRONY = ("bullseye", "bookworm", "trixie", "testing")
NTPSEC = ("bookworm", "trixie")
AES_SIV_CMAC_256 = 15
PATIENCE_SECONDS = 200
# Cookies of pending requests are missing, more of them while the server is busy. The next requests bring them back.
COOKIES = 5
AT_ONCE = 8


class Case(NamedTuple):
    """The kind of certificates, the client's name of the server, and the expected reason of a refusal."""

    certificates: str
    server: str = rooms.NAME
    refusal: str = ""


CASES = {
    "name": Case("role"),
    "IPv4 address": Case("role", rooms.IPV4),
    "IPv6 address": Case("role", rooms.IPV6),
    "name of an IPv6 address": Case("role", rooms.NAME_OF_IPV6),
    "no host name": Case("addresses alone", rooms.IPV4),
    "self-signed": Case("self-signed"),
    "provider selfsigned": Case("provider selfsigned"),
    "provider acme": Case("provider acme"),
}
# The message of GnuTLS and of OpenSSL.
ISSUER = "certificate issuer is unknown|unable to get local issuer certificate"
CONSTRAINTS = "violates the signer's constraints|(?:permitted|excluded) subtree violation"
WRONG = {
    "another CA is trusted": Case("another CA", refusal=ISSUER),
    "name outside the constraints": Case("name outside", refusal=CONSTRAINTS),
    "address outside the constraints": Case("address outside", rooms.IPV4, CONSTRAINTS),
    "name below the one of the server": Case("name below", refusal=CONSTRAINTS),
    "an e-mail address besides": Case("e-mail address", refusal=CONSTRAINTS),
    "a URI besides": Case("URI", refusal=CONSTRAINTS),
}
NAME_IS_WANTED = "Missing name of .* for NTS-KE|NTSc: .*DNS error"
# A handshake also fails where the server ends it after 2 or 3 s, as on a busy machine.
REFUSAL = re.compile(f"TLS handshake with .* failed.*certificate.*|NTSc: certificate invalid.*|(?:{NAME_IS_WANTED}).*")
# ntpd logs this after each failed key exchange, and the reason before.
FAILED = " sec, fail"
ADDRESSES = (rooms.IPV4, rooms.IPV6)
# Constraints that permit every name of the certificate except its name or its address.
BUT_THE_NAME = (rooms.NAME_OF_IPV6, rooms.IPV6, rooms.IPV4, "other.example.org")
BUT_THE_ADDRESS = (rooms.NAME, rooms.NAME_OF_IPV6, rooms.IPV6, "192.0.2.2")


class Meeting(NamedTuple):
    """Client and server, each as make and suite, and the case."""

    client: tuple[str, str]
    server: tuple[str, str]
    case: str

    def __str__(self) -> str:
        return f"{' '.join(self.client)} -> {' '.join(self.server)}, {self.case}"


class Answered(NamedTuple):
    """The client's result: version, number of authentic answers, agreed parameters, or the reason of its refusal."""

    version: str
    answers: int
    aead: int | None = None
    cookies: int = 0
    cookie_length: int = 0
    refused: str = ""


class Outcome(NamedTuple):
    """The result of a meeting: the server's version, the number of authentic requests, and the client's result."""

    server: str
    requests: int
    client: Answered


def _version(daemon: Daemon) -> str:
    found = re.search(r"chronyd version (\S+)|ntpd ntpsec-(\S+):", daemon.told())
    assert found, daemon.told()
    return found[1] or found[2]


@contextlib.contextmanager
def _serving(room: Room, server: tuple[str, str], folder: Path, certificates: Certificates) -> Iterator[Daemon]:
    make, suite = server
    pair = certificates.server
    if make == "chrony":
        lines = [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", "allow", "local stratum 5"]
        with rooms.chronyd(room, suite, folder, [*lines, f"port {rooms.CHRONY_PORT}"]) as chronyd:
            wait_for(lambda: room.listens(rooms.KE_PORT), PATIENCE_SECONDS, chronyd.told)
            yield chronyd
        return
    lines = ["nts enable", f"nts cert {pair.chain}", f"nts key {pair.key_file}", f"nts cookie {folder}/cookie"]
    with rooms.ntpd(room, suite, folder, [*lines, "refclock local", "tos orphan 5 orphanwait 1"]) as ntpd:
        wait_for(lambda: ntpd.variables("stratum")["stratum"] == "5", PATIENCE_SECONDS, ntpd.told)
        wait_for(lambda: room.listens(rooms.KE_PORT), PATIENCE_SECONDS, ntpd.told)
        yield ntpd


def _ask_by_chrony(room: Room, suite: str, folder: Path, server: str, trusted: Path) -> Answered:
    options = "nts iburst minpoll -2 maxpoll -2"
    lines = [f"server {server} {options}", f"ntstrustedcerts {trusted}", "nosystemcert", "port 0"]
    with rooms.chronyd(room, suite, folder, lines) as client:

        def done() -> bool:
            return "^*" in client.ask("sources") or REFUSAL.search(client.told()) is not None

        wait_for(done, PATIENCE_SECONDS, lambda: client.told() + client.ask("sources") + client.ask("authdata"))
        refused = REFUSAL.search(client.told())
        answers = int(client.value("ntpdata", "Total valid RX") or 0)
        if refused:
            return Answered(_version(client), answers, refused=refused[0])
        assert client.value("ntpdata", "Authenticated") == "Yes"
        # Columns: name, mode, key ID, AEAD, key length in bits, last, attempts, NAKs, cookies, cookie length.
        row: list[str] = []

        def has_cookies() -> bool:
            row[:] = client.ask("authdata").splitlines()[-1].split()
            return int(row[8]) >= COOKIES

        wait_for(has_cookies, PATIENCE_SECONDS, lambda: str(row))
        assert (row[1], row[4], row[7]) == ("NTS", "256", "0"), row
        return Answered(_version(client), answers, int(row[3]), int(row[8]), int(row[9]))


def _ask_by_ntpsec(room: Room, suite: str, folder: Path, server: str, trusted: Path) -> Answered:
    """Run ntpd, and start it anew where the server has ended the key exchange: ntpd repeats that after minutes."""
    for time in range(20):
        answered = _ask_by_one_ntpsec(room, suite, folder / str(time), server, trusted)
        if answered is not None:
            return answered
    pytest.fail("the server ended every key exchange")


def _ask_by_one_ntpsec(room: Room, suite: str, folder: Path, server: str, trusted: Path) -> Answered | None:
    with rooms.ntpd(room, suite, folder, [f"server {server} nts ca {trusted} iburst minpoll 3"]) as client:

        def answers() -> int:
            return int(client.variables("nts_client_recv_good")["nts_client_recv_good"])

        def done() -> bool:
            text = client.told()
            return answers() > 1 or REFUSAL.search(text) is not None or FAILED in text

        wait_for(done, PATIENCE_SECONDS, client.told)
        refused = REFUSAL.search(client.told())
        if refused:
            return Answered(_version(client), answers(), refused=refused[0])
        if FAILED in client.told():
            return None
        (association,) = client.associations()
        source: dict[str, str] = {}

        def has_cookies() -> bool:
            source.update(client.variables("reach", "srcport", "ntscookies", association=association))
            return int(source["ntscookies"]) >= COOKIES

        wait_for(has_cookies, PATIENCE_SECONDS, lambda: f"{source} {client.told()}")
        assert int(source["reach"], 16) > 0, source
        assert source["srcport"] == str(rooms.CHRONY_PORT), source
        agreed = re.search(r"NTSc: Got \d+ cookies, length (\d+), aead=(\d+)\.", client.told())
        assert agreed, client.told()
        return Answered(_version(client), answers(), int(agreed[2]), int(source["ntscookies"]), int(agreed[1]))


def _ask_by_probe(room: Room, server: str, trusted: Path) -> Answered:
    addresses = {rooms.NAME: rooms.IPV4, rooms.NAME_OF_IPV6: rooms.IPV6}
    # Only processes inside the namespace can resolve its names.
    address = addresses.get(server, server)
    question = ProbeOptions(address, server, trusted_certs=[str(trusted)], system_certs=False, timeout=PATIENCE_SECONDS)
    library = gnutls.load()
    assert library is not None
    with room.inside():
        found = probed(question, library)
    if found["error"]:
        return Answered("", 0, refused=f"{found['error']['kind']}: {found['error']['detail']}")
    agreed = found["ke"]
    return Answered("", found["ntp"]["received"], agreed["aead"], agreed["cookies"], agreed["cookie_length_bytes"])


def _meet(meeting: Meeting, folder: Path, certificates: Mapping[str, Certificates]) -> Outcome:
    case = {**CASES, **WRONG}[meeting.case]
    issued = certificates[case.certificates]
    make, suite = meeting.client
    with rooms.room(folder) as room, _serving(room, meeting.server, folder / "server", issued) as server:
        if make == "chrony":
            answered = _ask_by_chrony(room, suite, folder / "client", case.server, issued.trusted)
        elif make == "ntpsec":
            answered = _ask_by_ntpsec(room, suite, folder / "client", case.server, issued.trusted)
        else:
            answered = _ask_by_probe(room, case.server, issued.trusted)
        return Outcome(_version(server), server.authentic(), answered)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Meeting, Future[Outcome]]]:
    """Run the meetings of all selected tests in parallel; yield a future of each outcome."""
    folder = tmp_path_factory.mktemp("interop")
    role = rooms.of_the_role(folder / "role")
    another = rooms.of_the_role(folder / "another")
    certificates = {
        "role": role,
        "self-signed": rooms.self_signed(folder / "self-signed"),
        "provider selfsigned": rooms.of_the_role(folder / "selfsigned", rooted=False),
        "provider acme": rooms.of_the_role(folder / "acme", permitted=None),
        "another CA": Certificates(role.server, another.trusted),
        "addresses alone": rooms.of_the_role(folder / "addresses", ADDRESSES, ADDRESSES),
        "name outside": rooms.of_the_role(folder / "name", permitted=BUT_THE_NAME),
        "name below": rooms.of_the_role(folder / "below", permitted=("example.org", *ADDRESSES)),
        "e-mail address": rooms.of_the_role(folder / "mail", more_names=[x509.RFC822Name("ceo@example.org")]),
        "URI": rooms.of_the_role(folder / "uri", more_names=[x509.UniformResourceIdentifier("https://example.org/")]),
        "address outside": rooms.of_the_role(folder / "address", permitted=BUT_THE_ADDRESS),
    }
    for suite in CHRONY:
        program(suite, "usr/sbin/chronyd")
        program(suite, "usr/bin/chronyc")
    for suite in NTPSEC:
        program(suite, "usr/sbin/ntpd", NTPSEC_PACKAGES)
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = [item.callspec.params["meeting"] for item in items if item.path == request.path]
    meetings = [meeting for meeting in wanted if isinstance(meeting, Meeting)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            meeting: pool.submit(_meet, meeting, folder / str(number), certificates)
            for number, meeting in enumerate(meetings)
        }
        pool.shutdown(cancel_futures=True)


PROBE = ("probe", "of this collection")
PAIRS = [
    *((("chrony", client), ("ntpsec", server)) for client in CHRONY for server in NTPSEC),
    *((("ntpsec", client), ("chrony", server)) for client in NTPSEC for server in CHRONY),
    *((PROBE, ("ntpsec", server)) for server in NTPSEC),
]
# Clients that do not accept addresses: chrony 4.0 none at all, ntpsec no IPv6 address.
UNABLE = {
    ("chrony", "bullseye"): ("IPv4 address", "IPv6 address", "no host name"),
    **{("ntpsec", suite): ("IPv6 address",) for suite in NTPSEC},
}
MEETINGS = [Meeting(*pair, case) for pair in PAIRS for case in CASES]
AGREED = [meeting for meeting in MEETINGS if meeting.case not in UNABLE.get(meeting.client, ())]
# The refusal depends on the client alone, so one server of several is enough.
REFUSED = [
    Meeting(*pair, case)
    for pair in PAIRS
    if pair[1][1] == "trixie"
    for case, how in WRONG.items()
    if not (how.server == rooms.IPV4 and "IPv4 address" in UNABLE.get(pair[0], ()))
]


@pytest.mark.parametrize("meeting", AGREED, ids=str)
def test_a_client_and_a_server_of_different_makes_agree(
    meeting: Meeting, outcomes: dict[Meeting, Future[Outcome]]
) -> None:
    outcome = outcomes[meeting].result(rooms.SECONDS)
    client = outcome.client
    print(meeting, outcome)
    assert not client.refused
    assert client.answers > 1
    assert outcome.requests >= client.answers
    assert client.aead == AES_SIV_CMAC_256
    assert client.cookies >= COOKIES


@pytest.mark.parametrize("meeting", REFUSED, ids=str)
def test_a_client_refuses_an_untrusted_certificate(meeting: Meeting, outcomes: dict[Meeting, Future[Outcome]]) -> None:
    outcome = outcomes[meeting].result(rooms.SECONDS)
    client = outcome.client
    print(meeting, outcome)
    assert re.search(WRONG[meeting.case].refusal, client.refused)
    assert (client.answers, outcome.requests) == (0, 0)


@pytest.mark.parametrize("meeting", [meeting for meeting in MEETINGS if meeting not in AGREED], ids=str)
def test_a_client_that_requires_a_name_refuses_an_address(
    meeting: Meeting, outcomes: dict[Meeting, Future[Outcome]]
) -> None:
    outcome = outcomes[meeting].result(rooms.SECONDS)
    client = outcome.client
    print(meeting, outcome)
    assert re.search(NAME_IS_WANTED, client.refused)
    assert (client.answers, outcome.requests) == (0, 0)
