#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: chrony_nts_plan
short_description: Check the variables of the role chrony_nts and plan the host
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - The first task of the role P(securetime.nts.chrony_nts#role), and made for it alone. Its parameters and its result
    can change in any release.
  - Checks the variables of the host against each other and against chrony's valid values. Fails with every mistake at
    once, before it connects to the host.
  - Reads the facts of the host by the survey of M(securetime.nts.chrony_config), and fails where the host does not
    support the variables.
  - Returns the desired state of the host.
attributes:
  action:
    description: Has a plugin on the controller.
    support: full
  async:
    description: Cannot run in the background.
    support: none
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: Never changes anything.
    support: none
  idempotent:
    description: Never changes anything.
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
  platforms:
    description: The names of packages, files and units of each platform, by the identifiers of os-release(5).
    type: dict
    required: true
  first_seen:
    description: RV(plan.first_seen) of an earlier task of the same run.
    type: dict
seealso:
  - module: securetime.nts.chrony_config
"""

EXAMPLES = r"""
- name: Plan the host
  securetime.nts.chrony_nts_plan:
    variables: "{{ __chrony_nts_inputs }}"
    platforms: "{{ __chrony_nts_platforms }}"
  register: __chrony_nts_planned
"""

RETURN = r"""
unchanged:
  description: Whether the rest of the role would do nothing. The host reports the digest of these parameters as
    applied. False in a run with tags of the role.
  returned: success
  type: bool
plan:
  description: The desired state of the host, without secrets. Of an unchanged host, RV(plan.skip_for) alone.
  returned: success
  type: dict
  contains:
    problems:
      description: Why the host does not support the variables, in sentences. The module fails with them, so a returned
        plan has none.
      returned: when RV(unchanged) is false
      type: list
      elements: str
    skip_for:
      description: The version of chrony whose unsupported options and directives the role leaves out; empty where it
        leaves out none.
      returned: always
      type: str
    first_seen:
      description: The state of the host before the role changed it.
      returned: when RV(unchanged) is false
      type: dict
    clock:
      description: How far the clock of the host is ahead of the controller's, and by how much the role sets it.
      returned: when RV(unchanged) is false
      type: dict
"""
