# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nts-certificate renew decides, and the pairs that it makes with real keys; no chronyd runs."""

import datetime
import os
import stat

import pytest

pytest.importorskip("cryptography")

from cryptography import x509

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager
from ansible_collections.securetime.nts.plugins.module_utils._pair.manager import (
    CertificateError,
    CertificateManager,
    Settings,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509 import issue, request

NAME = "nts1.example.org"
FILE = {
    "serial": "AB",
    "key_type": "ECDSA P-256",
    "subject_alt_names": [f"DNS:{NAME}"],
    "not_after": "2027-02-21T00:00:00Z",
}
# A pair that is well, and chronyd serves it.
WELL = {
    "file": FILE,
    "served": dict(FILE, serial="CD"),
    "serves_nts": True,
    "due": False,
    "remaining_days": 60.0,
    "lifetime_days": 90.0,
    "problems": [],
    "warnings": [],
    "provider": "ownca",
}
ISSUES = {"issuing_key": __file__}
BY_CLIENT = {"provider": "acme", "command": ("sh", "-c", "true")}


class Recording(CertificateManager):
    """A manager whose changes are recorded in place of chronyd's files."""

    def __init__(self, status=None, clock="", repairs=True, host=None, **settings):
        given = {"certificate": "/c.pem", "key": "/c.key", "group": "root", "provider": "ownca", "names": [NAME]}
        places = {"id": "server", "config_file": "/chrony.conf", "service": "chrony.service"}
        super().__init__(Settings(**dict(given, **dict(places, **settings))), host)
        self.found, self.clock, self.repairs, self.done = dict(WELL, **(status or {})), clock, repairs, []

    def status(self):
        return self.found

    def clock_problem(self):
        return self.clock

    def staged(self):
        return "staged", "key"

    def deploy(self, certificate, key):
        self.done.append(("deploy", certificate, key))
        return {"changed": True}

    def repair(self, status):
        self.done.append(("repair",))
        if not self.repairs:
            raise CertificateError("it stays broken")
        return {"changed": True}


class Deciding(Recording):
    """A manager that makes no pair."""

    def make(self, status):
        self.done.append(("make",))
        return {"changed": True}


@pytest.fixture
def same_file(monkeypatch):
    """Let every file have the text of the staged pair."""
    monkeypatch.setattr(manager, "_text", lambda _path: "staged")


@pytest.mark.parametrize(
    ("status", "settings", "force", "done"),
    [
        ({"due": True}, ISSUES, False, ["make"]),
        ({}, ISSUES, True, ["make"]),
        ({"problems": ["chronyd serves no NTS"]}, ISSUES, False, ["repair"]),
        ({"problems": ["The certificate has expired"], "due": True}, ISSUES, False, ["make"]),
        # The certificate differs from the settings.
        ({"file": dict(FILE, key_type="RSA 4096")}, ISSUES, False, ["make"]),
        ({"file": dict(FILE, subject_alt_names=["DNS:old.example.org"])}, ISSUES, False, ["make"]),
        ({"remaining_days": 91.0}, ISSUES, False, ["make"]),
        ({"remaining_days": 90.0}, ISSUES, False, []),
        ({"remaining_days": 91.0}, BY_CLIENT, False, ["make"]),
        # An ACME client chooses its key itself, and this host makes no certificate that the operator brings.
        ({"file": dict(FILE, key_type="RSA 4096")}, BY_CLIENT, False, []),
        ({"remaining_days": 91.0}, {"provider": "files"}, False, []),
    ],
)
def test_renew_makes_a_pair_where_it_must_and_repairs_what_is_not_served(status, settings, force, done, same_file):
    pair_manager = Deciding(status, **settings)
    result = pair_manager.renew(force)
    assert [name for name, *_pair in pair_manager.done] == done
    assert result["changed"] is bool(done)


def test_a_pair_that_is_well_is_reported_as_it_is_served(same_file):
    assert Deciding(**ISSUES).renew() == {"changed": False, "served": WELL["served"], "actions": []}
    # A host that may not probe its chronyd reports the file.
    assert Deciding({"served": None}, **ISSUES).renew()["served"] == FILE


def test_an_obstacle_is_reported_while_there_is_time(same_file):
    with pytest.raises(CertificateError, match="/none, which signs new certificates, cannot be read"):
        Deciding(issuing_key="/none").renew()


@pytest.mark.parametrize(
    ("settings", "done"), [(ISSUES, ["repair", "make"]), (BY_CLIENT, ["repair", "make"]), ({}, ["repair"])]
)
def test_a_failed_repair_is_followed_by_a_new_pair_where_this_host_can_make_one(settings, done, same_file):
    pair_manager = Deciding({"problems": ["chronyd serves no NTS"]}, repairs=False, **settings)
    if len(done) == 1:
        with pytest.raises(CertificateError, match="it stays broken"):
            pair_manager.renew()
    else:
        pair_manager.renew()
    assert [name for name, *_pair in pair_manager.done] == done


@pytest.mark.parametrize(("serves_nts", "code"), [(True, 1), (False, 3)])
def test_a_clock_that_is_wrong_dates_no_certificate_unless_forced(serves_nts, code, same_file):
    pair_manager = Deciding({"due": True, "serves_nts": serves_nts}, "which is wrong", **ISSUES)
    with pytest.raises(CertificateError, match="not renewed by this host's clock, which is wrong") as refused:
        pair_manager.renew()
    assert (refused.value.status, pair_manager.done) == (code, [])
    pair_manager.renew(force=True)
    assert pair_manager.done == [("make",)]


@pytest.mark.parametrize("settings", [BY_CLIENT, {"provider": "host_path"}])
def test_a_pair_that_another_program_renewed_is_deployed(settings, monkeypatch):
    monkeypatch.setattr(manager, "_text", lambda _path: "older")
    pair_manager = Deciding(**settings)
    pair_manager.renew()
    assert pair_manager.done == [("deploy", "staged", "key")]


@pytest.mark.parametrize(
    ("settings", "status", "words", "code"),
    [
        ({"provider": "files"}, {}, r"has 60\.0 days left.*chrony_nts_certificate_provider is files\)", 4),
        ({"provider": "host_path", "staged_certificate": ["/srv/c.pem"]}, {}, r"the program that keeps /srv/c\.pem", 4),
        ({"provider": "files"}, {"problems": ["expired"]}, "bring one by nts-certificate deploy", 1),
        ({"provider": "files"}, {"problems": ["expired"], "serves_nts": False}, "cannot make a new one by itself", 3),
    ],
)
def test_a_host_that_makes_no_certificate_names_who_does(settings, status, words, code):
    pair_manager = Recording(status, **settings)
    with pytest.raises(CertificateError, match=words) as refused:
        pair_manager.make(pair_manager.status())
    assert (refused.value.status, pair_manager.done) == (code, [])


@pytest.fixture
def issuer(tmp_path):
    """Return the settings of a server that issues its own certificates, with the files of its issuing CA."""
    wanted, key = request.issuing_request([NAME], "nts1"), request.new_key("ECDSA P-256")
    (tmp_path / "issuing.key").write_text(key)
    (tmp_path / "issuing.pem").write_text(issue.self_sign(wanted, key, 365))
    (tmp_path / "server.key").write_text(request.new_key("ECDSA P-256"))
    return {
        "key": str(tmp_path / "server.key"),
        "issuing_key": str(tmp_path / "issuing.key"),
        "staged_certificate": [str(tmp_path / "leaf.pem"), str(tmp_path / "issuing.pem")],
        "lifetime_days": 30.0,
    }


@pytest.mark.parametrize("new_key", [False, True])
def test_a_server_issues_its_next_certificate_by_its_own_ca(issuer, new_key, tmp_path):
    pair_manager = Recording(new_key=new_key, **issuer)
    pair_manager.make(WELL)
    ((_deploy, chain, key),) = pair_manager.done
    leaf, above = request.certificates(chain)
    assert chain.endswith((tmp_path / "issuing.pem").read_text())
    assert request.is_issued_by(leaf, above)
    assert leaf.public_key().public_numbers() == request.load_key(key).public_key().public_numbers()
    assert (key == (tmp_path / "server.key").read_text()) is not new_key
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    start, end = request.validity(leaf)
    assert end - start == (datetime.timedelta(days=30) + issue.LEAF_BACKDATED).total_seconds()


def test_a_damaged_issuing_key_is_an_error_without_a_traceback(issuer, tmp_path):
    (tmp_path / "issuing.key").write_text("damaged")
    pair_manager = Recording(**issuer)
    with pytest.raises(CertificateError, match="A new certificate could not be made: "):
        pair_manager.make(WELL)
    assert pair_manager.done == []


def test_without_cryptography_no_certificate_is_made(issuer, monkeypatch):
    monkeypatch.setattr(manager, "HAS_CRYPTOGRAPHY", False)
    with pytest.raises(CertificateError, match="Python's cryptography must be installed"):
        Recording(**issuer).make(WELL)


def test_an_acme_client_runs_and_its_staged_pair_is_deployed(tmp_path):
    command = ["sh", "-c", f"echo staged >{tmp_path}/staged"]
    pair_manager = Recording(host=manager.this_host(), provider="acme", command=command)
    pair_manager.make(WELL)
    assert (tmp_path / "staged").read_text() == "staged\n"
    assert pair_manager.done == [("deploy", "staged", "key")]


@pytest.mark.parametrize(("serves_nts", "code"), [(True, 1), (False, 3)])
def test_the_last_words_of_a_failed_acme_client_are_reported(serves_nts, code):
    command = ["sh", "-c", "echo ' no account '; echo; echo 'x%.0s' >&2; exit 7"]
    pair_manager = Recording({"serves_nts": serves_nts}, host=manager.this_host(), provider="acme", command=command)
    with pytest.raises(CertificateError) as failed:
        pair_manager.make(pair_manager.status())
    assert str(failed.value) == (
        "sh got no new certificate, and the one in use has 60.0 days left. It says: x%.0s | no account"
    )
    assert (failed.value.status, pair_manager.done) == (code, [])


def test_a_long_output_of_an_acme_client_is_cut_at_its_start():
    command = ["sh", "-c", f"echo {'a' * 700}end; exit 1"]
    with pytest.raises(CertificateError) as failed:
        Recording(host=manager.this_host(), provider="acme", command=command).make(WELL)
    assert str(failed.value).partition("It says: ")[2] == "a" * 597 + "end"


def test_a_program_of_this_host_runs_in_a_known_environment():
    run = manager.this_host().run
    assert run(["sh", "-c", "echo $LC_ALL $PATH; cat; echo error >&2; exit 3"]) == CommandResult(
        3, f"C {manager.PATH}\n", "error\n"
    )
    missing = run(["/no/such/program"])
    assert (missing.status, missing.stdout, "No such file" in missing.stderr) == (127, "", True)


def test_every_certificate_of_a_chain_is_described(issuer, tmp_path):
    pair_manager = Recording(**issuer)
    pair_manager.make(WELL)
    chain = pair_manager.done[0][1]
    found = manager.describe_all(chain)
    serials = [f"{certificate.serial_number:X}" for certificate in request.certificates(chain)]
    assert [row["serial"] for row in found] == serials
    assert found[0]["subject_alt_names"] == [f"DNS:{NAME}"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There is no certificate in the file"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "A certificate cannot be read: ",
        ),
    ],
)
def test_a_text_without_readable_certificates_is_an_error(text, words):
    with pytest.raises(CertificateError, match=words):
        manager.describe_all(text)


