# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.securetime.nts.tests.lab import qemu
from ansible_collections.securetime.nts.tests.lab.qemu import Vm
from ansible_collections.securetime.nts.tests.lab.vms import both, prepare


@pytest.fixture(scope="session")
def frozen() -> Iterator[None]:
    """Freeze both VMs, so that tests return to this state with thaw(); afterwards run both again."""

    def freeze(each: Vm) -> None:
        if not qemu.is_frozen(each):
            prepare(each)
            qemu.freeze(each)

    both(freeze)
    yield
    both(qemu.thaw)
