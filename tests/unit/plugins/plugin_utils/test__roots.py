# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's root CA: faults that keep it from signing, and hosts that need a lost one."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ansible_collections.securetime.nts.plugins.module_utils._x509 import request
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import ROOT_MARK, fingerprint, marked_roots
from ansible_collections.securetime.nts.plugins.plugin_utils import _roots
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.plugins.plugin_utils._rules import mistakes

from .plan_input import DEFAULTS, SERVER

KEY = request.new_key("ECDSA P-256")
NOW = datetime.datetime(2026, 11, 28, tzinfo=datetime.timezone.utc)


def certificate(*extensions: x509.ExtensionType, days: int = 365) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    key: Any = request.load_key(KEY)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - datetime.timedelta(days=400))
    builder = builder.not_valid_after(NOW + datetime.timedelta(days=days))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in request.KEY_USAGES})


CA = x509.BasicConstraints(ca=True, path_length=1)
GOOD = certificate(CA, usage("key_cert_sign"))


GOOD_FINGERPRINT = fingerprint(GOOD)


def encrypted(passphrase: str) -> str:
    key: Any = request.load_key(KEY)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return str(key.private_bytes(*form, serialization.BestAvailableEncryption(passphrase.encode())).decode())


def said(root: str, key: str = "", **inputs: Any) -> list[str]:
    given = Inputs({**DEFAULTS, **{f"chrony_nts_{name}": value for name, value in inputs.items()}})
    return list(_roots.problems(given, _roots.Root("root.pem", root, key), NOW.timestamp()))


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (certificate(x509.BasicConstraints(ca=True, path_length=0)), "its path length is 0, and clients would refuse"),
        (certificate(x509.BasicConstraints(ca=False, path_length=None)), "root.pem is the certificate of no CA"),
        (certificate(), "root.pem is the certificate of no CA"),
        (certificate(CA, usage("crl_sign")), "lacks keyCertSign"),
        (certificate(CA, days=-1), "ended on 2026-11-27"),
        ("text", "is not a certificate in PEM"),
        (GOOD + KEY, "holds a private key"),
    ],
)
def test_a_ca_that_may_not_sign_a_ca_is_refused(root: str, expected: str) -> None:
    (problem,) = said(root)
    assert expected in problem


@pytest.mark.parametrize(
    "root", ["", GOOD, certificate(CA), certificate(x509.BasicConstraints(ca=True, path_length=None))]
)
def test_a_root_that_can_sign_or_is_made_by_the_run_is_taken(root: str) -> None:
    assert said(root, KEY if root else "") == []


def test_the_key_must_be_the_one_of_the_certificate() -> None:
    assert "is not that of root.pem" in said(GOOD, request.new_key("ECDSA P-256"))[0]
    assert said(GOOD, encrypted("correct horse"), ca_passphrase="correct horse") == []
    assert (
        "chrony_nts_ca_passphrase is not" in said(GOOD, encrypted("correct horse"), ca_passphrase="battery staple")[0]
    )
    assert "chrony_nts_ca_passphrase is not" in said(GOOD, encrypted("correct horse"))[0]
    assert "not encrypted" in said(GOOD, KEY, ca_passphrase="correct horse")[0]


@pytest.mark.parametrize(
    ("variables", "own_ca", "expected"),
    [
        ({}, {"trusted": [GOOD_FINGERPRINT], "issues": False}, "This host trusts a root CA of this collection"),
        ({"chrony_nts_trust_own_ca": False}, {"trusted": [GOOD_FINGERPRINT], "issues": False}, ""),
        (SERVER, {"trusted": [GOOD_FINGERPRINT], "issues": True}, "has signed the issuing CA of this server"),
        ({**SERVER, "chrony_nts_trust_own_ca": False}, {"trusted": [], "issues": True}, "has signed the issuing CA"),
        ({**SERVER, "chrony_nts_certificate_provider": "acme"}, {"trusted": [], "issues": True}, ""),
        (SERVER, {"trusted": [], "issues": False}, ""),
        ({}, {"trusted": [], "issues": False}, ""),
    ],
)
def test_a_root_that_hosts_rely_on_is_not_made_anew(
    variables: dict[str, Any], own_ca: dict[str, Any], expected: str
) -> None:
    inputs = Inputs({**DEFAULTS, **variables})
    found = list(_roots.lost(inputs, [], own_ca))
    assert (expected in found[0] and "/srv/nts-ca" in found[0]) if expected else found == []
    assert list(_roots.lost(inputs, [GOOD], own_ca)) == []


