"""What happens between "all dependencies are there" and "sent".

Finding everything special among a call's arguments, awaiting what is foreign, staging
files, running the body of an executable or a prompt task, and running blocks: all in
the engine's loop, as asyncio tasks that this class keeps.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from .._files.declared import FileSet, InputFile, OutputFile
from .._graph.arguments import FLAT, NESTED, PLAIN, rewrite_call
from .._task.future import Aux, TaskFuture, aux_of
from .._task.scope import SCOPE, Scope
from ..model import Command, Prompt, TaskKind, TaskState
from .blocks import watch
from .values import substitute

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["Preparer"]


class Preparer:
    """Gets tasks ready to be sent, for one `Dispatcher`."""

    def __init__(self, dispatcher: Dispatcher, work_dir: Callable[[], Path]) -> None:
        self._dispatcher = dispatcher
        self._work_dir = work_dir
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unbegun: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------------- calls

    def find(self, node: TaskFuture[Any]) -> tuple[list[TaskFuture[Any]] | None, int]:
        """Futures anywhere in *node*'s arguments, and how many foreign ones to wait for.

        Raises:
            TypeError: a future belongs to another event loop.
        """
        dispatcher = self._dispatcher
        linked: list[TaskFuture[Any]] = []
        foreign: dict[int, asyncio.Future[Any]] = {}
        keep: list[Any] = []
        files = FileSet([], [])

        def look(leaf: Any) -> Any:
            if isinstance(leaf, InputFile):
                files.inputs.append(leaf)
                if isinstance(leaf.source, asyncio.Future):
                    look(leaf.source)
            elif isinstance(leaf, OutputFile):
                files.outputs.append(leaf)
            elif isinstance(leaf, TaskFuture) and leaf.dispatcher is dispatcher:
                linked.append(leaf)
            elif hasattr(type(leaf), "__await__") and id(leaf) not in foreign:
                foreign[id(leaf)] = self._adopt(leaf)
                keep.append(leaf)
            return leaf

        rewrite_call(node.args, node.kwargs, look)
        aux = node.aux
        if foreign or files.inputs or files.outputs:
            aux = node.aux = Aux()
            if foreign:
                aux.foreign = foreign
                aux.keep = keep
            if files.inputs or files.outputs:
                files.check()
                aux.files = files
        mutable = any(
            isinstance(value, list | tuple | dict | set | frozenset | deque)
            for value in (*node.args, *node.kwargs.values())
        )
        if mutable and node.native:
            aux_of(node).linked = {other.number for other in linked}
        if aux is not None or mutable:
            node.binding = NESTED
        else:
            node.binding = FLAT if linked else PLAIN
        for future in foreign.values():
            future.add_done_callback(lambda done: self._arrived(node, done))
        return linked or None, len(foreign)

    def _adopt(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        """A foreign awaitable as a future of this loop; a coroutine begins to run."""
        if isinstance(awaitable, asyncio.Future):
            if awaitable.get_loop() is not self._dispatcher.loop:
                raise TypeError(
                    f"{awaitable!r} belongs to another event loop; a task can only wait for "
                    "futures of the loop that its engine runs in"
                )
            return awaitable
        if inspect.iscoroutine(awaitable):
            return self.spawn(awaitable)

        async def wait() -> Any:
            return await awaitable

        return self.spawn(wait())

    def _arrived(self, node: TaskFuture[Any], done: asyncio.Future[Any]) -> None:
        if node.stage is not TaskState.PENDING:
            if not done.cancelled():
                done.exception()  # seen: the task has ended for another reason
            return
        if done.cancelled():
            node.cancel(f"an awaitable among the arguments of {node.name!r} was cancelled")
        elif (error := done.exception()) is not None:
            self._dispatcher.outcomes.foreign_failed(node, done, error)
        else:
            self._dispatcher.release(node)

    # ----------------------------------------------------------------- sending

    def begin(self, node: TaskFuture[Any]) -> None:
        """Get *node* on its way; it is sent at once where nothing has to be awaited.

        Raises:
            StillOpen: a future among the arguments is unfinished.
        """
        dispatcher = self._dispatcher
        args, kwargs, refs = substitute(node)
        spec = node.spec
        aux = node.aux
        if dispatcher.observers.events is not None:
            dispatcher.observers.tell(node, TaskState.READY)
        if spec.kind is TaskKind.BLOCK:
            assert aux is not None
            self._start(node, aux, self._run_block(node, aux, args, kwargs))
        elif not node.lane.executes or (
            spec.kind is TaskKind.FUNCTION and (aux is None or aux.files is None)
        ):
            dispatcher.enqueue(node, args, kwargs, None, refs)
        else:
            assert aux is not None
            self._start(node, aux, self._run_body(node, aux, args, kwargs, refs))

    def _start(self, node: TaskFuture[Any], aux: Aux, body: Coroutine[Any, Any, None]) -> None:
        context = aux.context

        async def begin() -> None:
            self._unbegun.discard(task)
            await body

        task = self._dispatcher.loop.create_task(begin(), context=context and context.copy())
        aux.preparing = task
        self._unbegun.add(task)
        self._keep(task)
        task.add_done_callback(lambda done: self._prepared(node, done, body))

    def _prepared(
        self, node: TaskFuture[Any], task: asyncio.Task[Any], body: Coroutine[Any, Any, None]
    ) -> None:
        if node.aux is not None and node.aux.preparing is task:
            node.aux.preparing = None
        if task in self._unbegun:
            # Cancelled before its first step.  If that was not our doing, asyncio.run() is
            # closing the loop: the engine, which was not shut down, decides what becomes of
            # it, and it is begun again where tasks are to be finished.
            self._unbegun.discard(task)
            body.close()
            self._dispatcher.scheduler.requeue(node)
            self._dispatcher.wake()
        elif task.cancelled():
            self._dispatcher.outcomes.finish_cancelled(node)
        elif (error := task.exception()) is not None:
            self._dispatcher.outcomes.attempt_failed(node, error)

    async def _run_body(
        self, node: TaskFuture[Any], aux: Aux, args: Any, kwargs: Any, refs: tuple[int, ...]
    ) -> None:
        """Stage the files, run the body of an executable or a prompt, and send the task."""
        folder = None
        if aux.files is not None:
            folder = self.folder(node)
            args, kwargs = await self._stage(aux.files, folder, args, kwargs)
        spec = node.spec
        command: Command | Prompt | None = None
        if spec.kind is not TaskKind.FUNCTION:
            try:
                with self._around(aux):
                    outcome = spec.function(*args, **kwargs)
                    if inspect.isawaitable(outcome):
                        outcome = await outcome
            except (SystemExit, GeneratorExit, asyncio.CancelledError) as error:
                me = asyncio.current_task()
                if me is not None and me.cancelling():
                    raise
                # The body raised it itself: asyncio must not see it.
                self._dispatcher.outcomes.attempt_failed(node, error)
                return
            if spec.kind is TaskKind.PROMPT:
                command = Prompt.of(outcome)
            else:
                command = Command.of(outcome)
                if folder is not None and command.cwd is None:
                    command = Command(command.args, command.env, str(folder), command.stdin)
                if self._dispatcher.carriage is not None:
                    command = self._dispatcher.carriage.equip(aux, command)
                aux.command = command
            args, kwargs = (), {}
        aux.preparing = None
        self._dispatcher.enqueue(node, args, kwargs, command, refs)

    def _around(self, aux: Aux) -> AbstractContextManager[object]:
        """What plugins have entered while a body runs here."""
        carriage = self._dispatcher.carriage
        return nullcontext() if carriage is None else carriage.around(aux)

    # ------------------------------------------------------------------- files

    def _folder_of(self, future: asyncio.Future[Any]) -> Path | None:
        """Where the task behind *future* has its files, if it is one of this engine's."""
        if isinstance(future, TaskFuture) and future.dispatcher is self._dispatcher:
            return self.folder(future)
        return None

    def folder(self, node: TaskFuture[Any]) -> Path:
        shared = node.lane.backend.shared_dir if node.lane is not None else None
        return (shared or self._work_dir()) / node.id

    async def _stage(self, files: FileSet, folder: Path, args: Any, kwargs: Any) -> tuple[Any, Any]:
        from .._files.staging import stage  # here, because most programs stage nothing

        paths = await stage(files, folder, asyncio.Future.result, self._folder_of)

        def path_of(leaf: Any) -> Any:
            return paths.get(id(leaf), leaf)

        return rewrite_call(args, kwargs, path_of)

    def check_outputs(self, node: TaskFuture[Any], value: Any) -> None:
        """Let *node* succeed with *value* if the files that it declared are there."""
        aux = aux_of(node)
        files = aux.files
        folder = self.folder(node)

        async def check() -> None:
            assert files is not None
            try:
                from .._files.staging import check_outputs

                await check_outputs(files, folder)
            except Exception as error:
                aux.preparing = None
                self._dispatcher.outcomes.attempt_failed(node, error)
            else:
                aux.preparing = None
                self._dispatcher.outcomes.finish(node, value)

        aux.preparing = self.spawn(check())

    # ------------------------------------------------------------------ blocks

    async def _run_block(self, node: TaskFuture[Any], aux: Aux, args: Any, kwargs: Any) -> None:
        dispatcher = self._dispatcher
        SCOPE.set(Scope(dispatcher.uid, aux.workflow_id, node))
        aux.members = WeakSet()
        dispatcher.outcomes.block_began(node)
        try:
            with self._around(aux):
                value = await watch(node.spec.function(*args, **kwargs), node.name)
        except (SystemExit, GeneratorExit) as error:
            # asyncio would let these end the loop; a block's body cannot end the program.
            dispatcher.outcomes.block_failed(node, error)
        except Exception as error:
            dispatcher.outcomes.block_failed(node, error)
        else:
            dispatcher.outcomes.finish(node, value)

    # ------------------------------------------------------------------- tasks

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run *coroutine* as a task that this object keeps alive."""
        task = self._dispatcher.loop.create_task(coroutine)
        self._keep(task)
        return task

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Return when what is under way has ended, as values on their way here."""
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """End whatever is still under way."""
        me = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
