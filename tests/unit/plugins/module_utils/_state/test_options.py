# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state import options
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import words_of
from ansible_collections.securetime.nts.tests.unit.plugins.module_utils.environment_file import TEXT, VALUES


def test_an_environment_file_is_read_as_by_systemd():
    assert options.read_environment_file(TEXT) == VALUES


@pytest.mark.parametrize("text", ["", "\n", "A", "#", "=", "A\\", "A=\\", 'A="', "A='\\"])
def test_a_broken_environment_file_ends_no_run(text):
    options.read_environment_file(text)


@pytest.mark.parametrize(
    ("words", "given", "unusable"),
    [
        ([], {}, []),
        (["-F", "1"], {"F": "1"}, []),
        (["-F2", "-4mu", "chrony"], {"F": "2", "4": None, "m": None, "u": "chrony"}, []),
        (["-F", "1", "-F", "-1"], {"F": "-1"}, []),
        (["-4", "-6"], {"6": None}, []),
        (["-dn", "-t", "5"], {}, ["-d", "-n", "-t"]),
        (["-x", "-q"], {"x": None}, ["-q"]),
        (["-Z"], {}, ["-Z"]),
        (["server nts.example.org", "-m", "--help", "-"], {"m": None}, ["server nts.example.org", "--help", "-"]),
        (["-u"], {}, ["-u"]),
        (["-u", "$USER"], {}, ["-u"]),
        (["-F", "3", "-P", "100", "-L", "x"], {}, ["-F", "-P", "-L"]),
    ],
)
def test_options_are_read_as_by_chronyd(words, given, unusable):
    found = options.parse(words)
    assert (found.options, [word for word, _reason in found.unusable]) == (given, unusable)


def test_the_last_value_of_an_option_applies():
    merged = options.merge({"F": "1", "4": None}, {"u": "chrony", "F": "0"}, {"r": None, "6": None})
    assert options.words_of(merged) == ["-F", "0", "-u", "chrony", "-r", "-6"]


def test_a_unit_gives_what_its_last_file_says_and_the_role_wrote_none_of_it():
    files = [
        ("/etc/sysconfig/chronyd", 'OPTIONS="-F 2"\nGNUTLS_FORCE_FIPS_MODE=0\n'),
        ("/etc/more", "MORE='-m -4'\n"),
        (f"/etc/sysconfig/chronyd{options.OWN_SUFFIX}", 'OPTIONS="-x"\n'),
    ]
    command = "{ path=/usr/sbin/chronyd ; argv[]=/usr/sbin/chronyd -n $OPTIONS ${MORE} $NONE ; ignore_errors=no }"
    given = {"OPTIONS": ["-F", "2"], "MORE": ["-m", "-4"], "NONE": []}
    assert options.of_unit([command], "OPTIONS=", files) == given
    assert options.of_unit([command], "'OPTIONS=-F 1' MORE=-6", [])["OPTIONS"] == ["-F", "1"]
    written = [("/etc/default/chrony", f'{options.MANAGED}, role chrony_nts.\nOPTIONS="-F 1 -r -x"\n')]
    assert options.of_unit([command], "", written)["OPTIONS"] == []


@pytest.mark.parametrize(
    ("given", "lines", "name"),
    [
        (["-F", "1"], "mailonchange root 0.5", "mailonchange"),
        (["-F", "-2"], "mailonchange root 0.5", "mailonchange"),
        (["-F", "0"], "mailonchange root 0.5", None),
        ([], "mailonchange root 0.5", None),
        ([], "noclientlog\nNTSratelimit", "noclientlog"),
        ([], "noclientlog", None),
        ([], "rtcfile /x\nrtcsync", "rtcfile"),
        ([], "refclock RTC /dev/rtc0\nrtcsync", "refclock RTC"),
        ([], "refclock rtc /dev/rtc0\nrtcfile /x", "refclock RTC"),
        ([], "refclock PHC /dev/ptp0\nrtcsync", None),
        ([], "refclock PHC /dev/ptp0 poll 2 TAI", "refclock tai"),
        ([], "refclock PHC /dev/ptp0 tai\nleapsectz right/UTC", None),
        ([], "refclock PHC /dev/ptp0 tai\nleapseclist /x", None),
        ([], "sched_priority 100", "sched_priority"),
        (["-P", "1"], "sched_priority 100", None),
        ([], "sched_priority nonsense", None),
    ],
)
def test_what_ends_chronyd_at_its_start_is_named(given, lines, name):
    sentences = {conflict.name: conflict.sentence for conflict in options.CONFLICTS}
    found = options.conflicts(options.parse(given).options, words_of(lines))
    assert found == ([sentences[name]] if name else [])
