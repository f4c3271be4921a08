# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of staged files: a real chronyd of the oldest and of the newest suite, and real certificates."""

from __future__ import annotations

import datetime
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change import config_check, files
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    FileSpec,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.paths import Sandbox
from ansible_collections.securetime.nts.tests.functional.nts_servers import DAY, Pair, make_pair
from ansible_collections.securetime.nts.tests.functional.unpacked import program

AS_ROOT = ("-u", "root")
# A user that every host has, and that owns nothing.
AS_NOBODY = ["-u", "nobody"]


def run(argv: list[str]) -> CommandResult:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return CommandResult(done.returncode, done.stdout, done.stderr)


SYSTEM = System(run, lambda _file, _path: False)


@pytest.fixture(scope="module", params=["bullseye", "testing"], autouse=True)
def chronyd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the check find a chronyd of a suite."""
    script = tmp_path_factory.mktemp("chronyd") / "chronyd"
    script.write_text(f'#!/bin/sh\nexec {" ".join(program(request.param, "usr/sbin/chronyd"))} "$@"\n')
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(config_check, "find_chronyd", lambda: str(script))
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that every user can enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


@pytest.fixture
def pair(folder: Path) -> Pair:
    ca = make_pair(folder / "ca", name="ca", authority=True)
    return make_pair(folder / "pair", ca, chain=[ca])


def staged(path: Path, content: str | None, effect: str = "restart", mode: int = 0o644) -> FileSpec:
    """Write a new file beside its place."""
    item = FileSpec(str(path), content, "root", "root", mode, effect)
    if content is not None:
        files.stage(SYSTEM, item)
    return item


def check(
    folder: Path, lines: list[str], *others: FileSpec, options: Sequence[str] = AS_ROOT, names: list[str] | None = None
) -> bool:
    """Check a configuration of these lines and other staged files; names are those of each certificate."""
    config = folder / "chrony.conf"
    items = [staged(config, "".join(f"{line}\n" for line in lines)), *others]
    certificates = {line.split()[1]: names or [] for line in lines if line.startswith("ntsservercert")}
    by_path = {item.path: item for item in items}
    return config_check.check(SYSTEM, by_path, str(config), certificates, daemon_options=options)


def server_lines(pair: Pair) -> list[str]:
    return [f"ntsservercert {pair.chain}", f"ntsserverkey {pair.key_file}", "allow"]


def test_a_usable_configuration_passes(folder: Path, pair: Pair) -> None:
    sources = staged(folder / "sources.d" / "nts.sources", "# ours\nserver nts.example.org nts iburst\n", "sources")
    lines = [f"ntstrustedcerts {pair.chain}", f"sourcedir {folder / 'sources.d'}", *server_lines(pair)]
    assert check(folder, lines, sources, names=["localhost", "127.0.0.1"])
    assert not (folder / "chrony.conf").exists()


def test_a_configuration_that_goes_needs_no_check(folder: Path) -> None:
    gone = staged(folder / "chrony.conf", None)
    assert config_check.check(SYSTEM, {gone.path: gone}, gone.path)


def test_the_configuration_in_place_is_checked_where_only_sources_change(folder: Path) -> None:
    config = folder / "chrony.conf"
    config.write_text("nonsense\n")
    new = staged(folder / "nts.sources", "server nts.example.org nts\n", "sources")
    with pytest.raises(
        TransactionError, match=r"refuses the new .*chrony.conf, so nothing was changed: .*nonsense|line 1"
    ):
        config_check.check(SYSTEM, {new.path: new}, str(config), daemon_options=AS_ROOT)


def test_the_line_that_chronyd_refuses_is_quoted(folder: Path) -> None:
    with pytest.raises(TransactionError, match=r"refuses the new .*chrony.conf.* at line 2: srever nts.example.org$"):
        check(folder, ["makestep 1 3", "srever nts.example.org"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("server nts.example.org nts", "has no newline"),
        ("\nmakestep 1 3\n", "silently ignore its line 2, .*: makestep 1 3"),
        ("server nts.example.org ntss\n", "nts.sources, so nothing was changed: .* at line 1: server nts.example.org"),
    ],
)
def test_a_line_of_sources_that_chronyd_would_ignore_is_refused(folder: Path, content: str, message: str) -> None:
    with pytest.raises(TransactionError, match=message):
        check(folder, [], staged(folder / "nts.sources", content, "sources"))


def test_a_server_that_answers_no_client_is_refused(folder: Path, pair: Pair) -> None:
    with pytest.raises(TransactionError, match="and chronyd would serve no client; nothing was changed"):
        check(folder, server_lines(pair)[:2])


def test_a_trust_anchor_must_hold_a_certificate(folder: Path) -> None:
    anchor = folder / "ca.pem"
    with pytest.raises(TransactionError, match=r"ca.pem \(ntstrustedcerts\) is not on this host"):
        check(folder, [f"ntstrustedcerts {anchor}"])
    with pytest.raises(TransactionError, match=r"ca.pem \(ntstrustedcerts\) holds no certificate"):
        check(folder, [f"ntstrustedcerts {anchor}"], staged(anchor, "-----BEGIN CERTIFICATE-----\n"))


def test_a_staged_anchor_counts_before_it_is_in_place(folder: Path, pair: Pair) -> None:
    anchor = staged(folder / "anchor.pem", pair.chain.read_text())
    assert check(folder, [f"ntstrustedcerts {anchor.path}"], anchor)


def test_a_key_that_the_user_of_chronyd_cannot_read_is_refused(folder: Path, pair: Pair) -> None:
    pair.key_file.chmod(0o600)
    assert check(folder, server_lines(pair))
    with pytest.raises(TransactionError, match=r"key.pem \(ntsserverkey\) cannot be read by nobody.* mode 0640"):
        check(folder, server_lines(pair), options=AS_NOBODY)


def test_every_certificate_needs_its_key(folder: Path, pair: Pair) -> None:
    with pytest.raises(TransactionError, match="There are 2 ntsservercert and 1 ntsserverkey"):
        check(folder, [f"ntsservercert {pair.chain}", *server_lines(pair)])


def test_a_key_of_another_certificate_is_refused(folder: Path, pair: Pair) -> None:
    other = make_pair(folder / "other")
    with pytest.raises(TransactionError, match=r"chain.pem and .*other/key.pem do not belong together"):
        check(folder, [f"ntsservercert {pair.chain}", f"ntsserverkey {other.key_file}", "allow"])
    other.key_file.write_text("no key\n")
    with pytest.raises(TransactionError, match=r"other/key.pem cannot be used \("):
        check(folder, [f"ntsservercert {pair.chain}", f"ntsserverkey {other.key_file}", "allow"])


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        ((-2 * DAY, -DAY), r"The server's certificate in .* expired .*correct the clock"),
        ((DAY, 2 * DAY), r"The server's certificate in .* is not valid before "),
    ],
)
def test_dates_of_the_certificate_are_checked(
    folder: Path, dates: tuple[datetime.timedelta, datetime.timedelta], message: str
) -> None:
    ca = make_pair(folder / "ca", name="ca", authority=True)
    wrong = make_pair(folder / "pair", ca, chain=[ca], not_before=dates[0], not_after=dates[1])
    with pytest.raises(TransactionError, match=message):
        check(folder, server_lines(wrong))


def test_dates_of_the_issuer_are_checked(folder: Path) -> None:
    ca = make_pair(folder / "ca", name="ca", authority=True, not_before=-2 * DAY, not_after=-DAY)
    with pytest.raises(TransactionError, match=r"The certificate of its CA in .* expired "):
        check(folder, server_lines(make_pair(folder / "pair", ca, chain=[ca])))


def test_certificates_must_be_a_chain(folder: Path, pair: Pair) -> None:
    stranger = make_pair(folder / "stranger", name="stranger", authority=True)
    ca = make_pair(folder / "ca2", name="ca2", authority=True)
    broken = make_pair(folder / "broken", ca, chain=[stranger])
    with pytest.raises(TransactionError, match=r"broken/chain.pem are not a chain"):
        check(folder, server_lines(broken))


def test_a_certificate_must_carry_the_names(folder: Path, pair: Pair) -> None:
    expected = r"is not for nts.example.org \(it is for 127.0.0.1, localhost\)"
    with pytest.raises(TransactionError, match=expected):
        check(folder, server_lines(pair), names=["localhost", "nts.example.org"])


def test_a_path_that_chronyd_cannot_use_is_refused(folder: Path) -> None:
    assert check(folder, ["driftfile /var/lib/chrony/drift"])
    with pytest.raises(TransactionError, match=r"temp \(tempcomp\) is not on this host.*; nothing was changed"):
        check(folder, [f"tempcomp {folder / 'temp'} 30 26000 0.0 0.000183 0.0"])


def test_what_runs_is_checked_as_it_is(folder: Path, pair: Pair) -> None:
    def reach(options: list[str]) -> None:
        directives = config_check.effective_directives(SYSTEM, str(config))
        config_check.check_reach(SYSTEM, directives, Sandbox("", {}), options)

    config = folder / "chrony.conf"
    (folder / "sources.d").mkdir()
    lines = [f"sourcedir {folder / 'sources.d'}", f"ntstrustedcerts {pair.chain}", *server_lines(pair)]
    config.write_text("".join(f"{line}\n" for line in lines))
    reach(AS_NOBODY)
    (folder / "pair").chmod(0o700)
    reach(AS_ROOT)
    with pytest.raises(
        TransactionError, match=r"\(ntstrustedcerts\) cannot be read by nobody, .* permissions of .*/pair"
    ):
        reach(AS_NOBODY)


def test_included_files_are_read_as_chronyd_reads_them(folder: Path) -> None:
    (folder / "more.conf").write_text("makestep 1 3\n")
    config = folder / "chrony.conf"
    config.write_text(f"include {folder / 'more.conf'}\n")
    assert config_check.effective_text(SYSTEM, str(config)).splitlines() == ["makestep 1 3"]
    # Where chronyd refuses the configuration, its text is better than nothing.
    config.write_text("nonsense\n")
    assert config_check.effective_text(SYSTEM, str(config)) == "nonsense\n"


def test_folders_of_anchors_and_missing_folders_of_sources_are_no_mistake(folder: Path, pair: Pair) -> None:
    lines = [f"ntstrustedcerts {pair.chain.parent}", f"sourcedir {folder / 'none'}"]
    assert check(folder, lines)
    directives = {"ntstrustedcerts": [[str(pair.chain.parent)]], "sourcedir": [[str(folder / "none")]]}
    config_check.check_reach(SYSTEM, directives, Sandbox("", {}), AS_ROOT)


def test_without_chronyd_nothing_is_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_check, "find_chronyd", lambda: None)
    assert check(folder, ["nonsense"]) is False
    (folder / "chrony.conf").write_text("nonsense\n")
    assert config_check.effective_text(SYSTEM, str(folder / "chrony.conf")) == "nonsense\n"
