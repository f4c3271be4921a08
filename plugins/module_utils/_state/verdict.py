# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The verdict: whether this host's clock follows authenticated time, and why it does not.

Pure functions over the facts. A source with NTS never gives chronyd an unauthenticated sample. The clock follows
authenticated time under two conditions:

- A source with NTS, authenticated now, agrees with the sources that chronyd follows.
- chronyd may follow no other sources but two kinds. The operator declares the first kind right: a reference clock, a
  symmetric key, the option trust. The second kind must stay within the time of trusted sources (authselectmode mix, or
  the option trust on them).

The verdict depends on what chronyd may follow, not on what it follows now, so that repeated runs agree.

Long: the rules of all states refer to each other, so a reader checks them against docs/verdict.md in one file.
"""

import math
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._nts.causes import CAUSES
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import LOCAL_REFERENCE_ID, OPTIONAL
from ansible_collections.securetime.nts.plugins.module_utils._state.ke_log import (
    Failure,
    read_failures,
    seconds_to_next_attempt,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.source_files import by_name, canonical

Row = Dict[str, Any]

FOLLOWED = ("selected", "combined")
# States of the selection (sources.c) in which a source has passed chronyd's comparison with the others.
AGREEING = (*FOLLOWED, "distant", "large_interval", "not_preferred", "waits_for_update")
# A source in the state not_trusted overlaps with the trusted sources, too, but is not wholly within their interval. The
# interval of a server on a network is never within that of a reference clock.
CONFIRMING = (*AGREEING, "not_trusted")
# Without the report selectdata, a source agrees in these states of the report sources.
AGREEING_SOURCES = (*FOLLOWED, "not_combined")
# From this stratum on, NTP treats a server as unsynchronised (RFC 5905; ntp.h: NTP_MAX_STRATUM).
UNSYNCHRONISED_STRATUM = 16
MOST_COOKIES = 8
# chronyd starts the first key exchange within seconds of its start, and ends it after 16 s.
FIRST_KEY_EXCHANGE_SECONDS = 20.0
# chronyd resolves a name at its start and again after 28 s.
FIRST_RESOLUTION_SECONDS = 10.0
# From this offset on, the role's makestep steps the clock at chronyd's start.
FAR_OFF_SECONDS = 1.0
# chronyd's default maxslewrate: 83333.333 ppm.
SLEW_RATE = 1 / 12
# Unanswered requests that prove a failure: one or two packets may be lost.
PROOF_REQUESTS = 3
# Index of test 6 in chronyd's tests 5 to 7: the server reports a synchronised clock.
TEST_SYNCHRONISED = 1

NO_ACCESS = {
    "closed": "Become root, who may use its Unix socket; if you are, look at bindcmdaddress and cmdport in its"
    ' configuration, and for "Disabled command socket" in its log',
    "silent": "It hangs, or something drops the packets between them; look at the process, and restart chronyd",
    "unusable": "Install or repair the program chronyc",
}
# Remedies by chronyc's status number. If chronyd and chronyc have different versions, chronyd refuses only the reports
# whose format differs between the two.
OTHER_VERSION = ": chronyc and the running chronyd are of different versions"
REFUSALS = {
    "501": ": become root, for chronyd gives it over its Unix socket only",
    "502": OTHER_VERSION,
    "505": ": the directive for it is not configured",
    "508": OTHER_VERSION,
    "518": OTHER_VERSION,
    "513": ": the directive rtcfile is not configured, or the clock's driver does not run",
}

NOT_SELECTED = {
    "distant": "it is too far from the best source to be combined with it",
    "falseticker": "its time disagrees with the majority of the sources",
    "jittery": "its time varies too much",
    "large_distance": "its root distance is larger than maxdistance",
    "large_interval": "the interval of its possible time is too large",
    "missing_samples": "chronyd has too few samples of it yet",
    "noselect": "it is configured or made noselect",
    "not_preferred": "other sources are preferred",
    "not_trusted": "its time disagrees with that of the trusted sources",
    "orphan": "it only serves its local time (orphan): its stratum is not less than that of the directive local here",
    "stale": "its samples are too old",
    "stratum_out_of_range": "its stratum is outside of the range that minstratum and maxstratum allow",
    "unsynchronised": "it says that it is not synchronised",
    "waits_for_samples": "chronyd waits for samples of other sources",
    "waits_for_sources": "chronyd waits for other sources (minsources, or a required source)",
    "waits_for_update": "chronyd waits for its next sample",
}


class Log(NamedTuple):
    """The failures in the running daemon's log, newest first, and whether the log is readable."""

    failures: List[Failure]
    readable: bool


