"""The order in which tasks go to nodes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from asyncflow_backend_parsl._program.nodes import Node
from asyncflow_backend_parsl._program.packing import PackedTask, Packer
from asyncflow_backend_parsl._program.waiting import Line, Unit, Waiting
from asyncflow_backend_parsl._wire.messages import NodeFacts
from radical.asyncflow.backend import Resources, TaskKind, TaskRef, TaskRequest, TaskSpec

_NUMBERS = count(1)
_PACKER = Packer()


def _task(
    *, cores: int = 1, priority: float = 0, depth: int = 0, after: PackedTask | None = None
) -> PackedTask:
    asked = Resources(cores=cores)
    spec = TaskSpec("task", TaskKind.FUNCTION, abs, resources=asked, priority=priority)
    before = () if after is None else (after.task_id,)
    args = tuple(map(TaskRef, before))
    number = next(_NUMBERS)
    return _PACKER.pack(TaskRequest(number, 1, spec, args, {}, None, before, depth=depth))


def _waiting(tasks: Sequence[PackedTask]) -> Waiting:
    waiting = Waiting()
    units: dict[int, Unit] = {}
    for task in tasks:
        waiting.add(task, units)
    return waiting


def _ids(tasks: Sequence[PackedTask]) -> list[int]:
    return [task.task_id for task in tasks]


def _taken(waiting: Waiting, line: Line) -> list[int]:
    """Take all units of *line*; return the ids of the first task of each."""
    found = []
    while (unit := line.first()) is not None:
        found.append(unit.tasks[0].task_id)
        waiting.take(unit)
    return found


def test_what_has_priority_or_most_before_it_goes_first() -> None:
    plain, deep, urgent, last = _task(), _task(depth=2), _task(priority=1), _task()
    waiting = _waiting([plain, deep, urgent, last])
    (line,) = waiting.lines()
    assert _taken(waiting, line) == _ids([urgent, deep, plain, last])
    assert not waiting
    assert waiting.lines() == []


def test_what_was_refused_goes_before_its_equals_with_what_waits_for_it() -> None:
    waiting = _waiting([waits := _task()])
    first = _task()
    second, third = _task(after=first), _task()
    waiting.add_first([first, second, third])
    (line,) = waiting.lines()
    assert line.count == 3
    unit = line.first()
    assert unit is not None
    assert _ids(unit.tasks) == _ids([first, second])
    assert _taken(waiting, line) == _ids([first, third, waits])


def test_a_line_for_each_request_for_resources_the_next_one_first() -> None:
    wide, plain, urgent = _task(cores=2), _task(), _task(cores=4, priority=1)
    waiting = _waiting([wide, plain, urgent])
    assert [line.resources.cores for line in waiting.lines()] == [4, 2, 1]
    assert _ids(waiting.drop([urgent.task_id])) == _ids([urgent])
    assert [line.resources.cores for line in waiting.lines()] == [2, 1]


def test_a_dropped_task_takes_along_what_waits_for_its_value() -> None:
    first = _task()
    second = _task(after=first)
    third, other = _task(after=second), _task()
    waiting = _waiting([first, second, third, other])
    assert _ids(waiting.drop([second.task_id])) == _ids([second, third])
    assert list(waiting) == _ids([first, other])
    assert _ids(waiting.drop([first.task_id, first.task_id])) == _ids([first])
    (line,) = waiting.lines()
    assert line.count == 1
    assert _taken(waiting, line) == _ids([other])


def test_a_task_waits_on_a_node_only_behind_others() -> None:
    facts = NodeFacts("host", "0", "", 1, 0, 1 << 30, ("", ""), 1)
    node = Node(b"node", facts, 1)
    first, second = _task(), _task()
    tasks = [first, second, _task(after=first)]
    for task in tasks:
        node.give(task)
    assert [node.sent[task.task_id].waits for task in tasks] == [False, True, True]
