"""Thousands of random runs of the whole engine, each of them reproducible by its seed.

``ASYNCFLOW_SIMULATION_SEEDS`` says how many, ``ASYNCFLOW_SIMULATION_FIRST`` from which on.
"""

from __future__ import annotations

import os

import pytest

from .run import Run
from .world import HangError, VirtualLoop

FIRST = int(os.environ.get("ASYNCFLOW_SIMULATION_FIRST", "0"))
COUNT = int(os.environ.get("ASYNCFLOW_SIMULATION_SEEDS", "1000"))
PARTS = 10

REGRESSIONS = [35, 54, 153, 361, 935, 1209, 1468, 1488, 1491]
"""Seeds whose runs meet a mistake that the engine once made, or that would be easy to make."""


def play(seed: int) -> Run:
    run = Run(seed)
    try:
        run.play()
    except BaseException as error:
        error.add_note(f"simulation seed {seed}")
        raise
    return run


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(0)
def test_every_run_ends_as_the_model_says(part: int) -> None:
    assert COUNT > 0
    for seed in range(FIRST + part, FIRST + COUNT, PARTS):
        assert play(seed).flow.closed


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_seed_that_once_failed_does_not_again(seed: int) -> None:
    assert play(seed).flow.closed


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_is_the_same_run_each_time(seed: int) -> None:
    assert play(seed).trace == play(seed).trace != []


@pytest.mark.parametrize("seed", range(5))
def test_nothing_of_a_run_is_kept(seed: int) -> None:
    references = play(seed).forget()
    assert {ref() for ref in references} == {None}


def test_a_run_that_waits_for_ever_is_noticed() -> None:
    loop = VirtualLoop()
    try:
        with pytest.raises(HangError):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()
