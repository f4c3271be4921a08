# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule, with the cases of tests/functional/mistakes, which the role also runs.

Long: one table has values on both sides of the limit of each rule.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.securetime.nts.plugins.plugin_utils import _rules, _variables
from ansible_collections.securetime.nts.plugins.plugin_utils._chrony_conf import Word
from ansible_collections.securetime.nts.plugins.plugin_utils._rules import RULES, Inputs, mistakes, unknown_names
from ansible_collections.securetime.nts.plugins.plugin_utils._variables import VARIABLES

ROOT = Path(__file__).resolve().parents[4]
GROUPS = yaml.safe_load((ROOT / "tests/functional/mistakes/hosts.yml").read_text())["all"]["children"]
CASES = GROUPS["mistakes"]["hosts"]
DEFAULTS = yaml.safe_load((ROOT / "roles/chrony_nts/defaults/main.yml").read_text())
RANGES = {word.name: (int(word.low), int(word.high)) for word in VARIABLES.parts if word.kind == "integer"}


def variables(case: dict[str, Any], host: str = "host.example.org") -> dict[str, Any]:
    """Return the role's defaults with the variables of a case."""
    templated = {"chrony_nts_server_names": [host], "chrony_nts_ca_dir": "/srv/nts-ca"}
    return {**DEFAULTS, **templated, **{name: case[name] for name in case if name in DEFAULTS}}


@pytest.mark.parametrize("name", CASES)
def test_mistake_has_its_sentence(name: str) -> None:
    found = "\n".join(mistakes(variables(CASES[name], name), list(CASES[name])))
    assert re.search(CASES[name]["expected"], found, re.DOTALL), found


@pytest.mark.parametrize("name", GROUPS["correct"]["hosts"])
def test_correct_variables_have_no_sentence(name: str) -> None:
    assert mistakes(variables(GROUPS["correct"]["hosts"][name], name)) == []


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.__name__)
def test_every_rule_has_a_case(each: _rules.Rule) -> None:
    given = [variables(case, name) for name, case in CASES.items()]
    inputs = [
        Inputs({**one, "chrony_nts_acme_dns_tasks_exist": False}) for one in given if not _variables.mistakes(one)
    ]
    assert any(list(each(one)) for one in inputs)


def test_every_mistake_is_named_at_once() -> None:
    wrong = {"chrony_nts_sources": [], "chrony_nts_verify_timeout": 0, "chrony_nts_ca_passphrase": "abc"}
    assert [sentence.split()[0] for sentence in mistakes(variables(wrong))] == [
        "chrony_nts_verify_timeout",
        "chrony_nts_sources",
        "chrony_nts_ca_common_name",
    ]


@pytest.mark.parametrize("name", RANGES)
def test_a_number_is_in_its_range(name: str) -> None:
    low, high = RANGES[name]
    ordered = {"chrony_nts_certificate_lifetime_days": 1, "chrony_nts_ca_lifetime_days": 10950}
    ordered["chrony_nts_issuing_ca_lifetime_days"] = low if name == "chrony_nts_certificate_lifetime_days" else 7300
    for value in (low, high, str(low)):
        numbers = {**ordered, name: value}
        assert not [sentence for sentence in mistakes(variables(numbers)) if sentence.startswith(f"{name} is")]
    for value in (low - 1, high + 1, str(high + 1), low + 0.5):
        found = mistakes(variables({name: value}))
        assert f"{name} is {value!r}: set it to a whole number from {low} to {high}." in found


def test_words_of_the_command_line_count_as_booleans() -> None:
    assert mistakes(variables({"chrony_nts_server_enabled": "no"})) == []
    assert "chrony_nts_server_allow is empty" in mistakes(variables({"chrony_nts_server_enabled": "yes"}))[0]


