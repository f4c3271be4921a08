# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The long version of the test in the scenario `faults`."""

from __future__ import annotations

from ansible_collections.securetime.nts.tests.lab import steps


def test_a_transaction_killed_at_any_step_is_recovered() -> None:
    steps.assert_recovery(every=1)
