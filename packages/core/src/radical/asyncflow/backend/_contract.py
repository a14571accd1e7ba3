"""The classes and values of the contract; the package exports them and states its promises."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, overload

from .._public import public
from ..errors import BackendError, BackendStartError, EngineClosedError, UnsupportedOptionError
from ..model import (
    DESCRIPTION_KEYS,
    PROMPT_PARTS,
    Answer,
    Command,
    ExecutableResult,
    LogLine,
    Prompt,
    Resources,
    TaskKind,
    TaskSpec,
    TaskState,
    TaskTrace,
    TaskUsage,
    Usage,
    Written,
)

if TYPE_CHECKING:
    from ..model import Wait

__all__ = [
    "API_VERSION",
    "Answer",
    "AnyReport",
    "BackendSpec",
    "Capabilities",
    "Command",
    "ExecutableResult",
    "ExecutionBackend",
    "LogLine",
    "Prompt",
    "RemoteValue",
    "Report",
    "ReportSink",
    "Resources",
    "Route",
    "Serving",
    "TaskId",
    "TaskKind",
    "TaskRef",
    "TaskRequest",
    "TaskSpec",
    "TaskState",
    "TaskTrace",
    "TaskUsage",
    "Usage",
    "Written",
    "closed_error",
]

API_VERSION = (1, 0)
"""Version of this contract.  A core runs every backend of the same major version that was not
written for a newer minor one; "Writing a backend" says what a minor version may add."""

TaskId = int
"""The number of a task, unique for one instance of a backend.

