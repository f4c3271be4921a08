# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Query a running chronyd for its reports, and parse them.

One chronyc process runs all commands. It reads them from standard input to the end, also after errors. Every offset has
one sign, whatever the report's own: positive means that this host's clock is ahead.

Long: one table of all reports and columns of chronyc, which is read as a whole beside its parser.
"""

import contextlib
import math
import os
import re
import select
import subprocess
import time
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, cast

Row = Dict[str, Any]
Ask = Callable[[Sequence[str]], List[str]]
Column = Tuple[str, Optional[Callable[[str], Any]]]

# chronyd's value for an unknown interval in seconds: 32 bits, all set.
UNKNOWN_INTERVAL = "4294967295"
# chronyd's value for an unknown average interval, a logarithm to the base 2.
UNKNOWN_INTERVAL_LOG2 = "127"
# The reference ID of the host's own clock (directives local and manual).
LOCAL_REFERENCE_ID = "7F7F0101"
UNRESOLVED = "ID#"
UNSPECIFIED = "[UNSPEC]"
# The answer of 4.0 to the command sourcename for a source without an address. There, `sources` with -N has the name.
NO_NAME = "Could not read address"

# A word that no version has as a command. Its error message marks the end of the report before it, because the option
# -e of chronyc came only with 4.4.
SEPARATOR = "end-of-report"
SEPARATOR_ANSWER = "Unrecognized command"
GRACE_SECONDS = 0.5
# The status for a source that chronyd has removed.
GONE = "503"
STATUS = re.compile(r"\d{3} [A-Z]")

SOURCE_MODES = {"^": "server", "=": "peer", "#": "refclock"}
SOURCE_STATES = {
    "*": "selected",
    "+": "combined",
    "-": "not_combined",
    "x": "falseticker",
    "~": "variable",
    "?": "unusable",
}
SELECTION_STATES = {
    "*": "selected",
    "+": "combined",
    "D": "distant",
    "L": "large_interval",
    "M": "missing_samples",
    "N": "noselect",
    "O": "orphan",
    "P": "not_preferred",
    "S": "stale",
    "T": "not_trusted",
    "U": "waits_for_update",
    "W": "waits_for_sources",
    "d": "large_distance",
    "r": "stratum_out_of_range",
    "s": "unsynchronised",
    "w": "waits_for_samples",
    "x": "falseticker",
    "~": "jittery",
}
AUTH_MODES = {"NTS": "nts", "SK": "symmetric_key", "-": "none"}
LEAP_STATES = {
    "Normal": "normal",
    "Insert second": "insert_second",
    "Delete second": "delete_second",
    "Not synchronised": "not_synchronised",
}
BOOLEANS = {"Yes": True, "No": False, "Y": True, "N": False, "1": True, "0": False}


class ChronycError(Exception):
    """chronyc printed an unexpected line."""

    def __init__(self, message: str, line: Optional[str] = None):
        super().__init__(message if line is None else f"{message}: {line!r}")
        self.line = line


class NoAnswerError(ChronycError):
    """chronyc cannot run, or gets no answer in time. access is the value of the fact of this name."""

    def __init__(self, access: str, message: str, line: Optional[str] = None):
        super().__init__(message, line)
        self.access = access


def _text(value: str) -> Optional[str]:
    return value or None


def _number(value: str) -> Optional[float]:
    number = float(value)
    return number if math.isfinite(number) else None


def _opposite(value: str) -> Optional[float]:
    number = _number(value)
    return None if number is None else 0.0 - number


def _interval(value: str) -> Optional[int]:
    return None if value == UNKNOWN_INTERVAL else int(value)


def _interval_log2(value: str) -> Optional[int]:
    return None if value == UNKNOWN_INTERVAL_LOG2 else int(value)


def _octal(value: str) -> int:
    return int(value, 8)


def _is_set(value: str) -> bool:
    return value != "-"


def _word(words: Dict[str, Any], unknown: Any = "unknown") -> Callable[[str], Any]:
    return lambda value: words.get(value, unknown)


def _mode(value: str) -> str:
    return value.lower().replace(" ", "_")


def _address(value: str) -> Optional[str]:
    return None if value == UNSPECIFIED else value


class Report(NamedTuple):
    """A report of chronyc.

    The parser skips a column without a reader. counts are the numbers of columns of the versions, the newest last.
    """

    command: str
    columns: Tuple[Column, ...]
    counts: Tuple[int, ...]

    @property
    def name(self) -> str:
        """Return the report's name in the facts."""
        return self.command.split()[0]

    @property
    def min_columns(self) -> int:
        """Return the least number of columns of a row: two, or up to the column key."""
        names = [name for name, _reader in self.columns]
        return max(2, names.index("key") + 1 if "key" in names else 0)


