"""The journal's place in the engine: what is written of a task, and when it counts.

A result counts once it stands in the file: the future of a task is resolved only then,
so what user code has seen is never computed again, however the program ends.  A thread
writes the file; it also pickles whatever is more than a plain value.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import reprlib
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from .. import journal
from .._dispatch.halt import halt
from .._task.future import TaskFuture, aux_of
from .._task.scope import SCOPE
from .._text import cut_middle, safe_message, safe_str
from ..aside import in_thread
from ..errors import ExecutableError, JournalError
from ..journal import ErrorRecord, Journal, JournalWriter, Record
from ..model import ExecutableResult, TaskKind, TaskState
from .bodies import Bodies
from .entry import Entry
from .files import describe
from .recall import Recall

if TYPE_CHECKING:
    from .._dispatch.dispatcher import Dispatcher
    from .._files.declared import OutputFile
    from ..backend import ExecutionBackend

__all__ = ["Recorder"]

log = logging.getLogger("radical.asyncflow")

DONE, FAILED = TaskState.DONE, TaskState.FAILED

NEWS = 0.25
"""Seconds that a task has run before the journal says that it runs."""

TAIL = 4000
"""Characters that are kept of an executable's output, and of a traceback."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200

_Pending = tuple[int, TaskFuture[Any], Entry, Any]


