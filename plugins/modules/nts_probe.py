#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Iterator, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import STAGES, Probe, ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd

ARGUMENTS: Dict[str, Any] = {
    "server": {"type": "str", "required": True},
    "name": {"type": "str"},
    "ntsport": {"type": "int", "default": 4460},
    "port": {"type": "int", "default": 123},
    "family": {"type": "str", "choices": ["any", "ipv4", "ipv6"], "default": "any"},
    "trusted_certs": {"type": "list", "elements": "path", "default": []},
    "trusted_certs_content": {"type": "str", "default": ""},
    "system_certs": {"type": "bool", "default": True},
    "check_dates": {"type": "bool", "default": True},
    "aeads": {"type": "list", "elements": "int", "choices": [15, 30], "default": [30, 15]},
    "expected_serial": {"type": "str"},
    "expected_fingerprint": {"type": "str"},
    "min_remaining_days": {"type": "float"},
    "packets": {"type": "int", "default": 3},
    "timeout": {"type": "float", "default": 5.0},
    "last_stage": {"type": "str", "choices": list(STAGES), "default": "ntp"},
    "method": {"type": "str", "choices": ["auto", "gnutls", "ssl", "chronyd"], "default": "auto"},
    "fail_on_error": {"type": "bool", "default": True},
}


def main() -> None:
    """Probe the server, and return the result or fail with it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = ProbeOptions(**{name: value for name, value in module.params.items() if name in ProbeOptions._fields})
    method = module.params["method"]
    library = None if method == "ssl" else gnutls.load()
    chronyd = find_chronyd() if method == "chronyd" else None
    for problem in problems(options, method, library, chronyd):
        module.fail_json(msg=problem)
    result = Probe(options, library, chronyd).run()
    for warning in result.pop("warnings"):
        module.warn(warning)
    error = result["error"]
    if error and module.params["fail_on_error"]:
        module.fail_json(msg=f"{options.server}, {error['stage']}: {error['cause']}; {error['remedy']}.", **result)
    module.exit_json(changed=False, **result)


def problems(
    options: ProbeOptions, method: str, library: Optional[gnutls.Gnutls], chronyd: Optional[str]
) -> Iterator[str]:
    """Yield the problems of the parameters on this host, in sentences."""
    if not 1 <= options.packets <= 8:
        yield "packets must be 1 to 8: a key exchange brings eight cookies."
    if options.timeout <= 0:
        yield "timeout must be more than 0 seconds."
    if not options.aeads:
        yield "aeads must name an algorithm."
    if not 1 <= options.ntsport <= 65535:
        yield "ntsport must be 1 to 65535."
    if not 1 <= options.port <= 65535:
        yield "port must be 1 to 65535."
    if method == "gnutls" and library is None:
        yield "libgnutls.so.30 is not on this host; install it or use another method."
    if method == "chronyd" and chronyd is None:
        yield "chronyd is not on this host; install it or use another method."
    if method == "chronyd" and options.trusted_certs_content:
        yield "The method chronyd reads files: use trusted_certs rather than trusted_certs_content."


if __name__ == "__main__":
    main()
