# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. How a change of chronyd's files is to be carried out."""

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change import confinement

# How a change of a file is applied, the dearest first.
RESTART, SOURCES, KEYS, NOTHING = "restart", "sources", "keys", "nothing"


class Options(NamedTuple):
    """How a change is carried out; times are in seconds."""

    config_file: str
    service: str
    # What the server's certificates must be for, by their paths.
    names: Mapping[str, Sequence[str]] = {}
    start_timeout: float = 30.0
    settle_time: float = 3.0
    lock_timeout: float = 60.0
    # Raises TransactionError where the clock does not follow what was asked for; returns warnings.
    verify: Optional[Callable[[], Optional[Sequence[str]]]] = None
    check_mode: bool = False
    # Whether chronyd is to run afterwards, and whether its unit is to be enabled (None: if it is to run).
    run: bool = True
    enabled: Optional[bool] = None
    # Whether what was there before the first change is kept for ever.
    originals: bool = True
    # What the host is like, kept before the first change.
    remember: Mapping[str, Any] = {}
    # Files whose originals are dropped in the end, because the change puts them back.
    put_back: Sequence[str] = ()
    # Whether everything that is kept of the host is dropped in the end.
    forget: bool = False
    # Units of other time daemons, which are stopped and masked.
    rivals: Sequence[str] = ()
    # Patterns of files of nobody else's: what matches and is not wanted is removed.
    owns: Sequence[str] = ()
    # What SELinux and AppArmor must let chronyd do; None leaves that as it is.
    uses: Optional[confinement.Requirements] = None
    # chronyd's options on its command line; None are those with which it runs.
    daemon_options: Optional[Sequence[str]] = None
    # Whether that includes what the configuration names.
    uses_paths: bool = True
    # Folders of nobody else's, which chronyd must be able to read.
    folders: Sequence[str] = ()
    # The folder of chronyd's log files, which is its user's own.
    log_dir: str = ""
    # Returns why a chronyd that runs with the right files does not do its work; nothing where it does.
    idle_problems: Callable[[], List[str]] = list
