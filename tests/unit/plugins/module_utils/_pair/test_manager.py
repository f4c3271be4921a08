# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Status, decisions and rollback of nts-certificate; extensions/molecule/certificate tests it on hosts.

Long: one file for one program, whose tests share the pair's settings and a fake chronyd.
"""

import json
import os
import signal
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import lost_trust, transaction, unit
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    FileSpec,
    System,
    group_name,
    stage,
    user_name,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.signals import rollback_on_signals
from ansible_collections.securetime.nts.plugins.module_utils._pair import manager
from ansible_collections.securetime.nts.plugins.module_utils._pair.manager import (
    CertificateError,
    CertificateManager,
    Settings,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.running import LOST, RunningOnly
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of

SETTINGS = {
    "id": "server",
    "names": ["nts1.example.org", "2001:db8::1"],
    "certificate": "/etc/chrony/nts/server.pem",
    "key": "/etc/chrony/nts/server.key",
    "group": "_chrony",
    "config_file": "/etc/chrony/chrony.conf",
    "service": "chrony.service",
    "provider": "ownca",
}
LEAF = {
    "serial": "AB",
    "fingerprint_sha256": "00ab",
    "subject_alt_names": ["DNS:NTS1.example.org", "IP Address:2001:DB8:0:0:0:0:0:1"],
    "not_before": "2026-11-23T00:00:00Z",
    "not_after": "2027-02-21T00:00:00Z",
    "key_type": "ECDSA P-256",
}
SERVED = {"ok": True, "error": None, "tls": {"certificates": [LEAF]}}
CLOSED = {"ok": False, "error": {"cause": "the server closed it", "remedy": "look at the key"}, "tls": None}
# chronyd serves another certificate than the file has, so the probe refuses the key exchange.
OTHER = {**CLOSED, "tls": {"certificates": [{**LEAF, "serial": "CD", "fingerprint_sha256": "00cd"}]}}


def problems(leaf, left=86400.0, probe=None, **settings):
    pair_manager = CertificateManager(Settings(**dict(SETTINGS, **settings)), None)
    return pair_manager.problems(leaf, left, probe or SERVED)


def test_a_pair_that_is_served_has_no_problems():
    assert problems(LEAF) == []


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("serves no NTS: the server closed it; look at the key.", {"probe": CLOSED}),
        ("another certificate (CD)", {"probe": OTHER}),
        ("has expired on 2027-02-21", {"left": -1.0}),
        ("is not for nts2.example.org.", {"names": ["nts1.example.org", "nts2.example.org"]}),
    ],
)
def test_each_problem_of_a_pair_is_reported(message, arguments):
    (problem,) = problems(LEAF, **arguments)
    assert message in problem


@pytest.mark.parametrize(("days", "number"), [(None, 0), (60.0, 0), (59.0, 1), (-1.0, 1)])
def test_an_issuing_ca_that_expires_soon_is_a_warning(days, number):
    assert len(CertificateManager.warnings(None if days is None else days * 86400)) == number


@pytest.mark.parametrize(
    ("status", "printed", "message"),
    [
        (0, "7F7F0101,,10,1795800000.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,16.0,Normal\n", ""),
        (0, "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n", "has not synchronised"),
        (1, "506 Cannot talk to daemon\n", "chronyd does not answer"),
    ],
)
def test_clock_problem_names_why_the_clock_must_not_date_a_certificate(status, printed, message):
    host = System(run=lambda _argv: CommandResult(status, printed, ""), label=lambda *_paths: None)
    problem = CertificateManager(Settings(**SETTINGS), host).clock_problem()
    assert (message in problem, bool(problem)) == (True, bool(message))


def test_lifetime_is_from_the_first_to_the_last_second():
    assert CertificateManager.lifetime(LEAF) == 90 * 86400


@pytest.mark.parametrize(
    ("fraction", "days_left", "is_due"),
    [(1 / 3, 30.0, True), (1 / 3, 30.01, False), (1 / 3, -1.0, True), (0.5, 44.9, True), (0.1, 9.1, False)],
)
def test_a_certificate_is_due_when_a_fraction_of_its_lifetime_is_left(fraction, days_left, is_due):
    pair_manager = CertificateManager(Settings(**dict(SETTINGS, renew_fraction=fraction)), None)
    assert pair_manager.is_due(LEAF, days_left * 86400) == is_due


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "cannot be read"),
        ('{"pairs": [{}]}', "missing"),
        ("{}", "pairs"),
        ("[]", "cannot"),
    ],
)
def test_unreadable_settings_are_a_usage_error(text, message, tmp_path):
    path = tmp_path / "certificate.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CertificateError, match=message) as caught:
        manager.read_settings(str(path))
    assert caught.value.status == 2


def test_settings_are_read_with_their_defaults(tmp_path):
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps({"pairs": [SETTINGS]}))
    (found,) = manager.read_settings(str(path))
    assert (found.names, found.renew_fraction) == (SETTINGS["names"], 1 / 3)


class Arguments:
    """A parsed command line."""

    def __init__(self, command, pair=None, lineage=None):
        self.command, self.pair, self.lineage = command, pair, lineage


MANAGERS = [
    CertificateManager(
        Settings(**dict(SETTINGS, id=name, staged_key=f"/etc/letsencrypt/live/{name}/privkey.pem")), None
    )
    for name in ("server", "server-2", "other")
]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (Arguments("renew"), ["server", "server-2", "other"]),
        (Arguments("renew", pair="other"), ["other"]),
        (Arguments("deploy"), ["server"]),
        (Arguments("deploy", pair="other"), ["other"]),
        (Arguments("deploy", lineage="/etc/letsencrypt/live/server"), ["server"]),
        (Arguments("deploy", lineage="/etc/letsencrypt/live/server-2/"), ["server-2"]),
        # certbot calls its hook for every certificate of the host.
        (Arguments("deploy", lineage="/etc/letsencrypt/live/www"), []),
    ],
)
def test_a_command_selects_the_pairs_that_its_arguments_name(arguments, ids):
    assert [pair_manager.settings.id for pair_manager in manager.select(arguments, MANAGERS)] == ids


def test_an_unknown_pair_is_a_usage_error_that_lists_the_pairs():
    with pytest.raises(CertificateError, match="no pair new, only server, server-2, other") as caught:
        manager.select(Arguments("renew", pair="new"), MANAGERS)
    assert caught.value.status == 2


@pytest.mark.parametrize("arguments", [["status", "--json"], ["status"], ["check"], ["renew"], ["rollback"]])
def test_a_missing_certificate_file_is_an_error_without_traceback(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(manager.transaction, "recover_alone", lambda *_arguments: False)
    monkeypatch.setattr(CertificateManager, "out_of_service", lambda _self: "")
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps({"pairs": [dict(SETTINGS, id="none", certificate=str(tmp_path / "none.pem"))]}))
    assert manager.main(["--settings", str(path), *arguments]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


SHOWN = {"ActiveState": "active", "UnitFileState": "enabled"}
CERTIFICATE_LINE = f"ntsservercert {SETTINGS['certificate']}\n"


@pytest.mark.parametrize(
    ("shown", "text", "reason"),
    [
        ({}, CERTIFICATE_LINE, ""),
        ({}, "ntsservercert /other.pem\n", "has no line `ntsservercert /etc/chrony/nts/server.pem`"),
        ({"ActiveState": "inactive"}, CERTIFICATE_LINE, "chrony.service is inactive"),
        ({"ActiveState": "failed"}, CERTIFICATE_LINE, "chrony.service is failed"),
        ({"UnitFileState": "disabled"}, CERTIFICATE_LINE, "chrony.service is disabled"),
        ({"UnitFileState": "masked-runtime"}, CERTIFICATE_LINE, "chrony.service is masked-runtime"),
    ],
)
def test_out_of_service_names_the_state_of_the_unit_or_the_missing_line(shown, text, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(manager, "effective_directives", lambda _host, path: words_of((tmp_path / path).read_text()))
    (tmp_path / "chrony.conf").write_text(text)
    printed = "".join(f"{name}={value}\n" for name, value in dict(SHOWN, **shown).items())
    host = System(run=lambda _argv: CommandResult(0, printed, ""), label=lambda *_paths: None)
    found = CertificateManager(Settings(**dict(SETTINGS, config_file="chrony.conf")), host).out_of_service()
    assert (reason in found, bool(found)) == (True, bool(reason))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, ""),
        ({"issuing_key": __file__}, ""),
        ({"issuing_key": "/none"}, "/none, which signs new certificates, cannot be read"),
        ({"command": ["sh", "-c", "true"]}, ""),
        ({"command": ["no-such-client"]}, "no-such-client, which gets new certificates, is not installed"),
    ],
)
def test_obstacle_names_what_prevents_the_next_renewal(settings, reason, monkeypatch):
    monkeypatch.setattr(manager, "HAS_CRYPTOGRAPHY", True)
    found = CertificateManager(Settings(**dict(SETTINGS, **settings)), None).obstacle()
    assert (reason in found, bool(found)) == (True, bool(reason))
    monkeypatch.setattr(manager, "HAS_CRYPTOGRAPHY", False)
    found = CertificateManager(Settings(**dict(SETTINGS, **settings)), None).obstacle()
    assert ("cryptography must be installed" in found) == ("issuing_key" in settings)


def test_the_worst_exit_status_of_several_pairs_is_returned(monkeypatch):
    codes = iter([0, 4, 3, 1, 0])
    monkeypatch.setattr(manager, "run_for_pair", lambda _keeper, _arguments: next(codes))
    assert manager.run_for_all(MANAGERS + MANAGERS[:2], Arguments("renew"), []) == 3


def test_a_signal_ends_the_program_before_the_next_pair(monkeypatch, capsys):
    done, recovered = [], []

    def run_for_pair(pair_manager, _arguments):
        done.append(pair_manager.settings.id)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal raises no error")

    monkeypatch.setattr(manager, "run_for_pair", run_for_pair)
    monkeypatch.setattr(manager.transaction, "recover_alone", lambda _host, options: recovered.append(options))
    with rollback_on_signals() as received:
        assert manager.run_for_all(MANAGERS, Arguments("renew"), received) == 5
        # The second signal interrupts no rollback.
        os.kill(os.getpid(), signal.SIGTERM)
    assert (done, len(recovered), recovered[0].lock_timeout) == (["server"], 1, 0.0)
    assert "server: SIGTERM ended the program." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "printed"), [(True, "An interrupted change of chronyd's files was undone.\n"), (False, "")]
)
def test_recover_undoes_an_interrupted_change_once_whatever_state_chronyd_is_in(
    found, printed, tmp_path, capsys, monkeypatch
):
    recovered = []
    monkeypatch.setattr(manager.transaction, "recover_alone", lambda *_arguments: recovered.append(1) or found)
    monkeypatch.setattr(CertificateManager, "out_of_service", lambda _self: pytest.fail("chronyd was judged"))
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps({"pairs": [SETTINGS, dict(SETTINGS, id="server-2")]}))
    assert manager.main(["--settings", str(path), "recover"]) == 0
    assert (recovered, capsys.readouterr().out) == ([1], printed)


def test_recover_reports_why_it_fails(tmp_path, capsys, monkeypatch):
    def refuse(*_arguments):
        raise manager.TransactionError("/etc/default is not writable")

    monkeypatch.setattr(manager.transaction, "recover_alone", refuse)
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps({"pairs": [dict(SETTINGS, certificate=str(tmp_path / "none.pem"))]}))
    assert manager.main(["--settings", str(path), "recover"]) != 0
    assert "recover: server: /etc/default is not writable" in capsys.readouterr().err


def test_the_unit_recovers_outside_of_its_sandbox_before_it_renews():
    unit = Path(__file__).resolve().parents[5] / "roles/chrony_nts/templates/nts-certificate.service.j2"
    lines = unit.read_text(encoding="utf-8").splitlines()
    recover = lines.index("ExecStartPre=-+/usr/local/sbin/nts-certificate recover")
    assert recover < lines.index("ExecStart=/usr/local/sbin/nts-certificate renew")


def test_a_failure_to_store_the_previous_pair_is_a_warning(tmp_path, capsys, monkeypatch):
    """A full disk after the deployment of the first pair does not prevent that of the second one."""
    pem = tmp_path / "server.pem"
    pem.write_text("old")
    managers = [
        CertificateManager(
            Settings(**dict(SETTINGS, id=name, certificate=str(pem), key=str(pem))),
            System(
                run=lambda _argv: CommandResult(0, "", ""), label=lambda *_paths: None, state=str(tmp_path / "state")
            ),
        )
        for name in ("server", "server-2")
    ]
    done = {"changed": True, "changed_files": [str(pem)], "actions": ["restart"], "warnings": ["a file is left"]}

    def write(path, *_arguments):
        if path.endswith(f".previous.key{manager.files.NEW}"):
            raise OSError(28, "No space left on device")
        with open(path, "w") as file:
            file.write("kept")

    monkeypatch.setattr(manager, "describe_all", lambda _text: [LEAF])
    monkeypatch.setattr(manager.transaction, "apply_read", lambda *_arguments: dict(done))
    monkeypatch.setattr(manager.files, "write", write)
    monkeypatch.setattr(CertificateManager, "begin", lambda _self: None)
    monkeypatch.setattr(CertificateManager, "status", lambda _self: {"warnings": []})
    monkeypatch.setattr(CertificateManager, "renew", lambda self, _force: self.deploy(PEM, "new"))
    arguments = Arguments("renew")
    arguments.force = False
    assert manager.run_for_all(managers, arguments, []) == 0
    shown = capsys.readouterr()
    assert shown.out.count("chronyd now serves the certificate AB") == 2
    assert shown.err.count("The previous pair could not be kept in") == 2
    assert shown.err.count("a file is left") == 2
    assert os.listdir(str(tmp_path / "state")) == []


PEM = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n"


def staged_by_others(tmp_path, certificate):
    """Return the manager of a pair that another program has staged in a folder."""
    (tmp_path / "cert.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(KEY)
    paths = {"staged_certificate": [str(tmp_path / "cert.pem")], "staged_key": str(tmp_path / "key.pem")}
    return CertificateManager(Settings(**dict(SETTINGS, provider="host_path", **paths)), None)


def test_of_a_staged_certificate_only_the_certificates_are_used(tmp_path):
    assert staged_by_others(tmp_path, f"Subject: nts1\n{PEM}").staged() == (PEM, KEY)


@pytest.mark.parametrize(("text", "reason"), [(PEM + KEY, "holds a private key"), ("root:x", "holds no certificate")])
def test_a_staged_file_without_certificates_or_with_a_key_is_refused(text, reason, tmp_path):
    with pytest.raises(CertificateError, match=rf"cert\.pem {reason}"):
        staged_by_others(tmp_path, text).staged()


def test_a_staged_fifo_does_not_hang_the_renewal(tmp_path):
    pair_manager = staged_by_others(tmp_path, PEM)
    (tmp_path / "key.pem").unlink()
    os.mkfifo(str(tmp_path / "key.pem"))
    with pytest.raises(CertificateError, match=r"key\.pem is not a regular file"):
        pair_manager.staged()


def test_a_private_key_is_never_deployed_as_a_certificate(tmp_path, monkeypatch):
    monkeypatch.setattr(manager.transaction, "apply_read", lambda *_arguments: pytest.fail("the key is staged"))
    with pytest.raises(CertificateError, match="The new certificate holds a private key"):
        CertificateManager(Settings(**SETTINGS), None).deploy(PEM + KEY, KEY)


@pytest.mark.parametrize(
    ("served", "serves_nts", "rereads"),
    [(LEAF, True, False), (OTHER["tls"]["certificates"][0], True, True), (LEAF, False, True), (None, False, True)],
)
def test_a_repair_restarts_a_chronyd_that_serves_nothing_or_another_certificate(
    served, serves_nts, rereads, monkeypatch
):
    asked = []
    monkeypatch.setattr(manager, "_text", lambda path: path)
    monkeypatch.setattr(manager.transaction, "read_again", lambda _host, _options, paths: asked.append(paths))
    monkeypatch.setattr(CertificateManager, "deploy", lambda _self, *pair: {"actions": pair})
    monkeypatch.setattr(CertificateManager, "status", lambda _self: {"problems": []})
    status = {"file": LEAF, "served": served, "serves_nts": serves_nts}
    pair = (SETTINGS["certificate"], SETTINGS["key"])
    assert CertificateManager(Settings(**SETTINGS), None).repair(status) == {"actions": pair}
    assert asked == ([list(pair)] if rereads else [])


class Chronyd:
    """A host with a unit of chronyd, which `stop_at` stops when a program runs for the first time."""

    def __init__(self, state, stop_at=None, fails=False):
        self.active, self.enabled, self.stop_at, self.fails = "active", "enabled", stop_at, fails
        self.done = []
        self.system = System(self.run, lambda *_paths: None, str(state))

    def run(self, argv):
        if argv[0].endswith("chronyd"):
            return CommandResult(0, "chronyd (chrony) version 4.8 (+NTS)", "")
        if argv[0] != "systemctl":
            return CommandResult(0, "cursor: x", "")
        if argv[1] == self.stop_at:
            self.active, self.stop_at = "inactive", None
        if argv[1] in ("restart", "try-restart", "start") and (argv[1] != "try-restart" or self.active == "active"):
            self.active, self.fails = "failed" if self.fails else "active", False
            self.done.append(argv[1])
        if argv[1] == "reset-failed":
            self.active = self.active.replace("failed", "inactive")
        if argv[1] == "enable":
            self.done.append(argv[1])
        shown = f"LoadState=loaded\nActiveState={self.active}\nUnitFileState={self.enabled}\nMainPID=1\n"
        return CommandResult(0, shown, "")


@pytest.fixture
def deploy_pair(tmp_path, monkeypatch):
    """Return a function that deploys a pair on a host, and returns the exit status and the message."""
    me = user_name(os.getuid()), group_name(os.getgid())
    config, paths = tmp_path / "chrony.conf", [str(tmp_path / name) for name in ("server.pem", "server.key")]
    config.write_text(f"ntsservercert {paths[0]}\n")
    for path in paths:
        with open(path, "w") as file:
            file.write("old")
    monkeypatch.setattr(manager, "FileSpec", lambda path, text, _owner, _group, mode: FileSpec(path, text, *me, mode))
    monkeypatch.setattr(manager, "describe_all", lambda _text: [LEAF])
    monkeypatch.setattr(manager, "assert_served", lambda *_arguments: None)
    monkeypatch.setattr(transaction, "_stage_and_check", staged_only)
    monkeypatch.setattr(CertificateManager, "failure_status", lambda _self: 3)
    monkeypatch.setattr(CertificateManager, "store_previous", lambda _self, _pair: [])
    options = CertificateManager.options
    monkeypatch.setattr(
        CertificateManager,
        "options",
        lambda self, text: options(self, text)._replace(settle_time=0.0, start_timeout=1.0),
    )

    def deploy(chronyd):
        places = dict(SETTINGS, config_file=str(config), certificate=paths[0], key=paths[1])
        try:
            CertificateManager(Settings(**places), chronyd.system).deploy(PEM, KEY)
        except CertificateError as error:
            with open(paths[0]) as file:
                assert file.read() == "old"
            return error.status, str(error)
        return 0, ""

    return deploy


def staged_only(host, changes, _before, _options, _sandbox):
    """Stage files without a chronyd that checks them."""
    for item in changes:
        stage(host, item)
    return transaction.Staged(False, lost_trust.NOTHING_LOST, [], {})


def test_a_deployment_restarts_a_chronyd_that_runs(deploy_pair, tmp_path):
    chronyd = Chronyd(tmp_path / "state")
    assert (deploy_pair(chronyd), chronyd.done) == ((0, ""), ["try-restart"])


@pytest.mark.parametrize("stop_at", ["show", "reset-failed", "try-restart"])
def test_a_deployment_starts_no_chronyd_that_was_stopped_meanwhile(stop_at, deploy_pair, tmp_path):
    chronyd = Chronyd(tmp_path / "state", stop_at)
    status, text = deploy_pair(chronyd)
    assert (status, chronyd.done, chronyd.active) == (4, [], "inactive"), text
    assert "nts-certificate does not start it" in text


def test_a_chronyd_that_systemd_has_lost_is_neither_ended_nor_started(monkeypatch):
    done = []

    def run(argv):
        done.append(argv[:2])
        return CommandResult(0, "Id=chrony.service\nActiveState=inactive\nUnitFileState=enabled\n", "")

    host = System(run=run, label=lambda *_paths: None)
    monkeypatch.setattr(unit, "find_daemon", lambda *_pid, **_all: 17)
    monkeypatch.setattr(unit, "unit_of", lambda _pid: "chrony.service")
    assert CertificateManager(Settings(**SETTINGS), host).out_of_service() == LOST
    guard = RunningOnly(host, "chrony.service")
    guard.is_on = True
    with pytest.raises(transaction.TransactionError, match=r"lost chronyd \(process 17\).*run the playbook"):
        unit.Unit(guard.system, "chrony.service").restart()
    assert guard.refused == LOST
    assert ["systemctl", "restart"] not in done


def test_a_deployment_enables_no_chronyd_that_was_disabled_meanwhile(deploy_pair, tmp_path, monkeypatch):
    chronyd = Chronyd(tmp_path / "state")
    chronyd.enabled = "disabled"
    monkeypatch.setattr(CertificateManager, "out_of_service", lambda _self: "")
    status, text = deploy_pair(chronyd)
    assert (status, "does not enable it" in text) == (4, True)
    assert "enable" not in chronyd.done


def test_a_rollback_starts_a_chronyd_that_the_new_pair_made_fail(deploy_pair, tmp_path):
    chronyd = Chronyd(tmp_path / "state", fails=True)
    status, text = deploy_pair(chronyd)
    assert (status, chronyd.done, chronyd.active) == (3, ["try-restart", "restart"], "active"), text


def test_a_server_with_its_own_ca_updates_its_staged_copies(monkeypatch):
    """The next run of Ansible compares them with the pair. What did not change is probed, too."""
    wanted, probed = [], []
    done = {"changed": False, "changed_files": [], "actions": [], "warnings": ["a file is left"]}
    monkeypatch.setattr(manager, "describe_all", lambda _text: [LEAF])
    monkeypatch.setattr(
        manager.transaction, "apply_read", lambda _host, specs, _options: wanted.extend(specs()) or done
    )
    monkeypatch.setattr(CertificateManager, "assert_in_service", lambda _self: None)
    monkeypatch.setattr(CertificateManager, "assert_served", lambda _self, text: probed.append(text) or ["denied"])
    places = {"issuing_key": "/issuing.key", "staged_certificate": ["/leaf.pem", "/issuing.pem"], "staged_key": "/k"}
    pair_manager = CertificateManager(Settings(**dict(SETTINGS, **places)), System(None, None))
    chain = PEM + PEM.replace("AA", "BB")
    found = pair_manager.deploy(chain, KEY)
    assert wanted == [
        FileSpec("/etc/chrony/nts/server.key", KEY, "root", "_chrony", 0o640),
        FileSpec("/etc/chrony/nts/server.pem", chain, "root", "root", 0o644),
        FileSpec("/leaf.pem", PEM, "root", "root", 0o644, "nothing"),
        FileSpec("/k", KEY, "root", "root", 0o600, "nothing"),
    ]
    assert (probed, found["warnings"], found["changed"]) == ([chain], ["a file is left", "denied"], False)
