# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of a transaction. The test hosts test it against real chronyd and systemd.

Long: every test drives the same transaction through the fixture `client`.
"""

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import time

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import (
    decision,
    files,
    links,
    lock,
    originals,
    settings,
    transaction,
    undo,
    watch,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import Reader
from ansible_collections.securetime.nts.plugins.module_utils._change.confinement import Requirements
from ansible_collections.securetime.nts.plugins.module_utils._change.cookies import put_back_cookies
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    NEW,
    OLD,
    CommandResult,
    FileSpec,
    System,
    TransactionError,
    digest,
    group_name,
    put_back,
    user_name,
)

ACTIVE = {"ActiveState": "active", "UnitFileState": "enabled"}


@pytest.fixture
def host(tmp_path):
    """Return a host with chrony 4.8, on which no program runs."""
    return System(
        run=lambda argv: CommandResult(0, "chronyd (chrony) version 4.8 (+NTS)", ""),
        label=lambda staged, path: None,
        state=str(tmp_path / "state"),
    )


def wanted(path, effect="restart"):
    return FileSpec(path, "x", "root", "root", 0o644, effect)


def decide(host, files, changed, loaded, record, state):
    files = [wanted(path, effect) for path, effect in files.items()]
    changes = [item for item in files if item.path in changed]
    return tuple(decision.decide(host, files, changes, loaded, record, state))


@pytest.mark.parametrize(
    ("files", "changed", "record", "state", "expected"),
    [
        ({"/c": "restart"}, [], {"/c": "1"}, ACTIVE, ([], [])),
        ({"/c": "restart"}, ["/c"], {"/c": "0"}, ACTIVE, (["restart"], ["/c changed"])),
        ({"/c": "restart"}, [], {"/c": "0"}, ACTIVE, (["restart"], ["/c changed since chronyd was started"])),
        ({"/c": "restart"}, [], {}, ACTIVE, (["restart"], ["/c changed since chronyd was started"])),
        (
            {"/c": "restart"},
            [],
            {"/c": "1"},
            {"ActiveState": "inactive", "UnitFileState": "disabled"},
            (["enable", "restart"], ["chronyd is not running"]),
        ),
        ({"/c": "restart"}, [], {"/c": "1"}, dict(ACTIVE, NeedDaemonReload="yes"), (["daemon-reload"], [])),
        ({"/s": "sources"}, ["/s"], {"/s": "0"}, ACTIVE, (["reload-sources"], ["/s changed"])),
        ({"/k": "keys"}, ["/k"], {"/k": "0"}, ACTIVE, (["rekey"], ["/k changed"])),
        (
            {"/k": "keys", "/s": "sources"},
            ["/k", "/s"],
            {},
            ACTIVE,
            (["reload-sources", "rekey"], ["/k changed", "/s changed"]),
        ),
        (
            {"/c": "restart", "/s": "sources"},
            ["/c", "/s"],
            {},
            ACTIVE,
            (["restart"], ["/c changed", "/s changed"]),
        ),
        ({"/n": "nothing"}, ["/n"], {}, ACTIVE, ([], [])),
        (
            {"/etc/systemd/system/chrony.service.d/x.conf": "restart"},
            ["/etc/systemd/system/chrony.service.d/x.conf"],
            {},
            ACTIVE,
            (["daemon-reload", "restart"], ["/etc/systemd/system/chrony.service.d/x.conf changed"]),
        ),
    ],
)
def test_decide_chooses_the_least_disruptive_actions(host, files, changed, record, state, expected):
    assert decide(host, files, changed, dict.fromkeys(files, "1"), record, state) == expected


def test_a_replaced_program_restarts_chronyd(host, tmp_path):
    program = str(tmp_path / "chronyd")
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"]) as process:
        state = dict(ACTIVE, MainPID=str(process.pid))
        try:
            assert decide(host, {"/c": "restart"}, [], {"/c": "1"}, {"/c": "1"}, state) == ([], [])
            os.unlink(program)
            shutil.copy(shutil.which("sleep"), program)
            actions, reasons = decide(host, {"/s": "sources"}, ["/s"], {"/s": "1"}, {"/s": "0"}, state)
        finally:
            process.kill()
    assert actions == ["restart"]
    assert reasons == ["chronyd's program was replaced since its start", "/s changed"]


@pytest.mark.parametrize(
    ("version", "package", "expected"),
    [
        ("4.0", None, False),
        ("4.3", "4.3-2+deb12u3", False),
        ("4.4", None, False),
        ("4.5", "4.5-1ubuntu4.2", True),
        ("4.6", None, False),
        ("4.6.1", None, False),
        ("4.6.1", "4.6.1-2", False),
        ("4.6.1", "4.6.1-3", True),
        ("4.6.1", "4.6.1-3+deb13u2", True),
        ("4.7", None, True),
        ("4.8", None, True),
        ("4.10", None, True),
        ("5.0", None, True),
        ("", None, False),
    ],
)
def test_where_chronyd_reloads_its_sources_well(host, version, package, expected):
    def run(argv):
        if argv[0] == "dpkg-query":
            return CommandResult(int(package is None), package or "", "")
        return CommandResult(0, f"chronyd (chrony) version {version} (+NTS)" if version else "", "")

    host.run = run
    assert decision.reloads_sources(host) is expected
    assert decide(host, {"/s": "sources"}, ["/s"], {"/s": "1"}, {}, ACTIVE)[0] == [
        "reload-sources" if expected else "restart"
    ]


def test_saved_state_is_private_and_loads_again(host):
    assert files.load(host, "x.json") == {}
    files.save(host, "x.json", {"/c": "1"})
    assert files.load(host, "x.json") == {"/c": "1"}
    assert stat.S_IMODE(os.stat(os.path.join(host.state, "x.json")).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(host.state).st_mode) == 0o700
    assert os.listdir(host.state) == ["x.json"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '"text"'])
def test_a_damaged_state_file_loads_as_empty(host, damage):
    files.save(host, "x.json", {})
    with open(os.path.join(host.state, "x.json"), "w") as file:
        file.write(damage)
    assert files.load(host, "x.json") == {}


def test_one_run_at_a_time(host):
    with lock.locked(host, 0.0):
        begin = time.monotonic()
        with pytest.raises(TransactionError, match="Another run"), lock.locked(host, 0.3):
            pytest.fail("two runs at once")
        assert time.monotonic() - begin >= 0.3
    with lock.locked(host, 0.0):
        pass


def test_the_state_folder_and_the_lock_are_private(host):
    previous = os.umask(0o022)
    try:
        originals.remember(host, {"installed": True})
        with lock.locked(host, 0.0):
            pass
    finally:
        os.umask(previous)
    modes = {name: stat.S_IMODE(os.stat(os.path.join(host.state, name)).st_mode) for name in (".", "original", "lock")}
    assert modes == {".": 0o700, "original": 0o700, "lock": 0o600}


def test_open_modes_of_the_state_folder_are_corrected(host, tmp_path):
    (tmp_path / "state/original").mkdir(parents=True)
    for name, mode in (("state", 0o755), ("state/original", 0o755)):
        (tmp_path / name).chmod(mode)
    (tmp_path / "state/lock").touch(0o666)
    originals.remember(host, {"installed": True})
    with lock.locked(host, 0.0):
        pass
    for name, mode in (("state", 0o700), ("state/original", 0o700), ("state/lock", 0o600)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode, name


def test_a_lock_that_is_a_symbolic_link_is_refused(host, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/lock").symlink_to(tmp_path / "elsewhere")
    link = pytest.raises(TransactionError, match=r"lock is a symbolic link; nothing was changed. Remove it.")
    with link, lock.locked(host, 0.0):
        pytest.fail("the lock was taken")
    assert not (tmp_path / "elsewhere").exists()


def test_a_waiting_run_names_the_lock_holder(host):
    names = pytest.raises(TransactionError, match=rf"\(process {os.getpid()}, .+\)")
    with lock.locked(host, 0.0), names, lock.locked(host, 0.0):
        pytest.fail("two runs at once")


def test_a_removed_lock_file_is_not_used(host):
    path = os.path.join(host.state, "lock")
    with lock.locked(host, 0.0), open(path) as waiting:
        os.unlink(path)
        assert not lock._is_file(waiting.fileno(), path)
    with lock.locked(host, 0.0):
        assert os.path.exists(path)


@pytest.fixture
def client(host, tmp_path):
    """Return a function that applies files to a client with a saved cookie, and returns the result and the commands."""
    (tmp_path / "dump").mkdir()
    (tmp_path / "ca-2.pem").write_text(ANCHOR)
    config = tmp_path / "chrony.conf"
    config.write_text(f"ntstrustedcerts 2 {tmp_path}/ca-2.pem\nntsdumpdir {tmp_path}/dump\n")
    (tmp_path / "dump/ntskeys").write_text("of the server")
    done = []

    def run(argv):
        if argv[0] == "chronyd":
            return CommandResult(0, "chronyd (chrony) version 4.8 (+NTS)", "")
        if argv[0].endswith("chronyd"):
            return CommandResult(1, "", "")
        done.append(" ".join(argv if "rival.service" in argv else argv[:2]))
        if argv[:2] == ["systemctl", "stop"]:
            (tmp_path / "dump/192.0.2.1.nts").write_text("cookies")
        return CommandResult(0, "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=1\n", "")

    host.run = run
    files.save(host, transaction.LOADED, {str(config): digest(config.read_bytes())})

    def apply(files, log=None, **options):
        nonlocal done
        done = [] if log is None else log
        me = user_name(os.getuid()), group_name(os.getgid())
        files = [FileSpec(str(tmp_path / path), content, *me, 0o644, effect) for path, content, effect in files]
        options = dict({"settle_time": 0.0, "owns": [str(tmp_path / "ca-[0-9].pem")]}, **options)
        result = transaction.apply(host, files, settings.Options(str(config), "chronyd", **options))
        return result, list(done), sorted(os.listdir(str(tmp_path / "dump")))

    return apply


ANCHOR = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
OTHER = ANCHOR.replace("AA", "BB")


@pytest.fixture(autouse=True)
def no_config_check(monkeypatch):
    """Replace the check, which would run the chronyd of the test machine."""
    monkeypatch.setattr(transaction, "check", lambda *_arguments, **_options: True)


@pytest.fixture
def trusted_folders(monkeypatch):
    """Accept links through the folders of the test, although other users could write to them."""
    monkeypatch.setattr(links, "_assert_root_controls", lambda _folder, _link: None)


def test_an_anchor_not_trusted_any_more_drops_the_cookies(client):
    result, done, left = client([("ca-2.pem", OTHER, "nothing")])
    assert result["actions"] == ["drop-cookies", "restart"]
    assert result["reasons"][0].startswith("set 2 of trust anchors does not trust an unreadable certificate (SHA-256 ")
    assert done.index("systemctl stop") < done.index("systemctl restart")
    assert left == ["ntskeys"]


def test_an_added_anchor_keeps_the_cookies(client):
    result, done, _left = client([("ca-2.pem", ANCHOR + OTHER, "nothing")])
    assert (result["changed"], result["actions"], result["reasons"]) == (True, [], [])
    assert "systemctl stop" not in done


def test_check_mode_predicts_and_changes_nothing(client, tmp_path):
    result, done, left = client([("ca-2.pem", OTHER, "nothing")], check_mode=True)
    assert result["actions"] == ["drop-cookies", "restart"]
    assert (done, left) == (["systemctl show"], ["ntskeys"])
    assert (tmp_path / "ca-2.pem").read_text() == ANCHOR


def test_owned_files_that_are_not_wanted_are_removed(client, tmp_path):
    (tmp_path / "ca-x.pem").touch()
    (tmp_path / f"ca-3.pem{OLD}").touch()
    config = f"ntsdumpdir {tmp_path}/dump\n"
    result, _done, left = client([("chrony.conf", config, "restart")])
    assert result["changed_files"] == [str(tmp_path / "chrony.conf"), str(tmp_path / "ca-2.pem")]
    assert result["actions"] == ["drop-cookies", "restart"]
    assert sorted(path.name for path in tmp_path.glob("ca-*")) == ["ca-x.pem"]
    assert left == ["ntskeys"]
    result, _done, _left = client([("chrony.conf", config, "restart")])
    assert result["changed"] is False


def test_a_rollback_restores_the_cookies(client, tmp_path):
    def refuse():
        raise TransactionError("the clock follows no source")

    with pytest.raises(TransactionError, match="rolled back: the clock follows no source"):
        client([("ca-2.pem", OTHER, "nothing")], verify=refuse)
    assert (tmp_path / "ca-2.pem").read_text() == ANCHOR
    assert sorted(os.listdir(str(tmp_path / "dump"))) == ["192.0.2.1.nts", "ntskeys"]


def test_check_mode_waits_for_a_run_and_keeps_its_staged_file(client, host, tmp_path, monkeypatch):
    """A run stages its file before the swap. Check mode must neither replace nor remove that file."""
    staged = tmp_path / f"chrony.conf{NEW}"
    staged.write_text("of a run")
    before = sorted(os.listdir(str(tmp_path)))
    checked = []

    def record_check(_host, items, *_arguments, **_options):
        checked.extend(item.staged for item in items.values())
        assert staged.read_text() == "of a run"
        return True

    monkeypatch.setattr(transaction, "check", record_check)
    client([("chrony.conf", "of a check\n", "restart")], check_mode=True, owns=[])
    assert checked == [f"{tmp_path}/chrony.conf.securetime-nts-check-{os.getpid()}"]
    assert staged.read_text() == "of a run"
    assert sorted(os.listdir(str(tmp_path))) == before
    with lock.locked(host, 0.0), pytest.raises(TransactionError, match=r"Another run \(process"):
        client([("chrony.conf", "of a check\n", "restart")], check_mode=True, lock_timeout=0.0)


def test_check_mode_creates_no_state_folder(client, host, tmp_path):
    os.unlink(f"{host.state}/loaded.json")
    os.rmdir(host.state)
    client([("chrony.conf", "of a check\n", "restart")], check_mode=True)
    assert not os.path.exists(host.state)


def test_a_run_removes_the_staged_file_of_a_killed_check(client, tmp_path):
    left = tmp_path / "chrony.conf.securetime-nts-check-999999999"
    alive = tmp_path / f"chrony.conf.securetime-nts-check-{os.getpid()}"
    left.touch()
    alive.touch()
    client([("chrony.conf", f"ntsdumpdir {tmp_path}/dump\n", "restart")])
    assert not left.exists()
    assert alive.exists()


@pytest.mark.parametrize("damage", ["", "{", "[]"])
def test_a_damaged_plan_stops_every_run(client, host, tmp_path, damage):
    kept = tmp_path / f"chrony.conf{OLD}"
    kept.write_text("the only old copy")
    with open(os.path.join(host.state, "plan.json"), "w") as file:
        file.write(damage)
    for check_mode in (True, False):
        with pytest.raises(TransactionError, match=r"plan.json is damaged.* nothing was changed.*undo.sh.* and remove"):
            client([("chrony.conf", "", "restart")], check_mode=check_mode)
    assert kept.read_text() == "the only old copy"


def test_a_damaged_manifest_stops_a_change(client, host, tmp_path):
    client([("chrony.conf", f"ntsdumpdir {tmp_path}/dump\n", "restart")])
    with open(os.path.join(host.state, "original/manifest.json"), "w") as file:
        file.write("{")
    with pytest.raises(TransactionError, match=r"manifest.json is damaged.*Restore it from a backup"):
        client([("chrony.conf", f"ntsdumpdir {tmp_path}/dump\n! more\n", "restart")])
    assert (tmp_path / "chrony.conf").read_text() == f"ntsdumpdir {tmp_path}/dump\n"


def test_files_are_read_under_the_lock(host, tmp_path):
    def read():
        with pytest.raises(TransactionError, match="Another run"), lock.locked(host, 0.0):
            pytest.fail("the files are read without the lock")
        raise TransactionError("read")

    options = settings.Options(str(tmp_path / "chrony.conf"), "chronyd")
    with pytest.raises(TransactionError, match=r"^read$"):
        transaction.apply_read(host, read, options)


RIVAL = "rival.service"


def test_rivals_are_stopped_first_and_masked_last(client, tmp_path):
    verified = []
    config = f"ntsdumpdir {tmp_path}/dump\n"
    result, done, _left = client(
        [("chrony.conf", config, "restart")], rivals=[RIVAL], verify=lambda: verified.append(1), owns=[]
    )
    assert result["actions"] == ["stop-rivals", "drop-cookies", "restart", "mask-rivals"]
    steps = [f"systemctl {step} {RIVAL}" for step in ("stop", "disable", "mask")]
    assert [step for step in done if step in steps] == steps
    assert done.index(steps[0]) < done.index("systemctl restart") < done.index(steps[1])
    assert verified == [1]


def test_a_rollback_restores_rivals(client):
    def refuse():
        raise TransactionError("the clock follows no source")

    done = []
    with pytest.raises(TransactionError, match=r"rolled back: the clock follows no source"):
        client([("chrony.conf", "", "restart")], rivals=[RIVAL], verify=refuse, log=done)
    assert not [step for step in done if step.startswith("systemctl mask")]
    assert done[-3:] == [f"systemctl {step} {RIVAL}" for step in ("unmask", "enable", "start")]


def test_confinement_covers_the_link_targets_that_chronyd_reads():
    options = settings.Options("/none/chrony.conf", "chronyd", uses=Requirements())
    files = [
        wanted("/none/chrony.conf")._replace(target="/none/conf/chrony.conf"),
        wanted("/none/sources", "sources")._replace(target="/none/conf/sources"),
        wanted("/none/options")._replace(target="/none/conf/options"),
        # A restored original is its own target.
        wanted("/none/keys", "keys")._replace(target="/none/keys"),
    ]
    assert transaction._needs(files, options, {}).files == ["/none/conf/chrony.conf", "/none/conf/sources"]
    assert transaction._needs(files, options._replace(uses_paths=False), {}) == Requirements()
    assert transaction._needs(files, options._replace(uses=None), {}) is None


@pytest.mark.usefixtures("trusted_folders")
def test_a_restore_puts_back_what_was_there(client, host, tmp_path):
    (tmp_path / "target").write_text("of the target\n")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "mine").chmod(0o604)
    os.setxattr(str(tmp_path / "mine"), "user.mine", b"\0yes")
    (tmp_path / "replaced").write_text("before the link\n")
    names = ("link", "dangling", "mine", "added", "replaced")
    changed = ("target", "nowhere", "mine", "added", "replaced")
    wanted = [(name, "of the role\n", "nothing") for name in names]
    log = []
    client(wanted, rivals=[RIVAL], owns=[], log=log)
    assert os.readlink(str(tmp_path / "link")) == "target"
    assert [(tmp_path / name).read_text() for name in changed] == ["of the role\n"] * 5
    assert client(wanted, owns=[], log=log)[0]["changed"] is False
    # For example, another configuration manager replaces the file by a link later.
    (tmp_path / "replaced").rename(tmp_path / "elsewhere")
    (tmp_path / "replaced").symlink_to("elsewhere")
    assert client(wanted, owns=[], log=log)[0]["changed"] is False
    assert os.listxattr(str(tmp_path / "mine")) == []
    (tmp_path / "state/server.previous.key").touch()
    options = settings.Options(str(tmp_path / "chrony.conf"), "chronyd", settle_time=0.0)
    result = transaction.restore(host, options)
    assert result["changed_files"] == sorted(str(tmp_path / name) for name in changed)
    assert log[-3:] == [f"systemctl {step} {RIVAL}" for step in ("unmask", "enable", "start")]
    assert os.readlink(str(tmp_path / "link")) == "target"
    assert os.readlink(str(tmp_path / "dangling")) == "nowhere"
    assert (tmp_path / "target").read_text() == "of the target\n"
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "replaced").is_symlink()
    assert (tmp_path / "replaced").read_text() == "before the link\n"
    assert (tmp_path / "mine").read_text() == "mine\n"
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o604
    assert os.getxattr(str(tmp_path / "mine"), "user.mine") == b"\0yes"
    assert not (tmp_path / "added").exists()
    assert not (tmp_path / "state").exists()
    assert transaction.restore(host, options)["changed"] is False
    assert not (tmp_path / "state").exists()


def test_the_undo_drop_in_is_installed_first_and_removed_last():
    options = settings.Options("/etc/chrony/chrony.conf", "chronyd")
    undo = "/etc/systemd/system/chrony.service.d/securetime-nts-undo.conf"
    paths = [options.config_file, "/etc/chrony/chrony.keys", undo]

    def order(*absent):
        items = [wanted(path)._replace(content=None if path in absent else "x") for path in paths]
        return [item.path for item in sorted(items, key=lambda item: transaction._swap_order(item, options))]

    assert order() == [undo, "/etc/chrony/chrony.keys", options.config_file]
    assert order(undo) == ["/etc/chrony/chrony.keys", options.config_file, undo]


@pytest.mark.parametrize(
    ("run", "enabled", "unit_file_state", "expected"),
    [
        (True, False, "enabled", ["disable", "restart"]),
        (True, True, "disabled", ["enable", "restart"]),
        (False, True, "disabled", ["enable"]),
        (False, True, "enabled", []),
        (False, False, "enabled", ["disable"]),
    ],
)
def test_a_restore_returns_chronyd_to_its_former_state(host, tmp_path, run, enabled, unit_file_state, expected):
    options = settings.Options("/c", "chronyd", run=run, enabled=enabled)
    state = {"ActiveState": "inactive", "UnitFileState": unit_file_state}
    assert transaction._decision(host, [], [], {}, state, options).actions == expected


def test_a_restore_removes_empty_folders_of_earlier_changes(client, host, tmp_path):
    (tmp_path / "there").mkdir()
    files = [(f"{folder}/file", "of the role\n", "nothing") for folder in ("there", "made", "made/deep/deeper", "used")]
    client(files, owns=[])
    client([*files, ("later/file", "of the role\n", "nothing")], owns=[])
    (tmp_path / "used/mine").write_text("mine\n")
    transaction.restore(host, settings.Options(str(tmp_path / "chrony.conf"), "chronyd", settle_time=0.0))
    assert [(tmp_path / name).is_dir() for name in ("there", "made", "used", "later")] == [True, False, True, False]


def test_a_restored_original_is_deleted(client, host, tmp_path):
    (tmp_path / "keys").write_text("of the distribution\n")
    client([("keys", "of the role\n", "nothing"), ("more", "x\n", "nothing")], owns=[])
    spec = originals.spec(host, str(tmp_path / "keys"))
    assert spec.content == "of the distribution\n"
    assert originals.spec(host, str(tmp_path / "never changed")) is None
    client([("keys", spec.content, "nothing")], put_back=[spec.path], owns=[])
    assert originals.spec(host, spec.path) is None
    assert [item.path for item in originals.specs(host)] == [str(tmp_path / "more")]


@pytest.fixture
def planted(tmp_path):
    """Return a function that plants folders and links in chronyd's folder, as chronyd's user could."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "victim").write_text("not a cookie")

    def plant(folder):
        (folder / "folder.nts").mkdir()
        (folder / f"folder-old.nts{OLD}").mkdir()
        (folder / "link.nts").symlink_to(tmp_path / "victim")
        (folder / f"link-old.nts{OLD}").symlink_to(tmp_path / "victim")
        (folder / f"into.nts{OLD}").write_text("planted")
        (folder / "into.nts").symlink_to(elsewhere)
        (folder / f"onto.nts{OLD}").write_text("planted")
        (folder / "onto.nts").mkdir()
        (folder / "kept.nts").write_text("cookies")
        (folder / f"kept.nts{OLD}").mkdir()

    return plant


