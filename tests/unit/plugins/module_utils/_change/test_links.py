# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import stat
import subprocess
from types import SimpleNamespace

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import links
from ansible_collections.securetime.nts.plugins.module_utils._change.files import FileSpec, TransactionError


@pytest.fixture
def trusted(monkeypatch):
    """Treat every folder as writable for root alone."""
    monkeypatch.setattr(links, "_assert_root_controls", lambda _folder, _link: None)


def wanted(path, **more):
    return FileSpec(str(path), "x", "root", "root", 0o644, **more)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("target", ["../far/file", "chain", "absolute", "below/file"])
def test_the_target_of_a_link_is_written(tmp_path, target):
    folder, far = tmp_path / "etc", tmp_path / "far"
    folder.mkdir()
    far.mkdir()
    (folder / "chain").symlink_to("chained")
    (folder / "chained").symlink_to("../far/./file")
    (folder / "absolute").symlink_to(far / "file")
    (folder / "below").symlink_to(far)
    (folder / "link").symlink_to(target)
    # The target may be missing.
    assert links.resolved([wanted(folder / "link")])[0].write_path == str(far / "file")
    (far / "file").touch()
    item = links.resolved([wanted(folder / "link")])[0]
    assert (item.path, item.write_path) == (str(folder / "link"), str(far / "file"))
    assert item.staged == str(far / "file.securetime-nts-new")


@pytest.mark.usefixtures("trusted")
def test_regular_files_and_specs_of_links_are_not_resolved(tmp_path):
    (tmp_path / "link").symlink_to("file")
    link = wanted(tmp_path / "link")
    items = [wanted(tmp_path / "file"), link._replace(content=None), link._replace(link="x")]
    assert [item.write_path for item in links.resolved(items[:2])] == [str(tmp_path / "file"), str(tmp_path / "link")]
    assert links.resolved(items[2:]) == items[2:]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("link", "leads in a circle"),
        ("/dev/null", "leads to /dev/null, which is not a regular file"),
        ("folder", "folder, which is not a regular file"),
        ("none/file", "none, which is not a folder of this host"),
        ("../..", "not a regular file"),
    ],
)
def test_a_link_to_no_regular_file_is_refused(tmp_path, target, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(TransactionError, match=message):
        links.resolved([wanted(tmp_path / "link")])


@pytest.mark.usefixtures("trusted")
def test_two_names_of_a_file_are_refused(tmp_path):
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(TransactionError, match=r"file and .*link are the same file"):
        links.resolved([wanted(tmp_path / "file"), wanted(tmp_path / "link")])


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "message"),
    [
        (0, 0, 0o755, None),
        (0, 0, 0o775, None),
        (0, 7, 0o755, None),
        (0, 7, 0o775, "its group can write to"),
        (0, 0, 0o1777, "all users can write to"),
        (54321, 0, 0o755, "the user 54321 owns"),
    ],
)
def test_root_follows_links_only_through_its_own_folders(monkeypatch, uid, gid, mode, message):
    status = os.stat_result((stat.S_IFDIR | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
    monkeypatch.setattr(links, "os", SimpleNamespace(stat=lambda _path: status))
    if message is None:
        links._assert_root_controls("/folder", "/etc/link")
        return
    with pytest.raises(
        TransactionError, match=f"link is a symbolic link and leads through /folder, a folder that {message}"
    ):
        links._assert_root_controls("/folder", "/etc/link")


def test_every_folder_on_the_way_is_checked(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(links, "_assert_root_controls", lambda folder, _link: checked.append(folder))
    for name in ("etc", "between", "end"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/link").symlink_to("../between/link")
    (tmp_path / "between/link").symlink_to(tmp_path / "end/file")
    links.target_of(str(tmp_path / "etc/link"))
    assert {str(tmp_path / name) for name in ("etc", "between", "end")} <= set(checked)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can set file flags")
@pytest.mark.parametrize(
    ("flag", "on", "message"),
    [
        ("i", "file", "file is immutable .chattr .i., so .*file cannot be replaced.*`chattr -i "),
        ("a", "file", "file is append-only"),
        ("i", ".", "is immutable"),
    ],
)
def test_a_file_that_root_cannot_replace_is_named(tmp_path, flag, on, message):
    path = tmp_path / "folder/file"
    path.parent.mkdir()
    path.touch()
    links.assert_changeable(str(path))
    links.assert_changeable(str(tmp_path / "none"))
    if subprocess.run(["chattr", f"+{flag}", path.parent / on], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system has no flags")
    try:
        with pytest.raises(TransactionError, match=message):
            links.assert_changeable(str(path))
    finally:
        subprocess.run(["chattr", f"-{flag}", path.parent / on], check=True)
