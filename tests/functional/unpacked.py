# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of any Debian suite, unpacked and run without installing them. Needs root and mmdebstrap."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Outside the tree, because there are tools that copy all of it, and these folders have links that lead nowhere.
UNPACKED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "securetime-nts" / "unpacked"
# They cannot be installed together.
CHRONY_PACKAGES = "chrony,python3,coreutils"
NTPSEC_PACKAGES = "ntpsec"
# A mirror is allowed to be of yesterday.
STALE = ['Acquire::Check-Valid-Until "false"']
# A mirror may refuse a request once.
RETRIES = 'Acquire::Retries "5"'


def program(suite: str, path: str, packages: str = CHRONY_PACKAGES) -> list[str]:
    """Return the command that runs a program of a suite with its own libraries, copied once to be alone."""
    folder = UNPACKED / f"{suite}-{Path(path).name}"
    root = system(suite, packages)
    with _unfinished(folder) as unfinished:
        if unfinished:
            _alone(root, root / path, unfinished / "alone").rename(folder)
    return [str(folder / "loader"), "--library-path", str(folder), str(folder / Path(path).name)]


def system(suite: str, packages: str = CHRONY_PACKAGES) -> Path:
    """Return a folder with packages of a suite and all that they need, unpacked once; a program can have it as root."""
    folder = UNPACKED / f"{suite}-{packages.partition(',')[0]}"
    with _unfinished(folder) as unfinished:
        if unfinished:
            root = unpack(suite, unfinished, STALE, packages)
            # Where nothing is installed, nothing has made the links of the merged /usr.
            for name in ("bin", "lib", "lib64"):
                if not (root / name).exists():
                    (root / name).symlink_to(f"usr/{name}")
            root.rename(folder)
    return folder


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path | None]:
    """Yield a folder to make another one in, or nothing if that is there already. Only one at a time makes one."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with (UNPACKED / f"{folder.name}.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=UNPACKED) as unfinished:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield None if folder.exists() else Path(unfinished)


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


def unpack(suite: str, folder: Path, options: Sequence[str] = (), packages: str = "chrony") -> Path:
    """Unpack packages and their libraries from a Debian suite, off the mirror of the controller."""
    indexes = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    mirror = subprocess.run(indexes, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    root = folder / suite
    command = ["mmdebstrap", "--quiet", *(f"--aptopt={option}" for option in (RETRIES, *options)), "--variant=extract"]
    command += [f"--include={packages}", suite, str(root), f"deb {mirror} {suite} main"]
    subprocess.run(command, check=True)
    root.chmod(0o755)
    return root


def loader(root: Path) -> list[str]:
    """Return the command that loads a program with the libraries of its own suite, if it came with any."""
    folders = [path for place in ("usr/lib", "lib") for path in root.glob(f"{place}/*-linux-*")]
    # Links in the suite can be absolute, and would lead to the loader of the controller.
    loaders = [path for folder in folders for path in folder.glob("ld-*.so*") if not path.is_symlink()]
    return [str(loaders[0]), "--library-path", ":".join(map(str, folders))] if loaders else []
