# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stage runner: order, failures, counts, progress, resumption."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.tests.stages import coverage_check, mutation, record_core
from ansible_collections.securetime.nts.tests.stages import run as stages
from ansible_collections.securetime.nts.tests.stages.run import Result, Stage


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep logs, results and the record in a temporary folder."""
    for name in ("LOGS", "STATE", "RECORD"):
        monkeypatch.setattr(stages, name, tmp_path / name.lower())
    (tmp_path / "record").write_text(
        f"# Before\n{stages.MARKS[0]}\n| first | old |\n| elsewhere | old |\n{stages.MARKS[1]}\nafter\n"
    )
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, done: dict[str, Result] | None = None, **made: Stage) -> dict[str, Result]:
    monkeypatch.setattr(stages, "STAGES", made)
    return stages.run(list(made), done or {})


def test_a_stage_waits_for_the_stages_before_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    results = run(
        monkeypatch,
        first=Stage(f"sleep 0.5; touch {folder}/made", "check", ()),
        second=Stage(f"test -e {folder}/made", "check", ("first",)),
    )
    assert {name: result.status for name, result in results.items()} == {"first": "passed", "second": "passed"}


def test_a_failure_skips_what_needs_it_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run(
        monkeypatch,
        broken=Stage("echo the reason; exit 3", "check", ()),
        needs_it=Stage("true", "check", ("broken",)),
        other=Stage("true", "check", ()),
    )
    assert {name: result.status for name, result in results.items()} == {
        "broken": "failed",
        "needs_it": "skipped",
        "other": "passed",
    }
    assert all(results[name].failed == 1 for name in ("broken", "needs_it"))
    assert "the reason" in capsys.readouterr().out


def test_the_end_names_failed_tests_and_their_causes() -> None:
    log = "".join(
        f"E       OSError: AF_UNIX path too long\nFAILED tests/test_a.py::test_{n} - OSError\n" for n in range(7)
    )
    assert stages.failures(f"{log}\x1b[31mERROR\x1b[0m tests/test_b.py::test_c\n").splitlines() == [
        *(f"  tests/test_a.py::test_{n} - OSError" for n in range(5)),
        "  and 3 more",
        "    OSError: AF_UNIX path too long",
    ]
    assert stages.failures("no test\n") == ""


def test_the_end_names_the_failure_that_ended_a_playbook() -> None:
    rescued = 'fatal: [host]: FAILED! => {"msg": "rescued"}\n'
    last = '\x1b[31mfatal: [localhost]: FAILED! => {"msg": "return code", "stderr": "lab.py: no end", "rc": 1}\x1b[0m\n'
    assert stages.failures(rescued + last) == "    localhost: return code lab.py: no end"
    assert stages.failures("fatal: [localhost]: UNREACHABLE! => {\n") == ""
    assert stages.failures("fatal: [host]: FAILED! => {and another}\n") == "    host: {and another}"


@pytest.mark.parametrize("end", [0, 1])
def test_a_stage_starts_behind_another_that_runs(monkeypatch: pytest.MonkeyPatch, folder: Path, end: int) -> None:
    first = Stage(f"sleep 0.5; touch {folder}/made; exit {end}", "check", ())
    behind = Stage(f"test -e {folder}/made", "check", (), behind=("first", "elsewhere"))
    assert run(monkeypatch, first=first, second=behind)["second"].status == "passed"


def test_a_stage_of_a_group_runs_alone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    alone = f"mkdir {folder}/busy && sleep 0.5 && rmdir {folder}/busy"
    made = {"first": Stage(alone, "check", ())} | {f"vm{n}": Stage(alone, "test-full", (), "vm") for n in range(2)}
    results = run(monkeypatch, **made)
    assert {result.status for result in results.values()} == {"passed"}


def test_a_stage_that_computes_lets_the_others_run_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    run(monkeypatch, usual=Stage("nice", "check", ()), computes=Stage("nice", "check", (), niceness=1))
    usual, computes = (int((folder / "logs" / f"{name}.log").read_text()) for name in ("usual", "computes"))
    # 19 is the largest niceness.
    assert computes == min(usual + 1, 19)


def test_stages_that_compute_keep_no_other_stage_from_starting(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(stages, "AT_ONCE", 1)
    wait = f"for n in $(seq 100); do ! test -e {folder}/started || exit 0; sleep 0.1; done; exit 1"
    made = {f"computes{n}": Stage(wait, "check", (), niceness=1) for n in range(2)}
    results = run(monkeypatch, **made, usual=Stage(f"touch {folder}/started", "check", ()))
    assert {result.status for result in results.values()} == {"passed"}


def test_a_stage_finds_the_programs_of_the_environment_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "pytest").write_text("#!/bin/sh\necho 7 passed\n")
    (programs / "pytest").chmod(0o755)
    monkeypatch.setattr(stages, "ROOT", folder)
    assert run(monkeypatch, unit=Stage("pytest", "check", ()))["unit"].passed == 7


def test_no_silence_is_long_and_progress_is_shown(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    printed: list[str] = []

    def say(text: str) -> None:
        printed.append(text)
        if text.startswith("running: setup "):
            (folder / "spoken").touch()

    monkeypatch.setattr(stages, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(stages, "say", say)
    # The stage ends after the runner has reported it as running.
    script = f"echo setup: installs this; echo noise; until test -e {folder}/spoken; do sleep 0.1; done"
    run(monkeypatch, setup=Stage(script, "check", (), progress="setup: "))
    assert "setup: installs this" in printed
    assert "noise" not in printed


@pytest.mark.parametrize(
    ("log", "succeeded", "expected"),
    [
        ("", True, (1, 0)),
        ("Python 3.14: this controller does not have it\n0 passed\n", True, (0, 0)),
        ("", False, (0, 1)),
        ("==== 66 passed in 39.91s ====\n\x1b[32m==== \x1b[1m9 passed\x1b[0m in 1s ====\n", True, (75, 0)),
        ("=== 2 failed, 7 passed, 1 error in 3.00s ===\n", False, (7, 3)),
        ("11 passed, 0 failed\n", True, (11, 0)),
        ('    "msg": "All assertions passed"\nTASK [3 passed]\n', True, (1, 0)),
    ],
)
def test_tests_are_counted(log: str, succeeded: bool, expected: tuple[int, int]) -> None:
    assert stages.counts(log, succeeded) == expected


def test_a_stage_that_passed_before_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Result("passed", 5.0, 9, 0)
    results = run(
        monkeypatch, {"first": before}, first=Stage("false", "check", ()), second=Stage("true", "check", ("first",))
    )
    assert (results["first"], results["second"].status) == (before, "passed")


def test_figures_that_a_stage_records_do_not_change_the_tree(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    page = folder / "alerts.md"
    page.write_text(f"before\n{stages.FAULTS_MARKS[0]}\nold\n{stages.FAULTS_MARKS[1]}\nafter\n")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    for name, value in (("ROOT", folder), ("FAULTS_PAGE", page)):
        monkeypatch.setattr(stages, name, value)
    before = stages.tree()
    stages.write_between(page, stages.FAULTS_MARKS, ["| new |"])
    assert page.read_text() == f"before\n{stages.FAULTS_MARKS[0]}\n| new |\n{stages.FAULTS_MARKS[1]}\nafter\n"
    assert stages.tree() == before
    page.write_text(page.read_text() + "more\n")
    assert stages.tree() != before


def test_the_record_has_the_last_result_of_each_stage(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    run(monkeypatch, first=Stage("true", "check", ()), second=Stage("false", "check", ()))
    run(monkeypatch, second=Stage("echo 4 passed", "check", ()))
    stages.record(["first", "second", "elsewhere", "never"])
    kept = json.loads((folder / "state").read_text())
    assert [kept[name]["result"][0] for name in ("first", "second")] == ["passed", "passed"]
    text = (folder / "record").read_text()
    assert text.startswith(f"# Before\n{stages.MARKS[0]}\n| stage |")
    assert text.endswith(f"{stages.MARKS[1]}\nafter\n")
    assert "| first | old |" not in text
    assert "| elsewhere | old |\n" in text
    assert [line.split(" | ")[0] for line in text.splitlines() if "| 20" in line] == ["| first", "| second"]
    assert "| 4 | 0 |" in text


def test_a_suite_has_the_stages_of_the_smaller_ones_and_a_stage_what_it_needs() -> None:
    check, test, full = (stages.wanted(suite) for suite in stages.SUITES)
    assert (check[0], set(check) < set(test) < set(full)) == ("packages", True)
    assert stages.wanted("stage", ["vm-power"]) == ["packages", "setup", "images", "vm-images", "vm-power"]


def test_the_row_of_an_ansible_core_replaces_that_of_its_series() -> None:
    begin, end = record_core.MARKS
    page = f"before\n{begin}{end}after\n"
    for core, date in (("2.22.0rc1", "1"), ("2.9.1", "2"), ("2.22.0", "3")):
        page = record_core.recorded(page, core, "3.13.0", "3.0.5", date)
    rows = "| 2.9.1 | 3.0.5 | 3.13.0 | 2 |\n| 2.22.0 | 3.0.5 | 3.13.0 | 3 |\n"
    assert page == f"before\n{begin}{record_core.HEAD}{rows}{end}after\n"


def test_results_on_a_tree_that_changed_are_not_resumed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(stages, "tree", lambda: "another")
    run(monkeypatch, first=Stage("true", "check", ()))
    assert json.loads((folder / "state").read_text())["first"]["tree"] == ""


def coverage_report(**functions: tuple[int, int, int, int]) -> dict[str, Any]:
    """Return coverage's JSON of one file: covered and missing lines, covered and missing branches, by function."""
    keys = ("executed_lines", "missing_lines", "executed_branches", "missing_branches")
    regions = {name: {key: [0] * n for key, n in zip(keys, counts, strict=True)} for name, counts in functions.items()}
    return {"files": {"plugins/a.py": {"functions": regions}}}


