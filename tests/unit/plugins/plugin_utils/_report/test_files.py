# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a report, and its hosts from the results of a run."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._report import files
from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import EarlierError, document
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import row
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils._report.fleet import (
    NOW,
    TEMPLATES,
    captured,
    fleet,
)


def test_an_earlier_report_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    for name, message in (("missing.json", "No such file"), ("binary.json", "it is not text"), (".", "Is a directory")):
        with pytest.raises(EarlierError, match=f"cannot be read .{message}"):
            files.earlier(str(tmp_path / name))
    assert files.earlier(None) is None


@pytest.mark.parametrize(
    ("result", "state", "message"),
    [
        ({"row": row(captured("healthy")), "names": ["a"]}, "authenticated", ""),
        ({"unreachable": True, "msg": "No route to host"}, "unreachable", "No route to host"),
        ({"failed": True, "msg": "No Python\x1b[31m"}, "unreadable", "No Python\\x1b[31m"),
        ({}, "unreadable", "Ansible has no result of this host."),
        (None, "unreadable", "Ansible has no result of this host."),
        ("text", "unreadable", "Ansible has no result of this host."),
    ],
)
def test_every_result_of_a_run_has_its_row(result: Any, state: str, message: str) -> None:
    (member,) = files.fleet(["a"], {"a"}, {"a": {"reported": result}}, "reported")
    assert (member.name, member.is_server, member.row["state"], member.row["message"]) == ("a", True, state, message)


def test_files_are_replaced_at_once_and_keep_their_mode(tmp_path: Path) -> None:
    report = document(list(fleet(3)), NOW)
    old = os.umask(0o027)
    try:
        files.write(tmp_path, report, TEMPLATES)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {"report.html": 0o640, "report.json": 0o640, "report.csv": 0o640}
        (tmp_path / "report.html").chmod(0o604)
        before = (tmp_path / "report.html").stat().st_ino
        files.write(tmp_path, report, TEMPLATES)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o604
    assert (tmp_path / "report.html").stat().st_ino != before


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        files.replace(tmp_path / "report.html", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]
