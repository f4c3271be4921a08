# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define every directive and option of chrony.conf in chrony 4.0 to 4.9, and parse, check and render values by them.

The role's meta/argument_specs.yml has the same names, types and choices, with their descriptions.

Long: most of the file is one table of all directives, which is read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import inf
from typing import Any

from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE, BOOLEANS_TRUE

from ansible_collections.securetime.nts.plugins.module_utils._change import serving
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import ROOT_MARK
from ansible_collections.securetime.nts.plugins.plugin_utils._names import is_host_name, is_ip_address, is_subnet

# The first chrony with NTS. The role supports no older one.
OLDEST = "4.0"
INT_MAX = 2**31 - 1
# In characters: the part of a wrong value that a message quotes.
LONGEST_SHOWN = 80
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# No blanks, because chronyd splits words there. No leading comment character, because chronyd takes it literally
# within a line.
WORD = re.compile(r"[^\s!;#%]\S*")


@dataclass(frozen=True)
class Word:
    """Definition of a directive of chrony.conf or of one of its parts: valid values, and the first chrony version."""

    name: str
    kind: str
    since: str = OLDEST
    low: float = -inf
    high: float = inf
    choices: Mapping[str, str] = field(default_factory=dict)
    """Each choice with the version that it came with."""
    parts: tuple[Word, ...] = ()
    bare: bool = False
    """Whether it is written as its value alone, in the place where it stands among the parts."""
    required: bool = False
    several: bool = False
    """Whether it takes a list, and is written once for each entry."""
    instead: str = ""
    """Why it cannot be given, and what to do."""
    secret: bool = False
    """Whether its value is never shown."""


def flag(name: str, since: str = OLDEST) -> Word:
    """Return the definition of a name without a value."""
    return Word(name, "flag", since)


def integer(name: str, low: int = 0, high: int = INT_MAX, since: str = OLDEST) -> Word:
    """Return the definition of a name that takes a whole number."""
    return Word(name, "integer", since, low, high)


def number(name: str, low: float = 0, high: float = inf, since: str = OLDEST) -> Word:
    """Return the definition of a name that takes a number."""
    return Word(name, "number", since, low, high)


def text(name: str, since: str = OLDEST) -> Word:
    """Return the definition of a name that takes one word."""
    return Word(name, "text", since)


def address(name: str) -> Word:
    """Return the definition of a name that takes an IP address."""
    return Word(name, "address")


def access(name: str) -> Word:
    """Return the definition of a name that takes access rules."""
    return Word(name, "access", several=True)


def choice(name: str, *choices: str, **later: str) -> Word:
    """Return the definition of a name that takes one of several words.

    later maps the words that chrony 4.0 does not have to their first version.
    """
    return Word(name, "choice", choices={**dict.fromkeys(choices, OLDEST), **later})


def words(name: str, *choices: str, since: str = OLDEST, **later: str) -> Word:
    """Return the definition of a name that takes a list of words on one line; without choices, any words."""
    return Word(name, "words", since, choices={**dict.fromkeys(choices, OLDEST), **later})


def made_of(name: str, *parts: Word, since: str = OLDEST) -> Word:
    """Return the definition of a name that takes several named values."""
    return Word(name, "parts", since, parts=parts)


def refused(name: str, instead: str, since: str = OLDEST) -> Word:
    """Return the definition of a name that the role refuses."""
    return Word(name, "refused", since, instead=instead)


def bare(word: Word) -> Word:
    """Return an optional part that chrony.conf has without its name."""
    return replace(word, bare=True)


def first(word: Word) -> Word:
    """Return a required part that chrony.conf has without its name."""
    return replace(word, bare=True, required=True)


def secret(word: Word) -> Word:
    """Return a definition whose value no message quotes."""
    return replace(word, secret=True)


def required(word: Word) -> Word:
    """Return a required part."""
    return replace(word, required=True)


def string(name: str) -> Word:
    """Return the definition of a name that takes any text, including empty and multi-line text; not for chrony.conf."""
    return Word(name, "string")


