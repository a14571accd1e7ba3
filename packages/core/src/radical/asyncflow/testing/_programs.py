"""A program for each row of the table "Portability", which shows that a backend does it.

Each takes a `Trial` and tells whether the kind or option did what it does everywhere.  What a
backend refuses, it refuses at the call, so the program raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from .._files.declared import InputFile, OutputFile
from ..engine import WorkflowEngine
from ..errors import TaskTimeoutError, WorkerLostError
from ..model import TaskKind
from . import _functions as functions
from ._conformance.waiting import appears, comes, open_gate, until

__all__ = ["PROGRAMS", "Trial"]

AHEAD = 8
"""The most tasks of each slot that may be on their way to it when an urgent one is called."""


class Trial(NamedTuple):
    """The means of a program.

    Attributes:
        flow: an engine on the backend, with a journal.
        folder: an empty folder of its own, which tasks see too.
        slots: how many functions run at once; None if nothing limits them.
    """

    flow: WorkflowEngine
    folder: str
    slots: int | None


async def _function(trial: Trial) -> bool:
    return bool(await trial.flow.function_task(functions.add)(2, 3) == 5)


async def _async_function(trial: Trial) -> bool:
    return bool(await trial.flow.function_task(functions.identity_async)("here") == "here")


async def _command(trial: Trial) -> bool:
    return bool(await trial.flow.executable_task(functions.identity)("echo $((6 * 7))") == "42\n")


async def _block(trial: Trial) -> bool:
    """Call two tasks of a kind that the backend runs in a block, one after the other."""
    kinds = trial.flow.backend.capabilities.kinds
    kind = next(kind for kind in TaskKind if kind in kinds)
    step = getattr(trial.flow, f"{kind}_task")(functions.identity)

    async def twice(value: str) -> list[str]:
        return [await step(value), await step(value)]

    return len(await trial.flow.block(twice)("true")) == 2


async def _prompt(trial: Trial) -> bool:
    return isinstance(await trial.flow.prompt_task(functions.identity)("Say a word."), str)


async def _mpi_command(trial: Trial) -> bool:
    run = trial.flow.executable_task(resources={"ranks": 2})(functions.identity)
    return bool(await run("echo here") == "here\nhere\n")


async def _mpi_function(trial: Trial) -> bool:
    run = trial.flow.function_task(resources={"ranks": 2})(functions.rank_and_size)
    answers: Any = await run()  # the type of the body is that of one rank
    return bool(answers == [(0, 2), (1, 2)])


async def _service(trial: Trial) -> bool:
    serve = trial.flow.executable_task(service=True, info_pattern=r"stdout:at (\S+)")
    server = serve(functions.identity)("echo at here:1; while :; do sleep 1; done")
    try:
        return bool(await server == "here:1" and server.state == "DONE")
    finally:
        await server.stop()


async def _class_service(trial: Trial) -> bool:
    tally = trial.flow.service(functions.Tally)(10)
    try:
        return [await tally.add(5), await tally.add(1)] == [15, 16]
    finally:
        await tally.stop()


async def _cores(trial: Trial) -> bool:
    every = max(2, trial.slots or 2)  # one is what a task has that asks for nothing
    task = trial.flow.function_task(resources={"cores": every})(functions.overlap)
    return [await future for future in [task(trial.folder), task(trial.folder)]] == [1, 1]


async def _gpus(trial: Trial) -> bool:
    return len(await trial.flow.function_task(resources={"gpus": 1})(functions.own_gpus)()) == 1


async def _memory(trial: Trial) -> bool:
    task = trial.flow.function_task(resources={"memory": "1MB"})
    return bool(await task(functions.identity)("here") == "here")


async def _priority(trial: Trial) -> bool:
    """Call many tasks and an urgent one while all slots are busy; some may have gone ahead."""
    hold = trial.flow.function_task(functions.hold_blocking)
    note = trial.flow.function_task(functions.append)
    room = AHEAD * (trial.slots or 1)
    urgent = note.options(priority=1)
    await urgent(trial.folder, "first")  # refused here, if at all
    busy = [hold(trial.folder, at) for at in range(trial.slots or 1)]
    for at in range(len(busy)):
        await appears(trial.folder, f"began-{at}")
    futures: list[Any] = [
        *(note(trial.folder, "plain") for _ in range(3 * room)),
        urgent(trial.folder, "now"),
    ]
    await until(lambda: all(future.attempts for future in futures), "all are submitted")
    open_gate(trial.folder)
    for future in [*busy, *futures]:
        await future
    begun = await trial.flow.function_task(functions.begun)(trial.folder)
    return int(begun.index("now")) <= 1 + room


async def _timeout_of_a_function(trial: Trial) -> bool:
    future = trial.flow.function_task(timeout=0.5)(functions.hold_blocking)(trial.folder)
    return await _is_ended_by_its_timeout(trial, future)


async def _timeout_of_a_command(trial: Trial) -> bool:
    wait = "while test ! -e gate; do sleep 0.01; done; touch ended-task"
    run = trial.flow.executable_task(timeout=0.5)(functions.identity)
    return await _is_ended_by_its_timeout(trial, run(f"cd '{trial.folder}' && {wait}"))


async def _is_ended_by_its_timeout(trial: Trial, future: Awaitable[Any]) -> bool:
    """Tell whether the work that waits at the gate is gone once the task has failed."""
    try:
        await future
    except TaskTimeoutError:
        open_gate(trial.folder)
        return not await comes(trial.folder, "ended-task")
    return False


async def _retries(trial: Trial) -> bool:
    task = trial.flow.function_task(retries=1)(functions.fail_until)
    return bool(await task(trial.folder, 2) == 2)


async def _crash(trial: Trial) -> bool:
    alive = trial.flow.function_task(functions.hold_blocking)(trial.folder)
    if not await comes(trial.folder, "began-task"):
        return False
    try:
        await trial.flow.function_task(functions.die)()
    except WorkerLostError:
        open_gate(trial.folder)
        return bool(await alive == "task")
    return False


async def _files(trial: Trial) -> bool:
    write = trial.flow.executable_task(lambda out: f"echo text > '{out}'")
    read = trial.flow.executable_task(lambda path: ["cat", path])
    return bool(await read(InputFile(write(OutputFile(f"{trial.folder}/out")), "out")) == "text\n")


async def _capture_stdio(trial: Trial) -> bool:
    path = await trial.flow.executable_task(capture_stdio=True)(functions.identity)("echo kept")
    return str(await trial.flow.executable_task(lambda: ["cat", path])()) == "kept\n"


async def _context_variables(trial: Trial) -> bool:
    before = functions.relabel("of the caller")
    try:
        seen = await trial.flow.function_task(functions.label)()
    finally:
        functions.relabel(before)
    return bool(seen == "of the caller")


async def _journal(trial: Trial) -> bool:
    task = trial.flow.function_task(cache="always")(functions.next_number)
    return [await task(trial.folder), await task(trial.folder)] == [1, 1]


PROGRAMS: Mapping[str, Callable[[Trial], Awaitable[bool]]] = {
    "function": _function,
    "async function": _async_function,
    "command": _command,
    "block": _block,
    "prompt": _prompt,
    "command with `ranks` (MPI)": _mpi_command,
    "function with `ranks` (MPI)": _mpi_function,
    "command as a service": _service,
    "class as a service": _class_service,
    "`cores`": _cores,
    "`gpus`": _gpus,
    "`memory`": _memory,
    "`priority`": _priority,
    "`timeout` that ends a function": _timeout_of_a_function,
    "`timeout` that ends a command": _timeout_of_a_command,
    "`retries` of a function": _retries,
    "a crash costs one task alone": _crash,
    "input and output files": _files,
    "`capture_stdio`": _capture_stdio,
    "context variables": _context_variables,
    "result of a function from a journal": _journal,
}
"""The program of each row, by the title of the row."""
