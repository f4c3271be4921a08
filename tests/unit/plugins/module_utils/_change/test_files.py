# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import errno
import grp
import os
import pwd
import stat

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    FileSpec,
    System,
    TransactionError,
)

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


def wanted(path, content="new\n", mode=0o640):
    return FileSpec(str(path), content, USER, GROUP, mode)


@pytest.fixture
def labelled():
    return []


@pytest.fixture
def host(tmp_path, labelled):
    return System(
        run=lambda argv: CommandResult(0, "", ""),
        label=lambda staged, path: labelled.append((staged, path)),
        state=str(tmp_path / "state"),
    )


@pytest.fixture
def change(host, tmp_path):
    """Return a function that stages, keeps and swaps a file."""

    def until_swap(item):
        if item.content is not None:
            files.stage(host, item)
        files.keep(item.path)
        files.swap(item)

    return until_swap


def test_a_file_is_staged_beside_its_target_with_its_label(host, tmp_path, labelled):
    item = wanted(tmp_path / "a" / "b" / "file")
    files.stage(host, item)
    assert os.listdir(str(tmp_path / "a" / "b")) == ["file.securetime-nts-new"]
    assert stat.S_IMODE(os.stat(item.staged).st_mode) == 0o640
    assert labelled == [(item.staged, item.path)]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_folders_are_searchable_under_every_umask(host, tmp_path, umask):
    made = []
    previous = os.umask(umask)
    try:
        files.stage(host, wanted(tmp_path / "a" / "b" / "file"), made)
    finally:
        os.umask(previous)
    assert made == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in made} == {0o755}


def test_new_folders_are_removed_if_empty(tmp_path):
    made = []
    files.make_folders(str(tmp_path / "a" / "b"), made)
    (tmp_path / "a" / "file").touch()
    files.remove_folders(made)
    assert os.listdir(str(tmp_path / "a")) == ["file"]


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symbolic_link_is_restored_as_a_link(change, tmp_path, target):
    (tmp_path / "elsewhere").write_text("old\n")
    (tmp_path / "file").symlink_to(target)
    change(wanted(tmp_path / "file"))
    assert not (tmp_path / "file").is_symlink()
    files.put_back(str(tmp_path / "file"), existed=True)
    assert os.readlink(str(tmp_path / "file")) == target
    assert sorted(os.listdir(str(tmp_path))) == ["elsewhere", "file"]


def test_stage_replaces_the_file_of_an_earlier_run(host, tmp_path):
    item = wanted(tmp_path / "file")
    (tmp_path / "file.securetime-nts-new").write_text("half")
    files.stage(host, item)
    with open(item.staged) as file:
        assert file.read() == "new\n"


def test_an_unknown_group_is_refused_before_any_write(host, tmp_path):
    with pytest.raises(TransactionError, match="the group no-such-group, which this host does not have"):
        files.stage(host, wanted(tmp_path / "file")._replace(group="no-such-group"))
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("content", ["new\n", None])
def test_put_back_restores_a_swapped_file(change, tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old\n")
    path.chmod(0o600)
    inode = path.stat().st_ino
    change(wanted(path, content))
    assert path.exists() == (content is not None)
    for _again in range(2):
        files.put_back(str(path), existed=True)
        assert (path.read_text(), path.stat().st_ino) == ("old\n", inode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(str(tmp_path)) == ["file"]


def test_put_back_removes_a_new_file(change, tmp_path):
    change(wanted(tmp_path / "file"))
    for _again in range(2):
        files.put_back(str(tmp_path / "file"), existed=False)
        assert os.listdir(str(tmp_path)) == []


def test_put_back_keeps_a_file_that_was_not_swapped(host, tmp_path):
    (tmp_path / "file").write_text("old\n")
    files.stage(host, wanted(tmp_path / "file"))
    files.put_back(str(tmp_path / "file"), existed=True)
    assert (tmp_path / "file").read_text() == "old\n"
    assert os.listdir(str(tmp_path)) == ["file"]


def test_a_swap_does_not_change_the_kept_file(change, tmp_path):
    (tmp_path / "file").write_text("old\n")
    change(wanted(tmp_path / "file"))
    assert (tmp_path / "file.securetime-nts-old").read_text() == "old\n"
    files.forget(str(tmp_path / "file"))
    assert os.listdir(str(tmp_path)) == ["file"]


@pytest.mark.parametrize(
    ("different", "expected"),
    [
        ({}, False),
        ({"content": "other\n"}, True),
        ({"mode": 0o644}, True),
        ({"group": "no-such-group"}, True),
        ({"content": None}, True),
    ],
)
def test_differs_compares_content_owner_and_mode(change, tmp_path, different, expected):
    item = wanted(tmp_path / "file")
    change(item)
    assert files.differs(item._replace(**different), files.read(item.path)) is expected


def test_an_absent_file_equals_the_desired_state_absent(tmp_path):
    assert not files.differs(wanted(tmp_path / "file", content=None), None)
    assert files.differs(wanted(tmp_path / "file"), None)


def test_the_diff_of_a_mode_shows_no_content(change, tmp_path):
    item = wanted(tmp_path / "file", content="secret\n")
    change(item)
    (pair,) = files.diffs(item._replace(mode=0o600), files.read(item.path))
    assert "secret" not in pair["before"] + pair["after"]
    assert "mode: 0640" in pair["before"]
    assert "mode: 0600" in pair["after"]


def test_the_diff_of_a_new_file_shows_its_content(tmp_path):
    (pair,) = files.diffs(wanted(tmp_path / "file", mode=0o644), None)
    assert (pair["before"], pair["after"]) == ("", "new\n")


@pytest.mark.parametrize("modes", [(0o640, 0o644), (0o644, 0o600), (0o640, None), (None, 0o640)])
def test_the_diff_of_a_private_file_shows_no_content(tmp_path, modes):
    old, new = modes
    path = tmp_path / "file"
    if old is not None:
        path.write_text("SECRET\n")
        path.chmod(old)
    item = wanted(path, "OTHER\n" if new is not None else None, mode=new or 0o644)
    shown = str(files.diffs(item, files.read(str(path))))
    assert "not shown" in shown
    assert "SECRET" not in shown
    assert "OTHER" not in shown


def test_a_missing_file_on_a_read_only_file_system_counts_as_removed(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system", path)

    (tmp_path / "there").touch()
    monkeypatch.setattr(os, "unlink", refuse)
    files.remove(str(tmp_path / "missing"))
    with pytest.raises(OSError, match="Read-only"):
        files.remove(str(tmp_path / "there"))
