# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Causes and remedies of failed key exchanges and of failed authenticated NTP requests.

The reader of chronyd's log and the probe share this table, so that they report the same fault with the same words.
"""

from typing import NamedTuple

REFUSED_CERTIFICATE = "the key exchange was refused by the certificate check: "
UNANSWERED = "the key exchange succeeded, but none of {number} NTP requests to {ntp_server}"


class Cause(NamedTuple):
    """The cause of a fault and its remedy.

    Both are format strings for name, address, port, ntp_server, seconds, number and detail.
    """

    cause: str
    remedy: str


class NtsError(Exception):
    """A fault of NTS. kind is a key of CAUSES; detail is the value that was wrong, or a library's error text."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


CAUSES = {
    "refused": Cause(
        "the key exchange found no server: {address} refuses connections to TCP port {port}",
        "start the NTS-KE server there, open the port in its firewall, or correct ntsport",
    ),
    "denied": Cause(
        "the security policy of this host forbids connections to TCP port {port}",
        "give the port its SELinux type (semanage port -a -t ntske_port_t -p tcp {port}) or use port 4460",
    ),
    "unreachable": Cause(
        "the key exchange did not get through: this host has no way to {address}",
        "repair the network or the route to it, or change the firewall that rejects TCP port {port}",
    ),
    "not_connected": Cause(
        "the key exchange could not connect to TCP port {port} of {address}",
        "look at the network between this host and the server",
    ),
    "not_started": Cause(
        "the key exchange could not even be started towards TCP port {port} of {address}",
        "look at the network of this host",
    ),
    "timed_out": Cause(
        "the key exchange was not answered within {seconds} s on TCP port {port} of {address}",
        "let TCP port {port} through every firewall on the way, and see that the NTS-KE server works",
    ),
    "certificate_not_yet_valid": Cause(
        REFUSED_CERTIFICATE + "by this host's clock the server's certificate is not yet valid",
        "set this host's clock roughly right (nocerttimecheck 1 does it for hosts that start with a wrong clock), or"
        " correct the certificate's dates",
    ),
    "certificate_expired": Cause(
        REFUSED_CERTIFICATE + "by this host's clock the server's certificate has expired",
        "renew the certificate on the server and restart its chronyd (it loads certificates only at its start), or"
        " correct this host's clock if it is the one that is wrong",
    ),
    "certificate_name": Cause(
        REFUSED_CERTIFICATE + "the server's certificate is not for the name {name}",
        "name the source as the certificate does (subjectAltName), or have {name} added to the certificate",
    ),
    "certificate_issuer": Cause(
        REFUSED_CERTIFICATE + "the issuer of the server's certificate is not trusted",
        "give chronyd the CA that signed it (ntstrustedcerts) or correct the server's certificate",
    ),
    "certificate_refused": Cause(
        REFUSED_CERTIFICATE + "the server's certificate is not trusted",
        "correct the server's certificate, or the trusted certificates of this host (ntstrustedcerts)",
    ),
    "tls_closed": Cause(
        "the server closed the key exchange at once",
        "look on the server whether it allows this host (allow), has a rate limit (ntsratelimit), and could load its"
        ' key and certificate (its log says "Could not set credentials" if not)',
    ),
    "tls_alert": Cause(
        "the server ended the key exchange with a TLS alert",
        "see that TCP port {port} of {address} is an NTS-KE server with TLS 1.3",
    ),
    "not_tls": Cause(
        "what answers on TCP port {port} of {address} does not speak TLS",
        "correct the server's name or ntsport",
    ),
    "tls_failed": Cause(
        "the TLS handshake of the key exchange failed",
        "see that TCP port {port} of {address} is an NTS-KE server with TLS 1.3",
    ),
    "alpn": Cause(
        "TCP port {port} of {address} is a TLS server that does not offer key exchanges for NTS (ntske/1)",
        "correct the server's name or ntsport",
    ),
    "ke_closed": Cause(
        "the connection broke in the middle of the key exchange",
        "look at the server's log, and at the network between this host and the server",
    ),
    "ke_malformed": Cause(
        "the server's answer in the key exchange is malformed",
        "see that TCP port {port} of {address} is an NTS-KE server",
    ),
    "ke_invalid": Cause(
        "the server ended the key exchange with an error, without cookies, or with no algorithm that both have",
        "look at the server's log and AEAD algorithms (AES-SIV-CMAC-256, number 15, is the one that all must have)",
    ),
    "ntp_unresolved": Cause(
        "the key exchange succeeded, but the NTP server that it names, {ntp_server}, has no address",
        "correct ntsntpserver on the server, or the DNS",
    ),
    "ntp_duplicate": Cause(
        "the key exchange succeeded, but the NTP server that it names, {ntp_server}, is already another source",
        "remove one of the two sources",
    ),
    "trust": Cause(
        "the key exchange was not even started: the certificates that are to be trusted cannot be loaded ({detail})",
        "make every file of ntstrustedcerts exist and readable for chronyd's user (one bad file fails all sources)",
    ),
    "credentials": Cause(
        "the key exchange was not even started: chronyd could not load its certificates",
        "make every file of ntstrustedcerts exist and readable for chronyd's user (one bad file fails all sources); on"
        " a server look at ntsservercert and ntsserverkey, too",
    ),
    "tls_session": Cause(
        "the key exchange was not even started: GnuTLS refused the session",
        "look at this host's crypto policy",
    ),
    "tls_policy": Cause(
        "the key exchange was not even started: this host's crypto policy forbids TLS 1.3",
        "allow TLS 1.3 in the crypto policy",
    ),
    "no_siv": Cause(
        "the key exchange was not even started: the crypto library of this host has no AES-SIV-CMAC-256",
        "NTS needs it; FIPS mode takes it away",
    ),
    "no_aead": Cause(
        "the key exchange was not even started: the crypto library of this host has no AEAD algorithm to offer"
        " ({detail})",
        "offer 15 (AES-SIV-CMAC-256), which all implementations must have; FIPS mode takes it away",
    ),
    "no_name": Cause(
        "the key exchange was not even started: chrony 4.0 cannot check a certificate for an IP address",
        "name the source by the DNS name in its certificate, or install chrony 4.1 or newer",
    ),
    "no_nts": Cause(
        "this chronyd is built without NTS and sends such a source nothing",
        "install a chronyd built with NTS (chronyd -v shows +NTS)",
    ),
    "unresolved": Cause("the name {name} has no address ({detail})", "correct the name, or enter it in the DNS"),
    "resolver_failed": Cause(
        "the DNS gave no answer about {name} ({detail})", "look at this host's resolver and its way to the DNS"
    ),
    "tls_timed_out": Cause(
        "TCP port {port} of {address} accepts connections, but the TLS handshake was not finished within {seconds} s",
        "look whether the NTS-KE server hangs or is overloaded, and for a firewall that answers in its place",
    ),
    "tls_version": Cause(
        "TCP port {port} of {address} does not offer TLS 1.3, which NTS needs",
        "correct the server's name or ntsport, or the crypto policy of the server",
    ),
    "certificate_unexpected": Cause(
        "the server's certificate is not the expected one ({detail})",
        "restart the server's chronyd if it was renewed (it loads certificates only at its start), or see who answers"
        " there",
    ),
    "certificate_expires_soon": Cause(
        "the server's certificate expires too soon ({detail})",
        "renew it on the server and restart its chronyd (it loads certificates only at its start)",
    ),
    "ke_timed_out": Cause(
        "the TLS session was established, but the key exchange was not answered within {seconds} s",
        "look whether the NTS-KE server hangs or is overloaded",
    ),
    "ke_too_long": Cause(
        "the server's answer in the key exchange is longer than chronyd accepts ({detail})",
        "see that TCP port {port} of {address} is an NTS-KE server, and look for a newer version of it",
    ),
    "ke_critical_record": Cause(
        "the server's answer has a critical record that chronyd does not know ({detail}), so that it must give up",
        "look at the settings of the server",
    ),
    "ke_error": Cause(
        "the server refused the key exchange: {detail}",
        "look at the log of the server",
    ),
    "ke_no_protocol": Cause(
        "the server does not offer authenticated NTPv4: {detail}",
        "correct the server's name or ntsport, or look at the settings of the server",
    ),
    "ke_no_aead": Cause(
        "the server has no AEAD algorithm in common with the client: {detail}",
        "allow 15 (AES-SIV-CMAC-256), which all implementations must have, on both sides (ntsaeads)",
    ),
    "ke_no_cookies": Cause(
        "the key exchange succeeded, but brought no cookie that chronyd could use ({detail})",
        "look at the log of the server",
    ),
    "ntp_unanswered": Cause(
        UNANSWERED + " was answered",
        "let that port through every firewall on the way (NTS packets are longer than plain ones, and some networks"
        " drop them), and see that the server's chronyd allows this host (allow)",
    ),
    "ntp_refused": Cause(
        UNANSWERED + " found a server there",
        "start the NTP server, or correct the port that the server or its key exchange names",
    ),
    "ntp_nak": Cause(
        "the server gave cookies, and refused them a moment later (NTS NAK)",
        "let the NTS-KE server and the NTP server have the same keys (ntskeys in ntsdumpdir, ntsrotate 0)",
    ),
    "ntp_kiss": Cause(
        "the server refuses requests of this host (kiss code {detail})",
        "look at the server's rate limit (ratelimit) and access (allow)",
    ),
    "ntp_not_authentic": Cause(
        "the answers of UDP port {port} of {address} are not authentic ({detail})",
        "see whether it is the NTP server to which the key exchange belongs, and whether something on the way changes"
        " the packets; do not believe their time",
    ),
    "chronyd_failed": Cause(
        "chronyd could not set its clock by the server: {detail}",
        "look at what it says; it reads the trusted certificates within its confinement (AppArmor, SELinux)",
    ),
    "ntp_unsynchronised": Cause(
        "its answers are authenticated, but the server says that its own clock is not synchronised",
        "look at the sources of that server",
    ),
    "ntp_stratum": Cause(
        "its answers are authenticated, but its stratum is 16 or more, which NTP takes for not synchronised",
        "look at the sources of that server: one that serves its own clock with a high stratum (local stratum 15), a"
        " chain of servers that is too long, or the option minstratum",
    ),
}
