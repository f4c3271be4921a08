# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the documentation site from the Markdown of this repository and the documentation of its plugins: make docs.

build.py        writes .build/docs/html; a warning, a broken link or a missing anchor fails

Sphinx sees the Markdown in the layout of the repository, so relative links work on GitHub and on the site. A link to a
file that is no page becomes a link to GitHub. The README is the site's first page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build" / "docs"
SOURCE, SITE = BUILD / "source", BUILD / "html"
REPOSITORY = "https://github.com/securetime/nts/blob/main/"
# The navigation: titles and pages. Sphinx reports an error for a page of docs/ that is missing here.
SECTIONS = {
    "Start": {
        "Quick start": "docs/quick_start",
        "Platforms": "docs/platforms",
        "The tutorial, step by step": "docs/tutorial",
    },
    "Operate": {
        "Clients": "docs/clients",
        "Servers": "docs/servers",
        "Certificates": "docs/certificates",
        "Firewall": "docs/firewall",
        "Fleets": "docs/fleets",
        "Coexistence": "docs/coexistence",
        "Log files": "docs/logs",
    },
    "Prove and watch": {
        "Verification": "docs/verification",
        "What counts as authenticated": "docs/verdict",
        "Report": "docs/report",
        "Monitoring": "docs/monitoring",
        "Alerts and dashboards": "docs/alerts",
        "Troubleshooting": "docs/troubleshooting",
    },
    "Reference": {
        "Variables and modules": "reference/index",
        "Directives": "docs/directives",
    },
    "Background": {
        "Trust and threat model": "SECURITY",
        "Architecture": "docs/architecture",
        "Reliability": "docs/reliability",
        "Interoperability": "docs/interoperability",
        "Performance": "docs/performance",
        "Contributing": "CONTRIBUTING",
        "Test hosts": "tests/lab/README",
        "Changelog": "CHANGELOG",
    },
}
# Tables of existing pages, for the reference page.
TABLES = {
    "Directives and options of sources": "../docs/directives.md",
    "Metrics": "../docs/monitoring.md#metrics",
    "Alerts": "../docs/alerts.md#the-alerts",
}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    """Return the Markdown files of the site, relative to the repository."""
    navigated = {f"{page}.md" for section in SECTIONS.values() for page in section.values()} - {"reference/index.md"}
    return sorted({"README.md", *navigated, *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))})


def rewrite(text: str, page: str, names: Mapping[str, str]) -> str:
    """Return a page whose links point to pages of the site, and for other files of the repository to GitHub."""

    def replace(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or urlsplit(target).scheme or path.endswith((".png", ".svg")):
            return match[0]
        inside = os.path.normpath(PurePosixPath(page).parent / path)
        if inside in names:
            target = os.path.relpath(names[inside], PurePosixPath(page).parent) + hash_ + anchor
        elif (ROOT / inside).exists():
            target = REPOSITORY + inside + hash_ + anchor
        return before + target + after

    # Code holds no links.
    parts = CODE.split(text)
    return "".join(part if number % 2 else LINK.sub(replace, part) for number, part in enumerate(parts))


def tree(entries: Mapping[str, str], caption: str) -> str:
    """Return a hidden toctree, which only the navigation shows."""
    lines = [f"{title} <{page}>" for title, page in entries.items()]
    return "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *lines, "```", ""])


def lay_out() -> None:
    """Write the sources for Sphinx."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    names = {page: "index.md" if page == "README.md" else page for page in pages()}
    for page, name in names.items():
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        text = rewrite((ROOT / page).read_text(), page, names)
        (SOURCE / name).write_text(text)
    with (SOURCE / "index.md").open("a") as first:
        first.writelines(tree(entries, caption) for caption, entries in SECTIONS.items())
    for image in [*ROOT.glob("docs/*.png"), *ROOT.glob("docs/*.svg")]:
        shutil.copy(image, SOURCE / "docs")


def generate() -> None:
    """Write the pages of roles and modules, and an index page of them and of each variable."""
    folder = SOURCE / "reference"
    folder.mkdir()
    options = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--no-indexes", "--no-breadcrumbs"]
    options += ["--no-add-antsibull-docs-version", "--dest-dir", str(folder)]
    subprocess.run(["antsibull-docs", "collection", *options, "securetime.nts"], check=True)
    titles: dict[str, str] = {}
    for path in sorted(folder.glob("*.rst")):
        if path.name.startswith("_") or not path.stem.endswith(("_module", "_role")):
            path.unlink()
            continue
        # The theme already shows a page's contents.
        text = re.sub(r"^\.\. contents::\n(?: .*\n)+", "", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
        title = re.search(r"^securetime\.nts\.\S+ \w+ -- (.+)$", text, re.MULTILINE)
        assert title, path
        titles[path.stem] = re.sub(r"\\(.)", r"\1", title[1])
    text = "# Variables, roles and modules\n"
    for kind in ("role", "module"):
        rows = [
            f"- [{name.removesuffix(f'_{kind}')}]({name}): {titles[name]}\n" for name in titles if name.endswith(kind)
        ]
        text += f"\n## {kind.capitalize()}s\n\n" + "".join(rows)
    for role in (name for name in titles if name.endswith("_role")):
        specs = yaml.safe_load((ROOT / f"roles/{role.removesuffix('_role')}/meta/argument_specs.yml").read_text())
        text += f"\n## Variables of {role.removesuffix('_role')}\n\n"
        for name in sorted(specs["argument_specs"]["main"]["options"]):
            text += f'- <a href="{role}.html#parameter-main--{name}"><code>{name}</code></a>\n'
    text += "\n## Directives, metrics and alerts\n\n"
    text += "".join(f"- [{title}]({link})\n" for title, link in TABLES.items())
    entries = {name.rpartition("_")[0]: name for name in titles}
    (folder / "index.md").write_text(text + tree(entries, "Roles and modules"))


class Page(HTMLParser):
    """Collect the anchors and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the tag's anchor and its link."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        self.links += [value for name in ("href", "src") if (value := given.get(name))]


def broken_links(site: Path) -> Iterator[str]:
    """Yield the links within the site whose file or anchor does not exist."""
    found = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    for path, page in found.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                yield f"{path.relative_to(site)}: {link} leads to no file"
            elif anchor and target in found and anchor not in found[target].anchors:
                yield f"{path.relative_to(site)}: {link} leads to no anchor"


def main() -> None:
    """Build the site."""
    lay_out()
    generate()
    shutil.rmtree(SITE, ignore_errors=True)
    command = ["sphinx-build", "-W", "-n", "--keep-going", "-q", "-b", "html", "-d", str(BUILD / "doctrees")]
    status = subprocess.run([*command, "-c", str(ROOT / "docs/site"), str(SOURCE), str(SITE)], check=False).returncode
    broken = list(broken_links(SITE))
    print("\n".join(broken))
    if status or broken:
        sys.exit(f"{len(broken)} broken links, sphinx-build ended with {status}")
    print(f"{len(list(SITE.rglob('*.html')))} passed\nThe site: {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
