# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of directives. tests/functional/test_chrony_conf.py compares it with real chronyds."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import ROOT_MARK
from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import (
    DIRECTIVES,
    SOURCE,
    contradictions,
    normal,
    problems,
    render_access,
    render_directives,
    render_sources,
    supported,
    trust_files,
    trust_patterns,
)

SERVER = {"type": "server", "address": "a.example.org"}


@pytest.mark.parametrize("word", [DIRECTIVES, SOURCE], ids=lambda word: word.name)
def test_every_name_is_there_once(word: Any) -> None:
    for owner in [word, *(part for part in word.parts if part.parts)]:
        names = [part.name for part in owner.parts]
        assert len(names) == len(set(names)), owner.name


@pytest.mark.parametrize(
    ("directives", "lines"),
    [
        ({}, []),
        ({"rtcsync": True, "manual": "yes", "lock_all": False, "noclientlog": "no"}, ["manual", "rtcsync"]),
        (
            {"port": 123, "dscp": "46", "maxdistance": 1.5, "cmdport": 0},
            ["cmdport 0", "dscp 46", "maxdistance 1.5", "port 123"],
        ),
        ({"port": None, "makestep": None, "local": False, "deny": None}, []),
        ({"makestep": {"limit": 3, "threshold": 1.0}}, ["makestep 1.0 3"]),
        ({"local": {"orphan": True, "stratum": 10, "distance": 0.5}}, ["local stratum 10 orphan distance 0.5"]),
        ({"local": {"orphan": False, "stratum": None}}, ["local"]),
        (
            {"local": True, "ratelimit": {}, "cmdratelimit": {"burst": 4}},
            ["cmdratelimit burst 4", "local", "ratelimit"],
        ),
        ({"log": ["tracking", "measurements"]}, ["log tracking measurements"]),
        ({"opencommands": [], "ntsaeads": [30, 15]}, ["ntsaeads 30 15", "opencommands"]),
        ({"deny": ["all", "192.0.2.0/24"]}, ["deny all", "deny 192.0.2.0/24"]),
        ({"smoothtime": {"max_freq": 400, "max_wander": 0.01, "leaponly": True}}, ["smoothtime 400 0.01 leaponly"]),
        ({"broadcast": [{"interval": 60, "address": "192.0.2.255"}]}, ["broadcast 60 192.0.2.255"]),
        ({"initstepslew": {"threshold": 30, "hosts": ["a", "b"]}}, ["initstepslew 30 a b"]),
        (
            {"hwtimestamp": [{"interface": "*"}, {"interface": "eth0", "rxfilter": "ptp", "nocrossts": True}]},
            ["hwtimestamp *", "hwtimestamp eth0 nocrossts rxfilter ptp"],
        ),
        (
            {"refclock": [{"driver": "SHM", "parameter": "0", "poll": 2, "prefer": True}]},
            ["refclock SHM 0 poll 2 prefer"],
        ),
        (
            {"sourcedir": ["/run/chrony-dhcp"], "stratumweight": 0.1, "confdir": ["/a", "/b"]},
            ["stratumweight 0.1", "confdir /a", "confdir /b", "sourcedir /run/chrony-dhcp"],
        ),
    ],
)
def test_directives_become_lines(directives: dict[str, Any], lines: list[str]) -> None:
    assert render_directives(directives) == lines
    assert render_directives(dict(reversed(list(directives.items())))) == lines
    assert problems(directives, []) == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (SERVER, "server a.example.org"),
        ({**SERVER, "nts": True, "iburst": False}, "server a.example.org nts"),
        (
            {"xleave": True, "offset": -0.5, "minpoll": -4, **SERVER},
            "server a.example.org minpoll -4 offset -0.5 xleave",
        ),
        ({**SERVER, "type": "pool", "maxsources": 2}, "pool a.example.org maxsources 2"),
        ({**SERVER, "extfield": ["F323", "F324"]}, "server a.example.org extfield F323 extfield F324"),
        ({**SERVER, "key": 7, "nts": False}, "server a.example.org key 7"),
    ],
)
def test_sources_become_lines(source: dict[str, Any], line: str) -> None:
    assert render_sources([source, source]) == [line, line]
    assert problems({}, [source]) == []


