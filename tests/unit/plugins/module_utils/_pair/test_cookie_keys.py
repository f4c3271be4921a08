# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of shared cookie keys: their format, their rotation, and the rejection of invalid texts."""

import hashlib
import itertools

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import (
    CookieKeys,
    CookieKeysError,
    new_keys,
    read_keys,
)


def seeded():
    """Return a source of bytes that is the same in each run: pytest-xdist compares the names of tests."""
    numbers = itertools.count()
    return lambda size: hashlib.sha256(str(next(numbers)).encode()).digest()[:size]


KEYS = new_keys("pool", 1000.5, seeded())
LINES = KEYS.text().splitlines(keepends=True)
# The headers that chronyd 4.9 and 4.3 write.
OWN = ["NKS1\n3.2\n", "NKS0\n15 3.2\n"]


def test_read_keys_restores_what_text_writes():
    assert read_keys(KEYS.text()) == KEYS
    assert KEYS.since == 1000
    assert len({key for _number, key in new_keys("pool", 0).keys}) == 4


def test_a_rotation_makes_the_next_key_the_current_one():
    after = KEYS.rotated(2000)
    assert after.keys[:3] == KEYS.keys[1:]
    assert (after.name, after.since) == ("pool", 2000)
    assert int(after.current_id, 16) == KEYS.keys[3][0]
    assert after.keys[3][0] == KEYS.keys[3][0] + 1
    assert after.keys[3][1] not in [key for _number, key in KEYS.keys]


def test_key_ids_wrap_around_after_the_largest():
    last = CookieKeys("pool", 0, tuple((number, bytes(32)) for number in range(2**32 - 4, 2**32)))
    after = last.rotated(0)
    assert after.keys[-1][0] == 0
    assert read_keys(after.text()) == after


def test_tags_identify_the_keys_without_revealing_them():
    tags = KEYS.tags("salt")
    assert KEYS.rotated(0).tags("salt")[:3] == tags[1:]
    assert not set(KEYS.tags("another")) & set(tags)
    other = KEYS._replace(keys=tuple((number, bytes(32)) for number, _key in KEYS.keys))
    assert not set(other.tags("salt")) & set(tags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        *(KEYS.text()[:length] for length in range(0, len(KEYS.text()), 7)),
        *("".join(LINES[:count]) for count in range(len(LINES))),
        *("".join(LINES[:index] + LINES[index + 1 :]) for index in range(len(LINES))),
        *(own + "".join(LINES[2:]) for own in OWN),
        "".join(LINES[:2] + LINES[5:1:-1] + LINES[6:]),
        KEYS.text() + "\n",
        *(KEYS.text().replace(KEYS.keys[index][1].hex().upper(), "00" * 16) for index in range(4)),
        KEYS.text().replace("pool", "../pool"),
        KEYS.text().lower(),
    ],
)
def test_an_invalid_text_is_refused_as_a_set_of_keys(text):
    with pytest.raises(CookieKeysError):
        read_keys(text)