class Recorder:
    """Writes the journal of one engine, and has results of earlier runs reused."""

    def __init__(self, dispatcher: Dispatcher, settings: Journal) -> None:
        self._dispatcher = dispatcher
        self._writer = writer = JournalWriter(settings, run=dispatcher.uid)
        self._arguments = settings.arguments
        self._fail = settings.on_error == "fail"
        self._loop = dispatcher.loop
        self._began = monotonic()
        self._bodies = Bodies(self._append)
        self._recall = Recall(dispatcher, writer, self._bodies, self._reuse)
        self._buffer: list[Record] = []
        self._batches = 0
        self._pending: deque[_Pending] = deque()
        self._written = 0
        self._settling = False
        self._running: dict[int, TaskFuture[Any]] = {}
        self._told: set[int] = set()
        self._news: asyncio.TimerHandle | None = None
        writer.on_written = self._on_written
        writer.on_failed = self._on_failed

    # ------------------------------------------------------------- on its way

    def added(self, node: TaskFuture[Any], linked: list[TaskFuture[Any]] | None) -> None:
        """*node* was called."""
        body = self._bodies.of(node.spec)  # the file tells of a function before its first task
        after = () if linked is None else tuple([other.number for other in linked])
        scope = SCOPE.get()
        block = None
        if scope is not None and scope.engine == self._dispatcher.uid:
            block = scope.block
        place = "" if block is None else block.entry.inside
        node.entry = entry = Entry(body, monotonic() - self._began, after, place)
        if self._arguments:
            entry.arguments = _written(node)

    def meet(self, node: TaskFuture[Any]) -> bool:
        """*node* is ready: whether it is not to be sent, or not now.

        That is so where an earlier result stands for it, or where it takes a thread to
        find out.
        """
        entry = node.entry
        if entry.ready is None:
            entry.ready = monotonic() - self._began
        try:
            return not entry.known and self._recall.meet(node, entry)
        except KeyboardInterrupt:
            raise  # of whoever wants the program to end
        except BaseException as error:  # of a class among the arguments: the task runs all the same
            entry.known = True
            entry.why = safe_str(error)
            log.warning("task %s %r could not be identified", node.id, node.name, exc_info=True)
            return False

    def started(self, node: TaskFuture[Any], worker: str | None) -> None:
        """A worker began with *node*."""
        entry = node.entry
        entry.started = (self._dispatcher.observers.when or monotonic()) - self._began
        entry.worker = worker
        self._running[node.number] = node
        if self._news is None:
            self._news = self._loop.call_later(NEWS, self._tell_running)

    def _tell_running(self) -> None:
        """Write of those that run and have not ended yet, each once for each attempt."""
        self._news = None
        late = monotonic() - self._began - NEWS
        for number, node in self._running.items():
            started = node.entry.started
            if number in self._told or started is None or started > late:
                continue
            self._told.add(number)
            self._append(self._started_line(node))
        if len(self._told) < len(self._running):
            self._news = self._loop.call_later(NEWS, self._tell_running)

    # -------------------------------------------------------------------- ends

    def commit(self, node: TaskFuture[Any], value: Any) -> bool:
        """*node* is done with *value*: whether it is to wait until that is written."""
        entry = node.entry
        lane = node.call.lane
        ended = (self._dispatcher.observers.when or monotonic()) - self._began
        self._forget(node)
        if entry.key is None or (lane is not None and not lane.executes):
            self._append(self._ended_line(node, DONE, ended))
            return False
        aux = node.aux
        outputs = aux.files.outputs if aux is not None and aux.files is not None else ()
        scalar = None if outputs else journal.scalar(value)
        if scalar is not None:
            entry.stored = True
            number = self._append(self._done_line(node, entry, ended, scalar))
        else:
            number = self._append(self._lasting_line(node, value, ended, outputs))
        if aux is not None and aux.timer is not None:
            aux.timer.cancel()
            aux.timer = None
        entry.waiting = True
        self._pending.append((number, node, entry, value))
        return True

    def _lasting_line(
        self, node: TaskFuture[Any], value: Any, ended: float, outputs: Sequence[OutputFile]
    ) -> Record:
        """What makes the line of *node* in the writer's thread, where it may take its time."""
        folder = self._dispatcher.preparer.folder(node) if outputs else Path()
        names = [output.name for output in outputs]

        def line() -> bytes:
            files: Sequence[Any] = ()
            try:
                files = describe(names, folder)
                result = self._writer.store(value)
            except BaseException as error:
                result = journal.unstored(safe_str(error))
            node.entry.stored = not result.startswith('"unstored"')
            return self._ended_line(node, DONE, ended, result=result, files=files)

        return line

    def _on_written(self, number: int) -> None:
        """All that was appended up to *number* is in the file; in the writer's thread."""
        self._written = number
        if self._pending and not self._settling:
            self._settling = True
            try:
                self._loop.call_soon_threadsafe(self._settle)
            except RuntimeError:
                log.debug("a result was written after the event loop was closed")

    def _settle(self) -> None:
        self._settling = False
        written = self._written
        pending = self._pending
        outcomes = self._dispatcher.outcomes
        while pending and pending[0][0] <= written:
            _, node, entry, value = pending.popleft()
            entry.waiting = False
            if node.stage < DONE:
                outcomes.settle(node, value)
        self._dispatcher.wake()

    def attempt_failed(self, node: TaskFuture[Any], error: BaseException) -> None:
        """An attempt of *node* failed, and another will follow."""
        entry = node.entry
        attempt = node.attempt
        started, ended = entry.started, self._moment()
        worker = entry.worker
        function = node.entry.body.number
        arguments = self._arguments
        self._forget(node)
        entry.started = entry.worker = None

        def line() -> bytes:
            return journal.attempt_failed(
                node.number,
                function,
                started,
                ended,
                _error_record(error, arguments),
                attempt=attempt,
                worker=worker,
            )

        self._append(line)

    def ended(self, node: TaskFuture[Any], state: TaskState, error: BaseException | None) -> None:
        """*node* failed for good, or was cancelled."""
        # What a dependency's failure ends may have been called after that happened.
        time = max(self._moment(), node.entry.added)
        self._forget(node)
        self._append(lambda: self._ended_line(node, state, time, error=error))

    def _reuse(self, node: TaskFuture[Any], task: str, value: Any, stderr: str) -> None:
        """*node* gets the *value* of *task*, ``"RUN/NUMBER"``."""
        entry = node.entry
        entry.reused = task
        if node.spec.kind is TaskKind.EXECUTABLE:
            aux_of(node).result = ExecutableResult(0, value, stderr)
        ended = monotonic() - self._began
        plain = node.aux is None and not entry.after and entry.arguments is None
        if plain and entry.key is not None:
            line = journal.task_reused(
                node.number,
                entry.body.number,
                entry.added,
                ended if entry.ready is None else entry.ready,
                ended,
                key=entry.key,
                reused=task,
                backend=node.lane.name,
            )
        else:
            line = self._ended_line(node, DONE, ended)
        self._append(line)
        self._dispatcher.scheduler.submitted(node)
        self._dispatcher.outcomes.settle(node, value)

    # ------------------------------------------------------------------- lines

    def _moment(self) -> float:
        """When that happened which is being taken in, where its report says so, or now."""
        return (self._dispatcher.observers.when or monotonic()) - self._began

    def _forget(self, node: TaskFuture[Any]) -> None:
        if self._running.pop(node.number, None) is not None:
            self._told.discard(node.number)

    def _started_line(self, node: TaskFuture[Any]) -> bytes:
        entry = node.entry
        return journal.task_started(
            node.number,
            node.entry.body.number,
            (entry.added, entry.ready, entry.started),
            attempt=node.attempt,
            backend="" if node.lane is None else node.lane.name,
            worker=entry.worker,
            after=entry.after,
            workflow=node.workflow_id,
        )

    def _done_line(self, node: TaskFuture[Any], entry: Entry, ended: float, result: str) -> bytes:
        """As `_ended_line`, quickly where there is no more to it, as with most tasks."""
        ready, started, worker = entry.ready, entry.started, entry.worker
        if (
            node.aux is not None
            or node.attempt != 1
            or ready is None
            or started is None
            or worker is None
            or entry.key is None
            or entry.after
            or entry.place
            or entry.arguments is not None
            or entry.why is not None
        ):
            return self._ended_line(node, DONE, ended, result=result)
        return journal.task_done(
            node.number,
            entry.body.number,
            (entry.added, ready, started, ended),
            key=entry.key,
            result=result,
            backend=node.lane.name,
            worker=worker,
        )

    def _ended_line(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        time: float,
        *,
        result: str = "",
        error: BaseException | None = None,
        files: Any = (),
    ) -> bytes:
        """The line of a task that ended; in any thread."""
        entry = node.entry
        executed = None if node.aux is None else node.aux.result
        printed = executed is not None and not node.spec.capture_stdio
        return journal.task_ended(
            node.number,
            node.entry.body.number,
            state.name,
            (entry.added, entry.ready, entry.started, time),
            key=entry.key,
            result=result,
            attempt=node.attempt,
            backend="" if node.lane is None else node.lane.name,
            worker=entry.worker,
            after=entry.after,
            workflow=node.workflow_id,
            place=entry.place,
            arguments=entry.arguments,
            reused=entry.reused,
            why=entry.why,
            error=None if error is None else _error_record(error, self._arguments),
            exit_code=None if executed is None else executed.exit_code,
            stdout=executed.stdout[-TAIL:] if executed is not None and printed else None,
            stderr=executed.stderr[-TAIL:] if executed is not None else None,
            files=files,
        )

    def _append(self, record: Record) -> int:
        """Have *record* written with all others of this turn; returns the batch's number."""
        buffer = self._buffer
        buffer.append(record)
        if len(buffer) == 1:
            self._dispatcher.wake()
        return self._batches + 1

    def flush(self) -> None:
        """Hand what was appended in this turn to the writer."""
        if self._buffer:
            buffer, self._buffer = self._buffer, []
            self._batches = self._writer.append(buffer)

    # ----------------------------------------------------------------- the run

    async def open(self) -> None:
        """Open the file, and write that the run began.

        Raises:
            JournalError: it cannot be used.
        """
        await in_thread(self._writer.open)
        self._began = monotonic()
        self._dispatcher.observers.keep_time()
        python = ".".join(map(str, sys.version_info[:3]))
        uid = self._dispatcher.uid
        line = journal.run_begun(uid, time(), gethostname(), os.getpid(), python, sys.argv)
        self._append(line)

    def backend_up(self, backend: ExecutionBackend) -> None:
        """Write that *backend* started."""
        up = journal.backend_up(backend.name, _version(backend), monotonic() - self._began)
        self._append(up)

    def _on_failed(self, error: JournalError) -> None:
        """Nothing can be written any more; in the writer's thread."""
        log.error("%s", error)
        if self._fail:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._halt, error)

    def _halt(self, error: JournalError) -> None:
        def why(node: TaskFuture[Any]) -> JournalError:
            failure = JournalError(f"task {node.name!r} was ended: {error}")
            failure.__cause__ = error
            return failure

        halt(self._dispatcher, why)

    async def close(self, outcome: str) -> None:
        """Write that the run ended, and let go of the file."""
        if self._news is not None:
            self._news.cancel()
        now = monotonic() - self._began
        with suppress(JournalError):  # it could not be opened, or is closed
            for name in self._dispatcher.lanes:
                self._append(journal.backend_down(name, now))
            self._append(journal.run_ended(now, outcome))
            self.flush()
        await in_thread(self._writer.close)


