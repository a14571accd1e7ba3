"""Prepare tasks: everything between "all dependencies are done" and "sent".

This module finds everything special among a call's arguments, awaits what is not a task of this
engine, stages files, runs the bodies of executable and prompt tasks, and runs blocks.  All of
it runs in the engine's loop, as asyncio tasks that `Background` keeps alive.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
from collections import deque
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakSet

from .._files.declared import OUTPUT_PATH, BodyPath, FileSet, InputFile, OutputFile
from .._graph.arguments import FLAT, NESTED, PLAIN, rewrite_call
from .._graph.hidden import Hidden, find_hidden
from .._graph.items import ItemOf, parent_of
from .._task.future import Activity, Arguments, Extras, TaskFuture, Work, extras_of, result_of
from .._task.owner import Owner
from .._task.scope import SCOPE, Scope
from .._task.service import ServiceFuture, ServiceInfo
from ..errors import ConfigurationError, DependencyFailureError, FileError
from ..model import Command, Prompt, TaskKind, TaskState
from .background import Background
from .blocks import watch
from .following import (
    add_outputs_of_dependencies,
    follow_dependencies,
    tasks_among,
    tasks_to_link,
)
from .foreign import wait_for
from .outbox import Outbox
from .outcomes import Outcomes
from .run import Run
from .values import UnfinishedArguments, owner_of, substitute

__all__ = ["Preparation"]

READY, RUNNING, DONE = TaskState.READY, TaskState.RUNNING, TaskState.DONE


class Preparation:
    """The preparation of one run's tasks, until they can be sent.

    Attributes:
        unbegun: the asyncio tasks of bodies, and of what comes before them, that begin in the
            next turn of the loop.

    Args:
        owner: the owner of the tasks; a future of another owner is an outside awaitable.
    """

    def __init__(
        self, run: Run, owner: Owner, background: Background, outcomes: Outcomes, outbox: Outbox
    ) -> None:
        self._run = run
        self._owner = owner
        self._background = background
        self._outcomes = outcomes
        self._outbox = outbox
        self.unbegun: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------------- calls

    def find_dependencies(self, node: TaskFuture[Any]) -> tuple[list[TaskFuture[Any]] | None, int]:
        """Find the futures, files and other awaitables anywhere in *node*'s arguments.

        Returns:
            The tasks of this engine among them (None if there are none), and the number of
            other awaitables that *node* has to wait for.

        Raises:
            TypeError: a future belongs to another event loop, or is hidden in an object.
            ConfigurationError: an output belongs to another unfinished task, or to a service.
        """
        owner = self._owner
        dependencies: list[TaskFuture[Any]] = []
        arguments = Arguments()
        outside = arguments.outside_awaitables
        files = FileSet([], [])
        items: list[ItemOf] = []
        # The body of a block runs in the loop, where it may await a future that an object holds.
        searched = node._spec.kind is not TaskKind.BLOCK

        def collect(leaf: Any) -> Any:
            if isinstance(leaf, InputFile):
                files.inputs.append(leaf)
                if not isinstance(leaf.source, str):
                    collect(leaf.source)
            elif isinstance(leaf, OutputFile):
                files.outputs.append(leaf)
            elif isinstance(leaf, TaskFuture) and leaf._owner is owner:
                dependencies.append(leaf)
            elif isinstance(leaf, ServiceInfo):
                collect(leaf._service.future)
            elif isinstance(leaf, ItemOf) and owner_of(leaf._future) is owner:
                items.append(leaf)
                dependencies.append(leaf._future)
            elif hasattr(type(leaf), "__await__"):
                if id(leaf) not in outside:
                    outside[id(leaf)] = self._adopt(leaf)
                    arguments.pinned.append(leaf)
            elif searched and (hidden := find_hidden(leaf)) is not None:
                raise _hidden_error(node, hidden)
            return leaf

        rewrite_call(node._args, node._kwargs, collect)
        extras = node._extras
        if outside or files.inputs or files.outputs:
            extras = node._extras = Extras()
            if outside:
                extras.arguments = arguments
            if files.inputs or files.outputs:
                self._declare(node, extras, files, dependencies)
        mutable = any(
            isinstance(value, list | tuple | dict | set | frozenset | deque)
            for value in (*node._args, *node._kwargs.values())
        )
        if mutable and node._native:
            arguments.dependencies = {other._number for other in dependencies}
            extras_of(node).arguments = arguments
        # What a service has for its callers is known when they are sent.
        serves = any(isinstance(other, ServiceFuture) for other in dependencies)
        if extras is not None or mutable or serves or items:
            node._binding = NESTED
        else:
            node._binding = FLAT if dependencies else PLAIN
        self._follow(node, outside.values())
        return dependencies or None, len(outside)

    def _declare(
        self,
        node: TaskFuture[Any],
        extras: Extras,
        files: FileSet,
        dependencies: Iterable[TaskFuture[Any]],
    ) -> None:
        """Note the *files* of *node*, whose outputs belong to it from now on."""
        follow_dependencies(node, files, dependencies)
        files.check()
        extras.files = files
        if files.outputs:
            _refuse_outputs_of_service(node, files.outputs[0])
            if node._spec.kind is not TaskKind.BLOCK:  # which hands its files on to other tasks
                self._run.targets.claim(node, files.outputs)

    def _follow(self, node: TaskFuture[Any], outside: Iterable[asyncio.Future[Any]]) -> None:
        """Let *node* go on, or fail, when what it waits for *outside* of the engine is done."""
        for future in outside:
            future.add_done_callback(
                lambda done: self._outcomes.guard(node, self._outside_awaitable_done, node, done)
            )

    def _adopt(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        """Return *awaitable* as a future of this loop; a coroutine is started as a task."""
        if asyncio.isfuture(awaitable):
            if awaitable.get_loop() is not self._run.loop:
                raise TypeError(
                    f"{awaitable!r} belongs to another event loop; pass futures of the loop that "
                    "the engine runs in"
                )
            return awaitable
        if inspect.iscoroutine(awaitable):
            return self._background.spawn(awaitable)

        return self._background.spawn(wait_for(awaitable))

    def _outside_awaitable_done(self, node: TaskFuture[Any], done: asyncio.Future[Any]) -> None:
        if node._stage is not TaskState.PENDING:
            if not done.cancelled():
                done.exception()  # mark as retrieved: the task has ended for another reason
            return
        if done.cancelled():
            node.cancel(f"an awaitable among the arguments of {node.name!r} was cancelled")
        elif (error := done.exception()) is not None:
            self._outcomes.resolve(
                self._run.scheduler.fail(node, _outside_failure(node, done, error))
            )
        else:
            self._outbox.release(node)

    # ----------------------------------------------------------------- sending

    def send(self, node: TaskFuture[Any]) -> None:
        """Send *node*, which is no plain function call, or begin its preparation.

        It is a block, has a body that runs here or a nested argument, or its backend was lost.
        """
        lane = node._lane
        if lane is not None and lane.lost is not None:
            failover = self._outcomes.failover
            if failover is not None:
                failover.take_over(node)
            else:
                self._outcomes.attempt_failed(node, lane.lost)
            return
        try:
            self._begin(node)
        except UnfinishedArguments as signal:
            self._outbox.wait_more(node, signal.futures)
        except (Exception, asyncio.CancelledError) as error:
            self._outbox.end_without_arguments(node, error)

    def _begin(self, node: TaskFuture[Any]) -> None:
        args, kwargs, refs = substitute(node)
        spec = node._spec
        extras = node._extras
        if self._run.observers.events is not None:
            self._run.observers.tell(node, READY)
        if spec.kind is TaskKind.BLOCK:
            assert extras is not None
            self._start(node, Activity.BLOCK, self._run_block(node, extras, args, kwargs))
        elif spec.kind is TaskKind.FUNCTION and (
            extras is None or extras.files is None or not node._lane.executes
        ):
            self._outbox.enqueue(node, args, kwargs, None, refs)
        else:
            extras = extras_of(node)
            prepare = self._prepare if node._lane.executes else self._rehearse
            self._start(node, Activity.PREPARE, prepare(node, extras, args, kwargs, refs))

    def _start(
        self, node: TaskFuture[Any], activity: Activity, body: Coroutine[Any, Any, None]
    ) -> None:
        extras = extras_of(node)
        context = node._context

        async def begin() -> None:
            self.unbegun.discard(task)
            if not self.unbegun and self._run.full:
                self._run.wake()  # to submit what was called later than this
            await body

        task = self._background.spawn(begin(), None if context is None else context.copy())
        extras.work = Work(activity, task)
        self.unbegun.add(task)
        task.add_done_callback(
            lambda done: self._outcomes.guard(node, self._asyncio_task_ended, node, done, body)
        )

    def _asyncio_task_ended(
        self, node: TaskFuture[Any], task: asyncio.Task[Any], body: Coroutine[Any, Any, None]
    ) -> None:
        extras = extras_of(node)
        if extras.work is not None and extras.work.task is task:
            extras.work = None
        if task in self.unbegun:
            # It was cancelled before its first step.  If the engine did not do that,
            # asyncio.run() is closing the loop before a shutdown: the engine then decides
            # whether tasks are finished, in which case this one is started again.
            self.unbegun.discard(task)
            body.close()
            self._run.scheduler.requeue(node)
            self._run.wake()
        elif task.cancelled():
            if node._stage < DONE:
                self._outcomes.work_ended(node)
                self._run.wake()
        elif (error := task.exception()) is not None:
            self._outcomes.attempt_failed(node, error)

    async def _prepare(
        self, node: TaskFuture[Any], extras: Extras, args: Any, kwargs: Any, refs: tuple[int, ...]
    ) -> None:
        """Stage the files of *node*, run the body of an executable or a prompt, and send it."""
        linked = tasks_to_link(node) if node._spec.link_dependencies else []
        if linked:
            extras.files = extras.files or FileSet()
            add_outputs_of_dependencies(extras.files, linked)
        if extras.files is not None:
            extras.files.named.clear()
            # By now it is known which outputs the bodies of commands have named.
            found = follow_dependencies(node, extras.files, tasks_among(node))
            if found:
                args, kwargs = rewrite_call(args, kwargs, lambda leaf: found.get(id(leaf), leaf))
            args, kwargs = await self._stage(node, extras.files, args, kwargs)
        if linked and extras.files is not None:
            await self._link(node, extras.files, linked)
        command: Command | Prompt[Any] | None = None
        if node._spec.kind is not TaskKind.FUNCTION:
            try:
                outcome = await self._run_body(node, extras, args, kwargs)
            except (SystemExit, GeneratorExit, asyncio.CancelledError) as error:
                self._body_ended(node, error)
                return
            command = extras.command = self._command(node, extras, outcome)
            if isinstance(command, Command):
                if self._run.journal is not None:
                    await self._run.journal.note_command(node, command)
                if node._spec.shell or node._spec.container:
                    command = self._wrapped(node, extras, command)
            args, kwargs = (), {}
        extras.work = None
        self._outbox.enqueue(node, args, kwargs, command, refs)

    async def _rehearse(
        self, node: TaskFuture[Any], extras: Extras, args: Any, kwargs: Any, refs: tuple[int, ...]
    ) -> None:
        """Run the body of *node* in a dry run, which refuses what a real run refuses.

        Results of other tasks are markers here, and no file is there.  What fails because of that
        says nothing about a real run, so the task is done all the same.
        """
        known = not tasks_among(node)
        if extras.files is not None:
            extras.files.named.clear()
            paths = extras.files.paths_in(self._run.folder(node))
            args, kwargs = _with_paths(node, paths, args, kwargs)
        try:
            outcome = await self._run_body(node, extras, args, kwargs)
        except (SystemExit, GeneratorExit, asyncio.CancelledError) as error:
            self._body_ended(node, error)
            return
        except Exception:
            if known and extras.files is None:
                raise
        else:
            if known:
                self._command(node, extras, outcome)
        extras.work = None
        self._outbox.enqueue(node, (), {}, None, refs)

    def _body_ended(self, node: TaskFuture[Any], error: BaseException) -> None:
        """Fail *node*, if its body itself raised *error*, which asyncio must not see then."""
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise error
        self._outcomes.attempt_failed(node, error)

    async def _run_body(self, node: TaskFuture[Any], extras: Extras, args: Any, kwargs: Any) -> Any:
        if node._spec.kind is TaskKind.EXECUTABLE:
            # This holds in the context of this asyncio task only.
            OUTPUT_PATH.set(lambda output: self._name_output(node, extras, output))
        with self._plugin_contexts(extras):
            outcome = node._spec.function(*args, **kwargs)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        return outcome

    def _command(
        self, node: TaskFuture[Any], extras: Extras, outcome: Any
    ) -> Command | Prompt[Any]:
        """Return the command or the prompt that *outcome*, returned by the body, stands for."""
        if node._spec.kind is TaskKind.PROMPT:
            prompt = Prompt.of(outcome)
            node._lane.check_prompt(node.name, prompt)
            return prompt
        command = Command.of(outcome)
        if node._spec.command is not None:
            command = node._spec.command.apply(command)
        cwd = self._folder_of_command(node, command.cwd)
        if cwd != command.cwd:
            command = dataclasses.replace(command, cwd=cwd)
        if command.result is not None:
            files = FileSet() if extras.files is None else extras.files
            folder = self._run.folder(node)
            if command.result not in [str(folder / item.inside) for item in files.all_outputs]:
                raise ConfigurationError(
                    f"task {node.name!r}: Command(result=...) must be an OutputFile, or the path "
                    f"that the body got for one, not {command.result!r}"
                )
        carriage = self._run.carriage
        return command if carriage is None else carriage.add_variables(extras, command)

    def _wrapped(self, node: TaskFuture[Any], extras: Extras, command: Command) -> Command:
        """Return what is sent for *command*, which asks for a shell or a container."""
        from .wrapping import wrapped  # here, because most programs ask for neither

        folder = None if extras.files is None else self._run.folder(node)
        return wrapped(command, node._spec, self._run.targets.start, folder)

    def _folder_of_command(self, node: TaskFuture[Any], cwd: str | None) -> str | None:
        """Return the folder in which a command of *node* that asks for *cwd* runs.

        This is one rule for all backends, with files and without: the folder that the program
        was started in, where programs with a relative path are.  Only nodes that do not see
        this folder use that of the task instead.
        """
        folder = self._run.targets.start
        if node._lane.backend.shared_dir is not None:
            own = self._run.folder(node)
            own.mkdir(parents=True, exist_ok=True)
            folder = str(own)
        if folder is None or cwd is None:
            return folder if cwd is None else cwd
        return os.path.join(folder, cwd)  # noqa: PTH118

    def _name_output(self, node: TaskFuture[Any], extras: Extras, output: OutputFile) -> str:
        """Declare *output*, which the body of *node* names, and return the path to write to."""
        from .._files.staging import make_room  # here, because most programs have no files

        _refuse_outputs_of_service(node, output)
        files = extras.files
        if files is None:
            files = extras.files = FileSet()
        folder = self._run.folder(node)
        if output.name not in [item.name for item in files.all_outputs]:
            self._run.targets.claim(node, [output])
            if node._lane.executes:
                make_room(output, folder, files.staged)
            files.named.append(output)
        return str(folder / output.inside)

    def _plugin_contexts(self, extras: Extras) -> AbstractContextManager[object]:
        """Return the context managers of plugins, to be entered while a body runs here."""
        carriage = self._run.carriage
        return nullcontext() if carriage is None else carriage.contexts(extras)

    async def _stage(
        self, node: TaskFuture[Any], files: FileSet, args: Any, kwargs: Any
    ) -> tuple[Any, Any]:
        from .._files.staging import stage  # here, because most programs stage nothing

        folder = self._run.folder(node)
        paths = await stage(files, folder, result_of, self._folder_of, self._run.targets.path)
        return _with_paths(node, paths, args, kwargs)

    async def _link(
        self, node: TaskFuture[Any], files: FileSet, tasks: Iterable[TaskFuture[Any]]
    ) -> None:
        """Link what *tasks* wrote into the folder of *node*, which has *files*."""
        from .._files.linking import Source  # here, because most programs need it not
        from .._files.staging import link_dependencies

        sources = []
        for one in tasks:
            if self._run.journal is not None and one._entry.reused and not one._call.plain:
                raise FileError(
                    f"the result of {one.id} {one.name!r} is that of an earlier run, so the files "
                    "that its command wrote are not here; declare them as OutputFile, or give the "
                    "task cache=False"
                )
            files_of_one = None if one._extras is None else one._extras.files
            given = () if files_of_one is None else files_of_one.staged
            sources.append(Source(f"{one.id} {one.name!r}", self._run.folder(one), given))
        await link_dependencies(files, self._run.folder(node), sources)

    def _folder_of(self, future: asyncio.Future[Any]) -> Path | None:
        """Return the folder of *future*'s declared files; None if it is not of this engine."""
        future = parent_of(future)
        if isinstance(future, TaskFuture) and future._owner is self._owner:
            return self._run.folder(future)
        return None

    # ------------------------------------------------------------------ blocks

    async def _run_block(
        self, node: TaskFuture[Any], extras: Extras, args: Any, kwargs: Any
    ) -> None:
        SCOPE.set(Scope(self._run, extras.workflow_id, node))
        extras.members = WeakSet()
        self._block_started(node)
        try:
            with self._plugin_contexts(extras):
                value = await watch(node._spec.function(*args, **kwargs), node.name)
        except (Exception, SystemExit, GeneratorExit) as error:
            # asyncio would let the last two end the loop, but a block may not end the program.
            self._outcomes.cancel_members(node)
            self._outcomes.attempt_failed(node, error)
        else:
            self._outcomes.complete_in_loop(node, value)

    def _block_started(self, node: TaskFuture[Any]) -> None:
        run = self._run
        run.scheduler.submitted(node)
        run.scheduler.running(node)
        if run.observers.watched:
            run.observers.began(node, None)
        if node._spec.timeout is not None or run.journal is not None:
            self._outcomes.work_started(node, None)


