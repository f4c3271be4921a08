# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare facts that several files of the tree repeat.

Long: each test compares one pair of files, and all tests share a few helpers.
"""

import ast
import itertools
import json
import re
import runpy
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment
from packaging.specifiers import SpecifierSet

from ansible_collections.securetime.nts.plugins.module_utils._monitor.nagios import THRESHOLDS
from ansible_collections.securetime.nts.plugins.module_utils._state.server_files import (
    CERTBOT_HOOK,
    PROGRAM,
    SERVICE,
    TIMER,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import (
    DIRECTIVES,
    SOURCE,
    Word,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import OTHER_NAMES
from ansible_collections.securetime.nts.plugins.plugin_utils._plan import prepares
from ansible_collections.securetime.nts.plugins.plugin_utils._variables import OWN_FORMS, VARIABLES

ROOT = Path(__file__).parents[1]
ROLES = sorted(path.parents[1] for path in ROOT.glob("roles/*/tasks/main.yml"))
# IDs in os-release(5) of the platforms of meta/main.yml.
IDENTIFIERS = {"Debian": "debian", "Ubuntu": "ubuntu", "EL": "rhel", "Fedora": "fedora"}
FAMILIES = {"Debian": "Debian", "Ubuntu": "Debian", "EL": "RedHat", "Fedora": "RedHat"}
RELEASES = {"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "jammy": "22.04", "noble": "24.04"}
SETTERS = {"ansible.builtin.set_fact", "set_fact", "vars"}
NAMERS = {"register", "loop_var", "index_var"}
PLUGINS = "ansible_collections.securetime.nts.plugins"
# Python files below plugins/; ansible-test requires an empty __init__.py.
PLUGIN_FILES = sorted(path for path in ROOT.glob("plugins/**/*.py") if path.name != "__init__.py")
# Folders of plugins/ from which each folder may import; all others import from plugin_utils alone.
BELOW = {
    "module_utils": {"module_utils"},
    # The controller checks a CSR with the code that the host made it with.
    "plugin_utils": {"plugin_utils", "module_utils"},
    "modules": {"module_utils"},
}
# The packages of plugins/module_utils, lowest layer first.
LAYERS = ["_x509", "_nts", "_state", "_change", "_firewall", "_packages", "_pair", "_monitor"]
SYMPTOMS = (ROOT / "docs/troubleshooting.md").read_text()

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


TASKS = Path("roles/chrony_nts/tasks")


def load(path: Path) -> dict:
    """Return the content of a YAML file of the collection; an empty file gives an empty dictionary."""
    return yaml.safe_load((ROOT / path).read_text()) or {}


def options(role: Path, entry_point: str = "main") -> dict:
    """Return the documented inputs of a role."""
    return load(role / "meta/argument_specs.yml")["argument_specs"][entry_point]["options"]


def comparable(values: dict) -> dict:
    """Return values in a form in which true, 1 and 1.0 differ."""
    return {name: json.dumps(value, sort_keys=True) for name, value in values.items()}


def names_set(node: object) -> Iterator[str]:
    """Yield every variable name that tasks set."""
    if isinstance(node, list):
        for item in node:
            yield from names_set(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in SETTERS and isinstance(value, dict):
                yield from value
            elif key in NAMERS:
                yield value
            else:
                yield from names_set(value)


def table(word: Word) -> dict[str, object]:
    """Return the names of the parts of a table that an operator may set, in order, each with its own parts."""
    return {part.name: table(part) for part in word.parts if not part.instead}


def described(texts: dict) -> dict[str, object]:
    """Return the names in docs/directives.yml in the same form as table()."""
    return {name: described(text["parts"]) if isinstance(text, dict) else {} for name, text in texts.items()}


def version(text: str) -> tuple[int, ...]:
    """Return a release, by number or by code name, in a comparable form."""
    return tuple(int(number) for number in RELEASES.get(text, text).split("."))


def is_a_test(reference: str) -> bool:
    """Return whether FILE::FUNCTION or FILE::FUNCTION[CASE] exists, with the case as a separate word."""
    name, _colons, test = reference.partition("::")
    path = ROOT / name
    function, _bracket, case = test.removesuffix("]").partition("[")
    if not path.is_file() or function not in {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}:
        return False
    # Tests with many cases keep them in a folder with the test's name.
    files = [path, *path.parent.glob(f"{path.stem.removeprefix('test_')}/*.yml")]
    word = re.compile(rf'"{re.escape(case)}"|^ *{re.escape(case)}:', re.MULTILINE)
    return not case or any(word.search(file.read_text()) for file in files)


@each_role
def test_every_default_is_documented(role: Path) -> None:
    documented = {
        name: spec.get("default", "(none)") for name, spec in options(role).items() if not spec.get("required")
    }
    assert comparable(documented) == comparable(load(role / "defaults/main.yml"))


@pytest.mark.parametrize(("word", "name"), [(DIRECTIVES, "directives"), (SOURCE, "sources")])
def test_every_name_of_chrony_conf_is_described(word: Word, name: str) -> None:
    assert described(load(Path("docs/directives.yml"))[name]) == table(word)


def test_the_page_of_platforms_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs/platforms.py"))["page"]()
    assert page == (ROOT / "docs/platforms.md").read_text(), "run: make platforms"


def test_the_page_of_directives_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs/directives.py"))["page"]()
    assert page == (ROOT / "docs/directives.md").read_text(), "run: make directives"


def test_the_reference_of_metrics_is_up_to_date() -> None:
    metrics = runpy.run_path(str(ROOT / "docs/metrics.py"))
    page = (ROOT / "docs/monitoring.md").read_text()
    assert metrics["page"]() == page, "run: make metrics"
    assert [metric.name for metric in metrics["METRICS"] if page.count(f"| `{metric.name}`") != 1] == []


def test_the_page_of_the_monitor_names_its_variables_and_thresholds() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    for name, value in load(Path("roles/chrony_monitor/defaults/main.yml")).items():
        shown = json.dumps(value) if not isinstance(value, str) else value
        assert f"| `{name}` | `{shown}` |" in page, name
    for name, (warning, critical) in THRESHOLDS.items():
        assert f"| `{name}` | {warning:g}, {critical:g} |" in page, name


def test_the_documentation_of_a_variable_names_its_range_and_its_choices() -> None:
    documented = options(ROOT / "roles/chrony_nts")
    for word in VARIABLES.parts:
        text = json.dumps(documented[word.name]["description"])
        assert word.kind != "integer" or f"{word.low} to {word.high}" in text, word.name
        assert [name for name in word.choices if f"V({name})" not in text] == [], word.name


def test_no_wrong_value_makes_ansible_print_the_whole_specification() -> None:
    for entry_point, spec in load(Path("roles/chrony_nts/meta/argument_specs.yml"))["argument_specs"].items():
        for name, option in spec["options"].items():
            assert option["type"] in ("raw", "str"), (entry_point, name)
            assert not {"choices", "elements", "options"} & set(option), (entry_point, name)


@each_role
def test_every_entry_point_that_a_playbook_uses_is_documented(role: Path) -> None:
    documented = set(load(role / "meta/argument_specs.yml")["argument_specs"])
    texts = [path.read_text() for path in [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("extensions/**/*.yml")]]
    used = {found for text in texts for found in re.findall(r"tasks_from: (\w+)(?!.*\{)", text)}
    used |= {f"rotate_{step}" for step in ("prepare", "switch", "finish")}
    assert used <= {name for each in ROLES for name in load(each / "meta/argument_specs.yml")["argument_specs"]}
    assert {name for name in documented if not (role / f"tasks/{name}.yml").exists()} == set()


def test_playbooks_read_documented_names_alone() -> None:
    paths = [path for path in ROOT.glob("playbooks/**/*") if path.is_file()]
    private = {(path.name, name) for path in paths for name in re.findall(r"__chrony_nts_\w+", path.read_text())}
    assert private == set()


def test_the_plan_is_given_every_input() -> None:
    role = ROOT / "roles/chrony_nts"
    assert load(role / "vars/main/main.yml")["__chrony_nts_input_names"] == list(options(role))


def test_rules_and_plan_read_existing_inputs() -> None:
    inputs = {name.removeprefix("chrony_nts_") for name in options(ROOT / "roles/chrony_nts")}
    for name in ("_inputs", "_plan", "_rules"):
        text = (ROOT / f"plugins/plugin_utils/{name}.py").read_text()
        read = {word for pair in re.findall(r'(?:inputs|self)\["(\w+)"\]|is_true\("(\w+)"\)', text) for word in pair}
        assert read - {"", "acme_dns_tasks_exist"} <= inputs, name
    assert {f"chrony_nts_{name}" for name in inputs} == {*OWN_FORMS, *(word.name for word in VARIABLES.parts)}


def test_the_documentation_names_the_variables_of_playbooks_and_results() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("playbooks/*.yml")]
    texts = " ".join(path.read_text() for path in documents)
    texts += (ROOT / "roles/chrony_nts/meta/argument_specs.yml").read_text()
    assert [name for name in OTHER_NAMES if f"chrony_nts_{name}" not in texts] == []


@each_role
def test_names_distinguish_inputs_from_internals(role: Path) -> None:
    inputs = {*load(role / "defaults/main.yml"), *options(role)}
    internals = {name for path in role.glob("vars/**/*.yml") for name in load(path)}
    assert [name for name in inputs if not name.startswith(f"{role.name}_")] == []
    assert [name for name in internals if not name.startswith(f"__{role.name}_")] == []


@each_role
def test_no_task_overrides_an_input(role: Path) -> None:
    files = [*role.glob("tasks/**/*.yml"), *role.glob("handlers/**/*.yml")]
    overridden = {(path.name, name) for path in files for name in names_set(load(path)) if name in options(role)}
    assert overridden == set()


def test_the_oldest_platforms_are_the_ones_the_role_accepts() -> None:
    platforms = load(Path("roles/chrony_nts/vars/main/platforms.yml"))["__chrony_nts_platforms"]
    minimum = {name: found for row in platforms.values() for name, found in row.get("minimum", {}).items()}
    for platform in load(Path("roles/chrony_nts/meta/main.yml"))["galaxy_info"]["platforms"]:
        identifier = IDENTIFIERS[platform["name"]]
        # All supported releases of Fedora have it.
        if identifier in minimum:
            assert min(map(version, platform["versions"])) == version(minimum[identifier]), platform["name"]
    assert {IDENTIFIERS[name] for name in FAMILIES} - {"fedora"} <= set(minimum)


def test_platforms_have_test_hosts_and_test_hosts_are_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests/lab"))
    lab = runpy.run_path(str(ROOT / "tests/lab/lab.py"))
    platforms = [p for role in ROLES for p in load(role / "meta/main.yml")["galaxy_info"]["platforms"]]
    families = {"Debian" if image in lab["SUITES"] else {"el-standin": "RedHat"}[image] for image in lab["DEFAULT"]}
    assert {FAMILIES[platform["name"]] for platform in platforms} == families
    assert set(lab["SUITES"].values()) <= {suite for p in platforms if p["name"] == "Debian" for suite in p["versions"]}


def test_every_scenario_and_every_folder_of_tests_has_a_stage() -> None:
    stages = runpy.run_path(str(ROOT / "tests/stages/run.py"))["STAGES"]
    commands = [stage.command for stage in stages.values()]
    scenarios = {path.parent.name for path in ROOT.glob("extensions/molecule/*/molecule.yml")}
    run = {command.split()[1] for command in commands if command.startswith("tests/stages/molecule.sh")}
    assert run == scenarios - {"vm"}
    parts = {path.parent.name for path in ROOT.glob("extensions/molecule/vm/*/test_*.py")}
    assert {command.split()[1] for command in commands if command.startswith("tests/stages/vm.sh")} == parts
    verified = {
        f"{path.parent.name}/{step.split()[1]}"
        for path in ROOT.glob("extensions/molecule/*/molecule.yml")
        for step in load(path)["scenario"]["test_sequence"]
        if step.startswith("verify ")
    }
    folders = {"/".join(path.parts[-3:-1]) for path in ROOT.glob("extensions/molecule/*/*/test_*.py")}
    assert verified == folders


def test_contributing_names_every_suite_and_every_stage_that_only_a_full_test_runs() -> None:
    stages = runpy.run_path(str(ROOT / "tests/stages/run.py"))["STAGES"]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    only_full = {name for name, stage in stages.items() if stage.suite == "test-full" and "images" not in name}
    assert {name for name in only_full if f"`{name}`" not in text} == set()
    assert [suite for suite in ("check", "test", "test-full") if f"`make {suite}`" not in text] == []


def test_every_pinned_package_runs_on_the_python_of_debian_12() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    needed = {line: metadata.metadata(line.partition("==")[0]).get("Requires-Python") for line in lines if "==" in line}
    assert needed
    assert {line for line, versions in needed.items() if "3.11.2" not in SpecifierSet(versions or "")} == set()


def test_ansible_versions_agree() -> None:
    required = load(Path("meta/runtime.yml"))["requires_ansible"]
    lowest = re.fullmatch(r">=(\d+\.\d+)\.0", required)[1]
    assert {load(role / "meta/main.yml")["galaxy_info"]["min_ansible_version"] for role in ROLES} == {lowest}
    texts = {path.name: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
    claims = {name: set(re.findall(r"ansible-core (\d+\.\d+) or newer", text)) for name, text in texts.items()}
    assert claims.pop("README.md") == claims.pop("quick_start.md") == {lowest}
    assert {name: found for name, found in claims.items() if found - {lowest}} == {}


def test_the_readme_claims_every_ansible_core_that_has_passed_and_no_other() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    table = page.partition("<!-- cores -->")[2].partition("<!-- end of cores -->")[0]
    versions = re.findall(r"^\| (\d\S+) \|", table, re.MULTILINE)
    released = [".".join(name.split(".")[:2]) for name in versions if re.fullmatch(r"[\d.]+", name)]
    minors = [int(name.split(".")[1]) for name in released]
    if len(minors) > 1 and minors == list(range(minors[0], minors[-1] + 1)):
        released = [f"{released[0]} to {released[-1]}"]
    candidates = [".".join(name.split(".")[:2]) for name in versions if not re.fullmatch(r"[\d.]+", name)]
    parts = [f"ansible-core {', '.join(released)}"] if released else []
    claim = " and ".join([*parts, *(f"the candidate of ansible-core {name}" for name in candidates)])
    assert f"[{claim}](docs/reliability.md#by-every-ansible-core)" in (ROOT / "README.md").read_text(), claim


def test_the_changelog_has_an_entry_for_this_version_and_for_every_fragment() -> None:
    releases = load(Path("changelogs/changelog.yaml"))["releases"]
    assert load(Path("galaxy.yml"))["version"] in releases
    released = {fragment for release in releases.values() for fragment in release.get("fragments", [])}
    assert {path.name for path in ROOT.glob("changelogs/fragments/*.yml")} <= released, "run: make changelog"


def test_the_changelog_names_every_module_and_role() -> None:
    releases = load(Path("changelogs/changelog.yaml"))["releases"].values()
    modules = {module["name"] for release in releases for module in release.get("modules", [])}
    roles = {role["name"] for release in releases for role in release.get("objects", {}).get("role", [])}
    assert modules == {path.stem for path in ROOT.glob("plugins/modules/*.py")}, "run: make changelog"
    assert roles == {role.name for role in ROLES}, "run: make changelog"


def test_no_host_receives_the_documentation_of_a_module() -> None:
    """A controller-side module consists of documentation alone; its action plugin runs instead."""
    for path in ROOT.glob("plugins/modules/*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.with_suffix(".yml").exists() == ("def main" in text) == ("DOCUMENTATION" not in text), path.name


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.name)
def test_plugins_name_their_licence(path: Path) -> None:
    assert "\n# SPDX-License-Identifier: GPL-3.0-or-later\n" in f"\n{path.read_text()}"


def imports(path: Path, names: Iterable[str]) -> set[str]:
    """Return the dotted names of the files below plugins/ that a file imports; `names` are those of all files."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PLUGINS):
            module = node.module.removeprefix(PLUGINS).strip(".")
            # In `from package import module`, the alias names the file.
            members = {f"{module}.{alias.name}" for alias in node.names}
            found |= {module} if module in names else members
    return found


