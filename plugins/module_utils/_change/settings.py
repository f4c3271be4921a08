# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The settings of one change of chronyd's files."""

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change import confinement

# Reload methods, most disruptive first.
RESTART, SOURCES, KEYS, NOTHING = "restart", "sources", "keys", "nothing"


class Options(NamedTuple):
    """Settings of one change. Times are in seconds."""

    config_file: str
    service: str
    # The names that each certificate of the server must carry, by its path.
    names: Mapping[str, Sequence[str]] = {}
    start_timeout: float = 30.0
    settle_time: float = 3.0
    lock_timeout: float = 60.0
    # Verifies the clock after the change: raises TransactionError if it misses the goal, returns warnings.
    verify: Optional[Callable[[], Optional[Sequence[str]]]] = None
    check_mode: bool = False
    # Whether chronyd runs after the change, and whether its unit is enabled (None: same as `run`).
    run: bool = True
    enabled: Optional[bool] = None
    # Whether to keep the originals of changed files.
    originals: bool = True
    # Facts about the host, kept at the first change.
    remember: Mapping[str, Any] = {}
    # Files that this change restores: delete their originals after it.
    put_back: Sequence[str] = ()
    # Whether to delete the state folder after the change.
    forget: bool = False
    # Units of other time daemons, which the change stops and masks.
    rivals: Sequence[str] = ()
    # Glob patterns of files of this collection: the change removes matches that are not wanted.
    owns: Sequence[str] = ()
    # What SELinux and AppArmor must allow; None leaves the confinement unmanaged.
    uses: Optional[confinement.Requirements] = None
    # chronyd's command-line options; None means those of the running chronyd.
    daemon_options: Optional[Sequence[str]] = None
    # Whether `uses` also covers the paths and ports that the configuration names.
    uses_paths: bool = True
    # Folders that only chronyd uses, and that it must be able to read.
    folders: Sequence[str] = ()
    # The folder of chronyd's log files, which chronyd's user owns.
    log_dir: str = ""
    # Returns why chronyd does not work although it runs with the right files; an empty list if it works.
    idle_problems: Callable[[], List[str]] = list
