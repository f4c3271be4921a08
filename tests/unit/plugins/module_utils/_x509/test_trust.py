# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trust anchors of a client, and those that a change removes. Tests on hosts cover chronyd's reaction."""

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._x509 import trust

# None of these certificates is readable, so trust names each by its fingerprint.
A, B, C = ("-----BEGIN CERTIFICATE-----\n" + name + "\n-----END CERTIFICATE-----\n" for name in "ABC")
BEFORE = {"/t.pem": [A + B], "/t-2.pem": [C], "/t.d": [A, B]}


def trusted(config, files, *sources):
    return trust.trust_of(
        trust.words_of(config), lambda path: files.get(path, []), [trust.words_of(text) for text in sources]
    )


def names(*texts):
    return frozenset(name for text in texts for name in trust.anchors(text))


def test_sets_hold_their_files_and_set_0_the_system():
    config = "NTSTrustedCerts /t.pem\nntstrustedcerts 2 /t-2.pem\nntstrustedcerts 2 /t.d\n! ntstrustedcerts 3 /t.pem\n"
    assert trusted(config, BEFORE).sets == {0: names(A, B) | {trust.SYSTEM}, 2: names(A, B, C)}
    assert trusted(config + "nosystemcert\n", BEFORE).sets[0] == names(A, B)


def test_a_missing_file_of_trust_anchors_adds_no_anchor():
    assert trusted("ntstrustedcerts /none\nntstrustedcerts\nnosystemcert", {}).sets == {0: frozenset()}


def test_only_nts_sources_have_a_set():
    sources = (
        "server a nts certset 2\nserver b NTS\npool c iburst nts CertSet 3 minpoll 6\nserver d iburst\npeer e nts\n"
    )
    assert trusted("server f nts", {}, sources).sources == {"a": 2, "b": 0, "c": 3, "f": 0}


@pytest.mark.parametrize(
    ("config", "files", "removed"),
    [
        # The set loses no anchor: no change, an additional anchor, or another file of the same set.
        ("ntstrustedcerts /t.pem", BEFORE, 0),
        ("ntstrustedcerts /t.pem", dict(BEFORE, **{"/t.pem": [B + A + C]}), 0),
        ("ntstrustedcerts /t.d", BEFORE, 0),
        ("ntstrustedcerts /t-2.pem\nntstrustedcerts 0 /t.pem", BEFORE, 0),
        ("ntstrustedcerts /t.pem\nntstrustedcerts 2 /t-2.pem", BEFORE, 0),
        # The set loses an anchor: from its file, with its file, its line, its set, or the system's certificates.
        ("ntstrustedcerts /t.pem", dict(BEFORE, **{"/t.pem": [B]}), 1),
        ("ntstrustedcerts /t.pem", {}, 1),
        ("", BEFORE, 1),
        ("ntstrustedcerts 2 /t.pem", BEFORE, 1),
        ("ntstrustedcerts /t.pem\nnosystemcert", BEFORE, 1),
    ],
)
def test_each_removed_trust_anchor_is_reported(config, files, removed):
    sentences = trust.removed_anchors(trusted("ntstrustedcerts /t.pem", BEFORE), trusted(config, files))
    assert len(sentences) == removed, sentences
    assert all(text.startswith("set 0 of trust anchors does not trust ") for text in sentences)


def test_a_removed_set_is_reported_by_its_number():
    (sentence,) = trust.removed_anchors(trusted("ntstrustedcerts 2 /t-2.pem", BEFORE), trusted("", BEFORE))
    assert sentence == f"set 2 of trust anchors does not trust {next(iter(names(C)))} any more"


@pytest.mark.parametrize(
    ("old", "new", "removed"),
    [
        ("server a nts", "server a nts certset 2", [trust.SYSTEM]),
        ("server a nts certset 2", "server a nts", [*names(C)]),
        ("server a nts certset 2", "server a nts certset 4", [*names(C)]),
        ("server a nts certset 2", "server a nts certset 3", []),
        ("server a nts certset 2", "server b nts certset 4", []),
        ("server a nts certset 4", "server a nts certset 2", []),
    ],
)
def test_a_source_that_changes_its_set_reports_the_anchors_that_it_loses(old, new, removed):
    config = "ntstrustedcerts 2 /t-2.pem\nntstrustedcerts 3 /t-2.pem\nntstrustedcerts 3 /t.pem"
    sentences = trust.removed_anchors(trusted(config, BEFORE, old), trusted(config, BEFORE, new))
    assert sentences == [f"a does not trust {name} any more" for name in removed]


def test_dump_folders_of_the_old_and_the_new_configuration_are_found():
    old, new = trust.words_of("ntsdumpdir /a\nntsdumpdir"), trust.words_of("ntscachedir /b\nntsdumpdir /a")
    assert trust.dump_folders(old, new) == ["/a", "/b"]
    assert trust.dump_folders(trust.words_of("")) == []
