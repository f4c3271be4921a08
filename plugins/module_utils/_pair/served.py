# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Probe chronyd on this host as a client does: key exchange, then NTP.

The files do not show what chronyd serves. chronyd reads its pairs once, at its start; with a pair that it cannot use,
it keeps running and listening but serves no NTS. A refusal by the operator's own access rules or rate limits is no
fault of the server: such a probe ends well, with a note.
"""

import contextlib
import ctypes
import fcntl
import ipaddress
import secrets
import socket
import struct
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import effective_text
from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.serving import (
    IPV4,
    IPV6,
    LOOPBACK,
    Address,
    Obstacle,
    Serving,
    deciding_rule,
    is_allowed,
    obstacle,
    read_serving,
    served_families,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit, read_options
from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import STAGES, Probe, ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import SERVERSTATS, ChronycError, parse
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import CERTIFICATE, describe, pem_to_der

Row = Dict[str, Any]

# A busy chronyd answers late, or closes a connection above its limit (maxntsconnections). Neither shows a bad pair, so
# neither may restart chronyd.
PATIENCE_SECONDS = 30.0
REPLY_SECONDS = 5.0
CLOSED = ("tls_closed", "ke_closed")
UNANSWERED = ("ntp_unanswered", "ntp_kiss", "ntp_not_authentic")
PAUSES_SECONDS = (1.0, 2.0)
# chronyd still answers one request in 2 (leak 1) to 16 (leak 4) from an address above its rate limit.
LIMITED_PAUSES_SECONDS = (0.02,) * 12
# The directive that limits the rate of each service, and the counter of the requests that chronyd dropped for it.
LIMITS = {"ntsratelimit": "nts_ke_dropped", "ratelimit": "ntp_dropped"}
# Options of chronyd that leave one address family alone, and that family.
ONLY = {"-4": IPV4, "-6": IPV6}
SIOCGIFCONF = 0x8912
NOT_PROBED = "chronyd was not asked for its certificate"


class HostAddress(NamedTuple):
    """An address of this host and its network interface."""

    device: str
    address: Address


class Endpoint(NamedTuple):
    """The address at which this host probes chronyd, and the source address; the kernel chooses an empty source."""

    address: str
    source: str
    # Whether chronyd has not seen the source yet, so that no rate limit applies.
    fresh: bool = False


def _ignore(_row: Row) -> None:
    """Do nothing."""


class Server(NamedTuple):
    """chronyd on this host, with all that a probe of it needs."""

    serving: Serving
    addresses: Sequence[HostAddress] = ()
    # The command line options of the running daemon.
    options: Sequence[str] = ()
    # Returns how many requests chronyd has dropped, by the name of the counter; empty where chronyc reports none.
    dropped: Callable[[], Dict[str, int]] = dict
    # Probe at this address alone; empty for every address at which chronyd listens.
    address: str = ""
    # The last stage of a probe; by default ntp where chronyd answers NTP, otherwise ke.
    last_stage: str = ""
    # Receives the row of each single probe.
    note_probe: Callable[[Row], None] = _ignore


def server_of(host: System, config_file: str, service: str) -> Server:
    """Return chronyd on this host, from its configuration and its running unit."""

    def dropped() -> Dict[str, int]:
        with contextlib.suppress(ChronycError):
            rows = parse(SERVERSTATS, host.run(["chronyc", "-c", "-n", "serverstats"]).stdout).rows
            return rows[0] if rows else {}
        return {}

    options = read_options(Unit(host, service).show().get("MainPID", ""))
    return Server(read_serving(effective_text(host, config_file)), own_addresses(), options, dropped)


def own_addresses() -> List[HostAddress]:
    """Return the addresses of this host, without netlink, which the unit of nts-certificate denies."""
    return [*_ipv4_addresses(), *_ipv6_addresses()]


def _ipv4_addresses() -> Iterator[HostAddress]:
    # struct ifreq: a name, and a union whose largest part is struct ifmap.
    size = 16 + (24 if struct.calcsize("P") == 8 else 16)
    buffer = bytearray(size * 1024)
    room = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("iP", len(buffer), ctypes.addressof(room)))
        fcntl.ioctl(any_socket, SIOCGIFCONF, request)
        for start in range(0, struct.unpack_from("i", request)[0], size):
            name = bytes(buffer[start : start + 16]).partition(b"\0")[0].decode().partition(":")[0]
            yield HostAddress(name, ipaddress.IPv4Address(bytes(buffer[start + 20 : start + 24])))


def _ipv6_addresses() -> Iterator[HostAddress]:
    with contextlib.suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as file:
        for line in file:
            words = line.split()
            yield HostAddress(words[5], ipaddress.IPv6Address(bytes.fromhex(words[0])))


def _open_families(server: Server) -> List[int]:
    left = [family for option, family in ONLY.items() if option in server.options]
    given = ipaddress.ip_address(server.address.partition("%")[0]).version if server.address else None
    return [
        family
        for family in served_families(server.serving.rules)
        if (not left or family in left) and given in (None, family)
    ]


def _endpoint(server: Server, family: int) -> Optional[Endpoint]:
    serving = server.serving
    bound = serving.bound[family].address
    own = [item for item in server.addresses if item.address.version == family]
    if serving.device and not server.address:
        # A socket with binddevice receives packets for addresses of its interface alone, and never answers over lo.
        own = [item for item in own if item.device == serving.device]
        for item in sorted(own, key=lambda item: item.address.is_link_local):
            if bound in (None, item.address) and is_allowed(serving.rules, item.address):
                zone = f"%{item.device}" if item.address.is_link_local and family == IPV6 else ""
                return Endpoint(f"{item.address}{zone}", "")
        return None
    address = server.address or str(bound or LOOPBACK[family].network_address + (1 if family == IPV4 else 0))
    if family == IPV4 and any(limit in serving.lines for limit in LIMITS):
        # chronyd limits each address by itself, and all of 127.0.0.0/8 belongs to this host.
        for _try in range(8):
            source = LOOPBACK[IPV4].network_address + 2**16 + secrets.randbelow(2**23)
            if is_allowed(serving.rules, source):
                return Endpoint(address, str(source), True)
    loopback = ipaddress.ip_address("127.0.0.1" if family == IPV4 else "::1")
    sources = [loopback, *(item.address for item in own if not item.address.is_link_local)]
    return next((Endpoint(address, str(source)) for source in sources if is_allowed(serving.rules, source)), None)


def probe_chronyd(server: Server, name: str, certificates: str) -> Row:
    """Return the row of a probe of this chronyd for a name, which trusts the last of the certificates in PEM.

    That certificate replaces the root, which this host need not have. In addition to the row of nts_probe, `notes`
    states in sentences what the operator's own directives kept from a proof. `tls` is null where no probe was possible.
    """
    families = _open_families(server)
    problem = serving_obstacle(server, families)
    if problem:
        return _unprobed(server, problem)
    rows = []
    for family in families:
        row = _probe_family(server, family, name, certificates)
        if row is not None:
            if row["ok"]:
                return row
            rows.append(row)
    if not rows:
        return _unprobed(server, None)
    row = max(rows, key=lambda row: STAGES.index(row["stage"]))
    row["error"]["remedy"] = directive_remedy(server, row) or row["error"]["remedy"]
    return row


def serving_obstacle(server: Server, families: Sequence[int]) -> Optional[Obstacle]:
    """Return the directive or option with which chronyd serves no client; None where it can serve."""
    found = obstacle(server.serving)
    if found or families:
        return found
    closing = " ".join(option for option in server.options if option in ONLY)
    return Obstacle(f"chronyd's option {closing} closes the family of its clients", "take it out")


def _unprobed(server: Server, problem: Optional[Obstacle]) -> Row:
    row = {"ok": not problem, "stage": None, "error": None, "tls": None, "ke": None, "ntp": None, "notes": []}  # type: Row
    if problem:
        row["error"] = {"kind": "not_served", "cause": problem.cause, "remedy": problem.remedy}
        return row
    serving = server.serving
    what = f"`{serving.lines['binddevice']}`" if serving.device else "`allow` and `deny`"
    for item in server.addresses:
        rule = deciding_rule(serving.rules, item.address)
        if rule and not rule.allow and not (serving.device and item.device != serving.device):
            what = f"`{rule.line}`"
            break
    row["notes"] = [f"{NOT_PROBED}: {what} lets no request of this host through. Probe it from a client (nts_probe)."]
    return row


def _probe_family(server: Server, family: int, name: str, certificates: str) -> Optional[Row]:
    """Return the row of a probe over one address family; None where this host has no permitted source address.

    Repeat a probe that a rate limit or a busy chronyd may have dropped.
    """
    pauses = list(PAUSES_SECONDS)
    before = {}  # type: Dict[str, int]
    endpoint = _endpoint(server, family)
    if endpoint is not None and not endpoint.fresh and any(limit in server.serving.lines for limit in LIMITS):
        pauses = [*LIMITED_PAUSES_SECONDS, *pauses]
        before = server.dropped()
    while True:
        # Choose a new source for each probe, where fresh ones exist.
        endpoint = _endpoint(server, family)
        if endpoint is None:
            return None
        row = _probe_once(server, endpoint, name, certificates)
        if row["ok"] or not pauses or row["error"]["kind"] not in CLOSED + UNANSWERED:
            break
        if row["stage"] == "ntp":
            # An unanswered NTP request costs REPLY_SECONDS, so repeat it less often.
            pauses = pauses[-len(PAUSES_SECONDS) :]
        time.sleep(pauses.pop(0))
    return row if row["ok"] else _accept_operator_limits(server, endpoint, row, before)


def _probe_once(server: Server, endpoint: Endpoint, name: str, certificates: str) -> Row:
    serving = server.serving
    options = ProbeOptions(
        endpoint.address,
        name=name,
        ntsport=serving.ntsport,
        port=serving.port,
        trusted_certs_content=CERTIFICATE.findall(certificates)[-1],
        system_certs=False,
        # With `port 0`, ntsntpserver names the server that answers NTP instead of chronyd.
        last_stage=server.last_stage or ("ntp" if serving.port else "ke"),
        timeout=PATIENCE_SECONDS,
        # Further packets could exceed ratelimit.
        packets=1,
        source=endpoint.source,
        ntp_here=True,
        reply_timeout=REPLY_SECONDS,
    )
    # Without the library, the key exchange also offers AEADs that this host cannot use.
    row = Probe(options, None if server.last_stage == "ke" else gnutls.load()).run()
    server.note_probe(row)
    row["notes"] = []
    if row["ok"] and not row["ntp"]:
        reason = f"`{serving.lines['port']}`" if not serving.port else "this host lacks libgnutls.so.30"
        row["notes"] = [_ntp_unproven(reason)]
    elif not row["ok"] and row["error"]["kind"] == "ntp_unsynchronised":
        # The answer is authentic, which is the proof. Whether the server is synchronised does not matter here.
        row.update(ok=True, error=None)
    return row


def _ntp_unproven(reason: str) -> str:
    return f"chronyd made a key exchange, and was not proven to answer NTP: {reason}."


def _accept_operator_limits(server: Server, endpoint: Endpoint, row: Row, before: Dict[str, int]) -> Row:
    """Turn a failed probe into a passed one, with a note, where the operator's own directive explains the failure."""
    lines, kind = server.serving.lines, row["error"]["kind"]
    limit = "ntsratelimit" if kind in CLOSED else "ratelimit" if kind in UNANSWERED else ""
    note = ""
    if limit in lines and not endpoint.fresh and _has_dropped(server, before, LIMITS[limit]):
        note = f"`{lines[limit]}` drops the requests of {endpoint.source or endpoint.address}"
        note = _ntp_unproven(note) if limit == "ratelimit" else f"{NOT_PROBED}: {note}."
    elif row["stage"] == "ntp" and "ntsntpserver" in lines:
        note = _ntp_unproven(f"`{lines['ntsntpserver']}` names the server that does")
    if note:
        row.update(ok=True, error=None, notes=[note])
    return row


