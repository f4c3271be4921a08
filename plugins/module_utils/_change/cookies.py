# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The cookies that chronyd has saved as a client, which a change of its trust sets aside.

The folder belongs to chronyd's user, and root works in it: nothing here follows a symbolic link, and what is no regular
file is left alone. No folder that this user makes keeps a change from going on.
"""

import glob
import os
import stat
from typing import List

from ansible_collections.securetime.nts.plugins.module_utils._change.files import OLD, removal_problem, remove, sync

# Cookies and keys that a client has of a server, in chronyd's ntsdumpdir; the keys of a server are in ntskeys.
COOKIES = "*.nts"


def set_aside_cookies(folder: str) -> None:
    """Keep from chronyd the cookies that it has saved, without needing room; remove those that cannot be kept."""
    for path in _saved(folder, COOKIES):
        if _is_folder(path + OLD):
            # A client that no longer trusts a server must not use its cookies.
            remove(path)
        else:
            os.replace(path, path + OLD)
    sync(os.path.join(folder, COOKIES))


def put_back_cookies(folder: str) -> None:
    """Give chronyd back the cookies that were set aside, but for those in whose place a folder is."""
    for path in _saved(folder, COOKIES + OLD):
        if not _is_folder(path[: -len(OLD)]):
            os.replace(path, path[: -len(OLD)])
    sync(os.path.join(folder, COOKIES))


def forget_cookies(folder: str) -> List[str]:
    """Remove the cookies that were set aside; return what could not be removed, in sentences."""
    found = [removal_problem(path) for path in _saved(folder, COOKIES + OLD)]
    return [problem for problem in found if problem]


def _saved(folder: str, pattern: str) -> List[str]:
    """Return the paths of the regular files that match."""
    return [path for path in glob.glob(os.path.join(glob.escape(folder), pattern)) if _is_regular(path)]


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
