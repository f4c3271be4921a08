# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host had before the first change: symbolic links among it, and what is lost."""

import os

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import files, originals
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    FileSpec,
    System,
    TransactionError,
)


@pytest.fixture
def host(tmp_path, monkeypatch):
    # Unit tests need not run as root.
    monkeypatch.setattr(os, "fchown", lambda *_arguments: None)
    monkeypatch.setattr(os, "lchown", lambda *_arguments: None)
    return System(lambda _argv: CommandResult(0, "", ""), lambda _file, _path: False, str(tmp_path / "state"))


def test_a_link_is_restored_as_a_link(host, tmp_path):
    (tmp_path / "target").write_text("of the package\n")
    link = tmp_path / "link"
    link.symlink_to("target")
    originals.keep(host, str(link))
    link.unlink()
    link.write_text("ours\n")
    (spec,) = originals.specs(host)
    assert (spec.link, spec.content) == ("target", "of the package\n")
    assert files.differs(spec, files.read(str(link)))
    assert "symbolic link to target" in str(files.diffs(spec, files.read(str(link))))
    files.stage(host, spec)
    files.swap(spec)
    assert os.readlink(str(link)) == "target"
    assert not files.differs(spec, files.read(str(link)))
    link.unlink()
    link.symlink_to("elsewhere")
    assert files.differs(spec, files.read(str(link)))


def test_a_link_whose_target_is_gone_is_still_restored(host, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    originals.keep(host, str(link))
    assert originals.spec(host, str(link))[:2] == (str(link), "")


def test_the_first_state_stays_and_a_dropped_one_is_forgotten(host, tmp_path):
    path, absent = tmp_path / "file", tmp_path / "absent"
    path.write_text("first\n")
    for content in ("second\n", "third\n"):
        originals.keep(host, str(path))
        originals.keep(host, str(absent))
        path.write_text(content)
    assert originals.spec(host, str(path)).content == "first\n"
    assert originals.spec(host, str(absent)).content is None
    originals.drop(host, [str(path), str(absent)])
    assert originals.specs(host) == []
    assert os.listdir(os.path.join(host.state, originals.FOLDER)) == ["manifest.json"]


def test_a_lost_original_is_an_error(host, tmp_path):
    (tmp_path / "file").write_text("first\n")
    originals.keep(host, str(tmp_path / "file"))
    os.remove(os.path.join(host.state, originals.FOLDER, "000"))
    with pytest.raises(TransactionError, match="is missing below"):
        originals.specs(host)


def test_everything_is_forgotten(host, tmp_path):
    (tmp_path / "file").write_text("first\n")
    originals.keep(host, str(tmp_path / "file"))
    assert originals.forget_everything(host) == []
    assert not os.path.exists(host.state)
    # A second time there is nothing to forget.
    assert originals.forget_everything(host) == []


def test_a_file_that_nobody_can_remove_gets_a_sentence(tmp_path):
    (tmp_path / "folder").mkdir()
    assert files.removal_problem(str(tmp_path / "folder")).endswith("Remove it.")
    assert not files.removal_problem(str(tmp_path / "none"))


def test_a_number_without_a_name_stays_a_number():
    assert files.group_name(4000000000) == "4000000000"
    assert files.differs(FileSpec("/x", "", "root", "root", 0o644), None)
