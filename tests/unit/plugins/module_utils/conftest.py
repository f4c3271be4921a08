# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real chronyds said, captured by tests/capture_chronyc.py."""

import calendar
import json
import time
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
# Captures of a chronyc and a chronyd of different versions.
MISMATCHES = sorted(CAPTURES.glob("*-by-*/*.json"))


class Capture:
    """One state of one version, and chronyc as it was then."""

    def __init__(self, path):
        self.version = path.parent.name
        self.state = path.stem
        self.content = json.loads(path.read_text(encoding="utf-8"))
        self.uptime_seconds = self.content["uptime_seconds"]

    def answer(self, command):
        """Return what chronyc printed for a command."""
        return "\n".join(self.content["answers"][command])

    def ask(self, commands):
        """Answer as chronyc did."""
        return [self.answer(command) for command in commands]

    def ask_sources_by_name(self):
        """Answer as chronyc -N did."""
        return self.answer("-N sources -a")

    def take(self, *more):
        """Return what the reports of then are read as, with those of the optional ones."""
        return chronyc.take(self.ask, self.ask_sources_by_name, more)

    def log(self):
        """Return what chronyd had logged: age in seconds, text."""
        for line in self.content["log"]:
            stamp, _space, text = line.partition(" ")
            logged = calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))
            yield max(0.0, self.content["captured"] - logged), text


def pytest_generate_tests(metafunc):
    """Give a test that asks for `any_capture` every one of them."""
    if "any_capture" in metafunc.fixturenames:
        paths = sorted(set(CAPTURES.glob("*/*.json")) - set(MISMATCHES))
        metafunc.parametrize(
            "any_capture", [Capture(path) for path in paths], ids=["/".join(p.parts[-2:]) for p in paths]
        )


@pytest.fixture(params=MISMATCHES, ids=lambda path: path.parent.name)
def mismatch(request):
    """Return each capture of a chronyc and a chronyd of different versions in turn."""
    return Capture(request.param)


@pytest.fixture(params=sorted({path.name for path in CAPTURES.iterdir()} - {path.parent.name for path in MISMATCHES}))
def version(request):
    """Return each captured version in turn."""
    return request.param


@pytest.fixture
def capture(version):
    """Return a function that returns the capture of a state, for each version."""
    return lambda state: Capture(CAPTURES / version / f"{state}.json")
