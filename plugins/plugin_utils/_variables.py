# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. A table of the valid values of each variable of the role.

Ansible prints the whole argument specification when a type is wrong. So the specification names no types, and the rules
check the values against this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.securetime.nts.plugins.plugin_utils import _chrony_conf
from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import (
    Word,
    choice,
    flag,
    integer,
    made_of,
    required,
    secret,
    several,
    string,
)

PROVIDERS = ("ownca", "selfsigned", "acme", "files", "host_path")
KEY_TYPES = ("ECDSA P-256", "ECDSA P-384", "Ed25519", "RSA 2048", "RSA 3072", "RSA 4096")
# Variables with other tables: a source can also be text, and _chrony_conf defines the directives.
OWN_FORMS = ("chrony_nts_sources", "chrony_nts_directives", "chrony_nts_platform")

VARIABLES = made_of(
    "",
    string("chrony_nts_fallback_pool"),
    flag("chrony_nts_dhcp_sources"),
    flag("chrony_nts_distribution_sources"),
    flag("chrony_nts_allow_mixed_smear"),
    several(
        made_of(
            "chrony_nts_symmetric_keys",
            required(integer("id", 1, 2**32 - 1)),
            choice("type", "MD5", "SHA1", "SHA256", "SHA384", "SHA512", "AES128", "AES256"),
            required(secret(string("key"))),
        )
    ),
    choice("chrony_nts_authselectmode", "require", "prefer", "mix", "ignore"),
    integer("chrony_nts_nocerttimecheck", 0, 1000000),
    several(made_of("chrony_nts_trust_anchors", required(secret(string("content"))), integer("set", 0, 2**32 - 1))),
    flag("chrony_nts_trust_own_ca"),
    flag("chrony_nts_trust_system_cas"),
    several(string("chrony_nts_raw_lines")),
    flag("chrony_nts_skip_unsupported"),
    choice("chrony_nts_dropins", "ignore", "include", "refuse"),
    choice("chrony_nts_layout", "split", "single"),
    choice("chrony_nts_clock_control", "auto", "always", "never"),
    flag("chrony_nts_clock_from_controller"),
    several(string("chrony_nts_daemon_options")),
    flag("chrony_nts_logs"),
    integer("chrony_nts_log_rotations", 1, 3650),
    integer("chrony_nts_log_max_megabytes", 1, 1000000),
    string("chrony_nts_config_template"),
    choice("chrony_nts_package_state", "present", "latest"),
    string("chrony_nts_package_version"),
    integer("chrony_nts_package_cache_seconds", -1, 31536000),
    integer("chrony_nts_package_lock_seconds", 0, 3600),
    flag("chrony_nts_package_upgrade"),
    flag("chrony_nts_package_tools"),
    flag("chrony_nts_server_enabled"),
    several(string("chrony_nts_server_names")),
    several(string("chrony_nts_server_allow")),
    integer("chrony_nts_expected_clients", 0, 8000000),
    string("chrony_nts_shared_keys"),
    choice("chrony_nts_firewall", "auto", "none"),
    string("chrony_nts_firewall_nft_include"),
    choice("chrony_nts_certificate_provider", *PROVIDERS),
    choice("chrony_nts_certificate_key_type", *KEY_TYPES),
    flag("chrony_nts_certificate_new_key"),
    integer("chrony_nts_certificate_lifetime_days", 1, 3650),
    integer("chrony_nts_certificate_renew_percent", 1, 90),
    string("chrony_nts_certificate_content"),
    secret(string("chrony_nts_certificate_key_content")),
    string("chrony_nts_certificate_host_path"),
    string("chrony_nts_certificate_key_host_path"),
    several(
        made_of(
            "chrony_nts_more_certificates",
            required(string("id")),
            required(several(string("names"))),
            choice("provider", *PROVIDERS),
            choice("key_type", *KEY_TYPES),
            integer("lifetime_days", 1, 3650),
            flag("new_key"),
            string("content"),
            secret(string("key_content")),
            string("host_path"),
            string("key_host_path"),
        )
    ),
    string("chrony_nts_certificate_dir"),
    integer("chrony_nts_issuing_ca_lifetime_days", 1, 7300),
    string("chrony_nts_ca_dir"),
    integer("chrony_nts_ca_lifetime_days", 1, 10950),
    string("chrony_nts_ca_common_name"),
    secret(string("chrony_nts_ca_passphrase")),
    flag("chrony_nts_replace_root_ca"),
    string("chrony_nts_ca_certificate_content"),
    secret(string("chrony_nts_ca_key_content")),
    choice("chrony_nts_acme_client", "certbot", "controller"),
    string("chrony_nts_acme_directory"),
    flag("chrony_nts_acme_terms_agreed"),
    string("chrony_nts_acme_email"),
    string("chrony_nts_acme_profile"),
    choice("chrony_nts_acme_challenge", "http-01", "dns-01"),
    string("chrony_nts_acme_webroot"),
    string("chrony_nts_acme_dns_tasks"),
    several(string("chrony_nts_acme_certbot_options")),
    choice("chrony_nts_verify", "authenticated", "synchronised", "none"),
    integer("chrony_nts_verify_min_sources", 1, 100),
    integer("chrony_nts_verify_timeout", 1, 3600),
    flag("chrony_nts_rollback_on_failed_verify"),
)
PLATFORM = made_of(
    "chrony_nts_platform",
    choice("like", "debian", "fedora", "suse"),
    *(
        several(string(name))
        for name in ("packages", "server_packages", "selinux_packages", "tool_packages", "options")
    ),
    *(string(name) for name in ("service", "group", "config_file", "key_file", "drift_file", "dump_dir", "log_dir")),
    *(string(name) for name in ("options_file", "options_name")),
    made_of("drop_in_dirs", several(string("confdir")), several(string("sourcedir"))),
    flag("one_time_daemon"),
    made_of("directives", *_chrony_conf.DIRECTIVES.parts),
    several(made_of("sources", *_chrony_conf.SOURCE.parts)),
    several(made_of("certificate_sets", required(integer("set", 1, 2**32 - 1)), required(string("path")))),
)
# Optional keys of a platform.
MAY_BE_MISSING = ("like", "tool_packages", "directives", "sources", "certificate_sets")
BY_NAME = {word.name: word for word in VARIABLES.parts}


