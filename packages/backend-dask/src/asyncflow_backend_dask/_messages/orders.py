"""Orders: what the program asks the workers to do.

A Dask task of this backend is ``run(order, buffers, *dependencies)``, where `run` is in
`_worker.run`.  The order is pickled to plain bytes, so that the scheduler passes it on
without reading it.  Large buffers of the arguments travel beside it and are not copied on
the way.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

from radical.asyncflow.model import Resources

__all__ = [
    "IN_PLACEHOLDER",
    "SAME_TASK",
    "LargeBuffers",
    "PackedCall",
    "Placeholder",
    "RankOrder",
    "TraceOrder",
    "WorkOrder",
]

IN_PLACEHOLDER = -1
"""A `Placeholder` has the value itself."""

SAME_TASK = -2
"""A `Placeholder` stands for the result of another call in the same Dask task."""


class PackedCall(NamedTuple):
    """One attempt at one task, packed to travel.

    Attributes:
        payload: the pickled arguments, or the pickled command.
        dependencies: for each dependency the id of the task, the index of the dependency of
            the Dask task that holds its result, and the index of the call within that.
        allowed_deaths: how many workers may die under it before that is a failure.
        predecessor: the id of the call in the same Dask task whose result it takes; 0 for
            none.
        first_buffer: the index of its first buffer among all `LargeBuffers` of the order.
    """

    task_id: int
    attempt: int
    name: str
    payload: bytes
    dependencies: tuple[tuple[int, int, int], ...] = ()
    allowed_deaths: int = 0
    predecessor: int = 0
    first_buffer: int = 0


class RankOrder(NamedTuple):
    """The ranks of a task, all of which run on its worker.

    Attributes:
        root: True if only the value of the first rank is the result.
        launcher: the setting ``mpi_launcher``.
        grace: seconds between SIGTERM and SIGKILL after a cancel.
    """

    resources: Resources
    root: bool
    launcher: str | None
    grace: float


class TraceOrder(NamedTuple):
    """The wishes of the program for what calls leave behind.

    Attributes:
        logs: the pickled `LogSetup` of the program, which gets log records; None if it does not.
        output, usage: whether it keeps what calls print and log, and what they use.
    """

    logs: bytes | None = None
    output: bool = False
    usage: bool = False


class WorkOrder(NamedTuple):
    """The order for one Dask task.

    Attributes:
        topic: the topic of its events.
        key: the key of the Dask task.
        code: the number by which the workers know the function; 0 for a command.
        function: the pickled function; None if the last dependency holds it.
        confirm_begin: whether the scheduler must know of a call before it begins, because
            the worker may die of it.
        gpus: how many GPUs of its worker each call sees, or the part of one.
        struck_out: indices of calls that must not run.
        given_back: indices of calls that run in another Dask task instead.
        ended: calls that ended before, of which the results are needed once more: the index of
            each, and its pickled value, or None if it has none.
        resends: how often it was sent to another worker because an input was lost.
        command_options: ``capture_stdio``, ``grace`` and ``folder`` of a command, and the
            ``readiness`` of a service, else None; None for a function.
        path: the ``sys.path`` with which functions are imported; None for the worker's own.
        reloaded: the program, and all modules that it has loaded anew so far, in order; None
            if there are none.
        seconds: how long a call takes, as far as is known; otherwise 0.
        ranks: the ranks of the one call; None if it has one.
        traces: what the program wants of what the calls leave behind.
    """

    topic: str
    key: str
    code: int
    function: bytes | None
    calls: tuple[PackedCall, ...]
    confirm_begin: bool = False
    gpus: float = 0
    struck_out: tuple[int, ...] = ()
    given_back: tuple[int, ...] = ()
    ended: tuple[tuple[int, bytes | None], ...] = ()
    resends: int = 0
    command_options: dict[str, Any] | None = None
    path: tuple[str, ...] | None = None
    reloaded: tuple[str, tuple[str, ...]] | None = None
    seconds: float = 0.0
    ranks: RankOrder | None = None
    traces: TraceOrder | None = None


class Placeholder(NamedTuple):
    """Stands for the result of another task in pickled arguments.

    Attributes:
        source: the index of the dependency of the Dask task that holds the result, or
            `IN_PLACEHOLDER`, or `SAME_TASK`.
        call_index: the index of the call within that dependency; with `SAME_TASK` the id of
            the other call.
        inline: the pickled result itself.
    """

    source: int
    call_index: int = 0
    inline: bytes = b""


class LargeBuffers:
    """Large buffers, which pickle out of band."""

    __slots__ = ("buffers",)

    def __init__(self, buffers: Sequence[Any]) -> None:
        self.buffers = buffers

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return LargeBuffers, ([pickle.PickleBuffer(item) for item in self.buffers],)

    def __sizeof__(self) -> int:
        return 64 + sum(memoryview(item).nbytes for item in self.buffers)
