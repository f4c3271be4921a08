# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. The program nts-monitor: collect the facts of chrony, and write metrics and state.

It runs every minute, on every host of a fleet. So it runs no program whose output cannot have changed, and loads the
modules with OpenSSL only when a check of certificates is due.

Long: it holds the two halves of one run, collection and output, which share the memory of the last run.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._monitor import changes, samples
from ansible_collections.securetime.nts.plugins.module_utils._monitor.places import (
    MEMORY,
    METRICS,
    OLD_LOG,
    SETTINGS,
    STATUS,
    TEXTFILE_FOLDER,
    TEXTFILE_LINK,
    Settings,
    read_settings,
)
from ansible_collections.securetime.nts.plugins.module_utils._state.chronyc import ChronycError
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, gather
from ansible_collections.securetime.nts.plugins.module_utils._state.host import (
    directives_of,
    find_chronyd,
    read_file,
    run_together,
    survey,
)

Row = Dict[str, Any]

PACKAGE = __name__.rpartition(".")[0]
COMMAND_SECONDS = 10.0
# Commands whose output depends only on their program.
CACHED_COMMANDS = ("chronyd", "usage", "chronyc")
# NTS clients repeat the key exchange every four weeks (ntsrefresh); a week more is the margin.
CLIENT_MEMORY_SECONDS = 35 * 86400.0
MOST_CLIENTS = 100000
HOOK_SECONDS = 30.0
# The monitor itself rotates a larger state log. Some distributions rotate /var/log/chrony/*.log by logrotate, others do
# not.
LARGEST_LOG = 1 << 20
# The syslog priorities in the prefixes of lines for systemd (sd-daemon(3)).
PRIORITIES = {"warning": 4, "notice": 5, "info": 6}
EXIT_OK, EXIT_FAILED, EXIT_USAGE = range(3)


class RunResult(NamedTuple):
    """The results of a run: the facts, the certificates that chronyd serves, and the collector's own failures."""

    facts: Optional[Row]
    server: Row
    failures: List[str]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] != ["--collect"] or len(words) > 2:
        # Load the command line interface only for people, not for each run of the timer.
        return int(importlib.import_module(f"{PACKAGE}.cli").main(words))
    try:
        settings = read_settings(words[1] if len(words) == 2 else SETTINGS)
        return collect(settings)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"<3>nts-monitor: {error}.\n")
        return EXIT_USAGE


def collect(settings: Settings) -> int:
    """Collect once, and write metrics, status, state log and memory; return the exit status."""
    owner = os.stat(settings.state).st_uid
    if owner != os.geteuid():
        raise ValueError(
            f"{settings.state} belongs to the user {owner}, as whom the unit runs. Use systemctl start"
            " nts-monitor.service"
        )
    began, now = time.monotonic(), time.time()
    memory = read_json(os.path.join(settings.state, MEMORY))
    found = collect_facts(settings, memory, now)
    failures = list(found.failures)
    old = changes.from_json(memory.get("conditions"))
    old_failure = memory.get("output_failure", "")
    run = samples.Run(not failures, now, time.monotonic() - began, settings.interval_seconds)
    text = samples.exposition(samples.samples(found.facts, found.server, run))
    write(os.path.join(settings.state, METRICS), text, 0o644)
    problem = publish(settings, text)
    failures += [problem] if problem else []
    new = changes.keep(old, changes.conditions(found.facts, found.server, failures), found.facts)
    changed = changes.changes(old, new)
    problems = report(settings, changed, new, time.time())
    memory["conditions"] = changes.to_json(new)
    memory["output_failure"] = "; ".join(problems)
    if problems and memory["output_failure"] != old_failure:
        sys.stderr.write(f"<3>nts-monitor: {memory['output_failure']}.\n")
    status = status_of(found, settings, now, failures)
    write(os.path.join(settings.state, STATUS), json.dumps(status, sort_keys=True) + "\n", 0o644)
    write(os.path.join(settings.state, MEMORY), json.dumps(memory) + "\n", 0o600)
    return EXIT_OK


