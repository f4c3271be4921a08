# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report of a fleet on the controller: a page, a document and a table."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction
from ansible_collections.securetime.nts.plugins.plugin_utils._report import files
from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import EarlierError, document


class ActionModule(HostAction):
    """Ansible's entry point."""

    _supports_async = False
    # The operator's variables choose the files that this plugin writes on the controller.
    refuses_shadowed_variables = True

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the paths and totals of the report; see the documentation of the module of the same name."""
        _checked, given = self.validate_argument_spec(
            {
                "hosts": {"type": "list", "elements": "str", "required": True},
                "servers": {"type": "list", "elements": "str", "default": []},
                "register": {"type": "str", "required": True},
                "dir": {"type": "path", "required": True},
                "earlier": {"type": "path"},
                "templates": {"type": "path", "required": True},
            }
        )
        folder = Path(os.path.abspath(given["dir"]))
        try:
            # Read the earlier report first: files.write() can replace it.
            earlier = files.earlier(given["earlier"])
            fleet = files.fleet(given["hosts"], set(given["servers"]), task_vars["hostvars"], given["register"])
            report = document(fleet, time.time(), earlier)
            if not self._task.check_mode:
                files.write(folder, report, given["templates"])
        except EarlierError as error:
            place = f"chrony_nts_report_earlier: {given['earlier']}"
            return {"failed": True, "msg": f"{place} {error}. Name the report.json of an earlier run."}
        except OSError as error:
            return {
                "failed": True,
                "msg": (
                    f"chrony_nts_report_dir: the report cannot be written to {folder}: {error.strerror}"
                    f" ({error.filename}). Name a folder that this user may write to."
                ),
            }
        totals = report["totals"]
        summary = f"{totals['authenticated']} of {totals['hosts']} clocks follow authenticated time."
        paths = {kind: str(folder / name) for kind, name in files.NAMES.items()}
        return {"changed": True, "files": paths, "totals": totals, "summary": summary}
