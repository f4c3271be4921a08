# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. What chronyd's log lines about failed NTS key exchanges mean, and what helps.

The reports show every failed key exchange alike; only the log tells them apart.
"""

import re
from typing import Iterable, List, NamedTuple, Optional, Tuple

# How long chronyd waits after the first failure, as a power of two in seconds (nts_ke.h); each further one doubles it.
AFTER_CONNECTING = 4
AFTER_TLS = 10
LONGEST_WAIT = 19

SERVER = r"(?P<address>\S+):(?P<port>\d+) \((?P<name>\S+)\)"
HANDSHAKE = rf"TLS handshake with {SERVER} failed : "
REFUSED_CERTIFICATE = "the key exchange was refused by the certificate check: "


class Meaning(NamedTuple):
    """What a line means, what helps, and how long chronyd waits after it."""

    pattern: str
    cause: str
    remedy: str
    wait: Optional[int]


class Failure(NamedTuple):
    """A failed key exchange in the log. Lines that name no source can be about any."""

    age_seconds: float
    text: str
    name: Optional[str]
    address: Optional[str]
    cause: str
    remedy: str
    wait: Optional[int]


MEANINGS = (
    Meaning(
        rf"Could not connect to {SERVER} : Connection refused",
        "the key exchange found no server: {address} refuses connections to TCP port {port}",
        "start the NTS-KE server there, open the port in its firewall, or correct ntsport",
        AFTER_CONNECTING,
    ),
    Meaning(
        rf"Could not connect to {SERVER} : Permission denied",
        "the security policy of this host does not let chronyd connect to TCP port {port}",
        "give the port its SELinux type (semanage port -a -t ntske_port_t -p tcp {port}) or use port 4460",
        AFTER_CONNECTING,
    ),
    Meaning(
        rf"Could not connect to {SERVER} : (?:No route to host|Network is unreachable)",
        "the key exchange did not get through: this host has no way to {address}",
        "mend the network or the route to it, or the firewall that rejects TCP port {port}",
        AFTER_CONNECTING,
    ),
    Meaning(
        rf"Could not connect to {SERVER} : ",
        "the key exchange could not connect to TCP port {port} of {address}",
        "look at the network between this host and the server",
        AFTER_CONNECTING,
    ),
    Meaning(
        rf"Could not connect to {SERVER}",
        "the key exchange could not even be started towards TCP port {port} of {address}",
        "look at the network of this host",
        None,
    ),
    Meaning(
        rf"NTS-KE session with {SERVER} timed out",
        "the key exchange was not answered within 16 s on TCP port {port} of {address}",
        "let TCP port {port} through every firewall on the way, and see that the NTS-KE server works",
        AFTER_CONNECTING,
    ),
    Meaning(
        rf"{HANDSHAKE}.*not yet valid certificate",
        REFUSED_CERTIFICATE + "by this host's clock the server's certificate is not yet valid",
        "set this host's clock roughly right (nocerttimecheck 1 does it for hosts that start with a wrong clock), or"
        " correct the certificate's dates",
        AFTER_TLS,
    ),
    Meaning(
        rf"{HANDSHAKE}.*expired certificate",
        REFUSED_CERTIFICATE + "by this host's clock the server's certificate has expired",
        "renew the certificate on the server and restart its chronyd (it loads certificates only at its start), or"
        " correct this host's clock if it is the one that is wrong",
        AFTER_TLS,
    ),
    Meaning(
        rf"{HANDSHAKE}.*name in the certificate does not match",
        REFUSED_CERTIFICATE + "the server's certificate is not for the name {name}",
        "name the source as the certificate does (subjectAltName), or have {name} added to the certificate",
        AFTER_TLS,
    ),
    Meaning(
        rf"{HANDSHAKE}.*certificate issuer is unknown",
        REFUSED_CERTIFICATE + "the issuer of the server's certificate is not trusted",
        "give chronyd the CA that signed it (ntstrustedcerts) or correct the server's certificate",
        AFTER_TLS,
    ),
    Meaning(
        rf"{HANDSHAKE}Error in the certificate verification",
        REFUSED_CERTIFICATE + "the server's certificate is not trusted",
        "correct the server's certificate, or the trusted certificates of this host (ntstrustedcerts)",
        AFTER_TLS,
    ),
    Meaning(
        rf"{HANDSHAKE}(?:The TLS connection was non-properly terminated|Error in the pull function)",
        "the server closed the key exchange at once",
        "look on the server whether it allows this host (allow), has a rate limit (ntsratelimit), and could load its"
        ' key and certificate (its log says "Could not set credentials" if not)',
        AFTER_CONNECTING,
    ),
    Meaning(
        rf"{HANDSHAKE}A TLS fatal alert",
        "the server ended the key exchange with a TLS alert",
        "see that TCP port {port} of {address} is an NTS-KE server with TLS 1.3",
        AFTER_TLS,
    ),
    Meaning(
        rf"{HANDSHAKE}An unexpected TLS packet",
        "what answers on TCP port {port} of {address} does not speak TLS",
        "correct the server's name or ntsport",
        AFTER_TLS,
    ),
    Meaning(
        HANDSHAKE,
        "the TLS handshake of the key exchange failed",
        "see that TCP port {port} of {address} is an NTS-KE server with TLS 1.3",
        AFTER_TLS,
    ),
    Meaning(
        rf"NTS-KE not supported by {SERVER}",
        "TCP port {port} of {address} is a TLS server that does not offer key exchanges for NTS (ntske/1)",
        "correct the server's name or ntsport",
        AFTER_TLS,
    ),
    Meaning(
        rf"Could not (?:send|receive) NTS-KE message (?:to|from) {SERVER}",
        "the connection broke in the middle of the key exchange",
        "look at the server's log, and at the network between this host and the server",
        AFTER_TLS,
    ),
    Meaning(
        rf"Received invalid NTS-KE message from {SERVER}",
        "the server's answer in the key exchange is malformed",
        "see that TCP port {port} of {address} is an NTS-KE server",
        AFTER_TLS,
    ),
    Meaning(
        r"Received invalid NTS-KE response from (?P<name>\S+)",
        "the server ended the key exchange with an error, without cookies, or with no algorithm that both have",
        "look at the server's log and AEAD algorithms (AES-SIV-CMAC-256, number 15, is the one that all must have)",
        AFTER_TLS,
    ),
    Meaning(
        r"Could not resolve NTP server (?P<ntp_server>\S+) from (?P<name>\S+)",
        "the key exchange succeeded, but the NTP server that it names, {ntp_server}, has no address",
        "correct ntsntpserver on the server, or the DNS",
        AFTER_TLS,
    ),
    Meaning(
        r"Could not change (?P<address>\S+) to negotiated address (?P<ntp_server>\S+)",
        "the key exchange succeeded, but the NTP server that it names, {ntp_server}, is already another source",
        "remove one of the two sources",
        AFTER_TLS,
    ),
    Meaning(
        r"Could not set credentials : ",
        "the key exchange was not even started: chronyd could not load the certificates that it shall trust",
        "make every file of ntstrustedcerts exist and readable for chronyd's user (one bad file fails all sources)",
        None,
    ),
    Meaning(
        r"Could not (?:create|set) TLS session : ",
        "the key exchange was not even started: GnuTLS refused the session",
        "look at this host's crypto policy",
        None,
    ),
    Meaning(
        r"Could not initialise priority cache for TLS : ",
        "the key exchange was not even started: this host's crypto policy forbids TLS 1.3",
        "allow TLS 1.3 in the crypto policy",
        None,
    ),
    Meaning(
        r"Missing AES-SIV-CMAC-256",
        "the key exchange was not even started: the crypto library of this host has no AES-SIV-CMAC-256",
        "NTS needs it; FIPS mode takes it away",
        None,
    ),
    Meaning(
        r"Missing name of IP for NTS-KE",
        "the key exchange was not even started: chrony 4.0 cannot check a certificate for an IP address",
        "name the source by the DNS name in its certificate, or install chrony 4.1 or newer",
        None,
    ),
    Meaning(
        r"Missing NTS support",
        "this chronyd is built without NTS and sends such a source nothing",
        "install a chronyd built with NTS (chronyd -v shows +NTS)",
        None,
    ),
)


def read_failures(lines: Iterable[Tuple[float, str]]) -> List[Failure]:
    """Return the failures among log lines (age in seconds, text), newest first."""
    failures = []
    for age_seconds, text in lines:
        for meaning in MEANINGS:
            match = re.match(meaning.pattern, text)
            if match:
                found = match.groupdict()
                address = found.get("address")
                failures.append(
                    Failure(
                        age_seconds,
                        text.strip(),
                        found.get("name"),
                        address.strip("[]") if address else None,
                        meaning.cause.format(**found),
                        meaning.remedy.format(**found),
                        meaning.wait,
                    )
                )
                break
    return sorted(failures, key=lambda failure: failure.age_seconds)


def seconds_to_next_attempt(failure: Failure, attempts: int) -> Optional[float]:
    """Return about how long chronyd will still wait after a failure, counting the failed attempts before it."""
    if failure.wait is None:
        return None
    return max(0.0, 2.0 ** min(failure.wait + max(attempts, 1) - 1, LONGEST_WAIT) - failure.age_seconds)
