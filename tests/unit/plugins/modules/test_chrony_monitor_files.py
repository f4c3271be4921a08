# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files, links and folders of chrony_monitor in folders of the test."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import run_program
from ansible_collections.securetime.nts.plugins.module_utils._monitor.installation import (
    CHRONY_USERS,
    File,
    Folder,
    User,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair import archive
from ansible_collections.securetime.nts.plugins.modules import chrony_monitor

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")
USER = User(getpass.getuser())
GIVEN: dict[str, Any] = {
    "interval_seconds": 60,
    "probe_interval_minutes": 15,
    "log": "/var/log/chrony/nts-monitor.log",
    "hook": [],
    "clients": False,
    "goal": "auto",
    "thresholds": {},
}


def module(tmp_path: Path, check_mode: bool = False) -> AnsibleModule:
    given = {"_ansible_check_mode": check_mode, "_ansible_remote_tmp": str(tmp_path)}
    with patch_module_args(given):
        return AnsibleModule(argument_spec={}, supports_check_mode=True)


def system(made: AnsibleModule) -> System:
    return System(run=lambda argv: run_program(made, argv), label=lambda *_paths: None)


def test_the_textfile_folder_of_the_operator_must_exist(tmp_path: Path) -> None:
    given = {**GIVEN, "textfile_directory": f"{tmp_path}/"}
    settings, notes = chrony_monitor.settings_of(given)
    assert (settings.textfile_directory, notes) == (str(tmp_path), [])
    assert (settings.interval_seconds, settings.goal, settings.log) == (60, "auto", GIVEN["log"])
    with pytest.raises(TransactionError, match=f"textfile_directory is {tmp_path}/no, which does not exist"):
        chrony_monitor.settings_of({**given, "textfile_directory": f"{tmp_path}/no"})
    assert chrony_monitor.settings_of({**given, "textfile_directory": ""})[0].textfile_directory == ""


def test_a_log_in_a_missing_folder_means_that_the_role_makes_it(tmp_path: Path) -> None:
    given = {**GIVEN, "textfile_directory": ""}
    made = [chrony_monitor.settings_of({**given, "log": f"{tmp_path}/{name}"})[0] for name in ("log", "new/log")]
    assert [settings.log_folder_made for settings in made] == [False, True]


def test_without_chrony_only_check_mode_has_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chrony_monitor, "user_of_monitor", lambda: None)
    assert chrony_monitor.user_of(module(tmp_path, check_mode=True)) == User(CHRONY_USERS[0])
    with pytest.raises(TransactionError, match=r"chronyd's user .* is missing: install chrony first"):
        chrony_monitor.user_of(module(tmp_path))


def test_a_file_is_current_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    wanted = File(str(path), b"new\n")
    assert not chrony_monitor.is_current(wanted, "")
    path.write_text("old\n")
    assert not chrony_monitor.is_current(wanted, "")
    assert chrony_monitor.diff_of(wanted) == {
        "before_header": str(path),
        "after_header": str(path),
        "before": "old\n",
        "after": "new\n",
    }
    path.write_text("new\n")
    assert chrony_monitor.is_current(wanted, "")
    (tmp_path / "link").symlink_to(path)
    assert not chrony_monitor.is_current(wanted._replace(path=f"{tmp_path}/link"), "")
    assert chrony_monitor.diff_of(File(f"{tmp_path}/none", b"new\n"))["before"] == ""


def test_a_link_is_current_by_its_target(tmp_path: Path) -> None:
    path = tmp_path / "link"
    wanted = File(str(path), b"", link="folder/file")
    assert not chrony_monitor.is_current(wanted, "")
    path.symlink_to("elsewhere")
    assert not chrony_monitor.is_current(wanted, "")
    made = module(tmp_path)
    # A link that an interrupted run left is in the way of nothing.
    (tmp_path / "link.new").symlink_to("half")
    chrony_monitor.put(made, system(made), wanted, sys.executable)
    assert (os.readlink(path), sorted(os.listdir(tmp_path))) == ("folder/file", ["link"])
    assert chrony_monitor.is_current(wanted, "")
    assert chrony_monitor.diff_of(wanted) == {"prepared": f"{path} changes\n"}


