"""Memory shared with a worker: what is seen, what is given back, what is left."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncflow_backend_concurrent._process.arena import Arena, make_arena

SIZE = 1_000_000


@pytest.fixture
def ends() -> Iterator[tuple[Arena, Arena]]:
    near = make_arena()
    assert near is not None
    far = Arena(os.dup(near.fileno()), upper=True)
    yield near, far
    for end in (near, far):
        if end.fileno() >= 0:
            end.retire()


def block(value: int, size: int = SIZE) -> memoryview:
    return memoryview(bytes([value]) * size)


def kept(arena: Arena) -> int:
    """Bytes of the file that the system holds."""
    return os.fstat(arena.fileno()).st_blocks * 512


def give(writer: Arena, reader: Arena, value: int, size: int = SIZE) -> Any:
    offset = writer.put(block(value, size))
    assert offset is not None
    return reader.get(offset, size)


def test_each_end_gets_what_the_other_put(ends: tuple[Arena, Arena]) -> None:
    near, far = ends
    there, back = give(near, far, 1), give(far, near, 2)
    assert (bytes(there), bytes(back)) == (bytes(block(1)), bytes(block(2)))


def test_what_one_end_changes_the_other_does_not_see(ends: tuple[Arena, Arena]) -> None:
    near, far = ends
    offset = near.put(block(1))
    assert offset is not None
    first, second = far.get(offset, SIZE), near.get(offset, SIZE)
    first[0] = 7
    assert second[0] == 1


def test_the_memory_lives_as_long_as_an_array_that_uses_it(ends: tuple[Arena, Arena]) -> None:
    near, far = ends
    part = np.frombuffer(give(near, far, 3), np.uint8)[10:20]
    gc.collect()
    assert part.tolist() == [3] * 10
    assert far.freed() == []
    del part
    assert len(far.freed()) == 1


def test_freed_memory_is_written_again(ends: tuple[Arena, Arena]) -> None:
    near, far = ends
    for value in range(20):
        assert give(near, far, value)[5] == value
        for offset, size in far.freed():
            near.reuse(offset, size)
    assert kept(near) < 3 * SIZE


def test_no_more_than_a_bounded_rest_stays(ends: tuple[Arena, Arena]) -> None:
    near, far = ends
    held = [give(near, far, 1, 4 * SIZE) for _ in range(20)]
    assert kept(near) >= 80 * SIZE
    held.clear()
    assert kept(near) <= 16 * 1024 * 1024


def test_when_the_other_end_is_gone_only_what_is_used_here_stays(
    ends: tuple[Arena, Arena],
) -> None:
    near, far = ends
    used, unused = give(far, near, 4), far.put(block(5))
    assert unused is not None
    near.put(block(6))
    near.retire()
    assert bytes(used) == bytes(block(4))
    assert kept(far) <= SIZE + 2 * 4096
    del used
    assert kept(far) == 0


def test_after_a_fork_nothing_is_taken_from_it(ends: tuple[Arena, Arena]) -> None:
    near, far = ends
    array = np.frombuffer(give(near, far, 8), np.uint8)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        os.read(ready, 1)
        os._exit(0 if int(array[-1]) == 8 and int(array.sum()) == 8 * SIZE else 1)
    os.close(ready)
    del array
    far.retire()
    near.retire()
    os.close(told)
    assert os.waitpid(pid, 0)[1] == 0


def test_memory_that_cannot_be_had_is_none(ends: tuple[Arena, Arena]) -> None:
    near, _ = ends
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, limits[1]))
    try:
        assert near.put(block(1, 2 * SIZE)) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert kept(near) == 0


async def test_arrays_pass_where_memory_cannot_be_shared(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncflow_backend_concurrent._process.parent.make_arena", lambda: None)
    driver = await start(executor_type="process")
    (report,) = await driver.run(driver.function(lambda array: array + 1, np.zeros(SIZE)))
    assert report.value.sum() == SIZE
    report.value[0] = 0


async def test_many_large_results_take_no_descriptor(start: Any) -> None:
    driver = await start(executor_type="process")
    await driver.run(*(driver.function(abs, -1) for _ in range(2)))
    gc.collect()  # of earlier tests
    before = len(list(Path("/proc/self/fd").iterdir()))  # noqa: ASYNC240
    reports = await driver.run(*(driver.function(np.zeros, SIZE) for _ in range(40)))
    assert [len(report.value) for report in reports] == [SIZE] * 40
    assert len(list(Path("/proc/self/fd").iterdir())) <= before  # noqa: ASYNC240


async def test_an_array_outlives_its_backend(start: Any) -> None:
    driver = await start(executor_type="process")
    (report,) = await driver.run(driver.function(np.ones, SIZE))
    await driver.backend.shutdown()
    report.value[:10] = 5
    assert report.value.sum() == SIZE + 40
