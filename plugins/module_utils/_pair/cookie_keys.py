# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The set of cookie encryption keys that several NTS servers share.

chronyd has four keys: two previous ones, the current one and the next one, in this order in its file `ntskeys`
(nts_ke_server.c). It decrypts cookies with each of the four, and encrypts with the current one. So servers with the old
set and servers with the rotated one accept each other's cookies.

The file has the first format, NKS0 with AES-SIV-CMAC-256, because chrony 4.0 to 4.3 read no other. Later versions read
it, too. chronyd reads four keys and ignores the rest of the file, which holds the name of the set. With `ntsrotate 0`
chronyd never writes the file. A server that returns to its own keys overwrites it, including the name.
"""

import hashlib
import hmac
import os
import re
from typing import Callable, List, NamedTuple, Tuple

FILE = "ntskeys"
KEYS = 4
# The index of the current key among the four.
CURRENT = 2
KEY_BYTES = 32
# "NKS0", the number of the algorithm (15, AES-SIV-CMAC-256) and the age of the keys in seconds. chronyd uses the age
# only with an interval in ntsrotate.
HEADER = "NKS0\n15 0.0\n"
KEY_LINE = re.compile(r"(?P<id>[0-9A-F]{8}) (?P<key>[0-9A-F]{64})")
MARK = re.compile(r"# securetime\.nts: keys of (?P<name>\S+) since (?P<since>[0-9]{1,12})")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TAG_DIGITS = 32


class CookieKeysError(Exception):
    """A text does not hold a complete set of shared keys."""


class CookieKeys(NamedTuple):
    """A set of keys: its name, the start of its current key (seconds since 1970), and pairs of key ID and key."""

    name: str
    since: int
    keys: Tuple[Tuple[int, bytes], ...]

    @property
    def current_id(self) -> str:
        """Return the ID of the current key in hexadecimal; every new cookie begins with it."""
        return f"{self.keys[CURRENT][0]:08x}"

    def text(self) -> str:
        """Return the content of chronyd's file ntskeys."""
        lines = [f"{number:08X} {key.hex().upper()}" for number, key in self.keys]
        return "\n".join(
            [f"{HEADER}{lines[0]}", *lines[1:], f"# securetime.nts: keys of {self.name} since {self.since}\n"]
        )

    def tags(self, salt: str) -> List[str]:
        """Return one tag for each key (HMAC-SHA-256 with the salt), which identifies the key without revealing it."""
        given = [number.to_bytes(4, "big") + key for number, key in self.keys]
        return [hmac.new(salt.encode(), data, hashlib.sha256).hexdigest()[:TAG_DIGITS] for data in given]

    def rotated(self, now: float, random: Callable[[int], bytes] = os.urandom) -> "CookieKeys":
        """Return the set after one rotation: the next key becomes the current one, and a random key the next."""
        number = (self.keys[-1][0] + 1) % 2**32
        return self._replace(since=int(now), keys=(*self.keys[1:], (number, random(KEY_BYTES))))


def new_keys(name: str, now: float, random: Callable[[int], bytes] = os.urandom) -> CookieKeys:
    """Return a set of random keys. The last two bits of an ID are the index of the key in chronyd's table."""
    first = int.from_bytes(random(4), "big") & ~(KEYS - 1)
    return CookieKeys(name, int(now), tuple((first + index, random(KEY_BYTES)) for index in range(KEYS)))


def read_keys(text: str) -> CookieKeys:
    """Return the set of keys in a text; raise CookieKeysError where it is missing or incomplete.

    chronyd before 4.4 silently accepts the keys of a truncated file, so this function checks that the set is complete.
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