def test_a_file_of_tasks_must_exist() -> None:
    acme = {
        "chrony_nts_server_enabled": True,
        "chrony_nts_server_allow": ["192.0.2.0/24"],
        "chrony_nts_certificate_provider": "acme",
        "chrony_nts_acme_client": "controller",
        "chrony_nts_acme_terms_agreed": True,
        "chrony_nts_acme_challenge": "dns-01",
        "chrony_nts_acme_dns_tasks": "/srv/dns.yml",
    }
    assert mistakes(variables(acme), is_file=lambda path: path == "/srv/dns.yml") == []
    assert "to a file of tasks" in mistakes(variables(acme), is_file=lambda path: False)[0]


def test_no_sentence_holds_a_key_or_a_passphrase() -> None:
    secrets = {
        "chrony_nts_certificate_key_content": ["SECRET"],
        "chrony_nts_symmetric_keys": [{"id": 1, "key": "SECRET"}, {"id": 1, "key": "SECRET"}],
        "chrony_nts_ca_passphrase": "SECRET",
        "chrony_nts_ca_key_content": "SECRET PRIVATE KEY",
        "chrony_nts_trust_anchors": [{"content": "SECRET PRIVATE KEY"}],
    }
    found = mistakes(variables(secrets))
    assert len(found) >= 5
    assert "SECRET" not in "".join(found)


@pytest.mark.parametrize("word", VARIABLES.parts, ids=lambda word: word.name)
def test_a_value_of_another_kind_is_named_and_hides_no_other_mistake(word: Word) -> None:
    for value in ({"SECRET": 1}, None):
        found = mistakes(variables({"chrony_nts_symmetric_keys": [{"id": 1, "key": "x"}], word.name: value}))
        assert any(word.name in sentence for sentence in found), found
        assert word.name == "chrony_nts_symmetric_keys" or any("symmetric_keys" in sentence for sentence in found)


def test_an_omitted_variable_is_named() -> None:
    given = variables({})
    assert _variables.missing(given) == []
    del given["chrony_nts_acme_email"], given["chrony_nts_sources"]
    assert [sentence.partition(" is set to omit")[0] for sentence in _variables.missing(given)] == [
        "chrony_nts_acme_email",
        "chrony_nts_sources",
    ]


def test_variables_that_ansible_made_one_text_are_explained() -> None:
    text = "{'chrony_nts_sources': [], 'chrony_nts_acme_email': datetime.date(2026, 1, 1)}"
    assert _variables.missing(text) == ["A chrony_nts_ variable holds a date or .inf in YAML: quote it."]


def test_a_mistyped_variable_is_reported_once() -> None:
    found = mistakes(variables({"chrony_nts_sources": 5, "chrony_nts_server_names": "a"}))
    assert [sentence.split(":")[0] for sentence in found] == [
        "chrony_nts_server_names is 'a'",
        "chrony_nts_sources is 5",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("chrony_nts_source", "chrony_nts_sources"),
        ("chrony_nts_sever_enabled", "chrony_nts_server_enabled"),
        ("chrony_nst_sources", "chrony_nts_sources"),
        ("chronny_nts_sources", "chrony_nts_sources"),
    ],
)
def test_a_near_miss_of_a_name_is_a_mistake(name: str, meant: str) -> None:
    (found,) = mistakes(variables({}), [name, "chrony_nts_verify"])
    assert found == f"{name} is not a variable of this role. Did you mean {meant}?"


OTHERS = [
    *("chrony_sources", "chrony_ntp_servers", "chrony_ntp_sources", "chrony_server_enabled", "ntp_servers", "groups"),
    *("my_chrony_nts_sources", "vault_chrony_nts_certificate_key_content", "chrony_monitor_x"),
]
# The operator's own variables with the prefix of the role.
HELPERS = ["chrony_nts_sources_eu", "chrony_nts_ca_passphrase_vault", "chrony_nts_servers", "chrony_nts_version"]


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_of_the_operator_is_no_mistake(name: str) -> None:
    assert mistakes(variables({}), [name]) == []
    assert unknown_names([name], variables({})) != []


@pytest.mark.parametrize("name", OTHERS)
def test_a_variable_of_others_is_none_of_ours(name: str) -> None:
    assert mistakes(variables({}), [name]) == []
    assert unknown_names([name], variables({})) == []