def test_the_status_has_one_fact_a_line():
    head = [
        f"certificate AB for DNS:{NAME}",
        "valid until 2027-02-21T00:00:00Z (60.0 of 90.0 days left)",
        "renewed later by ownca",
    ]
    assert manager.format_status(dict(WELL, warnings=["The CA ends."])).splitlines() == [
        *head,
        "chronyd serves it.",
        "The CA ends.",
    ]
    # A host that may not probe its chronyd confirms nothing.
    assert manager.format_status(dict(WELL, served=None)).splitlines() == head
    late = dict(WELL, due=True, problems=["The certificate has expired."])
    assert manager.format_status(late).splitlines()[2:] == ["renewed now by ownca", "The certificate has expired."]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to root")
def test_the_previous_pair_is_stored_for_root_alone_and_completely(tmp_path):
    host = System(lambda _argv: CommandResult(0, "", ""), lambda *_paths: None, str(tmp_path / "state"))
    for name in ("c.pem", "c.key"):
        (tmp_path / name).write_text(f"old {name}")
    pair = [files.read(str(tmp_path / name)) for name in ("c.pem", "c.key")]
    pair_manager = Recording(host=host)
    assert pair_manager.store_previous(pair) == []
    stored = {name: (tmp_path / "state" / name) for name in sorted(os.listdir(str(tmp_path / "state")))}
    assert {name: path.read_text() for name, path in stored.items()} == {
        "server.previous.key": "old c.key",
        "server.previous.pem": "old c.pem",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in stored.values()} == {0o600}
    # The first pair of a server has no previous one.
    assert pair_manager.store_previous([None, None]) == []
    assert len(os.listdir(str(tmp_path / "state"))) == 2
