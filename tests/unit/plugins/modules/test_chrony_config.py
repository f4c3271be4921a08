# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result and the log of chrony_config contain no secret; parameters become files; the survey."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.securetime.nts.plugins.module_utils._change import originals
from ansible_collections.securetime.nts.plugins.module_utils._change.files import (
    NEW,
    OLD,
    CommandResult,
    FileSpec,
    System,
    TransactionError,
)
from ansible_collections.securetime.nts.plugins.module_utils._change.settings import Options
from ansible_collections.securetime.nts.plugins.module_utils._state.facts import GatherOptions, GatherResult
from ansible_collections.securetime.nts.plugins.modules import chrony_config

KEYS = "/etc/chrony/chrony.keys"
PEM = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n"


def returned(secrets: dict[str, str], *pairs: dict[str, str]) -> dict[str, Any]:
    """Return the module's result for these entries of a diff."""
    results: list[dict[str, Any]] = []
    module = SimpleNamespace(
        params={"secrets": secrets}, warn=lambda text: None, exit_json=lambda **result: results.append(result)
    )
    chrony_config.exit_with(module, {"changed": True, "warnings": [], "diff": list(pairs)})
    return results[0]


def pair(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        (KEYS, "1 SHA256 HEX:SECRET\n", "1 SHA256 HEX:OTHER\n"),
        (KEYS, "", "1 SHA256 HEX:SECRET\n"),
        ("/etc/chrony/nts/server.key", PEM, "SECRET"),
        ("/etc/chrony/nts/server.key", "SECRET", PEM),
    ],
)
def test_the_diff_of_a_secret_file_shows_no_content(path: str, before: str, after: str) -> None:
    result = returned({KEYS: after}, pair(path, before, after))
    assert [found["before_header"] for found in result["diff"]] == [path]
    text = json.dumps(result)
    assert not [word for word in ("SECRET", "OTHER", "PRIVATE KEY") if word in text]


def test_the_diff_of_another_file_shows_its_content() -> None:
    shown = pair("/etc/chrony/chrony.conf", "makestep 1 3\n", "makestep 1 -1\n")
    assert returned({KEYS: "x"}, shown)["diff"] == [shown]


def test_the_log_of_the_invocation_holds_no_content_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(chrony_config.AnsibleModule, "log", lambda self, text, log_args=None: logged.append(text))
    given = {
        "config_file": "/etc/chrony/chrony.conf",
        "service": "chronyd.service",
        "files": [{"path": "/etc/chrony/nts/server.key", "content": PEM}, {"path": "/a", "state": "absent"}],
        "secrets": {KEYS: "1 SHA256 HEX:SECRET\n"},
    }
    with patch_module_args(given):
        module = chrony_config.Module(argument_spec=chrony_config.ARGUMENTS, supports_check_mode=True)
    assert module.params["files"][0]["content"] == PEM
    (text,) = logged
    assert text.startswith("Invoked with ")
    assert "/etc/chrony/nts/server.key" in text
    assert not [word for word in ("SECRET", "PRIVATE KEY", "AA") if word in text]


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"


def copied(mode: str, *paths: Path) -> str | None:
    """Return the content of a file that the module copies from other files."""
    wanted = {
        "path": "/copy",
        "state": "present",
        "content": None,
        "template": None,
        "from": [str(path) for path in paths],
    }
    return chrony_config.content_of({**wanted, "mode": mode}, {})


def test_only_certificates_are_copied_to_a_file_for_all_users(tmp_path: Path) -> None:
    (tmp_path / "leaf").write_text(f"Subject: nts1\n{CERTIFICATE}")
    (tmp_path / "above").write_text(CERTIFICATE)
    assert copied("0644", tmp_path / "leaf", tmp_path / "above") == CERTIFICATE * 2


@pytest.mark.parametrize(
    ("text", "reason"), [("root:$6$:", "holds no certificate"), (CERTIFICATE + PEM, "holds a private key")]
)
def test_another_file_is_not_copied_to_a_file_for_all_users(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(TransactionError, match=rf"Nothing was changed\. .*/file {reason}"):
        copied("0644", tmp_path / "file")
    assert copied("0640", tmp_path / "file") == text.rstrip("\n") + "\n"


def test_a_missing_certificate_is_reported_as_such_before_and_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    with pytest.raises(TransactionError) as refused:
        chrony_config.text_of(str(path))
    assert str(refused.value) == (
        f"The certificate {path} (serves) is not on this host, so chronyd cannot serve it. Put it there, or remove it"
        " from serves."
    )
    path.write_text(CERTIFICATE)
    assert chrony_config.text_of(str(path)) == CERTIFICATE


def test_a_fifo_is_not_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TransactionError, match="fifo is not a regular file"):
        copied("0640", tmp_path / "fifo")


def options(**given: Any) -> dict[str, Any]:
    """Return the parameters of the module for these files."""
    return {"files": [], "secrets": {}, **given}


def wanted(path: str, **given: Any) -> dict[str, Any]:
    common = {"state": "present", "content": None, "template": None, "from": [], "mode": "0644", "effect": "restart"}
    return {"path": path, **common, "owner": "root", "group": "root", **given}


