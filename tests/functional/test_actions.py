# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugins in plays of ansible-playbook, on the controller alone: what they read and write there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509 import request
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils.plan_input import DEFAULTS, PLATFORMS, SERVER

CALLBACKS = Path(__file__).parents[1] / "bench" / "callback"
PAIR = {
    "id": "server",
    "names": ["nts1.example.org"],
    "key_type": "ECDSA P-256",
    "requests": "leaf",
    "signs_itself": False,
    "new_key": False,
    "lifetime_days": 365,
}

# Import an action plugin as Ansible does before it forks, and run a template as a fork does. Print the template's
# result, and the plugins that were loaded for it.
FORKED = """
import sys
from ansible import template
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import action_loader, init_plugin_loader
init_plugin_loader()
action_loader.get("securetime.nts.chrony_nts_plan", class_only=True)
before = set(sys.modules)
trust = getattr(template, "trust_as_template", str)
text = trust("{{ '1' | bool and x is defined and lookup('ansible.builtin.vars', 'x') }}")
print(template.Templar(DataLoader(), variables={"x": True}).template(text), end=" ")
# Without the packages, which are empty.
print([name for name in set(sys.modules) - before if "." in name.partition(".plugins.")[2]])
"""


def play(folder: Path, *arguments: str, tasks: list[dict[str, Any]] | None = None) -> tuple[int, str]:
    """Run tasks or a playbook on the controller; return the exit status and the output."""
    inventory = folder / "inventory.yml"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(
        json.dumps({"all": {"hosts": {"here": local}, "children": {"nts_clients": {"hosts": {"here": {}}}}}})
    )
    if tasks is not None:
        (folder / "play.yml").write_text(json.dumps([{"hosts": "here", "gather_facts": False, "tasks": tasks}]))
        arguments = (str(folder / "play.yml"), *arguments)
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_LOCALHOST_WARNING": "false"},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def plan_task(**variables: Any) -> dict[str, Any]:
    """Return a task that plans a host with the defaults of the role and these variables."""
    given = {"variables": {**DEFAULTS, **variables}, "platforms": PLATFORMS}
    return {"securetime.nts.chrony_nts_plan": given}


def test_a_host_is_planned_from_its_facts(tmp_path: Path) -> None:
    variables = {**SERVER, "chrony_nts_ca_dir": str(tmp_path / "ca")}
    status, output = play(tmp_path, tasks=[plan_task(**variables)])
    if os.path.isdir("/run/systemd/system"):
        assert status == 0, output
    else:
        assert (status, "without systemd is not supported" in output) == (2, True), output


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"chrony_nts_sources": []}, "chrony_nts_sources"),
        ({"chrony_nts_server_enabled": True}, "chrony_nts_server_allow is empty"),
    ],
)
def test_a_mistake_ends_the_plan(tmp_path: Path, variables: dict[str, Any], message: str) -> None:
    status, output = play(tmp_path, tasks=[plan_task(**variables)])
    assert (status, message in output) == (2, True), output


def test_an_omitted_variable_is_named(tmp_path: Path) -> None:
    status, output = play(tmp_path, tasks=[plan_task(chrony_nts_acme_email="{{ nothing | default(omit) }}")])
    assert (status, "chrony_nts_acme_email is set to omit" in output) == (2, True), output


def test_a_misspelled_variable_is_named(tmp_path: Path) -> None:
    status, output = play(tmp_path, "-e", "chrony_nts_souces=x", tasks=[plan_task()])
    assert (status, "chrony_nts_souces is not a variable of this role" in output) == (2, True), output


def test_the_request_of_a_pair_is_checked_on_the_controller(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    pair = {**PAIR, "staging": str(staging), "chain": str(staging / "chain.pem")}
    made = {"securetime.nts.nts_pair": {"pairs": [pair], "state_dir": str(tmp_path / "state")}, "register": "made"}
    shown = {"ansible.builtin.copy": {"content": "{{ made.pairs[0].csr }}", "dest": str(tmp_path / "csr.pem")}}
    none = {"securetime.nts.nts_pair": {"pairs": [{**pair, "requests": ""}], "state_dir": str(tmp_path / "state")}}
    status, output = play(tmp_path, tasks=[made, shown, none])
    assert status == 0, output
    names = request.load_csr((tmp_path / "csr.pem").read_text()).extensions
    assert "nts1.example.org" in str(names.get_extension_for_oid(request.x509.SubjectAlternativeName.oid).value)


def test_a_pair_that_cannot_be_prepared_ends_the_play(tmp_path: Path) -> None:
    pair = {**PAIR, "staging": "/proc/none", "chain": "/proc/none/chain.pem"}
    status, output = play(
        tmp_path, tasks=[{"securetime.nts.nts_pair": {"pairs": [pair], "state_dir": str(tmp_path / "state")}}]
    )
    assert (status, "/proc/none" in output) == (2, True), output


def test_the_report_names_a_host_without_chrony(tmp_path: Path) -> None:
    written = ("securetime.nts.report", "-e", f"chrony_nts_report_dir={tmp_path / 'report'}")
    status, output = play(tmp_path, *written, "--check")
    assert (status, (tmp_path / "report").exists()) == (0, False), output
    status, output = play(tmp_path, *written)
    assert status == 0, output
    assert "0 of 1 clocks follow authenticated time." in output
    assert json.loads((tmp_path / "report" / "report.json").read_text())["hosts"][0]["name"] == "here"
    status, output = play(tmp_path, *written, "-e", f"chrony_nts_report_earlier={tmp_path / 'inventory.yml'}")
    assert (status, "Name the report.json of an earlier run." in output) == (2, True), output


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    status, output = play(tmp_path, "securetime.nts.report", "-e", "chrony_nts_report_dir=/proc/none")
    assert (status, "Name a folder that this user may write to." in output) == (2, True), output


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, []),
        # The result of a whole loop has them as they were written.
        ({"loop": [1, 2]}, ["pairs"]),
        # Ansible takes them again for each try, and the second try succeeds.
        ({"register": "made", "until": "made.attempts == 2", "retries": 2, "delay": 0}, ["pairs"]),
        ({"securetime.nts.nts_pair": {"pairs": "wrong"}, "ignore_errors": True}, []),
    ],
)
def test_parameters_do_not_come_back_with_a_result_unless_they_are_needed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], expected: list[str]
) -> None:
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(CALLBACKS))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "record")
    monkeypatch.setenv("RECORD", str(tmp_path / "record.json"))
    status, output = play(tmp_path, tasks=[{"securetime.nts.nts_pair": {"pairs": []}, **more}])
    assert status == 0, output
    recorded = json.loads((tmp_path / "record.json").read_text())
    assert list(recorded["arguments"]["securetime.nts.nts_pair"]) == expected


def test_the_inputs_of_the_role_do_not_come_back_with_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(CALLBACKS))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "record")
    monkeypatch.setenv("RECORD", str(tmp_path / "record.json"))
    given = {"variables": {**DEFAULTS, "chrony_nts_ca_passphrase": "SECRET"}, "plan": {}}
    status, output = play(tmp_path, tasks=[{"securetime.nts.chrony_nts_apply": given}])
    assert (status, "SECRET" in output) == (2, False), output
    assert "SECRET" not in (tmp_path / "record.json").read_text()


def test_the_forks_of_ansible_load_no_filters() -> None:
    """Ansible imports an action plugin, and then forks a process for each host."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n", done.stdout
