"""A seeded world for the engine: virtual time, and backends that behave badly.

Only latencies and faults are random, and they follow from the seed: callbacks keep
their order, timers jump.  What the backends were asked and what they answered first is
written down, for the model to judge by.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    RemoteValue,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRef,
    TaskRequest,
    TaskState,
)

HORIZON = 10_000.0
"""Virtual seconds that no run comes near; one that does hangs."""

Key = tuple[TaskId, int]


class HangError(Exception):
    """The program waits for something that will never come."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in their order; when none is ready, time jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        self.complaints: list[str] = []
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> Sequence[Any]:
        if timeout is None or self._now > HORIZON:
            raise HangError(f"nothing is left to happen at {self._now:.1f} s")
        self._now += timeout
        return ()

    def _process_events(self, events: Sequence[Any]) -> None:
        """There are no descriptors."""

    def _write_to_self(self) -> None:
        """There is nobody asleep to be woken."""

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")


class PlannedError(Exception):
    """A task failed because the world wanted it."""


class SimulatedBackend(ExecutionBackend):
    """Answers late, twice, out of order, with a contradiction, or by an exception.

    Attributes:
        seen: every attempt that `submit` was called with.
        first: the first terminal report of each attempt, with its value.
        refused: attempts whose `submit` raised.
        overdue: attempts that run longer than their timeout.
        begun: how often each task began.
        gone: it reported itself lost.
        lane: what the engine knows of it.
        violations: in words, what the engine should not have done.
    """

    def __init__(self, name: str, rng: random.Random, *, native: bool, chaos: float) -> None:
        self.name = name
        self.capabilities = Capabilities(
            kinds={TaskKind.FUNCTION},
            kills_running={TaskKind.FUNCTION} if rng.random() < 0.6 else (),
            native_dependencies=native,
            remote_results=native,
            chains=rng.random() < 0.5,
            quick=rng.random() < 0.5,
        )
        self.seen: set[Key] = set()
        self.first: dict[Key, tuple[TaskState, Any]] = {}
        self.refused: set[Key] = set()
        self.overdue: set[Key] = set()
        self.begun: Counter[TaskId] = Counter()
        self.gone = False
        self.lane: Any = None
        self.violations: list[str] = []
        self.closed = False
        self._rng = rng
        self._chaos = chaos
        self._native = native
        self._values: dict[TaskId, Any] = {}
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._running: dict[TaskId, TaskRequest] = {}

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        await asyncio.sleep(self._rng.random())
        self._sink = sink
        self._loop = asyncio.get_running_loop()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        # The engine would take an AssertionError for a refusal.
        if self.closed or self.lane.lost is not None:
            self.violations.append("submitted after the end")
        for request in batch:
            key = (request.task_id, request.attempt)
            if key in self.seen:
                self.violations.append(f"attempt {key} was submitted twice")
            self.seen.add(key)
        if not self._unlucky(0.1):
            for request in batch:
                self._take(request)
            return
        # It takes some and then fails; what was taken goes on regardless.
        for request in batch[: self._rng.randrange(len(batch) + 1)]:
            self._take(request)
        for request in batch:
            key = (request.task_id, request.attempt)
            if key not in self.first:
                self.refused.add(key)
        raise OSError("no more tasks today")

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._unlucky(0.1):
            raise OSError("cannot cancel anything")
        for task_id in task_ids:
            if request := self._waiting.pop(task_id, None):
                self._say(request, TaskState.CANCELLED)
            elif not self.capabilities.kills_running or self._unlucky(0.2):
                continue  # it does not stop, or never says so
            elif request := self._running.get(task_id):
                self._later(self._end, request, TaskState.CANCELLED, None)

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        self.closed = True
        await asyncio.sleep(self._rng.random())
        for request in [*self._waiting.values(), *self._running.values()]:
            if not self._unlucky(0.5):
                self._say(request, TaskState.CANCELLED)

    def lose(self) -> None:
        if not self.closed:
            self.gone = True
            self._waiting.clear()
            self._running.clear()
            self._sink.lost(PlannedError("the cluster burnt down"))

    # ------------------------------------------------------------ its inside

    def _unlucky(self, share: float) -> bool:
        return self._rng.random() < share * self._chaos

    def _later(self, what: Any, *args: Any) -> None:
        delay = self._rng.choice([0.0, 0.0, 0.01, 0.3, 1.0])
        if delay:
            self._loop.call_later(delay * self._rng.random(), what, *args)
        else:
            self._loop.call_soon(what, *args)

    def _take(self, request: TaskRequest) -> None:
        self._waiting[request.task_id] = request
        if self._rng.random() < 0.2:
            self._begin(request)  # the whole answer may come before submit returns
        else:
            self._later(self._begin, request)

    def _begin(self, request: TaskRequest) -> None:
        if self.gone or self._waiting.get(request.task_id) is not request:
            return
        if any(need not in self._values for need in request.dependencies):
            return  # begun again by what it waits for, or withdrawn
        del self._waiting[request.task_id]
        self._running[request.task_id] = request
        self.begun[request.task_id] += 1
        limit = request.spec.timeout
        tells = not self._unlucky(0.3)
        if tells:
            self._sink.running(request.task_id, request.attempt, self._rng.choice([None, "w1"]))
        if limit is not None and tells and self._rng.random() < 0.3:
            self.overdue.add((request.task_id, request.attempt))
            duration = limit * 2 if self._rng.random() < 0.7 else HORIZON / 2
        else:
            duration = self._rng.choice([0.0, 0.01, 0.5, 2.0]) * self._rng.random()
            duration = duration if limit is None else min(duration, limit / 2)
        if self._rng.random() < 0.15:
            outcome: tuple[TaskState, Any] = (TaskState.FAILED, PlannedError(request.task_id))
        else:
            args = [self._resolve(value) for value in request.args]
            kwargs = {key: self._resolve(value) for key, value in request.kwargs.items()}
            outcome = (TaskState.DONE, request.spec.function(*args, **kwargs))
        if duration or self._rng.random() < 0.7:
            self._loop.call_later(duration, self._end, request, *outcome)
        else:
            self._end(request, *outcome)

    def _end(self, request: TaskRequest, state: TaskState, value: Any) -> None:
        if self.gone or self._running.get(request.task_id) is not request:
            return
        del self._running[request.task_id]
        if state is TaskState.DONE:
            self._values[request.task_id] = value
            if self._native:
                value = self._keep(value)
        self._say(request, state, value)
        if self._unlucky(0.3):
            # Once more, or the opposite, or late: never to be heard.
            other_state = self._rng.choice(list(TaskState))
            self._later(self._repeat, request, other_state, PlannedError("a contradiction"))
        if state is TaskState.DONE:
            for other in list(self._waiting.values()):
                if request.task_id in other.dependencies:
                    self._begin(other)
        elif not self._native:
            self._drop_behind(request.task_id)

    def _keep(self, value: Any) -> SimulatedValue:
        return SimulatedValue(self._rng, value)

    def _drop_behind(self, task_id: TaskId) -> None:
        """A chain ends where a link does; the others may hear of it before the engine tells."""
        for other in list(self._waiting.values()):
            if task_id in other.dependencies and self._waiting.pop(other.task_id, None):
                self._say(other, TaskState.CANCELLED)
                self._drop_behind(other.task_id)

    def _say(self, request: TaskRequest, state: TaskState, value: Any = None) -> None:
        self.first.setdefault((request.task_id, request.attempt), (state, value))
        self._repeat(request, state, value)

    def _repeat(self, request: TaskRequest, state: TaskState, value: Any) -> None:
        task_id, attempt = request.task_id, request.attempt
        if state is TaskState.DONE:
            self._sink.done(task_id, attempt, value)
        elif state is TaskState.FAILED:
            self._sink.failed(task_id, attempt, value)
        elif state is TaskState.CANCELLED:
            self._sink.cancelled(task_id, attempt)
        else:
            self._sink.running(task_id, attempt)

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, TaskRef):
            return self._values[value.task_id]
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self._resolve(item) for key, item in value.items()}
        return value


class SimulatedValue(RemoteValue):
    def __init__(self, rng: random.Random, value: Any) -> None:
        self._rng = rng
        self.value = value
        self.released = 0

    async def fetch(self) -> Any:
        if self.released:
            raise OSError("fetched after its release")  # which fails the task, by no plan
        await asyncio.sleep(self._rng.choice([0.0, 0.5]))
        return self.value

    def release(self) -> None:
        self.released += 1


def numbers_in(value: Any) -> Iterator[int]:
    """Every number anywhere in nested lists and dicts."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, dict):
        yield from numbers_in(list(value.values()))
    else:
        yield value
