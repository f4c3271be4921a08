# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The certificates in the files to which chronyd's configuration refers."""

import os
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import (
    UnreadableError,
    directives_read,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import (
    CERTIFICATE,
    DerError,
    describe,
    pem_to_der,
)

Row = Dict[str, Any]

# A limit far above the few authorities of a host. The two hundred of a distribution's bundle exceed it; its package
# keeps that bundle up to date.
MOST_CERTIFICATES = 100
LARGEST_FILE_BYTES = 1000000


def certificates_of(config_file: Optional[str], lines: Sequence[str] = ()) -> Optional[List[Row]]:
    """Return descriptions of the certificates of a chronyd with this configuration file, at most MOST_CERTIFICATES.

    Return None if not all of its files are readable. lines are the directives of its command line.
    """
    found = {}  # type: Dict[Any, Row]
    try:
        for words, _file in directives_read(config_file, lines):
            for row in _named_by(words):
                found.setdefault((row["path"], row["fingerprint_sha256"]), row)
                if len(found) >= MOST_CERTIFICATES:
                    return list(found.values())
    except (OSError, UnreadableError):
        return None
    return list(found.values())


def _named_by(words: Sequence[str]) -> Iterator[Row]:
    """Yield the certificates in the file or folder of one directive."""
    if words[0] == "ntsservercert" and words[1:]:
        # The first certificate is the server's own. The server sends the others, its issuers, to its clients.
        for index, row in enumerate(_in_file(words[1])):
            yield dict(row, use="issuer" if index else "server")
    elif words[0] == "ntstrustedcerts" and words[1:]:
        # Since chrony 4.2, the number of a set may precede the path.
        path = words[-1]
        files = [os.path.join(path, name) for name in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
        for row in (row for file in files if os.path.isfile(file) for row in _in_file(file)):
            yield dict(row, use="trust")


def _in_file(path: str) -> Iterator[Row]:
    """Yield the certificates of a PEM file; none if the file does not exist."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(LARGEST_FILE_BYTES)
    except FileNotFoundError:
        return
    for row in filter(None, map(_described, CERTIFICATE.findall(text))):
        yield dict(row, path=path)


def _described(pem: str) -> Optional[Row]:
    try:
        return describe(pem_to_der(pem))
    except DerError:
        return None
