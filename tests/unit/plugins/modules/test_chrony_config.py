# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result and the log of chrony_config contain no secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError
from ansible_collections.securetime.nts.plugins.modules import chrony_config

KEYS = "/etc/chrony/chrony.keys"
PEM = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n"


def returned(secrets: dict[str, str], *pairs: dict[str, str]) -> dict[str, Any]:
    """Return the module's result for these entries of a diff."""
    results: list[dict[str, Any]] = []
    module = SimpleNamespace(
        params={"secrets": secrets}, warn=lambda text: None, exit_json=lambda **result: results.append(result)
    )
    chrony_config.exit_with(module, {"changed": True, "warnings": [], "diff": list(pairs)})
    return results[0]


def pair(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        (KEYS, "1 SHA256 HEX:SECRET\n", "1 SHA256 HEX:OTHER\n"),
        (KEYS, "", "1 SHA256 HEX:SECRET\n"),
        ("/etc/chrony/nts/server.key", PEM, "SECRET"),
        ("/etc/chrony/nts/server.key", "SECRET", PEM),
    ],
)
def test_the_diff_of_a_secret_file_shows_no_content(path: str, before: str, after: str) -> None:
    result = returned({KEYS: after}, pair(path, before, after))
    assert [found["before_header"] for found in result["diff"]] == [path]
    text = json.dumps(result)
    assert not [word for word in ("SECRET", "OTHER", "PRIVATE KEY") if word in text]


def test_the_diff_of_another_file_shows_its_content() -> None:
    shown = pair("/etc/chrony/chrony.conf", "makestep 1 3\n", "makestep 1 -1\n")
    assert returned({KEYS: "x"}, shown)["diff"] == [shown]


def test_the_log_of_the_invocation_holds_no_content_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(chrony_config.AnsibleModule, "log", lambda self, text, log_args=None: logged.append(text))
    given = {
        "config_file": "/etc/chrony/chrony.conf",
        "service": "chronyd.service",
        "files": [{"path": "/etc/chrony/nts/server.key", "content": PEM}, {"path": "/a", "state": "absent"}],
        "secrets": {KEYS: "1 SHA256 HEX:SECRET\n"},
    }
    with patch_module_args(given):
        module = chrony_config.Module(argument_spec=chrony_config.ARGUMENTS, supports_check_mode=True)
    assert module.params["files"][0]["content"] == PEM
    (text,) = logged
    assert text.startswith("Invoked with ")
    assert "/etc/chrony/nts/server.key" in text
    assert not [word for word in ("SECRET", "PRIVATE KEY", "AA") if word in text]


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"


def copied(mode: str, *paths: Path) -> str | None:
    """Return the content of a file that the module copies from other files."""
    wanted = {"path": "/copy", "state": "present", "content": None, "from": [str(path) for path in paths]}
    return chrony_config.content_of({**wanted, "mode": mode}, {})


def test_only_certificates_are_copied_to_a_file_for_all_users(tmp_path: Path) -> None:
    (tmp_path / "leaf").write_text(f"Subject: nts1\n{CERTIFICATE}")
    (tmp_path / "above").write_text(CERTIFICATE)
    assert copied("0644", tmp_path / "leaf", tmp_path / "above") == CERTIFICATE * 2


@pytest.mark.parametrize(
    ("text", "reason"), [("root:$6$:", "holds no certificate"), (CERTIFICATE + PEM, "holds a private key")]
)
def test_another_file_is_not_copied_to_a_file_for_all_users(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(TransactionError, match=rf"Nothing was changed\. .*/file {reason}"):
        copied("0644", tmp_path / "file")
    assert copied("0640", tmp_path / "file") == text.rstrip("\n") + "\n"


def test_a_missing_certificate_is_reported_as_such_before_and_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    with pytest.raises(TransactionError) as refused:
        chrony_config.text_of(str(path))
    assert str(refused.value) == (
        f"The certificate {path} (serves) is not on this host, so chronyd cannot serve it. Put it there, or remove it"
        " from serves."
    )
    path.write_text(CERTIFICATE)
    assert chrony_config.text_of(str(path)) == CERTIFICATE


def test_a_fifo_is_not_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TransactionError, match="fifo is not a regular file"):
        copied("0640", tmp_path / "fifo")
