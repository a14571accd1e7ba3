"""The engine and its services, on a backend whose every step the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from radical.asyncflow import DependencyFailureError, ServiceLostError, WorkflowEngine
from radical.asyncflow.backend import ExecutableResult, Serving, TaskKind
from radical.asyncflow.errors import (
    BackendLostError,
    ExecutableError,
    ServiceStoppedError,
    WorkerLostError,
)
from radical.asyncflow.events import Event, ServiceEvent
from radical.asyncflow.testing import ScriptedBackend


@pytest.fixture
def backend() -> ScriptedBackend:
    kinds = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)
    backend = ScriptedBackend(kinds=kinds, service=True)
    backend.hold("server")
    return backend


@pytest.fixture
def states(flow: WorkflowEngine) -> list[str]:
    seen: list[str] = []

    def note(events: Any) -> None:
        seen.extend(event.state for event in events if isinstance(event, ServiceEvent))

    flow.observe(note)
    return seen


@pytest.fixture
async def flow(backend: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    engine = await WorkflowEngine.create(backend)
    yield engine
    await engine.shutdown()


def begin(flow: WorkflowEngine, **options: Any) -> Any:
    task = flow.executable_task(lambda: "serve --now", name="server", service=True, **options)
    return task()


async def turn(flow: WorkflowEngine) -> None:
    """Wait until the engine has taken in what was reported, and sent what is ready."""
    await flow.executable_task(lambda: "true", name="other")()


async def up(flow: WorkflowEngine, backend: ScriptedBackend, info: str = "here:1") -> None:
    await turn(flow)
    backend.start_task("server")
    backend.serve("server", Serving("", "", info))
    await turn(flow)


async def test_a_service_goes_to_the_only_backend_that_runs_services(
    backend: ScriptedBackend,
) -> None:
    plain = ScriptedBackend(name="plain", kinds=(TaskKind.EXECUTABLE,))
    async with WorkflowEngine.create([plain, backend]) as flow:
        server = begin(flow)
        assert server.backend == "scripted"
        server.cancel()


async def test_an_info_comes_back_as_a_plain_text(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    server = begin(flow)
    await up(flow, backend)
    kind = flow.function_task(lambda *values: [type(value) for value in values])
    assert await server == "here:1"
    assert await kind(server, await server) == [str, str]


async def test_the_death_that_is_reported_with_the_start_is_not_missed(
    flow: WorkflowEngine, backend: ScriptedBackend, states: list[str]
) -> None:
    server = begin(flow)
    await turn(flow)
    backend.start_task(server)
    backend.serve(server, Serving("", "", "here:1"))
    backend.finish(server, ExecutableResult(3))
    await turn(flow)
    with pytest.raises(ServiceLostError, match=r"was lost: command ended with exit code 3") as got:
        await server
    assert isinstance(got.value.__cause__, ExecutableError)
    assert got.value.__cause__.command == "serve --now"
    assert states == ["up", "lost"]


async def test_a_worker_that_died_is_the_cause(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    server = begin(flow)
    await up(flow, backend)
    backend.fail(server, WorkerLostError("server", "node-1", 9))
    await turn(flow)
    with pytest.raises(ServiceLostError, match="node-1 was ended by signal 9"):
        await server


async def test_a_service_whose_backend_is_gone_is_lost_and_not_started_again(
    flow: WorkflowEngine, backend: ScriptedBackend, states: list[str]
) -> None:
    server = begin(flow, restarts=3)
    await up(flow, backend)
    backend.lose()
    await asyncio.sleep(0)
    with pytest.raises(DependencyFailureError):
        await flow.function_task(str)(server)
    with pytest.raises(ServiceLostError) as caught:
        await server
    assert isinstance(caught.value.__cause__, BackendLostError)
    assert states == ["up", "lost"]


async def test_calls_wait_for_a_restart_and_get_the_new_info(
    flow: WorkflowEngine, backend: ScriptedBackend, states: list[str]
) -> None:
    server = begin(flow, restarts=1)
    await up(flow, backend)
    old = await server
    backend.finish(server, ExecutableResult(0))
    await turn(flow)
    say = flow.function_task(lambda text: text)
    both = asyncio.gather(say(server), say([old]), server)
    await turn(flow)
    assert not both.done()
    await up(flow, backend, "here:2")
    assert await both == ["here:2", ["here:2"], "here:2"]
    assert server.result() == "here:2"
    assert states == ["up", "restarted", "up"]


async def test_starts_that_fail_after_a_death_count_as_restarts(
    flow: WorkflowEngine, backend: ScriptedBackend, states: list[str]
) -> None:
    server = begin(flow, restarts=2)
    await up(flow, backend)
    for _ in range(2):
        backend.finish("server", ExecutableResult(4))
        await turn(flow)
        backend.start_task("server")
    backend.finish("server", ExecutableResult(5))
    await turn(flow)
    with pytest.raises(ServiceLostError, match=r"did not come up again.*exit code 5"):
        await server
    assert states == ["up", "restarted", "lost"]
    assert backend.running() == []


async def test_a_service_that_is_stopped_while_it_comes_up_again_has_ended(
    flow: WorkflowEngine, backend: ScriptedBackend, states: list[str]
) -> None:
    server = begin(flow, restarts=1)
    await up(flow, backend)
    backend.finish(server, ExecutableResult(0))
    await turn(flow)
    waits = flow.function_task(str)(server)
    await server.stop()
    with pytest.raises(asyncio.CancelledError):
        await waits
    with pytest.raises(ServiceStoppedError):
        await server
    assert states == ["up", "restarted", "stopped"]
    assert server.state == "DONE"


async def test_two_stops_wait_for_one_end(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    server = begin(flow)
    await up(flow, backend)
    await asyncio.gather(server.stop(), server.stop())
    await server.stop()
    assert backend.cancelled_ids == [1]


async def test_a_call_that_has_a_stopped_service_fails_at_once(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    server = begin(flow)
    await up(flow, backend)
    info = await server
    await server.stop()
    for needed in (server, info, [server], {"at": info}):
        with pytest.raises(DependencyFailureError, match="'server' was stopped"):
            await flow.function_task(str)(needed)


async def test_news_of_another_attempt_bring_no_service_up(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    server = begin(flow, retries=1)
    await turn(flow)
    backend.start_task(server)
    first = backend.submitted[0]
    backend.fail(server, ValueError("no"))
    await turn(flow)
    backend._sink.serving(first.task_id, first.attempt, Serving("", "", "old"))
    await turn(flow)
    assert not server.done()
    await up(flow, backend, "new")
    assert await server == "new"


async def test_the_end_of_the_engine_stops_services(backend: ScriptedBackend) -> None:
    events: list[Event] = []
    async with WorkflowEngine.create(backend) as flow:
        flow.observe(events.extend)
        server = begin(flow, restarts=5)
        await up(flow, backend)
        assert await server == "here:1"
    assert backend.cancelled_ids == [1]
    assert [event.state for event in events if isinstance(event, ServiceEvent)] == ["up", "stopped"]


async def test_an_ended_service_is_not_kept(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    server = begin(flow, restarts=1)
    await up(flow, backend)
    await server.stop()
    assert flow._dispatcher.services._running == {}
    assert server._service.start is None
