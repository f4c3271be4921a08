# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's result shows no secret."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.modules import chrony_config

KEYS = "/etc/chrony/chrony.keys"
PEM = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n"


def returned(secrets: dict[str, str], *pairs: dict[str, str]) -> dict[str, Any]:
    """Return what the module gives to Ansible for these pairs of a diff."""
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
