# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the bytecode of the modules that Ansible sends to a test host.

Ansible sends a module and its utilities as an archive of sources, and Python compiles all of them in every run: two
thirds of what a module costs a host. prepare.sh makes every Python of a scenario's hosts import this at its start. It
changes nothing else, and nothing before Python 3.8, whose importer of archives is not in Python.
"""

import _imp
import contextlib
import marshal
import os
import sys
import zipimport

# The tests that search /usr/local for leftover files match no name in this folder.
FOLDER = "/usr/local/lib/securetime-nts-bytecode"
# A part of the path of each module that Ansible sends.
SENT = "_payload.zip/"
_compile = getattr(zipimport, "_compile_source", None)


def compile_once(path, source, *more):
    """Return the code of a module in an archive, compiled by an earlier run if it was the same source."""
    if SENT not in path:
        return _compile(path, source, *more)
    digest = _imp.source_hash(0, source).hex()
    kept = os.path.join(FOLDER, ".".join((os.path.basename(path), sys.implementation.cache_tag, digest)))
    try:
        with open(kept, "rb") as file:
            code = marshal.load(file)
        _imp._fix_co_filename(code, path)
        return code
    except (OSError, EOFError, ValueError):
        code = _compile(path, source, *more)
    staged = f"{kept}.{os.getpid()}"
    # An ordinary user cannot write here, and the disk can be full.
    with contextlib.suppress(OSError):
        try:
            with open(staged, "wb") as file:
                marshal.dump(code, file)
            os.replace(staged, kept)
        except OSError:
            os.unlink(staged)
    return code


if _compile:
    zipimport._compile_source = compile_once
