# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: out_of_range
short_description: Name the numbers that are outside their range
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Holds the numbers in O(_input) against O(ranges), because chronyd before 4.7 accepts whatever it can read as a
    number.
options:
  _input:
    description: Numbers by name. A name that has no range, or no value, is passed over.
    type: dict
    required: true
  ranges:
    description: Smallest and largest value by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop at a port that cannot be
  ansible.builtin.assert:
    that: "{'port': 123} | securetime.nts.out_of_range({'port': [1, 65535]}) == []"
"""

RETURN = r"""
_value:
  description: One sentence for each number that is outside its range.
  type: list
  elements: str
"""

from typing import Any


def out_of_range(numbers: dict[str, Any], ranges: dict[str, tuple[float, float]]) -> list[str]:
    """Return one sentence for each number in numbers that is outside its (smallest, largest) in ranges."""
    return [
        f"{name} is {numbers[name]}: set it to a number from {low} to {high}."
        for name, (low, high) in ranges.items()
        if numbers.get(name) is not None and not low <= float(numbers[name]) <= high
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"out_of_range": out_of_range}
