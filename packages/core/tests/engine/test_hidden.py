"""Futures inside of arguments where they are not looked for: refused, and told where they are."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import UserDict, UserList
from collections.abc import Callable
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy
import pytest
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow._graph.hidden import MOST_OBJECTS, find_hidden


def identity(value: Any = None) -> Any:
    return value


@dataclasses.dataclass
class Setup:
    start: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    size: int
    start: Any


class Names(dict[str, Any]):
    pass


class Steps(list[Any]):
    pass


class Later:
    """An object that can be awaited, and holds a future."""

    def __init__(self, future: Any) -> None:
        self.future = future

    def __await__(self) -> Any:
        return self.future.__await__()


HOLDERS: list[tuple[Callable[[Any], Any], str]] = [
    (Setup, "Setup.start"),
    (lambda it: Slotted(3, it), "Slotted.start"),
    (
        lambda it: SimpleNamespace(deep=Setup([0, {"key": it}])),
        "SimpleNamespace.deep.start[1]['key']",
    ),
    (lambda it: Names(key=it), "Names"),
    (lambda it: Steps([it]), "Steps"),
    (lambda it: UserDict(key=it), "UserDict.data['key']"),
    (lambda it: UserList([it]), "UserList.data[0]"),
    (lambda it: MappingProxyType({"key": it}), "mappingproxy['key']"),
    (lambda it: {"key": it}.values(), "dict_values['key']"),
    (lambda it: iter([it]), "list_iterator[0]"),
    (lambda it: functools.partial(identity, it), "partial"),
    (lambda it: Setup(it).__eq__, "method.__self__.start"),
    (lambda it: numpy.array([None, it], dtype=object), "ndarray"),
    (lambda it: (each for each in [it]), "generator"),
    (lambda it: Setup([None] * 499 + [it]), "Setup.start[499]"),
]


@pytest.mark.parametrize(("wrap", "place"), HOLDERS, ids=[place for _, place in HOLDERS])
@pytest.mark.parametrize("kind", ["function_task", "executable_task", "prompt_task"])
async def test_a_future_that_an_object_holds_is_refused_at_the_call(
    flow: WorkflowEngine, wrap: Callable[[Any], Any], place: str, kind: str
) -> None:
    start = flow.function_task(identity, name="start")(1)
    task = getattr(flow, kind)(identity)
    text = f"the future of task 'start' is inside of an argument of task 'identity', at {place}"
    for arguments in ((wrap(start),), ([1, wrap(start)],)):
        with pytest.raises(TypeError, match=re.escape(text)):
            task(*arguments)
    with pytest.raises(TypeError, match="await it first"):
        task(value=wrap(start))
    assert await start == 1
    with pytest.raises(TypeError, match=re.escape(text)):
        task(wrap(start))


async def test_the_body_of_a_block_may_await_what_an_object_holds(flow: WorkflowEngine) -> None:
    @flow.block
    async def block(setup: Setup) -> int:
        value: int = await setup.start
        return value + 1

    assert await block(Setup(flow.function_task(identity)(1))) == 2


async def test_an_awaitable_that_holds_a_future_is_awaited(flow: WorkflowEngine) -> None:
    later = Later(flow.function_task(identity)(1))
    assert await flow.function_task(identity)([later, later]) == [1, 1]


async def test_an_object_that_leads_to_the_engine_is_passed_on(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    unfinished = task(1)
    for value in (Setup(flow), Setup(task), Setup(unfinished.get_loop()), Setup([identity])):
        assert await task(value) is value
    assert await unfinished == 1


async def test_an_object_whose_code_raises_is_left_alone(flow: WorkflowEngine) -> None:
    class Hostile:
        __slots__ = ("inner",)

        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __len__(self) -> int:
            raise RuntimeError

        def __hash__(self) -> int:
            raise RuntimeError

    value = Hostile()
    assert await flow.function_task(identity)(Setup(value)) == Setup(value)


def test_of_a_large_object_only_the_nearest_part_is_looked_at() -> None:
    looked = 0

    class Probe(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            nonlocal looked
            looked += 1
            return "probe"

    class Leaf(metaclass=Probe):
        pass

    assert find_hidden(Setup([Leaf() for _ in range(100 * MOST_OBJECTS)])) is None
    assert 0 < looked <= 2 * MOST_OBJECTS


def test_an_object_that_holds_itself_ends_the_search() -> None:
    setup = Setup(None)
    setup.start = [setup, setup]
    assert find_hidden(setup) is None


async def test_the_future_found_is_the_one_that_is_held(flow: WorkflowEngine) -> None:
    start: TaskFuture[Any] = flow.function_task(identity)(1)
    hidden = find_hidden(Setup(start))
    assert hidden is not None
    assert hidden.future is start
    await start
