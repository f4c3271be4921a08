# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit


# A selection by time would miss the lines that chronyd logs after it steps a fast clock back.
@pytest.mark.parametrize(("marked", "expected"), [("-- cursor: s=1;i=2\n", ["--after-cursor=s=1;i=2"]), ("", [])])
def test_the_log_begins_at_the_cursor_of_the_restart(marked, expected):
    calls = []

    def run(argv):
        calls.append(argv)
        return CommandResult(0, marked if "--show-cursor" in argv else "", "")

    unit = Unit(System(run, lambda staged, path: None), "chronyd.service")
    unit.restart()
    assert unit.log() == []
    logs = [argv for argv in calls if "--lines=40" in argv]
    assert [argv[5:-1] for argv in logs] == [expected, expected]
