# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Set aside the cookies that chronyd saved as a client, when a change revokes trust.

chronyd's user owns the folder, and root works in it. So this module resolves names relative to the open folder, follows
no symbolic link, and touches regular files only. No file or folder that this user creates, renames or removes meanwhile
can block a change.
"""

import contextlib
import errno
import os
import stat
from typing import Callable, Iterator, List, Optional

from ansible_collections.securetime.nts.plugins.module_utils._change.files import OLD, removal_problem

# Suffix of a client's saved cookies and keys of one server, in chronyd's ntsdumpdir. The file ntskeys is a server's.
COOKIES = ".nts"
# Limit of the passes: a process of chronyd's user can create files faster than root renames them.
ATTEMPTS = 5
# Errors that such a process can cause: it replaces a file by a folder, or removes it.
RACES = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)


def set_aside_cookies(folder: str) -> None:
    """Rename the saved cookies, which needs no disk space, so that chronyd does not load them; else remove them.

    Raise OSError if a cookie can be neither renamed nor removed, as on a read-only file system: a client that no longer
    trusts a server must not use its cookies.
    """
    with _open_folder(folder) as handle:
        for _attempt in range(ATTEMPTS):
            names = _list_saved(handle, COOKIES)
            for name in names:
                _set_aside(handle, name)
            if not names:
                break


def put_back_cookies(folder: str) -> None:
    """Restore the cookies that were set aside, except where a folder has taken the name."""
    with _open_folder(folder) as handle:
        for name in _list_saved(handle, COOKIES + OLD):
            if not _has_type(handle, name[: -len(OLD)], stat.S_ISDIR):
                with _suppress_races():
                    os.replace(name, name[: -len(OLD)], src_dir_fd=handle, dst_dir_fd=handle)


def forget_cookies(folder: str) -> List[str]:
    """Remove the cookies that were set aside; return a sentence for each failed removal."""
    with _open_folder(folder) as handle:
        found = [removal_problem(os.path.join(folder, name)) for name in _list_saved(handle, COOKIES + OLD)]
    return [problem for problem in found if problem]


def _set_aside(folder: Optional[int], name: str) -> None:
    try:
        os.replace(name, name + OLD, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with _suppress_races():
            os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _suppress_races() -> Iterator[None]:
    """Suppress the errors that chronyd's user can cause."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in RACES:
            raise


@contextlib.contextmanager
def _open_folder(folder: str) -> Iterator[Optional[int]]:
    """Yield the handle of a folder, and sync its renames to the disk at the end; yield None if there is no folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield handle
        os.fsync(handle)
    finally:
        os.close(handle)


def _list_saved(folder: Optional[int], end: str) -> List[str]:
    """Return the names of the regular files with this suffix, without hidden ones."""
    names = [] if folder is None else sorted(os.listdir(folder))
    return [name for name in names if name.endswith(end) and name[0] != "." and _has_type(folder, name, stat.S_ISREG)]


def _has_type(folder: Optional[int], name: str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return False
