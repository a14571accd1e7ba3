"""flow.as_completed of a program without an event loop."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError
from radical.asyncflow.sync import AsCompleted, Flow


@pytest.fixture
def flow() -> Iterator[Flow]:
    with Flow("concurrent", {"max_workers": 2}) as flow:
        yield flow


def double(number: int) -> int:
    return 2 * number


def inverse(number: int) -> float:
    return 1 / number


def test_futures_come_as_their_tasks_end(flow: Flow) -> None:
    gate = threading.Event()

    @flow.function_task
    def wait() -> bool:
        return gate.wait(60)

    slow, quick = wait(), flow.function_task(double)(1)
    search = flow.as_completed([slow, quick])
    assert next(search) is quick
    gate.set()
    assert [future.result() for future in search] == [True]


def test_a_search_adds_a_task_for_each_that_ends(flow: Flow) -> None:
    task = flow.function_task(double)
    search = flow.as_completed({task(number): number for number in (1, 2)})
    seen = []
    for future, number in search:
        seen.append((number, future.result()))
        if number < 20:
            search.add(task(number + 2), number + 2)
    assert sorted(seen) == [(number, 2 * number) for number in range(1, 22)]
    assert len(search) == 0


def test_threads_share_one_iterator_and_each_future_comes_once(flow: Flow) -> None:
    task = flow.function_task(double)
    search = flow.as_completed([task(number) for number in range(200)])
    came: list[Any] = []
    threads = [threading.Thread(target=lambda: came.extend(search)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(future.result() for future in came) == [2 * number for number in range(200)]


def test_a_failure_that_nobody_looks_at_is_still_logged(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    task = flow.function_task(inverse, name="not looked at")
    with caplog.at_level(logging.ERROR, "radical.asyncflow"):
        looked_at, not_looked_at = task(0), task(0)
        came = set(flow.as_completed([looked_at, not_looked_at]))
        assert came == {looked_at, not_looked_at}
        with pytest.raises(ZeroDivisionError):
            looked_at.result()
        del looked_at, not_looked_at, came
        gc.collect()
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if text.startswith("task 'not looked at' failed")]) == 1


def test_a_timeout_ends_the_wait_and_no_task(flow: Flow) -> None:
    gate = threading.Event()

    @flow.function_task
    def wait() -> bool:
        return gate.wait(60)

    quick, slow = flow.function_task(double)(1), wait()
    quick.result()
    search = flow.as_completed([slow, quick], timeout=0.01)
    try:
        assert next(search) is quick
        with pytest.raises(TimeoutError, match=r"1 unfinished after 0\.01 s: <TaskFuture 'wait'"):
            next(search)
        assert not slow.done()
    finally:
        gate.set()
    assert [future.result() for future in flow.as_completed([slow], timeout=600)] == [True]


def test_what_is_no_future_of_the_flow_is_refused(flow: Flow) -> None:
    task = flow.function_task(double)
    future = task(1)
    strange: Any
    with pytest.raises(TypeError, match="a task that was not called"):
        flow.as_completed([task])  # type: ignore[arg-type]
    for strange, message in (
        (future, r"as_completed\(\[future\]\)"),
        ([1], "futures of tasks of this flow, not 1"),
        (5, "a list of futures or a dict"),
    ):
        with pytest.raises(TypeError, match=message):
            flow.as_completed(strange)
    with Flow("noop") as other, pytest.raises(TypeError, match="of another flow"):
        other.as_completed([future])
    with pytest.raises(ConfigurationError, match="timeout must be seconds"):
        flow.as_completed([future], timeout=-1)


def test_a_block_that_would_wait_for_the_thread_that_it_is_in_is_told(flow: Flow) -> None:
    task = flow.function_task(double)
    gate = threading.Event()
    waiting = flow.function_task(gate.wait)(60)

    @flow.block
    async def inside() -> str:
        search: AsCompleted[Any] = flow.as_completed([waiting])
        with pytest.raises(RuntimeError, match=r"flow\.engine\.as_completed"):
            next(search)
        futures = [task(1), task(2)]
        engine: Any = flow.engine
        return str(sorted([f.result() async for f in engine.as_completed(futures)]))

    try:
        assert inside().result() == "[2, 4]"
    finally:
        gate.set()
