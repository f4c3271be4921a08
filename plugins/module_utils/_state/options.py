# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. chronyd's command-line options: the syntax of units, and conflicts with directives.

Pure functions. Hardening roles and administrators also edit the package's file of options. So the role only reads it,
and writes a file of its own, which the unit reads later.
"""

import re
import shlex
from typing import Callable, Container, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives

# The argument of each option by its letter, in the order of the command line; None for an option without an argument.
Options = Dict[str, Optional[str]]

# The option string for getopt(3) of chronyd 4.9 (main.c). -N came with 4.9; 4.0 has all others.
LETTERS = "46df:F:hl:L:mnN:pP:qQrRst:u:Uvx"
WITH_ARGUMENT = frozenset(re.findall("(.):", LETTERS))
KNOWN = frozenset(LETTERS.replace(":", ""))
# Options that exclude each other: the later one applies.
FAMILIES = {"4": "6", "6": "4"}
_ENDS = "chronyd is no daemon with it"
_BY_UNIT = "the unit says how chronyd is started"
UNUSABLE = {
    "d": _BY_UNIT,
    "f": "the role writes the configuration file that chronyd reads without it",
    "h": _ENDS,
    "l": "the role reads chronyd's log in the journal",
    "n": _BY_UNIT,
    "N": _BY_UNIT,
    "p": _ENDS,
    "q": _ENDS,
    "Q": _ENDS,
    "t": _ENDS,
    "U": _BY_UNIT,
    "v": _ENDS,
}
# Arguments that neither systemd nor a shell changes: numbers, names and paths without special characters.
ARGUMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
NUMBERS = {"F": (-2, 2), "L": (-1, 3), "P": (0, 99)}
# The role's own file has the path of the package's file with this suffix.
OWN_SUFFIX = "-securetime-nts"
# The first words of a file of this collection's roles.
MANAGED = "# Managed by Ansible: collection securetime.nts"
VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


class Parsed(NamedTuple):
    """The options that the role's daemon can have, and the unusable ones, each with the reason."""

    options: Options
    unusable: List[Tuple[str, str]]


def parse(words: Iterable[str]) -> Parsed:
    """Return the options on a command line as chronyd reads them; a later one replaces an earlier one."""
    options = {}  # type: Options
    unusable = []  # type: List[Tuple[str, str]]
    for letter, value in short_options(words, WITH_ARGUMENT):
        if not letter:
            unusable.append((value or "", "it is no option, and chronyd would read no configuration file"))
            continue
        reason = _unusable(letter, value)
        if reason:
            unusable.append((f"-{letter}", reason))
        else:
            _set_option(options, letter, value)
    return Parsed(options, unusable)


def short_options(words: Iterable[str], with_argument: Container[str]) -> Iterator[Tuple[str, Optional[str]]]:
    """Yield each option with its argument as getopt(3) reads them. Any other word comes with an empty letter."""
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word.startswith("--") or word == "-":
            yield "", word
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in with_argument:
                yield letter, letters or (left.pop(0) if left else None)
                break
            yield letter, None


def _unusable(letter: str, value: Optional[str]) -> str:
    if letter not in KNOWN:
        return "chronyd has no such option"
    if letter in UNUSABLE:
        return UNUSABLE[letter]
    if letter in NUMBERS:
        low, high = NUMBERS[letter]
        if not re.fullmatch("[+-]?[0-9]+", value or "") or not low <= int(value or 0) <= high:
            return f"it takes a whole number from {low} to {high}"
    elif letter in WITH_ARGUMENT and not ARGUMENT.fullmatch(value or ""):
        return "it takes a name"
    return ""


def _set_option(options: Options, letter: str, value: Optional[str]) -> None:
    options.pop(FAMILIES.get(letter, ""), None)
    options[letter] = value


def merge(*given: Options) -> Options:
    """Return all options; for each, the last argument applies."""
    merged = {}  # type: Options
    for options in given:
        for letter, value in options.items():
            _set_option(merged, letter, value)
    return merged


def words_of(options: Options) -> List[str]:
    """Return options as words of a command line."""
    return [word for letter, value in options.items() for word in (f"-{letter}", value) if word is not None]


# --- options in a unit -----------------------------------------------------------------------------------------------


def of_unit(commands: Sequence[str], environment: str, files: Sequence[Tuple[str, str]]) -> Dict[str, List[str]]:
    """Return the words of each variable in a unit's command lines.

    environment is the property Environment as systemd shows it. files are paths and contents of the unit's environment
    files; a later file overrides an earlier one. Skip the files of this collection's roles.
    """
    given = {}  # type: Dict[str, str]
    for word in split(environment):
        name, _equals, value = word.partition("=")
        given[name] = value
    for path, text in files:
        if not path.endswith(OWN_SUFFIX) and not text.startswith(MANAGED):
            given.update(read_environment_file(text))
    names = [name for command in commands for name in VARIABLE.findall(command)]
    return {name: split(given.get(name, "")) for name in names}


def split(value: str) -> List[str]:
    """Split the value of a variable at blanks and remove quotes, as systemd does for `$NAME` (systemd.service(5))."""
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


