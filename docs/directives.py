# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/directives.md from docs/directives.yml and the table of chrony.conf: make directives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import (
    DIRECTIVES,
    OLDEST,
    SOURCE,
    Word,
    wanted,
)

DOCS = Path(__file__).resolve().parent
INTRODUCTION = """# Directives

<!-- Made from docs/directives.yml and plugins/plugin_utils/_chrony_conf.py: make directives -->

Every option of a source and every directive of chrony.conf that the role takes, by chrony's own names. A value that
chronyd would refuse, or silently ignore, is reported before the host is touched.

A directive with several values is a dictionary. Text as in chrony.conf is accepted in its place, and a single entry in
the place of a list:

```yaml
chrony_nts_directives:
  maxdistance: 1.0
  makestep: {threshold: 1.0, limit: 3}      # or: makestep: 1.0 3
  hwtimestamp: [{interface: eth0}]          # or: hwtimestamp: eth0
  log: [tracking, statistics]               # or: log: tracking statistics
  local: {stratum: 10, orphan: true}        # or: local: stratum 10 orphan
```

A name that came with a later chronyd than 4.0 has its version. On a host with an older one the role reports it, or
leaves it out with `chrony_nts_skip_unsupported: true`.
"""
SOURCES = """
## Options of a source

A source is a host name, a URL, or a dictionary. These are the same:

```yaml
chrony_nts_sources:
  - nts://nts1.example.org:4461?maxpoll=8&prefer
  - {address: nts1.example.org, ntsport: 4461, maxpoll: 8, prefer: true}
```

"""
REFUSED = """
## Directives that belong to the role

| Directive | Instead |
|---|---|
"""
TABLE = "| Name | Value | Meaning |\n|---|---|---|\n"


def rows(words: tuple[Word, ...], texts: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield a table row for each name and for each of its parts."""
    for word in words:
        if word.instead:
            continue
        text = texts[word.name]
        meaning = text if isinstance(text, str) else text["description"]
        value = wanted(word).replace("|", "\\|")
        # The names of parts are code, not text.
        value = re.sub(r"(?<=a dictionary with )(.+)", r"`\1`", value)
        since = "" if word.since == OLDEST else f" (chronyd {word.since} or newer)"
        needed = " Required." if word.required else ""
        yield f"| `{before}{word.name}` | {value}{since} | {meaning}{needed} |\n"
        if word.kind == "parts":
            yield from rows(word.parts, text["parts"], f"{before}{word.name}.")


def page() -> str:
    """Return the page as Markdown."""
    texts = yaml.safe_load((DOCS / "directives.yml").read_text())
    sources = "".join(rows(SOURCE.parts, texts["sources"]))
    directives = "".join(rows(DIRECTIVES.parts, texts["directives"]))
    refused = "".join(f"| `{word.name}` | {word.instead} |\n" for word in DIRECTIVES.parts if word.instead)
    return f"{INTRODUCTION}{SOURCES}{TABLE}{sources}\n## Directives\n\n{TABLE}{directives}{REFUSED}{refused}"


if __name__ == "__main__":
    (DOCS / "directives.md").write_text(page())
