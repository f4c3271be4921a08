# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The operator's time sources in one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import SOURCE

Source = dict[str, Any]

FLAGS = {part.name for part in SOURCE.parts if part.kind == "flag"}
SEVERAL = {part.name for part in SOURCE.parts if part.several}
SCHEME = "nts://"


def entries(given: Any) -> list[Source]:
    """Return each source as a dictionary: a name or a URL stands for one, and one alone for a list of one."""
    listed = given if isinstance(given, list) else [given]
    return [dict(source) if isinstance(source, Mapping) else _from_text(str(source)) for source in listed]


def complete(sources: list[Source]) -> list[Source]:
    """Return each source with address, type, nts and iburst filled in, and its flags as booleans.

    address is empty where a source has none, and where its address and hostname disagree.
    """
    return [_complete(source) for source in sources]


def _from_text(text: str) -> Source:
    """Return the source of a host name, an IP address, or nts://HOST[:NTSPORT][?OPTION=VALUE&OPTION].

    A URL that is not of this form becomes an address, which is then reported as none.
    """
    if not text.startswith(SCHEME):
        return {"address": text}
    try:
        url = urlsplit(text)
        port = url.port
        options = parse_qs(url.query, keep_blank_values=True)
    except ValueError:
        return {"address": text}
    if url.path not in ("", "/") or url.fragment or "@" in url.netloc or not url.hostname:
        return {"address": text}
    # hostname is in lower case, and the server's certificate is compared with the name as it is written.
    start = text.lower().index(url.hostname)
    address = text[start : start + len(url.hostname)]
    values = {
        name: found if name in SEVERAL else found[-1] or (True if name in FLAGS else "")
        for name, found in options.items()
    }
    return {"address": address, **({} if port is None else {"ntsport": port}), **values}


def _complete(source: Source) -> Source:
    given = {name: value for name, value in source.items() if value is not None}
    names = {given.pop(alias) for alias in ("address", "hostname") if alias in given}
    pool = _boolean(given.pop("pool", False))
    return {
        "address": names.pop() if len(names) == 1 else "",
        "type": "pool" if pool is True else "server",
        "iburst": True,
        "nts": True,
        **{name: _boolean(value) if name in FLAGS else value for name, value in given.items()},
    }


def _boolean(value: Any) -> Any:
    """Return a boolean, and what is none as it is, to be reported."""
    try:
        return boolean(value)
    except TypeError:
        return value
