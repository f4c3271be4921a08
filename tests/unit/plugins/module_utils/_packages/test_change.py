# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests: the commands that a package manager runs, and the handling of their failures."""

import json
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult
from ansible_collections.securetime.nts.plugins.module_utils._packages import change, managers
from ansible_collections.securetime.nts.plugins.module_utils._packages.change import PackageError, list_age, manage
from ansible_collections.securetime.nts.plugins.module_utils._packages.managers import Request

OUTPUTS = Path(__file__).resolve().parents[3] / "package_outputs"


def printed(name):
    """Return the captured result of a command."""
    capture = json.loads((OUTPUTS / name).with_suffix(".json").read_text())
    return CommandResult(capture["status"], "\n".join(capture["output"]), "")


class Host:
    """A simulated host. Commands return the given results one after the other, then succeed."""

    def __init__(self, installed, results=(), holds="", installs=True):
        self.installed = dict(installed)
        self.results = list(results)
        self.holds = holds
        self.installs = installs
        self.ran = []
        self.slept = []

    def run(self, argv):
        if argv[0] in ("dpkg-query", "rpm"):
            rows = [f"{name} installed {version}" for name, version in self.installed.items() if name in argv]
            return CommandResult(0, "\n".join(rows), "")
        if argv[0] == "apt-mark":
            return CommandResult(0, self.holds, "")
        self.ran.append(" ".join(argv))
        if self.results:
            return self.results.pop(0)
        words = [word for word in argv if not word.startswith("-")]
        if self.installs and ("install" in words or "upgrade" in words):
            for word in words:
                name, _equals, version = word.partition("=")
                self.installed[name] = version or self.installed.get(name, "4.6.1-3")
        return CommandResult(0, "1 upgraded", "")

    def manage(self, name, request, check=False):
        return manage(name, request, self.run, check, self.slept.append)


def test_installed_packages_run_no_command():
    host = Host({"chrony": "4.3-2", "ca-certificates": "1"})
    report = host.manage("apt", Request(["chrony", "ca-certificates"], {"chrony": "4.3*"}, cache_seconds=0))
    assert (host.ran, report.changed, report.commands) == ([], False, [])


def test_only_missing_packages_are_installed():
    host = Host({"chrony": "4.3-2"})
    report = host.manage("apt", Request(["chrony", "python3-cryptography"]))
    assert [command.split()[-2:] for command in host.ran] == [["install", "python3-cryptography"]]
    assert report.changed is True


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        ("apt", ["--allow-downgrades", "install", "chrony=4.3-1"]),
        ("dnf", ["--setopt=exit_on_lock=true", "install", "chrony-4.3-1"]),
        ("dnf5", ["--assumeyes", "install", "chrony-4.3-1"]),
        ("zypper", ["--auto-agree-with-licenses", "--oldpackage", "chrony=4.3-1"]),
    ],
)
def test_a_pinned_version_replaces_a_newer_one(manager, words):
    request = Request(["chrony"], {"chrony": "4.3-1"})
    assert managers.wrong(manager, request, {"chrony": "4.6-1"}) == ["chrony"]
    assert managers.install(manager, request, ["chrony"], False)[-3:] == words


@pytest.mark.parametrize(
    ("manager", "installed", "wanted", "expected"),
    [
        ("apt", "4.6.1-3+deb13u2", "4.6.1-3+deb13u2", True),
        ("apt", "4.6.1-3+deb13u2", "4.6.1*", True),
        ("apt", "4.6.1-3+deb13u2", "4.6.1", False),
        ("dnf", "4.6.1-1.el9", "4.6.1", True),
        ("dnf", "4.6.10-1.el9", "4.6.1", False),
        ("zypper", "4.1-150400.21.8.1", "4.1", True),
        ("zypper", None, "4.1", False),
    ],
)
def test_is_pinned_compares_as_the_package_manager_does(manager, installed, wanted, expected):
    assert managers.is_pinned(manager, installed, wanted) is expected


