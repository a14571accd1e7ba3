"""The class that users write workflows against."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path
from secrets import token_hex
from threading import get_ident
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, overload

from .._discovery.settings import WALLTIME
from .._dispatch.dispatcher import Dispatcher
from .._files.work_dir import WorkDir
from .._graph.plan import Plan
from .._graph.plan_recorder import PlanRecorder
from .._public import public
from .._resume.opening import journal_of, open_journal
from .._task.decorators import TaskDecorators
from .._task.map import check_limit, map_tasks
from .._task.scope import SCOPE, WorkflowScope
from ..backend import ExecutionBackend
from ..backend._sharing import original
from ..deprecation import deprecated_parameter
from ..errors import ConfigurationError
from ..events import Event
from . import _launch
from ._asked import Wanted, ask
from ._candidates import Candidates, Launcher
from ._faults import report_faults
from ._shutdown import Shutdown

if TYPE_CHECKING:
    from datetime import timedelta

    from .._display.census import Census
    from .._display.progress import Progress
    from .._live._page_process import PageProcess
    from .._resume.recorder import Recorder
    from .._task.completed import AsCompleted
    from .._task.future import TaskFuture
    from .._threads.calls import Calls
    from .._threads.executor import TaskExecutor
    from ..journal import Journal
    from ..model import Preemption, Waiting
    from ._preemption import OrderlyStop
    from ._serving import Serving

__all__ = ["WorkflowEngine"]

log = logging.getLogger("radical.asyncflow")

Item = TypeVar("Item")
Key = TypeVar("Key")
T = TypeVar("T")

PLANNED_TASKS = 20_000
"""The number of tasks that the plan of a real run remembers; a dry run remembers all."""


HOW_TO_MAKE = (
    "an engine is made with 'async with WorkflowEngine.create(...) as flow' "
    "or 'flow = await WorkflowEngine.create(...)'"
)


@public("radical.asyncflow")
class WorkflowEngine(TaskDecorators):
    """An engine that runs a growing graph of tasks on one or several execution backends.

    Create one with ``async with WorkflowEngine.create(...) as flow``, so that it is shut down
    whatever happens, or with ``await WorkflowEngine.create(...)``.  It belongs to the event
    loop in which it was created.
    """

    def __init__(
        self,
        dispatcher: Dispatcher | None = None,
        work_dir: WorkDir | None = None,
        **options: object,  # noqa: ARG002 - those of `create`, by mistake
    ) -> None:
        """Raise TypeError unless `create` calls this, which starts the backends first."""
        if not isinstance(dispatcher, Dispatcher) or work_dir is None:
            raise TypeError(HOW_TO_MAKE)
        super().__init__(dispatcher)
        self._dispatcher = dispatcher
        self._work_dir = work_dir
        self._closing: asyncio.Task[None] | None = None
        self._lifeline: AsyncGenerator[None, None] | None = None
        self._pages: set[PageProcess] = set()
        self._interrupted = True
        self._end = Shutdown(dispatcher, work_dir)
        self._creator = asyncio.current_task()
        if self._creator is not None:
            self._creator.add_done_callback(self._creator_ended)

    if not TYPE_CHECKING:  # where a name that is not there is an error as it is

        def __getattr__(self, name: str) -> NoReturn:
            """Say what to use in place of *name*, if the public package has it."""
            from .._former import GONE_OF_ENGINE

            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            instead = GONE_OF_ENGINE.get(name)
            raise AttributeError(text if instead is None else f"{text}: {instead}")

    @classmethod
    def create(
        cls,
        backend: _launch.BackendChoice | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = False,
        uid: str | None = None,
        work_dir: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        max_pending: int | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        walltime: float | str | timedelta | None = None,
        preemption: Preemption | None = None,
        failover: bool = False,
        observers: Wanted = (),
        carriers: Wanted = (),
    ) -> _Creation:
        """Create an engine and start its backends: await this, or use it with ``async with``.

        Args:
            backend: a name, an instance, or several of either; the first is the default for
                tasks that name no backend.  An object of another library counts as an instance
                if a plugin knows it, such as that for RHAPSODY.  A name may be several with
                commas between them, such as ``"dask, concurrent"``: the first that is installed
                and starts is used.  None: the one that ``ASYNCFLOW_BACKEND`` or a
                profile of ``asyncflow.toml`` names, else ``"concurrent"``.
            config: the settings of a backend that is given by name; for several names with
                commas, the settings of each by its name.
            dry_run: walk the graph without running a task; ``noop`` takes the place of the
                backends, and `plan` shows what they would ask for.
            uid: the name of the run; by default a random one.
            work_dir: the folder for what tasks with files write beside their outputs, and for
                captured output.  By default ``asyncflow-runs/UID`` in the current folder, made
                when the first task needs it, and kept.
            profile: the name of a profile in ``asyncflow.toml``.
            max_pending: the largest number of unfinished tasks; a call beyond it raises
                PendingLimitError.
            journal: a file that records the results.  If the program runs again with it, it
                takes the results that are still valid from there and does the rest.  None: the
                file that ``ASYNCFLOW_JOURNAL`` names, else no journal.
            walltime: the time that the run may take: seconds, ``"HH:MM:SS"`` or a timedelta.
                Tasks that would not finish in time are not started.  At the end, what is left
                fails with PreemptedError, and ``async with`` ends the program with exit code
                75.  None: the time that ``ASYNCFLOW_WALLTIME`` gives, else no limit.
            failover: go on with the next backend when one is lost: the next of *backend*, or
                the next name in its list.  Tasks that had not begun go there; what may have
                begun there needs ``retries``; a value that was only there is computed again
                when it is needed.
            preemption: the long form of *walltime*, with a deadline, a grace and SIGTERM.
            observers: the names of plugins that observe the run, beside those that
                ``ASYNCFLOW_OBSERVERS`` names.  In ``"NAME:TEXT"`` the text is for the plugin.
            carriers: the names of plugins that send something along with tasks, beside those
                that ``ASYNCFLOW_CARRIERS`` names.

        Raises:
            BackendNotFoundError: a backend is unknown or not installed.
            BackendStartError: a backend did not start, and there is none to use in its place;
                those that did are shut down.
            ConfigurationError: the settings are wrong.
            JournalError: the journal cannot be used.
            JournalInUseError: another run uses the journal.
            PluginError: an observer or a carrier is unknown, or does not work.
        """
        if max_pending is not None and (not isinstance(max_pending, int) or max_pending < 1):
            raise ConfigurationError(f"max_pending must be at least 1 or None, not {max_pending!r}")
        if not isinstance(failover, bool):
            raise ConfigurationError(f"failover must be True or False, not {failover!r}")
        _launch.check_uid(uid)
        if isinstance(backend, ExecutionBackend) and config is not None:
            raise ConfigurationError(
                "config is for a backend that is given by name; give it to the instance itself"
            )
        make_stop = None
        if walltime is not None or preemption is not None or os.environ.get(WALLTIME):
            from ._preemption import prepare

            make_stop = prepare(walltime, preemption)
        return _Creation(
            cls._create(
                *(backend, config, dry_run, uid, work_dir, profile, max_pending),
                journal_of(journal),
                make_stop,
                failover=failover and not dry_run,
                wanted=(observers, carriers),
            )
        )

    @classmethod
    async def _create(
        cls,
        backend: _launch.BackendChoice | None,
        config: Mapping[str, Any] | None,
        dry_run: bool,
        uid: str | None,
        work_dir: str | os.PathLike[str] | None,
        profile: str | None,
        max_pending: int | None,
        journal: Journal | None,
        make_stop: Callable[[Dispatcher], OrderlyStop] | None,
        *,
        failover: bool,
        wanted: tuple[Wanted, Wanted],
    ) -> Self:
        from ._watchers import announce, attach_watchers

        report_faults()
        places = [*map(Candidates, _launch.choose(backend, config, dry_run, profile))]
        planned: list[ExecutionBackend] = []
        plan_recorder = PlanRecorder(None if dry_run else PLANNED_TASKS, planned)
        # What is wrong with a backend, or its settings, is an error before the first one starts.
        for place in places:
            place.look_ahead()
        if dry_run:
            planned += [place.make() for place in places]
            places = [Candidates([_launch.stand_in(instance)]) for instance in planned]
        uid = uid or f"run.{os.urandom(4).hex()}"
        asked = ask(*wanted, uid)
        run_folder = WorkDir(uid, work_dir)
        dispatcher = Dispatcher(
            uid, run_folder, max_pending=max_pending, plan_recorder=plan_recorder
        )
        engine = cls(dispatcher, run_folder)
        launcher = Launcher(dispatcher, [] if dry_run else planned)
        recorder: Recorder | None = None
        try:
            if journal is not None:
                recorder = await open_journal(
                    dispatcher.run,
                    dispatcher.background,
                    dispatcher.outcomes,
                    dispatcher.outbox,
                    journal,
                )
                engine._end.recorder = launcher.recorder = recorder
            announce(engine)
            for place in places:
                await launcher.fill(place)
            if failover:
                launcher.allow_failover()
            if make_stop is not None:
                engine._end.stop = make_stop(dispatcher)
        except BaseException:
            # Raise the reason why the start failed, whatever happens in the shutdown.
            await launcher.abandon()
            run_folder.close()
            if recorder is not None:
                await recorder.close("failed")
            raise
        engine._lifeline = _lifeline(engine)
        _LIFELINES.add(engine._lifeline)
        await anext(engine._lifeline)
        attach_watchers(engine, dispatcher, asked)
        return engine

    # ------------------------------------------------------------- the present

    @property
    def uid(self) -> str:
        """The name of this run."""
        return self._dispatcher.run.uid

    @property
    def backend(self) -> ExecutionBackend:
        """The default backend, for tasks that name none."""
        return original(next(iter(self._dispatcher.lanes_to_choose_from().values())).backend)

    @property
    def backends(self) -> Mapping[str, ExecutionBackend]:
        """The backends by name, ``{name: backend}``, the default one first."""
        lanes = self._dispatcher.run.lanes
        return MappingProxyType({name: original(lane.backend) for name, lane in lanes.items()})

    @property
    def work_dir(self) -> Path:
        """The folder for the files of this run, created on first use."""
        return self._work_dir()

    @property
    def preempted(self) -> str | None:
        """The reason why the run stops before its tasks are done; None while it does not."""
        return self._end.preempted

    @property
    def closed(self) -> bool:
        """True once the shutdown has begun."""
        return self._dispatcher.run.closed

    def plan(self) -> Plan:
        """Return the graph so far: every call, its dependencies, and what the backends ask for.

        A dry run remembers all tasks, a real run its first 20,000; the attribute ``complete``
        of the plan tells whether those were all.
        """
        return self._dispatcher.plan_recorder.plan(self._dispatcher.number)

    def why(self, task: TaskFuture[Any] | int | str | None = None) -> Waiting:
        """Say what *task* waits for: ``print(flow.why(future))``.

        For a task that depends on others, this follows their dependencies to the tasks that run
        and those that wait for something else, such as a place on their backend.  The answer
        holds for the moment of the call; until somebody asks, nothing is kept for it.

        Args:
            task: the future of a call, an id (``"task.000012"``) or a number.  None: all
                unfinished tasks, in groups that wait for the same.

        Raises:
            ConfigurationError: there is no such task.
            RuntimeError: the call is made in another thread than the engine's.
        """
        return self._dispatcher.why(task)

    def observe(self, callback: Callable[[Sequence[Event]], object]) -> Callable[[], None]:
        """Call *callback*, in the loop, with batches of events as they happen.

        *callback* has to return soon, because nothing else runs meanwhile.  If it raises three
        times, it is not called again.

        Returns:
            A function that ends this.
        """
        return self._dispatcher.observe(callback)

    def progress(self, **options: Any) -> Progress:
        """Return a live display of this engine for ``with``: a table, or lines in a log file."""
        from .._display.progress import Progress

        return Progress(self, **options)

    def serve(self, port: int = 0, *, token: str | None = None) -> Serving:
        """Serve a live page of this run, for browsers on this machine; return its address.

        Await this to have the page until the engine is shut down, or use it with ``async with``
        to have it for as long.  A process of its own reads the journal and serves the page, so
        that it costs the program nothing; without a journal, the program sends it the events,
        which costs about 10 microseconds a task.  The address is also printed to stderr, with
        the ``ssh`` command that makes the page reachable from another machine.

        Args:
            port: the port on 127.0.0.1; 0 takes a free one.
            token: the secret part of the address, at least 16 letters and digits.  None: the one
                that ``ASYNCFLOW_PAGE_TOKEN`` gives, else a new one.

        Raises:
            ConfigurationError: the port or the token cannot be used, or
                ``radical.asyncflow[page]`` is not installed.
            EngineClosedError: the engine was shut down.
        """
        from ._serving import Serving

        return Serving(self, port, token)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._dispatcher.run.loop

    @property
    def _journal_path(self) -> str | None:
        return None if self._end.recorder is None else self._end.recorder.path

    def _deliver_events(self) -> None:
        self._dispatcher.run.observers.deliver()

    def _count(
        self, display: Callable[[Sequence[Event]], object], changed: Callable[[], None]
    ) -> tuple[Census, Callable[[], None]]:
        return self._dispatcher.count(display, changed)

    # ------------------------------------------------------------------- tasks

    def map(
        self,
        task: Callable[[Item], TaskFuture[T]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        limit: int = 1000,
        ordered: bool = True,
    ) -> AsyncIterator[T]:
        """Return an asynchronous iterator over the results of ``task(item)`` for each item.

        At most *limit* tasks at a time are unfinished or have a result that was not read, so
        *items* may be endless.  Results come in the order of the items or, with
        ``ordered=False``, in the order in which the tasks end.  A failure is raised in place of
        its result and ends the iteration; the unfinished tasks are then cancelled.

        Args:
            task: a task, or a function that calls a task and returns its future.
            items: the arguments, one for each call; an iterable or an asynchronous iterable.
        """
        check_limit(limit)
        return map_tasks(task, items, limit, ordered)

    @overload
    def as_completed(  # type: ignore[overload-overlap]
        self, futures: Mapping[TaskFuture[T], Key], *, timeout: float | None = None
    ) -> AsCompleted[tuple[TaskFuture[T], Key]]: ...
    @overload
    def as_completed(
        self, futures: Iterable[TaskFuture[T]] = (), *, timeout: float | None = None
    ) -> AsCompleted[TaskFuture[T]]: ...
    @overload
    def as_completed(
        self, futures: Iterable[TaskFuture[Any]], *, timeout: float | None = None
    ) -> AsCompleted[TaskFuture[Any]]: ...
    def as_completed(self, futures: Any = (), *, timeout: float | None = None) -> Any:
        """Return an asynchronous iterator over *futures*; each comes when its task has ended.

        A future that failed or was cancelled comes, too: await it, or ask for its ``result()``,
        which raises the error.  Its `AsCompleted.add` takes more futures meanwhile.  An end of
        the iteration cancels nothing.

        Args:
            futures: the futures of tasks of this engine, or a dict ``{future: key}``, so that
                pairs ``(future, key)`` come.
            timeout: seconds, counted from this call, in which all have to end; as long as it
                takes by default.  After that, what has ended comes, and then a TimeoutError.

        Raises:
            TypeError: one of *futures* is no future of a task of this engine.
            ConfigurationError: *timeout* is no number of seconds.
        """
        from .._task.completed import AsCompleted

        return AsCompleted(self._dispatcher, futures, timeout)

    def executor(self, *, max_workers: int | None = None, **options: Any) -> TaskExecutor:
        """Return a `concurrent.futures.Executor` whose calls are tasks of this engine.

        Libraries that take one run on the backend then: ``loop.run_in_executor``, dask's
        ``compute(scheduler=...)``, adaptive and, after `TaskExecutor.register_joblib`, joblib
        and scikit-learn.  One that waits without awaiting must do so in another thread, as by
        `asyncio.to_thread`, because the loop has to go on meanwhile.

        Args:
            max_workers: the number of tasks that run at once, for libraries that ask; by
                default what the backend says or, if it does not, the cores of this machine.
            options: those of `function_task`, for all calls.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            RuntimeError: it was called in another thread than that of the engine.
        """
        from .._threads.calls import Calls

        if asyncio._get_running_loop() is not self._loop:
            raise RuntimeError(
                "flow.executor() is called in the loop of the engine; any thread may use what it "
                "returns"
            )
        return self._executor(Calls(self._loop, get_ident()), max_workers, options)

    def _executor(
        self, calls: Calls, max_workers: int | None, options: dict[str, Any]
    ) -> TaskExecutor:
        from .._threads.executor import TaskExecutor

        backend = self.backends.get(options.get("backend") or "", self.backend)
        slots = getattr(backend, "max_workers", None)
        return TaskExecutor(self, calls, options, slots=slots, max_workers=max_workers)

    def workflow_scope(self, workflow_id: str | None = None) -> WorkflowScope:
        """Let every task that is called inside belong to the workflow *workflow_id*.

        Use it by ``with`` or ``async with``; both give the id.

        Args:
            workflow_id: the name of the workflow; by default a random one.
        """
        return WorkflowScope(self._dispatcher.run, workflow_id or f"workflow.{token_hex(4)}")

    # ---------------------------------------------------------------- shutdown

    @deprecated_parameter(
        "skip_execution_backend",
        since="1.0",
        removal="2.0",
        instead="put 'async with backend:' around the engines that use it",
    )
    async def shutdown(self, *, cancel: bool = True, skip_execution_backend: bool = False) -> None:
        """Shut down the engine and its backends, so that nothing is left.

        This cancels unfinished tasks or, with ``cancel=False``, waits for them.  It may be
        called again, also at the same time.  It takes at most 30 s, unless it waits for tasks.
        A backend goes on if another engine uses it, or if the program holds it by ``async with``.

        Args:
            skip_execution_backend: leave the backends running for engines that come later.

        Raises:
            BackendError: a backend did not shut down cleanly; the others did.
        """
        self._end.keep |= skip_execution_backend
        if self._closing is None:
            scope = SCOPE.get()
            run = self._dispatcher.run
            if scope is not None and scope.run is run and scope.block is not None:
                raise RuntimeError(
                    f"block {scope.block.name!r} cannot shut down the engine that runs it"
                )
            self._closing = asyncio.create_task(self._shutdown(cancel))
        elif cancel and not self._dispatcher.run.closed:
            # A shutdown that waits for tasks is under way; this call makes it cancel them.
            self._end.cancel_all()
        await asyncio.shield(self._closing)

    async def _shutdown(self, cancel: bool) -> None:
        try:
            await self._end.run(cancel)
        finally:
            if self._pages:
                from ._serving import close_all

                await close_all(self._pages)
            if self._creator is not None:
                self._creator.remove_done_callback(self._creator_ended)
                self._creator = None
            if self._lifeline is not None:
                lifeline, self._lifeline = self._lifeline, None
                _LIFELINES.discard(lifeline)
                await lifeline.aclose()

    async def _loop_closes(self) -> None:
        """Shut the engine down because its loop is being closed and nobody else did.

        If the program came to its end, its tasks are finished; if it was interrupted or
        failed, they are cancelled.
        """
        if self._lifeline is None:
            return  # the shutdown itself closes the lifeline
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        _LIFELINES.discard(self._lifeline)
        self._lifeline = None
        log.warning("engine %s was not shut down; use 'async with' or flow.shutdown()", self.uid)
        self._end.failed = self._interrupted
        self._end.last = True
        await self.shutdown(cancel=self._interrupted)

    def _creator_ended(self, owner: asyncio.Task[Any]) -> None:
        """Note how the task that created the engine ended, if that was before any shutdown."""
        self._creator = None
        self._interrupted = owner.cancelled() or owner.exception() is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for unfinished tasks and shut down; after an error, cancel them.

        Raises:
            SystemExit: the run was preempted, and a PreemptedError of its tasks left the block.
        """
        self._end.failed = exc is not None
        self._end.error = exc
        await self.shutdown(cancel=exc is not None)
        if exc is not None and self.preempted:
            from ._preemption import EXIT_CODE, is_preemption

            if is_preemption(exc):
                raise SystemExit(EXIT_CODE) from exc

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an engine cannot be sent to a worker: make a function that uses it a block "
            "(@flow.block)"
        )

    def __repr__(self) -> str:
        names = ", ".join(self._dispatcher.run.lanes)
        unfinished = len(self._dispatcher.run.scheduler.unfinished())
        state = "closed" if self.closed else f"{unfinished} unfinished"
        return f"<WorkflowEngine {self.uid} on {names}: {state}>"

    def _repr_html_(self) -> str:
        from .._html import summary

        run = self._dispatcher.run
        unfinished = len(run.scheduler.unfinished())
        facts = [
            ("backends", ", ".join(run.lanes)),
            ("tasks called", f"{self._dispatcher.number:,}"),
            ("unfinished", f"{unfinished:,}"),
            ("state", "closed" if self.closed else ""),
            ("stops early", self.preempted or ""),
        ]
        return summary(f"{type(self).__name__} {self.uid}", facts)


