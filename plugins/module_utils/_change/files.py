# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Desired and current state of files, and the steps from one to the other.

Only staging needs disk space. The old files stay as hard links beside the new ones, so a rollback needs none.
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

# Suffixes beside the file itself. No program reads such names: they match neither *.sources, *.conf nor *.service.
NEW = ".securetime-nts-new"
OLD = ".securetime-nts-old"
# The process id follows, so that check mode never writes to a path that another run reads.
CHECK = ".securetime-nts-check-"
# Exit status if the program cannot be run, as in the shell.
NOT_RUN = 127


# Content of a diff for a file that other users may not read.
HIDDEN = {"before": "(the old content is not shown)\n", "after": "(the new content is not shown)\n"}


class CommandResult(NamedTuple):
    """Exit status and output of a program."""

    status: int
    stdout: str
    stderr: str


class FileSpec(NamedTuple):
    """Desired state of a file. `content=None` means absent. `effect` is the method by which chronyd loads it."""

    path: str
    content: Optional[str]
    owner: str
    group: str
    mode: int
    effect: str = "restart"
    # Suffix of the staged file.
    suffix: str = NEW
    # For a symbolic link: its target, whose content is then `content`.
    link: Optional[str] = None
    # Extended attributes, ACLs included; None accepts any.
    xattrs: Optional[Mapping[str, bytes]] = None
    # The path to write, if `path` is a symbolic link that stays.
    target: Optional[str] = None

    @property
    def write_path(self) -> str:
        """Return the path that a change writes and a rollback restores."""
        return self.target or self.path

    @property
    def data(self) -> Optional[bytes]:
        """Return the content as bytes. Surrogate escapes become the original bytes that were no UTF-8."""
        return None if self.content is None else self.content.encode("utf-8", "surrogateescape")

    @property
    def staged(self) -> str:
        """Return the path of the staged file."""
        return self.write_path + self.suffix


class FileState(NamedTuple):
    """Current state of a file."""

    content: bytes
    uid: int
    gid: int
    mode: int


class TransactionError(Exception):
    """The change was refused or rolled back; the text gives the reason and the present state of the host."""


class System:
    """The host's functions that a transaction calls.

    `run(argv)` executes a program and returns a CommandResult. `label(file, path)` gives a file the security label of
    `path`, and returns whether the label changed. `state` is the state folder.
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


def read(path: str, follow: bool = True) -> Optional[FileState]:
    """Return content and metadata of a file, or None if it does not exist.

    Raise OSError for a FIFO, on which a read would wait. Without `follow`, also raise it for a symbolic link: another
    user may have put it there since the last check.
    """
    flags = os.O_NONBLOCK if follow else os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        with open(path, "rb", opener=lambda name, given: os.open(name, given | flags)) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISFIFO(status.st_mode):
                raise OSError(errno.EINVAL, "It is a FIFO", path)
            return FileState(file.read(), status.st_uid, status.st_gid, status.st_mode & 0o7777)
    except FileNotFoundError:
        return None


def differs(wanted: FileSpec, existing: Optional[FileState]) -> bool:
    """Return whether the current state differs from the desired state."""
    if wanted.link is not None:
        return not os.path.islink(wanted.path) or os.readlink(wanted.path) != wanted.link
    if wanted.content is None or existing is None:
        return (wanted.content is None) != (existing is None)
    target = (wanted.data, _uid(wanted.owner), _gid(wanted.group), wanted.mode)
    if wanted.xattrs is not None and (
        os.path.islink(wanted.write_path) or read_xattrs(wanted.write_path) != wanted.xattrs
    ):
        return True
    return tuple(existing) != target


def read_xattrs(path: str) -> Dict[str, bytes]:
    """Return the extended attributes and ACLs of a file, except those of the security policy (`security.*`)."""
    try:
        names = os.listxattr(path)
    except OSError as problem:
        if problem.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(path, name) for name in names if not name.startswith("security.")}


def diffs(wanted: FileSpec, existing: Optional[FileState]) -> List[Dict[str, str]]:
    """Return Ansible's before/after pairs for content and for metadata, each only if it changes."""
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
    """Return whether the current or the desired mode denies other users to read the file."""
    modes = [wanted.mode] if wanted.content is not None else []
    modes += [existing.mode] if existing else []
    return any(not mode & stat.S_IROTH for mode in modes)


def stage(host: System, wanted: FileSpec, made: Optional[List[str]] = None) -> None:
    """Write the staged file and sync it to the disk; add new folders to `made`."""
    uid, gid = _uid(wanted.owner), _gid(wanted.group)
    for kind, name, number in (("user", wanted.owner, uid), ("group", wanted.group, gid)):
        if number is None:
            raise TransactionError(
                f"{wanted.path} is to belong to the {kind} {name}, which this host does not have; nothing was changed."
            )
    make_folders(os.path.dirname(wanted.write_path), [] if made is None else made)
    if wanted.link is not None:
        remove(wanted.staged)
        os.symlink(wanted.link, wanted.staged)
        os.lchown(wanted.staged, uid or 0, gid or 0)
        return
    write(wanted.staged, wanted.data or b"", wanted.mode, uid or 0, gid or 0, wanted.xattrs)
    host.label(wanted.staged, wanted.write_path)


