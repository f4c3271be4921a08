# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Command lines of apt, dnf and zypper, and parsers of their holds. Runs no program."""

import re
from fnmatch import fnmatch
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

APT, DNF, DNF5, ZYPPER = MANAGERS = ("apt", "dnf", "dnf5", "zypper")
PROGRAMS = {APT: "apt-get", DNF: "dnf", DNF5: "dnf5", ZYPPER: "zypper"}
KEEP_CONFIGURATION = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
# Finishes an interrupted installation.
DPKG_CONFIGURE = ["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"]
# Files in which the operator holds packages.
LOCK_FILES = {
    DNF: ("/etc/dnf/dnf.conf", "/etc/dnf/plugins/versionlock.list"),
    DNF5: ("/etc/dnf/dnf.conf", "/etc/dnf/versionlock.toml"),
    ZYPPER: ("/etc/zypp/locks",),
}
RELEASE = {
    APT: "apt-mark unhold {0}",
    DNF: "dnf versionlock delete {0}, or excludepkgs in /etc/dnf/dnf.conf",
    DNF5: "dnf versionlock delete {0}, or excludepkgs in /etc/dnf/dnf.conf",
    ZYPPER: "zypper removelock {0}",
}
# The formats of dnf.conf, of versionlock.list ([!]EPOCH:NAME-VERSION-RELEASE.ARCH or NAME-0:VERSION), of
# versionlock.toml, and of zypper's locks.
EXCLUDED = re.compile(r"^[ \t]*exclude(?:pkgs)?[ \t]*=(?P<names>(?:.*)(?:\n[ \t]+.*)*)", re.MULTILINE)
VERSION_LOCK = re.compile(r"^(?:\d+:)?(?P<name>[^#\s][^\s:]*?)-(?:\d+:)?[\d*][^-\s]*(?:-[^-\s]+)?$", re.MULTILINE)
VERSION_LOCK_5 = re.compile(r"^[ \t]*name[ \t]*=[ \t]*[\"'](?P<name>[^\"']+)[\"']", re.MULTILINE)
ZYPPER_LOCK = re.compile(r"^solvable_name:[ \t]*(?P<name>\S+)", re.MULTILINE)
UNCHANGED = re.compile(
    r"^0 upgraded, 0 newly installed, (?:0 downgraded, )?0 to remove|^Nothing to do\.|^ Nothing to do", re.MULTILINE
)
# zypper(8), exit codes: a reboot or a restart of zypper is needed, repositories were skipped, a scriptlet failed.
ZYPPER_DONE = (0, 100, 101, 102, 103, 106, 107)
ZYPPER_REBOOT = 102


class Request(NamedTuple):
    """The desired state of the packages of a host."""

    names: Sequence[str]
    # The version of each pinned package.
    versions: Mapping[str, str] = {}
    latest: bool = False
    upgrade: bool = False
    # The age in seconds at which to refresh the package lists; below 0 the package manager decides.
    cache_seconds: int = -1
    lock_seconds: int = 120


def is_pinned(manager: str, installed: Optional[str], wanted: str) -> bool:
    """Return whether the installed version matches the pinned pattern, which for rpm may omit the release."""
    if not installed:
        return False
    return fnmatch(installed, wanted) or (manager != APT and fnmatch(installed, wanted + "-*"))


def wrong(manager: str, request: Request, installed: Mapping[str, Optional[str]]) -> List[str]:
    """Return the packages that are missing or do not have their pinned version."""
    return [
        name
        for name in request.names
        if not installed.get(name)
        or (name in request.versions and not is_pinned(manager, installed[name], request.versions[name]))
    ]


def held(manager: str, names: Sequence[str], texts: Sequence[str]) -> List[str]:
    """Return the held packages. `texts` are the output of `apt-mark showhold`, or the contents of LOCK_FILES."""
    patterns = []  # type: List[str]
    for text in texts:
        if manager == APT:
            patterns += [line.partition(":")[0].strip() for line in text.splitlines()]
        elif manager == ZYPPER:
            patterns += [found.group("name") for found in ZYPPER_LOCK.finditer(text)]
        else:
            patterns += [
                word for found in EXCLUDED.finditer(text) for word in re.split(r"[\s,]+", found.group("names"))
            ]
            patterns += [found.group("name") for found in VERSION_LOCK.finditer(text)]
            patterns += [found.group("name") for found in VERSION_LOCK_5.finditer(text)]
    return [name for name in names if any(pattern and fnmatch(name, pattern) for pattern in patterns)]


