# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from testinfra.host import Host

from ansible_collections.securetime.nts.tests.lab.hosts import facts


@pytest.fixture(scope="module")
def chrony(host: Host) -> dict[str, Any]:
    """Return ansible_facts.chrony of the host."""
    return facts(host)
