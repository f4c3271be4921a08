# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import grp
import json
import re

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import installation, units
from ansible_collections.securetime.nts.plugins.module_utils._monitor.installation import User
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import Settings

DEBIAN = "/var/lib/prometheus/node-exporter"
ROLE = "/var/lib/node_exporter"


@pytest.fixture
def host(tmp_path):
    """Return a function that makes a host with these folders and running programs, and returns its root."""

    def make(folders=(), programs=()):
        for folder in (*folders, "/proc"):
            (tmp_path / folder[1:]).mkdir(parents=True, exist_ok=True)
        for number, words in enumerate(programs, 100):
            (tmp_path / "proc" / str(number)).mkdir()
            (tmp_path / "proc" / str(number) / "cmdline").write_text("".join(f"{word}\0" for word in words))
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    ("folders", "programs", "expected"),
    [
        ([], [], ("", "usual folders")),
        ([DEBIAN], [], (DEBIAN, "")),
        ([ROLE], [], (ROLE, "")),
        ([ROLE, DEBIAN], [], (DEBIAN, "")),
        # The command line of a running node_exporter decides.
        ([ROLE, DEBIAN], [["/usr/local/bin/node_exporter", f"--collector.textfile.directory={ROLE}"]], (ROLE, "")),
        ([ROLE, "/srv/t"], [["node_exporter", "--collector.textfile.directory", "/srv/t/"]], ("/srv/t", "")),
        ([DEBIAN], [["/usr/bin/prometheus-node-exporter"]], (DEBIAN, "")),
        ([DEBIAN], [["/usr/local/bin/node_exporter"]], ("", "runs without --collector.textfile.directory")),
        ([DEBIAN], [["node_exporter", "--collector.textfile.directory=/srv/t"]], ("", "reads /srv/t, but this folder")),
        ([DEBIAN, "/srv"], [["node_exporter", "--collector.textfile.directory=/srv/*"]], ("", "runs without")),
        ([DEBIAN], [["/bin/sh"], []], (DEBIAN, "")),
    ],
)
def test_the_folder_that_node_exporter_reads(host, folders, programs, expected):
    found, why = installation.textfile_directory(host(folders, programs))
    assert found == expected[0]
    assert expected[1] in why
    assert (why == "") is (found != "")


def test_every_path_that_is_written_is_also_removed(host):
    settings = Settings(textfile_directory=DEBIAN)
    root = host([DEBIAN])
    wanted = [file.path for file in installation.wanted_files(settings, User("_chrony"), [], b"")]
    wanted += [folder.path for folder in installation.wanted_folders(settings, User("_chrony")) if folder.own]
    for path in wanted:
        installation.os.makedirs(root + path, exist_ok=True)
    assert sorted(installation.installed(root)) == sorted(wanted)
    assert installation.installed(root + "/none") == []


def logs(root, folder, names, **settings):
    """Create logs in a folder and the settings of the monitor; return the paths that are removed with the state log."""
    for path in (f"{root}{folder}", f"{root}/etc"):
        installation.os.makedirs(path, exist_ok=True)
    for name in names:
        open(f"{root}{folder}/{name}", "w").close()
    with open(f"{root}/etc/nts-monitor.json", "w") as file:
        json.dump(settings, file)
    assert installation.installed(root) == ["/etc/nts-monitor.json"]
    found = installation.installed(root, keep_log=False)
    assert found.pop() == "/etc/nts-monitor.json"
    return found


def test_the_state_log_is_removed_with_what_logrotate_made_of_it_and_nothing_else(host):
    ours = ["m.log", "m.log-20261128", "m.log.1", "m.log.2.gz", "m.log.old"]
    others = ["chrony.log", "m.log.bak", "m.logs", "xm.log", "m_log"]
    found = logs(host(), "/var/log/x", ours + others, log="/var/log/x/m.log", log_folder_made=True)
    assert found == [f"/var/log/x/{name}" for name in ours]


@pytest.mark.parametrize(
    ("made", "names", "gone"), [(True, ["m.log"], True), (True, [], True), (False, ["m.log"], False)]
)
def test_the_folder_of_the_log_is_removed_where_the_role_made_it(host, made, names, gone):
    found = logs(host(), "/var/log/x", names, log="/var/log/x/m.log", log_folder_made=made)
    assert found == [f"/var/log/x/{name}" for name in names] + (["/var/log/x"] if gone else [])


def test_a_log_that_outlived_the_monitor_is_removed_and_a_host_without_one_has_none(host):
    root = host(["/var/log/chrony"])
    open(f"{root}/var/log/chrony/nts-monitor.log", "w").close()
    assert installation.installed(root, keep_log=False) == ["/var/log/chrony/nts-monitor.log"]
    # The same if the settings name another log now.
    assert logs(root, "/var/log/x", ["m.log"], log="/var/log/x/m.log")[-1] == "/var/log/chrony/nts-monitor.log"
    assert installation.installed(f"{root}/none", keep_log=False) == []


def test_whether_the_folder_of_the_log_is_the_roles_is_remembered(host):
    root = host(["/var/log/chrony", "/etc"])
    made = [installation.makes_log_folder(path, root) for path in ("/var/log/chrony/a.log", "/var/log/x/a.log", "")]
    assert made == [False, True, False]
    with open(f"{root}/etc/nts-monitor.json", "w") as file:
        json.dump({"log": "/var/log/x/a.log", "log_folder_made": True}, file)
    installation.os.makedirs(f"{root}/var/log/x")
    assert installation.makes_log_folder("/var/log/x/b.log", root) is True
    assert installation.makes_log_folder("/var/log/chrony/a.log", root) is False