def group(*names: str) -> dict[str, Any]:
    return {"reason": "It needs a host.", "functions": {"plugins/a.py": list(names)}}


def test_coverage_below_its_limit_is_a_problem() -> None:
    assert coverage_check.check(coverage_report(f=(95, 5, 20, 1)), [])[1] == []
    for counts in ((94, 6, 20, 0), (100, 0, 94, 6)):
        assert "add tests up to 95 %" in coverage_check.check(coverage_report(f=counts), [])[1][0]


def test_a_listed_function_counts_in_the_figures_of_all_code_alone() -> None:
    table, problems = coverage_check.check(coverage_report(f=(10, 0, 2, 0), main=(0, 10, 0, 2)), [group("main")])
    assert problems == []
    assert "50.0 %" in table[1]
    assert "100.0 %" in table[2]


def test_a_listed_function_that_tests_cover_or_that_is_gone_is_a_problem() -> None:
    report = coverage_report(f=(10, 0, 2, 0))
    assert "which tests cover: remove" in coverage_check.check(report, [group("f")])[1][0]
    assert "which does not exist: remove" in coverage_check.check(report, [group("g")])[1][0]


MUTANT = mutation.Mutant("plugins/a.py", "f", "- return 1\n+ return 2", "f__mutmut_1")


def test_a_mutation_that_no_test_notices_needs_an_explanation() -> None:
    (problem,) = mutation.judge([MUTANT], [], complete=True)
    assert problem == "plugins/a.py: f: no test fails (f__mutmut_1):\n- return 1\n+ return 2"
    groups = [{"reason": "It is the same.", "mutations": {"plugins/a.py": {"f": [MUTANT.diff]}}}]
    assert mutation.judge([MUTANT], mutation.explained(groups), complete=True) == []


