# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of the checks. The test hosts run them with a real chronyd."""

import contextlib
import os
import re
import tempfile
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import config_check
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.paths import Sandbox
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of


@pytest.mark.parametrize(
    ("message", "what", "line"),
    [
        # chronyd 4.3 and 4.6.1, then 4.8
        ("2026-11-23T08:00:00Z Fatal error : Invalid directive at line 2 in file /etc/x", "Invalid directive", "2"),
        ("Fatal error : Invalid directive ntstimeout at line 2 in file /x", "Invalid directive ntstimeout", "2"),
        ("Fatal error : Could not parse server directive at line 11", "Could not parse server directive", "11"),
    ],
)
def test_parse_errors_yield_message_and_line(message, what, line):
    found = config_check.PARSE_ERROR.search("something before\n" + message + "\n")
    assert (found.group("what"), found.group("line")) == (what, line)


def test_the_default_user_comes_from_the_help_text():
    found = config_check.DEFAULT_USER.search("  -t SECONDS\tExit\n  -u USER\tSpecify user (_chrony)\n  -U\t\tDo not\n")
    assert found.group("user") == "_chrony"


@pytest.mark.parametrize(
    ("given", "lines", "name"),
    [
        ([], {}, "root"),
        ([], {"user": [["bin"], ["daemon"]]}, "daemon"),
        (["-u", "bin"], {"user": [["daemon"]]}, "bin"),
    ],
)
def test_the_option_u_overrides_the_directive_user(given, lines, name):
    help_of = System(lambda _argv: CommandResult(0, "  -u USER\tSpecify user (root)\n", ""), lambda _a, _b: False)
    assert config_check.reader_of(help_of, lines, given).name == name


def test_a_user_that_the_host_does_not_have_is_refused():
    help_of = System(lambda _argv: CommandResult(0, "", ""), lambda _a, _b: False)
    with pytest.raises(TransactionError, match=r"as the user nobody-else.*and the option -u"):
        config_check.reader_of(help_of, {}, ["-u", "nobody-else"])


@pytest.mark.parametrize(("given", "refused"), [(["-F", "1"], True), (["-F", "0"], False), (["-F", "2"], True)])
def test_directives_that_conflict_with_options_are_refused(tmp_path, monkeypatch, given, refused):
    config = tmp_path / "chrony.conf"
    config.write_text("mailonchange root 0.5\n")
    printing = System(
        lambda argv: CommandResult(0, config.read_text() if "-p" in argv else "", ""), lambda _a, _b: False
    )
    monkeypatch.setattr(config_check, "find_chronyd", lambda: "chronyd")
    monkeypatch.setattr(config_check, "_running_options", lambda: given)
    for options in (given, None):
        with (
            pytest.raises(TransactionError, match=r"nothing was changed: .*mailonchange")
            if refused
            else contextlib.ExitStack()
        ):
            config_check.check(printing, {}, str(config), whole=False, daemon_options=options)


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
def test_the_first_matching_class_decides_permissions(uid, gid, mode, expected):
    status = os.stat_result((0o100000 | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
    assert config_check.has_permission(config_check.Reader("chrony", 7, 7), status, 4) is expected
    assert config_check.has_permission(config_check.Reader("root", 0, 0), status, 4) is True


def test_a_missing_trust_anchor_is_refused(tmp_path):
    reader = config_check.Reader("root", 0, 0)
    with pytest.raises(TransactionError, match=r"ca.pem \(ntstrustedcerts\) is not on this host"):
        config_check._assert_readable(str(tmp_path / "ca.pem"), {}, reader, "ntstrustedcerts")


def test_a_line_of_trust_anchors_without_a_path_is_left_to_chronyd(tmp_path):
    reader = config_check.Reader("root", 0, 0)
    config_check._check_anchors({"ntstrustedcerts": [[], [str(tmp_path)]]}, {}, reader)
    with pytest.raises(TransactionError, match=r"ca.pem \(ntstrustedcerts\) is not on this host"):
        config_check._check_anchors({"ntstrustedcerts": [[], ["1", str(tmp_path / "ca.pem")]]}, {}, reader)


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ({}, None),
        ({"": 0o750}, r"d \(sourcedir\) cannot be read by chrony.* permissions of .*/d, .*Let that user in: `chgrp"),
        ({"a.sources": 0o640}, r"a.sources \(sourcedir\) cannot be read by chrony"),
        ({"other": 0o600}, None),
    ],
)
def test_sources_must_be_readable_for_chronyds_user(modes, message):
    # The parents of tmp_path are private, so use another folder.
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(parent) / "d"
        folder.mkdir()
        _check_sources_of(folder, modes, message)


def _check_sources_of(folder, modes, message):
    for name in ("a.sources", "other"):
        (folder / name).touch()
    for name, mode in {"": 0o755, "a.sources": 0o644, **modes}.items():
        (folder / name).chmod(mode)
    reader = config_check.Reader("chrony", os.getuid() + 1, os.getgid() + 1)
    directives = {"sourcedir": [[str(folder)]]}
    if message is None:
        config_check._check_source_folders(directives, {}, reader)
        return
    with pytest.raises(TransactionError, match=message):
        config_check._check_source_folders(directives, {}, reader)


