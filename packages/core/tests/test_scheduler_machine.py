"""The scheduler against a model that recomputes every state by brute force."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from radical.asyncflow._graph.scheduler import Node, Resolution, Scheduler
from radical.asyncflow.errors import CycleError, DependencyFailureError
from radical.asyncflow.model import TaskKind, TaskSpec, TaskState
from radical.asyncflow.model._states import TRANSITIONS

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


class WatchedNode(Node):
    """A node that checks each step of its own state."""

    __slots__ = (
        *(name for name in Node._FIELDS if name != "_stage"),
        *("_current", "_lane", "_native", "_origin", "_spec"),
    )

    def __init__(self, number: int, lane: str, native: bool, args: tuple[Any, ...]) -> None:
        self._number = number
        self._spec = TaskSpec(f"t{number}", TaskKind.FUNCTION, print)
        self._lane = lane
        self._native = native
        self._args = args
        self._kwargs = {}
        self._attempt = 1
        self._blockers = self._depth = 0
        self._dependents = self._followers = self._origin = None
        self._current = PENDING

    @property
    def _stage(self) -> TaskState:
        return self._current

    @_stage.setter
    def _stage(self, new: TaskState) -> None:
        old, self._current = self._current, new
        assert new in TRANSITIONS[old] or old is new is PENDING, (self._number, old, new)


@dataclass
class Task:
    """What the model knows of a task: what happened to it, and nothing derived."""

    node: WatchedNode
    needs: set[int]
    holds: int
    sent: bool = False
    began: bool = False
    end: TaskState | None = None
    delayed: bool = False
    sent_after: set[int] = field(default_factory=set)


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.model: dict[int, Task] = {}
        self.ends: dict[int, int] = {}

    # -------------------------------------------------------------- the model

    def satisfied(self, task: Task, need: int) -> bool:
        other = self.model[need]
        if other.end is DONE:
            return True
        # A native one on the same lane has only to be sent.
        native = other.node._native and task.node._native and other.node._lane == task.node._lane
        return native and other.sent and other.end is None

    def state(self, task: Task) -> TaskState:
        if task.end is not None:
            return task.end
        if task.sent:
            return RUNNING if task.began else SUBMITTED
        free = not task.holds and all(self.satisfied(task, need) for need in task.needs)
        return READY if free else PENDING

    def doom(self, number: int, end: TaskState) -> set[int]:
        """Who ends with *number*, found by repeating until nothing changes."""
        doomed = {number}
        while True:
            more = {
                other
                for other, task in self.model.items()
                if task.end is None and other not in doomed and task.needs & doomed
            }
            if not more:
                break
            doomed |= more
        for each in doomed:
            self.model[each].end = end
        return doomed

    def waits_for(self, number: int, target: int) -> bool:
        needs = self.model[number].needs if self.model[number].end is None else set()
        return number == target or any(self.waits_for(need, target) for need in needs)

    def choose(self, data: st.DataObject, *states: TaskState) -> Task:
        numbers = [n for n, task in self.model.items() if self.state(task) in states]
        return self.model[data.draw(st.sampled_from(numbers))]

    def any_in(self, *states: TaskState) -> bool:
        return any(self.state(task) in states for task in self.model.values())

    def note(self, resolutions: Any, expected: set[int], end: TaskState) -> None:
        assert {item.node._number for item in resolutions} == expected
        for item in resolutions:
            assert isinstance(item, Resolution)
            number = item.node._number
            self.ends[number] = self.ends.get(number, 0) + 1
            assert item.state is end
            assert (item.error is not None) is (end is FAILED)

    # -------------------------------------------------------------- the rules

    @rule(
        data=st.data(),
        lane=st.sampled_from(["here", "there"]),
        native=st.booleans(),
        holds=st.integers(0, 2),
    )
    def add(self, data: st.DataObject, lane: str, native: bool, holds: int) -> None:
        known = list(self.model)
        needs = data.draw(st.lists(st.sampled_from(known), max_size=4)) if known else []
        number = len(self.model) + 1
        others = [self.model[need].node for need in needs]
        node = WatchedNode(number, lane, native, tuple(others))
        bad = [
            self.model[need].end for need in needs if self.model[need].end in (FAILED, CANCELLED)
        ]
        self.model[number] = Task(node, set(needs), holds)
        resolutions = self.scheduler.add(node, others or None, holds)
        if bad:
            self.model[number].end = bad[0]
            self.note(resolutions, {number}, bad[0] or FAILED)
        else:
            assert not resolutions

    @precondition(lambda self: any(task.holds and task.end is None for task in self.model.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = [n for n, task in self.model.items() if task.holds and task.end is None]
        task = self.model[data.draw(st.sampled_from(held))]
        task.holds -= 1
        self.scheduler.release(task.node)

    @precondition(lambda self: self.scheduler.first or self.scheduler.ready)
    @rule()
    def submit(self) -> None:
        if self.scheduler.first:
            self.scheduler.put_first()
        node = self.scheduler.ready.popleft()
        if node._stage is READY:  # else it ended while it was in the queue
            self.scheduler.tasks[node._number] = node
            task = self.model[node._number]
            assert not task.delayed
            task.sent = True
            self.scheduler.submitted(node)

    @precondition(lambda self: self.any_in(SUBMITTED, RUNNING))
    @rule(data=st.data())
    def running(self, data: st.DataObject) -> None:
        task = self.choose(data, SUBMITTED, RUNNING)
        assert self.scheduler.running(task.node) is not task.began
        task.began = True

    @precondition(lambda self: self.any_in(SUBMITTED, RUNNING))
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        task = self.choose(data, SUBMITTED, RUNNING)
        if any(self.model[need].end is not DONE for need in task.needs):
            return  # a follower: its backend orders it after what it needs
        task.end = DONE
        self.ends[task.node._number] = self.ends.get(task.node._number, 0) + 1
        self.scheduler.succeed(task.node)

    @precondition(lambda self: self.any_in(PENDING, READY, SUBMITTED, RUNNING))
    @rule(data=st.data(), end=st.sampled_from([FAILED, CANCELLED]))
    def end(self, data: st.DataObject, end: TaskState) -> None:
        node = self.choose(data, PENDING, READY, SUBMITTED, RUNNING).node
        doomed = self.doom(node._number, end)
        if end is CANCELLED:
            self.note(self.scheduler.cancel(node), doomed, end)
            return
        cause = ValueError(node._number)
        resolutions = self.scheduler.fail(node, cause)
        self.note(resolutions, doomed, end)
        for item in resolutions[1:]:
            assert isinstance(item.error, DependencyFailureError)
            assert item.error.__cause__ is cause
            assert item.error.root == node._spec.name

    @precondition(lambda self: self.any_in(SUBMITTED, RUNNING))
    @rule(data=st.data(), now=st.booleans())
    def retry(self, data: st.DataObject, now: bool) -> None:
        task = self.choose(data, SUBMITTED, RUNNING)
        if task.node._native:
            return  # the engine lets no task that may be retried have followers
        attempt = task.node._attempt
        task.sent = task.began = False
        task.delayed = not now
        self.scheduler.retry(task.node, now=now)
        assert task.node._attempt == attempt + 1

    @precondition(lambda self: any(task.delayed for task in self.model.values()))
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        waiting = [n for n, task in self.model.items() if task.delayed]
        task = self.model[data.draw(st.sampled_from(waiting))]
        task.delayed = False
        self.scheduler.requeue(task.node)

    @precondition(lambda self: self.scheduler.first or self.scheduler.ready)
    @rule(data=st.data(), holds=st.integers(0, 1))
    def wait_more(self, data: st.DataObject, holds: int) -> None:
        if self.scheduler.first:
            self.scheduler.put_first()
        node = self.scheduler.ready.popleft()
        if node._stage is not READY:
            return
        self.scheduler.tasks[node._number] = node
        task = self.model[node._number]
        more = data.draw(st.lists(st.sampled_from(list(self.model)), min_size=1, max_size=3))
        live = [n for n in more if self.model[n].end in (None, DONE)]
        cyclic = any(self.waits_for(need, node._number) for need in live)
        others = [self.model[need].node for need in live]
        try:
            resolutions = self.scheduler.wait_more(node, others, holds)
        except CycleError:
            assert cyclic
            self.scheduler.ready.append(node)
            return
        assert not cyclic
        assert not resolutions
        task.needs |= set(live)
        task.holds = holds

    # --------------------------------------------------------- the invariants

    @invariant()
    def every_state_is_as_recomputed(self) -> None:
        for number, task in self.model.items():
            assert task.node._stage is self.state(task), number

    @invariant()
    def what_is_ready_is_queued_once(self) -> None:
        ready = [*self.scheduler.first, *self.scheduler.ready]
        queued = [node._number for node in ready if node._stage is READY]
        first = {node._number for node in self.scheduler.first if node._stage is READY}
        assert first <= self.scheduler.tasks.keys()
        expected = {
            number
            for number, task in self.model.items()
            if self.state(task) is READY and not task.delayed
        }
        assert sorted(queued) == sorted(expected)

    @invariant()
    def exactly_the_unfinished_are_held(self) -> None:
        alive = [n for n, t in self.model.items() if t.end is None]
        assert [node._number for node in self.scheduler.unfinished()] == sorted(alive)
        assert self.scheduler.has_room(len(alive) + 1)
        assert not self.scheduler.has_room(len(alive))

    @invariant()
    def every_end_was_told_once(self) -> None:
        assert self.ends == {n: 1 for n, task in self.model.items() if task.end is not None}

    @invariant()
    def a_finished_task_holds_nobody(self) -> None:
        for task in self.model.values():
            if task.end is not None:
                assert task.node._dependents is None
                assert task.node._followers is None


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(stateful_step_count=40)
