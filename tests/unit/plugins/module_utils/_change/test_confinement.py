# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of the rules for SELinux and AppArmor. VMs test that they let chronyd through."""

import os
import re

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import confinement
from ansible_collections.securetime.nts.plugins.module_utils._change.confinement import (
    BEGIN,
    END,
    HostPaths,
    Requirements,
    rules_of,
    with_block,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
    load,
    save,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of

# Output of `semanage port --list --noheading`, policycoreutils 3.8, with a port that an administrator labelled.
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
def host_paths(tmp_path):
    profile = tmp_path / "usr.sbin.chronyd"
    profile.write_text("#include <local/usr.sbin.chronyd>\n")
    return HostPaths(
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
def test_the_smallest_range_determines_the_type_of_a_port(port, expected):
    assert confinement.type_of(port, confinement.port_types(LISTING)) == expected


def test_a_port_in_no_range_has_no_type():
    assert confinement.type_of(7, confinement.port_types("http_port_t tcp 80\n\nodd line\n")) == ""


RULES = rules_of(Requirements(folders=["/srv/nts"]))


@pytest.mark.parametrize("text", ["", "/a r,\n", "/a r,", f"/a r,\n{BEGIN}\n/old/{{,**}} r,\n{END}\n/b r,\n"])
def test_the_block_is_added_and_removed_without_other_changes(text):
    with_it = with_block(text, RULES)
    assert with_it.count(BEGIN) == 1
    assert "\n  /srv/nts/{,**} r,\n".replace("  ", "") in with_it
    assert "/old" not in with_it
    assert with_block(with_it, RULES) == with_it
    rest = with_block(with_it, [])
    assert BEGIN not in rest
    assert [line for line in rest.splitlines() if line] == [
        line for line in text.splitlines() if line in ("/a r,", "/b r,")
    ]


def test_a_folder_is_allowed_until_prune_omits_it(host, host_paths, tmp_path):
    override = tmp_path / "local/usr.sbin.chronyd"
    assert confinement.allow(host, Requirements([], ["/srv/a"]), True, host_paths).changes == [
        "AppArmor lets chronyd read /srv/a"
    ]
    assert not override.exists()
    confinement.allow(host, Requirements([], ["/srv/a"]), False, host_paths)
    confinement.prune(host, Requirements([], ["/srv/a"]), False, host_paths)
    assert "/srv/a" in override.read_text()
    assert confinement.recorded(host) == Requirements([], ["/srv/a"])
    # Until the swap chronyd needs both folders.
    confinement.allow(host, Requirements([], ["/srv/b"]), False, host_paths)
    assert "/srv/a" in override.read_text()
    assert "/srv/b" in override.read_text()
    confinement.prune(host, Requirements([], ["/srv/b"]), False, host_paths)
    assert "/srv/a" not in override.read_text()
    assert confinement.prune(host, Requirements([], ["/srv/b"]), False, host_paths) == ([], [], [])
    confinement.prune(host, Requirements(), False, host_paths)
    assert override.read_text() == ""


def test_an_override_behind_a_link_is_written_to_its_target(host, host_paths, tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "mine").write_text("/mine r,\n")
    (tmp_path / "local/usr.sbin.chronyd").symlink_to("../mine")
    confinement.allow(host, Requirements([], ["/srv/a"]), False, host_paths)
    assert (tmp_path / "local/usr.sbin.chronyd").is_symlink()
    assert (tmp_path / "mine").read_text().startswith("/mine r,\n# BEGIN securetime.nts")


def test_the_default_folder_and_port_need_no_rule(host, host_paths):
    assert (
        confinement.prune(host, Requirements([4460], ["/etc/chrony", "/etc/chrony/nts"]), False, host_paths).changes
        == []
    )


def test_a_refused_rule_is_rolled_back(host, host_paths, tmp_path):
    (tmp_path / "not-loaded").write_text("/usr/sbin/chronyd (enforce)\n")
    (tmp_path / "local").mkdir()
    (tmp_path / "local/usr.sbin.chronyd").write_text("/mine r,\n")
    with pytest.raises(TransactionError, match="apparmor_parser refuses"):
        confinement.allow(host, Requirements([], ["/srv/a"]), False, host_paths)
    assert (tmp_path / "local/usr.sbin.chronyd").read_text() == "/mine r,\n"


def test_a_loaded_profile_is_replaced_by_the_new_rules(host, host_paths, tmp_path):
    ran = []
    host.run = lambda argv: ran.append((os.path.basename(argv[0]), argv[1:])) or CommandResult(0, "", "")
    (tmp_path / "not-loaded").write_text("/usr/sbin/chronyd (enforce)\n")
    confinement.allow(host, Requirements([], ["/srv/a"]), False, host_paths)
    assert ran == [("apparmor_parser", ["--replace", host_paths.profile])]
    assert "/srv/a" in (tmp_path / "local/usr.sbin.chronyd").read_text()


def test_required_lists_paths_beyond_the_distribution_policies(tmp_path):
    (tmp_path / "certs").mkdir()
    text = f"""
        driftfile /var/lib/chrony/drift
        dumpdir /srv/chrony/dump
        logdir /var/log/chrony/more
        keyfile /etc/chrony.keys
        leapseclist /opt/leap/seconds.list
        ntstrustedcerts {tmp_path}/certs
        ntstrustedcerts /etc/ssl/certs/ISRG_Root_X1.pem
        refclock SOCK /run/chrony/a.sock
        refclock SOCK /run/chrony.b.sock
        pidfile /run/chrony/chronyd.pid
        bindcmdaddress /run/mine/chronyd.sock
        port 10123
        include /etc/*.conf
    """
    assert confinement.required(words_of(text), ["/srv/conf/chrony.conf"]) == Requirements(
        folders=[f"{tmp_path}/certs"],
        udp_ports=[10123],
        state=["/srv/chrony/dump"],
        logs=["/var/log/chrony/more"],
        files=["/srv/conf/chrony.conf", "/opt/leap/seconds.list"],
        sockets=["/run/chrony.b.sock", "/run/mine/"],
    )


@pytest.mark.parametrize("line", ["dumpdir /var/lib", "logdir /var/log", "driftfile /srv/drift", "driftfile /drift"])
def test_a_shared_folder_is_refused(line):
    with pytest.raises(TransactionError, match=r"keep files in the shared folder /\S*; nothing was changed.*as /"):
        confinement.required(words_of(line))


def test_apparmor_rules_escape_patterns_in_paths():
    uses = Requirements(
        folders=["/a"], state=["/b"], logs=["/c"], files=["/d/x*{1}.conf"], sockets=["/run/e.sock", "/run/f/"]
    )
    assert rules_of(uses) == [
        "/a/{,**} r,",
        r"/d/x\*\{1\}.conf{,.securetime-nts-new,.securetime-nts-check-*} r,",
        "/b/{,**} rw,",
        "/c/{,**} rw,",
        "/run/e.sock rw,",
        "/run/f/{,*} rw,",
    ]


def test_a_socket_that_the_profile_allows_needs_no_rule(host, host_paths, tmp_path):
    uses = Requirements(sockets=["/run/chrony.pps0.sock"])
    found = confinement.prune(host, uses, True, host_paths).changes
    assert found == ["AppArmor lets chronyd write /run/chrony.pps0.sock"]
    (tmp_path / "usr.sbin.chronyd").write_text("  @{run}/chrony.*.sock rw,\n")
    assert confinement.prune(host, uses, True, host_paths).changes == []


def test_the_record_is_compatible_with_older_and_later_versions(host, host_paths):
    save(host, confinement.RECORD, {"ports": [4461], "uses": {"ports": [4461], "folders": ["/srv/a"]}})
    assert confinement.recorded(host) == Requirements([4461], ["/srv/a"])
    confinement.prune(host, Requirements([4461], ["/srv/a"]), False, host_paths)
    assert load(host, confinement.RECORD)["uses"] == {"ports": [4461], "folders": ["/srv/a"]}
    confinement.prune(host, Requirements([], [], state=["/srv/b"]), False, host_paths)
    assert load(host, confinement.RECORD)["uses"] == {"ports": [], "folders": [], "state": ["/srv/b"]}
    save(host, confinement.RECORD, {"uses": {"ports": [], "folders": [], "of_a_later_version": [1]}})
    assert confinement.recorded(host) == Requirements([], [])


class Policy:
    """A simulation of SELinux for semanage and matchpathcon: the type of each local rule."""

    def __init__(self):
        self.rules = {}

    def run(self, argv):
        words = [word for word in argv[1:] if not word.startswith("--no")]
        name = os.path.basename(argv[0])
        if name == "matchpathcon":
            found = [kind for path, kind in self.rules.items() if re.fullmatch(str(path), argv[-1])]
            return CommandResult(0, f"system_u:object_r:{(found or ['var_t'])[0]}:s0\n", "")
        if name == "semanage" and words[1] == "--list":
            files = "".join(f"{path}  all files  {kind}\n" for path, kind in self.rules.items())
            ports = "".join(f"{kind}  {rule}\n" for rule, kind in self.rules.items() if rule[:3] in ("tcp", "udp"))
            return CommandResult(0, LISTING + ports if words[0] == "port" else files, "")
        rule = " ".join(words[words.index("--proto") + 1 :] if "--proto" in words else words[-1:])
        if name == "semanage" and words[1] == "--add":
            self.rules[rule] = words[words.index("--type") + 1]
        if name == "semanage" and words[1] == "--delete":
            del self.rules[rule]
        return CommandResult(0, "", "")


@pytest.fixture
def policy(host, tmp_path, monkeypatch):
    policy = Policy()
    (tmp_path / "selinux").touch()
    monkeypatch.setattr(confinement, "find_program", lambda name: f"/usr/sbin/{name}")
    host.run = policy.run
    return policy


def test_each_requirement_gets_its_selinux_rule_and_loses_it(host, host_paths, policy, tmp_path):
    host_paths = host_paths._replace(selinux=str(tmp_path / "selinux"), profile=str(tmp_path / "none"))
    uses = Requirements([4461], [], [10123], ["/srv/state"], ["/srv/logs"], ["/srv/conf/chrony.conf"])
    found = confinement.allow(host, uses, False, host_paths).changes
    assert found == [
        "SELinux lets chronyd use TCP port 4461 (ntske_port_t)",
        "SELinux lets chronyd use UDP port 10123 (ntp_port_t)",
        "SELinux lets chronyd read /srv/conf/chrony.conf (etc_t)",
        "SELinux lets chronyd write /srv/state (chronyd_var_lib_t)",
        "SELinux lets chronyd write /srv/logs (chronyd_var_log_t)",
    ]
    assert policy.rules == {
        "tcp 4461": "ntske_port_t",
        "udp 10123": "ntp_port_t",
        r"/srv/conf/chrony\.conf(\.securetime-nts-.*)?": "etc_t",
        "/srv/state(/.*)?": "chronyd_var_lib_t",
        "/srv/logs(/.*)?": "chronyd_var_log_t",
    }
    assert confinement.prune(host, uses, False, host_paths).changes == []
    assert len(confinement.prune(host, Requirements(), False, host_paths).changes) == 5
    assert policy.rules == {}


def test_a_udp_port_of_another_service_warns(host, host_paths, policy, tmp_path, monkeypatch):
    host_paths = host_paths._replace(selinux=str(tmp_path / "selinux"))
    monkeypatch.setattr(confinement, "port_types", lambda _listing, protocol: [("syslogd_port_t", 514, 514)])
    outcome = confinement.allow(host, Requirements(udp_ports=[514]), False, host_paths)
    assert outcome.warnings[0].startswith("UDP port 514 is syslogd_port_t in this host's SELinux policy")
    assert policy.rules == {}


def test_a_socket_that_selinux_denies_is_refused(host, host_paths, policy, tmp_path):
    host_paths = host_paths._replace(selinux=str(tmp_path / "selinux"))
    with pytest.raises(
        TransactionError, match=r"keeps chronyd from making /srv/gps\.sock.*Name a path directly in /run"
    ):
        confinement.allow(host, Requirements(sockets=["/srv/gps.sock"]), False, host_paths)
    for usual in ("/run/chrony.gps.sock", "/run/mine/"):
        confinement.allow(host, Requirements(sockets=[usual]), False, host_paths)


def selinux_paths(host_paths, tmp_path):
    """Return the paths of a host with SELinux and without AppArmor."""
    return host_paths._replace(selinux=str(tmp_path / "selinux"), profile=str(tmp_path / "none"))


def test_a_folder_of_certificates_is_made_before_it_is_labelled(host, host_paths, policy, tmp_path, monkeypatch):
    folder, labelled = tmp_path / "srv/nts", []
    monkeypatch.setattr(
        confinement, "_restore_labels", lambda _host, path: labelled.append((path, os.path.isdir(path)))
    )
    confinement.allow(host, Requirements([], [str(folder)]), False, selinux_paths(host_paths, tmp_path))
    assert labelled == [(str(folder), True)]


def test_a_rule_of_an_interrupted_run_is_not_added_twice(host, host_paths, policy, tmp_path):
    """The record names the rule before it exists, and matchpathcon can deny it still."""
    added = []
    policy.rules["/srv/state(/.*)?"] = "var_t"

    def run(argv):
        added.extend(argv[-1:] if "--add" in argv else [])
        return policy.run(argv)

    host.run = run
    uses = Requirements(state=["/srv/state"], logs=["/srv/logs"])
    confinement.allow(host, uses, False, selinux_paths(host_paths, tmp_path))
    assert added == ["/srv/logs(/.*)?"]


def test_rules_that_an_administrator_removed_are_not_deleted_again(host, host_paths, policy, tmp_path):
    uses, places = Requirements([4461], state=["/srv/state"]), selinux_paths(host_paths, tmp_path)
    confinement.allow(host, uses, False, places)
    confinement.prune(host, uses, False, places)
    policy.rules.clear()
    assert confinement.prune(host, Requirements(), False, places).changes == [
        "SELinux no longer lets chronyd use TCP port 4461",
        "SELinux no longer lets chronyd write /srv/state",
    ]
    assert (policy.rules, load(host, confinement.RECORD)["ports"], load(host, confinement.RECORD)["state"]) == (
        {},
        [],
        [],
    )


def test_check_mode_predicts_the_rules_without_them(host, host_paths, policy, tmp_path, monkeypatch):
    monkeypatch.setattr(confinement, "find_program", lambda _name: None)
    uses, places = Requirements([4461], state=["/srv/state"]), selinux_paths(host_paths, tmp_path)
    assert confinement.allow(host, uses, True, places).changes == [
        "SELinux lets chronyd use TCP port 4461 (ntske_port_t)",
        "SELinux lets chronyd write /srv/state (chronyd_var_lib_t)",
    ]
    assert (policy.rules, load(host, confinement.RECORD)) == ({}, {})
    with pytest.raises(TransactionError, match=r"semanage.* is missing\. Install the package policycoreutils-python"):
        confinement.allow(host, uses, False, places)


def test_a_rule_that_semanage_refuses_stays_in_the_record(host, host_paths, policy, tmp_path):
    """The next run removes it, should it exist after all."""
    host.run = lambda argv: (
        CommandResult(1, "", "libsemanage: locked\nValueError: no store\n") if "--add" in argv else policy.run(argv)
    )
    words = r"semanage port --add --type ntske_port_t --proto tcp 4461 failed: ValueError: no store$"
    with pytest.raises(TransactionError, match=words):
        confinement.allow(host, Requirements([4461]), False, selinux_paths(host_paths, tmp_path))
    assert load(host, confinement.RECORD)["ports"] == [4461]
