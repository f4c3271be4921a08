# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's marks in the firewalls of a host."""

import json

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import firewalls_with_rules

OWN = "### tuple ### allow udp 123 ::/0 any ::/0 in comment=4e5450\n"
OURS = "### tuple ### allow udp 123 ::/0 any ::/0 in comment=73656375726574696d652e6e74733a204e5450\n"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("etc/firewalld/services/securetime-nts.xml", "<service/>", ["firewalld"]),
        ("etc/firewalld/zones/public.xml", '<zone><service name="securetime-nts"/></zone>', ["firewalld"]),
        ("etc/firewalld/zones/public.xml", '<zone><service name="ssh"/></zone>', []),
        ("etc/ufw/user.rules", OWN, []),
        ("etc/ufw/user6.rules", OURS, ["ufw"]),
        ("var/lib/securetime-nts/firewall.json", json.dumps({"nft_include": "/etc/x.nft"}), ["nftables"]),
        ("var/lib/securetime-nts/firewall.json", "[1", []),
        ("var/lib/securetime-nts/firewall.json", json.dumps({"request": {}}), []),
    ],
)
def test_the_firewalls_with_rules(tmp_path, path, text, expected):
    assert firewalls_with_rules(str(tmp_path)) == []
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert firewalls_with_rules(str(tmp_path)) == expected
