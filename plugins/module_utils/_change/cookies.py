# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The cookies that chronyd has saved as a client, which a change of its trust sets aside.

The folder belongs to chronyd's user, and root works in it: names are resolved in the open folder, nothing here follows
a symbolic link, and what is no regular file is left alone. No file or folder that this user makes, renames or removes
meanwhile keeps a change from going on.
"""

import contextlib
import errno
import os
import stat
from typing import Callable, Iterator, List, Optional

from ansible_collections.securetime.nts.plugins.module_utils._change.files import OLD, removal_problem

# Cookies and keys that a client has of a server, in chronyd's ntsdumpdir; the keys of a server are in ntskeys.
COOKIES = ".nts"
# A process of chronyd's user can make files faster than they are renamed.
ATTEMPTS = 5
# What such a process can bring about by a folder in the place of a file, or by a file that is gone.
RACES = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)


def set_aside_cookies(folder: str) -> None:
    """Keep from chronyd the cookies that it has saved, without needing room; remove those that cannot be kept.

    Raise OSError where a cookie can be neither renamed nor removed, as on a read-only file system: a client that no
    longer trusts a server must not use its cookies.
    """
    with _opened(folder) as handle:
        for _attempt in range(ATTEMPTS):
            names = _saved(handle, COOKIES)
            for name in names:
                _set_aside(handle, name)
            if not names:
                break


def put_back_cookies(folder: str) -> None:
    """Give chronyd back the cookies that were set aside, but for those in whose place a folder is."""
    with _opened(folder) as handle:
        for name in _saved(handle, COOKIES + OLD):
            if not _is(handle, name[: -len(OLD)], stat.S_ISDIR):
                with _raced():
                    os.replace(name, name[: -len(OLD)], src_dir_fd=handle, dst_dir_fd=handle)


def forget_cookies(folder: str) -> List[str]:
    """Remove the cookies that were set aside; return what could not be removed, in sentences."""
    with _opened(folder) as handle:
        found = [removal_problem(os.path.join(folder, name)) for name in _saved(handle, COOKIES + OLD)]
    return [problem for problem in found if problem]


def _set_aside(folder: Optional[int], name: str) -> None:
    try:
        os.replace(name, name + OLD, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with _raced():
            os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _raced() -> Iterator[None]:
    """Suppress the errors that chronyd's user can bring about."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in RACES:
            raise


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[Optional[int]]:
    """Open a folder, and bring what is renamed in it down to the disk; None where there is no folder."""
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


def _saved(folder: Optional[int], end: str) -> List[str]:
    """Return the names of the regular files with this end, but for hidden ones."""
    names = [] if folder is None else sorted(os.listdir(folder))
    return [name for name in names if name.endswith(end) and name[0] != "." and _is(folder, name, stat.S_ISREG)]


def _is(folder: Optional[int], name: str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return False