def test_other_names_with_the_prefix_are_warned_of() -> None:
    names = [
        "chrony_nts_zebra",
        "chrony_nts_sources",
        "chrony_nts_source",
        "chrony_nts_site_hosts",
        "chrony_nts_probed",
    ]
    assert unknown_names(names, variables({})) == [
        "chrony_nts_zebra is not a variable of the role chrony_nts, which ignores it."
    ]


def test_a_missing_collection_is_reported_where_a_host_serves() -> None:
    server = {"chrony_nts_server_enabled": True, "chrony_nts_server_allow": ["192.0.2.0/24"]}
    (found,) = mistakes(variables(server), is_collection=lambda name: False)
    assert "ansible-galaxy collection install community.crypto" in found
    assert mistakes(variables({}), is_collection=lambda name: False) == []


def test_a_message_names_as_many_mistakes_as_fit() -> None:
    assert _rules.message(["a", "b", "c"]) == "a\nb\nc"
    long = ["a" * 400, "b" * 400, "c" * 400, "d"]
    assert _rules.message(long) == "\n".join([*long[:2], "2 more of them are reported when these are corrected."])
    assert _rules.message(["a" * 2000]) == "a" * 2000


SERVER = {"chrony_nts_server_enabled": True, "chrony_nts_server_allow": ["192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"chrony_nts_sources": [{"address": "a", "minpoll": "six"}]}, "minpoll is 'six'"),
        ({"chrony_nts_sources": "nts://a.example.org?certset"}, "certset is ''"),
        ({"chrony_nts_sources": [{"address": ["a"]}]}, "address is"),
        ({"chrony_nts_sources": "nts://nts.example.org%3A4460"}, "is not a host name"),
        ({"chrony_nts_sources": "nts://[fe80::1%ETH0]"}, "is not a host name"),
        ({"chrony_nts_sources": [{"address": False}]}, "has no address"),
        ({"chrony_nts_sources": [{"address": "a", "type": False}]}, "type is ''"),
        ({"chrony_nts_sources": [{"address": "a", "pool": "pool.ntp.org"}]}, "pool is not known"),
        ({"chrony_nts_sources": [{"address": "a", "nts": False, "key": False}]}, "unauthenticated source a"),
        ({"chrony_nts_directives": {"local": ""}}, "local is ''"),
        ({"chrony_nts_directives": {"ratelimit": []}}, "ratelimit is"),
        ({"chrony_nts_directives": {"log": ""}}, "log is ''"),
        ({"chrony_nts_directives": {4460: "x"}}, "4460 is not known"),
        ({**SERVER, "chrony_nts_sources": [], "chrony_nts_directives": {"local": None}}, "would follow nothing"),
        ({"chrony_nts_ca_common_name": 2026}, "chrony_nts_ca_common_name is 2026: set it to text"),
        ({"chrony_nts_ca_dir": 5}, "chrony_nts_ca_dir is 5"),
        ({**SERVER, "chrony_nts_server_names": [5]}, "chrony_nts_server_names is 5"),
        ({"chrony_nts_trust_anchors": [{"content": 5}]}, "content is not right"),
        (
            {
                **SERVER,
                "chrony_nts_certificate_provider": "files",
                "chrony_nts_certificate_content": "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----",
                "chrony_nts_certificate_key_content": "-----BEGIN PRIVATE KEY-----",
            },
            "holds a private key",
        ),
        ({**SERVER, "chrony_nts_more_certificates": [{"id": 2, "names": ["a"]}]}, "id is 2"),
        ({**SERVER, "chrony_nts_more_certificates": [{"id": "a", "names": ["a", "x y"]}]}, "a of chrony_nts_more_cert"),
        ({"chrony_nts_platform": {"packages": "chrony"}}, "packages is 'chrony': set it to a list"),
        ({"chrony_nts_platform": {"packages": None}}, "packages has no value"),
        ({"chrony_nts_platform": {1: 2}}, "1 is not known"),
    ],
)
def test_an_odd_value_is_a_sentence(given: dict[str, Any], expected: str) -> None:
    assert expected in "\n".join(mistakes(variables(given)))


