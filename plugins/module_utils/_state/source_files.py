# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Which time sources the files name that chronyd reads.

Reads the files as conf.c does, without a process: `chronyd -p` does not show the files of a sourcedir.
"""

import glob
import ipaddress
import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

COMMENTS = "!;#%"
# conf.c: MAX_INCLUDE_LEVEL, MAX_CONF_DIRS; ntp_sources.c: MAX_POOL_SOURCES; srcparams.h: SRC_DEFAULT_MAXSOURCES.
DEEPEST_INCLUDE = 10
MOST_FOLDERS = 10
LARGEST_POOL = 16
DEFAULT_MAXSOURCES = 4
COMMAND_LINE = "command line"


class DeclaredSource(NamedTuple):
    """A line `server`, `peer` or `pool`.

    confirmed is how many sources it keeps that have answered, places how many it has at most while it looks for them.
    """

    name: str
    confirmed: int
    places: int
    file: str


class UnreadableError(Exception):
    """This user may not read all that chronyd reads."""


def declared_sources(config_file: Optional[str], lines: Sequence[str] = ()) -> Optional[List[DeclaredSource]]:
    """Return the sources that a chronyd with this file knows from files, or None where not all of them can be read.

    lines are the directives of its command line, with which it reads no file of its own.
    """
    found = []  # type: List[DeclaredSource]
    folders = []  # type: List[List[str]]
    try:
        if lines:
            _read_lines(lines, COMMAND_LINE, found, folders, 0)
        elif config_file:
            _read_lines(_lines_of(config_file), config_file, found, folders, 0)
        else:
            return None
        for group in folders:
            for path in _files_in(group, ".sources"):
                found += filter(None, (_source(line, path) for line in _lines_of(path)))
    except UnreadableError:
        return None
    return found


def canonical(name: str) -> str:
    """Return a name or an address in the one form in which it is compared."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def by_name(declared: Sequence[DeclaredSource]) -> Dict[str, List[DeclaredSource]]:
    """Return the lines by the names of their sources."""
    named = {}  # type: Dict[str, List[DeclaredSource]]
    for source in declared:
        named.setdefault(canonical(source.name), []).append(source)
    return named


def _read_lines(
    lines: Sequence[str], path: str, found: List[DeclaredSource], folders: List[List[str]], depth: int
) -> None:
    for line in lines:
        words = _words(line)
        directive, arguments = (words[0].lower(), words[1:]) if words else ("", [])
        included = []  # type: List[str]
        if directive == "include" and arguments:
            included = _matching(arguments[0])
        elif directive == "confdir":
            included = list(_files_in(arguments[:MOST_FOLDERS], ".conf"))
        elif directive == "sourcedir":
            folders.append(arguments[:MOST_FOLDERS])
        elif directive == "initstepslew":
            # chronyd asks these once, in its first seconds.
            found += [DeclaredSource(name, 1, 1, path) for name in arguments[1:]]
        else:
            found += filter(None, [_source(line, path)])
        for file in included if depth < DEEPEST_INCLUDE else ():
            _read_lines(_lines_of(file), file, found, folders, depth + 1)


def _source(line: str, path: str) -> Optional[DeclaredSource]:
    words = _words(line)
    directive = words[0].lower() if words else ""
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


def _words(line: str) -> List[str]:
    words = line.split()
    return [] if not words or words[0][0] in COMMENTS else words


def _matching(pattern: str) -> List[str]:
    folder = os.path.dirname(pattern)
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        raise UnreadableError(folder)
    return sorted(glob.glob(pattern))


def _files_in(folders: Sequence[str], suffix: str) -> Iterator[str]:
    """Yield the files of one directive by their names; of one name, chronyd reads the file of the first folder."""
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
        # A link that leads nowhere, or a file that is gone since it was listed.
        return []
    except OSError as error:
        raise UnreadableError(str(error)) from None