def specs(tmp_path: Path, *files: dict[str, Any], check_mode: bool = False, **secrets: str) -> list[FileSpec]:
    host = System(run=lambda argv: CommandResult(0, "", ""), label=lambda *_paths: None, state=str(tmp_path / "state"))
    return chrony_config.specs_of(options(files=list(files), secrets=secrets), check_mode, host)


def test_the_parameters_become_the_desired_files(tmp_path: Path) -> None:
    found = specs(tmp_path, wanted("/a", content="text\n", mode="0640", effect="none"), wanted("/b", state="absent"))
    assert found == [
        FileSpec("/a", "text\n", "root", "root", 0o640, "none"),
        FileSpec("/b", None, "root", "root", 0o644),
    ]


@pytest.mark.parametrize("mode", [0o644, 644, "u=rw", "", "0888", None, True])
def test_a_mode_that_is_no_octal_text_is_an_error(mode: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"The mode of /a is .*: write it in octal and in quotes, as '0644'\."):
        specs(tmp_path, wanted("/a", content="text\n", mode=mode))


def test_ansible_keeps_a_number_as_the_mode() -> None:
    given = {"config_file": "/c", "service": "chronyd.service", "files": [{"path": "/a", "content": "", "mode": 0o644}]}
    with patch_module_args(given):
        module = chrony_config.Module(argument_spec=chrony_config.ARGUMENTS, supports_check_mode=True)
    assert module.params["files"][0]["mode"] == 0o644


def test_a_secret_replaces_the_content(tmp_path: Path) -> None:
    (found,) = specs(tmp_path, wanted("/a", content="shown\n"), **{"/a": "SECRET\n"})
    assert found.content == "SECRET\n"


def test_a_file_without_content_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/a has no content: set its content or template, or its state to absent"):
        specs(tmp_path, wanted("/a"))


def test_a_file_with_two_sources_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/a has a content and a template: set one of them"):
        specs(tmp_path, wanted("/a", content="text\n", template="a.j2"))
    (found,) = specs(tmp_path, wanted("/a", state="absent", template="a.j2"))
    assert found.content is None


def test_check_mode_leaves_out_a_copy_whose_source_does_not_exist_yet(tmp_path: Path) -> None:
    source = tmp_path / "chain.pem"
    file = wanted("/a", **{"from": [str(source)]})
    assert specs(tmp_path, file, check_mode=True) == []
    with pytest.raises(TransactionError, match=r"chain\.pem"):
        specs(tmp_path, file)
    source.write_text(CERTIFICATE)
    assert [found.content for found in specs(tmp_path, file, check_mode=True)] == [CERTIFICATE]


def test_a_file_without_an_original_is_not_restored(tmp_path: Path) -> None:
    assert specs(tmp_path, wanted("/a", state="original")) == []
    path = tmp_path / "file"
    path.write_text("old\n")
    host = System(run=lambda argv: CommandResult(0, "", ""), label=lambda *_paths: None, state=str(tmp_path / "state"))
    originals.keep(host, str(path))
    path.write_text("new\n")
    (found,) = specs(tmp_path, wanted(str(path), state="original", effect="none"))
    assert (found.path, found.content, found.effect) == (str(path), "old\n", "none")


@pytest.mark.parametrize(
    ("before", "run", "enabled"),
    [
        ({}, True, True),
        ({"active": True, "enabled": False}, True, False),
        ({"active": False}, False, False),
        ({"active": "no", "enabled": "yes"}, False, True),
    ],
)
def test_a_restoration_leaves_the_daemon_as_it_was(before: dict[str, Any], run: bool, enabled: bool) -> None:
    options = Options("/etc/chrony.conf", "chronyd.service", remember={"active": True}, rivals=["ntpsec.service"])
    restored = chrony_config.restore_options(options, before)
    assert (restored.run, restored.enabled, restored.remember, restored.rivals) == (run, enabled, {}, ())