def test_a_key_in_the_wrong_place_is_not_shown() -> None:
    source = {"address": "a", "nts": False, "key": "HEX:00112233SECRET"}
    found = "\n".join(mistakes(variables({"chrony_nts_sources": [source]})))
    assert "key is not right" in found
    assert "SECRET" not in found


def test_further_certificates_take_what_has_no_value_from_the_first() -> None:
    more = [{"id": "a", "names": ["a.example.org"], "provider": None, "lifetime_days": None}]
    first, second = Inputs(variables({**SERVER, "chrony_nts_more_certificates": more})).pairs
    assert (second["provider"], second["lifetime_days"]) == (first["provider"], first["lifetime_days"])


def test_a_namespace_without_collections_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_rules, "find_spec", find)
    (found,) = mistakes(variables(SERVER))
    assert "ansible-galaxy collection install community.crypto" in found


def test_a_long_value_is_shortened() -> None:
    assert len(mistakes(variables({"chrony_nts_directives": ["x" * 5000]}))[0]) < 200


def test_sentences_that_just_fit_into_a_message_are_shown() -> None:
    fitting = ["a" * 100, "b" * (_rules.LONGEST_MESSAGE - 100)]
    assert _rules.message(fitting) == "\n".join(fitting)
    assert _rules.message([fitting[0], fitting[1] + "b"]).splitlines()[1].startswith("1 more of them")


ANCHOR = "-----BEGIN CERTIFICATE-----"
ACME = {**SERVER, "chrony_nts_certificate_provider": "acme", "chrony_nts_acme_terms_agreed": True}
UNTRUSTED = {"chrony_nts_trust_own_ca": False, "chrony_nts_trust_system_cas": False}
HOST_PATH = {
    **SERVER,
    "chrony_nts_certificate_provider": "host_path",
    "chrony_nts_certificate_host_path": "/etc/step/nts.pem",
    "chrony_nts_certificate_key_host_path": "/etc/step/nts.key",
}


def source(**options: Any) -> dict[str, Any]:
    """Return chrony_nts_sources with one source."""
    return {"chrony_nts_sources": [{"address": "nts.example.org", **options}]}


def lifetimes(leaf: int, issuing: int, root: int) -> dict[str, Any]:
    """Return the lifetimes of a certificate, of the CA that issues it, and of the root CA, in days."""
    return {
        "chrony_nts_certificate_lifetime_days": leaf,
        "chrony_nts_issuing_ca_lifetime_days": issuing,
        "chrony_nts_ca_lifetime_days": root,
    }


