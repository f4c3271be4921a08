# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Sanitise the results of a managed host, so that they cannot mislead the controller.

Ansible turns every fact that a module returns into a variable of the host (inject_facts_as_vars). Facts override
inventories and role defaults (variable precedence in Ansible's documentation). A hostile host could thus override the
role's variables: names to sign, files of the controller to send, tasks to include.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible.release import __version__ as ansible_version

# Prefix of the facts that Ansible itself stores for a host.
INTERPRETER = "discovered_interpreter_"
OURS = ("chrony_nts_", "__chrony_nts_", "chrony_monitor_", "__chrony_monitor_")
LONGEST_MESSAGE = 4000
# In characters; chrony.conf and a few certificates have 20,000.
LONGEST_TEXT = 400000
# Keys of a failed module's result that the controller keeps.
FAILURE = ("msg", "rc", "module_stdout", "module_stderr", "stdout", "stderr", "exception")


# Errors of a Python that is too old for ansible-core: a syntax error, or a failed check of the version.
TOO_OLD = re.compile(r"SyntaxError: |requires Python [0-9.]+ or newer on the target|a minimum of Python version")
# A shell's exit status for a missing program.
NOT_FOUND = 127
# The opening brace of a Jinja template or comment.
TEMPLATE = re.compile(r"\{(?=[{%#])")


class _NoFacts(dict[str, Any]):
    """A cache of facts that has an empty entry for each host."""

    def get(self, *_arguments: Any) -> Any:
        return {}

    def __missing__(self, _name: str) -> Any:
        return {}


def plain(value: Any, longest: int = LONGEST_TEXT) -> Any:
    """Replace control characters other than line feeds and tabs by '?', and cut texts to longest characters."""
    if isinstance(value, str):
        text = value if value.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "?" for c in value)
        return text if len(text) <= longest else f"{text[:longest]} …"
    if isinstance(value, Mapping):
        return {plain(str(name), 200): plain(item, longest) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, longest) for item in value]
    return value


def quoted(value: Any, longest: int = LONGEST_MESSAGE) -> str:
    """Return a value of a host as text that a filter may safely insert into a sentence.

    Before 2.19, ansible-core marks values from hosts as unsafe, but not what a filter makes of them. It would run
    templates in such a value on the controller.
    """
    return TEMPLATE.sub("{ ", plain(str(value), longest))


def cleaned(result: Mapping[str, Any], facts: Collection[str] = ()) -> dict[str, Any]:
    """Return the sanitised result of a module. Keep only these facts and those of Ansible itself."""
    kept = {name: value for name, value in result.items() if name != "ansible_facts"}
    answer: dict[str, Any] = {
        name: plain(value, LONGEST_MESSAGE if name in FAILURE else LONGEST_TEXT) for name, value in kept.items()
    }
    found = result.get("ansible_facts")
    if isinstance(found, Mapping):
        answer["ansible_facts"] = {
            name: plain(value)
            for name, value in found.items()
            if name in facts or (isinstance(name, str) and name.startswith(INTERPRETER))
        }
    return answer


def failure(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a failed result with its error output only, so that no later task takes other keys for a result."""
    kept = {name: plain(result[name], LONGEST_MESSAGE) for name in FAILURE if name in result}
    return {"msg": "The host sent no result.", **kept, "failed": True}


def explain_python_problem(result: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return the result of a module. If no module can run on the host, return the reason as the error message."""
    problem = python_problem(result, ansible_version) if result.get("failed") else ""
    if not problem:
        return dict(result)
    # Drop the traceback: it is less clear, and Ansible prints it instead of the message.
    return {"failed": True, "msg": f"{host}: {problem}"}


def python_problem(result: Mapping[str, Any], core: str) -> str:
    """Return why no module can run on a host; empty if this module failed for another reason."""
    output = "\n".join(str(result.get(name) or "") for name in ("msg", "module_stderr", "module_stdout"))
    if result.get("rc") == NOT_FOUND and "module_stdout" in result:
        # The shell names the path: that of ansible_python_interpreter, or of a launcher without its Python (pyenv).
        lines = [line.strip(" .") for line in output.splitlines() if "not found" in line]
        found = "Ansible finds no Python there" + (f" ({lines[0][:200]})" if lines else "")
    elif TOO_OLD.search(output):
        found = f"the Python that Ansible uses there is too old for ansible-core {core}"
    else:
        return ""
    return (
        f"{found}. A host needs Python 3.6 for ansible-core 2.16, 3.7 for 2.17, 3.8 for 2.18 and 2.19, 3.9 for newer"
        " ones. Install one beside the platform's, which Ansible then finds unless ansible_python_interpreter names"
        " another, or use an older ansible-core. On Enterprise Linux 8:"
        " ansible HOST -b -m ansible.builtin.raw -a 'dnf --assumeyes install python3.12'."
    )


def shadowed(task_vars: Mapping[str, Any], injected: bool, task: Any = None) -> list[str]:
    """Return the names of operator variables that facts of the host override, sorted.

    injected says whether Ansible makes variables of facts (INJECT_FACTS_AS_VARS of its configuration).
    """
    if not injected:
        return []
    facts = task_vars.get("ansible_facts") or {}
    names = [name for name in facts if isinstance(name, str) and name != "chrony" and not name.startswith(INTERPRETER)]
    found = [name for name in names if name.startswith(OURS)]
    # Another fact can override only a variable of the same name.
    others = [name for name in names if name in task_vars and name not in found]
    if others:
        own = _without_facts(task_vars, task)
        found += [name for name in others if name in own and own[name] != task_vars[name]]
    return sorted(found)


def _without_facts(task_vars: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
    """Return the variables of the host without its facts."""
    hostvars = task_vars["hostvars"]
    original = hostvars._variable_manager
    # copy.copy() would lose the loader, which __setstate__() of ansible-core 2.16 to 2.18 drops.
    manager = object.__new__(type(original))
    manager.__dict__.update(vars(original), _fact_cache=_NoFacts())
    host = hostvars._inventory.get_host(task_vars["inventory_hostname"])
    found: Mapping[str, Any] = manager.get_vars(host=host, task=task, include_hostvars=False)
    return found


def shadowed_message(host: str, names: Collection[str]) -> str:
    """Return the error message for a host whose facts override variables."""
    return (
        f"{host} returned facts by the names of variables ({', '.join(plain(sorted(names), 100))[:400]}), and Ansible"
        " would use them in the place of yours. Nothing was signed, stored or sent. Find out who changed the host, and"
        " set inject_facts_as_vars = false in ansible.cfg."
    )
