# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The work of the module nts_pair, which another Python can run as a program.

Ansible's interpreter can lack cryptography while the platform's own Python has it. On Enterprise Linux 8, the former
comes from AppStream, and the latter is 3.6.
"""

import json
import os
import sys
from typing import Any, Callable, Dict, List, Mapping, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._pair import archive
from ansible_collections.securetime.nts.plugins.module_utils._pair.staging import (
    StagingError,
    deliver,
    prepare,
    staged_pair,
)

Row = Dict[str, Any]


def perform(params: Mapping[str, Any], check_mode: bool) -> Row:
    """Prepare the pairs, or store the signed chains; return the result of the module."""
    pairs, changes = [], []  # type: List[Row], List[str]
    for pair in (staged_pair(planned, params) for planned in params["pairs"]):
        if pair.id in params["chains"]:
            changes += deliver(pair, params["chains"][pair.id], check_mode)
            continue
        found = prepare(pair, check_mode)
        changes += found.changes
        pairs.append({"id": pair.id, "reasons": found.reasons, "csr": found.csr, "chain": found.chain})
    diff = [{"prepared": "".join(f"{change}\n" for change in changes)}] if changes else []
    return {"changed": changes != [], "pairs": pairs, "diff": diff}


def perform_with(
    python: str,
    run: Callable[[List[str], str], Tuple[int, str, str]],
    folder: str,
    params: Mapping[str, Any],
    check_mode: bool,
) -> Row:
    """Run the same work by another Python; raise StagingError with its last error line where that fails.

    run(argv, input) executes a program. folder is private to this run, which removes it.
    """
    path = os.path.join(folder, "nts-pair.zip")
    with open(path, "wb") as file:
        file.write(archive.program(python, __name__))
    status, out, error = run([python, "-I", path], json.dumps({"params": dict(params), "check_mode": check_mode}))
    if status:
        raise StagingError((error.strip().splitlines() or [f"{python} ended with the status {status}."])[-1])
    return dict(json.loads(out))


def main() -> int:
    """Read the parameters from the standard input, and print the result."""
    request = json.load(sys.stdin)
    try:
        sys.stdout.write(json.dumps(perform(request["params"], request["check_mode"])) + "\n")
    except StagingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'A file'}: {error.strerror}.\n")
        return 1
    return 0
