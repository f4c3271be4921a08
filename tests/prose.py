# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the language of README and the documentation: usage, terms, length of sentences, width of lines.

prose.py [--table] [PAGE ...]    check these pages or all; --table prints the figures of each page

proselint checks the usage. It has no rule for the length of sentences. textlint has one that counts characters instead
of words, and Debian's npm needs 336 packages for it. markdown-it-py separates prose from code.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from proselint.checks import __register__
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "docs/*.md", "tests/lab/README.md", "roles/*/README.md")
MAX_WORDS = 30
# Mean of the sentences outside of tables, because short cells would hide long sentences.
MAX_MEAN_WORDS = 18
MAX_COLUMNS = 120
# Terms that the field does not use, with the field's terms.
TERMS = {
    r"some(?:body|one)|nobody|anybody|no one": "the name of the program or person",
    r"(?<!virtual )machines?": "host, VM or controller",
    r"tak(?:e|es|en|ing) back|took back": "roll back",
    r"without a word": "silently",
    r"in vain": "what fails",
    r"dearest|cheapest": "most (or least) disruptive",
    r"for ever": "forever",
    r"as it shall be|shall be": "the desired state",
    r"pass(?:es|ed)? over": "ignore or skip",
    r"mend(?:s|ed|ing)?": "repair",
}


class Sentence(NamedTuple):
    """A sentence without its markup, the line where its paragraph begins, and whether a table holds it."""

    text: str
    line: int
    in_table: bool

    @property
    def words(self) -> int:
        """Return the number of words; an inline code counts as one."""
        return sum(bool(re.search(r"\w", word)) for word in self.text.split())


def plain(inline: Token) -> str:
    """Return the text of a paragraph, with each inline code as one word."""
    shown = {"softbreak": " ", "hardbreak": "\n", "html_inline": "\n"}
    return "".join(
        {"text": child.content, "code_inline": f"CODE{number}"}.get(child.type, shown.get(child.type, ""))
        for number, child in enumerate(inline.children or [])
    )


def sentences(markdown: str) -> Iterator[Sentence]:
    """Yield the sentences of a page, without headings and code."""
    parents: list[str] = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.nesting > 0:
            parents.append(token.type)
        elif token.nesting < 0:
            parents.pop()
        elif token.type == "inline" and token.map and "heading_open" not in parents:
            for text in re.split(r"(?<=[.!?])[\"')]*\s+|\n", plain(token)):
                yield Sentence(text, token.map[0] + 1, "table_open" in parents)


def mean_words(found: list[Sentence]) -> float:
    """Return the mean length of the sentences outside of tables."""
    lengths = [sentence.words for sentence in found if not sentence.in_table and sentence.words]
    return sum(lengths) / max(1, len(lengths))


def problems(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each problem of a page."""
    found = list(sentences(markdown))
    for sentence in found:
        if sentence.words > MAX_WORDS:
            yield sentence.line, f"{sentence.words} words, at most {MAX_WORDS}: {sentence.text}"
        for term, better in TERMS.items():
            if match := re.search(rf"\b(?:{term})\b", sentence.text, re.IGNORECASE):
                yield sentence.line, f"{match[0]!r}: write {better}: {sentence.text}"
    separator = "\n\n--\n\n"
    ends = list(itertools.accumulate(len(sentence.text) + len(separator) for sentence in found))
    for result in LintFile("<prose>", separator.join(sentence.text for sentence in found)).lint():
        check = result.check_result
        sentence = found[bisect.bisect(ends, check.span[0])]
        yield sentence.line, f"{check.check_path}: {check.message} {sentence.text}"
    if (mean := mean_words(found)) > MAX_MEAN_WORDS:
        yield 1, f"a sentence has {mean:.1f} words on average, at most {MAX_MEAN_WORDS}"
    code = False
    for number, line in enumerate(markdown.splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        # Table rows and links cannot be wrapped.
        if not code and len(line) > MAX_COLUMNS and " " in line.strip() and not line.lstrip().startswith("|"):
            yield number, f"{len(line)} columns, at most {MAX_COLUMNS}"


def main() -> int:
    """Check pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    pages = given.pages or sorted(page for pattern in PAGES for page in ROOT.glob(pattern))
    CheckRegistry().register_many(__register__)
    failed = 0
    for page in pages:
        markdown = page.read_text()
        found = list(problems(markdown))
        failed += bool(found)
        if given.table:
            lengths = [sentence.words for sentence in sentences(markdown)]
            print(f"{page}: mean {mean_words(list(sentences(markdown))):.1f}, longest {max(lengths, default=0)}")
        for line, problem in found:
            print(f"{page}:{line}: {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
