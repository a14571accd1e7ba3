"""Lose a backend at a random moment, and judge what the run made of it.

One round is one run on a backend that is killed and on ``concurrent``, which takes over.  Its
tasks note their beginning and their end in a file, so that a round can tell what really ran.
"""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from radical.asyncflow import (
    BackendLostError,
    DependencyFailureError,
    RetryPolicy,
    TaskFuture,
    WorkflowEngine,
)
from radical.asyncflow.backend import ExecutionBackend

__all__ = ["LONG_S", "Round", "rounds"]

LONG_S = 180.0
"""Seconds after which a round hangs, also on a busy machine."""

LARGE = 200_000
"""Bytes of a value that stays with its worker."""


def rounds(usual: int) -> range:
    """Return the seeds: *usual* of them, or as ``ASYNCFLOW_LOSSES`` and ``.._FROM`` say."""
    first = int(os.environ.get("ASYNCFLOW_LOSSES_FROM", "0"))
    return range(first, first + int(os.environ.get("ASYNCFLOW_LOSSES", str(usual))))


def step(log: str, number: int, seconds: float, size: int, *needs: bytes) -> bytes:
    """Note the beginning and the end of this step; return a value that tells what it is."""
    _note(log, f"begin {number}")
    time.sleep(seconds)
    total = number + sum(int(value[:12]) for value in needs)
    _note(log, f"end {number}")
    return f"{total:012d}".encode().ljust(size, b".")


def _note(log: str, words: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{words}\n".encode())
    os.close(file)


class Round:
    """One run that loses its first backend.

    Args:
        slots: how many tasks run at once on the backend that is killed.
        steps: how many functions it calls.
        commands: how many commands.
    """

    def __init__(
        self, folder: Path, seed: str, *, slots: int = 2, steps: int = 120, commands: int = 8
    ) -> None:
        self.rng = random.Random(seed)
        self.slots = slots
        self.log = folder / "log"
        self.log.touch()
        self.calls = steps + commands
        self.commands = set(self.rng.sample(range(self.calls), commands))
        self.needs: dict[int, list[int]] = {}
        self.retried: set[int] = set()
        self.futures: dict[int, TaskFuture[Any]] = {}

    async def play(self, backend: ExecutionBackend, kill: Callable[[random.Random], None]) -> None:
        """Run on *backend*, have *kill* end it at some moment, and judge what followed."""
        settings = {"name": "spare", "max_workers": 2}
        from radical.asyncflow import factory

        spare = await factory.create_backend("concurrent", settings)
        async with WorkflowEngine.create([backend, spare], failover=True) as flow:
            self._call_all(flow)
            killer = asyncio.create_task(self._kill_later(kill))
            dropped = self._let_go()
            async with asyncio.timeout(LONG_S):
                await killer
                results = await asyncio.gather(*self.futures.values(), return_exceptions=True)
            outcomes = dict(zip(self.futures, results, strict=True))
        self._judge(outcomes, dropped)

    def _call_all(self, flow: WorkflowEngine) -> None:
        rng = self.rng
        policy = RetryPolicy(attempts=4)
        for number in range(self.calls):
            earlier = rng.sample(range(number), min(number, rng.choice([0, 0, 0, 1, 1, 2])))
            retries = policy if rng.random() < 0.3 else None
            if retries is not None:
                self.retried.add(number)
            if number in self.commands:
                self.needs[number] = []
                self.futures[number] = flow.executable_task(_command, retries=retries)(
                    str(self.log), number, rng.random() * 0.02
                )
                continue
            needs = [other for other in earlier if other not in self.commands]
            self.needs[number] = needs
            size = LARGE if rng.random() < 0.4 else 12
            task = flow.function_task(step, retries=retries)
            futures = [self.futures[other] for other in needs]
            self.futures[number] = task(str(self.log), number, rng.random() * 0.02, size, *futures)

    def _let_go(self) -> set[int]:
        """Drop some futures, as programs do with what lies between the first and the last."""
        needed = {other for needs in self.needs.values() for other in needs}
        dropped = {number for number in needed if self.rng.random() < 0.5}
        for number in dropped:
            del self.futures[number]
        return dropped

    async def _kill_later(self, kill: Callable[[random.Random], None]) -> None:
        """Wait until some of the steps have begun, and a little longer; then call *kill*."""
        begun = self.rng.randrange(self.calls * 3 // 4)
        while len(self._lines("begin")) < begun:  # noqa: ASYNC110 - other processes write it
            await asyncio.sleep(0.002)
        await asyncio.sleep(self.rng.random() * 0.05)
        kill(self.rng)

    def _lines(self, word: str) -> list[int]:
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [int(number) for said, number in lines if said == word]

    # --------------------------------------------------------------- judgement

    def _judge(self, outcomes: dict[int, Any], dropped: set[int]) -> None:
        begun = Counter(self._lines("begin"))
        self._judge_beginnings()
        totals: dict[int, int] = {}
        for number, needs in self.needs.items():
            totals[number] = number + sum(totals[other] for other in needs)
        early: list[int] = []
        for number, outcome in outcomes.items():
            if isinstance(outcome, DependencyFailureError):
                assert isinstance(outcome.__cause__, BackendLostError), outcome
            elif isinstance(outcome, BackendLostError):
                assert number not in self.retried, f"{number} may be retried, and was lost"
                early += [] if begun[number] else [number]
            elif isinstance(outcome, BaseException):
                raise outcome
            elif number in self.commands:
                assert outcome == f"{number}\n"
            else:
                assert int(outcome[:12]) == totals[number]
                assert begun[number]
        assert not {number for number in outcomes if number in dropped}
        # A worker notes that a step begins just before it does, and may die in between.
        assert len(early) <= self.slots, f"{early} had not begun, and were lost"

    def _judge_beginnings(self) -> None:
        """Nothing began again that may not be retried, unless it had ended, and its value lost."""
        going: set[int] = set()
        for line in self.log.read_text().splitlines():
            word, text = line.split()
            number = int(text)
            if word == "end":
                going.discard(number)
            elif number not in self.retried:
                assert number not in going, f"{number} began twice"
                going.add(number)


def _command(log: str, number: int, seconds: float) -> str:
    file = shlex.quote(log)
    return (
        f"echo begin {number} >> {file}; sleep {seconds:.3f}; echo end {number} >> {file}; "
        f"echo {number}"
    )
