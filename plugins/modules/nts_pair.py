#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.lock import locked
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import run_program
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import python_with_cryptography
from ansible_collections.securetime.nts.plugins.module_utils._pair.preparation import perform, perform_with
from ansible_collections.securetime.nts.plugins.module_utils._pair.staging import StagingError
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import HAS_CRYPTOGRAPHY

LOCK_TIMEOUT_SECONDS = 60.0


def main() -> None:
    """Prepare the pairs, or store the signed chains."""
    module = AnsibleModule(
        argument_spec={
            "pairs": {"type": "list", "elements": "dict", "required": True},
            "root": {"type": "str", "default": ""},
            "issuing_ca_lifetime_days": {"type": "float", "default": 1825.0},
            "renew_percent": {"type": "float", "default": 33.0},
            "chains": {"type": "dict", "default": {}},
            "state_dir": {"type": "path", "default": "/var/lib/securetime-nts"},
        },
        supports_check_mode=True,
    )
    host = System(
        run=lambda argv: run_program(module, argv), label=lambda *_file: None, state=module.params["state_dir"]
    )
    try:
        if module.check_mode:
            result = run(module, host)
        else:
            with locked(host, LOCK_TIMEOUT_SECONDS):
                result = run(module, host)
    except (StagingError, TransactionError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file'}: {error.strerror}.")
    module.exit_json(**result)


def run(module: AnsibleModule, host: System) -> Dict[str, Any]:
    """Return the result of the module, by this Python or by the platform's one where this one lacks cryptography."""
    python = None if HAS_CRYPTOGRAPHY else python_with_cryptography(host)
    if python is None:
        return perform(module.params, module.check_mode)
    return perform_with(
        python,
        lambda argv, text: run_program(module, argv, text),
        module.tmpdir,
        module.params,
        module.check_mode,
    )


if __name__ == "__main__":
    main()