TRACKING = Report(
    "tracking",
    (
        ("reference_id", str),
        ("reference_name", _text),
        ("stratum", int),
        ("reference_time", _number),
        ("offset_seconds", _opposite),
        ("last_offset_seconds", _number),
        ("rms_offset_seconds", _number),
        ("frequency_ppm", _number),
        ("residual_frequency_ppm", _number),
        ("skew_ppm", _number),
        ("root_delay_seconds", _number),
        ("root_dispersion_seconds", _number),
        ("update_interval_seconds", _number),
        ("leap_status", _word(LEAP_STATES)),
    ),
    (14,),
)
SOURCES = Report(
    "sources -a",
    (
        ("mode", _word(SOURCE_MODES)),
        ("state", _word(SOURCE_STATES)),
        ("key", str),
        ("stratum", int),
        ("poll_log2_seconds", int),
        ("reach", _octal),
        ("last_rx_seconds", _interval),
        ("offset_seconds", _number),
        ("measured_offset_seconds", _number),
        ("error_seconds", _number),
    ),
    (10,),
)
SOURCESTATS = Report(
    "sourcestats -a",
    (
        ("key", str),
        ("samples", int),
        ("residual_runs", int),
        ("span_seconds", _interval),
        ("residual_frequency_ppm", _number),
        ("skew_ppm", _number),
        ("offset_seconds", _number),
        ("standard_deviation_seconds", _number),
    ),
    (8,),
)
ACTIVITY = Report(
    "activity",
    (
        ("online", int),
        ("offline", int),
        ("burst_to_online", int),
        ("burst_to_offline", int),
        ("unresolved", int),
    ),
    (5,),
)
AUTHDATA = Report(
    "authdata -a",
    (
        ("key", str),
        ("mode", _word(AUTH_MODES)),
        ("key_id", int),
        ("key_type", int),
        ("key_length_bits", int),
        ("last_ke_seconds", _interval),
        ("ke_attempts", int),
        ("nak", _word(BOOLEANS, None)),
        ("cookies", int),
        ("cookie_length_bytes", int),
    ),
    (10,),
)
NTPDATA = Report(
    "ntpdata",
    (
        ("key", str),
        ("remote_address_reference_id", None),
        ("remote_port", int),
        ("local_address", _address),
        ("local_address_reference_id", None),
        ("leap_status", _word(LEAP_STATES)),
        ("version", int),
        ("mode", _mode),
        ("stratum", int),
        ("poll_log2_seconds", int),
        ("poll_seconds", None),
        ("precision_log2_seconds", int),
        ("precision_seconds", None),
        ("root_delay_seconds", _number),
        ("root_dispersion_seconds", _number),
        ("reference_id", str),
        ("reference_name", _text),
        ("reference_time", _number),
        ("offset_seconds", _opposite),
        ("peer_delay_seconds", _number),
        ("peer_dispersion_seconds", _number),
        ("response_time_seconds", _number),
        ("jitter_asymmetry", _number),
        ("tests_1_to_3", str),
        ("tests_5_to_7", str),
        ("tests_a_to_d", str),
        ("interleaved", _word(BOOLEANS, None)),
        ("authenticated", _word(BOOLEANS, None)),
        ("tx_timestamping", str.lower),
        ("rx_timestamping", str.lower),
        ("total_tx", int),
        ("total_rx", int),
        ("total_valid_rx", int),
        ("total_good_rx", int),
        ("total_kernel_tx", int),
        ("total_kernel_rx", int),
        ("total_hardware_tx", int),
        ("total_hardware_rx", int),
    ),
    (33, 34, 38),
)
SELECTDATA = Report(
    "selectdata -a",
    (
        ("state_char", str),
        ("key", str),
        ("authentication_configured", _word(BOOLEANS, None)),
        ("configured_noselect", _is_set),
        ("configured_prefer", _is_set),
        ("configured_trust", _is_set),
        ("configured_require", _is_set),
        ("configured_reserved", None),
        ("effective_noselect", _is_set),
        ("effective_prefer", _is_set),
        ("effective_trust", _is_set),
        ("effective_require", _is_set),
        ("effective_reserved", None),
        ("last_sample_seconds", _interval),
        ("score", _number),
        ("interval_low_seconds", _number),
        ("interval_high_seconds", _number),
        ("leap_status", _word(LEAP_STATES)),
    ),
    (18,),
)
SERVERSTATS = Report(
    "serverstats",
    (
        ("ntp_received", int),
        ("ntp_dropped", int),
        ("command_received", int),
        ("command_dropped", int),
        ("client_log_dropped", int),
        ("nts_ke_accepted", int),
        ("nts_ke_dropped", int),
        ("ntp_authenticated", int),
        ("ntp_interleaved", int),
        ("ntp_timestamps_held", int),
        ("ntp_timestamps_span_seconds", int),
        ("ntp_daemon_rx_timestamps", int),
        ("ntp_daemon_tx_timestamps", int),
        ("ntp_kernel_rx_timestamps", int),
        ("ntp_kernel_tx_timestamps", int),
        ("ntp_hardware_rx_timestamps", int),
        ("ntp_hardware_tx_timestamps", int),
    ),
    (8, 11, 17),
)
REPORTS = (TRACKING, SOURCES, SOURCESTATS, ACTIVITY, AUTHDATA, NTPDATA, SELECTDATA, SERVERSTATS)
CLIENTS = Report(
    "clients",
    (
        ("address", str),
        ("ntp_requests", int),
        ("ntp_dropped", int),
        ("ntp_interval_log2_seconds", _interval_log2),
        ("ntp_limited_interval_log2_seconds", _interval_log2),
        ("ntp_last_seconds", _interval),
        ("command_requests", int),
        ("command_dropped", int),
        ("command_interval_log2_seconds", _interval_log2),
        ("command_last_seconds", _interval),
    ),
    (10,),
)
CLIENTS_KE = Report(
    "clients -k",
    (
        ("address", str),
        *((name, None) for name, _reader in CLIENTS.columns[1:6]),
        ("nts_ke_connections", int),
        ("nts_ke_dropped", int),
        ("nts_ke_interval_log2_seconds", _interval_log2),
        ("nts_ke_last_seconds", _interval),
    ),
    (10,),
)
MANUAL = Report(
    "manual list",
    (
        ("index", int),
        ("time", str),
        ("slewed_offset_seconds", _number),
        ("original_offset_seconds", _number),
        ("residual_seconds", _number),
    ),
    (5,),
)
RTCDATA = Report(
    "rtcdata",
    (
        ("reference_time", _number),
        ("samples", int),
        ("residual_runs", int),
        ("span_seconds", _interval),
        ("offset_seconds", _number),
        ("frequency_ppm", _number),
    ),
    (6,),
)
SMOOTHING = Report(
    "smoothing",
    (
        ("active", _word(BOOLEANS, None)),
        ("leap_only", bool),
        ("offset_seconds", _number),
        ("frequency_ppm", _number),
        ("wander_ppm_per_second", _number),
        ("last_update_seconds", _number),
        ("remaining_seconds", _number),
    ),
    (7,),
)
# One try returns at once, without waiting for an interval.
WAITSYNC = Report(
    "waitsync 1",
    (("try", int), ("reference_id", str), ("correction_seconds", _number), ("skew_ppm", _number)),
    (4,),
)
# The columns of a client that appeared between the two commands.
NO_EXCHANGES = {name: None for name, reader in CLIENTS_KE.columns[1:] if reader}  # type: Row
OPTIONAL = {
    "clients": (CLIENTS, CLIENTS_KE),
    "manual": (MANUAL,),
    "rtcdata": (RTCDATA,),
    "smoothing": (SMOOTHING,),
    "waitsync": (WAITSYNC,),
}
# A command without effect, which chronyd answers only over its Unix socket, whatever opencommands says.
WAY_QUESTION = "accheck 127.0.0.1"


