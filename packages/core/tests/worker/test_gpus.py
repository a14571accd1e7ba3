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


def test_named_gpus_are_taken_in_their_first_order() -> None:
    free = FreeGpus(["GPU-b", 3, "GPU-a"])
    taken = free.take(2)
    assert taken == ("GPU-b", 3)
    free.give_back((taken[1],))
    free.give_back((taken[0],))
    assert free.take(3) == ("GPU-b", 3, "GPU-a")


def test_the_lowest_free_gpus_are_taken_first() -> None:
    free = FreeGpus([0, 1, 2, 5])
    first, second = free.take(2), free.take(1)
    assert (first, second, len(free)) == ((0, 1), (2,), 1)
    free.give_back(first)
    assert free.take(3) == (0, 1, 5)
    assert len(free) == 0
