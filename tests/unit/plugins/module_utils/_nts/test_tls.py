# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of the errors of Python's ssl module."""

import ssl

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._nts import tls


def error(kind, number, reason=None):
    made = kind(number, "message")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    "closed",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        # Python 3.11.2 raises the first, and newer ones the second.
        error(ssl.SSLZeroReturnError, ssl.SSL_ERROR_ZERO_RETURN),
        error(ssl.SSLEOFError, ssl.SSL_ERROR_EOF, "UNEXPECTED_EOF_WHILE_READING"),
        error(ssl.SSLError, ssl.SSL_ERROR_SSL, "UNEXPECTED_EOF_WHILE_READING"),
    ],
)
def test_a_closed_connection_is_tls_closed(closed):
    assert tls._ssl_kind(closed) == "tls_closed"


def test_an_unknown_reason_is_tls_failed():
    assert tls._ssl_kind(error(ssl.SSLError, ssl.SSL_ERROR_SSL, "INTERNAL_ERROR")) == "tls_failed"
