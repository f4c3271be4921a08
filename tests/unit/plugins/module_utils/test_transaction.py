# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transaction decides, on real files; what chronyd and systemd make of it is tested on the test hosts."""

import grp
import os
import pwd
import stat

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._transaction import (
    PARSE_ERROR,
    Finished,
    Host,
    TransactionError,
    Wanted,
    differs,
    diffs,
    digest,
    digest_of_file,
    load_record,
    put,
    read,
    restart_reasons,
    restore,
    save_record,
)

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name
ACTIVE = {"ActiveState": "active"}


def wanted(path, content="new\n", mode=0o640):
    return Wanted(str(path), content, USER, GROUP, mode)


@pytest.fixture
def host(tmp_path):
    return Host(run=lambda argv: Finished(0, "", ""), place=os.replace, record=str(tmp_path / "state" / "loaded.json"))


def test_put_makes_the_file_and_its_folders(host, tmp_path):
    put(host, wanted(tmp_path / "a" / "b" / "file"))
    status = (tmp_path / "a" / "b" / "file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert (tmp_path / "a" / "b" / "file").read_text() == "new\n"
    assert os.listdir(str(tmp_path / "a" / "b")) == ["file"]


def test_put_of_no_content_removes(host, tmp_path):
    (tmp_path / "file").write_text("old\n")
    put(host, wanted(tmp_path / "file", content=None))
    assert not (tmp_path / "file").exists()


def test_put_for_an_unknown_group_changes_nothing(host, tmp_path):
    (tmp_path / "file").write_text("old\n")
    with pytest.raises(TransactionError, match="the group no-such-group, which this host does not have"):
        put(host, wanted(tmp_path / "file")._replace(group="no-such-group"))
    assert (tmp_path / "file").read_text() == "old\n"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(host, tmp_path):
    def full(source, path):
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("old\n")
    host.place = full
    with pytest.raises(OSError, match="No space left"):
        put(host, wanted(tmp_path / "file"))
    assert os.listdir(str(tmp_path)) == ["file"]
    assert (tmp_path / "file").read_text() == "old\n"


def test_restore_brings_back_content_and_mode(host, tmp_path):
    (tmp_path / "file").write_text("old\n")
    (tmp_path / "file").chmod(0o600)
    before = read(str(tmp_path / "file"))
    put(host, wanted(tmp_path / "file"))
    restore(host, str(tmp_path / "file"), before)
    assert (tmp_path / "file").read_text() == "old\n"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_restore_removes_what_was_not_there(host, tmp_path):
    put(host, wanted(tmp_path / "file"))
    restore(host, str(tmp_path / "file"), None)
    restore(host, str(tmp_path / "file"), None)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"content": "other\n"}, True),
        ({"mode": 0o644}, True),
        ({"group": "no-such-group"}, True),
        ({"content": None}, True),
    ],
)
def test_differs_sees_content_owner_and_mode(host, tmp_path, change, expected):
    item = wanted(tmp_path / "file")
    put(host, item)
    assert differs(item._replace(**change), read(item.path)) is expected


def test_a_file_that_is_absent_and_to_be_absent_does_not_differ(tmp_path):
    assert not differs(wanted(tmp_path / "file", content=None), None)
    assert differs(wanted(tmp_path / "file"), None)


def test_diff_of_a_mode_shows_no_content(host, tmp_path):
    item = wanted(tmp_path / "file", content="secret\n")
    put(host, item)
    (pair,) = diffs(item._replace(mode=0o600), read(item.path))
    assert "secret" not in pair["before"] + pair["after"]
    assert "mode: 0640" in pair["before"]
    assert "mode: 0600" in pair["after"]


def test_diff_of_a_new_file_shows_it_whole(tmp_path):
    (pair,) = diffs(wanted(tmp_path / "file"), None)
    assert (pair["before"], pair["after"]) == ("", "new\n")


def test_nothing_changed_and_all_loaded_needs_no_restart():
    assert restart_reasons([], {"/c": "1"}, {"/c": "1"}, ACTIVE) == []


def test_a_stopped_daemon_is_started():
    assert restart_reasons([], {"/c": "1"}, {"/c": "1"}, {"ActiveState": "inactive"}) == ["chronyd is not running"]


def test_a_changed_file_needs_a_restart(tmp_path):
    assert restart_reasons([wanted("/c")], {"/c": "2"}, {"/c": "1"}, ACTIVE) == ["/c changed"]


def test_a_certificate_that_the_running_daemon_has_not_loaded_needs_a_restart():
    loaded, record = {"/c": "1", "/cert": "2"}, {"/c": "1", "/cert": "1"}
    assert restart_reasons([], loaded, record, ACTIVE) == ["/cert changed since chronyd was started"]


def test_a_run_that_was_cut_before_the_restart_is_finished_by_the_next():
    assert restart_reasons([], {"/c": "2"}, {"/c": "1"}, ACTIVE) == ["/c changed since chronyd was started"]


def test_record_is_kept_and_private(host):
    assert load_record(host) == {}
    save_record(host, {"/c": digest("x")})
    assert load_record(host) == {"/c": digest("x")}
    assert stat.S_IMODE(os.stat(host.record).st_mode) == 0o600


@pytest.mark.parametrize("damage", ["", "{", "[]", '"text"'])
def test_a_damaged_record_counts_as_none(host, damage):
    save_record(host, {})
    with open(host.record, "w") as file:
        file.write(damage)
    assert load_record(host) == {}


def test_digest_of_a_file_is_that_of_its_content(host, tmp_path):
    put(host, wanted(tmp_path / "file", content="x"))
    assert digest_of_file(str(tmp_path / "file")) == digest("x")
    assert digest_of_file(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("message", "what", "line"),
    [
        # chronyd 4.3 and 4.6.1, then 4.8 (reference: conf.c at these tags)
        ("2026-11-23T08:00:00Z Fatal error : Invalid directive at line 2 in file /etc/x", "Invalid directive", "2"),
        ("Fatal error : Invalid directive ntstimeout at line 2 in file /x", "Invalid directive ntstimeout", "2"),
        ("Fatal error : Could not parse server directive at line 11", "Could not parse server directive", "11"),
    ],
)
def test_parse_errors_are_taken_apart(message, what, line):
    found = PARSE_ERROR.search("something before\n" + message + "\n")
    assert (found.group("what"), found.group("line")) == (what, line)
