# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a VM: wait for a goal, then print the result of chronyc_facts.

python3 vm_facts.py GOAL TIMEOUT_SECONDS SOURCES
"""

import json
import sys

sys.path.insert(0, "/root/utils")

from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, gather

goal, seconds, sources = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
offset = 0.5 if goal == "authenticated" else None
result = gather(
    GatherOptions(goal if goal != "none" else None, sources, offset, seconds, 5.0, log_lines=True, reports=())
)
print(json.dumps({"reached": result.reached, "waited_seconds": result.waited_seconds, **result.facts}))
