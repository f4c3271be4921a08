# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Find the trust anchors of a client, and those that a change removes.

chronyd checks no certificate while it has cookies: up to ntsrefresh (four weeks by default), also over a restart. Until
then it follows a server whose trust anchor was removed, unless the change also drops the cookies.
"""

from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import (
    CERTIFICATE,
    DerError,
    describe,
    pem_to_der,
    sha256,
)

# Maps each directive, in lower case, to the arguments of its lines, in order.
Directives = Dict[str, List[List[str]]]
SOURCES = ("server", "pool")
# The role writes this line above each root CA in a client's file. PEM readers ignore it.
ROOT_MARK = "# Root CA of NTS servers, from chrony_nts_ca_dir of the controller"
# Set 0 holds them, unless the configuration has nosystemcert.
SYSTEM = "the authorities of the system"


def marked_roots(text: str) -> List[str]:
    """Return the SHA-256 fingerprints, in hexadecimal, of the role's root CAs in a file of trust anchors."""
    found = [CERTIFICATE.search(part) for part in text.split(ROOT_MARK)[1:]]
    return [fingerprint(match.group()) for match in found if match]


def fingerprint(pem: str) -> str:
    """Return the SHA-256 fingerprint of a certificate in hexadecimal; empty for an unreadable one."""
    try:
        return sha256(pem_to_der(pem))
    except DerError:
        return ""


class Trust(NamedTuple):
    """The readable names of the anchors in each set, and the set of each NTS source."""

    sets: Dict[int, FrozenSet[str]]
    sources: Dict[str, int]


def words_of(text: str) -> Directives:
    """Parse the directives in a configuration text of chrony."""
    directives = {}  # type: Directives
    for line in text.splitlines():
        words = line.split()
        if words:
            directives.setdefault(words[0].lower(), []).append(words[1:])
    return directives


def trust_of(
    directives: Directives, texts_of: Callable[[str], Iterable[str]], more: Sequence[Directives] = ()
) -> Trust:
    """Return the trust anchors and the NTS sources of a configuration.

    texts_of returns the contents for a path of ntstrustedcerts: one for a file, several for a folder, none for a
    missing path. more are the directives of source files.
    """
    system = [] if "nosystemcert" in directives else [SYSTEM]
    sets = {0: frozenset(system)}  # type: Dict[int, FrozenSet[str]]
    for arguments in directives.get("ntstrustedcerts", []):
        if arguments:
            number = _number(arguments[0]) if len(arguments) > 1 else 0
            found = frozenset(name for text in texts_of(arguments[-1]) for name in anchors(text))
            sets[number] = sets.get(number, frozenset()) | found
    return Trust(sets, {name: number for part in (directives, *more) for name, number in _sources(part)})


def anchors(text: str) -> Iterator[str]:
    """Yield the subject of each certificate in a text with its fingerprint, because subjects are not unique."""
    for pem in CERTIFICATE.findall(text):
        try:
            der = pem_to_der(pem)
            named = describe(der)["subject"]
        except DerError:
            der, named = pem.encode(), "an unreadable certificate"
        yield f"{named} (SHA-256 {sha256(der)})"


def removed_anchors(old: Trust, new: Trust) -> List[str]:
    """Return a sentence for each set that loses trust anchors, and for each source that loses some by a new set."""
    found = [(f"set {number} of trust anchors", old.sets[number], new.sets.get(number)) for number in sorted(old.sets)]
    for name in sorted(set(old.sources) & set(new.sources)):
        was, becomes = old.sources[name], new.sources[name]
        if was != becomes:
            found.append((name, old.sets.get(was, frozenset()), new.sets.get(becomes)))
    removed = [(name, before - (after or frozenset())) for name, before, after in found]
    return [f"{name} does not trust {', '.join(sorted(names))} any more" for name, names in removed if names]


def dump_folders(*configurations: Directives) -> List[str]:
    """Return the folders in which chronyd saves cookies over a restart, without duplicates."""
    named = [each.get("ntsdumpdir", []) + each.get("ntscachedir", []) for each in configurations]
    return sorted({arguments[0] for lines in named for arguments in lines if arguments})


def _sources(directives: Directives) -> Iterator["Source"]:
    for arguments in (line for word in SOURCES for line in directives.get(word, [])):
        options = [word.lower() for word in arguments[1:]]
        if "nts" in options:
            at = options.index("certset") + 1 if "certset" in options else len(options)
            yield Source(arguments[0], _number(options[at]) if at < len(options) else 0)


class Source(NamedTuple):
    """An NTS source, and the set of trust anchors that verifies its certificate."""

    name: str
    certset: int


def _number(word: str) -> int:
    return int(word) if word.isdigit() else 0
