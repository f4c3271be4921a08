#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_report_host
short_description: Read the data of a host for the report of a fleet
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - The first task of the playbook C(securetime.nts.report), and made for it alone. Its parameters and its result can
    change in any release.
  - Reads the facts of the host, as M(securetime.nts.chronyc_facts) does, and returns the part that
    M(securetime.nts.nts_report) needs, after a check of the type, range and length of every value. It does not store
    the facts themselves, which would take most of the memory of a run on a large fleet.
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
  names:
    description: Names and addresses by which other hosts know this one.
    type: list
    elements: str
    default: []
seealso:
  - module: securetime.nts.chronyc_facts
"""

EXAMPLES = r"""
- name: Read the clock
  securetime.nts.nts_report_host:
  register: chrony_nts_reported
"""

RETURN = r"""
row:
  description: The entry of the host in the report, as in C(hosts) of docs/report.schema.json.
  returned: success
  type: dict
names:
  description: The parameter O(names).
  returned: success
  type: list
  elements: str
"""
