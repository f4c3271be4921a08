#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: chrony_nts_apply
short_description: Apply the plan of a host in the role chrony_nts
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - A task of the role P(securetime.nts.chrony_nts#role), and made for it alone. Its parameters can change in any
    release.
  - Runs M(securetime.nts.chrony_config) with the files, the units and the goal of verification that follow from the
    plan and the variables.
attributes:
  action:
    description: Has a plugin on the controller.
    support: full
  async:
    description: Cannot run in the background.
    support: none
  check_mode:
    description: As M(securetime.nts.chrony_config).
    support: full
  diff_mode:
    description: As M(securetime.nts.chrony_config).
    support: full
  facts:
    description: As M(securetime.nts.chrony_config).
    support: full
  idempotent:
    description: As M(securetime.nts.chrony_config).
    support: full
  platform:
    description: Linux.
    support: full
    platforms: posix
options:
  variables:
    description: Every variable of the role, by its name.
    type: dict
    required: true
  plan:
    description: RV(securetime.nts.chrony_nts_plan#module:plan).
    type: dict
    required: true
seealso:
  - module: securetime.nts.chrony_config
  - module: securetime.nts.chrony_nts_plan
"""

EXAMPLES = r"""
- name: Apply the plan
  securetime.nts.chrony_nts_apply:
    variables: "{{ __chrony_nts_inputs }}"
    plan: "{{ __chrony_nts_planned.plan }}"
  register: chrony_nts_applied
"""

RETURN = r"""
changed:
  description: Whether the host changed. The result also has every other return value of
    M(securetime.nts.chrony_config).
  returned: always
  type: bool
"""
