# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The staging folder of a pair: the reasons for a new certificate, and its files until the signed chain arrives."""

import os
import time

import pytest

pytest.importorskip("cryptography")

from ansible_collections.securetime.nts.plugins.module_utils._pair import staging
from ansible_collections.securetime.nts.plugins.module_utils._x509 import issue, request

ROOT_KEY = request.new_key("ECDSA P-256")
ROOT = issue.self_sign(request.Request([], "ECDSA P-256", True, "root"), ROOT_KEY, 3650)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fchown", lambda *_arguments: None)
    folder = str(tmp_path / "nts" / "staging" / "server" / "ownca")
    return staging.StagedPair(
        id="server",
        names=["nts1.example.org", "192.0.2.1"],
        label="nts1",
        key_type="ECDSA P-256",
        staging=folder,
        requests="issuing",
        chain=f"{folder}/issuing.pem",
        root=ROOT,
    )


@pytest.fixture
def leaf_pair(pair):
    return pair._replace(requests="leaf", chain=f"{pair.staging}/chain.pem", root="")


def read(pair, name):
    with open(pair.path(name)) as file:
        return file.read()


def sign(csr, days=365, key=ROOT_KEY, root=ROOT, backdated_days=1):
    """Sign a CSR as a CA that copies its extensions; return the certificate in PEM."""
    found = request.load_csr(csr)
    builder = request.x509.CertificateBuilder().subject_name(found.subject).public_key(found.public_key())
    (issuer,) = request.certificates(root)
    now = issue.datetime.datetime.now(issue.datetime.timezone.utc)
    builder = builder.issuer_name(issuer.subject)
    builder = builder.not_valid_before(now - issue.datetime.timedelta(days=backdated_days))
    builder = builder.not_valid_after(now + issue.datetime.timedelta(days=days))
    own = request.x509.SubjectKeyIdentifier.from_public_key(found.public_key())
    builder = builder.add_extension(own, critical=False)
    builder = builder.add_extension(issue._authority_key_identifier(issuer), critical=False)
    for extension in found.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return issue._signed(builder, request.load_key(key))


def settled(pair):
    """Complete the pair, assert that it needs no new certificate, and return it."""
    staging.deliver(pair, sign(staging.prepare(pair).csr))
    found = staging.prepare(pair)
    assert (found.reasons, found.changes) == ([], [])
    return pair


def test_a_server_is_set_up_in_two_steps(pair):
    found = staging.prepare(pair)
    assert found.reasons == ["there is no certificate"]
    assert request.check_csr(found.csr, pair.request).problems == []
    # A second run before the signature asks for the same.
    assert staging.prepare(pair).csr == found.csr
    assert staging.deliver(pair, sign(found.csr)) == [f"{pair.chain}: a new certificate was signed"]
    assert sorted(os.listdir(pair.staging)) == ["issuing.csr", "issuing.key", "issuing.pem", "leaf.key", "leaf.pem"]
    assert staging.prepare(pair) == staging.Prepared([], found.csr, read(pair, "issuing.pem"), [])
    assert staging.deliver(pair, read(pair, "issuing.pem")) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_only_root_can_enter_the_staging_folders_and_read_keys(pair, umask):
    before = os.umask(umask)
    try:
        settled(pair)
    finally:
        os.umask(before)
    modes = {name: os.stat(pair.path(name)).st_mode & 0o777 for name in ("issuing.key", "leaf.key", "issuing.csr")}
    assert modes == dict.fromkeys(modes, 0o600)
    above = os.path.dirname(os.path.dirname(os.path.dirname(pair.staging)))
    assert os.stat(above).st_mode & 0o777 == 0o755
    for path in (pair.staging, os.path.dirname(pair.staging), os.path.dirname(os.path.dirname(pair.staging))):
        assert os.stat(path).st_mode & 0o777 == 0o700, path


def another_root(pair):
    key = request.new_key("ECDSA P-256")
    return pair._replace(root=issue.self_sign(request.Request([], "ECDSA P-256", True, "root"), key, 3650))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pair: pair._replace(names=["nts2.example.org"]), "was signed for another request"),
        (lambda pair: pair._replace(label="nts2"), "was signed for another request"),
        (another_root, "another root CA has signed"),
        (lambda pair: pair._replace(renew_fraction=1.0), "is due"),
    ],
)
def test_a_new_issuing_certificate_comes_with_a_new_key(pair, change, reason):
    settled(pair)
    old = read(pair, "issuing.key")
    changed = change(pair)
    found = staging.prepare(changed)
    assert reason in found.reasons[0]
    # The server keeps the old key until the new certificate arrives.
    assert read(pair, "issuing.key") == old
    staging.deliver(changed, sign(found.csr))
    assert read(pair, "issuing.key") != old
    assert staging.why_new_leaf(changed._replace(renew_fraction=0.3)) == []


