# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser of chronyc's reports, on captured output of every supported version.

Long: each test needs the same captures and tables of columns, and they are read together.
"""

import json
import sys
import time

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc

# Number of columns of each version, counted in real output and in the format strings of chronyc's source.
COUNTS = {
    "tracking": 14,
    "sources": 10,
    "sourcestats": 8,
    "activity": 5,
    "authdata": 10,
    "selectdata": 18,
    "clients": 10,
    "manual": 5,
    "rtcdata": 6,
    "smoothing": 7,
    "waitsync": 4,
}
COUNTS_OF_VERSION = {
    "4.0": {"ntpdata": 33, "serverstats": 8},
    "4.1": {"ntpdata": 33, "serverstats": 8},
    "4.2": {"ntpdata": 33, "serverstats": 11},
    "4.3": {"ntpdata": 34, "serverstats": 11},
    "4.4": {"ntpdata": 34, "serverstats": 17},
    "4.5": {"ntpdata": 34, "serverstats": 17},
    "4.6.1": {"ntpdata": 38, "serverstats": 17},
    "4.7": {"ntpdata": 38, "serverstats": 17},
    "4.8": {"ntpdata": 38, "serverstats": 17},
    "4.9": {"ntpdata": 38, "serverstats": 17},
}
OPTIONAL = [report for reports in chronyc.OPTIONAL.values() for report in reports]
UNANSWERED = ("ordinary_user", "stopped")

# This program keeps chronyc's contract: an answer for each line, and one fixed line for an unknown command.
ECHO = """while read -r line; do
  case $line in end-of-report) echo "Unrecognized command" >&2;; *) echo "said,$line";; esac
