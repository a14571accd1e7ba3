"""A badge shows the level, in an image that is well-formed whatever a backend is called."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from radical.asyncflow._quality.badge import badge_markdown, badge_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a</title><script>alert(1)</script>\"'&\x1b[31m\n\u202e"


@pytest.mark.parametrize("level", ["bronze", "silver", "gold"])
def test_an_image_says_backend_and_level(level: str) -> None:
    root = ET.fromstring(badge_svg("crew", level))
    assert [text.text for text in root.iter(f"{SVG}text")] == ["AsyncFlow", f"crew {level}"]
    assert root.get("aria-label") == f"AsyncFlow: crew {level}"


def test_a_backend_without_a_level_says_so() -> None:
    root = ET.fromstring(badge_svg("crew", None))
    assert root.get("aria-label") == "AsyncFlow: crew no level"


def test_a_hostile_name_stays_text() -> None:
    root = ET.fromstring(badge_svg(HOSTILE, "gold"))
    assert {node.tag for node in root.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "title", "rect", "g", "text")
    }
    assert "<script>" in (root.findtext(f"{SVG}title") or "")


def test_the_parts_of_an_image_lie_side_by_side_and_inside() -> None:
    root = ET.fromstring(badge_svg("a name that is very long " * 10, "silver"))
    first, second = root.iter(f"{SVG}rect")
    assert float(second.get("x", 0)) == float(first.get("width", 0))
    whole = float(first.get("width", 0)) + float(second.get("width", 0))
    assert float(root.get("width", 0)) == pytest.approx(whole)
    for box, text in zip((first, second), root.iter(f"{SVG}text"), strict=True):
        half, middle = float(text.get("textLength", 0)) / 2, float(text.get("x", 0))
        left = float(box.get("x", 0))
        assert left <= middle - half
        assert middle + half <= left + float(box.get("width", 0))


def test_markdown_shows_the_image_and_says_the_same() -> None:
    assert badge_markdown("crew", "gold", "badge.svg") == "![AsyncFlow: crew gold](<badge.svg>)\n"


def test_markdown_of_a_hostile_name_is_one_image() -> None:
    text = badge_markdown("](x) <b> *a* `c`", None, "my <badge>.svg")
    assert text == ("![AsyncFlow: \\](x) \\<b\\> \\*a\\* \\`c\\` no level](<my %3Cbadge%3E.svg>)\n")
