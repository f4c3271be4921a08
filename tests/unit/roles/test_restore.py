# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a restoration on Debian, by Ansible, with a stand-in for every module."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/chrony_nts"
# Answers from the environment by the name of the task, and writes down what was called.
STAND_IN = """
import json, os
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        name = self._task.get_name().partition("| ")[2]
        with open(os.environ["CALLED"], "a") as file:
            file.write(json.dumps([name, self._task.args]) + "\\n")
        return {"changed": True, **json.loads(os.environ["ANSWERS"]).get(name, {})}
"""
INSTALL = "Install the packages of the time daemons"
PUT_BACK = "Restore every file"
READ = "Read the original state of the host"
FIRST = {"installed": False, "rivals": [{"unit": "systemd-timesyncd.service", "active": True, "enabled": True}]}
UNFINISHED = {
    "Look for an interrupted restoration": {"stat": {"exists": True}},
    "Read the record of the interrupted restoration": {
        "content": base64.b64encode(json.dumps(FIRST).encode()).decode()
    },
}


def with_stand_in(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tasks with a stand-in for their modules."""
    found = []
    for task in tasks:
        row = {"stand_in" if "." in key else key: value for key, value in task.items()}
        if "ansible.builtin.fail" in task:
            row = task
        found.append({**row, **{key: with_stand_in(row[key]) for key in ("block", "rescue") if key in row}})
    return found


@pytest.fixture
def restored(tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Return a function that runs the restoration; it returns the exit status, and the calls by the tasks' names."""
    # Long: the program that answers for the hosts is inside.

    def run(answers: dict[str, Any], **platform: Any) -> tuple[int, dict[str, Any]]:
        roles = [yaml.safe_load(path.read_text()) for path in (ROLE / "vars/main").glob("*.yml")]
        values = {key: value for row in roles for key, value in row.items()}
        given = {
            "__chrony_nts_restore_record": values["__chrony_nts_restore_record"],
            "__chrony_nts_certbot_hook": "/hook",
            "__chrony_nts_platform": {"config_file": "/c", "service": "chrony.service", **platform},
            "ansible_facts": {"chrony": {"environment": {"package_manager": "apt", "firewall_rules": ["ufw"]}}},
        }
        tasks = with_stand_in(yaml.safe_load((ROLE / "tasks/restore.yml").read_text()))
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": given, "tasks": tasks}
        (tmp_path / "play.yml").write_text(json.dumps([play]))
        # Ansible knows an action by the module of its name.
        for folder, text in (("action", STAND_IN), ("library", "")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "stand_in.py").write_text(text)
        called = tmp_path / "called"
        called.write_text("")
        nothing = {"stat": {"exists": False}}
        found = {"Look for the timer of the renewal": nothing, **dict.fromkeys(list(UNFINISHED)[:1], nothing)}
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"],
            env={
                **os.environ,
                "ANSIBLE_ACTION_PLUGINS": str(tmp_path / "action"),
                "ANSIBLE_LIBRARY": str(tmp_path / "library"),
                "CALLED": str(called),
                "ANSWERS": json.dumps({**found, **answers}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        calls = dict(json.loads(line) for line in called.read_text().splitlines())
        assert READ in calls, done.stdout + done.stderr
        return done.returncode, calls

    return run


def test_what_chrony_has_replaced_is_downloaded_and_recorded_before_chronyd_stops(restored: Callable[..., Any]) -> None:
    status, calls = restored({READ: {"remembered": FIRST}}, one_time_daemon=True)
    names = list(calls)
    assert (status, names[-7:-1]) == (
        0,
        [
            READ,
            "Download the packages of the time daemons",
            "Record the time daemons to restore",
            PUT_BACK,
            INSTALL,
            "Restore the state of the time daemons",
        ],
    )
    assert calls["Download the packages of the time daemons"]["argv"][-2:] == ["install", "systemd-timesyncd"]
    assert calls[names[-1]] == {"path": "/var/lib/securetime-nts-restore.json", "state": "absent"}


def test_without_a_mirror_chronyd_is_not_stopped(restored: Callable[..., Any]) -> None:
    answers = {READ: {"remembered": FIRST}, "Download the packages of the time daemons": {"failed": True}}
    status, calls = restored(answers, one_time_daemon=True)
    assert (status, PUT_BACK in calls) == (2, False)


def test_a_failed_installation_leaves_chronyd_running_and_the_record(restored: Callable[..., Any]) -> None:
    answers = {READ: {"remembered": FIRST}, INSTALL: {"failed": True, "msg": "no space"}}
    status, calls = restored(answers, one_time_daemon=True)
    assert (status, list(calls)[-1]) == (2, "Start chronyd, so that the host has a time daemon")
    assert "Remove the record" not in calls


def test_the_next_run_brings_back_what_the_record_says(restored: Callable[..., Any]) -> None:
    status, calls = restored({**UNFINISHED, READ: {"remembered": {}}}, one_time_daemon=True)
    assert (status, calls[INSTALL]["name"]) == (0, ["systemd-timesyncd"])
    assert calls["Restore the state of the time daemons"]["name"] == "systemd-timesyncd.service"


@pytest.mark.parametrize(
    ("first", "platform"),
    [(FIRST, {}), ({**FIRST, "installed": True}, {"one_time_daemon": True}), ({}, {"one_time_daemon": True})],
)
def test_nothing_is_installed_where_chrony_has_replaced_nothing(
    first: dict[str, Any], platform: dict[str, Any], restored: Callable[..., Any]
) -> None:
    status, calls = restored({READ: {"remembered": first}}, **platform)
    assert (status, [name for name in calls if "time daemons" in name or "Record" in name]) == (0, [])