Those of one engine are in the order of the calls.  Between them there may be gaps, and they may be
as large as a signed integer of 64 bits, because several engines may use one instance.
"""


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The abilities of a backend; the engine refuses everything else at the call.

    Attributes:
        kinds: the kinds of task that it runs.
        resources: the fields of `Resources` that it honours.
        kills_running: the kinds of task whose running work `cancel` ends.
        native_dependencies: it takes tasks whose dependencies still run on it (as
            `TaskRef` arguments) and orders them itself.
        quick: a submission costs it next to nothing.  The engine then submits as soon as
            a task is awaited, and not at the end of the loop's turn.
        chains: it takes a task in the same batch as the only task that it waits for, and
            runs it when that one is done (on the same worker, if it can).  Both are
            functions that ask for no resources; the value arrives as a `TaskRef` that is
            itself an argument.  If the first does not succeed, the backend reports the
            others too, after the first; CANCELLED will do.
        remote_results: it may report a `RemoteValue` instead of the value.
        pickles: functions, arguments and results cross a process boundary.
        isolates: the death of a worker costs the task that it ran, and no other.
        contexts: it runs each function in a copy of the `TaskRequest.context`, so that the
            function sees the context variables of the code that called the task.
        service: it runs commands as services, and says by `ReportSink.serving` that they are up.
        prompts: what it honours of a prompt task beside the text: ``"messages"``, ``"tools"`` and
            ``"options"``, which are fields of `Prompt`, and ``"answer"``: the result is an
            instance of the pydantic model that `TaskSpec.answer` names.
        priorities: it begins the tasks that wait in the order that `TaskRequest.depth`
            describes.
        instances: it runs functions that end only when they are told to, each apart from all
            other tasks: the hosts of services of functions.
        executes: False for a dry run, which runs nothing, gets no arguments and answers
            with markers.
        limits: sentences, shown to users, that say what it cannot promise.

    Raises:
        ValueError: names every field that is wrong, and every two that contradict each
            other.
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
    contexts: bool = False
    service: bool = False
    instances: bool = False
    executes: bool = True
    limits: Sequence[str] = ()
    prompts: Collection[str] = ()
    priorities: bool = False

    def __post_init__(self) -> None:
        names = ("kinds", "kills_running", "resources", "limits", "prompts")
        texts = [name for name in names if isinstance(getattr(self, name), str)]
        if texts:
            raise ValueError(f"{' and '.join(texts)} must be a collection, not one text")
        for name in ("kinds", "kills_running"):
            object.__setattr__(self, name, frozenset(map(TaskKind, getattr(self, name))))
        for name in ("resources", "prompts"):
            object.__setattr__(self, name, frozenset(getattr(self, name)))
        object.__setattr__(self, "limits", tuple(self.limits))
        if problems := [*_wrong_fields(self), *_contradictions(self)]:
            raise ValueError("; ".join(problems))


def _wrong_fields(able: Capabilities) -> list[str]:
    """Return what is wrong with single fields of *able*, in words."""
    problems = []
    if not able.kinds:
        problems.append("kinds is empty: name at least one TaskKind that the backend runs")
    if TaskKind.BLOCK in able.kinds:
        problems.append("kinds names block, which the engine itself runs; leave it out")
    known = [item.name for item in fields(Resources)]
    if unknown := frozenset(able.resources).difference(known):
        problems.append(
            f"resources names {', '.join(sorted(unknown))}, which is no field of Resources "
            f"(fields: {', '.join(known)})"
        )
    if unknown := frozenset(able.prompts).difference(PROMPT_PARTS):
        problems.append(
            f"prompts names {', '.join(sorted(unknown))}, which is no part of a prompt task "
            f"(parts: {', '.join(PROMPT_PARTS)})"
        )
    return problems


def _contradictions(able: Capabilities) -> list[str]:
    """Return which fields of *able* exclude each other, in words."""
    problems = []
    if extra := frozenset(able.kills_running) - frozenset(able.kinds):
        problems.append(
            f"kills_running names {', '.join(sorted(extra))}, which it does not run "
            f"(kinds: {', '.join(sorted(able.kinds)) or 'none'})"
        )
    if able.contexts and able.pickles:
        problems.append("contexts=True contradicts pickles=True: a context cannot be pickled")
    if able.prompts and TaskKind.PROMPT not in able.kinds:
        problems.append("prompts is about prompt tasks, and kinds does not name prompt")
    for name in ("chains", "contexts", "instances", "native_dependencies", "remote_results"):
        if not getattr(able, name):
            continue
        if TaskKind.FUNCTION not in able.kinds:
            problems.append(f"{name}=True is about functions, and kinds does not name function")
        if name not in ("chains", "instances") and not able.executes:
            problems.append(
                f"{name}=True contradicts executes=False: what runs nothing gets no arguments "
                "and has no results"
            )
    return problems


@public("radical.asyncflow.backend")
class TaskRef(NamedTuple):
    """The place, among the arguments, of the result of a task that this backend holds.

    Only a backend with ``native_dependencies``, ``chains`` or ``remote_results`` gets any.
    """

    task_id: TaskId


@public("radical.asyncflow.backend")
class TaskRequest(NamedTuple):
    """One attempt at one task, as a backend gets it.

    Read it by name or by index, and never unpack the whole: a minor version of the
    contract may add fields at the end.

    Attributes:
        task_id, attempt: what every report about it must carry; the first attempt is 1.
        spec: what all calls of this task share: name, kind, function, options.
        args, kwargs: the arguments of a function task, with the values of its
            dependencies in place; none where the backend's ``executes`` is false.
        command: a `Command` (executable task), a `Prompt` (prompt task) or None.
        dependencies: the ids of all `TaskRef` in the arguments.
        context: for a backend with ``contexts``, the context in which a function was called;
            None for everything else.  Run the function in a copy, ``context.copy().run(...)``,
            because other calls and attempts may share it.
        depth: the length of the longest chain of tasks whose results this one takes, each
            from the one before; 0 if it takes none, and 256 at most.  A backend with
            ``priorities`` begins what waits in this order: by ``spec.priority``, the higher
            first; among those of one priority by depth, the deeper first; among equals, the
            first that came.
    """

    task_id: TaskId
    attempt: int
    spec: TaskSpec
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    command: Command | Prompt[Any] | None = None
    dependencies: tuple[TaskId, ...] = ()
    context: Context | None = None
    depth: int = 0


@public("radical.asyncflow.backend")
class Report(NamedTuple):
    """A backend's message about one attempt.

    Attributes:
        state: RUNNING, DONE, FAILED or CANCELLED.
        value: DONE: the result (an `ExecutableResult` for a command, an `Answer` for a
            prompt, a `RemoteValue` if the result stays where it is).  FAILED: the
            exception.  RUNNING: the name of the worker, or None.  CANCELLED: None.
        time: when it happened, in seconds of this machine's `time.monotonic`; None means
            when it is handed in.  A second RUNNING of an attempt corrects the time of the first:
            a backend may know only at the end when exactly a task began on its worker.
    """

    task_id: TaskId
    attempt: int
    state: TaskState
    value: Any = None
    time: float | None = None


@public("radical.asyncflow.backend")
class Serving(NamedTuple):
    """The news of a service while its command runs.

    Attributes:
        stdout, stderr: the files that have its output, as this program can read them.
        info: what makes it usable, such as an address; None until it is up.
    """

    stdout: str = ""
    stderr: str = ""
    info: str | None = None


AnyReport = Report | tuple[TaskId, int, TaskState, Any, float | None]
"""A `Report`, or a plain tuple of the same five values, which costs a fifth to make."""


@public("radical.asyncflow.backend")
class RemoteValue(ABC):
    """A result that stays where it was made until somebody here wants it."""

    @abstractmethod
    async def fetch(self) -> Any:
        """Return the value itself; called in the engine's loop."""

    @abstractmethod
    def release(self) -> None:
        """Drop the value: nobody can ask for it any more."""


