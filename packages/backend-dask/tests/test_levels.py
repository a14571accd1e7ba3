"""Calls of one level of a graph share a Dask task, and nobody sees it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncflow_backend_dask._packing.levels import BatchLevels
from asyncflow_backend_dask._packing.packer import Packer
from asyncflow_backend_dask._program.jobs import Job
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.errors import DependencyFailureError, SerializationError
from radical.asyncflow.testing import LeakGuard
from radical.asyncflow.worker import Code


def job(number: int, code: Code, *dependencies: int) -> Job:
    spec = TaskSpec("len", TaskKind.FUNCTION, len)
    made = Job(TaskRequest(number, 1, spec, dependencies=dependencies))
    made.code = code
    return made


def refuse(groups: Sequence[Sequence[Job]]) -> None:
    raise AssertionError("no group waits in this packer")


@pytest.mark.parametrize("seed", range(20))
async def test_groups_stand_behind_all_that_they_depend_on(seed: int) -> None:
    dice = random.Random(seed)
    short, long, unknown = Code(1, len), Code(2, sum), Code(3, max)
    packer = Packer(refuse)
    packer.learn(short, 0.0001, is_large=False, slots=2)
    packer.learn(long, 1.0, is_large=False, slots=2)
    jobs: list[Job] = []
    for number in range(1, 300):
        parents = dice.sample(range(1, number), min(number - 1, dice.randrange(4)))
        jobs.append(job(number, dice.choice((short, short, long, unknown)), *parents))
    units = [[one] for one in jobs]
    groups = BatchLevels(units, lambda one: one.task_id % 7 != 0).groups(packer, 2)
    seen: set[int] = set()
    for group in groups:
        assert all(seen.issuperset(one.request.dependencies) for one in group)
        seen.update(one.task_id for one in group)
        if len(group) > 1:
            assert {one.code for one in group} == {short}
            assert all(one.task_id % 7 for one in group)
    assert sum(map(len, groups)) == len(seen) == len(jobs)
    assert max(map(len, groups)) > 1


async def test_chains_side_by_side_share_a_dask_task_too() -> None:
    code = Code(1, len)
    packer = Packer(refuse)
    packer.learn(code, 0.0001, is_large=False, slots=2)
    units = []
    for start in range(0, 800, 10):
        chain = [job(start + at, code, *([start + at - 1] if at else [])) for at in range(10)]
        for before, after in pairwise(chain):
            after.predecessor = before.task_id
        units.append(chain)
    groups = BatchLevels(units, lambda one: one.code is code).groups(packer, 2)
    assert [len(group) for group in groups] == [100] * 8


def add(*numbers: Any) -> int:
    if -1 in numbers:
        raise ValueError("there is a -1")
    return sum(numbers)


async def test_a_graph_of_short_calls_is_a_few_dask_tasks_and_nobody_sees_it(
    flow: WorkflowEngine,
    sizes_of: Callable[[WorkflowEngine], list[int]],
    states_of: Callable[..., list[str]],
) -> None:
    """Each call has its own states, and its own failure."""
    events: list[Any] = []
    flow.observe(events.extend)
    task = flow.function_task(add)
    await asyncio.gather(*[task(at) for at in range(20)])
    sizes = sizes_of(flow)
    width = 40
    layers = [[task(-1 if at == 0 else at) for at in range(width)]]
    for _ in range(5):
        before = layers[-1]
        layers.append([task(before[at - 1], before[at]) for at in range(width)])
    results = [await asyncio.gather(*layer, return_exceptions=True) for layer in layers]
    assert sum(sizes) == 6 * width
    assert len(sizes) < 2 * width
    expected: list[Any] = [None if at == 0 else at for at in range(width)]
    for layer, found in zip(layers, results, strict=True):
        for future, result, value in zip(layer, found, expected, strict=True):
            assert future.state == ("FAILED" if value is None else "DONE")
            if value is None:
                root = result if layer is layers[0] else result.__cause__
                assert isinstance(root, ValueError)
                assert layer is layers[0] or isinstance(result, DependencyFailureError)
            else:
                assert result == value
        expected = [
            None if None in (expected[at - 1], expected[at]) else expected[at - 1] + expected[at]
            for at in range(width)
        ]
    last = layers[-1][-1]
    assert states_of(events, last) == ["PENDING", "READY", "SUBMITTED", "RUNNING", "DONE"]


async def test_one_that_cannot_be_sent_fails_alone_among_those_of_its_level(
    flow: WorkflowEngine,
) -> None:
    class Stays:
        def __reduce__(self) -> Any:
            raise TypeError("it stays here")

    task = flow.function_task(lambda *values: len(values))
    await asyncio.gather(*[task(at) for at in range(20)])
    sources = [task(at) for at in range(20)]
    above = [task(source, Stays() if at == 7 else at) for at, source in enumerate(sources)]
    behind = [task(left, right) for left, right in pairwise(above)]
    ends = await asyncio.gather(*above, return_exceptions=True)
    assert isinstance(ends.pop(7), SerializationError)
    assert ends == [2] * 19
    last = await asyncio.gather(*behind, return_exceptions=True)
    for at, end in enumerate(last):
        assert isinstance(end, DependencyFailureError) if at in (6, 7) else end == 2


async def test_large_arguments_of_several_calls_are_not_mistaken_for_each_other(
    flow: WorkflowEngine,
    sizes_of: Callable[[WorkflowEngine], list[int]],
) -> None:
    task = flow.function_task(lambda number, data: (number, int(data[0]), len(data)))
    await asyncio.gather(*[task(at, [0]) for at in range(20)])
    sources = [flow.function_task(int)(at) for at in range(20)]
    pieces = [np.full(20_000 + at, at) for at in range(20)]
    sizes = sizes_of(flow)
    ends = await asyncio.gather(*[task(*both) for both in zip(sources, pieces, strict=True)])
    assert max(sizes) > 1
    assert ends == [(at, at, 20_000 + at) for at in range(20)]


@pytest.mark.parametrize("source", [1, 2], ids=["same Dask task", "another Dask task"])
async def test_a_call_never_waits_for_good_for_the_dependency_of_its_neighbour(
    flow: WorkflowEngine,
    tmp_path: Path,
    source: int,
    sizes_of: Callable[[WorkflowEngine], list[int]],
) -> None:
    """Here the neighbour waits for the call itself; each Dask task has two calls."""

    def wait_for(place: str, wanted: bool) -> bool:
        deadline = time.monotonic() + 200
        while wanted and not Path(place).exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        return wanted

    def touch(place: str, *_: Any) -> str:
        Path(place).touch()
        return place

    gate = tmp_path / "gate"
    first, second = flow.function_task(wait_for), flow.function_task(touch)
    await asyncio.gather(*[first(str(gate), False) for _ in range(20)])
    await asyncio.gather(*[second(str(tmp_path / "other")) for _ in range(20)])
    sizes = sizes_of(flow)
    sources = [first(str(gate), at == 0) for at in range(16)]
    others = [second(str(tmp_path / "0"), sources[0])]
    opening = second(str(gate), sources[source])
    others += [second(str(tmp_path / f"{at}"), sources[at]) for at in range(source + 1, 16)]
    # The calls behind them are asked back together with them.
    behind = [second(str(tmp_path / f"b{at}"), opening, other) for at, other in enumerate(others)]
    async with asyncio.timeout(200):
        await opening
    assert max(sizes) == 2
    assert await asyncio.gather(*sources) == [True, *[False] * 15]
    await asyncio.gather(*others, *behind)
    assert all((tmp_path / f"b{at}").exists() for at in range(len(others)))


async def test_a_level_that_is_cancelled_in_part_gives_the_other_results(
    flow: WorkflowEngine,
) -> None:
    task = flow.function_task(lambda *values: len(values))
    await asyncio.gather(*[task(at) for at in range(20)])
    sources = [task(at) for at in range(40)]
    above = [task(sources[at - 1], sources[at]) for at in range(40)]
    await asyncio.sleep(0)
    for future in above[::2]:
        future.cancel()
    ends = await asyncio.gather(*above, return_exceptions=True)
    assert ends[1::2] == [2] * 20
    assert all(isinstance(end, asyncio.CancelledError) for end in ends[::2])


async def test_of_a_new_function_in_a_graph_the_first_calls_tell_how_to_pack_the_others(
    flow: WorkflowEngine,
    sizes_of: Callable[[WorkflowEngine], list[int]],
) -> None:
    sizes = sizes_of(flow)
    source, above = flow.function_task(int), flow.function_task(add)
    sources = [source(at) for at in range(100)]
    layer = [above(left, right) for left, right in pairwise(sources)]
    late = [above(left, right) for left, right in pairwise(layer)]
    await asyncio.sleep(0)
    later = [above(left, right) for left, right in pairwise(late)]
    assert await asyncio.gather(*layer) == [2 * at + 1 for at in range(99)]
    assert await asyncio.gather(*later) == [8 * at + 12 for at in range(97)]
    assert sum(sizes) == 100 + 99 + 98 + 97
    assert len(sizes) < 200
    assert sizes.count(1) >= 8  # four of each function


async def test_calls_that_wait_for_the_first_of_their_function_do_not_wait_for_all_of_those(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    def work(place: str, number: int, _: int) -> int:
        if number == 0:  # it waits for a call that was not sent with it
            deadline = time.monotonic() + 200
            while not (Path(place) / "there").exists() and time.monotonic() < deadline:
                time.sleep(0.005)
        if number == 30:
            (Path(place) / "there").touch()
        return number

    source = flow.function_task(int)
    task = flow.function_task(work)
    futures = [task(str(tmp_path), at, source(at)) for at in range(40)]
    assert await asyncio.gather(*futures) == list(range(40))


async def test_calls_that_wait_for_the_first_of_their_function_can_be_cancelled(
    flow: WorkflowEngine,
) -> None:
    source, above = flow.function_task(int), flow.function_task(add)
    layer = [above(left, right) for left, right in pairwise([source(at) for at in range(50)])]
    await asyncio.sleep(0)
    for future in layer[20:]:
        future.cancel()
    ends = await asyncio.gather(*layer, return_exceptions=True)
    assert ends[:20] == [2 * at + 1 for at in range(20)]
    assert all(isinstance(end, asyncio.CancelledError) for end in ends[20:])


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_shutdown_reaches_calls_that_wait_for_the_first_of_their_function(
    cancel: bool,
) -> None:
    settings = {"processes": False, "threads_per_worker": 2, "dashboard_address": None}
    async with LeakGuard():
        flow = await WorkflowEngine.create("dask", config=settings)
        source, above = flow.function_task(int), flow.function_task(add)
        layer = [above(left, right) for left, right in pairwise([source(at) for at in range(50)])]
        await asyncio.sleep(0)
        await flow.shutdown(cancel=cancel)
        ends = await asyncio.gather(*layer, return_exceptions=True)
    if cancel:
        assert any(isinstance(end, asyncio.CancelledError) for end in ends)
    else:
        assert ends == [2 * at + 1 for at in range(49)]
