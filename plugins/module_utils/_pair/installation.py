# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Find the Python for nts-certificate, and find and remove its files on a host."""

import os
import shutil
from typing import List, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import (
    CERTBOT_HOOK,
    PROGRAM,
    SERVICE,
    SETTINGS,
    STAGING,
    TIMER,
    kept_pairs,
)

# The interpreters of the distributions' own programs. Enterprise Linux 8 and 9 have the first.
PLATFORM_PYTHONS = ("/usr/libexec/platform-python", "/usr/bin/python3")
# Avoids new syntax, so that an old Python can report its version.
TEST_PYTHON = """
import sys
if sys.version_info < (3, 6):
    sys.exit("is older than Python 3.6")
import ctypes, json, ssl, zipimport
try:
    import cryptography.x509
except ImportError:
    print("no cryptography")
"""


def platform_python(host: System, program: str = "nts-certificate") -> str:
    """Return the first of PLATFORM_PYTHONS that runs the program, preferably one with cryptography.

    The choice does not depend on Ansible's interpreter, which can be below /home and differs between versions.
    """
    complete, usable, reports = _platform_pythons(host)
    if not complete + usable:
        raise TransactionError(
            f"{program} needs the platform's own Python, 3.6 or newer, and this host has none"
            f" ({'; '.join(reports)}). Install the distribution's package python3."
        )
    return (complete + usable)[0]


def python_with_cryptography(host: System) -> Optional[str]:
    """Return the first of PLATFORM_PYTHONS with cryptography; None without one."""
    return next(iter(_platform_pythons(host)[0]), None)


def _platform_pythons(host: System) -> Tuple[List[str], List[str], List[str]]:
    """Return the paths of Pythons with cryptography, of those without, and why the others are unusable."""
    complete, usable, reports = [], [], []  # type: List[str], List[str], List[str]
    for path in PLATFORM_PYTHONS:
        done = host.run([path, "-I", "-c", TEST_PYTHON])
        if done.status:
            reports.append(f"{path}: {(done.stderr.strip().splitlines() or ['not found'])[-1]}")
        elif "no cryptography" in done.stdout:
            usable.append(path)
        else:
            complete.append(path)
    return complete, usable, reports


def unused(staging: Sequence[str], root: str = "") -> List[str]:
    """Return the staging folders and stored previous pairs that no pair uses; staging lists the folders in use."""
    in_use = {os.path.basename(os.path.dirname(path)): path for path in staging}
    found = []
    for name in _entries(root + STAGING):
        folder = f"{STAGING}/{name}"
        if name not in in_use:
            found.append(folder)
            continue
        inside = [f"{folder}/{provider}" for provider in _entries(root + folder)]
        found += [path for path in inside if path not in staging]
    return found + [path for path in kept_pairs(root) if os.path.basename(path).partition(".")[0] not in in_use]


def installed(program: str = PROGRAM, root: str = "") -> List[str]:
    """Return the files and folders of the renewal on the host, in the order of their removal."""
    # Remove the settings last: as long as they exist, the next run of Ansible removes the rest.
    paths = [TIMER, SERVICE, CERTBOT_HOOK, program, *kept_pairs(root), STAGING, SETTINGS]
    return [path for path in paths if os.path.lexists(root + path)]


def uninstall(host: System, paths: Sequence[str]) -> None:
    """Stop the renewal, which rolls back a change in progress, and remove the paths that installed() returned."""
    units = [os.path.basename(path) for path in paths if path in (TIMER, SERVICE)]
    if units:
        for command in (["disable", "--now", *units], ["stop", *units]):
            # `disable` fails where a power cut emptied a unit file, so the status of `stop` decides.
            done = host.run(["systemctl", *command])
        if done.status:
            raise TransactionError(f"`systemctl stop {' '.join(units)}` failed: {done.stderr.strip()}")
    for path in paths:
        remove(path)
    if units:
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "reset-failed", *units])


def remove(path: str) -> None:
    """Remove a file, a symlink, or a folder with everything in it, without following a symlink."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _entries(folder: str) -> List[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) and not os.path.islink(folder) else []
