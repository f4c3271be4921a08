# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Pack these module utilities into one program, which runs without Ansible.

An installed program also holds the bytecode for one version of Python. That version reads the bytecode instead of the
source, which saves half to two thirds of the program's time.
"""

import importlib.util
import io
import pkgutil
import sys
import zipfile
from typing import Any, Dict

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError

PACKAGE = __name__.rsplit(".", 2)[0]
# Files in an archive have a date. With a fixed one, the same sources always make the same archive.
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def program(interpreter: str, module: str) -> bytes:
    """Return an archive that Python runs: every available module utility, and a call of one module's main()."""
    files = {"__main__.py": f"from {module} import main\n\nraise SystemExit(main())\n".encode()}
    parts = PACKAGE.split(".")
    for count in range(1, len(parts) + 1):
        files["/".join([*parts[:count], "__init__.py"])] = b""
    for found in pkgutil.walk_packages(sys.modules[PACKAGE].__path__, f"{PACKAGE}."):
        path = found.name.replace(".", "/")
        files[f"{path}/__init__.py" if found.ispkg else f"{path}.py"] = source(found.name)
    archive = io.BytesIO()
    archive.write(f"#!{interpreter}\n".encode())
    # Compressed bytes would depend on the version of the compression library.
    with zipfile.ZipFile(archive, "a") as opened:
        for name, content in sorted(files.items()):
            opened.writestr(zipfile.ZipInfo(name, LONG_AGO), content)
    return archive.getvalue()


def source(name: str) -> bytes:
    """Return the source of a module, also from the archive in which Ansible sends it."""
    loader: Any = getattr(importlib.util.find_spec(name), "loader", None)
    return str(loader.get_source(name)).encode()


# Adds the bytecode of each module to an archive. The Python that the bytecode is for runs it, with the archive's path.
COMPILE = """
import importlib.util, marshal, struct, sys, time, zipfile
date = (1980, 1, 1, 0, 0, 0)
with zipfile.ZipFile(sys.argv[1], "a") as archive:
    for name in [name for name in archive.namelist() if name.endswith(".py") and name != "__main__.py"]:
        text = archive.read(name)
        # optimize=2 drops the docstrings, which the program does not use.
        code = compile(text, name, "exec", dont_inherit=True, optimize=2)
        if sys.version_info >= (3, 7):
            # Bytecode by the hash of its source (PEP 552), which is not checked at each start.
            header = struct.pack("<I", 1) + importlib.util.source_hash(text)
        else:
            header = struct.pack("<II", int(time.mktime(date + (0, 0, -1))) & 0xFFFFFFFF, len(text))
        data = importlib.util.MAGIC_NUMBER + header + marshal.dumps(code)
        archive.writestr(zipfile.ZipInfo(name + "c", date), data)
"""
# Prints a Python's magic number of bytecode in hexadecimal.
MAGIC = "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"


def magic_of(host: System, python: str) -> str:
    """Return a Python's magic number of bytecode in hexadecimal; an empty string where it does not run."""
    return host.run([python, "-IS", "-c", MAGIC]).stdout.strip()


def add_bytecode(host: System, python: str, staged: str, path: str) -> None:
    """Add the bytecode to a staged program; raise TransactionError, which names its final path."""
    done = host.run([python, "-IS", "-c", COMPILE, staged])
    if done.status:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TransactionError(f"{python} cannot compile the program {path}: {last}")


def is_current(found: bytes, wanted: bytes, magic: str) -> bool:
    """Return whether a program has these sources, undamaged, and bytecode of this magic number.

    This does not compare the bytecode with the sources: root alone can replace it.
    """
    try:
        parts = _parts(found)
    # A RuntimeError means that a flag is damaged: the archive looks encrypted, or needs a newer program.
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError):
        return False
    sources = {name: content for name, content in parts.items() if not name.endswith(".pyc")}
    expected = {f"{name}c" for name in sources if name.endswith(".py") and name != "__main__.py"}
    return (
        found.partition(b"\n")[0] == wanted.partition(b"\n")[0]
        and sources == _parts(wanted)
        and set(parts) - set(sources) == expected
        and all(parts[name][:4].hex() == magic for name in expected)
    )


def _parts(program: bytes) -> Dict[str, bytes]:
    """Return the files of an archive; raise BadZipFile where a checksum is wrong, or where a file is compressed."""
    with zipfile.ZipFile(io.BytesIO(program)) as opened:
        if any(each.compress_type != zipfile.ZIP_STORED for each in opened.infolist()):
            raise zipfile.BadZipFile("a file is compressed")
        return {name: opened.read(name) for name in opened.namelist()}