# Values on both sides of a limit: variables, and a part of the only sentence, or None.
LIMITS = [
    # chronyd's defaults are 6 and 10.
    (source(minpoll=10), None),
    (source(minpoll=11), "the maxpoll of a source is less than its minpoll"),
    (source(maxpoll=6), None),
    (source(minpoll=7, maxpoll=7), None),
    (source(minpoll=7, maxpoll=6), "the maxpoll of a source is less than its minpoll"),
    (source(noselect=True), None),
    (source(prefer=True, trust=True, require=True), None),
    (source(noselect=True, trust=True), "nts.example.org in chrony_nts_sources sets 'noselect' together with"),
    (source(noselect=True, require=True), "nts.example.org in chrony_nts_sources sets 'noselect' together with"),
    (source(type="pool", maxsources=3), None),
    ({"chrony_nts_daemon_options": ["-6"], "chrony_nts_sources": ["2001:db8::1", "nts.example.org"]}, None),
    ({"chrony_nts_daemon_options": ["-4"], "chrony_nts_sources": ["192.0.2.1", "nts.example.org"]}, None),
    (
        {"chrony_nts_daemon_options": ["-6"], "chrony_nts_sources": ["192.0.2.1", "2001:db8::1", "192.0.2.2"]},
        "never reaches the source 192.0.2.1, 192.0.2.2. Take out -6, or give the source an address of IPv6.",
    ),
    ({"chrony_nts_logs": True}, None),
    ({"chrony_nts_logs": True, "chrony_nts_directives": {"log": []}}, "and log in chrony_nts_directives is empty"),
    ({"chrony_nts_directives": {"log": False, "logdir": False}}, None),
    (
        {"chrony_nts_logs": True, "chrony_nts_directives": {"log": False, "logdir": False}},
        "and log, logdir in chrony_nts_directives is empty",
    ),
    ({"chrony_nts_trust_anchors": [{"content": ANCHOR, "set": 2**32 - 1}]}, None),
    ({"chrony_nts_trust_system_cas": False}, None),
    ({"chrony_nts_trust_own_ca": False}, None),
    ({**UNTRUSTED, "chrony_nts_trust_anchors": [{"content": ANCHOR}]}, None),
    ({**source(certset=3), "chrony_nts_directives": {"include": "/etc/chrony/more.conf"}}, None),
    ({**source(certset=3), "chrony_nts_directives": {"confdir": "/etc/chrony/more"}}, None),
    ({**source(certset=1)}, None),
    (
        {"chrony_nts_sources": [{"address": "a", "certset": 9}, {"address": "b", "certset": 2}]},
        "has the certset 2, 9, in which nobody is trusted",
    ),
    ({**SERVER, "chrony_nts_server_allow": ["192.0.2.0/24", "0.0.0.0/0", "::/0"]}, None),
    (
        {**SERVER, "chrony_nts_server_allow": ["192.0.2.7/24", "2001:db8::1/32"]},
        "'192.0.2.7/24', '2001:db8::1/32' in chrony_nts_server_allow is not a subnet",
    ),
    ({"chrony_nts_firewall_nft_include": "/etc/nftables.d/a_b-c.1+@x.nft"}, None),
    ({"chrony_nts_firewall_nft_include": "/etc//a.nft"}, "'/etc//a.nft' in chrony_nts_firewall_nft_include is not"),
    ({**SERVER, "chrony_nts_raw_lines": ["port 0", "port 11123"]}, None),
    ({**SERVER, "chrony_nts_raw_lines": ["port 11123", "port 0"]}, "port in chrony_nts_raw_lines is 0"),
    ({"chrony_nts_raw_lines": ["port 0"]}, None),
    ({**SERVER, "chrony_nts_raw_lines": ["port 0", "ntsntpserver ntp.example.org"]}, None),
    ({"chrony_nts_raw_lines": ["noclientlog"]}, None),
    ({"chrony_nts_raw_lines": ["noclientlog"], "chrony_nts_expected_clients": 100}, None),
    *(
        (
            {"chrony_nts_directives": {"noclientlog": True, name: {"interval": 1}}},
            f"chrony_nts_raw_lines turns off {name}: chronyd counts",
        )
        for name in ("ratelimit", "ntsratelimit", "cmdratelimit")
    ),
    (
        {"chrony_nts_raw_lines": ["noclientlog", "cmdratelimit", "ratelimit"]},
        "turns off ratelimit, cmdratelimit: chronyd counts",
    ),
    ({**SERVER, "chrony_nts_shared_keys": "a" * 63}, None),
    ({**SERVER, "chrony_nts_shared_keys": "a" * 64}, "with at most 63 characters"),
    ({**SERVER, "chrony_nts_raw_lines": ["ntsrotate 86400"]}, None),
    ({**SERVER, "chrony_nts_directives": {"ntsdumpdir": False}}, None),
    *(
        (
            {**SERVER, "chrony_nts_shared_keys": "pool", "chrony_nts_directives": {"ntsdumpdir": value}},
            "ntsdumpdir in chrony_nts_directives is empty",
        )
        for value in (None, False)
    ),
    ({"chrony_nts_server_allow": ["192.0.2.0/24"], "chrony_nts_directives": {"deny": ["192.0.2.0/24"]}}, None),
    ({"chrony_nts_directives": {"cmdallow": ["192.0.2.0/24"], "cmddeny": ["192.0.2.0/25"]}}, None),
    (
        {"chrony_nts_directives": {"cmdallow": ["192.0.2.7", "192.0.2.8"], "cmddeny": ["192.0.2.7", "192.0.2.8"]}},
        "192.0.2.7/32, 192.0.2.8/32 is in cmdallow and in cmddeny",
    ),
    (
        {**SERVER, "chrony_nts_server_names": ["nts_1.example.org", "a b", "192.0.2.1"]},
        "(not 'nts_1.example.org', 'a b')",
    ),
    (lifetimes(365, 365, 365), None),
    (lifetimes(364, 363, 365), "chrony_nts_certificate_lifetime_days (364) be no more"),
    (lifetimes(30, 366, 365), "chrony_nts_issuing_ca_lifetime_days (366), and that no more"),
    ({"chrony_nts_certificate_dir": "/srv/nts"}, None),
    ({"chrony_nts_certificate_dir": "/homes/nts"}, None),
    ({"chrony_nts_certificate_dir": "/srv"}, "chrony_nts_certificate_dir is '/srv'"),
    *(
        ({"chrony_nts_certificate_dir": folder}, f"chrony_nts_certificate_dir is '{folder}'")
        for folder in ("/srv/a b", "srv/nts", "/var/lib/chrony", "/var/lib/chrony/nts", "/root/nts", "/tmp/nts")
    ),
    (HOST_PATH, None),
    (
        {**HOST_PATH, "chrony_nts_certificate_key_host_path": "/run/user/0/nts.key"},
        "Not so for server.",
    ),
    ({**HOST_PATH, "chrony_nts_certificate_host_path": "etc/nts.pem"}, "Not so for server."),
    ({**ACME, "chrony_nts_acme_terms_agreed": False}, "set chrony_nts_acme_terms_agreed to true"),
    (ACME, None),
    ({**ACME, "chrony_nts_acme_challenge": "dns-01", "chrony_nts_acme_certbot_options": ["--dns-x"]}, None),
    (
        {**ACME, "chrony_nts_acme_challenge": "dns-01", "chrony_nts_acme_client": "controller"},
        "For the challenge dns-01",
    ),
    ({**ACME, "chrony_nts_acme_client": "controller"}, None),
    (
        {**ACME, "chrony_nts_acme_client": "controller", "chrony_nts_server_names": ["nts.example.org", "192.0.2.1"]},
        None,
    ),
    ({**ACME, "chrony_nts_server_names": ["192.0.2.1"]}, "certbot takes neither IP addresses nor Ed25519, as server"),
    ({"chrony_nts_ca_common_name": "a" * 64, "chrony_nts_ca_passphrase": "a" * 8}, None),
    ({"chrony_nts_ca_common_name": "a", "chrony_nts_ca_passphrase": ""}, None),
    ({"chrony_nts_ca_common_name": "a" * 65}, "must have 1 to 64 characters"),
    ({"chrony_nts_ca_common_name": ""}, "must have 1 to 64 characters"),
    ({"chrony_nts_ca_passphrase": "a" * 7}, "none or at least 8"),
    ({"chrony_nts_ca_passphrase": "a"}, "none or at least 8"),
    ({"chrony_nts_ca_dir": "nts-ca"}, "must be an absolute path on the controller"),
    ({"chrony_nts_ca_certificate_content": "PRIVATE KEY"}, "needs chrony_nts_ca_certificate_content"),
    ({"chrony_nts_package_version": "4.6.1-3+deb13u2"}, None),
    ({"chrony_nts_package_version": "4"}, None),
    ({"chrony_nts_package_version": "4*"}, None),
    (
        {"chrony_nts_sources": ["a b", "nts.example.org", "c d"]},
        "'a b', 'c d' in chrony_nts_sources is not a host name or an IP address",
    ),
    (
        {"chrony_nts_sources": [{"address": name, "type": "peer"} for name in ("a", "b")]},
        "NTS cannot authenticate the peer a, b of",
    ),
    (
        {"chrony_nts_sources": [{"address": name, "nts": False} for name in ("a", "b")]},
        "follow the unauthenticated source a, b. Set its 'nts' to true",
    ),
    (
        {
            "chrony_nts_authselectmode": "mix",
            "chrony_nts_symmetric_keys": [{"id": 1, "key": "HEX:00FF"}, {"id": "2", "key": "ASCII:a"}],
            "chrony_nts_sources": [{"address": f"a{key}", "nts": False, "key": key} for key in (9, 1, 3, "2")],
        },
        "uses the key 3, 9, which is not in chrony_nts_symmetric_keys",
    ),
    ({"chrony_nts_symmetric_keys": [{"id": 1, "key": "HEX:00F"}]}, "a key that is written as HEX"),
    ({"chrony_nts_symmetric_keys": [{"id": 1, "key": "ASCII:a b"}]}, "a key that is written as HEX"),
    *(
        ({"chrony_nts_symmetric_keys": [{"id": 7, "type": kind, "key": key}]}, expected)
        for kind, key, expected in [
            ("AES128", f"HEX:{'0a' * 15}", "The key 7 in chrony_nts_symmetric_keys has 15 bytes, and AES128 needs 16."),
            ("AES128", f"HEX:{'0a' * 16}", None),
            ("AES128", f"HEX:{'0a' * 17}", "Write 32 hexadecimal digits, or 16 characters of ASCII."),
            ("AES256", f"ASCII:{'a' * 31}", "has 31 bytes, and AES256 needs 32."),
            ("AES256", f"ASCII:{'a' * 32}", None),
            ("AES128", f"ASCII:a:{'a' * 14}", None),
            ("SHA256", "HEX:0a", None),
        ]
    ),
    ({"chrony_nts_dhcp_sources": True, "chrony_nts_authselectmode": "mix"}, None),
    # Sources without an address have no other mistake.
    ({"chrony_nts_sources": [{"nts": True}, {"nts": True}]}, "has no address, or an address and a hostname that"),
    # No trust anchor is needed without NTS, nor for another set.
    ({**UNTRUSTED, "chrony_nts_authselectmode": "mix", **source(nts=False)}, None),
    ({**UNTRUSTED, **source(certset=2), "chrony_nts_trust_anchors": [{"content": ANCHOR, "set": 2}]}, None),
]


