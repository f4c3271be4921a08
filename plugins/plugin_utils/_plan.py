# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Compute the desired state of one host from its variables, its platform and its facts.

The functions are pure: they read and write no file. The role registers the plan, and a verbose run prints it, so the
plan holds no secret. Only _files.parameters() adds the contents of keys and certificates, in the role's last step.

Long: each function computes one part of the plan, from the same three inputs.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.securetime.nts.plugins.module_utils._change import paths, serving
from ansible_collections.securetime.nts.plugins.module_utils._packages import managers
from ansible_collections.securetime.nts.plugins.module_utils._state import options
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import printable
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives, words_of
from ansible_collections.securetime.nts.plugins.plugin_utils import (
    _chrony_conf,
    _distribution,
    _files,
    _limits,
    _rotation,
    _variables,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import NTSKE_PORT, Inputs

Row = dict[str, Any]

# The first chrony with NTS, and the first with several certificates and sets of trust anchors (chrony's NEWS).
NTS_SINCE = "4.0"
SETS_SINCE = "4.1"
PACKAGES = ("packages", "server_packages", "selinux_packages", "tool_packages")
# Every platform uses this package name. Enterprise Linux has it in EPEL only.
CERTBOT = "certbot"
CHRONY_DIR = "/etc/chrony/"
# DHCP clients write their sources here. chrony_nts_dhcp_sources decides whether chronyd reads them.
DHCP_DIR = "/run/chrony-dhcp/"
# On Debian, their packages conflict with chrony's: installing one removes the other. Other rivals stay installed.
TIME_DAEMONS = (
    "systemd-timesyncd.service",
    "ntp.service",
    "ntpd.service",
    "ntpsec.service",
    "openntpd.service",
    "ntpd-rs.service",
)
COMMAND_SOCKET = "/run/chrony/chronyd.sock"
CHRONYC_PORT = 323
# chronyc queries loopback addresses by default. A chronyd that is bound to one of these addresses answers it.
CHRONYC_ADDRESSES = ("127.0.0.1", "0.0.0.0", "::1", "::")
# LABELLED: paths where SELinux's policy already permits chronyd's accesses.
# WRITABLE: folders that the sandbox of every chronyd unit lets it write to.
LABELLED = (
    *("/etc/chrony", "/etc/chrony.keys", "/etc/adjtime", "/var/lib/chrony", "/var/log/chrony", "/run", "/var/run"),
    *("/dev", "/sys", "/usr/share/zoneinfo"),
)
WRITABLE = ("/var/lib/chrony", "/var/log/chrony", "/run", "/var/run")
# nts-certificate keeps pairs for a rollback here and removes them itself.
STATE_DIR = "/var/lib/securetime-nts/"


def platform(platforms: Mapping[str, Row], system: Row, overrides: Row) -> Row:
    """Return the names of packages, files and units on a host's platform.

    Merge, later ones override: the platform that `like` of overrides names, the related distributions (ID_LIKE) and the
    distribution, each followed by its major release, and the operator's overrides. system is
    ansible_facts.chrony.environment.os.
    Return an empty dictionary for an unknown distribution without known relatives or overrides.
    """
    major = str(system.get("version") or "").partition(".")[0]
    merged: Row = {**platforms.get(str(overrides.get("like")), {})}
    # ID_LIKE names the closest relative first (os-release(5)).
    for name in [*reversed(system.get("like", [])), system.get("id")]:
        merged |= platforms.get(name, {})
        merged |= platforms.get(f"{name}-{major}", {})
    merged |= overrides
    if "one_time_daemon" in merged:
        merged["one_time_daemon"] = bool(boolean(merged["one_time_daemon"]))
    return merged


def package_names(platforms: Mapping[str, Row], overrides: Row) -> list[str]:
    """Return every package that a host of any platform can need, sorted by name."""
    rows = [*platforms.values(), overrides]
    of_platforms = (name for row in rows for key in PACKAGES for name in row.get(key, []))
    return sorted({CERTBOT, _rotation.PACKAGE, *of_platforms})


def plan(inputs: Inputs, platforms: Mapping[str, Row], chrony: Row, first_seen: Row | None = None) -> Row:
    """Return the plan of one host.

    inputs have passed the rules. chrony is ansible_facts.chrony of the host. first_seen is `first_seen` of an earlier
    plan of the same run: the state of the host before the role changed it.
    """
    # Long: the plan has one line for each value that the tasks and templates of the role read.
    environment = chrony["environment"]
    place = platform(platforms, environment["os"], inputs["platform"])
    problems = unsupported(place, environment)
    if problems:
        return {"problems": [printable(text) for text in problems]}
    # A chronyd that prints no version is half installed: a power cut interrupted the installation of its package.
    half_installed = bool(chrony["installed"] and not chrony["daemon"]["version"])
    version = chrony["daemon"]["version"] or ""
    # Of a chronyd without NTS, the tables know no part. The plan only says that it is too old.
    skips = inputs.is_true("skip_unsupported") and not _chrony_conf.is_newer(NTS_SINCE, version)
    skip_for = version if skips else ""
    pairs = [_public(pair) for pair in inputs.pairs]
    daemon = daemon_options(inputs, place, environment)
    user = daemon.options.get("u") or place["group"]
    ports = ntske_ports(inputs)
    dirs = certificate_dirs(inputs)
    read_addresses = _drop_in_addresses(inputs, place, environment)
    distribution_sources = _distribution.own_sources(place, inputs, environment["distribution_files"], read_addresses)
    all_sources = [*inputs.sources, *distribution_sources]
    source_lines = _chrony_conf.render_sources(_chrony_conf.supported(all_sources, skip_for))
    read_sources = [*all_sources, *({"address": address} for address in read_addresses)]
    kept = _distribution.defaults(
        place,
        inputs.directives,
        version,
        environment["distribution_files"],
        _distribution.is_smeared(read_sources),
    )
    distribution_lines = _chrony_conf.render_directives(kept)
    lines = configured(inputs, place, skip_for, distribution_lines)
    has_rules = bool(ports or dirs) or needs_rules(lines.effective)
    rotation_text = rotation(inputs, place, lines.effective)
    packages = wanted_packages(inputs, place, environment["selinux"] and has_rules, rotation_text)
    missing = packages if half_installed else [name for name in packages if not _version(chrony, name)]
    single = inputs["layout"] == "single"
    unit = chrony["unit"] or {}
    startable = [row for row in environment["rivals"] if row["load_state"] != "masked"]
    return {
        "problems": [
            *map(printable, incapable(inputs, chrony, skip_for, known=not half_installed or first_seen is not None)),
            *map(printable, unusable_sources(inputs, place, environment, distribution_sources, read_addresses)),
            *([] if environment["package_manager"] or not missing else [_uninstallable(missing)]),
            *map(printable, unmanageable(inputs, environment["package_manager"])),
            *map(printable, contradictions(place, chrony, daemon, lines)),
        ],
        "notes": [printable(text) for text in notes(inputs, place, environment, daemon)],
        "platform": place,
        "package_manager": environment["package_manager"],
        "python": environment["python"],
        "installed": chrony["installed"],
        "half_installed": half_installed,
        "packages": packages,
        "missing_packages": missing,
        **installation(inputs, chrony, packages, missing),
        # A run that lost its connection during the installation leaves a runtime mask. A boot removes it.
        "masked_at_runtime": unit.get("unit_file_state") == "masked-runtime",
        "rivals": [row["unit"] for row in startable],
        "first_seen": first_seen or first_state(chrony, startable),
        "skip_for": skip_for,
        "source_dir": _files.SOURCE_DIR,
        "sources_text": _files.managed(source_lines),
        # Audits search the main file for these lines.
        "main_file_lines": [*source_lines, f"user {user}"] if single else [],
        "distribution_lines": distribution_lines,
        "certificate_sets": _distribution.certificate_sets(place, all_sources, environment["distribution_files"]),
        "access_lines": access_lines(inputs),
        "own_access_lines": own_access_lines(inputs),
        "directive_lines": lines.own,
        "options_file": place["options_file"] + options.OWN_SUFFIX,
        "options_text": _files.managed([f'{place["options_name"]}="{" ".join(daemon.words)}"']),
        "daemon_options": daemon.words,
        "clock_control": daemon.clock_control,
        "wait_by_socket": waits_by_socket(environment, lines.effective),
        "command_socket": command_socket(lines.effective),
        "user": user,
        # chronyd reads trust anchors at each key exchange. After a failed one it waits 17 minutes or longer to retry.
        "trust_effect": "restart" if _has_failed(chrony) else "nothing",
        "pairs": pairs,
        "turns": [{name: pair[name] for name in ("id", "provider", "acme_client")} for pair in pairs],
        "ntske_ports": ports,
        "certificate_dirs": dirs,
        "writable_text": writable_text(written_folders(lines.effective)),
        "log_dir": own_log_dir(place, lines.effective),
        "rotation_file": _rotation.FILE,
        "rotation_text": rotation_text,
        "renewal": renewal(pairs, environment["server_files"]),
        "renewal_settings": renewal_settings(inputs, pairs, place),
        "firewall": firewall(inputs, environment["firewall_rules"]),
        "unused_pair_files": unused_pair_files(pairs, environment["server_files"]),
        "proof": proof(inputs, skip_for, distribution_sources),
    }


def prepares(planned: Row) -> bool:
    """Return whether the role does more before the configuration: the clock, packages, certificates, closed ports.

    planned is the plan of a host, with its clock.
    """
    needs = ("installs", "masked_at_runtime", "pairs")
    return bool(any(map(planned.get, needs)) or planned["clock"]["step_seconds"] or planned["firewall"]["state"])


def wanted_packages(inputs: Inputs, place: Row, labels_for_selinux: bool, rotation_text: str) -> list[str]:
    """Return the names of the packages that a host needs."""
    pairs = inputs.pairs
    return [
        *place["packages"],
        *(place["server_packages"] if pairs else []),
        *([CERTBOT] if any(_public(pair)["by_certbot"] for pair in pairs) else []),
        *(place["selinux_packages"] if labels_for_selinux else []),
        *(place.get("tool_packages", []) if inputs.is_true("package_tools") else []),
        *([_rotation.PACKAGE] if rotation_text else []),
    ]


def first_state(chrony: Row, startable: list[Row]) -> Row:
    """Return the states of chronyd and of other time daemons, which the playbook restore puts back."""
    unit = chrony["unit"] or {}
    # systemd can lose a running chronyd.
    lost = bool(chrony.get("running") and unit and chrony["daemon"].get("unit") == unit["name"])
    return {
        "installed": chrony["installed"],
        "active": lost or unit.get("active_state") == "active",
        "enabled": str(unit.get("unit_file_state")).startswith("enabled"),
        "rivals": [
            {
                "unit": row["unit"],
                "active": row["active_state"] == "active",
                "enabled": str(row["unit_file_state"]).startswith("enabled"),
            }
            for row in startable
            if row["unit"] in TIME_DAEMONS
        ],
    }


def _has_failed(chrony: Row) -> bool:
    """Return whether any source with NTS has failed, even if the clock follows another source."""
    states = [chrony["nts"]["state"], *(source["nts"]["state"] for source in chrony.get("sources") or [])]
    return not {"failed", "partial"}.isdisjoint(states)


def _public(pair: Row) -> Row:
    return {name: value for name, value in pair.items() if name not in ("content", "key_content")}


def _version(chrony: Row, package: str) -> str | None:
    version: str | None = (chrony["environment"]["packages"] or {}).get(package)
    return version


def installation(inputs: Inputs, chrony: Row, packages: list[str], missing: list[str]) -> Row:
    """Return whether the package manager has to run (`installs`), and the parameters of nts_packages.

    chrony_nts_package_version applies to the first package, chrony itself. If nothing has to be installed, the role
    runs no task on the host.
    """
    manager = chrony["environment"]["package_manager"]
    wanted = str(inputs["package_version"])
    versions = {packages[0]: wanted} if wanted else {}
    pinned = all(managers.is_pinned(manager, _version(chrony, name), version) for name, version in versions.items())
    latest, upgrade = inputs["package_state"] == "latest", inputs.is_true("package_upgrade")
    age = int(inputs["package_cache_seconds"])
    if age < 0 and manager == managers.APT and (latest or upgrade or not pinned or not chrony["installed"]):
        # apt never refreshes its lists by itself.
        age = 0
    return {
        "installs": bool(missing) or not pinned or latest or upgrade,
        "installation": {
            "manager": manager,
            "name": packages,
            "versions": versions,
            "state": inputs["package_state"],
            "upgrade": upgrade,
            "cache_seconds": age,
            "lock_seconds": int(inputs["package_lock_seconds"]),
        },
    }


# --- requirements of the host ----------------------------------------------------------------------------------------


def unsupported(place: Row, environment: Row) -> list[str]:
    """Return why the role does not support this operating system; empty if it does."""
    system = environment["os"]
    name, version = system["name"] or system["id"], str(system["version"] or "")
    minimum = place.get("minimum", {}).get(system["id"])
    if not place:
        return [
            (
                f"{name} is not supported: the role knows neither it nor a distribution that it is derived from."
                " Set chrony_nts_platform to {like: debian}, {like: fedora} or {like: suse}, and add what differs"
                " (names are in docs/platforms.md)."
            )
        ]
    lacking = [part.name for part in _variables.PLATFORM.parts if part.name not in {*place, *_variables.MAY_BE_MISSING}]
    if lacking:
        return [
            (
                f"{name} is not known to the role, and chrony_nts_platform lacks {', '.join(lacking)}. Set these, too,"
                " or set like to debian, fedora or suse."
            )
        ]
    if environment["service_manager"] != "systemd":
        return [f"{name} without systemd is not supported: the role manages chronyd as a systemd unit."]
    # An unreleased distribution has a code name instead of a version number, or no version at all.
    if minimum and re.match("[0-9]", version) and _chrony_conf.is_newer(str(minimum), f"{version}.0"):
        return [
            (
                f"{name} {version} has no chrony with NTS. It came with chrony {NTS_SINCE}, which this distribution has"
                f" since {minimum}."
            )
        ]
    return []


def unmanageable(inputs: Inputs, manager: str | None) -> Iterator[str]:
    """Yield a sentence for each package variable that the host's package manager cannot fulfil."""
    wanted, upgrade = str(inputs["package_version"]), inputs.is_true("package_upgrade")
    if manager is None and (wanted or upgrade or inputs["package_state"] == "latest"):
        yield (
            "chrony_nts_package_version, chrony_nts_package_state or chrony_nts_package_upgrade asks for packages, and"
            " this host has none of apt, dnf and zypper. Take them out for it."
        )
    if manager == managers.ZYPPER and "*" in wanted:
        yield (
            f"chrony_nts_package_version is {wanted}, and zypper takes no pattern. Write the version as `zypper search"
            " --details chrony` prints it, with or without its release."
        )
    if manager == managers.ZYPPER and wanted and upgrade:
        yield (
            "chrony_nts_package_upgrade is true, and zypper cannot leave out chrony, which chrony_nts_package_version"
            " pins. Run `zypper addlock chrony` on the host in its place."
        )


def incapable(inputs: Inputs, chrony: Row, skip_for: str, known: bool) -> list[str]:
    """Return why this host in its present state cannot run the desired configuration.

    known says whether the facts describe the chronyd of the host. Only then check the chronyd.
    """
    environment = chrony["environment"]
    unit = chrony["unit"] or {}
    found = []
    # The role itself removes a runtime mask, which is that of an earlier run, and reinstalls an empty unit file, which
    # systemd takes for a mask.
    if known and unit.get("unit_file_state") == "masked":
        found.append(
            f"The unit {unit['name']} is masked on this host, so that systemd does not start chronyd. Run `systemctl"
            f" unmask {unit['name']}` on the host, if chronyd is to run there."
            " Reinstall chrony if the unit file is empty."
        )
    if environment["fips"]:
        found.append(
            "This host is in FIPS mode, where NTS cannot run: its cipher AES-SIV is not approved, and chronyd would"
            " stop at its start. Use NTP with symmetric keys here, or take the host out of FIPS mode."
        )
    drop_ins = _drop_ins(environment)
    if inputs["dropins"] == "refuse" and drop_ins:
        found.append(
            f"chrony_nts_dropins is 'refuse', and there is {', '.join(drop_ins)}. Remove it, or set"
            " chrony_nts_dropins to 'ignore' (chronyd does not read it) or 'include' (chronyd reads it first)."
        )
    return found + (_incapable_daemon(inputs, chrony["daemon"], skip_for) if chrony["installed"] and known else [])


def _drop_ins(environment: Row) -> list[str]:
    """Return the drop-ins that chrony_nts_dropins controls: all but those of DHCP."""
    return [path for path in environment["drop_ins"] if not path.startswith(DHCP_DIR)]


def _is_included(path: str, place: Row) -> bool:
    """Return whether chronyd reads a drop-in if chrony_nts_dropins is include."""
    ends = {"confdir": ".conf", "sourcedir": ".sources"}
    folder = path.rpartition("/")[0]
    return any(
        path.endswith(ends[directive]) and folder in folders for directive, folders in place["drop_in_dirs"].items()
    )


def _drop_in_addresses(inputs: Inputs, place: Row, environment: Row) -> list[str]:
    """Return the addresses of the sources that chronyd reads from drop-ins and from DHCP's files."""
    includes, dhcp = inputs["dropins"] == "include", inputs.is_true("dhcp_sources")
    return [
        address
        for path, addresses in environment["drop_in_sources"].items()
        if (dhcp if path.startswith(DHCP_DIR) else includes and _is_included(path, place))
        for address in addresses
    ]


def unusable_sources(
    inputs: Inputs, place: Row, environment: Row, kept: list[Row], in_drop_ins: Sequence[str]
) -> list[str]:
    """Return problems with sources that only the host's facts show.

    These are the distribution's own sources (kept), and those in drop-ins and of DHCP (in_drop_ins, addresses).
    """
    # Long: one sentence for each way in which a source can be unusable on a host.
    found = []
    require = inputs["authselectmode"] == "require"
    plain = [source["address"] for source in kept if not source["nts"]]
    if require and plain:
        found.append(
            "chrony_nts_distribution_sources is true and chrony_nts_authselectmode is 'require', so chronyd would never"
            f" follow {', '.join(plain)}, which has no NTS. Set one of the two to something else."
        )
    if not inputs.sources and inputs.is_true("distribution_sources") and not kept and not inputs.follows_itself:
        found.append(
            "chrony_nts_sources is empty, and the role knows no source of this distribution that"
            " chrony_nts_distribution_sources would add. Name a source."
        )
    if not inputs.is_true("allow_mixed_smear"):
        # Sources in drop-ins usually have no NTS. With authselectmode require, chronyd never follows those.
        others = [] if require else [{"address": address} for address in in_drop_ins]
        of_rules = set(_distribution.smear_problems(inputs.sources, inputs.directives))
        problems = _distribution.smear_problems([*inputs.sources, *kept, *others], inputs.directives)
        found += [text for text in problems if text not in of_rules]
    files = environment["distribution_files"]
    filled = {int(row["set"]) for row in _distribution.certificate_sets(place, inputs.sources, files)}
    empty = sorted(inputs.distribution_sets - filled)
    if empty:
        found.append(
            f"A source in chrony_nts_sources has the certset {', '.join(map(str, empty))}, which is the distribution's,"
            " and this host has no certificate for it. Take 'certset' out here, or choose another number and give it to"
            " an entry of chrony_nts_trust_anchors."
        )
    # With authselectmode require, chronyd never follows sources from DHCP: they have no NTS.
    adds = environment["dhcp"]["helper"] and environment["dhcp"]["peerntp"] and not require
    if adds and not inputs.is_true("dhcp_sources"):
        found.append(
            "chrony_nts_dhcp_sources is false, and /usr/libexec/chrony-helper of this host adds DHCP's servers to"
            f" chronyd, which follows them with chrony_nts_authselectmode '{inputs['authselectmode']}'. Set PEERNTP=no"
            " in /etc/sysconfig/network, or chrony_nts_dhcp_sources to true."
        )
    return found


def _uninstallable(missing: list[str]) -> str:
    return f"This host has no package manager that the role knows. Install {', '.join(missing)} on it."


def _incapable_daemon(inputs: Inputs, daemon: Row, skip_for: str) -> list[str]:
    version = daemon["version"] or ""
    nts = daemon["features"].get("NTS", False)
    if not version or _chrony_conf.is_newer(NTS_SINCE, version) or not nts:
        has = f"is version {version} with{'' if nts else 'out'} NTS" if version else "does not run"
        return [f"The chronyd on this host {has}. Install one that is 4.0 or newer and shows +NTS in `chronyd -v`."]
    found = _chrony_conf.problems(
        _chrony_conf.supported(inputs.directives, skip_for),
        _chrony_conf.supported(inputs.sources, skip_for),
        version,
    )
    if _chrony_conf.is_newer(SETS_SINCE, version):
        if len(inputs.pairs) > 1:
            found.append(
                f"chrony_nts_more_certificates needs chronyd {SETS_SINCE} or newer, and this host has {version}, which"
                " would serve only the last of them. Take it out here."
            )
        if not skip_for and set(inputs.anchor_sets) - {0}:
            found.append(
                f"set of chrony_nts_trust_anchors needs chronyd {SETS_SINCE} or newer, this host has {version}: take it"
                " out, or set chrony_nts_skip_unsupported to true, which leaves out the anchors of all sets but 0."
            )
    return found


def contradictions(place: Row, chrony: Row, daemon: DaemonOptions, lines: Lines) -> list[str]:
    """Return the conflicts of options, directives and units that the facts of the host reveal.

    chronyd would exit at its start or run without its options, a boot would wait, or logs would grow without rotation.
    """
    found = options.conflicts(daemon.options, lines.effective)
    given = chrony["environment"]["daemon_options"]
    if given and place["options_name"] not in given["variables"]:
        found.append(
            f"The unit {place['service']} does not give ${place['options_name']} to chronyd, so that the role could not"
            " set its options. Remove the drop-in that changes ExecStart, or set options_name in chrony_nts_platform."
        )
    if (daemon.options.get("F") or "0") != "0" and chrony["daemon"]["features"].get("SCFILTER") is False:
        found.append(
            "The chronyd on this host has no system call filter and ends at its start with the option -F. Set"
            " chrony_nts_daemon_options to ['-F', '0']."
        )
    closed = [path for arguments in lines.effective.get("bindcmdaddress", []) for path in arguments if path == "/"]
    if closed and waits_by_socket(chrony["environment"], lines.effective):
        found.append(
            "chrony-wait.service is enabled and could not ask chronyd, which would answer on no port and on no socket"
            " (cmdport, bindcmdaddress): a boot would wait for 180 seconds. Disable the unit, or take out"
            " bindcmdaddress."
        )
    if command_socket(lines.effective) == "/" and _rotation.log_dir(lines.effective):
        found.append(
            "chronyd would write log files (chrony_nts_logs, or log in chrony_nts_directives) that nothing rotates:"
            " bindcmdaddress is '/', and chronyd opens new files only when asked at its Unix socket. Take out"
            " bindcmdaddress, or turn the log files off."
        )
    return found


# --- desired state of the host ---------------------------------------------------------------------------------------


class DaemonOptions(NamedTuple):
    """chronyd's options.

    words spells them for a command line. others are the options of the package's file, which administrators and
    hardening roles edit. left_out has a sentence for each of these that the role omits.
    """

    options: options.Options
    words: list[str]
    clock_control: bool
    left_out: list[str]
    others: Mapping[str, str | None]


def daemon_options(inputs: Inputs, place: Row, environment: Row) -> DaemonOptions:
    """Return chronyd's options: the platform's, those of the package's file, and the operator's; later ones override.

    Hardening roles and administrators edit the package's file.
    """
    given = environment["daemon_options"] or {"files": [place["options_file"]], "variables": {}}
    others = options.parse(given["variables"].get(place["options_name"], []))
    own = options.parse(inputs.option_words).options
    clock_control = controls_clock(inputs["clock_control"], environment, others.options)
    where = ", ".join(path for path in given["files"] if not path.endswith(options.OWN_SUFFIX)) or place["service"]
    left_out = [f"{word} in {where} is left out: {reason}." for word, reason in others.unusable]
    if "x" in others.options and clock_control:
        left_out.append(f"-x in {where} is left out: chrony_nts_clock_control is always.")
    platform_options = options.parse(place["options"]).options
    merged = options.merge(platform_options, others.options, {"r": None}, own)
    merged.pop("x", None)
    if not clock_control:
        merged["x"] = None
    return DaemonOptions(merged, options.words_of(merged), clock_control, left_out, others.options)


class Lines(NamedTuple):
    """Lines of chrony.conf.

    own are those of chrony_nts_directives and of the role's defaults. effective maps each directive to its arguments,
    and includes the distribution's lines and chrony_nts_raw_lines.
    """

    own: list[str]
    effective: Directives


def configured(inputs: Inputs, place: Row, skip_for: str, distribution_lines: Iterable[str] = ()) -> Lines:
    """Return the lines of chrony.conf other than sources and certificates."""
    known = _chrony_conf.supported(directives(inputs, place), skip_for)
    own = _chrony_conf.render_directives(known)
    return Lines(own, words_of("\n".join([*distribution_lines, *own, *map(str, inputs["raw_lines"])])))


def waits_by_socket(environment: Row, lines: Directives) -> bool:
    """Return whether chrony-wait.service is enabled and needs the Unix socket: chronyd does not answer on UDP."""
    if not str(environment["chrony_wait"]).startswith("enabled"):
        return False
    port = lines.get("cmdport", [[str(CHRONYC_PORT)]])[-1][:1]
    bound = [word for arguments in lines.get("bindcmdaddress", []) for word in arguments if not word.startswith("/")]
    return port != [str(CHRONYC_PORT)] or not {*bound} <= {*CHRONYC_ADDRESSES}


def directives(inputs: Inputs, place: Row) -> Row:
    """Return the operator's directives, and the role's defaults for those that the operator does not set.

    Without ntsdumpdir, every restart forces all clients and servers to repeat their key exchanges. Without dumpdir
    (and -r), a restarted chronyd loses its measurements. rtcsync excludes any other use of the real-time clock.
    """
    clocks = inputs.directives.get("refclock") or []
    uses_rtc = inputs.has_line("rtcfile") or any(clock.get("driver") == "RTC" for clock in clocks)
    return {
        "driftfile": {"path": place["drift_file"]},
        "keyfile": place["key_file"],
        "logdir": place["log_dir"],
        "dumpdir": place["dump_dir"],
        "ntsdumpdir": place["dump_dir"],
        "makestep": {"threshold": 1.0, "limit": 3},
        "rtcsync": not uses_rtc,
        "logchange": 0.5,
        **({"log": list(_rotation.LOGS)} if inputs.is_true("logs") else {}),
        **_limits.recommended(inputs.expected_clients, inputs.directives),
        **inputs.directives,
        # The playbook rotate_ntskeys rotates shared keys, so chronyd must not.
        **({"ntsrotate": 0} if inputs.is_true("server_enabled") and inputs["shared_keys"] else {}),
        # access_lines() merges a server's deny rules with those of chrony_nts_server_allow.
        **({"deny": None} if inputs.is_true("server_enabled") else {}),
    }


def controls_clock(wish: str, environment: Row, others: Mapping[str, str | None]) -> bool:
    """Return whether chronyd sets the clock.

    wish is chrony_nts_clock_control. With auto, chronyd does not set the clock in a container, without CAP_SYS_TIME, or
    with -x in the package's file of options (others).
    """
    possible = bool(environment["cap_sys_time"]) and environment["container"] is None and "x" not in others
    return wish == "always" or (wish == "auto" and possible)


def access_lines(inputs: Inputs) -> list[str]:
    """Return the allow and deny lines of a server; none for a client."""
    if not inputs.is_true("server_enabled"):
        return []
    return _chrony_conf.render_access(inputs["server_allow"], inputs.directives.get("deny"))


def own_access_lines(inputs: Inputs) -> list[str]:
    """Return the allow lines for a server's own probes, one for each address family of its clients.

    Allow all of 127.0.0.0/8: chronyd limits rates by address, so a probe can use a fresh one. Omit a family
    where the operator denies a loopback address.
    """
    rules = serving.read_serving("\n".join(access_lines(inputs))).rules
    loopbacks = [serving.LOOPBACK[family] for family in serving.served_families(rules)]
    denied = [network for rule in rules if not rule.allow for network in rule.networks]
    return [
        f"allow {loopback.with_prefixlen if loopback.version == serving.IPV4 else loopback.network_address}"
        for loopback in loopbacks
        if not any(network.version == loopback.version and network.network_address in loopback for network in denied)
    ]


def command_socket(lines: Directives) -> str:
    """Return the path of chronyd's Unix socket; "/" turns it off."""
    given = [word for arguments in lines.get("bindcmdaddress", []) for word in arguments if word.startswith("/")]
    return str(given[-1]) if given else COMMAND_SOCKET


def ntske_ports(inputs: Inputs) -> list[int]:
    """Return the NTS-KE ports (TCP) that SELinux's policy does not permit, sorted: all but 4460."""
    used = {int(source.get("ntsport", NTSKE_PORT)) for source in inputs.sources if source["nts"]}
    used |= {inputs.ntsport} if inputs.is_true("server_enabled") else set()
    return sorted(used - {NTSKE_PORT})


def certificate_dirs(inputs: Inputs) -> list[str]:
    """Return a server's certificate folder if the distributions' policies do not let chronyd read it."""
    folder = str(inputs["certificate_dir"])
    outside = inputs.is_true("server_enabled") and not f"{folder}/".startswith(CHRONY_DIR)
    return [folder] if outside else []


def needs_rules(words: Directives) -> bool:
    """Return whether SELinux's policy may lack permissions that directives require.

    Only the host resolves symbolic links, so it makes the final decision.
    """
    return bool(paths.udp_ports(words)) or any(not paths.below(use.path, LABELLED) for use in paths.used(words))


def written_folders(words: Directives) -> list[str]:
    """Return the folders that chronyd writes to and that a distribution's unit may protect from it."""
    found = [folder for folders in paths.written(paths.used(words)).values() for folder in folders]
    return [folder for folder in found if not paths.below(folder, WRITABLE)]


def writable_text(folders: list[str]) -> str:
    """Return the text of the unit's drop-in that lets chronyd write to folders; empty without folders."""
    if not folders:
        return ""
    quoted = " ".join("-" + folder.replace("%", "%%") for folder in folders)
    return _files.managed(["", "[Service]", f"ReadWritePaths={quoted}"])


def own_log_dir(place: Row, words: Directives) -> str:
    """Return the log folder if it is the platform's default; empty if the operator names another one."""
    folder = str(place["log_dir"])
    return folder if words.get("logdir", [])[-1:] == [[folder]] else ""


def rotation(inputs: Inputs, place: Row, words: Directives) -> str:
    """Return the text of logrotate's file for chronyd's log files; empty if chronyd writes none."""
    folder = _rotation.log_dir(words)
    if not folder:
        return ""
    socket, keep, megabytes = command_socket(words), inputs["log_rotations"], inputs["log_max_megabytes"]
    return _files.managed([_rotation.text(folder, place["service"], socket, int(keep), int(megabytes))])


def renewal(pairs: list[Row], server_files: list[str]) -> str:
    """Return present for a server, absent for a host that is no longer one, and empty text for others."""
    return "present" if pairs else "absent" if server_files else ""


def renewal_settings(inputs: Inputs, pairs: list[Row], place: Row) -> Row:
    """Return the settings of nts-certificate, which _pair.manager.Settings reads."""
    names = ["id", "provider", "names", "certificate", "key", "staged_certificate", "staged_key"]
    names += ["command", "lifetime_days", "key_type", "new_key"]
    of_the_host = {
        "renew_fraction": int(inputs["certificate_renew_percent"]) / 100,
        "group": place["group"],
        "config_file": place["config_file"],
        "service": place["service"],
    }
    return {
        "pairs": [
            {
                **{name: pair[name] for name in names},
                "issuing_key": f"{pair['staging']}/issuing.key" if pair["issues"] else "",
                **of_the_host,
            }
            for pair in pairs
        ]
    }


def firewall(inputs: Inputs, with_rules: list[str]) -> Row:
    """Return the parameters of nts_firewall.

    The state is present on a server, absent where rules of ours remain (with_rules), and empty elsewhere.
    """
    if inputs.is_true("server_enabled") and inputs["firewall"] == "auto":
        return {
            "state": "present",
            "allow": list(inputs["server_allow"]),
            "udp_ports": inputs.ntp_ports,
            "tcp_ports": [inputs.ntske_listens],
            "addresses": [*(inputs.directives.get("bindaddress") or []), *inputs.raw_values("bindaddress")],
            "device": (inputs.raw_values("binddevice") or [str(inputs.directives.get("binddevice") or "")])[-1],
            "nft_include": str(inputs["firewall_nft_include"]),
        }
    return {"state": "absent" if with_rules else ""}


def unused_pair_files(pairs: list[Row], server_files: list[str]) -> list[str]:
    """Return glob patterns of certificates and keys that chronyd has used and that no pair of the host uses now."""
    used = {pair[name] for pair in pairs for name in ("certificate", "key")}
    found = [path for path in server_files if path.endswith((".pem", ".key")) and path not in used]
    return [glob.escape(path) for path in found if not path.startswith(STATE_DIR)]


def proof(inputs: Inputs, skip_for: str = "", distribution_sources: Sequence[Row] | None = None) -> Row:
    """Return the goal of the verification, and the NTS servers to probe if a host misses it.

    Relax the goal to synchronised on a host without NTS sources. Drop it on a host without sources and reference
    clocks, and on servers in orphan mode, one of which serves its own clock to the others. distribution_sources are
    those that the role adds to the operator's; None means unknown, without a plan of the host.
    """
    goal = inputs["verify"]
    sources = [*inputs.sources, *(distribution_sources or [])]
    nts = [source for source in sources if source["nts"]]
    if goal != "none" and not nts:
        unknown = distribution_sources is None and inputs.is_true("distribution_sources")
        follows = sources and not inputs.leads_without_sources
        goal = "synchronised" if follows or unknown or _has_refclock(inputs) else "none"
    # The role knows the anchors only of the sets that it fills.
    filled = _chrony_conf.trust_files(inputs["trust_anchors"], "", version=skip_for)
    known = {0} | {file["set"] for file in filled}
    servers = [
        {
            "address": source["address"],
            "ntsport": source.get("ntsport"),
            "port": source.get("port"),
            "certset": int(source.get("certset", 0)),
        }
        for source in nts
        if int(source.get("certset", 0)) in known
    ]
    return {
        "goal": goal,
        "min_sources": int(inputs["verify_min_sources"]),
        "timeout_seconds": int(inputs["verify_timeout"]),
        "aeads": [int(aead) for aead in inputs.directives.get("ntsaeads") or []],
        "servers": servers,
    }


def _has_refclock(inputs: Inputs) -> bool:
    """Return whether the host has a reference clock that chronyd may follow."""
    clocks = inputs.directives.get("refclock") or []
    # A refclock with the option local only stabilises the frequency (chrony 4.3).
    return any(not boolean(clock.get("noselect") or clock.get("local") or False) for clock in clocks)


def notes(inputs: Inputs, place: Row, environment: Row, daemon: DaemonOptions) -> list[str]:
    """Return notes for the operator about this host, which are no mistakes."""
    found = [*daemon.left_out]
    if not daemon.clock_control:
        why = "others have given it this option." if "x" in daemon.others else "the capability CAP_SYS_TIME is missing."
        if environment["container"] is not None:
            why = "this is a container, whose clock is that of the host that runs it."
        if inputs["clock_control"] == "never":
            why = "chrony_nts_clock_control is never."
        found.append(f"chronyd measures the time here and does not set the clock (-x): {why}")
    ignored = _drop_ins(environment)
    if inputs["dropins"] == "ignore" and ignored:
        found.append(f"chrony_nts_dropins is 'ignore', so chronyd does not read {', '.join(ignored)}.")
    unread = [path for path in ignored if not _is_included(path, place)]
    if inputs["dropins"] == "include" and unread:
        found.append(
            f"chrony_nts_dropins is 'include', and chronyd does not read {', '.join(unread)}: drop_in_dirs of"
            " chrony_nts_platform names no such folder for this platform."
        )
    if inputs.is_true("dhcp_sources") and not environment["dhcp"]["peerntp"]:
        found.append(
            "chrony_nts_dhcp_sources is true, and PEERNTP=no in /etc/sysconfig/network keeps DHCP's servers from"
            " chronyd."
        )
    if inputs.is_true("distribution_sources") and not place.get("sources"):
        found.append(
            "chrony_nts_distribution_sources is true, and this distribution comes with no source but a pool without"
            " NTS, which chrony_nts_fallback_pool is for."
        )
    return found
