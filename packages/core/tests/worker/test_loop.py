"""The loop of a worker's thread: what an async function finds in it, and what stays of one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from radical.asyncflow.worker import TaskContext, _loop, call, close_loop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(autouse=True)
def closed_loop() -> Iterator[None]:
    yield
    close_loop()


@pytest.fixture(params=["quick", "debug", "other library"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with a loop of each kind, of which only the first has a short cut."""
    kind: str = request.param
    make = asyncio.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        loop = make()
        loop.set_debug(kind == "debug")
        return loop

    monkeypatch.setattr(asyncio, "new_event_loop", new_event_loop)
    if kind == "other library":
        monkeypatch.setattr(_loop, "_INTERNALS", (*_loop._INTERNALS, "no such attribute"))
    return kind


def run(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return call(function, args, {})


async def loop_of_thread() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_this_python_has_the_short_cut() -> None:
    """A new version of Python may rename what it needs; then everything works, but slowly."""
    loop = asyncio.new_event_loop()
    assert [name for name in _loop._INTERNALS if not hasattr(loop, name)] == []
    assert loop._selector._fd_to_key
    loop.close()


async def before_the_first_await() -> list[Any]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    return [
        loop.is_running(),
        asyncio.get_event_loop() is loop,
        task.get_loop() is loop,
        task in asyncio.all_tasks(),
        isinstance(task, asyncio.Task),
        task.cancelling(),
    ]


@pytest.mark.usefixtures("kind")
def test_before_its_first_await_a_function_finds_its_loop_and_its_task() -> None:
    assert run(before_the_first_await) == [True, True, True, True, True, 0]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert not run(loop_of_thread).is_running()


@pytest.mark.usefixtures("kind")
def test_the_asyncio_task_is_the_same_before_and_after_an_await() -> None:
    async def look() -> bool:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        second = asyncio.current_task()
        await asyncio.sleep(0.001)
        return first is second is asyncio.current_task()

    assert run(look)


def test_the_asyncio_task_has_the_name_of_the_task() -> None:
    async def look() -> str:
        return asyncio.current_task().get_name()

    with TaskContext("fetch", 1):
        assert run(look) == "fetch"


@pytest.mark.usefixtures("kind")
def test_timeouts_groups_and_tasks_can_be_made_before_the_first_await() -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async def work() -> list[Any]:
        task = asyncio.create_task(later(1))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(later(at)) for at in (2, 3)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        return [await task, *(each.result() for each in tasks)]

    assert run(work) == [1, 2, 3]


@pytest.mark.usefixtures("kind")
def test_a_function_that_cancels_itself_is_cancelled_at_its_next_await() -> None:
    async def give_up() -> None:
        asyncio.current_task().cancel("enough")
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        run(give_up)
    assert run(before_the_first_await)[-1] == 0


@pytest.mark.usefixtures("kind")
def test_context_variables_pass_from_step_to_step_and_to_no_other_function() -> None:
    async def change() -> list[str]:
        seen = [variable.get()]
        variable.set("changed")
        await asyncio.sleep(0)
        seen.append(variable.get())
        await asyncio.sleep(0.001)
        return [*seen, variable.get()]

    assert run(change) == ["unset", "changed", "changed"]
    assert run(change) == ["unset", "changed", "changed"]
    assert variable.get() == "unset"


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("steps", [1, 2, 15, 16, 17, 100])
def test_any_number_of_steps_is_made(steps: int) -> None:
    async def work() -> int:
        for _ in range(steps):
            await asyncio.sleep(0)
        return steps

    assert run(work) == steps


@pytest.mark.usefixtures("kind")
def test_a_function_that_only_looks_again_gets_what_another_thread_sends() -> None:
    async def work() -> str:
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(arrived.set,))
        thread.start()
        while not arrived.is_set():  # noqa: ASYNC110 - that is the point
            await asyncio.sleep(0)
        thread.join()
        return "arrived"

    assert run(work) == "arrived"


@pytest.mark.usefixtures("kind")
def test_a_cancel_between_short_steps_is_heeded() -> None:
    steps = []

    async def work(job: TaskContext) -> None:
        for number in range(1000):
            steps.append(number)
            if number == 3:
                job.cancel()
            await asyncio.sleep(0)

    with TaskContext("a", 1) as job, pytest.raises(asyncio.CancelledError):
        run(work, job)
    assert len(steps) < 10


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, ValueError]
)
def test_an_error_comes_out_and_costs_no_other_function_anything(
    error: type[BaseException], late: bool
) -> None:
    async def fail() -> None:
        if late:
            await asyncio.sleep(0)
        raise error("on purpose")

    async def well() -> int:
        await asyncio.sleep(0)
        return 42

    with pytest.raises(error):
        run(fail)
    assert run(well) == 42