done"""


def columns(capture, report):
    return [line.split(",") for line in capture.content["answers"][report.command]]


def test_every_captured_report_is_read_to_the_last_column(any_capture):
    for report in [*chronyc.REPORTS, *OPTIONAL]:
        answer = chronyc.parse(report, any_capture.answer(report.command))
        if any_capture.state not in UNANSWERED and report not in OPTIONAL:
            assert answer.refusal is None, report.command
        if answer.refusal is None:
            assert len(answer.rows) == len(columns(any_capture, report)), report.command
            count = dict(COUNTS, **COUNTS_OF_VERSION[any_capture.version])[report.name]
            assert {len(values) for values in columns(any_capture, report)} <= {count}, report.command
        assert answer.warnings == []
        assert not any("extra" in row for row in answer.rows), report.command
        assert not any("unknown" in row.values() for row in answer.rows), report.command


def test_tracking_is_read_with_units_and_one_direction(capture):
    taken = capture("healthy")
    raw = columns(taken, chronyc.TRACKING)[0]
    row = chronyc.parse(chronyc.TRACKING, taken.answer("tracking")).rows[0]
    assert row["offset_seconds"] == -float(raw[4])
    assert row["last_offset_seconds"] == float(raw[5])
    assert row["stratum"] == 6
    assert row["leap_status"] == "normal"
    assert row["reference_name"] in ("10.77.0.1", "10.77.0.2")


def test_first_update_of_a_clock_that_is_not_steered_shows_the_same_offset_twice(any_capture):
    """With -x, chronyd corrects nothing, so a first update keeps its offset: both columns must have the same sign."""
    row = (chronyc.parse(chronyc.TRACKING, any_capture.answer("tracking")).rows or [None])[0]
    if row and row["reference_id"] != "00000000" and row["update_interval_seconds"] == 0.0:
        assert row["offset_seconds"] == row["last_offset_seconds"]


def test_unsynchronised_tracking_has_no_reference(capture):
    row = capture("no_sources").take()["tracking"]
    assert (row["leap_status"], row["reference_name"], row["synchronised"]) == ("not_synchronised", None, False)


def test_derived_values_are_null_without_their_columns_of_tracking():
    """The last columns of tracking are root delay, root dispersion, update interval and leap status."""
    line = "0A4D0001,nts1.test,6,1.0,-0.000000001,0.0,0.0,0.0,0.0,0.0,0.000000003,0.000000002,64.0,Normal"
    values = line.split(",")
    replies = {report.command: "" for report in chronyc.REPORTS}

    def derived(count):
        replies["tracking"] = ",".join(values[:count])
        taken = chronyc.take(lambda commands: [replies.get(command, "") for command in commands], pytest.fail)
        return taken["tracking"]["synchronised"], taken["tracking"]["error_bound_seconds"]

    # In whole nanoseconds, as chronyc prints.
    assert derived(14) in ((True, 4e-09), (True, 5e-09))
    assert derived(13) == (None, derived(14)[1])
    assert [derived(count) for count in (11, 10, 4)] == [(None, None)] * 3


def test_error_bound_is_offset_plus_dispersion_plus_half_the_delay(capture):
    raw = [float(value) for value in columns(capture("healthy"), chronyc.TRACKING)[0][4:12]]
    row = capture("healthy").take()["tracking"]
    assert row["error_bound_seconds"] == pytest.approx(abs(raw[0]) + raw[7] + raw[6] / 2, abs=1e-9)


def test_own_clock_is_not_synchronised(capture):
    row = capture("local_reference").take()["tracking"]
    assert (row["leap_status"], row["stratum"], row["synchronised"]) == ("normal", 10, False)


def test_reach_is_octal_and_unknown_intervals_are_null(capture):
    healthy = capture("healthy").take()["sources"][0]
    refused = capture("ke_refused").take()["sources"][0]
    assert (healthy["reach"], healthy["reachable"]) == (255, True)
    assert (refused["reach"], refused["reachable"], refused["last_rx_seconds"]) == (0, False, None)
    assert refused["auth"]["last_ke_seconds"] is None


def test_offsets_of_all_reports_agree(any_capture):
    """sources and ntpdata print the offset of one packet with opposite signs; the facts do not."""
    compared = 0
    for source in any_capture.take().get("sources") or []:
        # A packet that fails a test does not become a sample.
        if source["stats"]["samples"] and source["ntpdata"] and source["ntpdata"]["tests_a_to_d"] == "1111":
            assert source["ntpdata"]["offset_seconds"] == source["measured_offset_seconds"]
            compared += 1
    assert compared or any_capture.state not in ("healthy", "mixed", "plain")


def test_every_source_has_its_rows_of_every_report(any_capture):
    if any_capture.state in UNANSWERED:
        # A stopped chronyd reports no source, and an ordinary user gets the report `sources` alone.
        found = any_capture.take().get("sources") or []
        assert bool(found) == (any_capture.state == "ordinary_user")
        assert {source[part] for source in found for part in ("auth", "ntpdata", "selection")} <= {None}
        return
    raw = {values[2]: values for values in columns(any_capture, chronyc.SOURCES)}
    auth = {values[0]: values for values in columns(any_capture, chronyc.AUTHDATA)}
    ntp = {values[0]: values for values in columns(any_capture, chronyc.NTPDATA)}
    selection = {values[1]: values for values in columns(any_capture, chronyc.SELECTDATA)}
    unresolved = (key for key in raw if key.startswith("ID#"))
    for source in any_capture.take()["sources"]:
        key = source["name"] if source["mode"] == "refclock" else source["address"] or next(unresolved)
        assert source["error_seconds"] == float(raw[key][9])
        assert source["selection"]["state_char"] == selection[key][0]
        assert source["mode"] == "refclock" or source["auth"]["cookies"] == int(auth[key][8])
        # Before 4.3, chronyc reports nothing about a source that has not answered.
        assert (source["ntpdata"] is None) == (key not in ntp)
        assert (
            source["ntpdata"] is not None or source["address"] is None or any_capture.version in ("4.0", "4.1", "4.2")
        )
        assert source["ntpdata"] is None or source["ntpdata"]["total_tx"] == int(ntp[key][30])


def test_captured_reports_list_the_same_sources(any_capture):
    taken = any_capture.take()
    assert taken.get("warnings", []) == []
    for source in taken.get("sources") or []:
        assert not any("key" in (source[part] or {}) for part in ("auth", "ntpdata", "selection", "stats"))
        assert "key" not in source


def test_reachable_is_null_without_the_column_reach(capture):
    healthy = capture("healthy")
    rows = healthy.content["answers"]["sources -a"]
    rows[0] = ",".join(rows[0].split(",")[:5])
    assert [source["reachable"] for source in healthy.take()["sources"]] == [None, True]


def test_sources_have_their_configured_names(capture):
    assert [(s["name"], s["address"]) for s in capture("healthy").take()["sources"]] == [
        ("nts1.test", "10.77.0.1"),
        ("nts2.test", "10.77.0.2"),
    ]
    assert [(s["name"], s["address"]) for s in capture("unresolved").take()["sources"]] == [("nowhere.test", None)]
    clock = capture("reference_clock").take()["sources"][0]
    assert (clock["name"], clock["address"], clock["mode"], clock["auth"]) == ("GPS", None, "refclock", None)


def test_free_places_of_a_pool_are_left_out(capture):
    taken = capture("healthy_pool")
    assert len(columns(taken, chronyc.SOURCES)) > 2
    sources = taken.take()["sources"]
    assert {source["address"] for source in sources} == {"10.77.0.1", "10.77.0.2"}
    assert {source["name"] for source in sources} == {"pool.test"}


def test_a_name_whose_address_is_taken_is_kept(capture):
    assert [(s["name"], s["address"]) for s in capture("address_taken").take()["sources"]] == [
        ("nts1.test", "10.77.0.1"),
        ("other.test", None),
    ]


def test_aead_is_that_of_the_version(capture, version):
    assert (
        capture("healthy").take()["sources"][0]["auth"]["aead"]
        # The libraries of the self-built versions have no AES-128-GCM-SIV.
        == {"4.6.1": 30, "4.9": 30}.get(version, 15)
    )
    assert capture("ke_refused").take()["sources"][0]["auth"]["aead"] is None
    key = capture("symmetric_key").take()["sources"][0]["auth"]
    assert (key["mode"], key["key_id"], key["aead"]) == ("symmetric_key", 7, None)


def test_an_ordinary_user_gets_the_open_reports(capture):
    taken = capture("ordinary_user").take()
    assert taken["access"] == "udp"
    assert taken["tracking"]["synchronised"]
    assert len(taken["sources"]) == 2
    assert taken["sources"][0]["name"] == "nts1.test"
    assert [taken["sources"][0][part] for part in ("auth", "ntpdata", "selection")] == [None] * 3
    assert taken["serverstats"] is None
    assert taken["refused"] == dict.fromkeys(("authdata", "ntpdata", "selectdata", "serverstats"), "501 Not authorised")
    assert taken["warnings"] == []
    assert capture("healthy").take()["access"] == "socket"


def test_a_stopped_daemon_is_recognised_by_the_status(capture):
    assert capture("stopped").take() == {"access": "closed", "refusal": "506 Cannot talk to daemon"}


@pytest.mark.parametrize(
    ("report", "count"),
    [(chronyc.NTPDATA, 33), (chronyc.NTPDATA, 34), (chronyc.SERVERSTATS, 8), (chronyc.SERVERSTATS, 11)],
)
def test_fewer_columns_of_an_older_version_are_null_without_a_warning(capture, report, count):
    line = ",".join(columns(capture("healthy"), report)[0][:count])
    answer = chronyc.parse(report, line)
    assert answer.warnings == []
    names = [name for name, reader in report.columns if reader]
    missing = [name for name in names if answer.rows[0][name] is None]
    assert missing[-1] == names[-1]


def test_columns_that_no_version_lacks_are_null_with_a_warning(capture):
    line = ",".join(columns(capture("healthy"), chronyc.AUTHDATA)[0][:9])
    answer = chronyc.parse(chronyc.AUTHDATA, line + "\n" + line)
    assert [row["cookie_length_bytes"] for row in answer.rows] == [None, None]
    assert answer.warnings == [
        "chronyc authdata printed 9 columns where 10 or more were expected; the missing ones are null"
    ]


@pytest.mark.parametrize("report", chronyc.REPORTS, ids=lambda report: report.name)
def test_columns_of_a_newer_version_are_kept(capture, report):
    values = columns(capture("healthy"), report)[0]
    values += ["0"] * (len(report.columns) - len(values))
    known = chronyc.parse(report, ",".join(values)).rows[0]
    answer = chronyc.parse(report, ",".join([*values, "new", "columns"]))
    assert answer.rows == [dict(known, extra=["new", "columns"])]
    assert answer.warnings == []


def test_an_unreadable_number_is_an_error_with_its_line():
    with pytest.raises(chronyc.ChronycError, match=r"column 1 \(online\) of chronyc activity") as caught:
        chronyc.parse(chronyc.ACTIVITY, "many,0,0,0,0")
    assert caught.value.line == "many,0,0,0,0"


def test_a_line_that_is_no_report_is_an_error():
    with pytest.raises(chronyc.ChronycError, match="no report") as caught:
        chronyc.parse(chronyc.SOURCES, "Segmentation fault")
    assert caught.value.line == "Segmentation fault"


def test_a_row_ends_at_its_key_at_the_earliest():
    answer = chronyc.parse(chronyc.SOURCES, "^,*,10.77.0.1")
    assert [(row["mode"], row["key"], row["reach"]) for row in answer.rows] == [("server", "10.77.0.1", None)]
    with pytest.raises(chronyc.ChronycError, match="no report"):
        chronyc.parse(chronyc.SOURCES, "^,*")


def test_infinite_numbers_are_null(capture):
    values = columns(capture("healthy"), chronyc.TRACKING)[0]
    row = chronyc.parse(chronyc.TRACKING, ",".join([*values[:4], "-inf", "inf", *values[6:]])).rows[0]
    assert (row["offset_seconds"], row["last_offset_seconds"]) == (None, None)


@pytest.mark.parametrize(
    ("report", "column", "name", "words"),
    [
        (chronyc.SOURCES, 0, "mode", "^ server = peer # refclock & unknown"),
        (
            chronyc.SOURCES,
            1,
            "state",
            "* selected + combined - not_combined x falseticker ~ variable ? unusable ! unknown",
        ),
        (chronyc.AUTHDATA, 1, "mode", "NTS nts SK symmetric_key - none ? unknown"),
        (chronyc.AUTHDATA, 7, "nak", "0 False 1 True"),
        (chronyc.NTPDATA, 5, "leap_status", "Normal normal Invalid unknown"),
        (chronyc.NTPDATA, 26, "interleaved", "Yes True No False"),
        (chronyc.NTPDATA, 27, "authenticated", "Yes True No False ? None"),
        (chronyc.SELECTDATA, 2, "authentication_configured", "Y True N False"),
        (chronyc.SELECTDATA, 6, "configured_require", "R True - False"),
        (chronyc.SELECTDATA, 10, "effective_trust", "T True - False"),
    ],
)
def test_words_of_chronyc(capture, report, column, name, words):
    values = columns(capture("healthy"), report)[0]
    words = words.split()
    for text, word in zip(words[::2], words[1::2]):
        values[column] = text
        assert str(chronyc.parse(report, ",".join(values)).rows[0][name]) == word


@pytest.mark.parametrize(
    ("text", "mode"), [("Server", "server"), ("Symmetric active", "symmetric_active"), ("Broadcast", "broadcast")]
)
def test_modes_of_an_answer(capture, text, mode):
    values = columns(capture("healthy"), chronyc.NTPDATA)[0]
    values[7] = text
    assert chronyc.parse(chronyc.NTPDATA, ",".join(values)).rows[0]["mode"] == mode


def test_a_source_that_never_answered_has_no_local_address(capture):
    values = columns(capture("healthy"), chronyc.NTPDATA)[0]
    for text, address in (("[UNSPEC]", None), ("10.77.0.3", "10.77.0.3")):
        values[3] = text
        assert chronyc.parse(chronyc.NTPDATA, ",".join(values)).rows[0]["local_address"] == address


@pytest.mark.parametrize("text", ["Normal", "Insert second", "Delete second", "Not synchronised"])
def test_leap_states(capture, text):
    values = columns(capture("healthy"), chronyc.TRACKING)[0]
    row = chronyc.parse(chronyc.TRACKING, ",".join([*values[:-1], text])).rows[0]
    assert row["leap_status"] == text.lower().replace(" ", "_")


def test_states_of_the_selection(capture):
    """The letters are those of chrony's sources.c (4.9 has r), the words those of its documentation."""
    words = {
        "N": "noselect",
        "r": "stratum_out_of_range",
        "M": "missing_samples",
        "s": "unsynchronised",
        "d": "large_distance",
        "~": "jittery",
        "S": "stale",
        "O": "orphan",
        "w": "waits_for_samples",
        "T": "not_trusted",
        "x": "falseticker",
        "W": "waits_for_sources",
        "P": "not_preferred",
        "U": "waits_for_update",
        "D": "distant",
        "L": "large_interval",
        "+": "combined",
        "*": "selected",
        "?": "unknown",
    }
    healthy = capture("healthy")
    row = healthy.content["answers"]["selectdata -a"][0]
    for letter, word in words.items():
        healthy.content["answers"]["selectdata -a"][0] = letter + row[1:]
        selection = healthy.take()["sources"][0]["selection"]
        assert (selection["state_char"], selection["state"]) == (letter, word)


