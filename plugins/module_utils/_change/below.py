# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Write and remove files below a folder in which another user may plant links.

Open each component of a path relative to its parent, and follow no link. So no user can make root write, remove, or
change modes elsewhere.
"""

import contextlib
import os
import stat
from typing import Iterator, List, Tuple

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextlib.contextmanager
def opened(root: str, folders: List[str], make: bool) -> Iterator[int]:
    """Yield the handle of a folder below `root`, and create it if `make`. Raise OSError at a link or a file."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folders:
            is_new = make and _make(name, handle)
            below = os.open(name, FOLDER, dir_fd=handle)
            os.close(handle)
            handle = below
            if is_new:
                # Override the umask, because a web server must read the folder.
                os.fchmod(handle, 0o755)
        yield handle
    finally:
        os.close(handle)


def _make(name: str, parent: int) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def write_below(root: str, path: str, content: bytes) -> bool:
    """Write a file with mode 0644; return whether it changed."""
    folders, name = _split(path)
    with opened(root, folders, make=True) as handle:
        if _has(name, handle, content):
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=handle)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(name, flags, 0o644, dir_fd=handle), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
    return True


def remove_below(root: str, path: str) -> bool:
    """Remove a file, but not its folders; return whether it existed."""
    folders, name = _split(path)
    try:
        with opened(root, folders, make=False) as handle:
            os.unlink(name, dir_fd=handle)
    except FileNotFoundError:
        return False
    return True


def _split(path: str) -> Tuple[List[str], str]:
    """Return the folders and the name of a relative path; raise ValueError if a component is empty, `.` or `..`."""
    parts = path.split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise ValueError(f"{path} is not a path below a folder.")
    return parts[:-1], parts[-1]


def _has(name: str, folder: int, content: bytes) -> bool:
    """Return whether a regular file holds this content. Read at most one byte more: another user may own the file."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
            return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.read(len(content) + 1) == content
    except OSError:
        return False
