"""The future of a task is an asyncio future."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest
from radical.asyncflow import EngineClosedError, PendingLimitError, TaskFuture, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns, until


def double(number: int) -> int:
    return 2 * number


async def test_a_call_returns_its_future_at_once(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(3)
    assert isinstance(future, TaskFuture)
    assert isinstance(future, asyncio.Future)
    assert not future.done()
    assert await future == 6


async def test_a_call_makes_no_asyncio_task(flow: WorkflowEngine) -> None:
    before = len(asyncio.all_tasks())
    future = flow.function_task(double)(3)
    assert len(asyncio.all_tasks()) == before
    await future


async def test_ids_count_the_calls(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    assert [task(1).id, task(2).id] == ["task.000001", "task.000002"]


async def test_a_future_tells_name_and_backend(flow: WorkflowEngine) -> None:
    future = flow.function_task(name="twice")(double)(3)
    assert (future.name, future.backend) == ("twice", "scripted")


async def test_a_future_tells_its_state(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    future = flow.function_task(double)(3)
    states = [future.state]
    await until(backend.waiting)
    states.append(future.state)
    backend.start_task("double")
    states.append(future.state)
    backend.finish("double", 6)
    states.append(future.state)
    assert states == ["PENDING", "PENDING", "RUNNING", "DONE"]


async def test_a_failed_future_says_so(flow: WorkflowEngine) -> None:
    future = flow.function_task(lambda: 1 / 0)()
    with pytest.raises(ZeroDivisionError):
        await future
    assert future.state == "FAILED"


async def test_attempts_are_none_before_the_first(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    future = flow.function_task(double)(3)
    assert future.attempts == 0
    await future
    assert future.attempts == 1


async def test_a_task_that_was_never_tried_has_no_attempts(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    first = flow.function_task(lambda: 1 / 0)()
    second = task(first)
    third = task(3)
    third.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert (first.attempts, second.attempts, third.attempts) == (1, 0, 0)
    assert isinstance(first.exception(), ZeroDivisionError)
    assert second.exception() is not None


async def test_the_repr_names_the_task(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(3)
    assert repr(future) == "<TaskFuture task.000001 'double' PENDING>"
    await future


async def test_only_the_engine_ends_a_future(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(3)
    with pytest.raises(RuntimeError, match="does not support set_result"):
        future.set_result(1)
    with pytest.raises(RuntimeError, match="does not support set_exception"):
        future.set_exception(ValueError())
    assert await future == 6


async def test_gather_takes_task_futures(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    assert await asyncio.gather(*map(task, range(5))) == [0, 2, 4, 6, 8]


async def test_wait_takes_task_futures(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    task = flow.function_task(double)
    held = task.options(name="held")(1)
    backend.hold("held")
    quick = task(2)
    done: set[TaskFuture[int]]
    done, pending = await asyncio.wait({held, quick}, return_when=asyncio.FIRST_COMPLETED)
    assert (done, pending) == ({quick}, {held})


async def test_as_completed_takes_task_futures(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    values = [await future for future in asyncio.as_completed([task(1), task(2)])]
    assert sorted(values) == [2, 4]


async def test_a_task_group_awaits_task_futures(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)

    async def use(number: int) -> int:
        return await task(number)

    async with asyncio.TaskGroup() as group:
        uses = [group.create_task(use(number)) for number in range(3)]
    assert [each.result() for each in uses] == [0, 2, 4]


async def test_a_callback_is_called_once(flow: WorkflowEngine) -> None:
    calls: list[Any] = []
    future = flow.function_task(double)(3)
    future.add_done_callback(calls.append)
    await future
    await turns()
    assert calls == [future]


async def test_a_callback_that_raises_harms_nobody_else(flow: WorkflowEngine) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    calls: list[Any] = []
    future = flow.function_task(double)(3)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(calls.append)
    assert await flow.function_task(double)(future) == 12
    await until(lambda: calls)
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


async def test_the_signature_is_the_functions(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    assert inspect.signature(task) == inspect.signature(double)
    assert (task.__name__, task.__wrapped__) == ("double", double)  # type: ignore[attr-defined]


async def test_a_task_shows_its_documented_attributes_alone(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    assert await task(1) == 2
    assert {name for name in dir(task) if name[0] != "_"} == {"name", "options", "spec"}


async def test_a_parameter_may_be_named_self(flow: WorkflowEngine) -> None:
    assert await flow.function_task(lambda *, self: self)(self=3) == 3


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"more": 2})])
async def test_wrong_arguments_are_an_error_at_the_call(
    flow: WorkflowEngine, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match="argument"):
        flow.function_task(double)(*args, **kwargs)


async def test_a_call_in_another_thread_is_refused(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    errors: list[Exception] = []

    def call() -> None:
        try:
            task(1)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "was called outside of the thread of its engine's loop" in str(errors[0])


async def test_a_call_after_the_shutdown_is_refused(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    await flow.shutdown()
    with pytest.raises(EngineClosedError, match="'double' was called after the engine's shutdown"):
        task(1)


async def test_max_pending_bounds_the_unfinished_tasks(backend: ScriptedBackend) -> None:
    flow = await WorkflowEngine.create(backend, max_pending=2)
    task = flow.function_task(double)
    first, second = task(1), task(2)
    with pytest.raises(PendingLimitError, match="as many as max_pending allows"):
        task(3)
    await asyncio.wait([first, second])
    assert await task(3) == 6
    await flow.shutdown()


async def test_two_engines_do_not_know_of_each_other() -> None:
    one, two = ScriptedBackend(), ScriptedBackend()
    async with (
        WorkflowEngine.create(one) as first,
        WorkflowEngine.create(two) as second,
    ):
        await asyncio.gather(first.function_task(double)(1), second.function_task(double)(2))
        await first.shutdown()
        assert await second.function_task(double)(3) == 6
    assert ([*map(len, (one.submitted, two.submitted))], first.uid == second.uid) == ([1, 2], False)


async def test_a_result_that_is_not_there_says_to_await_it(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(1)
    with pytest.raises(asyncio.InvalidStateError, match=r"task\.000001.*await its future"):
        future.result()
    assert await future == 2
    assert future.result() == 2


async def test_an_error_of_that_kind_in_a_task_is_its_own(flow: WorkflowEngine) -> None:
    def fail() -> None:
        raise asyncio.InvalidStateError("mine")

    future = flow.function_task(fail)()
    with pytest.raises(asyncio.InvalidStateError, match="mine"):
        await future
    with pytest.raises(asyncio.InvalidStateError, match="mine"):
        future.result()


def test_an_engine_that_was_not_awaited_says_what_to_write() -> None:
    creation = WorkflowEngine.create("noop")
    assert "async with WorkflowEngine.create" in repr(creation)
    with pytest.warns(RuntimeWarning, match="was not awaited: an engine is made with"):
        del creation
