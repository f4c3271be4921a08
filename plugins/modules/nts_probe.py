#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_probe
short_description: Ask an NTS server as a client would, and say what is wrong
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Goes the way of a client of RFC 8915, in five stages. V(dns) finds the addresses, V(tcp) connects, V(tls) makes a
    TLS 1.3 session and checks the certificate, V(ke) makes the key exchange, and V(ntp) sends authenticated NTP
    requests and checks the answers.
  - Stops at the first stage that fails, with the kind of the fault, its cause and what helps.
  - Replaces C(nc -z) and C(openssl s_client), which find an NTS server well that serves no NTS, for example because it
    cannot read its key.
  - Only asks. It sets no clock, and needs neither chrony nor root.
attributes:
  action:
    description: Has a plugin on the controller, which takes no other facts of the host than are documented.
    support: full
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: Never changes anything.
    support: none
  platform:
    description: Any with Python 3.6 or newer. The last stage needs GnuTLS (libgnutls.so.30), or chronyd.
    support: full
    platforms: posix
options:
  server:
    description: The server for key exchanges, by name or address, as in chrony's directive C(server).
    type: str
    required: true
  name:
    description: The name or address that its certificate must carry. By default that in O(server).
    type: str
  ntsport:
    description: The TCP port for key exchanges.
    type: int
    default: 4460
  port:
    description: The UDP port for NTP, if the key exchange does not name another.
    type: int
    default: 123
  family:
    description: Which addresses of the server to use.
    type: str
    choices: [any, ipv4, ipv6]
    default: any
  trusted_certs:
    description:
      - Files with certificates in PEM whom to trust, or folders of such files, as in chrony's directive
        C(ntstrustedcerts). A file that is missing is a fault, as it is for chronyd.
    type: list
    elements: path
    default: []
  trusted_certs_content:
    description: Certificates in PEM whom to trust, besides those in O(trusted_certs).
    type: str
    default: ""
  system_certs:
    description: Trust the certificates of the system, too. V(false) is chrony's directive C(nosystemcert).
    type: bool
    default: true
  check_dates:
    description:
      - Refuse certificates that have expired or are not yet valid by this host's clock. V(false) is for hosts whose
        clock is not set, as chrony's directive C(nocerttimecheck) is.
    type: bool
    default: true
  aeads:
    description:
      - The AEAD algorithms to offer, the preferred one first. V(15) is AES-SIV-CMAC-256, V(30) is AES-128-GCM-SIV. As
        chronyd, the probe offers only those that its cryptographic library has.
    type: list
    elements: int
    choices: [15, 30]
    default: [30, 15]
  expected_serial:
    description: The serial number of the certificate that must be served, in hexadecimal.
    type: str
  expected_fingerprint:
    description: The SHA-256 fingerprint of the certificate that must be served, in hexadecimal.
    type: str
  min_remaining_days:
    description: For how many days the served certificate must be valid.
    type: float
  packets:
    description: How many authenticated NTP requests to send. One that is answered is enough.
    type: int
    default: 3
  timeout:
    description: How many seconds each of the stages may take. In the last one each request may take half of it.
    type: float
    default: 5.0
  last_stage:
    description: Stop after this stage.
    type: str
    choices: [dns, tcp, tls, ke, ntp]
    default: ntp
  method:
    description:
      - V(auto) uses GnuTLS where it is there, and otherwise Python's C(ssl), with which the last stage is skipped and a
        warning says so.
      - V(gnutls) and V(ssl) use that library or fail. C(ssl) shows only the first certificate of the chain before
        Python 3.13.
      - V(chronyd) lets C(chronyd -Q) do the last stage, which sets no clock. It needs root, and certificates in
        O(trusted_certs) rather than O(trusted_certs_content).
    type: str
    choices: [auto, gnutls, ssl, chronyd]
    default: auto
  fail_on_error:
    description: Fail when the probe does. With V(false) look at RV(ok) and RV(error).
    type: bool
    default: true
notes:
  - Every offset has one direction, as in M(securetime.nts.chronyc_facts). A positive offset means that this host's
    clock is ahead.
seealso:
  - module: securetime.nts.chronyc_facts
"""

EXAMPLES = r"""
- name: Does the server serve NTS, as this host sees it?
  securetime.nts.nts_probe:
    server: time.cloudflare.com

- name: Does our own server serve the new certificate?
  securetime.nts.nts_probe:
    server: nts1.example.com
    trusted_certs: [/etc/chrony/nts/root-ca.pem]
    expected_serial: "{{ new.serial }}"
    min_remaining_days: 30

