#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import contextlib
import json
import os
import re
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.module_utils._change import originals
from ansible_collections.securetime.nts.plugins.module_utils._change.confinement import Requirements
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    HIDDEN,
    FileSpec,
    System,
    TransactionError,
    digest,
    load,
    read,
    save,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import give_label, run_program
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._change.transaction import (
    apply_read,
    is_left,
    remembered,
    restore,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.foreign import (
    ForeignFileError,
    certificates_of,
    read_text,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import ChronycError
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, GatherResult, gather

ARGUMENTS = {
    "config_file": {"type": "path", "required": True},
    "service": {"type": "str", "required": True},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "original"], "default": "present"},
            "content": {"type": "str"},
            "template": {"type": "str"},
            "from": {"type": "list", "elements": "path", "default": []},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            # Not str: Ansible would turn 0644 without quotes, which YAML reads as 420, into the text of another mode.
            "mode": {"type": "raw", "default": "0644"},
            "effect": {
                "type": "str",
                "choices": ["restart", "sources", "keys", "nothing"],
                "default": "restart",
            },
        },
    },
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "state": {"type": "str", "choices": ["present", "original"], "default": "present"},
    "owns": {"type": "list", "elements": "path", "default": []},
    "folders": {"type": "list", "elements": "path", "default": []},
    "rivals": {"type": "list", "elements": "str", "default": []},
    "ntske_ports": {"type": "list", "elements": "int", "default": []},
    "certificate_dirs": {"type": "list", "elements": "path", "default": []},
    "log_dir": {"type": "path", "default": ""},
    "daemon_options": {"type": "list", "elements": "str"},
    "remember": {"type": "dict", "default": {}},
    "serves": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "certificate": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
        },
    },
    "serves_at": {"type": "str"},
    "start_timeout": {"type": "float", "default": 30.0},
    "settle_time": {"type": "float", "default": 3.0},
    "lock_timeout": {"type": "float", "default": 60.0},
    "verify": {"type": "str", "choices": ["none", "authenticated", "synchronised"], "default": "none"},
    "verify_rollback": {"type": "bool", "default": True},
    "verify_min_sources": {"type": "int", "default": 1},
    "verify_timeout": {"type": "float", "default": 60.0},
    "digest": {"type": "str"},
    "survey": {"type": "dict", "options": {"packages": {"type": "list", "elements": "str", "default": []}}},
}  # type: Dict[str, Any]
# In the state folder: the parameters of the last successful run, and the digest that the controller gave them.
APPLIED = "applied.json"


class Verification:
    """Check that chronyd serves the certificates and that the clock reaches its goal; keep the facts of the clock."""

    def __init__(self, wanted: Dict[str, Any], host: System) -> None:
        self.wanted = wanted
        self.host = host
        self.gathered: Optional[GatherResult] = None

    def check(self) -> List[str]:
        """Raise TransactionError where the change must be rolled back; return warnings."""
        wanted = self.wanted
        warnings = self.assert_certificates_served()
        if wanted["verify_rollback"]:
            self.wait_for_goal()
        found = self.gathered
        if found and not found.reached:
            reasons = " ".join(found.facts["nts"]["reasons"])
            raise TransactionError(f"the clock is not {wanted['verify']} after {found.waited_seconds:g} s: {reasons}")
        return list(dict.fromkeys(warnings))

    def idle_problems(self) -> List[str]:
        """Return why a chronyd whose files have not changed does not serve the certificates."""
        try:
            self.assert_certificates_served()
        except TransactionError as problem:
            return [str(problem)]
        return []

    def assert_certificates_served(self) -> List[str]:
        """Raise TransactionError where chronyd does not serve one of the certificates; return warnings."""
        wanted = self.wanted
        warnings = []  # type: List[str]
        if wanted["serves"]:
            # A module has no bytecode, so a client would compile the probe in each run.
            from ansible_collections.securetime.nts.plugins.module_utils._pair.served import (  # noqa: PLC0415
                assert_served,
                server_of,
            )

            server = server_of(self.host, wanted["config_file"], wanted["service"])
            server = server._replace(address=wanted["serves_at"] or "")
            for pair in wanted["serves"]:
                warnings += assert_served(server, pair["names"], text_of(pair["certificate"]))
        return warnings

    def wait_for_goal(self) -> None:
        """Wait for the goal, once; raise TransactionError where chronyc's reports cannot be read."""
        wanted = self.wanted
        if self.gathered or wanted["verify"] == "none":
            return
        options = GatherOptions(
            wanted["verify"],
            wanted["verify_min_sources"],
            None,
            wanted["verify_timeout"],
            5.0,
            log_lines=True,
            reports=(),
        )
        try:
            self.gathered = gather(options)
        except ChronycError as error:
            raise TransactionError(str(error)) from error

    def result(self) -> Dict[str, Any]:
        """Return the part of the module's result that is about the verification."""
        found = self.gathered
        if not found:
            return {"reached": None, "waited_seconds": None}
        result = {"reached": found.reached, "waited_seconds": found.waited_seconds}  # type: Dict[str, Any]
        if not found.reached:
            result["ansible_facts"] = {"chrony": found.facts}
        return result


