# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transaction does after each state that systemd shows while chronyd starts."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import settings, watch
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import Unit

STARTING, RUNNING = "ActiveState=activating\nMainPID=0\n", "ActiveState=active\nMainPID=7\n"
IPV4_LINE = "Could not open NTP socket on 0.0.0.0:123"
IPV6_LINE = "Could not open NTP socket on [::]:123"


def watched(shown, log="", answers=0, start_timeout=60.0, settle_time=0.0):
    """Return the warnings where systemd shows these states one after the other, and the last one from then on."""
    states = list(shown)

    def run(argv):
        if argv[:2] == ["systemctl", "show"]:
            return CommandResult(0, states.pop(0) if len(states) > 1 else states[0], "")
        if argv[0] == "chronyc":
            return CommandResult(answers, "", "no such file" if answers else "")
        return CommandResult(0, log if "SYSLOG_IDENTIFIER=chronyd" in argv else "", "")

    host = System(run=run, label=lambda staged, path: None)
    options = settings.Options("/etc/chrony.conf", "chronyd", start_timeout=start_timeout, settle_time=settle_time)
    return watch.watch(host, Unit(host, "chronyd"), options)


def test_a_daemon_that_comes_up_and_stays_is_accepted():
    assert watched([STARTING, STARTING, RUNNING], settle_time=0.3) == []


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (["ActiveState=inactive\nConditionResult=no\n"], "systemd skipped chronyd, because a condition"),
        ([STARTING, "ActiveState=failed\n"], "chronyd failed to start"),
        ([RUNNING, "ActiveState=failed\nMainPID=0\n"], "chronyd came up and ended again within 60 seconds"),
        ([RUNNING, "ActiveState=active\nMainPID=8\n"], "chronyd came up and ended again within 60 seconds"),
    ],
)
def test_a_daemon_that_does_not_stay_is_an_error(shown, message):
    with pytest.raises(TransactionError) as caught:
        watched(shown, settle_time=60.0)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("state", "answers"), [(STARTING, 0), (RUNNING, 1)])
def test_a_daemon_that_does_not_answer_has_not_come_up(state, answers):
    with pytest.raises(TransactionError, match=r"chronyd did not come up within 0\.2 seconds"):
        watched([state], answers=answers, start_timeout=0.2)


def test_a_missing_chronyc_is_named_at_once():
    with pytest.raises(TransactionError, match=r"chronyc cannot be run \(no such file\): reinstall the package chrony"):
        watched([RUNNING], answers=watch.files.NOT_RUN)


def test_a_port_that_is_open_in_one_family_is_a_warning(monkeypatch):
    monkeypatch.setattr(watch, "kernel_families", lambda: ["IPv4", "IPv6"])
    (warning,) = watched([RUNNING], log=IPV6_LINE)
    assert warning.startswith(f"chronyd runs without a socket of IPv6 ({IPV6_LINE}).")
    with pytest.raises(TransactionError, match="chronyd runs but cannot do its work"):
        watched([RUNNING], log=f"{IPV4_LINE}\n{IPV6_LINE}")
