"""The cost of the displays of a run: the lines of a batch log, and the table of a terminal."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial

from radical.asyncflow import WorkflowEngine
from radical.asyncflow._display.feed import Feed
from radical.asyncflow._display.lines import Lines
from rich.console import Console

from .. import _ours
from .._measure import Run, Side, add_differences, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

TASKS = 100_000
MOST_ADDED_US = 1.0
"""Microseconds of processor time that a display may add to a task."""

OFF = "no display"
EVENTS = "an observer of all events"


class _Lines(AbstractContextManager[None]):
    """The lines of *flow*, as ``asyncflow run`` writes them, on a stream that nobody reads."""

    def __init__(self, flow: WorkflowEngine) -> None:
        self._feed = Feed(Lines(flow, io.StringIO()), flow)

    def __exit__(self, *exc: object) -> None:
        self._feed.stop()


def _display(kind: str, flow: WorkflowEngine) -> AbstractContextManager[object]:
    if kind == "lines":
        return _Lines(flow)
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    return flow.progress(console=console)


def _side(kind: str) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async with WorkflowEngine.create("noop") as flow:
            if kind == EVENTS:
                flow.observe(len)
            shown = nullcontext() if kind in (OFF, EVENTS) else _display(kind, flow)
            with shown:

                async def run(size: int) -> object:
                    return len(await _ours.bag(flow, size))

                yield run

    return open_side


def _measure(kind: str, settings: Settings) -> Sequence[Row]:
    size = settings.size(TASKS)
    sides = {OURS: _side(kind), OFF: _side(OFF), EVENTS: _side(EVENTS)}
    series = contest(sides, size, settings.repeat, processor=True)
    _, processor = add_differences(series, OFF)
    return rows(f"progress-{kind}", size, series, {processor: Goal(MOST_ADDED_US, None)})


SCENARIOS = tuple(
    Scenario(f"progress-{kind}", f"a bag, shown as {kind}", partial(_measure, kind))
    for kind in ("lines", "table")
)
