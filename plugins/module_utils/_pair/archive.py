# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. These module utilities as one program, which runs without Ansible."""

import importlib.util
import io
import pkgutil
import sys
import zipfile
from typing import Any

PACKAGE = __name__.rsplit(".", 2)[0]
# Files of an archive have a date; with a fixed one, the same program is the same file.
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def program(interpreter: str, module: str) -> bytes:
    """Return an archive that Python runs: every module utility that is here, and a call of main() of one of them."""
    files = {"__main__.py": f"from {module} import main\n\nraise SystemExit(main())\n".encode()}
    parts = PACKAGE.split(".")
    for count in range(1, len(parts) + 1):
        files["/".join([*parts[:count], "__init__.py"])] = b""
    for found in pkgutil.walk_packages(sys.modules[PACKAGE].__path__, f"{PACKAGE}."):
        path = found.name.replace(".", "/")
        files[f"{path}/__init__.py" if found.ispkg else f"{path}.py"] = source(found.name)
    archive = io.BytesIO()
    archive.write(f"#!{interpreter}\n".encode())
    # Not compressed: that would depend on the library that does it.
    with zipfile.ZipFile(archive, "a") as opened:
        for name, content in sorted(files.items()):
            opened.writestr(zipfile.ZipInfo(name, LONG_AGO), content)
    return archive.getvalue()


def source(name: str) -> bytes:
    """Return the source of a module, also out of the archive in which Ansible brings it."""
    loader: Any = getattr(importlib.util.find_spec(name), "loader", None)
    return str(loader.get_source(name)).encode()
