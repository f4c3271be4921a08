# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment file of a systemd unit, and its variables as systemd 252 and 257 read them (molecule, default)."""

TEXT = """\
# OPTIONS="-q"
  ; OPTIONS="-Q"
IGNORED
PLAIN=-F 2   \t
SPACED = -F 2 # no comment
DOUBLE="-F 2 -u chrony"
SINGLE='-F 2' "-u chrony"
CONTINUED="-F 2 \\
 -u chrony" \\
-m
ESCAPED="a\\"b\\$c\\d" e\\ f
INNER=a"b c"
TWICE=1
TWICE=2
EMPTY=
LAST='open
"""
VALUES = {
    "PLAIN": "-F 2",
    "SPACED": "-F 2 # no comment",
    "DOUBLE": "-F 2 -u chrony",
    "SINGLE": "-F 2-u chrony",
    "CONTINUED": "-F 2  -u chrony-m",
    "ESCAPED": 'a"b$c\\de f',
    "INNER": 'a"b c"',
    "TWICE": "2",
    "EMPTY": "",
    "LAST": "open\n",
}