@pytest.mark.parametrize("lost", ["issuing.key", "issuing.csr", "issuing.pem"])
@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_file_lost_in_a_power_cut_leads_to_a_new_request(pair, lost, how):
    settled(pair)
    if how == "removed":
        os.remove(pair.path(lost))
    else:
        open(pair.path(lost), "w").close()
    assert staging.prepare(pair).reasons != []
    staging.deliver(pair, sign(staging.prepare(pair).csr))
    assert staging.prepare(pair).reasons == []


@pytest.mark.parametrize("lost", ["leaf.key", "leaf.pem"])
def test_a_lost_leaf_is_issued_again_without_the_controller(pair, lost):
    settled(pair)
    os.remove(pair.path(lost))
    found = staging.prepare(pair)
    assert (found.reasons, len(found.changes)) == ([], 1)
    assert staging.why_new_leaf(pair) == []


def test_a_leaf_of_another_key_type_is_issued_again_with_a_new_key(pair):
    settled(pair)
    changed = pair._replace(key_type="Ed25519")
    assert staging.prepare(changed).reasons == []
    assert request.key_type_of(request.load_key(read(pair, "leaf.key")).public_key()) == "Ed25519"


def test_a_leaf_that_is_not_valid_yet_is_issued_again(pair, monkeypatch):
    with monkeypatch.context() as ahead:
        ahead.setattr(issue, "LEAF_BACKDATED", issue.datetime.timedelta(days=-30))
        staging.deliver(pair, sign(staging.prepare(pair).csr))
    key = read(pair, "leaf.key")
    found = staging.prepare(pair)
    assert (found.reasons, found.changes) == ([], [f"{pair.staging}: the server's certificate is not valid yet"])
    assert request.validity(request.certificates(read(pair, "leaf.pem"))[0])[0] < time.time()
    assert read(pair, "leaf.key") == key
    assert staging.prepare(pair).changes == []


def test_an_issuing_certificate_that_is_not_valid_yet_is_requested_again(pair):
    staging.deliver(pair, sign(staging.prepare(pair).csr, days=365, backdated_days=-30))
    assert staging.prepare(pair).reasons == ["the certificate is not valid yet"]


def test_a_renewal_keeps_the_key_of_the_leaf_unless_a_new_one_is_wanted(leaf_pair):
    staging.deliver(leaf_pair, sign(staging.prepare(leaf_pair).csr))
    old = read(leaf_pair, "leaf.key")
    due = leaf_pair._replace(renew_fraction=1.0)
    staging.deliver(due, sign(staging.prepare(due).csr))
    assert read(leaf_pair, "leaf.key") == old
    anew = leaf_pair._replace(new_key=True)
    staging.deliver(anew, sign(staging.prepare(anew).csr))
    assert read(leaf_pair, "leaf.key") != old
    # prepare() has already staged the next key, so a run without changes makes none.
    before = {name: read(anew, name) for name in os.listdir(anew.staging)}
    assert staging.prepare(anew).changes == []
    assert {name: read(anew, name) for name in os.listdir(anew.staging)} == before


@pytest.mark.parametrize("chain", ["", "text", ROOT])
def test_an_invalid_chain_or_one_for_another_key_changes_no_file(pair, chain):
    settled(pair)
    before = {name: read(pair, name) for name in os.listdir(pair.staging)}
    with pytest.raises(staging.StagingError):
        staging.deliver(pair, chain)
    assert {name: read(pair, name) for name in os.listdir(pair.staging)} == before


def test_a_self_signing_server_needs_no_signature_of_another_ca(pair):
    alone = pair._replace(signs_itself=True, root="")
    found = staging.prepare(alone)
    assert found.reasons == []
    assert request.check_self_signed(found.chain, alone.request, alone.issuing_ca_lifetime_days).problems == []
    assert staging.prepare(alone).changes == []


def test_check_mode_writes_no_file(pair):
    found = staging.prepare(pair, check_mode=True)
    assert found.changes != []
    assert not os.path.exists(pair.staging)
    settled(pair)
    before = {name: read(pair, name) for name in os.listdir(pair.staging)}
    assert staging.prepare(pair._replace(names=["b.example"]), check_mode=True).reasons != []
    assert {name: read(pair, name) for name in os.listdir(pair.staging)} == before


def test_check_mode_returns_no_csr_or_chain_that_a_run_would_replace(pair):
    settled(pair)
    renamed = pair._replace(names=["b.example"])
    assert staging.prepare(pair, check_mode=True).csr != ""
    assert staging.prepare(renamed, check_mode=True).csr == ""
    assert staging.prepare(renamed, check_mode=True).chain != ""
    alone = pair._replace(
        id="alone", staging=pair.staging + "-alone", chain=pair.chain + "-alone", signs_itself=True, root=""
    )
    staging.prepare(alone)
    assert staging.prepare(alone, check_mode=True).chain != ""
    assert staging.prepare(alone._replace(names=["b.example"]), check_mode=True).chain == ""


def test_without_cryptography_check_mode_predicts_and_a_run_fails(pair, monkeypatch):
    monkeypatch.setattr(staging, "HAS_CRYPTOGRAPHY", False)
    assert staging.prepare(pair, check_mode=True).changes != []
    with pytest.raises(staging.StagingError, match="cryptography must be installed"):
        staging.prepare(pair)
