# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/platforms.md from docs/platforms.yml and the table of variables: make platforms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import Word, wanted
from ansible_collections.securetime.nts.plugins.plugin_utils._variables import MAY_BE_MISSING, PLATFORM

DOCS = Path(__file__).resolve().parent
FIELDS = {
    "config_file": "Configuration",
    "service": "Unit",
    "group": "User and group",
    "options_file": "Options of chronyd",
    "options": "Default options",
    "key_file": "Keys",
    "drift_file": "Drift",
    "dump_dir": "State, cookies",
    "log_dir": "Logs",
    "confdir": "Drop-ins `*.conf`",
    "sourcedir": "Drop-ins `*.sources`",
    "packages": "Packages",
    "server_packages": "On a server",
    "tool_packages": "Tools",
}
MEANINGS = {
    "like": "the family whose values count, where the role does not know the distribution",
    "packages": "packages of every host, chrony first",
    "server_packages": "packages of a server",
    "selinux_packages": "the package with `semanage`",
    "tool_packages": "packages of `chrony_nts_package_tools`",
    "options": "chronyd's options, as words",
    "service": "chronyd's unit",
    "group": "chronyd's group, and its user without `-u`",
    "config_file": "the main configuration file",
    "key_file": "the distribution's file of symmetric keys",
    "drift_file": "the file with the clock's drift",
    "dump_dir": "chronyd's folder for what it keeps",
    "log_dir": "chronyd's folder for logs",
    "options_file": "the package's file of chronyd's options; the role writes one beside it",
    "options_name": "the variable in it that the unit gives to chronyd",
    "drop_in_dirs": "folders that `chrony_nts_dropins` is about: `confdir`, `sourcedir`",
    "one_time_daemon": "whether a package that brings another time daemon removes chrony",
    "directives": "directives of the distribution's own chrony.conf to keep",
    "sources": "sources of `chrony_nts_distribution_sources`",
    "certificate_sets": "files of the distribution that vouch for a source: `set`, `path`",
}
TESTED = {
    "here": "whole hosts, `make test`",
    "chronyd": "its chronyd, `make test`",
    "workflow": "workflow, in forks",
    "data": "data only",
}
INTRODUCTION = """# Platforms

<!-- Made from docs/platforms.yml and plugins/plugin_utils/_variables.py: make platforms -->

The role finds a host's platform by os-release(5): the family first (`ID_LIKE`), then the distribution (`ID`), then the
release (`VERSION_ID`). `chrony_nts_platform` has the last word about each value.

## What is tested where

- **whole hosts**: this checkout's tests run the role on it.
- **its chronyd**: the tests run the chronyd of its package, without a host.
- **workflow**: `.github/workflows/ci.yml` runs the role on a real image, in forks and on GitHub. It was not run here.
- **data only**: a test compares what the role makes of its os-release with this table. No host was there.

Two test hosts are no distribution. `el-standin` has the package tools and the layout of Enterprise Linux 9, and
`suse-standin` those of openSUSE Leap 15.6, on Debian's userland ([tests/lab](../tests/lab/README.md)). They show that
dnf, zypper and these layouts work. They are no result on a release of the table.

"""
SECOND = """
`unknown` is what no source says. The role does not need the last four columns: it asks the host.

## What each family calls things

"""
UNKNOWN = """
## A distribution that the role does not know

The run ends with a sentence before it changes anything. Where the distribution resembles one of the families, say so,
and add what differs:

```yaml
chrony_nts_platform:
  like: debian            # or fedora, or suse
  packages: [chrony-nts, ca-certificates]
```

A derivative that names its parent in `ID_LIKE` needs nothing. Without `like`, every name is needed but those marked:

| Name | Value | Meaning |
|---|---|---|
"""
PACKAGES = """
## Packages

The role runs `apt-get`, `dnf` or `zypper`, only where something is missing or is to be changed. A host that has
everything costs no task and needs no network. Repositories are the host's own: internal mirrors, proxies and pinnings
work as they do for an administrator.

| what you want | what you set |
|---|---|
| newer packages in each run | `chrony_nts_package_state: latest` |
| one version of chrony | `chrony_nts_package_version: 4.6.1-3+deb13u2`, or `4.6.1*` (not with zypper) |
| fresh lists of packages | `chrony_nts_package_cache_seconds: 3600`, or `0` for always |
| to wait longer for another apt, dnf or zypper | `chrony_nts_package_lock_seconds: 600` |
| all packages of the host updated, as `apt upgrade` does | `chrony_nts_package_upgrade: true` |
| `certtool`, `gnutls-cli` and `openssl` | `chrony_nts_package_tools: true` |

A package that is held (`apt-mark hold`, `dnf versionlock`, `excludepkgs`, `zypper addlock`) stays. The run warns where
it would have been updated, and fails where it is missing or of another version than `chrony_nts_package_version`.

A failure names its cause, the program's own words, and what to do:

```
apt-get could not install chrony, ca-certificates: a repository cannot be reached.
  E: Failed to fetch http://mirror.example.org/debian/dists/trixie/InRelease  Could not resolve 'mirror.example.org'
Check the network, the proxy and the address of the repository on this host.
```

Outputs of the real programs for each cause are in `tests/unit/package_outputs`. Those of dnf 5 and of a host without a
subscription could not be captured here.
"""


