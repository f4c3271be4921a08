# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings. build.py puts the sources into one folder, laid out as the repository is."""

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]

project = "securetime.nts"
author = "securetime.nts contributors"
project_copyright = f"2026, {author}"
version = release = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = True
highlight_language = "text"
suppress_warnings = [
    # A page may have its own table of contents.
    "myst.header",
]

# Build the same anchors as GitHub.
myst_heading_anchors = 6
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "securetime.nts"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = False
# antsibull-docs has no colours for a theme with light and dark modes.
antsibull_ext_color_scheme = "none"
BOTH = {
    "links-background": "var(--color-brand-primary)",
    "links-background-active": "var(--color-brand-content)",
    "links-focus-outline": "var(--color-foreground-primary)",
    "links-text": "var(--color-background-primary)",
    "table-background-header": "var(--color-background-secondary)",
    "table-background-even": "var(--color-background-secondary)",
    "table-background-odd": "var(--color-background-primary)",
    "table-border": "var(--color-background-border)",
    "narrowtable-background": "var(--color-background-secondary)",
    "option-sample-header": "var(--color-foreground-primary)",
    "attribute-support-na": "inherit",
    "deprecation-border": "var(--color-foreground-border)",
    "deprecation-background": "var(--color-background-secondary)",
    "deprecation-color": "var(--color-foreground-primary)",
}
# In each pair, the first colour is for light mode, the second for dark mode.
PAIRS = {
    "option-type": ("#7b1fa2", "#e0a3ff"),
    "option-elements": ("#7b1fa2", "#e0a3ff"),
    "option-required": ("#b91c1c", "#ff8a8a"),
    "option-version-added": ("#166534", "#71d471"),
    "option-aliases": ("#166534", "#71d471"),
    "option-default": ("#1d4ed8", "#a5b8ff"),
    "option-sample": ("#1d4ed8", "#a5b8ff"),
    "attribute-support-none": ("#b91c1c", "#ff8a8a"),
    "attribute-support-partial": ("#854d0e", "#d6c13c"),
    "attribute-support-full": ("#166534", "#71d471"),
}


def colours(number: int) -> dict[str, str]:
    """Return antsibull-docs' variables with the first or the second colour of each pair."""
    return {
        f"antsibull-{name}": value
        for name, value in {**BOTH, **{name: pair[number] for name, pair in PAIRS.items()}}.items()
    }


html_theme_options: dict[str, Any] = {
    "navigation_with_keys": False,
    "light_css_variables": colours(0),
    "dark_css_variables": colours(1),
}
pygments_style, pygments_dark_style = "default", "github-dark"

ANSIBLE = "https://docs.ansible.com/ansible/latest/"
# antsibull-docs refers to these pages of Ansible's site.
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def link_to_ansible(_app: Any, _env: Any, node: Any, text: nodes.Node) -> nodes.Node | None:
    """Return a link to Ansible's site for a page of that site."""
    page = ANSIBLE_PAGES.get(node.get("reftarget", ""))
    return nodes.reference("", "", text, refuri=ANSIBLE + page, internal=False) if page else None


def setup(app: Any) -> None:
    """Register the resolver of links."""
    app.connect("missing-reference", link_to_ansible)
