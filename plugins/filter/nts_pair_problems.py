# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nts_pair_problems
short_description: Name the mistakes in an NTS server's pairs
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Tells what keeps several pairs of certificate and key from being served beside each other.
options:
  _input:
    description: Pairs, as the filter P(securetime.nts.nts_pairs#filter) returns them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop at two certificates for one name
  ansible.builtin.assert:
    that: "pairs | securetime.nts.nts_pair_problems == []"
"""

RETURN = r"""
_value:
  description: One sentence for each mistake, which says what to set.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _pairs


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"nts_pair_problems": _pairs.problems}
