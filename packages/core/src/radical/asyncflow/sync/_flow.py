"""An engine in a thread of its own, for programs without an event loop."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from .._public import public
from .._task.map import check_limit
from .._threads.futures import TaskFuture
from ..engine import WorkflowEngine
from ._completed import AsCompleted
from ._host import Home, Host
from ._map import map_tasks
from ._tasks import Decorators

if TYPE_CHECKING:
    from .._display.progress import Progress
    from .._graph.plan import Plan
    from .._threads.executor import TaskExecutor
    from ..backend import ExecutionBackend
    from ..events import Event
    from ..model import Waiting
    from ._page import PageAddress

__all__ = ["Flow"]

T = TypeVar("T")
Item = TypeVar("Item")
Key = TypeVar("Key")


@public("radical.asyncflow.sync")
class Flow(Decorators):
    """An engine for a program that is not written with asyncio.

    Use it with ``with Flow(...) as flow``, so that it is shut down whatever happens, or call
    `shutdown` at the end.  The engine runs in the event loop of a thread of its own, so a
    program that has a loop, such as a notebook, can use it too.  Any thread may call its
    tasks.  Flows that are given the same instance of a backend share it, and their engines run in
    one thread.
    """

    def __init__(self, backend: Any = None, config: Any = None, **options: Any) -> None:
        """Create an engine and start its backends.

        Args:
            backend, config, options: as for `WorkflowEngine.create`.

        Raises:
            BackendNotFoundError: a backend is unknown or not installed.
            BackendStartError: a backend did not start.
            ConfigurationError: the settings are wrong.
            JournalError: the journal cannot be used.
            RuntimeError: it was called in the thread of a flow that has the same backend.
        """
        given = backend if isinstance(backend, list | tuple) else [backend]
        given = [one for one in given if not isinstance(one, str | None)]
        Home.check(given)
        # What is wrong with the arguments is an error before there is a thread.
        creation = WorkflowEngine.create(backend, config, **options)
        self._host = Host(creation, given)
        self._engine = self._host.engine
        self._calls = self._host.calls
        self._finalizer = weakref.finalize(self, self._host.abandon)

    # ------------------------------------------------------------- the present

    @property
    def engine(self) -> WorkflowEngine:
        """The engine itself, for code that runs in its loop, such as a block or `run`."""
        return self._engine

    @property
    def uid(self) -> str:
        """The name of this run."""
        return self._engine.uid

    @property
    def backend(self) -> ExecutionBackend:
        """The default backend, for tasks that name none."""
        return self._engine.backend

    @property
    def backends(self) -> Mapping[str, ExecutionBackend]:
        """The backends by name, ``{name: backend}``, the default one first."""
        return self._engine.backends

    @property
    def work_dir(self) -> Path:
        """The folder for the files of this run, created on first use."""
        return self._engine.work_dir

    @property
    def closed(self) -> bool:
        """True once the shutdown has begun."""
        return self._calls.closed

    def plan(self) -> Plan:
        """Return the graph so far, as `WorkflowEngine.plan` does."""
        return self._calls.run(self._engine.plan)

    def why(self, task: TaskFuture[Any] | int | str | None = None) -> Waiting:
        """Say what *task* waits for, as `WorkflowEngine.why` does: ``print(flow.why(future))``.

        Args:
            task: the future of a call, an id (``"task.000012"``) or a number.  None: all
                unfinished tasks, in groups that wait for the same.

        Raises:
            ConfigurationError: there is no such task.
        """
        return self._calls.run(
            lambda: self._engine.why(task._registered() if isinstance(task, TaskFuture) else task)
        )

    def observe(self, callback: Callable[[Sequence[Event]], object]) -> Callable[[], None]:
        """Call *callback*, in the thread of the engine, with batches of events as they happen.

        Returns:
            A function that ends this.
        """
        end = self._calls.run(lambda: self._engine.observe(callback))
        return lambda: self._calls.run(end)

    @contextlib.contextmanager
    def progress(self, **options: Any) -> Iterator[Progress]:
        """Show a live display of this flow, for ``with``.

        Args:
            options: as for `WorkflowEngine.progress`.
        """
        shown = self._engine.progress(**options)
        self._calls.run(shown.__enter__)
        try:
            yield shown
        finally:
            self._calls.run(lambda: shown.__exit__(None, None, None))

    def serve(self, port: int = 0, *, token: str | None = None) -> PageAddress:
        """Serve a live page of this run, for browsers on this machine; return its address.

        The page is there until the flow is shut down or, with ``with flow.serve() as url:``,
        until that block ends.  `WorkflowEngine.serve` says what it costs.

        Args:
            port, token: as for `WorkflowEngine.serve`.

        Raises:
            ConfigurationError: the port or the token cannot be used, or
                ``radical.asyncflow[page]`` is not installed.
            EngineClosedError: the flow was shut down.
            RuntimeError: it was called in the loop of the engine, as by a block.
        """
        from ._page import serve

        return serve(self._engine, self._calls, port, token)

    # ------------------------------------------------------------------- tasks

    def map(
        self,
        task: Callable[[Item], TaskFuture[T]],
        items: Iterable[Item],
        *,
        limit: int = 1000,
        ordered: bool = True,
    ) -> Iterator[T]:
        """Return an iterator over the results of ``task(item)`` for each item.

        At most *limit* tasks at a time are unfinished or have a result that was not read, so
        *items* may be endless.  Results come in the order of the items or, with
        ``ordered=False``, in the order in which the tasks end.  A failure is raised in place of
        its result and ends the iteration; the unfinished tasks are then cancelled.

        Args:
            task: a task, or a function that calls a task and returns its future.
            items: the arguments, one for each call.

        Raises:
            ConfigurationError: *limit* is no whole number of at least 1.
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
        """Return an iterator over *futures*, each of which comes when its task has ended.

        A future that failed or was cancelled comes, too: its ``result()`` raises the error.  Its
        `AsCompleted.add` takes more futures meanwhile.  An end of the iteration cancels nothing.

        Args:
            futures: the futures of tasks of this flow, or a dict ``{future: key}``, so that
                pairs ``(future, key)`` come.
            timeout: seconds, counted from this call, in which all have to end; as long as it
                takes by default.  After that, what has ended comes, and then a TimeoutError.

        Raises:
            TypeError: one of *futures* is no future of a task of this flow.
            ConfigurationError: *timeout* is no number of seconds.
        """
        return AsCompleted(self._calls, futures, timeout)

    def executor(self, *, max_workers: int | None = None, **options: Any) -> TaskExecutor:
        """Return a `concurrent.futures.Executor` whose calls are tasks of this flow.

        Args:
            max_workers, options: as for `WorkflowEngine.executor`.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
        """
        return self._engine._executor(self._calls, max_workers, options)

    def workflow_scope(
        self, workflow_id: str | None = None
    ) -> contextlib.AbstractContextManager[str]:
        """Let every task that is called inside belong to the workflow *workflow_id*."""
        return self._engine.workflow_scope(workflow_id)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* in the loop of the engine, and return its result.

        It is for code that awaits: it may use `engine` as any asynchronous program does.

        Raises:
            RuntimeError: it was called in that loop, which would wait for itself.
            Exception: what *coroutine* raised.
        """
        if self._calls.is_own_thread():
            coroutine.close()
            raise RuntimeError("this code runs in the loop of the engine: await the coroutine")
        return self._calls.wait(coroutine)

    # ---------------------------------------------------------------- shutdown

    def shutdown(self, *, cancel: bool = True) -> None:
        """Shut down the engine and its backends, so that nothing is left.

        This cancels unfinished tasks or, with ``cancel=False``, waits for them.  It may be
        called again.

        Raises:
            BackendError: a backend did not shut down cleanly; the others did.
        """
        self._end(self._engine.shutdown(cancel=cancel))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for unfinished tasks and shut down; after an error, cancel them.

        Raises:
            SystemExit: the run was preempted, and a PreemptedError of its tasks left the block.
        """
        self._end(self._engine.__aexit__(exc_type, exc, traceback))

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        self._finalizer.detach()
        self._host.end(ending)

    def __repr__(self) -> str:
        return repr(self._engine).replace("WorkflowEngine", type(self).__name__, 1)

    def _repr_html_(self) -> str:
        return self._calls.run(self._engine._repr_html_)
