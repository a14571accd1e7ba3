"""A backend that is done with every task at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from radical.asyncflow.backend import (
    AnyReport,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
    TaskState,
    closed_error,
)
from radical.asyncflow.errors import BackendStartError, EngineClosedError

from .capabilities import CAPABILITIES

__all__ = ["DryRunResult", "NoopExecutionBackend"]

_DONE = TaskState.DONE


class DryRunResult:
    """Stands for the result of a task that was not run.

    Attributes:
        kind, name, task_id: which task it stands for.
    """

    __slots__ = ("_spec", "task_id")  # set from outside: an __init__ would double its cost

    _spec: TaskSpec
    task_id: TaskId

    @property
    def kind(self) -> TaskKind:
        return self._spec.kind

    @property
    def name(self) -> str:
        return self._spec.name

    def __repr__(self) -> str:
        return f"<DryRunResult of {self.kind} task {self.name!r} #{self.task_id}>"


class NoopExecutionBackend(ExecutionBackend):
    """Runs nothing and answers every task with a `DryRunResult`."""

    capabilities = CAPABILITIES

    def __init__(self, *, name: str = "noop") -> None:
        self.name = name
        self._sink: ReportSink | None = None
        self._closed = False

    async def start(self, sink: ReportSink) -> None:
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if self._sink is not None:
            raise BackendStartError(f"backend {self.name!r} was started already")
        self._sink = sink

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Report every task of *batch* DONE before this returns."""
        sink = self._sink
        if sink is None:
            if self._closed:
                raise closed_error(f"backend {self.name!r}")
            raise EngineClosedError(f"backend {self.name!r} was not started")
        reports: list[AnyReport] = []
        for number, attempt, spec, _, _, _, _ in batch:
            result = DryRunResult()
            result._spec = spec
            result.task_id = number
            reports.append((number, attempt, _DONE, result, None))
        sink.report(reports)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Nothing to do: no task is ever outstanding."""

    async def shutdown(self, *, cancel: bool = True) -> None:  # noqa: ARG002
        self._sink = None
        self._closed = True

    def check(self, spec: TaskSpec) -> None:
        """Accept every task: a dry run stands in for whichever backend comes later."""
