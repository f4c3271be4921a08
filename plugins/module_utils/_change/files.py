# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Files as they are wanted, as they are, and how one becomes the other, all or nothing.

Nothing here needs room on the disk once the new files are staged: the old ones are kept as hard links beside them.
"""

import contextlib
import errno
import glob
import grp
import hashlib
import json
import os
import pwd
import stat
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

# Beside the file that it is about, and read by nothing: neither *.sources, *.conf nor *.service.
NEW = ".securetime-nts-new"
OLD = ".securetime-nts-old"
# Followed by the id of the process: a check never writes where another run reads.
CHECK = ".securetime-nts-check-"
# The exit status of a program that could not be run, as in the shell.
NOT_RUN = 127


# What a diff shows of a file that other users may not read.
HIDDEN = {"before": "(the old content is not shown)\n", "after": "(the new content is not shown)\n"}


class CommandResult(NamedTuple):
    """What became of a program."""

    status: int
    stdout: str
    stderr: str


class FileSpec(NamedTuple):
    """A file as it shall be: without content, it shall not be. The effect is what makes chronyd use it."""

    path: str
    content: Optional[str]
    owner: str
    group: str
    mode: int
    effect: str = "restart"
    # What the file is called while it waits beside its place.
    suffix: str = NEW
    # The target of a symbolic link, and the content of that; or extended attributes, ACLs included (None: any).
    link: Optional[str] = None
    xattrs: Optional[Mapping[str, bytes]] = None
    # Where the file is written, if its path is a symbolic link.
    target: Optional[str] = None

    @property
    def place(self) -> str:
        """Return the path that is written, kept, and put back."""
        return self.target or self.path

    @property
    def data(self) -> Optional[bytes]:
        """Return the content as bytes. What is no UTF-8 was read with escapes, and becomes what it was."""
        return None if self.content is None else self.content.encode("utf-8", "surrogateescape")

    @property
    def staged(self) -> str:
        """Return where the new file waits."""
        return self.place + self.suffix


class FileState(NamedTuple):
    """A file as it is."""

    content: bytes
    uid: int
    gid: int
    mode: int


class TransactionError(Exception):
    """The change was not made, or was taken back; the text says why and what the host runs now."""


class System:
    """What the transaction needs of a host.

    run(argv) executes a program and returns its Finished; label(file, path) gives a file the security label that
    belongs to this place, and says whether it had another.
    """

    def __init__(
        self,
        run: Callable[[List[str]], CommandResult],
        label: Callable[[str, str], Optional[bool]],
        state: str = "/var/lib/securetime-nts",
    ):
        self.run = run
        self.label = label
        self.state = state


def read(path: str) -> Optional[FileState]:
    """Return the file's content and metadata, or None where there is none."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return FileState(file.read(), status.st_uid, status.st_gid, status.st_mode & 0o7777)
    except FileNotFoundError:
        return None


def differs(wanted: FileSpec, existing: Optional[FileState]) -> bool:
    """Whether the host's file is not as wanted (content None: wanted absent)."""
    if wanted.link is not None:
        return not os.path.islink(wanted.path) or os.readlink(wanted.path) != wanted.link
    if wanted.content is None or existing is None:
        return (wanted.content is None) != (existing is None)
    target = (wanted.data, _uid(wanted.owner), _gid(wanted.group), wanted.mode)
    if wanted.xattrs is not None and (os.path.islink(wanted.place) or read_xattrs(wanted.place) != wanted.xattrs):
        return True
    return tuple(existing) != target


def read_xattrs(path: str) -> Dict[str, bytes]:
    """Return the extended attributes and ACLs of a file, but for those that belong to the security policy."""
    try:
        names = os.listxattr(path)
    except OSError as problem:
        if problem.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(path, name) for name in names if not name.startswith("security.")}


def diffs(wanted: FileSpec, existing: Optional[FileState]) -> List[Dict[str, str]]:
    """Return Ansible's before/after pairs for content and for metadata, each only where it changes."""
    old = existing.content.decode("utf-8", "replace") if existing else ""
    new = (wanted.data or b"").decode("utf-8", "replace")
    if wanted.link is not None:
        new = f"(a symbolic link to {wanted.link})\n"
    pairs = []
    if old != new or existing is None or wanted.content is None:
        shown = HIDDEN if _is_private(wanted, existing) else {"before": old, "after": new}
        pairs.append({"before_header": wanted.path, "after_header": wanted.path, **shown})
    if existing is not None and wanted.content is not None:
        was = f"owner: {user_name(existing.uid)}\ngroup: {group_name(existing.gid)}\nmode: {existing.mode:04o}\n"
        becomes = f"owner: {wanted.owner}\ngroup: {wanted.group}\nmode: {wanted.mode:04o}\n"
        if was != becomes:
            header = f"{wanted.path} (metadata)"
            pairs.append({"before_header": header, "after_header": header, "before": was, "after": becomes})
    return pairs


def _is_private(wanted: FileSpec, existing: Optional[FileState]) -> bool:
    """Say whether other users may not read the file as it is, or as it is wanted."""
    modes = [wanted.mode] if wanted.content is not None else []
    modes += [existing.mode] if existing else []
    return any(not mode & stat.S_IROTH for mode in modes)