@pytest.mark.parametrize(("given", "expected"), LIMITS)
def test_a_limit_is_where_the_sentence_says(given: dict[str, Any], expected: str | None) -> None:
    found = mistakes(variables(given))
    assert len(found) == (expected is not None), found
    assert expected is None or expected in found[0]


def test_a_wrong_source_hides_what_chrony_rejects_until_it_is_corrected() -> None:
    wrong = {"chrony_nts_sources": 5, "chrony_nts_directives": {"nonsense": 1}}
    assert [sentence.split()[0] for sentence in mistakes(variables(wrong))] == ["chrony_nts_sources"]


def test_every_near_miss_is_found_among_other_names() -> None:
    names = ["chrony_ntp_servers", "chrony_nts_sources", "chrony_nts_source", "other", "chrony_nts_sever_enabled"]
    assert _rules.near_misses(names, variables({})) == {
        "chrony_nts_source": "chrony_nts_sources",
        "chrony_nts_sever_enabled": "chrony_nts_server_enabled",
    }


def test_a_word_of_the_least_similarity_is_misspelled() -> None:
    """difflib compares twice the common characters with all characters: 66 of 100, and 64 of 100."""
    known = f"chrony_nts_{'a' * 33}{'b' * 17}"
    assert _rules.near_misses([f"chrony_nts_{'a' * 33}{'c' * 17}"], [known]) != {}
    assert _rules.near_misses([f"chrony_nts_{'a' * 32}{'c' * 18}"], [known]) == {}
