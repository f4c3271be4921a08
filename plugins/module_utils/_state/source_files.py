# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The directives and the time sources in the files that chronyd reads.

This module parses the files as conf.c does, without a process: `chronyd -p` omits the files of a sourcedir.
"""

import glob
import ipaddress
import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

COMMENTS = "!;#%"
# conf.c: MAX_INCLUDE_LEVEL, MAX_CONF_DIRS; ntp_sources.c: MAX_POOL_SOURCES; srcparams.h: SRC_DEFAULT_MAXSOURCES.
DEEPEST_INCLUDE = 10
MOST_FOLDERS = 10
LARGEST_POOL = 16
DEFAULT_MAXSOURCES = 4
COMMAND_LINE = "command line"


class DeclaredSource(NamedTuple):
    """A line `server`, `peer` or `pool`.

    confirmed is the largest number of its sources that have answered. places is the largest number of its sources while
    chronyd still searches for them.
    """

    name: str
    confirmed: int
    places: int
    file: str


class UnreadableError(Exception):
    """This user may not read every file of chronyd's configuration."""


def declared_sources(config_file: Optional[str], lines: Sequence[str] = ()) -> Optional[List[DeclaredSource]]:
    """Return the sources in the files of a chronyd with this configuration file; None if not all are readable.

    lines are the directives of its command line. With any of them, chronyd reads no configuration file.
    """
    found = []  # type: List[DeclaredSource]
    folders = []  # type: List[List[str]]
    if not lines and not config_file:
        return None
    try:
        for words, path in directives_read(config_file, lines):
            if words[0] == "sourcedir":
                folders.append(words[1 : MOST_FOLDERS + 1])
            elif words[0] == "initstepslew":
                # chronyd queries these servers only in its first seconds.
                found += [DeclaredSource(name, 1, 1, path) for name in words[2:]]
            else:
                found += filter(None, [_source(words, path)])
        for group in folders:
            for path in _files_in(group, ".sources"):
                found += filter(None, (_source(words_of(line), path) for line in _lines_of(path)))
    except UnreadableError:
        return None
    return found


def canonical(name: str) -> str:
    """Return the canonical form of a name or an address, for comparisons."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def by_name(declared: Sequence[DeclaredSource]) -> Dict[str, List[DeclaredSource]]:
    """Return the lines, grouped by the canonical names of their sources."""
    named = {}  # type: Dict[str, List[DeclaredSource]]
    for source in declared:
        named.setdefault(canonical(source.name), []).append(source)
    return named


def directives_read(config_file: Optional[str], lines: Sequence[str] = ()) -> Iterator[Tuple[List[str], str]]:
    """Yield each directive (in lower case, with its arguments) and its file; raise UnreadableError.

    lines are the directives of chronyd's command line. With any of them, chronyd reads no configuration file.
    """
    if lines:
        yield from _read_lines(lines, COMMAND_LINE, 0)
    elif config_file:
        yield from _read_lines(_lines_of(config_file), config_file, 0)


def _read_lines(lines: Sequence[str], path: str, depth: int) -> Iterator[Tuple[List[str], str]]:
    for words in filter(None, map(words_of, lines)):
        included = []  # type: List[str]
        if words[0] == "include" and words[1:]:
            included = _matching(words[1])
        elif words[0] == "confdir":
            included = list(_files_in(words[1 : MOST_FOLDERS + 1], ".conf"))
        else:
            yield words, path
        for file in included if depth < DEEPEST_INCLUDE else ():
            yield from _read_lines(_lines_of(file), file, depth + 1)


def _source(words: Sequence[str], path: str) -> Optional[DeclaredSource]:
    directive = words[0] if words else ""
    if directive in ("server", "peer") and len(words) > 1:
        return DeclaredSource(words[1], 1, 1, path)
    if directive == "pool" and len(words) > 1:
        most = min(_maxsources(words[2:]), LARGEST_POOL)
        return DeclaredSource(words[1], most, min(2 * most, LARGEST_POOL), path)
    return None


def _maxsources(options: Sequence[str]) -> int:
    most = DEFAULT_MAXSOURCES
    for option, value in zip(options, options[1:]):
        if option.lower() == "maxsources" and value.isdigit():
            most = max(1, int(value))
    return most


def words_of(line: str) -> List[str]:
    """Return the directive of a line, in lower case, and its arguments; an empty list for a comment."""
    words = line.split()
    return [] if not words or words[0][0] in COMMENTS else [words[0].lower(), *words[1:]]


def _matching(pattern: str) -> List[str]:
    folder = os.path.dirname(pattern)
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        raise UnreadableError(folder)
    return sorted(glob.glob(pattern))


def _files_in(folders: Sequence[str], suffix: str) -> Iterator[str]:
    """Return the files of one directive, sorted by name; of equal names, chronyd reads the file of the first folder."""
    first = {}  # type: Dict[str, str]
    for folder in folders:
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UnreadableError(str(error)) from None
        for name in names:
            if name.endswith(suffix) and not name.startswith("."):
                first.setdefault(name, os.path.join(folder, name))
    return (first[name] for name in sorted(first))


def _lines_of(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().split("\n")
    except FileNotFoundError:
        # A dangling link, or a file that was removed after the listing.
        return []
    except OSError as error:
        raise UnreadableError(str(error)) from None
