"""What a newcomer writes by mistake, and what is said about it."""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend


def identity(value: Any) -> Any:
    return value


MADE = "an engine is made with 'async with WorkflowEngine.create"


async def test_wrong_options_are_told_of_the_decorator_that_got_them(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"^function_task: unknown option 'retires'"):
        flow.function_task(retires=3)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match=r"^block: a block runs in the engine's loop"):
        flow.block(backend="scripted")


@pytest.mark.parametrize("arguments", [((), {}), ((), {"number": 1}), ((1, 2), {})])
async def test_arguments_that_do_not_fit_are_told_with_the_task(
    flow: WorkflowEngine, arguments: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    with pytest.raises(TypeError, match=r"^task 'identity': (missing|too many)"):
        flow.function_task(identity)(*arguments[0], **arguments[1])


def items() -> Iterator[int]:
    yield 1


async def items_async() -> AsyncIterator[int]:
    yield 1


class Items:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize("kind", ["function_task", "executable_task", "prompt_task", "block"])
@pytest.mark.parametrize(
    "body", [items, items_async, Items(), Items().__call__, functools.partial(items)]
)
async def test_a_generator_function_is_refused_as_a_body(
    flow: WorkflowEngine, kind: str, body: Any
) -> None:
    with pytest.raises(TypeError, match=r"is a generator function.*return a list of the items"):
        getattr(flow, kind)(body)


class Model:
    """A callable object whose attributes have the names of a task's own."""

    def __init__(self) -> None:
        self.options = self.name = self.spec = self._owner = self._misfit = {"tolerance": 1e-6}
        self.func = items_async
        self.factor = 2

    def __call__(self, value: int) -> int:
        return self.factor * value


async def test_attributes_of_the_body_do_not_take_the_place_of_the_tasks_own(
    flow: WorkflowEngine,
) -> None:
    task = flow.function_task(Model())
    assert task.name == "Model"
    assert await task.options(timeout=10)(4) == 8
    assert task.factor == 2  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="task 'Model': missing"):
        task()  # type: ignore[call-overload]


async def test_a_task_decorated_in_its_class_says_where_its_instance_is(
    flow: WorkflowEngine,
) -> None:
    class Model:
        @flow.function_task
        def predict(self, value: int) -> int:
            return value

    with pytest.raises(TypeError, match=re.escape("flow.function_task(thing.method)")):
        Model().predict(4)


@pytest.mark.parametrize("backend", [5, ScriptedBackend, object()])
async def test_what_is_no_backend_is_named(backend: Any) -> None:
    with pytest.raises(ConfigurationError, match="backend must be a name, an ExecutionBackend or"):
        await WorkflowEngine.create(backend)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"config": [1]}, "config must map names to values, not [1]"),
        ({"uid": "a/b"}, "uid must be a string without '/', not 'a/b'"),
        ({"uid": 5}, "uid must be a string without '/', not 5"),
        ({"uid": ""}, "1 to 150 bytes of printable characters, not '' with 0"),
        ({"uid": "x" * 151}, "xxx... with 151"),
        ({"uid": "ö" * 76}, "with 152"),
        ({"uid": ".."}, "uid must be usable in the names of files"),
        ({"uid": "a\nb"}, "printable characters, not 'a\\nb' with 3"),
        ({"uid": "\ud800"}, "printable characters, not '\\ud800' with 3"),
        ({"work_dir": __file__}, f"work_dir must be a folder, but {Path(__file__)} is not one"),
    ],
)
async def test_settings_of_an_engine_are_checked_at_its_start(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        await WorkflowEngine.create("noop", **options)


async def test_an_engine_that_was_not_awaited_says_how_it_is_made() -> None:
    creation: Any = WorkflowEngine.create("noop")
    with pytest.raises(AttributeError, match=f"has 'function_task': {MADE}"):
        creation.function_task(identity)
    with pytest.raises(TypeError, match=MADE), creation:
        pass


@pytest.mark.parametrize("options", [{}, {"backend": "noop"}])
def test_the_class_itself_says_how_an_engine_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=MADE):
        WorkflowEngine(**options)


async def test_what_belongs_to_the_engine_says_why_it_cannot_travel(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    for thing, text in (
        (task, "task 'identity' belongs to its engine and cannot travel"),
        (flow, "an engine cannot be sent to a worker"),
        (task(1), "not inside other objects"),
    ):
        with pytest.raises(TypeError, match=text):
            pickle.dumps(thing)


async def test_a_map_over_what_is_no_task_says_what_it_returned(flow: WorkflowEngine) -> None:
    with pytest.raises(TypeError, match=r"flow.map takes a task, or .* returned a int"):
        async for _ in flow.map(lambda number: number, [1]):  # type: ignore[arg-type]
            pass
