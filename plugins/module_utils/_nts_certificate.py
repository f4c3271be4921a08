# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The program nts-certificate: an NTS server's pair of certificate and key, and its life.

However a new pair arrives, it ends in deploy: checked as chronyd will read it, swapped as one, chronyd restarted (it
reads a pair only at its start), and asked by a key exchange for what it serves. If it does not serve the new one, the
old one comes back.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from ipaddress import ip_address
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils import _files, _gnutls, _transaction
from ansible_collections.securetime.nts.plugins.module_utils._certificates import (
    CERTIFICATE,
    DerError,
    describe,
    pem_to_der,
    seconds_left,
)
from ansible_collections.securetime.nts.plugins.module_utils._files import Finished, Host, TransactionError, Wanted
from ansible_collections.securetime.nts.plugins.module_utils._issue import HAS_CRYPTOGRAPHY, issue
from ansible_collections.securetime.nts.plugins.module_utils._probe import Probe, Question
from ansible_collections.securetime.nts.plugins.module_utils._transaction import Options

Row = Dict[str, Any]

SETTINGS = "/etc/chrony/nts/certificate.json"
# Below the state folder of the transactions: the pair before the last one.
PREVIOUS = ("previous.pem", "previous.key")
WELL, FAILED, USAGE, SILENT = 0, 1, 2, 3
# An issuing CA must be renewed by whoever has its root's key: that takes people, and time.
ISSUER_WARNING_DAYS = 60.0


class Settings(NamedTuple):
    """What the role has written down for the program."""

    names: List[str]
    certificate: str
    key: str
    group: str
    config_file: str
    service: str
    provider: str
    # Where this host asks itself, and the names that its certificate must carry.
    address: str = "127.0.0.1"
    ntsport: int = 4460
    lifetime_days: float = 90.0
    # Renewed when this part of the lifetime is left.
    renew_fraction: float = 1 / 3
    key_type: str = "ECDSA P-256"
    new_key: bool = False
    # Of the server's own issuing CA; beside them, the role keeps the server's certificate alone.
    issuing_certificate: str = ""
    issuing_key: str = ""
    leaf: str = ""


class CertificateError(Exception):
    """What could not be done; status is the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def read_settings(path: str) -> Settings:
    """Return the settings in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return Settings(**found)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"The settings {path} cannot be read: {error}.", USAGE) from None