def test_planted_folders_do_not_fail_a_change(client, planted, tmp_path):
    planted(tmp_path / "dump")
    result, _done, left = client([("ca-2.pem", OTHER, "nothing")])
    assert result["actions"] == ["drop-cookies", "restart"]
    assert (tmp_path / "ca-2.pem").read_text() == OTHER
    assert not (tmp_path / "state/plan.json").exists()
    assert not {"192.0.2.1.nts", "kept.nts"} & set(left)
    assert (tmp_path / "victim").read_text() == "not a cookie"
    assert os.listdir(str(tmp_path / "elsewhere")) == []


def test_an_interrupted_finish_does_not_undo_the_change(client, host, tmp_path, monkeypatch):
    monkeypatch.setattr(undo, "forget_cookies", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        client([("ca-2.pem", OTHER, "nothing")])
    monkeypatch.undo()
    monkeypatch.setattr(transaction, "check", lambda *_arguments, **_options: True)
    assert not (tmp_path / "state/undo.sh").exists()
    result, _done, left = client([("ca-2.pem", OTHER, "nothing")])
    assert (result["changed"], left) == (False, ["ntskeys"])
    assert not (tmp_path / "state/plan.json").exists()
    assert (tmp_path / "ca-2.pem").read_text() == OTHER


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize(
    "existing",
    ["", "path", "old", "new", "path old", "path new", "path old new", "linked", "link", "folder", "folder old new"],
)
def test_the_script_does_what_undo_does(tmp_path, planted, existed, existing):
    # Long: the interrupted state and both ways to undo it, which are compared at the end.
    def files(folder):
        """Create the files that an interrupted run leaves, and return the path of the changed file."""
        folder.mkdir()
        path = folder / "it's a file"
        paths = {"path": path, "old": folder / (path.name + OLD), "new": folder / (path.name + NEW)}
        if existing.startswith("folder"):
            path.mkdir()
        for name in existing.replace("linked", "path").replace("link", "").replace("folder", "").split():
            paths[name].write_text(name)
        if existing == "linked":
            os.link(paths["path"], paths["old"])
        if existing == "link":
            paths["path"].write_text("new")
            paths["old"].symlink_to("/nowhere")
        (folder / ("192.0.2.1.nts" + OLD)).write_text("cookies")
        planted(folder)
        return path

    def found(folder):
        return {path.name: content(path) for path in folder.iterdir()}

    def content(path):
        if path.is_symlink():
            return os.readlink(str(path))
        return "folder" if path.is_dir() else path.read_text()

    by_script, by_undo = tmp_path / "a folder", tmp_path / "undo"
    path = files(by_script)
    own = tmp_path / "undo.sh"
    made = [str(tmp_path / "made"), str(tmp_path / "made/below"), str(by_script)]
    for folder in made[:2]:
        os.mkdir(folder)
    plan = {"files": {str(path): existed}, "cookies": [str(by_script)], "folders": made}
    own.write_text(undo.undo_script(plan, str(own)))
    status = subprocess.run(["sh", str(own)], check=False).returncode
    assert not os.path.exists(made[0])
    fails = existing == "folder old new" or (existing == "folder" and not existed)
    with pytest.raises(IsADirectoryError) if fails else contextlib.ExitStack():
        put_back(str(files(by_undo)), existed)
    put_back_cookies(str(by_undo))
    assert found(by_script) == found(by_undo)
    assert (status, own.exists()) == (int(fails), fails)


@pytest.mark.parametrize("missing", ["mv", "rm"])
def test_the_undo_script_keeps_the_old_file_and_itself_on_failure(tmp_path, missing):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("mv", "rm", "stat", "sync"):
        (programs / name).symlink_to("/bin/false" if name == missing else shutil.which(name))
    path, added, own = tmp_path / "file", tmp_path / "added", tmp_path / "undo.sh"
    path.write_text("new")
    added.write_text("new")
    (tmp_path / f"file{OLD}").write_text("old")
    plan = {"files": {str(path): True, str(added): False}, "cookies": [], "folders": []}
    own.write_text(undo.undo_script(plan, str(own)))
    assert subprocess.run(["/bin/sh", str(own)], env={"PATH": str(programs)}, check=False).returncode == 1
    assert "old" in [item.read_text() for item in (path, tmp_path / f"file{OLD}") if item.exists()]
    assert added.exists() == (missing == "rm")
    assert own.exists()
    # With all programs the script succeeds.
    assert subprocess.run(["/bin/sh", str(own)], check=False).returncode == 0
    assert (path.read_text(), sorted(os.listdir(str(tmp_path)))) == ("old", ["file", "programs"])


@pytest.mark.parametrize(
    ("state", "enabled", "actions", "starts"),
    [
        ("active", "enabled", ["restart"], True),
        # It runs before and after: only a restart makes it read the restored files.
        ("active", "disabled", ["restart"], True),
        ("failed", "enabled", ["restart"], True),
        ("inactive", "enabled", ["restart"], False),
        ("inactive", "disabled", ["restart"], False),
        # The change itself stopped chronyd.
        ("inactive", "enabled", ["drop-cookies", "restart"], True),
    ],
)
def test_recovery_restarts_a_running_chronyd_but_starts_and_enables_no_stopped_one(
    host, state, enabled, actions, starts, monkeypatch
):
    commands = []

    def run(argv):
        commands.append(argv)
        return CommandResult(0, f"ActiveState={state}\nUnitFileState={enabled}\n", "")

    host.run = run
    monkeypatch.setattr(undo, "watch", lambda *_arguments: None)
    plan = {"service": "chrony.service", "files": {}, "actions": actions, "was_active": True}
    files.save(host, undo.PLAN, plan)
    assert undo.recover(host, settings.Options("/etc/chrony/chrony.conf", "chrony.service"))
    assert (["systemctl", "restart", "chrony.service"] in commands) == starts
    assert not [argv for argv in commands if argv[1] in ("stop", "enable", "disable")]
    assert files.load(host, undo.PLAN) == {}


def test_recovery_changes_nothing_if_a_folder_is_read_only(host, tmp_path, monkeypatch):
    commands = []
    host.run = lambda argv: commands.append(argv) or CommandResult(0, "ActiveState=active\n", "")
    for name in ("writable", "read-only"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("new")
        (tmp_path / name / f"file{OLD}").write_text("old")
    paths = [str(tmp_path / name / "file") for name in ("writable", "read-only")]
    plan = {
        "service": "chrony.service",
        "files": dict.fromkeys(paths, True),
        "cookies": [str(tmp_path / "writable")],
        "actions": ["drop-cookies", "restart"],
        "was_active": True,
    }
    files.save(host, undo.PLAN, plan)
    monkeypatch.setattr(os, "access", lambda path, _mode: not str(path).endswith("read-only"))
    with pytest.raises(TransactionError, match=r"cannot write in \S+/read-only; nothing was changed"):
        undo.recover(host, settings.Options("/c", "chrony.service"))
    assert (tmp_path / "writable/file").read_text() == "new"
    assert not [argv for argv in commands if argv[1] in ("stop", "restart")]
    assert files.load(host, undo.PLAN) == plan


@pytest.fixture
def blocked(tmp_path):
    """Return a function that makes the change fail and blocks the restore of one of two changed files."""

    def refuse():
        os.unlink(str(tmp_path / "a"))
        (tmp_path / "a").mkdir()
        raise TransactionError("the clock follows no source")

    for name in ("a", "b"):
        (tmp_path / name).write_text("old\n")
    return refuse


def test_a_failed_restore_of_one_file_does_not_block_the_others(client, host, tmp_path, blocked):
    config = (tmp_path / "chrony.conf").read_text()
    changed = [("a", "new\n", "nothing"), ("b", "new\n", "nothing"), ("chrony.conf", f"{config}\n", "restart")]
    log = []
    message = (
        rf"The change failed: the clock follows no source. .*put back: {tmp_path}/a \(Is a directory\).*chronyd runs"
    )
    with pytest.raises(TransactionError, match=message):
        client(changed, verify=blocked, rivals=[RIVAL], log=log)
    assert (tmp_path / "b").read_text() == "old\n"
    assert (tmp_path / "chrony.conf").read_text() == config
    assert (tmp_path / f"a{OLD}").read_text() == "old\n"
    assert log.count("systemctl restart") == 2
    assert log[-3:] == [f"systemctl {step} {RIVAL}" for step in ("unmask", "enable", "start")]
    options = settings.Options(str(tmp_path / "chrony.conf"), "chronyd", settle_time=0.0)
    with pytest.raises(TransactionError, match="Is a directory"):
        undo.recover(host, options)
    (tmp_path / "a").rmdir()
    assert undo.recover(host, options)
    assert (tmp_path / "a").read_text() == "old\n"
    assert files.load(host, undo.PLAN) == {}


def test_chronyds_user_keeps_no_plan_open(client, host, tmp_path, monkeypatch):
    """A folder in the place of ntskeys would otherwise stop each later change, also of the trust."""
    place = tmp_path / "dump/ntskeys"
    # os.stat() of a folder that belongs to another user than that of the test.
    monkeypatch.setattr(undo, "_is_foreign", lambda path: path == str(place))

    def refuse():
        place.unlink()
        (place / "below").mkdir(parents=True)
        script = (tmp_path / "state/undo.sh").read_text()
        assert subprocess.run(["sh"], input=script.encode(), check=False).returncode == 0
        raise TransactionError("chronyd serves no NTS")

    message = rf"The files are as they were, but for {place} \(Is a directory\).*chronyd runs"
    with pytest.raises(TransactionError, match=message):
        client([("dump/ntskeys", "new keys", "keys"), ("ca-2.pem", ANCHOR + OTHER, "nothing")], verify=refuse)
    assert (tmp_path / "ca-2.pem").read_text() == ANCHOR
    assert files.load(host, undo.PLAN) == {}
    assert client([("ca-2.pem", OTHER, "nothing")])[0]["changed"]


@pytest.mark.parametrize("what", ["FIFO", "link"])
def test_what_chronyds_user_puts_there_meanwhile_holds_up_no_run(client, tmp_path, monkeypatch, what):
    place = tmp_path / "dump/ntskeys"

    def read(path, follow=True):
        if path == str(place):
            # Its last look was at a regular file.
            place.unlink()
            os.mkfifo(path) if what == "FIFO" else place.symlink_to("/dev/zero")
        return files.read(path, follow)

    monkeypatch.setattr(transaction, "read", read)
    with pytest.raises(TransactionError, match=rf"\({place}\); nothing was changed"):
        client([("dump/ntskeys", "new keys", "keys")])


@pytest.mark.parametrize("owner", [0, os.geteuid(), 12345])
def test_whose_folder_a_file_is_in(owner, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0o40755, 1, 1, 1, owner, 0, 0, 0, 0, 0]))
    assert undo._is_foreign(str(tmp_path / "ntskeys")) == (owner == 12345)


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), ZeroDivisionError()])
def test_an_undo_script_without_a_plan_is_removed(client, host, tmp_path, monkeypatch, problem):
    """An OSError removes the script at once. An interruption (any other exception) leaves it to the next run."""
    save = files.save

    def fail(host, name, content):
        if name == undo.PLAN:
            raise problem
        save(host, name, content)

    monkeypatch.setattr(undo, "save", fail)
    with pytest.raises((TransactionError, ZeroDivisionError)):
        client([("chrony.conf", "! new\n", "restart")])
    assert (tmp_path / "state/undo.sh").exists() == isinstance(problem, ZeroDivisionError)
    assert not undo.recover(host, settings.Options(str(tmp_path / "chrony.conf"), "chronyd"))
    assert not (tmp_path / "state/undo.sh").exists()


