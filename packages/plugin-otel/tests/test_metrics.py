"""What is counted and measured."""

from __future__ import annotations

import asyncio
from typing import Any

from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .conftest import Measured

QUEUED = ("asyncflow.task.queued", "scripted")
RUNNING = ("asyncflow.task.running", "scripted")


def identity(value: Any = None) -> Any:
    return value


async def gauges(measured: Measured, queued: int, running: int) -> None:
    """Return when both are so, as soon as the plugin's thread has heard."""
    wanted = [queued, running]
    async with asyncio.timeout(20):
        while [measured().get(key) for key in (QUEUED, RUNNING)] != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_calls_ends_and_retries_are_counted_by_name_and_backend(measured: Measured) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        good = flow.function_task(name="good")(identity)
        bad = flow.function_task(name="bad", retries=2)(lambda: 1 / 0)
        await asyncio.gather(*(good() for _ in range(5)), bad(), return_exceptions=True)
    found = measured()
    assert found["asyncflow.task.calls", "scripted", "good"] == 5
    assert found["asyncflow.task.calls", "scripted", "bad"] == 1
    assert found["asyncflow.task.ends", "scripted", "good", "DONE"] == 5
    assert found["asyncflow.task.ends", "scripted", "bad", "FAILED"] == 1
    assert found["asyncflow.task.retries", "scripted", "bad"] == 2


async def test_a_cancelled_task_is_counted_as_such(measured: Measured) -> None:
    backend = ScriptedBackend()
    backend.hold()
    async with WorkflowEngine.create(backend) as flow:
        future = flow.function_task(identity)()
        future.cancel()
        await asyncio.wait([future])
    assert measured()["asyncflow.task.ends", "scripted", "identity", "CANCELLED"] == 1


async def test_run_times_and_waits_are_measured_for_each_attempt(measured: Measured) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}) as flow:
        task = flow.function_task(asyncio.sleep)
        await asyncio.gather(task(0.1), task(0.1))
    found = measured()
    duration = found["asyncflow.task.duration", "concurrent", "sleep", "DONE"]
    wait = found["asyncflow.task.queue.duration", "concurrent", "sleep"]
    assert (duration.count, wait.count) == (2, 2)
    assert duration.min >= 0.09
    assert wait.max >= 0.09  # the second waited for the first


async def test_queue_and_running_tasks_are_known_at_any_moment(measured: Measured) -> None:
    backend = ScriptedBackend()
    backend.hold()
    async with WorkflowEngine.create(backend) as flow:
        futures = [flow.function_task(name=f"t{n}")(identity)() for n in range(5)]
        await asyncio.sleep(0)
        backend.start_task("t0")
        backend.start_task("t1")
        await gauges(measured, queued=3, running=2)
        backend.finish("t0")
        backend.finish("t1")
        backend.release()
        await asyncio.gather(*futures)
    found = measured()
    assert (found[QUEUED], found[RUNNING]) == (0, 0)


async def test_metrics_alone_wrap_no_task(measured: Measured) -> None:
    backend = ScriptedBackend()
    async with WorkflowEngine.create(backend) as flow:
        await flow.function_task(identity)(7)
    assert backend.submitted[0].spec.function is identity
