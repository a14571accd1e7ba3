"""End all work of an engine that stays up: nothing more starts, and what runs is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .._task.future import Ending, EndReason, TaskFuture
from ..model import TaskState
from .outcomes import Outcomes
from .run import Run

__all__ = ["halt"]

SUBMITTED, DONE = TaskState.SUBMITTED, TaskState.DONE

BLOCK_GRACE_S = 1.0
"""Seconds that a block has to end by itself after the tasks that it awaits were ended."""


def halt(
    run: Run, outcomes: Outcomes, make_error: Callable[[TaskFuture[Any]], BaseException]
) -> None:
    """Fail every unfinished task, and every later one, with the error that *make_error* makes.

    The backends end what runs, as far as they can.  The body of a block first sees how the
    tasks that it called ended, and is ended after them.
    """
    scheduler = run.scheduler
    outcomes.make_halt_error = make_error

    def refuse(node: TaskFuture[Any]) -> bool:
        outcomes.resolve(scheduler.fail(node, make_error(node)))
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
    # The youngest first: otherwise a dependent would fail because its dependency failed.
    for node in map(_as_future, reversed(scheduler.unfinished())):
        if node._stage < SUBMITTED:
            refuse(node)
    end(blocks=False)
    run.loop.call_later(BLOCK_GRACE_S, lambda: end(blocks=True))


def _as_future(node: object) -> TaskFuture[Any]:
    return cast(TaskFuture[Any], node)