def read_environment_file(text: str) -> Dict[str, str]:
    r"""Return the variables of an environment file as systemd 254 and newer read it.

    The syntax is that of env-file.c (parse_env_file_internal): quotes may begin and end within a value, `\` at the end
    of a line continues the line, and a comment takes a whole line.
    """
    found = {}  # type: Dict[str, str]
    position = 0
    while position < len(text):
        if text[position] in " \t\r\n":
            position += 1
        elif text[position] in "#;":
            position = _end_of_line(text, position)
        else:
            end = _end_of_line(text, position)
            name, equals, _value = text[position:end].partition("=")
            if equals:
                value, position = _value_at(text, position + len(name) + 1)
                found[name.rstrip()] = value
            else:
                position = end
    return found


def _end_of_line(text: str, position: int) -> int:
    found = re.compile("[\r\n]").search(text, position)
    return found.start() if found else len(text)


def _value_at(text: str, position: int) -> Tuple[str, int]:
    """Return the value that begins at a position, and the position of its end."""
    value = ""
    # The length of the value without trailing blanks: blanks before, after and between quoted parts do not count.
    solid = 0
    bare = False
    while position < len(text) and text[position] not in "\r\n":
        character = text[position]
        position += 1
        if character == "\\":
            following = text[position : position + 1]
            position += 1
            value += "" if following in ("\n", "\r") else following
            bare, solid = True, len(value)
        elif not bare and character in "'\"":
            quoted, position = _quoted_at(text, position, character)
            value += quoted
            solid = len(value)
        elif character not in " \t":
            value += character
            bare, solid = True, len(value)
        elif bare:
            value += character
    return value[:solid], position


def _quoted_at(text: str, position: int, quote: str) -> Tuple[str, int]:
    value = ""
    while position < len(text) and text[position] != quote:
        character = text[position]
        position += 1
        if character == "\\" and quote == '"':
            following = text[position : position + 1]
            position += 1
            value += "" if following == "\n" else following if following in ('"', "\\", "`", "$") else "\\" + following
        else:
            value += character
    return value, position + 1


# --- conflicts with directives ---------------------------------------------------------------------------------------


class Conflict(NamedTuple):
    """Directives and options that `chronyd -p` accepts together, but that end chronyd at its start."""

    name: str
    applies: Callable[[Options, Directives], bool]
    sentence: str


def _refclocks(directives: Directives, driver: str = "", option: str = "") -> List[List[str]]:
    rows = [[word.lower() for word in arguments] for arguments in directives.get("refclock", []) if arguments]
    return [row for row in rows if (not driver or row[0] == driver) and (not option or option in row[2:])]


def _limits(directives: Directives) -> List[str]:
    return [name for name in ("ratelimit", "ntsratelimit", "cmdratelimit") if name in directives]


def _priority(options: Options, directives: Directives) -> int:
    """Return the scheduling priority that chronyd requests: the option -P overrides sched_priority."""
    given = [arguments[0] for arguments in directives.get("sched_priority", []) if arguments]
    number = options.get("P") or "0"
    text = number if int(number) else given[-1] if given else "0"
    return int(text) if re.fullmatch("[+-]?[0-9]+", text) else 0


# The conflicts of chrony 4.0 to 4.9: sys_linux.c, clientlog.c, rtc.c, refclock.c, refclock_rtc.c (4.7), sys_posix.c.
# tests/functional/test_options.py tests each on real daemons.
CONFLICTS = (
    Conflict(
        "mailonchange",
        lambda options, directives: "mailonchange" in directives and int(options.get("F") or "0") != 0,
        "chronyd cannot send the mail of mailonchange with its system call filter (option -F), and ends at its start."
        " Set chrony_nts_daemon_options to ['-F', '0'], or take mailonchange out.",
    ),
    Conflict(
        "noclientlog",
        lambda _options, directives: "noclientlog" in directives and _limits(directives) != [],
        "noclientlog contradicts ratelimit, ntsratelimit and cmdratelimit, for which chronyd must know its clients: it"
        " ends at its start. Take noclientlog or the limits out.",
    ),
    Conflict(
        "rtcfile",
        lambda _options, directives: "rtcfile" in directives and "rtcsync" in directives,
        "rtcfile contradicts rtcsync, and chronyd ends at its start. Set rtcsync to false in chrony_nts_directives, or"
        " take rtcfile out.",
    ),
    Conflict(
        "refclock RTC",
        lambda _options, directives: (
            _refclocks(directives, driver="rtc") != [] and not {"rtcsync", "rtcfile"}.isdisjoint(directives)
        ),
        "The refclock RTC contradicts rtcsync and rtcfile, and chronyd ends at its start. Set rtcsync to false in"
        " chrony_nts_directives and take rtcfile out, or take the refclock out.",
    ),
    Conflict(
        "refclock tai",
        lambda _options, directives: (
            _refclocks(directives, option="tai") != [] and {"leapsectz", "leapseclist"}.isdisjoint(directives)
        ),
        "A refclock with the option tai needs leapsectz or leapseclist, and chronyd ends at its start without. Set"
        " leapsectz to right/UTC in chrony_nts_directives.",
    ),
    Conflict(
        "sched_priority",
        lambda options, directives: not 0 <= _priority(options, directives) <= 99,
        "chronyd ends at its start with a sched_priority outside of 0 to 99. Set it to a number in this range.",
    ),
)


def conflicts(options: Options, directives: Directives) -> List[str]:
    """Return a sentence for each combination that ends chronyd at its start."""
    return [conflict.sentence for conflict in CONFLICTS if conflict.applies(options, directives)]
