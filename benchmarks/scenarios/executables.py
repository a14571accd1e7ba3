"""Many short commands, two at a time; all sides read stdout and stderr."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from shutil import which
from subprocess import DEVNULL, PIPE

from radical.asyncflow import WorkflowEngine

from .._measure import COST, Run, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

COMMANDS_AT_ONCE = 2
TRUE = which("true") or "/bin/true"


@asynccontextmanager
async def _ours() -> AsyncIterator[Run]:
    config = {"max_workers": COMMANDS_AT_ONCE}
    async with WorkflowEngine.create(backend="concurrent", config=config) as flow:

        @flow.executable_task
        async def true() -> list[str]:
            return [TRUE]

        async def run(size: int) -> object:
            futures = [true() for _ in range(size)]
            texts = await asyncio.gather(*futures)
            return [(future.exit_code, text) for future, text in zip(futures, texts, strict=True)]

        yield run


@asynccontextmanager
async def _asyncio() -> AsyncIterator[Run]:
    turn = asyncio.Semaphore(COMMANDS_AT_ONCE)

    async def true() -> tuple[int | None, str]:
        async with turn:
            process = await asyncio.create_subprocess_exec(
                TRUE, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            out, _ = await process.communicate()
            return process.returncode, out.decode()

    async def run(size: int) -> object:
        return await asyncio.gather(*[true() for _ in range(size)])

    yield run


@asynccontextmanager
async def _posix_spawn() -> AsyncIterator[Run]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(COMMANDS_AT_ONCE) as pool:

        async def run(size: int) -> object:
            return await asyncio.gather(*[loop.run_in_executor(pool, _spawn) for _ in range(size)])

        yield run


def _spawn() -> tuple[int, str]:
    # So small a command needs no select(): its second stream is read after the first.
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, out_end, 1), (os.POSIX_SPAWN_DUP2, err_end, 2)]
    pid = os.posix_spawn(TRUE, [TRUE], os.environ, file_actions=actions)
    os.close(out_end)
    os.close(err_end)
    with os.fdopen(out, "rb") as stdout, os.fdopen(err, "rb") as stderr:
        text = stdout.read()
        stderr.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), text.decode()


def _measure(settings: Settings) -> Sequence[Row]:
    sides = {OURS: _ours, "create_subprocess_exec": _asyncio, "posix_spawn": _posix_spawn}
    size = settings.size(1_000)
    goals = {COST: Goal(0.6, "create_subprocess_exec")}
    return rows("executables", size, contest(sides, size, settings.repeat), goals)


SCENARIOS = [
    Scenario(
        "executables", f"/bin/true, {COMMANDS_AT_ONCE} at a time, beside asyncio's own", _measure
    )
]
