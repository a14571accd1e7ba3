"""The text of the page: what must be in it, and what must not."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from radical.asyncflow.journal import ErrorRecord, FunctionRecord, RunRecord, TaskRecord
from radical.asyncflow.report import _columns, render_html
from radical.asyncflow.report._columns import embedded
from radical.asyncflow.report._page import LIVE_SCRIPTS
from radical.asyncflow.report.words import at as clock
from radical.asyncflow.report.words import seconds

from .synthetic import PREPARE, synthetic


class Elements(HTMLParser):
    """All elements of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style"):
            self.scripts.append(data)


def data_of(run: RunRecord) -> Any:
    text = render_html(run)
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def at(column: Any, place: int) -> Any:
    """Return a value of a column, which is that value alone if all are equal."""
    return column[place] if isinstance(column, list) else column


def test_no_element_names_an_address_of_the_network() -> None:
    page = Elements(render_html(synthetic(300, seed=1)))
    assert any("href" in attributes for _, attributes in page.found)
    for _, attributes in page.found:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,"))
    assert not re.search(r"@import|url\(", page.scripts[0])


def test_the_policy_allows_the_page_s_own_script_and_style_alone() -> None:
    text = render_html(synthetic(10))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    for rule, start in (("script-src", "<script>"), ("style-src", "<style>")):
        body = text.partition(start)[2].partition("</s")[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_nothing_inside_the_data_ends_its_element() -> None:
    text = embedded({"</script>": "<!--\u2028&"})
    assert json.loads(text) == {"</script>": "<!--\u2028&"}
    assert not set("<>&\u2028") & set(text)


def test_every_text_of_the_page_is_escaped() -> None:
    run = synthetic(40, seed=2)
    name = "<q onclick='x'>\"&"
    function = FunctionRecord(1, name, "function", "")
    tasks = {
        number: task._replace(function=function, worker=name, backend=name, stdout=name)
        for number, task in run.tasks.items()
    }
    text = render_html(run._replace(uid=name, host=name, program=(name,), tasks=tasks))
    assert "q" not in {tag for tag, _ in Elements(text).found}
    assert "&lt;q onclick=&#x27;x&#x27;&gt;&quot;&amp;" in text


def test_the_data_holds_every_task_s_times_and_dependencies() -> None:
    run = synthetic(500, seed=3)
    data = data_of(run)
    after = iter(data["after"])
    last = 0
    for place, task in enumerate(run.tasks.values()):
        tick = last
        for name in ("added", "ready", "started", "ended"):
            step, time = at(data[name], place), getattr(task, name)
            assert (step is None) == (time is None)
            if step is not None:
                tick += step
                assert tick * data["unit"] == pytest.approx(time, abs=2 * data["unit"])
            if name == "added":
                last = tick
        count = at(data["dependencies"], place)
        assert {task.number - next(after) for _ in range(count)} == set(task.after)


def test_numbers_with_gaps_are_kept() -> None:
    run = synthetic(9)
    del run.tasks[4]
    assert data_of(run)["number"] == [1, 2, 3, 5, 6, 7, 8, 9]


def test_output_has_a_bound_and_failures_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_columns, "MAX_OUTPUT", 2_000)
    run = synthetic(4_000, seed=4)
    data = data_of(run)
    failed = [task.number for task in run.tasks.values() if task.state == "FAILED"]
    assert sum(map(len, data["texts"])) <= 2_100
    assert data["dropped"] > 1_000
    assert all(data["error"][str(number)][1] is not None for number in failed[:5])
    assert "The page has no room" in render_html(run)


def test_a_page_of_10_000_tasks_takes_less_than_a_megabyte() -> None:
    assert 100_000 < len(render_html(synthetic(10_000, seed=1))) < 1_000_000


def test_what_every_page_carries_is_small() -> None:
    folder = importlib.resources.files("radical.asyncflow.report") / "assets"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    assert set(files) == {*LIVE_SCRIPTS, "style.css", "template.html"}
    assert sum(len(data) for name, data in files.items() if name != "live.js") < 72 * 1024
    assert len(files["live.js"]) < 12 * 1024


def test_no_script_makes_elements_of_text() -> None:
    folder = importlib.resources.files("radical.asyncflow.report") / "assets"
    for name in LIVE_SCRIPTS:
        code = (folder / name).read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (-0.1, "0 s"),
        (2.5e-5, "25 µs"),
        (0.99e-3, "990 µs"),
        (0.0123, "12.3 ms"),
        (4.214, "4.21 s"),
        (59.96, "1:00 min"),
        (187.0, "3:07 min"),
        (3753.0, "1:02:33 h"),
        (200_000.0, "2 d 07:33 h"),
    ],
)
def test_times_have_the_unit_that_fits(value: float | None, words: str) -> None:
    assert seconds(value) == words


def test_equal_failures_say_which_points_failed() -> None:
    error = ErrorRecord("ValueError", "no")
    tasks = {
        number: TaskRecord(number, PREPARE, "FAILED", error=error, arguments=f"{number}, '<b>'")
        for number in range(1, 15)
    }
    page = render_html(RunRecord("run.1", 0.0, tasks=tasks))
    for number in tasks:
        assert f"<code>({number}, &#x27;&lt;b&gt;&#x27;)</code>" in page.replace("&#39;", "&#x27;")


def test_a_moment_of_a_run_is_told_as_a_clock_shows_it() -> None:
    found = [clock(value) for value in (None, -1.0, 0.0156, 187.25, 3 * 86400 + 1)]
    assert found == ["–", "0:00:00.000", "0:00:00.016", "0:03:07.250", "72:00:01.000"]
