# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._monitor import server
from ansible_collections.securetime.nts.plugins.module_utils._nts.probe import STAGES


def row(failed=None, skipped=()):
    """Return the result of a probe that failed at a stage, or succeeded."""
    found, reached = {}, True
    for stage in STAGES:
        state = "skipped" if stage in skipped else "ok"
        found[stage] = {"state": state if reached else "not_reached", "duration_seconds": 0.5 if reached else None}
        if stage == failed:
            found[stage]["state"], reached = "failed", False
    return {"ok": failed is None, "stages": found}


def passed(*arguments):
    """Return whether the probe passed each stage."""
    return [value for value, _seconds in server.stages(*arguments).values()]


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (None, [True, True, True, True, True]),
        ("tcp", [True, False, False, False, False]),
        ("tls", [True, True, False, False, False]),
        ("ntp", [True, True, True, True, False]),
    ],
)
def test_the_stage_that_failed_and_those_after_it_are_not_passed(failed, expected):
    assert passed(row(failed), None) == expected
    seconds = [seconds for _passed, seconds in server.stages(row(failed), None).values()]
    assert [second is not None for second in seconds] == [
        STAGES.index(stage) <= STAGES.index(failed or "ntp") for stage in STAGES
    ]


def test_a_skipped_stage_has_no_result():
    assert passed(row(skipped=["ntp"]), True) == [True, True, True, True, None]


def test_another_certificate_is_no_failure_of_the_probe():
    """chronyd still serves the certificate from before the renewal, which another metric reports."""
    assert passed(row("tls"), False) == [True, True, None, None, None]


def test_a_limit_of_the_operator_is_no_failure_of_the_probe():
    excused = dict(row("ntp"), ok=True)
    assert passed(excused, True) == [True, True, True, True, None]


def test_a_server_that_serves_nobody_fails_at_once():
    assert passed({"ok": False, "stages": None}, None) == [False] * 5
    assert server.stages({"ok": True}, None) == {}


@pytest.mark.parametrize(
    ("names", "subject", "expected"),
    [
        (["DNS:nts1.example.org", "IP Address:192.0.2.1"], "", "nts1.example.org"),
        (["DNS:*.example.org"], "", "probe.example.org"),
        (["IP Address:192.0.2.1"], "", "192.0.2.1"),
        ([], "O=x, CN=nts1", "nts1"),
    ],
)
def test_the_name_of_the_probe(names, subject, expected):
    assert server.name_of({"subject_alt_names": names, "subject": subject}) == expected


def test_pairs_are_named_by_their_files():
    assert server.pair_ids(["/a/one.pem", "/a/two.crt"]) == ["one", "two"]
    assert server.pair_ids(["/a/x.pem", "/b/x.pem", "/b/y.pem"]) == ["/a/x.pem", "/b/x.pem", "y"]


def test_the_watched_files():
    text = "ntsservercert /a.pem\nntsserverkey /a.key\nntstrustedcerts 3 /t.pem\nserver x nts\n"
    assert server.watched_files(text) == ["/a.pem", "/t.pem"]