# ansible-core does not ship py.typed, so mypy takes AnsibleModule for Any.
class Module(AnsibleModule):  # type: ignore[misc]
    """A module that logs its invocation without the contents of files, because they can be keys."""

    params: Dict[str, Any]

    def _log_invocation(self) -> None:
        given = self.params
        self.params = dict(given, files=[{**file, "content": len(file["content"] or "")} for file in given["files"]])
        super()._log_invocation()
        self.params = given


def main() -> None:
    """Apply or undo the change, and verify it."""
    module = Module(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.params["survey"] is not None:
        survey(module)
    wanted, check_mode = module.params, module.check_mode
    host = host_of(module)
    verification = Verification(wanted, host)
    try:
        before = remembered(host)
        options = options_of(wanted, check_mode, verification)
        if wanted["state"] == "original":
            result = restore(host, restore_options(options, before))
        else:
            result = apply_read(host, lambda: specs_of(wanted, check_mode, host), options)
            if not (check_mode and result["changed"]):
                verification.wait_for_goal()
            if not check_mode:
                record(host, wanted)
    except (TransactionError, ValueError) as problem:
        module.fail_json(msg=str(problem))
    exit_with(module, {**result, "remembered": before, **verification.result()})


def record(host: System, wanted: Dict[str, Any]) -> None:
    """Keep the parameters for survey(). Keep none with secrets, and none of a server, whose pairs the role changes."""
    kept = {}  # type: Dict[str, Any]
    if wanted["digest"] and not (wanted["secrets"] or wanted["serves"]):
        kept = {"digest": wanted["digest"], "form": form(), "parameters": wanted}
    # On a full disk, the next run does without them.
    with contextlib.suppress(OSError):
        if load(host, APPLIED) != kept:
            save(host, APPLIED, kept)


def form() -> str:
    """Return a digest of the names, types and defaults of the parameters, in which versions of this module differ."""
    return digest(json.dumps(ARGUMENTS, sort_keys=True).encode())


def known_parameters(host: System) -> Dict[str, Any]:
    """Return what record() kept; empty if there is nothing, or if another version of this module kept it."""
    found = {}  # type: Dict[str, Any]
    # A user without rights reads the facts alone.
    with contextlib.suppress(OSError):
        found = load(host, APPLIED)
    return found if found.get("form") == form() and isinstance(found.get("parameters"), dict) else {}


def survey(module: AnsibleModule) -> None:
    """Return the facts, and whether the last parameters would change nothing. Change nothing."""
    # give_label() also reads this.
    module.check_mode = True
    host = host_of(module)
    known = known_parameters(host)
    wanted = known.get("parameters", {})
    goal = wanted.get("verify", "none")
    wait_for = None if goal == "none" else goal
    packages = module.params["survey"]["packages"]
    options = GatherOptions(wait_for, wanted.get("verify_min_sources", 1), None, 0.0, 5.0, True, (), packages)
    try:
        found = gather(options)
    except ChronycError as error:
        module.fail_json(msg=str(error))
    for warning in found.warnings:
        module.warn(warning)
    is_applied = bool(known) and found.reached is not False and still_applied(host, wanted)
    applied = known["digest"] if is_applied else ""
    module.exit_json(changed=False, ansible_facts={"chrony": found.facts}, applied=applied)


def still_applied(host: System, wanted: Dict[str, Any]) -> bool:
    """Return whether a run with these parameters would have nothing to do or to say."""
    specs = []  # type: List[FileSpec]

    def read_specs() -> List[FileSpec]:
        specs.extend(specs_of(wanted, True, host))
        return specs

    try:
        options = options_of(wanted, True, Verification(wanted, host))._replace(lock_timeout=0.0)
        result = apply_read(host, read_specs, options)
        return not (result["changed"] or result["warnings"] or is_left(host, specs, options))
    except (TransactionError, ValueError, OSError, KeyError, TypeError):
        # The run itself reports the problem; the last two are those of a damaged record.
        return False


def host_of(module: AnsibleModule) -> System:
    """Return the system calls of this host that the transaction needs."""
    return System(run=lambda argv: run_program(module, argv), label=lambda file, path: give_label(module, file, path))


def options_of(wanted: Dict[str, Any], check_mode: bool, verification: Verification) -> Options:
    """Return the options of the transaction."""
    return Options(
        config_file=wanted["config_file"],
        service=wanted["service"],
        names={pair["certificate"]: pair["names"] for pair in wanted["serves"]},
        start_timeout=wanted["start_timeout"],
        settle_time=wanted["settle_time"],
        lock_timeout=wanted["lock_timeout"],
        verify=verification.check,
        check_mode=check_mode,
        remember=wanted["remember"],
        put_back=[item["path"] for item in wanted["files"] if item["state"] == "original"],
        rivals=wanted["rivals"],
        owns=wanted["owns"],
        folders=wanted["folders"],
        log_dir=wanted["log_dir"],
        idle_problems=verification.idle_problems,
        uses=requirements_of(wanted),
        daemon_options=wanted["daemon_options"],
    )


def restore_options(options: Options, before: Dict[str, Any]) -> Options:
    """Return the options that restore the state of chronyd before the first change."""
    active = boolean(before.get("active", True))
    return options._replace(run=active, enabled=boolean(before.get("enabled", active)), remember={}, rivals=())


def specs_of(wanted: Dict[str, Any], check_mode: bool, host: System) -> List[FileSpec]:
    """Return the desired files; raise TransactionError or ValueError where a content is unreadable or missing."""
    found = []
    for item in wanted["files"]:
        if item["state"] == "original":
            before = originals.spec(host, item["path"])
            found += [before._replace(effect=item["effect"])] if before else []
        elif not (check_mode and item["from"] and not all(map(os.path.exists, item["from"]))):
            content = content_of(item, wanted["secrets"])
            mode = mode_of(item)
            found.append(FileSpec(item["path"], content, item["owner"], item["group"], mode, item["effect"]))
    return found


def exit_with(module: AnsibleModule, result: Dict[str, Any]) -> None:
    """Return the result to Ansible, with the warnings as Ansible's own and without secrets in the diff."""
    for warning in result.pop("warnings"):
        module.warn(warning)
    secrets = module.params["secrets"]
    diff = [{**pair, **HIDDEN} if is_secret(pair, secrets) else pair for pair in result.pop("diff")]
    module.exit_json(**result, diff=diff)


def requirements_of(wanted: Dict[str, Any]) -> Requirements:
    """Return the ports and folders that SELinux and AppArmor must allow."""
    return Requirements(sorted(set(wanted["ntske_ports"])), sorted(set(wanted["certificate_dirs"])))


def mode_of(item: Dict[str, Any]) -> int:
    """Return the permissions of a file; raise ValueError where they are not octal digits in quotes."""
    mode = item["mode"]
    if not isinstance(mode, str) or not re.fullmatch("[0-7]{3,4}", mode):
        raise ValueError(f"The mode of {item['path']} is {mode!r}: write it in octal and in quotes, as '0644'.")
    return int(mode, 8)


def content_of(item: Dict[str, Any], secrets: Dict[str, str]) -> Optional[str]:
    """Return the desired content of a file; None for an absent one. Raise ValueError or TransactionError."""
    if item["state"] == "absent":
        return None
    if item["template"] is not None:
        # The action plugin has replaced a template that is alone.
        raise ValueError(f"{item['path']} has a content and a template: set one of them.")
    content = secrets.get(item["path"], item["content"])
    if content is not None:
        return str(content)
    if item["from"]:
        is_public = bool(mode_of(item) & 0o004)
        return "".join(copied(path, is_public) for path in item["from"])
    raise ValueError(f"{item['path']} has no content: set its content or template, or its state to absent.")


def copied(path: str, is_public: bool) -> str:
    """Return the content to copy from a file on the host; raise TransactionError.

    Copy only the certificates where all users can read the copy.
    """
    try:
        text = read_text(path)
        return certificates_of(text, path) if is_public else text.rstrip("\n") + "\n"
    except ForeignFileError as error:
        raise TransactionError(f"Nothing was changed. {error}") from None


def text_of(path: str) -> str:
    """Return the content of a file; raise TransactionError where it is missing."""
    found = read(path)
    if found is None:
        raise TransactionError(
            f"The certificate {path} (serves) is not on this host, so chronyd cannot serve it. Put it there, or remove"
            " it from serves."
        )
    return found.content.decode("utf-8", "surrogateescape")


def is_secret(pair: Dict[str, str], secrets: Dict[str, str]) -> bool:
    """Return whether one entry of the diff shows a secret or a private key."""
    return pair["before_header"] in secrets or "PRIVATE KEY" in pair["before"] + pair["after"]


if __name__ == "__main__":
    main()
