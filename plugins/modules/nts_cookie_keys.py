#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_cookie_keys
short_description: Share and rotate the keys of NTS servers that encrypt cookies
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Part of the playbook C(securetime.nts.rotate_ntskeys), and made for it alone. Its parameters and its result can
    change in any release.
  - One server makes the keys and seals them for each of the others. The controller carries ciphertext alone.
attributes:
  action:
    description: Has a plugin on the controller, which takes no facts of the host.
    support: full
  check_mode:
    description: Reads what is there, and makes nothing.
    support: full
  diff_mode:
    description: Names the file, and shows no key.
    support: partial
  idempotent:
    description: Keys that chronyd has are not written again. Each run of V(prepare) and V(seal) makes something new.
    support: partial
  platform:
    description: Linux with systemd. Python's cryptography 3.2 or newer is needed.
    support: full
    platforms: posix
options:
  state:
    description:
      - V(read) - returns which keys the server has.
      - V(prepare) - makes the key to which another server seals.
      - V(seal) - takes the keys of this server, or makes the next or new ones, and seals them for each recipient. The
        server goes on with those that it has.
      - V(applied) - chronyd uses what was sealed for this server. If it does not, the old keys come back.
    type: str
    choices: [read, prepare, seal, applied]
    required: true
  name:
    description: The name of the set of keys.
    type: str
    required: true
  salt:
    description: Random text of one run. Tags of different runs have nothing in common.
    type: str
    default: ""
  action:
    description: Whether V(seal) takes the keys as they are, the next ones, or new ones.
    type: str
    choices: [share, rotate, replace]
    default: share
  recipients:
    description: The public keys of the servers, by their names.
    type: dict
    default: {}
  sealed:
    description: What was sealed for this server.
    type: str
    default: ""
  config_file:
    description: Path of chronyd's configuration file. By default the first of F(/etc/chrony/chrony.conf) and
      F(/etc/chrony.conf) that exists.
    type: path
  service:
    description: The systemd unit of chronyd. By default the one of the host.
    type: str
  run_dir:
    description: A folder that a boot empties, for the private key of one run.
    type: path
    default: /run/securetime-nts-keys
seealso:
  - module: securetime.nts.nts_probe
"""

EXAMPLES = r"""
- name: Read which keys the server has (the playbook does it)
  securetime.nts.nts_cookie_keys:
    state: read
    name: pool
    salt: "{{ salt }}"
"""

RETURN = r"""
problem:
  description: Why keys cannot be shared with this server. Empty where they can.
  returned: when O(state=read)
  type: str
name:
  description: The name of the set that the server has. Empty where its keys are its own.
  returned: when O(state=read)
  type: str
aead:
  description: The AEAD on which the server agrees with a client that has both. Null where the host cannot ask it.
  returned: when O(state=read)
  type: int
age_seconds:
  description: Since when the current key is in use.
  returned: when O(state=read)
  type: int
tags:
  description: What tells each of the four keys from another, by O(salt), from the oldest to the next one.
  returned: when O(state=read)
  type: list
  elements: str
public:
  description: The key to which another server seals.
  returned: when O(state=prepare)
  type: str
sealed:
  description: The keys, encrypted for each recipient, by its name.
  returned: when O(state=seal)
  type: dict
changed_files:
  description: Paths of the files that were, or would be, written.
  returned: when O(state=applied)
  type: list
  elements: str
