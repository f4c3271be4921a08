#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_certificate
short_description: Put the program that keeps an NTS server's certificate on the server
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Writes the program C(nts-certificate), which renews, checks and deploys the certificate of an NTS server without
    Ansible, by the same code as the modules of this collection. What it does on this host is in its settings, which
    the role P(securetime.nts.chrony_nts#role) writes.
  - Replaces a renewal hook that copies two files and restarts chronyd. The program checks the pair as chronyd will
    read it, swaps both files as one, restarts chronyd, asks it by a key exchange what it serves, and brings the old
    pair back if that is not the new one.
attributes:
  check_mode:
    description: Predicts the change and makes none.
    support: full
  diff_mode:
    description: Says only that the program changes, because it is a file for machines.
    support: partial
  platform:
    description: Linux with systemd, Python 3.6 or newer.
    support: full
    platforms: posix
options:
  path:
    description: Where the program is to be.
    type: path
    default: /usr/local/sbin/nts-certificate
seealso:
  - module: securetime.nts.nts_probe
  - module: securetime.nts.chrony_config
"""

EXAMPLES = r"""
- name: Install the program (the role does it)
  securetime.nts.nts_certificate:
  become: true
"""

RETURN = r"""
path:
  description: Where the program is.
  type: str
  returned: success
"""

import importlib.util
import io
import os
import pkgutil
import sys
import tempfile
import zipfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import read
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager

PACKAGE = manager.__name__.rsplit(".", 2)[0]
MAIN = f"from {manager.__name__} import main\n\nraise SystemExit(main())\n"
# Files of an archive have a date; with a fixed one, the same program is the same file.
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Write the program."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": "/usr/local/sbin/nts-certificate"}},
        supports_check_mode=True,
    )
    path = module.params["path"]
    wanted = program(sys.executable)
    found = read(path)
    changed = found is None or found.content != wanted
    if changed and not module.check_mode:
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as file:
            file.write(wanted)
        module.atomic_move(file.name, path)
    options = dict(module.load_file_common_arguments({"path": path}), owner="root", group="root", mode="0755")
    if not module.check_mode or os.path.exists(path):
        changed = module.set_fs_attributes_if_different(options, changed)
    diff = [{"prepared": f"{path} changes\n"}] if changed else []
    module.exit_json(changed=changed, path=path, diff=diff)


def program(interpreter: str) -> bytes:
    """Return the program: this module's own utilities as an archive that Python runs."""
    files = {"__main__.py": MAIN.encode()}
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


if __name__ == "__main__":
    main()