def refresh(manager: str) -> List[str]:
    """Return the command that refreshes the package lists. dnf refreshes them with the next installation."""
    if manager == APT:
        return ["apt-get", "--quiet", "-o", "APT::Update::Error-Mode=any", "update"]
    return ["zypper", "--non-interactive", "refresh"]


def install(manager: str, request: Request, names: Sequence[str], check: bool) -> List[str]:
    """Return the command that installs packages or updates installed ones."""
    separator = "-" if manager in (DNF, DNF5) else "="
    words = [f"{name}{separator}{request.versions[name]}" if name in request.versions else name for name in names]
    pins = any(name in request.versions for name in names)
    if manager == APT:
        return [*_apt(check), *(["--allow-downgrades"] if pins else []), "install", *words]
    if manager == ZYPPER:
        return [*_zypper("install", check), *(["--oldpackage"] if pins else []), *words]
    return [*_dnf(manager, request, check), "install", *words]


def update(manager: str, request: Request, names: Sequence[str], check: bool) -> List[str]:
    """Return the command that updates installed packages."""
    if manager in (DNF, DNF5):
        return [*_dnf(manager, request, check), "upgrade", *names]
    return install(manager, request, names, check)


def upgrade(manager: str, request: Request, check: bool, rolling: bool) -> List[str]:
    """Return the command that updates all packages of the host except pinned ones. It removes none."""
    if manager == APT:
        pins = [f"{name}={version}" for name, version in request.versions.items()]
        return [*_apt(check), *(["--allow-downgrades"] if pins else []), "--with-new-pkgs", "upgrade", *pins]
    if manager == ZYPPER:
        return _zypper("dist-upgrade" if rolling else "update", check)
    return [*_dnf(manager, request, check), *(f"--exclude={name}" for name in request.versions), "upgrade"]


def has_changed(manager: str, status: int, output: str, check: bool) -> Optional[bool]:
    """Return whether a command has changed packages (in check mode: would change them); None if it failed."""
    done = status in ZYPPER_DONE if manager == ZYPPER else status == 0
    if not done and check and manager in (DNF, DNF5) and "Operation aborted" in output:
        # With --assumeno dnf resolves the transaction, then aborts at its question with an error status.
        return True
    return UNCHANGED.search(output) is None if done else None


def _apt(check: bool) -> List[str]:
    return ["apt-get", "--quiet", "--yes", *KEEP_CONFIGURATION, *(["--simulate"] if check else [])]


def _zypper(action: str, check: bool) -> List[str]:
    options = ["--auto-agree-with-licenses", *(["--dry-run"] if check else [])]
    return ["zypper", "--non-interactive", action, *options]


def _dnf(manager: str, request: Request, check: bool) -> List[str]:
    # dnf5 always waits for the lock.
    lock = ["--setopt=exit_on_lock=true"] if manager == DNF else []
    age = []  # type: List[str]
    if request.cache_seconds == 0:
        age = ["--refresh"]
    elif request.cache_seconds > 0:
        age = [f"--setopt=*.metadata_expire={request.cache_seconds}"]
    return [PROGRAMS[manager], "--assumeno" if check else "--assumeyes", *lock, *age]


def package_query(manager: str, deb: Sequence[str], rpm: Sequence[str], names: Sequence[str]) -> List[str]:
    """Return the command that queries the versions of packages."""
    return [*(deb if manager == APT else rpm), *names]


def versions_text(versions: Mapping[str, Optional[str]]) -> str:
    """Return versions as lines, for a diff."""
    return "".join(f"{name} {version or '(not installed)'}\n" for name, version in versions.items())


def changes(before: Mapping[str, Optional[str]], after: Mapping[str, Optional[str]]) -> Dict[str, List[Optional[str]]]:
    """Return the old and the new version of each package whose version changed."""
    return {name: [old, after.get(name)] for name, old in before.items() if old != after.get(name)}
