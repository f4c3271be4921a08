# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of programs that may be missing or may not start."""

import os
import subprocess

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.programs import IN_ENGLISH, run_program


class Module:
    """Run programs as AnsibleModule does."""

    def run_command(self, argv, data, binary_data, handle_exceptions, environ_update):
        assert (binary_data, handle_exceptions) == (True, False)
        done = subprocess.run(
            argv,
            input=(data or "").encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environ_update or {})},
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_program_gets_standard_input_and_environment():
    done = run_program(Module(), ["sh", "-c", "cat; echo $LC_ALL; echo told >&2; exit 3"], "a text\n", IN_ENGLISH)
    assert done == (3, "a text\nC\n", "told\n")


@pytest.mark.parametrize("start", ["#!/nowhere\n", "\0"])
def test_a_program_that_cannot_start_returns_a_status(tmp_path, start):
    program = tmp_path / "program"
    program.write_text(start)
    program.chmod(0o755)
    done = run_program(Module(), [str(program)])
    assert (done.status, done.stdout) == (127, "")
    assert done.stderr.startswith(f"{program}: ")


def test_a_missing_program_is_named():
    assert run_program(Module(), ["no-such-program"]) == (127, "", "no-such-program: No such file or directory")
