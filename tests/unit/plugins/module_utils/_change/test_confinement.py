# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of the policies and written for them; that chronyd is let through is tested on VMs."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import confinement
from ansible_collections.securetime.nts.plugins.module_utils._change.confinement import (
    BEGIN,
    END,
    Places,
    Requirements,
    with_block,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)

# Of `semanage port --list --noheading`, policycoreutils 3.8, with a port that an administrator has labelled.
LISTING = """\
certmaster_port_t              tcp      51235
http_port_t                    tcp      80, 443, 488, 8008-8010, 8443
ntp_port_t                     udp      123
ntske_port_t                   tcp      10123, 4460
hi_reserved_port_t             tcp      512-1023
reserved_port_t                tcp      1-511
unreserved_port_t              tcp      1024-32767, 61001-65535
unreserved_port_t              udp      61001-65535, 1024-32767
ephemeral_port_t               tcp      32768-61000
"""


@pytest.fixture
def places(tmp_path):
    profile = tmp_path / "usr.sbin.chronyd"
    profile.write_text("#include <local/usr.sbin.chronyd>\n")
    return Places(
        selinux=str(tmp_path / "no-selinux"),
        profile=str(profile),
        override=str(tmp_path / "local/usr.sbin.chronyd"),
        loaded=str(tmp_path / "not-loaded"),
    )


@pytest.fixture
def host(tmp_path):
    return System(
        run=lambda argv: CommandResult(1, "", f"nothing runs here: {argv}"),
        label=lambda staged, path: None,
        state=str(tmp_path / "state"),
    )


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (4460, "ntske_port_t"),
        (10123, "ntske_port_t"),
        (443, "http_port_t"),
        (8009, "http_port_t"),
        (600, "hi_reserved_port_t"),
        (123, "reserved_port_t"),
        (4461, "unreserved_port_t"),
        (65535, "unreserved_port_t"),
        (40000, "ephemeral_port_t"),
        (51235, "certmaster_port_t"),
    ],
)
def test_the_type_of_a_port_is_that_of_the_smallest_range(port, expected):
    assert confinement.type_of(port, confinement.port_types(LISTING)) == expected


def test_a_port_in_no_range_has_no_type():
    assert confinement.type_of(7, confinement.port_types("http_port_t tcp 80\n\nodd line\n")) == ""


@pytest.mark.parametrize("text", ["", "/a r,\n", "/a r,", f"/a r,\n{BEGIN}\n/old/{{,**}} r,\n{END}\n/b r,\n"])
def test_the_block_comes_and_goes_and_leaves_the_rest(text):
    with_it = with_block(text, ["/srv/nts"])
    assert with_it.count(BEGIN) == 1
    assert "\n  /srv/nts/{,**} r,\n".replace("  ", "") in with_it
    assert "/old" not in with_it
    assert with_block(with_it, ["/srv/nts"]) == with_it
    rest = with_block(with_it, [])
    assert BEGIN not in rest
    assert [line for line in rest.splitlines() if line] == [
        line for line in text.splitlines() if line in ("/a r,", "/b r,")
    ]


def test_a_folder_is_let_in_kept_while_it_is_used_and_let_go(host, places, tmp_path):
    override = tmp_path / "local/usr.sbin.chronyd"
    assert confinement.allow(host, Requirements([], ["/srv/a"]), True, places).changes == [
        "AppArmor lets chronyd read /srv/a"
    ]
    assert not override.exists()
    confinement.allow(host, Requirements([], ["/srv/a"]), False, places)
    confinement.prune(host, Requirements([], ["/srv/a"]), False, places)
    assert "/srv/a" in override.read_text()
    assert confinement.used(host) == Requirements([], ["/srv/a"])
    # Until the change is made, chronyd needs both.
    confinement.allow(host, Requirements([], ["/srv/b"]), False, places)
    assert "/srv/a" in override.read_text()
    assert "/srv/b" in override.read_text()
    confinement.prune(host, Requirements([], ["/srv/b"]), False, places)
    assert "/srv/a" not in override.read_text()
    assert confinement.prune(host, Requirements([], ["/srv/b"]), False, places) == ([], [], [])
    confinement.prune(host, Requirements(), False, places)
    assert override.read_text() == ""


def test_a_symbolic_link_of_the_administrator_is_written_through(host, places, tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "mine").write_text("/mine r,\n")
    (tmp_path / "local/usr.sbin.chronyd").symlink_to("../mine")
    confinement.allow(host, Requirements([], ["/srv/a"]), False, places)
    assert (tmp_path / "local/usr.sbin.chronyd").is_symlink()
    assert (tmp_path / "mine").read_text().startswith("/mine r,\n# BEGIN securetime.nts")


def test_the_usual_folder_needs_nothing(host, places):
    assert (
        confinement.prune(host, Requirements([4460], ["/etc/chrony", "/etc/chrony/nts"]), False, places).changes == []
    )


def test_a_refused_rule_is_taken_back(host, places, tmp_path):
    (tmp_path / "not-loaded").write_text("/usr/sbin/chronyd (enforce)\n")
    (tmp_path / "local").mkdir()
    (tmp_path / "local/usr.sbin.chronyd").write_text("/mine r,\n")
    with pytest.raises(TransactionError, match="apparmor_parser refuses"):
        confinement.allow(host, Requirements([], ["/srv/a"]), False, places)
    assert (tmp_path / "local/usr.sbin.chronyd").read_text() == "/mine r,\n"