@public("radical.asyncflow.backend")
class ReportSink(Protocol):
    """The receiver of a backend's reports; any thread may call any method.

    A method returns at once and never calls the backend, which may hold a lock meanwhile.

    The first terminal report of an attempt wins.  A report about an unknown task,
    an old attempt or a finished task is counted, logged and dropped.
    """

    @property
    def uid(self) -> str:
        """The name of the engine's run, unique on this machine."""

    def work_dir(self) -> Path:
        """Return the folder for files of this run, made on first use."""

    @property
    def watched(self) -> bool:
        """True while somebody watches the run; otherwise a report needs no time."""

    @property
    def keeps_output(self) -> bool:
        """True if the run keeps what functions print and log, from the start to the end."""

    @property
    def keeps_usage(self) -> bool:
        """True if the run keeps what tasks use, from the start to the end."""

    def report(self, reports: Iterable[AnyReport]) -> None:
        """Hand in any number of reports; the cheapest way to hand in many."""

    def running(self, task_id: TaskId, attempt: int, worker: str | None = None) -> None:
        """Report that a worker has begun with the task; its timeout counts from here."""

    def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
        """Report that the task succeeded."""

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
        """Report that the task failed."""

    def cancelled(self, task_id: TaskId, attempt: int) -> None:
        """Report that its work has ended, or never began, because of `cancel`."""

    def serving(self, task_id: TaskId, attempt: int, serving: Serving) -> None:
        """Report that a service has begun, and once more, with its info, that it is up.

        It is done with that, and occupies its place until its one terminal report, which tells
        how its command ended.  `ExecutionBackend.cancel` stops it.
        """

    def output(self, task_id: TaskId, attempt: int, text: str, offset: int = 0) -> None:
        """Tell observers a part of what a running task puts out, as a `OutputEvent` event.

        It is no report: the result is complete without it, and while nobody watches the run, it
        goes nowhere.  *offset* is the number of characters before it; a part with the offset 0
        begins the output anew.
        """

    def traced(self, task_id: TaskId, attempt: int, trace: TaskTrace) -> None:
        """Tell what an attempt printed, logged and used, before its terminal report.

        It is no report, and wakes nobody: it waits for the next one.  A later trace of the same
        attempt takes the place of an earlier one.
        """

    def lost(self, error: BaseException, unbegun: Collection[TaskId] = ()) -> None:
        """Report that the backend is gone: every task it holds fails, and every later one.

        Args:
            unbegun: the ids of those tasks that have certainly not begun and never will; with
                ``failover=True`` they go to another backend.  Any other task that it holds
                may have begun.
            error: what the tasks fail with: a `BackendLostError`, or a `BackendStartError` if
                the backend never came up, although its start had ended.  Any other error
                becomes the cause of a `BackendLostError`.
        """


@public("radical.asyncflow.backend")
@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way between a node and this machine, as `ExecutionBackend.check_from_node` found it.

    Attributes:
        address: what was connected to, in words for a user: ``"10.0.0.1 (ib0)"``.
        origin: where from, such as the node and the job.
        problem: why it cannot be reached; "" if it can.
        advice: what to check or to change; "" if nothing.
        used: whether the backend needs this way.  The others are there to choose from.
    """

    address: str
    origin: str
    problem: str = ""
    advice: str = ""
    used: bool = True


class _Phase(enum.Enum):
    """The phase of an instance's life."""

    NEW = enum.auto()
    STARTED = enum.auto()
    SHUT_DOWN = enum.auto()


class _MissingSink:
    """The class attribute ``sink``, which raises while an instance has none of its own.

    A started backend has the sink as an attribute of its own, which Python finds first.
    """

    @overload
    def __get__(self, backend: None, owner: type) -> Self: ...
    @overload
    def __get__(self, backend: ExecutionBackend, owner: type) -> ReportSink: ...
    def __get__(self, backend: ExecutionBackend | None, owner: type) -> Self | ReportSink:
        if backend is None:
            return self
        if backend.is_shut_down:
            raise closed_error(_title(backend))
        raise BackendError(
            f"{_title(backend)} was not started; WorkflowEngine.create(backend) starts it"
        )


