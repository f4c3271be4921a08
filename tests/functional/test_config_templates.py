# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The templates of chrony_config, by Ansible's own templating."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar

from ansible_collections.securetime.nts.plugins.action import chrony_config, chrony_nts_apply, chrony_nts_plan
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import ROOT_MARK
from ansible_collections.securetime.nts.plugins.plugin_utils import _files, _plan
from ansible_collections.securetime.nts.plugins.plugin_utils._config_action import CONFIG, ConfigAction
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import Inputs
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import (
    DEFAULTS,
    FACTS,
    PLATFORMS,
    ROLE,
    planned,
)


class Uncopied(str):
    """A value that a template must not cost a copy."""

    __slots__ = ()

    def __deepcopy__(self, _memo: dict[int, Any]) -> Uncopied:
        raise AssertionError


class Echoing(ConfigAction):
    """Action plugins whose module returns its own parameters."""

    def __init__(self, folder: Path, arguments: dict[str, Any], **variables: Any) -> None:
        loader = DataLoader()
        loader.set_basedir(str(folder))
        self.variables = {**variables, "groups": {"all": Uncopied("host")}, "ansible_search_path": [str(folder)]}
        task = Task()
        task.args = arguments
        super().__init__(task, None, None, loader, Templar(loader, variables=self.variables), None)

    def run_module(self, _task_vars: Any, *module: Any, wrap_async: bool = False) -> dict[str, Any]:
        name, parameters = module
        assert (name, wrap_async) == (CONFIG, False)
        return dict(parameters)


class Rendering(Echoing, chrony_config.ActionModule):
    """chrony_config with these files."""

    def __init__(self, folder: Path, files: Any) -> None:
        super().__init__(folder, {"config_file": "/c", "files": files}, name="value")

    def files(self) -> Any:
        return self.answer(self.variables)["files"]


class Applying(Echoing, chrony_nts_apply.ActionModule):
    """chrony_nts_apply in the role."""


class Planning(Echoing, chrony_nts_plan.ActionModule):
    """chrony_nts_plan in the role, on a host that answers its survey with this digest."""

    applied = ""

    def run_module(self, _task_vars: Any, *_module: Any, wrap_async: bool = False) -> dict[str, Any]:
        return {"ansible_facts": {"chrony": copy.deepcopy(FACTS)}, "applied": self.applied}

    def is_unchanged(self, plan: dict[str, Any], applied: Any, **tags: list[str]) -> bool:
        given = {**self.variables, "ansible_run_tags": ["all"], "ansible_skip_tags": [], **tags}
        return self._is_unchanged(given, Inputs(self.variables), {**plan, "prepares": _plan.prepares(plan)}, applied)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    text = "# {{ name }} of {{ groups['all'] }}\n{% if true %}\nkept\n{% endif %}\n"
    (tmp_path / "templates" / "a.j2").write_text(text)
    return tmp_path


def test_a_template_becomes_the_content_without_a_copy_of_the_variables(folder: Path) -> None:
    given = [{"path": "/a", "template": "a.j2", "mode": "0640"}, {"path": "/b", "template": f"{folder}/templates/a.j2"}]
    text = "# value of host\nkept\n"
    expected = [{"path": "/a", "content": text, "mode": "0640"}, {"path": "/b", "content": text}]
    assert Rendering(folder, given).files() == expected
    assert given[0]["template"] == "a.j2"


@pytest.mark.parametrize(
    "file",
    [
        {"path": "/a", "content": "{{ name }}"},
        {"path": "/a", "content": "", "template": "a.j2"},
        {"path": "/a", "state": "absent", "template": "missing.j2"},
        {"path": "/a", "state": "original", "template": None},
        "a text",
    ],
)
def test_other_files_reach_the_module_as_they_are(file: Any, folder: Path) -> None:
    assert Rendering(folder, [file]).files() == [file]


def test_the_module_reports_files_of_a_wrong_type(folder: Path) -> None:
    assert Rendering(folder, "a text").files() == "a text"


def test_a_template_sees_what_the_caller_has_evaluated(folder: Path) -> None:
    """Before 2.19, ansible-core runs a template in any value that is not marked as unsafe; this one is of a host."""
    action = Rendering(folder, [])
    given = {"config_file": "/c", "files": [{"template": "a.j2"}]}
    found = action.run_config(action.variables, given, {"name": "{{ 1 + 1 }}"})
    assert found["files"] == [{"content": "# {{ 1 + 1 }} of host\nkept\n"}]
    assert action.variables["name"] == "value"


