# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import facts, wait_until


@pytest.fixture(scope="module")
def chrony(host: Host) -> dict[str, Any]:
    """Return ansible_facts.chrony of the host, once chronyd has measured all of its sources."""
    found: list[dict[str, Any]] = []

    def is_measured() -> bool:
        found[:] = [facts(host)]
        return all(source["stratum"] for source in found[0]["sources"])

    wait_until(is_measured, "chronyd does not measure all sources", 640, 1)
    return found[0]
