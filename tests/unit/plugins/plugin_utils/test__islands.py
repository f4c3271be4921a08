# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils import _islands
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import DEFAULTS, SERVER

ISLAND = {"chrony_nts_sources": [], "chrony_nts_directives": {"local": {"stratum": 10}}}
FOLLOWER = {"chrony_nts_sources": [{"address": "a"}], "chrony_nts_directives": {"local": {"stratum": 12}}}


class CannotBeTemplatedError(Exception):
    """Stand-in for Ansible's template error, whose import would make modules assume that they run on a controller."""


class Untemplatable(dict[str, Any]):
    """Variables of a host that raise a template error when the plugin reads them."""

    def get(self, *_unused: Any) -> Any:
        raise CannotBeTemplatedError


def warning(own: str, variables: dict[str, dict[str, Any]], **more: Any) -> str:
    inputs = Inputs({**DEFAULTS, **SERVER, **variables.get(own, {}), **more})
    return _islands.warning(own, inputs, list(variables), variables, CannotBeTemplatedError)


def test_two_islands_are_told_by_the_first_one() -> None:
    variables = {"c": FOLLOWER, "a": ISLAND, "b": ISLAND}
    assert warning("a", variables).startswith("a, b each serve their own clock and follow no source.")
    assert [warning(name, variables) for name in "bc"] == ["", ""]


def test_one_island_is_none_too_many() -> None:
    assert warning("a", {"a": ISLAND, "b": FOLLOWER, "c": {}, "d": Untemplatable()}) == ""


def test_a_client_is_no_server() -> None:
    assert warning("a", {"a": ISLAND, "b": ISLAND}, chrony_nts_server_enabled=False) == ""


def test_what_the_play_sets_is_the_same_for_all() -> None:
    assert warning("a", {"a": {}, "b": {}, "c": FOLLOWER}, **ISLAND).startswith("a, b each")
    assert warning("a", {"a": {}, "b": {}}) == ""


def test_many_are_not_all_named() -> None:
    assert warning("0", {str(number): ISLAND for number in range(9)}).startswith("0, 1, 2, 3, 4 and more each")
    assert warning("0", {str(number): ISLAND for number in range(5)}).startswith("0, 1, 2, 3, 4 each")


@pytest.mark.parametrize(
    ("change", "alone"),
    [
        ({}, True),
        ({"directives": {"local": True}}, True),
        ({"directives": {"local": "stratum 10"}}, True),
        # Servers in orphan mode without sources do not know each other.
        ({"directives": {"local": {"orphan": True}}}, True),
        ({"directives": {"local": {"orphan": True}}, "sources": [{"address": "b"}]}, False),
        ({"sources": [{"address": "b", "noselect": True}, {"address": "c", "noselect": "yes"}]}, True),
        ({"sources": [{"address": "b", "noselect": True}, {"address": "c", "noselect": "maybe"}]}, False),
        ({"directives": {}, "raw_lines": ["Local stratum 10"]}, True),
        ({"directives": {}}, False),
        ({"directives": {"local": None}}, False),
        ({"directives": {"local": {}, "refclock": [{"driver": "SHM", "parameter": "0"}]}}, False),
        ({"raw_lines": ["# a comment", "", "refclock SHM 0"]}, False),
        ({"raw_lines": ["peer b key 1"]}, False),
        ({"sources": "nts1.example.org"}, False),
        ({"fallback_pool": "pool.ntp.org"}, False),
        ({"dhcp_sources": "yes"}, False),
        ({"dropins": "include"}, False),
    ],
)
def test_what_an_island_is(change: dict[str, Any], alone: bool) -> None:
    changed = {**ISLAND, **{f"chrony_nts_{name}": value for name, value in change.items()}}
    assert bool(warning("a", {"a": changed, "b": ISLAND})) == alone
    assert bool(warning("b", {"b": ISLAND, "a": changed})) == alone


def test_a_host_that_follows_something_looks_at_no_other() -> None:
    assert warning("a", {"a": FOLLOWER, "b": Untemplatable()}) == ""


def test_a_mistake_of_another_host_does_not_stop_this_one() -> None:
    wrong = {**ISLAND, "chrony_nts_raw_lines": None}
    assert "a, c each serve" in warning("a", {"a": ISLAND, "b": wrong, "c": ISLAND})