def test_a_folder_in_the_place_of_a_link_stays(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.mkdir()
    made = module(tmp_path)
    with pytest.raises(TransactionError, match="is a folder, and not the monitor's: move it away"):
        chrony_monitor.put(made, system(made), File(str(path), b"", link="file"), sys.executable)
    assert path.is_dir()


def test_a_file_is_replaced_in_a_folder_that_may_be_missing(tmp_path: Path) -> None:
    made = module(tmp_path)
    path = tmp_path / "new" / "file"
    chrony_monitor.put(made, system(made), File(str(path), b"text\n"), sys.executable)
    assert path.read_text() == "text\n"
    assert os.listdir(path.parent) == ["file"]


@ROOT
def test_attributes_are_changed_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text\n")
    path.chmod(0o600)
    wanted = File(str(path), b"text\n", mode=0o644)
    assert chrony_monitor.set_attributes(module(tmp_path, check_mode=True), wanted)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [chrony_monitor.set_attributes(module(tmp_path), wanted) for _time in range(2)] == [True, False]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not chrony_monitor.set_attributes(module(tmp_path), wanted._replace(link="target"))
    assert not chrony_monitor.set_attributes(module(tmp_path, check_mode=True), File(f"{tmp_path}/none", b""))


@pytest.mark.parametrize(("own", "mode"), [(True, 0o755), (False, 0o750)])
def test_a_folder_is_made_once(own: bool, mode: int, tmp_path: Path) -> None:
    folder = Folder(f"{tmp_path}/a/b", USER.name, own)
    assert chrony_monitor.make_folder(module(tmp_path, check_mode=True), folder)
    assert not os.path.exists(f"{tmp_path}/a")
    assert [chrony_monitor.make_folder(module(tmp_path), folder) for _time in range(2)] == [True, False]
    assert stat.S_IMODE(os.stat(folder.path).st_mode) == mode


def test_the_folder_of_others_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir(0o711)
    assert not chrony_monitor.make_folder(module(tmp_path), Folder(str(path), USER.name, own=False))
    assert stat.S_IMODE(path.stat().st_mode) == 0o711
    assert chrony_monitor.make_folder(module(tmp_path), Folder(str(path), USER.name))
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


@ROOT
def test_the_state_log_of_a_former_user_is_handed_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("line\n")
    os.chown(path, 65534, -1)
    (tmp_path / "link").symlink_to(path)
    os.lchown(tmp_path / "link", 65534, -1)
    for other in ("", f"{tmp_path}/none", f"{tmp_path}/link", str(tmp_path)):
        assert not chrony_monitor.hand_over(module(tmp_path), other, USER)
    assert (path.stat().st_uid, (tmp_path / "link").lstat().st_uid) == (65534, 65534)
    assert [chrony_monitor.hand_over(module(tmp_path), str(path), USER) for _time in range(2)] == [True, False]
    assert (path.stat().st_uid, path.read_text()) == (0, "line\n")


def test_the_program_is_current_only_with_the_bytecode_of_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "nts-monitor")
    monkeypatch.setattr(chrony_monitor, "PROGRAM", path)
    made = module(tmp_path)
    magic = run_program(made, [sys.executable, "-IS", "-c", archive.MAGIC]).stdout.strip()
    wanted = File(path, archive.program(f"{sys.executable} -IS", chrony_monitor.collector.__name__), 0o755)
    chrony_monitor.put(made, system(made), wanted, sys.executable)
    assert chrony_monitor.is_current(wanted, magic)
    assert not chrony_monitor.is_current(wanted, "00000000")
    assert chrony_monitor.diff_of(wanted) == {"prepared": f"{path} changes\n"}
    with pytest.raises(TransactionError, match=r"/bin/false cannot compile the program .*: no message"):
        chrony_monitor.put(made, system(made), wanted, "/bin/false")
    assert chrony_monitor.is_current(wanted, magic)
