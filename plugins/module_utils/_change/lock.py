# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The lock that lets only one run at a time change chrony on a host."""

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import Iterator

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._state.host import read_file

# In the state folder.
LOCK = "lock"


@contextlib.contextmanager
def locked(host: System, timeout: float, create: bool = True) -> Iterator[None]:
    """Hold the lock of this host. The kernel releases it when the process ends.

    Raise TransactionError if another process holds it for `timeout` seconds. With `create=False` write nothing: if the
    file does not exist, no run has changed the host yet.
    """
    path = os.path.join(host.state, LOCK)
    if create:
        files.make_private(host.state)
    elif not os.path.lexists(path):
        yield
        return
    handle = _await_lock(path, os.O_RDWR | os.O_CREAT if create else os.O_RDONLY, timeout)
    try:
        if create and stat.S_IMODE(os.fstat(handle).st_mode) != 0o600:
            os.fchmod(handle, 0o600)
        yield
    finally:
        os.close(handle)


def _await_lock(path: str, flags: int, timeout: float) -> int:
    """Return the file descriptor that holds the lock; raise TransactionError if another process keeps it."""
    deadline = time.monotonic() + timeout
    handle = _open_lock(path, flags)
    while True:
        if _take_lock(handle):
            if _is_file(handle, path):
                return handle
            os.close(handle)
            handle = _open_lock(path, flags)
        elif time.monotonic() > deadline:
            os.close(handle)
            raise TransactionError(
                f"Another run{_holder(path)} has been changing chrony on this host for {timeout:g} seconds, so nothing"
                " was changed. Wait for it, or end it."
            )
        else:
            time.sleep(0.2)


def _take_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_lock(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise TransactionError(f"The lock {path} is a symbolic link; nothing was changed. Remove it.") from None
        raise


def _is_file(handle: int, path: str) -> bool:
    """Return whether the open file still has this path: a restore removes the lock while other runs wait for it."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _holder(path: str) -> str:
    """Describe the process that holds the lock; return an empty string if /proc/locks does not name it."""
    try:
        inode = os.lstat(path).st_ino
    except FileNotFoundError:
        return ""
    for line in read_file("/proc/locks").splitlines():
        # 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF. The lines of waiting processes have an arrow (`->`).
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode) and int(words[4]) > 0:
            return f" (process {words[4]}, {read_file(f'/proc/{words[4]}/comm').strip()})"
    return ""
