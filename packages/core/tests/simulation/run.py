"""One seed, one run: a random workflow against the engine, judged by a model."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from radical.asyncflow import (
    BackendError,
    BackendLostError,
    DependencyFailureError,
    EngineClosedError,
    RetryPolicy,
    TaskFuture,
    TaskTimeoutError,
    WorkflowEngine,
)
from radical.asyncflow._task.future import EndReason, RemoteTaskFuture
from radical.asyncflow.events import Event
from radical.asyncflow.model import TaskState

from .world import SimulatedBackend, SimulatedValue, VirtualLoop, numbers_in

DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


def total(own: int, *args: Any, **kwargs: Any) -> int:
    return own + sum(numbers_in([args, kwargs]))


@dataclass
class Call:
    """A call, and what the model knows of it beside the backends' notes."""

    future: TaskFuture[int]
    own: int
    needs: list[Call]
    attempts: int
    block: Call | None = None
    is_block: bool = False
    members: list[Call] = field(default_factory=list)
    latest: list[Call] = field(default_factory=list)
    cancelled: bool = False
    scoped: bool = False
    ends: int = 0
    watched: bool = True
    counted: bool = False


class Run:
    backend_class = SimulatedBackend
    failover = False

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.chaos = self.rng.choice([0.0, 0.3, 1.0])
        self.loop = VirtualLoop()
        self.calls: list[Call] = []
        self.closed_early = False
        self.scopes: list[asyncio.Task[int]] = []
        self.given_up: list[asyncio.Task[int]] = []
        self.trace: list[Any] = []

    def play(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self.main())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
        self.judge()

    # ----------------------------------------------------------- the workflow

    async def main(self) -> None:
        rng = self.rng
        self.backends = {
            name: self.backend_class(name, rng, native=native, chaos=self.chaos)
            for name, native in (("plain", False), ("native", True), ("other", rng.random() < 0.5))
        }
        self.flow = await WorkflowEngine.create(
            list(self.backends.values()), uid="simulation", failover=self.failover
        )
        for name, lane in self.flow._dispatcher.run.lanes.items():
            self.backends[name].lane = lane
        if rng.random() < 0.5:
            # Every report then comes as if from another thread.
            self.flow._dispatcher._inbox._thread = 0
        if rng.random() < 0.3:
            self.flow._dispatcher.run.observers.clock = self.loop.time
            self.flow.observe(self.note)
        for _ in range(rng.randrange(1, 40)):
            self.step()
            if rng.random() < 0.4:
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.1, 1.0]) * rng.random())
        self.closed_early = rng.random() < 0.15
        if self.closed_early:
            await asyncio.gather(self.flow.shutdown(), self.flow.shutdown())
        elif rng.random() < 0.5:
            await self.flow.shutdown(cancel=False)
        else:
            watched = [call.future for call in self.calls if call.watched]
            if watched:
                await asyncio.wait(watched)
            await self.flow.shutdown(cancel=False)
        if self.scopes:
            await asyncio.wait(self.scopes)
        assert self.loop.time() < 1000.0, "somebody waited for work that had been given up"
        await asyncio.sleep(100.0)  # late reports come, and are dropped

    def note(self, events: Sequence[Event]) -> None:
        # The wall clock is the world's own, and no two runs have it in common.
        self.trace.extend(repr(event._replace(wall=0.0)) for event in events)

    def step(self) -> None:
        rng = self.rng
        dice = rng.random()
        if dice < 0.70 or not self.calls:
            self.call(rng.sample(self.calls, min(len(self.calls), rng.choice([0, 0, 1, 1, 2, 4]))))
        elif dice < 0.80:
            self.call_block(rng.sample(self.calls, min(len(self.calls), rng.choice([0, 1]))))
        elif dice < 0.90:
            self.cancel(rng.choice(self.calls))
        elif dice < 0.93:
            call = rng.choice(self.calls)
            self.loop.call_later(2 * rng.random(), self.cancel, call)
        elif dice < 0.95:
            call = rng.choice(self.calls)
            call.scoped = call.watched = True
            scope = self.loop.create_task(self.wait(call))
            scope.add_done_callback(lambda done: done.cancelled() or done.exception())
            self.scopes.append(scope)
            self.loop.call_later(2 * rng.random(), self.give_up, scope)
        elif dice < 0.96 and self.chaos:
            backend = rng.choice(list(self.backends.values()))
            self.loop.call_later(rng.random(), backend.lose)

    def cancel(self, call: Call) -> None:
        call.cancelled = call.future.cancel("by the user") or call.cancelled

    async def wait(self, call: Call) -> int:
        return await call.future

    def give_up(self, scope: asyncio.Task[int]) -> None:
        if scope.cancel():
            self.given_up.append(scope)

    def call(self, needs: list[Call], block: Call | None = None) -> Call:
        rng = self.rng
        attempts = rng.choice([1, 1, 1, 2, 4])
        backend = rng.choice(list(self.backends))
        policy = RetryPolicy(attempts=attempts, wait=rng.choice([0.0, 0.5]))
        task = self.flow.function_task(
            name=f"t{len(self.calls)}",
            backend=backend,
            retries=policy if attempts > 1 else None,
            timeout=rng.choice([None, None, 1.0, 3.0]),
        )(total)
        return self.enter(task, needs, attempts, block)

    def call_block(self, needs: list[Call], block: Call | None = None) -> Call:
        rng = self.rng
        attempts = rng.choice([1, 1, 2])
        call: Call
        size = rng.randrange(5)

        async def body(own: int, *args: Any, **kwargs: Any) -> int:
            members = call.latest = []
            for _ in range(size):
                inner = call.members[-2:] if rng.random() < 0.5 else []
                inner = [member for member in inner if member in members]
                nested = rng.random() < 0.1
                make = self.call_block if nested else self.call
                member = make(inner, call)
                members.append(member)
                call.members.append(member)
            await asyncio.sleep(rng.choice([0.0, 0.2]))
            values = await asyncio.gather(*[member.future for member in members])
            return total(own, *args, *values, **kwargs)

        task = self.flow.block(
            name=f"b{len(self.calls)}",
            retries=RetryPolicy(attempts=attempts) if attempts > 1 else None,
            timeout=rng.choice([None, None, 2.0]),
        )(body)
        call = self.enter(task, needs, attempts, block, is_block=True)
        return call

    def enter(
        self, task: Any, needs: list[Call], attempts: int, block: Call | None, **more: Any
    ) -> Call:
        rng = self.rng
        futures = [need.future for need in needs]
        shape = rng.randrange(4)
        own = len(self.calls) + 1
        if shape == 0:
            future = task(own, *futures)
        elif shape == 1:
            future = task(own, [0, futures])
        elif shape == 2:
            future = task(own, **{f"k{place}": future for place, future in enumerate(futures)})
        else:
            late: list[Any] = []
            future = task(own, {"inside": late})
            late.extend(futures)  # before it is sent: it has to wait for them all the same
        call = Call(future, own, list(needs), attempts, block, **more)
        self.calls.append(call)
        call.watched = type(future) is not RemoteTaskFuture or rng.random() < 0.5
        if call.watched:
            call.counted = True
            future.add_done_callback(lambda done: self.ended(call, done))
        return call

    def ended(self, call: Call, future: TaskFuture[int]) -> None:
        call.ends += 1
        if not future.cancelled():
            future.exception()  # seen
        if call.is_block and call.future._stage is not DONE:
            for member in call.members:
                extras = member.future._extras
                ending = extras.ending if extras is not None else None
                ending = ending is not None and ending.reason is EndReason.CANCEL
                assert member.future._stage >= DONE or ending, "a member outlived its block"
        self.trace.append((self.loop.time(), future.id, future.state, future.attempts))

    # -------------------------------------------------------------- the model

    def judge(self) -> None:
        assert not self.loop.complaints, self.loop.complaints
        for backend in self.backends.values():
            assert not backend.violations, backend.violations
        for scope in self.given_up:
            assert scope.cancelled() or scope.exception(), "a scope's cancellation was lost"
        for call in self.calls:
            try:
                self.judge_call(call)
            except AssertionError as error:
                error.add_note(f"about {call.future!r}, attempts {call.future.attempts}")
                raise
        self.judge_remains()

    def judge_call(self, call: Call) -> None:
        future, state = call.future, call.future._stage
        assert state >= DONE, "never ended"
        if call.watched:
            assert call.ends == int(call.counted), f"ended {call.ends} times"
            assert future.done()
        if call.cancelled and not future.cancelled():
            error = future.exception()
            assert isinstance(error, DependencyFailureError), "its cancellation was lost"
        if state is CANCELLED:
            assert future.cancelled()
            assert self.may_be_cancelled(call), "cancelled for no reason"
        elif state is FAILED:
            error = future.exception()
            assert error is not None
            self.judge_failure(call, error)
        else:
            assert all(need.future._stage is DONE for need in call.needs)
            if not call.is_block:
                assert self.fates(call)[-1] == "DONE"
                assert set(self.fates(call)[:-1]) <= {"FAILED", "refused", "timeout"}
            if future.cancelled():
                assert self.may_be_cancelled(call), "its value was not brought here"
            elif self.value(call) is not None:
                assert self.value(call) == self.expected(call)
        if not call.is_block:
            self.judge_attempts(call)

    def judge_failure(self, call: Call, error: BaseException) -> None:
        bad = [need.future for need in call.needs if need.future._stage is FAILED]
        if isinstance(error, DependencyFailureError) and error.task == call.future.name:
            assert bad, "none of its dependencies failed"
            assert set(error.failed) <= {future.name for future in bad}
            roots = {
                item.future.name: item.future.exception()
                for item in self.calls
                if item.future._stage is FAILED
            }
            assert error.__cause__ is roots[error.root]
            return
        if call.is_block:
            assert (
                isinstance(error, TaskTimeoutError | EngineClosedError)
                or any(error is member.future.exception() for member in call.members
                       if member.future._stage is FAILED)
            ), "a block's failure is none of its members'"  # fmt: skip
            return
        fates = self.fates(call)
        lost = self.backend(call).gone
        if isinstance(error, BackendLostError):
            assert lost
            return
        last = fates[-1]
        if last == "timeout":
            assert isinstance(error, TaskTimeoutError)
        elif last == "refused":
            assert isinstance(error, BackendError)
        else:
            key = (call.future._number, len(fates))
            assert self.backend(call).first[key] == (FAILED, error)
        if last != "refused":
            assert all(need.future._stage is DONE for need in call.needs)
        assert len(fates) == call.attempts or self.closed_early or lost, "it had more attempts"

    def may_be_cancelled(self, call: Call) -> bool:
        if call.cancelled or call.scoped or self.closed_early:
            return True
        if any(need.future.cancelled() for need in call.needs):
            return True
        if any(member.future.cancelled() for member in call.members):
            return True  # what the body awaited was cancelled
        outer = call.block
        return outer is not None and (
            outer.future._stage in (FAILED, CANCELLED) or outer.future._attempt > 1
        )

    def judge_attempts(self, call: Call) -> None:
        backend = self.backend(call)
        seen = sorted(attempt for number, attempt in backend.seen if number == call.future._number)
        if not backend.gone:
            assert seen == list(range(1, call.future.attempts + 1)), f"the backend saw {seen}"

    def backend(self, call: Call) -> SimulatedBackend:
        return self.backends[str(call.future.backend)]

    def fates(self, call: Call) -> list[str]:
        """How each attempt ended, by the backend's notes."""
        backend = self.backend(call)
        fates = []
        for attempt in range(1, call.future.attempts + 1):
            key = (call.future._number, attempt)
            if key in backend.refused:
                fates.append("refused")
            elif key in backend.overdue:
                fates.append("timeout")
            else:
                fates.append(backend.first[key][0].name if key in backend.first else "silent")
        return fates

    def value(self, call: Call) -> int | None:
        if call.future.done():
            return call.future.result()
        remote = getattr(call.future, "remote", None)
        if not isinstance(remote, SimulatedValue):
            return None
        assert not remote.released, "released, though it may be asked for"
        value: int = remote.value
        return value

    def expected(self, call: Call) -> int:
        own = call.own + sum(self.expected(need) for need in call.needs)
        if not call.is_block:
            return own
        return own + sum(self.expected(member) for member in call.latest)

    def judge_remains(self) -> None:
        dispatcher = self.flow._dispatcher
        assert not dispatcher.run.scheduler.unfinished()
        assert not [node for node in dispatcher.run.scheduler.ready if node._stage < DONE]
        assert not dispatcher.background._tasks
        assert not any(lane.batch for lane in dispatcher.run.lanes.values())
        assert not asyncio.all_tasks(self.loop)
        if not self.chaos and not self.closed_early:
            assert not any(backend._waiting for backend in self.backends.values()), "not withdrawn"

    def forget(self) -> list[weakref.ref[Any]]:
        """Let go of everything; the references tell what does not go."""
        references = [weakref.ref(call.future) for call in self.calls]
        for everything in (self.calls, self.scopes, self.given_up):
            everything.clear()
        self.backends.clear()
        del self.flow
        gc.collect()
        return references
