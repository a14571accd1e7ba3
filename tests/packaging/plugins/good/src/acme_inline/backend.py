"""A backend that runs each function at once, in the caller's thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    TaskId,
    TaskKind,
    TaskRequest,
)

from .config import InlineConfig


class InlineBackend(ExecutionBackend):
    """Calls every function ``repeat`` times and reports the last result."""

    capabilities = Capabilities(kinds={TaskKind.FUNCTION})

    def __init__(self, settings: InlineConfig, *, name: str = "inline") -> None:
        self.name = name
        self.repeat = settings.repeat

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        sink = self.sink
        for request in batch:
            try:
                for _ in range(self.repeat):
                    value = request.spec.function(*request.args, **request.kwargs)
            except Exception as error:
                sink.failed(request.task_id, request.attempt, error)
            else:
                sink.done(request.task_id, request.attempt, value)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing: a task has ended when `submit` returns."""
