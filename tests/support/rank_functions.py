"""Functions with ranks that fail or wait, for the tests of each backend, and looks at the ranks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from radical.asyncflow import Command, WorkflowEngine, current_task
from radical.asyncflow.backend import TaskUsage
from radical.asyncflow.journal import read as read_journal

__all__ = [
    "BURNT_S",
    "HELD_BYTES",
    "comm",
    "die_at_last",
    "fail_at_last",
    "gone",
    "is_there",
    "meet",
    "read",
    "use_of_ranks",
    "wait_with",
]


def comm() -> Any:
    """Return the communicator of the task."""
    task = current_task()
    assert task is not None
    return task.comm


BURNT_S, HELD_BYTES = 0.1, 50_000_000
BURN = f"""
import time
held = bytearray({HELD_BYTES})
end = time.process_time() + {BURNT_S}
while time.process_time() < end: pass
"""


def burn() -> None:
    """Use some CPU time and some memory."""
    exec(BURN, {})


async def use_of_ranks(backend: str, config: dict[str, Any], journal: Path) -> list[TaskUsage]:
    """Return what the record says that a command and a function with two ranks used."""
    two = {"resources": {"ranks": 2}}
    command = Command(args=(sys.executable, "-c", BURN))
    async with WorkflowEngine.create(backend, config, journal=journal) as flow:
        await flow.executable_task(**two)(lambda: command)()
        await flow.function_task(**two)(burn)()
    return [task.usage for task in read_journal(journal)[-1].tasks.values()]


def fail_at_last() -> None:
    """Raise at rank 1, while the others wait for it."""
    comm().barrier()
    if comm().rank == 1:
        raise LookupError("of rank 1")
    comm().recv(source=1)


def die_at_last() -> None:
    """Die at rank 1, while the others wait for it."""
    comm().barrier()
    if comm().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm().recv(source=1)


def wait_with(file: str) -> None:
    """Write the number of the process into *file*, and wait."""
    with Path(file).open("a") as output:
        output.write(f"{os.getpid()}\n")
    time.sleep(600)


def meet(folder: str, mine: str, other: str) -> int:
    """Wait, on all ranks, for another task that runs at the same time."""
    if comm().rank == 0:
        Path(folder, mine).touch()
        deadline = time.monotonic() + 60
        while not Path(folder, other).exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
    return int(comm().allreduce(1))


def is_there(pid: int) -> bool:
    """Tell whether the process *pid* goes on."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def gone(ranks: list[int]) -> None:
    """Wait until none of the processes *ranks* goes on."""
    async with asyncio.timeout(60):
        while any(map(is_there, ranks)):  # noqa: ASYNC110 - another process ends them
            await asyncio.sleep(0.02)


async def read(path: Path, lines: int) -> list[int]:
    """Wait until the file has so many lines with a number, and return these."""
    async with asyncio.timeout(60):
        while True:
            text = path.read_text() if path.exists() else ""  # noqa: ASYNC240
            if text.count("\n") >= lines:
                return [int(line) for line in text.split()]
            await asyncio.sleep(0.01)