def several(word: Word) -> Word:
    """Return the definition of a name that the file can have more than once."""
    return replace(word, several=True)


# chronyd's maximum of burst is 255, but chronyd 4.7 and 4.8 do not start with more than 32.
RATE = (integer("interval", -19, 12), integer("burst", 1, 32), integer("leak", 1, 4))
SELECTION = (flag("noselect"), flag("prefer"), flag("require"), flag("trust"))
GONE = "chronyd does without it since version 2.2, take it out"

# Ranges are those of chrony.conf(5) and of chronyd 4.9, without values that could only be mistakes. Lines are rendered
# in this order. Directives that read other files come last, so that those files override the lines.
DIRECTIVES = made_of(
    "chrony_nts_directives",
    integer("acquisitionport", 0, 65535),
    refused("allow", "set chrony_nts_server_allow"),
    refused("authselectmode", "set chrony_nts_authselectmode"),
    several(address("bindacqaddress")),
    text("bindacqdevice"),
    several(address("bindaddress")),
    several(text("bindcmdaddress")),
    text("bindcmddevice"),
    text("binddevice"),
    several(
        made_of(
            "broadcast",
            first(integer("interval", 1)),
            first(address("address")),
            bare(integer("port", 1, 65535)),
        )
    ),
    integer("clientloglimit", 1),
    number("clockprecision"),
    access("cmdallow"),
    access("cmddeny"),
    integer("cmdport", 0, 65535),
    made_of("cmdratelimit", *RATE),
    number("combinelimit"),
    refused("commandkey", GONE),
    number("corrtimeratio"),
    access("deny"),
    made_of("driftfile", first(text("path")), integer("interval", since="4.7")),
    integer("dscp", 0, 63),
    text("dumpdir"),
    refused("dumponexit", "chronyd always does that where it has a dumpdir, take it out"),
    made_of("fallbackdrift", first(integer("min", -32, 32)), first(integer("max", -32, 32))),
    refused("generatecommandkey", GONE),
    text("hwclockfile"),
    several(
        made_of(
            "hwtimestamp",
            first(text("interface")),
            integer("maxpoll", -32, 32, since="4.4"),
            integer("maxsamples"),
            integer("minpoll", -32, 32),
            integer("minsamples"),
            flag("nocrossts"),
            number("precision"),
            number("rxcomp", -inf),
            choice("rxfilter", "none", "ntp", "all", ptp="4.2"),
            number("txcomp", -inf),
        )
    ),
    number("hwtstimeout", since="4.4"),
    made_of("initstepslew", first(number("threshold")), bare(words("hosts"))),
    text("keyfile"),
    text("leapseclist", since="4.6"),
    choice("leapsecmode", "system", "step", "slew", "ignore"),
    text("leapsectz"),
    refused("linux_freq_scale", GONE),
    refused("linux_hz", GONE),
    made_of(
        "local",
        integer("stratum", 1, 15),
        flag("orphan"),
        number("distance"),
        number("activate", since="4.6"),
        number("waitsynced", since="4.7"),
        number("waitunsynced", since="4.7"),
    ),
    flag("lock_all"),
    words(
        "log",
        "rawmeasurements",
        "measurements",
        "statistics",
        "tracking",
        "rtc",
        "refclocks",
        "tempcomp",
        selection="4.3",
    ),
    integer("logbanner"),
    number("logchange", 0, 1000000),
    text("logdir"),
    made_of("mailonchange", first(text("address")), first(number("threshold"))),
    made_of("makestep", first(number("threshold")), first(integer("limit", -1))),
    flag("manual"),
    made_of(
        "maxchange",
        first(number("offset")),
        first(integer("start")),
        first(integer("ignore", -1)),
    ),
    number("maxclockerror"),
    number("maxdistance", 0, 1000000),
    number("maxdrift"),
    number("maxjitter"),
    integer("maxntsconnections", 1, 100000),
    integer("maxsamples"),
    number("maxslewrate"),
    integer("maxstratum", 0, 15, since="4.9"),
    integer("maxtxbuffers", 0, 2**20, since="4.9"),
    number("maxupdateskew", 0, 1000000),
    integer("minsamples"),
    integer("minsources", 1, 1000),
    integer("minstratum", 0, 15, since="4.9"),
    refused("nocerttimecheck", "set chrony_nts_nocerttimecheck"),
    flag("noclientlog"),
    refused("nosystemcert", "set chrony_nts_trust_system_cas to false"),
    text("ntpsigndsocket"),
    words("ntsaeads", "15", "30", since="4.6.1"),
    refused("ntscachedir", "it is another name of ntsdumpdir, set that"),
    text("ntsdumpdir"),
    text("ntsntpserver"),
    integer("ntsport", 1, 65535),
    integer("ntsprocesses", 0, 1000),
    made_of("ntsratelimit", *RATE),
    integer("ntsrefresh", 60, 31536000),
    integer("ntsrotate", 60, 31536000),
    refused("ntsservercert", "set chrony_nts_server_enabled, and the role provides the certificate"),
    refused("ntsserverkey", "set chrony_nts_server_enabled, and the role provides the key"),
    refused("ntstrustedcerts", "set chrony_nts_trust_anchors"),
    words(
        "opencommands",
        "activity",
        "authdata",
        "clients",
        "manual",
        "ntpdata",
        "rtcdata",
        "selectdata",
        "serverstats",
        "smoothing",
        "sourcename",
        "sources",
        "sourcestats",
        "tracking",
        since="4.7",
    ),
    refused("peer", "set chrony_nts_sources, with the type peer"),
    text("pidfile"),
    refused("pool", "set chrony_nts_sources, with the type pool"),
    integer("port", 0, 65535),
    integer("ptpdomain", 0, 255, since="4.6"),
    integer("ptpport", 0, 65535, since="4.2"),
    made_of("ratelimit", *RATE, integer("kod", 0, 4, since="4.6")),
    several(
        made_of(
            "refclock",
            first(choice("driver", "PHC", "PPS", "SHM", "SOCK", RTC="4.7")),
            first(text("parameter")),
            number("delay"),
            integer("dpoll", -32, 32),
            integer("filter", 1),
            flag("local", since="4.3"),
            text("lock"),
            number("maxdispersion"),
            integer("maxlockage"),
            integer("maxsamples"),
            integer("maxunreach", since="4.8"),
            integer("minsamples"),
            number("offset", -inf),
            integer("poll", -32, 32),
            flag("pps"),
            number("precision"),
            integer("rate", 1),
            text("refid"),
            integer("stratum", 0, 15),
            flag("tai"),
            number("width"),
            *SELECTION,
        )
    ),
    integer("refresh", since="4.4"),
    number("reselectdist"),
    number("rtcautotrim"),
    text("rtcdevice"),
    text("rtcfile"),
    flag("rtconutc"),
    flag("rtcsync"),
    integer("sched_priority", 0, 99),
    refused("server", "set chrony_nts_sources"),
    made_of("smoothtime", first(number("max_freq")), first(number("max_wander")), flag("leaponly")),
    number("stratumweight"),
    made_of(
        "tempcomp",
        first(text("sensor")),
        first(number("interval")),
        *(bare(number(name, -inf)) for name in ("T0", "k0", "k1", "k2")),
        bare(text("points")),
    ),
    refused("user", "chronyd is built for the right one, and chrony_nts_layout 'single' writes it out, take it out"),
    several(text("confdir")),
    several(text("include")),
    several(text("sourcedir")),
)

