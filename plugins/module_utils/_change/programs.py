# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Run programs and set security labels through AnsibleModule."""

import errno
import os
from typing import Any, List, Mapping, Optional

from ansible_collections.securetime.nts.plugins.module_utils._change.files import NOT_RUN, CommandResult
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_program

# For programs whose output this collection parses.
IN_ENGLISH = {"LC_ALL": "C"}


def run_program(
    module: Any, argv: List[str], text: Optional[str] = None, environment: Optional[Mapping[str, str]] = None
) -> CommandResult:
    """Run a program with a text on its standard input; return status NOT_RUN if it cannot be run.

    AnsibleModule.run_command() would then end the module without a rollback.
    """
    path = find_program(argv[0])
    if path is None:
        return CommandResult(NOT_RUN, "", f"{argv[0]}: {os.strerror(errno.ENOENT)}")
    try:
        done = module.run_command(
            [path, *argv[1:]], data=text, binary_data=True, handle_exceptions=False, environ_update=environment
        )
    except OSError as error:
        return CommandResult(NOT_RUN, "", f"{path}: {error.strerror}")
    return CommandResult(*done)


def give_label(module: Any, file: str, path: str) -> bool:
    """Give a file the security label of a path; return whether the label changed."""
    return bool(module.set_context_if_different(file, module.selinux_default_context(path), False))
