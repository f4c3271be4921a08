# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the table of chrony.conf with real chronyds of three versions, for every directive and every option.

tests/functional/unpacked.py unpacks chrony of Debian's suites once.

Long: one table of examples, which all tests of this file read.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils import _rules
from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import (
    DIRECTIVES,
    INT_MAX,
    OLDEST,
    SOURCE,
    Word,
    problems,
    render_directives,
    render_sources,
    supported,
)
from ansible_collections.securetime.nts.tests.functional.unpacked import program
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import (
    DEFAULTS,
    LEAP,
    UBUNTU,
    planned,
)

ROOT = Path(__file__).resolve().parents[2]
SUITES = ["bookworm", "trixie", "testing"]

# Valid texts of directives whose kind is too general for an example. chronyd needs no other file to accept them.
TEXTS = {
    "address": "192.0.2.255",
    "bindcmdaddress": "/run/chrony/chronyd.sock",
    "cmdallow": "all 192.0.2.0/24",
    "cmddeny": "2001:db8::/32",
    "deny": "all",
    "hosts": "127.0.0.1",
    "include": "/etc/*.include",
    "lock": "GPS",
    "parameter": "/dev/pps0:clear",
    "refid": "GPS",
}
TEMPCOMP = {"sensor": "/sys/class/thermal/thermal_zone0/temp", "interval": 30}

# chronyd 4.9 accepts these lines and the table does not: they can only be mistakes, or folders have another form.
NARROWED = """
broadcast 0 192.0.2.255
broadcast 1 192.0.2.255 0
broadcast 1 192.0.2.255 65536
clientloglimit 0
cmdratelimit interval -20
cmdratelimit interval 13
cmdratelimit burst 0
cmdratelimit burst 33
cmdratelimit leak 0
cmdratelimit leak 5
driftfile /var/lib/x interval -1
fallbackdrift -33 -32
fallbackdrift 33 -32
fallbackdrift -32 -33
fallbackdrift -32 33
makestep 0 -2
maxchange 0 -1 -1
maxchange 0 0 -2
maxntsconnections 100001
maxstratum 16
minsources 1001
minstratum 16
ntsport 0
ntsratelimit interval -20
ntsratelimit interval 13
ntsratelimit burst 0
ntsratelimit burst 33
ntsratelimit leak 0
ntsratelimit leak 5
ntsrefresh 59
ntsrefresh 31536001
ntsrotate 59
ntsrotate 31536001
ratelimit interval -20
ratelimit interval 13
ratelimit burst 0
ratelimit burst 33
ratelimit leak 0
ratelimit leak 5
ratelimit kod -1
ratelimit kod 5
refclock PHC /dev/pps0:clear filter 0
sched_priority 100
confdir two words
sourcedir two words
pool nts.example.org certset -1
pool nts.example.org certset 4294967296
pool nts.example.org filter 0
pool nts.example.org filter 129
pool nts.example.org maxntsretry 5
pool nts.example.org maxntsretry 25
pool nts.example.org maxpoll -8
pool nts.example.org maxpoll 25
pool nts.example.org maxsources 17
pool nts.example.org minpoll -8
pool nts.example.org minpoll 25
pool nts.example.org ntsport 0
pool nts.example.org port 0
"""
# chronyd checks these values at its start and not when it reads the file.
NOT_READ = {"refclock.driver"}

ROLE = ROOT / "roles" / "chrony_nts"


