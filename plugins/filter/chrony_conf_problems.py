# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_conf_problems
short_description: Name the mistakes in directives and sources
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Holds directives and sources against what chronyd knows, because chronyd before 4.7 accepts whatever it can read as
    a number, and stops at its start with what is newer than it.
options:
  _input:
    description: Directives as in C(chrony_nts_directives) of the role P(securetime.nts.chrony_nts#role).
    type: dict
    required: true
  sources:
    description: Sources, as the filter P(securetime.nts.chrony_sources#filter) returns them.
    type: list
    elements: dict
    required: true
  version:
    description: Version of chronyd. Without one, nothing is taken to be too new.
    type: str
"""

EXAMPLES = r"""
- name: Stop at a port that cannot be
  ansible.builtin.assert:
    that: "{'port': 123} | securetime.nts.chrony_conf_problems([]) == []"
"""

RETURN = r"""
_value:
  description: One sentence for each mistake, which says what to set.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_conf_problems": _chrony_conf.problems}
