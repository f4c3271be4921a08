# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_source_lines
short_description: Write time sources as chrony.conf has them
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Turns each of the sources in O(_input) into its line.
options:
  _input:
    description: Sources, as the filter P(securetime.nts.chrony_sources#filter) returns them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the line (server nts.example.org iburst nts)
  ansible.builtin.debug:
    msg: "{{ [{'address': 'nts.example.org'}] | securetime.nts.chrony_sources | securetime.nts.chrony_source_lines }}"
"""

RETURN = r"""
_value:
  description: A line for each source.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_source_lines": _chrony_conf.render_sources}
