"""Tasks in threads of this program: each thread that RHAPSODY gives us takes one after another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from radical.asyncflow.backend import ReportSink
from radical.asyncflow.errors import BackendLostError
from radical.asyncflow.worker import Execution, call, close_loop, guard

from ._desk import Desk, Held
from ._foreign import reason_of

__all__ = ["Runners"]


class Runners:
    """Has as many runners on RHAPSODY's backend as there are tasks to begin with.

    A runner is a function that RHAPSODY runs like any other.  It begins a waiting task, and then
    the next, until none waits.  So a short task costs no way through RHAPSODY, and a task counts
    as running when it really does.

    Args:
        hand_over: gives RHAPSODY tasks in its own form.
    """

    def __init__(
        self,
        desk: Desk,
        sink: ReportSink,
        hand_over: Callable[[list[dict[str, Any]]], None],
        *,
        token: str,
        grace: float,
    ) -> None:
        self._desk = desk
        self._sink = sink
        self._hand_over = hand_over
        self._token = token
        self._grace = grace
        self._lock = threading.Lock()
        self._count = 0
        self._unbegun: set[str] = set()
        self._holds_guard = False

    def fill(self) -> None:
        """Ask for a runner for each free place that a waiting task may have."""
        free = self._desk.reserve()
        if not free:
            return
        with self._lock:
            first, self._count = self._count, self._count + free
            names = [f"{self._token}-runner-{first + number}" for number in range(free)]
            self._unbegun.update(names)
        self._hand_over([{"uid": uid, "function": self._work, "args": (uid,)} for uid in names])

    def ended(self, uid: str, outcome: str, task: Any) -> None:
        """Note that RHAPSODY has ended the runner *uid*."""
        if uid not in self._unbegun:
            return
        # It never began, so there is nothing that would run the tasks that wait.
        why = reason_of(task, outcome)
        self._desk.lose(BackendLostError(f"RHAPSODY runs no functions any more: {why}"))

    def stop(self, running: list[Held]) -> None:
        """End the commands of *running*; functions were asked to stop."""
        for held in running:
            if held.execution is not None:
                held.execution.cancel()

    def close(self) -> None:
        """Release what was held; this may block."""
        with self._lock:
            if self._holds_guard:
                self._holds_guard = False
                guard().release()

    # Below this line: what happens in the threads.

    def _work(self, uid: str) -> None:
        with self._lock:
            self._unbegun.discard(uid)
        try:
            while (held := self._desk.take()) is not None:
                self._run(held)
        finally:
            close_loop()  # the thread is not ours, so nobody would close it later

    def _run(self, held: Held) -> None:
        request = held.request
        self._sink.running(*held.key, threading.current_thread().name)
        try:
            if request.command is not None:
                value = self._execute(held)
            else:
                context = Context() if request.context is None else request.context.copy()
                function = request.spec.function
                value = context.run(call, function, request.args, request.kwargs, held.context)
        except BaseException as error:
            # Also SystemExit and the like: a task ends no thread.  The engine judges it.
            self._desk.end(held, error=None if held.context.cancelled else error)
        else:
            self._desk.end(held, value, done=not held.context.cancelled)

    def _execute(self, held: Held) -> Any:
        with self._lock:
            if not self._holds_guard:
                guard().acquire()
                self._holds_guard = True
        spec, command = held.request.spec, held.request.command
        assert command is not None
        held.execution = Execution(
            command,  # type: ignore[arg-type]  # a backend without prompts gets none
            name=spec.name,
            work_dir=self._sink.work_dir,
            capture_stdio=spec.capture_stdio,
            grace=self._grace,
        )
        if held.context.cancelled:
            held.execution.cancel()
        return held.execution.run()
