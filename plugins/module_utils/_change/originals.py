# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Originals: the files of a host before their first change, and facts from the role.

Keep each file once. Keep no SELinux labels: they depend on the path and on the current policy.
"""

import base64
import os
import shutil
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._change import files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    FileSpec,
    System,
    TransactionError,
    load,
    load_whole,
    read,
    save,
)

# In the state folder.
FOLDER = "original"
MANIFEST = "original/manifest.json"
REMEMBERED = "original/remembered.json"
RIVALS = "original/rivals.json"
FOLDERS = "original/folders.json"
# Suffix of the state folder's path during its deletion.
FORGOTTEN = ".securetime-nts-forgotten"
REMEDY = (
    "It lists the files of this host before their first change. Restore it from a backup, or remove the folder {folder}"
    " to give up these files."
)


def remember(host: System, facts: Mapping[str, Any]) -> None:
    """Keep facts about the host as of the first change; later calls change nothing."""
    if facts and not remembered(host):
        save(host, REMEMBERED, dict(facts))


def remembered(host: System) -> Dict[str, Any]:
    """Return the facts that remember() keeps; empty if there are none."""
    return _load(host, REMEMBERED)


def keep_rivals(host: System, rows: Sequence[Dict[str, Any]]) -> None:
    """Keep the state of other time daemons before their first stop, once for each unit."""
    kept = _load(host, RIVALS)
    if not {row["unit"] for row in rows} <= set(kept):
        save(host, RIVALS, {**{row["unit"]: row for row in rows}, **kept})


def kept_rivals(host: System) -> List[Dict[str, Any]]:
    """Return the rows that keep_rivals() keeps."""
    return list(_load(host, RIVALS).values())


def keep_folders(host: System, made: Sequence[str]) -> None:
    """Keep the paths of folders that a change creates. A restore removes those that are then empty."""
    kept = kept_folders(host)
    if not set(made) <= set(kept):
        save(host, FOLDERS, {"made": sorted({*kept, *made})})


def kept_folders(host: System) -> List[str]:
    """Return the paths that keep_folders() keeps, each folder before its subfolders."""
    return list(load(host, FOLDERS).get("made", []))


def specs(host: System) -> List[FileSpec]:
    """Return the state of every file before its first change."""
    return [_original(host, path, entry) for path, entry in sorted(_load(host, MANIFEST).items())]


def spec(host: System, path: str) -> Optional[FileSpec]:
    """Return the state of a file before its first change; None if no run has changed it."""
    kept = _load(host, MANIFEST)
    # For a symbolic link, the changed file is its target.
    name = path if path in kept else os.path.realpath(path)
    return _original(host, name, kept[name]) if name in kept else None


def keep(host: System, path: str) -> None:
    """Keep the state of a file before its first change; later calls change nothing."""
    kept = _load(host, MANIFEST)
    if path not in kept:
        save(host, MANIFEST, {**kept, path: _entry(host, path, kept)})


def drop(host: System, paths: Sequence[str]) -> None:
    """Delete the originals of these files."""
    kept = _load(host, MANIFEST)
    paths = [name for path in paths for name in (path, os.path.realpath(path))]
    if set(paths) & set(kept):
        save(host, MANIFEST, {path: entry for path, entry in kept.items() if path not in paths})
    for path in set(paths) & set(kept):
        if kept[path] and "file" in kept[path]:
            files.remove(os.path.join(host.state, FOLDER, kept[path]["file"]))


def forget_everything(host: System) -> List[str]:
    """Delete the state folder, so that the present state of the host becomes the next original; return warnings."""
    remove_forgotten(host)
    try:
        # Rename first: an interrupted deletion would leave a manifest without its files, which breaks a restore.
        os.rename(host.state, host.state + FORGOTTEN)
        files.sync(host.state)
    except OSError:
        # For example, the folder is a mount point.
        shutil.rmtree(host.state, ignore_errors=True)
    remove_forgotten(host)
    left = [path for path in (host.state, host.state + FORGOTTEN) if os.path.exists(path)]
    return [f"{path} could not be removed. Remove it." for path in left]


def remove_forgotten(host: System) -> None:
    """Finish an interrupted forget_everything()."""
    shutil.rmtree(host.state + FORGOTTEN, ignore_errors=True)


def _load(host: System, name: str) -> Dict[str, Any]:
    return load_whole(host, name, REMEDY.format(folder=os.path.join(host.state, FOLDER)))


def _entry(host: System, path: str, kept: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """Keep the content of a file and return its manifest entry; None if the file does not exist."""
    if os.path.islink(path):
        status = os.lstat(path)
        return {"link": os.readlink(path), "uid": status.st_uid, "gid": status.st_gid}
    existing = read(path)
    if existing is None:
        return None
    used = {entry["file"] for entry in kept.values() if entry and "file" in entry}
    name = next(f"{number:03d}" for number in range(len(used) + 1) if f"{number:03d}" not in used)
    place = os.path.join(host.state, FOLDER, name)
    files.make_private(host.state)
    files.make_private(os.path.dirname(place))
    files.write(place, existing.content, 0o600, 0, 0)
    return {
        "file": name,
        "uid": existing.uid,
        "gid": existing.gid,
        "mode": f"{existing.mode:04o}",
        "xattrs": {name: base64.b64encode(value).decode() for name, value in files.read_xattrs(path).items()},
    }


def _original(host: System, path: str, entry: Optional[Dict[str, Any]]) -> FileSpec:
    if entry is None:
        return FileSpec(path, None, "root", "root", 0o644)
    owner, group = files.user_name(entry["uid"]), files.group_name(entry["gid"])
    if "link" in entry:
        target = read(os.path.join(os.path.dirname(path), entry["link"]))
        content = target.content.decode("utf-8", "surrogateescape") if target else ""
        return FileSpec(path, content, owner, group, target.mode if target else 0o644, link=entry["link"])
    kept = read(os.path.join(host.state, FOLDER, entry["file"]))
    if kept is None:
        raise TransactionError(
            f"The original of {path} is missing below {host.state}. Restore this folder from a backup."
        )
    content = kept.content.decode("utf-8", "surrogateescape")
    xattrs = {name: base64.b64decode(value) for name, value in entry.get("xattrs", {}).items()}
    # target=path replaces a symbolic link that is newer than the original, instead of following it.
    return FileSpec(path, content, owner, group, int(entry["mode"], 8), xattrs=xattrs, target=path)
