# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_directives
short_description: Write directives as chrony.conf has them
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Turns each of the directives in O(_input) into its line, or its lines.
options:
  _input:
    description: Directives as in C(chrony_nts_directives) of the role P(securetime.nts.chrony_nts#role).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the lines (makestep 1.0 3, and rtcsync)
  ansible.builtin.debug:
    msg: "{{ {'rtcsync': true, 'makestep': {'threshold': 1.0, 'limit': 3}} | securetime.nts.chrony_directives }}"
"""

RETURN = r"""
_value:
  description:
    - The lines, always in the same order. The directives that read other files are the last.
    - A directive that is V(false) or has no value is left out.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_directives": _chrony_conf.render_directives}
