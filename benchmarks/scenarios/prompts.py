"""Prompts: the `inference` backend beside `httpx` and a semaphore by hand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path

from radical.asyncflow import WorkflowEngine

from .._measure import COST, CPU, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

BY_HAND = "httpx"
WORKERS = 16
ROOT = Path(__file__).parents[2]


@contextmanager
def _server() -> Iterator[str]:
    """Start a server in a process of its own, so that only the asking is measured."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks._completions"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def _ours(url: str) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        settings = {"base_url": url, "model": "echo", "max_workers": WORKERS}
        async with WorkflowEngine.create("inference", config=settings) as flow:

            @flow.prompt_task
            def ask(number: int) -> str:
                return f"Why {number}?"

            async def run(size: int) -> list[str]:
                return [str(answer) for answer in await asyncio.gather(*map(ask, range(size)))]

            yield run

    return open_side


def _by_hand(url: str) -> Side:
    import httpx

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        gate = asyncio.Semaphore(WORKERS)
        async with httpx.AsyncClient() as client:

            async def ask(number: int) -> str:
                messages = [{"role": "user", "content": f"Why {number}?"}]
                async with gate:
                    reply = await client.post(
                        f"{url}/chat/completions", json={"model": "echo", "messages": messages}
                    )
                    return str(reply.json()["choices"][0]["message"]["content"])

            async def run(size: int) -> list[str]:
                return list(await asyncio.gather(*map(ask, range(size))))

            yield run

    return open_side


def _measure(settings: Settings) -> Sequence[Row]:
    size = settings.size(2_000)
    with _server() as url:
        sides: dict[str, Side] = {OURS: _ours(url), BY_HAND: _by_hand(url)}
        series = contest(sides, size, settings.repeat, processor=True)
    return rows("prompts", size, series, {COST: Goal(1.25, BY_HAND), CPU: Goal(1.25, BY_HAND)})


SCENARIOS = [
    Scenario(name, "prompts to a server that answers at once", _measure)
    for name in ["prompts"]
    if find_spec("httpx") is not None
]
"""The scenario; none if httpx is not installed."""
