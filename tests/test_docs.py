# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site: links, navigation, and the length of the README."""

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README_LINES = 120


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    """Return the functions of docs/site/build.py."""
    return runpy.run_path(str(ROOT / "docs/site/build.py"))


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("README.md", "docs/clients.md#x", "docs/clients.md#x"),
        ("docs/clients.md", "../README.md", "../index.md"),
        ("docs/clients.md", "#x", "#x"),
        ("docs/report.md", "report.png", "report.png"),
        ("docs/report.md", "report.schema.json", "https://github.com/securetime/nts/blob/main/docs/report.schema.json"),
        ("README.md", "https://example.org", "https://example.org"),
        # Sphinx reports this link.
        ("README.md", "docs/none.md", "docs/none.md"),
    ],
)
def test_a_link_leads_to_a_page_or_to_github(build: dict[str, Any], page: str, link: str, expected: str) -> None:
    names = {"README.md": "index.md", "docs/clients.md": "docs/clients.md"}
    assert build["rewrite"](f"[text]({link})", page, names) == f"[text]({expected})"
    for code in ("`[text]({})`", "```\n[text]({})\n```"):
        assert build["rewrite"](code.format(link), page, names) == code.format(link)


def test_links_to_no_file_and_to_no_anchor_are_found(build: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="sub/b.html#x"></a><a href="https://example.org/none"></a>'
        '<a href="#none"></a><a href="sub/b.html#none"></a><a href="none.html"></a><img src="none.png">'
    )
    (tmp_path / "sub/b.html").write_text('<span id="x"></span><a href="../a.html#top"></a>')
    assert list(build["broken_links"](tmp_path)) == [
        "a.html: #none leads to no anchor",
        "a.html: sub/b.html#none leads to no anchor",
        "a.html: none.html leads to no file",
        "a.html: none.png leads to no file",
    ]


def test_the_navigation_has_every_page(build: dict[str, Any]) -> None:
    navigated = {page for section in build["SECTIONS"].values() for page in section.values()}
    assert {f"docs/{path.stem}" for path in ROOT.glob("docs/*.md")} <= navigated


def test_the_readme_is_short_shows_the_report_early_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= README_LINES
    assert "](docs/report.png)" in "\n".join(text.splitlines()[:20])
    assert [path.name for path in ROOT.glob("docs/*.md") if f"](docs/{path.name}" not in text] == []
