# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nts_pair_files
short_description: Turn an NTS server's pairs into options of chrony_config
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Returns what M(securetime.nts.chrony_config) needs to put pairs into their places and to see that they are served.
options:
  _input:
    description: Pairs, as the filter P(securetime.nts.nts_pairs#filter) returns them.
    type: list
    elements: dict
    required: true
  group:
    description: The primary group of chronyd's user, which may read the keys.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what would be put into its place
  ansible.builtin.debug:
    msg: "{{ (pairs | securetime.nts.nts_pair_files('_chrony')).files }}"
"""

RETURN = r"""
_value:
  description: The options C(files), C(secrets) and C(serves).
  type: dict
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _pairs


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"nts_pair_files": _pairs.files}
