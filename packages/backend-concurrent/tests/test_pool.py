"""WorkerPool is an executor like any other, but a death costs one task."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed
from pathlib import Path

import pytest
from asyncflow_backend_concurrent import WorkerPool
from radical.asyncflow.errors import SerializationError, WorkerLostError

pytestmark = pytest.mark.usefixtures("leak_guard")


@pytest.fixture
def pool(leak_guard: None) -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


def test_it_maps_a_lambda(pool: WorkerPool) -> None:
    assert list(pool.map(lambda x: x * x, range(100))) == [x * x for x in range(100)]


def test_keywords_reach_the_function(pool: WorkerPool) -> None:
    assert pool.submit(dict, a=1, b=[2]).result(20) == {"a": 1, "b": [2]}


def test_an_async_function_returns_its_value(pool: WorkerPool) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    assert pool.submit(add, 1, 2).result(20) == 3


def test_an_exception_comes_back(pool: WorkerPool) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        pool.submit(lambda: 1 // 0).result(20)
    assert "1 // 0" in str(caught.value.__cause__)


def test_a_death_costs_one_future(pool: WorkerPool) -> None:
    def maybe(number: int) -> int:
        if number == 13:
            os.abort()
        return number

    futures = [pool.submit(maybe, number) for number in range(40)]
    assert len(list(as_completed(futures, 30))) == 40
    assert isinstance(futures.pop(13).exception(), WorkerLostError)
    assert [future.result() for future in futures] == [n for n in range(40) if n != 13]


def test_what_cannot_be_pickled_fails_its_future(pool: WorkerPool) -> None:
    assert isinstance(pool.submit(id, threading.Lock()).exception(20), SerializationError)


def test_a_future_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    def hold(path: str) -> None:
        import pathlib
        import time

        while not pathlib.Path(path).exists():
            time.sleep(0.005)

    with WorkerPool(1) as pool:
        busy = pool.submit(hold, str(tmp_path / "gate"))
        waiting = pool.submit(hold, str(tmp_path / "gate"))
        while not busy.running():
            pass
        assert waiting.cancel()
        assert not busy.cancel()
        (tmp_path / "gate").touch()
        with pytest.raises(CancelledError):
            waiting.result(20)
        busy.result(20)


def test_shutdown_finishes_what_was_submitted() -> None:
    pool = WorkerPool(2)
    futures = [pool.submit(pow, 2, at) for at in range(50)]
    pool.shutdown()
    assert [future.result(0) for future in futures] == [2**at for at in range(50)]


def test_shutdown_cancels_the_waiting_ones_if_asked() -> None:
    pool = WorkerPool(1)
    futures = [pool.submit(pow, 2, at) for at in range(50)]
    pool.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    assert futures[-1].cancelled()


def test_nothing_is_taken_after_the_shutdown() -> None:
    pool = WorkerPool(1)
    pool.shutdown()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(print)


def test_many_threads_may_submit(pool: WorkerPool) -> None:
    results: list[int] = []

    def client() -> None:
        results.extend(f.result(30) for f in [pool.submit(pow, 2, at) for at in range(50)])

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted([2**at for at in range(50)] * 4)