def missing(variables: Any) -> list[str]:
    """Return a sentence for each variable of the role that its task did not receive."""
    if not isinstance(variables, Mapping):
        # Before ansible-core 2.19, a date or .inf in one variable turns all of them into one text.
        return ["A chrony_nts_ variable holds a date or .inf in YAML: quote it."]
    absent = [name for name in (*BY_NAME, *OWN_FORMS) if name not in variables]
    # Ansible leaves an omitted value out of a parameter, and does not fall back to the default of the role.
    return [
        f"{name} is set to omit, which leaves out a parameter of a task, not a variable. Set it to a value, or do not"
        " set it."
        for name in absent
    ]


def mistakes(variables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return sentences by variable, for each value with a wrong type or out of range."""
    found = {name: _of_one(word, variables[name]) for name, word in BY_NAME.items()}
    for name, kinds, wanted in (
        ("chrony_nts_sources", (str, list, Mapping), "a list of sources, each a host name, a URL or a dictionary"),
        ("chrony_nts_directives", (Mapping,), "a dictionary of directives"),
        ("chrony_nts_platform", (Mapping,), "a dictionary"),
    ):
        if not isinstance(variables[name], kinds):
            found[name] = [f"{name} is {_chrony_conf.shortened(variables[name])}: set it to {wanted}."]
    if isinstance(variables["chrony_nts_platform"], Mapping):
        found["chrony_nts_platform"] = _of_platform(variables["chrony_nts_platform"])
    sources = variables["chrony_nts_sources"]
    if isinstance(sources, list) and not all(isinstance(source, (str, Mapping)) for source in sources):
        found["chrony_nts_sources"] = [
            (
                "An entry of chrony_nts_sources is neither text nor a dictionary. Write it as nts.example.org, as"
                " {address: nts.example.org}, or as nts://nts.example.org:4460?certset=2."
            )
        ]
    return {name: sentences for name, sentences in found.items() if sentences}


def _of_one(word: Word, value: Any) -> list[str]:
    # chrony.conf omits a directive that is None or false, but a variable must have a value.
    if value is None or (value is False and word.kind != "flag"):
        return [f"{word.name} has no value: set it to {_chrony_conf.wanted(word)}."]
    return list(_chrony_conf.wrong(made_of("", word), {word.name: value}))


def _of_platform(given: Mapping[str, Any]) -> list[str]:
    empty = [f"chrony_nts_platform, {name} has no value" for name, value in given.items() if value is None]
    return [f"In {text}: take it out." for text in empty] or list(_chrony_conf.wrong(PLATFORM, given, PLATFORM.name))


def neutral(name: str) -> Any:
    """Return a valid placeholder of a wrong variable, for rules that read several variables."""
    if name in OWN_FORMS:
        return [] if name == "chrony_nts_sources" else {}
    word = BY_NAME[name]
    if word.several:
        return []
    if word.kind == "choice":
        return next(iter(word.choices))
    return {"flag": False, "integer": int(word.low) if word.kind == "integer" else 0}.get(word.kind, "")
