"""Many executions in one thread.

A thread for each command is simple, but the threads of many short commands hand the
interpreter's lock to each other at every system call.  With 16 of them on many cores that takes
more time than all the rest.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from .._public import public
from ..model import ExecutableResult
from ._command import Execution
from ._exchange import SHORT_WAIT_MS, Exchange, Watch
from ._spawning import MustWaitError

__all__ = ["Attendant", "Leaving"]

_BULK_BYTES = 1024 * 1024  # of output, after which a command deserves a thread of its own


@public("radical.asyncflow.worker")
class Leaving(NamedTuple):
    """An execution that leaves its attendant.

    Attributes:
        step: returns its result, or raises as `Execution.run` does.
        blocks: whether *step* takes its time, so that it needs a thread of its own.
    """

    execution: Execution
    step: Callable[[], ExecutableResult]
    blocks: bool


@public("radical.asyncflow.worker")
class Attendant:
    """Starts executions and follows them, all in the thread that calls it.

    Most leave it when they are over.  Others leave it before, for a thread of their own: a
    command that is cancelled, that writes much, whose output others hold open, or for which
    the system has no room at the moment.
    """

    def __init__(self) -> None:
        """Make an attendant without executions.

        Raises:
            OSError: this system has not what it takes, or no descriptor is left.
        """
        if not (hasattr(os, "pidfd_open") and hasattr(os, "eventfd")):
            raise OSError("this system cannot poll for the end of a process")
        self._watch = Watch()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watch.add(self._bell, select.POLLIN, None)
        self._executions: dict[Exchange, Execution] = {}
        self._young: deque[tuple[float, Exchange]] = deque()  # when to watch for its end
        self._leaving: list[Leaving] = []

    def ring(self) -> None:
        """Have `attend` return; from any thread, until `close`."""
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Close what it polls with; the executions have left it before."""
        os.close(self._bell)

    def begin(self, execution: Execution) -> None:
        """Start *execution*; `attend` tells what becomes of it, even if it does not start."""
        try:
            result = execution.start(self._watch, self.ring)
        except MustWaitError:
            self._leaving.append(Leaving(execution, execution.run, True))
            return
        except BaseException as error:
            self._leaving.append(Leaving(execution, _raiser(error), False))
            return
        if result is not None:
            self._leaving.append(Leaving(execution, lambda: result, False))
            return
        exchange = execution.exchange
        assert exchange is not None
        self._executions[exchange] = execution
        if exchange.reads:
            self._young.append((time.monotonic() + SHORT_WAIT_MS / 1000, exchange))
        else:
            self._young.appendleft((0.0, exchange))

    def attend(self) -> list[Leaving]:
        """Wait for news, or until it was rung for; return the executions that leave."""
        executions = self._executions
        for descriptor, exchange in self._watch.wait(self._patience()):
            if exchange is None:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
                for other in [key for key, value in executions.items() if value.cancelled]:
                    self._give_up(other)
            elif exchange in executions:
                try:
                    exchange.take(descriptor)
                    self._judge(exchange)
                except Exception as fault:
                    self._give_up(exchange, fault)
        if self._young:
            now = time.monotonic()
            while self._young and self._young[0][0] <= now:
                _, exchange = self._young.popleft()
                if exchange in executions and not exchange.watch_end():
                    self._give_up(exchange)
        leaving, self._leaving = self._leaving, []
        return leaving

    def release(self) -> list[Leaving]:
        """Let all executions leave, and return them."""
        for exchange in list(self._executions):
            self._give_up(exchange)
        leaving, self._leaving = self._leaving, []
        return leaving

    def _patience(self) -> float | None:
        """Return the milliseconds until there is something to do without news."""
        if self._leaving:
            return 0
        young = self._young
        while young and young[0][1] not in self._executions:
            young.popleft()
        return max(0.0, young[0][0] - time.monotonic()) * 1000 if young else None

    def _judge(self, exchange: Exchange) -> None:
        """Let an execution leave, if it is over or needs a thread of its own."""
        if exchange.ended and not exchange.drain():
            self._give_up(exchange)
        elif exchange.is_over:
            execution = self._executions[exchange]
            if execution.cancelled:
                self._give_up(exchange)
            else:
                del self._executions[exchange]
                self._leaving.append(Leaving(execution, execution.collect, False))
        elif exchange.reads:
            if exchange.size > _BULK_BYTES:
                self._give_up(exchange)
        elif not exchange.watch_end():
            self._give_up(exchange)

    def _give_up(self, exchange: Exchange, fault: BaseException | None = None) -> None:
        execution = self._executions.pop(exchange)
        execution.leave(fault)
        self._leaving.append(Leaving(execution, execution.finish, True))


def _raiser(error: BaseException) -> Callable[[], ExecutableResult]:
    def step() -> ExecutableResult:
        raise error

    return step
