"""Say what unfinished tasks wait for, as the engine and the backends know it.

Nothing here is kept up to date: whoever asks pays for the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from .._files.declared import InputFile
from .._graph.arguments import rewrite_call
from .._graph.items import parent_of
from .._graph.waiting import Group, Inputs, explain, explain_all, grouped
from .._task.future import Activity, EndReason, TaskFuture, outside_awaitables
from .._task.service import ServiceFuture, ServiceInfo
from .._text import safe_repr, shorten
from ..backend import TaskId
from ..backend._sharing import own_waits
from ..errors import ConfigurationError
from ..model import TaskKind, TaskState
from ..model._waiting import TaskNow, Wait, Waiting, WaitKind
from .run import Run

__all__ = ["LiveTasks", "why"]

log = logging.getLogger("radical.asyncflow")

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING, DONE = TaskState.SUBMITTED, TaskState.RUNNING, TaskState.DONE

_ENGINE_WORK = {
    Activity.LOOK_UP: "the look-up of an earlier result in the journal",
    Activity.PREPARE: "its files, which are staged, or the body that returns its command",
    Activity.DELIVER_OUTPUTS: "its output files, which are moved to their places",
    Activity.FETCH: "its value, which is brought here for the journal",
}

_ENDINGS = {
    EndReason.CANCEL: "the end of its work, because it was cancelled",
    EndReason.TIMEOUT: "the end of its work, which took too long",
    EndReason.HALT: "the end of its work, because the run stops",
}

_NEXT_TURN = Wait(kind=WaitKind.ENGINE, text="the next turn of the engine")
_RECORD = Wait(kind=WaitKind.ENGINE, text="its record in the journal, which is being written")
_VALUE = Wait(kind=WaitKind.ENGINE, text="a value that is on its way from another backend")
_HELD = Wait(
    kind=WaitKind.HELD,
    text="no start any more: it would not finish before the run has to end",
)


def why(run: Run, last: int, task: TaskFuture[Any] | int | str | None) -> Waiting:
    """Say what *task* waits for, or all tasks of *run*.

    Args:
        last: the number of the latest call.
        task: its future, its id or its number; None for all.

    Raises:
        ConfigurationError: the run has no such task.
    """
    run.take_reports()
    tasks = LiveTasks(run)
    if task is None:
        return explain_all(tasks, run.scheduler.unfinished())
    number = _number_of(run, last, task)
    node = tasks.find(number)
    if node is not None:
        return explain(tasks, node)
    if isinstance(task, TaskFuture):
        return Waiting(task=TaskNow(number, task.name, task.state))
    return Waiting(task=TaskNow(number, "", "ENDED"))


def _number_of(run: Run, last: int, task: object) -> int:
    if isinstance(task, TaskFuture):
        if getattr(task._owner, "run", None) is not run:
            raise ConfigurationError(f"{task!r} is a task of another engine: ask that engine")
        service = getattr(task, "_service", None)
        awaited = None if service is None else service.awaited
        return task._number if awaited is None else cast(int, awaited._number)
    digits = str(task).removeprefix("task.")
    if isinstance(task, bool) or not isinstance(task, int | str) or not digits.isdecimal():
        raise ConfigurationError(
            f"{safe_repr(task)} is no task: give the future of a call, or an id such as "
            "'task.000012'"
        )
    number = int(digits)
    if not 1 <= number <= last:
        raise ConfigurationError(f"there is no task {task}: {last:,} were called so far")
    return number


class LiveTasks:
    """The unfinished tasks of a run, at one moment; the `Tasks` of `_graph.waiting`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._inputs: dict[int, Inputs] = {}
        self._queued: frozenset[int] | None = None

    def find(self, number: int) -> TaskFuture[Any] | None:
        """Return the unfinished task with this *number*; None if it has ended."""
        scheduler = self._run.scheduler
        node = scheduler.tasks.get(number)
        if node is None:
            node = next((one for one in scheduler.ready if one._number == number), None)
        return None if node is None or node._stage >= DONE else cast(TaskFuture[Any], node)

    def sample(self, most: int) -> tuple[list[TaskFuture[Any]], int]:
        """Return about *most* unfinished tasks, and for how many each of them stands.

        That costs little, however many there are.
        """
        scheduler = self._run.scheduler
        scale = max(1, -(-(len(scheduler.tasks) + len(scheduler.ready)) // most))
        found: dict[int, Any] = {}
        for tasks in (scheduler.tasks.values(), scheduler.ready):
            for node in islice(tasks, 0, None, scale):
                if node._stage < DONE:
                    found[node._number] = node
        return list(found.values()), scale

    def groups(self, nodes: Iterable[TaskFuture[Any]]) -> list[Group]:
        """Return those of *nodes* that wait for no other task, in groups that wait for the same."""
        return grouped(self, [node for node in nodes if self._waits_itself(node)])

    def _waits_itself(self, node: TaskFuture[Any]) -> bool:
        """Tell whether *node* may wait for more than other tasks, without a walk if possible."""
        if node._stage is PENDING:
            return bool(outside_awaitables(node))
        if self.is_running(node):
            return False
        lane = node._lane
        is_ordered = lane is None or lane.native or lane.chains
        return not (is_ordered and self.inputs(node).unfinished)

    # --------------------------------------------------- as `Tasks` describes it

    def now(self, node: TaskFuture[Any]) -> TaskNow:
        stage = node._stage
        seconds = None
        if stage is RUNNING and self._run.journal is not None:
            seconds = self._run.journal.seconds_running(node)
        state = stage.name if stage is SUBMITTED else stage.public
        return TaskNow(node._number, node._spec.name, state, seconds)

    def named(self, number: int) -> TaskNow:
        node = self._run.scheduler.tasks.get(number)
        return TaskNow(number, "", "ENDED") if node is None else self.now(cast(Any, node))

    def number(self, node: TaskFuture[Any]) -> int:
        return node._number

    def is_running(self, node: TaskFuture[Any]) -> bool:
        if node._stage is not RUNNING or isinstance(node, ServiceFuture):
            return False
        extras = node._extras
        if extras is None:
            return not self._run.awaits_record(node)
        works = extras.work is not None and extras.work.activity is not Activity.BLOCK
        return not (works or extras.ending or self._run.awaits_record(node) or self._members(node))

    def inputs(self, node: TaskFuture[Any]) -> Inputs:
        found = self._inputs.get(node._number)
        if found is None:
            found = self._inputs[node._number] = self._find_inputs(node)
        return found

    def waits(self, nodes: Sequence[TaskFuture[Any]]) -> Mapping[int, Sequence[Wait]]:
        found: dict[int, Sequence[Wait]] = {}
        sent: dict[Any, list[TaskFuture[Any]]] = {}
        for node in nodes:
            own = self._own_waits(node)
            if own is not None:
                found[node._number] = own
            elif not self.inputs(node).unfinished:
                sent.setdefault(node._lane, []).append(node)
        for lane, members in sent.items():
            told = _ask(lane, [node._number for node in members])
            for node in members:
                wait = told.get(node._number)
                if wait is None and node._stage is SUBMITTED:
                    wait = Wait(
                        kind=WaitKind.UNKNOWN,
                        text=f"backend {lane.name!r}, which has it and does not say more",
                    )
                found[node._number] = () if wait is None else (wait,)
        return found

    # ------------------------------------------------------------------- inside

    def _own_waits(self, node: TaskFuture[Any]) -> Sequence[Wait] | None:
        """Return what *node* waits for beside other tasks; None if its backend knows that."""
        extras = node._extras
        stage = node._stage
        if self._run.awaits_record(node):
            return (_RECORD,)
        if extras is not None:
            if extras.ending is not None:
                return (Wait(kind=WaitKind.ENGINE, text=_ENDINGS[extras.ending.reason]),)
            if extras.work is not None:
                text = _ENGINE_WORK.get(extras.work.activity)
                return () if text is None else (Wait(kind=WaitKind.ENGINE, text=text),)
        if stage is READY:
            return (self._ready_wait(node),)
        if stage is PENDING:
            awaited = map(_awaitable_wait, outside_awaitables(node).values())
            waits = [wait for wait in awaited if wait is not None]
            return waits if waits or self.inputs(node).unfinished else (_VALUE,)
        if stage is RUNNING:
            if isinstance(node, ServiceFuture):
                return (_service_wait(node),)
            # Only a prompt may stand still when it has begun: its server has it wait.
            return None if node._spec.kind is TaskKind.PROMPT else ()
        return None

    def _ready_wait(self, node: TaskFuture[Any]) -> Wait:
        """Return why *node*, which no other task holds up, was not sent."""
        run = self._run
        extras = node._extras
        if extras is not None and extras.timer is not None:
            seconds = max(0.0, extras.timer.handle.when() - run.loop.time())
            return _retry_wait(node, extras.timer.failure, seconds)
        if self._queued is None:
            scheduler = run.scheduler
            batches = [request[0] for lane in run.full for request in lane.batch]
            waiting = [one._number for one in (*scheduler.ready, *scheduler.first)]
            self._queued = frozenset((*waiting, *batches))
        lane = node._lane
        if node._number in self._queued:
            return _NEXT_TURN
        if lane is not None and lane.lost is not None:
            return Wait(
                kind=WaitKind.BACKEND,
                text=f"the backend that comes up in the place of {lane.name!r}, which was lost",
            )
        return _NEXT_TURN if run.hold_back is None else _HELD

    def _find_inputs(self, node: TaskFuture[Any]) -> Inputs:
        members = self._members(node)
        if members:
            return Inputs(members, len(members), "tasks that it called")
        if node._stage is RUNNING:
            return Inputs((), 0)
        found: dict[int, TaskFuture[Any]] = {}

        def collect(leaf: Any) -> Any:
            if isinstance(leaf, InputFile):
                leaf = leaf.source
            leaf = parent_of(leaf)
            if isinstance(leaf, ServiceFuture | ServiceInfo):
                service = leaf._service
                leaf_node = service.awaited or service.future
            else:
                leaf_node = leaf
            if isinstance(leaf_node, TaskFuture) and leaf_node._owner is node._owner:
                found[leaf_node._number] = leaf_node
            return leaf

        # What it returns is dropped: files and services are looked into, nothing is replaced.
        rewrite_call(node._args, node._kwargs, collect)
        unfinished = [one for one in found.values() if one._stage < DONE]
        return Inputs(unfinished, len(found))

    def _members(self, node: TaskFuture[Any]) -> list[TaskFuture[Any]]:
        """Return the unfinished tasks that the block *node* has called, in order."""
        extras = node._extras
        if node._spec.kind is not TaskKind.BLOCK or extras is None or not extras.members:
            return []
        members = [one for one in extras.members if one._stage < DONE]
        return sorted(members, key=lambda one: one._number)


def _ask(lane: Any, numbers: Sequence[TaskId]) -> Mapping[TaskId, Wait]:
    """Ask the backend of *lane* what these tasks wait for."""
    try:
        told = lane.backend.waits(numbers)
        waits = {number: wait for number, wait in told.items() if isinstance(wait, Wait)}
        return waits if lane.sink.sharing is None else own_waits(waits)
    except Exception:  # foreign code
        log.exception("backend %r raised in waits()", lane.name)
        return {}


def _retry_wait(node: TaskFuture[Any], failure: str, seconds: float) -> Wait:
    policy = node._spec.retries
    of = "" if policy is None else f" of {policy.attempts}"
    told = f" failed with {failure}" if failure else " failed"
    return Wait(
        kind=WaitKind.RETRY,
        text=f"its next attempt: attempt {node._attempt - 1}{of}{told}",
        seconds=seconds,
    )


def _awaitable_wait(future: Any) -> Wait | None:
    if future.done():
        return None
    if isinstance(future, TaskFuture):
        text = f"{future.id} {shorten(future.name, 60)!r} of another engine"
    else:
        name = future.get_name() if hasattr(future, "get_name") else "a future"
        text = f"{shorten(str(name), 60)}, an awaitable among its arguments"
    return Wait(kind=WaitKind.AWAITABLE, text=text)


def _service_wait(node: ServiceFuture) -> Wait:
    signs = node._spec.readiness
    told = [
        f"{name} {value!r}"
        for name, value in (
            ("a line that matches", signs.info_pattern),
            ("an answer of", signs.ready_url),
            ("port", signs.ready_port),
        )
        if value is not None
    ]
    sign = f" ({' and '.join(told)})" if told else ""
    return Wait(kind=WaitKind.SERVICE, text=f"the sign that the service is up{sign}")
