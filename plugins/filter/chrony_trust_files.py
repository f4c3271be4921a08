# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_trust_files
short_description: Sort trust anchors into a file for each set
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Puts the anchors of each set into one file, in the order given, each once.
options:
  _input:
    description: Trust anchors as in C(chrony_nts_trust_anchors) of the role P(securetime.nts.chrony_nts#role).
    type: list
    elements: dict
    required: true
  folder:
    description: Where the files are to be.
    type: str
    required: true
  own:
    description: Certificates in PEM format that belong to set 0, too.
    type: list
    elements: str
    default: []
  version:
    description: Version of chronyd. Before 4.1 there is set 0 alone. Without one, nothing is taken to be too new.
    type: str
"""

EXAMPLES = r"""
- name: Show the paths (/etc/trusted.pem and /etc/trusted-2.pem)
  ansible.builtin.debug:
    msg: "{{ [{'content': 'A'}, {'content': 'B', 'set': 2}] | securetime.nts.chrony_trust_files('/etc')
      | dict2items | map(attribute='value.path') }}"
"""

RETURN = r"""
_value:
  description: C(path) and C(content) of a file for each set that has anchors, by the number of the set.
  type: dict
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_trust_files": _chrony_conf.trust_files}