class Verdict(NamedTuple):
    """The state of a source or a host, and the reasons."""

    state: str
    reasons: List[str]


class Undeclared(NamedTuple):
    """Sources that no file declares: the file of each source in the order of the facts, the labels, and the reasons.

    labels is None if not all files are readable.
    """

    files: List[Optional[str]]
    labels: Optional[List[str]]
    reasons: List[str]


def read_log(lines: Optional[Iterable[Tuple[float, str]]]) -> Log:
    """Return the failures in the daemon's log lines (age in seconds, text); lines is None for an unreadable log."""
    return Log([] if lines is None else read_failures(lines), lines is not None)


def judge(host: Row, reports: Row, log: Log) -> Row:
    """Return the facts of the host and of chronyd's reports, with the verdict on the host and each source in `nts`."""
    facts = dict(host)
    for name in ("tracking", "sources", "activity", "serverstats", *OPTIONAL):
        facts[name] = reports.get(name)
    facts["access"] = reports["access"] if host["running"] else None
    facts["refused"] = reports.get("refused", {})
    verdicts = [judge_source(source, facts, log) for source in facts["sources"] or []]
    state, reasons = judge_host(facts, verdicts, reports)
    authenticated = state in ("authenticated", "partial")
    undeclared = _undeclared(facts, reports)
    notes = _notes_on_other_sources(facts["sources"] or []) if authenticated else []
    reasons = [
        *reasons,
        *_other_clock_setters(facts),
        *_large_offset(facts),
        *_high_stratum(facts),
        *undeclared.reasons,
        *_refused_reports(facts),
    ]
    if facts["sources"]:
        facts["sources"] = [
            dict(row, declared_in=file, nts=verdict._asdict())
            for row, file, verdict in zip(facts["sources"], undeclared.files, verdicts)
        ]
    facts["nts"] = {
        "state": state,
        "authenticated": authenticated,
        "authenticated_sources": sum(verdict.state == "authenticated" for verdict in verdicts),
        "undeclared_sources": undeclared.labels,
        "reasons": reasons,
        "notes": notes,
    }
    return facts


def needs_log(facts: Row) -> bool:
    """Return whether the daemon's log can refine the verdict, because a source with NTS is not authenticated."""
    return any(source["nts"]["state"] in ("pending", "failed") for source in facts["sources"] or [])


def reached(facts: Row, condition: str, sources: int, max_offset: Optional[float] = None) -> bool:
    """Return whether enough sources meet the condition of `wait_for`, with an offset of at most max_offset seconds."""
    rows = facts["sources"] or []
    offset = facts["tracking"] and facts["tracking"]["offset_seconds"]
    if max_offset is not None and (offset is None or abs(offset) > max_offset):
        return False
    if condition == "authenticated":
        count = facts["nts"]["authenticated_sources"] if facts["nts"]["authenticated"] else 0
    elif condition == "synchronised":
        synchronised = facts["tracking"] and facts["tracking"]["synchronised"]
        count = sum(row["state"] in FOLLOWED for row in rows) if synchronised else 0
    else:
        count = sum(bool(row["reachable"]) for row in rows)
    return bool(count >= sources)


def progress(facts: Row) -> List[str]:
    """Return a line for each source, with its verdict, its state and its reach."""
    return [
        f"{label_of(source, facts['sources'])}: {source['nts']['state']}, {source['state']},"
        f" reach {'unknown' if source['reach'] is None else format(source['reach'], '03o')}"
        for source in facts["sources"] or []
    ]


