# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nts_pairs
short_description: Name the files and the constraints of an NTS server's pairs
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Adds to each pair of certificate and key where it is, where it is made, and what its own issuing CA may sign for.
options:
  _input:
    description: The first pair, with C(names), C(provider), C(acme_client), C(acme_directory), C(key_type),
      C(lifetime_days), C(new_key), C(content) and C(key_content).
    type: dict
    required: true
  folder:
    description: The folder that chronyd reads them from.
    type: path
    required: true
  more:
    description: Further pairs, as in C(chrony_nts_more_certificates) of the role P(securetime.nts.chrony_nts#role).
    type: list
    elements: dict
    required: true
  made_in:
    description: The folder below which they are made, if it is another one.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Show where the certificate is
  ansible.builtin.debug:
    msg: "{{ (pair | securetime.nts.nts_pairs('/etc/chrony/nts', []))[0].certificate }}"
  vars:
    pair:
      names: [nts.example.org]
      provider: ownca
      acme_client: certbot
      acme_directory: ""
      key_type: ECDSA P-256
      lifetime_days: 90
      new_key: false
      content: ""
      key_content: ""
"""

RETURN = r"""
_value:
  description: The pairs, the first of them with the id V(server).
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _pairs


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"nts_pairs": _pairs.pairs}
