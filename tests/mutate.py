# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Break central behaviours one at a time in a copy of the tree, and check that the tests that own them fail.

make setup; .venv/bin/python tests/mutate.py [NAME ...]     without names: all, one after the other
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
UNIT = "pytest -q -x tests/unit"
MOLECULE = "tests/stages/molecule.sh"


class Mutation(NamedTuple):
    """A text of a file, its replacement, the command that must then fail, and a pattern of its failure."""

    file: str
    old: str
    new: str
    command: str
    owner: str


TRANSACTION = "plugins/module_utils/_change/transaction.py"
FUNCTIONAL = "pytest -q -x tests/functional"
MUTATIONS = {
    "alert": Mutation(
        "monitoring/prometheus/securetime-nts.yml",
        "chrony_tracking_leap_status == 3 or chrony_tracking_stratum == 0",
        "chrony_tracking_leap_status == 3 or chrony_tracking_stratum > 15",
        f"{FUNCTIONAL}/test_alerts.py",
        "alertname: ChronyNotSynchronised",
    ),
    "verdict": Mutation(
        "plugins/module_utils/_state/verdict.py",
        "return bool(established and verified and source",
        "return bool(established and source",
        UNIT,
        "FAILED .*test_verdict",
    ),
    "confirmation": Mutation(
        "plugins/module_utils/_state/verdict.py",
        "if synchronised and any(_confirms(source) for source in proven):",
        "if synchronised and proven:",
        UNIT,
        "FAILED .*confirms_a_reference_clock",
    ),
    "loose source": Mutation(
        "plugins/module_utils/_state/verdict.py",
        "loose = _loose(pairs, proven) if synchronised else []",
        "loose: List[str] = []",
        UNIT,
        "FAILED .*test_verdict",
    ),
    "report escapes": Mutation(
        "plugins/plugin_utils/_report/page.py",
        "autoescape=True,",
        "autoescape=False,",
        UNIT,
        "FAILED .*test_hostile_hosts_make_the_same_elements",
    ),
    "lock": Mutation(
        "plugins/module_utils/_change/lock.py",
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "pass\n",
        UNIT,
        "FAILED .*test_one_run_at_a_time",
    ),
    "trust removal": Mutation(
        "plugins/module_utils/_x509/trust.py",
        "for name, names in removed if names]",
        "for name, names in removed if not names]",
        UNIT,
        "FAILED .*(test_trust|not_trusted|removed_trust_anchor)",
    ),
    "renewal": Mutation(
        "plugins/module_utils/_pair/manager.py",
        "* self.settings.renew_fraction",
        "* self.settings.renew_fraction / 10",
        UNIT,
        "FAILED .*is_due_when",
    ),
    "stopped chronyd": Mutation(
        "plugins/module_utils/_pair/manager.py",
        'if active != "active":',
        'if active == "not found":',
        UNIT,
        "FAILED .*out_of_service_names",
    ),
    "signal": Mutation(
        "plugins/module_utils/_change/signals.py",
        "signal.signal(each, signal.SIG_IGN)",
        "pass",
        UNIT,
        "(FAILED .*a_signal_ends|ended the program)",
    ),
    "rule": Mutation(
        "plugins/plugin_utils/_rules.py",
        'inputs["authselectmode"] == "require" and inputs.unauthenticated:',
        'inputs["authselectmode"] == "require" and not inputs.sources:',
        UNIT,
        "FAILED .*test__rules",
    ),
    "rotation of shared keys": Mutation(
        "plugins/module_utils/_pair/cookie_keys.py",
        "keys=(*self.keys[1:], (number, random(KEY_BYTES)))",
        "keys=(*self.keys[1:3], (number - 1, random(KEY_BYTES)), (number, random(KEY_BYTES)))",
        f"{FUNCTIONAL}/test_shared_keys.py",
        "FAILED .*test_a_rotation_costs_no_client_a_cookie",
    ),
    "wrong clock": Mutation(
        "plugins/plugin_utils/_clock.py",
        'if planned["pairs"]:',
        'if planned["missing_packages"]:',
        UNIT,
        "FAILED .*test__clock",
    ),
    "cause of a failed installation": Mutation(
        "plugins/module_utils/_packages/failures.py",
        "for rule in RULES:",
        "for rule in reversed(RULES):",
        UNIT,
        "FAILED .*test_failures|FAILED .*_packages",
    ),
    "held package": Mutation(
        "plugins/module_utils/_packages/change.py",
        "if package not in {*wrong, *held, *request.versions}",
        "if package not in {*wrong, *request.versions}",
        UNIT,
        "FAILED .*held_package_is_not_updated",
    ),
    "check mode": Mutation(
        TRANSACTION,
        "if (changes or actions) and not options.check_mode:",
        "if changes or actions:",
        f"{MOLECULE} default",
        "The change was rolled back",
    ),
    "idempotence": Mutation(
        "roles/chrony_nts/templates/chrony.conf.j2",
        "# Managed by Ansible:",
        "# {{ now() }} Managed by Ansible:",
        f"{MOLECULE} default",
        "Idempotence test failed",
    ),
    "name constraint": Mutation(
        "plugins/module_utils/_x509/request.py",
        "*common, (name_constraints(request.names), True)]",
        "*common]",
        UNIT,
        "(FAILED|ERROR) .*test_request",
    ),
    "rotation of logs": Mutation(
        "plugins/plugin_utils/_rotation.py",
        " cyclelogs >/dev/null",
        " tracking >/dev/null",
        f"{MOLECULE} default",
        "FAILED .*a_rotation_loses_nothing",
    ),
    "limits": Mutation(
        "plugins/plugin_utils/_limits.py",
        "CONNECTIONS = 500",
        "CONNECTIONS = 100",
        "pytest -q -x tests/functional/test_limits.py",
        "FAILED .*do_not_keep_clients_out",
    ),
    "islands": Mutation(
        "plugins/plugin_utils/_inputs.py",
        "return orphan and all(",
        "return False and all(",
        UNIT,
        "FAILED .*need_follow_none",
    ),
    "secret in a diff": Mutation(
        "plugins/modules/chrony_config.py",
        'return pair["before_header"] in secrets or "PRIVATE KEY" in pair["before"] + pair["after"]',
        "return False",
        UNIT,
        "FAILED .*diff_of_a_secret_file",
    ),
    "rollback": Mutation(
        TRANSACTION,
        "outcome = undo(host, plan, options)\n",
        'outcome = ""\n',
        UNIT,
        "FAILED .*test_transaction",
    ),
}


