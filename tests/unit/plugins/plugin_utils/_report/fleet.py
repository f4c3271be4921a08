# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets of hosts for the report: captures of real chronyds (tests/unit/captures), with the verdict of chronyc_facts.

fleet.py COUNT FOLDER [hostile]     write the report of such a fleet
"""

from __future__ import annotations

import calendar
import copy
import functools
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.securetime.nts.plugins.module_utils._state import chronyc, verdict
from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import Document, Member, document
from ansible_collections.securetime.nts.plugins.plugin_utils._report.page import page
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import DATE, row, without_facts
from ansible_collections.securetime.nts.plugins.plugin_utils._report.table import table

ROOT = Path(__file__).resolve().parents[5]
CAPTURES = ROOT / "tests/unit/captures"
TEMPLATES = str(ROOT / "playbooks/templates/report")
NOW = 1795886400.0
# The states of 20 hosts, which a fleet repeats in this order.
USUAL = ("healthy",) * 13 + ("mixed_failed", "plain", "ke_expired", "ke_refused", "stopped", "just_started", "mixed")
# Scripts, formulas, reversed text direction, stacked accents, closing quotes and tags of the page, and long text.
HOSTILE = (
    "<script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "\"'><svg onload=document.title='run'>",
    "</script></style></title><script>document.title='run'</script>",
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://example.org")',
    "\u202egpj.exe\u2066nts1",
    "Z\u0361\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307algo",
    "a" * 5000,
    "line\nfeed\x00\x1b[31mred\x07",
    "\u2028\ufeff\u200b\u00ad",
    "javascript:document.title='run'",
)


@functools.cache
def captured(state: str, version: str = "4.6.1") -> dict[str, Any]:
    """Return the facts of a captured state, including its host."""
    content = json.loads((CAPTURES / version / f"{state}.json").read_text(encoding="utf-8"))

    def answers(commands: Any) -> list[str]:
        return ["\n".join(content["answers"][command]) for command in commands]

    reports = chronyc.take(answers, lambda: "\n".join(content["answers"]["-N sources -a"]), ())
    running = "refusal" not in reports
    host = {
        "installed": True,
        "running": running,
        "daemon": {
            "pid": 7 if running else None,
            "uptime_seconds": content["uptime_seconds"],
            "features": {"NTS": True},
            "replaced": False,
            "version": content["version"],
        },
        "unit": {
            "name": "chrony.service",
            "active_state": "active" if running else "failed",
            "unit_file_state": "enabled",
            "skipped": False,
        },
        "environment": {
            "cap_sys_time": True,
            "rivals": [],
            "os": {"id": "debian", "like": [], "name": "Debian GNU/Linux", "version": "13"},
        },
    }
    logged = [line.partition(" ") for line in content["log"]]
    ages = [content["captured"] - calendar.timegm(time.strptime(stamp, DATE)) for stamp, _space, _text in logged]
    lines = [(max(0.0, age), text) for age, (_stamp, _space, text) in zip(ages, logged, strict=True)]
    facts = verdict.judge(host, reports, verdict.read_log(lines))
    facts["certificates"] = []
    return facts


def certificate(name: str, days: int, use: str = "server") -> dict[str, Any]:
    """Return a certificate that ends this many days after NOW (2026-11-28)."""
    ends = 2026 + (331 + days) // 365
    day = (331 + days) % 365
    return {
        "use": use,
        "path": "/etc/chrony/nts/server.pem",
        "subject": f"CN={name}",
        "subject_alt_names": [f"DNS:{name}"],
        "issuer": "CN=NTS root CA",
        "serial": "1",
        "not_before": "2026-11-20T00:00:00Z",
        "not_after": f"{ends}-{day // 31 + 1:02}-{min(day % 31 + 1, 28):02}T00:00:00Z",
        "fingerprint_sha256": hashlib.sha256(f"{use} {name}".encode()).hexdigest(),
        "key_type": "ECDSA P-256",
    }


def server(name: str, days: int) -> Member:
    """Return an NTS server with two clients, one of them without NTS."""
    facts = copy.deepcopy(captured("healthy"))
    for source, operator in zip(facts["sources"], ("time.cloudflare.com", "nts.netnod.se"), strict=True):
        source["name"] = operator
    facts["certificates"] = [certificate(name, days), certificate("NTS root CA", 3600, "trust")]
    facts["serverstats"] = {"ntp_received": 52000, "ntp_authenticated": 41000, "nts_ke_accepted": 310}
    facts["clients"] = [
        {"address": f"192.0.2.{number}", "ntp_requests": 100 * number, "nts_ke_connections": number % 2}
        for number in range(1, 21)
    ]
    return Member(name, True, [name], row(facts))


def fleet(count: int) -> Iterator[Member]:
    """Yield count hosts. The first two are servers, and the others cover every captured fault."""
    for number in range(count):
        name = f"web{number:05}.example.org"
        if number < 2:
            yield server(f"nts{number + 1}.test", 60 - 50 * number)
        elif number % 50 == 7:
            yield Member(name, False, [], without_facts("unreachable", "Failed to connect to the host via ssh."))
        else:
            facts = copy.deepcopy(captured(USUAL[number % len(USUAL)]))
            if facts["tracking"]:
                facts["tracking"]["offset_seconds"] = (number % 401 - 200) * 1e-7 * 10 ** (number % 4)
                facts["tracking"]["root_dispersion_seconds"] = 1e-5 * 10 ** (number % 3)
            yield Member(name, False, [], row(facts))


def hostile() -> Iterator[Member]:
    """Yield hosts with a hostile text in every field."""
    for number, text in enumerate(HOSTILE):
        facts = copy.deepcopy(captured("mixed_failed"))
        facts["nts"]["reasons"] = [text, f"{text}."]
        facts["nts"]["notes"] = [text]
        facts["daemon"]["version"] = text
        facts["environment"]["os"] = {"name": text, "version": text}
        for source in facts["sources"]:
            source["name"] = text
        facts["certificates"] = [dict(certificate(str(number), number), subject=text, issuer=text)]
        facts["serverstats"] = {"ntp_received": 1, "ntp_authenticated": 5}
        facts["clients"] = [{"address": f"fe80::1%{text}", "ntp_requests": 1, "nts_ke_connections": 0}]
        yield Member(f"{number} {text}", True, [text], row(facts))
        yield Member(f"u{number} {text}", False, [], without_facts("unreachable", text))


def earlier(report: Document) -> dict[str, Any]:
    """Return a report of the day before, in which some hosts had better states, and others are missing or extra."""
    before = json.loads(json.dumps(report))
    before["generated"] = "2026-11-27T08:00:00Z"
    for host in before["hosts"][::9]:
        host["state"] = "authenticated"
    before["hosts"].append({"name": "old.example.org", "state": "authenticated"})
    del before["hosts"][0]
    before["certificates"] = [dict(row, fingerprint_sha256="0" * 64) for row in before["certificates"][:1]]
    return dict(before)


def main() -> None:
    """Write a report."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    members = list(hostile() if sys.argv[3:] == ["hostile"] else fleet(count))
    report = document(members, NOW, earlier(document(members, NOW)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(page(report, TEMPLATES), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / "report.csv").write_text(table(report), encoding="utf-8")


if __name__ == "__main__":
    main()