def stage(host: System, wanted: FileSpec, made: Optional[List[str]] = None) -> None:
    """Write the new file beside its place, down to the disk; add the folders that this makes to made."""
    uid, gid = _uid(wanted.owner), _gid(wanted.group)
    for kind, name, number in (("user", wanted.owner, uid), ("group", wanted.group, gid)):
        if number is None:
            raise TransactionError(
                f"{wanted.path} is to belong to the {kind} {name}, which this host does not have; nothing was changed."
            )
    make_folders(os.path.dirname(wanted.place), [] if made is None else made)
    if wanted.link is not None:
        remove(wanted.staged)
        os.symlink(wanted.link, wanted.staged)
        os.lchown(wanted.staged, uid or 0, gid or 0)
        return
    write(wanted.staged, wanted.data or b"", wanted.mode, uid or 0, gid or 0, wanted.xattrs)
    host.label(wanted.staged, wanted.place)


def make_folders(folder: str, made: List[str]) -> None:
    """Make a folder and its missing parents with mode 0755 whatever the umask is; add their paths to made."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
        made.append(path)
        os.chmod(path, 0o755)


def remove_folders(made: Sequence[str]) -> None:
    """Remove the folders that make_folders() made, but for those that are not empty."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def write(
    path: str, content: bytes, mode: int, uid: int, gid: int, xattrs: Optional[Mapping[str, bytes]] = None
) -> None:
    """Write a file of nobody else's, down to the disk. What was there of an earlier run is replaced."""
    remove(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), uid, gid)
        os.fchmod(file.fileno(), mode)
        for name, value in (xattrs or {}).items():
            os.setxattr(file.fileno(), name, value)
        os.fsync(file.fileno())


def keep(path: str) -> None:
    """Keep the file as it is, beside its place, without needing room."""
    remove(path + OLD)
    if os.path.lexists(path):
        os.link(path, path + OLD, follow_symlinks=False)
        sync(path)


def swap(wanted: FileSpec) -> None:
    """Put the staged file into its place, or take away what is there, atomically."""
    if wanted.content is None:
        remove(wanted.place)
    else:
        os.replace(wanted.staged, wanted.place)
    sync(wanted.place)


def put_back(path: str, existed: bool) -> None:
    """Make the file what it was before keep(). What was not kept yet was not swapped yet."""
    if os.path.lexists(path + OLD):
        os.replace(path + OLD, path)
        # Between two names of the same file, rename does nothing.
        remove(path + OLD)
    elif not existed:
        remove(path)
    remove(path + NEW)
    sync(path)


def forget(path: str) -> None:
    """Remove what the steps above left beside the file."""
    remove(path + NEW)
    remove(path + OLD)


def forget_checks(path: str) -> None:
    """Remove what checks that were cut have left beside the file."""
    for left in glob.glob(glob.escape(path + CHECK) + "*"):
        if not os.path.exists(f"/proc/{left[len(path + CHECK) :]}"):
            remove(left)


def owned(patterns: Sequence[str]) -> List[str]:
    """Return the paths that match, also of what is only left over beside one of them."""
    found = [(path, end) for pattern in patterns for end in ("", NEW, OLD) for path in glob.glob(pattern + end)]
    return sorted({path[: len(path) - len(end)] for path, end in found})


def remove(path: str) -> None:
    """Remove the file, if it is there."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as problem:
        # On a read-only file system the kernel returns EROFS even where there is no file.
        if problem.errno != errno.EROFS or os.path.lexists(path):
            raise


def removal_problem(path: str) -> str:
    """Remove the file, if it is there; return a sentence where that fails, else nothing."""
    try:
        remove(path)
    except OSError as problem:
        return f"{path} could not be removed: {problem.strerror}. Remove it."
    return ""


def sync(path: str) -> None:
    """Bring what was renamed in the folder of path down to the disk."""
    try:
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(content: bytes) -> str:
    """Return the SHA-256 of content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _uid(name: str) -> Optional[int]:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdigit() else None


def _gid(name: str) -> Optional[int]:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdigit() else None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or the number of one without a name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def make_private(folder: str) -> None:
    """Make a folder that root alone can enter; correct the mode and the owner of one that exists."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    status = os.stat(folder)
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(folder, os.geteuid(), os.getegid())
    if stat.S_IMODE(status.st_mode) != 0o700:
        os.chmod(folder, 0o700)


def load(host: System, name: str) -> Dict[str, Any]:
    """Return what was saved under this name; empty if nothing was, or nothing that can be read."""
    return _loaded(host, name) or {}


def load_whole(host: System, name: str, remedy: str) -> Dict[str, Any]:
    """As load(), but raise TransactionError where the file is damaged."""
    found = _loaded(host, name)
    if found is None:
        path = os.path.join(host.state, name)
        raise TransactionError(f"{path} is damaged: it does not hold a JSON object; nothing was changed. {remedy}")
    return found


def _loaded(host: System, name: str) -> Optional[Dict[str, Any]]:
    """Return what was saved under this name, empty if nothing was, None if it is damaged."""
    existing = read(os.path.join(host.state, name))
    try:
        found = json.loads(existing.content.decode()) if existing else {}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def save(host: System, name: str, content: Dict[str, Any]) -> None:
    """Save under this name, whole or not at all, down to the disk."""
    path = os.path.join(host.state, name)
    make_private(host.state)
    make_private(os.path.dirname(path))
    write(path + NEW, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode(), 0o600, 0, 0)
    os.replace(path + NEW, path)
    sync(path)
