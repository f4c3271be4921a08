# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chrony_supported
short_description: Take out what a version of chronyd does not know
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Leaves out of directives, or of a list of sources, what came with a later version of chronyd.
options:
  _input:
    description:
      - Directives as in C(chrony_nts_directives) of the role P(securetime.nts.chrony_nts#role), or a list of sources as
        the filter P(securetime.nts.chrony_sources#filter) returns them.
    type: raw
    required: true
  version:
    description: Version of chronyd. Without one, nothing is taken to be too new.
    type: str
"""

EXAMPLES = r"""
- name: Show what chronyd 4.2 knows of these (the port)
  ansible.builtin.debug:
    msg: "{{ {'port': 123, 'ptpdomain': 1} | securetime.nts.chrony_supported('4.2') }}"
"""

RETURN = r"""
_value:
  description: What is left.
  type: raw
"""

from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"chrony_supported": _chrony_conf.supported}