class Keeper:
    """The pair of one server."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self.settings = settings
        self.host = host

    # --- What is there ---

    def chain(self) -> List[Row]:
        """Describe the certificates in the file, the server's first."""
        return describe_all(_text(self.settings.certificate))

    def served(self) -> Row:
        """Ask chronyd on this host for a key exchange, as nts_probe does; whom to trust is the file itself."""
        settings = self.settings
        question = Question(
            settings.address,
            name=settings.names[0],
            ntsport=settings.ntsport,
            # The last of a chain stands for the root, which need not be on this host.
            trusted_certs_content=CERTIFICATE.findall(_text(settings.certificate))[-1],
            system_certs=False,
            last_stage="ke",
        )
        return Probe(question, _gnutls.load()).run()

    def status(self) -> Row:
        """Return everything that is known of the pair, and what is wrong with it, in sentences."""
        settings = self.settings
        now = time.time()
        chain = self.chain()
        leaf = chain[0]
        left = seconds_left(leaf, now)
        probe = self.served()
        served = probe["tls"]["certificates"][0] if probe["tls"] and probe["tls"]["certificates"] else None
        issuer_left = min((seconds_left(issuer, now) for issuer in chain[1:]), default=None)
        return {
            "provider": settings.provider,
            "names": settings.names,
            "file": leaf,
            "served": served,
            "serves_nts": probe["ok"],
            "probe_error": probe["error"],
            "remaining_days": left / 86400,
            "lifetime_days": self.lifetime(leaf) / 86400,
            "due": left <= self.lifetime(leaf) * settings.renew_fraction,
            "issuer_remaining_days": None if issuer_left is None else issuer_left / 86400,
            "problems": self.problems(leaf, left, probe, served),
            "warnings": self.warnings(issuer_left),
        }

    @staticmethod
    def lifetime(leaf: Row) -> float:
        """Return for how many seconds a certificate was made."""
        return seconds_left(leaf, 0) - seconds_left(dict(leaf, not_after=leaf["not_before"]), 0)

    def problems(self, leaf: Row, left: float, probe: Row, served: Optional[Row]) -> List[str]:
        """Return what is wrong, the worst first."""
        found = []
        if not probe["ok"]:
            error = probe["error"]
            found.append(f"chronyd serves no NTS: {error['cause']}; {error['remedy']}.")
        elif served is not None and served["fingerprint_sha256"] != leaf["fingerprint_sha256"]:
            found.append(
                f"chronyd serves another certificate ({served['serial']}) than the file has ({leaf['serial']}): restart"
                " it."
            )
        if left < 0:
            found.append(f"The certificate has expired on {leaf['not_after']}.")
        missing = [name for name in self.settings.names if not carries(leaf, name)]
        if missing:
            found.append(f"The certificate is not for {', '.join(missing)}.")
        return found

    @staticmethod
    def warnings(issuer_left: Optional[float]) -> List[str]:
        """Return what will be wrong."""
        if issuer_left is None or issuer_left >= ISSUER_WARNING_DAYS * 86400:
            return []
        days = issuer_left / 86400
        what = f"The CA that issues this server's certificates ends in {days:.0f} days, and with it every certificate"
        return [f"{what}: run the playbook securetime.nts.site where the root CA's key is."]

    # --- What is done ---

    def deploy(self, certificate: str, key: str) -> Row:
        """Bring a new pair into use, or raise CertificateError, and the old one is in use."""
        settings = self.settings
        new = describe_all(certificate)[0]
        before = [_files.read(path) for path in (settings.certificate, settings.key)]
        files = [
            Wanted(settings.key, key, "root", settings.group, 0o640),
            Wanted(settings.certificate, certificate, "root", "root", 0o644),
        ]
        if settings.leaf:
            leaf = CERTIFICATE.findall(certificate)[0] + "\n"
            files.append(Wanted(settings.leaf, leaf, "root", "root", 0o644, "nothing"))
        options = Options(
            config_file=settings.config_file,
            service=settings.service,
            server_names=settings.names,
            verify=lambda: self.must_serve(new),
            originals=False,
        )
        try:
            done = _transaction.apply(self.host, files, options)
            if not done["actions"]:
                self.must_serve(new)
        except TransactionError as error:
            raise CertificateError(str(error), self.silent_or_failed()) from None
        if settings.certificate in done["changed_files"]:
            self.keep(before)
        return {"changed": done["changed"], "served": new, "actions": done["actions"]}

    def must_serve(self, new: Row) -> None:
        """Raise TransactionError unless chronyd serves this certificate in a key exchange."""
        probe = self.served()
        if not probe["ok"]:
            raise TransactionError(f"chronyd serves no NTS ({probe['error']['cause']})")
        if probe["tls"]["certificates"][0]["fingerprint_sha256"] != new["fingerprint_sha256"]:
            raise TransactionError("chronyd serves another certificate than the new one")

    def silent_or_failed(self) -> int:
        """Return the exit status of a failure: worse if nothing is served any more."""
        with contextlib.suppress(OSError, DerError, IndexError):
            return FAILED if self.served()["ok"] else SILENT
        return SILENT

    def keep(self, pair: Sequence[Optional[_files.Existing]]) -> None:
        """Keep the pair that was in use until now, for rollback."""
        os.makedirs(self.host.state, mode=0o700, exist_ok=True)
        for existing, name in zip(pair, PREVIOUS):
            if existing is not None:
                place = os.path.join(self.host.state, name)
                _files.write(place + _files.NEW, existing.content, 0o600, 0, 0)
                os.replace(place + _files.NEW, place)

    def rollback(self) -> Row:
        """Bring back the pair before the last one."""
        texts = [_text(os.path.join(self.host.state, name)) for name in PREVIOUS]
        return self.deploy(*texts)

    def renew(self, force: bool = False) -> Row:
        """Make a new pair if it is time to, and deploy it; mend what is served otherwise."""
        settings = self.settings
        status = self.status()
        if not force and not status["due"] and not self.must_be_made_anew(status):
            if status["problems"]:
                # A pair that was swapped by hand, or whose key chronyd may not read any more.
                done = self.deploy(_text(settings.certificate), _text(settings.key))
                left = self.status()["problems"]
                if left:
                    raise CertificateError(" ".join(left))
                return done
            return {"changed": False, "served": status["served"], "actions": []}
        if settings.provider not in ("ownca", "selfsigned"):
            raise CertificateError(
                f"The certificate has {status['remaining_days']:.1f} days left, and this host cannot make a new one by"
                f" itself (chrony_nts_certificate_provider is {settings.provider}): bring one by nts-certificate"
                " deploy."
            )
        if not HAS_CRYPTOGRAPHY:
            raise CertificateError("To make a new certificate, Python's cryptography must be installed on this host.")
        try:
            certificate, key = issue(settings)
        except (OSError, ValueError, TypeError) as error:
            raise CertificateError(f"A new certificate could not be made: {error}.") from None
        return self.deploy(certificate, key)

    def must_be_made_anew(self, status: Row) -> bool:
        """Say whether the certificate is not what the settings ask for."""
        leaf = status["file"]
        return leaf["key_type"] != self.settings.key_type or any(
            not carries(leaf, name) for name in self.settings.names
        )