def test_reports_that_disagree_about_the_sources_are_taken_again(capture):
    before, after = capture("just_started"), capture("healthy")
    asked = []

    def ask(commands):
        asked.append(list(commands))
        answers = after.ask(commands)
        if len(asked) <= 2 and "authdata -a" in commands:
            answers[commands.index("authdata -a")] = before.answer("authdata -a").replace("10.77.0.1", "10.77.0.9")
        return answers

    taken = chronyc.take(ask, pytest.fail)
    assert len(asked) == 4
    assert taken["warnings"] == []
    assert [source["auth"]["cookies"] for source in taken["sources"]] == [8, 8]


def test_reports_that_never_agree_are_joined_as_far_as_they_go(capture):
    healthy, asked = capture("healthy"), []

    def ask(commands):
        asked.append(commands)
        return [text.replace("10.77.0.2,", "10.77.0.9,") if "NTS," in text else text for text in healthy.ask(commands)]

    taken = chronyc.take(ask, pytest.fail)
    # Three attempts, each with a query for reports and one for names.
    assert len(asked) == 6
    assert taken["warnings"] == ["chronyc authdata did not list the same sources as chronyc sources"]
    assert [source["auth"] is None for source in taken["sources"]] == [False, True]


def test_each_report_that_lists_other_sources_is_named(capture):
    healthy = capture("healthy")
    for command in ("selectdata -a", "authdata -a"):
        del healthy.content["answers"][command][0]
    assert healthy.take()["warnings"] == [
        "chronyc selectdata and authdata did not list the same sources as chronyc sources"
    ]