@pytest.mark.parametrize(
    ("manager", "text", "expected"),
    [
        ("apt", "chrony\nlinux-image-amd64\n", ["chrony"]),
        ("apt", "chrony:amd64\n", ["chrony"]),
        ("apt", "chrony-doc\n", []),
        ("dnf", "[main]\nexcludepkgs=kernel* chrony*\n", ["chrony"]),
        ("dnf", "[main]\nexclude = kernel,\n  chrony\ngpgcheck=1\n", ["chrony"]),
        ("dnf", "# Added lock on Sat\nchrony-0:4.6.1-1.el9.*\n", ["chrony"]),
        ("dnf", "0:chrony-4.6.1-1.el9.*\n", ["chrony"]),
        ("dnf", "!chrony-0:4.6.1-1.el9.*\n", []),
        ("dnf", "chrony-gui-0:4.6.1-1.el9.*\n", []),
        ("dnf", "[main]\n#exclude=chrony\ngpgcheck=1\n", []),
        ("dnf5", 'version = "1.0"\n[[packages]]\nname = "chrony"\n', ["chrony"]),
        ("zypper", "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: chrony\n", ["chrony"]),
        ("zypper", "", []),
    ],
)
def test_held_packages_are_found(manager, text, expected):
    assert managers.held(manager, ["chrony", "ca-certificates"], [text]) == expected


def test_a_held_package_is_not_updated_and_is_reported():
    host = Host({"chrony": "4.3-2", "ca-certificates": "1"}, holds="chrony\n")
    report = host.manage("apt", Request(["chrony", "ca-certificates"], latest=True))
    assert [command.split()[-2:] for command in host.ran] == [["install", "ca-certificates"]]
    assert report.warnings == ["chrony is held at 4.3-2, and stays. Release it by apt-mark unhold chrony."]


@pytest.mark.parametrize("installed", [{"chrony": "4.3-2"}, {}])
def test_a_held_package_of_another_version_is_refused(installed):
    host = Host(installed, holds="chrony\n")
    with pytest.raises(PackageError, match=r"chrony is held .* wanted. Nothing was changed") as error:
        host.manage("apt", Request(["chrony"], {"chrony": "4.6-1"}))
    assert (error.value.cause, host.ran) == ("held", [])


@pytest.mark.parametrize("name", ["apt/locked@debian13", "dnf/locked@el-standin", "zypper/locked@suse-standin"])
def test_a_lock_is_awaited_for_lock_seconds(name):
    manager = name.partition("/")[0]
    host = Host({}, [printed(name)] * 3)
    host.manage(manager, Request(["chrony"], lock_seconds=60))
    assert (len(host.ran), host.slept) == (4, [2.0, 2.0, 2.0])
    host = Host({}, [printed(name)] * 3)
    with pytest.raises(PackageError, match="within 0 seconds: another program uses the package database") as error:
        host.manage(manager, Request(["chrony"], lock_seconds=0))
    assert (error.value.cause, len(host.ran)) == ("lock", 1)


def test_an_interrupted_dpkg_is_finished_first():
    host = Host({}, [printed("apt/interrupted@debian13")])
    host.manage("apt", Request(["chrony"]))
    assert [command.split()[0] for command in host.ran] == ["apt-get", "dpkg", "apt-get"]


@pytest.mark.parametrize(("manager", "name"), [("apt", "apt/no_candidate@debian13")])
def test_an_unknown_package_refreshes_the_lists_once(manager, name):
    host = Host({}, [printed(name)])
    host.manage(manager, Request(["chrony"]))
    assert [command.split()[-1] for command in host.ran] == ["chrony", "update", "chrony"]
    host = Host({}, [printed(name), CommandResult(0, "", ""), printed(name)])
    with pytest.raises(PackageError, match="no repository of this host has it"):
        host.manage(manager, Request(["chrony"]))
    assert len(host.ran) == 3


def test_a_failed_refresh_explains_an_unknown_package():
    host = Host({}, [printed("apt/refused@debian12"), printed("apt/no_candidate@debian12")])
    with pytest.raises(PackageError, match="could not install chrony: a repository cannot be reached") as error:
        host.manage("apt", Request(["chrony"], cache_seconds=0))
    assert (error.value.cause, len(host.ran)) == ("network", 2)