def test_a_plan_becomes_the_parameters_of_chrony_config(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("PEM\n")
    variables = {**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path)}
    plan = {**planned(), "clock": {"step_seconds": 0}}
    # Before 2.19, ansible-core would run this template of a host.
    plan["directive_lines"].append("{{ 1 + 1 }}")
    # The role's private variables are not there: nothing evaluates them again.
    action = Applying(ROLE, {"variables": variables, "plan": plan}, **variables)
    found = action.answer(action.variables)
    anchors = [{"set": 0, "path": "/etc/chrony/nts/trusted.pem", "content": f"{ROOT_MARK}\nPEM\n"}]
    expected = _files.parameters(Inputs(variables), plan, anchors)
    wanted = _files.digest({**expected, "files": found["files"]})
    assert {**found, "files": None} == {**expected, "files": None, "digest": wanted}
    files = {row["path"]: row for row in found["files"]}
    assert list(files) == [row["path"] for row in expected["files"]]
    lines = files["/etc/chrony/chrony.conf"]["content"].splitlines()
    assert "ntstrustedcerts /etc/chrony/nts/trusted.pem" in lines
    assert set(plan["directive_lines"]) <= set(lines)


def test_a_host_is_unchanged_where_the_rest_of_the_role_would_do_nothing(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("PEM\n")
    variables = {**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path)}
    plan = {**planned(), "clock": {"step_seconds": 0}}
    applying = Applying(ROLE, {"variables": variables, "plan": plan}, **variables)
    digest = applying.answer(applying.variables)["digest"]
    planning = Planning(ROLE, {}, **variables)
    assert planning.is_unchanged(plan, digest)
    for more in (
        {"pairs": [{"id": "server"}]},
        {"installs": True},
        {"masked_at_runtime": True},
        {"clock": {"step_seconds": 1}},
        {"firewall": {"state": "absent"}},
        {"renewal": "absent"},
        {"log_dir": "/other"},
    ):
        assert not planning.is_unchanged({**plan, **more}, digest), more
    for applied in (None, "", "0" * 64, {"digest": digest}, [digest]):
        assert not planning.is_unchanged(plan, applied), applied
    assert not planning.is_unchanged(plan, digest, ansible_run_tags=["configure"])
    assert not planning.is_unchanged(plan, digest, ansible_skip_tags=["verify"])
    # Molecule always skips these.
    assert planning.is_unchanged(plan, digest, ansible_skip_tags=["molecule-notest", "notest"])
    # The phases of a change read the plan that is made within it.
    assert not Planning(ROLE, {"first_seen": {"installed": True}}, **variables).is_unchanged(plan, digest)
    # A server of the same play may change what the client trusts.
    replace = {**variables, "chrony_nts_replace_root_ca": True}
    assert not Planning(ROLE, {}, **replace).is_unchanged(plan, digest)
    secret = {**variables, "chrony_nts_symmetric_keys": [{"id": 1, "key": "SECRET"}]}
    applying = Applying(ROLE, {"variables": secret, "plan": plan}, **secret)
    assert applying.answer(applying.variables)["digest"] is None
    for applied in (None, digest):
        assert not Planning(ROLE, {}, **secret).is_unchanged(plan, applied)


def test_ansible_keeps_no_plan_of_an_unchanged_host(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("PEM\n")
    variables = {**DEFAULTS, "chrony_nts_ca_dir": str(tmp_path)}
    planning = Planning(ROLE, {"variables": variables, "platforms": PLATFORMS}, **variables)
    given = {**planning.variables, "ansible_run_tags": ["all"], "ansible_skip_tags": []}
    first = planning.answer(given)
    assert (first["unchanged"], first["plan"]["skip_for"], first["plan"]["prepares"]) == (False, "", False)
    applying = Applying(ROLE, {"variables": variables, "plan": first["plan"]}, **variables)
    planning.applied = applying.answer(applying.variables)["digest"]
    assert planning.answer(given) == {**first, "unchanged": True, "plan": {"skip_for": ""}}
    # `--tags configure` runs its phase.
    selected = planning.answer({**given, "ansible_run_tags": ["configure"]})
    assert (selected["unchanged"], selected["plan"].keys()) == (False, first["plan"].keys())


def test_a_missing_template_ends_the_task(folder: Path) -> None:
    with pytest.raises(AnsibleError, match=r"missing\.j2 could not be found"):
        Rendering(folder, [{"path": "/a", "template": "missing.j2"}]).files()