class Surveyed:
    """A host with the parameters of a last run, and what a run with them would do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.host = System(lambda argv: CommandResult(0, "", ""), lambda *_paths: None, str(folder / "state"))
        self.path = folder / "chrony.conf"
        self.predicted: dict[str, Any] | Exception = {"changed": False, "checked": True, "warnings": []}
        self.reached: bool | None = None
        self.gathering: list[GatherOptions] = []
        self.settings: list[Options] = []
        monkeypatch.setattr(chrony_config, "host_of", lambda module: self.host)
        monkeypatch.setattr(chrony_config, "gather", self.gather)
        monkeypatch.setattr(chrony_config, "apply_read", self.apply_read)

    def parameters(self, **given: Any) -> dict[str, Any]:
        files = [{"path": str(self.path), "content": "text\n"}]
        common = {"config_file": str(self.path), "service": "chronyd.service", "files": files, "digest": "abc"}
        with patch_module_args({**common, **given}):
            return dict(chrony_config.AnsibleModule(argument_spec=chrony_config.ARGUMENTS).params)

    def record(self, **given: Any) -> None:
        chrony_config.record(self.host, self.parameters(**given))

    def gather(self, options: GatherOptions) -> GatherResult:
        self.gathering.append(options)
        return GatherResult({"nts": {}}, self.reached, 0.01, ["odd"])

    def apply_read(self, _host: System, specs: Callable[[], list[FileSpec]], options: Options) -> dict[str, Any]:
        assert [item.content for item in specs()] == ["text\n"]
        self.settings.append(options)
        if isinstance(self.predicted, Exception):
            raise self.predicted
        return self.predicted

    def applied(self, capsys: pytest.CaptureFixture[str]) -> str:
        """Return what the survey says of the parameters."""
        given = {"config_file": "", "service": "", "survey": {"packages": ["chrony"]}}
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            chrony_config.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert (ended.value.code, result["changed"], result["ansible_facts"]) == (0, False, {"chrony": {"nts": {}}})
        assert "odd" in json.dumps(result["warnings"])
        found: str = result["applied"]
        return found


@pytest.fixture
def surveyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Surveyed:
    return Surveyed(monkeypatch, tmp_path)


def test_a_survey_says_that_the_last_parameters_would_change_nothing(
    surveyed: Surveyed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert surveyed.applied(capsys) == ""
    assert surveyed.gathering == [GatherOptions(None, 1, None, 0.0, 5.0, True, (), ["chrony"])]
    surveyed.record(verify="authenticated", verify_min_sources=2)
    surveyed.reached = True
    assert surveyed.applied(capsys) == "abc"
    assert surveyed.gathering[-1][:4] == ("authenticated", 2, None, 0.0)
    # It predicts, and waits for no other run.
    assert [(options.check_mode, options.lock_timeout) for options in surveyed.settings] == [(True, 0.0)]


@pytest.mark.parametrize(
    "predicted",
    [
        {"changed": True, "checked": True, "warnings": []},
        {"changed": False, "checked": True, "warnings": ["rotated twice"]},
        TransactionError("locked"),
        ValueError("the mode"),
        IsADirectoryError(21, "Is a directory"),
        KeyError("mode"),
    ],
)
def test_a_survey_leaves_all_else_to_the_run(
    surveyed: Surveyed, capsys: pytest.CaptureFixture[str], predicted: Any
) -> None:
    surveyed.record()
    surveyed.predicted = predicted
    assert surveyed.applied(capsys) == ""


def test_a_survey_does_not_wait_for_the_clock(surveyed: Surveyed, capsys: pytest.CaptureFixture[str]) -> None:
    surveyed.record(verify="authenticated")
    surveyed.reached = False
    assert (surveyed.applied(capsys), surveyed.settings) == ("", [])


@pytest.mark.parametrize("end", [NEW, OLD])
def test_what_an_interrupted_run_has_left_is_for_the_run(
    surveyed: Surveyed, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    surveyed.record()
    assert surveyed.applied(capsys) == "abc"
    Path(f"{surveyed.path}{end}").touch()
    assert surveyed.applied(capsys) == ""


@pytest.mark.parametrize("name", ["plan.json", "undo.sh"])
def test_the_plan_of_an_interrupted_run_is_for_the_run(
    surveyed: Surveyed, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    surveyed.record()
    Path(surveyed.host.state, name).touch()
    assert surveyed.applied(capsys) == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parameters": []}', '{"digest": "abc", "parameters": {}}'])
def test_a_damaged_record_counts_for_nothing(surveyed: Surveyed, capsys: pytest.CaptureFixture[str], text: str) -> None:
    surveyed.record()
    Path(surveyed.host.state, chrony_config.APPLIED).write_text(text)
    assert surveyed.applied(capsys) == ""


def test_parameters_of_another_version_count_for_nothing(
    surveyed: Surveyed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed.record()
    monkeypatch.setitem(chrony_config.ARGUMENTS, "start_timeout", {"type": "float", "default": 31.0})
    assert surveyed.applied(capsys) == ""
    surveyed.record()
    assert surveyed.applied(capsys) == "abc"


def test_no_parameters_with_secrets_or_of_a_server_are_kept(surveyed: Surveyed) -> None:
    kept = Path(surveyed.host.state, chrony_config.APPLIED)
    surveyed.record()
    assert json.loads(kept.read_text())["digest"] == "abc"
    assert kept.stat().st_mode & 0o777 == 0o600
    surveyed.record(secrets={str(surveyed.path): "SECRET"})
    assert json.loads(kept.read_text()) == {}
    surveyed.record(serves=[{"certificate": "/server.pem", "names": ["nts1"]}])
    assert json.loads(kept.read_text()) == {}


def test_the_same_parameters_are_written_once(surveyed: Surveyed) -> None:
    kept = Path(surveyed.host.state, chrony_config.APPLIED)
    surveyed.record()
    before = kept.stat().st_ino
    surveyed.record()
    assert kept.stat().st_ino == before
    surveyed.record(digest="def")
    assert kept.stat().st_ino != before
