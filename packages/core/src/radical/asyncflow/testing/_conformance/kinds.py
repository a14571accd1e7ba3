"""Checks: every kind of task, and whatever may stand for a function or an argument."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy
import pytest
from pydantic import BaseModel

from ...engine import WorkflowEngine
from ...errors import ConfigurationError
from ...model import Prompt, TaskKind
from .. import _functions as functions
from .needs import needs
from .suite import Suite

TOOL = {"type": "function", "function": {"name": "say", "parameters": {"type": "object"}}}


class Consent(BaseModel):
    """The model of an answer that the checks ask for."""

    yes: bool


class Kinds(Suite):
    @needs("function", "executes")
    async def test_a_plain_function_returns_its_value(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.add)(2, 3) == 5

    @needs("function", "executes")
    async def test_an_async_function_returns_its_value(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.identity_async)("here") == "here"

    @needs("function", "executes")
    async def test_positional_and_keyword_arguments_arrive(self, flow: WorkflowEngine) -> None:
        task = flow.function_task(functions.everything)
        assert await task(1, "two", three=3, four=None) == ((1, "two"), {"three": 3, "four": None})

    @needs("function", "executes")
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            -1,
            2**200,
            1.5,
            1j,
            "",
            "naïve 漢字 \0 \U0001f600",
            b"\x00\xff",
            [],
            (),
            {},
            set(),
            [1, [2, (3, {"four": {5, 6}})]],
            {("a", 1): [None, {"b": frozenset({2})}]},
            range(3),
            Ellipsis,
            int,
            NotImplemented,
        ],
        ids=lambda value: repr(value)[:20].encode("ascii", "replace").decode(),
    )
    async def test_a_value_comes_back_equal(self, flow: WorkflowEngine, value: Any) -> None:
        result = await flow.function_task(functions.identity)(value)
        assert result == value
        assert type(result) is type(value)

    @needs("function", "executes")
    async def test_ten_megabytes_come_back_equal(self, flow: WorkflowEngine) -> None:
        data = bytes(range(256)) * 40_000
        assert await flow.function_task(functions.identity)(data) == data

    @needs("function", "executes")
    async def test_a_big_array_comes_back_equal(self, flow: WorkflowEngine) -> None:
        array = numpy.arange(1_000_000, dtype="f8").reshape(1000, 1000)
        result = await flow.function_task(functions.identity)(array)
        assert result.dtype == array.dtype
        assert numpy.array_equal(result, array)
        # Whoever gets a result may work on it.
        result += 1.0

    @needs("function", "executes")
    async def test_an_array_that_is_not_contiguous_comes_back_equal(
        self, flow: WorkflowEngine
    ) -> None:
        array = numpy.arange(10_000).reshape(100, 100)[::3, ::-2].T
        assert numpy.array_equal(await flow.function_task(functions.identity)(array), array)

    @needs("function", "executes")
    async def test_a_closure_sees_its_variables(self, flow: WorkflowEngine) -> None:
        offset = 40

        def shifted(value: int) -> int:
            return value + offset

        assert await flow.function_task(shifted)(2) == 42

    @needs("function", "executes")
    async def test_an_async_closure_sees_its_variables(self, flow: WorkflowEngine) -> None:
        offset = 40

        async def shifted(value: int) -> int:
            return value + offset

        assert await flow.function_task(shifted)(2) == 42

    @needs("function", "executes")
    async def test_a_lambda_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(lambda value: value * 2)(21) == 42

    @needs("function", "executes")
    async def test_a_partial_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functools.partial(functions.add, 40))(2) == 42

    @needs("function", "executes")
    async def test_a_partial_of_an_async_function_runs(self, flow: WorkflowEngine) -> None:
        task = flow.function_task(functools.partial(functions.identity_async, 42))
        assert await task() == 42

    @needs("function", "executes")
    async def test_a_bound_method_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.Account(40).plus)(2) == 42

    @needs("function", "executes")
    async def test_a_class_method_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.Account.opened_with)(42) == 42

    @needs("function", "executes")
    async def test_a_static_method_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.Account.doubled)(21) == 42

    @needs("function", "executes")
    async def test_an_object_that_can_be_called_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.Account(44))(2) == 42

    @needs("function", "executes")
    async def test_a_builtin_runs(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(operator.mul)(6, 7) == 42

    @needs("function", "executes")
    async def test_a_class_that_the_test_defined_travels(self, flow: WorkflowEngine) -> None:
        class Pair:
            def __init__(self, left: int, right: int) -> None:
                self.left = left
                self.right = right

        result = await flow.function_task(lambda left: Pair(left, 2))(1)
        assert (result.left, result.right) == (1, 2)

    @needs("function", "executes")
    async def test_an_exception_is_a_value_like_any_other(self, flow: WorkflowEngine) -> None:
        result = await flow.function_task(functions.identity)(ValueError("not raised"))
        assert isinstance(result, ValueError)
        assert result.args == ("not raised",)

    @needs("function", "executes")
    async def test_a_task_may_print(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(functions.speak)("spoken") == "spoken"

    @needs("function", "executes")
    @pytest.mark.parametrize("function", [functions.items_later, functions.items_later_async])
    async def test_a_generator_is_no_result(self, flow: WorkflowEngine, function: Any) -> None:
        with pytest.raises(TypeError, match="returned a generator"):
            await flow.function_task(function)(3)

    @needs("function", "executes", "contexts")
    @pytest.mark.parametrize("function", [functions.label, functions.label_async])
    async def test_a_function_sees_the_context_variables_of_its_call(
        self, flow: WorkflowEngine, function: Any
    ) -> None:
        task = flow.function_task(function)
        futures = []
        for value in ("one", "two", "three"):
            functions.relabel(value)
            futures.append(task())
        functions.relabel("later")
        assert [await future for future in futures] == ["one", "two", "three"]

    @needs("function", "executes", "contexts")
    async def test_a_context_variable_that_a_function_sets_is_its_own(
        self, flow: WorkflowEngine
    ) -> None:
        functions.relabel("caller")
        task = flow.function_task(functions.relabel)
        seen = [await future for future in [task(f"task {number}") for number in range(8)]]
        assert seen == ["caller"] * 8
        assert functions.label() == "caller"

    @needs("function", "executes", "contexts")
    async def test_each_task_of_a_chain_has_the_context_of_its_own_call(
        self, flow: WorkflowEngine
    ) -> None:
        task = flow.function_task(functions.append_label)
        future: Any = []
        for value in ("first", "second", "third"):
            functions.relabel(value)
            future = task(future)
        assert await future == ["first", "second", "third"]

    @needs("function", "executes", "contexts")
    async def test_another_attempt_has_the_context_as_it_was_at_the_call(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        functions.relabel("caller")
        task = flow.function_task(retries=1)(functions.relabel_and_fail_once)
        assert await task(folder, "changed by an attempt") == "caller"

    @needs("prompt")
    async def test_a_prompt_is_answered(self, flow: WorkflowEngine) -> None:
        future = flow.prompt_task(functions.identity)("Say yes.")
        assert await future is not None
        assert future.state == "DONE"

    @needs("prompt", "executes")
    @pytest.mark.parametrize("part", ["messages", "tools", "options"])
    async def test_a_part_of_a_prompt_is_honoured_or_refused(
        self, flow: WorkflowEngine, part: str
    ) -> None:
        chat = [{"role": "user", "content": "Say yes."}]
        prompt = {
            "messages": Prompt(messages=chat),
            "tools": Prompt("Say yes.", tools=[TOOL]),
            "options": Prompt("Say yes.", options={"no_such_option": 1}),
        }[part]
        future = flow.prompt_task(lambda: prompt)()
        if part in flow.backend.capabilities.prompts and part != "options":
            assert isinstance(await future, str)
        else:
            with pytest.raises(ConfigurationError, match=part.rstrip("s")):
                await future

    @needs("prompt", "executes")
    async def test_an_answer_is_an_instance_of_the_model_or_refused(
        self, flow: WorkflowEngine
    ) -> None:
        @flow.prompt_task
        def ask() -> Prompt[Consent]:
            return Prompt("Say yes, as JSON.")

        if "answer" in flow.backend.capabilities.prompts:
            assert isinstance(await ask(), Consent)
        else:
            with pytest.raises(ConfigurationError, match="Consent"):
                ask()

    @needs("markers")
    async def test_a_dry_run_answers_every_kind_that_it_declares(
        self, flow: WorkflowEngine
    ) -> None:
        for kind in sorted(set(flow.backend.capabilities.kinds)):
            task = getattr(flow, f"{kind}_task")(functions.identity)
            future = task("true")
            await future
            assert future.state == "DONE", kind

    @needs("markers", "function")
    async def test_a_dry_run_calls_no_function(self, flow: WorkflowEngine, folder: str) -> None:
        await flow.function_task(functions.next_number)(folder)
        assert functions.next_number(folder) == 1

    async def test_a_kind_that_is_not_declared_is_refused_at_the_call(
        self, flow: WorkflowEngine
    ) -> None:
        every = {TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT}
        for kind in sorted(every - set(flow.backend.capabilities.kinds)):
            with pytest.raises(ConfigurationError, match=kind):
                getattr(flow, f"{kind}_task")(functions.identity)("true")

    async def test_a_resource_that_is_not_declared_is_refused_at_the_call(
        self, flow: WorkflowEngine
    ) -> None:
        able = flow.backend.capabilities
        kind = min(able.kinds)
        for name in sorted({"cores", "gpus", "memory", "ranks"} - set(able.resources)):
            with pytest.raises(ConfigurationError, match=name):
                getattr(flow, f"{kind}_task")(resources={name: 2})(functions.identity)("true")

    @needs("executes")
    async def test_an_unknown_key_in_the_description_is_refused(self, flow: WorkflowEngine) -> None:
        kind = min(set(flow.backend.capabilities.kinds))
        decorate = getattr(flow, f"{kind}_task")
        with pytest.raises(ConfigurationError, match="no_such_key"):
            decorate(task_description={"no_such_key": 1})(functions.identity)("true")
