"""A backend that is done with every task at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter

from radical.asyncflow.backend import (
    AnyReport,
    ExecutionBackend,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
    TaskState,
)

from .capabilities import CAPABILITIES

__all__ = ["DryRunResult", "NoopExecutionBackend"]

_DONE = TaskState.DONE

# Three fields by their places: faster than by their names, and a later version of the contract
# may add fields behind them.
_number_attempt_spec = itemgetter(*map(TaskRequest._fields.index, ("task_id", "attempt", "spec")))


class DryRunResult:
    """The result of a task that was not run.

    Attributes:
        kind, name, task_id: the task that it stands for.
    """

    __slots__ = ("_spec", "task_id")  # set from outside: an __init__ would double its cost

    _spec: TaskSpec
    task_id: TaskId

    __iter__ = None  # what has items would else be a sequence without an end
    __contains__ = None

    def __getitem__(self, key: object) -> DryRunResult:
        """Return this: the items of a result are not known either."""
        return self

    @property
    def kind(self) -> TaskKind:
        return self._spec.kind

    @property
    def name(self) -> str:
        return self._spec.name

    def __repr__(self) -> str:
        return f"<DryRunResult of {self.kind} task {self.name!r} #{self.task_id}>"


class NoopExecutionBackend(ExecutionBackend):
    """A backend that runs nothing and answers every task with a `DryRunResult`."""

    capabilities = CAPABILITIES

    def __init__(self, *, name: str = "noop") -> None:
        self.name = name

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Report every task of *batch* DONE before this returns."""
        sink = self.sink
        reports: list[AnyReport] = []
        for number, attempt, spec in map(_number_attempt_spec, batch):
            result = DryRunResult()
            result._spec = spec
            result.task_id = number
            reports.append((number, attempt, _DONE, result, None))
        sink.report(reports)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing: no task is unfinished after `submit`."""

    def check(self, spec: TaskSpec) -> None:
        """Accept every task: a dry run stands in for any other backend."""
