# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever chronyc prints, it is read and judged, or it is the one documented error with the line that is to blame."""

import json

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc, verdict
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils import nts_input

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

REPORTS = [*chronyc.REPORTS, *(report for reports in chronyc.OPTIONAL.values() for report in reports)]
WORDS = st.sampled_from(
    ["", "0", "1", "377", "4294967295", "127", "-1", "1e999", "nan", "-inf", "9" * 20, "NTS", "SK", "-", "?", "*", "^"]
) | st.sampled_from(
    ["#", "Yes", "No", "[UNSPEC]", "111", "Normal", "ID#0000000001", "192.0.2.1", "503 No such source"],
)
VALUES = WORDS | st.text(max_size=6)
HOST = {
    "installed": True,
    "running": True,
    "daemon": {"pid": 7, "uptime_seconds": 60.0, "features": {"NTS": True}, "replaced": None},
    "unit": None,
    "environment": {"cap_sys_time": True, "rivals": []},
}
SETTINGS = hypothesis.settings(
    deadline=None, max_examples=100, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)


def as_text(data):
    return data.decode(errors="replace")


@st.composite
def tables(draw, report):
    """Draw lines of about as many columns as the report has, of about what stands in them."""
    count = len(report.columns)
    widths = st.integers(max(1, count - 3), count + 2) | st.integers(1, 3)
    rows = st.integers(0, 3).flatmap(lambda n: st.lists(widths, min_size=n, max_size=n))
    return "\n".join(",".join(draw(st.lists(VALUES, min_size=width, max_size=width))) for width in draw(rows))


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.command)
def test_any_text_is_read_or_its_line_is_told(report):
    @SETTINGS
    @hypothesis.given(st.one_of(tables(report), st.text(), st.binary().map(as_text)))
    def holds(text):
        answer = told = None
        try:
            answer = chronyc.parse(report, text)
        except chronyc.ChronycError as error:
            told = error
        if answer is None:
            assert told.line in text.split("\n")
            assert repr(told.line) in str(told)
        else:
            json.dumps(answer.rows, allow_nan=False)
            names = [name for name, reader in report.columns if reader]
            assert all([name for name in row if name != "extra"] == names for row in answer.rows)

    holds()


@st.composite
def damages(draw, answers):
    """Draw real answers with something cut off, put in, left out, or said twice."""
    answers = {command: list(lines) for command, lines in answers.items()}
    for _times in range(draw(st.integers(1, 4))):
        lines = answers[draw(st.sampled_from(sorted(answers)))]
        if not lines:
            continue
        number = draw(st.integers(0, len(lines) - 1))
        values = lines[number].split(",")
        column = draw(st.integers(0, len(values) - 1))
        kind = draw(st.sampled_from(["change", "cut", "add", "drop", "repeat", "refuse"]))
        if kind == "change":
            values[column] = draw(VALUES)
        elif kind == "cut":
            del values[column:]
        elif kind == "add":
            values.insert(column, draw(VALUES))
        lines[number] = ",".join(values)
        if kind == "drop":
            del lines[number]
        elif kind == "repeat":
            lines.append(lines[number])
        elif kind == "refuse":
            lines[number] = "508 Bad reply from daemon"
    return answers


@pytest.mark.parametrize("version", ["4.0", "4.9"])
@pytest.mark.parametrize("state", ["one_of_two_gone", "ntp_blocked", "every_report", "mixed_ignore", "ordinary_user"])
def test_damaged_reports_are_judged_or_the_line_is_told(capture, state):
    real = capture(state)
    log = verdict.read_log(list(real.log()))

    @SETTINGS
    @hypothesis.given(damages(real.content["answers"]), st.sampled_from(["authenticated", "synchronised", "reachable"]))
    def holds(answers, condition):
        def ask(commands):
            return ["\n".join(answers.get(command, ["503 No such source"])) for command in commands]

        reports = told = None
        try:
            reports = chronyc.take(ask, lambda: "", list(chronyc.OPTIONAL))
        except chronyc.ChronycError as error:
            told = error
        if reports is None:
            assert any(told.line in "\n".join(lines).split("\n") for lines in answers.values())
            return
        facts = verdict.judge(HOST, reports, log)
        json.dumps(facts, allow_nan=False)
        assert facts["nts"]["state"] == "authenticated" or facts["nts"]["reasons"]
        assert len(verdict.progress(facts)) == len(facts["sources"] or [])
        verdict.reached(facts, condition, 1, 0.5)

    holds()


def test_any_bytes_of_a_program_are_an_answer_or_none(tmp_path):
    output = tmp_path / "output"
    program = tmp_path / "chronyc"
    program.write_text(f"#!/bin/sh\nexec cat {output}\n")
    program.chmod(0o755)
    separator = f"{chronyc.SEPARATOR_ANSWER}\n".encode()
    pieces = st.binary(max_size=40) | st.just(separator) | st.just(b"1,2,3\n")

    @hypothesis.settings(SETTINGS, max_examples=50)
    @hypothesis.given(st.lists(pieces, max_size=40).map(b"".join))
    def holds(data):
        output.write_bytes(data)
        reports = told = None
        try:
            reports = chronyc.read_reports(str(program), 2.0, ["clients"])
        except chronyc.ChronycError as error:
            told = error
        assert "refusal" in reports if reports else told.line is not None

    holds()


@pytest.mark.parametrize("reader", nts_input.READERS, ids=lambda reader: reader.__name__)
def test_whatever_a_server_sends_is_read_or_refused(reader):
    """`make fuzz` does the same for as long as one likes."""
    good = [seed[1:] for seed in nts_input.seeds() if nts_input.READERS[seed[0]] is reader]

    @SETTINGS
    @hypothesis.given(st.one_of(st.binary(max_size=600), changed(st.sampled_from(good))))
    def holds(data):
        reader(data)

    holds()


@st.composite
def changed(draw, texts):
    """Draw bytes that are almost right."""
    data = bytearray(draw(texts))
    for _change in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data) - 1))
        data[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
        hypothesis.assume(data)
    return bytes(data)
