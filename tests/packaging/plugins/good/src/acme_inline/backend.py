"""A backend that runs each function at once, in the caller's thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
)


class InlineBackend(ExecutionBackend):
    """Calls every function *repeat* times and reports the last result."""

    capabilities = Capabilities(kinds={TaskKind.FUNCTION})

    def __init__(self, *, name: str = "inline", repeat: int = 1) -> None:
        self.name = name
        self.repeat = repeat
        self._sink: ReportSink | None = None

    async def start(self, sink: ReportSink) -> None:
        self._sink = sink

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        assert self._sink is not None
        for request in batch:
            try:
                for _ in range(self.repeat):
                    value = request.spec.function(*request.args, **request.kwargs)
            except Exception as error:
                self._sink.failed(request.task_id, request.attempt, error)
            else:
                self._sink.done(request.task_id, request.attempt, value)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Nothing ever waits: a task has ended when `submit` returns."""

    async def shutdown(self, *, cancel: bool = True) -> None:  # noqa: ARG002
        self._sink = None
