"""Checks: a failure arrives as what it is, at the one task that failed."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from ...engine import WorkflowEngine
from ...errors import TaskExitError, WorkerLostError
from .. import _functions as functions
from .needs import needs
from .suite import Suite

_EXITS = ["SystemExit", "KeyboardInterrupt", "CancelledError", "GeneratorExit", "StopIteration"]


class Failures(Suite):
    @needs("function", "executes")
    @pytest.mark.parametrize("body", [functions.fail, functions.fail_async])
    async def test_the_original_exception_arrives(self, flow: WorkflowEngine, body) -> None:  # type: ignore[no-untyped-def]
        future = flow.function_task(body)("its text")
        with pytest.raises(ValueError, match="its text") as caught:
            await future
        assert type(caught.value) is ValueError
        assert caught.value.args == ("its text",)
        assert future.state == "FAILED"

    @needs("function", "executes")
    async def test_the_traceback_names_the_line_that_raised(self, flow: WorkflowEngine) -> None:
        with pytest.raises(ArithmeticError) as caught:
            await flow.function_task(functions.fail_deep_down)()
        text = "".join(traceback.format_exception(caught.value))
        assert "_innermost_frame" in text
        assert "_functions.py" in text

    @needs("function", "executes")
    async def test_the_traceback_names_the_file_of_a_function_that_cannot_be_imported(
        self, flow: WorkflowEngine
    ) -> None:
        def fail_here() -> None:
            raise ArithmeticError("planned")

        with pytest.raises(ArithmeticError) as caught:
            await flow.function_task(fail_here)()
        text = "".join(traceback.format_exception(caught.value))
        line = fail_here.__code__.co_firstlineno + 1
        assert f'File "{__file__}", line {line}, in fail_here' in text

    @needs("function", "executes")
    async def test_attributes_and_notes_arrive(self, flow: WorkflowEngine) -> None:
        with pytest.raises(functions.OopsError) as caught:
            await flow.function_task(functions.fail_with_attributes)()
        assert caught.value.code == 42
        assert "seen on a worker" in caught.value.__notes__

    @needs("function", "executes")
    async def test_the_cause_of_the_exception_can_be_read(self, flow: WorkflowEngine) -> None:
        with pytest.raises(LookupError) as caught:
            await flow.function_task(functions.fail_with_cause)()
        text = "".join(traceback.format_exception(caught.value))
        assert "ValueError: the reason" in text

    @needs("function", "executes")
    async def test_an_exception_class_that_the_test_defined_arrives(
        self, flow: WorkflowEngine
    ) -> None:
        class LocalError(Exception):
            pass

        def body() -> None:
            raise LocalError("from a closure")

        with pytest.raises(Exception, match="from a closure") as caught:
            await flow.function_task(body)()
        assert type(caught.value).__name__ == "LocalError"

    @needs("function", "executes")
    async def test_an_exception_group_arrives(self, flow: WorkflowEngine) -> None:
        def body() -> None:
            raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])

        with pytest.raises(ExceptionGroup) as caught:
            await flow.function_task(body)()
        assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]

    @needs("function", "executes")
    async def test_arguments_that_do_not_fit_fail_the_task(self, flow: WorkflowEngine) -> None:
        with pytest.raises(TypeError):
            await flow.function_task(functions.add)(1, 2, 3)  # type: ignore[call-overload]

    @needs("function", "executes")
    @pytest.mark.parametrize("name", _EXITS)
    async def test_what_would_end_a_program_fails_only_its_task(
        self, flow: WorkflowEngine, name: str
    ) -> None:
        bad = flow.function_task(functions.raise_by_name)(name)
        good = flow.function_task(functions.identity)("fine")
        with pytest.raises(TaskExitError, match=name) as caught:
            await asyncio.wait_for(asyncio.shield(bad), self.patience)
        assert type(caught.value.__cause__).__name__ == name
        assert bad.state == "FAILED"
        assert await good == "fine"

    @needs("function", "executes")
    # An async function cannot raise StopIteration: Python makes it a RuntimeError.
    @pytest.mark.parametrize("name", _EXITS[:-1])
    async def test_what_would_end_a_coroutine_fails_only_its_task(
        self, flow: WorkflowEngine, name: str
    ) -> None:
        bad = flow.function_task(functions.raise_by_name_async)(name)
        good = flow.function_task(functions.identity_async)("fine")
        with pytest.raises(TaskExitError, match=name):
            await asyncio.wait_for(asyncio.shield(bad), self.patience)
        assert await good == "fine"

    @needs("function", "executes")
    async def test_many_failures_harm_no_other_task(self, flow: WorkflowEngine) -> None:
        fail = flow.function_task(functions.fail)
        value = flow.function_task(functions.identity)
        futures = [fail(str(at)) if at % 2 else value(at) for at in range(200)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        for at, result in enumerate(results):
            assert result.args == (str(at),) if at % 2 else result == at

    @needs("function", "executes", "pickles", "isolates")
    async def test_a_killed_worker_costs_the_task_that_it_ran(self, flow: WorkflowEngine) -> None:
        with pytest.raises(WorkerLostError):
            await asyncio.wait_for(flow.function_task(functions.die)(), self.patience)

    @needs("function", "executes", "pickles", "isolates")
    async def test_a_worker_that_exits_costs_the_task_that_it_ran(
        self, flow: WorkflowEngine
    ) -> None:
        with pytest.raises(WorkerLostError) as caught:
            await asyncio.wait_for(flow.function_task(functions.exit_hard)(3), self.patience)
        assert caught.value.signal is None

    @needs("function", "executes", "pickles", "isolates")
    async def test_a_killed_worker_costs_no_other_task(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        before = [value(at) for at in range(50)]
        lost = flow.function_task(functions.die)()
        after = [value(at) for at in range(50)]
        assert await asyncio.gather(*before, *after) == [*range(50), *range(50)]
        with pytest.raises(WorkerLostError):
            await lost

    @needs("function", "executes", "pickles", "isolates")
    async def test_the_task_of_a_killed_worker_is_retried_if_allowed(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(retries=2)(functions.die_until)(folder, 2)
        assert await asyncio.wait_for(future, self.patience) == 2
        assert future.attempts == 2

    @needs("function", "executes", "pickles", "isolates")
    async def test_the_backend_survives_as_many_deaths_as_it_has_workers(
        self, flow: WorkflowEngine
    ) -> None:
        die = flow.function_task(functions.die)
        deaths = [die() for _ in range(2 * (self.slots or 1))]
        results = await asyncio.gather(*deaths, return_exceptions=True)
        assert {type(result) for result in results} == {WorkerLostError}
        assert await flow.function_task(functions.identity)("alive") == "alive"