# A source in the form that _sources.complete() returns.
SOURCE = made_of(
    "chrony_nts_sources",
    bare(choice("type", "server", "pool", "peer")),
    bare(text("address")),
    number("asymmetry", -0.5, 0.5),
    flag("auto_offline"),
    flag("burst"),
    integer("certset", 0, 2**32 - 1, since="4.1"),
    flag("copy", since="4.1"),
    several(choice("extfield", F323="4.2", F324="4.5")),
    integer("filter", 1, 128),
    flag("iburst"),
    flag("ipv4", since="4.6"),
    flag("ipv6", since="4.6"),
    secret(integer("key", 1, 2**32 - 1)),
    number("maxdelay"),
    number("maxdelaydevratio"),
    number("maxdelayquant", 0, 1, since="4.3"),
    number("maxdelayratio"),
    integer("maxntsretry", 6, 24, since="4.9"),
    integer("maxpoll", -7, 24),
    integer("maxsamples"),
    integer("maxsources", 1, 16),
    integer("maxunreach", since="4.8"),
    number("mindelay"),
    integer("minpoll", -7, 24),
    integer("minsamples"),
    integer("minstratum", 0, 16),
    flag("nts"),
    integer("ntsport", 1, 65535),
    flag("offline"),
    number("offset", -inf),
    integer("polltarget", 1),
    integer("port", 1, 65535),
    integer("presend", -32, 32),
    integer("version", 1, 4),
    flag("xleave"),
    *SELECTION,
)


