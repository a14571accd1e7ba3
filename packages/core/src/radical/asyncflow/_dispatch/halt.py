"""The end of all work of an engine that is still up: nothing starts, nothing goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .._task.future import TaskFuture
from ..model import TaskState

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["halt"]

SUBMITTED, DONE = TaskState.SUBMITTED, TaskState.DONE

LAST_WORDS = 1.0
"""Seconds that a block has to end by itself when the tasks that it awaits were ended."""


def halt(dispatcher: Dispatcher, why: Callable[[TaskFuture[Any]], BaseException]) -> None:
    """Fail every unfinished task, and every later one, with the error that *why* makes.

    What runs is ended as far as its backend can.  The bodies of blocks get to see how
    their members ended, before they are ended too.
    """
    outcomes = dispatcher.outcomes
    scheduler = dispatcher.scheduler
    outcomes.halting = why

    def refuse(node: TaskFuture[Any]) -> bool:
        outcomes.resolve(scheduler.fail(node, why(node)))
        return True

    def end(*, blocks: bool) -> None:
        for node in scheduler.unfinished():
            if (
                node.stage < DONE
                and (node.lane is None) is blocks
                and not _is_done(dispatcher, node)
            ):
                outcomes.end(cast(TaskFuture[Any], node), "halt")

    dispatcher.gates = (*dispatcher.gates[:1], refuse) if dispatcher.journal else (refuse,)
    # From the youngest: no dependent then fails for the failure of a dependency.
    for node in reversed(scheduler.unfinished()):
        if node.stage < SUBMITTED:
            refuse(cast(TaskFuture[Any], node))
    end(blocks=False)
    dispatcher.loop.call_later(LAST_WORDS, lambda: end(blocks=True))


def _is_done(dispatcher: Dispatcher, node: Any) -> bool:
    """Whether only its record is on the way: that result counts."""
    return bool(dispatcher.journal is not None and node.entry.waiting)
