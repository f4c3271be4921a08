# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Combinations of options and directives that `chronyd -p` accepts, and with which chronyd exits at its start.

Run each combination on the chronyds of four Debian suites, and also the remedy that the message names.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state.options import CONFLICTS, conflicts, parse
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of
from ansible_collections.securetime.nts.tests.functional.nts_servers import wait_for
from ansible_collections.securetime.nts.tests.functional.rooms import Room, command_socket, room
from ansible_collections.securetime.nts.tests.functional.unpacked import program

SUITES = ["bullseye", "bookworm", "trixie", "testing"]
# Options, lines, chronyd's log message, and the first suite whose chronyd has the directives.
FATAL = {
    "mailonchange": ("-F 1", ["mailonchange root 0.5"], "mailonchange directive cannot be used", "bullseye"),
    "mailonchange, level 2": ("-F 2", ["mailonchange root 0.5"], "cannot be used with -F", "bullseye"),
    "noclientlog": ("", ["noclientlog", "cmdratelimit interval 3"], "Rate limiting cannot be enabled", "bullseye"),
    "rtcfile": ("", ["rtcfile /nonexistent/rtc", "rtcsync"], "cannot be used with rtcsync", "bullseye"),
    "refclock RTC": ("", ["refclock RTC /dev/rtc0", "rtcsync"], "RTC refclock cannot be used together", "testing"),
    "refclock tai": ("", ["refclock SHM 0 tai"], "refclock tai option requires", "bullseye"),
    "sched_priority": ("", ["sched_priority 100"], "Bad scheduler priority", "bullseye"),
    "sched_priority, as an option": ("-P 100", [], "Bad scheduler priority", "bullseye"),
}
WORKS = {
    "without the filter": (
        "-F 0 -P 1",
        ["mailonchange root 0.5", "cmdratelimit interval 3", "refclock SHM 0 tai", "leapsectz right/UTC"],
    ),
    "with the filter": ("-F 1", ["noclientlog", "rtcfile /nonexistent/rtc", "sched_priority 99"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with room(tmp_path_factory.mktemp("options") / "room") as made:
        yield made


def command(suite: str, folder: Path, lines: Sequence[str], socket: Path) -> list[str]:
    """Write a configuration with these lines, which chronyd accepts; return the command that reads it."""
    config = folder / "chrony.conf"
    own = [f"bindcmdaddress {socket}", "cmdport 0", f"pidfile {folder}/pid"]
    config.write_text("".join(f"{line}\n" for line in [*own, *lines]))
    start = [*program(suite, "usr/sbin/chronyd"), "-f", str(config)]
    subprocess.run([*start, "-p"], check=True, capture_output=True, timeout=60)
    return start


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("case", FATAL)
def test_conflicts_that_end_chronyd_are_in_the_table(case: str, suite: str, place: Room, tmp_path: Path) -> None:
    options, lines, logged, since = FATAL[case]
    if SUITES.index(suite) < SUITES.index(since):
        pytest.skip("this chronyd knows a part of it not yet, and the table of chrony.conf says so")
    start = command(suite, tmp_path, lines, tmp_path / "run" / "sock")
    done = subprocess.run(
        place.command([*start, "-d", "-x", "-u", "root", *options.split()]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done
    assert logged in done.stdout + done.stderr
    # chronyd refuses the option's priority 100, and so does the parser of options.
    unusable = parse(options.split()).unusable
    (conflict,) = [one for one in CONFLICTS if one.name == case.partition(",")[0]]
    found = conflicts(parse(options.split()).options, words_of("\n".join(lines)))
    assert found == ([conflict.sentence] if lines else [])
    assert bool(unusable) is not bool(lines)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("case", WORKS)
def test_the_remedies_of_conflicts_work(case: str, suite: str, place: Room, tmp_path: Path) -> None:
    options, lines = WORKS[case][0].split(), WORKS[case][1]
    assert conflicts(parse(options).options, words_of("\n".join(lines))) == []
    log = tmp_path / "log"
    with (
        command_socket() as path,
        log.open("w") as output,
        subprocess.Popen(
            place.command([*command(suite, tmp_path, lines, path), "-d", "-x", "-u", "root", *options]),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            # chronyd creates its socket after every check that can end its start.
            ask = [*program(suite, "usr/bin/chronyc"), *(["-u", "root"] if suite == "testing" else [])]
            ask += ["-h", str(path), "activity"]
            wait_for(
                lambda: (
                    process.poll() is not None
                    or subprocess.run(ask, capture_output=True, timeout=60, check=False).returncode == 0
                ),
                60,
                log.read_text,
            )
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()


def test_every_conflict_has_a_case() -> None:
    assert {case.partition(",")[0] for case in FATAL} == {conflict.name for conflict in CONFLICTS}
