# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report of a fleet: a page, a document and a table on the controller."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._action import HostAction
from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import (
    Document,
    EarlierError,
    Member,
    document,
    read_earlier,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._report.page import page
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import without_facts
from ansible_collections.securetime.nts.plugins.plugin_utils._report.table import table

NAMES = {"html": "report.html", "json": "report.json", "csv": "report.csv"}


class ActionModule(HostAction):
    """Ansible's entry point."""

    _supports_async = False
    # It writes files of the controller, by the operator's variables.
    refuses_shadowed_variables = True

    def answer(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return where the report is; see the documentation of the module of the same name."""
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
            # Before it is replaced.
            earlier = _earlier(given["earlier"])
            fleet = list(_fleet(given["hosts"], set(given["servers"]), task_vars["hostvars"], given["register"]))
            report = document(fleet, time.time(), earlier)
            if not self._task.check_mode:
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder, report, given["templates"])
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
        files = {kind: str(folder / name) for kind, name in NAMES.items()}
        return {"changed": True, "files": files, "totals": totals, "summary": summary}


def _earlier(path: str | None) -> dict[str, Any] | None:
    if not path:
        return None
    try:
        return read_earlier(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EarlierError(f"cannot be read ({getattr(error, 'strerror', None) or 'it is not text'})") from None


def _fleet(hosts: Iterable[str], servers: set[str], hostvars: Mapping[str, Any], register: str) -> Iterator[Member]:
    for host in hosts:
        result = hostvars[host].get(register)
        result = result if isinstance(result, Mapping) else {}
        found = result.get("row")
        if isinstance(found, Mapping):
            yield Member(host, host in servers, list(result["names"]), dict(found))  # type: ignore[arg-type]
        else:
            state = "unreachable" if result.get("unreachable") else "unreadable"
            message = str(result.get("msg") or "Ansible has no result of this host.")
            yield Member(host, host in servers, [], without_facts(state, message))


def _write(folder: Path, report: Document, templates: str) -> None:
    _replace(folder / NAMES["json"], json.dumps(report, indent=1, allow_nan=False) + "\n")
    _replace(folder / NAMES["csv"], table(report))
    _replace(folder / NAMES["html"], page(report, templates))


def _replace(path: Path, content: str) -> None:
    """Replace a file at once: a web server may serve it. A new file gets the mode that the umask leaves."""
    umask = os.umask(0)
    os.umask(umask)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