def test_the_next_restore_finishes_an_interrupted_one(client, host, tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine\n")
    client([("mine", "of the role\n", "nothing")], owns=[])
    options = settings.Options(str(tmp_path / "chrony.conf"), "chronyd", settle_time=0.0)

    def interrupt(path, ignore_errors):
        """Delete one file and raise, before the manifest: the order of a directory is arbitrary."""
        if os.path.isdir(path):
            os.unlink(os.path.join(path, "original/000"))
            raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(originals.shutil, "rmtree", interrupt)
        with pytest.raises(ZeroDivisionError):
            transaction.restore(host, options)
    assert transaction.restore(host, options)["changed"] is False
    assert (tmp_path / "mine").read_text() == "mine\n"
    assert not [name for name in os.listdir(str(tmp_path)) if name.startswith("state")]


def test_a_change_removes_leftovers_of_an_interrupted_restore(client, tmp_path):
    left = tmp_path / "state.securetime-nts-forgotten/original"
    left.mkdir(parents=True)
    client([("chrony.conf", "! new\n", "restart")], check_mode=True)
    assert left.exists()
    client([("chrony.conf", "! new\n", "restart")])
    assert not left.parent.exists()


def test_a_full_disk_after_the_change_only_warns(client, tmp_path, monkeypatch):
    save = files.save

    def fail(host, name, content):
        if name == transaction.LOADED:
            raise OSError(28, "No space left on device")
        save(host, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(transaction, "save", fail)
        result, _done, _left = client([("chrony.conf", "! new\n", "restart")])
    assert (tmp_path / "chrony.conf").read_text() == "! new\n"
    (warning,) = result["warnings"]
    assert "The change is in force, but" in warning
    assert "loaded.json could not be written (No space left on device)" in warning
    again, _done, _left = client([("chrony.conf", "! new\n", "restart")])
    assert again["actions"] == ["restart"]


READ_ONLY = OSError(30, "Read-only file system")


@pytest.mark.parametrize(
    ("step", "problem", "state"),
    [
        ((originals, "drop"), READ_ONLY, transaction.IN_FORCE),
        ((originals, "forget_everything"), READ_ONLY, transaction.IN_FORCE),
        ((transaction.confinement, "prune"), READ_ONLY, transaction.IN_FORCE),
        ((transaction.confinement, "prune"), TransactionError("semanage failed."), transaction.IN_FORCE),
        ((undo, "forget_cookies"), READ_ONLY, transaction.IN_FORCE),
        ((undo, "forget_plan"), READ_ONLY, transaction.IN_FORCE),
        # The plan is not yet marked as done.
        ((undo, "save"), READ_ONLY, transaction.INTERRUPTED),
    ],
)
def test_an_error_after_the_swap_says_which_files_are_in_force(
    client, host, tmp_path, monkeypatch, step, problem, state
):
    original = getattr(*step)

    def fail(*arguments):
        if step[1] == "save" and not arguments[2].get("done"):
            return original(*arguments)
        raise problem

    reason = re.escape(problem.strerror if isinstance(problem, OSError) else "semanage failed")
    with monkeypatch.context() as patched:
        patched.setattr(*step, fail)
        with pytest.raises(TransactionError, match=rf"^{reason}.*[;.] {re.escape(state)}\.$"):
            client([("ca-2.pem", OTHER, "nothing")], uses=Requirements(), forget=step[1] == "forget_everything")
    assert (tmp_path / "ca-2.pem").read_text() == OTHER
    options = settings.Options(str(tmp_path / "chrony.conf"), "chronyd", settle_time=0.0)
    assert transaction.recover_alone(host, options) == (state == transaction.INTERRUPTED)
    assert (tmp_path / "ca-2.pem").read_text() == (ANCHOR if state == transaction.INTERRUPTED else OTHER)


def test_an_error_without_a_change_says_that_nothing_was_changed(host, tmp_path, monkeypatch):
    options = settings.Options(str(tmp_path / "chrony.conf"), "chronyd")

    def fail(path):
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(files, "make_private", fail)
    message = rf"^Read-only file system \({host.state}\); nothing was changed\.$"
    with pytest.raises(TransactionError, match=message):
        transaction.recover_alone(host, options)
    with pytest.raises(TransactionError, match=message):
        transaction.read_again(host, options, ["/etc/chrony/chrony.conf"])


def test_read_again_makes_the_next_change_read_an_unchanged_file(client, host, tmp_path):
    config = tmp_path / "chrony.conf"
    unchanged = [("chrony.conf", config.read_text(), "restart")]
    assert client(unchanged, owns=[])[0]["actions"] == []
    transaction.read_again(host, settings.Options(str(config), "chronyd"), [str(config)])
    assert client(unchanged, owns=[])[0]["actions"] == ["restart"]


def test_a_rollback_removes_the_undo_drop_in_last(client, host, tmp_path, monkeypatch):
    """Neither the order of the list nor that of the names in the saved plan matters."""
    drop_in = "systemd/system/chrony.service.d/a.conf"
    listed = [("z", "new\n", "nothing"), ("chrony.conf", "! new\n", "restart"), (drop_in, "new\n", "restart")]
    swapped, undone, script, put_back_file = [], [], [], files.put_back

    def refuse():
        script.extend((tmp_path / "state/undo.sh").read_text().splitlines())
        swapped.extend(files.load(host, undo.PLAN)["order"])
        raise TransactionError("refused")

    def record(path, existed):
        undone.append(path)
        put_back_file(path, existed)

    monkeypatch.setattr(files, "put_back", record)
    with pytest.raises(TransactionError, match="rolled back: refused"):
        client(listed, verify=refuse, owns=[])
    assert swapped == [str(tmp_path / path) for path in (drop_in, "z", "chrony.conf")]
    assert undone == swapped[::-1]
    by_script = [line.split()[1] for line in script if line.startswith("put_back /")]
    assert by_script == swapped[::-1]


SOCKET = "2026-11-28T08:00:00Z Could not open {} socket on {}"
IPV4_LINE, IPV6_LINE = SOCKET.format("NTP", "0.0.0.0:123"), SOCKET.format("NTP", "[::]:123")
KE_LINES = [SOCKET.format("NTS-KE", "192.0.2.1:4460"), SOCKET.format("NTS-KE", "[2001:db8::1]:4460")]


@pytest.mark.parametrize(
    ("log", "families", "expected"),
    [
        ([], ["IPv4", "IPv6"], ""),
        (["Could not set credentials : Error while reading file."], ["IPv4", "IPv6"], "Could not set credentials"),
        ([IPV6_LINE], ["IPv4", "IPv6"], ""),
        ([IPV4_LINE], ["IPv4", "IPv6"], ""),
        ([IPV4_LINE], ["IPv4"], IPV4_LINE),
        ([IPV4_LINE, IPV6_LINE], ["IPv4", "IPv6"], IPV4_LINE),
        ([IPV4_LINE, KE_LINES[1]], ["IPv4", "IPv6"], ""),
        ([IPV6_LINE, *KE_LINES], ["IPv4", "IPv6"], KE_LINES[0]),
        # ptpport is a different port, so NTP still has its IPv6 socket.
        ([IPV4_LINE, SOCKET.format("NTP", "[::]:319")], ["IPv4", "IPv6"], ""),
    ],
)
def test_a_service_without_a_socket_in_any_family_is_fatal(log, families, expected):
    assert watch.fatal_line(log, families).startswith(expected or "\0") is bool(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["-F", "1"], ["IPv4", "IPv6"]), (["-4", "-F", "1"], ["IPv4"]), (["-6"], ["IPv6"])],
)
def test_options_restrict_chronyd_to_one_family(options, expected):
    assert watch.enabled_families(options) == expected