def _has_dropped(server: Server, before: Dict[str, int], counter: str) -> bool:
    now = server.dropped()
    # chronyc gets no report where the operator has closed the socket; then assume a drop.
    return counter not in now or counter not in before or now[counter] > before[counter]


def directive_remedy(server: Server, row: Row) -> str:
    """Return the remedy for the directive that prevents an answer; empty where no directive explains it."""
    serving, kind = server.serving, row["error"]["kind"]
    own = {item.address for item in server.addresses}
    if row["stage"] in ("dns", "tcp") or kind == "ntp_refused":
        for bound in serving.bound.values():
            if bound.address and bound.address not in own and not bound.address.is_loopback:
                return f"`{bound.line}` names no address of this host"
        if serving.device and serving.device not in {item.device for item in server.addresses}:
            return f"`{serving.lines['binddevice']}` names no interface of this host that has an address"
        lines = [serving.lines.get("port" if row["stage"] == "ntp" else "ntsport")]
        lines += [bound.line for bound in serving.bound.values()]
        return _inspect_lines(lines, "see whether another program has the port (ss -lntup)")
    if kind in CLOSED:
        lines = [serving.lines.get(name) for name in ("maxntsconnections", "ntsprocesses", "ntsratelimit")]
        return _inspect_lines(lines, "")
    if kind in UNANSWERED:
        otherwise = f"see whether another program has UDP port {serving.port} (ss -lntup), or a firewall drops it"
        return _inspect_lines([serving.lines.get("ratelimit"), serving.lines.get("port")], otherwise)
    return ""


