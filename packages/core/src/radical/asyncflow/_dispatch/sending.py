"""Sending what is ready: the way that every plain task takes, and so a hot one.

What stays the same while an engine lives is bound once, in a closure: on a chain of
tasks each link comes by here alone, and looking these things up anew would cost as much
as the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .._graph.arguments import FLAT, NESTED
from .._task.future import NO_KWARGS, TaskFuture
from ..backend import TaskRequest
from ..model import TaskState
from .chains import send_behind
from .values import StillOpen, refer

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["sender"]

READY, SUBMITTED = TaskState.READY, TaskState.SUBMITTED

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


def sender(dispatcher: Dispatcher) -> Callable[[int], int]:
    """What sends for *dispatcher*: so many of the ready tasks at most, and as many that go
    right behind them; then all batches.

    Returns:
        A function of that number, which returns how many it took.
    """
    take = dispatcher.scheduler.ready.popleft
    tasks = dispatcher.scheduler.tasks
    submitted = dispatcher.scheduler.submitted
    observers = dispatcher.observers
    full = dispatcher.full

    def send(limit: int) -> int:
        gates = dispatcher.gates
        count = behind = 0
        for count in range(1, limit + 1):
            try:
                node: Any = take()
            except IndexError:
                count -= 1
                break
            if node.stage is not READY:
                continue
            binding = node.binding
            if binding != FLAT:
                tasks[node.number] = node  # one with dependencies is there since its call
            if gates and (gates[0](node) or (len(gates) > 1 and _any(gates[1:], node))):
                continue
            call = node.call
            lane = call.lane
            if not call.plain or binding == NESTED or lane.lost is not None:
                dispatcher.send_rare(node)
                continue
            spec = call.spec
            args = node.args
            kwargs = node.kwargs
            refs: tuple[int, ...] = ()
            if not lane.executes:
                args, kwargs = (), NO_KWARGS
            elif binding:
                if dispatcher.references:
                    try:
                        args, kwargs, refs = refer(node)
                    except StillOpen as signal:
                        dispatcher.wait_more(node, signal.futures)
                        continue
                    except (Exception, asyncio.CancelledError) as error:
                        dispatcher.unbound(node, error)
                        continue
                else:
                    # No value is elsewhere: what stands for one is a plain future.
                    args = tuple(
                        [value.result() if type(value) is TaskFuture else value for value in args]
                    )
                    if kwargs:
                        kwargs = {
                            key: value.result() if type(value) is TaskFuture else value
                            for key, value in kwargs.items()
                        }
            if dispatcher.carriage is not None:
                spec, args = dispatcher.carriage.pack(node, args)
            batch = lane.batch
            if not batch:
                full.append(lane)
            batch.append(
                _new(TaskRequest, (node.number, node.attempt, spec, args, kwargs, None, refs))
            )
            if call.native:
                submitted(node)
            else:
                node.stage = SUBMITTED
            if observers.events is not None:
                observers.tell(node, READY)
                observers.tell(node, SUBMITTED)
            if (
                lane.chains
                and call.leads
                and (dependent := node.dependents) is not None
                and not isinstance(dependent, list)
                and dependent.blockers == 1
                and not gates
                and dispatcher.carriage is None
            ):
                behind += send_behind(dispatcher, node, limit - behind)
        while full:
            lane = full.pop()
            batch, lane.batch = lane.batch, []
            try:
                lane.backend.submit(batch)
            except Exception as error:
                dispatcher.refused(lane, batch, error)
        return count + behind

    return send


def _any(gates: Iterable[Callable[[TaskFuture[Any]], bool]], node: TaskFuture[Any]) -> bool:
    return any(gate(node) for gate in gates)