def test_a_source_that_goes_during_the_query_is_noticed(capture):
    healthy = capture("healthy")

    def ask(commands):
        gone = {"sourcename 10.77.0.2": "503 No such source"}
        return [gone.get(command, text) for command, text in zip(commands, healthy.ask(commands))]

    taken = chronyc.take(ask, pytest.fail)
    assert taken["warnings"] == ["chronyc sourcename did not list the same sources as chronyc sources"]
    assert taken["names"] is None
    assert [source["name"] for source in taken["sources"]] == ["nts1.test", "10.77.0.2"]


def named_by(healthy, *rows):
    """Return the reports of a chronyc that knows no name of the second source, while `sources -N` prints rows."""

    def ask(commands):
        unnamed = {"sourcename 10.77.0.2": chronyc.NO_NAME}
        return [unnamed.get(command, text) for command, text in zip(commands, healthy.ask(commands))]

    text = "\n".join(f"{mark},{name},5,0,377,1,0.0,0.0,0.0" for mark, name in rows)
    return chronyc.take(ask, lambda: text)


def test_names_come_from_the_report_of_sources_where_a_command_has_none(capture):
    """chronyc 4.0 reads an address for the command sourcename alone."""
    taken = named_by(capture("healthy"), ("#,*", "GPS"), ("^,+", "nts1.test"), ("^,-", "other.test"))
    assert taken["names"] == ["nts1.test", "other.test"]
    assert [(source["name"], source["address"]) for source in taken["sources"]] == [
        ("nts1.test", "10.77.0.1"),
        ("other.test", "10.77.0.2"),
    ]


