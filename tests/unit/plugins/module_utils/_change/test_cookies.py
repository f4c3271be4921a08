# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of saved cookies, while a process of chronyd's user changes their folder."""

import errno
import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.cookies import (
    forget_cookies,
    put_back_cookies,
    set_aside_cookies,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.files import OLD


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two saved cookies and the keys of a server."""
    for name in ("a.nts", "b.nts", "ntskeys", ".hidden.nts"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def meanwhile(monkeypatch):
    """Return a function that simulates another process, which acts before each rename."""

    def let(act):
        replace = os.replace

        def after_act(source, *arguments, **options):
            act(os.path.basename(source))
            replace(source, *arguments, **options)

        monkeypatch.setattr(os, "replace", after_act)

    return let


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in ("ntskeys", ".hidden.nts"))


def test_cookies_are_set_aside_and_restored(folder):
    set_aside_cookies(str(folder))
    assert names(folder) == [f"a.nts{OLD}", f"b.nts{OLD}"]
    put_back_cookies(str(folder))
    assert names(folder) == ["a.nts", "b.nts"]
    assert (folder / "a.nts").read_text() == "a.nts"
    set_aside_cookies(str(folder))
    assert forget_cookies(str(folder)) == []
    assert sorted(path.name for path in folder.iterdir()) == [".hidden.nts", "ntskeys"]


@pytest.mark.parametrize("place", ["missing", "ntskeys"])
def test_a_missing_folder_has_no_cookies(folder, place):
    for function in (set_aside_cookies, put_back_cookies, forget_cookies):
        assert not function(str(folder / place))


@pytest.mark.parametrize("step", [set_aside_cookies, put_back_cookies])
def test_a_vanished_cookie_raises_no_error(folder, meanwhile, step):
    end = OLD if step is put_back_cookies else ""
    (folder / f"c.nts{end}").write_text("c")
    meanwhile(lambda name: name == f"c.nts{end}" and (folder / name).unlink())
    step(str(folder))
    assert [name for name in names(folder) if name.startswith("c")] == []


@pytest.mark.parametrize("step", [set_aside_cookies, put_back_cookies])
def test_a_cookie_replaced_by_a_folder_raises_no_error(folder, meanwhile, step):
    (folder / f"a.nts{OLD}").write_text("there")

    def become(name):
        if name == (f"a.nts{OLD}" if step is put_back_cookies else "a.nts") and not (folder / name).is_dir():
            (folder / name).unlink()
            (folder / name).mkdir()

    meanwhile(become)
    step(str(folder))
    assert [path.is_dir() for path in (folder / "a.nts", folder / f"a.nts{OLD}")].count(True) == 1


def test_cookies_created_meanwhile_are_set_aside_too(folder, meanwhile):
    def make(name):
        if name == "a.nts":
            (folder / "c.nts").write_text("made")

    meanwhile(make)
    set_aside_cookies(str(folder))
    assert [name for name in names(folder) if not name.endswith(OLD)] == []
    assert f"c.nts{OLD}" in names(folder)


def test_endless_new_cookies_do_not_block_the_change(folder, meanwhile):
    renamed = []

    def make(name):
        renamed.append(name)
        (folder / f"{len(renamed)}.nts").write_text("made")

    meanwhile(make)
    set_aside_cookies(str(folder))
    assert 2 <= len(renamed) < 1000
    assert not {"a.nts", "b.nts"} & set(names(folder))


def test_a_cookie_that_cannot_be_renamed_is_removed(folder):
    (folder / f"a.nts{OLD}").mkdir()
    set_aside_cookies(str(folder))
    assert names(folder) == [f"a.nts{OLD}", f"b.nts{OLD}"]


def test_a_read_only_file_system_raises_an_error(folder, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError, match="Read-only"):
        set_aside_cookies(str(folder))
