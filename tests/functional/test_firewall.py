# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of ours in the kernel's nftables, in a network namespace. Needs root and nft.

The scenario `firewall` has firewalld and ufw, which cannot run beside the controller's own rules.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult, System
from ansible_collections.securetime.nts.plugins.module_utils._firewall import nftables
from ansible_collections.securetime.nts.plugins.module_utils._firewall.change import Report, Request, manage
from ansible_collections.securetime.nts.plugins.module_utils._firewall.openings import FirewallError
from ansible_collections.securetime.nts.plugins.module_utils._state.firewall_marks import RECORD
from ansible_collections.securetime.nts.tests.functional import rooms

ALLOW = ("192.0.2.0/24", "2001:db8::/32")
# One include within the chain, before the rule that refuses the rest.
WITHIN = """flush ruleset
table inet filter {{
  chain input {{
    type filter hook input priority 0; policy accept;
    iif lo accept
    include "{include}"
    counter drop
  }}
}}
"""
# One include at the end of the file, for a chain that drops by its policy.
AT_THE_END = """flush ruleset
table inet filter {{
  chain input {{
    type filter hook input priority 0; policy drop;
    tcp dport 22 accept
  }}
}}
include "{pattern}"
"""


class Host:
    """A network namespace with nft, and files of its own."""

    def __init__(self, place: rooms.Room, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.folder = place, folder
        self.main = folder / "nftables.conf"
        self.include = folder / "nftables.d" / "nts.nft"
        self.include.parent.mkdir()
        self.system = System(self.run, lambda _file, _path: False, str(folder / "state"))
        monkeypatch.setattr(nftables, "MAIN_FILES", (str(self.main),))

    def run(self, argv: list[str]) -> CommandResult:
        """Run a program in the namespace."""
        done = subprocess.run(self.place.command(argv), capture_output=True, text=True, check=False)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def load(self, text: str) -> None:
        """Load a ruleset of the operator."""
        self.main.write_text(text.format(include=self.include, pattern=self.include.parent / "*.nft"))
        done = self.run(["nft", "--file", str(self.main)])
        assert done.status == 0, done

    def rules(self) -> str:
        """Return the ruleset of the kernel."""
        return self.run(["nft", "--stateless", "list", "ruleset"]).stdout

    def manage(self, *, check: bool = False, allow: Sequence[str] = ALLOW, **other: Any) -> Report:
        """Open the ports, or close them where no subnet is allowed."""
        given: dict[str, Any] = {"udp_ports": [123], "tcp_ports": [4460], "nft_include": str(self.include), **other}
        return manage(self.system, Request(allow, **given) if allow else Request(), check)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with rooms.room(tmp_path / "room") as place:
        yield Host(place, tmp_path, monkeypatch)


@pytest.mark.parametrize("ruleset", [WITHIN, AT_THE_END], ids=["within", "at the end"])
def test_ports_are_opened_once_and_closed_again(host: Host, ruleset: str) -> None:
    if ruleset is WITHIN:
        host.include.write_text("")
    host.load(ruleset)
    before = host.rules()
    foreseen = host.manage(check=True)
    assert (foreseen.changed, host.rules()) == (True, before)
    report = host.manage()
    assert (report.firewall, report.changed, report.diffs) == ("nftables", True, foreseen.diffs)
    assert len(report.opened) == 4
    opened = host.rules()
    assert opened.count("securetime.nts: ") == 4
    for text in ("ip saddr 192.0.2.0/24 udp dport 123", "ip6 saddr 2001:db8::/32 tcp dport 4460"):
        assert text in opened
    if ruleset is WITHIN:
        assert opened.index("securetime.nts: ") < opened.index(" drop")
    assert host.manage().changed is False
    # What the file holds is what a boot loads.
    host.load(ruleset)
    assert host.rules() == opened
    closed = host.manage(allow=[])
    assert (closed.changed, closed.closed["allow"]) == (True, [*ALLOW])
    assert host.rules() == before
    assert not (host.folder / "state" / RECORD).exists()
    assert host.manage(allow=[]).changed is False


def test_fewer_subnets_leave_fewer_rules(host: Host) -> None:
    host.load(AT_THE_END)
    host.manage()
    assert host.manage(allow=ALLOW[:1], tcp_ports=[]).changed
    assert host.rules().count("securetime.nts: ") == 1
    assert "2001:db8" not in host.include.read_text()


def test_another_include_takes_the_rules_along(host: Host) -> None:
    host.load(AT_THE_END)
    host.manage()
    other = host.include.with_name("other.nft")
    assert host.manage(nft_include=str(other)).changed
    assert host.rules().count("securetime.nts: ") == 4
    assert (host.include.exists(), other.exists()) == (False, True)


def test_an_include_that_the_operator_renamed_keeps_its_rules(host: Host) -> None:
    host.load(AT_THE_END)
    host.manage()
    before = host.rules()
    other = host.include.with_name("other.nft")
    host.include.rename(other)
    host.manage(nft_include=str(other))
    assert host.rules() == before
    assert host.manage(nft_include=str(other)).changed is False
    assert host.manage(allow=[]).changed
    assert "securetime.nts: " not in host.rules()


def test_a_rule_that_the_kernel_refuses_changes_nothing(host: Host) -> None:
    host.load(AT_THE_END)
    before = host.rules()
    with pytest.raises(FirewallError, match=r"`nft --check .*failed: .*The rules are what they were before\.$"):
        host.manage(udp_ports=[99999])
    assert host.rules() == before
    assert not host.include.exists()
    assert not (host.folder / "state" / RECORD).exists()


def test_a_refused_change_keeps_the_rules_of_before(host: Host) -> None:
    host.load(AT_THE_END)
    host.manage()
    before, record = host.rules(), json.loads((host.folder / "state" / RECORD).read_text())
    with pytest.raises(FirewallError, match="The rules are what they were before"):
        host.manage(udp_ports=[99999])
    assert host.rules() == before
    assert json.loads((host.folder / "state" / RECORD).read_text()) == record
    assert host.manage().changed is False


def test_a_file_that_nothing_includes_is_refused(host: Host) -> None:
    host.load(AT_THE_END)
    with pytest.raises(
        FirewallError, match=r"other.conf \(chrony_nts_firewall_nft_include\) is not included .*Nothing"
    ):
        host.manage(nft_include=str(host.folder / "other.conf"))


def test_an_include_behind_the_refusal_of_the_rest_is_refused(host: Host) -> None:
    host.load(AT_THE_END.replace("tcp dport 22 accept", "drop"))
    with pytest.raises(FirewallError, match="The last rule of the chain inet filter input refuses every other packet"):
        host.manage()


def test_a_second_chain_that_refuses_gets_commands_for_the_operator(host: Host) -> None:
    second = "table ip strict {{ chain in {{ type filter hook input priority 5; tcp dport 22 accept; drop; }}; }}\n"
    host.load(AT_THE_END.replace("include", second + "include"))
    report = host.manage()
    assert report.changed
    assert all("ip strict in" in text for text in report.by_hand)
    assert report.by_hand[0] in report.warnings[0]


def test_without_an_include_the_rules_are_the_operators(host: Host) -> None:
    host.load(AT_THE_END)
    before = host.rules()
    report = host.manage(nft_include="")
    assert (report.firewall, report.changed, host.rules()) == ("nftables", False, before)
    assert "chrony_nts_firewall_nft_include" in report.warnings[0]
    for command in report.by_hand:
        assert host.run(["sh", "-c", command]).status == 0, command
    assert host.manage(nft_include="").by_hand == []


def test_a_chain_that_accepts_needs_nothing(host: Host) -> None:
    host.load(AT_THE_END.replace("policy drop", "policy accept"))
    report = host.manage()
    assert (report.firewall, report.changed, report.opened) == ("none", False, [])
