# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.securetime.nts.plugins.test.names import is_host_name, is_ip_address, is_subnet


@pytest.mark.parametrize("name", ["a", "nts1.example.org", "NTS-1.example.org", "under_score.example", "1.example.org"])
def test_host_names(name: str) -> None:
    assert is_host_name(name)
    assert not is_ip_address(name)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a.", ".a", "a..b", "a:1", "-a", "a-", "a # b", "192.0.2.1", "192.0.2", "*.a", "x" * 64, "x.x" * 99],
)
def test_what_is_no_host_name(text: str) -> None:
    assert not is_host_name(text)


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "::"])
def test_ip_addresses(text: str) -> None:
    assert is_ip_address(text)


@pytest.mark.parametrize("text", ["192.0.2.256", "192.0.2.0/24", "fe80::1%eth0", "[::1]", "", "1"])
def test_what_is_no_ip_address(text: str) -> None:
    assert not is_ip_address(text)


@pytest.mark.parametrize("text", ["192.0.2.0/24", "192.0.2.1", "0.0.0.0/0", "2001:db8::/32", "::/0"])
def test_subnets(text: str) -> None:
    assert is_subnet(text)


@pytest.mark.parametrize("text", ["192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/255.255.255.0", "fe80::%eth0", "all", ""])
def test_what_is_no_subnet(text: str) -> None:
    assert not is_subnet(text)