def describe_all(text: str) -> List[Row]:
    """Describe every certificate of a text, or raise CertificateError."""
    found = CERTIFICATE.findall(text)
    if not found:
        raise CertificateError("There is no certificate in the file.")
    try:
        return [describe(pem_to_der(pem)) for pem in found]
    except DerError as error:
        raise CertificateError(f"A certificate cannot be read: {error}.") from None


def carries(leaf: Row, name: str) -> bool:
    """Say whether a described certificate is for a name or address."""
    return plain_name(name) in {plain_name(text.partition(":")[2]) for text in leaf["subject_alt_names"]}


def plain_name(name: str) -> str:
    """Return a name or an address in one form: OpenSSL writes IPv6 addresses in its own."""
    with contextlib.suppress(ValueError):
        return str(ip_address(name))
    return name.lower()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from None


# --- The command line ---


def this_host() -> Host:
    """Return this host, as the transactions need it."""

    def run(argv: List[str]) -> Finished:
        environment = dict(os.environ, LC_ALL="C", PATH="/usr/sbin:/usr/bin:/sbin:/bin")
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
            return Finished(127, "", str(error))
        return Finished(done.returncode, done.stdout, done.stderr)

    def label(staged: str, path: str) -> None:
        if os.path.exists("/sys/fs/selinux/enforce") and os.path.exists(path):
            run(["chcon", f"--reference={path}", staged])

    return Host(run, label)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="nts-certificate",
        description="Keep the certificate of this host's NTS server.",
        epilog="Exit status: 0 well, 1 failed (what was served is served), 2 wrong call or settings, 3 failed, and no"
        " NTS is served.",
    )
    parser.add_argument("--settings", default=SETTINGS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    commands.add_parser("check", help="say what is wrong with what is served, if anything")
    status = commands.add_parser("status", help="say what is in the file and what is served")
    status.add_argument("--json", action="store_true")
    renew = commands.add_parser("renew", help="make a new pair and deploy it, if it is time to")
    renew.add_argument("--force", action="store_true", help="also if it is not")
    deploy = commands.add_parser("deploy", help="bring a new pair into use")
    deploy.add_argument("--certificate", required=True, metavar="FILE", help="the chain, in PEM")
    deploy.add_argument("--key", required=True, metavar="FILE")
    commands.add_parser("rollback", help="bring back the pair before the last one")
    words = parser.parse_args(arguments)
    try:
        keeper = Keeper(read_settings(words.settings), this_host())
        text, code = run(keeper, words)
    except CertificateError as error:
        sys.stderr.write(f"nts-certificate {words.command}: {error}\n")
        return error.status
    sys.stdout.write(f"{text}\n")
    return code


def run(keeper: Keeper, words: Any) -> Tuple[str, int]:
    """Do what the command line asks for; return what to print, and the exit status."""
    if words.command in ("check", "status"):
        status = keeper.status()
        broken = FAILED if status["serves_nts"] else SILENT
        code = broken if status["problems"] and words.command == "check" else WELL
        if words.command == "status" and words.json:
            return json.dumps(status, indent=2, sort_keys=True), code
        return tell(status), code
    acts: Dict[str, Callable[[], Row]] = {
        "renew": lambda: keeper.renew(words.force),
        "deploy": lambda: keeper.deploy(_text(words.certificate), _text(words.key)),
        "rollback": keeper.rollback,
    }
    done = acts[words.command]()
    for warning in keeper.status()["warnings"]:
        sys.stderr.write(f"nts-certificate {words.command}: {warning}\n")
    leaf = done["served"]
    what = "now serves" if done["changed"] else "serves, as before,"
    return f"chronyd {what} the certificate {leaf['serial']}, valid until {leaf['not_after']}.", WELL


def tell(status: Row) -> str:
    """Return the status in lines."""
    leaf = status["file"]
    lines = [
        f"certificate {leaf['serial']} for {', '.join(leaf['subject_alt_names'])}",
        f"valid until {leaf['not_after']} ({status['remaining_days']:.1f} of {status['lifetime_days']:.1f} days left)",
        f"renewed {'now' if status['due'] else 'later'} by {status['provider']}",
    ]
    return "\n".join(lines + (status["problems"] or ["chronyd serves it."]) + status["warnings"])
