"""A backend that is done with each task at once, in the program or in a process of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    OutOfProcessBackend,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskState,
)

__all__ = ["Nothing", "NothingOutside"]


class Nothing(ExecutionBackend):
    """A backend that runs nothing; each result is None."""

    capabilities = Capabilities(kinds={TaskKind.FUNCTION})

    def __init__(self, *, name: str = "nothing") -> None:
        self.name = name

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        done = TaskState.DONE
        self.sink.report([(request[0], request[1], done, None, None) for request in batch])

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing: no task is unfinished after `submit`."""


class NothingOutside(OutOfProcessBackend):
    """The same in a process of its own."""

    guest = "benchmarks._guests:Nothing"
    capabilities = Capabilities(kinds={TaskKind.FUNCTION}, pickles=True)

    def __init__(self, *, name: str = "nothing-outside") -> None:
        super().__init__(name=name)
