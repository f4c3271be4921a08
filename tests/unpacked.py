# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of any Debian suite, unpacked and run without installing them. Needs root and mmdebstrap."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

UNPACKED = Path(__file__).resolve().parents[1] / ".build" / "unpacked"
# A mirror is allowed to be of yesterday.
STALE = ['Acquire::Check-Valid-Until "false"']


def program(suite: str, package: str, path: str) -> list[str]:
    """Return the command that runs a program of a package; it is unpacked once, with the libraries that it loads."""
    folder = UNPACKED / f"{suite}-{package}-{Path(path).name}"
    with _unfinished(folder) as unfinished:
        if unfinished:
            root = unpack(suite, unfinished, STALE, package)
            _alone(root, root / path, unfinished / "alone").rename(folder)
    return [str(folder / "loader"), "--library-path", str(folder), str(folder / Path(path).name)]


def system(suite: str, packages: Sequence[str]) -> Path:
    """Return a folder with packages and all that they need, to be the root of a program; it is unpacked once."""
    folder = UNPACKED / f"{suite}-system"
    with _unfinished(folder) as unfinished:
        if unfinished:
            root = unpack(suite, unfinished, STALE, ",".join(packages))
            # Where nothing is installed, nothing has made the links of the merged /usr.
            for name in ("bin", "lib", "lib64"):
                if not (root / name).exists():
                    (root / name).symlink_to(f"usr/{name}")
            root.rename(folder)
    return folder


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path | None]:
    """Yield a folder to make another one in, or nothing if that is there already."""
    if folder.exists():
        yield None
        return
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as unfinished:
        yield Path(unfinished)


def _alone(root: Path, path: Path, folder: Path) -> Path:
    """Copy a program and the libraries that it loads: the rest of a system has links that lead out of it."""
    command = loader(root)
    listed = subprocess.run([*command, "--list", path], check=True, capture_output=True, text=True).stdout
    folder.mkdir()
    libraries = [word for word in listed.split() if word.startswith(str(root))]
    # Before Debian 12, glibc reads /etc/passwd by a library of its own, which it loads only when it is needed.
    for file in [path, *libraries, *root.glob("lib/*-linux-*/libnss_files*")]:
        shutil.copy(file, folder)
    shutil.copy(command[0], folder / "loader")
    return folder


def unpack(suite: str, folder: Path, options: Sequence[str] = (), package: str = "chrony") -> Path:
    """Unpack a package and its libraries from a Debian suite, off the mirror that this machine uses."""
    indexes = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    mirror = subprocess.run(indexes, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    root = folder / suite
    command = ["mmdebstrap", "--quiet", *(f"--aptopt={option}" for option in options), "--variant=extract"]
    subprocess.run([*command, f"--include={package}", suite, str(root), f"deb {mirror} {suite} main"], check=True)
    root.chmod(0o755)
    return root


def loader(root: Path) -> list[str]:
    """Return the command that loads a program with the libraries of its own suite, if it came with any."""
    folders = [path for place in ("usr/lib", "lib") for path in root.glob(f"{place}/*-linux-*")]
    # Links in the suite can be absolute, and would lead to the loader of this machine.
    loaders = [path for folder in folders for path in folder.glob("ld-*.so*") if not path.is_symlink()]
    return [str(loaders[0]), "--library-path", ":".join(map(str, folders))] if loaders else []
