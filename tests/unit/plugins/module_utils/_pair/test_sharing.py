# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of shared keys, which is in a folder of chronyd's user."""

import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._pair import sharing
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import new_keys

KEYS = new_keys("pool", 1000)


def plant_link(path):
    other = path.with_name("other")
    other.write_text(KEYS.text())
    path.symlink_to(other)


def plant_large(path):
    path.write_text(KEYS.text())
    os.truncate(str(path), 2**40)


PLANTED = {
    "link": plant_link,
    "dangling": lambda path: path.symlink_to("/nowhere"),
    "FIFO": lambda path: os.mkfifo(str(path)),
    "folder": lambda path: path.mkdir(),
    "large": plant_large,
}


@pytest.mark.parametrize("what", PLANTED)
def test_nothing_else_in_the_place_of_the_keys_is_read_or_replaced(what, tmp_path, monkeypatch):
    path = tmp_path / "ntskeys"
    PLANTED[what](path)
    assert sharing.keys_in(str(path)) is None
    monkeypatch.setattr(sharing, "apply", lambda *_arguments: pytest.fail("something was changed"))
    host = System(run=lambda _argv: pytest.fail("a program was run"), label=lambda _file, _path: None)
    with pytest.raises(TransactionError, match=r"nothing was changed\. Remove it"):
        sharing.replace_keys(host, sharing.KeyLocation(str(path)), KEYS, Options("/chrony.conf", "chronyd"))


def test_keys_are_read_and_replaced(tmp_path, monkeypatch):
    path = tmp_path / "ntskeys"
    host = System(run=lambda _argv: pytest.fail("a program was run"), label=lambda _file, _path: None)
    given = []
    monkeypatch.setattr(sharing, "apply", lambda _host, wanted, options: given.append((wanted, options)) or {})
    for text in (None, "keys of its own", KEYS.text()):
        if text is not None:
            path.write_text(text)
        assert sharing.keys_in(str(path)) == (KEYS if text == KEYS.text() else None)
        assert (
            sharing.replace_keys(host, sharing.KeyLocation(str(path)), KEYS, Options("/chrony.conf", "chronyd")) == {}
        )
    (wanted,), options = given[-1]
    assert (wanted.path, wanted.content, wanted.mode, wanted.effect) == (str(path), KEYS.text(), 0o600, "keys")
    assert not options.originals
