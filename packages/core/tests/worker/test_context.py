from __future__ import annotations

import asyncio
import threading

from radical.asyncflow.worker import TaskContext, cancelled, current_task


def test_outside_of_a_task_there_is_no_task_and_nothing_is_cancelled() -> None:
    assert current_task() is None
    assert cancelled() is False


def test_inside_of_a_task_its_context_is_current() -> None:
    context = TaskContext("a", 7, 2, gpus=(1, 3))
    with context:
        assert current_task() is context
    assert current_task() is None


def test_a_nested_context_gives_way_to_the_outer_one() -> None:
    with TaskContext("outer", 1) as outer:
        with TaskContext("inner", 2):
            pass
        assert current_task() is outer


def test_a_task_sees_a_cancel_from_another_thread() -> None:
    with TaskContext("a", 1) as context:
        thread = threading.Thread(target=context.cancel)
        thread.start()
        thread.join()
        assert cancelled()


def test_the_cancel_of_one_task_is_not_seen_by_another() -> None:
    one, other = TaskContext("a", 1), TaskContext("b", 2)
    one.cancel()
    with other:
        assert not cancelled()


async def test_asyncio_tasks_inherit_the_task_that_made_them() -> None:
    async def look() -> TaskContext | None:
        return current_task()

    with TaskContext("a", 1) as context:
        task = asyncio.create_task(look())
    assert await task is context


def test_cancel_calls_whoever_runs_the_task() -> None:
    context = TaskContext("a", 1)
    called = threading.Event()
    context.on_cancel = called.set
    context.cancel()
    assert called.is_set()