def copy(name: str) -> Path:
    """Copy the tree and link this tree's .venv into the copy; return its folder."""
    label = re.sub(r"\W", "-", name)
    made = subprocess.run(
        [ROOT / "tests/stages/copy.sh", f"mutant-{label}"], check=True, stdout=subprocess.PIPE, text=True
    )
    folder = Path(made.stdout.strip())
    (folder / ".venv").symlink_to(ROOT / ".venv")
    community = folder / ".build/collections/ansible_collections/community"
    (community.parent / "securetime").mkdir(parents=True)
    community.symlink_to(ROOT / ".build/collections/ansible_collections/community")
    (community.parent / "securetime" / "nts").symlink_to(folder)
    return folder


def survives(name: str) -> bool:
    """Return whether the tests pass with a mutation; print how they ended."""
    # Long: one sequence from the copy to the verdict, and half of it is arguments.
    mutation = MUTATIONS[name]
    folder = copy(name)
    path = folder / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        sys.exit(f"{name}: {mutation.file} does not have this text once: {mutation.old}")
    path.write_text(text.replace(mutation.old, mutation.new))
    environment = {
        **os.environ,
        "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": f"{folder}/.build/collections",
    }
    start = time.monotonic()
    done = subprocess.run(
        mutation.command,
        shell=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    (folder.parents[2] / "output").write_bytes(done.stdout)
    seconds = time.monotonic() - start
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode(errors="replace"))
    # Another failure proves nothing, for example a host that does not start.
    killed = done.returncode != 0 and re.search(mutation.owner, plain) is not None
    failures = re.findall(r"^(?:FAILED|fatal:|CRITICAL|\S*ERROR).{0,150}", plain, re.MULTILINE)
    print(
        f"{name}: {'killed' if killed else 'SURVIVED'} by {mutation.command}, {seconds:.0f} s",
        *failures[:2],
        sep="\n    ",
        flush=True,
    )
    if mutation.command.startswith(MOLECULE):
        state = folder / ".lab" / mutation.command.split()[1]
        down = [sys.executable, folder / "tests/lab/lab.py", "down", "--state", state]
        subprocess.run(down, check=True, stdout=subprocess.DEVNULL)
    return not killed


def main() -> int:
    """Test the named mutations, or all."""
    survivors = [name for name in sys.argv[1:] or MUTATIONS if survives(name)]
    print(f"{len(sys.argv[1:] or MUTATIONS) - len(survivors)} passed, {len(survivors)} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