def normal(word: Word, value: Any) -> Any:
    """Convert a value in the syntax of chrony.conf, or of other roles, to the structure of the table.

    `"1.0 3"` of makestep becomes {threshold: "1.0", limit: "3"}, `"*"` of hwtimestamp [{interface: "*"}],
    `"tracking statistics"` of log a list, and `"no"` of a flag False. Return a value that has neither syntax unchanged:
    `problems` reports it.
    """
    if value is None or value is False:
        return value
    if word.kind == "flag" and _lower(value) in BOOLEANS_FALSE:
        return False
    if not word.several:
        return _normal_one(word, value)
    return [_normal_one(word, item) for item in (value if isinstance(value, list) else [value])]


def _normal_one(word: Word, value: Any) -> Any:
    if isinstance(value, (str, list)) and not (value.strip() if isinstance(value, str) else value):
        # Empty text is a mistake, not the bare directive.
        return value
    if word.kind == "words" and isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value).replace(",", " ").split()
    if word.kind != "parts" or value is True:
        return value
    if isinstance(value, Mapping):
        parts = {part.name: part for part in word.parts}
        return {name: normal(parts[name], item) if name in parts else item for name, item in value.items()}
    if isinstance(value, list) and not any(isinstance(item, (list, Mapping)) for item in value):
        value = " ".join(map(str, value))
    if not isinstance(value, (str, int, float)):
        return value
    if not any(part.required for part in word.parts) and _lower(value) in BOOLEANS_TRUE | BOOLEANS_FALSE:
        return _lower(value) in BOOLEANS_TRUE
    read = _parse(word, str(value).split())
    return value if read is None else read


def _parse(word: Word, pieces: list[str]) -> dict[str, Any] | None:
    """Parse the arguments of a name that takes several values; return None if they are invalid."""
    read: dict[str, Any] = {}
    for part in word.parts:
        if (
            part.bare
            and pieces
            and (part.required or _is_right(part, [pieces[0]] if part.kind == "words" else pieces[0]))
        ):
            take = len(pieces) if part.kind == "words" else 1
            read[part.name] = pieces[:take] if part.kind == "words" else pieces[0]
            pieces = pieces[take:]
    named = {part.name.lower(): part for part in word.parts if not part.bare}
    while pieces:
        part = named.get(pieces[0].lower(), Word("", ""))
        take = 1 if part.kind == "flag" else 2
        if not part.name or len(pieces) < take:
            return None
        read[part.name] = True if part.kind == "flag" else pieces[1]
        pieces = pieces[take:]
    return read


def render_directives(directives: Mapping[str, Any]) -> list[str]:
    """Return the lines of chrony.conf for directives, in the order of the table."""
    commands = render_access(directives.get("cmdallow"), directives.get("cmddeny"), "cmd")
    rendered = {"cmdallow": commands, "cmddeny": [], "deny": render_access((), directives.get("deny"))}
    return [
        line for word in DIRECTIVES.parts for line in rendered.get(word.name, _spell(word, directives.get(word.name)))
    ]


