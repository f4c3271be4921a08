# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared keys on their way from one host to another, encrypted for real; no chronyd takes them here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    CommandResult,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._pair import sealing
from ansible_collections.securetime.nts.plugins.module_utils._pair.cookie_keys import CookieKeys, new_keys, read_keys
from ansible_collections.securetime.nts.plugins.module_utils._pair.sharing import KeyLocation
from ansible_collections.securetime.nts.plugins.modules import nts_cookie_keys

HOST = System(run=lambda argv: CommandResult(0, "", ""), label=lambda *_paths: None)
KEYS = new_keys("pool", 1000)
OPTIONS = Options("/chrony.conf", "chrony.service")


def module(run_dir: Path, check_mode: bool = False, **given: Any) -> SimpleNamespace:
    params = {"name": "pool", "action": "share", "recipients": {}, "sealed": "", "run_dir": str(run_dir), **given}
    return SimpleNamespace(params=params, check_mode=check_mode, tmpdir=str(run_dir))


def location(folder: Path, keys: CookieKeys | None = KEYS) -> KeyLocation:
    """Return where a server has these keys."""
    path = folder / "ntskeys"
    if keys is not None:
        path.write_text(keys.text())
    return KeyLocation(str(path), "/c.pem")


def recipient() -> tuple[str, str]:
    """Return the private and the public key of a host that is given the keys."""
    pair = sealing.perform("make", {})
    return pair["private"], pair["public"]


def sealed(folder: Path, action: str, keys: CookieKeys | None = KEYS) -> CookieKeys:
    """Return the keys that a recipient opens."""
    private, public = recipient()
    given = module(folder, action=action, recipients={"nts2": public})
    found = nts_cookie_keys.seal(given, HOST, location(folder, keys))
    assert (found["changed"], list(found["sealed"])) == (False, ["nts2"])
    opened = sealing.perform("open", {"private": private, "sealed": found["sealed"]["nts2"], "purpose": "pool"})
    return read_keys(opened["text"])


def test_the_present_the_rotated_or_new_keys_are_sealed(tmp_path: Path) -> None:
    assert sealed(tmp_path, "share") == KEYS
    rotated = sealed(tmp_path, "rotate")
    assert rotated.keys[:3] == KEYS.keys[1:]
    assert rotated.since > KEYS.since
    replaced = sealed(tmp_path, "replace")
    assert (replaced.name, {*replaced.keys} & {*KEYS.keys}) == ("pool", set())
    # New keys need no present ones.
    (tmp_path / "ntskeys").unlink()
    assert sealed(tmp_path, "replace", None).name == "pool"
    # The server goes on with its own keys until it is given the sealed ones.
    assert not (tmp_path / "ntskeys").exists()


@pytest.mark.parametrize("action", ["share", "rotate"])
@pytest.mark.parametrize("keys", [None, new_keys("another", 1000)])
def test_keys_that_are_gone_are_not_sealed(tmp_path: Path, action: str, keys: CookieKeys | None) -> None:
    with pytest.raises(TransactionError, match=r"ntskeys has no keys of pool any more\. Run the playbook again"):
        sealed(tmp_path, action, keys)


def test_check_mode_seals_and_applies_nothing(tmp_path: Path) -> None:
    given = module(tmp_path / "run", check_mode=True, recipients={"nts2": recipient()[1]})
    assert nts_cookie_keys.seal(given, HOST, location(tmp_path)) == {"changed": False, "sealed": {}}
    assert nts_cookie_keys.applied(given, HOST, location(tmp_path), OPTIONS) == {
        "changed": True,
        "changed_files": [str(tmp_path / "ntskeys")],
    }


def given_keys(folder: Path, keys: CookieKeys, purpose: str = "pool") -> SimpleNamespace:
    """Return the module of a host that another one has sealed these keys for."""
    private, public = recipient()
    (folder / nts_cookie_keys.PRIVATE).write_text(private)
    parts = {"text": keys.text(), "recipients": {"nts2": public}, "purpose": purpose}
    return module(folder, sealed=sealing.perform("seal", parts)["sealed"]["nts2"])


def test_sealed_keys_are_opened_once_and_replace_those_of_chronyd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        nts_cookie_keys.sharing, "replace_keys", lambda *given: replaced.append(given) or {"changed": True}
    )
    given, place = given_keys(tmp_path, KEYS), location(tmp_path, None)
    assert nts_cookie_keys.applied(given, HOST, place, OPTIONS) == {"changed": True}
    assert replaced == [(HOST, place, KEYS, OPTIONS)]
    # Nobody opens the text with this key again.
    assert not (tmp_path / nts_cookie_keys.PRIVATE).exists()
    with pytest.raises(TransactionError, match=r"ntskeys\.pem is missing, so the sealed keys cannot be opened"):
        nts_cookie_keys.applied(given, HOST, place, OPTIONS)
    assert len(replaced) == 1


def test_keys_of_another_set_are_refused(tmp_path: Path) -> None:
    place = location(tmp_path, None)
    with pytest.raises(TransactionError, match="belong to the set another, so nothing was changed"):
        nts_cookie_keys.applied(given_keys(tmp_path, new_keys("another", 0)), HOST, place, OPTIONS)
    with pytest.raises(sealing.SealingError, match="cannot be opened"):
        nts_cookie_keys.applied(given_keys(tmp_path, KEYS, purpose="another"), HOST, place, OPTIONS)
    assert not (tmp_path / "ntskeys").exists()
