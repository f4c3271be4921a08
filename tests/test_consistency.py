# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fact that has to stand in two places stands there alike."""

import ast
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import (
    DIRECTIVES,
    INT_MAX,
    OLDEST,
    SOURCE,
    Word,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._rules import RANGES

ROOT = Path(__file__).parents[1]
ROLES = sorted(path.parents[1] for path in ROOT.glob("roles/*/tasks/main.yml"))
FAMILIES = {"Debian": "Debian", "Ubuntu": "Debian", "EL": "RedHat", "Fedora": "RedHat"}
RELEASES = {"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "jammy": "22.04", "noble": "24.04"}
SETTERS = {"ansible.builtin.set_fact", "set_fact", "vars"}
NAMERS = {"register", "loop_var", "index_var"}
# How argument_specs calls the kinds of values in chrony.conf, where it is not str.
TYPES = {"flag": "bool", "integer": "int", "number": "float", "parts": "dict", "refused": "raw"}
# What the role adds to the options of a source, or says in its own way.
OWN_OPTIONS = {"address", "hostname", "type", "pool"}
SYMPTOMS = (ROOT / "docs/troubleshooting.md").read_text()

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> dict:
    """Return what a YAML file of the collection holds; an empty file holds nothing."""
    return yaml.safe_load((ROOT / path).read_text()) or {}


def options(role: Path, entry_point: str = "main") -> dict:
    """Return the documented inputs of a role."""
    return load(role / "meta/argument_specs.yml")["argument_specs"][entry_point]["options"]


def comparable(values: dict) -> dict:
    """Return values in a form in which true, 1 and 1.0 differ."""
    return {name: json.dumps(value, sort_keys=True) for name, value in values.items()}


def names_set(node: object) -> Iterator[str]:
    """Yield every variable name that tasks give a value to."""
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


def specification(word: Word) -> dict:
    """Return what argument_specs has to say of a name of chrony.conf."""
    numbers = bool(word.choices) and all(chosen.isdigit() for chosen in word.choices)
    kind = TYPES.get(word.kind, "int" if numbers else "str")
    spec = {"type": "list", "elements": kind} if word.several or word.kind == "words" else {"type": kind}
    spec |= {"required": True} if word.required else {}
    spec |= {"choices": [int(chosen) if numbers else chosen for chosen in word.choices]} if word.choices else {}
    return spec | ({"options": {part.name: specification(part) for part in word.parts}} if word.parts else {})


def bare(spec: dict) -> dict:
    """Return a specification without what is for people only, and without defaults."""
    kept = {name: value for name, value in spec.items() if name not in ("description", "default")}
    return kept | (
        {"options": {name: bare(option) for name, option in spec["options"].items()}} if "options" in spec else {}
    )


def untold(word: Word, spec: dict) -> Iterator[str]:
    """Yield what a description does not tell: why a name is refused, its range, and what came later."""
    facts = [word.instead, *([f"chronyd {word.since} or newer"] if word.since != OLDEST else [])]
    if abs(word.low) < INT_MAX and word.high < 2**32 and word.high != INT_MAX:
        facts.append(f"{word.low:.15g} to {word.high:.15g}")
    facts += [f"V({name}) needs chronyd {since} or newer" for name, since in word.choices.items() if since != OLDEST]
    yield from (f"{word.name}: {fact}" for fact in facts if fact not in spec["description"])
    for part in word.parts:
        if part.name in spec["options"]:
            yield from untold(part, spec["options"][part.name])


def version(text: str) -> tuple[int, ...]:
    """Return a release, by number or by code name, in a form that can be compared."""
    return tuple(int(number) for number in RELEASES.get(text, text).split("."))


def is_a_test(reference: str) -> bool:
    """Say whether FILE::FUNCTION or FILE::FUNCTION[CASE] is there, the case as a word of its own."""
    name, _colons, test = reference.partition("::")
    path = ROOT / name
    function, _bracket, case = test.removesuffix("]").partition("[")
    if not path.is_file() or function not in {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}:
        return False
    # Cases that are many stand in a folder of the test's name.
    files = [path, *path.parent.glob(f"{path.stem.removeprefix('test_')}/*.yml")]
    word = re.compile(rf'"{re.escape(case)}"|^ *{re.escape(case)}:', re.MULTILINE)
    return not case or any(word.search(file.read_text()) for file in files)


@each_role
def test_every_default_is_documented_as_it_is(role: Path) -> None:
    documented = {
        name: spec.get("default", "(none)") for name, spec in options(role).items() if not spec.get("required")
    }
    assert comparable(documented) == comparable(load(role / "defaults/main.yml"))


@pytest.mark.parametrize(("word", "own"), [(DIRECTIVES, set()), (SOURCE, OWN_OPTIONS)], ids=["directives", "sources"])
def test_what_chrony_conf_can_say_is_documented(word: Word, own: set[str]) -> None:
    documented = {
        name: spec for name, spec in options(ROOT / "roles/chrony_nts")[word.name]["options"].items() if name not in own
    }
    table = {part.name: part for part in word.parts if part.name not in own}
    assert {name: bare(spec) for name, spec in documented.items()} == {
        name: specification(part) for name, part in table.items()
    }
    assert list(documented) == list(table)
    assert [fact for name, spec in documented.items() for fact in untold(table[name], spec)] == []


@each_role
def test_entry_points_agree_about_an_input(role: Path) -> None:
    for entry_point in load(role / "meta/argument_specs.yml")["argument_specs"]:
        theirs = options(role, entry_point)
        assert theirs == {name: spec for name, spec in options(role).items() if name in theirs}


def test_the_rules_are_given_every_input_that_they_read() -> None:
    role = ROOT / "roles/chrony_nts"
    given = load(role / "vars/main.yml")["__chrony_nts_inputs"]
    assert set(given) <= set(options(role))
    text = (ROOT / "plugins/plugin_utils/_rules.py").read_text()
    read = set(re.findall(r'(?:inputs|self)\["(\w+)"\]|is_true\("(\w+)"\)', text))
    names = {name for pair in read for name in pair if name} | set(RANGES)
    assert {f"chrony_nts_{name}" for name in names} - set(given) == {"chrony_nts_acme_dns_tasks_exist"}


@each_role
def test_names_tell_inputs_from_internals(role: Path) -> None:
    inputs = {*load(role / "defaults/main.yml"), *options(role)}
    internals = {name for path in role.glob("vars/*.yml") for name in load(path)}
    assert [name for name in inputs if not name.startswith(f"{role.name}_")] == []
    assert [name for name in internals if not name.startswith(f"__{role.name}_")] == []


@each_role
def test_no_task_overrides_an_input(role: Path) -> None:
    files = [*role.glob("tasks/**/*.yml"), *role.glob("handlers/**/*.yml")]
    overridden = {(path.name, name) for path in files for name in names_set(load(path)) if name in options(role)}
    assert overridden == set()


@each_role
def test_platforms_have_variables(role: Path) -> None:
    platforms = {platform["name"] for platform in load(role / "meta/main.yml")["galaxy_info"]["platforms"]}
    files = {path.stem for path in role.glob("vars/*.yml")} - {"main", "default"}
    if files:
        assert {FAMILIES[name] for name in platforms} == files


@each_role
def test_the_oldest_platforms_are_the_ones_the_role_accepts(role: Path) -> None:
    for platform in load(role / "meta/main.yml")["galaxy_info"]["platforms"]:
        path = role / f"vars/{FAMILIES[platform['name']]}.yml"
        if path.exists():
            minimum = load(path)[f"__{role.name}_platform"]["minimum"]
            accepted = minimum.get(platform["name"], minimum.get("default"))
            assert min(map(version, platform["versions"])) == version(accepted), platform["name"]


def test_platforms_have_test_hosts_and_test_hosts_are_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests/lab"))
    lab = runpy.run_path(str(ROOT / "tests/lab/lab.py"))
    platforms = [p for role in ROLES for p in load(role / "meta/main.yml")["galaxy_info"]["platforms"]]
    families = {"Debian" if image in lab["SUITES"] else {"el-standin": "RedHat"}[image] for image in lab["CONTAINERS"]}
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


def test_ansible_versions_agree() -> None:
    required = load(Path("meta/runtime.yml"))["requires_ansible"]
    lowest = re.fullmatch(r">=(\d+\.\d+)\.0", required)[1]
    assert {load(role / "meta/main.yml")["galaxy_info"]["min_ansible_version"] for role in ROLES} == {lowest}
    texts = {path.name: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
    said = {name: set(re.findall(r"ansible-core (\d+\.\d+) or newer", text)) for name, text in texts.items()}
    assert said.pop("README.md") == {lowest}
    assert {name: found for name, found in said.items() if found - {lowest}} == {}


def test_the_changelog_has_an_entry_for_this_version_and_for_every_fragment() -> None:
    releases = load(Path("changelogs/changelog.yaml"))["releases"]
    assert load(Path("galaxy.yml"))["version"] in releases
    told = {fragment for release in releases.values() for fragment in release.get("fragments", [])}
    assert {path.name for path in ROOT.glob("changelogs/fragments/*.yml")} <= told, "run: make changelog"


def test_the_changelog_names_every_module_and_role() -> None:
    releases = load(Path("changelogs/changelog.yaml"))["releases"].values()
    modules = {module["name"] for release in releases for module in release.get("modules", [])}
    roles = {role["name"] for release in releases for role in release.get("objects", {}).get("role", [])}
    assert modules == {path.stem for path in ROOT.glob("plugins/modules/*.py")}, "run: make changelog"
    assert roles == {role.name for role in ROLES}, "run: make changelog"


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/**/*.py")), ids=lambda path: path.name)
def test_plugins_say_their_licence(path: Path) -> None:
    assert "\n# SPDX-License-Identifier: GPL-3.0-or-later\n" in f"\n{path.read_text()}"


def test_symptoms_are_reproduced_by_tests_that_are_there() -> None:
    sections = re.split(r"^#{2,3} ", SYMPTOMS, flags=re.MULTILINE)[1:]
    symptoms = {section.partition("\n")[0]: section for section in sections if "**You see**" in section}
    assert len(symptoms) == 28
    lines = {
        title: re.findall(r"^Reproduced by: (.+)\n+\Z", section, re.MULTILINE) for title, section in symptoms.items()
    }
    references = {title: re.findall(r"`([^`]+)`", line[0]) for title, line in lines.items() if line}
    assert len(references) == SYMPTOMS.count("Reproduced by")
    assert [title for title, found in references.items() if not found] == []
    assert [reference for found in references.values() for reference in found if not is_a_test(reference)] == []
    assert len(references) >= 18


def test_every_symptom_is_in_the_table_of_contents() -> None:
    contents, _rest = SYMPTOMS.split("\n## ", 1)
    listed = re.findall(r"^[-*]+ ?\[(.+)\]\(#(.+)\)(?:\*\*)?$", contents, re.MULTILINE)
    headings = re.findall(r"^#{2,3} (.+)$", SYMPTOMS, re.MULTILINE)
    assert listed == [(title, re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")) for title in headings]
