# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Files that an administrator made symbolic links, and flags of files.

A change writes the target, and the link stays. Root follows a link only if root alone controls its target.
"""

import array
import errno
import fcntl
import os
import platform
import stat
import struct
from typing import Dict, List, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    FileSpec,
    TransactionError,
    user_name,
)

MAX_LINKS = 40
# linux/fs.h: FS_IOC_GETFLAGS is _IOR('f', 1, long); these architectures have 3 bits for the direction (asm/ioctl.h).
OTHER_DIRECTIONS = ("alpha", "mips", "ppc", "powerpc", "sparc")
FLAGS = {0x10: ("immutable", "i"), 0x20: ("append-only", "a")}


def resolved(wanted: Sequence[FileSpec]) -> List[FileSpec]:
    """Return the desired files, with the target as the path to write if a path is a symbolic link.

    If the desired state is absent or a link, the change replaces the link itself. Raise TransactionError for a link
    that root must not follow, and for two names of one file.
    """
    found = [_resolved(item) for item in wanted]
    names: Dict[str, str] = {}
    for item in found:
        other = names.setdefault(item.write_path, item.path)
        if other != item.path:
            raise TransactionError(
                f"{other} and {item.path} are the same file, by a symbolic link; nothing was changed. Remove the link."
            )
    return found


def _resolved(item: FileSpec) -> FileSpec:
    if item.content is None or item.link is not None or item.target is not None or not os.path.islink(item.path):
        return item
    return item._replace(target=target_of(item.path))


def target_of(path: str) -> str:
    """Return the target of a chain of symbolic links; raise TransactionError if root must not write to it.

    Follow the chain step by step, because each folder and link on the way determines the target.
    """
    left, folder, links = _steps(path), "/", 0
    _assert_root_controls(folder, path)
    while left:
        name = left.pop(0)
        here = os.path.normpath(os.path.join(folder, name))
        if os.path.islink(here):
            links += 1
            if links > MAX_LINKS:
                raise _refusal(path, "leads in a circle. Remove it")
            target = os.readlink(here)
            folder = "/" if target.startswith("/") else folder
            left = _steps(target) + left
        elif left:
            if not os.path.isdir(here):
                raise _refusal(
                    path, f"leads below {here}, which is not a folder of this host. Make the folder, or remove the link"
                )
            folder = here
            _assert_root_controls(folder, path)
        elif os.path.exists(here) and not os.path.isfile(here):
            raise _refusal(path, f"leads to {here}, which is not a regular file. Remove the link")
        else:
            return here
    raise _refusal(path, f"leads to the folder {folder}. Remove the link")


def _steps(path: str) -> List[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _assert_root_controls(folder: str, link: str) -> None:
    """Raise TransactionError if a user other than root can change the content of a folder."""
    status = os.stat(folder)
    if status.st_mode & stat.S_IWOTH:
        control = "all users can write to"
    elif status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        control = "its group can write to"
    elif status.st_uid != 0:
        control = f"the user {user_name(status.st_uid)} owns"
    else:
        return
    raise _refusal(
        link, f"leads through {folder}, a folder that {control}. Let root alone write to it, or remove the link"
    )


def _refusal(link: str, why: str) -> TransactionError:
    return TransactionError(f"{link} is a symbolic link and {why}; nothing was changed.")


def assert_changeable(path: str) -> None:
    """Raise TransactionError if the flags of a file or of its folder prevent root from replacing the file."""
    for each in (path, os.path.dirname(path)):
        for bit, (word, letter) in FLAGS.items():
            if flags_of(each) & bit:
                raise TransactionError(
                    f"{each} is {word} (chattr +{letter}), so {path} cannot be replaced; nothing was changed. Run"
                    f" `chattr -{letter} {each}`, or leave this host out."
                )


def flags_of(path: str) -> int:
    """Return the flags of a file or a folder (chattr); 0 if it does not exist or its file system has no flags."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return 0
    found = array.array("l", [0])
    size = struct.calcsize("l")
    reads = 2 << 29 if platform.machine().startswith(OTHER_DIRECTIONS) else 2 << 30
    request = reads | size << 16 | ord("f") << 8 | 1
    try:
        fcntl.ioctl(handle, request, found, True)
    except OSError as problem:
        if problem.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
        return 0
    finally:
        os.close(handle)
    return found[0] & 0xFFFFFFFF