def _written(node: TaskFuture[Any]) -> str:
    """The arguments of *node* as Python writes them, shortened."""
    words = map(_SHORT.repr, node.args)
    named = (f"{name}={_SHORT.repr(value)}" for name, value in node.kwargs.items())
    return ", ".join((*words, *named))[:TAIL]


def _error_record(error: BaseException, arguments: bool) -> ErrorRecord:
    """What the journal keeps of *error*; without *arguments* no command line, which has them."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    text = safe_message(error)
    try:
        trace = "".join(traceback.format_exception(error))
    except BaseException:  # foreign code
        trace = ""
    if not arguments:
        for failed in (error, error.__cause__):
            if isinstance(failed, ExecutableError):
                text, trace = _without_command(failed, text), _without_command(failed, trace)
    return ErrorRecord(name, text[: 2 * TAIL], cut_middle(trace, 2 * TAIL))


def _without_command(error: ExecutableError, text: str) -> str:
    """*text*, which tells of *error*, without the command, or the beginning of it, in it."""
    text = text.replace(f"{error.summary}: {error.command}", error.summary)
    return re.sub(f"({re.escape(error.summary)}): .*", r"\1", text)


def _version(backend: ExecutionBackend) -> str:
    """Version of the distribution that *backend*'s class comes from; "" if from none."""
    module = sys.modules.get(type(backend).__module__.partition(".")[0])
    return str(getattr(module, "__version__", ""))