@dataclass
class Example:
    """A value of a directive or a source, the part under test, and the first version that supports the part."""

    path: str
    value: Any
    since: str = OLDEST
    by_chronyd: bool = True
    """Whether chronyd, too, refuses a value that is wrong."""

    @property
    def arguments(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the arguments of the table's functions."""
        name = self.path.partition(".")[0]
        return ({}, [self.value]) if name == SOURCE.name else ({name: self.value}, [])

    @property
    def lines(self) -> list[str]:
        """Return the rendered lines of the file."""
        directives, sources = self.arguments
        return render_directives(directives) + render_sources(sources)


def newest(*versions: str) -> str:
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def within(word: Word, example: Example) -> Example:
    """Return an example of a part as an example of the name that contains it."""
    since = newest(word.since, example.since)
    return Example(f"{word.name}.{example.path}", example.value, since, example.by_chronyd)


def right(word: Word) -> Iterator[Example]:
    """Yield valid values of a name: both ends of its range, every choice, every part."""
    for example in right_one(word):
        value = [example.value] if word.several else example.value
        yield Example(example.path, value, newest(word.since, example.since))


def right_one(word: Word) -> Iterator[Example]:
    if word.kind == "flag":
        yield Example(word.name, True)
    elif word.kind in ("integer", "number"):
        yield from (Example(word.name, end) for end in (word.low, word.high) if abs(end) != inf)
        yield Example(word.name, max(word.low, 1) if word.kind == "integer" else 0.25)
    elif word.kind == "choice":
        yield from (Example(word.name, chosen, since) for chosen, since in word.choices.items())
    elif word.kind == "words":
        yield from (Example(word.name, [chosen], since) for chosen, since in word.choices.items())
        yield Example(word.name, [] if word.choices else [TEXTS[word.name]])
    elif word.name == "tempcomp":
        yield Example("tempcomp.points", {**TEMPCOMP, "points": "/etc/chrony/points"})
        yield Example("tempcomp.T0", {**TEMPCOMP, "T0": -1.5, "k0": 0, "k1": 1e-5, "k2": 25})
    elif word.kind == "parts":
        base = whole(word)
        yield Example(word.name, base)
        for part in word.parts:
            for example in right(part):
                yield within(word, Example(example.path, {**base, part.name: example.value}, example.since))
    else:
        yield Example(word.name, TEXTS.get(word.name, "192.0.2.1" if word.kind == "address" else "/var/lib/x"))


def whole(word: Word) -> dict[str, Any]:
    """Return the smallest valid value of a name with several parts."""
    if word is SOURCE:
        return {"type": "pool", "address": "nts.example.org"}
    if word.name == "tempcomp":
        return {**TEMPCOMP, "points": "/etc/chrony/points"}
    return {part.name: next(right(part)).value for part in word.parts if part.required}


def wrong(word: Word) -> Iterator[Example]:
    """Yield invalid values of a name."""
    if word.several:
        yield Example(word.name, "no list", by_chronyd=False)
    for example in wrong_one(word):
        value = [example.value] if word.several else example.value
        yield Example(example.path, value, word.since, example.by_chronyd)


def wrong_one(word: Word) -> Iterator[Example]:
    if word.kind == "parts":
        yield from wrong_parts(word)
    elif word.kind == "words":
        yield Example(word.name, ["nonsense"] if word.choices else ["two words"], by_chronyd=bool(word.choices))
        yield Example(word.name, "no list", by_chronyd=False)
    else:
        if word.kind in ("integer", "number"):
            for end in (word.low - 1, word.high + 1):
                if abs(end) != inf:
                    yield Example(word.name, end, by_chronyd=word.kind == "integer" and end != INT_MAX + 1)
        # To chronyd no value of a flag is wrong, and names that the table refuses are valid.
        yield Example(word.name, "two words", by_chronyd=word.kind not in ("flag", "refused"))
        for value in ("# comment", "1 # comment", "1\n2", "", [1], *([] if word.kind == "flag" else [True])):
            yield Example(word.name, value, by_chronyd=False)


def wrong_parts(word: Word) -> Iterator[Example]:
    base = whole(word)
    yield Example(word.name, {**base, "nonsense": 1}, by_chronyd=False)
    if word is not SOURCE:
        yield Example(word.name, "no dictionary", by_chronyd=False)
    for part in word.parts:
        if part.required:
            yield Example(f"{word.name}.{part.name}", {name: base[name] for name in base if name != part.name})
        for example in wrong(part):
            yield within(word, Example(example.path, {**base, part.name: example.value}, "4.0", example.by_chronyd))


TABLE = [*DIRECTIVES.parts, SOURCE]
RIGHT = [example for word in TABLE if word.kind != "refused" for example in right(word)]
WRONG = [example for word in TABLE for example in wrong(word)]


class Chronyd:
    """The chronyd of a Debian suite."""

    def __init__(self, suite: str) -> None:
        self.command = program(suite, "usr/sbin/chronyd")
        banner = subprocess.run([*self.command, "-v"], check=True, capture_output=True, text=True).stdout
        self.version = banner.split("version ")[1].split()[0]

    def refusal(self, lines: list[str]) -> str:
        """Return chronyd's error about a file of these lines; empty if it accepts them."""
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(
            [*self.command, "-p", "-f", "/dev/stdin"], check=False, input=text, capture_output=True, text=True
        )
        return done.stderr if done.returncode else ""

    def log(self, folder: Path, *lines: str) -> str:
        """Return what chronyd says in a second with a file of these lines, without a change of the clock."""
        more = ("port 0", "cmdport 0", "bindcmdaddress /", f"pidfile {folder}/pid")
        text = "".join(f"{line}\n" for line in (*lines, *more))
        command = [*self.command, "-Q", "-x", "-t", "1", "-u", "root", "-f", "/dev/stdin"]
        return subprocess.run(command, check=False, input=text, capture_output=True, text=True).stderr

    def knows(self, example: Example) -> bool:
        return newest(example.since, self.version) == self.version


@pytest.fixture(scope="session", params=SUITES)
def chronyd(request: pytest.FixtureRequest) -> Chronyd:
    return Chronyd(request.param)


@pytest.fixture(scope="session")
def newest_chronyd() -> Chronyd:
    return Chronyd(SUITES[-1])


def test_valid_values_give_no_error() -> None:
    assert [(example, found) for example in RIGHT if (found := problems(*example.arguments, None))] == []


def test_invalid_values_give_an_error() -> None:
    assert [example for example in WRONG if not problems(*example.arguments, None)] == []


def test_chronyd_accepts_the_valid_values_of_its_version(chronyd: Chronyd) -> None:
    known = [example for example in RIGHT if chronyd.knows(example)]
    assert [example for example in known if problems(*example.arguments, chronyd.version)] == []
    if chronyd.refusal([line for example in known for line in example.lines]):
        assert [(example, error) for example in known if (error := chronyd.refusal(example.lines))] == []


def test_chronyd_ignores_the_keys_whose_length_the_rules_refuse(chronyd: Chronyd, tmp_path: Path) -> None:
    ciphers = [("AES128", 15), ("AES128", 16), ("AES128", 17), ("AES256", 16), ("AES256", 32), ("SHA256", 1)]
    keys = [{"id": at, "type": name, "key": f"HEX:{'0a' * size}"} for at, (name, size) in enumerate(ciphers, 1)]
    (tmp_path / "keys").write_text("".join(f"{key['id']} {key['type']} {key['key']}\n" for key in keys))
    sentences = _rules.mistakes({**DEFAULTS, "chrony_nts_symmetric_keys": keys})
    refused = re.findall(r"The key (\d+) in", " ".join(sentences))
    said = chronyd.log(tmp_path, f"keyfile {tmp_path}/keys", "server 127.0.0.1 port 12399 iburst key 2")
    assert re.findall(r"Invalid length of AES\d+ key (\d+) ", said) == refused == ["1", "3", "4"], said


def test_chronyd_refuses_the_values_of_later_versions(chronyd: Chronyd) -> None:
    later = [example for example in RIGHT if not chronyd.knows(example)]
    for example in later:
        sentences = problems(*example.arguments, chronyd.version)
        assert any(f"needs chronyd {example.since} or newer" in sentence for sentence in sentences), example
    taken = {example.path for example in later if not chronyd.refusal(example.lines)}
    assert taken <= NOT_READ


def test_chronyd_accepts_the_supported_parts_of_later_values(chronyd: Chronyd) -> None:
    left = []
    for example in RIGHT:
        directives, sources = (supported(part, chronyd.version) for part in example.arguments)
        assert problems(directives, sources, chronyd.version) == []
        left += render_directives(directives) + render_sources(sources)
    assert chronyd.refusal(left) == ""


def test_the_newest_chronyd_refuses_invalid_values_except_narrowed_ones(newest_chronyd: Chronyd) -> None:
    checked = [example for example in WRONG if example.by_chronyd and example.path not in NOT_READ]
    taken = [line for example in checked if not newest_chronyd.refusal(example.lines) for line in example.lines]
    assert taken == NARROWED.strip().splitlines()


VARIABLES = {
    "chrony_nts_skip_unsupported": True,
    "chrony_nts_sources": [{"address": "nts.example.org", "maxunreach": 10, "minpoll": 4}],
    "chrony_nts_directives": {
        "local": {"activate": 0.1},
        "log": "tracking selection",
        "logchange": None,
        "opencommands": ["tracking"],
    },
    "chrony_nts_raw_lines": ["# Ours", "maxdistance 2"],
    "chrony_nts_trust_anchors": [{"content": "A"}, {"content": "B", "set": 2}],
}
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  connection: local
  vars_files: [ROLE/defaults/main.yml, ROLE/vars/main/main.yml]
  tasks:
    - ansible.builtin.copy:
        content: "{{ __chrony_nts_plan.sources_text ~ lookup('template', 'ROLE/templates/chrony.conf.j2') }}"
        dest: "{{ playbook_dir }}/chrony.conf"
        mode: "0600"
"""
SINCE = {
    "log tracking selection": "4.3",
    "local activate 0.1": "4.6",
    "opencommands tracking": "4.7",
    "server nts.example.org iburst maxunreach 10 minpoll 4 nts": "4.8",
}


def test_the_file_of_the_role_holds_only_supported_directives(chronyd: Chronyd, tmp_path: Path) -> None:
    (tmp_path / "playbook.yml").write_text(PLAYBOOK.replace("ROLE", str(ROLE)))
    host = planned(VARIABLES, daemon__version=chronyd.version)
    assert host["problems"] == []
    given = {**VARIABLES, "__chrony_nts_planned": {"plan": host}, "ansible_python_interpreter": sys.executable}
    playbook = Path(sys.executable).with_name("ansible-playbook")
    command = [playbook, "-i", "localhost,", "-e", json.dumps(given), "playbook.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "chrony.conf").read_text().splitlines()
    assert chronyd.refusal(lines) == ""
    assert lines[-2:] == ["# Ours", "maxdistance 2"]
    trusted = ["ntstrustedcerts /etc/chrony/nts/trusted.pem", "ntstrustedcerts 2 /etc/chrony/nts/trusted-2.pem"]
    assert [line for line in lines if line.startswith("ntstrustedcerts")] == trusted
    assert [since for line, since in SINCE.items() if line in lines] == [
        since for since in SINCE.values() if newest(since, chronyd.version) == chronyd.version
    ]


CERTIFICATE = "/etc/chrony/nts-bootstrap-ubuntu.crt"
LEAP_SECONDS = ["/usr/share/zoneinfo/leap-seconds.list", "/usr/share/zoneinfo/right/UTC"]
LAYOUTS = {
    "single": ({"chrony_nts_layout": "single", "chrony_nts_distribution_sources": True}, UBUNTU),
    "drop-ins": ({"chrony_nts_dropins": "include"}, LEAP),
    "drop-ins of Ubuntu": ({"chrony_nts_dropins": "include"}, UBUNTU),
}


def test_chronyd_accepts_the_file_of_every_layout(chronyd: Chronyd, tmp_path: Path) -> None:
    rows = []
    for name, (variables, system) in LAYOUTS.items():
        facts = {"environment__os": system, "environment__distribution_files": [CERTIFICATE, *LEAP_SECONDS]}
        host = planned(variables, daemon__version=chronyd.version, **facts)
        rows.append({"name": name, **variables, "plan": host})
    names = ("chrony_nts_layout", "chrony_nts_dropins")
    play = yaml.safe_load(PLAYBOOK.replace("ROLE", str(ROLE)))
    (task,) = play[0]["tasks"]
    task["loop"] = "{{ rows }}"
    task["ansible.builtin.copy"]["dest"] = "{{ playbook_dir }}/{{ item.name }}"
    task["ansible.builtin.copy"]["content"] = "{{ lookup('template', '" + str(ROLE) + "/templates/chrony.conf.j2') }}"
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    task["vars"] = {name: "{{ item." + name + " | default('" + defaults[name] + "') }}" for name in names}
    task["vars"]["__chrony_nts_planned"] = "{{ {'plan': item.plan} }}"
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(play))
    given = {"rows": rows, "ansible_python_interpreter": sys.executable}
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-e", json.dumps(given)]
    done = subprocess.run(
        [*command, "playbook.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = {name: (tmp_path / name).read_text().splitlines() for name in LAYOUTS}
    assert {name: chronyd.refusal(lines) for name, lines in files.items()} == dict.fromkeys(LAYOUTS, "")
    leap = (
        f"leapseclist {LEAP_SECONDS[0]}" if newest("4.6", chronyd.version) == chronyd.version else "leapsectz right/UTC"
    )
    single = files["single"]
    assert {leap, "maxupdateskew 100.0", "user _chrony", f"ntstrustedcerts 1 {CERTIFICATE}"} <= set(single)
    assert "pool ntp-bootstrap.ubuntu.com certset 1 iburst maxsources 1 nts" in single
    assert "sourcedir /etc/chrony/nts-sources.d" not in single
    assert "confdir /etc/chrony.d /usr/etc/chrony.d" in files["drop-ins"]
    # The value of a drop-in comes later and overrides the distribution's.
    ubuntu = files["drop-ins of Ubuntu"]
    assert ubuntu.index("maxupdateskew 100.0") < ubuntu.index("confdir /etc/chrony/conf.d")
    assert ubuntu.index("confdir /etc/chrony/conf.d") < ubuntu.index("authselectmode require")
