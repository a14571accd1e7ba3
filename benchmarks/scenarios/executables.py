"""Many short commands, few or many at a time; all sides read stdout and stderr."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from shutil import which
from subprocess import DEVNULL, PIPE

from radical.asyncflow import WorkflowEngine

from .._measure import COST, CPU, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

COMMANDS_AT_ONCE = 2
MANY_AT_ONCE = 16
TRUE = which("true") or "/bin/true"
SLEEP = which("sleep") or "/bin/sleep"
COMMANDS = {"true": [TRUE], "sleep": [SLEEP, "0.01"]}
REFERENCE = "create_subprocess_exec"


def _ours(args: Sequence[str] = (TRUE,), at_once: int = COMMANDS_AT_ONCE) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        config = {"max_workers": at_once}
        async with WorkflowEngine.create(backend="concurrent", config=config) as flow:

            @flow.executable_task
            async def command() -> list[str]:
                return list(args)

            async def run(size: int) -> object:
                futures = [command() for _ in range(size)]
                texts = await asyncio.gather(*futures)
                return [
                    (future.exit_code, text) for future, text in zip(futures, texts, strict=True)
                ]

            yield run

    return open_side


def _asyncio(args: Sequence[str] = (TRUE,), at_once: int = COMMANDS_AT_ONCE) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        turn = asyncio.Semaphore(at_once)

        async def command() -> tuple[int | None, str]:
            async with turn:
                process = await asyncio.create_subprocess_exec(
                    *args, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
                )
                out, _ = await process.communicate()
                return process.returncode, out.decode()

        async def run(size: int) -> object:
            return await asyncio.gather(*[command() for _ in range(size)])

        yield run

    return open_side


def _xargs(args: Sequence[str], at_once: int) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async def run(size: int) -> object:
            # With -I, each line of the input is one command, which need not contain it.
            process = await asyncio.create_subprocess_exec(
                *("xargs", "-I{}", f"-P{at_once}", *args), stdin=PIPE, stdout=PIPE
            )
            out, _ = await process.communicate(b"line\n" * size)
            return [(process.returncode, out.decode())] * size

        yield run

    return open_side


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
    sides = {OURS: _ours(), REFERENCE: _asyncio(), "posix_spawn": _posix_spawn}
    size = settings.size(1_000)
    goals = {COST: Goal(0.6, REFERENCE)}
    return rows("executables", size, contest(sides, size, settings.repeat), goals)


def _measure_many(settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    size = settings.size(1_000)
    goals = {COST: Goal(1.0, REFERENCE), CPU: Goal(1.0, REFERENCE)}
    for at_once in (MANY_AT_ONCE, COMMANDS_AT_ONCE):
        for name, args in COMMANDS.items():
            sides = {OURS: _ours(args, at_once), REFERENCE: _asyncio(args, at_once)}
            if which("xargs"):
                sides["xargs"] = _xargs(args, at_once)
            series = contest(sides, size, settings.repeat, processor=True)
            series[CPU].pop("xargs", None)  # that of another process was not measured
            found += rows(f"many-commands, {name}, {at_once} slots", size, series, goals)
    return found


SCENARIOS = [
    Scenario(
        "executables", f"/bin/true, {COMMANDS_AT_ONCE} at a time, beside asyncio's own", _measure
    ),
    Scenario(
        "many-commands",
        f"/bin/true and sleep, {MANY_AT_ONCE} and {COMMANDS_AT_ONCE} at a time, beside others",
        _measure_many,
    ),
]
