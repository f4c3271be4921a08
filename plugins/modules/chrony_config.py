#!/usr/bin/python
# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: chrony_config
short_description: Change chronyd's files and restart it as one transaction
version_added: 1.0.0
author:
  - securetime.nts contributors (@securetime)
description:
  - Compares the wanted files with those on the host, and checks the new ones before one of them is in its place. The
    real C(chronyd -p) reads the main configuration and files of sources. What it does not open is looked at as the
    daemon's user will, namely trust anchors, and the server's pairs of certificate and key.
  - Swaps what differs, takes the cheapest action by which chronyd uses it, and watches the daemon come up and stay up.
  - When it does not, every file is put back, chronyd is restarted with them, and the module fails with the lines that
    the daemon logged.
  - What is about to be done is written down first. The next run undoes what a run that was cut has begun. One run at a
    time changes a host.
  - chronyd is also made to read a file that changed since it did, so that nothing is forgotten.
  - What was there before the first change of a file is kept once in F(/var/lib/securetime-nts/original).
  - When somebody is not trusted any more, namely when a certificate is not in its set of trust anchors any more,
    C(nosystemcert) is new, or an NTS source changes to a set that does not have all of the old one, chronyd is started
    without the cookies that it has saved. It would use them for up to four weeks without asking for a certificate. Who
    is only trusted in addition costs no cookies.
attributes:
  action:
    description: Has a plugin on the controller, which takes no other facts of the host than are documented.
    support: full
  check_mode:
    description: Predicts the result. The candidate is read by chronyd, for which it is put beside the configuration
      file for a moment.
    support: full
  facts:
    description: Returns the facts of M(securetime.nts.chronyc_facts) where the clock does not reach O(verify).
    support: full
  diff_mode:
    description: Shows the metadata of every file that changes, and its content where all users may read it.
    support: full
  idempotent:
    description: Changes nothing when the files, and what chronyd has loaded, are as wanted.
    support: full
  platform:
    description: Linux with systemd.
    support: full
    platforms: posix
