# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a server reads shared keys, and which files it does not read."""

import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._pair import sharing
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import new_keys

DIRECTIVES = {"ntsservercert": [["/c.pem"]], "ntsdumpdir": [["/old"], ["/var/lib/chrony"]], "ntsrotate": [["0"]]}
KEYS = new_keys("pool", 1000)


def test_the_last_folder_has_the_keys():
    assert sharing.key_location(DIRECTIVES, True) == sharing.KeyLocation("/var/lib/chrony/ntskeys", "/c.pem")


@pytest.mark.parametrize(
    ("changed", "is_active", "problem"),
    [
        ({"ntsservercert": []}, True, "no ntsservercert"),
        ({"ntsdumpdir": []}, True, "no ntsdumpdir"),
        ({"ntsrotate": [["0"], ["604800"]]}, True, "no `ntsrotate 0`"),
        ({}, False, "chronyd does not run"),
    ],
)
def test_what_keeps_chronyd_from_shared_keys_is_named(changed, is_active, problem):
    place = sharing.key_location(dict(DIRECTIVES, **changed), is_active)
    assert problem in place.problem
    assert (place.path, place.certificate) == ("", "")
    found = sharing.report(place, None, "salt", 2000.0)
    assert (found["problem"], found["name"], found["tags"], found["age_seconds"]) == (place.problem, "", [], 0)


def test_keys_are_reported_by_name_age_and_tags(tmp_path):
    path = tmp_path / "ntskeys"
    path.write_text(KEYS.text())
    found = sharing.report(sharing.KeyLocation(str(path), "/c.pem"), None, "salt", 2000.0)
    assert (found["problem"], found["name"], found["age_seconds"]) == ("", "pool", 1000)
    assert found["tags"] == KEYS.tags("salt") != KEYS.tags("pepper")


def test_a_file_that_chronyd_would_not_read_has_no_keys(tmp_path):
    path = tmp_path / "ntskeys"
    assert sharing.keys_in(str(path)) is None
    path.write_text("NKS9\n")
    assert sharing.keys_in(str(path)) is None
    path.rename(tmp_path / "other")
    (tmp_path / "other").write_text(KEYS.text())
    assert sharing.keys_in(str(tmp_path / "other")) == KEYS
    path.symlink_to("other")
    assert sharing.keys_in(str(path)) is None
    path.unlink()
    os.mkfifo(str(path))
    assert sharing.keys_in(str(path)) is None


def test_keys_are_not_written_through_a_link(tmp_path):
    (tmp_path / "ntskeys").symlink_to("elsewhere")
    host = System(lambda _argv: CommandResult(0, "", ""), lambda _file, _path: False, str(tmp_path / "state"))
    with pytest.raises(TransactionError, match="is no regular file, so nothing was changed"):
        sharing.replace_keys(
            host,
            sharing.KeyLocation(str(tmp_path / "ntskeys"), "/c.pem"),
            KEYS,
            Options("/etc/chrony.conf", "chrony.service"),
        )
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("content", [None, "-----BEGIN PRIVATE KEY-----\n"])
def test_a_file_without_a_certificate_is_named(tmp_path, content):
    path = tmp_path / "c.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TransactionError, match=r"c\.pem, which chrony\.conf names, has no certificate"):
        sharing.certificate_text(str(path))
