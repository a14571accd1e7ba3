"""The classes and values of the contract; the package offers them, and says what it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from .._public import public
from ..errors import EngineClosedError, UnsupportedOptionError
from ..model import (
    Command,
    ExecutableResult,
    Prompt,
    Resources,
    TaskKind,
    TaskSpec,
    TaskState,
)

__all__ = [
    "API_VERSION",
    "AnyReport",
    "BackendSpec",
    "Capabilities",
    "Command",
    "ExecutableResult",
    "ExecutionBackend",
    "Prompt",
    "RemoteValue",
    "Report",
    "ReportSink",
    "Resources",
    "TaskId",
    "TaskKind",
    "TaskRef",
    "TaskRequest",
    "TaskSpec",
    "TaskState",
    "closed_error",
]

API_VERSION = (1, 0)
"""Version of this contract: a backend of the same major and no newer minor works."""

TaskId = int
"""Unique within one engine, in the order of the calls."""


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do; whatever it cannot is refused at the call.

    Attributes:
        kinds: the kinds of task it runs.
        resources: which fields of `Resources` it honours.
        kills_running: for which kinds `cancel` ends work that already runs.
        native_dependencies: it takes tasks whose dependencies still run on it
            (as `TaskRef` arguments) and orders them itself.
        quick: a submission costs it next to nothing; so when a task is awaited, one is made
            at once instead of at the end of the loop's turn.
        chains: it takes, in one batch, a task right behind the only one that it waits
            for, and runs it when that one is done (on the same worker, if it can).
            Both are functions that ask for no resources, and the value is wanted as a
            `TaskRef` that is itself an argument.  If the first does not succeed, the
            others get a terminal report too, after its own; CANCELLED will do.
        remote_results: it may report a `RemoteValue` instead of the value.
        pickles: functions, arguments and results cross a process boundary.
        isolates: the death of a worker costs the task it ran and no other.
        service: it runs service tasks.
        executes: False if it runs nothing and answers with markers (a dry run); then it
            is given no arguments.
        limits: in words, what it cannot promise; shown to users.

    Raises:
        ValueError: *kills_running* names a kind that is not among *kinds*.
    """

    kinds: Collection[TaskKind]
    resources: Collection[str] = ()
    kills_running: Collection[TaskKind] = ()
    native_dependencies: bool = False
    quick: bool = False
    chains: bool = False
    remote_results: bool = False
    pickles: bool = False
    isolates: bool = True
    service: bool = False
    executes: bool = True
    limits: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("kinds", "kills_running"):
            object.__setattr__(self, name, frozenset(map(TaskKind, getattr(self, name))))
        object.__setattr__(self, "resources", frozenset(self.resources))
        object.__setattr__(self, "limits", tuple(self.limits))
        if unknown := frozenset(self.kills_running) - frozenset(self.kinds):
            raise ValueError(
                f"kills_running names {', '.join(sorted(unknown))}, which it does not run "
                f"(kinds: {', '.join(sorted(self.kinds)) or 'none'})"
            )


@public("radical.asyncflow.backend")
class TaskRef(NamedTuple):
    """Stands in the arguments for the result of a task that this backend holds.

    Only a backend with ``native_dependencies``, ``chains`` or ``remote_results`` ever
    sees one.
    """

    task_id: TaskId


@public("radical.asyncflow.backend")
class TaskRequest(NamedTuple):
    """One attempt at one task, as a backend gets it.

    Attributes:
        task_id, attempt: what every report about it must carry; the first attempt is 1.
        spec: what all calls of this task share: name, kind, function, options.
        args, kwargs: the arguments of a function task, its dependencies' values in place;
            none where the backend's ``executes`` is false.
        command: a `Command` (executable task), a `Prompt` (prompt task) or None.
        dependencies: ids behind each `TaskRef` in the arguments.
    """

    task_id: TaskId
    attempt: int
    spec: TaskSpec
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    command: Command | Prompt | None = None
    dependencies: tuple[TaskId, ...] = ()


@public("radical.asyncflow.backend")
class Report(NamedTuple):
    """What a backend says of one attempt.

    Attributes:
        state: RUNNING, DONE, FAILED or CANCELLED.
        value: DONE: the result (an `ExecutableResult` for a command, a `RemoteValue`
            if the result stays where it is).  FAILED: the exception.  RUNNING: the
            name of the worker, or None.  CANCELLED: None.
        time: when it happened, in seconds of this machine's `time.monotonic`; None for
            when it is handed in.
    """

    task_id: TaskId
    attempt: int
    state: TaskState
    value: Any = None
    time: float | None = None


AnyReport = Report | tuple[TaskId, int, TaskState, Any, float | None]
"""A `Report`, or a plain tuple of the same, which costs a fifth to make."""


@public("radical.asyncflow.backend")
class RemoteValue(ABC):
    """A result that stays where it was made until somebody here wants it."""

    @abstractmethod
    async def fetch(self) -> Any:
        """The value itself; runs in the engine's loop."""

    @abstractmethod
    def release(self) -> None:
        """Nobody can ask for the value any more."""


