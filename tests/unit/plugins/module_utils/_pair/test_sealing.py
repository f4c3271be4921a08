# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the recipient opens a sealed text, and only for the purpose of the sender."""

import base64
import io
import json
import subprocess
import sys

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._pair import sealing
from ansible_collections.securetime.nts.plugins.module_utils._pair.sealing import SealingError, perform, perform_with

TEXT = "NKS0\n15 0.0\nsecret\n"


def sealed_for(*names):
    pairs = {name: perform("make", {}) for name in names}
    recipients = {name: pair["public"] for name, pair in pairs.items()}
    return pairs, perform("seal", {"text": TEXT, "recipients": recipients, "purpose": "pool"})["sealed"]


def opened(private, sealed, purpose="pool"):
    return perform("open", {"private": private, "sealed": sealed, "purpose": purpose})["text"]


def test_each_recipient_opens_its_own():
    pairs, sealed = sealed_for("nts1", "nts2")
    assert [opened(pairs[name]["private"], sealed[name]) for name in pairs] == [TEXT, TEXT]
    assert not any(b"secret" in base64.b64decode(text) for text in sealed.values())


def test_another_key_purpose_or_text_does_not_open():
    pairs, sealed = sealed_for("nts1", "nts2")
    damaged = base64.b64encode(base64.b64decode(sealed["nts1"])[:-1]).decode()
    for private, text, purpose in (
        (pairs["nts2"]["private"], sealed["nts1"], "pool"),
        (pairs["nts1"]["private"], sealed["nts1"], "another"),
        (pairs["nts1"]["private"], damaged, "pool"),
        (pairs["nts1"]["private"], "no base64", "pool"),
        (pairs["nts1"]["private"], "", "pool"),
    ):
        with pytest.raises(SealingError, match="cannot be opened"):
            opened(private, text, purpose)


@pytest.mark.parametrize(
    "public", ["", "AAAA", "AA==", "no base64", "ä", None, 5, {}, base64.b64encode(b"\4" + bytes(64)).decode()]
)
def test_an_invalid_public_key_is_refused(public):
    with pytest.raises(SealingError, match="nts1 has sent no public key"):
        perform("seal", {"text": TEXT, "recipients": {"nts1": public}, "purpose": "pool"})


def run(argv, text):
    done = subprocess.run(
        argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_another_python_does_the_same(tmp_path):
    pairs, sealed = sealed_for("nts1")
    given = {"private": pairs["nts1"]["private"], "sealed": sealed["nts1"], "purpose": "pool"}
    assert perform_with(sys.executable, run, str(tmp_path), "open", given) == {"text": TEXT}
    with pytest.raises(SealingError, match=r"^The keys sealed"):
        perform_with(sys.executable, run, str(tmp_path), "open", {**given, "purpose": "another"})


def test_the_program_prints_its_result_or_its_error_alone(monkeypatch, capsys):
    pairs, sealed = sealed_for("nts1")
    given = {"private": pairs["nts1"]["private"], "sealed": sealed["nts1"], "purpose": "pool"}
    for purpose, status in (("pool", 0), ("another", 1)):
        request = json.dumps({"kind": "open", "given": dict(given, purpose=purpose)})
        monkeypatch.setattr(sys, "stdin", io.StringIO(request))
        assert sealing.main() == status
        printed = capsys.readouterr()
        expected = ("", f"{sealing.CANNOT_OPEN}\n") if status else (json.dumps({"text": TEXT}) + "\n", "")
        assert (printed.out, printed.err) == expected