class Answer(NamedTuple):
    """A parsed report: its rows, the status line if chronyd refused it or a part of it, and warnings."""

    rows: List[Row]
    refusal: Optional[str]
    warnings: List[str]


def parse(report: Report, text: str) -> Answer:
    """Return the rows of a report that `chronyc -c` printed; raise ChronycError for an unreadable line."""
    rows = []  # type: List[Row]
    warnings = []  # type: List[str]
    # splitlines() would also split at characters that a name may contain.
    for line in filter(None, text.split("\n")):
        if STATUS.match(line):
            return Answer(rows, line, warnings)
        values = line.split(",")
        if len(values) < report.min_columns:
            raise ChronycError(f"chronyc {report.name} printed a line that is no report", line)
        if len(values) < report.counts[-1] and len(values) not in report.counts:
            warnings.append(
                f"chronyc {report.name} printed {len(values)} columns where {report.counts[0]} or more were expected;"
                " the missing ones are null"
            )
        rows.append(_row(report, values, line))
    return Answer(rows, None, sorted(set(warnings)))


def _row(report: Report, values: List[str], line: str) -> Row:
    row = {}  # type: Row
    for index, (name, reader) in enumerate(report.columns):
        if reader is None:
            continue
        try:
            row[name] = reader(values[index]) if index < len(values) else None
        except ValueError:
            raise ChronycError(f"column {index + 1} ({name}) of chronyc {report.name} is unreadable", line) from None
    if len(values) > len(report.columns):
        row["extra"] = values[len(report.columns) :]
    return row


