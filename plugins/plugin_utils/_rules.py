# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Check constraints between the role's variables, and return a sentence for each mistake.

A rule is a function of Inputs. It yields a sentence for each mistake, with the variable's name and the remedy. The
decorator `rule` adds it to RULES, which `mistakes` applies in this order.

Long: the rules are short functions in one list, which shows every check.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from importlib.util import find_spec
from typing import Any

from ansible_collections.securetime.nts.plugins.module_utils._pair import cookie_keys
from ansible_collections.securetime.nts.plugins.module_utils._state import options
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import plain_name
from ansible_collections.securetime.nts.plugins.plugin_utils import (
    _chrony_conf,
    _distribution,
    _pairs,
    _roots,
    _variables,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._inputs import (
    DISTRIBUTION_SET,
    OTHER_NAMES,
    PREFIX,
    Inputs,
)
from ansible_collections.securetime.nts.plugins.plugin_utils._names import is_host_name, is_ip_address, is_subnet

# Names that look like variables of this role, and the least similarity of a misspelled word (0 to 1, difflib).
LIKE_OURS = re.compile(r"^[a-z].*(_nts|ny_nt|rony)")
ALIKE = 0.66
# In characters. Ansible prints a failure twice; both together must stay below 2 KB.
LONGEST_MESSAGE = 850
CRYPTO = "community.crypto"
MADE_BY_CRYPTO = ("ownca", "selfsigned", "acme", "files")
LARGEST_SET = 2**32 - 1
KEY = re.compile(r"HEX:([0-9A-Fa-f]{2})+|ASCII:[!-~]+")
# chronyd ignores a cipher's key of another length (keys.c, since chrony 4.0).
KEY_BYTES = {"AES128": 16, "AES256": 32}
CERTIFICATE_DIR = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,}")
# Folders that a boot empties, that the sandboxes of chronyd and the renewal hide, or that belong to chronyd.
OTHER_FOLDERS = re.compile(r"/(dev|home|proc|root|run|sys|tmp|var/tmp|var/run|var/lib/chrony)(/|$)")
# Valid paths of a pair that another program keeps, and folders that the sandbox of the renewal hides.
HOST_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._@:+-]*)+")
UNSEEN_FOLDERS = re.compile(r"/(dev|home|proc|root|run/user|sys|tmp|var/tmp)(/|$)")
PACKAGE_VERSION = re.compile(r"[0-9]([A-Za-z0-9.+~^:*_-]*[A-Za-z0-9*])?")
BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
PRIVATE_KEY = "PRIVATE KEY"
RATE_LIMITS = ("ratelimit", "ntsratelimit", "cmdratelimit")


