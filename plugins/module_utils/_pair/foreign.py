# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Read files that another program manages, possibly as another user than root.

Root copies their content into files that other users can read. So no user may make root read a file that only root can
read.
"""

import errno
import os
import stat
from typing import List

from ansible_collections.securetime.nts.plugins.module_utils._change.files import user_name
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import CERTIFICATE

# A chain of ten certificates with RSA 4096 has 30 KiB.
MAX_BYTES = 1 << 20
# The limit of Linux (path_resolution(7)).
MAX_LINKS = 40
NOT_REGULAR = "{} is not a regular file. Name the file that holds the PEM blocks."


class ForeignFileError(Exception):
    """A file is refused; the text is a sentence that gives the reason."""


def read_text(path: str) -> str:
    """Return the content of a regular file of at most MAX_BYTES; raise ForeignFileError.

    Where a user other than root owns a folder or a symbolic link of the path, refuse a file of another owner than the
    outermost of these users.
    """
    try:
        walk = _Walk(path)
        handle = walk.open()
    except OSError as error:
        raise ForeignFileError(f"{path} cannot be read: {error.strerror}.") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ForeignFileError(NOT_REGULAR.format(path))
        if walk.users and status.st_uid != walk.users[0]:
            raise ForeignFileError(
                f"{path} leads to a file of the user {user_name(status.st_uid)}, and the user"
                f" {user_name(walk.users[0])} owns a folder or a symbolic link on the way. Give the file to"
                f" {user_name(walk.users[0])}, or the folders and links to root."
            )
        if walk.is_shared and status.st_nlink > 1:
            raise ForeignFileError(
                f"{path} is a hard link in a folder that other users can write to. Copy the file, or take the right to"
                " write from the folder."
            )
        content = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else b""
    if status.st_size > MAX_BYTES or len(content) > MAX_BYTES:
        raise ForeignFileError(f"{path} is larger than {MAX_BYTES} bytes. Name a file that holds PEM blocks alone.")
    return content.decode("utf-8", "surrogateescape")


def certificates_of(text: str, path: str) -> str:
    """Return the certificates in a text, in PEM, and drop everything else.

    Raise ForeignFileError where the text has none, or has a private key; path names the file in the message.
    """
    if "PRIVATE KEY" in text:
        raise ForeignFileError(
            f"{path} holds a private key, and the certificate of an NTS server is for all users to read. Name a file"
            " that holds the certificates alone."
        )
    found = CERTIFICATE.findall(text)
    if not found:
        raise ForeignFileError(f"{path} holds no certificate in PEM. Name the file of the server's chain.")
    return "".join(f"{block}\n" for block in found)


class _Walk:
    """Resolve a path step by step from open folders, so that no user can change it during the walk.

    users are the owners of folders and symbolic links on the path, without root, outermost first: each of them decides
    where the path leads. is_shared says whether the group or all users can write to the last folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.users = []  # type: List[int]
        self.is_shared = False
        self.links = 0
        self.folder = os.open("/" if path.startswith("/") else ".", os.O_PATH)

    def open(self) -> int:
        """Return a descriptor of the regular file at the end of the path; raise ForeignFileError or OSError."""
        try:
            left = self.path.split("/")
            while left:
                name = left.pop(0) or "."
                found = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.folder)
                try:
                    kind = os.fstat(found).st_mode
                    if not stat.S_ISLNK(kind) and not stat.S_ISDIR(kind):
                        # Opening a device can have side effects, and opening a FIFO waits for a writer.
                        if left or not stat.S_ISREG(kind):
                            raise ForeignFileError(NOT_REGULAR.format(self.path))
                        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                        return os.open(name, flags, dir_fd=self.folder)
                    left = self._follow(found) + left
                finally:
                    os.close(found)
        finally:
            os.close(self.folder)
        raise ForeignFileError(NOT_REGULAR.format(self.path))

    def _follow(self, found: int) -> List[str]:
        """Enter a folder, or return the path components of a symbolic link's target."""
        status = os.fstat(found)
        if status.st_uid not in (0, *self.users):
            self.users.append(status.st_uid)
        if stat.S_ISDIR(status.st_mode):
            os.dup2(found, self.folder, inheritable=False)
            self.is_shared = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
            return []
        self.links += 1
        if self.links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink("", dir_fd=found)
        if target.startswith("/"):
            root = os.open("/", os.O_PATH)
            os.dup2(root, self.folder, inheritable=False)
            os.close(root)
        return target.split("/")