def test_what_an_earlier_run_left_in_another_folder_is_found(host):
    root = host([f"{ROLE}/nts-monitor", "/etc", "/srv/t/nts-monitor", f"{DEBIAN}/nts-monitor"])
    (installation.os.path.join(root, "etc"))
    with open(f"{root}/etc/nts-monitor.json", "w") as file:
        json.dump({"textfile_directory": "/srv/t"}, file)
    found = installation.left_over(Settings(textfile_directory=DEBIAN), root)
    assert found == ["/srv/t/nts-monitor", f"{ROLE}/nts-monitor"]


def test_the_link_leads_to_the_monitors_own_folder():
    files = installation.wanted_files(Settings(textfile_directory=DEBIAN), User("_chrony"), [], b"")
    (link,) = [file for file in files if file.link]
    assert (link.path, link.link) == (f"{DEBIAN}/nts-monitor.prom", "nts-monitor/nts-monitor.prom")
    assert installation.wanted_folders(Settings(textfile_directory=DEBIAN), User("_chrony"))[-1].path == (
        f"{DEBIAN}/nts-monitor"
    )
    without = installation.wanted_files(Settings(), User("_chrony"), [], b"")
    assert [file for file in without if file.link] == []


def lines_of(text, name):
    """Return the values of a directive of a unit."""
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def test_the_unit_has_no_right_that_it_does_not_need():
    text = units.service("_chrony", ["systemd-journal"], ["/run/chrony", "/var/log/chrony"], "chrony.service")
    assert lines_of(text, "User") == ["_chrony"]
    assert lines_of(text, "SupplementaryGroups") == ["systemd-journal"]
    assert lines_of(text, "CapabilityBoundingSet") == [""]
    assert lines_of(text, "ReadWritePaths") == ["-/run/chrony -/var/log/chrony"]
    assert lines_of(text, "ProtectSystem") == ["strict"]
    assert lines_of(text, "After") == ["chrony.service"]
    assert lines_of(text, "SystemCallFilter") == ["@system-service", "~capset"]
    assert lines_of(units.service("_chrony", [], [], "chronyd.service"), "SupplementaryGroups") == []


def test_the_unit_names_chronyd_s_own_unit_and_no_alias(tmp_path):
    assert installation.chronyd_unit(str(tmp_path)) == "chronyd.service"
    folder = tmp_path / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    (folder / "chronyd.service").touch()
    assert installation.chronyd_unit(str(tmp_path)) == "chronyd.service"
    (folder / "chronyd.service").rename(folder / "chrony.service")
    # On Debian, the alias is a link of the administrator's folder.
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/chronyd.service").symlink_to(folder / "chrony.service")
    assert installation.chronyd_unit(str(tmp_path)) == "chrony.service"


def test_a_unit_of_root_says_why():
    text = units.service("root", ["systemd-journal"], [], "chronyd.service", "chronyd runs as root.")
    assert lines_of(text, "User") == ["root"]
    assert "# chronyd runs as root.\n" in text
    assert lines_of(text, "SystemCallFilter") == ["@system-service"]
    assert lines_of(text, "CapabilityBoundingSet") == ["CAP_CHOWN CAP_DAC_OVERRIDE CAP_SETGID CAP_SETUID"]
    assert lines_of(text, "SupplementaryGroups") == []


@pytest.mark.parametrize(("interval", "accuracy"), [(10, 1), (30, 3), (60, 5), (900, 5)])
def test_the_timer(interval, accuracy):
    text = units.timer(interval)
    assert lines_of(text, "OnUnitActiveSec") == [f"{interval}s"]
    assert lines_of(text, "AccuracySec") == [f"{accuracy}s"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(log="nts.log"), "log is 'nts.log': set it to an absolute path"),
        (Settings(log="/var/log/a b"), "log is '/var/log/a b'"),
        (Settings(log="/var/log/%h"), "log is"),
        (Settings(textfile_directory="relative"), "textfile_directory is 'relative'"),
        (Settings(hook=["notify.sh", "x"]), "hook is 'notify.sh x': begin it with the absolute path of a program"),
        (Settings(hook=["/x/notify -v"]), "hook begins with '/x/notify -v': write the command as a list of words"),
    ],
)
def test_wrong_paths_are_explained(settings, said):
    assert said in " ".join(installation.settings_problems(settings))


def test_good_paths_are_taken():
    settings = Settings(log="/var/log/chrony/x.log", textfile_directory=DEBIAN, hook=["/usr/bin/x", "a b"])
    assert list(installation.settings_problems(settings)) == []
    assert list(installation.settings_problems(Settings(log=""))) == []


def test_settings_are_what_the_program_reads():
    settings = Settings(interval_seconds=900, hook=["/x"], thresholds={"offset": [1, 2]})
    assert Settings(**json.loads(installation.settings_text(settings))) == settings


@pytest.mark.parametrize(
    ("bus", "users", "expected"),
    [
        (True, {"_chrony"}, "_chrony"),
        (True, {"chrony"}, "chrony"),
        (True, set(), None),
        (False, {"_chrony"}, "root"),
    ],
)
def test_the_user_with_the_least_rights(host, monkeypatch, bus, users, expected):
    root = host(["/run/dbus"])
    if bus:
        open(f"{root}/run/dbus/system_bus_socket", "w").close()
    monkeypatch.setattr(installation, "_exists", lambda name: name in users)
    found = installation.user_of_monitor(root)
    assert (found and found.name) == expected
    assert found is None or (found.why_root != "") is (expected == "root")


def test_users_and_groups_are_those_of_the_host():
    assert (installation._name(0), installation._name(4242424)) == ("root", "4242424")
    assert (installation._exists("root"), installation._exists("nobody at all")) == (True, False)
    known = {group.gr_name for group in grp.getgrall()}
    assert installation.journal_groups() == sorted(known & {installation.JOURNAL_GROUP})
