# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tasks and results of a run into the JSON file that RECORD names.

tasks: the name of each task of each host, including skipped tasks and includes. results: the last result of each
action. arguments: the parameters that came back with it.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: Write tasks and results into a file
description:
  - For tests and benchmarks.
"""


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, list[str]] = defaultdict(list)
        self.results: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Record a task of a host."""
        self.tasks[host.get_name()].append(task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        """Record a result."""
        action = getattr(result, "task", None) or result._task
        self.results[action.action] = getattr(result, "result", None) or result._result
        fields = getattr(result, "task_fields", None) or result._task_fields
        self.arguments[action.action] = fields["args"]

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Record the result of a failed task."""
        self.v2_runner_on_ok(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the file."""
        found = {"tasks": self.tasks, "results": self.results, "arguments": self.arguments}
        Path(os.environ["RECORD"]).write_text(json.dumps(found, default=str))