def render_access(allow: Any, deny: Any, prefix: str = "") -> list[str]:
    """Return the lines of allow and deny, the widest network first, so that narrower rules override wider ones.

    In chronyd's table, a rule with "all" removes the earlier rules for parts of its network. Of two networks at the
    same depth of the table (prefix length / 4, rounded up), the later line overrides the earlier (addrfilt.c).
    """
    rules = [serving.access_rule(True, str(item).split()) for item in allow or () if item is not False]
    rules += [serving.access_rule(False, str(item).split()) for item in deny or () if item is not False]
    return [f"{prefix}{rule.line}" for rule in sorted(rules, key=_width)]


def _width(rule: serving.AccessRule) -> tuple[int, bool]:
    """Return a sort key: rules for both families first, then wide networks before narrow ones.

    A host name means single addresses, so it comes last. Of equal networks, a rule with "all" comes first.
    """
    lengths = [network.prefixlen for network in rule.networks] or [serving.LONGEST_PREFIX]
    return (-1 if len(lengths) > 1 else lengths[0]), not rule.replaces


def contradictions(allow: Any, deny: Any) -> list[str]:
    """Return the networks that are both in allow and in deny, sorted. Another rule reports an empty entry."""
    allowed, denied = (
        {_canonical_network(item) for item in items or () if str(item).split()} for items in (allow, deny)
    )
    return sorted(allowed & denied)


def _canonical_network(item: Any) -> str:
    """Return the network or host name of an access rule in canonical form."""
    words = str(item).split()
    address = words[-1] if words[1:] or words[:1] != ["all"] else ""
    networks = serving.networks_of(address)
    return str(networks[0]) if networks else address.lower() or "all"


def render_sources(sources: Collection[Mapping[str, Any]]) -> list[str]:
    """Return a line for each source."""
    return [_join(SOURCE, source) for source in sources]


def trust_files(
    anchors: Collection[Mapping[str, Any]],
    folder: str,
    roots: Collection[str] = (),
    server_cas: Collection[str] = (),
    version: str | None = None,
) -> list[dict[str, Any]]:
    """Return set, path and content of the file of each set of trust anchors, sorted by set.

    roots and server_cas are the role's own CA certificates in PEM, for set 0. Each set is one file, because chronyd 4.0
    accepts only one. Sets other than 0 need chronyd 4.1, and are omitted for an older version.
    """
    sets: dict[int, dict[str, None]] = {}
    marked = [f"{ROOT_MARK}\n{text.strip()}" for text in roots if text.strip()]
    for anchor in [*anchors, *({"content": text} for text in [*marked, *server_cas])]:
        number = int(anchor.get("set") or 0)
        if anchor["content"].strip() and (number == 0 or not is_newer("4.1", version)):
            sets.setdefault(number, {})[anchor["content"].strip()] = None
    return [
        {
            "set": number,
            "path": f"{folder}/trusted{f'-{number}' if number else ''}.pem",
            "content": "\n".join(sets[number]) + "\n",
        }
        for number in sorted(sets)
    ]


def trust_patterns(folder: str) -> list[str]:
    """Return shell patterns of the paths that trust_files() returns; the number of a set has up to 10 digits."""
    return [f"{folder}/trusted.pem", *(f"{folder}/trusted-{'[0-9]' * digits}.pem" for digits in range(1, 11))]


def supported(wanted: Any, version: str | None) -> Any:
    """Return directives, or a list of sources, without the parts that need a newer chronyd than this version."""
    if isinstance(wanted, Mapping):
        return _known(DIRECTIVES, wanted, version)
    return [_known(SOURCE, source, version) for source in wanted]


