"""One started backend serves several engines, one after the other and at once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    AsyncFlowDeprecationWarning,
    BackendLostError,
    BackendStartError,
    ConcurrentExecutionBackend,
    EngineClosedError,
    ExecutionBackend,
    NoopExecutionBackend,
    OutputFile,
    WorkflowEngine,
)
from radical.asyncflow._files.work_dir import is_in_use
from radical.asyncflow.backend import ReportSink, Serving, TaskId, TaskKind, TaskSpec, Written
from radical.asyncflow.backend._sharing import NUMBERS
from radical.asyncflow.events import BackendEvent, Event, OutputEvent, TaskEvent
from radical.asyncflow.journal import read
from radical.asyncflow.testing import LeakGuard, ScriptedBackend

from .waiting import turns, until

TIMEOUT_S = 60
KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE)


class Counted(ScriptedBackend):
    """A backend that counts its starts, each of which waits until a test lets it go on."""

    starts = 0

    def __init__(self, *, waits: bool = False, fails: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._fails = fails
        if not waits:
            self.go_on.set()

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self.starts += 1
        self.begun.set()
        await self.go_on.wait()
        if self._fails:
            raise BackendStartError("no machine is free")


def add(one: int, other: int = 0) -> int:
    return one + other


def wait_for(gate: str) -> str:
    """Return when the file *gate* is there; not cancelled by a thread's backend."""
    import time

    end = time.monotonic() + TIMEOUT_S
    while not Path(gate).exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    return "came through"


async def create(backend: ExecutionBackend) -> WorkflowEngine:
    return await WorkflowEngine.create(backend)


async def work(flow: WorkflowEngine, number: int) -> list[int]:
    """Run a fan, a chain and nested arguments; return what shows that all came right."""
    task = flow.function_task(add)
    fan = [task(task(item), number) for item in range(20)]
    chain = task(number)
    for _ in range(10):
        chain = task(chain, 1)

    @flow.function_task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    return [await total(fan), await chain]


def right(number: int) -> list[int]:
    return [sum(range(20)) + 20 * number, number + 10]