def may_import(importer: str, imported: str) -> bool:
    """Return whether the importer's layer is that of the imported file or higher; names are dotted, below plugins/."""
    folder, package = importer.split(".")[:2]
    other_folder, other_package = imported.split(".")[:2]
    if folder == other_folder == "module_utils":
        return LAYERS.index(other_package) <= LAYERS.index(package)
    return other_folder in BELOW.get(folder, {"plugin_utils"})


def test_no_plugin_imports_upwards_or_in_a_circle() -> None:
    paths = {".".join(path.relative_to(ROOT / "plugins").with_suffix("").parts): path for path in PLUGIN_FILES}
    graph = {name: imports(path, paths) for name, path in paths.items()}
    assert set().union(*graph.values()) <= set(paths)
    assert {name.split(".")[1] for name in paths if name.startswith("module_utils.")} == set(LAYERS)
    assert [(a, b) for a, imported in graph.items() for b in imported if not may_import(a, b)] == []
    while leaves := {name for name, imported in graph.items() if not imported & set(graph)}:
        graph = {name: imported for name, imported in graph.items() if name not in leaves}
    assert graph == {}, "these import each other"


def test_every_private_variable_is_defined_and_used() -> None:
    texts = [path.read_text() for path in ROOT.glob("roles/chrony_nts/**/*") if path.suffix in (".yml", ".j2")]
    text = "\n".join(texts)
    used = re.findall(r"__chrony_nts_[a-z_0-9]+", text)
    defined = set(re.findall(r"(?:^ *|register: |loop_var: )(__chrony_nts_[a-z_0-9]+)(?=:|$)", text, re.MULTILINE))
    assert set(used) - defined == set()
    assert sorted(name for name in defined if used.count(name) < 2) == []


