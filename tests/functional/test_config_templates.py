# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The templates of chrony_config, by Ansible's own templating."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar

from ansible_collections.securetime.nts.plugins.action.chrony_config import ActionModule
from ansible_collections.securetime.nts.plugins.plugin_utils._config_action import CONFIG


class Uncopied(str):
    """A value that a template must not cost a copy."""

    __slots__ = ()

    def __deepcopy__(self, _memo: dict[int, Any]) -> Uncopied:
        raise AssertionError


class Rendering(ActionModule):
    """The action plugin, whose module returns its own parameters."""

    def __init__(self, folder: Path, files: Any) -> None:
        loader = DataLoader()
        loader.set_basedir(str(folder))
        self.variables = {"name": "value", "groups": {"all": Uncopied("host")}, "ansible_search_path": [str(folder)]}
        task = Task()
        task.action, task.args = "securetime.nts.chrony_config", {"config_file": "/c", "files": files}
        super().__init__(task, None, None, loader, Templar(loader, variables=self.variables), None)

    def files(self) -> Any:
        return self.answer(self.variables)["files"]

    def run_module(self, _task_vars: Any, *module: Any, wrap_async: bool = False) -> dict[str, Any]:
        name, parameters = module
        assert (name, parameters["config_file"], wrap_async) == (CONFIG, "/c", False)
        return dict(parameters)


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
    action = Rendering(folder, [])
    found = action.run_config(action.variables, {"config_file": "/c", "files": [{"template": "a.j2"}]}, {"name": "new"})
    assert found["files"] == [{"content": "# new of host\nkept\n"}]
    assert action.variables["name"] == "value"


def test_a_missing_template_ends_the_task(folder: Path) -> None:
    with pytest.raises(AnsibleError, match=r"missing\.j2 could not be found"):
        Rendering(folder, [{"path": "/a", "template": "missing.j2"}]).files()
