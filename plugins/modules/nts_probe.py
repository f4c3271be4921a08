#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.securetime.nts.plugins.module_utils._nts import gnutls
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import STAGES, Probe, ProbeOptions
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd


def main() -> None:
    """Probe the server."""
    module = AnsibleModule(
        argument_spec={
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
        },
        supports_check_mode=True,
    )
    question = ProbeOptions(**{name: value for name, value in module.params.items() if name in ProbeOptions._fields})
    method = module.params["method"]
    library = None if method == "ssl" else gnutls.load()
    chronyd = find_chronyd() if method == "chronyd" else None
    for wrong, message in (
        (not 1 <= question.packets <= 8, "packets must be 1 to 8: a key exchange brings eight cookies."),
        (question.timeout <= 0, "timeout must be more than 0 seconds."),
        (not question.aeads, "aeads must name an algorithm."),
        (not 1 <= question.ntsport <= 65535, "ntsport must be 1 to 65535."),
        (not 1 <= question.port <= 65535, "port must be 1 to 65535."),
        (
            method == "gnutls" and library is None,
            "libgnutls.so.30 is not on this host; install it or use another method.",
        ),
        (method == "chronyd" and chronyd is None, "chronyd is not on this host; install it or use another method."),
        (
            method == "chronyd" and question.trusted_certs_content,
            "The method chronyd reads files: use trusted_certs rather than trusted_certs_content.",
        ),
    ):
        if wrong:
            module.fail_json(msg=message)
    result = Probe(question, library, chronyd).run()
    for warning in result.pop("warnings"):
        module.warn(warning)
    error = result["error"]
    if error and module.params["fail_on_error"]:
        module.fail_json(msg=f"{question.server}, {error['stage']}: {error['cause']}; {error['remedy']}.", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