@pytest.mark.parametrize(("possible", "warned"), [(["IPv4", "IPv6"], True), (["IPv4"], False)])
def test_a_missing_socket_warns_only_if_the_kernel_has_the_family(client, host, monkeypatch, possible, warned):
    monkeypatch.setattr(watch, "kernel_families", lambda: possible)
    monkeypatch.setattr(watch.Unit, "log", lambda _self: [IPV6_LINE])
    result, _done, _left = client([("chrony.conf", "port 11123\n", "restart")], verify=lambda: ["of the proof"])
    assert ("of the proof" in result["warnings"], len(result["warnings"])) == (True, 2 if warned else 1)
    assert any("without a socket of IPv6" in warning for warning in result["warnings"]) is warned


READER = Reader("_chrony", 123, 456)


@pytest.mark.parametrize(
    ("owner", "mode", "own"),
    [
        (123, 0o750, True),
        (123, 0o755, True),
        (123, 0o550, False),
        (123, 0o770, False),
        (123, 0o757, False),
        (0, 0o755, False),
        (0, 0o777, False),
    ],
)
def test_the_log_folder_belongs_to_chronyds_user(host, tmp_path, monkeypatch, owner, mode, own):
    folder = tmp_path / "log"
    folder.mkdir()
    given = []
    status = os.stat_result([stat.S_IFDIR | mode, 0, 0, 0, owner, 0, 0, 0, 0, 0])
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: status if path == str(folder) else real(path, **more))
    monkeypatch.setattr(transaction, "find_chronyd", lambda: "/usr/sbin/chronyd")
    monkeypatch.setattr(transaction, "reader_of", lambda *_unused: READER)
    monkeypatch.setattr(os, "chown", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(os, "chmod", lambda *arguments: given.append(arguments))
    options = settings.Options("/etc/chrony.conf", "chronyd.service", log_dir=str(folder))
    found = [] if own else [str(folder)]
    assert transaction._grant_access(host, {}, options._replace(check_mode=True)) == found
    assert given == []
    assert transaction._grant_access(host, {}, options) == found
    assert given == ([] if own else [(str(folder), 123, 456), (str(folder), 0o750)])


def test_a_linked_log_folder_keeps_its_owner(host, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(transaction, "find_chronyd", lambda: "/usr/sbin/chronyd")
    monkeypatch.setattr(transaction, "reader_of", lambda *_unused: READER)
    options = settings.Options("/etc/chrony.conf", "chronyd.service", log_dir=str(tmp_path / "link"))
    assert transaction._grant_access(host, {}, options) == []


def test_a_family_without_sockets_is_not_the_kernels():
    # No kernel has this family.
    assert [watch._has_sockets(family) for family in (socket.AF_INET, 255)] == [True, False]


@pytest.mark.parametrize(
    ("load", "file", "check_mode", "run", "expected"),
    [
        ("loaded", "enabled", False, True, ""),
        ("masked", "masked", False, True, "Run `systemctl unmask chronyd` on"),
        ("masked", "masked", True, True, "Run `systemctl unmask chronyd` on"),
        ("masked", "masked-runtime", False, True, "Run `systemctl unmask --runtime chronyd` on"),
        # The role removes the runtime mask before.
        ("masked", "masked-runtime", True, True, ""),
        # A restoration that leaves chronyd stopped needs no start.
        ("masked", "masked", False, False, ""),
        ("not-found", "", False, True, "There is no unit chronyd on this host"),
        ("not-found", "", True, True, ""),
    ],
)
def test_a_unit_that_systemd_cannot_start_is_refused(load, file, check_mode, run, expected):
    options = settings.Options("/etc/chrony.conf", "chronyd", check_mode=check_mode, run=run)
    message = ""
    try:
        transaction._assert_startable({"LoadState": load, "UnitFileState": file}, options)
    except TransactionError as error:
        message = str(error)
    assert expected in message
    assert bool(expected) == bool(message) == ("nothing was changed" in message)


def activity(host, text, status=0):
    """Return the host with this output of `chronyc activity`."""
    return System(run=lambda argv: CommandResult(status, text, ""), label=host.label, state=host.state)


def sources_of(tmp_path, *lines):
    path = tmp_path / "chrony.conf"
    path.write_text("".join(f"{line}\n" for line in lines))
    return settings.Options(str(path), "chronyd", idle_problems=lambda: ["chronyd serves another certificate"])


TWO = ("server a.example.org nts", "server b.example.org nts")
ALL_OF_THEM = "200 OK\n1 sources online\n1 sources offline\n0 sources with unknown address\n"


@pytest.mark.parametrize(
    ("shown", "status", "expected"),
    [
        (ALL_OF_THEM, 0, "chronyd serves another certificate"),
        ("200 OK\n1 sources online\n", 0, "chronyd has 1 of the 2 sources that its files name"),
        # A chronyd that does not answer is not asked.
        ("1 sources online\n506 Cannot talk to daemon\n", 1, "chronyd serves another certificate"),
    ],
)
def test_a_daemon_without_all_its_sources_restarts_once(host, tmp_path, shown, status, expected):
    options = sources_of(tmp_path, *TWO)
    asked = activity(host, shown, status)
    assert transaction._reload_reasons(asked, {}, options) == [expected]
    # A restart that did not help is not repeated.
    files.save(asked, transaction.LOADED, {transaction.SOURCES_LOADED: expected})
    assert transaction._reload_reasons(asked, {}, options) == ["chronyd serves another certificate"]


def test_unread_files_replace_a_reload_by_a_restart(host, tmp_path):
    asked, options = activity(host, ALL_OF_THEM), sources_of(tmp_path, *TWO)
    before = decision.Decision(["daemon-reload", "reload-sources", "rekey"], ["a changed"])
    found = transaction._add_restart(asked, before, [], {}, options)
    assert found == (["daemon-reload", "restart"], ["a changed", "chronyd serves another certificate"])
    logs = options._replace(log_dir="/var/log/chrony")
    found = transaction._add_restart(asked, decision.Decision([], []), ["/etc/chrony/nts", "/var/log/chrony"], {}, logs)
    reasons = ["chronyd could not read /etc/chrony/nts", "chronyd could not write to /var/log/chrony"]
    assert found == (["restart"], reasons)
    restarts = decision.Decision(["restart"], ["b changed"])
    assert transaction._add_restart(asked, restarts, [], {}, options) is restarts
    well = options._replace(idle_problems=list)
    assert transaction._add_restart(asked, before, [], {}, well) is before


def test_what_was_remembered_at_the_first_change_is_returned(host):
    assert transaction.remembered(host) == {}
    originals.remember(host, {"installed": False})
    originals.remember(host, {"installed": True})
    assert transaction.remembered(host) == {"installed": False}


@pytest.fixture
def installed_chronyd(monkeypatch):
    """Let chronyd be installed where the function looks for it; nothing runs it."""
    monkeypatch.setattr(transaction, "find_chronyd", lambda: "/usr/sbin/chronyd")


def test_folders_that_chronyd_writes_to_are_made_for_its_user(host, installed_chronyd, tmp_path):
    labels, made = [], []
    host.label = lambda staged, path: labels.append((staged, path))
    (tmp_path / "there").mkdir()
    new = str(tmp_path / "srv/nts/dump")
    directives = {"dumpdir": [[new]], "logdir": [[str(tmp_path / "there")]], "user": [[user_name(os.getuid())]]}
    options = settings.Options("/chrony.conf", "chrony.service", daemon_options=())
    transaction._make_written_folders(host, directives, options, made)
    assert made == [str(tmp_path / "srv"), str(tmp_path / "srv/nts"), new]
    assert labels == [(new, new)]
    found = os.stat(new)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.getuid(), 0o750)
    # Other programs may use the parents.
    assert stat.S_IMODE(os.stat(str(tmp_path / "srv")).st_mode) == 0o755


def test_a_user_that_the_host_lacks_ends_the_run_before_a_folder_is_made(host, installed_chronyd, tmp_path):
    made = []
    directives = {"dumpdir": [[str(tmp_path / "dump")]], "user": [["no-such-user"]]}
    options = settings.Options("/chrony.conf", "chrony.service", daemon_options=())
    with pytest.raises(TransactionError, match="would run as the user no-such-user, which this host does not have"):
        transaction._make_written_folders(host, directives, options, made)
    assert (made, os.listdir(str(tmp_path))) == ([], [])


def test_without_chronyd_no_folder_is_made(host, tmp_path, monkeypatch):
    monkeypatch.setattr(transaction, "find_chronyd", lambda: None)
    made = []
    options = settings.Options("/chrony.conf", "chrony.service", daemon_options=())
    transaction._make_written_folders(host, {"dumpdir": [[str(tmp_path / "dump")]]}, options, made)
    assert (made, os.listdir(str(tmp_path))) == ([], [])


@pytest.mark.parametrize(("plan", "stopped"), [({}, True), ({"lost": True}, False), ({"actions": ["stop"]}, False)])
def test_an_interrupted_restart_of_a_lost_chronyd_is_no_stop(host, plan, stopped):
    host.run = lambda _argv: CommandResult(0, "Id=chrony.service\nActiveState=inactive\n", "")
    found = undo._stopped_since(host, dict({"service": "chrony.service", "actions": ["restart"]}, **plan))
    assert found is stopped
