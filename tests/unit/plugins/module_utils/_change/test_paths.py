# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import paths
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("driftfile /a/drift\ndriftfile /b/drift interval 60", [("driftfile", "/b/drift")]),
        ("dumpdir /a/../b/dump/", [("dumpdir", "/b/dump")]),
        ("refclock SOCK /run/a.sock:x refid PPS0\nrefclock PHC /dev/ptp0", [("refclock", "/run/a.sock")]),
        ("refclock sock /run/a\nrefclock SOCK /run/b", [("refclock", "/run/a"), ("refclock", "/run/b")]),
        ("tempcomp /sys/t 30 /etc/points", [("tempcomp", "/sys/t"), ("tempcomp", "/etc/points")]),
        ("tempcomp /sys/t 30 26000 0.0 0.000183 0.0", [("tempcomp", "/sys/t")]),
        ("bindcmdaddress 127.0.0.1\nbindcmdaddress /run/x/s", [("bindcmdaddress", "/run/x/s")]),
        ("bindcmdaddress /", []),
        ("ntstrustedcerts /a\nntstrustedcerts 3 /b", [("ntstrustedcerts", "/a"), ("ntstrustedcerts", "/b")]),
        ("sourcedir /a /b", [("sourcedir", "/a"), ("sourcedir", "/b")]),
        ("include /a/*.conf\ninclude /b/c.conf", [("include", "/a"), ("include", "/b/c.conf")]),
        ("driftfile\nlogdir relative", []),
    ],
)
def test_used_lists_the_paths_of_a_configuration(lines, expected):
    assert [(use.directive, use.path) for use in paths.used(words_of(lines))] == expected


def test_written_separates_state_and_log_folders():
    uses = paths.used(words_of("driftfile /a/drift\ndumpdir /b\nlogdir /c\npidfile /run/x/pid\nkeyfile /d/keys"))
    assert paths.written(uses) == {"state": ["/a", "/b"], "logs": ["/c"]}
    # A folder of both kinds counts as state.
    assert paths.written(paths.used(words_of("dumpdir /b\nlogdir /b"))) == {"state": ["/b"], "logs": []}


def test_missing_folders_are_listed_except_runtime_folders(tmp_path):
    (tmp_path / "there").mkdir()
    text = f"dumpdir {tmp_path}/there\nlogdir {tmp_path}/logs\ndriftfile {tmp_path}/state/drift\nntsdumpdir /run/none"
    uses = paths.used(words_of(text))
    assert paths.folders_to_make(uses) == [f"{tmp_path}/logs", f"{tmp_path}/state"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("port 123\ncmdport 323\nptpport 319\nacquisitionport 123", []),
        ("port 0\ncmdport 0", []),
        ("port 124\nport 10123\ncmdport 10323\nacquisitionport 10123", [10123, 10323]),
        ("server a port 9123", []),
    ],
)
def test_udp_ports_lists_ports_that_no_policy_labels(lines, expected):
    assert paths.udp_ports(words_of(lines)) == expected


# Output of `systemctl show` for Debian 12's chrony.service with a drop-in, and for that of Enterprise Linux 8.
STRICT = {
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ReadWritePaths": "/run -/var/spool -/srv/chrony/dump",
    "RuntimeDirectory": "chrony",
    "StateDirectory": "chrony",
    "LogsDirectory": "chrony",
}
FULL = {"ProtectSystem": "full", "ProtectHome": "read-only", "PrivateTmp": "no", "ReadOnlyPaths": "/srv/fixed"}


@pytest.mark.parametrize(
    ("shown", "path", "hidden", "denied"),
    [
        (STRICT, "/var/lib/chrony/dump", "", ""),
        (STRICT, "/var/log/chrony", "", ""),
        (STRICT, "/var/log/chronicle", "", "ProtectSystem=strict"),
        (STRICT, "/srv/chrony/dump", "", ""),
        (STRICT, "/srv/chrony", "", "ProtectSystem=strict"),
        (STRICT, "/run/x", "", ""),
        (STRICT, "/home/x/dump", "ProtectHome=yes", "ProtectSystem=strict"),
        (STRICT, "/tmp/x", "PrivateTmp=yes", "ProtectSystem=strict"),
        (FULL, "/srv/x", "", ""),
        (FULL, "/srv/fixed/x", "", "ReadOnlyPaths"),
        (FULL, "/etc/chrony", "", "ProtectSystem=full"),
        (FULL, "/home/x", "", "ProtectHome=read-only"),
        (FULL, "/tmp/x", "", ""),
        ({}, "/etc/chrony", "", ""),
    ],
)
def test_the_sandbox_names_settings_that_hide_or_protect_a_path(shown, path, hidden, denied):
    sandbox = paths.Sandbox("chrony.service", shown)
    assert (sandbox.hides(path), sandbox.denies_writing(path)) == (hidden, denied)
