"""The cost of a live page in the program whose run it shows, with the page open."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

from radical.asyncflow import WorkflowEngine
from radical.asyncflow.aside import in_thread

from .. import _ours
from .._measure import CPU, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

TASKS = 100_000
MOST_MORE = 1.03
"""The most that the program's processor time may be, as a multiple of that without a page."""

PLAIN = "no page"


def _side(*, page: bool) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with tempfile.TemporaryDirectory() as folder:
            async with WorkflowEngine.create("noop", journal=Path(folder, "journal")) as flow:
                if page:
                    url = await flow.serve()
                    await in_thread(lambda: urlopen(url).read())  # it is there

                async def run(size: int) -> object:
                    return len(await _ours.bag(flow, size))

                yield run

    return open_side


def _page(settings: Settings) -> Sequence[Row]:
    size = settings.size(TASKS)
    sides = {OURS: _side(page=True), PLAIN: _side(page=False)}
    series = contest(sides, size, settings.repeat, processor=True)
    return rows("page", size, series, {CPU: Goal(MOST_MORE, PLAIN)})


SCENARIOS = (Scenario("page", "a bag while a live page of it is served", _page),)