def problems(
    directives: Mapping[str, Any], sources: Collection[Mapping[str, Any]], version: str | None = None
) -> list[str]:
    """Return a sentence for each mistake, and, given a version, for each part that needs a newer chronyd."""
    found = list(wrong(DIRECTIVES, directives, "chrony_nts_directives", version))
    for source in sources:
        where = f"chrony_nts_sources ({source.get('address')})"
        found += wrong(SOURCE, source, where, version)
        if source.get("key") is not None and source.get("nts"):
            found.append(f"In {where}, key has no effect on a source with NTS: take it out, or set nts to false.")
    return found


def _spell(word: Word, value: Any) -> Iterator[str]:
    """Yield the text of a value in chrony.conf: nothing, one piece of a line, or several pieces."""
    if _is_given(word, value):
        for item in value if word.several else [value]:
            yield " ".join(piece for piece in ("" if word.bare else word.name, _join(word, item)) if piece)


def _join(word: Word, value: Any) -> str:
    """Return the arguments that follow a name in chrony.conf."""
    if word.kind == "flag":
        return ""
    if word.kind == "words":
        return " ".join(map(str, value))
    if word.kind == "parts":
        given = {} if value is True else value
        return " ".join(piece for part in word.parts for piece in _spell(part, given.get(part.name)))
    return str(value)


def _is_given(word: Word, value: Any) -> bool:
    """Return whether chrony.conf gets the name: no value, and false, omit it."""
    return not (value is None or value is False or (word.kind == "flag" and _lower(value) in BOOLEANS_FALSE))


def _lower(value: Any) -> str:
    return str(value).strip().lower()


def is_newer(since: str, version: str | None) -> bool:
    """Return whether version since is newer than version; False if version is unknown."""
    have = re.match(r"\d+(\.\d+)+", version or "")
    return have is not None and _numbers(since) > _numbers(have[0])


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _known(word: Word, value: Any, version: str | None) -> Any:
    """Return a value without the parts that need a newer chronyd than this version; None if no part remains."""
    if not _is_given(word, value) or is_newer(word.since, version):
        return None
    if not word.several:
        return _known_of_one(word, value, version)
    return [item for item in (_known_of_one(word, item, version) for item in value) if item is not None] or None


def _known_of_one(word: Word, value: Any, version: str | None) -> Any:
    if word.kind == "parts" and isinstance(value, Mapping):
        known = {part.name: _known(part, value[part.name], version) for part in word.parts if part.name in value}
        lost = any(part.required and known.get(part.name) is None for part in word.parts)
        return None if lost else {name: item for name, item in known.items() if item is not None}
    if word.kind == "words":
        known_words = [item for item in value if not is_newer(word.choices.get(str(item), OLDEST), version)]
        return known_words if known_words or not value else None
    return None if is_newer(word.choices.get(str(value), OLDEST), version) else value


def wrong(word: Word, value: Mapping[str, Any], where: str = "", version: str | None = None) -> Iterator[str]:
    """Yield a sentence for each mistake in the parts of a value; where is the prefix that locates them."""
    parts = {part.name: part for part in word.parts}
    for name, item in value.items():
        if name not in parts:
            close = "".join(f", or make it {other}" for other in get_close_matches(str(name), parts, 1))
            yield f"{_qualified_name(where, name)} is not known: take it out{close}."
        elif _is_given(parts[name], item):
            yield from _wrong_part(parts[name], item, where, version)
    for part in word.parts:
        if part.required and not _is_given(part, value.get(part.name)):
            yield f"{_qualified_name(where, part.name)} is missing: set it to {wanted(part)}."
    if word.name == "tempcomp":
        terms = [name for name in ("T0", "k0", "k1", "k2") if value.get(name) is not None]
        if len(terms) != (0 if value.get("points") is not None else 4):
            yield f"In {where}, set either points, or T0, k0, k1 and k2."


