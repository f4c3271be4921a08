# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.securetime.nts.molecule.images import machine as power
from ansible_collections.securetime.nts.molecule.images.machine import Machine
from ansible_collections.securetime.nts.molecule.machine.machines import both, prepare


@pytest.fixture(scope="session")
def frozen() -> Iterator[None]:
    """Both machines as they are, to come back to with thaw(); both run again afterwards."""

    def freeze(each: Machine) -> None:
        if not power.is_frozen(each):
            prepare(each)
            power.freeze(each)

    both(freeze)
    yield
    both(power.thaw)