options:
  config_file:
    description: Path of chronyd's main configuration file. It is checked by chronyd itself when it is among O(files).
    type: path
    required: true
  service:
    description: The systemd unit of chronyd. It is enabled and running afterwards.
    type: str
    required: true
  files:
    description: The files that belong to the change.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - Absolute path. Missing folders are made with mode 0755, and removed when the change is refused.
          - A symbolic link stays, and its target is written, where root alone can write to every folder on the way.
            Otherwise, and where the target is not a regular file, the change is refused. V(absent) removes the link.
        type: path
        required: true
      state:
        description:
          - V(present) - the file has O(files[].content).
          - V(absent) - the file is not there.
          - V(original) - the file is as it was before this module first changed it, which is forgotten then. A file
            that it has not changed stays as it is.
        type: str
        choices: [present, absent, original]
        default: present
      content:
        description: The whole content. O(secrets) has it for a file that is not to be shown. The log of the host has
          its length.
        type: str
      from:
        description:
          - Files on the host whose contents, one after the other, are the content. For what was made there, like a
            private key that does not leave the host.
          - Each is a regular file of at most 1 MiB. Where a user other than root owns a folder or a symbolic link of
            its path, the outermost of these users must own the file.
          - Where O(files[].mode) lets all users read, only the certificates in PEM are copied. A file without one, or
            with a private key, is refused.
          - In check mode, a file whose content is not made yet is passed over.
        type: list
        elements: path
        default: []
      owner:
        description: Name of the user that owns the file.
        type: str
        default: root
      group:
        description: Name of the group that owns the file.
        type: str
        default: root
      mode:
        description: Permissions in octal.
        type: str
        default: "0644"
      effect:
        description:
          - What makes chronyd read the file.
          - V(restart) - its start, as for chrony.conf.
          - V(sources) - C(chronyc reload sources), for a file F(*.sources) in a folder of the directive C(sourcedir).
            Where the installed chrony reloads wrongly (before 4.5, and 4.6 and 4.6.1 without Debian's correction),
            chronyd is restarted.
          - V(keys) - C(chronyc rekey), for the file of symmetric keys.
          - V(nothing) - it need not, or it reads it by itself.
        type: str
        choices: [restart, sources, keys, nothing]
        default: restart
  secrets:
    description:
      - The whole content, by path, of those of O(files) whose content is shown neither in the diff, nor in any other
        output, nor in a log.
    type: dict
    default: {}
  owns:
    description:
      - Patterns of paths, as of the shell. What matches and is not among O(files) is removed, in the same change.
    type: list
    elements: path
    default: []
  folders:
    description:
      - Folders of nobody else's. Where the daemon's user cannot enter and read one, as after C(chmod -R go-rwx), it is
        given the mode 0755, and chronyd is restarted, because it may have read nothing there. A folder of another
        owner that keeps chronyd out is refused with the remedy.
    type: list
    elements: path
    default: []
  rivals:
    description:
      - Units of other time daemons, of which only one can run. They are stopped before chronyd starts, and disabled and
        masked once it works.
      - A change that is rolled back gives them back the state that they had.
    type: list
    elements: str
    default: []
  ntske_ports:
    description:
      - TCP ports at which chronyd listens for key exchanges, or connects to. Where SELinux is on, one that no service
        has for itself is given the type C(ntske_port_t) before the change and loses it when it is no longer named here.
        One that was labelled by somebody else stays so.
      - UDP ports at which the configuration lets chronyd listen get C(ntp_port_t) in the same way.
      - Needs C(semanage) for a port that the policy does not know.
    type: list
    elements: int
    default: []
  certificate_dirs:
    description:
      - Folders outside F(/etc/chrony) from which chronyd reads certificates and keys. While one is named here,
        AppArmor's profile has a rule for it, in a marked block of F(/etc/apparmor.d/local/usr.sbin.chronyd), and
        SELinux labels it as it does F(/etc).
      - Other places that the configuration names get rules without being named here, to be read, or to be written as
        chronyd's state or logs. A folder that others use, as F(/var/log), is refused.
    type: list
    elements: path
    default: []
  log_dir:
    description:
      - Folder of chronyd's own log files. Where the daemon's user does not own it or cannot write there, or other users
        can, it is given to that user and its group with mode 0750, and chronyd is restarted. A symbolic link is left
        alone.
    type: path
    default: ""
  state:
    description:
      - V(present) - the files are as O(files) says.
      - V(original) - every file that this module has ever changed is as it was before the first change, symbolic links,
        extended attributes and ACLs included. Everything that was kept in F(/var/lib/securetime-nts) is removed.
      - O(files) is not used then. chronyd runs afterwards, and is enabled, unless O(remember) has said C(active=false),
        C(enabled=false), at the first change.
    type: str
    choices: [present, original]
    default: present
  daemon_options:
    description:
      - The options with which the unit starts chronyd, as words of a command line. The check of the new files needs to
        know the user (C(-u)), and what contradicts directives, as C(-F) does C(mailonchange).
      - By default those of the chronyd that runs.
    type: list
    elements: str
  remember:
    description: What the host is like, kept at the first change and never overwritten, for RV(remembered) at the end.
    type: dict
    default: {}
  start_timeout:
    description: Seconds for which chronyd is given time to come up.
    type: float
    default: 30.0
  settle_time:
    description: Seconds for which it must stay up after that.
    type: float
    default: 3.0
  serves:
    description:
      - Certificates that an NTS server is to serve. Each must be for its names. After a restart this host asks chronyd
        as a client does, by a key exchange and an authenticated NTP request. If chronyd does not serve the certificate,
        or answers no NTP, the change is rolled back, and the message names the directive in the way.
      - The host finds by C(chronyd -p) where chronyd listens and from which of its own addresses it may ask. Where
        C(allow), C(deny), C(binddevice) or a limit of rate keeps it from asking, the change stays, with a warning.
      - A configuration with which chronyd would answer no client, by C(port 0) or C(deny), is refused before the
        change.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: Path, as in C(ntsservercert).
        type: path
        required: true
      names:
        description: Names and addresses that the certificate must carry. By the first of them, chronyd is asked.
        type: list
        elements: str
        required: true
  serves_at:
    description: Address of this host at which chronyd is asked for O(serves). By default one where chronyd listens.
    type: str
  lock_timeout:
    description: Seconds to wait for another run that is changing chrony on the same host.
    type: float
    default: 60.0
  verify:
    description:
      - The goal that the clock must reach, in the words of C(wait_for) of M(securetime.nts.chronyc_facts). The module
        waits for it also where nothing changed.
      - A check mode that predicts a change does not wait.
    type: str
    choices: [none, authenticated, synchronised]
    default: none
  verify_rollback:
    description: Whether a change after which the clock does not reach O(verify) is rolled back, and the module fails.
      Otherwise the change stays, and RV(reached) is false.
    type: bool
    default: true
  verify_min_sources:
    description: Number of sources that O(verify) is about.
    type: int
    default: 1
  verify_timeout:
    description: Seconds to wait for O(verify).
    type: float
    default: 60.0
seealso:
  - module: securetime.nts.chronyc_facts
"""

EXAMPLES = r"""
- name: Follow one NTS server
  securetime.nts.chrony_config:
    config_file: /etc/chrony/chrony.conf
    service: chrony.service
    files:
      - path: /etc/chrony/chrony.conf
        content: |
          server nts.example.org iburst nts
          ntsdumpdir /var/lib/chrony

- name: Put back what was there before
  securetime.nts.chrony_config:
    config_file: /etc/chrony/chrony.conf
    service: chrony.service
    state: original
"""

RETURN = r"""
changed_files:
  description: Paths of the files that were, or would be, written or removed.
  returned: success
  type: list
  elements: str
actions:
  description: What was, or would be, done, out of V(recover) (a run that was cut has been undone), V(stop-rivals),
    V(daemon-reload), V(enable), V(drop-cookies) (chronyd is stopped, and the cookies that it has saved for itself as a
    client are removed), V(restart), V(reload-sources), V(rekey), V(mask-rivals), V(stop) and V(disable).
  returned: success
  type: list
  elements: str
reasons:
  description: Why chronyd was, or would be, restarted or told to read.
  returned: success
  type: list
  elements: str
remembered:
  description: What O(remember) was at the first change. Empty if there was none.
  returned: success
  type: dict
  sample: {installed: false}
confinement:
  description: What SELinux and AppArmor were, or would be, told about chronyd.
  returned: success
  type: list
  elements: str
  sample: ["SELinux lets chronyd use TCP port 4461 (ntske_port_t)"]
checked:
  description: Whether chronyd read the new configuration before it was written. False where it did not change or
    chronyd is not installed yet.
  returned: success
  type: bool
reached:
  description: Whether the clock has reached O(verify). Null where the module did not wait.
  returned: success
  type: bool
waited_seconds:
  description: Seconds for which the module waited for that. Null where it did not wait.
  returned: success
  type: float
ansible_facts:
  description: The facts of chrony, which say why the clock has not reached O(verify).
  returned: when RV(reached) is false
  type: dict
  contains:
    chrony:
      description: As M(securetime.nts.chronyc_facts) returns them.
      returned: always
      type: dict
"""

import os
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
    read,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.programs import give_label, run_program
from ansible_collections.securetime.nts.plugins.module_utils._change.transaction import (
    Options,
    apply_read,
    remembered,
    restore,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.foreign import (
    ForeignFileError,
    certificates_of,
    read_text,
)
from ansible_collections.securetime.nts.plugins.module_utils._pair.served import assert_served, server_of
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
            "from": {"type": "list", "elements": "path", "default": []},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
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
}  # type: Dict[str, Any]


class Verification:
    """Whether the certificates are served and the clock reaches the goal, of which it keeps the facts."""

    def __init__(self, wanted: Dict[str, Any], host: System) -> None:
        self.wanted = wanted
        self.host = host
        self.seen: Optional[GatherResult] = None

    def check(self) -> List[str]:
        """Raise TransactionError where the change must be rolled back; return warnings."""
        wanted = self.wanted
        warnings = self.assert_certificates_served()
        if wanted["verify_rollback"]:
            self.observe()
        if self.seen and not self.seen.reached:
            reasons = " ".join(self.seen.facts["nts"]["reasons"])
            raise TransactionError(
                f"the clock is not {wanted['verify']} after {self.seen.waited_seconds:g} s: {reasons}"
            )
        return list(dict.fromkeys(warnings))

    def idle_problems(self) -> List[str]:
        """Return why the certificates are not served by a chronyd whose files have not changed."""
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
            server = server_of(self.host, wanted["config_file"], wanted["service"])
            server = server._replace(address=wanted["serves_at"] or "")
            for pair in wanted["serves"]:
                warnings += assert_served(server, pair["names"], text_of(pair["certificate"]))
        return warnings

    def observe(self) -> None:
        """Wait for the goal, once; raise TransactionError where chronyc's reports cannot be read."""
        wanted = self.wanted
        if self.seen or wanted["verify"] == "none":
            return
        look = GatherOptions(
            wanted["verify"],
            wanted["verify_min_sources"],
            None,
            wanted["verify_timeout"],
            5.0,
            log_lines=True,
            reports=(),
        )
        try:
            self.seen = gather(look)
        except ChronycError as error:
            raise TransactionError(str(error)) from error

    def result(self) -> Dict[str, Any]:
        """Return what the module returns of it."""
        if not self.seen:
            return {"reached": None, "waited_seconds": None}
        result = {"reached": self.seen.reached, "waited_seconds": self.seen.waited_seconds}  # type: Dict[str, Any]
        if not self.seen.reached:
            result["ansible_facts"] = {"chrony": self.seen.facts}
        return result


# ansible-core does not ship py.typed, so that mypy takes AnsibleModule for Any.
class Module(AnsibleModule):  # type: ignore[misc]
    """A module that logs its invocation without the contents of files, which can be keys."""

    params: Dict[str, Any]

    def _log_invocation(self) -> None:
        given = self.params
        self.params = dict(given, files=[{**file, "content": len(file["content"] or "")} for file in given["files"]])
        super()._log_invocation()
        self.params = given


def main() -> None:
    module = Module(argument_spec=ARGUMENTS, supports_check_mode=True)
    host = host_of(module)
    verification = Verification(module.params, host)
    original = module.params["state"] == "original"
    try:
        before = remembered(host)
        options = options_of(module, verification)
        if original:
            result = restore(host, restored(options, before))
        else:
            result = apply_read(host, lambda: specs_of(module, host), options)
            if not (module.check_mode and result["changed"]):
                verification.observe()
    except (TransactionError, ValueError) as problem:
        module.fail_json(msg=str(problem))
    exit_with(module, {**result, "remembered": before, **verification.result()})


def host_of(module: AnsibleModule) -> System:
    """Return this host, as the transaction needs it."""
    return System(run=lambda argv: run_program(module, argv), label=lambda file, path: give_label(module, file, path))


def options_of(module: AnsibleModule, verification: Verification) -> Options:
    """Return how the change is carried out."""
    wanted = module.params
    return Options(
        config_file=wanted["config_file"],
        service=wanted["service"],
        names={pair["certificate"]: pair["names"] for pair in wanted["serves"]},
        start_timeout=wanted["start_timeout"],
        settle_time=wanted["settle_time"],
        lock_timeout=wanted["lock_timeout"],
        verify=verification.check,
        check_mode=module.check_mode,
        remember=wanted["remember"],
        put_back=[item["path"] for item in wanted["files"] if item["state"] == "original"],
        rivals=wanted["rivals"],
        owns=wanted["owns"],
        folders=wanted["folders"],
        log_dir=wanted["log_dir"],
        idle_problems=verification.idle_problems,
        uses=uses_of(wanted),
        daemon_options=wanted["daemon_options"],
    )


def restored(options: Options, before: Dict[str, Any]) -> Options:
    """Return how chronyd is brought to what it was before the first change."""
    active = boolean(before.get("active", True))
    return options._replace(run=active, enabled=boolean(before.get("enabled", active)), remember={}, rivals=())


def specs_of(module: AnsibleModule, host: System) -> List[FileSpec]:
    """Return the wanted files; raise TransactionError where one cannot be read."""
    wanted = module.params
    found = []
    for item in wanted["files"]:
        if item["state"] == "original":
            before = originals.spec(host, item["path"])
            found += [before._replace(effect=item["effect"])] if before else []
        elif not (module.check_mode and item["from"] and not all(map(os.path.exists, item["from"]))):
            content = content_of(item, wanted["secrets"])
            mode = int(item["mode"], 8)
            found.append(FileSpec(item["path"], content, item["owner"], item["group"], mode, item["effect"]))
    return found


def exit_with(module: AnsibleModule, result: Dict[str, Any]) -> None:
    """Return the result to Ansible, the warnings as such, and the diff without what is secret."""
    for warning in result.pop("warnings"):
        module.warn(warning)
    secrets = module.params["secrets"]
    diff = [{**pair, **HIDDEN} if is_secret(pair, secrets) else pair for pair in result.pop("diff")]
    module.exit_json(**result, diff=diff)


def uses_of(wanted: Dict[str, Any]) -> Requirements:
    """Return what the confinement must allow."""
    return Requirements(sorted(set(wanted["ntske_ports"])), sorted(set(wanted["certificate_dirs"])))


def content_of(item: Dict[str, Any], secrets: Dict[str, str]) -> Optional[str]:
    """Return the wanted content of a file, or null where it is to be absent."""
    if item["state"] == "absent":
        return None
    content = secrets.get(item["path"], item["content"])
    if content is not None:
        return str(content)
    if item["from"]:
        is_public = bool(int(item["mode"], 8) & 0o004)
        return "".join(copied(path, is_public) for path in item["from"])
    raise ValueError(f"{item['path']} has no content: set its content, or its state to absent.")


def copied(path: str, is_public: bool) -> str:
    """Return what of a file on the host is copied, of a public one the certificates; or raise TransactionError."""
    try:
        text = read_text(path)
        return certificates_of(text, path) if is_public else text.rstrip("\n") + "\n"
    except ForeignFileError as error:
        raise TransactionError(f"Nothing was changed. {error}") from None


def text_of(path: str) -> str:
    """Return what is in a file, or raise TransactionError."""
    found = read(path)
    if found is None:
        raise TransactionError(f"{path} is not on this host, so nothing was changed.")
    return found.content.decode("utf-8", "surrogateescape")


def is_secret(pair: Dict[str, str], secrets: Dict[str, str]) -> bool:
    """Say whether a pair of the diff is of a secret, or of a private key."""
    return pair["before_header"] in secrets or "PRIVATE KEY" in pair["before"] + pair["after"]


if __name__ == "__main__":
    main()
