# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Convert the operator's time sources to one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import plain_name
from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import SOURCE
from ansible_collections.securetime.nts.plugins.plugin_utils._names import is_ip_address

Source = dict[str, Any]

FLAGS = {part.name for part in SOURCE.parts if part.kind == "flag"}
SEVERAL = {part.name for part in SOURCE.parts if part.several}
SCHEME = "nts://"
HOST = re.compile(r"(\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]@:%]+))(:[0-9]*)?")


def entries(given: Any) -> list[Source]:
    """Return each source as a dictionary. Text is a name, an IP address or a URL. A single source needs no list."""
    listed = given if isinstance(given, list) else [given]
    return [dict(source) if isinstance(source, Mapping) else _from_text(str(source)) for source in listed]


def complete(sources: list[Source]) -> list[Source]:
    """Return each source with defaults for address, type, nts and iburst, and its flags as booleans.

    address is empty if a source has none, or if its address and its hostname differ.
    """
    return [_complete(source) for source in sources]


def _from_text(text: str) -> Source:
    """Parse a host name, an IP address, or nts://HOST[:NTSPORT][?OPTION=VALUE&OPTION] as a source.

    A malformed URL becomes the address, which a rule then reports as invalid.
    """
    if not text.startswith(SCHEME):
        return {"address": text}
    try:
        url = urlsplit(text)
        port = url.port
        options = parse_qs(url.query, keep_blank_values=True)
    except ValueError:
        return {"address": text}
    # url.hostname is in lower case, but chronyd compares the server's certificate with the name as written.
    found = HOST.fullmatch(url.netloc)
    if url.path not in ("", "/") or url.fragment or found is None:
        return {"address": text}
    address = found["bracketed"] or found["name"]
    given = {
        name: values if name in SEVERAL else values[-1] or (True if name in FLAGS else "")
        for name, values in options.items()
    }
    return {"address": address, **({} if port is None else {"ntsport": port}), **given}


def _complete(source: Source) -> Source:
    # false omits an option that takes a value, as a missing value does.
    given = {
        name: value
        for name, value in source.items()
        if value is not None
        and (value is not False or name in FLAGS or name in ("address", "hostname", "type", "pool"))
    }
    addresses = [_spelled(given.pop(alias)) for alias in ("address", "hostname") if alias in given]
    same = addresses and all(address == addresses[0] for address in addresses)
    address = addresses[0] if same and addresses[0] is not False else ""
    pool = _boolean(given.get("pool", False))
    if isinstance(pool, bool):
        given.pop("pool", None)
    if given.get("type") is False:
        given["type"] = ""
    return {
        "address": address,
        "type": "pool" if pool is True else "server",
        "iburst": True,
        "nts": True,
        **{name: _boolean(value) if name in FLAGS else value for name, value in given.items()},
    }


def _spelled(address: Any) -> Any:
    """Return an IP address in the form that chronyc prints; return a name unchanged."""
    return plain_name(address) if isinstance(address, str) and is_ip_address(address) else address


def _boolean(value: Any) -> Any:
    """Return a value as a boolean; return any other value unchanged, for a rule to report."""
    try:
        return boolean(value)
    except TypeError:
        return value