def test_an_explanation_without_its_mutation_is_stale_once_all_have_run() -> None:
    assert mutation.judge([], [MUTANT], complete=False) == []
    assert "mutation.yml explains a mutation that is gone" in mutation.judge([], [MUTANT], complete=True)[0]


def test_decorated_functions_are_mutated_too() -> None:
    text = "@rule\ndef a(\n    b,\n):\n    yield b\n\n\n# c\n@rule\ndef d(e):\n    return e\n"
    called = mutation.undecorated(text, "rule")
    assert "@rule" not in called
    assert called.index("yield b") < called.index("rule(a)") < called.index("# c") < called.index("rule(d)")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the tree with what the mutated files and their tests are called."""
    copy = tmp_path / mutation.NTS
    for file, tests in mutation.FILES.items():
        for name in (file, *(f"{mutation.UNIT}/{test}" for test in tests.files)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(f"# {name}\n")
    return copy


def forgotten(work: Path, *changed: Path) -> set[str]:
    """Return the folders of mutmut that lose their results by changes of files."""
    for path in changed:
        path.write_text("# changed\n")
    for file in mutation.FILES:
        (mutation.folder(work, file) / "mutants").mkdir(parents=True, exist_ok=True)
    mutation.prepare(work)
    return {
        path.name
        for path in (mutation.folder(work, file) for file in mutation.FILES)
        if not (path / "mutants").exists()
    }


def test_results_of_another_tree_are_forgotten(tmp_path: Path, copied: Path) -> None:
    every = {"decision", "verdict", "chronyc", "rules", "plan"}
    assert forgotten(tmp_path) == every
    assert forgotten(tmp_path) == set()
    assert forgotten(tmp_path, copied / "plugins/new.py") == every


def test_a_changed_test_costs_the_results_of_its_own_file_alone(tmp_path: Path, copied: Path) -> None:
    forgotten(tmp_path)
    unit = copied / mutation.UNIT
    assert forgotten(tmp_path, unit / "plugin_utils/test__rules.py") == {"rules"}
    assert forgotten(tmp_path, unit / "plugin_utils/test_of_another_file.py") == set()
    # Any test may import a file that holds no tests.
    assert len(forgotten(tmp_path, unit / "plugin_utils/plan_input.py")) == len(mutation.FILES)


def test_each_file_is_mutated_with_its_own_tests(tmp_path: Path, copied: Path) -> None:
    mutation.prepare(tmp_path)
    for file, tests in mutation.FILES.items():
        text = (mutation.folder(tmp_path, file) / "pyproject.toml").read_text()
        assert f'only_mutate = ["{mutation.NTS}/{file}"]' in text
        assert all(f"{mutation.UNIT}/{test}" in text for test in tests.files)


def test_the_tests_of_each_mutated_file_exist() -> None:
    paths = [
        path
        for file, tests in mutation.FILES.items()
        for path in (file, *(f"{mutation.UNIT}/{test}" for test in tests.files))
    ]
    assert [path for path in paths if not (stages.ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("diff", "expected"),
    [
        ('- return "failed", "it does not answer"\n+ return "failed", "XXit does not answerXX"', True),
        ('- return "failed", "it does not answer"\n+ return "failed", "IT DOES NOT ANSWER"', True),
        ('- return "failed", "it does not answer"\n+ return "FAILED", "it does not answer"', False),
        ('- return "failed", "it does not answer"\n+ return "XXfailedXX", "it does not answer"', False),
        ("- return 1\n+ return 2", False),
    ],
)
def test_other_words_of_a_sentence_need_no_test(diff: str, expected: bool) -> None:
    assert mutation.is_wording(diff) is expected