def cell(value: Any) -> str:
    """Return a value as a table cell."""
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value}`" if value else "none"


def value_of(word: Word) -> str:
    """Return the valid values of a name; directives and sources have a page of their own."""
    if word.name == "directives":
        return "as `chrony_nts_directives`"
    if word.name == "sources":
        return "as `chrony_nts_sources`"
    return "a list" if word.several else wanted(word)


def exceptions(given: dict[str, Any]) -> Iterator[str]:
    """Yield each difference between a release and its family."""
    for row in given["platforms"]:
        layout = row["layout"]
        closest = max(
            (given["layouts"][name] for name in ("debian", "fedora", "suse")),
            key=lambda family: sum(layout[name] == family[name] for name in layout),
        )
        for name, title in FIELDS.items():
            if layout[name] != closest[name]:
                yield f"- {row['name']}: {title[0].lower()}{title[1:]} {cell(layout[name])}"


def page() -> str:
    """Return the page as Markdown."""
    # Long: it renders the tables of the page in their order.
    given = yaml.safe_load((DOCS / "platforms.yml").read_text())
    lines = ["| Platform | Tested | chrony | Firewall | Trust store | Confinement |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['name']} | {TESTED[row['tested']]} | {row['chrony']} | {row['firewall']} | `{row['trust_store']}`"
        f" | {row['confinement']} |"
        for row in given["platforms"]
    ]
    families = {"Debian, Ubuntu": "debian", "Enterprise Linux, Fedora, Amazon": "fedora", "SUSE": "suse"}
    table = [f"| | {' | '.join(families)} |", "|---|---|---|---|"]
    table += [
        f"| {title} | {' | '.join(cell(given['layouts'][family][name]) for family in families.values())} |"
        for name, title in FIELDS.items()
    ]
    names = [
        f"| `{part.name}` | {value_of(part)} | {MEANINGS[part.name]}"
        f"{' (not needed)' if part.name in MAY_BE_MISSING else ''} |"
        for part in PLATFORM.parts
    ]
    sources = ["", "## Sources", "", "| Platform | Package | os-release |", "|---|---|---|"]
    for row in given["platforms"]:
        known = row["os_release"]
        ((kind, where),) = [(key, known[key]) for key in ("fixture", "package", "quoted", "assumed") if key in known]
        text = {
            "fixture": f"ansible-core's fixture `{where}`",
            "package": f"package {where}",
            "quoted": f"quoted in public documentation ({where})",
            "assumed": f"not read, taken to be {where}",
        }[kind]
        sources.append(f"| {row['name']} | {row['source']} | {text} |")
    return "".join(
        [
            *(
                INTRODUCTION,
                "\n".join(lines),
                "\n",
                SECOND,
                "\n".join(table),
                "\n\nExceptions:\n\n",
                "\n".join(exceptions(given)),
                "\n",
                UNKNOWN,
                "\n".join(names),
                "\n",
            ),
            *(PACKAGES, "\n".join(sources), "\n"),
        ]
    )


if __name__ == "__main__":
    (DOCS / "platforms.md").write_text(page())
