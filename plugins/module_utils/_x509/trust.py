# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Whom a client trusts, and whom it does not trust any more after a change.

chronyd asks for no certificate as long as it has cookies (up to ntsrefresh, four weeks, also over a restart). Whoever
is not trusted any more is believed until then, unless the cookies are taken away, too.
"""

from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Sequence

from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import (
    CERTIFICATE,
    DerError,
    describe,
    pem_to_der,
    sha256,
)

# The arguments of each directive, in their order, by the directive in lower case.
Directives = Dict[str, List[List[str]]]
SOURCES = ("server", "pool")
# The line above each root CA that the role gave a client. Readers of PEM ignore it.
ROOT_MARK = "# Root CA of NTS servers, from chrony_nts_ca_dir of the controller"
# In set 0, unless there is nosystemcert.
SYSTEM = "the authorities of the system"


def marked_roots(text: str) -> List[str]:
    """Return the SHA-256 fingerprints of the root CAs of the role in a file of trust anchors, in hexadecimal."""
    found = [CERTIFICATE.search(part) for part in text.split(ROOT_MARK)[1:]]
    return [fingerprint(match.group()) for match in found if match]


def fingerprint(pem: str) -> str:
    """Return the SHA-256 fingerprint of a certificate in hexadecimal; empty where it cannot be read."""
    try:
        return sha256(pem_to_der(pem))
    except DerError:
        return ""


class Trust(NamedTuple):
    """The anchors of each set as people name them, and the set of each NTS source."""

    sets: Dict[int, FrozenSet[str]]
    sources: Dict[str, int]


def words_of(text: str) -> Directives:
    """Return the arguments of each directive in a text of chrony's."""
    directives = {}  # type: Directives
    for line in text.splitlines():
        words = line.split()
        if words:
            directives.setdefault(words[0].lower(), []).append(words[1:])
    return directives


def trust_of(
    directives: Directives, texts_of: Callable[[str], Iterable[str]], more: Sequence[Directives] = ()
) -> Trust:
    """Return whom a configuration trusts.

    texts_of returns the texts behind a path of ntstrustedcerts: one of a file, several of a folder, none if there is
    none. more are files of sources.
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
    """Yield the name of each certificate in a text, with its fingerprint, because names are used twice."""
    for pem in CERTIFICATE.findall(text):
        try:
            der = pem_to_der(pem)
            named = describe(der)["subject"]
        except DerError:
            der, named = pem.encode(), "what is no certificate"
        yield f"{named} (SHA-256 {sha256(der)})"


def removed_anchors(old: Trust, new: Trust) -> List[str]:
    """Return a sentence for each set, and each source that changes its set, which trusts somebody no more."""
    found = [(f"set {number} of trust anchors", old.sets[number], new.sets.get(number)) for number in sorted(old.sets)]
    for name in sorted(set(old.sources) & set(new.sources)):
        was, becomes = old.sources[name], new.sources[name]
        if was != becomes:
            found.append((name, old.sets.get(was, frozenset()), new.sets.get(becomes)))
    lost = [(who, before - (after or frozenset())) for who, before, after in found]
    return [f"{who} does not trust {', '.join(sorted(gone))} any more" for who, gone in lost if gone]


def dump_folders(*configurations: Directives) -> List[str]:
    """Return the folders in which chronyd keeps cookies over a restart, each once."""
    named = [each.get("ntsdumpdir", []) + each.get("ntscachedir", []) for each in configurations]
    return sorted({arguments[0] for lines in named for arguments in lines if arguments})


def _sources(directives: Directives) -> Iterator["Source"]:
    for arguments in (line for word in SOURCES for line in directives.get(word, [])):
        options = [word.lower() for word in arguments[1:]]
        if "nts" in options:
            at = options.index("certset") + 1 if "certset" in options else len(options)
            yield Source(arguments[0], _number(options[at]) if at < len(options) else 0)


class Source(NamedTuple):
    """An NTS source, and the set of anchors that its certificate is held against."""

    name: str
    certset: int


def _number(word: str) -> int:
    return int(word) if word.isdigit() else 0
