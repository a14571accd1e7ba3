"""What tasks wait for on this machine, while the test holds its slots."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from asyncflow_backend_concurrent._slots.queue import place_of
from asyncflow_backend_concurrent._slots.waits import queue_places
from polling import until
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec, WaitKind
from radical.asyncflow.model import WaitReason

pytestmark = pytest.mark.asyncio


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Name a file for which tasks wait, and make it at the end."""
    file = tmp_path / "gate"
    yield file
    file.touch()


def hold(gate: str) -> None:
    """Wait for *gate*."""
    import time

    while not Path(gate).exists():
        time.sleep(0.005)


@asynccontextmanager
async def flow_with(gate: Path, **settings: Any) -> AsyncIterator[WorkflowEngine]:
    async with WorkflowEngine.create("concurrent", settings) as flow:
        yield flow
        gate.touch()  # noqa: ASYNC240


def running(*futures: TaskFuture[Any]) -> Callable[[], bool]:
    return lambda: all(future.state == "RUNNING" for future in futures)


def only(flow: WorkflowEngine, future: TaskFuture[Any]) -> WaitReason:
    (reason,) = flow.why(future).reasons
    return reason


def ids(reason: WaitReason) -> set[int]:
    return {task.number for task in reason.holders}


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_slots_gpus_memory_and_the_order_are_told(gate: Path, kind: str) -> None:
    settings = {"max_workers": 3, "executor_type": kind, "gpus": 2, "memory": "1GB"}
    async with flow_with(gate, **settings) as flow:
        task = flow.function_task(hold)
        gpus = [task.options(resources={"gpus": 2})(str(gate)) for _ in range(3)]
        memory = [task.options(resources={"memory": "700MB"})(str(gate)) for _ in range(2)]
        plain = task(str(gate))
        await until(running(gpus[0], memory[0], plain))
        wide = task.options(resources={"cores": 2})(str(gate))
        late = [task(str(gate)) for _ in range(3)]
        first = task.options(priority=1)(str(gate))
        every = [*gpus, *memory, plain, wide, *late, first]
        await until(lambda: all(future.attempts for future in every))
        holders = {future._number for future in (gpus[0], memory[0], plain)}

        reason = only(flow, gpus[1])
        assert (reason.kind, ids(reason)) == (WaitKind.GPUS, {gpus[0]._number})
        assert reason.text == "2 GPUs, and 0 of the 2 of backend 'concurrent' are free"
        assert only(flow, gpus[2]).ahead == 1
        reason = only(flow, memory[1])
        assert (reason.kind, ids(reason)) == (WaitKind.MEMORY, {memory[0]._number})
        assert reason.text == (
            "0.7 GB of memory, and 0.3 of the 1 GB of backend 'concurrent' are free"
        )
        reason = only(flow, wide)
        assert (reason.kind, ids(reason)) == (WaitKind.SLOT, holders)
        assert reason.text == "2 slots of backend 'concurrent' at once"
        reason = only(flow, late[-1])
        assert (reason.kind, ids(reason), reason.held_by) == (WaitKind.SLOT, holders, 3)
        assert reason.text == "one of the 3 slots of backend 'concurrent', all busy"
        if kind == "thread":
            assert (reason.ahead, reason.outranked) == (3, 1)
            assert only(flow, first).ahead == 0
        for future in (gpus[0], memory[0], plain):
            assert not flow.why(future)


async def test_a_service_that_has_the_slots_is_named(gate: Path) -> None:
    async with flow_with(gate, max_workers=2) as flow:

        @flow.executable_task(service=True)
        async def server() -> str:
            return "sleep 1000"

        service = server()
        await service
        wide = flow.function_task(hold).options(resources={"cores": 2})(str(gate))
        await until(lambda: bool(wide.attempts))
        reason = only(flow, wide)
        assert (reason.kind, ids(reason)) == (WaitKind.SLOT, {service._number})
        assert "of which services have 1 of 2 until they are stopped" in reason.text
        wide.cancel()


async def test_commands_that_crews_run_have_the_slots(gate: Path) -> None:
    async with flow_with(gate, max_workers=1) as flow:

        @flow.executable_task
        async def command() -> str:
            return f"while [ ! -e '{gate}' ]; do sleep 0.01; done"

        first, second = command(), command()
        await until(running(first))
        await until(lambda: bool(second.attempts))
        reason = only(flow, second)
        assert (reason.kind, ids(reason)) == (WaitKind.SLOT, {first._number})
        assert reason.text == "the only slot of backend 'concurrent', which is busy"


async def test_async_functions_wait_for_a_place_in_their_loop(gate: Path) -> None:
    async with flow_with(gate, max_workers=2, executor_type="async") as flow:

        @flow.function_task
        async def wait() -> None:
            while not gate.exists():  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)

        futures = [wait() for _ in range(4)]
        await until(running(*futures[:2]))
        reason = only(flow, futures[3])
        assert (reason.kind, reason.held_by) == (WaitKind.SLOT, 2)
        assert ids(reason) == {1, 2}


async def test_a_given_executor_is_named(gate: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        backend = ConcurrentExecutionBackend(executor, shutdown_executor=False)
        async with WorkflowEngine.create(backend) as flow:
            task = flow.function_task(hold)
            first, second = task(str(gate)), task(str(gate))
            await until(running(first))
            reason = only(flow, second)
            assert (reason.kind, ids(reason)) == (WaitKind.SLOT, {1})
            assert "ThreadPoolExecutor" in reason.text
            gate.touch()  # noqa: ASYNC240


async def test_the_methods_of_a_service_wait_for_it_and_for_each_other(gate: Path) -> None:
    opens, goes_on = threading.Event(), threading.Event()

    class Model:
        def __init__(self) -> None:
            opens.wait()

        def ask(self) -> None:
            goes_on.wait()

    async with flow_with(gate, max_workers=2) as flow:
        model = flow.service(Model)()
        calls = [model.ask() for _ in range(3)]
        await until(lambda: calls[0].attempts > 0)
        reason = only(flow, calls[0])
        assert (reason.kind, "not up" in reason.text) == (WaitKind.SERVICE, True)
        opens.set()
        await until(running(calls[0]))
        reason = only(flow, calls[2])
        assert (reason.kind, "one call at a time" in reason.text) == (WaitKind.SLOT, True)
        goes_on.set()
        await asyncio.gather(*calls)


async def test_places_count_what_begins_before_and_what_came_later() -> None:
    def request(number: int, priority: float = 0) -> TaskRequest:
        spec = TaskSpec("work", TaskKind.FUNCTION, len, priority=priority)
        return TaskRequest(number, 1, spec)

    requests = [request(1), request(2), request(3, priority=2), request(4, priority=1)]
    places = queue_places(sorted(requests, key=place_of), {1, 2, 3, 9}, taken=10)
    assert places == {3: (10, 0), 1: (12, 2), 2: (13, 2)}
