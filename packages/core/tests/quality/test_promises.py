"""Every check of the kit stands behind one promise, and a page explains each of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from radical.asyncflow._quality.levels import GROUPS
from radical.asyncflow._quality.promises import PROMISES, Promise, promise_of
from radical.asyncflow.testing import BackendConformance

DOCS = Path(__file__).parents[4] / "docs"
KIT = {name for name in dir(BackendConformance) if name.startswith("test_")}
NAMED = Counter(name for promise in PROMISES for name in promise.checks)
HEADING = re.compile(r"^#{1,3} (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _anchors(page: str) -> set[str]:
    """Return the anchors of *page*, as MyST makes them of its headings."""
    text = FENCED.sub("", (DOCS / page).read_text(encoding="utf-8"))
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text)]
    return {heading.strip().replace(" ", "-") for heading in words}


def test_each_check_of_the_kit_has_one_promise() -> None:
    assert sorted(KIT - set(NAMED)) == [], "these have no promise in _quality/promises.py"
    assert {name: number for name, number in NAMED.items() if number > 1} == {}


def test_each_check_that_a_promise_names_is_there() -> None:
    assert {name for name in NAMED if name.startswith("test_")} - KIT == set()


def test_each_group_has_a_promise() -> None:
    assert {promise.group for promise in PROMISES} == set(GROUPS)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text[:40])
def test_a_page_explains_each_promise(promise: Promise) -> None:
    assert promise.text.endswith(".")
    page, _, anchor = promise.page.partition("#")
    assert anchor in _anchors(page)


def test_a_check_is_asked_for_its_promise() -> None:
    assert promise_of("test_a_lambda_runs").group == "functions"
    with pytest.raises(KeyError):
        promise_of("test_telepathy")
