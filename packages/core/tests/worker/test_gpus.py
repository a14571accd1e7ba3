"""The GPUs that a task gets and sees."""

from __future__ import annotations

import os

import pytest
from radical.asyncflow.worker import GPU_VARIABLE, FreeGpus, set_visible_gpus, visible_gpus


@pytest.mark.parametrize(
    ("value", "gpus"),
    [
        ("", ()),
        ("0,2", (0, 2)),
        (" 1 , 3 ", (1, 3)),
        ("GPU-8c1f,MIG-GPU-2/1/0", ("GPU-8c1f", "MIG-GPU-2/1/0")),
        ("1,-1,0", (1,)),
        ("NoDevFiles", ()),
        ("-1", ()),
        ("2,GPU-8c1f,2", (2, "GPU-8c1f")),
        (None, ()),
    ],
)
def test_gpus_are_read_by_number_or_name_up_to_the_first_that_is_neither(
    value: str | None, gpus: tuple[int | str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(GPU_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(GPU_VARIABLE, value)
    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("gpus", "otherwise", "value"),
    [((1, 3), "0", "1,3"), ((), "0,1", "0,1"), ((), "", ""), ((), None, None)],
)
def test_a_process_sees_the_gpus_of_its_task_or_what_it_saw_before(
    gpus: tuple[int, ...],
    otherwise: str | None,
    value: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(GPU_VARIABLE, "7")
    set_visible_gpus(gpus, otherwise)
    assert os.environ.get(GPU_VARIABLE) == value


def test_gpus_are_taken_and_reported_in_their_first_order() -> None:
    free = FreeGpus(["GPU-b", 3, "GPU-a"])
    taken = free.take(2)
    assert taken == {"GPU-b": 1000, 3: 1000}
    rest = free.take(1)
    free.give_back({3: 1000})
    free.give_back({"GPU-b": 1000})
    assert (rest, list(free.take(2) or ())) == ({"GPU-a": 1000}, ["GPU-b", 3])
    assert (len(free), free.take(1)) == (0, None)


def test_a_part_is_of_the_gpu_that_has_the_least_left() -> None:
    free = FreeGpus([0, 1, 2])
    first = free.take(0.5)
    whole = free.take(1)
    assert (first, whole) == ({0: 500}, {1: 1000})
    assert free.take(0.75) == {2: 750}  # never of two
    assert free.take(0.25) == {2: 250}
    assert free.take(0.25) == {0: 250}
    assert (free.fits(0.25), free.fits(0.26), free.fits(1)) == (True, False, False)


@pytest.mark.parametrize(("part", "count"), [(1 / 3, 3), (0.1, 10), (1 / 7, 7), (0.29, 3)])
def test_parts_add_up_however_often_they_are_taken(part: float, count: int) -> None:
    free = FreeGpus([0])
    for _ in range(1000):
        taken = [free.take(part) for _ in range(count)]
        assert None not in taken
        assert not free.fits(part)
        for one in taken:
            free.give_back(one or {})
    assert (free[0], len(free)) == (1000, 1)


def test_each_rank_has_a_part_of_one_gpu() -> None:
    free = FreeGpus([0, 1])
    assert (free.could_fit(0.6, 2), free.could_fit(0.6, 3)) == (True, False)
    assert (free.could_fit(0.25, 8), free.could_fit(0.25, 9)) == (True, False)
    assert (free.could_fit(1, 2), free.could_fit(2, 2), free.could_fit(0)) == (True, False, True)
    assert free.take(0.25, ranks=6) == {0: 1000, 1: 500}
    assert free.take(0.25, ranks=3) is None
    assert (free[0], free[1]) == (0, 500)


def test_gpus_are_taken_where_it_costs_least() -> None:
    free = FreeGpus([0, 1, 2])
    assert free.take(1, among=[2]) == {2: 1000}
    assert free.take(0.5, cost=lambda gpu, share: share * (gpu == 0)) == {1: 500}
