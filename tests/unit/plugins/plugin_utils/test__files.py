# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a host, as parameters of chrony_config."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.modules.chrony_config import ARGUMENTS
from ansible_collections.securetime.nts.plugins.plugin_utils import _files
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import DEFAULTS, ROLE, planned

DROP_IN = "/etc/systemd/system/chrony.service.d/securetime-nts"


def files(variables: dict[str, Any] | None = None, **facts: Any) -> dict[str, dict[str, Any]]:
    """Return the files of a Debian host, by their path."""
    given = {**DEFAULTS, **(variables or {})}
    rows = _files.of_the_host(Inputs(given), planned(variables, **facts))
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def test_the_files_of_a_client() -> None:
    host = planned()
    found = files()
    assert found["/etc/chrony/chrony.conf"] == {"path": "/etc/chrony/chrony.conf", "template": "chrony.conf.j2"}
    sources = found["/etc/chrony/nts-sources.d/securetime-nts.sources"]
    assert (sources["state"], sources["content"], sources["effect"]) == ("present", host["sources_text"], "sources")
    assert found["/etc/default/chrony"] == {"path": "/etc/default/chrony", "state": "original", "effect": "nothing"}
    assert found["/etc/default/chrony-securetime-nts"]["content"] == host["options_text"]
    assert found[f"{DROP_IN}-undo.conf"]["effect"] == "nothing"
    assert found["/etc/logrotate.d/chrony"]["state"] == "original"
    keys = found["/etc/chrony/chrony.keys"]
    assert (keys["state"], keys["group"], keys["mode"], keys["effect"]) == ("original", "_chrony", "0640", "keys")


def test_files_that_a_host_does_not_need_are_absent_or_as_they_were() -> None:
    found = files({"chrony_nts_layout": "single"})
    absent = [path for path, row in found.items() if row.get("state") == "absent"]
    assert absent == [
        "/etc/chrony/nts-sources.d/securetime-nts.sources",
        "/etc/systemd/system/chrony-wait.service.d/securetime-nts.conf",
        f"{DROP_IN}-paths.conf",
    ]
    assert all("content" not in row and "template" not in row for row in found.values() if row["path"] in absent)


def test_files_that_only_some_hosts_need() -> None:
    key = {"id": 1, "key": "HEX:00"}
    directives = {"cmdport": 0, "dumpdir": "/srv/dump"}
    variables = {
        "chrony_nts_symmetric_keys": [key],
        "chrony_nts_directives": directives,
        "chrony_nts_config_template": "/srv/own.j2",
        "chrony_nts_logs": True,
    }
    found = files(variables, environment__chrony_wait="enabled")
    assert found["/etc/chrony/chrony.conf"]["template"] == "/srv/own.j2"
    assert found["/etc/chrony/chrony.keys"]["state"] == "present"
    assert "/srv/dump" in found[f"{DROP_IN}-paths.conf"]["content"]
    assert found["/etc/logrotate.d/chrony"]["content"] == planned(variables)["rotation_text"] != ""
    waits = found["/etc/systemd/system/chrony-wait.service.d/securetime-nts.conf"]
    assert (waits["state"], waits["template"]) == ("present", "chrony-wait.conf.j2")
    # The task passes the content apart, as a secret.
    assert "HEX" not in str(found)


@pytest.mark.parametrize("row", files(environment__chrony_wait="enabled").values(), ids=lambda row: row["path"])
def test_each_file_is_one_that_the_module_and_the_role_know(row: dict[str, Any]) -> None:
    assert row.keys() <= ARGUMENTS["files"]["options"].keys()
    assert "template" not in row or (ROLE / "templates" / row["template"]).is_file()
