# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The keys that encrypt cookies, as several NTS servers share them.

chronyd has four keys: two previous ones, the current one, and the next one, in this order in its file `ntskeys`
(nts_ke_server.c). It decrypts cookies with each of the four, and encrypts with the current one. So a server that was
given the next set already accepts the cookies of one that was not, and the other way round.

The set is written in the first format, NKS0 with AES-SIV-CMAC-256, because chrony 4.0 to 4.3 read no other. Later
versions read it, too. chronyd reads four keys and ignores what follows, which is where the name of the set stands. With
`ntsrotate 0` it never writes the file; a server that has keys of its own again overwrites it, and the name with it.
"""

import hashlib
import hmac
import os
import re
from typing import Callable, List, NamedTuple, Tuple

FILE = "ntskeys"
KEYS = 4
# The place of the current key among the four.
CURRENT = 2
KEY_BYTES = 32
# "NKS0", the algorithm (AES-SIV-CMAC-256) and the age of the keys in seconds, which counts only with an interval.
HEADER = "NKS0\n15 0.0\n"
KEY_LINE = re.compile(r"(?P<id>[0-9A-F]{8}) (?P<key>[0-9A-F]{64})")
MARK = re.compile(r"# securetime\.nts: keys of (?P<name>\S+) since (?P<since>[0-9]{1,12})")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TAG_DIGITS = 32


class CookieKeysError(Exception):
    """A text that is no whole set of shared keys."""


class CookieKeys(NamedTuple):
    """A set of keys: its name, since when its current key is in use (seconds since 1970), and the keys by their IDs."""

    name: str
    since: int
    keys: Tuple[Tuple[int, bytes], ...]

    @property
    def current_id(self) -> str:
        """Return the ID of the current key in hexadecimal, with which every new cookie begins."""
        return f"{self.keys[CURRENT][0]:08x}"

    def text(self) -> str:
        """Return the set as chronyd's file."""
        lines = [f"{number:08X} {key.hex().upper()}" for number, key in self.keys]
        return "\n".join(
            [f"{HEADER}{lines[0]}", *lines[1:], f"# securetime.nts: keys of {self.name} since {self.since}\n"]
        )

    def tags(self, salt: str) -> List[str]:
        """Return what tells each key from another and says nothing of it."""
        given = [number.to_bytes(4, "big") + key for number, key in self.keys]
        return [hmac.new(salt.encode(), data, hashlib.sha256).hexdigest()[:TAG_DIGITS] for data in given]

    def rotated(self, now: float, random: Callable[[int], bytes] = os.urandom) -> "CookieKeys":
        """Return the set in which the next key is the current one, and another one is the next."""
        number = (self.keys[-1][0] + 1) % 2**32
        return self._replace(since=int(now), keys=(*self.keys[1:], (number, random(KEY_BYTES))))


def new_keys(name: str, now: float, random: Callable[[int], bytes] = os.urandom) -> CookieKeys:
    """Return a set of random keys. The last two bits of an ID are the place of the key in chronyd's table."""
    first = int.from_bytes(random(4), "big") & ~(KEYS - 1)
    return CookieKeys(name, int(now), tuple((first + index, random(KEY_BYTES)) for index in range(KEYS)))


def read_keys(text: str) -> CookieKeys:
    """Return the set that a text has; raise CookieKeysError where it has none.

    chronyd before 4.4 takes the keys of a file that was cut, and says nothing.
    """
    if not text.startswith(HEADER) or not text.endswith("\n"):
        raise CookieKeysError("it has no shared keys")
    lines = text[len(HEADER) :].splitlines()
    found = [KEY_LINE.fullmatch(line) for line in lines[:KEYS]]
    mark = MARK.fullmatch(lines[KEYS]) if len(lines) == KEYS + 1 else None
    keys = tuple((int(match["id"], 16), bytes.fromhex(match["key"])) for match in found if match)
    if mark is None or len(keys) != KEYS or not NAME.fullmatch(mark["name"]):
        raise CookieKeysError("it has no shared keys, or not all of them")
    if any((after[0] - before[0]) % 2**32 != 1 for before, after in zip(keys, keys[1:])):
        raise CookieKeysError("its keys are not in their order")
    return CookieKeys(mark["name"], int(mark["since"]), keys)
