# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_nts_mistakes
short_description: Name every mistake in the variables of the role chrony_nts
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Holds the variables of one host against each other and against what chrony takes, before the host is touched.
  - Their types are those of the role's argument specification, which checks them before.
options:
  _input:
    description: Every variable of the role P(securetime.nts.chrony_nts#role), by its name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop at a mistake
  ansible.builtin.assert:
    that: "variables | securetime.nts.chrony_nts_mistakes == []"
"""

RETURN = r"""
_value:
  description: One sentence for each mistake, with the variable's name and what to set.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _rules


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_nts_mistakes": _rules.mistakes}
