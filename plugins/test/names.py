# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what chrony takes as an address, a host name and a subnet."""

from __future__ import annotations

from ansible_collections.securetime.nts.plugins.plugin_utils._names import is_host_name, is_ip_address, is_subnet


class TestModule:
    """Ansible's entry point."""

    def tests(self) -> dict[str, object]:
        return {"ip_address": is_ip_address, "host_name": is_host_name, "subnet": is_subnet}
