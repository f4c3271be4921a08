# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Find other logrotate files that name the same logs.

logrotate uses the first of two such files, and fails.
"""

import os
import re
from fnmatch import fnmatch
from typing import List, Optional

FOLDER = "/etc/logrotate.d/"
# The names of chronyd's log files, without .log (reference.c, sources.c, ntp_core.c, …).
LOGS = ("measurements", "statistics", "tracking", "rtc", "refclocks", "tempcomp", "selection")
# Names of files that logrotate ignores (logrotate(8), taboopat).
IGNORED = re.compile(
    r"(,v|~|\.(bak|cfsaved|disabled|dpkg-(bak|del|dist|new|old|tmp)|rhn-cfg-tmp-.*|rpm(new|orig|save)|swp"
    r"|ucf-(dist|new|old)))$"
)
SMALL_ENOUGH = 1 << 16


def find_duplicates(path: str, content: Optional[str]) -> List[str]:
    """Return a sentence for each other file in the folder that names logs of chronyd which `content` also rotates."""
    if content is None:
        return []
    folders = sorted({os.path.dirname(pattern) for pattern in patterns(content)})
    logs = [f"{folder}/{name}.log" for folder in folders for name in LOGS]
    try:
        names = sorted(os.listdir(os.path.dirname(path)))
    except OSError:
        return []
    others = [os.path.join(os.path.dirname(path), name) for name in names if not IGNORED.search(name)]
    return [
        f"{other} names the same log files as {path}: logrotate uses the first of the two, and fails each day."
        f" Remove {other}, or its lines about {', '.join(folders)}."
        for other in others
        if other != path and any(_matches(log, pattern) for pattern in patterns(_text(other)) for log in logs)
    ]


def patterns(text: str) -> List[str]:
    """Return the file patterns of a logrotate file, without the contents of braces."""
    outside = re.sub(r"\{.*?^\s*\}", "\n", re.sub(r"(?m)#.*$", "", text), flags=re.DOTALL | re.MULTILINE)
    return [word for word in re.findall(r'"([^"]+)"|(\S+)', outside) for word in word if word.startswith("/")]


def _matches(path: str, pattern: str) -> bool:
    """Return whether a glob pattern matches a path. `*` matches no slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch, parts, wanted))


def _text(path: str) -> str:
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(SMALL_ENOUGH)
    except OSError:
        return ""
