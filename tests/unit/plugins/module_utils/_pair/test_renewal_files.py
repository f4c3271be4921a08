# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of nts-certificate in a folder of the test, and the commands for its units."""

import grp
import os
import pwd

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    FileSpec,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair import renewal_files
from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import CERTBOT_HOOK, SERVICE, TIMER

OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
SHOW = "systemctl show --property=ActiveState,UnitFileState,NeedDaemonReload nts-certificate."
SHOWN = [f"{SHOW}timer", f"{SHOW}service"]
ON, OFF = "ActiveState=active\nUnitFileState=enabled\n", "ActiveState=inactive\nUnitFileState=enabled\n"
READ, OUTDATED = "NeedDaemonReload=no\n", "NeedDaemonReload=yes\n"
RELOAD, START = "systemctl daemon-reload", "systemctl enable --now nts-certificate.timer"


class Host(System):
    """A host that records its commands and labels, and answers `systemctl show` with these properties."""

    def __init__(self, shown="", label=False, status=0, service="ActiveState=inactive\nUnitFileState=static\n"):
        self.commands, self.labelled = [], []
        super().__init__(run=self.answer, label=self.give_label)
        self.shown, self.differs, self.status = {"timer": shown, "service": service}, label, status

    def answer(self, argv):
        self.commands.append(" ".join(argv))
        return CommandResult(self.status, self.shown[argv[-1].split(".")[-1]] if "show" in argv else "", "no bus")

    def give_label(self, file, path):
        self.labelled.append((file, path))
        return self.differs


def wanted(path, content):
    return FileSpec(str(path), content, OWNER, GROUP, 0o644)


def test_the_settings_are_json_and_only_certbot_has_a_hook():
    settings, service, timer, hook = renewal_files.wanted_files({"pairs": []}, "[Service]\n", "[Timer]\n", True)
    assert settings.content == '{\n  "pairs": []\n}\n'
    assert (service.path, service.content, timer.path, timer.content) == (SERVICE, "[Service]\n", TIMER, "[Timer]\n")
    assert (hook.path, hook.mode, hook.content.splitlines()[0]) == (CERTBOT_HOOK, 0o755, "#!/bin/sh")
    assert {(spec.owner, spec.group) for spec in (settings, service, timer, hook)} == {("root", "root")}
    assert renewal_files.wanted_files({}, "", "", False)[-1].content is None


def test_a_file_is_written_once_and_shown(tmp_path):
    path = tmp_path / "folder" / "file"
    for predict in (True, False):
        changed, shown = renewal_files.write(Host(), [wanted(path, "new\n")], predict)
        assert changed == [str(path)]
        assert (shown[0]["before"], shown[0]["after"]) == ("", "new\n")
        assert path.exists() is not predict
    assert (path.read_text(), os.listdir(str(path.parent))) == ("new\n", ["file"])
    assert renewal_files.write(Host(), [wanted(path, "new\n")], False) == ([], [])
    path.chmod(0o600)
    assert renewal_files.write(Host(), [wanted(path, "new\n")], False)[0] == [str(path)]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", ["new\n", "old\n", None])
def test_a_planted_link_is_replaced_and_its_target_stays(content, tmp_path):
    target, path = tmp_path / "target", tmp_path / "file"
    target.write_text("old\n")
    path.symlink_to(target)
    changed, shown = renewal_files.write(Host(), [wanted(path, content)], False)
    assert changed == [str(path)]
    # The target may be a secret.
    assert all(row["before"] != "old\n" for row in shown)
    assert not path.is_symlink()
    assert path.exists() is (content is not None)
    assert target.read_text() == "old\n"


def test_the_hook_of_a_former_pair_of_certbot_is_removed_once(tmp_path):
    path = tmp_path / "hook"
    path.write_text("exec\n")
    assert renewal_files.write(Host(), [wanted(path, None)], True)[0] == [str(path)]
    assert path.exists()
    assert [renewal_files.write(Host(), [wanted(path, None)], False)[0] for _run in range(2)] == [[str(path)], []]
    assert not path.exists()


def test_a_wrong_security_label_is_a_change(tmp_path):
    path = tmp_path / "file"
    path.write_text("text\n")
    path.chmod(0o644)
    host = Host(label=True)
    assert renewal_files.write(host, [wanted(path, "text\n")], False) == ([str(path)], [])
    assert host.labelled == [(str(path), str(path))]


@pytest.mark.parametrize(
    ("timer", "service", "changed", "commands"),
    [
        (ON + READ, READ, [], []),
        (ON + READ, READ, ["/etc/other"], []),
        (ON + READ, READ, [SERVICE], [RELOAD]),
        (ON + READ, READ, [TIMER], [RELOAD]),
        (ON + OUTDATED, READ, [], [RELOAD]),
        (ON + READ, OUTDATED, [], [RELOAD]),
        (ON + READ, OUTDATED, [SERVICE], [RELOAD]),
        (OFF + READ, READ, [], [START]),
        (OFF + READ, "ActiveState=active\n" + READ, [], [START]),
        ("ActiveState=active\nUnitFileState=disabled\n" + READ, READ, [], [START]),
        ("ActiveState=inactive\nUnitFileState=\n" + READ, READ, [TIMER], [RELOAD, START]),
    ],
)
def test_the_timer_is_on_and_systemd_knows_the_units(timer, service, changed, commands):
    units = "nts-certificate.timer and nts-certificate.service"
    lines = [f"systemd reloads {units}\n"] if OUTDATED in timer + service and not changed else []
    lines += ["nts-certificate.timer is enabled and started\n"] if START in commands else []
    for predict in (True, False):
        host = Host(timer, service=service)
        assert renewal_files.start_timer(host, changed, predict) == lines
        assert host.commands == [*SHOWN, *([] if predict else commands)]


def test_a_staged_file_of_an_interrupted_run_is_removed(tmp_path):
    left = tmp_path / "hook.securetime-nts-new~"
    hook = wanted(tmp_path / "hook", None)._replace(suffix=renewal_files.STAGED_HOOK)
    for predict in (True, False):
        left.touch()
        assert renewal_files.write(Host(), [hook], predict) == ([], [])
        assert left.exists() is predict


def test_a_timer_that_does_not_start_is_an_error():
    with pytest.raises(TransactionError, match=f"`{START}` failed: no bus"):
        renewal_files.start_timer(Host("ActiveState=inactive", status=1), [], False)


def test_a_failed_service_is_known():
    assert renewal_files.has_failed(Host())
    assert not renewal_files.has_failed(Host(status=1))
