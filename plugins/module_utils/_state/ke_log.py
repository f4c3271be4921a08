# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Causes and remedies of failed NTS key exchanges, from the lines of chronyd's log.

chronyc's reports show every failed key exchange alike. Only the log has the cause.
"""

import re
from typing import Iterable, List, NamedTuple, Optional, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import CAUSES

# chronyd's wait after the first failure, as a power of two in seconds (nts_ke.h). Each further failure doubles it.
AFTER_CONNECTING = 4
AFTER_TLS = 10
LONGEST_WAIT = 19
# nts_ke_client.c: CLIENT_TIMEOUT
SESSION_TIMEOUT = 16

SERVER = r"(?P<address>\S+):(?P<port>\d+) \((?P<name>\S+)\)"
HANDSHAKE = rf"TLS handshake with {SERVER} failed : "


class Meaning(NamedTuple):
    """The kind (a key of causes.CAUSES) of the lines of a pattern, and chronyd's wait as a power of two in seconds."""

    pattern: str
    kind: str
    wait: Optional[int]


class Failure(NamedTuple):
    """A failed key exchange in the log. A line without name and address may belong to any source."""

    age_seconds: float
    text: str
    name: Optional[str]
    address: Optional[str]
    cause: str
    remedy: str
    wait: Optional[int]


MEANINGS = (
    Meaning(rf"Could not connect to {SERVER} : Connection refused", "refused", AFTER_CONNECTING),
    Meaning(rf"Could not connect to {SERVER} : Permission denied", "denied", AFTER_CONNECTING),
    Meaning(
        rf"Could not connect to {SERVER} : (?:No route to host|Network is unreachable)", "unreachable", AFTER_CONNECTING
    ),
    Meaning(rf"Could not connect to {SERVER} : ", "not_connected", AFTER_CONNECTING),
    Meaning(rf"Could not connect to {SERVER}", "not_started", None),
    Meaning(rf"NTS-KE session with {SERVER} timed out", "timed_out", AFTER_CONNECTING),
    Meaning(rf"{HANDSHAKE}.*not yet valid certificate", "certificate_not_yet_valid", AFTER_TLS),
    Meaning(rf"{HANDSHAKE}.*expired certificate", "certificate_expired", AFTER_TLS),
    Meaning(rf"{HANDSHAKE}.*name in the certificate does not match", "certificate_name", AFTER_TLS),
    Meaning(rf"{HANDSHAKE}.*certificate issuer is unknown", "certificate_issuer", AFTER_TLS),
    Meaning(rf"{HANDSHAKE}Error in the certificate verification", "certificate_refused", AFTER_TLS),
    Meaning(
        rf"{HANDSHAKE}(?:The TLS connection was non-properly terminated|Error in the pull function)",
        "tls_closed",
        AFTER_CONNECTING,
    ),
    Meaning(rf"{HANDSHAKE}A TLS fatal alert", "tls_alert", AFTER_TLS),
    Meaning(rf"{HANDSHAKE}An unexpected TLS packet", "not_tls", AFTER_TLS),
    Meaning(HANDSHAKE, "tls_failed", AFTER_TLS),
    Meaning(rf"NTS-KE not supported by {SERVER}", "alpn", AFTER_TLS),
    Meaning(rf"Could not (?:send|receive) NTS-KE message (?:to|from) {SERVER}", "ke_closed", AFTER_TLS),
    Meaning(rf"Received invalid NTS-KE message from {SERVER}", "ke_malformed", AFTER_TLS),
    Meaning(r"Received invalid NTS-KE response from (?P<name>\S+)", "ke_invalid", AFTER_TLS),
    Meaning(r"Could not resolve NTP server (?P<ntp_server>\S+) from (?P<name>\S+)", "ntp_unresolved", AFTER_TLS),
    Meaning(r"Could not change (?P<address>\S+) to negotiated address (?P<ntp_server>\S+)", "ntp_duplicate", AFTER_TLS),
    Meaning(r"Could not set credentials : ", "credentials", None),
    Meaning(r"Could not (?:create|set) TLS session : ", "tls_session", None),
    Meaning(r"Could not initialise priority cache for TLS : ", "tls_policy", None),
    Meaning(r"Missing AES-SIV-CMAC-256", "no_siv", None),
    Meaning(r"Missing name of (?P<address>\S+) for NTS-KE", "no_name", None),
    Meaning(r"Missing NTS support", "no_nts", None),
)


# Most lines of a log have another subject. This prefix check skips them, because compiling a pattern takes up to 1 ms.
BEGINNINGS = ("Could not ", "NTS-KE ", "TLS handshake with ", "Received invalid NTS-KE ", "Missing ")


def read_failures(lines: Iterable[Tuple[float, str]]) -> List[Failure]:
    """Return the failures among log lines (age in seconds, text), newest first."""
    failures = []
    for age_seconds, text in lines:
        for meaning in MEANINGS if text.startswith(BEGINNINGS) else ():
            match = re.match(meaning.pattern, text)
            if match:
                found = match.groupdict()
                address = found.get("address")
                cause, remedy = CAUSES[meaning.kind]
                failures.append(
                    Failure(
                        age_seconds,
                        text.strip(),
                        found.get("name"),
                        address.strip("[]") if address else None,
                        cause.format(**found, seconds=SESSION_TIMEOUT),
                        remedy.format(**found),
                        meaning.wait,
                    )
                )
                break
    return sorted(failures, key=lambda failure: failure.age_seconds)


def seconds_to_next_attempt(failure: Failure, attempts: int) -> Optional[float]:
    """Return chronyd's remaining wait in seconds, about, after so many attempts; None if its length is unknown."""
    if failure.wait is None:
        return None
    return max(0.0, 2.0 ** min(failure.wait + max(attempts, 1) - 1, LONGEST_WAIT) - failure.age_seconds)
