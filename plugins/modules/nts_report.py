#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nts_report
short_description: Write the report of a fleet
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - The last task of the playbook C(securetime.nts.report), and made for it alone. Its parameters can change in any
    release.
  - Writes C(report.html), a self-contained page, C(report.json) and C(report.csv) on the controller, from the result of
    M(securetime.nts.nts_report_host) for each host.
attributes:
  action:
    description: Runs as a plugin on the controller alone.
    support: full
  async:
    description: Cannot run in the background.
    support: none
  check_mode:
    description: Writes nothing.
    support: full
  diff_mode:
    description: Shows no difference, because the page is long and entirely new.
    support: none
  idempotent:
    description: A report contains the time of its creation.
    support: none
  platform:
    description: The controller.
    support: full
    platforms: posix
options:
  hosts:
    description: The hosts of the report.
    type: list
    elements: str
    required: true
  servers:
    description: The hosts among them that are servers.
    type: list
    elements: str
    default: []
  register:
    description: The name of the variable that holds the result of M(securetime.nts.nts_report_host) on each host.
    type: str
    required: true
  dir:
    description: The folder on the controller for the files. The module makes a missing one.
    type: path
    required: true
  earlier:
    description: An earlier C(report.json) to compare with. It can be the one that this task replaces.
    type: path
  templates:
    description: The folder with the template, the style and the script of the page.
    type: path
    required: true
seealso:
  - module: securetime.nts.nts_report_host
"""

EXAMPLES = r"""
- name: Write the report
  securetime.nts.nts_report:
    hosts: "{{ ansible_play_hosts_all }}"
    register: chrony_nts_reported
    dir: /srv/reports
    templates: "{{ playbook_dir }}/templates/report"
  run_once: true
"""

RETURN = r"""
files:
  description: The written files, which are the page, the document and the table; in check mode, the predicted ones.
  returned: success
  type: dict
  contains:
    html:
      description: Path of the page.
      returned: always
      type: str
    json:
      description: Path of the document, which docs/report.schema.json describes.
      returned: always
      type: str
    csv:
      description: Path of the table.
      returned: always
      type: str
totals:
  description: The number of hosts, of hosts that follow authenticated time, and of hosts in each state.
  returned: success
  type: dict
summary:
  description: The summary of the report in one sentence.
  returned: success
  type: str
  sample: 4 of 5 clocks follow authenticated time.
"""
