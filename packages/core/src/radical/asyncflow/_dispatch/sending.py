"""Send what is ready: every plain task passes here, so this path is hot.

A closure binds once what stays the same while an engine lives.  The tasks of a chain pass
here one at a time; to look these things up for each of them would cost as much as the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .._graph.arguments import FLAT, NESTED
from .._task.future import NO_KWARGS, TaskFuture
from ..backend import TaskRequest
from ..model import TaskState
from .chains import send_behind
from .outbox import Outbox
from .outcomes import Outcomes
from .preparation import Preparation
from .run import Run
from .values import UnfinishedArguments, substitute_flat

__all__ = ["sender"]

READY, SUBMITTED = TaskState.READY, TaskState.SUBMITTED

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


def sender(
    run: Run, outcomes: Outcomes, outbox: Outbox, preparation: Preparation
) -> tuple[Callable[[int], int], Callable[[], None]]:
    """Make the functions that send the ready tasks of *run*.

    Returns:
        First a function of a number: it puts at most that many ready tasks into batches, and at
        most as many that follow them in a chain; then it submits all batches, and returns the
        number of tasks that it took.  Batches stay in ``run.full`` while bodies of tasks that
        were called before have not begun, as they will in the next turn of the loop.  Then a
        function that submits all batches at once.
    """
    scheduler = run.scheduler
    ready = scheduler.ready
    take, extend = ready.popleft, ready.extend
    first = scheduler.first
    clear = first.clear
    tasks = scheduler.tasks
    submitted = scheduler.submitted
    observers = run.observers
    full = run.full
    unbegun = preparation.unbegun

    def submit() -> None:
        if run.journal is not None:
            run.journal.sending(full)
        while full:
            lane = full.pop()
            batch, lane.batch = lane.batch, []
            if not batch:  # what was in it was cancelled
                continue
            if outcomes.failover is not None and lane.sink.told_loss:
                outcomes.failover.refuse(lane, batch)
                continue
            try:
                lane.backend.submit(batch)
            except Exception as error:
                outbox.fail_batch(lane, batch, error)

    def send(limit: int) -> int:
        gate = run.gate
        if full and not unbegun:
            submit()
        if first:
            if ready:
                scheduler.put_first()
            else:
                extend(first)
                clear()
        count = behind = 0
        for count in range(1, limit + 1):
            try:
                node: Any = take()
            except IndexError:
                count -= 1
                break
            if node._stage is not READY:
                continue
            try:
                binding = node._binding
                if binding != FLAT:
                    tasks[node._number] = node  # a task with dependencies is there since its call
                if gate is not None and gate(node):
                    continue
                call = node._call
                lane = call.lane
                if not call.plain or binding == NESTED or lane.lost is not None:
                    if full and not unbegun and not call.plain:
                        submit()  # what was called before does not wait for its body
                    preparation.send(node)
                    continue
                spec = call.spec
                args = node._args
                kwargs = node._kwargs
                refs: tuple[int, ...] = ()
                if not lane.executes:
                    args, kwargs = (), NO_KWARGS
                elif binding:
                    if run.references:
                        try:
                            args, kwargs, refs = substitute_flat(node)
                        except UnfinishedArguments as signal:
                            outbox.wait_more(node, signal.futures)
                            continue
                        except (Exception, asyncio.CancelledError) as error:
                            outbox.end_without_arguments(node, error)
                            continue
                    else:
                        # No backend keeps values, so each future here is a plain one.
                        args = tuple(
                            [
                                value.result() if type(value) is TaskFuture else value
                                for value in args
                            ]
                        )
                        if kwargs:
                            kwargs = {
                                key: value.result() if type(value) is TaskFuture else value
                                for key, value in kwargs.items()
                            }
                if run.carriage is not None:
                    spec, args = run.carriage.pack(node, args)
                batch = lane.batch
                if not batch:
                    full.append(lane)
                batch.append(
                    _new(
                        TaskRequest,
                        (
                            node._number,
                            node._attempt,
                            spec,
                            args,
                            kwargs,
                            None,
                            refs,
                            node._context,
                            node._depth,
                        ),
                    )
                )
                if call.native:
                    submitted(node)
                    if first:
                        scheduler.put_first()  # what its backend orders behind it
                else:
                    node._stage = SUBMITTED
                if observers.events is not None:
                    observers.tell(node, READY)
                    observers.tell(node, SUBMITTED)
                if (
                    lane.chains
                    and call.may_chain
                    and (dependent := node._dependents) is not None
                    and not isinstance(dependent, list)
                    and dependent._blockers == 1
                    and gate is None
                    and run.carriage is None
                ):
                    behind += send_behind(run, node, limit - behind)
            except Exception as error:
                outcomes.engine_failed(node, error)
        if full and not unbegun:
            submit()
        return count + behind

    return send, submit