# --- Collection ---


def collect_facts(settings: Settings, memory: Row, now: float) -> RunResult:
    """Return the results of this run, and update memory for the next run."""
    failures = []  # type: List[str]
    options = GatherOptions(
        wait_for=None,
        min_sources=1,
        max_offset=None,
        timeout=0.0,
        command_timeout=COMMAND_SECONDS,
        log_lines=True,
        reports=["clients"] if settings.clients else [],
    )
    programs = memory.get("programs")
    memory["programs"] = {}
    facts = None  # type: Optional[Row]
    try:
        result = gather(
            options,
            lambda timeout, packages: survey(
                timeout, packages, cached_run(programs, memory["programs"], run_together), brief=True
            ),
        )
        facts = result.facts
        failures += [f"{warning}." for warning in result.warnings]
    except ChronycError as error:
        failures.append(f"chronyc's reports cannot be read: {error}.")
    server = check_server(settings, facts, memory, now)
    if facts is not None:
        facts["goal"], facts["goal_reached"] = goal(settings.goal, facts, server)
        if facts.get("clients") is not None:
            plain, memory["clients"] = count_clients(facts["clients"], memory.get("clients"), now)
            listed = {row["address"] for row in facts["clients"]}
            memory["plain_clients"] = plain[:MOST_CLIENTS]
            facts["client_counts"] = {
                "nts": len(listed & set(memory["clients"])),
                "plain": len(plain),
            }
    return RunResult(facts, server, failures)


def cached_run(
    known: Any, fresh: Row, run: Callable[[Dict[str, List[str]], float], Dict[str, str]]
) -> Callable[[Dict[str, List[str]], float], Dict[str, str]]:
    """Return a wrapper of run that skips CACHED_COMMANDS while their programs are unchanged.

    known holds the outputs of the last run; the wrapper writes those of this run into fresh.
    """
    known = known if isinstance(known, dict) else {}

    def run_some(commands: Dict[str, List[str]], timeout: float) -> Dict[str, str]:
        outputs = {}
        for name in CACHED_COMMANDS:
            if name in commands:
                entry = known.get(name)
                mark = file_signature(commands[name][0])
                if isinstance(entry, list) and len(entry) == 2 and entry[0] == mark:
                    outputs[name] = entry[1]
        outputs.update(run({name: command for name, command in commands.items() if name not in outputs}, timeout))
        for name in CACHED_COMMANDS:
            if outputs.get(name):
                fresh[name] = [file_signature(commands[name][0]), outputs[name]]
        return outputs

    return run_some


