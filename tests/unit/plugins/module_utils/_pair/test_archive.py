# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program with bytecode: Python runs it, and is_current() compares it."""

import io
import itertools
import subprocess
import sys
import zipfile

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import collector
from ansible_collections.securetime.nts.plugins.module_utils._pair import archive

PLAIN = archive.program(f"{sys.executable} -IS", collector.__name__)
NAME = collector.__name__.replace(".", "/") + ".py"


@pytest.fixture
def compiled(tmp_path):
    """Return the program with the bytecode of this Python."""
    path = tmp_path / "nts-monitor"
    path.write_bytes(PLAIN)
    subprocess.run([sys.executable, "-IS", "-c", archive.COMPILE, str(path)], check=True)
    path.chmod(0o755)
    return path


def magic():
    """Return the magic number of this Python's bytecode, in hexadecimal."""
    command = [sys.executable, "-IS", "-c", archive.MAGIC]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().strip()


def test_the_compiled_program_runs_from_its_bytecode(compiled):
    done = subprocess.run([str(compiled), "--help"], check=True, stdout=subprocess.PIPE)
    assert b"--nagios" in done.stdout
    script = (
        f"import sys; sys.path.insert(0, sys.argv[1]); import {collector.__name__} as module; print(module.__file__)"
    )
    for path, end in ((compiled, "c\n"), (compiled.with_name("plain"), "\n")):
        path.write_bytes(PLAIN) if path != compiled else None
        command = [sys.executable, "-IS", "-c", script, str(path)]
        loaded = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
        assert loaded == f"{path}/{NAME}{end}"


def test_it_is_current_with_the_same_source_and_the_same_python(compiled):
    assert archive.is_current(compiled.read_bytes(), PLAIN, magic()) is True
    assert archive.is_current(compiled.read_bytes(), PLAIN, "00000000") is False
    assert archive.is_current(PLAIN, PLAIN, magic()) is False


def changed(content, name, text):
    """Return an archive in which one file has another content, or is missing where text is None."""
    out = io.BytesIO()
    out.write(content.partition(b"\n")[0] + b"\n")
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "a") as new:
        for each in old.namelist():
            if not (each == name and text is None):
                new.writestr(each, text if each == name else old.read(each))
    return out.getvalue()


def test_it_is_not_current_with_another_source_or_interpreter(compiled):
    content = compiled.read_bytes()
    assert archive.is_current(changed(content, "no", b""), PLAIN, magic()) is True
    for name in (NAME, "__main__.py"):
        assert archive.is_current(changed(content, name, b"pass\n"), PLAIN, magic()) is False
    assert archive.is_current(changed(content, f"{NAME}c", None), PLAIN, magic()) is False
    assert archive.is_current(content.replace(b" -IS\n", b"\n", 1), PLAIN, magic()) is False


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\0" * 9000])
def test_a_file_that_a_power_cut_damaged_is_not_current(compiled, damage):
    assert archive.is_current(damage(compiled.read_bytes()), PLAIN, magic()) is False


def test_a_file_with_a_flipped_bit_is_not_current(compiled):
    data = bytearray(compiled.read_bytes())
    data[len(data) // 3] ^= 1
    assert archive.is_current(bytes(data), PLAIN, magic()) is False


def test_no_damaged_byte_ends_the_comparison():
    small = io.BytesIO(b"#!python\n")
    small.seek(0, io.SEEK_END)
    with zipfile.ZipFile(small, "a") as opened:
        opened.writestr("module.py", b"pass\n")
    for place, byte in itertools.product(range(len(small.getvalue())), range(256)):
        data = bytearray(small.getvalue())
        data[place] = byte
        # Without bytecode, an undamaged archive is not current, either.
        assert archive.is_current(bytes(data), small.getvalue(), "") is False