def _wrong_part(word: Word, value: Any, where: str, version: str | None) -> Iterator[str]:
    if word.instead:
        yield f"{_qualified_name(where, word.name)} cannot be given: {word.instead}."
        return
    if is_newer(word.since, version):
        yield _too_new(word.name, where, word.since, version)
        return
    if word.several and not isinstance(value, list):
        yield f"{_qualified_name(where, word.name)} {_shown(word, value)}: set it to {wanted(word)}."
        return
    for item in value if word.several else [value]:
        if not _is_right(word, item):
            yield f"{_qualified_name(where, word.name)} {_shown(word, item)}: set it to {_wanted(word)}."
        elif word.kind == "parts":
            yield from wrong(word, {} if item is True else item, f"{where}.{word.name}".strip("."), version)
        elif word.choices:
            for chosen in item if word.kind == "words" else [item]:
                since = word.choices[str(chosen)]
                if is_newer(since, version):
                    yield _too_new(str(chosen), f"{where}.{word.name}", since, version)


def _qualified_name(where: str, name: str) -> str:
    """Return the name of a part as the subject of a sentence, with the prefix that locates it."""
    return f"In {where}, {name}" if where else name


def _shown(word: Word, value: Any) -> str:
    """Return a predicate that quotes a value, shortened; never quote a secret, or a value that can hold one."""
    if word.secret or any(part.secret for part in word.parts):
        return "is not right"
    return f"is {shortened(value)}"


def shortened(value: Any) -> str:
    """Return a value as a message quotes it: its repr(), cut to LONGEST_SHOWN characters."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _too_new(name: str, where: str, since: str, version: str | None) -> str:
    return (
        f"{name} of {where} needs chronyd {since} or newer, this host has {version}: take it out, "
        "or set chrony_nts_skip_unsupported to true."
    )


def _is_right(word: Word, value: Any) -> bool:
    """Return whether a value has the type and the range of its definition."""
    written = str(value)
    if isinstance(value, bool) or word.kind == "flag":
        return (word.kind == "flag" and _lower(value) in BOOLEANS_TRUE) or (
            word.kind == "parts" and value is True and not any(part.required for part in word.parts)
        )
    if word.kind == "parts":
        return isinstance(value, Mapping)
    if word.kind == "words":
        return (
            isinstance(value, list)
            and (not word.required or value != [])
            and all(_is_word(word, item) for item in value)
        )
    if word.kind == "string":
        return isinstance(value, str)
    if not isinstance(value, (str, int, float)):
        return False
    if word.kind in ("integer", "number"):
        pattern = INTEGER if word.kind == "integer" else NUMBER
        return pattern.fullmatch(written) is not None and word.low <= float(written) <= word.high
    if word.kind == "address":
        return is_ip_address(written)
    if word.kind == "access":
        rule = written.removeprefix("all ")
        return is_subnet(rule) or is_host_name(rule)
    return _is_word(word, value)


def _is_word(word: Word, value: Any) -> bool:
    return str(value) in word.choices if word.choices else WORD.fullmatch(str(value)) is not None


def wanted(word: Word) -> str:
    """Return a phrase for the valid values of a name, for messages."""
    return f"a list, of which each entry is {_wanted(word)}" if word.several else _wanted(word)


def _wanted(word: Word) -> str:
    """Return a phrase for the valid values of a name, or of one entry of its list."""
    if word.kind in ("integer", "number"):
        kind = "a whole number" if word.kind == "integer" else "a number"
        if word.low == -inf:
            return kind
        if word.high in (inf, INT_MAX):
            return f"{kind} of {word.low:.15g} or more"
        return f"{kind} from {word.low:.15g} to {word.high:.15g}"
    one = f"one of {', '.join(word.choices)}" if word.choices else "one word, without a comment"
    return {
        "flag": "true or false",
        "string": "text",
        "words": f"a list, of which each entry is {one}",
        "parts": f"a dictionary with {', '.join(part.name for part in word.parts)}",
        "address": "an IP address",
        "access": "'all', a subnet as 192.0.2.0/24 or 2001:db8::/32 (no bit is set behind its prefix), or a host name",
    }.get(word.kind, one)
