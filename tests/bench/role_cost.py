# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the cost of the role on the controller, against `ping` in the same run.

    make demo && make bench [OPTIONS="--fleet 100 1000 --timesync FOLDER"]

One host of the demo represents many: an inventory lists it under several names.

- tasks: every entry that Ansible schedules for an unchanged client with verification, skipped ones and includes
  counted.
- wall: the least time of several runs, which other load on the controller has disturbed the least.
- CPU per host: user and system time of Ansible and its workers for many names less that for few, per name; the median
  of the rounds.
- fleet: the connection is local, and the modules' results are recorded ones, so that the controller alone works.
  Memory is the largest resident set of a process. `unvalidated` is the role as the playbooks of the collection run it:
  the role checks its variables, and ansible-core does not check them again.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
PLAYBOOKS = {
    "ping": "ansible.builtin.ping:",
    "role": "ansible.builtin.import_role: {name: securetime.nts.chrony_nts}",
    "unvalidated": "ansible.builtin.import_role: {name: securetime.nts.chrony_nts, rolespec_validate: false}",
    "facts": "securetime.nts.chronyc_facts: {packages: [chrony, ca-certificates]}",
    "kept": "ansible.builtin.slurp: {src: /var/lib/securetime-nts/applied.json}",
    "timesync": (
        "ansible.builtin.import_role: {name: ROLE}\n      vars: {timesync_ntp_servers: [{hostname: nts1, nts: true}]}"
    ),
}
# Replaces Python: prints the recorded result of the module that it reads from standard input.
STAND_IN = """#!/bin/sh
module=$(grep -ao 'plugins[.]modules[.][a-z_]*' | head -n 1)
case $module in
*.chrony_config) cat {path} ;;
*) echo '{{"ping": "pong"}}' ;;
esac
"""


class Cost(NamedTuple):
    """Cost of an Ansible process and its workers."""

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int


def run(playbook: Path, inventory: Path, forks: int, **environment: str) -> Cost:
    """Return the cost of a playbook run; exit if the run fails."""
    command = [sys.executable, "-m", "ansible", "playbook", "-f", str(forks), "-i", str(inventory), str(playbook)]
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begin
        if process.returncode:
            output.seek(0)
            raise SystemExit(output.read().decode(errors="replace")[-4000:])
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


class Bench:
    """Playbooks and inventories in a separate folder."""

    def __init__(self, folder: Path, host: str, timesync: str | None) -> None:
        self.folder = folder
        shown = subprocess.run(["ansible-inventory", "--host", host], check=True, capture_output=True, text=True)
        self.variables: dict[str, Any] = json.loads(shown.stdout)
        for name, text in PLAYBOOKS.items():
            task = text.replace("ROLE", shlex.quote(timesync or ""))
            play = f"- hosts: all\n  gather_facts: false\n  become: BECOME\n  tasks:\n    - {task}\n"
            (folder / f"{name}.yml").write_text(play.replace("BECOME", "true"))
            (folder / f"{name}-local.yml").write_text(play.replace("BECOME", "false"))

    def inventory(self, count: int, **variables: str) -> Path:
        """Return an inventory that lists the host under this number of names."""
        path = self.folder / f"{count}-{len(variables)}.json"
        hosts: dict[str, dict[str, str]] = {f"host{number:04}": {} for number in range(count)}
        path.write_text(json.dumps({"all": {"hosts": hosts, "vars": {**self.variables, **variables}}}))
        return path

    def record(self, playbook: str) -> dict[str, Any]:
        """Run a playbook on one host; return its tasks and the results of its modules."""
        path = self.folder / "record.json"
        run(
            self.folder / f"{playbook}.yml",
            self.inventory(1),
            1,
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback"),
            ANSIBLE_CALLBACKS_ENABLED="record",
            RECORD=str(path),
        )
        recorded: dict[str, Any] = json.loads(path.read_text())
        return recorded

    def stand_in(self, results: dict[str, Any]) -> str:
        """Return a program that replaces the host's Python and returns these results."""
        # The survey of chrony_config: the facts, and that the last parameters are those of this run.
        facts = results["securetime.nts.chronyc_facts"]["ansible_facts"]
        kept = json.loads(base64.b64decode(results["ansible.builtin.slurp"]["content"]))
        answer = {"changed": False, "ansible_facts": facts, "applied": kept["digest"]}
        path = self.folder / "survey.result"
        path.write_text(json.dumps(answer))
        program = self.folder / "python3"
        program.write_text(STAND_IN.format(path=path))
        program.chmod(0o700)
        return str(program)


