# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests: find logrotate files that name the same logs."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.rotation import find_duplicates, patterns

OURS = (
    '# Managed\n"/var/log/chrony/*.log" {\n    daily\n    postrotate\n        echo /var/log/x.log\n    endscript\n}\n'
)
BODY = "{\n    weekly\n}\n"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("chrony-nts", f"/var/log/chrony/*.log {BODY}", True),
        ("a", f"/var/log/syslog\n'/x' /var/log/chrony/tracking.log\n{BODY}", True),
        ("a", f"/var/log/*/*.log {BODY}", True),
        ("a", f"/var/log/chrony/nts-monitor.log {BODY}", False),
        ("a", f"/var/log/*.log {BODY}", False),
        ("a", f"# /var/log/chrony/*.log\n/var/log/syslog {BODY}", False),
        ("a", "/var/log/syslog {\n    postrotate\n        ls /var/log/chrony/tracking.log\n    endscript\n}\n", False),
        ("chrony.dpkg-dist", f"/var/log/chrony/*.log {BODY}", False),
        ("chrony~", f"/var/log/chrony/*.log {BODY}", False),
        ("a", "", False),
    ],
)
def test_another_file_for_the_same_logs_is_named(tmp_path, name, text, found):
    (tmp_path / "chrony").write_text(OURS)
    (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    sentences = find_duplicates(str(tmp_path / "chrony"), OURS)
    assert [sentence.split()[0] for sentence in sentences] == ([str(tmp_path / name)] if found else [])


def test_no_file_is_named_without_rotation_or_folder(tmp_path):
    assert find_duplicates(str(tmp_path / "chrony"), None) == []
    assert find_duplicates(str(tmp_path / "missing" / "chrony"), OURS) == []


def test_patterns_are_outside_of_braces():
    assert patterns(OURS) == ["/var/log/chrony/*.log"]
