"""Cancel what a cell of a notebook has started when the cell is interrupted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from threading import current_thread, get_ident, main_thread
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

if TYPE_CHECKING:
    from .._dispatch.dispatcher import Dispatcher
    from .._task.future import TaskFuture

__all__ = ["follow_cells"]

INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)
"""The errors of an interrupted cell; the second is that of one that awaits."""

WAKE_S = 0.2
"""Seconds after which the loop wakes while a cell runs.

A kernel notes an interrupt for its loop, but does not wake it: if all tasks of the cell run in
workers, nothing else may do so for hours.
"""


def follow_cells(dispatcher: Dispatcher) -> None:
    """Watch the cells of the notebook that this program is, if it is one.

    A cell that ends with KeyboardInterrupt or CancelledError, as by the notebook's button, has
    its unfinished tasks cancelled.  Those that blocks of earlier cells have called go on.
    """
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is not None:
        _Cells(shell, dispatcher)


class _Cells:
    """The cells of one notebook, as one engine sees them; it ends with the engine."""

    def __init__(self, shell: Any, dispatcher: Dispatcher) -> None:
        self._dispatcher = ref(dispatcher)
        self._events = shell.events
        self._loop = dispatcher.run.loop
        self._thread = get_ident()
        self._before = 0  # the number of the last task that an earlier cell has called
        self._alarm: asyncio.TimerHandle | None = None
        self._events.register("pre_run_cell", self._begin)
        self._events.register("post_run_cell", self._end)
        if current_thread() is main_thread():
            self._keep_awake()  # the cell that makes the engine runs already

    def _begin(self, _info: Any) -> None:
        if (dispatcher := self._engine()) is not None:
            self._in_loop(lambda: self._note(dispatcher.number))
            self._keep_awake()

    def _note(self, number: int) -> None:
        self._before = number

    def _keep_awake(self) -> None:
        if get_ident() == self._thread and not self._loop.is_closed():
            self._alarm = self._loop.call_later(WAKE_S, self._keep_awake)

    def _end(self, result: Any) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if (dispatcher := self._engine()) is None:
            return
        # Of a cell that was cancelled while it awaited, there is no result.
        if result is None or isinstance(result.error_in_exec, INTERRUPTS):
            self._in_loop(lambda: cancel_since(dispatcher, self._before))

    def _engine(self) -> Dispatcher | None:
        """Return the machinery of the engine, or stop watching if it is gone."""
        dispatcher = self._dispatcher()
        if dispatcher is not None and not dispatcher.run.closed and not self._loop.is_closed():
            return dispatcher
        self._events.unregister("pre_run_cell", self._begin)
        self._events.unregister("post_run_cell", self._end)
        return None

    def _in_loop(self, function: Callable[[], None]) -> None:
        if get_ident() == self._thread:
            function()
        else:
            self._loop.call_soon_threadsafe(function)


def cancel_since(dispatcher: Dispatcher, number: int) -> None:
    """Cancel the unfinished tasks after task *number*, but none that an earlier block called."""
    unfinished = cast("list[TaskFuture[Any]]", dispatcher.run.scheduler.unfinished())
    spared: set[int] = set()
    for future in sorted(unfinished, key=lambda future: future._number):
        if future._number > number and future._number not in spared:
            if not future.done():
                future.cancel()
        elif (extras := future._extras) is not None and extras.members is not None:
            spared.update(member._number for member in extras.members)