@pytest.mark.parametrize(
    ("directives", "sentence"),
    [
        ({"prot": 1}, "In chrony_nts_directives, prot is not known: take it out, or make it port."),
        ({"xyzzy": 1}, "In chrony_nts_directives, xyzzy is not known: take it out."),
        ({"port": -1}, "In chrony_nts_directives, port is -1: set it to a whole number from 0 to 65535."),
        ({"port": "ntp"}, "In chrony_nts_directives, port is 'ntp': set it to a whole number from 0 to 65535."),
        ({"port": 1.5}, "In chrony_nts_directives, port is 1.5: set it to a whole number from 0 to 65535."),
        ({"logbanner": -1}, "In chrony_nts_directives, logbanner is -1: set it to a whole number of 0 or more."),
        ({"maxdrift": "nan"}, "In chrony_nts_directives, maxdrift is 'nan': set it to a number of 0 or more."),
        ({"rtcsync": 2}, "In chrony_nts_directives, rtcsync is 2: set it to true or false."),
        ({"rtcfile": "a b"}, "In chrony_nts_directives, rtcfile is 'a b': set it to one word, without a comment."),
        ({"rtcfile": "%a"}, "In chrony_nts_directives, rtcfile is '%a': set it to one word, without a comment."),
        ({"rtcfile": "a\nb"}, "In chrony_nts_directives, rtcfile is 'a\\nb': set it to one word, without a comment."),
        ({"leapsecmode": "skip"}, "leapsecmode is 'skip': set it to one of system, step, slew, ignore."),
        ({"ntsaeads": [15, 16]}, "ntsaeads is [15, 16]: set it to a list, of which each entry is one of 15, 30."),
        ({"deny": "all"}, "deny is 'all': set it to a list, of which each entry is 'all', a subnet as"),
        ({"bindaddress": ["eth0"]}, "bindaddress is 'eth0': set it to an IP address."),
        ({"local": 10}, "local is 10: set it to a dictionary with stratum, orphan, distance, activate,"),
        ({"local": {"stratum": 16}}, "In chrony_nts_directives.local, stratum is 16: set it to a whole number from 1"),
        (
            {"local": {"startum": 1}},
            "In chrony_nts_directives.local, startum is not known: take it out, or make it str",
        ),
        ({"makestep": True}, "makestep is True: set it to a dictionary with threshold, limit."),
        (
            {"makestep": {"limit": 3}},
            "In chrony_nts_directives.makestep, threshold is missing: set it to a number of 0",
        ),
        (
            {"ratelimit": {"burst": 33}},
            "chrony_nts_directives.ratelimit, burst is 33: set it to a whole number from 1 to 32.",
        ),
        ({"tempcomp": {"sensor": "/a", "interval": 1}}, "tempcomp, set either points, or T0, k0, k1 and k2."),
        ({"tempcomp": {"sensor": "/a", "interval": 1, "points": "/b", "T0": 1}}, "tempcomp, set either points, or T0"),
        ({"server": "a"}, "In chrony_nts_directives, server cannot be given: set chrony_nts_sources."),
        ({"ntscachedir": "/a"}, "ntscachedir cannot be given: it is another name of ntsdumpdir, set that."),
    ],
)
def test_a_mistake_gives_one_sentence_that_says_what_to_set(directives: dict[str, Any], sentence: str) -> None:
    (found,) = problems(directives, [])
    assert sentence in found


def test_a_mistake_in_a_source_names_the_source() -> None:
    assert problems({}, [SERVER, {**SERVER, "address": "b", "filter": 0}]) == [
        "In chrony_nts_sources (b), filter is 0: set it to a whole number from 1 to 128."
    ]
    (found,) = problems({}, [{**SERVER, "key": 7, "nts": True}])
    assert found.startswith("In chrony_nts_sources (a.example.org), key has no effect on a source with NTS: take it")


