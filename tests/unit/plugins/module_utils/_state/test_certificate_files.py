# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import certificate_files
from ansible_collections.securetime.nts.plugins.module_utils._state.certificate_files import certificates_of
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.pem_input import CA_PEM, PEM

FINGERPRINT = "5cd995efeded2bc3fb835a7e9275f94cce8ca48352f5c003b33227cf660eebce"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a certificate, a chain, a folder of trust anchors, and files without a certificate."""
    (tmp_path / "one.pem").write_text(PEM)
    (tmp_path / "chain.pem").write_text(PEM + CA_PEM + PEM)
    (tmp_path / "anchors").mkdir()
    (tmp_path / "anchors/ca.pem").write_text("# An authority" + PEM)
    (tmp_path / "anchors/README").write_text("Authorities")
    (tmp_path / "broken.pem").write_bytes(PEM.replace("MIIC", "AAAA").encode() + b"\xff\x00")
    return tmp_path


def found(folder, *lines):
    """Return the use and the file of each certificate of a configuration."""
    (folder / "chrony.conf").write_text("\n".join(lines).format(folder))
    rows = certificates_of(str(folder / "chrony.conf"))
    return [(row["use"], row["path"].replace(str(folder), "")) for row in rows]


def test_a_certificate_is_described(folder):
    (row,) = certificates_of(None, [f"ntsservercert {folder}/one.pem"])
    assert row["use"] == "server"
    assert row["path"] == f"{folder}/one.pem"
    assert row["subject"] == "C=DE, O=Example, CN=nts1.example.org"
    assert row["not_after"] == "2036-11-20T15:35:25Z"
    assert row["fingerprint_sha256"] == FINGERPRINT


def test_files_and_folders_of_the_configuration_and_of_what_it_includes_are_read(folder):
    (folder / "more").mkdir()
    (folder / "more/nts.conf").write_text(f"NtsTrustedCerts 1 {folder}/one.pem\n# ntstrustedcerts {folder}/chain.pem\n")
    assert found(folder, "ntsservercert {0}/one.pem", "ntstrustedcerts {0}/anchors", "confdir {0}/more") == [
        ("server", "/one.pem"),
        ("trust", "/anchors/ca.pem"),
    ]
    assert found(folder, "confdir {0}/more") == [("trust", "/one.pem")]


def test_missing_files_and_invalid_certificates_are_skipped(folder):
    assert found(folder, "ntsservercert {0}/missing.pem", "ntsservercert", "ntstrustedcerts {0}/broken.pem") == []


def test_a_server_sends_its_own_certificate_first_and_each_once(folder):
    rows = certificates_of(None, [f"ntsservercert {folder}/chain.pem"])
    assert [(row["use"], row["subject"]) for row in rows] == [
        ("server", "C=DE, O=Example, CN=nts1.example.org"),
        ("issuer", "CN=NTS root CA"),
    ]


def test_a_configuration_that_cannot_be_read_has_no_list(folder, monkeypatch):
    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(certificate_files, "open", refuse, raising=False)
    assert certificates_of(None, [f"ntsservercert {folder}/one.pem"]) is None


def test_the_number_of_certificates_is_limited(folder, monkeypatch):
    monkeypatch.setattr(certificate_files, "MOST_CERTIFICATES", 2)
    lines = []
    for number in range(4):
        (folder / f"{number}.pem").write_text(PEM)
        lines.append(f"ntstrustedcerts {number} {folder}/{number}.pem")
    assert len(certificates_of(None, lines)) == 2
