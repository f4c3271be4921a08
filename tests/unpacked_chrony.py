# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chrony of any Debian suite, unpacked and run without installing it. Needs root and mmdebstrap."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def unpack(suite: str, folder: Path, options: Sequence[str] = ()) -> Path:
    """Unpack chrony and its libraries from a Debian suite, off the mirror that this machine uses."""
    indexes = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    mirror = subprocess.run(indexes, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    root = folder / suite
    command = ["mmdebstrap", "--quiet", *(f"--aptopt={option}" for option in options), "--variant=extract"]
    subprocess.run([*command, "--include=chrony", suite, str(root), f"deb {mirror} {suite} main"], check=True)
    root.chmod(0o755)
    return root


def loader(root: Path) -> list[str]:
    """Return the command that loads a program with the libraries of its own suite, if it came with any."""
    folders = [path for place in ("usr/lib", "lib") for path in root.glob(f"{place}/*-linux-*")]
    # Links in the suite can be absolute, and would lead to the loader of this machine.
    loaders = [path for folder in folders for path in folder.glob("ld-*.so*") if not path.is_symlink()]
    return [str(loaders[0]), "--library-path", ":".join(map(str, folders))] if loaders else []
