# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that are private to the roles and playbooks of securetime.nts; they can change in any release."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import (
    _clock,
    _files,
    _plan,
    _requests,
    _rules,
    _shared_keys,
    _variables,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs


def proof(variables: Mapping[str, Any], skip_for: str = "") -> dict[str, Any]:
    """Return the goal of verification for a host, without features that this version of chronyd lacks."""
    try:
        return _plan.proof(Inputs(variables), skip_for)
    except (AttributeError, KeyError, TypeError, ValueError):
        # The playbook verify does not run the rules, which report such a value.
        found = _variables.missing(variables) or [
            text for texts in _variables.mistakes(variables).values() for text in texts
        ]
        if not found:
            raise
        raise ValueError(_rules.message(found)) from None


def trust_files(
    variables: Mapping[str, Any], version: str = "", roots: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return set, path and content of the file of each set of trust anchors."""
    return _files.trust_files(Inputs(variables), version, roots)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {
            "_explained": _clock.explained,
            "_left_over": _requests.left_over,
            "_platform": _plan.platform,
            "_proof": proof,
            "_shared_keys": _shared_keys.plan,
            "_trust_files": trust_files,
        }