- name: Look at a server without failing
  securetime.nts.nts_probe:
    server: nts1.example.com
    fail_on_error: false
  register: probe

- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ probe.error.cause }}; {{ probe.error.remedy }}"
  when: not probe.ok
"""

RETURN = r"""
ok:
  description: Whether every stage that was asked for went well. A skipped one does not count.
  type: bool
  returned: always
stage:
  description: The stage at which the probe ended.
  type: str
  returned: always
error:
  description: What is wrong. Null where nothing is.
  type: dict
  returned: always
  contains:
    stage:
      description: The stage that failed.
      type: str
    kind:
      description:
        - The kind of the fault, by its stage.
        - "dns: V(unresolved), V(resolver_failed)."
        - "tcp: V(refused), V(timed_out), V(unreachable), V(denied), V(not_connected)."
        - "tls: V(tls_closed), V(tls_timed_out), V(not_tls), V(tls_version), V(tls_alert), V(tls_failed),
          V(tls_policy), V(alpn), V(trust), V(certificate_issuer), V(certificate_name), V(certificate_expired),
          V(certificate_not_yet_valid), V(certificate_refused), V(certificate_unexpected),
          V(certificate_expires_soon)."
        - "ke: V(ke_closed), V(ke_timed_out), V(ke_too_long), V(ke_malformed), V(ke_critical_record), V(ke_error),
          V(ke_no_protocol), V(ke_no_aead), V(ke_no_cookies), V(no_aead)."
        - "ntp: V(ntp_unresolved), V(ntp_unanswered), V(ntp_refused), V(ntp_nak), V(ntp_kiss), V(ntp_not_authentic),
          V(ntp_unsynchronised), V(ntp_stratum), V(chronyd_failed)."
      type: str
      sample: certificate_expired
    cause:
      description: What is wrong, in words.
      type: str
    remedy:
      description: What helps.
      type: str
    detail:
      description: What the library or the answer said.
      type: str
stages:
  description: Of each stage, by its name, how it ended and how long it took.
  type: dict
  returned: always
  contains:
    dns:
      description: The first stage. The others are described alike.
      type: dict
      contains:
        state:
          description: V(ok), V(failed), V(skipped) or V(not_reached).
          type: str
        duration_seconds:
          description: How many seconds it took. Null where it was not reached.
          type: float
    tcp:
      description: The connection.
      type: dict
    tls:
      description: The TLS session.
      type: dict
    ke:
      description: The key exchange.
      type: dict
    ntp:
      description: The authenticated NTP requests.
      type: dict
addresses:
  description: The addresses of the server, in the order in which they were tried.
  type: list
  elements: dict
  returned: always
  contains:
    address:
      description: An IP address.
      type: str
    error:
      description: The kind of fault for which it was passed over. Null for the one that was used, and those after it.
      type: str
address:
  description: The address that accepted the connection. Null where none did.
  type: str
  returned: always
tls:
  description: The TLS session. Null before it is there.
  type: dict
  returned: always
  contains:
    library:
      description: What made the session, with its version.
      type: str
      sample: GnuTLS 3.8.9
    version:
      description: The version of TLS.
      type: str
      sample: TLS1.3
    group:
      description: The group of the key agreement. Null where the library does not tell.
      type: str
      sample: X25519
    alpn:
      description: The application protocol that the server chose. Null if none.
      type: str
      sample: ntske/1
    certificates:
      description: What the server sent, its own certificate first. Also certificates that are refused.
      type: list
      elements: dict
      contains:
        subject:
          description: The name of the holder.
          type: str
        subject_alt_names:
          description: The names and addresses that the certificate is for.
          type: list
          elements: str
          sample: ["DNS:nts1.example.com", "IP Address:192.0.2.1"]
        issuer:
          description: The name of who signed it.
          type: str
        serial:
          description: Its number, in hexadecimal.
          type: str
        not_before:
          description: From when it is valid, in UTC.
          type: str
          sample: "2026-11-23T00:00:00Z"
        not_after:
          description: Until when it is valid, in UTC.
          type: str
        fingerprint_sha256:
          description: The SHA-256 digest of the certificate, in hexadecimal.
          type: str
        key_type:
          description: The type of its key.
          type: str
          sample: ECDSA P-256
