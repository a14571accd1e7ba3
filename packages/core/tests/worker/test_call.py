from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from radical.asyncflow.worker import TaskContext, call, cancelled, close_loop


@pytest.fixture(autouse=True)
def closed_loop() -> Iterator[None]:
    yield
    close_loop()


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


class Doubler:
    async def __call__(self, x: int) -> int:
        return await double(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2 * x,
        double,
        functools.partial(double),
        Doubler(),
        lambda x: double(x),
    ],
    ids=["sync", "async", "partial", "async __call__", "returns an awaitable"],
)
def test_every_kind_of_function_is_run_to_its_end(function: Callable[[int], Any]) -> None:
    assert call(function, (4,), {}) == 8


def test_an_awaitable_that_is_no_coroutine_is_awaited() -> None:
    class Later:
        def __await__(self) -> Generator[Any, None, str]:
            yield from asyncio.sleep(0).__await__()
            return "it"

    assert call(Later, (), {}) == "it"


def test_keyword_arguments_arrive() -> None:
    assert call(double, (), {"x": 3}) == 6


def test_an_exception_comes_out_unchanged() -> None:
    error = LookupError("x")

    async def fail() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        call(fail, (), {})
    assert caught.value is error


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_the_loop_survives_an_exception_that_ends_programs(kind: type[BaseException]) -> None:
    async def leave() -> None:
        raise kind

    with pytest.raises(kind):
        call(leave, (), {})
    assert call(double, (1,), {}) == 2


def test_a_thread_keeps_one_loop_for_all_calls() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert call(loop, (), {}) is call(loop, (), {})


def test_closing_the_loop_leaves_the_thread_ready_for_another() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = call(loop, (), {})
    close_loop()
    assert first.is_closed()
    assert call(loop, (), {}) is not first


def test_closing_without_a_loop_is_harmless() -> None:
    async def answer() -> int:
        return 42

    close_loop()
    close_loop()
    assert call(answer, (), {}) == 42


def test_closing_shuts_down_async_generators() -> None:
    ended = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.set()

    generator = numbers()

    async def take_one() -> int:
        return await anext(generator)

    assert call(take_one, (), {}) == 1
    close_loop()
    assert ended.is_set()


def test_asyncio_tasks_left_behind_are_cancelled_before_the_call_ends() -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def leave_behind() -> asyncio.Task[None]:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        return task

    task = call(leave_behind, (), {})
    assert task.cancelled()
    assert seen == ["cancelled"]


def test_cancelling_the_task_stops_an_async_function_that_runs() -> None:
    running = threading.Event()

    async def wait() -> None:
        running.set()
        await asyncio.sleep(1000)

    with TaskContext("a", 1) as context:

        def cancel() -> None:
            running.wait(30)
            context.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(asyncio.CancelledError):
            call(wait, (), {})
        canceller.join()


def test_a_task_that_was_cancelled_before_never_gets_past_its_first_await() -> None:
    reached: list[int] = []

    async def wait() -> None:
        await asyncio.sleep(1000)
        reached.append(1)

    with TaskContext("a", 1) as context:
        context.cancel()
        with pytest.raises(asyncio.CancelledError):
            call(wait, (), {})
    assert not reached


def test_a_second_cancel_does_not_hit_the_cleaning_up() -> None:
    cleaned: list[int] = []

    async def careful(context: TaskContext) -> None:
        try:
            context.cancel()
            await asyncio.sleep(1000)
        finally:
            context.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            cleaned.append(1)

    with TaskContext("a", 1) as context, pytest.raises(asyncio.CancelledError):
        call(careful, (context,), {})
    assert cleaned


def test_a_cancel_after_the_end_does_not_hit_the_next_task() -> None:
    with TaskContext("a", 1) as first:
        call(double, (1,), {})
    first.cancel()
    with TaskContext("b", 2):
        assert call(double, (2,), {}) == 4
        assert not cancelled()


def test_the_task_is_current_inside_of_an_async_function() -> None:
    async def look() -> bool:
        return cancelled()

    with TaskContext("a", 1) as context:
        assert call(look, (), {}) is False
        context.cancelled = True
        context.on_cancel = None

    async def timeouts_work() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1000)
        except TimeoutError:
            return "timeout"
        return "none"

    assert call(timeouts_work, (), {}) == "timeout"
