"""Write the journal of an engine, and decide when a result counts.

A result counts once it is in the file.  The future of a task is resolved only then, so a
result that user code has seen is never computed again, however the program ends.  A thread
writes the file, and also pickles every value that is not plain.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from .._dispatch.background import Background
from .._dispatch.halt import halt
from .._dispatch.outbox import Outbox
from .._dispatch.outcomes import Outcomes
from .._dispatch.run import Run
from .._task.future import Activity, RemoteTaskFuture, TaskFuture, extras_of
from .._task.scope import SCOPE
from .._text import error_line, mask_secrets, safe_repr, safe_str
from ..aside import in_thread
from ..backend import RemoteValue, Serving
from ..errors import JournalError
from ..journal import Journal, _format
from ..journal._process import Process
from ..journal._writer import JournalWriter, Record
from ..model import Command, ExecutableResult, TaskKind, TaskState
from .arguments import arguments_text, short_arguments
from .bodies import Bodies
from .entry import Entry
from .environment import Surroundings
from .files import describe
from .identity import Descriptions
from .lines import (
    called_line,
    done_line,
    ended_line,
    error_record,
    reused_line,
    service_line,
    started_line,
)
from .outside import (
    Fact,
    Unread,
    declared,
    ended,
    noted,
    paths_in,
    state_of,
    thing,
    unknowable,
    with_outputs,
)
from .recall import Recall
from .running_output import RunningOutput
from .standstill import Standstill
from .words import named_by

if TYPE_CHECKING:
    from .._display.census import Counts
    from ..backend import ExecutionBackend
    from ..backend._lane import Lane

__all__ = ["Recorder"]

log = logging.getLogger("radical.asyncflow")

DONE, FAILED = TaskState.DONE, TaskState.FAILED

RUNNING_INTERVAL_S = 0.1
"""Seconds after which the journal says again which tasks run, if others began meanwhile."""

CALLS_A_LINE = 1000
"""The most calls that one line holds."""

_Pending = tuple[int, TaskFuture[Any], Entry, Any, "Counts | None"]


class Recorder:
    """The writer of one run's journal, which also reuses the results of earlier runs.

    It is the `Journaling` of its `Run`; the methods are described there.
    """

    def __init__(
        self,
        run: Run,
        background: Background,
        outcomes: Outcomes,
        outbox: Outbox,
        settings: Journal,
    ) -> None:
        self._run = run
        self._background = background
        self._outcomes = outcomes
        self._writer = writer = JournalWriter(settings, run=run.uid)
        self._arguments = settings.arguments is True
        self._failed_arguments = settings.arguments == "failed"
        self._masks_secrets = settings.mask_secrets
        self._keeps_output = settings.output
        self._keeps_usage = settings.usage
        self._fail = settings.on_error == "fail"
        self._began = monotonic()
        self._descriptions = descriptions = Descriptions(settings.ignore_versions)
        self._bodies = bodies = Bodies(self._append, descriptions)
        self._recall = Recall(run, background, outbox, writer, bodies, descriptions, self._reuse)
        self._buffer: list[Record] = []
        self._batches = 0
        self._pending: deque[_Pending] = deque()
        self._written = 0
        self._settling = False
        self._called: list[TaskFuture[Any]] = []
        self._running: dict[int, TaskFuture[Any]] = {}
        self._running_written: set[int] = set()
        self._running_timer: asyncio.TimerHandle | None = None
        self._says_running = False
        self._standstill = Standstill(run, background, writer.path)
        self._output = RunningOutput(
            run, background, writer.path, self._running, self.seconds_running
        )
        self._surroundings = Surroundings(run.loop, self._note_environment)
        writer.on_written = self._on_written
        writer.on_failed = self._on_failed

    @property
    def path(self) -> str:
        """The file of the journal."""
        return self._writer.path

    # ------------------------------------------------------------- on its way

    def added(self, node: TaskFuture[Any], dependencies: list[TaskFuture[Any]] | None) -> None:
        """Note that *node* was called."""
        # The record of a function stands in the file before that of its first task.
        body = self._bodies.register_body(node._spec)
        after = () if dependencies is None else tuple([other._number for other in dependencies])
        scope = SCOPE.get()
        block = None
        if scope is not None and scope.run is self._run:
            block = scope.block
        scope_key = "" if block is None else block._entry.inner_scope
        node._entry = entry = Entry(body, monotonic() - self._began, after, scope_key)
        if block is not None:
            entry.block = block._number
        if self._arguments:
            entry.arguments = arguments_text(node)
        self._called.append(node)

    def look_up(self, node: TaskFuture[Any]) -> bool:
        """Look up an earlier result of *node*, which is ready.

        Returns:
            True if *node* is not to be sent, or not yet: an earlier result stands for it, or a
            thread has to look for one.
        """
        entry: Entry = node._entry
        if entry.ready is None:
            entry.ready = monotonic() - self._began
        try:
            return not entry.known and self._recall.look_up(node, entry)
        except KeyboardInterrupt:
            raise  # somebody wants the program to end
        except BaseException as error:  # raised by a class among the arguments: the task runs
            entry.known = True
            entry.why = safe_str(error)
            log.warning(
                "task %s %r could not be identified, so it runs", node.id, node.name, exc_info=True
            )
            return False

    def look_again(self) -> None:
        """Compare what functions reach with how it was described, once until the next call."""
        self._descriptions.look_again()

    async def note_command(self, node: TaskFuture[Any], command: Command) -> None:
        """Note the files and programs that *command*, the command of *node*, names."""
        entry: Entry = node._entry
        if entry.key is None:
            return  # its result is not kept
        extras = node._extras
        declares_files = extras is not None and extras.files is not None
        with suppress(OSError):  # the current folder was deleted
            if command.cwd == os.getcwd():  # noqa: PTH109
                # Relative names stay so, because the program may be moved together with its files.
                command = dataclasses.replace(command, cwd=None)
        try:
            named = named_by(command, self._run.folder(node) if declares_files else None)
            if container := node._spec.container:
                # Its programs are those of the image.
                named = [(kind, name) for kind, name in named if kind != "program"]
                if container.is_path:
                    named.append(("image", container.image))
            try:
                entry.named = noted(named, read=False)
            except Unread:
                entry.named = await in_thread(noted, named)
        except OSError as error:  # such as a current folder that was deleted
            entry.key = None
            entry.why = f"what its command names cannot be found: {safe_str(error)}"

    def sending(self, lanes: Iterable[Lane]) -> None:
        """Write which tasks are in the batches of *lanes*, before these are submitted.

        If one of those tasks ends the whole program, its record then says so.
        """
        self._append_called()
        now = monotonic() - self._began
        self._buffer += [
            partial(_format.tasks_sent, lane.name, [request[0] for request in lane.batch], now)
            for lane in lanes
        ]
        self.flush()

    def _append_called(self) -> None:
        """Append the tasks that were called since the last time, but for those that ended."""
        if not self._called:
            return
        called = [node for node in self._called if node._stage < DONE]
        self._called = []
        self._buffer += [
            partial(called_line, called[first : first + CALLS_A_LINE])
            for first in range(0, len(called), CALLS_A_LINE)
        ]

    def started(self, node: TaskFuture[Any], worker: str | None, when: float | None) -> None:
        """Note that *worker* began with *node*."""
        entry: Entry = node._entry
        entry.started = self._seconds_of_run(when)
        entry.worker = worker
        if node._lane is not None:
            entry.backend = node._lane.name
        self._running[node._number] = node
        if self._running_timer is None:
            # The first start is written in this turn, and those that follow it when the timer
            # ends: so short tasks neither wake the loop nor fill the file.
            self._says_running = True
            self._run.want_next_running(False)
            self._running_timer = self._run.loop.call_later(
                RUNNING_INTERVAL_S, self._look_at_running
            )

    def seconds_running(self, node: TaskFuture[Any]) -> float | None:
        """Return the seconds for which *node* runs; None if that is not known."""
        started: float | None = node._entry.started
        return None if started is None else monotonic() - self._began - started

    def correct_start(self, node: TaskFuture[Any], when: float) -> None:
        """Note that *node*, which runs, began at *when*."""
        node._entry.started = self._seconds_of_run(when)

    def _look_at_running(self) -> None:
        self._running_timer = None
        self._says_running = True
        self._run.want_next_running(True)
        self._run.wake()

    def _append_running(self) -> None:
        """Append a line for each task that runs, once for each attempt."""
        self._says_running = False
        for number, node in self._running.items():
            if number not in self._running_written:
                self._running_written.add(number)
                self._buffer.append(started_line(node))
                if node._spec.kind is TaskKind.EXECUTABLE:
                    self._output.begin()

    # -------------------------------------------------------------------- ends

    def record_result(self, node: TaskFuture[Any], value: Any, when: float | None) -> bool:
        """Record that *node* is done with *value*.

        Returns:
            True if the future must wait until that is written, or until the value was fetched.
        """
        if isinstance(node, RemoteTaskFuture) and isinstance(value, RemoteValue):
            ended_at = monotonic() if when is None else when
            self._background.work_for(node, Activity.FETCH, self._fetch(node, value, ended_at))
            return True
        entry: Entry = node._entry
        lane = node._call.lane
        ended = self._seconds_of_run(when)
        self._remove_running(node)
        if node._spec.service and node._spec.kind is TaskKind.EXECUTABLE:
            self._output.add_service(node)
        if entry.key is not None and not self._held(entry):
            entry.key = None
        if entry.key is None or (lane is not None and not lane.executes):
            self._append(ended_line(node, DONE, ended))
            return False
        extras = node._extras
        outputs = {} if extras is None or extras.outputs is None else extras.outputs
        if outputs or entry.facts or entry.named or node._spec.capture_stdio:
            scalar = None
        else:
            scalar = _format.scalar(value)
        if scalar is not None:
            entry.stored = True
            number = self._append(done_line(node, entry, ended, scalar))
        else:
            number = self._append(self._line_with_result(node, value, ended, outputs))
        if extras is not None:
            extras.stop_timer()
        entry.waiting = True
        self._pending.append((number, node, entry, value, self._run.observers.writing(node)))
        return True

    def _held(self, entry: Entry) -> bool:
        """Tell whether what the task of *entry* reaches is as it was when it was sent.

        If not, nobody can say which of it the result is made from, so it is not kept.
        """
        changed = self._bodies.changed(entry.body)
        if changed is not None:
            entry.why = f"its result is not kept, because {changed} while it ran"
        return changed is None

    async def _fetch(self, node: RemoteTaskFuture[Any], remote: RemoteValue, when: float) -> None:
        """Fetch the value of *node* for the journal; it also stays where it is, for tasks there."""
        try:
            value = await remote.fetch()
        except Exception as error:
            remote.release()
            await self._outcomes.value_lost(node, error, when)
            return
        extras_of(node).work = None
        node._remote = remote
        node._wanted = True  # it was fetched
        self._outcomes.complete(node, value, when)

    def _line_with_result(
        self, node: TaskFuture[Any], value: Any, ended: float, outputs: Mapping[str, Path]
    ) -> Record:
        """Return the function that makes the line of *node* in the writer's thread.

        There it may take its time.
        """
        entry: Entry = node._entry

        def line() -> bytes:
            files: Sequence[Any] = ()
            facts: tuple[Fact, ...] = ()
            try:
                files = describe(outputs)
                facts, against = self._facts_of(node, entry, value)
                if against is None:
                    result = self._writer.store(value)
                else:
                    entry.key = None
                    entry.why = f"its result is not kept, because {against}"
                    return ended_line(node, DONE, ended)
            except BaseException as error:
                result = _format.unstored(safe_str(error))
            entry.facts = with_outputs(facts, files)
            entry.stored = not result.startswith('"unstored"')
            return ended_line(node, DONE, ended, result=result, files=files, facts=facts)

        return line

    def _facts_of(
        self, node: TaskFuture[Any], entry: Entry, value: Any
    ) -> tuple[tuple[Fact, ...], str | None]:
        """Return what *value*, the result of *node*, depends on outside, and what speaks against.

        This reads files.
        """
        facts = entry.facts
        if node._spec.uses:
            now = declared(node._spec.uses, self._descriptions.content)
            for before, after in zip(facts, now, strict=False):  # an input's fact may follow
                if before != after:
                    return (), f"{thing(before)} changed while it ran"
        named, against = ended(entry.named)
        paths = [str(value)] if node._spec.capture_stdio else paths_in(value)
        facts = (
            *facts,
            *named,
            *(Fact("result", path, state_of("result", path)) for path in paths),
        )
        return facts, against or unknowable(facts)

    def _on_written(self, number: int) -> None:
        """Settle what was appended up to batch *number*, because it is in the file.

        Any thread may call this.
        """
        self._written = number
        if self._pending and not self._settling:
            self._settling = True
            try:
                self._run.loop.call_soon_threadsafe(self._settle)
            except RuntimeError:
                log.debug("a result was written after the event loop was closed")

    def _settle(self) -> None:
        self._settling = False
        written = self._written
        pending = self._pending
        outcomes = self._outcomes
        while pending and pending[0][0] <= written:
            _, node, entry, value, counts = pending.popleft()
            entry.waiting = False
            if counts is not None:
                self._run.observers.written(counts)
            if node._stage < DONE:
                outcomes.guard(node, outcomes.settle, node, value)
        self._run.wake()

    def attempt_failed(
        self, node: TaskFuture[Any], error: BaseException, when: float | None
    ) -> None:
        """Note that an attempt of *node* failed and that a retry follows."""
        entry: Entry = node._entry
        attempt = node._attempt
        started, ended = entry.started, self._seconds_of_run(when)
        worker, backend = entry.worker, entry.backend
        function = entry.body.number
        arguments = self._arguments
        trace = entry.trace
        self._remove_running(node)
        entry.started = entry.worker = entry.trace = None
        entry.backend = ""

        def line() -> bytes:
            return _format.attempt_failed(
                node._number,
                function,
                started,
                ended,
                error_record(error, arguments=arguments),
                attempt=attempt,
                backend=backend,
                worker=worker,
                trace=trace,
            )

        self._append(line)

    def keep_arguments(self, node: TaskFuture[Any]) -> None:
        """Keep the arguments of *node*, which is about to fail for good, as short text."""
        if self._failed_arguments:
            text = short_arguments(node, masks_secrets=self._masks_secrets)
            node._entry.arguments = text or None

    def ended(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        error: BaseException | None,
        when: float | None,
    ) -> None:
        """Note that *node* failed for good or was cancelled."""
        # If a dependency failed, *node* may have been called after that failure.
        time = max(self._seconds_of_run(when), node._entry.added)
        arguments = self._arguments
        self._remove_running(node)

        def line() -> bytes:
            record = None if error is None else error_record(error, arguments=arguments)
            return ended_line(node, state, time, error=record)

        self._append(line)

    def service_ended(
        self,
        node: TaskFuture[Any],
        serving: Serving,
        result: ExecutableResult | None,
        when: float | None,
    ) -> None:
        """Note that the service ended which *node* had brought up."""
        time = self._seconds_of_run(when)
        self._output.remove_service(node)
        self._append(partial(service_line, node, time, serving, result))

    def _reuse(self, node: TaskFuture[Any], task: str, value: Any, stderr: str) -> None:
        """Give *node* the *value* of *task*, ``"RUN/NUMBER"``."""
        entry: Entry = node._entry
        entry.reused = task
        if node._spec.kind is TaskKind.EXECUTABLE:
            # With Command(result=...) the value is a path, and what was printed is not kept.
            text = value if isinstance(value, str) else ""
            extras_of(node).result = ExecutableResult(0, text, stderr)
        self._append(reused_line(node, entry, monotonic() - self._began))
        self._run.scheduler.submitted(node)
        self._outcomes.settle(node, value)

    # ------------------------------------------------------------------- lines

    def _seconds_of_run(self, when: float | None) -> float:
        """Return *when* (None stands for now) in seconds since the run began."""
        return (monotonic() if when is None else when) - self._began

    def _remove_running(self, node: TaskFuture[Any]) -> None:
        if self._running.pop(node._number, None) is not None:
            self._running_written.discard(node._number)

    def _append(self, record: Record) -> int:
        """Append *record* to the batch of this turn, and return the number of the batch."""
        buffer = self._buffer
        buffer.append(record)
        if len(buffer) == 1:
            self._run.wake()
        return self._batches + 1

    def flush(self) -> None:
        """Hand what was appended in this turn to the writer."""
        if self._called:
            self._append_called()
        if self._says_running:
            self._append_running()
        if self._buffer:
            buffer, self._buffer = self._buffer, []
            self._batches = self._writer.append(buffer)

    # ----------------------------------------------------------------- the run

    async def open(self) -> None:
        """Open the file, and write that the run began.

        Raises:
            JournalError: the journal cannot be used.
        """
        await in_thread(self._writer.open)
        self._began = monotonic()
        self._run.observers.keep_time()
        self._run.want_next_running(True)
        self._run.keep_traces(output=self._keeps_output, usage=self._keeps_usage)
        python = ".".join(map(str, sys.version_info[:3]))
        uid = self._run.uid
        # What a program puts there may be no text, and an embedded one may have no arguments.
        words = getattr(sys, "argv", ())
        program = self._words(words)
        process = Process.own()
        line = _format.run_begun(
            uid,
            time(),
            process.host,
            process.pid,
            python,
            program,
            process=process,
            clock=self._began,
        )
        self._append(line)
        self._standstill.begin()
        self._surroundings.begin(self._words(getattr(sys, "orig_argv", ())))

    def _note_environment(self, environment: Mapping[str, Any]) -> None:
        self._append(_format.run_environment(environment))

    def _words(self, words: Iterable[object]) -> list[str]:
        """Return the *words* of a command line as they are recorded."""
        texts = [
            os.fsdecode(word) if isinstance(word, str | bytes | os.PathLike) else safe_repr(word)
            for word in words
        ]
        return mask_secrets(texts) if self._masks_secrets else texts

    def backend_up(self, backend: ExecutionBackend) -> None:
        """Write that *backend* started."""
        up = _format.backend_up(backend.name, _version(backend), monotonic() - self._began)
        self._append(up)

    def backend_lost(self, name: str, error: BaseException, moved: int) -> None:
        """Write that the backend *name* was lost, and how many of its tasks go on elsewhere."""
        now = monotonic() - self._began
        self._append(_format.backend_down(name, now, lost=error_line(error), moved=moved))

    def _on_failed(self, error: JournalError) -> None:
        """Log that nothing can be written any more, and halt the run if the settings say so.

        The writer's thread calls this.
        """
        log.error("%s", error)
        if self._fail:
            with suppress(RuntimeError):  # the loop was closed
                self._run.loop.call_soon_threadsafe(self._halt, error)

    def _halt(self, error: JournalError) -> None:
        def make_error(node: TaskFuture[Any]) -> JournalError:
            failure = JournalError(f"task {node.name!r} was ended: {error}")
            failure.__cause__ = error
            return failure

        halt(self._run, self._outcomes, make_error)

    async def close(self, outcome: str) -> None:
        """Write that the run ended, and close the file."""
        if self._running_timer is not None:
            self._running_timer.cancel()
        await self._standstill.end()
        await self._output.end()
        await self._surroundings.end()
        now = monotonic() - self._began
        with suppress(JournalError):  # the journal could not be opened, or is closed
            for name, lane in self._run.lanes.items():
                if lane.lost is None:
                    self._append(_format.backend_down(name, now))
            self._append(_format.run_ended(now, outcome))
            self.flush()
        await in_thread(self._writer.close)


def _version(backend: ExecutionBackend) -> str:
    """Return the version of the package that has the class of *backend*; "" if it has none."""
    module = sys.modules.get(type(backend).__module__.partition(".")[0])
    return str(getattr(module, "__version__", ""))
