"""How many calls share a Dask task, and which of them wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from asyncflow_backend_dask._packing.packer import Packer
from asyncflow_backend_dask._packing.sizes import bag_sizes
from asyncflow_backend_dask._program.jobs import Job
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.worker import Code


class Packing:
    """A packer, and the sizes of the groups that it sent."""

    def __init__(self) -> None:
        self.code = Code(1, len)
        self.sent: list[int] = []
        self.packer = Packer(self._send)
        self.jobs: list[Job] = []

    def _send(self, groups: Sequence[Sequence[Job]]) -> None:
        self.sent += map(len, groups)

    def split(self, count: int) -> list[int]:
        spec = TaskSpec("len", TaskKind.FUNCTION, len)
        self.jobs = [Job(TaskRequest(at, 1, spec)) for at in range(count)]
        for job in self.jobs:
            job.code = self.code
        return [len(group) for group in self.packer.split(self.code, self.jobs, 2)]

    def learn(self, seconds: float, *, is_large: bool = False) -> None:
        self.packer.learn(self.code, seconds, is_large=is_large, slots=2)


async def test_the_first_calls_go_alone_and_the_others_wait_for_them() -> None:
    packing = Packing()
    assert packing.split(100) == [1] * 4
    for _ in range(4):
        assert packing.sent == []
        packing.learn(0.0001)
    assert packing.sent == bag_sizes(96, 0.0001, 2)


async def test_a_slot_has_the_next_call_before_it_is_known_how_long_the_first_ones_take() -> None:
    packing = Packing()
    packing.split(100)
    packing.learn(0.01)
    assert packing.sent == []
    packing.learn(0.01)
    assert packing.sent == [1, 1]
    packing.learn(0.01)
    packing.learn(0.01)
    assert packing.sent == [1, 1, *bag_sizes(94, 0.01, 2)]


async def test_long_calls_go_alone() -> None:
    packing = Packing()
    packing.learn(0.3)
    assert packing.split(100) == [1] * 100


async def test_one_call_that_was_held_up_does_not_count_for_all() -> None:
    packing = Packing()
    packing.learn(0.0001)
    packing.learn(5.0)
    assert packing.split(800) == bag_sizes(800, 0.0001, 2)
    for _ in range(10):
        packing.learn(5.0)
    assert packing.split(100) == [1] * 100


async def test_calls_with_big_values_go_alone() -> None:
    packing = Packing()
    packing.learn(0.0001, is_large=True)
    assert packing.split(100) == [1] * 100


async def test_a_function_that_became_faster_is_packed_by_what_it_takes_now() -> None:
    packing = Packing()
    for _ in range(100):
        packing.learn(5.0)
    for _ in range(16):
        packing.learn(0.0001)
    assert packing.split(100) == bag_sizes(100, 0.0001, 2)


async def test_while_nothing_is_known_a_few_more_go_from_time_to_time() -> None:
    packing = Packing()
    packing.split(14)
    async with asyncio.timeout(200):
        while sum(packing.sent) < 10:  # noqa: ASYNC110 - a timer sends them
            await asyncio.sleep(0.01)
    assert set(packing.sent) == {1}


async def test_what_waits_can_be_taken_out() -> None:
    packing = Packing()
    packing.split(100)
    assert packing.packer.remove(packing.jobs[50])
    assert not packing.packer.remove(packing.jobs[50])
    for _ in range(4):
        packing.learn(0.0001)
    assert sum(packing.sent) == 95