class Conversation:
    """One chronyc process, which runs commands until a common deadline, timeout seconds after its start."""

    def __init__(self, program: str, timeout: float, arguments: Sequence[str] = ()):
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout
        self.buffer = b""
        try:
            self.process = subprocess.Popen(
                [program, *arguments, "-c"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, LC_ALL="C"),
            )
        except OSError as error:
            raise NoAnswerError("unusable", f"{program} cannot be run: {os.strerror(error.errno or 0)}") from None
        self.stdin = cast(IO[bytes], self.process.stdin)
        self.stdout = cast(IO[bytes], self.process.stdout)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_unused: object) -> None:
        """End chronyc, with SIGKILL only as the last resort: a killed chronyc leaves its socket in chronyd's folder."""
        for end in (self.stdin.close, self.process.terminate, self.process.kill):
            with contextlib.suppress(BrokenPipeError):
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
                break
        self.stdout.close()

    def ask(self, commands: Sequence[str]) -> List[str]:
        """Return the output of each command, without its last newline; raise NoAnswerError."""
        # If chronyc has ended, its output says why: _answer() reports it.
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write("".join(f"{command}\n{SEPARATOR}\n" for command in commands).encode())
            self.stdin.flush()
        return [self._answer() for _command in commands]

    def _answer(self) -> str:
        end = SEPARATOR_ANSWER.encode() + b"\n"
        while end not in self.buffer:
            left = self.deadline - time.monotonic()
            ready = select.select([self.stdout], [], [], max(0.0, left))[0]
            if not ready:
                raise NoAnswerError("silent", f"chronyc was not answered within {self.timeout:g} s")
            chunk = os.read(self.stdout.fileno(), 65536)
            if not chunk:
                raise NoAnswerError("unusable", "chronyc ended early", self.buffer.decode(errors="replace").strip())
            self.buffer += chunk
        answer, _end, self.buffer = self.buffer.partition(end)
        return answer.decode(errors="replace").rstrip("\n")


