# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of files in a folder where another user plants links."""

import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.below import remove_below, write_below

PATH = ".well-known/acme-challenge/token"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    return folder


@pytest.fixture
def secret(tmp_path):
    """Return a private folder of root with a file."""
    folder = tmp_path / "secret"
    folder.mkdir()
    folder.chmod(0o700)
    (folder / "token").write_text("mine")
    return folder


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_an_answer_is_world_readable_and_removable(root, umask):
    before = os.umask(umask)
    try:
        assert write_below(str(root), PATH, b"answer")
    finally:
        os.umask(before)
    assert (root / PATH).read_bytes() == b"answer"
    assert [(root / path).stat().st_mode & 0o777 for path in (PATH, ".well-known")] == [0o644, 0o755]
    assert not write_below(str(root), PATH, b"answer")
    assert remove_below(str(root), PATH)
    assert not remove_below(str(root), PATH)


@pytest.mark.parametrize("planted", [".well-known", ".well-known/acme-challenge"])
def test_a_planted_folder_is_not_followed(root, secret, planted):
    (root / planted).parent.mkdir(exist_ok=True)
    (root / planted).symlink_to(secret)
    for act in (lambda: write_below(str(root), PATH, b"answer"), lambda: remove_below(str(root), PATH)):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            act()
    assert secret.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in secret.iterdir()] == ["token"]
    assert (secret / "token").read_text() == "mine"


def test_a_planted_file_is_replaced_and_not_followed(root, secret):
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).symlink_to(secret / "token")
    assert write_below(str(root), PATH, b"answer")
    assert (secret / "token").read_text() == "mine"
    (root / PATH).unlink()
    (root / PATH).symlink_to(secret / "token")
    assert remove_below(str(root), PATH)
    assert (secret / "token").read_text() == "mine"


def test_a_fifo_does_not_block_the_write(root):
    (root / PATH).parent.mkdir(parents=True)
    os.mkfifo(str(root / PATH))
    assert write_below(str(root), PATH, b"answer")


def test_existing_folders_keep_their_modes(root):
    (root / ".well-known").mkdir(mode=0o750)
    write_below(str(root), PATH, b"answer")
    assert (root / ".well-known").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("path", ["../token", "a/../../token", "/etc/token", "a//b", "./a", ""])
def test_a_path_outside_the_root_is_refused(root, path):
    with pytest.raises(ValueError, match="not a path below"):
        write_below(str(root), path, b"answer")


def test_a_huge_file_is_replaced_and_not_read(root):
    (root / PATH).parent.mkdir(parents=True)
    with open(str(root / PATH), "wb") as file:
        file.truncate(1 << 40)
    assert write_below(str(root), PATH, b"answer")
    assert (root / PATH).read_bytes() == b"answer"


def test_a_longer_file_with_the_same_beginning_is_replaced(root):
    write_below(str(root), PATH, b"answer and more")
    assert write_below(str(root), PATH, b"answer")
    assert (root / PATH).read_bytes() == b"answer"


def test_a_fifo_with_a_writer_is_replaced_and_not_read(root):
    (root / PATH).parent.mkdir(parents=True)
    os.mkfifo(str(root / PATH))
    handle = os.open(str(root / PATH), os.O_RDWR)
    try:
        os.write(handle, b"answer")
        assert write_below(str(root), PATH, b"answer")
        assert os.read(handle, 6) == b"answer"
    finally:
        os.close(handle)
    assert (root / PATH).is_file()


def test_an_empty_answer_creates_the_file(root):
    assert write_below(str(root), PATH, b"")
    assert (root / PATH).read_bytes() == b""