ke:
  description: What was agreed on in the key exchange. Null before it has succeeded.
  type: dict
  returned: always
  contains:
    aead:
      description: The number of the AEAD algorithm.
      type: int
    aead_name:
      description: Its name.
      type: str
    cookies:
      description: How many cookies came that can be used.
      type: int
    cookie_length_bytes:
      description: The length of a cookie in bytes.
      type: int
    server:
      description: The NTP server that it names. Null if it is the same.
      type: str
    port:
      description: The UDP port that it names. Null if none.
      type: int
    compliant_export:
      description: Whether the server says that it derives the keys of AEAD 30 as RFC 8915 does (chrony 4.6.1 or newer).
      type: bool
    ignored_records:
      description: The types of records that are not known here and not critical.
      type: list
      elements: int
ntp:
  description: What the NTP requests brought. Null before they were sent.
  type: dict
  returned: always
  contains:
    method:
      description: What sent them, V(gnutls) for this program or V(chronyd), of which only the offset is known.
      type: str
    address:
      description: The address of the NTP server.
      type: str
    port:
      description: Its UDP port.
      type: int
    sent:
      description: How many requests were sent.
      type: int
    received:
      description: How many authenticated answers came.
      type: int
    discarded:
      description: How many packets came that were no authenticated answers.
      type: int
    nak:
      description: Whether the server refused a cookie (NTS NAK). That answer cannot be authenticated.
      type: bool
    offset_seconds:
      description:
        - By how many seconds this host's clock is ahead, by the answer with the shortest delay. Null where the server's
          own clock is not synchronised.
      type: float
    delay_seconds:
      description: How many seconds that request and its answer were under way.
      type: float
    leap:
      description: The leap indicator, 0 to 3. It is 3 where the server's own clock is not synchronised.
      type: int
    stratum:
      description: The stratum of the server.
      type: int
    reference_id:
      description: The reference ID of the server, hexadecimal, or in letters for stratum 1.
      type: str
    root_delay_seconds:
      description: The delay from the server to its reference, in seconds.
      type: float
    root_dispersion_seconds:
      description: The dispersion of the server's clock, in seconds.
      type: float
    fresh_cookies:
      description: How many fresh cookies the answers brought.
      type: int
warnings:
  description: What is not wrong, but unwise.
  type: list
  elements: str
  returned: when there are some
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import STAGES, Probe, ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd


def main() -> None:
    """Probe the server."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "name": {"type": "str"},
            "ntsport": {"type": "int", "default": 4460},
            "port": {"type": "int", "default": 123},
            "family": {"type": "str", "choices": ["any", "ipv4", "ipv6"], "default": "any"},
            "trusted_certs": {"type": "list", "elements": "path", "default": []},
            "trusted_certs_content": {"type": "str", "default": ""},
            "system_certs": {"type": "bool", "default": True},
            "check_dates": {"type": "bool", "default": True},
            "aeads": {"type": "list", "elements": "int", "choices": [15, 30], "default": [30, 15]},
            "expected_serial": {"type": "str"},
            "expected_fingerprint": {"type": "str"},
            "min_remaining_days": {"type": "float"},
            "packets": {"type": "int", "default": 3},
            "timeout": {"type": "float", "default": 5.0},
            "last_stage": {"type": "str", "choices": list(STAGES), "default": "ntp"},
            "method": {"type": "str", "choices": ["auto", "gnutls", "ssl", "chronyd"], "default": "auto"},
            "fail_on_error": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    question = ProbeOptions(**{name: value for name, value in module.params.items() if name in ProbeOptions._fields})
    method = module.params["method"]
    library = None if method == "ssl" else gnutls.load()
    chronyd = find_chronyd() if method == "chronyd" else None
    for wrong, message in (
        (not 1 <= question.packets <= 8, "packets must be 1 to 8: a key exchange brings eight cookies."),
        (question.timeout <= 0, "timeout must be more than 0 seconds."),
        (not question.aeads, "aeads must name an algorithm."),
        (not 1 <= question.ntsport <= 65535, "ntsport must be 1 to 65535."),
        (not 1 <= question.port <= 65535, "port must be 1 to 65535."),
        (
            method == "gnutls" and library is None,
            "libgnutls.so.30 is not on this host; install it or use another method.",
        ),
        (method == "chronyd" and chronyd is None, "chronyd is not on this host; install it or use another method."),
        (
            method == "chronyd" and question.trusted_certs_content,
            "The method chronyd reads files: use trusted_certs rather than trusted_certs_content.",
        ),
    ):
        if wrong:
            module.fail_json(msg=message)
    result = Probe(question, library, chronyd).run()
    for warning in result.pop("warnings"):
        module.warn(warning)
    error = result["error"]
    if error and module.params["fail_on_error"]:
        module.fail_json(msg=f"{question.server}, {error['stage']}: {error['cause']}; {error['remedy']}.", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