def test_nothing_keeps_a_result_or_an_error_alive() -> None:
    class ThingError(Exception):
        pass

    async def make() -> ThingError:
        return ThingError()

    async def fail() -> None:
        raise ThingError

    gc.disable()
    try:
        gone = weakref.ref(run(make))
        assert gone() is None
        try:
            run(fail)
        except ThingError as error:
            gone = weakref.ref(error)
        assert gone() is None
    finally:
        gc.enable()


# What stays.


def leave_timer() -> None:
    asyncio.get_running_loop().call_later(0.001, ran.append, "timer")


def leave_reader() -> None:
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    loop.add_reader(reader, ran.append, "reader")
    descriptors.extend((reader, writer))


def leave_handler() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: ran.append("handler"))


def leave_factory() -> None:
    asyncio.get_running_loop().set_task_factory(lambda *_, **__: ran.append("factory"))


ran: list[str] = []
descriptors: list[int] = []


@pytest.fixture
def no_rest() -> Iterator[None]:
    ran.clear()
    yield
    while descriptors:
        os.close(descriptors.pop())


@pytest.mark.usefixtures("no_rest")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("leave", [leave_timer, leave_reader, leave_handler, leave_factory])
def test_what_a_function_leaves_in_its_loop_is_not_there_for_the_next(
    leave: Callable[[], None], late: bool
) -> None:
    async def first() -> asyncio.AbstractEventLoop:
        if late:
            await asyncio.sleep(0.001)
        leave()
        return asyncio.get_running_loop()

    async def second() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "an example"})
        await asyncio.create_task(asyncio.sleep(0.02))
        return loop

    left = run(first)
    if descriptors:
        os.write(descriptors[1], b".")
    assert run(second) is not left
    assert left.is_closed()
    assert ran == []


def test_a_timeout_that_did_not_happen_costs_no_loop() -> None:
    async def work() -> asyncio.AbstractEventLoop:
        async with asyncio.timeout(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop()

    loop = run(work)
    assert run(work) is loop
    assert loop._scheduled == []


@pytest.mark.parametrize("late", [False, True])
def test_callbacks_that_are_due_are_run_before_the_end(late: bool) -> None:
    seen: list[int] = []

    async def work() -> asyncio.AbstractEventLoop:
        if late:
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: (seen.append(1), loop.call_soon(seen.append, 2)))
        return loop

    loop = run(work)
    assert seen == [1, 2]
    assert run(work) is loop


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("late", [False, True])
def test_a_task_left_behind_is_cancelled_wherever_it_was_made(late: bool) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("cancelled")

    async def leave() -> asyncio.Task[None]:
        task = asyncio.create_task(background())
        if late:
            await asyncio.sleep(0)
        return task

    assert run(leave).cancelled()
    assert ended or not late  # one that never began has nothing to end


@pytest.mark.parametrize("late", [False, True])
def test_a_generator_that_is_dropped_ends_before_its_function_does(late: bool) -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("closed")

    async def take_one() -> int:
        if late:
            await asyncio.sleep(0)
        async for number in numbers():
            return number
        return 0

    assert run(take_one) == 1
    assert ended == ["closed"]


def test_a_generator_that_is_kept_is_closed_with_its_loop() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("closed")

    generator = numbers()

    async def take_one() -> int:
        return await anext(generator)

    assert run(take_one) == 1
    assert ended == ["closed"]


def test_a_generator_that_is_driven_by_hand_is_left_alone() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("closed")

    def next_of(generator: AsyncIterator[int]) -> int:
        try:
            generator.__anext__().send(None)
        except StopIteration as stop:
            return int(stop.value)
        raise AssertionError

    run(loop_of_thread)
    generator = numbers()
    assert next_of(generator) == 1
    run(loop_of_thread)
    assert (ended, next_of(generator)) == ([], 2)
    del generator
    assert ended == ["closed"]


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("late", [False, True])
def test_a_function_that_stops_its_loop_harms_no_other(late: bool) -> None:
    async def stop() -> None:
        if late:
            await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        await asyncio.sleep(1000)

    with pytest.raises(RuntimeError, match="stopped"):
        run(stop)
    assert run(before_the_first_await)[0]


def test_one_that_stops_its_loop_and_ends_is_done() -> None:
    async def stop() -> int:
        asyncio.get_running_loop().stop()
        return 42

    assert (run(stop), run(before_the_first_await)[0]) == (42, True)


def test_an_error_in_what_was_left_is_told_and_is_not_the_function_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave() -> int:
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)
        return 42

    with caplog.at_level(logging.WARNING):
        assert run(leave) == 42
    assert run(before_the_first_await)[0]


def test_a_loop_that_runs_in_this_thread_is_not_used_from_within() -> None:
    async def inner() -> int:
        return 42

    async def outer() -> None:
        run(inner)

    with pytest.raises(RuntimeError, match="another event loop is running"):
        asyncio.run(outer())


def test_hooks_of_the_thread_are_as_they_were_when_its_loop_is_closed() -> None:
    before = sys.get_asyncgen_hooks()
    run(loop_of_thread)
    assert sys.get_asyncgen_hooks() != before
    close_loop()
    assert sys.get_asyncgen_hooks() == before