def read_reports(program: str, timeout: float, more: Sequence[str] = ()) -> Row:
    """Return all reports and the reports of OPTIONAL in more, or the reason under "refusal" if chronyc gets none.

    "access" is "socket" or "udp" by the way of the query. Without reports, it is "closed" (chronyc finds no way in),
    "silent" (no answer in time) or "unusable" (chronyc cannot run).
    """
    try:
        with Conversation(program, timeout) as chronyc:
            return take(chronyc.ask, lambda: _ask_once(program, timeout, ["-N"], SOURCES.command), more)
    except NoAnswerError as error:
        return {"access": error.access, "refusal": str(error)}


def _ask_once(program: str, timeout: float, arguments: Sequence[str], command: str) -> str:
    with Conversation(program, timeout, arguments) as chronyc:
        return chronyc.ask([command])[0]


def take(ask: Ask, ask_sources_by_name: Callable[[], str], more: Sequence[str] = (), attempts: int = 3) -> Row:
    """Return all reports, with one entry for each source, in the shape that read_reports returns.

    Sources come and go, and an NTS source may change its address between two commands. So repeat the commands, up to
    attempts times, until all reports list the same sources.
    """
    while True:
        attempts -= 1
        way, *texts = ask([WAY_QUESTION, *(report.command for report in REPORTS)])
        answers = {report.name: parse(report, text) for report, text in zip(REPORTS, texts)}
        if not answers["tracking"].rows:
            return {"access": "closed", "refusal": answers["tracking"].refusal or "its report tracking is empty"}
        keys = [row["key"] for row in answers["sources"].rows if row["mode"] != "refclock"]
        names = dict(zip(keys, ask([f"sourcename {key}" for key in keys])))
        if NO_NAME in names.values():
            by_name = [row["key"] for row in parse(SOURCES, ask_sources_by_name()).rows if row["mode"] != "refclock"]
            names = dict(zip(keys, by_name)) if len(by_name) == len(keys) else names
        disagreement = _disagreement(answers, names)
        if not (disagreement and attempts):
            break
    result = {name: _first_row(answers[name]) for name in ("tracking", "activity", "serverstats")}  # type: Row
    result["tracking"].update(_derive(result["tracking"]))
    result["sources"] = None if answers["sources"].refusal else list(_sources(answers, names))
    # The names include the free places of pools, and the sources that wait for an address of their own.
    nameless = [name for name in names.values() if STATUS.match(name) or name == NO_NAME]
    result["names"] = None if nameless else list(names.values())
    result["access"] = "udp" if way.startswith("501") else "socket"
    result.update(_take_optional(ask, more, answers))
    result["refused"] = {name: answer.refusal for name, answer in answers.items() if answer.refusal}
    result["warnings"] = [text for answer in answers.values() for text in answer.warnings] + disagreement
    return result


def _first_row(answer: Answer) -> Optional[Row]:
    return answer.rows[0] if answer.rows else None


