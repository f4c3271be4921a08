# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Explain the failures of apt, dnf and zypper by their output, with a remedy.

The regular expressions match messages of the real programs: tests/capture_packages.py makes them fail.
"""

import re
from typing import List, NamedTuple

# Limits of the output that a message quotes.
QUOTED_LINES = 4
LINE_LENGTH = 300
LAST_LINES = 6
CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


class Failure(NamedTuple):
    """The name of the cause, the lines that show it, its meaning, and the remedy."""

    cause: str
    lines: List[str]
    meaning: str
    remedy: str


class Rule(NamedTuple):
    """A cause, and the regular expression of the lines that show it."""

    cause: str
    lines: str
    meaning: str
    remedy: str


# The first match wins: for example, an unreachable repository also makes its packages unknown.
RULES = (
    Rule(
        "lock",
        r"Could not get lock|is another process using it|Unable to lock directory|already locked by \d+"
        r"|The application with PID|System management is locked|Waiting for process with pid",
        "another program uses the package database",
        "Wait for it to end, or set chrony_nts_package_lock_seconds to a longer time.",
    ),
    Rule(
        "interrupted",
        r"dpkg was interrupted",
        "an earlier installation was interrupted",
        "Run `dpkg --configure -a` on the host.",
    ),
    Rule(
        "read-only",
        r"Read-only file system",
        "a file system is read-only",
        "Mount it for writing. On a host whose system is an image, put chrony into the image.",
    ),
    Rule(
        "space",
        r"enough free space|No space left on device|more space needed on|needs [\d.]+\s?[KMG]B more space"
        r"|Curl error \(23\)|Can't hardlink/copy",
        "the disk is full",
        "Free space where the package manager keeps its files, mostly below /var.",
    ),
    Rule(
        "held",
        r"Held packages were changed|filtered out by exclude filtering|remove lock to allow|versionlock",
        "the operator has held a package",
        "Release it (apt-mark unhold, dnf versionlock delete, excludepkgs in dnf.conf, zypper removelock), or install"
        " it by hand.",
    ),
    Rule(
        "clock",
        r"not valid yet|not yet valid|not yet activated|is expired \(invalid|certificate has expired|chain uses expired"
        r"|certificate is expired|Not live until",
        "a date does not fit the clock of this host",
        "Compare the clock with another one. If it is right, the repository or its certificate is out of date.",
    ),
    Rule(
        "certificate",
        r"certificate verif|certificate issuer is unknown|Curl error \(60\)|SSL certificate problem|Curl error 60",
        "the TLS certificate of a repository is not accepted",
        "Check the clock of this host, and add the CA of an internal repository or proxy to the system's trust store.",
    ),
    Rule(
        "signature",
        r"is not signed|NO_PUBKEY|GPG check FAILED|Signature verification failed|is unsigned|[Pp]ublic key .*is not"
        r" installed|the following signatures|BADSIG|EXPKEYSIG|gpgcheck=1 but no gpgkey|any GPG public keys",
        "a signature cannot be checked",
        "Install the key of the repository on the host.",
    ),
    Rule(
        "network",
        r"Could not connect|Unable to connect|Cannot initiate the connection|Could not resolve|Temporary failure"
        r"|Connection timed out|Connection failed|Curl error \((?:5|6|7|28|35|52|56)\)|Timeout (?:was reached|exceeded)"
        r"|Network is unreachable|connection reset|Proxy Authentication|Undetermined Error",
        "a repository cannot be reached",
        "Check the network, the proxy and the address of the repository on this host.",
    ),
    Rule(
        "subscription",
        r"not registered with an entitlement server|subscription-manager to register",
        "the system has no subscription",
        "Register it, or add a repository that has the packages.",
    ),
    Rule(
        "repository",
        r"Err:\d+ .*\n|Failed to fetch|  40[134]  |Status code: \d+|no enabled repositories|No repositories defined"
        r"|Repository type can't be determined|does not have a Release file|not found on medium",
        "no repository of this host is usable",
        "Check the repositories of this host: none is enabled, or the path of one is wrong.",
    ),
    Rule(
        "dependencies",
        r"unmet dependencies|have held broken packages|nothing provides|conflicting requests|problem with installed",
        "dependencies cannot be satisfied",
        "Check which releases the repositories of this host are of.",
    ),
    Rule(
        "unknown",
        r"Unable to locate package|no installation candidate|Version '.*' for '.*' was not found|No match for argument"
        r"|Unable to find a match|No provider of '",
        "no repository of this host has it",
        "Check its name and version, and enable the repository that has it. Lists may be old:"
        " chrony_nts_package_cache_seconds.",
    ),
)


def explain(output: str) -> Failure:
    """Return the cause of a failure; if none matches, return the last lines of the output."""
    lines = [_redact(line) for line in output.splitlines() if line.strip()]
    for rule in RULES:
        found = [line for line in lines if re.search(rule.lines, line)]
        if found:
            # The output repeats a message for each file. apt summarises errors in lines with `E: `.
            unique = list(dict.fromkeys([line for line in found if line.startswith("E: ")] or found))
            return Failure(rule.cause, unique[-QUOTED_LINES:], rule.meaning, rule.remedy)
    return Failure("other", lines[-LAST_LINES:], "the role does not know its reason", "Read its output above.")


def sentence(what: str, failure: Failure) -> str:
    """Return a message: the failure and its cause, the quoted output, and the remedy."""
    quoted = "\n".join(f"  {line}" for line in failure.lines)
    return f"{what}: {failure.meaning}.\n{quoted}\n{failure.remedy}"


def _redact(line: str) -> str:
    """Return a line without the credentials of URLs, cut to LINE_LENGTH characters."""
    text = CREDENTIALS.sub("***@", line.strip())
    return text if len(text) <= LINE_LENGTH else text[:LINE_LENGTH] + "..."