def make_folders(folder: str, made: List[str]) -> None:
    """Create a folder and its missing parents with mode 0755, whatever the umask is; add their paths to `made`."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
        made.append(path)
        os.chmod(path, 0o755)


def remove_folders(made: Sequence[str]) -> None:
    """Remove the folders that make_folders() created, except those that are not empty."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def write(
    path: str, content: bytes, mode: int, uid: int, gid: int, xattrs: Optional[Mapping[str, bytes]] = None
) -> None:
    """Write a file of this collection and sync it to the disk; replace what an earlier run left at the path."""
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
    """Keep the old file as a hard link beside it, which needs no disk space."""
    remove(path + OLD)
    if os.path.lexists(path):
        os.link(path, path + OLD, follow_symlinks=False)
        sync(path)


def swap(wanted: FileSpec) -> None:
    """Replace the file atomically by the staged one, or remove it."""
    if wanted.content is None:
        remove(wanted.write_path)
    else:
        os.replace(wanted.staged, wanted.write_path)
    sync(wanted.write_path)


def put_back(path: str, existed: bool) -> None:
    """Restore the file as of keep(). A file without a kept version has not been swapped yet."""
    if os.path.lexists(path + OLD):
        os.replace(path + OLD, path)
        # rename(2) does nothing if both names are links to the same file.
        remove(path + OLD)
    elif not existed:
        remove(path)
    remove(path + NEW)
    sync(path)


def forget(path: str) -> None:
    """Remove the staged and the kept version of a file."""
    remove(path + NEW)
    remove(path + OLD)


def is_left(path: str) -> bool:
    """Return whether an interrupted run has left the staged or the kept version of a file."""
    return os.path.lexists(path + NEW) or os.path.lexists(path + OLD)


def forget_checks(path: str) -> None:
    """Remove the staged files of interrupted runs in check mode, whose processes have ended."""
    for left in glob.glob(glob.escape(path + CHECK) + "*"):
        if not os.path.exists(f"/proc/{left[len(path + CHECK) :]}"):
            remove(left)


def owned(patterns: Sequence[str]) -> List[str]:
    """Return the paths that match, including those of which only a staged or kept version is left."""
    found = [(path, end) for pattern in patterns for end in ("", NEW, OLD) for path in glob.glob(pattern + end)]
    return sorted({path[: len(path) - len(end)] for path, end in found})


def remove(path: str) -> None:
    """Remove the file if it exists."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as problem:
        # On a read-only file system the kernel returns EROFS even for a file that does not exist.
        if problem.errno != errno.EROFS or os.path.lexists(path):
            raise


def removal_problem(path: str) -> str:
    """Remove the file if it exists; return a sentence if that fails, else an empty string."""
    try:
        remove(path)
    except OSError as problem:
        return f"{path} could not be removed: {problem.strerror}. Remove it."
    return ""


def sync(path: str) -> None:
    """Sync the folder of the path to the disk, so that a rename in it is durable."""
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
    """Return the name of a user, or the UID if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or the GID if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def make_private(folder: str) -> None:
    """Create a folder with mode 0700 for root; correct mode and owner of an existing one."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    status = os.stat(folder)
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(folder, os.geteuid(), os.getegid())
    if stat.S_IMODE(status.st_mode) != 0o700:
        os.chmod(folder, 0o700)


def load(host: System, name: str) -> Dict[str, Any]:
    """Return the JSON object saved under this name; empty if there is none or it is damaged."""
    return _loaded(host, name) or {}


def load_whole(host: System, name: str, remedy: str) -> Dict[str, Any]:
    """Do the same as load(), but raise TransactionError if the file is damaged."""
    found = _loaded(host, name)
    if found is None:
        path = os.path.join(host.state, name)
        raise TransactionError(f"{path} is damaged: it does not hold a JSON object; nothing was changed. {remedy}")
    return found


def _loaded(host: System, name: str) -> Optional[Dict[str, Any]]:
    """Return the JSON object saved under this name; empty if there is none, None if it is damaged."""
    existing = read(os.path.join(host.state, name))
    try:
        found = json.loads(existing.content.decode()) if existing else {}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def save(host: System, name: str, content: Dict[str, Any]) -> None:
    """Save a JSON object under this name, atomically, and sync it to the disk."""
    path = os.path.join(host.state, name)
    make_private(host.state)
    make_private(os.path.dirname(path))
    write(path + NEW, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode(), 0o600, 0, 0)
    os.replace(path + NEW, path)
    sync(path)