class _Creation:
    """An engine that is not created yet: await it, or enter it with ``async with``."""

    def __init__(self, coroutine: Coroutine[Any, Any, WorkflowEngine]) -> None:
        self._coroutine = coroutine
        self._engine: WorkflowEngine | None = None
        self._is_used = False

    def __await__(self) -> Generator[Any, None, WorkflowEngine]:
        self._is_used = True
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"there is no engine yet that has {name!r}: {HOW_TO_MAKE}")

    def __repr__(self) -> str:
        return f"<no engine yet: {HOW_TO_MAKE}>"

    def __del__(self) -> None:
        if not self._is_used:
            self._coroutine.close()
            text = f"WorkflowEngine.create(...) was not awaited: {HOW_TO_MAKE}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def __enter__(self) -> NoReturn:
        self._is_used = True
        self._coroutine.close()
        raise TypeError(HOW_TO_MAKE)

    def __exit__(self, *exc: object) -> None:
        """Exist, so that a plain ``with`` calls `__enter__`, which says what to write."""

    async def __aenter__(self) -> WorkflowEngine:
        self._is_used = True
        self._engine = await self._coroutine
        return self._engine

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._engine is not None
        await self._engine.__aexit__(exc_type, exc, traceback)


_LIFELINES: set[AsyncGenerator[None, None]] = set()
"""The lifelines of running engines, which keep a forgotten engine until its loop ends."""


async def _lifeline(engine: WorkflowEngine) -> AsyncGenerator[None, None]:
    """Stay open as long as *engine* does; asyncio closes it when it closes the loop."""
    try:
        yield
    finally:
        await engine._loop_closes()
