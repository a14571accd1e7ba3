"""The end of all work of an engine that is still up: nothing starts, nothing goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .._task.future import Ending, EndReason, TaskFuture
from ..model import TaskState
from .outcomes import Outcomes
from .run import Run

__all__ = ["halt"]

SUBMITTED, DONE = TaskState.SUBMITTED, TaskState.DONE

LAST_WORDS_S = 1.0
"""Seconds that a block has to end by itself when the tasks that it awaits were ended."""


def halt(run: Run, outcomes: Outcomes, why: Callable[[TaskFuture[Any]], BaseException]) -> None:
    """Fail every unfinished task, and every later one, with the error that *why* makes.

    What runs is ended as far as its backend can.  The bodies of blocks get to see how
    their members ended, before they are ended too.
    """
    scheduler = run.scheduler
    outcomes.halting = why

    def refuse(node: TaskFuture[Any]) -> bool:
        outcomes.resolve(scheduler.fail(node, why(node)))
        return True

    def end(*, blocks: bool) -> None:
        for node in map(_as_future, scheduler.unfinished()):
            if (
                node._stage < DONE
                and (node._lane is None) is blocks
                and not run.awaits_record(node)
            ):
                outcomes.end(node, Ending(EndReason.HALT))

    run.hold_back = refuse
    # From the youngest: no dependent then fails for the failure of a dependency.
    for node in map(_as_future, reversed(scheduler.unfinished())):
        if node._stage < SUBMITTED:
            refuse(node)
    end(blocks=False)
    run.loop.call_later(LAST_WORDS_S, lambda: end(blocks=True))


def _as_future(node: object) -> TaskFuture[Any]:
    return cast(TaskFuture[Any], node)