def file_signature(path: str) -> List[int]:
    """Return device, inode, size and time of a file, to detect a change; an empty list without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def check_server(settings: Settings, facts: Optional[Row], memory: Row, now: float) -> Row:
    """Return served certificates and trust anchors of chronyd, from the last check, or from a new one if it is due."""
    known = memory.get("server")
    known = known if isinstance(known, dict) else {}
    daemon = facts["daemon"] if facts else {}
    pid, boot = daemon.get("pid"), read_file("/proc/sys/kernel/random/boot_id").strip()
    if not facts or not facts["running"] or not pid:
        # A stopped chronyd serves nothing. If only the reports are unreadable, keep the last check: the files of
        # certificates have not changed by that.
        return dict(known, connections=known.get("connections", 0)) if known and facts is None else {}
    process = [pid, boot, daemon.get("arguments")]
    if known.get("process") != process:
        # chronyd reads directives and certificates only at its start, so that a new process needs a new check.
        known = {"process": process, "text": directives(daemon), "checked": None, "connections": 0}
    before = known["connections"]
    module = None
    files = {path: file_signature(path) for path in known.get("files", {})}
    if is_due(known, files, settings, now):
        module = importlib.import_module(f"{PACKAGE}.server")
        files = {path: file_signature(path) for path in module.watched_files(known["text"])}
        checked = module.check(known["text"], pid, facts["client"]["path"] or "chronyc", now)
        checked["connections"] += before
        known.update(checked, checked=now, files=files)
    memory["server"] = known
    # This run read chronyd's counters before its probe, so they lack the probe's connections.
    return dict(known, connections=before, keys_age_seconds=keys_age(known.get("dump_dir"), now))


def is_due(known: Row, files: Row, settings: Settings, now: float) -> bool:
    """Return whether a new check of the served certificates is due."""
    if known["checked"] is None or files != known["files"]:
        return True
    if any(pair["problem"] for pair in known["pairs"]):
        # Check at every run while a fault lasts, to report its end at once.
        return True
    # A negative age means that the clock was set back.
    return not 0 <= now - known["checked"] < settings.probe_interval_minutes * 60 - settings.interval_seconds / 2


def directives(daemon: Row) -> str:
    """Return the directives of a running chronyd, with those of included files; empty without a configuration file."""
    given = directives_of(daemon["arguments"] or [])
    if given:
        return "\n".join(given)
    chronyd = find_chronyd()
    if not daemon["config_file"]:
        return ""
    command = {"text": [chronyd, "-p", "-f", daemon["config_file"]]} if chronyd else {}
    return run_together(command, COMMAND_SECONDS).get("text") or read_file(daemon["config_file"])


def keys_age(dump_dir: Optional[str], now: float) -> Optional[float]:
    """Return the age in seconds of the file with the server's keys, or None without one."""
    try:
        return round(max(0.0, now - os.stat(os.path.join(dump_dir or "", "ntskeys")).st_mtime), 3)
    except OSError:
        return None


def goal(wanted: str, facts: Row, server: Row) -> Tuple[str, bool]:
    """Return the goal of the host, and whether the host reaches it."""
    if wanted == "auto":
        sources = facts["sources"] or []
        has_nts = any(source["auth"] and source["auth"]["mode"] == "nts" for source in sources)
        wanted = "authenticated" if has_nts or not server.get("pairs") else "synchronised"
    if wanted == "authenticated":
        return wanted, facts["nts"]["authenticated"]
    tracking = facts["tracking"]
    return wanted, bool(tracking and tracking["leap_status"] not in (None, "not_synchronised"))


def count_clients(rows: Sequence[Row], known: Any, now: float) -> Tuple[List[str], Dict[str, float]]:
    """Return the clients without NTS, and the Unix time of the last key exchange of each NTS client.

    known holds those times of the last run, because chronyd's own count begins at its start, and clients with cookies
    make no key exchange then.
    """
    last_exchanges = {}  # type: Dict[str, float]
    for address, when in known.items() if isinstance(known, dict) else ():
        if isinstance(when, (int, float)) and now - when < CLIENT_MEMORY_SECONDS:
            last_exchanges[address] = min(when, now)
    plain = []
    for row in rows:
        if row["address"] in ("127.0.0.1", "::1") or row["address"].startswith("127."):
            continue
        if row.get("nts_ke_connections"):
            age = row.get("nts_ke_last_seconds") or 0
            last_exchanges[row["address"]] = max(last_exchanges.get(row["address"], 0.0), now - age)
        if row["address"] not in last_exchanges and row["ntp_requests"]:
            plain.append(row["address"])
    newest = sorted(last_exchanges, key=lambda address: -last_exchanges[address])[:MOST_CLIENTS]
    return plain, {address: round(last_exchanges[address]) for address in newest}


# --- Output ---


