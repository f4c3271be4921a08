# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be read off the daemon's words and the files; the daemon itself is asked on the test hosts."""

import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import config_check
from ansible_collections.securetime.nts.plugins.module_utils._change.files import TransactionError


@pytest.mark.parametrize(
    ("message", "what", "line"),
    [
        # chronyd 4.3 and 4.6.1, then 4.8
        ("2026-11-23T08:00:00Z Fatal error : Invalid directive at line 2 in file /etc/x", "Invalid directive", "2"),
        ("Fatal error : Invalid directive ntstimeout at line 2 in file /x", "Invalid directive ntstimeout", "2"),
        ("Fatal error : Could not parse server directive at line 11", "Could not parse server directive", "11"),
    ],
)
def test_parse_errors_are_taken_apart(message, what, line):
    found = config_check.PARSE_ERROR.search("something before\n" + message + "\n")
    assert (found.group("what"), found.group("line")) == (what, line)


def test_the_user_that_chronyd_was_built_for_is_read_off_its_help():
    found = config_check.DEFAULT_USER.search("  -t SECONDS\tExit\n  -u USER\tSpecify user (_chrony)\n  -U\t\tDo not\n")
    assert found.group("user") == "_chrony"


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "expected"),
    [
        (0, 7, 0o640, True),
        (0, 8, 0o640, False),
        (7, 8, 0o400, True),
        (7, 7, 0o040, False),
        (0, 8, 0o644, True),
        (0, 7, 0o604, False),
    ],
)
def test_the_first_class_that_a_user_belongs_to_decides(uid, gid, mode, expected):
    status = os.stat_result((0o100000 | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
    assert config_check._may(config_check.Reader("chrony", 7, 7), status, 4) is expected
    assert config_check._may(config_check.Reader("root", 0, 0), status, 4) is True


def test_a_file_that_is_not_there_is_told(tmp_path):
    reader = config_check.Reader("root", 0, 0)
    with pytest.raises(TransactionError, match=r"ca.pem \(ntstrustedcerts\) is not on this host"):
        config_check._must_be_readable(str(tmp_path / "ca.pem"), {}, reader, "ntstrustedcerts")
