# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: its policy, its escapes, its limits and its drawings. tests/browser opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from ansible_collections.securetime.nts.plugins.plugin_utils._report import drawing
from ansible_collections.securetime.nts.plugins.plugin_utils._report.document import Member, document
from ansible_collections.securetime.nts.plugins.plugin_utils._report.page import ICONS, MOST_HOSTS, TITLES, page
from ansible_collections.securetime.nts.plugins.plugin_utils._report.rows import STATES, row, without_facts
from ansible_collections.securetime.nts.tests.unit.plugins.plugin_utils._report.fleet import (
    NOW,
    TEMPLATES,
    captured,
    earlier,
    fleet,
    hostile,
)

LOADING = {"src", "srcset", "action", "formaction", "data", "poster", "background", "ping", "style"}


class Reader(HTMLParser):
    """Collect elements with their attributes, and the text of the style and the script."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("style", "script"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open.remove(tag)

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.texts[tag] = self.texts.get(tag, "") + data


def write(members: list[Member]) -> str:
    """Return the page of a fleet."""
    return page(document(members, NOW, earlier(document(members, NOW))), TEMPLATES)


@pytest.fixture(scope="module")
def usual() -> Reader:
    """Return the page of a usual fleet."""
    return Reader(write(list(fleet(60))))


@pytest.fixture(scope="module")
def attacked() -> Reader:
    """Return the page of hostile hosts."""
    return Reader(write(list(hostile())))


def test_the_policy_allows_this_style_and_this_script_alone(usual: Reader) -> None:
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in usual.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    digests = {
        name: base64.b64encode(hashlib.sha256(usual.texts[name].encode()).digest()).decode()
        for name in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests['style']}'; script-src 'sha256-{digests['script']}';"
        " base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("name", ["usual", "attacked"])
def test_the_page_loads_nothing_and_has_no_code_in_attributes(name: str, request: pytest.FixtureRequest) -> None:
    elements = request.getfixturevalue(name).elements
    assert [tag for tag, _attributes in elements].count("script") == 1
    assert {tag for tag, _attributes in elements} & {
        "link",
        "img",
        "iframe",
        "object",
        "form",
        "base",
        "image",
    } == set()
    for tag, attributes in elements:
        assert LOADING & set(attributes) == set(), tag
        assert [given for given in attributes if given.startswith("on")] == []
        assert (attributes.get("href") or "#").startswith("#")


def test_hostile_hosts_make_the_same_elements_as_others(attacked: Reader, usual: Reader) -> None:
    assert {tag for tag, _attributes in attacked.elements} <= {tag for tag, _attributes in usual.elements}


def test_no_control_or_bidirectional_character_is_on_the_page() -> None:
    content = write(list(hostile()))
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", content) == []
    assert "\\u202egpj.exe" in content


def test_identifiers_are_unique(usual: Reader) -> None:
    names = [attributes["id"] for _tag, attributes in usual.elements if "id" in attributes]
    assert sorted(set(names)) == sorted(names)
    used = [attributes["aria-labelledby"] for _tag, attributes in usual.elements if "aria-labelledby" in attributes]
    assert set(used) <= set(names)


def test_a_table_of_thousands_shows_the_worst_and_says_so() -> None:
    content = write(list(fleet(MOST_HOSTS + 500)))
    assert content.count("<tr data-state=") == MOST_HOSTS
    assert "This table shows the 1,000 hosts that need attention most, of 1,500." in content
    assert content.count('<tr data-state="unreachable">') == 30
    assert "<tr data-state=" not in content.partition('id="hosts"')[0]


def test_a_page_of_ten_thousand_hosts_is_hardly_longer() -> None:
    """The table is limited, but the groups count all hosts."""
    content = write(list(fleet(10000)))
    assert len(content) < 1500000
    assert "of 10,000 clocks follow authenticated time" in content
    assert 'class="quiet">200 hosts</span>' in content


def test_a_fleet_without_hosts_has_a_page() -> None:
    content = write([Member("a", False, [], without_facts("unreachable", "gone"))])
    assert "0</b> of 1 clocks follow authenticated time" in content
    assert page(document([], NOW), TEMPLATES).count("<section") == 5


def test_every_state_has_a_title_a_meaning_and_a_shape() -> None:
    assert list(TITLES) == list(reversed(STATES))
    assert set(ICONS) == set(STATES)


# --- drawings


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0 s"), (3e-9, "3 ns"), (1.2e-5, "12 µs"), (0.0034, "3.4 ms"), (-0.25, "250 ms"), (1234.0, "1,234 s")],
)
def test_a_duration_has_two_digits(seconds: float, said: str) -> None:
    assert drawing.duration(seconds) == said


@pytest.mark.parametrize(
    ("left", "said"), [(0.5, "12 hours left"), (1.0, "1 day left"), (89.7, "90 days left"), (-7.0, "ended 7 days ago")]
)
def test_the_life_of_a_certificate_is_said_in_days(left: float, said: str) -> None:
    assert drawing.days(left) == said


def test_one_host_of_ten_thousand_is_seen_in_the_bar() -> None:
    parts = drawing.state_bar({"authenticated": 9999, "failed": 1})
    assert [part.state for part in parts] == ["authenticated", "failed"]
    assert parts[1].width > 5
    assert parts[1].x + parts[1].width == pytest.approx(drawing.BAR_WIDTH, abs=0.2)


def follower(name: str, *sources: str, is_server: bool = False, state: str = "healthy") -> Member:
    """Return a host that has selected the first of these sources."""
    facts = captured(state)
    template = facts["sources"][0]
    rows = [
        dict(template, name=source, state="combined" if number else "selected") for number, source in enumerate(sources)
    ]
    return Member(name, is_server, [name], row({**facts, "sources": rows}))


def drawn(*members: Member) -> tuple[dict[str, str], list[str]]:
    """Return the texts of the boxes, and the kinds of the lines."""
    tree = drawing.tree(document(members, NOW))
    return {node.title: node.detail for node in tree.nodes}, [edge.kind for edge in tree.edges]


def test_the_tree_leads_from_sources_over_servers_to_hosts() -> None:
    boxes, lines = drawn(
        follower("nts1", "time.example", is_server=True), *(follower(f"web{number}", "nts1") for number in range(3))
    )
    assert boxes == {
        "time.example": "outside of this report",
        "nts1": "with NTS, stratum 6",
        "3 hosts": "with NTS: web0, web1 and 1 more",
    }
    assert lines == ["nts", "nts"]


def test_hosts_without_nts_stand_apart() -> None:
    boxes, lines = drawn(follower("a", "time"), follower("b", "time", state="plain"))
    assert boxes == {"time": "outside of this report", "a": "with NTS", "b": "without NTS"}
    assert sorted(lines) == ["nts", "plain"]


def test_hosts_in_a_circle_are_drawn_once() -> None:
    boxes, _lines = drawn(follower("a", "b"), follower("b", "c"), follower("c", "a"), follower("d", "c"))
    assert boxes == {
        "a": "in a circle, stratum 6",
        "c": "with NTS, stratum 6",
        "2 hosts": "with NTS: b, d",
    }


def test_the_tree_ends_where_hosts_claim_an_endless_chain() -> None:
    chain = [follower(f"h{number:05}", f"h{number + 1:05}") for number in range(3000)]
    tree = drawing.tree(document(chain, NOW))
    assert len(tree.nodes) < 20


def test_many_sources_are_merged_and_no_host_is_lost() -> None:
    boxes, _lines = drawn(*(follower(f"web{number:02}", f"time{number:02}") for number in range(40)))
    assert boxes["30 more sources"] == "30 hosts below"


def test_hosts_that_follow_nothing_are_named() -> None:
    members = [follower("a", "time"), Member("b", False, [], row(captured("ke_refused")))]
    members += [Member("c", False, [], without_facts("unreachable", "gone"))]
    tree = drawing.tree(document(members, NOW))
    assert (tree.without_source, tree.without_facts) == (["b"], ["c"])


def test_an_offset_stands_within_its_error_bound_and_on_its_side_of_zero() -> None:
    chart = drawing.offsets(document(list(fleet(30)), NOW)["hosts"])
    zero = next(tick.x for tick in chart.ticks if tick.label == "0")
    assert len(chart.rows) > 10
    for shown in chart.rows:
        assert drawing.CHART_LEFT <= shown.low <= shown.x <= shown.high <= drawing.CHART_RIGHT
        assert (shown.x < zero) == (shown.said[0] == drawing.MINUS)


def test_the_offsets_shown_are_the_widest() -> None:
    hosts = document(list(fleet(200)), NOW)["hosts"]
    bounds = sorted((host["error_bound_seconds"] for host in hosts if host["error_bound_seconds"]), reverse=True)
    chart = drawing.offsets(hosts)
    assert len(chart.rows) == drawing.MOST_ROWS
    assert chart.widest == drawing.duration(bounds[0])
    assert sum(bucket.hosts for bucket in drawing.buckets(hosts)) == len(bounds)


def test_a_certificate_that_ends_soon_is_marked() -> None:
    assert [drawing.urgency(left) for left in (-1.0, 0.0, 13.0, 15.0)] == ["ended", "ended", "soon", "good"]
