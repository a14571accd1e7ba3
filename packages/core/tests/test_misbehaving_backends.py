"""What the engine makes of a backend that breaks the contract: one task's loss at most."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import RemoteValue, Report, ReportSink, TaskId, TaskRequest
from radical.asyncflow.errors import (
    BackendBrokenError,
    BackendError,
    BackendLostError,
    BackendStartError,
    EngineClosedError,
    TaskExitError,
)
from radical.asyncflow.model import TaskKind, TaskState
from radical.asyncflow.testing import ScriptedBackend
from radical.asyncflow.testing._functions import identity


class Scene:
    """An engine, the backend that misbehaves under it, and one task that it holds."""

    def __init__(self, flow: WorkflowEngine, backend: ScriptedBackend) -> None:
        self.flow = flow
        self.backend = backend
        self.task = flow.function_task(identity)
        backend.hold()
        self.future = self.task("own")

    @property
    def number(self) -> int:
        return self.future._number

    async def is_alive(self) -> None:
        """A later task goes its ordinary way."""
        self.backend.hold()
        later = self.task("later")
        await self.arrival(later._number)
        self.backend.release(later)
        assert await asyncio.wait_for(later, 10) == "later"

    async def arrival(self, number: int) -> None:
        async with asyncio.timeout(10):
            while number not in self.backend.waiting():  # noqa: ASYNC110 - one turn or two
                await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    backend = ScriptedBackend()
    async with WorkflowEngine.create(backend) as flow:
        scene = Scene(flow, backend)
        await scene.arrival(scene.number)
        yield scene
        # Leaving the block would wait for what is still held.
        await flow.shutdown()


async def test_of_two_terminal_reports_the_first_wins(scene: Scene) -> None:
    sink = scene.backend.sink
    scene.backend.finish(scene.future, "first")
    sink.failed(scene.number, 1, ValueError("second"))
    sink.done(scene.number, 1, "third")
    assert await scene.future == "first"
    await scene.is_alive()


async def test_of_two_reports_in_one_batch_the_first_wins(scene: Scene) -> None:
    error = ValueError("first")
    scene.backend.sink.report(
        [
            Report(scene.number, 1, TaskState.FAILED, error),
            Report(scene.number, 1, TaskState.DONE, "second"),
        ]
    )
    with pytest.raises(ValueError, match="first"):
        await scene.future
    await scene.is_alive()


async def test_a_report_about_an_unknown_task_is_dropped(scene: Scene) -> None:
    scene.backend.sink.done(10**9, 1, "nobody's")
    scene.backend.sink.done(0, 1, "nobody's")
    await scene.is_alive()
    assert scene.future.state == "PENDING"


async def test_a_report_about_an_attempt_that_has_not_been_is_dropped(scene: Scene) -> None:
    scene.backend.sink.done(scene.number, 2, "from the future")
    scene.backend.finish(scene.future, "present")
    assert await scene.future == "present"


async def test_a_late_report_about_an_earlier_attempt_is_dropped(scene: Scene) -> None:
    retried = scene.flow.function_task(retries=1)(identity)("own")
    await scene.arrival(retried._number)
    scene.backend.fail(retried, ValueError("first attempt"))
    await scene.arrival(retried._number)
    scene.backend.sink.done(retried._number, 1, "too late")
    await scene.is_alive()
    assert not retried.done()
    scene.backend.finish(retried, "second attempt")
    assert await retried == "second attempt"


async def test_running_after_the_end_is_dropped(scene: Scene) -> None:
    scene.backend.finish(scene.future, "ended")
    scene.backend.sink.running(scene.number, 1)
    assert await scene.future == "ended"
    await scene.is_alive()
    assert scene.future.state == "DONE"


async def test_running_twice_is_running_once(scene: Scene) -> None:
    seen: list[TaskState] = []
    stop = scene.flow.observe(lambda events: seen.extend(event.state for event in events))
    scene.backend.start_task(scene.future)
    scene.backend.sink.running(scene.number, 1)
    scene.backend.finish(scene.future, "ended")
    await scene.future
    await scene.is_alive()
    stop()
    assert seen.count(TaskState.RUNNING) == 2  # this task's, and the later one's


async def test_a_state_that_no_backend_may_report_is_dropped(scene: Scene) -> None:
    for state in (TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED):
        scene.backend.sink.report([Report(scene.number, 1, state)])
    await scene.is_alive()
    assert scene.future.state == "PENDING"


async def test_a_report_that_is_none_is_dropped(scene: Scene) -> None:
    scene.backend.sink.report([None, "report", (1, 2)])  # type: ignore[list-item]
    scene.backend.finish(scene.future, "ended")
    assert await scene.future == "ended"
    await scene.is_alive()


async def test_a_failure_without_an_exception_fails_the_task_and_says_so(scene: Scene) -> None:
    scene.backend.fail(scene.future, "just a text")  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="just a text"):
        await scene.future
    await scene.is_alive()


async def test_a_failure_that_cannot_even_be_written_fails_the_task(scene: Scene) -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("it has no text")

    scene.backend.fail(scene.future, Mute())  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="without an exception: Mute"):
        await scene.future
    await scene.is_alive()


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration()]
)
async def test_a_failure_that_would_end_the_program_fails_the_task(
    scene: Scene, error: BaseException
) -> None:
    scene.backend.fail(scene.future, error)
    with pytest.raises(TaskExitError) as caught:
        await scene.future
    assert caught.value.__cause__ is error
    await scene.is_alive()


async def test_a_cancelled_that_nobody_asked_for_cancels_the_task(scene: Scene) -> None:
    scene.backend.confirm_cancel(scene.future)
    with pytest.raises(asyncio.CancelledError):
        await scene.future
    await scene.is_alive()


async def test_an_end_without_a_beginning_is_an_end(scene: Scene) -> None:
    scene.backend.finish(scene.future, "never ran")
    assert await scene.future == "never ran"


async def test_a_report_from_a_foreign_thread_arrives(scene: Scene) -> None:
    report = scene.backend.sink.done
    thread = threading.Thread(target=report, args=(scene.number, 1, "from afar"))
    thread.start()
    assert await asyncio.wait_for(scene.future, 10) == "from afar"
    thread.join()


async def test_reports_from_many_threads_at_once_all_arrive(scene: Scene) -> None:
    futures = [scene.task(at) for at in range(400)]
    await scene.arrival(futures[-1]._number)

    def report(part: Sequence[int]) -> None:
        for number in part:
            scene.backend.sink.running(number, 1)
            scene.backend.sink.done(number, 1, number)

    numbers = [future._number for future in futures]
    threads = [threading.Thread(target=report, args=(numbers[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    assert await asyncio.wait_for(asyncio.gather(*futures), 10) == numbers
    for thread in threads:
        thread.join()


async def test_a_lost_backend_fails_what_it_held_and_what_comes_later(scene: Scene) -> None:
    scene.backend.lose(OSError("the scheduler is gone"))
    with pytest.raises(BackendLostError, match="the scheduler is gone") as caught:
        await asyncio.wait_for(scene.future, 10)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(BackendLostError):
        await asyncio.wait_for(scene.task("later"), 10)


async def test_a_backend_that_never_came_up_fails_what_it_held_as_a_start_does(
    scene: Scene,
) -> None:
    error = BackendStartError("nobody answers")
    scene.backend.lose(error)
    with pytest.raises(BackendStartError) as caught:
        await asyncio.wait_for(scene.future, 10)
    assert caught.value is error
    with pytest.raises(BackendStartError):
        await asyncio.wait_for(scene.task("later"), 10)


async def test_a_loss_whose_error_has_no_text_fails_what_the_backend_held(scene: Scene) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise SystemExit

    scene.backend.lose(MuteError())
    with pytest.raises(BackendLostError, match=r"lost: \(its text cannot be read: SystemExit\)"):
        await asyncio.wait_for(scene.future, 10)


async def test_a_backend_that_is_lost_twice_is_lost_once(scene: Scene) -> None:
    scene.backend.lose(OSError("first"))
    scene.backend.lose(OSError("second"))
    with pytest.raises(BackendLostError, match="first"):
        await asyncio.wait_for(scene.future, 10)


async def test_a_report_from_a_lost_backend_is_dropped(scene: Scene) -> None:
    scene.backend.lose()
    scene.backend.sink.done(scene.number, 1, "risen")
    with pytest.raises(BackendLostError):
        await asyncio.wait_for(scene.future, 10)


async def test_a_loss_reported_from_a_foreign_thread_arrives(scene: Scene) -> None:
    error = OSError("gone")
    thread = threading.Thread(target=scene.backend.sink.lost, args=(error,))
    thread.start()
    with pytest.raises(BackendLostError):
        await asyncio.wait_for(scene.future, 10)
    thread.join()


async def test_losing_one_backend_leaves_the_other_alone() -> None:
    first, second = ScriptedBackend(name="first"), ScriptedBackend(name="second")
    async with WorkflowEngine.create([first, second]) as flow:
        first.lose()
        lost = flow.function_task(backend="first")(identity)("x")
        kept = flow.function_task(backend="second")(identity)("y")
        assert await kept == "y"
        with pytest.raises(BackendLostError):
            await lost


# Methods that raise, or do not return in time.


class Faulty(ScriptedBackend):
    """Misbehaves where a test tells it to."""

    def __init__(self, **faults: Callable[..., Any]) -> None:
        super().__init__()
        self._faults = faults

    async def start(self, sink: ReportSink) -> None:
        self._misbehave("start")
        await super().start(sink)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        self._misbehave("before_submit", batch)
        super().submit(batch)
        self._misbehave("after_submit", batch)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        self._misbehave("cancel", task_ids)
        super().cancel(task_ids)

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        self._misbehave("shutdown")

    def _misbehave(self, where: str, *args: Any) -> None:
        if where in self._faults:
            self._faults[where](*args)


def fault(*_: object) -> None:
    raise OSError("a fault of the backend")


async def test_a_submit_that_raises_fails_its_tasks_with_the_cause() -> None:
    async with WorkflowEngine.create(Faulty(before_submit=fault)) as flow:
        with pytest.raises(BackendError, match="a fault of the backend") as caught:
            await flow.function_task(identity)("x")
        assert isinstance(caught.value.__cause__, OSError)


async def test_a_submit_that_raises_once_fails_that_batch_alone() -> None:
    faults = [fault]

    def first_time(_: object) -> None:
        if faults:
            faults.pop()()

    async with WorkflowEngine.create(Faulty(before_submit=first_time)) as flow:
        task = flow.function_task(identity)
        results = await asyncio.gather(task(1), task(2), return_exceptions=True)
        assert {type(result) for result in results} == {BackendError}
        assert await task(3) == 3


async def test_a_submit_that_raises_keeps_the_ends_that_were_reported_before() -> None:
    backend = Faulty(after_submit=lambda batch: end_first_and_raise(batch))

    def end_first_and_raise(batch: Sequence[TaskRequest]) -> None:
        backend.sink.done(batch[0].task_id, 1, "reported")
        fault()

    async with WorkflowEngine.create(backend) as flow:
        task = flow.function_task(identity)
        results = await asyncio.gather(task(1), task(2), return_exceptions=True)
        assert results[0] == "reported"
        assert isinstance(results[1], BackendError)


async def test_a_submit_that_raises_may_be_retried() -> None:
    faults = [fault]

    def first_time(_: object) -> None:
        if faults:
            faults.pop()()

    async with WorkflowEngine.create(Faulty(before_submit=first_time)) as flow:
        future = flow.function_task(retries=1)(identity)("x")
        assert await future == "x"
        assert future.attempts == 2


async def test_a_report_made_inside_submit_counts() -> None:
    backend = Faulty(after_submit=lambda batch: backend.finish(batch[0].task_id, "at once"))
    async with WorkflowEngine.create(backend) as flow:
        assert await flow.function_task(identity)("x") == "at once"


async def test_a_cancel_that_raises_does_not_keep_the_future(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Faulty(cancel=fault)
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)("x")
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, 10)
        assert "a fault of the backend" in caplog.text
        backend.release()


async def test_a_done_in_answer_to_a_cancel_leaves_it_cancelled() -> None:
    def answer(task_ids: Collection[TaskId]) -> None:
        for task_id in task_ids:
            backend.finish(task_id, "I was faster")

    backend = Faulty(cancel=answer)
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)("x")
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, 10)


async def test_a_backend_that_ignores_cancel_keeps_no_future_where_it_declares_so() -> None:
    backend = ScriptedBackend(kills_running=())
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)("x")
        await asyncio.sleep(0)
        backend.start_task(future)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, 10)
        backend.finish(future, "works on regardless")
        backend.release()
        assert await flow.function_task(identity)("y") == "y"


async def test_a_start_that_raises_reaches_the_program() -> None:
    with pytest.raises(BackendStartError, match="a fault of the backend"):
        await WorkflowEngine.create(Faulty(start=fault))


async def test_a_start_that_raises_ends_the_backends_that_had_started() -> None:
    good = ScriptedBackend(name="good")
    with pytest.raises(BackendStartError, match="a fault of the backend"):
        await WorkflowEngine.create([good, Faulty(start=fault)])
    with pytest.raises(EngineClosedError):
        good.submit([])


async def test_a_shutdown_that_raises_is_told_after_every_future_ended() -> None:
    backend = Faulty(shutdown=fault)
    flow = await WorkflowEngine.create(backend)
    backend.hold()
    future = flow.function_task(identity)("x")
    await asyncio.sleep(0)
    with pytest.raises(BackendError, match="a fault of the backend"):
        await asyncio.wait_for(flow.shutdown(), 20)
    assert future.cancelled()


async def test_a_backend_that_refuses_a_spec_refuses_at_the_call() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        with pytest.raises(ValueError, match="takes no task_description"):
            flow.function_task(task_description={"queue": "gpu"})(identity)("x")


# Values that stay with the backend.


class Stuck(RemoteValue):
    """A value that cannot be brought here."""

    async def fetch(self) -> Any:
        raise OSError("the worker is gone")

    def release(self) -> None:
        pass


async def test_a_remote_value_that_cannot_be_fetched_fails_whoever_wants_it() -> None:
    backend = ScriptedBackend(remote_results=True, kinds=[TaskKind.FUNCTION])
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)("x")
        await asyncio.sleep(0)
        backend.sink.done(future._number, 1, Stuck())
        with pytest.raises(OSError, match="the worker is gone"):
            await asyncio.wait_for(future, 10)
        backend.finish(future, "dropped")


async def test_a_start_that_fails_is_told_even_if_the_clean_up_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hanging(Faulty):
        async def shutdown(self, *, cancel: bool = True) -> None:
            await super().shutdown(cancel=cancel)
            await asyncio.Event().wait()

    monkeypatch.setattr("radical.asyncflow.engine._launch.BACKEND_GRACE_S", 0.01)
    with pytest.raises(BackendStartError, match="a fault of the backend"):
        await WorkflowEngine.create(Hanging(start=fault))


@pytest.mark.parametrize("attribute", ["name", "capabilities"])
async def test_a_backend_without_what_the_contract_asks_for_is_named(attribute: str) -> None:
    backend = ScriptedBackend()
    delattr(backend, attribute)
    with pytest.raises(BackendBrokenError, match=f"ScriptedBackend sets no '{attribute}'"):
        await WorkflowEngine.create(backend)
