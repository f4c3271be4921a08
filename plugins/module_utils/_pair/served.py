# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. What chronyd on this host serves, asked by a key exchange as a client does it.

A file says nothing of it: chronyd reads its pairs once, at its start, and with one that it cannot use it runs on,
listens, and serves no NTS.
"""

import time
from typing import Any, Dict, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import Probe, ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import CERTIFICATE, describe, pem_to_der

Row = Dict[str, Any]

# A busy chronyd answers late, or closes a connection that is one too many (maxntsconnections): that says nothing of its
# pair, for which it must not be restarted.
PATIENCE_SECONDS = 30.0
CLOSED = ("tls_closed", "ke_closed")
PAUSES_SECONDS = (1.0, 2.0)


class Endpoint(NamedTuple):
    """Where this host asks itself."""

    address: str = "127.0.0.1"
    ntsport: int = 4460


def ask(place: Endpoint, name: str, certificates: str) -> Row:
    """Return what nts_probe says of a key exchange for this name; trusted is the last of the certificates in PEM.

    That one stands for the root, which need not be on this host.
    """
    question = ProbeOptions(
        place.address,
        name=name,
        ntsport=place.ntsport,
        trusted_certs_content=CERTIFICATE.findall(certificates)[-1],
        system_certs=False,
        last_stage="ke",
        timeout=PATIENCE_SECONDS,
    )
    for pause in PAUSES_SECONDS:
        probe = Probe(question, gnutls.load()).run()
        if probe["ok"] or probe["error"]["kind"] not in CLOSED:
            return probe
        time.sleep(pause)
    return Probe(question, gnutls.load()).run()


def certificate_of(probe: Row) -> Optional[Row]:
    """Return the server's certificate as it was served, also where it was refused; null if there was none."""
    return probe["tls"]["certificates"][0] if probe["tls"] and probe["tls"]["certificates"] else None


def is_another(probe: Row, leaf: Row) -> bool:
    """Say whether what is served is not this certificate."""
    served = certificate_of(probe)
    return served is not None and served["fingerprint_sha256"] != leaf["fingerprint_sha256"]


def assert_served(place: Endpoint, names: Sequence[str], certificates: str) -> None:
    """Raise TransactionError unless chronyd serves the first of the certificates in a key exchange."""
    probe = ask(place, names[0], certificates)
    if is_another(probe, describe(pem_to_der(CERTIFICATE.findall(certificates)[0]))):
        raise TransactionError(f"chronyd serves another certificate for {names[0]} than the new one")
    if not probe["ok"]:
        raise TransactionError(f"chronyd serves no NTS for {names[0]} ({probe['error']['cause']})")