@pytest.mark.parametrize("name", ["next.pem", "previous.pem"])
def test_a_root_that_is_missing_in_a_rotation_is_not_made_anew(tmp_path: Path, name: str) -> None:
    inputs = Inputs({**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path)})
    assert (_roots.roots(inputs), list(_roots.problems(inputs, _roots.root(inputs)))) == ([], [])
    (tmp_path / name).write_text(GOOD)
    assert _roots.roots(inputs) == [GOOD]
    (problem,) = _roots.problems(inputs, _roots.root(inputs))
    assert "root.pem is missing beside" in problem


def test_the_variables_come_before_the_folder(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("text")
    given = {"chrony_nts_ca_dir": str(tmp_path), "chrony_nts_ca_certificate_content": GOOD}
    assert _roots.root(Inputs({**DEFAULTS, **given})).certificate == GOOD


def test_another_root_replaces_the_trusted_one_only_on_purpose() -> None:
    other = certificate(CA, days=700)
    text = f"-----BEGIN CERTIFICATE-----\nof the operator\n-----END CERTIFICATE-----\n{ROOT_MARK}\n{other}"
    assert marked_roots(text) == [fingerprint(other)]
    own_ca = {"trusted": marked_roots(text), "issues": True}
    (problem,) = _roots.lost(Inputs({**DEFAULTS, **SERVER}), [GOOD], own_ca)
    assert f"trusts another root CA of this collection (SHA-256 {fingerprint(other)})" in problem
    # During a rotation, the host trusts both root CAs.
    both = {"trusted": [fingerprint(other), GOOD_FINGERPRINT], "issues": True}
    assert list(_roots.lost(Inputs(DEFAULTS), [GOOD], both)) == []
    for allowed in ({"chrony_nts_replace_root_ca": True}, {"chrony_nts_trust_own_ca": False}):
        assert list(_roots.lost(Inputs({**DEFAULTS, **allowed}), [GOOD], own_ca)) == []


def test_clients_need_no_key_of_the_root_ca(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(GOOD)

    def read(path: str) -> str:
        if path.endswith(".key"):
            raise PermissionError(13, "Permission denied", path)
        return _roots.read_file(path)

    folder = {"chrony_nts_ca_dir": str(tmp_path)}
    client, server = Inputs({**DEFAULTS, **folder}), Inputs({**DEFAULTS, **SERVER, **folder})
    assert (_roots.roots(client, read), list(_roots.unreadable(client, read))) == ([GOOD], [])
    assert _roots.roots(server, read) == [GOOD]
    (problem,) = _roots.unreadable(server, read)
    assert problem.startswith(f"{tmp_path}/root.key on the controller cannot be read (Permission denied).")


@pytest.mark.parametrize(
    ("more", "known", "expected"),
    [
        ({}, [GOOD], False),
        ({}, [], True),
        ({"chrony_nts_replace_root_ca": True}, [GOOD], True),
        ({"chrony_nts_trust_own_ca": False, "chrony_nts_replace_root_ca": True}, [], False),
    ],
)
def test_a_server_of_the_play_may_change_what_clients_trust(
    tmp_path: Path, more: dict[str, Any], known: list[str], expected: bool
) -> None:
    inputs = Inputs({**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path), **more})
    assert _roots.may_change(inputs, known) is expected
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "nts1.pem").write_text(GOOD)
    assert _roots.may_change(inputs, known) is inputs.is_true("trust_own_ca")


def test_an_unreadable_folder_of_the_root_ca_is_a_mistake(tmp_path: Path) -> None:
    # A file in the place of the folder fails for root, too.
    (tmp_path / "ca").write_text("")
    found = mistakes({**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path / "ca")})
    assert len(found) == 1
    assert found[0].startswith(f"{tmp_path}/ca/root.pem on the controller cannot be read (Not a directory).")


def test_an_unreadable_ca_of_a_server_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "nts1.pem").mkdir()
    folder = {"chrony_nts_ca_dir": str(tmp_path)}
    (problem,) = _roots.unreadable(Inputs({**DEFAULTS, **folder}))
    assert problem.startswith(f"{tmp_path}/servers/nts1.pem on the controller cannot be read (Is a directory).")
    assert list(_roots.unreadable(Inputs({**DEFAULTS, **folder, "chrony_nts_trust_own_ca": False}))) == []
