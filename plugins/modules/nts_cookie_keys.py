#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

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
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
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
    """Run the operation that the parameter state names."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["read", "prepare", "seal", "applied"], "required": True},
            "name": {"type": "str", "required": True},
            # The salt is not a secret.
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
    location = sharing.find_key_location(host, config_file, service)
    if given["state"] == "read":
        server = None if location.problem else server_of(host, config_file, service)
        return {"changed": False, **sharing.report(location, server, given["salt"], time.time())}
    if location.problem:
        raise TransactionError(location.problem)
    if given["state"] == "seal":
        return seal(module, host, location)
    options = Options(config_file=config_file, service=service, check_mode=module.check_mode)
    return applied(module, host, location, options)


def prepare(module: AnsibleModule, host: System) -> Row:
    """Make the key pair of one run, and store its private key in run_dir."""
    if module.check_mode:
        return {"changed": False, "public": ""}
    folder = module.params["run_dir"]
    pair = crypto(module, host, "make", {})
    make_private(folder)
    write(os.path.join(folder, PRIVATE), pair["private"].encode(), 0o600, 0, 0)
    return {"changed": False, "public": pair["public"]}


def seal(module: AnsibleModule, host: System, location: sharing.KeyLocation) -> Row:
    """Seal the current, rotated or new keys for the recipients; raise TransactionError."""
    given = module.params
    if module.check_mode:
        return {"changed": False, "sealed": {}}
    found = sharing.keys_in(location.path)
    if given["action"] == "replace":
        keys = new_keys(given["name"], time.time())
    elif found is None or found.name != given["name"]:
        raise TransactionError(f"{location.path} has no keys of {given['name']} any more. Run the playbook again.")
    else:
        keys = found.rotated(time.time()) if given["action"] == "rotate" else found
    arguments = {"text": keys.text(), "recipients": given["recipients"], "purpose": given["name"]}
    return {"changed": False, **crypto(module, host, "seal", arguments)}


def applied(module: AnsibleModule, host: System, location: sharing.KeyLocation, options: Options) -> Row:
    """Open the keys that were sealed for this host, and let chronyd use them; raise TransactionError."""
    if module.check_mode:
        # Check mode has made no keys, but the controller has already found different tags.
        return {"changed": True, "changed_files": [location.path]}
    given = module.params
    path = os.path.join(given["run_dir"], PRIVATE)
    private = read(path)
    if private is None:
        raise TransactionError(f"{path} is missing, so the sealed keys cannot be opened. Run the playbook again.")
    remove(path)
    arguments = {"private": private.content.decode(), "sealed": given["sealed"], "purpose": given["name"]}
    keys = read_keys(crypto(module, host, "open", arguments)["text"])
    if keys.name != given["name"]:
        raise TransactionError(f"The keys sealed for this host belong to the set {keys.name}, so nothing was changed.")
    return sharing.replace_keys(host, location, keys, options)


def crypto(module: AnsibleModule, host: System, kind: str, given: Row) -> Row:
    """Run an operation of sealing here or, where this Python lacks cryptography, by the platform's Python."""
    python = None if HAS_CRYPTOGRAPHY else python_with_cryptography(host)
    if python is None:
        return sealing.perform(kind, given)
    return sealing.perform_with(python, lambda argv, text: run_program(module, argv, text), module.tmpdir, kind, given)


if __name__ == "__main__":
    main()
