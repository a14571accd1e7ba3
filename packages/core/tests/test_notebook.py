"""What a notebook, or a prompt, shows of the objects that people leave at the end of a cell."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.journal import read
from radical.asyncflow.registry import list_available_backends
from radical.asyncflow.report import Facts
from radical.asyncflow.sync import Flow

MARKUP = "<script>alert('x')</script>"


class Words(html.parser.HTMLParser):
    """The text of a piece of HTML, whose tags must be closed in their order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.seen: list[str] = []
        self.feed(source)
        self.close()
        assert self.tags == []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def shown(thing: Any) -> Words:
    words = Words(thing._repr_html_())
    assert "script" not in words.seen
    return words


def double(number: int) -> int:
    return 2 * number


def fail() -> None:
    raise ValueError(MARKUP)


async def test_an_engine_and_its_futures_and_plan() -> None:
    async with WorkflowEngine.create("concurrent", uid="here") as flow:
        twice = flow.function_task(double)
        future = twice(twice(1))
        wrong = flow.function_task(fail, name=MARKUP)()
        assert await future == 4
        with pytest.raises(ValueError, match="alert"):
            await wrong
        text = shown(flow).text
        for word in ("here", "concurrent", "tasks called", "3", "unfinished", "0"):
            assert word in text
        assert "DONE" in shown(future).text
        assert f"ValueError: {MARKUP}" in shown(wrong).text
        plan = shown(flow.plan())
    assert plan.seen.count("path") == 1  # an arrow
    assert plan.seen.count("rect") == 3
    assert MARKUP in plan.text
    assert "3 tasks, depth 2, width 2" in plan.text


async def test_a_large_plan_is_drawn_small() -> None:
    async with WorkflowEngine.create("noop") as flow:
        task = flow.function_task(double)
        for _ in range(50):
            task([task(number) for number in range(50)])
        plan = flow.plan()
    assert len(plan) == 2550
    assert shown(plan).seen.count("rect") == 2
    assert "double ×2500" in shown(plan).text


def test_a_plan_without_tasks() -> None:
    with Flow("noop") as flow:
        assert "0 tasks" in shown(flow.plan()).text


def test_a_flow_and_its_futures() -> None:
    with Flow("concurrent", uid="mine") as flow:
        future = flow.function_task(double)(2)
        assert future.result() == 4
        assert "DONE" in shown(future).text
        assert "mine" in shown(flow).text
    assert "closed" in shown(flow).text
    assert "DONE" in shown(future).text
    assert (future.state, future.backend) == ("DONE", "concurrent")
    assert len(flow.plan()) == 1


def test_the_list_of_backends_is_a_dict_and_a_table() -> None:
    listing = list_available_backends()
    assert json.loads(json.dumps(listing))["concurrent"]["available"]
    words = shown(listing)
    assert words.seen.count("tr") == len(listing) + 1
    assert "concurrent" in words.text


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    with Flow("concurrent", journal=path, uid="recorded") as flow:
        twice = flow.function_task(double)
        futures = [twice(number) for number in range(200)]
        failed = [flow.function_task(fail, name=MARKUP)() for _ in range(3)]
        assert [future.result() for future in futures] == [2 * number for number in range(200)]
        assert all(isinstance(future.exception(), ValueError) for future in failed)
    return path


def test_a_record_never_prints_all_that_it_has(journal: Path) -> None:
    (run,) = read(journal)
    facts = Facts(run)
    assert repr(run) == "<RunRecord recorded done: 203 tasks>"
    assert repr(facts) == f"<Facts of {run!r}>"
    assert repr(run.tasks[1]) == "<TaskRecord task.000001 'double' DONE>"
    for thing in (run, facts):
        words = shown(thing)
        assert "recorded" in words.text
        assert len(words.text) < 2000
    assert "200 done, 3 failed" in shown(run).text
    assert f"3 × {MARKUP} failed" in shown(facts).text
