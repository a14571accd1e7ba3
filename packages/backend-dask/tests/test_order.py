"""What waits on a cluster begins by priority, then by depth."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from asyncflow_backend_dask._packing.chains import BatchChains
from asyncflow_backend_dask._packing.levels import BatchLevels
from asyncflow_backend_dask._packing.packer import Packer
from asyncflow_backend_dask._program.jobs import Job, dask_priority
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.worker import Code

CODE, CODE_UNKNOWN = Code(1, len), Code(2, max)
PAIRS = 1000


def note(folder: str, label: str) -> None:
    """Add *label* to a file beside *folder*; a worker may have a copy of this module."""
    file = os.open(f"{folder}-begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{label}\n".encode())
    finally:
        os.close(file)


def begun_in(folder: str) -> list[str]:
    return Path(f"{folder}-begun").read_text().split()


def first(folder: str, number: int) -> int:
    note(folder, "first")
    time.sleep(0.001)
    return number


def second(folder: str, number: int) -> int:
    note(folder, "second")
    return number + 1


def request(
    number: int, priority: float = 0, depth: int = 0, dependencies: tuple[int, ...] = ()
) -> TaskRequest:
    spec = TaskSpec("len", TaskKind.FUNCTION, len, priority=priority)
    return TaskRequest(number, 1, spec, dependencies=dependencies, depth=depth)


def job(number: int, priority: float = 0, dependencies: tuple[int, ...] = ()) -> Job:
    made = Job(request(number, priority, dependencies=dependencies))
    made.code = CODE
    return made


def unknown(number: int, priority: float) -> Job:
    made = job(number, priority)
    made.code = CODE_UNKNOWN
    return made


def numbers(groups: Sequence[Sequence[Job]]) -> list[int]:
    return [job.task_id for group in groups for job in group]


def test_a_priority_counts_more_than_any_depth() -> None:
    begin = [
        request(1, 2.5),
        request(2, 2.4999, 256),
        request(3, 0, 256),
        request(4, 0, 1),
        request(5),
        request(6, -0.5, 256),
        request(7, -0.5),
    ]
    priorities = list(map(dask_priority, begin))
    assert priorities == sorted(set(priorities), reverse=True)


async def test_calls_of_a_bag_share_a_dask_task_with_equals_only_and_the_higher_go_first() -> None:
    packer = Packer(lambda _: None)
    packer.learn(CODE, 0.0001, is_large=False, slots=2)
    jobs = [job(number, number % 3) for number in range(60)]
    groups = packer.split(CODE, jobs, 2)
    assert all(len({one.request.spec.priority for one in group}) == 1 for group in groups)
    assert numbers(groups) == [number for rest in (2, 1, 0) for number in range(rest, 60, 3)]
    assert max(map(len, groups)) > 1


async def test_of_what_waits_for_probes_the_higher_go_first() -> None:
    sent: list[int] = []
    packer = Packer(lambda groups: sent.extend(numbers(groups)))
    first = packer.split(CODE_UNKNOWN, [unknown(number, number == 50) for number in range(100)], 2)
    assert numbers(first) == [50, 0, 1, 2]
    packer.split(CODE_UNKNOWN, [unknown(200, 1)], 2)
    for _ in range(4):
        packer.learn(CODE_UNKNOWN, 0.0001, is_large=False, slots=2)
    assert sent[0] == 200
    assert sorted(sent) == [*(number for number in range(3, 100) if number != 50), 200]


async def test_calls_of_a_level_share_a_dask_task_with_equals_only() -> None:
    packer = Packer(lambda _: None)
    packer.learn(CODE, 0.0001, is_large=False, slots=2)
    units = [[job(number, number % 2)] for number in range(40)]
    groups = BatchLevels(units, lambda _: True).groups(packer, 2)
    assert all(len({one.request.spec.priority for one in group}) == 1 for group in groups)
    assert max(map(len, groups)) > 1


def test_a_call_with_another_priority_joins_no_chain() -> None:
    before, same, other = job(1), job(2, 0, (1,)), job(2, 1, (1,))
    for after, expected in ((same, [before]), (other, None)):
        chains = BatchChains([before.request, after.request])
        chains.begin(before)
        assert chains.group_for(after, 10) == expected


@pytest.mark.parametrize("later", [False, True])
async def test_the_first_of_many_pairs_is_done_long_before_the_last_one_begins(
    flow: WorkflowEngine, tmp_path: Path, later: bool
) -> None:
    one, two = flow.function_task(first), flow.function_task(second)
    before, folder = (str(tmp_path / part) for part in ("before", "pairs"))
    for known in (two(before, one(before, 0)), two(before, one(before, 1))):
        await known  # so that calls share Dask tasks from the start
    roots = [one(folder, number) for number in range(PAIRS)]
    while later and not all(root.attempts for root in roots):  # noqa: ASYNC110 - a few turns
        await asyncio.sleep(0)  # until Dask has all of them
    ends = [two(folder, root) for root in roots]
    assert await asyncio.gather(*ends) == list(range(1, PAIRS + 1))
    begun = begun_in(folder)
    assert begun[: begun.index("second")].count("first") < PAIRS / 2
