"""One process with a backend in it, and the tasks that it has, as the program sees them."""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from ...errors import BackendError, BackendLostError, BackendStartError
from ...model import TaskKind, TaskState
from ...worker import (
    Buffer,
    SupervisedProcess,
    dump,
    explain_death,
    file_stem,
    guard,
    import_path,
)
from ...worker._supervised import sent_path
from .._contract import AnyReport, Capabilities, ReportSink, TaskId, TaskRequest
from . import requests
from .guest import Beginning, Started
from .marks import Marks, make_file
from .reports import ENDED, REPORTS, STARTED, Kind, News, load_news
from .requests import RequestWriter, dump_numbers

__all__ = ["Outside"]

_log = logging.getLogger("radical.asyncflow")

_ANSWER_S = 2.0  # that the loop waits for an answer of the process; mostly it takes 0.2 ms

_ENTRY = "radical.asyncflow.backend._outside.guest:main"
_STATES = {
    Kind.RUNNING: TaskState.RUNNING,
    Kind.DONE: TaskState.DONE,
    Kind.FAILED: TaskState.FAILED,
    Kind.CANCELLED: TaskState.CANCELLED,
    Kind.REJECTED: TaskState.FAILED,
}


class Outside:
    """The process of one backend; any thread may call any method.

    Attributes:
        capacity: what the backend there said last.
    """

    def __init__(
        self,
        name: str,
        sink: ReportSink,
        *,
        unbegun: Callable[[Collection[TaskId]], Collection[TaskId]],
        capabilities: Capabilities,
    ) -> None:
        """Start nothing yet.

        Args:
            name: that of the backend.
            unbegun: asked after a loss which of the tasks that no report had begun have not.
            capabilities: those that the backend declares before its start.
        """
        self.capacity: int | None = None
        self._name = name
        self._sink = sink
        self._unbegun = unbegun
        self._capabilities = capabilities
        self._writer = RequestWriter()
        self._python: str | None = None
        self._path = import_path()
        self._watched = sink.watched
        self._process: SupervisedProcess | None = None
        self._marks: Marks | None = None
        self._covered = 0  # the marks that reports have told of
        self._started: Future[Started] = Future()
        self._changed = threading.Condition()
        self._held: dict[TaskId, int] = {}  # the attempts that have no terminal report
        self._begun: set[TaskId] = set()
        self._serving: set[TaskId] = set()  # services that are up
        self._lost: BackendError | None = None
        self._is_cancelled = False  # nobody waits for the tasks any more
        self._has_said_end = False
        self._has_ended = False
        self._questions = count(1)
        self._answers: dict[int, Future[Any]] = {}
        self._asks_capacity = False
        self._is_late = False  # the last answer did not come in time, so nobody waits for the next

    # ------------------------------------------------------------------------- the start

    def start(self, guest: str, settings: Any, *, python: str | None, limit_s: float) -> Started:
        """Start the process and the backend in it; return what that says of itself.

        Raises:
            BackendStartError: it does not come up; or whatever else the backend there raised.
        """
        self._python = python
        where = python or sys.executable
        name = f"backend {self._name!r}"
        package = guest.partition(":")[0].partition(".")[0]
        try:
            sent = b"" if settings is None else dump(settings)
        except Exception as error:  # whatever a value's own methods raise
            raise BackendStartError(f"{name}: its settings cannot be sent: {error}") from error
        beginning = Beginning(
            guest,
            sent,
            self._name,
            package,
            str(getattr(sys.modules.get(package), "__version__", "")),
            self._sink.uid,
            str(self._sink.work_dir()),
            self._sink.keeps_output,
            self._sink.keeps_usage,
            self._watched,
        )
        process = self._start_process(python, Path(beginning.work_dir))
        greeting = process.wait_for_greeting(limit_s)
        if greeting is None:
            if not process.has_ended:
                raise BackendStartError(f"{name}: {where} has said nothing within {limit_s:g} s")
            raise BackendStartError(f"{name}: {where} is no Python, or ended at once")
        functions = TaskKind.FUNCTION in self._capabilities.kinds
        if problem := greeting.problem(where, same_python=functions):
            raise BackendStartError(f"{name}: {problem}")
        process.send([requests.START, pickle.dumps(tuple(beginning))])
        try:
            started = self._started.result(limit_s)
        except TimeoutError:
            raise BackendStartError(f"{name} was not up within {limit_s:g} s") from None
        self.capacity = started.capacity
        return started

    def _start_process(self, python: str | None, folder: Path) -> SupervisedProcess:
        token = secrets.token_hex(16)
        log = folder / f"{file_stem(self._name)}.{token[:6]}.log"
        descriptor = make_file()
        try:
            self._marks = Marks(descriptor)
            guard().acquire()
            self._process = SupervisedProcess(
                _ENTRY,
                [descriptor],
                log=log,
                token=token,
                on_messages=self._take_messages,
                on_end=self._end,
                python=python,
                inherited=[descriptor],
            )
        except OSError as error:
            log.unlink(missing_ok=True)
            raise BackendStartError(
                f"backend {self._name!r}: no process of {python or sys.executable} can be "
                f"started: {error}"
            ) from error
        finally:
            os.close(descriptor)
        return self._process

    def last_words(self) -> str:
        """Return the end of what the process printed, for the text of an error."""
        words = "" if self._process is None else self._process.last_words()
        return f"\nthe last lines that its process printed:\n{words}" if words else ""

    # ------------------------------------------------------------------- from the engine

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Send the tasks of *batch*.

        Raises:
            BackendLostError: the process is lost.
        """
        process = self._process
        assert process is not None
        before: list[list[Buffer]] = []
        path = import_path()
        if path != self._path:
            self._path = path
            sent = sent_path(same=self._python is None)
            before.append([requests.PATH, pickle.dumps((sent, self._python is None))])
        if self._sink.watched != self._watched:
            self._watched = not self._watched
            before.append([requests.WATCH, dump_numbers([self._watched])])
        messages, failed = self._writer.write(batch)
        refused = {(request.task_id, request.attempt) for request, _ in failed}
        with self._changed:
            if self._lost is not None:
                raise BackendLostError(str(self._lost)) from self._lost
            for request in batch:
                self._held[request.task_id] = request.attempt
            for task_id, _ in refused:
                del self._held[task_id]
        process.send(*before, *messages)
        for request, error in failed:
            self._sink.failed(request.task_id, request.attempt, error)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Cancel tasks; wait a moment, so that those that had not begun are reported."""
        held = [int(task_id) for task_id in task_ids if task_id in self._held]
        if held:
            self._ask(requests.CANCEL, held)

    def waits(self, task_ids: Collection[TaskId]) -> Any:
        """Return what the backend there says that the tasks wait for."""
        held = [int(task_id) for task_id in task_ids if task_id in self._held]
        return (self._ask(requests.ASK_WAITS, held) if held else None) or {}

    def ask_capacity(self) -> None:
        """Have the backend there say its capacity, for the next who asks."""
        with self._changed:
            if self._asks_capacity or self._has_ended:
                return
            self._asks_capacity = True
            number, answer = self._new_question()

        def take(answered: Future[Any]) -> None:
            self._asks_capacity = False
            if not answered.cancelled():
                self.capacity = answered.result()

        answer.add_done_callback(take)
        assert self._process is not None
        self._process.send([requests.ASK_CAPACITY, dump_numbers([number])])

    def _ask(self, what: bytes, task_ids: Sequence[TaskId]) -> Any:
        """Return the answer of the process; None if it gives none in time."""
        assert self._process is not None
        with self._changed:
            if self._has_ended:
                return None
            number, answer = self._new_question()
        self._process.send([what, dump_numbers([number, *task_ids])])
        if self._is_late and not answer.done():
            return None
        try:
            return answer.result(_ANSWER_S)
        except (TimeoutError, CancelledError):  # late, or lost
            self._is_late = True
            return None

    def _new_question(self) -> tuple[int, Future[Any]]:
        number = next(self._questions)
        answer: Future[Any] = Future()
        self._answers[number] = answer
        return number, answer

    # --------------------------------------------------- from the process, in its thread

    def _take_messages(self, messages: list[list[bytearray]]) -> None:
        for message in messages:
            what = bytes(message[0])
            if what == REPORTS:
                self._covered, news = load_news(message)
                self._take_news(news)
            elif what == ENDED:
                self._has_said_end = True
            elif not self._started.done():
                content = pickle.loads(message[1])
                if what == STARTED:
                    self._started.set_result(Started(*content))
                else:
                    self._started.set_exception(content.rebuild())

    def _take_news(self, news: Sequence[News]) -> None:
        """Hand the reports on, many at a time, and in their order with all else."""
        reports: list[AnyReport] = []
        held, begun = self._held, self._begun
        for task_id, attempt, kind, value, time in news:
            if kind == Kind.RUNNING:
                if held.get(task_id) == attempt:
                    begun.add(task_id)
            elif kind > Kind.REJECTED:
                if reports:
                    self._sink.report(reports)
                    reports = []
                self._take_other(task_id, attempt, kind, value)
                continue
            elif held.get(task_id) == attempt:
                del held[task_id]
                begun.discard(task_id)
            elif kind == Kind.REJECTED:
                continue  # it has a terminal report
            reports.append((task_id, attempt, _STATES[kind], value, time))
        if reports:
            self._sink.report(reports)
        if not held or self._serving:
            with self._changed:
                self._serving.intersection_update(held)
                self._changed.notify_all()

    def _take_other(self, task_id: TaskId, attempt: int, kind: int, value: Any) -> None:
        """Take what is no report."""
        if kind == Kind.ANSWERED:
            answer = self._answers.pop(task_id, None)
            if answer is not None:
                self._is_late = False
                answer.set_result(value)
        elif kind == Kind.SERVING:
            self._begun.add(task_id)
            if value.info is not None:
                self._serving.add(task_id)
            self._sink.serving(task_id, attempt, value)
        elif kind == Kind.OUTPUT:
            self._sink.output(task_id, attempt, *value)
        elif kind == Kind.TRACED:
            self._sink.traced(task_id, attempt, value)
        else:
            error, unbegun = value
            self._lose(error, unbegun)

    def _end(self, code: int | None) -> None:
        """Take note that the process has ended, and that nothing is left of it."""
        with self._changed:
            self._has_ended = True
            answers = list(self._answers.values())
            self._answers.clear()
        for answer in answers:
            answer.cancel()
        process = self._process
        if not self._has_said_end and not self._is_cancelled:
            death = explain_death(None if process is None else process.pid, code)
            how = "" if code is None else f" with exit code {code}"
            if code is not None and code < 0:
                how = f" by signal {-code}"
            evidence = f" ({death.evidence})" if death.evidence else ""
            text = f"the process of backend {self._name!r} ended{how}{evidence}"
            text += self.last_words()
            with suppress(InvalidStateError):
                self._started.set_exception(BackendStartError(text))
            self._lose(BackendLostError(text), self._find_unbegun())
        with self._changed:
            self._changed.notify_all()

    def _find_unbegun(self) -> Collection[TaskId]:
        """Return the ids of the tasks that have not begun in the process, which has ended."""
        marked = set() if self._marks is None else self._marks.since(self._covered)
        may_have = self._begun | marked
        unbegun = [task_id for task_id in list(self._held) if task_id not in may_have]
        try:
            return list(self._unbegun(unbegun))
        except Exception:  # foreign code; without its answer any of them may have begun
            _log.exception("backend %r raised in unbegun()", self._name)
            return ()

    def _lose(self, error: BaseException, unbegun: Collection[TaskId]) -> None:
        """Report that the backend is gone, unless that is known or wanted."""
        if not isinstance(error, BackendError):
            lost = BackendLostError(f"backend {self._name!r} was lost: {error}")
            lost.__cause__ = error
            error = lost
        with self._changed:
            if self._lost is not None or self._is_cancelled or not self._started.done():
                return
            self._lost = error
            # With the lock, so that `submit` refuses whatever this does not tell of.
            self._sink.lost(error, unbegun)
            self._held.clear()
            self._begun.clear()
            self._serving.clear()
            self._changed.notify_all()

    # --------------------------------------------------------------------------- the end

    def cancel_all(self) -> None:
        """Have everything end, and let nobody wait for a task."""
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()
        if self._process is not None:
            self._process.send([requests.SHUT_DOWN, dump_numbers([1])])

    def finish(self, *, limit_s: float, keeps_log: bool) -> None:
        """End the process when its tasks are finished or cancelled, and leave nothing behind.

        Args:
            limit_s: how long the process may take when there is no task to finish.
            keeps_log: keep what it printed, also if it ended well.
        """
        process = self._process
        if process is not None:
            process.send([requests.SHUT_DOWN, dump_numbers([self._is_cancelled])])
            with self._changed:
                self._changed.wait_for(self._has_nothing_to_finish)
            process.wait(limit_s)
            self._is_cancelled = True  # if it goes on, its end is no loss
            process.kill()
        self._close(keeps_log=keeps_log or self._lost is not None)
        with self._changed:
            rest = list(self._held.items())
            self._held.clear()
        if rest:
            self._sink.report([(*key, TaskState.CANCELLED, None, None) for key in rest])

    def stop_start(self) -> None:
        """Have a start that goes on fail, soon."""
        self._is_cancelled = True
        with suppress(InvalidStateError):
            self._started.set_exception(BackendStartError("it was shut down before it was up"))
        if self._process is not None:
            self._process.kill()

    def abandon(self) -> None:
        """Undo a start that has failed."""
        self.stop_start()  # nobody else may have done so
        self._close(keeps_log=False)

    def _has_nothing_to_finish(self) -> bool:
        # A service that is up never finishes by itself.
        return self._is_cancelled or self._has_ended or len(self._held) <= len(self._serving)

    def _close(self, *, keeps_log: bool) -> None:
        marks, self._marks = self._marks, None
        if marks is not None:
            marks.close()
            guard().release()
        if self._process is not None and not keeps_log:
            self._process.log.unlink(missing_ok=True)
