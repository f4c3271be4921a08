# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program is one file, always the same, that runs by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ansible_collections.securetime.nts.plugins.modules.nts_certificate import program


def test_the_program_runs_without_ansible(tmp_path: Path) -> None:
    path = tmp_path / "nts-certificate"
    path.write_bytes(program(sys.executable))
    path.chmod(0o755)
    told = subprocess.run([path, "--help"], check=True, capture_output=True, text=True, env={}).stdout
    for command in ("check", "status", "renew", "deploy", "rollback"):
        assert f"    {command} " in told
    done = subprocess.run([path, "--settings", "/none", "check"], check=False, capture_output=True, text=True, env={})
    assert (done.returncode, done.stdout) == (2, "")
    assert "The settings /none cannot be read" in done.stderr


def test_the_program_is_always_the_same() -> None:
    assert program("/usr/bin/python3") == program("/usr/bin/python3")
    assert program("/usr/bin/python3").startswith(b"#!/usr/bin/python3\nPK")
