# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Install packages by the host's package manager, and explain its failures."""

import glob
import os
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change.files import CommandResult
from ansible_collections.securetime.nts.plugins.module_utils._packages import failures, managers
from ansible_collections.securetime.nts.plugins.module_utils._packages.managers import APT, ZYPPER, Request
from ansible_collections.securetime.nts.plugins.module_utils._state.host import (
    DPKG_QUERY,
    OS_RELEASE,
    RPM_QUERY,
    read_file,
    read_os_release,
    read_packages,
)

PAUSE_SECONDS = 2.0
# Paths that apt and zypper touch when they refresh the package lists.
REFRESHED = {APT: ("/var/lib/apt/lists", "/var/lib/apt/lists/partial"), ZYPPER: ("/var/cache/zypp/raw/*/cookie",)}
# Causes of a failed refresh that end the run, because an installation from the old lists would hide them.
FATAL_CAUSES = ("clock", "lock", "space", "read-only", "interrupted")
REBOOT_REQUIRED = ("/run/reboot-required", "/var/run/reboot-required")
ROLLING = ("opensuse-tumbleweed", "opensuse-microos")
Run = Callable[[List[str]], CommandResult]


class PackageError(Exception):
    """The packages are not in the desired state. The text gives the reason, and `cause` its name."""

    def __init__(self, text: str, cause: str):
        super().__init__(text)
        self.cause = cause


class Report(NamedTuple):
    """The result; in check mode, the predicted one."""

    changed: bool
    versions: Dict[str, Optional[str]]
    before: Dict[str, Optional[str]]
    held: List[str]
    warnings: List[str]
    commands: List[str]
    reboot_required: bool


class Manager:
    """The package manager of a host, for one request."""

    def __init__(self, name: str, request: Request, run: Run, check: bool, sleep: Callable[[float], None] = time.sleep):
        self.name = name
        self.request = request
        self.run = run
        self.check = check
        self.sleep = sleep
        self.deadline = time.monotonic() + request.lock_seconds
        self.changed = False
        self.reboot = False
        self.refreshed = False
        self.refresh_failure = None  # type: Optional[failures.Failure]
        self.warnings = []  # type: List[str]
        self.commands = []  # type: List[str]

    def versions(self) -> Dict[str, Optional[str]]:
        """Return the version of each requested package; None if it is not completely installed."""
        names = list(self.request.names)
        query = managers.package_query(self.name, DPKG_QUERY, RPM_QUERY, names)
        return read_packages(self.run(query).stdout, names)

    def held(self) -> List[str]:
        """Return the requested packages that are held."""
        if self.name == APT:
            texts = [self.run(["apt-mark", "showhold"]).stdout]
        else:
            texts = [read_file(path) for path in managers.LOCK_FILES[self.name]]
        return managers.held(self.name, self.request.names, texts)

    def refresh_if_old(self) -> None:
        """Refresh the package lists if they are at least `cache_seconds` old."""
        age = self.request.cache_seconds
        # dnf checks the age itself.
        if self.name in REFRESHED and age >= 0 and list_age(REFRESHED[self.name], time.time()) >= age:
            self.refresh()

    def refresh(self) -> None:
        """Refresh the package lists. Keep the failure of a repository for later: the old lists may suffice."""
        if self.check:
            return
        self.refreshed = True
        status, output = self._run(managers.refresh(self.name))
        failure = None if status == 0 else failures.explain(output)
        if failure and failure.cause in FATAL_CAUSES:
            raise self.error("refresh the lists of packages", output)
        self.refresh_failure = failure

    def run_change(self, what: str, command: List[str]) -> None:
        """Run a command that changes packages."""
        status, output = self._run(command)
        cause = failures.explain(output).cause if status else ""
        if cause == "interrupted" and not self.check:
            self._run(managers.DPKG_CONFIGURE)
            status, output = self._run(command)
        elif cause in ("unknown", "repository") and self.name in REFRESHED and not self.refreshed and not self.check:
            # The lists may name files that the repository has replaced.
            self.refresh()
            status, output = self._run(command)
        changed = managers.has_changed(self.name, status, output, self.check)
        if changed is None:
            raise self.error(what, output)
        self.changed = self.changed or changed
        self.reboot = self.reboot or (self.name == ZYPPER and status == managers.ZYPPER_REBOOT)
        if status and changed is not None and self.name == ZYPPER and status != managers.ZYPPER_REBOOT:
            self.warnings.append(failures.sentence(f"zypper ended with {status}", failures.explain(output)))

    def error(self, what: str, output: str) -> PackageError:
        """Return the error of a failed command. If a refresh failed before, it explains a package that is not found."""
        failure = failures.explain(output)
        if self.refresh_failure and failure.cause in ("unknown", "other", "repository", "dependencies"):
            failure = self.refresh_failure
        waited = f" within {self.request.lock_seconds} seconds" if failure.cause == "lock" else ""
        return PackageError(
            failures.sentence(f"{managers.PROGRAMS[self.name]} could not {what}{waited}", failure), failure.cause
        )

    def _run(self, command: List[str]) -> Tuple[int, str]:
        """Run a command; retry until the deadline while another program holds the lock. Return status and output."""
        self.commands.append(" ".join(command))
        while True:
            result = self.run(command)
            output = f"{result.stdout}\n{result.stderr}"
            left = self.deadline - time.monotonic()
            if result.status == 0 or left <= 0 or failures.explain(output).cause != "lock":
                return result.status, output
            self.sleep(min(PAUSE_SECONDS, left))