def _hidden_error(node: TaskFuture[Any], hidden: Hidden) -> TypeError:
    """Return the error of the call *node*, one of whose arguments has a future inside."""
    return TypeError(
        f"{hidden.title} is inside of an argument of task {node.name!r}, at {hidden.place}, where "
        "futures are not looked for: they are found in lists, tuples, dicts and sets; pass it as "
        "an argument of its own, or await it first"
    )


def _outside_failure(
    node: TaskFuture[Any], awaited: asyncio.Future[Any], error: BaseException
) -> DependencyFailureError:
    """Return the error of *node*, which waited for the outside awaitable *awaited*."""
    if isinstance(awaited, TaskFuture):  # of another engine
        name = awaited.name
    else:
        name = awaited.get_name() if hasattr(awaited, "get_name") else repr(awaited)
    failure = DependencyFailureError(node.name, [name], name, error)
    failure.__cause__ = error
    return failure


def _with_paths(
    node: TaskFuture[Any], paths: Mapping[int, str], args: Any, kwargs: Any
) -> tuple[Any, Any]:
    """Return the arguments of *node* with *paths*, by the ids of its files, in place of these."""
    kind = str if node._spec.kind is TaskKind.FUNCTION else BodyPath

    def path_of(leaf: Any) -> Any:
        path = paths.get(id(leaf))
        return leaf if path is None else kind(path)

    return rewrite_call(args, kwargs, path_of)


def _refuse_outputs_of_service(node: TaskFuture[Any], output: OutputFile) -> None:
    """Raise ConfigurationError if *node* is a service, which would never deliver its *output*."""
    if node._spec.service:
        raise ConfigurationError(
            f"task {node.name!r}: a service has no output files such as {output.name!r}, because "
            "it is done when it is up, and not when they are written; let it write to a path"
        )