def status_of(found: RunResult, settings: Settings, now: float, failures: Sequence[str]) -> Row:
    """Return the content of the status file for --json and --nagios, without secrets and addresses of clients."""
    facts = found.facts
    known = facts or {}
    return {
        "version": 1,
        "time": round(now, 3),
        "interval_seconds": settings.interval_seconds,
        "success": not failures,
        "failures": list(failures),
        "goal": known.get("goal"),
        "goal_reached": known.get("goal_reached", False),
        "nts": known.get("nts"),
        "running": known.get("running"),
        "chrony_version": known.get("daemon", {}).get("version"),
        "tracking": known.get("tracking"),
        "sources": None if known.get("sources") is None else [source_status(row) for row in known["sources"]],
        "serverstats": known.get("serverstats"),
        "clients": known.get("client_counts"),
        "pairs": found.server.get("pairs", []),
        "anchors": found.server.get("anchors", []),
    }


def source_status(source: Row) -> Row:
    """Return the entry of a source in the status file."""
    auth = source["auth"] or {}
    is_nts = auth.get("mode") == "nts"
    return {
        "name": source["name"],
        "address": source["address"],
        "mode": source["mode"],
        "state": source["state"],
        "stratum": source["stratum"],
        "reach": source["reach"],
        "offset_seconds": source["offset_seconds"],
        "error_seconds": source["error_seconds"],
        "authentication": auth.get("mode"),
        "cookies": auth.get("cookies") if is_nts else None,
        "last_ke_seconds": auth.get("last_ke_seconds") if is_nts else None,
        "nts": source["nts"],
    }


def publish(settings: Settings, text: str) -> str:
    """Write the metrics for node_exporter; return the problem, or an empty text."""
    if not settings.textfile_directory:
        return ""
    path = os.path.join(settings.textfile_directory, TEXTFILE_FOLDER, TEXTFILE_LINK)
    try:
        write(path, text, 0o644)
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}. Run the role chrony_monitor again."
    return ""


def report(settings: Settings, changed: Sequence[changes.Change], new: Dict[str, Any], now: float) -> List[str]:
    """Log the changes and run the hook; return the problems."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    lines = []
    for change in changed:
        text = " ".join(printable(str(change)).split())
        sys.stderr.write(f"<{PRIORITIES[change.level]}>{text}\n")
        lines.append(f"{stamp} {change.level} {text}\n")
    sys.stderr.flush()
    if not lines:
        return []
    return [*append(settings.log, "".join(lines)), *run_hook(settings.hook, changed, new)]


def printable(text: str) -> str:
    """Replace unprintable characters, because a remote server chooses the texts in its certificate."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def append(path: str, text: str) -> List[str]:
    """Append lines to the state log, after a rotation if it is larger than LARGEST_LOG; return the problems."""
    if not path:
        return []
    try:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_size > LARGEST_LOG:
                os.replace(path, path + OLD_LOG)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return [f"the state log {path} cannot be written: {error.strerror}"]
    return []


def run_hook(hook: Sequence[str], changed: Sequence[changes.Change], new: Dict[str, Any]) -> List[str]:
    """Run the operator's command with the changes in JSON on its standard input; return the problems."""
    if not hook:
        return []
    host = new.get("host")
    message = {
        "host": host.state if host else "unknown",
        "changes": [
            {
                "name": change.name,
                "level": change.level,
                "old": change.old.state if change.old else None,
                "new": change.new.state if change.new else None,
                "reason": change.new.text if change.new else "",
            }
            for change in changed
        ],
    }
    try:
        done = subprocess.run(
            list(hook), input=json.dumps(message).encode(), stdout=sys.stderr, timeout=HOOK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"the hook {hook[0]} failed: {error}"]
    return [f"the hook {hook[0]} ended with the status {done.returncode}"] if done.returncode else []


def write(path: str, text: str, mode: int) -> None:
    """Replace a file atomically: a reader gets either the old or the new content."""
    staged = f"{path}.new"
    with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    # The umask may have removed rights.
    os.chmod(staged, mode)
    os.replace(staged, path)


def read_json(path: str) -> Row:
    """Return the content of a JSON file of this program; empty if it is missing, or damaged by a power cut."""
    try:
        content = json.loads(read_file(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