def manage(name: str, request: Request, run: Run, check: bool, sleep: Callable[[float], None] = time.sleep) -> Report:
    """Bring the packages of a host to the desired state; raise PackageError with the reason if that fails."""
    # Long: one sequence, from the versions before to the versions after, which every branch reads.
    manager = Manager(name, request, run, check, sleep)
    before = manager.versions()
    wrong = managers.wrong(name, request, before)
    held = manager.held() if wrong or request.latest or request.upgrade else []
    _refuse_held(name, request, before, [package for package in wrong if package in held])
    newer = [package for package in request.names if package not in {*wrong, *held, *request.versions}]
    to_update = newer if request.latest else []
    if wrong or to_update or request.upgrade:
        manager.refresh_if_old()
    if wrong:
        manager.run_change(
            f"install {', '.join(_with_versions(request, wrong))}", managers.install(name, request, wrong, check)
        )
    if to_update:
        manager.run_change(f"update {', '.join(to_update)}", managers.update(name, request, to_update, check))
    if request.upgrade:
        rolling = read_os_release(next(filter(None, map(read_file, OS_RELEASE)), ""))["id"] in ROLLING
        manager.run_change("upgrade the host", managers.upgrade(name, request, check, rolling))
    after = before if check else manager.versions() if manager.commands else before
    missing = [] if check else managers.wrong(name, request, after)
    if missing:
        raise PackageError(
            f"{managers.PROGRAMS[name]} reported success, and {', '.join(_with_versions(request, missing))} is not"
            f" installed. Run it on the host: {manager.commands[-1]}",
            "other",
        )
    if manager.refresh_failure:
        manager.warnings.append(
            failures.sentence(
                "The lists of packages could not be refreshed, and the old ones were used", manager.refresh_failure
            )
        )
    if held and request.latest:
        manager.warnings += [
            f"{package} is held at {before[package]}, and stays."
            f" Release it by {managers.RELEASE[name].format(package)}."
            for package in held
            if before[package]
        ]
    reboot = manager.reboot or any(os.path.exists(path) for path in REBOOT_REQUIRED)
    if request.upgrade and reboot:
        manager.warnings.append("The upgrade needs a reboot of this host. The role does not reboot it.")
    return Report(manager.changed, after, before, held, manager.warnings, manager.commands, reboot)


def list_age(patterns: Sequence[str], now: float) -> float:
    """Return the seconds since the last refresh of the package lists; infinite if there was none."""
    times = [os.stat(path).st_mtime for pattern in patterns for path in glob.glob(pattern)]
    return now - max(times) if times else float("inf")


def _with_versions(request: Request, names: Sequence[str]) -> List[str]:
    return [f"{name} {request.versions[name]}" if name in request.versions else name for name in names]


def _refuse_held(name: str, request: Request, before: Dict[str, Optional[str]], names: Sequence[str]) -> None:
    if not names:
        return
    package = names[0]
    state = f"at {before[package]}" if before[package] else "and not installed"
    wanted = " ".join(_with_versions(request, [package]))
    raise PackageError(
        f"{package} is held {state}, and {wanted} is wanted. Nothing was changed. Release it by"
        f" {managers.RELEASE[name].format(package)}, or take the version out of chrony_nts_package_version.",
        "held",
    )
