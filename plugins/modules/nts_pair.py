#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_pair
short_description: Make the keys and the CSRs of an NTS server, and check them on the controller
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Part of the role P(securetime.nts.chrony_nts#role), and made for it alone. Its parameters and its result can change
    in any release.
  - On the server, makes the key and the CSR of each pair that needs a new certificate, and the certificates that the
    server signs by itself. Private keys stay on the server.
  - On the controller, compares each CSR, and the certificate of each issuing CA that has signed itself, with what the
    variables ask for. Signature, subject, type of key, and every extension with its criticality must be equal. Fails
    with each difference otherwise, so that a server that somebody else controls gets no other certificate signed.
attributes:
  action:
    description: Has a plugin on the controller.
    support: full
  async:
    description: Cannot run in the background.
    support: none
  check_mode:
    description: Predicts the change and makes none.
    support: full
  diff_mode:
    description: Says why something new is made, because keys are secret.
    support: partial
  idempotent:
    description: Makes a key and a CSR only where a new certificate is needed.
    support: full
  platform:
    description: Linux. Python's cryptography 3.2 or newer is needed on the server and on the controller.
    support: full
    platforms: posix
options:
  pairs:
    description: The pairs of the plan.
    type: list
    elements: dict
    required: true
  root:
    description: The certificate of the root CA that signs issuing CAs, in PEM, if it exists.
    type: str
    default: ""
  issuing_ca_lifetime_days:
    description: For how many days an issuing CA is made that signs itself.
    type: float
    default: 1825
  renew_percent:
    description: A certificate is made anew when this part of its lifetime is left.
    type: float
    default: 33
  chains:
    description: What was signed, in PEM, by the IDs of the pairs. The certificate of the CSR comes first.
    type: dict
    default: {}
  state_dir:
    description: The folder of the lock that changes of chrony share.
    type: path
    default: /var/lib/securetime-nts
seealso:
  - module: securetime.nts.nts_certificate
"""

EXAMPLES = r"""
- name: Make the keys and the CSRs (the role does it)
  securetime.nts.nts_pair:
    pairs: "{{ __chrony_nts_plan.pairs }}"
  register: __chrony_nts_prepared
"""

RETURN = r"""
pairs:
  description: Each pair for which somebody else signs, or that has an issuing CA.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The ID of the pair.
      type: str
      returned: always
    reasons:
      description: Why a new certificate must be signed. Empty where none must.
      type: list
      elements: str
      returned: always
    csr:
      description: The CSR in PEM, as checked on the controller. Empty in check mode, where none is made.
      type: str
      returned: always
    chain:
      description: The certificate in PEM that the server has, with those above it.
      type: str
      returned: always
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.lock import locked
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import run_program
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import python_with_cryptography
from ansible_collections.securetime.nts.plugins.module_utils._pair.preparation import work, work_by
from ansible_collections.securetime.nts.plugins.module_utils._pair.staging import StagingError
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import HAS_CRYPTOGRAPHY

LOCK_TIMEOUT_SECONDS = 60.0


def main() -> None:
    """Prepare the pairs, or deliver what was signed."""
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
    """Return the result of the module."""
    python = None if HAS_CRYPTOGRAPHY else python_with_cryptography(host)
    if python is None:
        return work(module.params, module.check_mode)
    return work_by(
        python,
        lambda argv, text: run_program(module, argv, text),
        module.tmpdir,
        module.params,
        module.check_mode,
    )


if __name__ == "__main__":
    main()
