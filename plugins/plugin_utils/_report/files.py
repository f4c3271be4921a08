# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Read the results of a run on the controller, and write the files of a report."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import (
    Document,
    EarlierError,
    Member,
    read_earlier,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._report.page import page
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import without_facts
from ansible_collections.securetime.nts.plugins.plugin_utils._report.table import table

NAMES = {"html": "report.html", "json": "report.json", "csv": "report.csv"}


def earlier(path: str | None) -> dict[str, Any] | None:
    """Return the earlier report at a path; raise EarlierError if the file is no valid report."""
    if not path:
        return None
    try:
        return read_earlier(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EarlierError(f"cannot be read ({getattr(error, 'strerror', None) or 'it is not text'})") from None


def fleet(
    hosts: Iterable[str], servers: Collection[str], hostvars: Mapping[str, Any], register: str
) -> Iterator[Member]:
    """Yield each host with the result of its task, which is in the host's variable `register`."""
    for host in hosts:
        result = hostvars[host].get(register)
        result = result if isinstance(result, Mapping) else {}
        found = result.get("row")
        if isinstance(found, Mapping):
            # The plugin nts_report_host has built this row from validated values.
            row: Any = dict(found)
            yield Member(host, host in servers, list(result["names"]), row)
        else:
            state = "unreachable" if result.get("unreachable") else "unreadable"
            message = str(result.get("msg") or "Ansible has no result of this host.")
            yield Member(host, host in servers, [], without_facts(state, message))


def write(folder: Path, report: Document, templates: str) -> None:
    """Write the report into a folder, with the page's template from another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / NAMES["json"], json.dumps(report, indent=1, allow_nan=False) + "\n")
    replace(folder / NAMES["csv"], table(report))
    replace(folder / NAMES["html"], page(report, templates))


def replace(path: Path, content: str) -> None:
    """Replace a file atomically, because a web server may serve it. The umask decides the mode of a new file."""
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
