"""What a failure becomes for the one that failed, and for its dependents."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import traceback
from typing import Any

import pytest
from radical.asyncflow import (
    BackendLostError,
    DependencyFailureError,
    TaskExitError,
    TaskFuture,
    WorkflowEngine,
)
from radical.asyncflow.testing import ScriptedBackend

from .waiting import at_full_speed, turns, until


def identity(value: Any = None) -> Any:
    return value


def broken(*_: Any) -> Any:
    raise ValueError("as planned")


async def test_a_failure_is_the_original_exception(flow: WorkflowEngine) -> None:
    error = ValueError("mine")

    def raise_it() -> None:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        await flow.function_task(raise_it)()
    assert caught.value is error


async def test_a_dependent_names_the_failed_and_the_cause(flow: WorkflowEngine) -> None:
    first = flow.function_task(broken)()
    with pytest.raises(DependencyFailureError) as caught:
        await flow.function_task(identity)(first)
    error = caught.value
    assert (error.task, error.failed, error.root) == ("identity", ("broken",), "broken")
    assert error.__cause__ is first.exception()


async def test_a_dependent_of_a_failure_never_runs(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    with pytest.raises(DependencyFailureError):
        await flow.function_task(identity)(flow.function_task(broken)())
    assert [request.spec.name for request in backend.submitted] == ["broken"]


async def test_an_independent_task_does_not_notice_a_failure(flow: WorkflowEngine) -> None:
    bad, good = flow.function_task(broken)(), flow.function_task(identity)(1)
    assert (await asyncio.gather(bad, good, return_exceptions=True))[1] == 1


async def test_a_chain_of_a_thousand_fails_with_one_cause_one_level_deep(
    flow: WorkflowEngine,
) -> None:
    task = flow.function_task(identity)
    root: TaskFuture[Any] = flow.function_task(broken)()
    future = root
    for _ in range(1000):
        future = task(future)
    with pytest.raises(DependencyFailureError) as caught:
        await future
    assert caught.value.__cause__ is root.exception()
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__cause__ is None
    assert caught.value.root == "broken"


async def test_the_traceback_of_a_long_chain_is_short(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    future: TaskFuture[Any] = flow.function_task(broken)()
    for _ in range(1000):
        future = task(future)
    with pytest.raises(DependencyFailureError) as caught:
        await future
    assert len("".join(traceback.format_exception(caught.value))) < 10_000


async def test_awaiting_a_failure_often_does_not_lengthen_its_traceback(
    flow: WorkflowEngine,
) -> None:
    future = flow.function_task(broken)()
    lengths = []
    for _ in range(20):
        with pytest.raises(ValueError, match="planned") as caught:
            await future
        lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert max(lengths) == lengths[0]


def test_ten_thousand_dependents_of_one_failure_all_fail_with_it() -> None:
    async def main() -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            task = flow.function_task(identity)
            root = flow.function_task(broken)()
            futures = [task(root) for _ in range(10_000)]
            await asyncio.wait(futures)
            errors = [future.exception() for future in futures]
            assert {type(error) for error in errors} == {DependencyFailureError}
            assert {error.__cause__ for error in errors if error} == {root.exception()}

    at_full_speed(main())


async def test_at_most_twenty_failed_dependencies_are_named(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    bad = [flow.function_task(name=f"bad{number}")(broken)() for number in range(50)]
    await asyncio.wait(bad)
    with pytest.raises(DependencyFailureError, match="and 30 more") as caught:
        await flow.function_task(identity)(bad)
    assert len(caught.value.failed) == 20
    assert all(future.exception() for future in bad)


async def test_a_dependency_failure_can_be_pickled(flow: WorkflowEngine) -> None:
    with pytest.raises(DependencyFailureError) as caught:
        await flow.function_task(identity)(flow.function_task(broken)())
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.root) == (str(caught.value), "broken")


async def test_a_failure_that_dependents_carry_on_is_not_reported_as_lost(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DependencyFailureError):
        await flow.function_task(identity)(flow.function_task(broken)())
    await turns()
    assert "never retrieved" not in caplog.text


async def lost_errors(caplog: pytest.LogCaptureFixture, mark: str) -> list[str]:
    """Return the errors that begin with *mark* of which asyncio says that nobody looked at them."""
    await turns()
    gc.collect()
    errors = [
        str(record.exc_info[1])
        for record in caplog.records
        if "never retrieved" in record.getMessage() and record.exc_info
    ]
    return [error for error in errors if error.startswith(mark)]


def notes_of(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


@pytest.mark.parametrize("behind", [0, 3])
async def test_failures_after_that_of_a_dependent_are_in_its_error(
    flow: WorkflowEngine,
    backend: ScriptedBackend,
    caplog: pytest.LogCaptureFixture,
    behind: int,
) -> None:
    names = [f"bad{number}" for number in range(4)]
    backend.hold(*names)
    futures = [flow.function_task(identity, name=name)() for name in names]
    last = flow.function_task(identity)(futures)
    for _ in range(behind):
        last = flow.function_task(identity)(last)
    await turns()
    for number, name in enumerate(names):
        backend.fail(name, ValueError(f"reason {number}"))
    with pytest.raises(DependencyFailureError, match="reason 0") as caught:
        await last
    assert notes_of(caught.value) == [
        f"'bad{number}', which it depends on, failed too: ValueError: reason {number}"
        for number in (1, 2, 3)
    ]
    del last, futures
    assert await lost_errors(caplog, "reason") == []


async def test_a_failure_after_somebody_looked_at_that_of_a_dependent_is_reported_as_lost(
    flow: WorkflowEngine, backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.hold(1, 2)
    futures = [flow.function_task(identity)() for _ in range(2)]
    last = flow.function_task(identity)(futures)
    await turns()
    backend.fail(1, ValueError("first"))
    with pytest.raises(DependencyFailureError, match="first") as caught:
        await last
    backend.fail(2, ValueError("second"))
    await turns()
    assert notes_of(caught.value) == []
    del last, futures
    assert await lost_errors(caplog, "second") == ["second"]


async def test_failures_before_a_call_are_in_its_error(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("before the call")

    futures = [flow.function_task(fail, name=f"bad{number}")() for number in range(30)]
    while any(future.state != "FAILED" for future in futures):
        await turns()
    with pytest.raises(DependencyFailureError, match=r"'bad0', 'bad1'.* and 10 more") as caught:
        await flow.function_task(identity)([futures[0]["key"], *futures[1:]])
    assert len(notes_of(caught.value)) == 21
    assert notes_of(caught.value)[-1] == "and 9 more that it depends on"
    del futures
    assert await lost_errors(caplog, "before the call") == []


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
async def test_an_error_that_cannot_be_written_down_fails_its_task_and_the_dependents(
    flow: WorkflowEngine, kind: type[BaseException]
) -> None:
    class Mute(kind):  # type: ignore[valid-type, misc]
        def __str__(self) -> str:
            raise RuntimeError("it has no text")

        __repr__ = __str__

    def fail() -> None:
        raise Mute()

    future = flow.function_task(fail)()
    with pytest.raises(DependencyFailureError, match=r"Mute:? \(its text cannot be read: Runtime"):
        await flow.function_task(identity)(future)
    assert isinstance(future.exception(), Mute | TaskExitError)


@pytest.mark.parametrize(
    "kind", [asyncio.CancelledError, GeneratorExit, SystemExit, KeyboardInterrupt, StopIteration]
)
async def test_what_would_end_a_program_fails_the_task_alone(
    flow: WorkflowEngine, kind: type[BaseException]
) -> None:
    def leave() -> None:
        raise kind("bye")

    with pytest.raises(TaskExitError) as caught:
        await flow.function_task(leave)()
    assert isinstance(caught.value.__cause__, kind)
    assert await flow.function_task(identity)(1) == 1


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_a_backend_may_report_any_exception(
    flow: WorkflowEngine, backend: ScriptedBackend, kind: type[BaseException]
) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    await until(backend.waiting)
    backend.fail("identity", kind("bye"))
    with pytest.raises(TaskExitError) as caught:
        await future
    assert isinstance(caught.value.__cause__, kind)


async def test_a_lost_backend_fails_what_it_held(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    futures = [flow.function_task(identity)(number) for number in range(3)]
    await until(backend.waiting)
    cause = OSError("the network is gone")
    backend.lose(cause)
    errors = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(error) for error in errors} == {BackendLostError}
    assert {error.__cause__ for error in errors if isinstance(error, Exception)} == {cause}


async def test_a_lost_backend_gets_nothing_more(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.lose()
    await turns()
    with pytest.raises(BackendLostError):
        await flow.function_task(identity)()
    assert backend.submitted == []


async def test_a_body_that_ends_after_the_loss_is_not_sent(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    go = asyncio.Event()

    async def body() -> str:
        await go.wait()
        return "true"

    future = flow.executable_task(body)()
    await turns()
    backend.lose()
    await turns()
    go.set()
    with pytest.raises(BackendLostError):
        await future
    assert backend.submitted == []


async def test_a_malformed_report_is_dropped_in_a_run_that_is_watched_too(
    flow: WorkflowEngine, backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    stop = flow.observe(lambda _: None)
    backend.sink.report([("too", "short"), 7])  # type: ignore[list-item]
    assert await flow.function_task(identity)(3) == 3
    stop()
    assert caplog.text.count("a malformed report was dropped") == 2


async def test_results_and_arguments_do_not_reach_the_log(
    flow: WorkflowEngine, backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "swordfish"
    backend.hold()
    future = flow.function_task(identity)(secret)
    await until(backend.waiting)
    backend.sink.report([("malformed", secret), *[(1, 7, 4, secret)]])  # type: ignore[list-item]
    backend.finish("identity", secret)
    await future
    backend.sink.done(1, 1, secret)
    await turns()
    assert "malformed" in caplog.text
    assert secret not in caplog.text
