"""A program of 200 steps that writes down what it runs, and what it saw done.

Usage: ``dag.py BACKEND JOURNAL LOG MARK``.  Each line of LOG is ``MARK ran STEP``, written by
the step itself, or ``MARK done STEP HASH``, written when the program sees its result.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from radical.asyncflow import WorkflowEngine

STEPS = 200
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "threads": ("concurrent", {"max_workers": 4}),
    "processes": ("concurrent", {"max_workers": 2, "executor_type": "process"}),
    "dask": ("dask", {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}),
}


def note(*words: object) -> None:
    """Append one line to the log, whole even where several processes do."""
    line = " ".join(map(str, (os.environ["CAMPAIGN_MARK"], *words))) + "\n"
    descriptor = os.open(os.environ["CAMPAIGN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def step(number: int, *inputs: Any) -> Any:
    """Takes some milliseconds; its result is a number, an object or 100 KB, as its number says."""
    note("ran", number)
    seed = hashlib.sha256(repr((number, inputs)).encode()).hexdigest()
    time.sleep(int(seed[:2], 16) / 25_000)
    if number % 10 == 0:
        return {"seed": seed, "data": seed.encode() * 1600}
    return [number, seed] if number % 3 else int(seed[:8], 16)


def command(number: int, text: Any) -> list[str]:
    program = f'echo "$CAMPAIGN_MARK ran {number}" >> "$CAMPAIGN_LOG"; echo {number} "$0"'
    return ["sh", "-c", program, hashlib.sha256(repr(text).encode()).hexdigest()]


async def main(backend: str, journal: str) -> None:
    name, config = CONFIGS[backend]
    async with WorkflowEngine.create(name, config, journal=journal) as flow:
        task = flow.function_task(step)
        execute = flow.executable_task(command)
        numbers = iter(range(STEPS))
        futures: list[asyncio.Future[Any]] = []

        def seen(number: int, future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                digest = hashlib.sha256(repr(future.result()).encode()).hexdigest()
                note("done", number, digest[:16])

        def call(*inputs: Any, run: bool = False, number: int | None = None) -> Any:
            number = next(numbers) if number is None else number
            future: Any = execute(number, *inputs) if run else task(number, *inputs)
            future.add_done_callback(lambda future: seen(number, future))
            futures.append(future)
            return future

        @flow.block
        async def pipeline(first: int, given: Any) -> Any:
            one = call(given, number=first)
            two = call(await one, number=first + 1)
            three = call(two, run=True, number=first + 2)
            return await call(three, two, number=first + 3)

        chance = random.Random(7)
        bag = [call() for _ in range(40)]
        last = bag[0]
        for place in range(30):
            last = call(last, run=place % 10 == 5)
        layer = bag[:8]
        for _ in range(5):
            layer = [call(layer[place - 1], layer[place]) for place in range(8)]
        blocks = []
        for place in range(10):
            first = next(numbers)
            for _ in range(3):
                next(numbers)
            blocks.append(pipeline(first, bag[20 + place]))
        for number in numbers:
            if number == STEPS - 1:
                call({"layer": layer, "last": last}, *blocks, *futures[-40:], number=number)
            else:
                call(*chance.sample(futures, 2), number=number)
        await asyncio.gather(*futures, *blocks)
    note("end", len(futures))


def orphans(log: Path) -> list[str]:
    """Processes that were started for *log* by a program of ours, and run still."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is not ours
            if f"CAMPAIGN_LOG={log}\0".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


if __name__ == "__main__":
    os.environ["CAMPAIGN_LOG"], os.environ["CAMPAIGN_MARK"] = sys.argv[3:5]
    asyncio.run(main(sys.argv[1], sys.argv[2]))