def _inspect_lines(lines: Sequence[Optional[str]], otherwise: str) -> str:
    given = [f"`{line}`" for line in lines if line]
    return f"look at {' and '.join(given)}" if given else otherwise


def certificate_of(probe: Row) -> Optional[Row]:
    """Return the certificate that chronyd served, also where the probe refused it; None without one."""
    return probe["tls"]["certificates"][0] if probe["tls"] and probe["tls"]["certificates"] else None


def is_another(probe: Row, leaf: Row) -> bool:
    """Return whether chronyd serves another certificate than this one."""
    served = certificate_of(probe)
    return served is not None and served["fingerprint_sha256"] != leaf["fingerprint_sha256"]


def assert_served(server: Server, names: Sequence[str], certificates: str) -> List[str]:
    """Raise TransactionError unless chronyd serves the first of the certificates and answers NTP with its cookies.

    Return notes, in sentences, about what the operator's own directives kept from a proof.
    """
    probe = probe_chronyd(server, names[0], certificates)
    if is_another(probe, describe(pem_to_der(CERTIFICATE.findall(certificates)[0]))):
        raise TransactionError(f"chronyd serves another certificate for {names[0]} than the new one")
    if not probe["ok"]:
        error = probe["error"]
        raise TransactionError(f"chronyd serves no NTS for {names[0]} ({error['cause']}; {error['remedy']})")
    return list(probe["notes"])