def test_nothing_is_imported_into_a_file_whose_name_depends_on_the_host() -> None:
    """ansible-core 2.16 to 2.18 cannot do this, and fail only when they reach the task."""
    files = {path: list(every_task(load(path))) for path in (ROOT / "roles").glob("*/tasks/**/*.yml")}
    included = set()
    for path, tasks in files.items():
        for task in tasks:
            given = task.get("ansible.builtin.include_tasks", "")
            name = given["file"] if isinstance(given, dict) else given
            if "{{" in name:
                names = re.findall(r"'([\w/]+\.yml)'", name) or [re.sub(r"\{\{.*?\}\}", "*", name)]
                root = next(parent for parent in path.parents if parent.name == "tasks")
                # A path from a variable is the operator's file.
                included |= {found for each in names if each != "*" for found in root.glob(each)}
    assert {path.name for path in included} >= {"server.yml", "certificate.yml", "ownca.yml"}
    importing = [
        path.name
        for path in included
        if any(key.rpartition(".")[2].startswith("import_") for task in files[path] for key in task)
    ]
    assert importing == []


def test_a_task_on_the_controller_takes_nothing_from_the_host() -> None:
    """A host's variables override keywords: its become, its connection and its interpreter."""
    needed = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_become": False,
    }
    delegated = [
        (path.name, task)
        for path in ROOT.glob("roles/*/tasks/**/*.yml")
        for task in every_task(yaml.safe_load(path.read_text()))
        if task.get("delegate_to") == "localhost"
    ]
    assert len(delegated) >= 9
    found = [(name, task["name"]) for name, task in delegated if not needed.items() <= task.get("vars", {}).items()]
    assert found == []


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yml")), ids=lambda path: path.stem)
def test_no_task_has_the_tags_of_two_phases(path: Path) -> None:
    """Ansible skips a task for any one of its tags (--skip-tags)."""
    tags = {task["name"]: task.get("tags", []) for task in every_task(load(path))}
    assert {name: found for name, found in tags.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("plan", "installs"),
    [
        ({"installs": False, "masked_at_runtime": False, "clock": {"step_seconds": 0}}, False),
        ({"installs": True, "masked_at_runtime": False, "clock": {"step_seconds": 0}}, True),
        # The connection broke while apt ran: all packages are installed, and that run's mask is left.
        ({"installs": False, "masked_at_runtime": True, "clock": {"step_seconds": 0}}, True),
        ({"installs": False, "masked_at_runtime": False, "clock": {"step_seconds": -86400}}, True),
    ],
)
def test_the_mask_of_an_interrupted_run_and_a_wrong_clock_are_repaired(plan: dict[str, Any], installs: bool) -> None:
    (install,) = [task for task in every_task(load(TASKS / "prepare.yml")) if task["name"].startswith("Install | ")]
    step, unmask = [task for task in load(TASKS / "install.yml") if "ansible.builtin.command" in task]
    assert step["ansible.builtin.command"]["argv"][0] == "date"
    # Certificates need the right clock, also when a run selects only their tag.
    assert (install["tags"], step["tags"]) == (["always"], ["always"])
    assert install["ansible.builtin.include_tasks"] == "install.yml"
    assert unmask["ansible.builtin.command"]["argv"][:3] == ["systemctl", "unmask", "--runtime"]
    stepped = plan["clock"]["step_seconds"] != 0
    for task, expected in ((install, installs), (unmask, plan["masked_at_runtime"]), (step, stepped)):
        assert Environment().compile_expression(task["when"])(__chrony_nts_plan=plan) is expected