def real(bench: Bench, names: tuple[str, str], few: int, many: int, rounds: int) -> None:
    """Print the cost of ping and of another playbook on real hosts."""
    walls: dict[str, list[float]] = {name: [] for name in names}
    slopes: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        # The first run brings the host to the desired state; the second opens the connections that later runs share.
        for count in (1, many):
            run(bench.folder / f"{name}.yml", bench.inventory(count), 5)
    for _round in range(rounds):
        for name in names:
            playbook = bench.folder / f"{name}.yml"
            walls[name].append(run(playbook, bench.inventory(1), 5).wall_seconds)
            costs = [run(playbook, bench.inventory(count), 5).cpu_seconds for count in (few, many)]
            slopes[name].append((costs[1] - costs[0]) / (many - few))
    print(f"\nwall seconds on one host; CPU seconds of the controller for each host, from {few} to {many} hosts")
    for name in names:
        wall, slope = min(walls[name]), statistics.median(slopes[name])
        print(f"{name:9} {wall:6.2f} s ({wall / min(walls['ping']):.1f} x ping)   {slope:.3f} s", flush=True)


def fleet(bench: Bench, counts: list[int], results: dict[str, Any]) -> None:
    """Print the cost of fleets."""
    program = bench.stand_in(results)
    local = {"ansible_connection": "local", "ansible_python_interpreter": program}
    print("\nfleet: CPU seconds and KB of memory for each host, more than ping; wall seconds and MB of all")
    names = ("ping", "role", "unvalidated")
    base: dict[str, Cost] = {}
    for count in [1, *counts]:
        inventory = bench.inventory(count, **local)
        costs = {name: run(bench.folder / f"{name}-local.yml", inventory, 10) for name in names}
        base = base or costs
        for name in names if count > 1 else ():
            cost = costs[name]
            line = f"{count:5} hosts, {name:11}: {cost.wall_seconds:4.0f} s, {cost.memory_bytes >> 20:4} MB"
            if name != "ping":
                cpu_seconds, memory_bytes = (
                    (cost[field] - base[name][field] - costs["ping"][field] + base["ping"][field]) / (count - 1)
                    for field in (1, 2)
                )
                line += f"; {cpu_seconds:.3f} s and {memory_bytes / 1024:.0f} KB more than ping for each host"
            print(line, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--many", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fleet", type=int, nargs="*", default=[])
    parser.add_argument("--timesync", help="folder of the role linux-system-roles.timesync, to compare with")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), wanted.host, wanted.timesync)
        # The host keeps the parameters of the first run, so that the second finds it unchanged.
        bench.record("role")
        recorded = bench.record("role")
        (tasks,) = recorded["tasks"].values()
        print(f"{len(tasks)} tasks on an unchanged client:", *tasks, sep="\n  ", flush=True)
        if wanted.rounds:
            real(bench, ("ping", "role"), wanted.few, wanted.many, wanted.rounds)
        if wanted.fleet:
            fleet(bench, wanted.fleet, {**bench.record("facts")["results"], **bench.record("kept")["results"]})
        if wanted.timesync:
            # This run is last, because it leaves the host with that role's configuration.
            real(bench, ("ping", "timesync"), wanted.few, wanted.many, wanted.rounds)


if __name__ == "__main__":
    main()