def judge_source(source: Row, facts: Row, log: Log) -> Verdict:
    """Return the verdict on one source."""
    label = label_of(source, facts["sources"])
    auth = source["auth"]
    if source["mode"] == "refclock":
        return Verdict("unauthenticated", [f"{label} is a reference clock: NTS does not authenticate its time."])
    if auth is None:
        refused = "authdata" in facts["refused"]
        return Verdict("unknown", [] if refused else [f"{label}: chronyc authdata did not list it."])
    if auth["mode"] == "unknown":
        return Verdict("unknown", [f"{label} is authenticated in a way that is not known here."])
    if auth["mode"] == "none":
        return Verdict("unauthenticated", [f"{label} is not authenticated: it is configured without the nts option."])
    if auth["mode"] == "symmetric_key":
        return Verdict(
            "unauthenticated", [f"{label} is authenticated by the symmetric key {auth['key_id']}, not by NTS."]
        )
    if not _is_complete(source):
        return Verdict("unknown", [f"{label}: chronyc's reports of it lack columns that the verdict needs."])
    state, reason = _judge_nts(source, facts, _failure_of(source, facts["sources"], log), log.readable)
    return Verdict(state, [f"{label}: {reason}."] if reason else [])


def _is_complete(source: Row) -> bool:
    """Return whether chronyc printed every column that the verdict needs; a missing column is None."""
    ntp = source["ntpdata"]
    needed = [source["reach"], *(source["auth"][name] for name in ("key_length_bits", "ke_attempts", "cookies", "nak"))]
    if ntp:
        needed += [ntp["remote_port"], ntp["total_tx"], ntp["total_valid_rx"], ntp["tests_5_to_7"]]
    return None not in needed


def label_of(source: Row, sources: List[Row]) -> str:
    """Return the name of a source, with its address if a pool has several sources of one name."""
    is_unique = sum(other["name"] == source["name"] for other in sources) == 1
    return source["name"] if is_unique or not source["address"] else f"{source['name']} ({source['address']})"


def _failure_of(source: Row, sources: List[Row], log: Log) -> Optional[Failure]:
    """Return the newest logged failure of a source since its last successful key exchange, or None."""
    is_unique = sum(other["name"] == source["name"] for other in sources) == 1
    since = source["auth"]["last_ke_seconds"]
    new = [failure for failure in log.failures if since is None or failure.age_seconds < since]
    # The sources of a pool share its name, so the address assigns each line to its source.
    addresses = (None, source["address"])
    own = [line for line in new if line.name == source["name"] and (is_unique or line.address in addresses)]
    own += [line for line in new if line.name is None and line.address and line.address == source["address"]]
    if not own and source["auth"]["ke_attempts"]:
        own = [line for line in new if line.name is None and line.address is None]
    return min(own, key=lambda line: line.age_seconds, default=None)


def _judge_nts(source: Row, facts: Row, failure: Optional[Failure], log_readable: bool) -> Tuple[str, str]:
    auth = source["auth"]
    age = facts["daemon"]["uptime_seconds"]
    age = math.inf if age is None else age
    if facts["daemon"]["features"].get("NTS") is False:
        return "failed", (
            "this chronyd is built without NTS and sends such a source nothing; install a chronyd built with NTS"
            " (chronyd -v shows +NTS)"
        )
    if source["address"] is None:
        if age < FIRST_RESOLUTION_SECONDS:
            return "pending", "its address is not known yet"
        return "failed", (
            "it has no address: its name is not resolved, or its addresses belong to other sources already; look at the"
            " name and at the DNS (chronyd tries again after 28 s, then less and less often, at last once an hour)"
        )
    if not auth["key_length_bits"]:
        return _judge_first_exchange(auth, failure, log_readable, age)
    if is_authenticated(source):
        return "authenticated", ""
    if failure or (auth["ke_attempts"] > 1 and not auth["cookies"] and not _exchanged_since_answer(source, age)):
        return "failed", f"{_failed_exchange(auth, failure)}. {_last_answer(source)}"
    # With -r, chronyd 4.0 to 4.9 restores the reach of its previous run before it has any answer.
    answered = source["reach"] and (source["ntpdata"] is None or source["ntpdata"]["total_valid_rx"])
    return _judge_reachable(auth) if answered else _judge_unreachable(source, age)