def test_what_prepares_a_host_is_included_exactly_where_a_part_of_it_runs() -> None:
    (include,) = [task for task in every_task(load(TASKS / "change.yml")) if task["name"].startswith("Prepare | ")]
    assert include["when"] == "__chrony_nts_plan.prepares"
    parts = [task["when"] for task in every_task(load(TASKS / "prepare.yml")) if "when" in task]
    assert len(parts) == 2
    conditions = [Environment().compile_expression(text) for text in parts]
    for installs, masked, seconds, pairs, firewall in itertools.product(
        (False, True), (False, True), (0, 86400), ([], [{}]), ("", "absent")
    ):
        plan = {"installs": installs, "masked_at_runtime": masked, "clock": {"step_seconds": seconds}}
        plan |= {"pairs": pairs, "firewall": {"state": firewall}}
        assert prepares(plan) is any(part(__chrony_nts_plan=plan) for part in conditions), plan


def restoration() -> list[dict[str, Any]]:
    """Return the tasks of the restoration in order, including those in blocks."""
    return list(every_task(yaml.safe_load((ROOT / "roles/chrony_nts/tasks/restore.yml").read_text())))


def test_a_restoration_stops_the_renewal_before_it_changes_anything() -> None:
    """A renewal in progress would restart a chronyd that the restoration has stopped."""
    names = [task["name"] for task in restoration()]
    stop = restoration()[names.index("Restore | Stop the renewal, which rolls back a change in progress")]
    assert stop["loop"] == ["nts-certificate.timer", "nts-certificate.service"]
    assert stop["ansible.builtin.systemd_service"]["state"] == "stopped"
    changing = [name for name in names if "Remove" in name or "every file" in name]
    assert names.index(stop["name"]) < min(map(names.index, changing))