def test_a_report_of_other_sources_names_none(capture):
    taken = named_by(capture("healthy"), ("^,+", "nts1.test"))
    assert taken["names"] is None
    assert [source["name"] for source in taken["sources"]] == ["nts1.test", "10.77.0.2"]
    assert capture("healthy").take()["names"] == ["nts1.test", "nts2.test"]


def test_without_the_report_of_sources_they_are_unknown(capture):
    healthy = capture("healthy")
    healthy.content["answers"]["sources -a"] = ["501 Not authorised"]
    taken = healthy.take()
    assert taken["sources"] is None
    assert taken["refused"] == {"sources": "501 Not authorised"}


def test_a_conversation_keeps_answers_apart():
    with chronyc.Conversation("/bin/sh", 60.0, ["-c", ECHO]) as program:
        assert program.ask(["one", "two"]) == ["said,one", "said,two"]
        assert program.ask(["three"]) == ["said,three"]


def test_chronyc_gets_the_environment_with_the_locale_c(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("NTS_TEST", "kept")
    script = ECHO.replace("$line", "$LC_ALL,$NTS_TEST").replace("case $LC_ALL,$NTS_TEST in", "case $line in")
    with chronyc.Conversation("/bin/sh", 5.0, ["-c", script]) as program:
        assert program.ask(["tracking"]) == ["said,C,kept"]
    assert program.stdout.closed


@pytest.mark.parametrize(
    ("printed", "answer"),
    [("a\\377b", "a\N{REPLACEMENT CHARACTER}b"), ("a \\t", "a \t"), ("FLAGX", "FLAGX"), ("a\\n\\n", "a")],
)
def test_an_answer_loses_only_its_last_newlines(printed, answer):
    script = ECHO.replace('echo "said,$line"', f"printf '{printed}\\n'")
    with chronyc.Conversation("/bin/sh", 5.0, ["-c", script]) as program:
        assert program.ask(["tracking", "activity"]) == [answer] * 2


def test_a_program_that_hangs_is_ended_at_the_deadline():
    begin = time.monotonic()
    with pytest.raises(chronyc.NoAnswerError, match=r"within 0.3 s"), chronyc.Conversation(
        "/bin/sh", 0.3, ["-c", "exec sleep 60"]
    ) as program:
        program.ask(["tracking"])
    assert time.monotonic() - begin >= 0.3
    assert program.process.returncode is not None


@pytest.fixture
def program(tmp_path):
    """Return a function that writes a program as a replacement of chronyc, and returns its path."""

    def write(script):
        path = tmp_path / "chronyc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_a_program_that_ends_says_why(program):
    path = program("echo Could not open connection to daemon >&2; exit 1")
    assert chronyc.read_reports(path, 60.0) == {
        "access": "unusable",
        "refusal": "chronyc ended early: 'Could not open connection to daemon'",
    }


def test_a_program_that_ended_before_the_query_says_why(program):
    """The query meets a closed pipe, both as it is written and as the pipe is closed."""
    path = program(r"printf 'Could not open connection to \377\n'")
    with chronyc.Conversation(path, 60.0) as conversation:
        conversation.process.wait(60)
        with pytest.raises(chronyc.NoAnswerError) as caught:
            conversation.ask(["tracking"])
    assert str(caught.value) == "chronyc ended early: 'Could not open connection to \N{REPLACEMENT CHARACTER}'"


def test_a_program_that_does_not_answer_is_silent(program):
    assert chronyc.read_reports(program("exec sleep 60"), 0.3) == {
        "access": "silent",
        "refusal": "chronyc was not answered within 0.3 s",
    }


def test_a_program_is_ended_gently(program, tmp_path, monkeypatch):
    """A killed chronyc leaves its socket behind."""
    ended = tmp_path / "ended"
    monkeypatch.setattr(chronyc, "GRACE_SECONDS", 60.0)
    path = program(f"while read -r line; do echo Unrecognized command >&2; done; echo by itself >{ended}")
    with chronyc.Conversation(path, 60.0) as conversation:
        conversation.ask(["one"])
    assert ended.read_text() == "by itself\n"
    path = program(f"trap 'echo by a signal >{ended}; exit 1' TERM; echo {chronyc.SEPARATOR_ANSWER}; sleep 60 & wait")
    with chronyc.Conversation(path, 60.0) as conversation:
        # Its answer shows that it handles the signal.
        conversation.ask(["one"])
        graces, wait = [0.1, 60.0], conversation.process.wait
        monkeypatch.setattr(conversation.process, "wait", lambda _seconds: wait(graces.pop(0)))
    assert ended.read_text() == "by a signal\n"
    assert graces == []


def test_a_program_that_is_not_there_is_no_answer():
    assert chronyc.read_reports("/nonexistent/chronyc", 5.0) == {
        "access": "unusable",
        "refusal": "/nonexistent/chronyc cannot be run: No such file or directory",
    }


def test_reports_that_are_not_wanted_are_null(capture):
    taken = capture("every_report").take()
    assert {name: taken[name] for name in chronyc.OPTIONAL} == dict.fromkeys(chronyc.OPTIONAL)
    assert taken["refused"] == {}


def test_optional_reports(capture):
    taken = capture("every_report").take("clients", "manual", "smoothing", "waitsync", "rtcdata")
    (client,) = [row for row in taken["clients"] if row["address"] == "10.77.0.1"]
    assert (client["address"], client["nts_ke_connections"], client["nts_ke_dropped"]) == ("10.77.0.1", 1, 0)
    assert client["ntp_requests"] >= 4
    assert client["ntp_interval_log2_seconds"] == 0
    assert client["ntp_limited_interval_log2_seconds"] is None
    assert (client["command_requests"], client["command_last_seconds"]) == (0, None)
    assert client["nts_ke_last_seconds"] >= client["ntp_last_seconds"]
    (manual,) = taken["manual"]
    assert manual["index"] == 0
    assert manual["time"].startswith("2026-")
    assert abs(manual["original_offset_seconds"]) < 2
    assert (taken["smoothing"]["active"], taken["smoothing"]["leap_only"]) == (True, False)
    assert taken["waitsync"]["try"] == 1
    assert taken["waitsync"]["reference_id"] == taken["tracking"]["reference_id"] == "0A4D0002"
    assert taken["rtcdata"] is None
    assert taken["refused"] == {"rtcdata": "513 RTC driver not running"}
    assert taken["warnings"] == []


def test_optional_reports_of_nothing(capture):
    taken = capture("healthy").take("clients", "manual", "smoothing")
    # Some versions list their own chronyc, which queried over the Unix socket.
    assert {client["address"] for client in taken["clients"]} <= {"127.0.0.1", "::1"}
    assert (taken["manual"], taken["smoothing"]) == ([], None)
    assert taken["refused"] == {"smoothing": "505 Facility not enabled in daemon"}


def test_a_client_that_has_come_meanwhile_has_no_key_exchanges(capture):
    every = capture("every_report")
    every.content["answers"]["clients -k"] = []
    client = every.take("clients")["clients"][0]
    assert [client[name] for name in client if name.startswith("nts_ke_")] == [None] * 4


def test_an_ordinary_user_gets_no_clients(capture):
    taken = capture("ordinary_user").take("clients", "waitsync")
    assert taken["clients"] is None
    assert taken["refused"]["clients"] == "501 Not authorised"
    assert taken["waitsync"]["try"] == 1


def test_another_version_of_chronyc_gets_the_reports_of_equal_format(mismatch):
    taken = mismatch.take()
    assert [source["auth"]["mode"] for source in taken["sources"]] == ["nts", "nts"]
    assert "serverstats" in taken["refused"]
    assert {status[:3] for status in taken["refused"].values()} <= {"508", "518"}
    assert taken["serverstats"] is None
    assert [source["ntpdata"] is None for source in taken["sources"]] == ["ntpdata" in taken["refused"]] * 2
    assert taken["warnings"] == []


REPLAY = """
import json, sys
answers = json.load(open({file!r}))
assert sys.argv[-1] == "-c", sys.argv
prefix = "-N " if sys.argv[1] == "-N" else ""
for line in sys.stdin:
    command = line.rstrip("\\n")
    if command == {separator!r}:
        print({answer!r}, flush=True)
    else:
        print("\\n".join(answers[prefix + command]), flush=True)
"""


@pytest.mark.parametrize("state", ["healthy", "unresolved", "every_report"])
def test_a_program_is_asked_as_it_was_for_the_capture(capture, program, tmp_path, state):
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(capture(state).content["answers"]))
    given = {"file": str(answers), "separator": chronyc.SEPARATOR, "answer": chronyc.SEPARATOR_ANSWER}
    script = tmp_path / "replay.py"
    script.write_text(REPLAY.format(**given))
    path = program(f'exec {sys.executable} {script} "$@"')
    assert chronyc.read_reports(path, 60.0, ["clients"]) == capture(state).take("clients")