def _exchanged_since_answer(source: Row, age: float) -> bool:
    """Return whether a key exchange succeeded since the last answer.

    Only an answer resets chronyd's count of attempts (nts_ntp_client.c), so that a count alone proves no failure.
    """
    exchanged, answered = source["auth"]["last_ke_seconds"], source["last_rx_seconds"]
    return exchanged is not None and exchanged <= age and (answered is None or exchanged < answered)


def is_authenticated(source: Row) -> bool:
    """Return whether a source is authenticated now: it has keys, the keys work, and it answered a recent poll."""
    auth = source["auth"]
    established = auth["key_length_bits"] and auth["cookies"] and not auth["nak"] and not auth["ke_attempts"]
    # Without ntpdata the reach suffices: with NTS, chronyd counts only authenticated answers in it.
    verified = source["ntpdata"] is None or (source["ntpdata"]["authenticated"] and source["ntpdata"]["total_valid_rx"])
    return bool(established and verified and source["reach"])


def _judge_first_exchange(auth: Row, failure: Optional[Failure], log_readable: bool, age: float) -> Tuple[str, str]:
    """Return the verdict on a source that never had keys.

    The reports show a first key exchange under way and a failed one alike, so the log or chronyd's age decides.
    """
    attempts = auth["ke_attempts"]
    if not attempts and not failure:
        return "pending", "no key exchange has been tried yet"
    if attempts == 1 and not failure and (log_readable or age < FIRST_KEY_EXCHANGE_SECONDS):
        return "pending", "its first key exchange is under way"
    return "failed", _failed_exchange(auth, failure)


def _failed_exchange(auth: Row, failure: Optional[Failure]) -> str:
    if failure is None:
        return (
            f"{auth['ke_attempts']} key exchange{'s were' if auth['ke_attempts'] > 1 else ' was'} tried and none"
            " succeeded; chronyd's log says why. After the repair, restart chronyd: it may wait long for the next one"
        )
    wait = seconds_to_next_attempt(failure, auth["ke_attempts"])
    sentence = f'{failure.cause} (chronyd: "{failure.text}"); {failure.remedy}'
    if wait is None:
        return sentence
    if wait < 60:
        return f"{sentence}. chronyd tries again by itself within a minute, or at its next poll"
    return f"{sentence}. chronyd tries again only in about {duration(wait)}: after the repair, restart chronyd"


def _judge_reachable(auth: Row) -> Tuple[str, str]:
    """Return the verdict on a source that answered a recent poll, but has no usable keys for its next request."""
    if auth["nak"]:
        return "pending", (
            "the server has refused the cookies (NTS NAK: it has lost its keys, see ntsdumpdir on the server); chronyd"
            " makes a new key exchange with its next poll"
        )
    if auth["ke_attempts"]:
        return "pending", "a new key exchange is under way"
    if not auth["cookies"]:
        return "pending", "all cookies are used up; chronyd makes a new key exchange with its next poll"
    return "pending", "its last valid answer was not authenticated"


def _judge_unreachable(source: Row, age: float) -> Tuple[str, str]:
    """Return the verdict on a source with keys that answered none of its last eight polls, or is not polled yet."""
    auth = source["auth"]
    ntp = source["ntpdata"]
    valid = ntp["total_valid_rx"] if ntp else 0
    unanswered = ntp["total_tx"] if ntp and not valid else MOST_COOKIES - auth["cookies"]
    port = f"UDP port {ntp['remote_port']} of {source['address']}" if ntp else source["address"]
    saved = (auth["last_ke_seconds"] or 0) > age
    if auth["nak"] and not saved and auth["cookies"] < MOST_COOKIES:
        return "failed", (
            f"{port} refuses the cookies that the key exchange gave (NTS NAK): the server for key exchanges and the one"
            " for NTP must have the same keys; chrony 4.4 to 4.6 derives other keys for AEAD 30 than servers of other"
            " make (update it). After the repair, restart chronyd: it may wait long for the next key exchange"
        )
    if ntp and valid and unanswered < PROOF_REQUESTS and ntp["tests_5_to_7"][TEST_SYNCHRONISED:][:1] == "0":
        return "pending", "; ".join(CAUSES[_why_unsynchronised(ntp)])
    if unanswered < PROOF_REQUESTS:
        return "pending", "the keys are there, and the first authenticated answer is awaited"
    if valid:
        return "failed", (
            f"it answers no longer: none of the last 8 requests to {port} got an authenticated answer, the last one"
            f" came {duration(source['last_rx_seconds'] or 0)} ago; look at that server, and at the network"
        )
    before = "its cookies are from before chronyd's start" if saved else "the key exchange succeeded"
    after = "" if auth["cookies"] else ". Its cookies are used up: after the repair, restart chronyd"
    return "failed", (
        f"{before}, but none of {unanswered} NTP requests to {port} was answered; look whether that server is up, and"
        " let the port through every firewall on the way (requests with NTS are longer than plain ones, and some"
        f" networks drop them){after}"
    )


