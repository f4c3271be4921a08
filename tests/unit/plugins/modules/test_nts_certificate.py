# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program nts-certificate is one reproducible file, which runs without Ansible."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    NOT_RUN,
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.modules import chrony_monitor, nts_certificate
from ansible_collections.securetime.nts.plugins.modules.nts_certificate import program


def test_the_program_runs_without_ansible(tmp_path: Path) -> None:
    path = tmp_path / "nts-certificate"
    path.write_bytes(program(sys.executable))
    path.chmod(0o755)
    usage = subprocess.run([path, "--help"], check=True, capture_output=True, text=True, env={}).stdout
    for command in ("check", "status", "renew", "deploy", "rollback"):
        assert f"    {command} " in usage
    done = subprocess.run([path, "--settings", "/none", "check"], check=False, capture_output=True, text=True, env={})
    assert (done.returncode, done.stdout) == (2, "")
    assert "The settings /none cannot be read" in done.stderr


# Prints the files of the modules below plugins/module_utils that the program imports, as the archive names them.
IMPORTED = """
import json, sys
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager
package = manager.__name__.rsplit(".", 2)[0]
modules = [module for name, module in sys.modules.items() if name.startswith(package + ".")]
print(json.dumps([module.__file__[module.__file__.rindex("ansible_collections/securetime") :] for module in modules]))
"""


def test_the_program_contains_every_module_that_it_imports() -> None:
    command, environment = [sys.executable, "-c", IMPORTED], {"PYTHONPATH": os.pathsep.join(sys.path)}
    imported = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    assert any(name.endswith("/_pair/manager.py") for name in imported)
    with zipfile.ZipFile(io.BytesIO(program(sys.executable))) as archive:
        assert set(imported) <= set(archive.namelist())


def test_the_program_is_reproducible() -> None:
    assert program("/usr/bin/python3") == program("/usr/bin/python3")
    assert program("/usr/bin/python3").startswith(b"#!/usr/bin/python3\nPK")


@pytest.mark.parametrize(
    ("interpreter", "name"),
    [(nts_certificate.interpreter, "nts-certificate"), (chrony_monitor.interpreter, "nts-monitor")],
)
def test_check_mode_predicts_the_python_that_the_role_installs(interpreter: Callable[..., Any], name: str) -> None:
    bare = System(run=lambda argv: CommandResult(NOT_RUN, "", "not found"), label=lambda *_paths: None)
    assert interpreter(SimpleNamespace(check_mode=True), bare) == "/usr/bin/python3"
    with pytest.raises(TransactionError, match=f"{name} needs the platform's own Python"):
        interpreter(SimpleNamespace(check_mode=False), bare)
