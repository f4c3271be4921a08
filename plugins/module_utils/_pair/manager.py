# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The program nts-certificate manages an NTS server's pair of certificate and key.

Every new pair passes through deploy(), whatever its origin. deploy() checks the pair as chronyd will read it, swaps
both files in one transaction, and restarts chronyd, which reads a pair only at its start. A key exchange then shows
which certificate chronyd serves. If that is not the new one, deploy() rolls back to the old pair.

The program neither starts, restarts nor enables a unit that an administrator has stopped or disabled, but for one case:
recover() restarts a running chronyd, even of a disabled unit, because only then chronyd reads the restored files.

Long: status, renewal, repair and rollback of a pair share one class, of which the command line is a thin layer.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files, transaction
from ansible_collections.securetime.nts.plugins.module_utils._change.config_check import effective_directives
from ansible_collections.securetime.nts.plugins.module_utils._change.decision import ENABLED
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    FileSpec,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._change.signals import rollback_on_signals
from ansible_collections.securetime.nts.plugins.module_utils._change.unit import LOST_PID, Unit
from ansible_collections.securetime.nts.plugins.module_utils._pair.foreign import (
    ForeignFileError,
    certificates_of,
    read_text,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.running import LOST, RunningOnly
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import (
    Server,
    assert_served,
    certificate_of,
    is_another,
    probe_chronyd,
    server_of,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import TRACKING, parse
from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import SETTINGS
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import (
    CERTIFICATE,
    DerError,
    carries,
    describe,
    pem_to_der,
    seconds_left,
)
from ansible_collections.securetime.nts.plugins.module_utils._x509.issue import issue_leaf
from ansible_collections.securetime.nts.plugins.module_utils._x509.request import (
    HAS_CRYPTOGRAPHY,
    UNREADABLE,
    leaf_request,
    new_key,
)

Row = Dict[str, Any]

# Suffixes of the previous pair's files, after the pair's ID, in the state folder of the transactions.
PREVIOUS = (".previous.pem", ".previous.key")
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_SERVING, EXIT_LEFT_ALONE, EXIT_STOPPED = range(6)
# Exit statuses by severity. The program returns the worst one of its pairs.
SEVERITY = (EXIT_OK, EXIT_LEFT_ALONE, EXIT_FAILED, EXIT_NOT_SERVING, EXIT_STOPPED, EXIT_USAGE)
# Only the operator who holds the root CA's key can renew an issuing CA, so the warning comes early.
ISSUER_WARNING_DAYS = 60.0
# The unit of the program has no time limit, so an ACME client that hangs needs one.
ACME_CLIENT_MINUTES = 30
TRANSITIONS = ("activating", "deactivating", "reloading")


class Settings(NamedTuple):
    """The settings of one pair, which the role writes."""

    id: str
    names: List[str]
    certificate: str
    key: str
    group: str
    config_file: str
    service: str
    provider: str
    lifetime_days: float = 90.0
    # A renewal is due when this fraction of the lifetime is left.
    renew_fraction: float = 1 / 3
    key_type: str = "ECDSA P-256"
    new_key: bool = False
    # The staged files of a new pair, which its provider writes: the files of the chain, and the key.
    staged_certificate: Sequence[str] = ()
    staged_key: str = ""
    # The key of the server's own issuing CA, whose certificate ends the chain.
    issuing_key: str = ""
    # The command line of the ACME client that makes a new pair in the staged files; empty for other providers.
    command: Sequence[str] = ()


class CertificateError(Exception):
    """An operation on a pair failed; status is the exit status of the program."""

    def __init__(self, message: str, status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.status = status


def read_settings(path: str) -> List[Settings]:
    """Return the settings of every pair in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            return [Settings(**pair) for pair in json.load(file)["pairs"]]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CertificateError(f"The settings {path} cannot be read: {error}.", EXIT_USAGE) from None


class CertificateManager:
    """Manage one pair of the server: report its status, renew, deploy and roll back."""

    def __init__(self, settings: Settings, host: System) -> None:
        self.settings = settings
        self.host = host

    # --- Status ---

    def chain(self) -> List[Row]:
        """Describe the certificates in the file, the server's certificate first."""
        return describe_all(_text(self.settings.certificate))

    @property
    def server(self) -> Server:
        """Return chronyd on this host, with its current configuration."""
        return server_of(self.host, self.settings.config_file, self.settings.service)

    def served(self) -> Row:
        """Probe chronyd on this host by a key exchange and an NTP request; return the row of the probe."""
        return probe_chronyd(self.server, self.settings.names[0], _text(self.settings.certificate))

    def assert_served(self, certificate: str) -> List[str]:
        """Raise TransactionError unless chronyd serves this certificate; return warnings."""
        return assert_served(self.server, self.settings.names, certificate)

    def status(self) -> Row:
        """Return the state of the pair, with problems and warnings in sentences."""
        settings = self.settings
        now = time.time()
        chain = self.chain()
        leaf = chain[0]
        left = seconds_left(leaf, now)
        probe = self.served()
        served = certificate_of(probe)
        issuer_left = min((seconds_left(issuer, now) for issuer in chain[1:]), default=None)
        return {
            "id": settings.id,
            "provider": settings.provider,
            "names": settings.names,
            "file": leaf,
            "served": served,
            # A probe that refuses another certificate than the file's still proves that chronyd serves NTS.
            "serves_nts": probe["ok"] or is_another(probe, leaf),
            "probe_error": probe["error"],
            "remaining_days": left / 86400,
            "lifetime_days": self.lifetime(leaf) / 86400,
            "due": self.is_due(leaf, left),
            "issuer_remaining_days": None if issuer_left is None else issuer_left / 86400,
            "problems": self.problems(leaf, left, probe),
            "warnings": [
                *self.warnings(issuer_left),
                *filter(None, [self.out_of_service(), self.obstacle()]),
                *probe["notes"],
            ],
        }

    def is_due(self, leaf: Row, left: float) -> bool:
        """Return whether a certificate that is valid for `left` more seconds is due for renewal."""
        return left <= self.lifetime(leaf) * self.settings.renew_fraction

    @staticmethod
    def lifetime(leaf: Row) -> float:
        """Return the lifetime of a certificate in seconds."""
        return seconds_left(leaf, 0) - seconds_left(dict(leaf, not_after=leaf["not_before"]), 0)

    def problems(self, leaf: Row, left: float, probe: Row) -> List[str]:
        """Return the problems of the pair in sentences, the worst first."""
        found = []
        if is_another(probe, leaf):
            serial = (certificate_of(probe) or {})["serial"]
            found.append(
                f"chronyd serves another certificate ({serial}) than the file has ({leaf['serial']}): restart it."
            )
        elif not probe["ok"]:
            error = probe["error"]
            found.append(f"chronyd serves no NTS: {error['cause']}; {error['remedy']}.")
        if left < 0:
            found.append(f"The certificate has expired on {leaf['not_after']}.")
        if left > self.lifetime(leaf):
            # This host's clock was ahead when it made the certificate.
            found.append(f"The certificate is not valid before {leaf['not_before']}.")
        missing = self.missing(leaf)
        if missing:
            found.append(f"The certificate is not for {', '.join(missing)}.")
        return found

    def missing(self, leaf: Row) -> List[str]:
        """Return the names in the settings that a certificate lacks."""
        carried = [text.partition(":")[2] for text in leaf["subject_alt_names"]]
        return [name for name in self.settings.names if not carries(carried, name)]

    @staticmethod
    def warnings(issuer_left: Optional[float]) -> List[str]:
        """Return a warning where the issuing CA expires soon; issuer_left is in seconds."""
        if issuer_left is None or issuer_left >= ISSUER_WARNING_DAYS * 86400:
            return []
        days = issuer_left / 86400
        what = f"The CA that issues this server's certificates ends in {days:.0f} days, and with it every certificate"
        return [f"{what}: run the playbook securetime.nts.site where the root CA's key is."]

    def out_of_service(self) -> str:
        """Return why an administrator has taken chronyd or this pair out of service; empty where both are in service.

        Wait, up to start_timeout, while the unit changes its state or systemd has a job for it.
        """
        settings = self.settings
        unit = Unit(self.host, settings.service)
        deadline = time.monotonic() + self.options("").start_timeout
        state = unit.show()
        while (state.get("ActiveState") in TRANSITIONS or self.has_job(unit)) and time.monotonic() < deadline:
            time.sleep(0.2)
            state = unit.show()
        active, enabled = (state.get(name) or "not found" for name in ("ActiveState", "UnitFileState"))
        if LOST_PID in state:
            return LOST
        if active != "active":
            return f"{unit.name} is {active}, and nts-certificate does not start it: systemctl start {unit.name}."
        if enabled not in ENABLED:
            return f"{unit.name} is {enabled}, and nts-certificate does not restart it: systemctl enable {unit.name}."
        served = effective_directives(self.host, settings.config_file).get("ntsservercert", [])
        if [settings.certificate] not in served:
            return (
                f"{settings.config_file} has no line `ntsservercert {settings.certificate}`, and nts-certificate does"
                " not restart chronyd for this pair: run the playbook securetime.nts.site."
            )
        return ""

    def has_job(self, unit: Unit) -> bool:
        """Return whether systemd has queued a job for a unit, as it does while the host boots."""
        job = self.host.run(["systemctl", "show", "--value", "--property=Job", unit.name]).stdout.strip()
        return job.isdigit() and job != "0"

    def obstacle(self) -> str:
        """Return what prevents this host from making the next certificate; empty where nothing does."""
        settings = self.settings
        if settings.issuing_key and not HAS_CRYPTOGRAPHY:
            return f"To make a new certificate, Python's cryptography must be installed for {sys.executable}."
        if settings.issuing_key and not os.access(settings.issuing_key, os.R_OK):
            return f"{settings.issuing_key}, which signs new certificates, cannot be read: run securetime.nts.site."
        if settings.command and not shutil.which(settings.command[0], path=PATH):
            return f"{settings.command[0]}, which gets new certificates, is not installed: run securetime.nts.site."
        return ""

    # --- Changes ---

    def recover(self) -> bool:
        """Undo an interrupted change; return whether there was one. Raise CertificateError where that fails."""
        return bool(self.run_locked(lambda options: transaction.recover_alone(self.host, options)))

    def begin(self) -> None:
        """Undo an interrupted change; raise CertificateError where chronyd or the pair is out of service."""
        self.recover()
        self.assert_in_service()

    def assert_in_service(self) -> None:
        """Raise CertificateError where an administrator has taken chronyd or the pair out of service."""
        reason = self.out_of_service()
        if reason:
            raise CertificateError(reason, EXIT_LEFT_ALONE)

    def deploy(self, certificate: str, key: str) -> Row:
        """Deploy a new pair in one transaction, or roll back to the old pair and raise CertificateError."""
        settings = self.settings
        _certificates(certificate, "The new certificate")
        new = describe_all(certificate)[0]
        before = [files.read(path) for path in (settings.certificate, settings.key)]
        wanted = [
            FileSpec(settings.key, key, "root", settings.group, 0o640),
            FileSpec(settings.certificate, certificate, "root", "root", 0o644),
        ]
        if settings.issuing_key:
            # Also update the staged copies, or the next Ansible run would see a change.
            leaf = CERTIFICATE.findall(certificate)[0] + "\n"
            wanted.append(FileSpec(settings.staged_certificate[0], leaf, "root", "root", 0o644, "nothing"))
            wanted.append(FileSpec(settings.staged_key, key, "root", "root", 0o600, "nothing"))
        running = RunningOnly(self.host, settings.service)

        def specs() -> List[FileSpec]:
            # An ACME client or a wait for the lock can have taken minutes since begin().
            self.assert_in_service()
            running.is_on = True
            return wanted

        try:
            done = transaction.apply_read(running.system, specs, self.options(certificate))
            if not done["actions"]:
                done["warnings"] += self.assert_served(certificate)
        except TransactionError as error:
            status = EXIT_LEFT_ALONE if running.refused else self.failure_status()
            raise CertificateError(str(error), status) from None
        warnings = done["warnings"] + (
            self.store_previous(before) if settings.certificate in done["changed_files"] else []
        )
        return {"changed": done["changed"], "served": new, "actions": done["actions"], "warnings": warnings}

    def options(self, certificate: str) -> Options:
        """Return the options of the transaction that deploys a pair."""
        settings = self.settings
        return Options(
            config_file=settings.config_file,
            service=settings.service,
            names={settings.certificate: settings.names},
            verify=lambda: self.assert_served(certificate),
            originals=False,
        )

    def failure_status(self) -> int:
        """Return the exit status of a failure, a worse one where chronyd no longer serves NTS."""
        with contextlib.suppress(CertificateError, OSError, DerError, IndexError):
            return EXIT_FAILED if self.status()["serves_nts"] else EXIT_NOT_SERVING
        return EXIT_NOT_SERVING

    def store_previous(self, pair: Sequence[Optional[files.FileState]]) -> List[str]:
        """Store the pair that the new one replaced, for rollback(); return a warning where that fails."""
        targets = [(existing, self.previous(name)) for existing, name in zip(pair, PREVIOUS) if existing is not None]
        try:
            os.makedirs(self.host.state, mode=0o700, exist_ok=True)
            # Write both files before the first rename: a full disk then leaves the stored pair complete.
            for existing, target in targets:
                files.write(target + files.NEW, existing.content, 0o600, 0, 0)
            for _existing, target in targets:
                os.replace(target + files.NEW, target)
        except OSError as problem:
            for _existing, target in targets:
                with contextlib.suppress(OSError):
                    files.remove(target + files.NEW)
            warning = (
                f"The previous pair could not be kept in {self.host.state} ({problem.strerror}), and nts-certificate"
                " rollback cannot bring it back: remove the cause before the next renewal."
            )
            return [warning]
        return []

    def previous(self, name: str) -> str:
        """Return the path of a file of the previous pair, by its suffix in PREVIOUS."""
        return os.path.join(self.host.state, self.settings.id + name)

    def rollback(self) -> Row:
        """Deploy the previous pair."""
        certificate, key = (_text(self.previous(name)) for name in PREVIOUS)
        return self.deploy(certificate, key)

    def staged(self) -> Tuple[str, str]:
        """Return the staged pair, chain and key, as its issuer left it on this host; raise CertificateError."""
        try:
            chain = "".join(_certificates(read_text(path), path) for path in self.settings.staged_certificate)
            return chain, read_text(self.settings.staged_key)
        except ForeignFileError as error:
            raise CertificateError(str(error)) from None

    def renew(self, force: bool = False) -> Row:
        """Make and deploy a new pair where a renewal is due; otherwise repair a pair that chronyd does not serve."""
        settings = self.settings
        is_renewed_externally = settings.command or settings.provider == "host_path"
        if is_renewed_externally and self.staged()[0] != _text(settings.certificate):
            # Another program has renewed the pair, and its hook has not deployed it.
            return self.deploy(*self.staged())
        status = self.status()
        must_renew = force or status["due"] or self.needs_replacement(status)
        if not must_renew:
            if not status["problems"]:
                obstacle = self.obstacle()
                if obstacle:
                    # Report the obstacle now, while there is still time until the renewal.
                    raise CertificateError(obstacle)
                # Where this host may not probe chronyd, the file stands for the served certificate.
                return {"changed": False, "served": status["served"] or status["file"], "actions": []}
            try:
                return self.repair(status)
            except CertificateError:
                if not (settings.command or settings.issuing_key):
                    raise
        problem = "" if force else self.clock_problem()
        if problem:
            raise CertificateError(
                f"The certificate was not renewed by this host's clock, {problem}: clients could refuse its dates."
                " nts-certificate tries again later; --force renews it now.",
                EXIT_FAILED if status["serves_nts"] else EXIT_NOT_SERVING,
            )
        return self.make(status)

    def make(self, status: Row) -> Row:
        """Make a new pair, by this host or its ACME client, and deploy it; raise CertificateError."""
        settings = self.settings
        if settings.command:
            self.run_acme_client(status)
            return self.deploy(*self.staged())
        if not settings.issuing_key:
            remedy = (
                "run the playbook securetime.nts.site where the controller gets one (chrony_nts_certificate_provider is"
                f" {settings.provider}), or bring one by nts-certificate deploy"
            )
            if settings.provider == "host_path":
                remedy = f"let the program that keeps {settings.staged_certificate[0]} renew it"
            raise CertificateError(
                f"The certificate has {status['remaining_days']:.1f} days left, and this host cannot make a new one by"
                f" itself: {remedy}.",
                EXIT_LEFT_ALONE if not status["problems"] else self.failure_status(),
            )
        if not HAS_CRYPTOGRAPHY:
            raise CertificateError(self.obstacle())
        key = new_key(settings.key_type) if settings.new_key else _text(settings.key)
        above = "".join(_certificates(_text(path), path) for path in settings.staged_certificate[1:])
        request = leaf_request(settings.names, settings.key_type)
        try:
            leaf = issue_leaf(request, key, above, _text(settings.issuing_key), settings.lifetime_days)
        except UNREADABLE as error:
            raise CertificateError(f"A new certificate could not be made: {error}.") from None
        return self.deploy(leaf + above, key)

    def run_locked(self, operation: Callable[[Options], Any]) -> Any:
        """Return the result of an operation, which takes the lock of the transactions; raise CertificateError.

        The lock can wait for a run of Ansible.
        """
        try:
            return operation(self.options(""))
        except TransactionError as error:
            raise CertificateError(str(error), self.failure_status()) from None

    def repair(self, status: Row) -> Row:
        """Deploy the pair that is in the files, for example after a manual swap or a loss of the key's permissions.

        Restart a chronyd that serves no NTS for another reason, such as a hang or a port in use. Also restart one that
        serves another certificate than the file's, even where the record of loaded files says that it has read it.
        """
        served = status["served"]
        serves_another = served is not None and served["fingerprint_sha256"] != status["file"]["fingerprint_sha256"]
        if serves_another or not status["serves_nts"]:
            pair = [self.settings.certificate, self.settings.key]
            self.run_locked(lambda options: transaction.read_again(self.host, options, pair))
        done = self.deploy(_text(self.settings.certificate), _text(self.settings.key))
        problems = self.status()["problems"]
        if problems:
            raise CertificateError(" ".join(problems))
        return done

    def run_acme_client(self, status: Row) -> None:
        """Run the ACME client, which stages a new pair; raise CertificateError. The served pair does not change."""
        done = self.host.run(["timeout", f"{ACME_CLIENT_MINUTES}m", *self.settings.command])
        if done.status:
            output = " | ".join(line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip())
            raise CertificateError(
                f"{os.path.basename(self.settings.command[0])} got no new certificate, and the one in use has"
                f" {status['remaining_days']:.1f} days left. It says: {output[-600:]}",
                EXIT_FAILED if status["serves_nts"] else EXIT_NOT_SERVING,
            )

    def needs_replacement(self, status: Row) -> bool:
        """Return whether the certificate differs from the settings and this host can make one that matches them."""
        leaf = status["file"]
        early = status["remaining_days"] > status["lifetime_days"]
        other = early or leaf["key_type"] != self.settings.key_type or self.missing(leaf)
        return bool((self.settings.issuing_key and other) or (self.settings.command and early))

    def clock_problem(self) -> str:
        """Return why this host's clock must not date a certificate; empty where chronyd has synchronised it."""
        rows = parse(TRACKING, self.host.run(["chronyc", "-c", "tracking"]).stdout).rows
        if not rows:
            return "which is unverified because chronyd does not answer"
        known = any(row["leap_status"] not in (None, "not_synchronised") for row in rows)
        return "" if known else "which chronyd has not synchronised"


def describe_all(text: str) -> List[Row]:
    """Describe every certificate in a PEM text; raise CertificateError where it has none."""
    found = CERTIFICATE.findall(text)
    if not found:
        raise CertificateError("There is no certificate in the file.")
    try:
        return [describe(pem_to_der(pem)) for pem in found]
    except DerError as error:
        raise CertificateError(f"A certificate cannot be read: {error}.") from None


def _certificates(text: str, path: str) -> str:
    """Return the certificates of a text in PEM; raise CertificateError where it has none, or a private key."""
    try:
        return certificates_of(text, path)
    except ForeignFileError as error:
        raise CertificateError(str(error)) from None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from None


# --- The command line ---

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def this_host() -> System:
    """Return the system calls of this host that the transactions need."""

    def run(argv: List[str]) -> CommandResult:
        environment = dict(os.environ, LC_ALL="C", PATH=PATH)
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                env=environment,
                check=False,
            )
        except OSError as error:
            return CommandResult(127, "", str(error))
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def label(staged: str, path: str) -> None:
        if os.path.exists("/sys/fs/selinux/enforce"):
            # Take the label from the policy: the existing file may carry the label of another folder.
            context = run(["matchpathcon", "-n", path]).stdout.strip()
            if context.count(":") > 1:
                run(["chcon", context, staged])

    return System(run, label)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program and return its exit status."""
    args = read_arguments(arguments)
    try:
        managers = select(
            args, [CertificateManager(settings, this_host()) for settings in read_settings(args.settings)]
        )
        if args.command == "status" and args.json:
            sys.stdout.write(json.dumps([manager.status() for manager in managers], indent=2, sort_keys=True) + "\n")
            return EXIT_OK
    except CertificateError as error:
        sys.stderr.write(f"nts-certificate {args.command}: {error}\n")
        return error.status
    with rollback_on_signals() as received:
        return run_for_all(managers, args, received)


def run_for_all(managers: Sequence[CertificateManager], args: Any, received: Sequence[str]) -> int:
    """Run the command for each pair until a signal arrives; return the worst exit status."""
    codes = [EXIT_OK]
    for manager in managers:
        try:
            # A failure of one pair does not prevent the renewal of the others.
            codes.append(run_for_pair(manager, args))
        except TransactionError as error:
            sys.stderr.write(f"nts-certificate {args.command}: {manager.settings.id}: {error}.\n")
        if received:
            # A signal between two steps of a transaction can leave its plan behind. Another run holds the lock on its
            # own plan, so do not wait for the lock.
            options = manager.options("")._replace(lock_timeout=0.0)
            with contextlib.suppress(TransactionError):
                transaction.recover_alone(manager.host, options)
            return EXIT_STOPPED
    return max(codes, key=SEVERITY.index)


def read_arguments(arguments: Optional[Sequence[str]]) -> Any:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="nts-certificate",
        description="Manage the certificate of this host's NTS server.",
        epilog="Exit status: 0 success, 1 failure (chronyd serves what it served before), 2 wrong call or settings,"
        " 3 failure and chronyd serves no NTS, 4 left to the administrator, 5 ended by a signal (after a rollback).",
    )
    parser.add_argument("--settings", default=SETTINGS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True

    def command(name: str, what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what)
        added.add_argument("--pair", metavar="ID", help="only this one of several pairs (deploy: default the first)")
        return added

    command("check", "report problems of the served certificate")
    command("status", "report the certificate in the file and the served one").add_argument(
        "--json", action="store_true"
    )
    renew = command("renew", "make a new pair and deploy it, if it is due")
    renew.add_argument("--force", action="store_true", help="also before it is due")
    deploy = command("deploy", "bring a new pair into use")
    deploy.add_argument("--certificate", metavar="FILE", help="the chain, in PEM")
    deploy.add_argument("--key", metavar="FILE")
    deploy.add_argument("--lineage", metavar="FOLDER", help="certbot's $RENEWED_LINEAGE, instead of both files")
    command("rollback", "deploy the previous pair again")
    # An interrupted change belongs to the host, not to one pair.
    commands.add_parser("recover", help="undo an interrupted change of chronyd's files").set_defaults(pair=None)
    args = parser.parse_args(arguments)
    if args.command == "deploy" and not args.lineage and not (args.certificate and args.key):
        parser.error("deploy needs --certificate and --key, or --lineage")
    return args


def select(args: Any, managers: Sequence[CertificateManager]) -> Sequence[CertificateManager]:
    """Return the managers of the pairs that a command selects; raise CertificateError for an unknown pair."""
    if args.command == "deploy" and args.lineage:
        folder = os.path.join(os.path.abspath(args.lineage), "")
        # certbot calls its hook for every certificate on the host; most do not belong to a pair.
        return [manager for manager in managers if manager.settings.staged_key.startswith(folder)]
    if not args.pair:
        return managers[:1] if args.command in ("deploy", "recover") else managers
    found = [manager for manager in managers if manager.settings.id == args.pair]
    if not found:
        known = ", ".join(manager.settings.id for manager in managers)
        raise CertificateError(f"There is no pair {args.pair}, only {known}.", EXIT_USAGE)
    return found


def run_for_pair(manager: CertificateManager, args: Any) -> int:
    """Run the command for one pair, print the result or the error, and return the exit status."""
    try:
        text, code = run_command(manager, args)
    except CertificateError as error:
        sys.stderr.write(f"nts-certificate {args.command}: {manager.settings.id}: {error}\n")
        return error.status
    sys.stdout.write(f"{text}\n" if text else "")
    return code


def run_command(manager: CertificateManager, args: Any) -> Tuple[str, int]:
    """Run the command for one pair; return the text to print and the exit status."""
    if args.command == "recover":
        return "An interrupted change of chronyd's files was undone." if manager.recover() else "", EXIT_OK
    if args.command in ("check", "status"):
        status = manager.status()
        broken = EXIT_FAILED if status["serves_nts"] else EXIT_NOT_SERVING
        return format_status(status), broken if status["problems"] and args.command == "check" else EXIT_OK
    commands: Dict[str, Callable[[], Row]] = {
        "renew": lambda: manager.renew(args.force),
        "deploy": lambda: manager.deploy(
            *(
                manager.staged()
                if args.lineage
                else (_certificates(_text(args.certificate), args.certificate), _text(args.key))
            )
        ),
        "rollback": manager.rollback,
    }
    manager.begin()
    done = commands[args.command]()
    for warning in dict.fromkeys(done.get("warnings", []) + manager.status()["warnings"]):
        sys.stderr.write(f"nts-certificate {args.command}: {warning}\n")
    leaf = done["served"]
    what = "now serves" if done["changed"] else "serves, as before,"
    return f"chronyd {what} the certificate {leaf['serial']}, valid until {leaf['not_after']}.", EXIT_OK


def format_status(status: Row) -> str:
    """Return the status as text, one fact a line."""
    leaf = status["file"]
    lines = [
        f"certificate {leaf['serial']} for {', '.join(leaf['subject_alt_names'])}",
        f"valid until {leaf['not_after']} ({status['remaining_days']:.1f} of {status['lifetime_days']:.1f} days left)",
        f"renewed {'now' if status['due'] else 'later'} by {status['provider']}",
    ]
    confirmation = ["chronyd serves it."] if status["served"] else []
    return "\n".join(lines + (status["problems"] or confirmation) + status["warnings"])
