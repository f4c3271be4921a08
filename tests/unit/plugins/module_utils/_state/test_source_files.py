# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import tempfile
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import source_files
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import declared_sources

NOBODY = 65534


@pytest.fixture(name="tmp_path")
def folder_that_all_users_may_enter():
    """Return a folder for a user to whom pytest's folder is closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file below a folder of its own, and returns its path."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(folder=tmp_path))
        return str(file)

    return write


def names(found):
    return [source.name for source in found]


def test_every_file_that_chronyd_reads_is_read(write, tmp_path):
    config = write(
        "chrony.conf",
        "! a comment\n  # another\n%server no.test\n\n\tSERVER a.test iburst nts\npeer b.test key 1\n"
        "refclock SHM 0\ninclude {folder}/more/*.conf\nconfdir {folder}/one {folder}/two\n"
        "sourcedir {folder}/sources {folder}/gone\nsourcedir {folder}/dhcp\ninitstepslew 30 c.test d.test\n",
    )
    write("more/x.conf", "server e.test\ninclude {folder}/deep.conf\n")
    write("deep.conf", "server f.test\n")
    write("one/1.conf", "server g.test\n")
    write("two/1.conf", "server of-the-same-name.test\n")
    write("two/0.conf", "server h.test\n")
    write("two/2.sources", "server another-suffix.test\n")
    write("two/.hidden.conf", "server hidden.test\n")
    write("sources/z.sources", "pool i.test\nallow\nserver\n")
    write("sources/z.conf", "server another-suffix.test\n")
    dhcp = write("dhcp/z.sources", "server j.test")
    (tmp_path / "dhcp" / "lost.sources").symlink_to("nowhere")
    found = declared_sources(config)
    assert names(found) == [f"{letter}.test" for letter in "abefhgcdij"]
    assert found[0].file == config
    assert found[-1].file == dhcp


@pytest.mark.parametrize(
    ("line", "confirmed", "places"),
    [
        ("server a.test maxsources 3", 1, 1),
        ("pool a.test", 4, 8),
        ("pool a.test iburst MaxSources 1", 1, 2),
        ("pool a.test maxsources 12", 12, 16),
        ("pool a.test maxsources 99", 16, 16),
        ("pool a.test maxsources x", 4, 8),
    ],
)
def test_a_pool_has_several_sources(line, confirmed, places):
    assert declared_sources(None, [line]) == [
        source_files.DeclaredSource("a.test", confirmed, places, source_files.COMMAND_LINE)
    ]


def test_with_directives_on_its_command_line_chronyd_reads_no_file(write):
    config = write("chrony.conf", "server a.test\n")
    assert names(declared_sources(config, ["server b.test", "log tracking"])) == ["b.test"]


def test_a_file_that_includes_itself_ends(write):
    config = write("chrony.conf", "server a.test\ninclude {folder}/chrony.conf\n")
    assert set(names(declared_sources(config))) == {"a.test"}


def test_without_a_file_nothing_is_known():
    assert declared_sources(None) is None


def test_a_file_that_is_gone_names_nothing(tmp_path):
    assert declared_sources(str(tmp_path / "gone")) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("closed", "mode", "expected"),
    [
        (None, None, ["a.test", "b.test", "c.test"]),
        ("chrony.conf", 0o600, None),
        ("more/x.conf", 0o600, None),
        ("more", 0o700, None),
        ("sources/x.sources", 0o600, None),
        ("sources", 0o700, None),
    ],
)
def test_what_an_ordinary_user_cannot_read_is_not_known(write, tmp_path, closed, mode, expected):
    config = write("chrony.conf", "server a.test\ninclude {folder}/more/*.conf\nsourcedir {folder}/sources\n")
    write("more/x.conf", "server b.test\n")
    write("sources/x.sources", "server c.test\n")
    if closed:
        (tmp_path / closed).chmod(mode)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        found = declared_sources(config)
        os.write(writer, repr(found and names(found)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 4096).decode() == repr(expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [("NTS1.Example.org", "nts1.example.org"), ("2001:DB8:0::1", "2001:db8::1"), ("192.0.2.1", "192.0.2.1")],
)
def test_names_are_compared_in_one_form(one, other):
    assert source_files.canonical(one) == source_files.canonical(other)
