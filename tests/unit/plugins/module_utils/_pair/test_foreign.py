# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root does not publish a file that another user has chosen."""

import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._pair import foreign
from ansible_collections.securetime.nts.plugins.module_utils._pair.foreign import (
    ForeignFileError,
    certificates_of,
    read_text,
)

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n"
USER, OTHER = 12345, 12346


class Owners:
    """Change the owners of files. Where the tests do not run as root, their user stands for root."""

    def __init__(self, monkeypatch):
        self.given = {}
        self.fstat = os.fstat
        if os.geteuid():
            monkeypatch.setattr(os, "fstat", self.look)

    def look(self, handle):
        found = self.fstat(handle)
        real = 0 if found.st_uid == os.geteuid() else found.st_uid
        return os.stat_result([*found[:4], self.given.get(found.st_ino, real), *found[5:10]])

    def give(self, path, owner):
        if not os.geteuid():
            os.chown(str(path), owner, owner, follow_symlinks=False)
        self.given[os.lstat(str(path)).st_ino] = owner

    def link(self, path, target, owner=USER):
        path.symlink_to(target)
        self.give(path, owner)
        return str(path)


@pytest.fixture
def owners(monkeypatch):
    return Owners(monkeypatch)


@pytest.fixture
def folder(tmp_path, owners):
    """Return a user's folder with a file of that user; a folder of root with a file of root is beside it."""
    for name, owner in (("theirs", USER), ("roots", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cert.pem").write_text(name)
        owners.give(tmp_path / name, owner)
        owners.give(tmp_path / name / "cert.pem", owner)
    return tmp_path / "theirs"


def refused(path):
    with pytest.raises(ForeignFileError) as caught:
        read_text(str(path))
    return str(caught.value)


def test_a_file_of_the_folder_s_owner_is_read(folder, owners):
    assert read_text(str(folder / "cert.pem")) == "theirs"
    assert read_text(owners.link(folder / "link.pem", "cert.pem")) == "theirs"


def test_a_link_of_root_to_a_file_of_root_is_read(folder, owners):
    """certbot's live/NAME/cert.pem leads to archive/NAME/cert1.pem in this way."""
    roots = folder.parent / "roots"
    assert read_text(owners.link(roots / "link.pem", "../roots/./cert.pem", 0)) == "roots"
    assert read_text(owners.link(roots / "absolute.pem", str(roots / "cert.pem"), 0)) == "roots"
    owners.give(roots / "cert.pem", USER)
    assert read_text(str(roots / "cert.pem")) == "roots"


@pytest.mark.parametrize("target", ["../roots/cert.pem", "/proc/self/environ"])
def test_a_user_s_link_to_a_file_of_root_is_refused(folder, owners, target):
    assert "leads to a file of the user root, and the user 12345 owns" in refused(
        owners.link(folder / "link.pem", target)
    )


def test_a_user_s_hard_link_to_a_file_of_root_is_refused(folder, owners):
    os.link(str(folder.parent / "roots" / "cert.pem"), str(folder / "hard.pem"))
    assert "leads to a file of the user root" in refused(folder / "hard.pem")


def test_a_user_s_folder_above_a_folder_of_root_is_refused(folder, owners):
    """The user can replace the folder by another one."""
    owners.link(folder / "folder", "../roots")
    assert "leads to a file of the user root" in refused(folder / "folder" / "cert.pem")
    owners.link(folder.parent / "way", "theirs/folder", 0)
    assert "leads to a file of the user root" in refused(folder.parent / "way" / "cert.pem")


def test_a_user_s_link_to_a_file_of_another_user_is_refused(folder, owners):
    owners.give(folder.parent / "roots" / "cert.pem", OTHER)
    assert "leads to a file of the user 12346" in refused(owners.link(folder / "link.pem", "../roots/cert.pem"))


def test_links_in_a_folder_that_others_write_to_are_refused(folder, owners):
    shared, roots = folder.parent / "shared", folder.parent / "roots"
    shared.mkdir()
    shared.chmod(0o775)
    assert "leads to a file of the user root" in refused(owners.link(shared / "link.pem", "../roots/cert.pem"))
    os.link(str(roots / "cert.pem"), str(shared / "hard.pem"))
    assert "is a hard link in a folder that other users can write to" in refused(shared / "hard.pem")
    (shared / "cert.pem").write_text("shared")
    assert read_text(str(shared / "cert.pem")) == "shared"


def test_a_fifo_is_refused_at_once(folder, owners):
    os.mkfifo(str(folder / "fifo"))
    for path in (folder / "fifo", owners.link(folder / "link.pem", "fifo")):
        assert "is not a regular file" in refused(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/dev/zero/cert.pem"])
def test_a_path_that_is_not_a_regular_file_is_refused(path):
    assert "is not a regular file" in refused(path)


def test_a_sparse_file_is_refused_unread(folder):
    with open(str(folder / "cert.pem"), "r+b") as file:
        file.truncate(1 << 40)
    assert "is larger than 1048576 bytes" in refused(folder / "cert.pem")


def test_a_file_that_grows_or_has_no_size_is_read_up_to_the_limit(monkeypatch):
    monkeypatch.setattr(foreign, "MAX_BYTES", 10)
    assert "is larger than 10 bytes" in refused("/proc/cpuinfo")


def test_links_that_lead_in_a_circle_are_refused(folder, owners):
    assert "cannot be read: Too many levels" in refused(owners.link(folder / "link.pem", "link.pem"))


def test_a_missing_file_is_named(folder, owners):
    assert refused(folder / "none.pem") == f"{folder}/none.pem cannot be read: No such file or directory."


def test_no_descriptor_stays_open(folder, owners):
    before = len(os.listdir("/proc/self/fd"))
    read_text(str(folder / "cert.pem"))
    refused(folder / "none.pem")
    refused("/dev/zero")
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_the_certificates_of_a_text_are_kept():
    assert certificates_of(f"root:x:0\n{CERTIFICATE}root:y:0\r\n{CERTIFICATE}", "x") == CERTIFICATE * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CERTIFICATE + KEY, "c.pem holds a private key"),
        (CERTIFICATE + KEY.replace("PRIVATE", "EC PRIVATE"), "c.pem holds a private key"),
        ("root:x:0", "c.pem holds no certificate"),
        ("", "c.pem holds no certificate"),
    ],
)
def test_a_text_without_certificates_or_with_a_key_is_refused(text, reason):
    with pytest.raises(ForeignFileError, match=reason):
        certificates_of(text, "c.pem")
