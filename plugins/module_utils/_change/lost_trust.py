# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Trust anchors that a change of chronyd's files removes from a client."""

import os
from typing import Dict, List, NamedTuple, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import effective_directives
from ansible_collections.securetime.nts.plugins.module_utils._change.files import FileSpec, FileState, System, read
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import SOURCES, Options
from ansible_collections.securetime.nts.plugins.module_utils._x509 import trust


class RevokedTrust(NamedTuple):
    """Sentences about removed trust, and the folders of the saved cookies, which the client must no longer use."""

    trust: List[str]
    folders: List[str]


NOTHING_LOST = RevokedTrust([], [])


def lost_trust(
    host: System, changes: Sequence[FileSpec], before: Dict[str, Optional[FileState]], options: Options
) -> RevokedTrust:
    """Return the trust that the current files grant and the staged ones do not."""
    staged = by_path(changes)
    main = staged.get(options.config_file) or staged.get(os.path.realpath(options.config_file))
    if not changes or not os.path.exists(options.config_file) or (main is not None and main.content is None):
        return NOTHING_LOST
    old = effective_directives(host, options.config_file)
    new = old if main is None else effective_directives(host, main.staged)
    sources = [item for item in changes if item.effect == SOURCES]
    old_sources = [trust.words_of(_decode(before[item.path])) for item in sources]
    new_sources = [trust.words_of(item.content or "") for item in sources]
    old_trust = trust.trust_of(old, lambda path: map(_decode, _states_at(path)), old_sources)
    new_trust = trust.trust_of(
        new,
        lambda path: [staged[path].content or ""] if path in staged else map(_decode, _states_at(path)),
        new_sources,
    )
    revoked = trust.removed_anchors(old_trust, new_trust)
    return RevokedTrust(revoked, trust.dump_folders(old, new) if revoked else [])


def by_path(changes: Sequence[FileSpec]) -> Dict[str, FileSpec]:
    """Return the files by their paths and, for symbolic links, also by the paths of their targets."""
    return {path: item for item in changes for path in (item.path, item.write_path)}


def _states_at(path: str) -> List[Optional[FileState]]:
    """Return the state of the file, or of each file in the folder."""
    inside = sorted(os.listdir(path)) if os.path.isdir(path) else []
    paths = [os.path.join(path, name) for name in inside] if inside else [path]
    return [read(item) for item in paths if not os.path.isdir(item)]


def _decode(existing: Optional[FileState]) -> str:
    return existing.content.decode("utf-8", "replace") if existing else ""