LATER = {
    "driftfile": {"path": "/d", "interval": 60},
    "hwtimestamp": [{"interface": "*", "rxfilter": "ptp", "maxpoll": 3}],
    "log": ["tracking", "selection"],
    "maxstratum": 5,
    "ntsaeads": [15],
    "opencommands": [],
    "port": 123,
    "refclock": [{"driver": "RTC", "parameter": "/dev/rtc0"}, {"driver": "PPS", "parameter": "/dev/pps0"}],
}
SOURCES = [{**SERVER, "maxunreach": 9, "extfield": ["F324"]}, {**SERVER, "extfield": ["F323", "F324"]}]
IN_4_0 = ["driftfile /d", "hwtimestamp *", "log tracking", "port 123", "refclock PPS /dev/pps0"]
IN_4_6 = ["driftfile /d", "hwtimestamp * maxpoll 3 rxfilter ptp", "log tracking selection", *IN_4_0[3:]]
ALL = render_directives(LATER)


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("4.0", IN_4_0),
        ("4.6", IN_4_6),
        ("4.6.1", [*IN_4_6[:3], "ntsaeads 15", *IN_4_6[3:]]),
        ("4.9-pre1", ALL),
        ("4.10", ALL),
        (None, ALL),
        ("", ALL),
        ("DEVELOPMENT", ALL),
    ],
)
def test_what_is_too_new_is_left_out_or_told(version: str | None, lines: list[str]) -> None:
    kept = supported(LATER, version)
    assert render_directives(kept) == lines
    assert problems(kept, supported(SOURCES, version), version) == []
    assert (problems(LATER, SOURCES, version) == []) == (lines == render_directives(LATER))


def test_options_of_sources_that_are_too_new_are_left_out() -> None:
    assert supported(SOURCES, "4.2") == [SERVER, {**SERVER, "extfield": ["F323"]}]
    assert supported(SOURCES, "4.7") == [{**SERVER, "extfield": ["F324"]}, SOURCES[1]]


def test_a_list_of_which_nothing_is_left_goes_and_an_empty_one_stays() -> None:
    assert supported({"log": ["selection"], "opencommands": []}, "4.2") == {}
    assert supported({"log": ["selection"], "opencommands": []}, "4.7") == {"log": ["selection"], "opencommands": []}


def test_what_is_too_new_is_told_with_both_ways_out() -> None:
    ways_out = "take it out, or set chrony_nts_skip_unsupported to true."
    assert problems({"log": ["selection"]}, [{**SERVER, "maxunreach": 9}], "4.2") == [
        f"selection of chrony_nts_directives.log needs chronyd 4.3 or newer, this host has 4.2: {ways_out}",
        f"maxunreach of chrony_nts_sources (a.example.org) needs chronyd 4.8 or newer, this host has 4.2: {ways_out}",
    ]


def test_what_is_not_given_is_not_too_new() -> None:
    assert problems({"maxstratum": None, "local": {"activate": None}}, [{**SERVER, "copy": "no"}], "4.0") == []


def test_the_input_is_left_alone() -> None:
    given = {"local": {"stratum": 10, "activate": 1.0}, "log": ["selection"]}
    supported(given, "4.0")
    assert given == {"local": {"stratum": 10, "activate": 1.0}, "log": ["selection"]}


def test_trust_anchors_are_sorted_into_a_file_for_each_set() -> None:
    anchors = [
        {"content": "B\n", "set": 2},
        {"content": " A\n\n"},
        {"content": "A", "set": 0},
        {"content": "C", "set": "2"},
    ]
    assert trust_files(anchors, "/nts", ["D\n", ""], ["E"], "4.1") == [
        {"set": 0, "path": "/nts/trusted.pem", "content": f"A\n{ROOT_MARK}\nD\nE\n"},
        {"set": 2, "path": "/nts/trusted-2.pem", "content": "B\nC\n"},
    ]
    assert [file["set"] for file in trust_files(anchors, "/nts", version="4.0")] == [0]
    assert trust_files([], "/nts") == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"makestep": "1.0 3"}, {"makestep": {"threshold": "1.0", "limit": "3"}}),
        ({"makestep": [1.0, 3]}, {"makestep": {"threshold": "1.0", "limit": "3"}}),
        ({"hwtimestamp": "*"}, {"hwtimestamp": [{"interface": "*"}]}),
        (
            {"hwtimestamp": ["eth0 rxfilter ptp nocrossts", {"interface": "eth1"}]},
            {"hwtimestamp": [{"interface": "eth0", "rxfilter": "ptp", "nocrossts": True}, {"interface": "eth1"}]},
        ),
        ({"local": True}, {"local": True}),
        ({"local": "yes"}, {"local": True}),
        ({"local": "stratum 10 orphan"}, {"local": {"stratum": "10", "orphan": True}}),
        ({"log": "tracking statistics"}, {"log": ["tracking", "statistics"]}),
        ({"log": "tracking,statistics"}, {"log": ["tracking", "statistics"]}),
        ({"ntsaeads": 30}, {"ntsaeads": ["30"]}),
        ({"bindaddress": "192.0.2.1"}, {"bindaddress": ["192.0.2.1"]}),
        ({"driftfile": "/var/lib/drift"}, {"driftfile": {"path": "/var/lib/drift"}}),
        ({"ratelimit": "INTERVAL 1"}, {"ratelimit": {"interval": "1"}}),
        ({"initstepslew": "30 a b"}, {"initstepslew": {"threshold": "30", "hosts": ["a", "b"]}}),
        (
            {"tempcomp": "/sys/temp 30 /etc/points"},
            {"tempcomp": {"sensor": "/sys/temp", "interval": "30", "points": "/etc/points"}},
        ),
        (
            {"maxdistance": 1.0, "rtcsync": False, "logchange": None},
            {"maxdistance": 1.0, "rtcsync": False, "logchange": None},
        ),
        # An invalid value stays unchanged, for the rules to report.
        ({"makestep": "1.0 3 4", "local": 5, "unknown": "1"}, {"makestep": "1.0 3 4", "local": 5, "unknown": "1"}),
    ],
)
def test_directives_are_taken_as_chrony_and_other_roles_write_them(given: Any, expected: Any) -> None:
    assert normal(DIRECTIVES, given) == expected