@pytest.mark.parametrize("names", [{}, {"/etc/chrony/nts/server.pem": ["nts1"]}])
def test_a_server_without_possible_clients_is_refused(names, monkeypatch):
    text = "ntsservercert /etc/chrony/nts/server.pem\nallow 192.0.2.0/24\nport 0\n"
    monkeypatch.setattr(config_check, "find_chronyd", lambda: "chronyd")
    host = System(lambda _argv: CommandResult(0, text, ""), lambda _staged, _path: None)
    refused = pytest.raises(TransactionError, match=r"`port 0` closes .* no client; nothing was changed. Take the line")
    with refused if names else contextlib.ExitStack():
        assert config_check.check(host, {}, "/etc/chrony/chrony.conf", names, whole=False)


@pytest.fixture
def parent_folder():
    """Return a folder that every user can enter. The parents of tmp_path are private."""
    with tempfile.TemporaryDirectory(dir="/var/lib" if os.getuid() == 0 else None) as parent:
        os.chmod(parent, 0o755)
        yield Path(parent)


# Neither root nor the owner of the files of the tests.
OTHER = config_check.Reader("chrony", os.getuid() + 1, os.getgid() + 1)


def problem_of(text, reader=OTHER, **shown):
    """Return the error about a configuration; an empty string if chronyd can use all of its paths."""
    try:
        config_check._check_paths(words_of(text), reader, Sandbox("chrony.service", shown))
    except TransactionError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize(
    "line", ["driftfile {}/d/drift", "dumpdir {}/d", "ntsdumpdir {}/d", "logdir {}/d", "rtcfile {}/d/r"]
)
def test_written_folders_must_be_writable_for_chronyds_user(parent_folder, line):
    line = line.format(parent_folder)
    folder = parent_folder / "d"
    # A run creates the missing folder.
    assert problem_of(line) == ""
    folder.mkdir()
    folder.chmod(0o755)
    problem = problem_of(line)
    assert f"cannot be written by chrony, the user of chronyd, because of the permissions of {folder}" in problem
    assert "to a path that chrony owns, such as one below /var/lib/chrony." in problem
    os.chmod(folder, 0o757)
    assert f"is in {folder}, and all users can write there" in problem_of(line)
    if os.getuid() == 0:
        os.chown(folder, OTHER.uid, OTHER.gid)
        os.chmod(folder, 0o750)
        assert problem_of(line) == ""
        os.chmod(parent_folder, 0o750)
        assert re.search(f"permissions of {parent_folder}, .*; nothing was changed. Let that user in", problem_of(line))


@pytest.mark.parametrize(
    ("line", "shown", "message"),
    [
        (
            "dumpdir /srv/d",
            {"ProtectSystem": "strict"},
            "is read-only for chronyd by ProtectSystem=strict of chrony.service, and chronyd would forget its",
        ),
        ("driftfile /home/x/drift", {"ProtectHome": "yes"}, "is hidden from chronyd by ProtectHome=yes"),
        ("leapseclist /root/leap", {"ProtectHome": "yes"}, "is hidden from chronyd by ProtectHome=yes"),
        (
            "refclock SOCK /tmp/gps.sock",
            {"PrivateTmp": "yes"},
            "/tmp/gps.sock (refclock) is hidden from chronyd by PrivateTmp=yes",
        ),
        (
            "refclock SOCK {}/none/gps.sock",
            {},
            "needs the folder {}/none, which does not exist, and chronyd would end at its start",
        ),
        ("pidfile {}/none/pid", {}, "needs the folder {}/none, which does not exist"),
        (
            "pidfile {}/pid",
            {"Type": "forking", "PIDFile": "/run/chrony/chronyd.pid"},
            "is not /run/chrony/chronyd.pid, where chrony.service looks for it (PIDFile)",
        ),
        ("pidfile {}/pid", {"Type": "notify", "PIDFile": "/run/chrony/chronyd.pid"}, ""),
        ("dumpdir {}/file/below", {}, ""),
        ("dumpdir {}/file", {}, "needs the folder {}/file, which is not a folder"),
        ("leapseclist {}/none", {}, "none (leapseclist) is not on this host, and chronyd would know of no leap second"),
        (
            "leapseclist {}/secret",
            {},
            "cannot be read by chrony, the user of chronyd, because of the permissions of {}/secret",
        ),
        ("tempcomp {}/none 30 0 0 0 0", {}, "none (tempcomp) is not on this host"),
        ("leapseclist {}/file", {}, ""),
        ("keyfile {}/none", {}, ""),
        (
            "bindcmdaddress {}/socket",
            {},
            "is in {}, which is not a folder of chrony alone, and chronyd would not answer chronyc at this socket",
        ),
        ("bindcmdaddress {}/none/socket", {}, ""),
    ],
)
def test_the_reason_for_an_unusable_path_is_reported(parent_folder, line, shown, message):
    (parent_folder / "file").touch(0o644)
    (parent_folder / "secret").touch(0o600)
    problem = problem_of(line.format(parent_folder), **shown)
    assert message.format(parent_folder) in problem
    assert bool(problem) == bool(message)
    assert "nothing was changed" in problem or not problem


def test_the_remedy_names_the_file_or_the_folder_that_denies_access(parent_folder):
    folder = parent_folder / "private"
    folder.mkdir(0o700)
    key = folder / "server.key"
    key.touch(0o600)
    with pytest.raises(TransactionError, match=rf"permissions of {key}; .* with mode 0640"):
        config_check._assert_readable(str(key), {}, OTHER, "ntsserverkey")
    key.chmod(0o644)
    with pytest.raises(
        TransactionError, match=rf"permissions of {folder}; .*Let that user in: `chgrp \S+ {folder}; chmod g\+rx"
    ):
        config_check._assert_readable(str(key), {}, OTHER, "ntsserverkey")