def _take_optional(ask: Ask, wanted: Sequence[str], answers: Dict[str, Answer]) -> Row:
    """Return the wanted reports of OPTIONAL by name, the others as None. Add their answers to answers."""
    result = dict.fromkeys(OPTIONAL)  # type: Row
    for name in wanted:
        reports = OPTIONAL[name]
        parts = [parse(report, text) for report, text in zip(reports, ask([report.command for report in reports]))]
        refusal = next((part.refusal for part in parts if part.refusal), None)
        answers[name] = Answer(parts[0].rows, refusal, [text for part in parts for text in part.warnings])
        if refusal:
            continue
        if name == "clients":
            exchanges = {row["address"]: row for row in parts[1].rows}
            result[name] = [dict(row, **exchanges.get(row["address"], NO_EXCHANGES)) for row in parts[0].rows]
        else:
            result[name] = parts[0].rows if name == "manual" else _first_row(parts[0])
    return result


def _derive(tracking: Row) -> Row:
    """Return what follows from tracking: whether the clock follows a source, and its error bound in seconds."""
    parts = tracking["offset_seconds"], tracking["root_dispersion_seconds"], tracking["root_delay_seconds"]
    offset, dispersion, delay = parts
    leap_status = tracking["leap_status"]
    follows = leap_status != "not_synchronised" and tracking["reference_id"] != LOCAL_REFERENCE_ID
    return {
        "synchronised": None if leap_status is None else follows,
        "error_bound_seconds": None if None in parts else round(abs(offset) + dispersion + delay / 2, 9),
    }


def _disagreement(answers: Dict[str, Answer], names: Dict[str, str]) -> List[str]:
    """Return a warning for the reports that list other sources than `sources`. All reports use the same order."""
    rows = answers["sources"].rows
    ntp = [row["key"] for row in rows if row["mode"] != "refclock"]
    expected = {
        "sourcestats": [row["key"] for row in rows],
        "selectdata": [row["key"] for row in rows],
        "authdata": ntp,
        "ntpdata": [key for key in ntp if not key.startswith(UNRESOLVED)],
    }
    differing = [
        name
        for name, keys in expected.items()
        if (answers[name].refusal or GONE).startswith(GONE) and not _have_keys(keys, answers[name].rows)
    ]
    if any(name.startswith(GONE) for name in names.values()):
        differing.append("sourcename")
    return [f"chronyc {' and '.join(differing)} did not list the same sources as chronyc sources"] if differing else []


def _have_keys(keys: List[str], rows: List[Row]) -> bool:
    """Return whether the rows have these keys. Before 4.3, ntpdata hides the address of a source without answers."""
    return len(keys) == len(rows) and all(row["key"] in (key, UNSPECIFIED) for key, row in zip(keys, rows))


def _sources(answers: Dict[str, Answer], names: Dict[str, str]) -> Iterator[Row]:
    parts = {
        part: {row["key"]: row for row in reversed(answers[report].rows)}
        for part, report in (("auth", "authdata"), ("ntpdata", "ntpdata"), ("selection", "selectdata"))
    }
    parts["stats"] = {row["key"]: row for row in reversed(answers["sourcestats"].rows)}
    named = {key: key if STATUS.match(name) or name == NO_NAME else name for key, name in names.items()}
    resolved = {name for key, name in named.items() if not key.startswith(UNRESOLVED)}
    for row in answers["sources"].rows:
        key = row["key"]
        unresolved = key.startswith(UNRESOLVED)
        if unresolved and named[key] in resolved:
            continue  # A place that a pool keeps for one more of its addresses.
        source = {"name": named.get(key, key), "address": None if unresolved or key not in named else key}  # type: Row
        source.update((column, value) for column, value in row.items() if column != "key")
        source["reachable"] = None if row["reach"] is None else row["reach"] != 0
        for part, rows in parts.items():
            source[part] = {name: value for name, value in rows[key].items() if name != "key"} if key in rows else None
        if source["auth"]:
            nts = source["auth"]["mode"] == "nts"
            source["auth"]["aead"] = source["auth"]["key_type"] or None if nts else None
        if source["selection"]:
            source["selection"]["state"] = SELECTION_STATES.get(source["selection"]["state_char"], "unknown")
        yield source