def test_the_restoration_removes_the_renewal_that_nts_certificate_installs() -> None:
    removal = next(task for task in restoration() if task["name"] == "Restore | Remove the renewal")
    hook = load(Path("roles/chrony_nts/vars/main/main.yml"))["__chrony_nts_certbot_hook"]
    removed = {hook if "certbot_hook" in path else path for path in removal["loop"]}
    assert removed == {PROGRAM, SERVICE, TIMER, CERTBOT_HOOK}


def test_each_power_cut_waits_for_a_task_of_the_role() -> None:
    """A run ends before its power cut if no task has the name."""
    text = (ROOT / "extensions/molecule/vm/power/test_power.py").read_text()
    moments = re.findall(
        r'^    \("(.+)", \d+\),$', text.partition("\nMOMENTS = [\n")[2].partition("\n]\n")[0], re.MULTILINE
    )
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / TASKS).rglob("*.yml")]
    names = [task["name"] for tasks in files for task in every_task(tasks) if not task.keys() & {"block"}]
    assert moments
    assert [moment for moment in moments if not any(moment in name for name in names)] == []


def every_task(tasks: Iterable[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a file and of its blocks, including the blocks."""
    for task in tasks or ():
        yield task
        for part in ("block", "rescue", "always"):
            yield from every_task(task.get(part))


def test_one_variable_turns_the_monitor_on_for_every_host() -> None:
    (play,) = [play for play in load(Path("playbooks/site.yml")) if play["name"] == "Monitor every host"]
    environment = Environment()
    environment.filters["bool"] = lambda value: value in (True, "true")
    hosts = environment.compile_expression(play["hosts"].strip().removeprefix("{{").removesuffix("}}"))
    assert hosts() == hosts(chrony_nts_site_monitor="false") == []
    assert hosts(chrony_nts_site_monitor="true") == "nts_servers:nts_clients"
    assert hosts(chrony_nts_site_monitor=True, chrony_nts_site_clients="web") == "nts_servers:web"
    # With the validation of its variables, that makes 2 tasks; the limit is 3.
    assert len(list(every_task(load(Path("roles/chrony_monitor/tasks/main.yml"))))) == 1


def test_symptoms_name_existing_tests() -> None:
    sections = re.split(r"^#{2,3} ", SYMPTOMS, flags=re.MULTILINE)[1:]
    symptoms = {section.partition("\n")[0]: section for section in sections if "**You see**" in section}
    assert len(symptoms) >= 28
    lines = {
        title: re.findall(r"^Reproduced by:\s((?:.+\n)+)\n*\Z", section, re.MULTILINE)
        for title, section in symptoms.items()
    }
    references = {title: re.findall(r"`([^`]+)`", " ".join(line[0].split())) for title, line in lines.items() if line}
    assert len(references) == SYMPTOMS.count("Reproduced by")
    assert [title for title, found in references.items() if not found] == []
    assert [reference for found in references.values() for reference in found if not is_a_test(reference)] == []
    assert len(references) >= 18


def test_the_page_of_baselines_names_every_tested_control() -> None:
    tried = runpy.run_path(str(ROOT / "extensions/molecule/trust/options/test_audits.py"))["AUDITS"]
    page = (ROOT / "docs/coexistence.md").read_text()
    rows = {row.split(" | ")[0] for row in re.findall(r"^\| (.*) \|$", page.partition("## What the")[0], re.MULTILINE)}
    assert {audit.control for audit in tried} == rows - {"Control", "Service", "Keys"}
    shown = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    assert set(shown) == {"chrony_nts_layout", "chrony_nts_sources", "chrony_nts_directives"}


def rows_of_tables(page: str) -> list[dict[str, str]]:
    """Return the rows of a page's tables as dictionaries by heading; `\\|` does not end a cell."""
    found: list[dict[str, str]] = []
    titles: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] if line.startswith("|") else []
        if cells and titles and not set(line) <= set("|- "):
            assert len(cells) == len(titles), line
            found.append(dict(zip(titles, cells, strict=True)))
        titles = titles or cells if cells else []
    return found


def test_every_row_of_the_tutorial_names_an_existing_variable_and_test() -> None:
    rows = [row for row in rows_of_tables((ROOT / "docs/tutorial.md").read_text()) if "test" in row]
    assert len(rows) >= 40
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("extensions/**/test_*.py")]
    tests = {name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    inputs = {name for role in ROLES for name in options(role)}
    for row in rows:
        assert all(row.values()), row
        assert {*re.findall(r"`(\w+)`", row["test"])} <= tests, row
        assert row["test"].startswith("`"), row
        named = {*re.findall(r"`(\w+)`", row["variable"])}
        assert named <= inputs, row
        assert named or row["variable"] in ("—", "no counterpart"), row


def test_the_threat_model_names_existing_tests() -> None:
    references = re.findall(r"`([^`]+\.py::[^`]+)`", (ROOT / "SECURITY.md").read_text())
    assert len(references) >= 12
    assert [reference for reference in references if not is_a_test(reference)] == []


def test_every_symptom_is_in_the_table_of_contents() -> None:
    contents = re.sub(r"\n  +", " ", SYMPTOMS.split("\n## ", 1)[0])
    listed = re.findall(r"^[-*]+ ?\[(.+)\]\(#(.+)\)(?:\*\*)?$", contents, re.MULTILINE)
    headings = re.findall(r"^#{2,3} (.+)$", SYMPTOMS, re.MULTILINE)
    assert listed == [(title, re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")) for title in headings]


# Longer code carries its reason, behind this mark: a file in its docstring, a function in a comment.
LONGEST_FILE_LINES, LONGEST_FUNCTION_LINES, REASON = 400, 40, "Long: "


def long_code(path: Path) -> list[str]:
    """Return the file and the functions of a Python file that are too long and carry no reason."""
    text = path.read_text()
    lines = text.splitlines()
    tree = ast.parse(text)
    name = path.relative_to(ROOT)
    found = []
    if len(lines) > LONGEST_FILE_LINES and f"\n{REASON}" not in (ast.get_docstring(tree) or ""):
        found.append(f"{name} has {len(lines)} lines")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            code = lines[node.lineno - 1 : node.end_lineno]
            if len(code) > LONGEST_FUNCTION_LINES and not any(line.strip().startswith(f"# {REASON}") for line in code):
                found.append(f"{name}: {node.name} has {len(code)} lines")
    return found


def test_long_code_carries_its_reason() -> None:
    paths = [
        path
        for folder in ("plugins", "tests", "extensions", "monitoring", "docs")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert [item for path in paths for item in long_code(path)] == []


def test_each_mutation_finds_its_text_once() -> None:
    mutations = runpy.run_path(str(ROOT / "tests/mutate.py"))["MUTATIONS"]
    counts = {name: (ROOT / each.file).read_text().count(each.old) for name, each in mutations.items()}
    assert {name: count for name, count in counts.items() if count != 1} == {}