@public("radical.asyncflow")
class ExecutionBackend(ABC):
    """A backend: the place where tasks run.

    The first engine that gets an instance starts it.  Others of the same loop may use it at the
    same time or later, which the instance does not notice: there is one `start` and one sink.  The
    last of them shuts it down.  As an asynchronous context manager it belongs to the program:
    engines leave it running, and it is shut down at the end of ``async with``.  ``await backend``
    gives the backend itself.

    Attributes:
        name: how tasks ask for it by ``backend=``; unique within an engine.
        capabilities: may be set on the instance where they depend on its settings.
        sink: where it reports, from `start` to `shutdown`.  Before and after, reading it
            raises the error that `submit` promises; so a `submit` that reads it refuses
            at the right time.
        shared_dir: the folder for its tasks' files, where its workers do not see the
            run's `work_dir`; the engine reads it after `start`.
        api_version: the version of the contract that the class was written for.
    """

    name: str
    capabilities: Capabilities
    sink = _MissingSink()
    shared_dir: Path | None = None
    api_version: ClassVar[tuple[int, int]] = API_VERSION

    __phase = _Phase.NEW
    _is_held = False  # by the program, in `async with`

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        _check_class(cls)

    @classmethod
    def from_settings(cls, settings: Any, *, name: str) -> Self:
        """Make an instance; the factory calls this where a plugin names the class.

        Args:
            settings: an instance of the plugin's ``config_model``, validated; None where
                the plugin has none.
            name: how tasks will ask for the instance.

        Returns:
            ``cls(settings, name=name)``, or ``cls(name=name)`` without settings.
        """
        make: Callable[..., Self] = cls
        return make(name=name) if settings is None else make(settings, name=name)

    @property
    def is_shut_down(self) -> bool:
        """True once `shutdown` was called."""
        return self.__phase is _Phase.SHUT_DOWN

    async def start(self, sink: ReportSink) -> None:
        """Get ready to take tasks; an override first awaits ``super().start(sink)``.

        A start that fails undoes what it began before it raises.  The instance is then of
        no use: a second start is refused, and the engine calls `shutdown` at once.

        Raises:
            BackendStartError: it cannot come up, or it was started before.
            EngineClosedError: it was shut down.
        """
        if self.__phase is _Phase.SHUT_DOWN:
            raise closed_error(_title(self))
        if self.__phase is _Phase.STARTED:
            raise BackendStartError(
                f"{_title(self)} was started already; give it to WorkflowEngine.create(), which "
                "lets several engines use one backend"
            )
        self.__phase = _Phase.STARTED
        self.sink = sink

    @abstractmethod
    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take the tasks of *batch* and return at once; called in the engine's loop.

        Reading ``self.sink`` raises what is promised here.  Any other exception fails the
        tasks of this batch that have no terminal report yet.

        Raises:
            BackendError: it was not started.
            EngineClosedError: it was shut down.
        """

    @abstractmethod
    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Stop these tasks as far as `capabilities` promise; ignore unknown ids.

        Called in the engine's loop.  A task that waits in a queue is reported
        CANCELLED before this returns; a running one when its work has ended.  One that
        ends by itself meanwhile may also be reported DONE or FAILED.
        """

    async def shutdown(self, *, cancel: bool = True) -> None:  # noqa: ARG002 - for overrides
        """End, in bounded time and without blocking the loop; safe to call again.

        With ``cancel=False`` the tasks that were submitted are finished first.

        An override first awaits ``super().shutdown(cancel=cancel)``: from then on
        ``self.sink`` raises EngineClosedError.  A backend that still reports later keeps
        a reference to the sink of its own.
        """
        self.__phase = _Phase.SHUT_DOWN
        self.__dict__.pop("sink", None)

    def check(self, spec: TaskSpec) -> None:
        """Raise ConfigurationError if this backend can never run *spec*.

        The engine calls it in its loop, once for each decorated task and set of options,
        after it has checked the kind and the resources against `capabilities`.
        Validating ``spec.description`` is the work of this method: a backend that takes
        one overrides it, and any other refuses.  What in a ``task_description`` means the same
        on every backend, such as ``ranks``, is not in there but in the fields of *spec*.
        """
        if spec.description:
            keys = ", ".join(map(repr, spec.description))
            raise UnsupportedOptionError(
                f"task {spec.name!r}: backend {self.name!r} takes no task_description "
                f"(given: {keys}) beside {', '.join(DESCRIPTION_KEYS)}"
            )

    def identity(self, spec: TaskSpec) -> Any:  # noqa: ARG002 - for overrides
        """Return what the results of *spec* depend on beside its body and its arguments.

        A journal takes an earlier result for a call only if this was an equal value then: a
        plain value, or a list, tuple or dict of such.  For example the name of the model that
        answers prompts; not the place where the work is done, which changes no result.  None if
        there is nothing of the kind.
        """
        return None

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:  # noqa: ARG002
        """Return what those of these tasks wait for that this backend has and has not begun.

        The engine calls it in its loop when somebody asks why a task waits, and every some
        seconds while a run with a journal stands still.  It answers at once with what it knows,
        and leaves out tasks that it does not know, that run, or of which it can tell nothing.
        """
        return {}

    async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:  # noqa: ARG002
        """Return what those of these tasks have written so far that are commands and run here.

        A run with a journal asks for it once in a second, and only for commands that have run
        for longer than that.  So others can see it meanwhile.  It leaves out tasks of which it
        can tell nothing; texts have some 4,000 characters at most.
        """
        return {}

    def plan(self) -> Mapping[str, Any]:
        """Return what `start` will ask the outside world for, in types that JSON knows.

        For example a job of a batch system, or an account that is charged.  It starts
        nothing and may be called at any time; ``flow.plan()`` and ``asyncflow doctor NAME
        --plan`` show it.  Empty where the start asks for nothing.
        """
        return {}

    def capacity(self) -> int | None:
        """Return how many cores its tasks can use at once, as things are now.

        Displays ask this again and again, in the loop, so an override returns at once.

        Returns:
            The number, which may change while the backend runs; None if it is not known.
        """
        return None

    async def check_from_node(
        self,
        *,
        wait: float,  # noqa: ARG002 - for overrides
        limit: float,  # noqa: ARG002
        tell: Callable[[str], None],  # noqa: ARG002
    ) -> Sequence[Route]:
        """Have a node connect to this machine as its workers would, and tell what it reached.

        ``asyncflow doctor NAME --from-node`` calls this, in an event loop and on an instance
        that is never started, and nothing else does.  It runs the smallest job or worker that
        the settings allow, and ends it, whatever happens; a cancellation of this call, too.

        Args:
            wait: the most seconds that the job may wait in a queue.
            limit: the most seconds that each step may take from then on.
            tell: called in the loop with a sentence about each step, for the user.

        Returns:
            The ways that were tried; empty where all tasks run on this machine.

        Raises:
            BackendStartError: nothing could be tried; the text says why, and what to check.
        """
        return ()

    def __await__(self) -> Generator[Any, None, Self]:
        return self
        yield

    async def __aenter__(self) -> Self:
        self._is_held = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_held = False
        sharing = getattr(self.__dict__.get("sink"), "sharing", None)
        await self.shutdown(cancel=exc is not None)
        if sharing is not None:
            await sharing.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '?')!r}>"


