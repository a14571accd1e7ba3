"""The program of each rank of a function: call it together with the others, write its answer.

The first rank reads the call and broadcasts it, so the file server is asked once.  A rank that
fails ends the others after its answer is written, because they may wait for it.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from radical.asyncflow.worker import (
    FAILURE,
    VALUE,
    Failure,
    RankContext,
    answer,
    close_loop,
    unsent,
    visible_gpus,
)
from radical.asyncflow.worker import call as run

__all__ = ["RankedCall", "answer_file", "call_file", "main"]


class RankedCall(NamedTuple):
    """A function with ranks, as the program writes it.

    Attributes:
        name, task_id, attempt: of the task.
        function, arguments: as `dump_function` and `dump_arguments` make them.
    """

    name: str
    task_id: int
    attempt: int
    ranks: int
    path: Sequence[str]
    function: bytes
    arguments: bytes
    root: bool


def call_file(folder: Path) -> Path:
    """Return the file with the `RankedCall`."""
    return folder / "call"


def answer_file(folder: Path, rank: int) -> Path:
    """Return the file with the answer of a rank: one byte for its code, and its body."""
    return folder / f"answer.{rank}"


def main(folder: str) -> None:
    """Run the call in *folder* as one of its ranks."""
    # Imported where MPI starts.
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    place = Path(folder)
    pickled = call_file(place).read_bytes() if world.rank == 0 else b""
    call = RankedCall(*pickle.loads(world.bcast(pickled)))
    sys.path[:] = call.path
    process = os.getpid()
    if world.size == call.ranks:
        context = RankContext(call.name, call.task_id, call.attempt, visible_gpus(), world.Dup())
        with context:
            code, body = _run(call, is_wanted=not call.root or world.rank == 0)
    else:
        code, body = unsent(
            "function",
            RuntimeError(
                f"mpi4py has another MPI library than the launcher of the pilot: each of "
                f"{call.ranks} ranks believes to be one of {world.size}"
            ),
        )
    if os.getpid() != process:
        os._exit(0)  # the function forked, and this is the child
    part = place / f"part.{world.rank}"
    part.write_bytes(bytes([code]) + body)
    part.rename(answer_file(place, world.rank))
    close_loop()
    if code != VALUE:
        world.Abort(1)


def _run(call: RankedCall, *, is_wanted: bool) -> tuple[int, bytes]:
    what = "function"
    try:
        function = pickle.loads(call.function)
        what = "arguments"
        args, kwargs = pickle.loads(call.arguments)
    except BaseException as error:  # unpickling runs foreign code, which may even exit
        return unsent(what, error)
    if is_wanted:
        return answer(function, args, kwargs)
    try:
        run(function, args, kwargs)
    except BaseException as error:  # a function may raise SystemExit
        return FAILURE, pickle.dumps(Failure.pack(error))
    return VALUE, pickle.dumps(None)
