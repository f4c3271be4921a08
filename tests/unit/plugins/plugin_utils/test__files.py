# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a host, as parameters of chrony_config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import ROOT_MARK
from ansible_collections.securetime.nts.plugins.modules.chrony_config import ARGUMENTS
from ansible_collections.securetime.nts.plugins.plugin_utils import _files
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import (
    DEFAULTS,
    ROLE,
    SERVER,
    planned,
)

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
    # chrony_config gets the content apart, as a secret.
    assert "HEX" not in str(found)


def parameters(variables: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    """Return the parameters of chrony_config for a Debian host that trusts one root CA."""
    anchors = [{"path": "/etc/chrony/nts/trusted.pem", "content": "PEM", "set": 0}]
    return _files.parameters(Inputs({**DEFAULTS, **(variables or {})}), planned(variables, **facts), anchors)


def test_the_module_has_every_parameter_of_a_client() -> None:
    given = parameters()
    # The role needs the defaults of the others. The action plugins add the last two.
    others = {"state", "serves_at", "start_timeout", "settle_time", "lock_timeout", "digest", "survey"}
    assert set(ARGUMENTS) - given.keys() == others
    assert given.keys() <= set(ARGUMENTS)
    assert (given["config_file"], given["service"]) == ("/etc/chrony/chrony.conf", "chrony.service")
    effect = planned()["trust_effect"]
    assert {"path": "/etc/chrony/nts/trusted.pem", "content": "PEM", "effect": effect} in given["files"]
    assert given["owns"][:2] == ["/etc/chrony/nts/trusted.pem", "/etc/chrony/nts/trusted-[0-9].pem"]
    assert given["folders"] == ["/etc/chrony/nts-sources.d", "/etc/chrony/nts"]
    assert (given["secrets"], given["serves"], given["ntske_ports"]) == ({}, [], [])
    assert given["remember"] == planned()["first_seen"] != {}
    assert (given["verify"], given["verify_rollback"]) == ("authenticated", False)
    assert (given["verify_min_sources"], given["verify_timeout"]) == (1, 60.0)


def test_each_parameter_follows_the_plan() -> None:
    variables = {
        **SERVER,
        "chrony_nts_rollback_on_failed_verify": "y",
        "chrony_nts_directives": {"ntsport": 4461},
        "chrony_nts_logs": True,
        "chrony_nts_verify_timeout": 7,
    }
    given, host = parameters(variables), planned(variables)
    assert given["verify_rollback"] is True
    assert given["verify_timeout"] == 7
    for name in ("ntske_ports", "certificate_dirs", "log_dir", "daemon_options", "rivals"):
        assert given[name] == host[name], name
    assert (given["ntske_ports"], given["log_dir"]) == ([4461], "/var/log/chrony")
    assert [row["certificate"] for row in given["serves"]] == ["/etc/chrony/nts/server.pem"]
    assert "/etc/chrony/nts/server.key" in [row["path"] for row in given["files"]]


def test_pair_files_that_no_pair_uses_are_owned() -> None:
    unused = "/etc/chrony/nts/public.pem"
    assert parameters(environment__server_files=[unused])["owns"][-1] == unused


def test_the_key_file_has_a_line_for_each_key() -> None:
    keys = [
        {"id": 1, "key": "HEX:00"},
        {"id": "2", "type": "AES128", "key": "HEX:01"},
        {"id": 3, "type": "", "key": "a"},
    ]
    assert _files.key_file(keys).splitlines() == [
        _files.MANAGED,
        "1 SHA256 HEX:00",
        "2 AES128 HEX:01",
        "3 SHA256 a",
    ]


@pytest.mark.parametrize("row", files(environment__chrony_wait="enabled").values(), ids=lambda row: row["path"])
def test_each_file_is_one_that_the_module_and_the_role_know(row: dict[str, Any]) -> None:
    assert row.keys() <= ARGUMENTS["files"]["options"].keys()
    assert "template" not in row or (ROLE / "templates" / row["template"]).is_file()


def test_the_files_of_trust_anchors_hold_the_own_cas(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    names = {"root": "B\n", "next": "A\n", "previous": "B\n", "servers/nts2": "D\n", "servers/nts1": "C\n"}
    for name, text in names.items():
        (tmp_path / f"{name}.pem").write_text(text)
    (tmp_path / "servers" / "readme").write_text("no certificate\n")
    anchors = [{"content": "Z\n"}, {"content": "Y\n", "set": 1}]
    inputs = Inputs({**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path), "chrony_nts_trust_anchors": anchors})
    text = f"Z\n{ROOT_MARK}\nA\n{ROOT_MARK}\nB\nC\nD\n"
    first = {"set": 0, "path": "/etc/chrony/nts/trusted.pem", "content": text}
    second = {"set": 1, "path": "/etc/chrony/nts/trusted-1.pem", "content": "Y\n"}
    assert _files.trust_files(inputs) == [first, second]
    assert _files.trust_files(inputs, "4.0") == [first]
    assert _files.trust_files(inputs, roots=["N\n"])[0]["content"] == f"Z\n{ROOT_MARK}\nN\nC\nD\n"
    foreign = Inputs({**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path), "chrony_nts_trust_own_ca": "false"})
    assert _files.trust_files(foreign) == []


def test_the_digest_is_of_all_parameters_but_the_first_state() -> None:
    wanted = _files.digest({"b": 1, "a": ["x"], "remember": {}})
    assert wanted == _files.digest({"a": ["x"], "b": 1}) != _files.digest({"a": ["y"], "b": 1})