@pytest.fixture(autouse=True)
async def guard(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    async with LeakGuard(), asyncio.timeout(TIMEOUT_S):
        yield


# ------------------------------------------------------------------- all backends


@pytest.mark.parametrize(
    "make",
    [
        partial(ScriptedBackend, quick=True),
        partial(ScriptedBackend, native_dependencies=True, remote_results=True),
        partial(ConcurrentExecutionBackend, max_workers=2),
        partial(ConcurrentExecutionBackend, executor_type="process", max_workers=2),
        partial(ConcurrentExecutionBackend, executor_type="async"),
    ],
    ids=["scripted", "native", "threads", "processes", "async"],
)
async def test_engines_at_once_and_one_after_the_other_get_what_is_theirs(make: Any) -> None:
    async def run(number: int) -> list[int]:
        async with WorkflowEngine.create(backend) as flow:
            assert flow.backend is backend
            return await work(flow, number)

    async with make() as backend:
        assert await asyncio.gather(*map(run, range(4))) == [*map(right, range(4))]
        assert await run(7) == right(7)
        assert not backend.is_shut_down
    assert backend.is_shut_down


async def test_dry_runs_can_share_a_backend_too() -> None:
    async with NoopExecutionBackend() as backend:
        for _ in range(3):
            async with WorkflowEngine.create(backend) as flow:
                task = flow.function_task(add)
                await asyncio.gather(*[task(task(number)) for number in range(50)])


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_commands_of_several_engines_run_on_one_backend(kind: Any) -> None:
    async with ConcurrentExecutionBackend(executor_type=kind, max_workers=2) as backend:
        one = await WorkflowEngine.create(backend)
        async with WorkflowEngine.create(backend) as other:
            told = [
                flow.executable_task(name="say")(lambda word: ["echo", word])
                for flow in (one, other)
            ]
            words = await asyncio.gather(told[0]("one"), told[1]("other"))
            kept = other.executable_task(name="keep", capture_stdio=True)(lambda: ["echo", "kept"])
            file = await kept()
        await one.shutdown()
    assert words == ["one\n", "other\n"]
    assert Path(file).read_text() == "kept\n"  # noqa: ASYNC240 - nothing waits


# --------------------------------------------------------------- who ends the backend


async def test_the_last_engine_ends_a_backend_that_nobody_holds() -> None:
    backend = Counted()
    one = await WorkflowEngine.create(backend)
    other = await WorkflowEngine.create(backend)
    await one.shutdown()
    assert not backend.is_shut_down
    assert await work(other, 1) == right(1)
    await other.shutdown()
    assert (backend.is_shut_down, backend.starts) == (True, 1)


async def test_an_engine_may_leave_its_backend_running_for_the_next() -> None:
    backend = Counted()
    one = await WorkflowEngine.create(backend)
    with pytest.warns(AsyncFlowDeprecationWarning, match="async with backend"):
        await one.shutdown(skip_execution_backend=True)
    assert not backend.is_shut_down
    async with WorkflowEngine.create(backend) as other:
        assert await work(other, 2) == right(2)
    assert (backend.is_shut_down, backend.starts) == (True, 1)


async def test_the_program_may_end_a_backend_that_was_left_running() -> None:
    backend = Counted()
    flow = await WorkflowEngine.create(backend)
    with pytest.warns(AsyncFlowDeprecationWarning):
        await flow.shutdown(skip_execution_backend=True)
    await backend.shutdown()
    with pytest.raises(EngineClosedError, match="was shut down"):
        await WorkflowEngine.create(backend)


@pytest.mark.parametrize("left", ["left running", "held"])
def test_a_forgotten_backend_ends_with_its_loop(left: str, caplog: Any) -> None:
    backends: list[ScriptedBackend] = []

    async def program() -> None:
        backend = ScriptedBackend()
        backends.append(backend)
        flow = await WorkflowEngine.create(backend)
        if left == "held":
            await backend.__aenter__()
            await flow.shutdown()
        else:
            with pytest.warns(AsyncFlowDeprecationWarning):
                await flow.shutdown(skip_execution_backend=True)

    def run() -> None:
        with caplog.at_level(logging.WARNING):
            asyncio.run(program())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert backends[0].is_shut_down
    assert "backend 'scripted' was left running" in caplog.text


def test_a_forgotten_engine_ends_a_backend_that_the_program_holds() -> None:
    backends: list[ScriptedBackend] = []

    async def program() -> None:
        backend = ScriptedBackend()
        backends.append(backend)
        await backend.__aenter__()
        await WorkflowEngine.create(backend)

    thread = threading.Thread(target=lambda: asyncio.run(program()))
    thread.start()
    thread.join()
    assert backends[0].is_shut_down


async def test_the_folder_of_the_run_is_in_use_as_long_as_its_backend() -> None:
    async with ScriptedBackend() as backend:
        async with WorkflowEngine.create(backend) as flow:
            folder = flow.work_dir
            (folder / "of the backend").touch()
        assert is_in_use(folder)
        async with WorkflowEngine.create(backend):
            pass
        assert is_in_use(folder)
    assert not is_in_use(folder)
    assert (folder / "of the backend").exists()


# --------------------------------------------------------------------------- starts


async def test_engines_that_are_created_at_once_wait_for_one_start() -> None:
    backend = Counted(waits=True)
    creating = [asyncio.ensure_future(create(backend)) for _ in range(3)]
    await backend.begun.wait()
    await turns()
    assert not any(each.done() for each in creating)
    backend.go_on.set()
    flows = await asyncio.gather(*creating)
    assert await asyncio.gather(*[work(flow, 3) for flow in flows]) == [right(3)] * 3
    await asyncio.gather(*[flow.shutdown() for flow in flows])
    assert (backend.is_shut_down, backend.starts) == (True, 1)


async def test_a_start_that_fails_fails_for_all_that_wait_for_it() -> None:
    backend = Counted(waits=True, fails=True)
    creating = [asyncio.ensure_future(create(backend)) for _ in range(2)]
    await backend.begun.wait()
    await turns()
    backend.go_on.set()
    errors = await asyncio.gather(*creating, return_exceptions=True)
    assert [type(error) for error in errors] == [BackendStartError] * 2
    assert "another engine has started, did not start: no machine is free" in str(errors[1])
    assert backend.is_shut_down


async def test_a_start_that_is_given_up_ends_the_backend_for_all() -> None:
    backend = Counted(waits=True)
    creating = [asyncio.ensure_future(create(backend)) for _ in range(2)]
    await backend.begun.wait()
    await turns()
    creating[0].cancel()
    with pytest.raises(BackendStartError, match="did not start"):
        await creating[1]
    assert creating[0].cancelled()
    assert backend.is_shut_down


async def test_an_engine_of_another_loop_is_refused() -> None:
    errors: list[BaseException] = []

    def elsewhere(backend: ExecutionBackend) -> None:
        async def program() -> None:
            try:
                await WorkflowEngine.create(backend)
            except BackendStartError as error:
                errors.append(error)

        asyncio.run(program())

    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        await asyncio.to_thread(elsewhere, flow.backend)
        assert await work(flow, 1) == right(1)
    assert "in another event loop" in str(errors[0])


# ------------------------------------------------------- what is of one engine alone


async def test_the_ids_of_tasks_differ_on_the_backend_and_begin_at_one_in_each_engine() -> None:
    backend = ScriptedBackend()
    async with backend:
        for _ in range(3):
            async with WorkflowEngine.create(backend) as flow:
                task = flow.function_task(add)
                future = task(1)
                await future
                assert future.id == "task.000001"
    assert [request.task_id for request in backend.submitted] == [1, NUMBERS + 1, 2 * NUMBERS + 1]


async def test_the_end_of_an_engine_leaves_the_tasks_of_the_others_alone(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with ConcurrentExecutionBackend(executor_type="process", max_workers=2) as backend:
        one = await WorkflowEngine.create(backend)
        other = await WorkflowEngine.create(backend)
        mine = one.function_task(wait_for)(str(gate))
        theirs = other.function_task(wait_for)(str(tmp_path / "never"))
        waiting = [other.function_task(add)(number) for number in range(5)]
        await turns()
        await other.shutdown()
        assert theirs.cancelled()
        assert all(future.done() for future in waiting)
        assert not mine.done()
        gate.touch()
        assert await mine == "came through"
        await one.shutdown()


async def test_a_cancel_names_the_task_as_the_backend_has_it() -> None:
    backend = ScriptedBackend()
    async with WorkflowEngine.create(backend) as one, WorkflowEngine.create(backend) as other:
        backend.hold()
        first, second = one.function_task(add)(1), other.function_task(add)(2)
        await turns()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert backend.cancelled_ids == [NUMBERS + 1]
        backend.release()
        assert await first == 1


async def test_late_reports_for_an_engine_that_has_ended_harm_no_other() -> None:
    backend = ScriptedBackend()
    async with backend:
        async with WorkflowEngine.create(backend) as one:
            await one.function_task(add)(1)
        async with WorkflowEngine.create(backend) as other:
            backend.hold()
            future = other.function_task(add)(5)
            await turns()
            backend._sink.done(1, 1, "of the engine that has ended")
            backend._sink.failed(7 * NUMBERS + 1, 1, ValueError("of an engine that never was"))
            backend.release()
            assert await future == 5


async def test_a_report_that_is_none_is_told_by_an_engine(caplog: Any) -> None:
    backend = ScriptedBackend()
    async with WorkflowEngine.create(backend), WorkflowEngine.create(backend) as other:
        backend._sink.report(["nonsense"])  # type: ignore[list-item]
        assert await other.function_task(add)(1) == 1
        await turns()
    assert "a malformed report was dropped, a str" in caplog.text


async def test_a_lost_backend_fails_the_tasks_of_all_its_engines() -> None:
    backend = ScriptedBackend()
    async with WorkflowEngine.create(backend) as one, WorkflowEngine.create(backend) as other:
        backend.hold()
        futures = [flow.function_task(add)(1) for flow in (one, other)]
        await turns()
        backend._sink.lost(BackendLostError("the machine is gone"))
        errors = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(error) for error in errors] == [BackendLostError] * 2
        with pytest.raises(BackendStartError, match="was lost: the machine is gone"):
            await WorkflowEngine.create(backend)
        backend.release()


async def test_what_had_not_begun_goes_on_elsewhere_for_each_engine() -> None:
    backend = ScriptedBackend(name="first")
    flows = [
        await WorkflowEngine.create([backend, ScriptedBackend(name="second")], failover=True)
        for _ in range(2)
    ]
    backend.hold()
    futures = [flow.function_task(add)(number) for number, flow in enumerate(flows)]
    await turns()
    unbegun = [request.task_id for request in backend.submitted]
    backend._sink.lost(BackendLostError("gone"), unbegun=unbegun)
    assert await asyncio.gather(*futures) == [0, 1]
    assert {future.backend for future in futures} == {"second"}
    backend.release()
    await asyncio.gather(*[flow.shutdown() for flow in flows])


async def test_observers_hear_of_their_own_engine_only() -> None:
    backend = ScriptedBackend()
    events: list[Event] = []
    async with WorkflowEngine.create(backend) as one, WorkflowEngine.create(backend) as other:
        other.observe(events.extend)
        backend.hold()
        mine, theirs = one.function_task(add)(1), other.function_task(add)(2)
        await turns()
        for future in (mine, theirs):
            backend.start_task((future is theirs) * NUMBERS + 1, "a worker")
        backend._sink.output(NUMBERS + 1, 1, "some words")
        backend._sink.output(1, 1, "words of another engine")
        backend.finish(1, 1)
        backend.finish(NUMBERS + 1, 2)
        assert [await mine, await theirs] == [1, 2]
    assert {event.task_id for event in events if isinstance(event, TaskEvent)} == {1}
    assert [event.text for event in events if isinstance(event, OutputEvent)] == ["some words"]
    assert {event.run for event in events if isinstance(event, BackendEvent)} <= {other.uid}


async def test_each_engine_has_a_journal_of_its_own(tmp_path: Path) -> None:
    async def run(name: str, backend: ExecutionBackend) -> list[int]:
        async with WorkflowEngine.create(backend, journal=tmp_path / name) as flow:
            return await work(flow, len(name))

    backend = ScriptedBackend()
    async with backend:
        assert await asyncio.gather(run("a", backend), run("bb", backend)) == [right(1), right(2)]
        computed = len(backend.submitted)
        assert await run("bb", backend) == right(2)
        assert len(backend.submitted) == computed
    assert (
        len(read(tmp_path / "a")[-1].tasks) == len(read(tmp_path / "bb")[-1].tasks) == computed // 2
    )


async def test_a_service_of_one_engine_is_up_for_it_and_ends_with_it() -> None:
    backend = ScriptedBackend(kinds=KINDS, service=True)
    async with WorkflowEngine.create(backend):
        other = await WorkflowEngine.create(backend)
        backend.hold()

        @other.executable_task(service=True, ready_port=1)
        def server() -> list[str]:
            return ["serve"]

        starting = server()
        await until(lambda: backend.submitted)
        backend.start_task(NUMBERS + 1)
        backend.serve(NUMBERS + 1, Serving("", "", "here:1"))
        assert str(await starting) == "here:1"
        await other.shutdown()
        assert backend.cancelled_ids == [NUMBERS + 1]
        backend.release()


async def test_what_a_task_waits_for_is_told_with_the_numbers_of_its_engine(
    tmp_path: Path,
) -> None:
    gate = str(tmp_path / "gate")
    async with (
        ConcurrentExecutionBackend(max_workers=1) as backend,
        WorkflowEngine.create(backend) as one,
        WorkflowEngine.create(backend) as other,
    ):
        holding = other.function_task(wait_for)(gate)
        await until(lambda: holding.state == "RUNNING")
        waiting = [flow.function_task(add)(1) for flow in (one, other)]
        await turns()
        told = [str(flow.why(future)) for flow, future in zip((one, other), waiting, strict=True)]
        Path(gate).touch()  # noqa: ASYNC240 - nothing waits
        await asyncio.gather(holding, *waiting)
    assert "'wait_for'" in told[1]
    assert all("the only slot" in text and "task.1000" not in text for text in told)


async def test_tasks_of_two_engines_have_folders_of_their_own_on_the_nodes(tmp_path: Path) -> None:
    def write(path: OutputFile | str) -> str:
        Path(str(path)).write_text("made")
        return str(path)

    class Cluster(ScriptedBackend):
        shared_dir = tmp_path / "on the nodes"

    written: list[str] = []
    async with Cluster() as backend:
        for name in ("one", "other"):
            async with WorkflowEngine.create(backend) as flow:
                future = flow.function_task(write)(OutputFile(str(tmp_path / name)))
                await future
                assert (future.id, (tmp_path / name).read_text()) == ("task.000001", "made")
                written.append(str(backend.submitted[-1].args[0]))
    assert len({Path(path).parent for path in written}) == 2


async def test_an_engine_is_told_what_its_commands_write_and_what_the_backend_says_of_itself() -> (
    None
):
    class Telling(ScriptedBackend):
        async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:
            return {task_id: Written(f"of {task_id}", "", (0, 0)) for task_id in task_ids}

        def identity(self, spec: TaskSpec) -> Any:
            return f"model of {spec.name}"

        def plan(self) -> Mapping[str, Any]:
            return {"nodes": 8}

        def capacity(self) -> int | None:
            return 80

    backend = Telling()
    async with WorkflowEngine.create(backend) as one, WorkflowEngine.create(backend) as other:
        (lane,) = other._dispatcher.run.lanes.values()
        assert lane.backend is not backend
        told = await lane.backend.written([1, 2])
        assert told == {number: Written(f"of {NUMBERS + number}", "", (0, 0)) for number in (1, 2)}
        spec = TaskSpec(name="ask", kind=TaskKind.FUNCTION, function=add)
        assert lane.backend.identity(spec) == "model of ask"
        assert lane.backend.capacity() == 80
        assert other.plan().backends == one.plan().backends != {}