def _title(backend: ExecutionBackend) -> str:
    return f"backend {getattr(backend, 'name', type(backend).__name__)!r}"


def _check_class(cls: type[ExecutionBackend]) -> None:
    """Raise TypeError if a class attribute of *cls* is not what the contract asks for."""
    able = cls.__dict__.get("capabilities")
    # A property decides for each instance.
    if able is not None and not isinstance(able, Capabilities) and not hasattr(able, "__get__"):
        raise TypeError(f"{cls.__qualname__}.capabilities must be Capabilities(...), not {able!r}")
    match cls.api_version:
        case (int(), int()):
            pass
        case version:
            raise TypeError(
                f"{cls.__qualname__}.api_version must be two whole numbers such as "
                f"{API_VERSION}, not {version!r}"
            )


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """A plugin's declaration of its backend, made without importing the backend.

    Attributes:
        name: the entry point's name.
        summary: one line for ``asyncflow backends list``.
        factory: an `ExecutionBackend` class, of which `ExecutionBackend.from_settings`
            is called; or another callable, called as ``factory(settings, name=NAME)``, or
            as ``factory(name=NAME)`` without a *config_model*; or ``"module:Name"`` of
            either.
        config_model: a pydantic model, or ``"module:Class"`` of one, whose validated
            instance is the factory's *settings*; None if the backend takes no settings.
        capabilities: those of a backend with default settings.
        requirements: what must be importable beyond the distribution's own
            requirements, as requirement strings (``"mpi4py>=4"``).
        api_version: the version of the contract that the backend was written for.
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
    """Make the error for a call that comes after the end of *what*."""
    return EngineClosedError(f"{what} was shut down; make a new one")