Rule = Callable[[Inputs], Iterable[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Append a function to RULES."""
    RULES.append(function)
    return function


def mistakes(
    variables: Mapping[str, Any],
    names: Collection[str] = (),
    is_file: Callable[[str], bool] = os.path.isfile,
    is_collection: Callable[[str], bool] | None = None,
) -> list[str]:
    """Return a sentence for every mistake in a host's chrony_nts_ variables.

    names are the names of all variables of the host. is_file returns whether a path is a file on the controller, and
    is_collection whether a collection is installed there.
    """
    wrong = _variables.mistakes(variables)
    if not {"chrony_nts_sources", "chrony_nts_directives"} & set(wrong):
        for name, sentence in _wrong_for_chrony(Inputs(variables)):
            wrong.setdefault(name, []).append(sentence)
    # The rules see a neutral value of each wrong variable, so that they check only the others.
    given = {**variables, **{name: _variables.neutral(name) for name in wrong}}
    inputs = Inputs({**given, f"{PREFIX}acme_dns_tasks_exist": is_file(str(given[f"{PREFIX}acme_dns_tasks"]))})
    found = [
        f"{name} is not a variable of this role. Did you mean {close}?"
        for name, close in near_misses(names, variables).items()
    ]
    found += [sentence for sentences in wrong.values() for sentence in sentences]
    if any(pair["provider"] in MADE_BY_CRYPTO for pair in inputs.pairs) and not (is_collection or _is_collection)(
        CRYPTO
    ):
        found.append(
            f"chrony_nts_server_enabled is true, and the collection {CRYPTO}, which makes the server's certificates, is"
            f" not installed on the controller: ansible-galaxy collection install {CRYPTO}."
        )
    told = [sentence for each in RULES for sentence in each(inputs)]
    found += [sentence for sentence in told if not any(name in sentence for name in wrong)]
    return list(dict.fromkeys(found))


def message(sentences: Sequence[str]) -> str:
    """Return a message with one sentence on each line, as many as fit, and the number of the omitted ones."""
    shown = list(sentences[:1])
    for sentence in sentences[1:]:
        if sum(map(len, shown)) + len(sentence) > LONGEST_MESSAGE:
            break
        shown.append(sentence)
    left = len(sentences) - len(shown)
    return "\n".join([*shown, *([f"{left} more of them are reported when these are corrected."] if left else [])])


def _wrong_for_chrony(inputs: Inputs) -> Iterator[tuple[str, str]]:
    """Yield the variable and a sentence for each value that chrony rejects.

    The rules between sources require that each source alone is valid.
    """
    yield from (("chrony_nts_directives", sentence) for sentence in _chrony_conf.problems(inputs.directives, []))
    for source in inputs.sources:
        for sentence in _chrony_conf.problems({}, [source]):
            # Other rules check an address that is text.
            if not (isinstance(source["address"], str) and f"({source['address']}), address is " in sentence):
                yield "chrony_nts_sources", sentence


def _is_collection(name: str) -> bool:
    try:
        return find_spec(f"ansible_collections.{name}") is not None
    except ImportError:
        return False


def near_misses(names: Iterable[str], inputs: Iterable[str]) -> dict[str, str]:
    """Return misspelled names of inputs, each with the correct name.

    A misspelling differs from the correct name in one word, which is similar. Names with more words are the operator's
    own, such as chrony_nts_sources_eu or vault_chrony_nts_ca_passphrase.
    """
    known = [(name, name.split("_")) for name in inputs]
    others = _known(inputs)
    found = {}
    for name in names:
        words = name.split("_")
        if name in others or words[1:2] == ["ntp"] or not LIKE_OURS.search(name):
            continue
        for meant, theirs in known:
            pairs = (
                [pair for pair in zip(words, theirs, strict=False) if pair[0] != pair[1]]
                if len(words) == len(theirs)
                else []
            )
            if len(pairs) == 1 and SequenceMatcher(None, *pairs[0]).ratio() >= ALIKE:
                found[name] = meant
                break
    return found


def unknown_names(names: Iterable[str], inputs: Iterable[str]) -> list[str]:
    """Return a warning for each variable with the role's prefix that is neither the role's own nor a near miss."""
    ours = {name for name in names if name.startswith(PREFIX)} - _known(inputs)
    unknown = sorted(ours - {*near_misses(ours, inputs)})
    return [f"{name} is not a variable of the role chrony_nts, which ignores it." for name in unknown]


def _known(inputs: Iterable[str]) -> set[str]:
    return {*inputs, *(f"{PREFIX}{name}" for name in OTHER_NAMES)}


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


# --- sources ---------------------------------------------------------------------------------------------------------


@rule
def _a_version_of_a_package_is_nothing_else(inputs: Inputs) -> Iterator[str]:
    # apt removes a package whose word ends in a hyphen.
    wanted = str(inputs["package_version"])
    if wanted and not PACKAGE_VERSION.fullmatch(wanted):
        yield (
            f"chrony_nts_package_version is {wanted!r}: write the version of the package alone, as 4.6.1-3+deb13u2 or"
            " 4.6.1*."
        )


@rule
def _each_source_has_one_address(inputs: Inputs) -> Iterator[str]:
    if any(source["address"] == "" for source in inputs.sources):
        yield (
            "A source in chrony_nts_sources has no address, or an address and a hostname that differ. Set 'address' to"
            " the name or the IP address of the server, once."
        )


@rule
def _addresses_are_names_or_ip_addresses(inputs: Inputs) -> Iterator[str]:
    addresses = [source["address"] for source in inputs.sources if source["address"] != ""]
    wrong = [address for address in addresses if not is_host_name(address) and not is_ip_address(address)]
    if wrong:
        yield (
            f"""'{"', '".join(map(str, wrong))}' in chrony_nts_sources is not a host name or an IP address. Write it"""
            " as nts.example.org, as {address: nts.example.org, iburst: true} or as nts://nts.example.org:4460?iburst=true:"
            " a port goes into 'port' or 'ntsport', a comment into a line of its own, and a name has no dot at its end."
        )


@rule
def _no_address_is_given_twice(inputs: Inputs) -> Iterator[str]:
    addresses = [source["address"] for source in inputs.sources if source["address"] != ""]
    plain = [plain_name(str(address)) for address in addresses]
    twice = [address for address, name in zip(addresses, plain, strict=True) if plain.count(name) > 1]
    if twice:
        yield (
            "chrony_nts_sources names the same address twice, and chronyd would use it once. Take one out:"
            f" {_list(twice)}."
        )


@rule
def _there_is_something_to_follow(inputs: Inputs) -> Iterator[str]:
    # Only the plan knows whether this distribution has sources.
    by_distribution = inputs.is_true("distribution_sources")
    if not inputs.sources and not inputs.follows_itself and not by_distribution:
        yield (
            "chrony_nts_sources is empty, so the clock would follow nothing. Name at least one source, or a refclock in"
            " chrony_nts_directives, or on a server that is to serve its own clock set chrony_nts_directives to"
            " {local: {stratum: 10}}."
        )


@rule
def _a_source_is_of_one_type(inputs: Inputs) -> Iterator[str]:
    if any(source.get("type") is not None and source.get("pool") is not None for source in inputs.source_entries):
        yield "A source in chrony_nts_sources sets both 'type' and 'pool'. Set only 'type'."


@rule
def _peers_do_not_use_nts(inputs: Inputs) -> Iterator[str]:
    peers = [source["address"] for source in inputs.sources if source["type"] == "peer" and source["nts"]]
    if peers:
        yield (
            f"NTS cannot authenticate the peer {_list(peers)} of chrony_nts_sources (RFC 8915 is about clients and"
            " servers). Make it a source of type 'server', or set its 'nts' to false and accept that whoever can forge"
            " its packets is believed."
        )


@rule
def _pool_options_are_for_pools(inputs: Inputs) -> Iterator[str]:
    if any("maxsources" in source and source["type"] != "pool" for source in inputs.sources):
        yield (
            "A source in chrony_nts_sources sets 'maxsources' and is not of type 'pool'. Set its 'type' to pool, or"
            " take 'maxsources' out."
        )


@rule
def _required_authentication_leaves_no_source_without_it(inputs: Inputs) -> Iterator[str]:
    if inputs["authselectmode"] == "require" and inputs.unauthenticated:
        yield (
            "chrony_nts_authselectmode is 'require', so chronyd would never follow the unauthenticated source"
            f" {_list(inputs.unauthenticated)}. Set its 'nts' to true, take it out, or choose another"
            " chrony_nts_authselectmode."
        )


@rule
def _sources_of_dhcp_may_be_followed(inputs: Inputs) -> Iterator[str]:
    if inputs["authselectmode"] == "require" and inputs.is_true("dhcp_sources"):
        yield (
            "chrony_nts_dhcp_sources is true and chrony_nts_authselectmode is 'require', so chronyd would never follow"
            " them. Set one of the two to something else."
        )


@rule
def _sources_smear_leap_seconds_in_one_way(inputs: Inputs) -> Iterable[str]:
    if inputs.is_true("allow_mixed_smear"):
        return []
    return _distribution.smear_problems(inputs.sources, inputs.directives)


@rule
def _symmetric_keys_can_be_told_apart(inputs: Inputs) -> Iterator[str]:
    keys = inputs["symmetric_keys"]
    same = len({int(key["id"]) for key in keys}) != len(keys)
    if same or not all(KEY.fullmatch(str(key["key"])) for key in keys):
        yield (
            "Each entry of chrony_nts_symmetric_keys needs an id of its own and a key that is written as HEX: with"
            " pairs of hexadecimal digits, or as ASCII: with text without blanks."
        )


@rule
def _the_keys_of_ciphers_have_their_length(inputs: Inputs) -> Iterator[str]:
    for key in inputs["symmetric_keys"]:
        needed, value = KEY_BYTES.get(str(key.get("type"))), str(key["key"])
        written, _colon, digits = value.partition(":")
        found = len(digits) // 2 if written == "HEX" else len(digits)
        if needed and KEY.fullmatch(value) and found != needed:
            yield (
                f"The key {key['id']} in chrony_nts_symmetric_keys has {found} bytes, and {key['type']} needs {needed}."
                f" Write {needed * 2} hexadecimal digits, or {needed} characters of ASCII."
            )


@rule
def _the_keys_of_sources_exist(inputs: Inputs) -> Iterator[str]:
    known = {int(key["id"]) for key in inputs["symmetric_keys"]}
    missing = sorted({int(source["key"]) for source in inputs.sources if "key" in source} - known)
    # Without chrony_nts_symmetric_keys, the keys are in the operator's own key file.
    if known and missing:
        yield (
            f"A source in chrony_nts_sources uses the key {_list(missing)}, which is not in chrony_nts_symmetric_keys."
            " Add it there, or take it out of the source."
        )


@rule
def _a_source_is_not_both_preferred_and_never_followed(inputs: Inputs) -> Iterator[str]:
    wrong = [
        source["address"]
        for source in inputs.sources
        if source.get("noselect") and any(source.get(option) for option in ("prefer", "trust", "require"))
    ]
    if wrong:
        yield (
            f"{_list(wrong)} in chrony_nts_sources sets 'noselect' together with 'prefer', 'trust' or 'require': a"
            " source that is never followed cannot be preferred. Keep one of them."
        )


@rule
def _polling_intervals_are_in_order(inputs: Inputs) -> Iterator[str]:
    if any(int(source.get("minpoll", 6)) > int(source.get("maxpoll", 10)) for source in inputs.sources):
        yield (
            "In chrony_nts_sources, the maxpoll of a source is less than its minpoll (they are 10 and 6 where they are"
            " not set). Set maxpoll to no less than minpoll."
        )


# --- numbers and chrony.conf -----------------------------------------------------------------------------------------


@rule
def _raw_lines_are_lines(inputs: Inputs) -> Iterator[str]:
    if any(re.search(r"[\n\r]", str(line)) for line in inputs["raw_lines"]):
        yield "An entry of chrony_nts_raw_lines holds more than one line. Make each line an entry of its own."


@rule
def _daemon_options_are_for_a_daemon(inputs: Inputs) -> Iterator[str]:
    given = options.parse(inputs.option_words)
    if "x" in given.options:
        yield "chrony_nts_daemon_options has -x. Set chrony_nts_clock_control to never, and take it out."
    for word, reason in given.unusable:
        yield f"chrony_nts_daemon_options has {_chrony_conf.shortened(word)}: {reason}. Take it out or correct it."


@rule
def _sources_are_of_the_family_that_chronyd_uses(inputs: Inputs) -> Iterator[str]:
    given = options.parse(inputs.option_words).options
    for letter, other in (("4", "6"), ("6", "4")):
        addresses = [str(source["address"]) for source in inputs.sources]
        wrong = [text for text in addresses if is_ip_address(text) and (":" in text) is (other == "6")]
        if letter in given and wrong:
            yield (
                f"chrony_nts_daemon_options has -{letter}, with which chronyd never reaches the source {_list(wrong)}."
                f" Take out -{letter}, or give the source an address of IPv{letter}."
            )


@rule
def _log_files_are_wanted_or_not(inputs: Inputs) -> Iterator[str]:
    empty = [name for name in ("log", "logdir") if inputs.directives.get(name, "default") in (None, False, [], "")]
    if inputs.is_true("logs") and empty:
        yield (
            f"chrony_nts_logs is true, and {_list(empty)} in chrony_nts_directives is empty, so chronyd would write no"
            " log files. Take it out of chrony_nts_directives, or set chrony_nts_logs to false."
        )


# --- trust anchors ---------------------------------------------------------------------------------------------------


@rule
def _trust_anchors_are_certificates(inputs: Inputs) -> Iterator[str]:
    if any(BEGIN_CERTIFICATE not in anchor["content"] for anchor in inputs["trust_anchors"]):
        yield (
            "An entry of chrony_nts_trust_anchors holds no certificate in PEM format. Set its 'content' to the text of"
            " the certificate, as by lookup('ansible.builtin.file', PATH)."
        )


@rule
def _trust_anchors_hold_no_private_key(inputs: Inputs) -> Iterator[str]:
    if any(PRIVATE_KEY in anchor["content"] for anchor in inputs["trust_anchors"]):
        yield (
            "An entry of chrony_nts_trust_anchors holds a private key, which every host could then read. Give it the"
            " certificate alone."
        )


@rule
def _sets_of_trust_anchors_are_free(inputs: Inputs) -> Iterator[str]:
    wrong = sorted(
        {number for number in inputs.anchor_sets if number == DISTRIBUTION_SET or not 0 <= number <= LARGEST_SET}
    )
    if wrong:
        yield (
            f"An entry of chrony_nts_trust_anchors has the set {_list(wrong)}. Set {DISTRIBUTION_SET} belongs to"
            " Ubuntu, which fills and uses it from 25.10 on: leave set out for the default one, or choose a number"
            f" from 2 to {LARGEST_SET}."
        )


@rule
def _the_sets_of_sources_are_filled(inputs: Inputs) -> Iterator[str]:
    if inputs.reads_other_files:
        return
    used = {int(source.get("certset", 0)) for source in inputs.sources if source["nts"]}
    empty = sorted(used - {*inputs.anchor_sets, *inputs.raw_sets, 0, DISTRIBUTION_SET})
    if empty:
        yield (
            f"A source in chrony_nts_sources has the certset {_list(empty)}, in which nobody is trusted. Give an entry"
            " of chrony_nts_trust_anchors that number as its 'set', or take 'certset' out of the source."
        )


@rule
def _some_authority_can_vouch_for_a_server(inputs: Inputs) -> Iterator[str]:
    asks = any(source["nts"] and int(source.get("certset", 0)) == 0 for source in inputs.sources)
    trusts = inputs.is_true("trust_system_cas") or inputs.is_true("trust_own_ca") or 0 in inputs.anchor_sets
    if asks and not trusts:
        yield (
            "chrony_nts_trust_system_cas and chrony_nts_trust_own_ca are false and chrony_nts_trust_anchors has none"
            " without a set, so no certificate of an NTS server could be accepted. Name a trust anchor, or trust one of"
            " the two."
        )


# --- servers ---------------------------------------------------------------------------------------------------------


@rule
def _the_server_allows_some_client(inputs: Inputs) -> Iterator[str]:
    if inputs.is_true("server_enabled") and not inputs["server_allow"]:
        yield (
            "chrony_nts_server_enabled is true and chrony_nts_server_allow is empty: chronyd would accept connections"
            " and close each of them without a word. Set chrony_nts_server_allow to the subnets of your clients, as"
            " ['192.0.2.0/24']."
        )


@rule
def _subnets_are_subnets(inputs: Inputs) -> Iterator[str]:
    wrong = [subnet for subnet in inputs["server_allow"] if not is_subnet(subnet)]
    if wrong:
        yield (
            f"""'{"', '".join(map(str, wrong))}' in chrony_nts_server_allow is not a subnet. Write it as 192.0.2.0/24"""
            " or 2001:db8::/32, with no bit set behind the prefix."
        )


@rule
def _the_nft_include_is_a_path(inputs: Inputs) -> Iterator[str]:
    path = inputs["firewall_nft_include"]
    if path and not re.fullmatch(r"(?:/[\w.+@-]+)+", path):
        yield (
            f"'{path}' in chrony_nts_firewall_nft_include is not the path of a file. Write an absolute path of letters,"
            " digits and .+@-_, as /etc/nftables.d/securetime-nts.nft, and include that file in your ruleset."
        )


@rule
def _a_server_answers_ntp(inputs: Inputs) -> Iterator[str]:
    if not inputs.is_true("server_enabled") or inputs.has_line("ntsntpserver"):
        return
    raw = inputs.raw_values("port")
    if (raw[-1] if raw else str(inputs.directives.get("port"))) == "0":
        where = "chrony_nts_raw_lines" if raw else "chrony_nts_directives"
        yield (
            f"chrony_nts_server_enabled is true and port in {where} is 0, so chronyd would answer no NTP request. Take"
            " it out, or name the server that answers in ntsntpserver of chrony_nts_directives."
        )


@rule
def _a_limit_of_rate_has_its_records(inputs: Inputs) -> Iterator[str]:
    if not inputs.has_line("noclientlog"):
        return
    limits = [name for name in RATE_LIMITS if inputs.has_line(name)]
    if inputs.expected_clients or limits:
        named = _list(limits) or "the limits of chrony_nts_expected_clients"
        yield (
            f"noclientlog in chrony_nts_directives or chrony_nts_raw_lines turns off {named}: chronyd counts by its"
            " records of clients. Take noclientlog out, or the limits."
        )


@rule
def _shared_keys_have_a_name_and_one_rotation(inputs: Inputs) -> Iterator[str]:
    name = str(inputs["shared_keys"])
    if name and not cookie_keys.NAME.fullmatch(name):
        yield (
            f"chrony_nts_shared_keys is {name!r}: write a name of letters, digits, dots, hyphens and underscores, with"
            " at most 63 characters."
        )
    if name and inputs.has_line("ntsrotate"):
        yield (
            "chrony_nts_shared_keys is set, and chrony_nts_directives or chrony_nts_raw_lines has ntsrotate. The"
            " playbook securetime.nts.rotate_ntskeys rotates shared keys: take ntsrotate out."
        )
    if name and inputs.directives.get("ntsdumpdir", "default") in (None, False, ""):
        yield (
            "chrony_nts_shared_keys is set, and ntsdumpdir in chrony_nts_directives is empty, so chronyd would read no"
            " keys. Take ntsdumpdir out, or name a folder."
        )


@rule
def _nobody_is_allowed_and_denied(inputs: Inputs) -> Iterator[str]:
    given = inputs.directives
    allowed = inputs["server_allow"] if inputs.is_true("server_enabled") else []
    for allow, deny, names in (
        (allowed, given.get("deny"), "chrony_nts_server_allow and in deny of chrony_nts_directives"),
        (given.get("cmdallow"), given.get("cmddeny"), "cmdallow and in cmddeny of chrony_nts_directives"),
    ):
        both = _chrony_conf.contradictions(allow, deny)
        if both:
            yield f"{_list(both)} is in {names}. Take it out of one of the two."


@rule
def _the_server_has_names(inputs: Inputs) -> Iterator[str]:
    for pair in inputs.pairs:
        names = pair["names"]
        wrong = [name for name in names if not is_ip_address(name) and (not is_host_name(name) or "_" in name)]
        where = "chrony_nts_server_names" if pair["id"] == "server" else f"{pair['id']} of chrony_nts_more_certificates"
        if wrong or not names:
            found = f"""not '{"', '".join(wrong)}'""" if wrong else "it is empty"
            yield (
                f"{where} must name this server as its clients do, each entry a host name or an IP address ({found}); a"
                " host name has no underscore."
            )


@rule
def _no_certificate_outlives_its_issuer(inputs: Inputs) -> Iterator[str]:
    names = ("certificate_lifetime_days", "issuing_ca_lifetime_days", "ca_lifetime_days")
    days = [int(inputs[name]) for name in names]
    if days != sorted(days):
        yield (
            "A certificate is of no use when the one that signed it has expired. Let"
            f" chrony_nts_certificate_lifetime_days ({days[0]}) be no more than chrony_nts_issuing_ca_lifetime_days"
            f" ({days[1]}), and that no more than chrony_nts_ca_lifetime_days ({days[2]})."
        )


@rule
def _chronyd_can_read_the_folder_of_its_certificates(inputs: Inputs) -> Iterator[str]:
    folder = str(inputs["certificate_dir"])
    if not CERTIFICATE_DIR.fullmatch(folder) or OTHER_FOLDERS.match(folder):
        yield (
            f"chrony_nts_certificate_dir is '{folder}'. Set it to the absolute path of a folder of its own with"
            " letters, digits, '.', '_' and '-', as /srv/nts: not to one that is gone after a boot, nor to one of users"
            " (/home, /root), which chronyd and the renewal never see, nor to chronyd's own state folder."
        )


@rule
def _certificates_can_be_told_apart(inputs: Inputs) -> Iterable[str]:
    return _pairs.problems(inputs.pairs)


@rule
def _a_key_has_its_certificate(inputs: Inputs) -> Iterator[str]:
    half = [pair["id"] for pair in inputs.pairs if pair["half"]]
    if half:
        yield (
            "For the provider 'files', set both chrony_nts_certificate_content and chrony_nts_certificate_key_content"
            " (in chrony_nts_more_certificates content and key_content), the first in PEM and the second without a"
            " passphrase. Or set neither: the server then makes a key, and its request is signed elsewhere. Not so for"
            f" {_list(half)}."
        )


@rule
def _a_pair_of_another_program_is_where_the_renewal_sees_it(inputs: Inputs) -> Iterator[str]:
    wrong = [
        pair["id"]
        for pair in inputs.pairs
        if pair["kept_by_others"] and not (_is_seen(pair["host_path"]) and _is_seen(pair["key_host_path"]))
    ]
    if wrong:
        yield (
            "For the provider 'host_path', set chrony_nts_certificate_host_path and"
            " chrony_nts_certificate_key_host_path (in chrony_nts_more_certificates host_path and key_host_path) to the"
            " absolute paths of the chain and of its key on the server, not below /home, /root, /tmp or /run/user. Not"
            f" so for {_list(wrong)}."
        )


def _is_seen(path: str) -> bool:
    return bool(HOST_PATH.fullmatch(path)) and not UNSEEN_FOLDERS.match(path)


@rule
def _a_certificate_comes_without_its_key(inputs: Inputs) -> Iterator[str]:
    wrong = [pair["id"] for pair in inputs.pairs if PRIVATE_KEY in pair["content"]]
    if wrong:
        yield (
            "chrony_nts_certificate_content, or content in chrony_nts_more_certificates, holds a private key, and all"
            " users of the server may read that file. Put the certificates alone there, and the key into"
            f" chrony_nts_certificate_key_content or key_content. Not so for {_list(wrong)}."
        )


@rule
def _the_root_ca_comes_whole(inputs: Inputs) -> Iterator[str]:
    certificate = inputs["ca_certificate_content"]
    if (inputs["ca_key_content"] and not certificate) or PRIVATE_KEY in certificate:
        yield (
            "chrony_nts_ca_key_content needs chrony_nts_ca_certificate_content, the certificate alone, which clients"
            " are given."
        )


@rule
def _the_root_ca_can_sign(inputs: Inputs) -> Iterable[str]:
    unreadable = list(_roots.unreadable(inputs))
    if unreadable or not any(pair["provider"] == "ownca" for pair in inputs.pairs):
        return unreadable
    return _roots.problems(inputs, _roots.root(inputs))


@rule
def _an_acme_server_issues_what_is_asked_for(inputs: Inputs) -> Iterator[str]:
    if not any(pair["provider"] == "acme" for pair in inputs.pairs):
        return
    answers = "acme_certbot_options" if inputs["acme_client"] == "certbot" else "acme_dns_tasks"
    unanswered = inputs["acme_challenge"] == "dns-01" and not inputs[answers]
    missing = inputs["acme_dns_tasks"] != "" and not inputs["acme_dns_tasks_exist"]
    if not inputs.is_true("acme_terms_agreed") or unanswered or missing:
        yield (
            f"For the provider 'acme', read the terms of {inputs['acme_directory']} and set"
            " chrony_nts_acme_terms_agreed to true. For the challenge dns-01, set chrony_nts_acme_certbot_options to"
            " what certbot's plugin needs, or for the client 'controller' chrony_nts_acme_dns_tasks to a file of tasks"
            " on the controller."
        )


@rule
def _certbot_can_ask_for_it(inputs: Inputs) -> Iterator[str]:
    wrong = [pair["id"] for pair in inputs.pairs if pair["not_for_certbot"]]
    if wrong:
        yield (
            f"certbot takes neither IP addresses nor Ed25519, as {_list(wrong)} asks for. Set chrony_nts_acme_client to"
            " 'controller', or choose other names or another chrony_nts_certificate_key_type."
        )


@rule
def _the_root_ca_can_be_named_and_locked(inputs: Inputs) -> Iterator[str]:
    passphrase = str(inputs["ca_passphrase"])
    well_named = 1 <= len(inputs["ca_common_name"]) <= 64
    if not well_named or 0 < len(passphrase) < 8 or not os.path.isabs(inputs["ca_dir"]):
        yield (
            "chrony_nts_ca_common_name must have 1 to 64 characters, chrony_nts_ca_passphrase none or at least 8, and"
            " chrony_nts_ca_dir must be an absolute path on the controller."
        )