@public("radical.asyncflow.backend")
class ReportSink(Protocol):
    """The engine's ear.  Every method may be called from any thread and returns at once.

    None calls back into the backend, so a backend may hold a lock of its own meanwhile.

    The first terminal report of an attempt wins.  A report about an unknown task,
    an old attempt or a finished task is counted, logged and dropped.
    """

    @property
    def uid(self) -> str:
        """Name of the engine's run, unique on this machine."""

    def work_dir(self) -> Path:
        """Folder for files of this run, made on first use."""

    @property
    def watched(self) -> bool:
        """Whether somebody watches the run now: only then is a time worth taking."""

    def report(self, reports: Iterable[AnyReport]) -> None:
        """Hand in any number of reports; the cheapest way to hand in many."""

    def running(self, task_id: TaskId, attempt: int, worker: str | None = None) -> None:
        """A worker began with it.  A task's timeout counts from this report."""

    def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
        """It succeeded."""

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
        """It failed."""

    def cancelled(self, task_id: TaskId, attempt: int) -> None:
        """Its work has ended (or never began) because of `ExecutionBackend.cancel`."""

    def lost(self, error: BaseException) -> None:
        """The backend is gone: fails every task it holds, and every later one."""


@public("radical.asyncflow")
class ExecutionBackend(ABC):
    """Where tasks run.

    An instance belongs to one engine: the engine starts it and shuts it down.
    ``await backend`` gives the backend itself, and it is an asynchronous context
    manager that shuts down at the end, for programs that make their own.

    Attributes:
        name: how tasks ask for it by ``backend=``; unique within an engine.
        capabilities: may be set on the instance where they depend on its config.
        shared_dir: the folder for its tasks' files, where its workers do not see the
            run's `work_dir`; read after `start`.
    """

    name: str
    capabilities: Capabilities
    shared_dir: Path | None = None
    api_version: ClassVar[tuple[int, int]] = API_VERSION

    @abstractmethod
    async def start(self, sink: ReportSink) -> None:
        """Get ready to take tasks and keep *sink* for the reports.

        Raises:
            BackendStartError: it cannot come up; whatever it began is gone again.
            BackendError: it was started before.
            EngineClosedError: it was shut down; see `closed_error`.
        """

    @abstractmethod
    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take the tasks of *batch* and return at once; called in the engine's loop.

        An exception fails the tasks of this batch that have no terminal report yet.

        Raises:
            BackendError: it was not started.
            EngineClosedError: it was shut down; see `closed_error`.
        """

    @abstractmethod
    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Stop these tasks as far as `capabilities` promise; unknown ids are ignored.

        Called in the engine's loop.  A task that waits in a queue is reported
        CANCELLED before this returns; one that runs, when its work has ended.  One
        that comes to its end meanwhile may be reported DONE or FAILED as well.
        """

    @abstractmethod
    async def shutdown(self, *, cancel: bool = True) -> None:
        """End, in bounded time and without blocking the loop; safe to call again.

        With ``cancel=False`` tasks that were submitted are finished first.
        """

    def check(self, spec: TaskSpec) -> None:
        """Raise ConfigurationError if this backend can never run *spec*.

        Called once for each decorated task and set of options, in the engine's
        loop; whether the kind and the resources are in `capabilities` was checked
        before.  ``spec.description`` is this method's to validate: a backend that
        takes one overrides it, any other refuses.
        """
        if spec.description:
            keys = ", ".join(map(repr, spec.description))
            raise UnsupportedOptionError(
                f"task {spec.name!r}: backend {self.name!r} takes no task_description "
                f"(given: {keys})"
            )

    def plan(self) -> Mapping[str, Any]:
        """What `start` will ask the outside world for, in types that JSON knows.

        A job of a batch system, a cluster, an account that is charged.  Nothing is
        started, and it may be called at any time; ``flow.plan()`` and ``asyncflow
        doctor NAME --plan`` show it.  Empty where nothing is asked for.
        """
        return {}

    def __await__(self) -> Generator[Any, None, Self]:
        return self
        yield

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown(cancel=exc is not None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '?')!r}>"


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """How a plugin declares its backend, without importing it.

    Attributes:
        name: the entry point's name.
        summary: one line for ``asyncflow backends list``.
        factory: ``"module:Class"`` or a callable; called with the validated config's
            values as keywords (those that were set), and ``name=``.
        config_model: ``"module:Class"`` or a class, a pydantic model; None if the
            backend takes no settings.
        capabilities: those of a default configuration.
        requirements: what must be importable beyond the distribution's own
            requirements, as requirement strings (``"mpi4py>=4"``).
        api_version: the contract it was written for.
    """

    name: str
    summary: str
    factory: str | Callable[..., ExecutionBackend]
    config_model: str | type | None = None
    capabilities: Capabilities
    requirements: Sequence[str] = field(default=())
    api_version: tuple[int, int] = API_VERSION


@public("radical.asyncflow.backend")
def closed_error(what: str) -> EngineClosedError:
    """The error for a call that comes after the end of *what*."""
    return EngineClosedError(f"{what} was shut down; make a new one")
