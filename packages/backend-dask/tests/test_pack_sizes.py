"""How many calls share a Dask task, by the time that they take."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise

import pytest
from asyncflow_backend_dask._packing.sizes import bag_sizes, max_calls_in_graph
from hypothesis import given
from hypothesis import strategies as some

DASK_TASK_S = 0.0015  # that a worker is idle between two Dask tasks


def makespan(durations: list[float], sizes: list[int], slots: int) -> float:
    """Return when all is done if each Dask task goes to the first slot that is free."""
    free = [0.0] * slots
    rest = iter(durations)
    for size in sizes:
        work = sum(next(rest) for _ in range(size))
        heapq.heapreplace(free, free[0] + DASK_TASK_S + work)
    return max(free)


@given(
    count=some.integers(0, 5_000),
    seconds=some.floats(0, 100, allow_nan=False),
    slots=some.integers(0, 300),
)
def test_every_call_is_in_one_dask_task_and_these_become_smaller(
    count: int, seconds: float, slots: int
) -> None:
    sizes = bag_sizes(count, seconds, slots)
    assert sum(sizes) == count
    assert all(1 <= size <= 256 for size in sizes)
    assert all(before >= after for before, after in pairwise(sizes))
    if count:
        assert sizes[0] <= -(-count // max(slots, 1)), "a slot would be left without work"


@pytest.mark.parametrize(
    ("seconds", "first", "last"),
    [(0.3, 1, 1), (0.1, 1, 1), (0.03, 1, 1), (0.01, 20, 1), (0.001, 63, 7)],
)
def test_calls_that_take_long_compared_with_a_dask_task_share_one_with_few(
    seconds: float, first: int, last: int
) -> None:
    sizes = bag_sizes(1_000, seconds, 4)
    assert (sizes[0], sizes[-1]) == (first, last)


def test_short_calls_share_a_dask_task_as_long_as_every_slot_has_one() -> None:
    assert bag_sizes(1_000, 1e-6, 2) == [125] * 8
    assert bag_sizes(100_000, 1e-6, 2)[:2] == [256, 256]
    assert bag_sizes(16, 0.0001, 4) == [4] * 4


def test_with_many_slots_dask_tasks_are_larger_because_one_scheduler_serves_them_all() -> None:
    assert bag_sizes(1_000_000, 0.01, 16)[0] == 20
    sizes = bag_sizes(1_000_000, 0.01, 1_000)
    assert sizes[0] == 100
    assert len(sizes) * 0.0005 < 0.6 * 1_000_000 * 0.01 / 1_000


@pytest.mark.parametrize("slots", [4, 16])
@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.1])
def test_equal_calls_lose_little_between_dask_tasks_and_at_the_end(
    seconds: float, slots: int
) -> None:
    count = round(slots * 50 * max(1.0, 0.01 / seconds))
    sizes = bag_sizes(count, seconds, slots)
    ideal = count * seconds / slots
    assert makespan([seconds] * count, sizes, slots) <= 1.05 * ideal
    assert makespan([seconds] * count, [1] * count, slots) > 1.01 * ideal


@pytest.mark.parametrize("slots", [4, 16])
@pytest.mark.parametrize("seconds", [0.01, 0.1])
def test_uneven_calls_end_within_5_percent_of_list_scheduling(seconds: float, slots: int) -> None:
    dice = random.Random(slots)
    losses = []
    for _ in range(25):
        durations = [seconds * dice.lognormvariate(0, 1) for _ in range(slots * 60)]
        free = [0.0] * slots
        for duration in durations:
            heapq.heapreplace(free, free[0] + duration)
        # The packer knows the median only, which is less than the mean.
        sizes = bag_sizes(len(durations), seconds, slots)
        losses.append(makespan(durations, sizes, slots) / max(free))
    assert sum(losses) / len(losses) <= 1.05


def test_calls_on_which_others_depend_share_a_dask_task_of_20_ms() -> None:
    assert max_calls_in_graph(0.004) == 5
    assert max_calls_in_graph(0.03) == 1
    assert max_calls_in_graph(0.0) == 256
