# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a CSR, and every deviation that the controller must refuse before it signs one."""

import base64
import datetime
import re
from ipaddress import ip_network

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.backends import default_backend
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from ansible_collections.securetime.nts.plugins.module_utils._x509 import issue, request

ISSUING = request.issuing_request(["nts1.example.org", "192.0.2.1"], "nts1")
LEAF = request.leaf_request(["nts1.example.org", "192.0.2.1"], "ECDSA P-256")
KEY = request.new_key("ECDSA P-256")
STOLEN = "time.cloudflare.com"


def csr(wanted=ISSUING, extensions=None, subject=None, key=KEY, attribute=None):
    """Return a CSR in PEM for a request; the other arguments replace parts of it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        request.subject(wanted) if subject is None else subject
    )
    for value, critical in request.extensions(wanted) if extensions is None else extensions:
        builder = builder.add_extension(value, critical=critical)
    if attribute:
        builder = builder.add_attribute(*attribute)
    signed = builder.sign(request.load_key(key), hashes.SHA256(), default_backend())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def instead(kind, value, critical=True, wanted=ISSUING):
    """Return the extensions of a request with one of them replaced; leave it out where value is None."""
    kept = [(found, is_critical) for found, is_critical in request.extensions(wanted) if not isinstance(found, kind)]
    return kept if value is None else [*kept, (value, critical)]


def constraints(permitted, excluded):
    return x509.NameConstraints(permitted, excluded)


def usage(*names):
    return x509.KeyUsage(**{name: name in names for name in request.KEY_USAGES})


def rejected_csrs():
    """Yield the name of each deviation, the CSR, and a part of the problem that the controller reports."""
    # Long: one table of all deviations, which is read as a whole.
    found = {type(value): value for value, _critical in request.extensions(ISSUING)}
    own = found[x509.NameConstraints]
    yield "no constraints", csr(extensions=instead(x509.NameConstraints, None)), "lacks the extension nameConstraints"
    wider = constraints([*own.permitted_subtrees, x509.DNSName(STOLEN)], own.excluded_subtrees)
    yield "another name", csr(extensions=instead(x509.NameConstraints, wider)), "extension nameConstraints is"
    every = constraints(None, [x509.IPAddress(ip_network("::/0"))])
    yield "no permitted names", csr(extensions=instead(x509.NameConstraints, every)), "extension nameConstraints is"
    yield (
        "constraints that may be ignored",
        csr(extensions=instead(x509.NameConstraints, own, critical=False)),
        "nameConstraints is not critical",
    )
    longer = x509.BasicConstraints(ca=True, path_length=None)
    yield "no path length", csr(extensions=instead(x509.BasicConstraints, longer)), "extension basicConstraints is"
    longer = x509.BasicConstraints(ca=True, path_length=1)
    yield "a CA below", csr(extensions=instead(x509.BasicConstraints, longer)), "extension basicConstraints is"
    more = usage("key_cert_sign", "crl_sign", "digital_signature")
    yield "another use of the key", csr(extensions=instead(x509.KeyUsage, more)), "extension keyUsage is"
    more = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING])
    yield (
        "another purpose",
        csr(extensions=instead(x509.ExtendedKeyUsage, more, critical=False)),
        "extension extendedKeyUsage is",
    )
    yield "no purpose", csr(extensions=instead(x509.ExtendedKeyUsage, None)), "lacks the extension extendedKeyUsage"
    name = (x509.SubjectAlternativeName([x509.DNSName(STOLEN)]), False)
    yield (
        "a name of its own",
        csr(extensions=[*request.extensions(ISSUING), name]),
        "unexpected extension subjectAltName",
    )
    policy = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), False)
    yield (
        "an unknown extension",
        csr(extensions=[*request.extensions(ISSUING), policy]),
        "extension 1.3.6.1.4.1.99999.1.",
    )
    yield "another subject", csr(subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])), "CN=root"
    two = [*request.subject(ISSUING), x509.NameAttribute(NameOID.COMMON_NAME, STOLEN)]
    yield "a second common name", csr(subject=x509.Name(two)), "Its subject is"
    yield "another key type", csr(key=request.new_key("RSA 2048")), "key is RSA 2048 instead of ECDSA P-256"
    yield "another curve", csr(key=request.new_key("ECDSA P-384")), "key is ECDSA P-384 instead of ECDSA P-256"
    yield "somebody else's key", with_other_key(csr()), "not signed by the key"
    yield "a leaf", csr(LEAF), "instead of CN=NTS issuing CA of nts1"
    yield "no CSR", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"
    yield "a certificate", issue.self_sign(ISSUING, KEY, 1), "cannot be read"
    yield "nothing", "", "cannot be read"
    # The names read alike, but have different string types (UTF8String, IA5String).
    name = ISSUING.common_name.encode()
    head, other_head = (bytes([tag, len(name)]) + name for tag in (0x0C, 0x16))
    yield "another form of text", with_bytes(csr(), KEY, other_head, head), "encoding is not the one"
    in_another_order = csr(extensions=list(reversed(request.extensions(ISSUING))))
    yield "another order", in_another_order, "encoding is not the one"
    yield "a flood", csr() + "x" * 70000, "longer than 65536 characters"
    if hasattr(x509.CertificateSigningRequestBuilder, "add_attribute"):
        password = (x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
        yield "an attribute", csr(attribute=password), "other attributes"


def with_bytes(pem, key, replacement, old):
    """Return a CSR with `old` replaced in its signed part, signed again by its key."""
    found = request.load_csr(pem)
    body = found.tbs_certrequest_bytes
    assert old in body
    assert len(old) == len(replacement)
    signature = request.load_key(key).sign(body.replace(old, replacement), ec.ECDSA(hashes.SHA256()))
    algorithm = found.public_bytes(serialization.Encoding.DER)[4 + len(body) :]
    der = body.replace(old, replacement) + algorithm[:12] + b"\x03" + bytes([len(signature) + 1]) + b"\x00" + signature
    length = len(der).to_bytes(2, "big")
    changed = x509.load_der_x509_csr(b"\x30\x82" + length + der, default_backend())
    return changed.public_bytes(serialization.Encoding.PEM).decode()


def with_other_key(pem):
    """Return a CSR that holds another public key of the same type, which has not signed it."""
    own, other = (
        request.public_bytes(request.load_key(key).public_key()) for key in (KEY, request.new_key(ISSUING.key_type))
    )
    der = request.load_csr(pem).public_bytes(serialization.Encoding.DER).replace(own, other)
    changed = x509.load_der_x509_csr(der, default_backend())
    return changed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(("text", "problem"), [pytest.param(*case[1:], id=case[0]) for case in rejected_csrs()])
def test_a_csr_that_asks_for_anything_else_is_refused(text, problem):
    assert problem in " ".join(request.check_csr(text, ISSUING).problems)


@pytest.mark.parametrize("key_type", ["ECDSA P-256", "ECDSA P-384", "Ed25519", "RSA 2048"])
@pytest.mark.parametrize("names", [["nts1.example.org"], ["192.0.2.1"], ["2001:db8::1", "a.example", "b.a.example"]])
def test_the_controller_accepts_the_csr_that_a_server_makes(names, key_type):
    for asked in (request.leaf_request(names, key_type), request.issuing_request(names, "nts1")):
        made = request.make_csr(asked, request.new_key(asked.key_type))
        assert request.check_csr(made, asked) == ([], made)


def test_only_the_csr_itself_is_passed_on():
    """No reader of the file, a person or a program, may find another CSR in it."""
    made = csr()
    checked = request.check_csr(f"evil\n{made}-----BEGIN X509 REQ-----\n", ISSUING)
    assert checked == ([], made)


def test_unprintable_text_of_a_host_is_replaced():
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "\x1b[2Jx\u202e")])
    (problem,) = request.check_csr(csr(subject=subject), ISSUING).problems
    assert problem.isprintable()


def rejected_certificates():
    other = request.issuing_request([STOLEN], "nts1")
    good = issue.self_sign(ISSUING, KEY, 365)
    yield "another name", issue.self_sign(other, KEY, 365), "extension nameConstraints is"
    yield "a leaf", issue.self_sign(LEAF, KEY, 365), "basicConstraints is"
    yield "two certificates", good + good, "not exactly one certificate"
    yield "another word for it", good + good.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "not exactly one"
    yield "none", "", "not exactly one certificate"
    yield "for ever", issue.self_sign(ISSUING, KEY, 3650), "valid for 3651 days instead of 365"
    yield "of another key", by_another(good), "has not signed itself"
    yield "of the past", at(good, -800, -500), "is not valid now"
    yield "of the future", at(good, 500, 800), "is not valid now"
    yield "of version 1", of_version_1(good), "cannot be read|encoding is not the one|has not signed itself"
    yield "another key type", issue.self_sign(ISSUING, request.new_key("RSA 2048"), 365), "key is RSA 2048"


def at(pem, begins_days, ends_days):
    """Return the certificate with other dates, in days from now, signed again by its key."""
    now = datetime.datetime.now(datetime.timezone.utc)
    dates = [now + datetime.timedelta(days=days) for days in (begins_days, ends_days)]
    return issue._signed(
        request.certificate_builder(ISSUING, request.load_key(KEY).public_key(), request.subject(ISSUING), dates),
        request.load_key(KEY),
    )


def of_version_1(pem):
    """Return the certificate without its version field, which makes it version 1, signed again by its key."""
    (found,) = request.certificates(pem)
    fields = request.parts(found.tbs_certificate_bytes)[0][1]
    body = b"\x30\x82" + (len(fields) - 5).to_bytes(2, "big") + fields[5:]
    signature = request.load_key(KEY).sign(body, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    der = body + algorithm + b"\x03" + bytes([len(signature) + 1]) + b"\x00" + signature
    der = b"\x30\x82" + len(der).to_bytes(2, "big") + der
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def by_another(pem):
    """Return the certificate, signed by another key."""
    found = x509.load_pem_x509_certificate(pem.encode(), default_backend())
    now = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(found.subject).issuer_name(found.subject)
    builder = builder.public_key(found.public_key()).serial_number(7)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=365))
    for extension in found.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    key = ec.generate_private_key(ec.SECP256R1(), default_backend())
    return builder.sign(key, hashes.SHA256(), default_backend()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(("text", "problem"), [pytest.param(*case[1:], id=case[0]) for case in rejected_certificates()])
def test_an_issuing_ca_that_signed_itself_for_anything_else_is_refused(text, problem):
    assert re.search(problem, " ".join(request.check_self_signed(text, ISSUING, 365).problems))


def test_a_self_signed_issuing_ca_that_matches_the_request_is_accepted():
    good = issue.self_sign(ISSUING, KEY, 365)
    assert request.check_self_signed(f"# mine\n{good}", ISSUING, 365) == ([], good)


@pytest.mark.parametrize(
    ("names", "subject", "critical"),
    [
        (["nts1.example.org", "192.0.2.1"], "CN=nts1.example.org", False),
        (["192.0.2.1", "nts1.example.org"], "CN=nts1.example.org", False),
        (["192.0.2.1"], "", True),
        (["2001:db8::1"], "", True),
        (["n" * 60 + ".example.org"], "", True),
    ],
)
def test_a_server_known_by_no_short_host_name_has_an_empty_subject(names, subject, critical):
    issuing_key = request.new_key("ECDSA P-256")
    chain = issue.self_sign(request.issuing_request(names, "nts1"), issuing_key, 30)
    asked = request.leaf_request(names, "Ed25519")
    (leaf,) = request.certificates(issue.issue_leaf(asked, request.new_key("Ed25519"), chain, issuing_key, 7))
    assert leaf.subject.rfc4514_string() == subject
    assert leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).critical == critical
    begins, ends = request.validity(leaf)
    assert ends - begins == 7 * 86400 + 3600


def test_a_leaf_expires_no_later_than_its_issuer():
    chain = issue.self_sign(ISSUING, KEY, 2)
    (issuer,) = request.certificates(chain)
    (leaf,) = request.certificates(issue.issue_leaf(LEAF, KEY, chain, KEY, 90))
    assert request.validity(leaf)[1] == request.validity(issuer)[1]
    with pytest.raises(ValueError, match="the issuing CA has ended"):
        issue.issue_leaf(LEAF, KEY, issue.self_sign(ISSUING, KEY, -0.5), KEY, 90)
