"""A backend is lost, and the run goes on with the next one."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    BackendEvent,
    BackendLostError,
    ConfigurationError,
    DependencyFailureError,
    InputFile,
    OutputFile,
    TaskEvent,
    TaskFuture,
    WorkflowEngine,
    journal,
    registry,
)
from radical.asyncflow.backend import (
    Capabilities,
    RemoteValue,
    ReportSink,
    TaskKind,
    TaskRequest,
)
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns, until

KINDS = (TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT)

began: Counter[Any] = Counter()


def work(value: Any = None, *others: Any) -> Any:
    """Note that this began, and return a value that says what it is made from."""
    began[str(value)] += 1
    return (value, *others) if others else value


@pytest.fixture(autouse=True)
def none_began() -> None:
    began.clear()


@pytest.fixture
def first() -> ScriptedBackend:
    return ScriptedBackend(name="first", kinds=KINDS)


@pytest.fixture
def keeping() -> ScriptedBackend:
    """Return a backend that orders tasks itself and keeps their values."""
    return ScriptedBackend(
        name="keeping", kinds=KINDS, native_dependencies=True, remote_results=True
    )


@pytest.fixture
def second() -> ScriptedBackend:
    return ScriptedBackend(name="second", kinds=KINDS)


@pytest.fixture
async def flow(first: ScriptedBackend, second: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    engine = await WorkflowEngine.create([first, second], failover=True)
    yield engine
    await engine.shutdown()


@pytest.fixture
async def native(
    keeping: ScriptedBackend, second: ScriptedBackend
) -> AsyncIterator[WorkflowEngine]:
    engine = await WorkflowEngine.create([keeping, second], failover=True)
    yield engine
    await engine.shutdown()


async def waiting_at(
    backend: ScriptedBackend, flow: WorkflowEngine, **options: Any
) -> TaskFuture[Any]:
    """Call a task that waits at *backend*."""
    backend.hold()
    future = flow.function_task(work, **options)(1)
    await until(backend.waiting)
    return future


async def value_there(flow: WorkflowEngine) -> TaskFuture[Any]:
    """Call a task, and return it when it is done; its value is where it ran."""
    future = flow.function_task(work)("value")
    await until(lambda: future.state == "DONE")
    return future


# ------------------------------------------------------------------------ what goes on


async def test_what_had_not_begun_goes_on_as_the_same_attempt(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    first.hold()
    futures = [flow.function_task(work)(number) for number in range(20)]
    await until(first.waiting)
    first.lose()
    assert await asyncio.gather(*futures) == list(range(20))
    assert {(future.backend, future.attempts) for future in futures} == {("second", 1)}
    assert [request.attempt for request in second.submitted] == [1] * 20
    assert set(began.values()) == {1}


async def test_what_had_begun_fails_without_retries(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    future = await waiting_at(first, flow)
    after = flow.function_task(work)(future)
    first.start_task(future)
    first.lose(OSError("burnt down"))
    with pytest.raises(BackendLostError, match="backend 'first' was lost: burnt down"):
        await future
    with pytest.raises(DependencyFailureError):
        await after
    assert second.submitted == []


async def test_what_had_begun_and_may_be_retried_goes_on_as_another_attempt(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    future = await waiting_at(first, flow, retries=1)
    first.start_task(future)
    first.lose()
    assert await future == 1
    assert (future.backend, future.attempts) == ("second", 2)
    assert [request.attempt for request in second.submitted] == [2]


async def test_what_may_have_begun_counts_as_begun(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    first.hold()
    doubtful = flow.function_task(work)("doubtful")
    retried = flow.function_task(work, retries=1)("retried")
    certain = flow.function_task(work)("certain")
    await until(lambda: len(first.waiting()) == 3)
    first.sink.lost(OSError("gone"), [certain._number])
    with pytest.raises(BackendLostError):
        await doubtful
    assert await asyncio.gather(retried, certain) == ["retried", "certain"]
    assert (retried.attempts, certain.attempts) == (2, 1)
    assert len(second.submitted) == 2


async def test_what_waits_and_what_is_called_later_goes_to_the_next(
    flow: WorkflowEngine, first: ScriptedBackend
) -> None:
    first.hold()
    task = flow.function_task(work)
    future = task(1)
    waiting = task([future])
    named = flow.function_task(work, backend="first")
    await until(first.waiting)
    first.lose()
    assert await waiting == [1]
    assert await task(2) == 2
    assert await flow.function_task(work)(3) == 3
    assert await named(4) == 4
    assert flow.backend.name == "second"
    assert len(first.submitted) == 1


async def test_without_failover_nothing_goes_on(second: ScriptedBackend) -> None:
    first = ScriptedBackend(name="first")
    async with WorkflowEngine.create([first, second]) as flow:
        future = await waiting_at(first, flow)
        first.lose()
        with pytest.raises(BackendLostError):
            await future
    assert second.submitted == []


async def test_where_no_other_backend_can_the_task_fails(first: ScriptedBackend) -> None:
    poor = ScriptedBackend(name="poor")
    async with WorkflowEngine.create([first, poor], failover=True) as flow:
        first.hold()
        prompt = flow.prompt_task(lambda: "words", retries=5)()
        function = flow.function_task(work)(1)
        await until(lambda: len(first.waiting()) == 2)
        first.lose()
        with pytest.raises(BackendLostError) as caught:
            await prompt
        assert str(caught.value) == (
            "backend 'first' was lost by its script; task '<lambda>' does not go on elsewhere, "
            "because backend 'poor' runs no prompt tasks (it runs: function)"
        )
        assert await function == 1


async def test_failover_is_a_yes_or_a_no(first: ScriptedBackend) -> None:
    with pytest.raises(ConfigurationError, match="failover must be True or False, not 'dask'"):
        WorkflowEngine.create(first, failover="dask")  # type: ignore[arg-type]


async def test_each_loss_goes_to_the_next_that_is_left(
    first: ScriptedBackend, second: ScriptedBackend
) -> None:
    third = ScriptedBackend(name="third")
    async with WorkflowEngine.create([first, second, third], failover=True) as flow:
        first.hold()
        second.hold()
        futures = [flow.function_task(work)(number) for number in range(5)]
        await until(first.waiting)
        first.lose()
        await until(second.waiting)
        second.lose()
        assert await asyncio.gather(*futures) == list(range(5))
        assert {(future.backend, future.attempts) for future in futures} == {("third", 1)}


async def test_both_are_lost_at_the_same_moment(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    future = await waiting_at(first, flow, retries=3)
    second.lose()
    first.lose()
    with pytest.raises(BackendLostError, match="'first' was lost"):
        await future


async def test_a_cancelled_task_does_not_go_on(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    future = await waiting_at(first, flow, retries=1)
    first.start_task(future)
    future.cancel()
    first.lose()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert second.submitted == []


async def test_a_command_whose_body_still_runs_goes_on(
    flow: WorkflowEngine, first: ScriptedBackend, second: ScriptedBackend
) -> None:
    go = asyncio.Event()

    async def body() -> str:
        await go.wait()
        return "true"

    future = flow.executable_task(body)()
    await turns()
    first.lose()
    await turns()
    go.set()
    assert await future == "true"
    assert (first.submitted, len(second.submitted)) == ([], 1)


async def test_a_task_with_files_goes_on(
    flow: WorkflowEngine, first: ScriptedBackend, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("words")

    def copy(source: str, target: str) -> str:
        Path(target).write_text(Path(source).read_text())
        return target

    first.hold()
    future = flow.function_task(copy)(InputFile(tmp_path / "in"), OutputFile(tmp_path / "out"))
    await until(first.waiting)
    first.lose()
    assert await future == str(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "words"


async def test_a_chain_that_was_sent_as_one_goes_on_in_order() -> None:
    first = ScriptedBackend(name="first", chains=True)
    second = ScriptedBackend(name="second")
    async with WorkflowEngine.create([first, second], failover=True) as flow:
        first.hold()
        task = flow.function_task(work)
        futures = [task("a")]
        for _ in range(5):
            futures.append(task(futures[-1]))
        await until(lambda: len(first.waiting()) == 6)
        first.lose()
        assert await futures[-1] == "a"
        assert [request.args for request in second.submitted] == [("a",)] * 6


async def test_of_a_chain_that_had_begun_nothing_is_lost_and_nothing_runs_twice() -> None:
    first = ScriptedBackend(name="first", chains=True)
    second = ScriptedBackend(name="second")
    async with WorkflowEngine.create([first, second], failover=True) as flow:
        first.hold()
        task = flow.function_task(work)
        futures = [task("a")]
        for _ in range(3):
            futures.append(task(futures[-1]))
        await until(lambda: len(first.waiting()) == 4)
        first.finish(futures[0], "a")
        first.start_task(futures[1])
        first.lose()
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert results[0] == "a"
        assert isinstance(results[1], BackendLostError)
        assert all(isinstance(result, DependencyFailureError) for result in results[2:])
        assert second.submitted == []


async def test_what_is_said_twice_changes_nothing(
    flow: WorkflowEngine, first: ScriptedBackend
) -> None:
    future = await waiting_at(first, flow)
    sink = first.sink
    first.lose()
    sink.lost(OSError("again"))
    assert await future == 1


class Refusing(ScriptedBackend):
    """A backend that knows of its loss before the engine does."""

    told = True

    def submit(self, batch: Sequence[TaskRequest]) -> None:  # noqa: ARG002
        error = BackendLostError("gone")
        if self.told:
            self.sink.lost(error)
        raise error


@pytest.mark.parametrize("told", [True, False])
async def test_what_a_lost_backend_does_not_take_has_not_begun(
    second: ScriptedBackend, told: bool
) -> None:
    first = Refusing(name="first")
    first.told = told
    async with WorkflowEngine.create([first, second], failover=True) as flow:
        futures = [flow.function_task(work)(number) for number in range(10)]
        assert await asyncio.gather(*futures) == list(range(10))
        assert {future.attempts for future in futures} == {1}


async def test_ten_thousand_tasks_go_on(native: WorkflowEngine, keeping: ScriptedBackend) -> None:
    keeping.hold()
    task = native.function_task(work)
    futures = [task(number) for number in range(5_000)]
    futures += [task(future) for future in futures]
    await until(lambda: len(keeping.waiting()) == 10_000)
    keeping.lose()
    assert await asyncio.gather(*futures) == [*range(5_000)] * 2


# ----------------------------------------------------------------------------- values


async def test_a_graph_that_the_backend_ordered_goes_on(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    keeping.hold()
    task = native.function_task(work)
    left, right = task("l"), task("r")
    both = task("both", left, right)
    last = task([both])
    await until(lambda: len(keeping.waiting()) == 4)
    keeping.lose()
    assert await last == [("both", "l", "r")]
    assert set(began.values()) == {1}


async def test_a_value_that_was_there_only_is_computed_again(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    future = await value_there(native)
    keeping.lose()
    await turns()
    assert await future == "value"
    assert began["value"] == 2


@pytest.mark.parametrize("is_here", [False, True])
async def test_a_value_that_is_here_or_that_nobody_needs_is_not_computed_again(
    native: WorkflowEngine, keeping: ScriptedBackend, second: ScriptedBackend, is_here: bool
) -> None:
    future = await value_there(native)
    needed = [await future] if is_here else []
    keeping.lose()
    assert await native.function_task(work)(["other", *needed]) == ["other", *needed]
    assert (began["value"], len(second.submitted)) == (1, 1)


async def test_a_task_that_waits_for_a_lost_value_gets_it(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    task = native.function_task(work)
    future = task("value")
    await until(lambda: future.state == "DONE")
    keeping.hold()
    after = task("after", future)
    nested = native.function_task(work)(["nested", {"key": future}])
    await until(lambda: len(keeping.waiting()) == 2)
    keeping.lose()
    assert await after == ("after", "value")
    assert await nested == ["nested", {"key": "value"}]
    assert began["value"] == 2


async def test_what_a_lost_value_was_made_from_is_computed_again_though_nobody_holds_it(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    task = native.function_task(work)
    value: TaskFuture[Any] = task("0")
    for number in range(1, 50):
        value = task(str(number), value)
        if number == 25:
            await until(lambda last=value: last.state == "DONE")
    await until(lambda: value.state == "DONE")
    gc.collect()
    assert len(keeping.released) == 49
    keeping.lose()
    result = await value
    for number in range(49, 0, -1):
        name, result = result
        assert name == str(number)
    assert result == "0"
    assert set(began.values()) == {2}


async def test_what_items_were_taken_from_is_let_go_and_computed_again(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    task = native.function_task(work)
    value: TaskFuture[Any] = task("0", "end")
    for number in range(1, 10):
        value = task(str(number), value[1])
        await until(lambda last=value: last.state == "DONE")
    gc.collect()
    assert len(keeping.released) == 9
    keeping.lose()
    assert await value == ("9", "end")
    assert set(began.values()) == {2}


async def test_a_value_that_two_are_made_from_is_computed_again_once(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    task = native.function_task(work)
    base = task("base")
    one, two = task("one", base), task("two", base)
    await until(lambda: one.state == two.state == "DONE")
    del base
    gc.collect()
    keeping.lose()
    assert await asyncio.gather(one, two) == [("one", "base"), ("two", "base")]
    assert began["base"] == 2


async def test_a_lost_value_can_be_lost_again(
    keeping: ScriptedBackend, second: ScriptedBackend
) -> None:
    other = ScriptedBackend(name="other", native_dependencies=True, remote_results=True)
    async with WorkflowEngine.create([keeping, other, second], failover=True) as flow:
        task = flow.function_task(work)
        base = task("base")
        value = task("value", base)
        del base
        await until(lambda made=value: made.state == "DONE")
        gc.collect()
        keeping.lose()
        again = task("again", value)
        await until(lambda: again.state == "DONE")
        del value
        gc.collect()
        other.lose()
        assert await again == ("again", ("value", "base"))


async def test_a_value_that_was_on_its_way_is_computed_again(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    future = await value_there(native)
    keeping._values.clear()  # the first sign of the loss
    waiter = asyncio.ensure_future(asyncio.wait_for(future, 60))
    await turns()
    keeping.lose()
    assert await waiter == "value"


async def test_a_value_that_is_lost_while_its_backend_is_not_is_an_error(
    native: WorkflowEngine, keeping: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow._dispatch.failover.LOSS_PATIENCE_S", 0.01)
    future = await value_there(native)
    keeping._values.clear()
    with pytest.raises(BackendLostError, match="the value of task 1 is lost"):
        await future


async def test_nothing_hangs_if_the_engine_ends_while_a_value_is_missing(
    keeping: ScriptedBackend, second: ScriptedBackend
) -> None:
    flow = await WorkflowEngine.create([keeping, second], failover=True)
    future = await value_there(flow)
    keeping._values.clear()
    waiter = asyncio.ensure_future(asyncio.wait({future}))
    await turns()
    await flow.shutdown()
    await waiter
    assert future.cancelled()


async def test_a_value_of_a_task_that_moved_to_a_backend_that_keeps_values_arrives(
    first: ScriptedBackend, keeping: ScriptedBackend
) -> None:
    async with WorkflowEngine.create([first, keeping], failover=True) as flow:
        first.hold()
        task = flow.function_task(work)
        future = task("value")
        after = task("after", future)
        await until(first.waiting)
        first.lose()
        assert await after == ("after", "value")
        assert await future == "value"


async def test_a_value_that_cannot_be_computed_again_says_why(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    def once() -> str:
        began["once"] += 1
        if began["once"] > 1:
            raise ValueError("only once")
        return "value"

    future = native.function_task(once)()
    await until(lambda: future.state == "DONE")
    keeping.lose()
    with pytest.raises(ValueError, match="only once"):
        await future


async def test_max_pending_does_not_keep_a_value_from_being_computed_again(
    keeping: ScriptedBackend, second: ScriptedBackend
) -> None:
    async with WorkflowEngine.create([keeping, second], failover=True, max_pending=1) as flow:
        future = await value_there(flow)
        keeping.lose()
        await turns()
        second.hold("full")
        full = flow.function_task(work, name="full")()
        assert await future == "value"
        await until(second.waiting)
        second.release()
        await full


async def test_a_value_is_computed_again_outside_of_the_block_that_asks(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    future = await value_there(native)
    keeping.lose()
    await turns()

    @native.block
    async def ask() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.shield(future)
        return "left"

    assert await ask() == "left"
    assert await future == "value"


async def test_a_coroutine_among_the_arguments_is_not_awaited_twice(
    native: WorkflowEngine, keeping: ScriptedBackend
) -> None:
    async def slow() -> str:
        return "awaited"

    future = native.function_task(work)("value", slow())
    await until(lambda: future.state == "DONE")
    keeping.lose()
    assert await future == ("value", "awaited")


# ------------------------------------------------------------------- the next to start


class Starting(ScriptedBackend):
    """A backend whose start a test lets end."""

    def __init__(self, _settings: Any = None, *, name: str = "starting") -> None:
        super().__init__(name=name)
        self.go = asyncio.Event()
        made.append(self)

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        await self.go.wait()


class Unwilling(ScriptedBackend):
    def __init__(self, _settings: Any = None, *, name: str = "unwilling") -> None:
        super().__init__(name=name)

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        raise OSError("no licence")


made: list[ScriptedBackend] = []


def make_preferred(_settings: Any = None, *, name: str = "preferred") -> ScriptedBackend:
    made.append(ScriptedBackend(name=name))
    return made[-1]


@pytest.fixture
def registered() -> Iterator[None]:
    able = Capabilities(kinds={TaskKind.FUNCTION})
    factories = {"preferred": make_preferred, "starting": Starting, "unwilling": Unwilling}
    for name, factory in factories.items():
        registry.register_backend(name, factory, capabilities=able)
    yield
    for name in factories:
        registry.unregister_backend(name)
    made.clear()


@pytest.mark.usefixtures("registered")
async def test_the_next_of_a_list_of_preference_is_started() -> None:
    names = "preferred, unwilling, starting"
    async with WorkflowEngine.create(names, failover=True) as flow:
        events: list[Any] = []
        flow.observe(events.extend)
        (preferred,) = made
        preferred.hold()
        task = flow.function_task(work)
        futures = [task(number) for number in range(5)]
        await until(preferred.waiting)
        assert [*flow.backends] == ["preferred"]
        preferred.lose()
        await until(lambda: len(made) == 2)
        futures += [task(number) for number in range(5, 10)]
        await turns()
        assert not any(future.done() for future in futures)
        starting = made[1]
        assert isinstance(starting, Starting)
        starting.go.set()
        assert await asyncio.gather(*futures) == list(range(10))
        assert {future.backend for future in futures} == {"starting"}
        await turns()
        assert [
            (event.backend, event.state) for event in events if isinstance(event, BackendEvent)
        ] == [("preferred", "down"), ("starting", "up")]


@pytest.mark.usefixtures("registered")
async def test_if_the_next_does_not_start_another_one_takes_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = ScriptedBackend(name="other")
    async with WorkflowEngine.create(["preferred, unwilling", other], failover=True) as flow:
        future = await waiting_at(made[0], flow)
        made[0].lose()
        assert (await future, future.backend) == (1, "other")
    assert "no backend takes the place of 'preferred'" in caplog.text
    assert "no licence" in caplog.text


@pytest.mark.usefixtures("registered")
async def test_what_waits_for_the_next_to_start_can_be_cancelled() -> None:
    async with WorkflowEngine.create("preferred, starting", failover=True) as flow:
        made[0].hold()
        task = flow.function_task(work)
        one, two = task(1), task(2)
        await until(made[0].waiting)
        made[0].lose()
        await until(lambda: len(made) == 2)
        one.cancel()
        assert one.cancelled()
        made[1].go.set()  # type: ignore[attr-defined]
        assert await two == 2


@pytest.mark.usefixtures("registered")
async def test_the_engine_can_be_shut_down_while_the_next_starts() -> None:
    flow = await WorkflowEngine.create("preferred, starting", failover=True)
    future = await waiting_at(made[0], flow)
    made[0].lose()
    await until(lambda: len(made) == 2)
    await flow.shutdown()
    assert future.cancelled()
    assert all(backend.is_shut_down for backend in made)


# ------------------------------------------------------------------------- what is told


async def test_events_say_what_became_of_each_task(
    flow: WorkflowEngine, first: ScriptedBackend
) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    first.hold()
    task = flow.function_task(work, retries=1)
    begun, waiting = task("begun"), task("waiting")
    await until(lambda: len(first.waiting()) == 2)
    first.start_task(begun)
    first.lose()
    await asyncio.gather(begun, waiting)
    await turns()
    (down,) = [event for event in events if isinstance(event, BackendEvent)]
    assert (down.backend, down.state, down.moved) == ("first", "down", 2)
    assert isinstance(down.error, BackendLostError)
    lives = {
        future: [
            (event.state.name, event.backend, event.attempt, type(event.error).__name__)
            for event in events
            if isinstance(event, TaskEvent) and event.task_id == future._number
        ]
        for future in (begun, waiting)
    }
    none = "NoneType"
    assert lives[waiting] == [
        ("PENDING", "first", 1, none),
        ("READY", "first", 1, none),
        ("SUBMITTED", "first", 1, none),
        ("READY", "second", 1, none),
        ("SUBMITTED", "second", 1, none),
        ("RUNNING", "second", 1, none),
        ("DONE", "second", 1, none),
    ]
    assert lives[begun][3:] == [
        ("RUNNING", "first", 1, none),
        ("READY", "second", 2, "BackendLostError"),
        ("READY", "second", 2, none),
        ("SUBMITTED", "second", 2, none),
        ("RUNNING", "second", 2, none),
        ("DONE", "second", 2, none),
    ]


async def test_one_line_says_how_many_go_on(
    flow: WorkflowEngine, first: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    first.hold()
    task = flow.function_task(work)
    futures = [task(number) for number in range(3)]
    retried = flow.function_task(work, retries=1)("retried")
    await until(lambda: len(first.waiting()) == 4)
    first.start_task(futures[0])
    first.start_task(retried)
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        first.lose(OSError("burnt down"))
        await asyncio.gather(*futures, retried, return_exceptions=True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "backend 'first' was lost (BackendLostError: backend 'first' was lost: burnt down): "
        "2 tasks that had not begun there and 1 task that may run again go on with the next "
        "backend, 1 task ended"
    )


async def test_the_record_says_that_a_backend_was_lost(
    keeping: ScriptedBackend, second: ScriptedBackend, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    async with WorkflowEngine.create([keeping, second], failover=True, journal=path) as flow:
        keeping.hold()
        task = flow.function_task(work)
        futures = [task(number) for number in range(3)]
        await until(lambda: len(keeping.waiting()) == 3)
        keeping.lose(OSError("burnt down"))
        assert await asyncio.gather(*futures) == [0, 1, 2]
    (run,) = journal.read(path)
    lost = run.backends["keeping"]
    assert lost["lost"] == "BackendLostError: backend 'keeping' was lost: burnt down"
    assert lost["moved"] == 3
    assert "lost" not in run.backends["second"]
    assert {task.backend for task in run.tasks.values()} == {"second"}


class Late(ScriptedBackend):
    """A backend whose values a test lets arrive."""

    def __init__(self) -> None:
        super().__init__(name="late", remote_results=True)
        self.asked = asyncio.Event()

    def _done(self, request: TaskRequest, value: Any) -> None:  # noqa: ARG002
        self._sink.done(request.task_id, request.attempt, Missing(self.asked))
        self._ended(request, None)


class Missing(RemoteValue):
    def __init__(self, asked: asyncio.Event) -> None:
        self.asked = asked

    async def fetch(self) -> Any:
        self.asked.set()
        raise BackendLostError("the connection broke")

    def release(self) -> None:
        pass


async def test_a_finished_task_whose_value_did_not_reach_the_journal_runs_again(
    second: ScriptedBackend, tmp_path: Path
) -> None:
    late = Late()
    path = tmp_path / "journal"
    async with WorkflowEngine.create([late, second], failover=True, journal=path) as flow:
        future = flow.function_task(work)("value")
        await late.asked.wait()
        await turns()
        late.lose()
        assert await future == "value"
        assert (future.attempts, future.backend, began["value"]) == (2, "second", 2)
    (run,) = journal.read(path)
    (task,) = run.tasks.values()
    assert (task.state, task.backend, task.attempt) == ("DONE", "second", 2)


async def test_a_run_that_lost_a_backend_is_resumed_without_computing_anything(
    keeping: ScriptedBackend, second: ScriptedBackend, tmp_path: Path
) -> None:
    path = tmp_path / "journal"

    async def run(backends: list[ScriptedBackend], lose: bool) -> list[int]:
        async with WorkflowEngine.create(backends, failover=True, journal=path) as flow:
            one = flow.function_task(lambda: [1])()
            await one
            if lose:
                backends[0].lose()
            two = flow.function_task(lambda: [2])()
            return await flow.function_task(lambda left, right: left + right)(one, two)

    assert await run([keeping, second], True) == [1, 2]
    assert (len(keeping.submitted), len(second.submitted)) == (1, 2)
    fresh = ScriptedBackend(name="second")
    assert await run([fresh], False) == [1, 2]
    assert fresh.submitted == []
