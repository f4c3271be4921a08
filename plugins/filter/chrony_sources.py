# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_sources
short_description: Fill in what a list of time sources leaves out
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Gives every source of O(_input) its C(address), C(type), C(nts) and C(iburst), so that templates and rules read one
    form.
  - Accepts C(hostname) for C(address) and C(pool=true) for C(type=pool), as users of the role timesync write them.
options:
  _input:
    description: Sources as in C(chrony_nts_sources) of the role P(securetime.nts.chrony_nts#role).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the address of each source
  ansible.builtin.debug:
    msg: "{{ [{'hostname': 'nts.example.org'}] | securetime.nts.chrony_sources | map(attribute='address') }}"
"""

RETURN = r"""
_value:
  description:
    - The sources in their order. C(address) is empty where a source has none, and where its C(address) and C(hostname)
      disagree.
    - Flags are booleans, also where the input writes them as text. Options that a source does not set are left out,
      except the four named above.
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _sources


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_sources": _sources.complete}