@pytest.mark.parametrize(
    "line", ["makestep 1.0 3", "local stratum 10 orphan", "refclock PHC /dev/ptp0 poll 2 refid PTP0"]
)
def test_a_line_that_was_read_is_written_as_it_was(line: str) -> None:
    name, _blank, text = line.partition(" ")
    assert render_directives(normal(DIRECTIVES, {name: text})) == [line]


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("trusted.pem", True),
        ("trusted-1.pem", True),
        ("trusted-4294967295.pem", True),
        ("trusted-2026-corp.pem", False),
        ("trusted-corp.pem", False),
        ("trusted-1.pem.bak", False),
    ],
)
def test_only_files_of_sets_belong_to_the_role(name: str, owned: bool) -> None:
    assert any(fnmatch(f"/etc/{name}", pattern) for pattern in trust_patterns("/etc")) is owned


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        (["0.0.0.0/0"], ["192.0.2.0/25"], ["allow 0.0.0.0/0", "deny 192.0.2.0/25"]),
        (["192.0.2.0/26"], ["192.0.2.0/25"], ["deny 192.0.2.0/25", "allow 192.0.2.0/26"]),
        (["192.0.2.0/24"], ["all"], ["deny all", "allow 192.0.2.0/24"]),
        (["192.0.2.0/24", "all"], ["all 192.0.0.0/16"], ["allow all", "deny all 192.0.0.0/16", "allow 192.0.2.0/24"]),
        (["2001:db8::/48"], ["2001:db8::/32", "::/0"], ["deny ::/0", "deny 2001:db8::/32", "allow 2001:db8::/48"]),
        (["192.0.2.7"], ["a.example", "192.0.2.0/29"], ["deny 192.0.2.0/29", "allow 192.0.2.7", "deny a.example"]),
        ([], ["192.0.2.0/24"], ["deny 192.0.2.0/24"]),
        (None, False, []),
    ],
)
def test_the_narrower_line_of_access_comes_last(allow: Any, deny: Any, expected: list[str]) -> None:
    assert render_access(allow, deny) == expected


def test_rules_of_access_for_commands_are_in_the_same_order() -> None:
    lines = render_directives({"cmdallow": ["192.0.2.7", "all"], "cmddeny": ["192.0.2.0/24"], "deny": ["all"]})
    assert lines == ["cmdallow all", "cmddeny 192.0.2.0/24", "cmdallow 192.0.2.7", "deny all"]


def test_what_is_allowed_and_denied_is_found_however_it_is_written() -> None:
    assert contradictions(["192.0.2.0/24", "2001:DB8::1", "a.example"], ["all 192.0.2.0/24", "2001:db8::1/128"]) == [
        "192.0.2.0/24",
        "2001:db8::1/128",
    ]
    assert contradictions(["all"], ["all"]) == ["all"]
    assert contradictions(["", " "], [""]) == []
    assert contradictions(["192.0.2.0/24"], ["192.0.2.0/25"]) == contradictions(None, False) == []