def _why_unsynchronised(ntp: Row) -> str:
    """Return the kind of a time that chronyd rejects: the stratum is too high, or the server is unsynchronised.

    A server with too high a stratum reports that it is synchronised, and sends stratum 0 (chronyd) or 16.
    """
    leap_status, stratum = ntp["leap_status"], ntp["stratum"]
    synchronised = leap_status not in ("not_synchronised", "unknown", None)
    too_high = stratum is not None and (stratum == 0 or stratum >= UNSYNCHRONISED_STRATUM)
    return "ntp_stratum" if synchronised and too_high else "ntp_unsynchronised"


def _last_answer(source: Row) -> str:
    if source["last_rx_seconds"] is None:
        return "No authenticated answer of it has come since chronyd's start"
    return f"Its last authenticated answer came {duration(source['last_rx_seconds'])} ago"


def duration(seconds: float) -> str:
    """Return a duration as text, in the largest unit of which it has at least two."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def judge_host(facts: Row, verdicts: List[Verdict], reports: Row) -> Verdict:
    """Return the verdict on the host, from the verdicts on its sources."""
    # Long: one case after the other, in the order in which they decide.
    if not facts["running"]:
        return Verdict("not_running", _reasons_not_running(facts))
    if "refusal" in reports:
        return Verdict(
            "unknown",
            [f"chronyd runs, but chronyc gets no report from it: {reports['refusal']}. {NO_ACCESS[facts['access']]}."],
        )
    pairs = list(zip(facts["sources"] or [], verdicts))
    if facts["sources"] is None or any(verdict.state == "unknown" for _source, verdict in pairs):
        return Verdict(
            "unknown", [text for verdict in verdicts if verdict.state == "unknown" for text in verdict.reasons]
        )
    with_nts = [(source, verdict) for source, verdict in pairs if kind_of(source) == "nts"]
    why = [reason for _source, verdict in with_nts for reason in verdict.reasons]
    synchronised = facts["tracking"]["synchronised"]
    followed = [(source, verdict) for source, verdict in pairs if synchronised and source["state"] in FOLLOWED]
    proven = [source for source, verdict in with_nts if verdict.state == "authenticated"]
    without_nts = [(source, verdict) for source, verdict in followed if kind_of(source) != "nts"]
    if not with_nts:
        return Verdict(
            "unauthenticated", list(map(_followed_reason, without_nts)) or _reasons_without_nts(facts, verdicts)
        )
    if any(source["selection"] is None for source, _verdict in without_nts if kind_of(source) == "plain"):
        return Verdict("unknown", [*map(_followed_reason, without_nts), *why])
    loose = _loose(pairs, proven) if synchronised else []
    if loose:
        return Verdict("unauthenticated", loose + why)
    unconfirmed = [
        f"{label_of(source, facts['sources'])}: authenticated, but not followed yet: {_selection_reason(source)}."
        for source in proven
    ]
    if synchronised and any(_confirms(source) for source in proven):
        return Verdict("authenticated" if len(proven) == len(with_nts) else "partial", why)
    if without_nts:
        return Verdict(
            "unauthenticated",
            [*map(_followed_reason, without_nts), "No source with NTS confirms its time now.", *unconfirmed, *why],
        )
    failed = all(verdict.state == "failed" or _is_never_followed(source) for source, verdict in with_nts)
    return Verdict("failed" if failed else "pending", why + unconfirmed + _own_reference(facts))


def kind_of(source: Row) -> str:
    """Return the reason to trust a source: nts, refclock, symmetric_key, trust (the option configured), or plain."""
    if source["mode"] == "refclock":
        return "refclock"
    mode = source["auth"]["mode"] if source["auth"] else "none"
    if mode in ("nts", "symmetric_key"):
        return str(mode)
    return "trust" if source["selection"] and source["selection"]["configured_trust"] else "plain"


def _agrees(source: Row) -> bool:
    return bool(source["selection"] and source["selection"]["state"] in AGREEING)


def _confirms(source: Row) -> bool:
    """Return whether a source agrees with the sources that a synchronised clock follows."""
    if source["selection"]:
        return source["selection"]["state"] in CONFIRMING
    return source["state"] in AGREEING_SOURCES


def _has_option(source: Row, option: str) -> bool:
    return bool(source["selection"] and source["selection"][f"effective_{option}"])


def _loose(pairs: List[Tuple[Row, Verdict]], proven: Iterable[Row]) -> List[str]:
    """Return a reason for each plain source that chronyd may follow away from the authenticated time.

    While a source with the option trust is usable, every source without it must lie within the time of those sources
    (sources.c: SRC_SelectSource), and no source is loose. If none of them is usable, the plain sources are loose that
    the clock follows now. If no source has the option, the plain sources are loose that chronyd may follow at any time.
    """
    sources = [source for source, _verdict in pairs]
    constrained = _is_constrained(sources)
    usable = [*proven, *(source for source in sources if kind_of(source) not in ("nts", "plain"))]
    if constrained and any(_has_option(source, "trust") and _agrees(source) for source in usable):
        return []
    advice = (
        "Nothing keeps it near the authenticated time: set authselectmode to mix or require, or give the sources with"
        " NTS the options trust and require."
    )
    if constrained:
        advice = "No source that is to keep it near the authenticated time (option trust) is usable now."
    found = []
    for source, verdict in pairs:
        followed = source["state"] in FOLLOWED
        if kind_of(source) != "plain" or not (followed or (not constrained and _may_be_followed(source, sources))):
            continue
        sentence = "The clock follows" if followed else "chronyd may at any time follow"
        found.append(f"{sentence} a source without NTS: {verdict.reasons[0]} {advice}")
    return found


def _is_constrained(sources: Iterable[Row]) -> bool:
    """Return whether the configuration keeps sources without the option trust within the time of other sources."""
    return any(_has_option(source, "trust") and kind_of(source) != "plain" for source in sources)


def _may_be_followed(source: Row, sources: Iterable[Row]) -> bool:
    """Return whether chronyd may follow a source while the other sources keep their states."""
    if source["selection"] is None or _is_never_followed(source):
        return False
    # While a source with the option prefer is selectable, chronyd follows none without it.
    return _has_option(source, "prefer") or not any(
        _has_option(other, "prefer") and _agrees(other) for other in sources
    )


def _followed_reason(pair: Tuple[Row, Verdict]) -> str:
    return f"The clock follows a source without NTS: {pair[1].reasons[0]}"


def _notes_on_other_sources(sources: List[Row]) -> List[str]:
    """Return a note for each kind of source without NTS that chronyd may follow by its configuration."""
    labels = {}  # type: Dict[str, List[str]]
    for source in sources:
        if not _is_never_followed(source):
            labels.setdefault(kind_of(source), []).append(label_of(source, sources))
    plain_reason = "other sources are preferred while usable"
    if _is_constrained(sources):
        plain_reason = "it is believed only within the time of the sources with the option trust"
    texts = {
        "refclock": "a reference clock, which needs no authentication",
        "symmetric_key": "authenticated by a symmetric key",
        "trust": "not authenticated: the option trust declares it right",
        "plain": f"not authenticated: {plain_reason}",
    }
    return [
        f"chronyd may follow {', '.join(sorted(labels[kind]))}, too ({text})."
        for kind, text in texts.items()
        if kind in labels
    ]


def _is_never_followed(source: Row) -> bool:
    return bool(source["selection"] and source["selection"]["effective_noselect"])


def _selection_reason(source: Row) -> str:
    state = source["selection"]["state"] if source["selection"] else ""
    ntp = source["ntpdata"]
    if state == "missing_samples" and ntp and (ntp["tests_a_to_d"] or "").endswith("0") and _passes_other_tests(ntp):
        return "it follows this host itself (a loop), so that chronyd takes no sample of it"
    if state in ("orphan", "stratum_out_of_range"):
        return f"{NOT_SELECTED[state]} (it says stratum {source['stratum']})"
    return NOT_SELECTED.get(state, f"chronyc shows it as {source['state']}")


def _passes_other_tests(ntp: Row) -> bool:
    """Return whether the last answer passed every test but the last one, which detects loops."""
    return all(test in ("1", None) for test in (ntp["tests_a_to_d"] or "")[:-1])


def _high_stratum(facts: Row) -> List[str]:
    """Return the reason why clients treat this synchronised host as unsynchronised: its stratum is too high."""
    tracking = facts["tracking"]
    if not tracking or not tracking["synchronised"] or tracking["stratum"] < UNSYNCHRONISED_STRATUM:
        return []
    selected = next((source for source in facts["sources"] or [] if source["state"] == "selected"), None)
    cause = "."
    if selected:
        label = label_of(selected, facts["sources"])
        cause = f": {label} has stratum {selected['stratum']}, {_stratum_cause(selected)}."
    number = tracking["stratum"]
    return [f"The stratum of this host is {number}, with which its own clients take it for unsynchronised{cause}"]


def _stratum_cause(source: Row) -> str:
    ntp = source["ntpdata"]
    if not ntp:
        return "by its own sources or its configuration here"
    if ntp["stratum"] is not None and ntp["stratum"] < source["stratum"]:
        return f"by its option minstratum here (the server says {ntp['stratum']})"
    if ntp["reference_id"] == LOCAL_REFERENCE_ID:
        return "and serves its own clock (its directive local has that stratum)"
    return "at the end of a chain of servers that is too long (look at its sources)"


def _undeclared(facts: Row, reports: Row) -> Undeclared:
    """Return the sources of chronyd that its files do not name, or name less often."""
    sources = facts["sources"] or []
    declared = reports.get("declared")
    if declared is None or facts["sources"] is None or reports["names"] is None:
        return Undeclared([None] * len(sources), None, [])
    named = by_name(declared)
    files, labels, reasons = [], [], []  # type: Tuple[List[Optional[str]], List[str], List[str]]
    for source in sources:
        lines = named.get(canonical(source["name"]), [])
        files.append(lines[0].file if lines else None)
        if not lines and source["mode"] != "refclock":
            labels.append(label_of(source, sources))
    if labels:
        several = len(labels) > 1
        reasons.append(
            f"No file that chronyd reads names {', '.join(labels)}: something added {'them' if several else 'it'}"
            " (chronyc add, a DHCP helper), or the files changed since chronyd's start. A restart of chronyd leaves"
            f" {'them' if several else 'it'} out."
        )
    for key, lines in sorted(named.items()):
        own = [source for source in sources if canonical(source["name"]) == key]
        places = sum(canonical(name) == key for name in reports["names"])
        # Do not use the reach: with -r, chronyd restores the reach of its previous run.
        confirmed = sum(bool(source["ntpdata"] and source["ntpdata"]["total_valid_rx"]) for source in own)
        if places > sum(line.places for line in lines) or confirmed > sum(line.confirmed for line in lines):
            labels.append(lines[0].name)
            reasons.append(
                f"chronyd has the source {lines[0].name} more often than its files name it: something added it again,"
                " or chronyd multiplied it at a reload (chrony 4.6 and 4.6.1). Restart chronyd."
            )
    return Undeclared(files, labels, reasons)


def _own_reference(facts: Row) -> List[str]:
    tracking = facts["tracking"]
    if tracking["leap_status"] == "not_synchronised":
        return ["The clock is not synchronised."]
    if tracking["reference_id"] == LOCAL_REFERENCE_ID:
        return [f"Meanwhile the host serves its own clock as stratum {tracking['stratum']} (directive local)."]
    return []


def _reasons_without_nts(facts: Row, verdicts: List[Verdict]) -> List[str]:
    if not facts["sources"]:
        return ["No time source is configured.", *_own_reference(facts)]
    return [
        "No source is configured with NTS.",
        *(text for source in verdicts for text in source.reasons),
        *_own_reference(facts),
    ]


def _large_offset(facts: Row) -> List[str]:
    """Return the reason for a large offset of a synchronised clock, as after a manual change of the clock."""
    tracking = facts["tracking"]
    offset = tracking["offset_seconds"] if tracking and tracking["synchronised"] else None
    if offset is None or abs(offset) < FAR_OFF_SECONDS:
        return []
    wrong = f"{abs(offset):.3f} s {'fast' if offset > 0 else 'slow'}"
    slewing_seconds = abs(offset) / SLEW_RATE
    slews = f"chronyd only slews it, for {slewing_seconds:.0f} s or more: chronyc makestep sets it at once"
    return [f"The clock is {wrong}, and {slews}."]


def _other_clock_setters(facts: Row) -> List[str]:
    """Return a reason for another unit that runs chronyd, for none that does, and for each other clock setter."""
    unit, owner = facts["unit"], facts["daemon"].get("unit")
    reasons = []
    if facts["running"] and unit and owner and owner != unit["name"]:
        reasons.append(
            f"chronyd is run by {owner}, and not by {unit['name']}, which is {unit['active_state']}: stop {owner},"
            f" and start {unit['name']}."
        )
    if facts["running"] and unit and owner == unit["name"] and unit["active_state"] in ("inactive", "failed"):
        reasons.append(
            f"systemd has lost the running chronyd (process {facts['daemon']['pid']}): {owner} is"
            f" {unit['active_state']}. Do not start it, which would end both: run the playbook securetime.nts.site."
        )
    if facts["daemon"].get("clock_control") is False:
        return reasons
    active = {rival["unit"] for rival in facts["environment"]["rivals"] if rival["active_state"] == "active"}
    others = [
        setter
        for setter in facts["environment"].get("clock_setters") or []
        # While chronyd does not run, _reasons_not_running() names active rivals.
        if setter["sets_clock"] and (facts["running"] or setter["unit"] not in active)
    ]
    for setter in others:
        place = f"{setter['unit']}, process {setter['pid']}" if setter["unit"] else f"process {setter['pid']}"
        reasons.append(f"{setter['process']} ({place}) may set the clock, too: {setter['why']}.")
    return reasons


def _refused_reports(facts: Row) -> List[str]:
    """Return a reason with the remedy for the reports that chronyd refused."""
    reasons = []
    for status in sorted(set(facts["refused"].values())):
        names = ", ".join(sorted(name for name, refusal in facts["refused"].items() if refusal == status))
        reasons.append(f"Not reported: {names} ({status}{REFUSALS.get(status[:3], '')}).")
    if reasons and facts["daemon"]["replaced"]:
        reasons.append("chronyd's program has been replaced since its start: restart chronyd.")
    return reasons


def _reasons_not_running(facts: Row) -> List[str]:
    if not facts["installed"]:
        return ["chrony is not installed: the host has no chronyd."]
    unit = facts["unit"]
    if not unit:
        return ["chronyd is not running, and no unit of it is known to systemd."]
    reasons = [f"chronyd is not running: {unit['name']} is {unit['active_state']} ({unit['unit_file_state']})."]
    if facts["environment"].get("fips"):
        reasons.append("This host is in FIPS mode, which takes away what NTS needs: chronyd ends at its start.")
    if unit["active_state"] == "failed":
        reasons.append(f"Its last lines say why: journalctl -u {unit['name']} -n 20.")
    elif unit["skipped"]:
        reasons.append("At its last start systemd skipped the unit, without an error, for a condition that is not met.")
        if facts["environment"]["cap_sys_time"] is False:
            reasons.append(
                "This host may not set its clock (no CAP_SYS_TIME, as in a container), which is such a condition; start"
                " chronyd with -x, and clear the unit's ConditionCapability in a drop-in."
            )
    reasons += [
        f"{rival['unit']} is active and keeps the clock itself."
        for rival in facts["environment"]["rivals"]
        if rival["active_state"] == "active"
    ]
    return reasons