def test_old_lists_do_not_hide_a_wrong_clock():
    host = Host({}, [printed("apt/not_yet_valid@debian12")])
    with pytest.raises(PackageError, match=r"could not refresh .*\n.* is not valid yet") as error:
        host.manage("apt", Request(["chrony"], cache_seconds=0))
    assert (error.value.cause, len(host.ran)) == ("clock", 1)


def test_old_lists_suffice_if_they_have_the_package():
    host = Host({}, [printed("apt/refused@debian12")])
    report = host.manage("apt", Request(["chrony"], cache_seconds=0))
    assert (report.changed, len(report.warnings)) == (True, 1)
    assert "the old ones were used: a repository cannot be reached" in report.warnings[0]


def test_check_mode_neither_refreshes_nor_finishes_dpkg():
    for name in ("apt/no_candidate@debian13", "apt/interrupted@debian13"):
        host = Host({}, [printed(name)])
        with pytest.raises(PackageError):
            host.manage("apt", Request(["chrony"], cache_seconds=0), check=True)
        assert ["--simulate" in command for command in host.ran] == [True]


def test_success_without_the_package_is_an_error():
    host = Host({}, installs=False)
    with pytest.raises(PackageError, match="apt-get reported success, and chrony is not installed"):
        host.manage("apt", Request(["chrony"]))


def test_list_age_is_that_of_the_newest_file(tmp_path):
    (tmp_path / "a").write_text("")
    change.os.utime(str(tmp_path / "a"), (100, 100))
    assert list_age([str(tmp_path / "*")], 400) == 300
    assert list_age([str(tmp_path / "b")], 400) == float("inf")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, []), (0, ["--refresh"]), (600, ["--setopt=*.metadata_expire=600"])],
)
def test_cache_seconds_set_the_metadata_age_of_dnf(seconds, words):
    request = Request(["chrony"], cache_seconds=seconds)
    assert managers.install("dnf", request, ["chrony"], False) == [
        *("dnf", "--assumeyes", "--setopt=exit_on_lock=true"),
        *words,
        *("install", "chrony"),
    ]


@pytest.mark.parametrize(
    ("manager", "word"), [("apt", "--simulate"), ("dnf", "--assumeno"), ("dnf5", "--assumeno"), ("zypper", "--dry-run")]
)
def test_check_mode_commands_change_nothing(manager, word):
    request = Request(["chrony"], latest=True, upgrade=True)
    for command in (
        managers.install(manager, request, ["chrony"], True),
        managers.update(manager, request, ["chrony"], True),
        managers.upgrade(manager, request, True, False),
    ):
        assert word in command
        assert "--assumeyes" not in command


def test_an_upgrade_leaves_a_pinned_version_alone():
    request = Request(["chrony"], {"chrony": "4.6*"}, upgrade=True)
    assert managers.upgrade("apt", request, False, False)[-4:] == [
        "--allow-downgrades",
        "--with-new-pkgs",
        "upgrade",
        "chrony=4.6*",
    ]
    assert managers.upgrade("dnf", request, False, False)[-2:] == ["--exclude=chrony", "upgrade"]


def test_a_rolling_release_uses_dist_upgrade():
    assert managers.upgrade("zypper", Request([]), True, False)[2:] == [
        *("update", "--auto-agree-with-licenses", "--dry-run"),
    ]
    assert managers.upgrade("zypper", Request([]), False, True)[2] == "dist-upgrade"


@pytest.mark.parametrize(
    ("manager", "status", "output", "check", "expected"),
    [
        ("apt", 0, "0 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.", False, False),
        ("apt", 0, "0 upgraded, 0 newly installed, 0 downgraded, 0 to remove and 3 not upgraded.", False, False),
        ("apt", 0, "0 upgraded, 1 newly installed, 1 to remove and 0 not upgraded.", False, True),
        ("apt", 100, "", True, None),
        ("dnf", 0, "Dependencies resolved.\nNothing to do.\nComplete!", False, False),
        ("dnf", 1, "Operation aborted.", True, True),
        ("dnf", 1, "Operation aborted.", False, None),
        ("zypper", 0, "Resolving package dependencies...\nNothing to do.", False, False),
        ("zypper", 102, "", False, True),
        ("zypper", 104, "", False, None),
    ],
)
def test_has_changed_parses_the_output(manager, status, output, check, expected):
    assert managers.has_changed(manager, status, output, check) is expected
