# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the Python for nts-certificate, and the removal of the program's files."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair import installation
from ansible_collections.securetime.nts.plugins.module_utils._pair.installation import (
    installed,
    platform_python,
    remove,
    uninstall,
    unused,
)

EL8, COMMON = "/usr/libexec/platform-python", "/usr/bin/python3"
GOOD = CommandResult(0, "", "")
BARE = CommandResult(0, "no cryptography\n", "")
OLD = CommandResult(1, "", "is older than Python 3.6\n")
MISSING = CommandResult(127, "", "")
STAGING = "/etc/chrony/nts/staging"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({EL8: MISSING, COMMON: GOOD}, COMMON),
        ({EL8: GOOD, COMMON: GOOD}, EL8),
        ({EL8: GOOD, COMMON: BARE}, EL8),
        ({EL8: BARE, COMMON: GOOD}, COMMON),
        ({EL8: MISSING, COMMON: BARE}, COMMON),
        ({EL8: OLD, COMMON: BARE}, COMMON),
    ],
)
def test_the_program_runs_on_the_platform_s_python(answers, expected):
    assert platform_python(System(lambda argv: answers[argv[0]], lambda *_paths: None)) == expected


def test_a_platform_without_a_suitable_python_is_refused():
    answers = {EL8: MISSING, COMMON: OLD}
    report = "platform-python: not found; /usr/bin/python3: is older than Python 3.6"
    with pytest.raises(TransactionError, match=report):
        platform_python(System(lambda argv: answers[argv[0]], lambda *_paths: None))


@pytest.fixture
def root(tmp_path):
    """Return a file system with staging folders and kept pairs."""
    for path in ("server/ownca/leaf.key", "server/files/leaf.key", "public/acme/leaf.key"):
        place = tmp_path / STAGING[1:] / path
        place.parent.mkdir(parents=True)
        place.touch()
    (tmp_path / STAGING[1:] / "stray.key").touch()
    state = tmp_path / "var/lib/securetime-nts"
    state.mkdir(parents=True)
    for name in ("server.previous.key", "public.previous.pem", "public-2.previous.key", "loaded.json"):
        (state / name).touch()
    return tmp_path


def test_unused_finds_the_folders_and_files_of_no_pair(root):
    kept = "/var/lib/securetime-nts"
    assert unused([f"{STAGING}/server/ownca"], str(root)) == [
        f"{STAGING}/public",
        f"{STAGING}/server/files",
        f"{STAGING}/stray.key",
        f"{kept}/public-2.previous.key",
        f"{kept}/public.previous.pem",
    ]
    assert unused([f"{STAGING}/public/acme", f"{STAGING}/server/files"], str(root)) == [
        f"{STAGING}/server/ownca",
        f"{STAGING}/stray.key",
        f"{kept}/public-2.previous.key",
    ]


def test_a_host_without_renewal_has_nothing_to_remove(tmp_path):
    assert (installed(root=str(tmp_path)), unused([], str(tmp_path))) == ([], [])


def test_the_settings_are_the_last_to_be_removed(root):
    (root / "etc/chrony/nts/certificate.json").touch()
    found = installed(root=str(root))
    assert (found[-2:], len(found)) == ([STAGING, "/etc/chrony/nts/certificate.json"], 5)


def test_a_symlink_is_removed_and_not_followed(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    for name, place in (("folder", target), ("broken", tmp_path / "none")):
        link = tmp_path / name
        link.symlink_to(place)
        remove(str(link))
        assert not link.is_symlink()
    assert (target / "file").exists()
    remove(str(target))
    assert not target.exists()


def test_uninstall_removes_nothing_while_the_renewal_does_not_stop(tmp_path):
    host = System(lambda _argv: CommandResult(1, "", "refused"), lambda *_paths: None)
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(TransactionError, match=r"systemctl stop nts-certificate\.timer` failed: refused"):
        uninstall(host, ["/etc/systemd/system/nts-certificate.timer", str(place)])
    assert place.exists()


def test_uninstall_stops_the_renewal_before_it_removes_its_files(tmp_path, monkeypatch):
    timer, service, program = (tmp_path / name for name in ("nts.timer", "nts.service", "program"))
    monkeypatch.setattr(installation, "TIMER", str(timer))
    monkeypatch.setattr(installation, "SERVICE", str(service))
    for path in (timer, service, program):
        path.touch()
    ran = []

    def run(argv):
        ran.append((argv, timer.exists()))
        # A unit file that a power cut emptied: `disable` fails, and `stop` works.
        return CommandResult(int("disable" in argv), "", "")

    uninstall(System(run, lambda *_paths: None), [str(path) for path in (timer, service, program)])
    units = ["nts.timer", "nts.service"]
    assert ran == [
        (["systemctl", "disable", "--now", *units], True),
        (["systemctl", "stop", *units], True),
        (["systemctl", "daemon-reload"], False),
        (["systemctl", "reset-failed", *units], False),
    ]
    assert not [path for path in (timer, service, program) if path.exists()]


def test_uninstall_runs_no_systemctl_without_units(tmp_path):
    (tmp_path / "program").touch()
    uninstall(System(lambda argv: pytest.fail(str(argv)), lambda *_paths: None), [str(tmp_path / "program")])
    assert not (tmp_path / "program").exists()