"""

import os
import time
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    System,
    TransactionError,
    make_private,
    read,
    remove,
    write,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import give_label, run_program
from ansible_collections.securetime.nts.plugins.module_utils._change.transaction import Options
from ansible_collections.securetime.nts.plugins.module_utils._pair import sealing, sharing
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import (
    CookieKeysError,
    new_keys,
    read_keys,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import python_with_cryptography
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import server_of
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import HAS_CRYPTOGRAPHY

Row = Dict[str, Any]

CONFIG_FILES = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")
SERVICES = {"/etc/chrony/chrony.conf": "chrony.service"}
PRIVATE = "ntskeys.pem"


def main() -> None:
    """Do what the state says."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["read", "prepare", "seal", "applied"], "required": True},
            "name": {"type": "str", "required": True},
            # Neither is a secret.
            "salt": {"type": "str", "default": "", "no_log": False},
            "action": {"type": "str", "choices": ["share", "rotate", "replace"], "default": "share"},
            "recipients": {"type": "dict", "default": {}},
            "sealed": {"type": "str", "default": ""},
            "config_file": {"type": "path"},
            "service": {"type": "str"},
            "run_dir": {"type": "path", "default": "/run/securetime-nts-keys"},
        },
        supports_check_mode=True,
    )
    host = System(run=lambda argv: run_program(module, argv), label=lambda file, path: give_label(module, file, path))
    try:
        result = run(module, host)
    except (TransactionError, sealing.SealingError, CookieKeysError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file'}: {error.strerror}.")
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


def run(module: AnsibleModule, host: System) -> Row:
    """Return the result of the module."""
    given = module.params
    config_file = given["config_file"] or next(filter(os.path.exists, CONFIG_FILES), CONFIG_FILES[0])
    service = given["service"] or SERVICES.get(config_file, "chronyd.service")
    if given["state"] == "prepare":
        return prepare(module, host)
    place = sharing.place_of(host, config_file, service)
    if given["state"] == "read":
        server = None if place.problem else server_of(host, config_file, service)
        return {"changed": False, **sharing.report(place, server, given["salt"], time.time())}
    if place.problem:
        raise TransactionError(place.problem)
    if given["state"] == "seal":
        return seal(module, host, place)
    options = Options(config_file=config_file, service=service, check_mode=module.check_mode)
    return applied(module, host, place, options)


def prepare(module: AnsibleModule, host: System) -> Row:
    """Make the key pair of one run."""
    if module.check_mode:
        return {"changed": False, "public": ""}
    folder = module.params["run_dir"]
    made = crypto(module, host, "make", {})
    make_private(folder)
    write(os.path.join(folder, PRIVATE), made["private"].encode(), 0o600, 0, 0)
    return {"changed": False, "public": made["public"]}


def seal(module: AnsibleModule, host: System, place: sharing.Place) -> Row:
    """Seal the keys for the recipients."""
    given = module.params
    if module.check_mode:
        return {"changed": False, "sealed": {}}
    found = sharing.keys_in(place.path)
    if given["action"] == "replace":
        keys = new_keys(given["name"], time.time())
    elif found is None or found.name != given["name"]:
        raise TransactionError(f"{place.path} has no keys of {given['name']} any more. Run the playbook again.")
    else:
        keys = found.rotated(time.time()) if given["action"] == "rotate" else found
    asked = {"text": keys.text(), "recipients": given["recipients"], "purpose": given["name"]}
    return {"changed": False, **crypto(module, host, "seal", asked)}


def applied(module: AnsibleModule, host: System, place: sharing.Place, options: Options) -> Row:
    """Bring what was sealed for this host into use."""
    if module.check_mode:
        # The controller knows by the tags that the keys differ; no keys were made.
        return {"changed": True, "changed_files": [place.path]}
    given = module.params
    path = os.path.join(given["run_dir"], PRIVATE)
    private = read(path)
    if private is None:
        raise TransactionError(f"{path} is not there, so nothing can be opened. Run the playbook again.")
    remove(path)
    asked = {"private": private.content.decode(), "sealed": given["sealed"], "purpose": given["name"]}
    keys = read_keys(crypto(module, host, "open", asked)["text"])
    if keys.name != given["name"]:
        raise TransactionError(f"What was sealed for this host are keys of {keys.name}; nothing was changed.")
    return sharing.replace_keys(host, place, keys, options)


def crypto(module: AnsibleModule, host: System, kind: str, given: Row) -> Row:
    """Do this here, or by the platform's Python where that has cryptography."""
    python = None if HAS_CRYPTOGRAPHY else python_with_cryptography(host)
    if python is None:
        return sealing.work(kind, given)
    return sealing.work_by(python, lambda argv, text: run_program(module, argv, text), module.tmpdir, kind, given)


if __name__ == "__main__":
    main()
